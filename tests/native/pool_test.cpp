// Hammers the pool without Python, so that a sanitizer sees all of it. From the root of the repository:
//
//   g++ -std=c++20 -O1 -g -Wall -Wextra -fsanitize=thread -Inative tests/native/pool_test.cpp
//       native/pool.cpp native/threads.cpp -pthread -o build/pool_test && build/pool_test
//
// (one line), and the same with -fsanitize=address,undefined. The exit status is not 0 where a check fails or the
// sanitizer finds something.
#include "pool.h"
#include "threads.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using lw::Pool;

namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool forks_work = false;  // it allows no new thread in the child of a process with several
#else
constexpr bool forks_work = true;
#endif

void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

void spin_for(std::chrono::nanoseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
    }
}

// Plain ints, so that a sanitizer sees a missing barrier: each stage reads what another index wrote in the stage before.
void stages(int n, int repeats, int microseconds) {
    std::vector<int> here(static_cast<std::size_t>(n), 0), there(static_cast<std::size_t>(n), 0);
    for (int stage = 0; stage < repeats; ++stage) {
        Pool::run(n, [&](int index, int count) {
            if (microseconds > 0) spin_for(std::chrono::microseconds(microseconds * (index % 3)));
            there[static_cast<std::size_t>(index)] = here[static_cast<std::size_t>((index + 1) % count)] + 1;
        });
        here.swap(there);
    }
    for (const int value : here) check(value == repeats, "every index ran once in every stage");
}

void throwing(int n, int repeats) {
    for (int i = 0; i < repeats; ++i) {
        std::vector<int> ran(static_cast<std::size_t>(n), 0);
        std::string message;
        try {
            Pool::run(n, [&](int index, int) {
                ++ran[static_cast<std::size_t>(index)];
                if (index >= n / 2) throw std::runtime_error(std::to_string(index));
            });
        } catch (const std::runtime_error& error) {
            message = error.what();
        }
        check(message == std::to_string(n / 2), "the exception of the lowest index comes out");
        for (const int count : ran) check(count == 1, "every index ran once although some threw");
    }
}

void nested(int n, int repeats) {
    for (int i = 0; i < repeats; ++i) {
        std::vector<std::vector<int>> ran(static_cast<std::size_t>(n), std::vector<int>(static_cast<std::size_t>(n), 0));
        Pool::run(n, [&](int outer, int) {
            Pool::run(n, [&](int inner, int) { ++ran[static_cast<std::size_t>(outer)][static_cast<std::size_t>(inner)]; });
        });
        for (const auto& row : ran) {
            for (const int count : row) check(count == 1, "every index of every inner run ran once");
        }
    }
}

void together(int callers, int n) {
    std::vector<std::thread> threads;
    for (int c = 0; c < callers; ++c) {
        threads.emplace_back([n, c] {
            stages(n, 1000, 0);
            stages(n, 50, 1 + c);
            throwing(n, 100);
            nested(std::min(n, 4), 50);
        });
    }
    for (auto& thread : threads) thread.join();
}

// The child of a process whose pool is at work in another thread makes its own.
void forking(int repeats) {
    std::atomic<bool> over{false};
    std::thread busy([&] {
        while (!over.load()) stages(3, 10, 20);
    });
    for (int i = 0; i < repeats; ++i) {
        const pid_t child = fork();
        check(child >= 0, "fork");
        if (child == 0) {
            alarm(20);
            if (Pool::workers() != 0) _exit(2);
            stages(3, 20, 5);
            _exit(Pool::workers() == 2 ? 0 : 3);
        }
        int status = -1;
        check(waitpid(child, &status, 0) == child, "waitpid");
        check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child used its own pool");
    }
    over.store(true);
    busy.join();
    // And one that forks inside of a task: an error in the child, not a wait for threads that it does not have.
    const pid_t parent = getpid();
    std::atomic<pid_t> child{0};
    bool failed = false;
    try {
        Pool::run(2, [&](int index, int) {
            if (index == 0) child.store(fork());
        });
    } catch (const std::runtime_error&) {
        failed = true;
    }
    if (getpid() != parent) _exit(failed ? 0 : 2);
    check(!failed, "the parent's stage is whole");
    int status = -1;
    check(waitpid(child.load(), &status, 0) == child.load(), "waitpid");
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child of a task is told");
}

void spare_threads() {
    Pool::limit_workers(0);
    stages(8, 100, 1);
    check(Pool::workers() == 0, "no worker is made beyond the limit");
    Pool::limit_workers(3);
    stages(8, 100, 1);
    check(Pool::workers() == 3, "as many as the limit allows");
    Pool::limit_workers(Pool::max_threads);
    stages(Pool::max_threads + 100, 3, 0);
}

}  // namespace

int main() {
    check(Pool::workers() == 0, "nothing is made before it is needed");
    check(lw::quota_processors() >= 0 && lw::available_processors() >= 1, "processors");
    spare_threads();
    for (const int n : {1, 2, 3, 8, 64}) stages(n, n < 64 ? 20000 : 2000, 0);
    for (const int n : {2, 3, 8}) stages(n, 300, 30);
    // Long enough between stages for the workers to fall asleep, or about to.
    for (int i = 0; i < 2000; ++i) {
        spin_for(std::chrono::microseconds(i % 100));
        stages(2, 1, i % 2);
    }
    throwing(2, 1000);
    throwing(8, 300);
    nested(3, 300);
    together(4, 2);
    together(3, 8);
    if (forks_work) forking(100);
    std::printf("done, with %d workers\n", Pool::workers());
    return 0;
}
