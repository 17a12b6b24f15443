#include "pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>

#include "threads.h"

namespace lw {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

// A wake-up takes 50 µs, and 150 on virtual machines: whoever spins for twice as long as sleeping would have cost is
// never off by more than 3.
constexpr nanoseconds longest_spin = std::chrono::microseconds(300);
constexpr nanoseconds shortest_spin = std::chrono::microseconds(6);
constexpr nanoseconds retry_after_refusal = std::chrono::seconds(1);

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");  // yield is a no-op on most Arm processors; this one lasts about as long as pause
#endif
}

// Until done() or the limit; whether done().
template <class Done>
bool spin(nanoseconds limit, Done done) noexcept {
    if (done()) return true;
    if (limit <= nanoseconds::zero()) return false;
    const auto start = Clock::now();
    do {
        for (int i = 0; i < 16; ++i) {
            pause();
            if (done()) return true;
        }
    } while (Clock::now() - start < limit);
    return false;
}

// One call of run(), on the stack of its caller. It lives while the caller waits, that is as long as any worker is in
// state full, running or awaited with it.
struct Run {
    void (*call)(void*, int, int);
    void* context;
    int n;
    bool crowded = false;      // more threads than processors: who spins keeps another one from working
    std::atomic<int> next{0};  // of the indices that have no worker of their own
    std::mutex failing;
    int failed = 0;  // the lowest index that threw, where failure is set
    std::exception_ptr failure;

    Run(void (*f)(void*, int, int), void* c, int count) : call(f), context(c), n(count) {}

    void share(int index) noexcept {
        try {
            call(context, index, n);
        } catch (...) {
            std::exception_ptr thrown = std::current_exception();
            const std::lock_guard lock(failing);
            if (!failure || index < failed) {
                failed = index;
                std::swap(failure, thrown);
            }
        }
    }

    void rest() noexcept {
        while (next.load(std::memory_order_relaxed) < n) {
            const int index = next.fetch_add(1, std::memory_order_relaxed);
            if (index < n) share(index);
        }
    }
};

// A worker is its letterbox. One word is the whole protocol, so there is no order of two words to get wrong:
//
//   idle --post--> full --worker--> running --worker--> idle         the usual way
//                  full --caller--> idle                             taken back: no worker has begun it
//                                   running --caller--> awaited --worker--> idle, and the caller is woken
//   idle --worker--> asleep --post--> full, and the worker is woken
//
// Post, and so a caller, belongs to whoever took the worker out of `Team::free`; that is one thread at a time.
enum : std::uint32_t { idle, full, running, awaited, asleep };

struct alignas(64) Worker {
    std::atomic<std::uint32_t> state{idle};
    int index = 0;  // written before full, read after running
    Run* run = nullptr;

    void post(Run& r, int i) noexcept {
        run = &r;
        index = i;
        if (state.exchange(full, std::memory_order_acq_rel) == asleep) state.notify_all();
    }

    bool take_back() noexcept {
        std::uint32_t expected = full;
        return state.compare_exchange_strong(expected, idle, std::memory_order_acquire, std::memory_order_acquire);
    }

    void await(nanoseconds spinning) noexcept {
        const auto done = [this] {
            const std::uint32_t s = state.load(std::memory_order_acquire);
            return s != running && s != awaited;
        };
        if (spin(spinning, done)) return;
        std::uint32_t expected = running;
        if (!state.compare_exchange_strong(expected, awaited, std::memory_order_acquire)) return;
        while (!done()) state.wait(awaited, std::memory_order_acquire);
    }

    [[noreturn]] void work() noexcept {
        nanoseconds patience = longest_spin;
        bool crowded = false;
        const auto posted = [this] { return state.load(std::memory_order_relaxed) == full; };
        for (;;) {
            if (!spin(crowded ? nanoseconds::zero() : patience, posted)) {
                const auto slept = Clock::now();
                std::uint32_t expected = idle;
                if (state.compare_exchange_strong(expected, asleep, std::memory_order_relaxed)) {
                    // A post that the caller takes back also ends this wait, or not: asleep comes with the next miss.
                    state.wait(asleep, std::memory_order_relaxed);
                }
                // Work that came soon had been worth waiting for.
                patience = Clock::now() - slept < longest_spin ? longest_spin : std::max(patience / 2, shortest_spin);
            }
            std::uint32_t expected = full;
            if (!state.compare_exchange_strong(expected, running, std::memory_order_acquire)) continue;
            Run& r = *run;
            r.share(index);
            r.rest();
            crowded = r.crowded;
            // From here on the caller may be gone, and r with it; the worker itself is never freed.
            if (state.exchange(idle, std::memory_order_acq_rel) == awaited) state.notify_all();
        }
    }
};

using Bits = std::array<std::uint64_t, Pool::max_threads / 64>;

std::atomic<int> worker_limit{Pool::max_threads};

void* work(void* worker) {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "layerwise");
#endif
    static_cast<Worker*>(worker)->work();
}

// Everything that a process has of threads. There is one, found through `current`, and it is never destroyed.
struct Team {
    const int processors = available_processors();
    std::mutex taking;
    Bits free{};                                          // workers that no call holds
    int busy = 0;                                         // threads in calls of run() at this moment
    std::atomic<int> made{0};                             // workers[0 .. made-1] exist
    Clock::time_point refused = Clock::time_point::min(); // when the system last refused a thread
    std::array<Worker*, Pool::max_threads> workers{};

    // Adds one worker, or says that the system has no more. Under `taking`.
    bool make_worker() noexcept {
        const int id = made.load(std::memory_order_relaxed);
        if (id >= std::min<int>(Pool::max_threads, worker_limit.load(std::memory_order_relaxed))) return false;
        // Asked anew at every stage, a system that refuses would cost more than the threads bring.
        if (refused != Clock::time_point::min() && Clock::now() - refused < retry_after_refusal) return false;
        Worker* worker = new (std::nothrow) Worker;
        if (worker == nullptr || !start(worker)) {
            delete worker;
            refused = Clock::now();
            return false;
        }
        workers[id] = worker;
        free[id / 64] |= std::uint64_t{1} << (id % 64);
        made.store(id + 1, std::memory_order_release);
        return true;
    }

    static bool start(Worker* worker) noexcept {
        pthread_attr_t attributes;
        if (pthread_attr_init(&attributes) != 0) return false;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, Pool::stack_bytes);
        // A new thread inherits the mask. What a fault of its own raises stays open: blocked, it would kill the
        // process without a word from faulthandler.
        sigset_t blocked, before;
        sigfillset(&blocked);
        for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&blocked, s);
        pthread_sigmask(SIG_SETMASK, &blocked, &before);
        pthread_t thread;
        const int error = pthread_create(&thread, &attributes, work, worker);
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        pthread_attr_destroy(&attributes);
        return error == 0;
    }

    // The workers for a call with n indices, always the first free ones: their caches hold the same share as in the
    // stage before. Returns their number, ids[0] for index 1 and so on.
    int take(int n, std::uint16_t* ids, bool& crowded) noexcept {
        const std::lock_guard lock(taking);
        const int wanted = std::min(n - 1, Pool::max_threads);
        const int granted = busy == 0 ? wanted : std::clamp(processors - busy - 1, 0, wanted);
        int count = 0;
        const auto collect = [&] {
            for (std::size_t word = 0; word < free.size() && count < granted; ++word) {
                while (free[word] != 0 && count < granted) {
                    ids[count++] = static_cast<std::uint16_t>(64 * word + std::countr_zero(free[word]));
                    free[word] &= free[word] - 1;
                }
            }
        };
        collect();
        while (count < granted && make_worker()) collect();
        busy += 1 + count;
        crowded = busy > processors;
        return count;
    }

    void give_back(const std::uint16_t* ids, int count) noexcept {
        const std::lock_guard lock(taking);
        for (int i = 0; i < count; ++i) free[ids[i] / 64] |= std::uint64_t{1} << (ids[i] % 64);
        busy -= 1 + count;
    }
};

// Nothing here has a constructor that runs at import, a destructor that runs at exit, or a guard that another thread
// could hold while the process forks.
std::atomic<Team*> current{nullptr};
std::atomic<unsigned> forks{0};
std::atomic<bool> watching_forks{false};

// The child has this one thread only: the workers are gone, and their locks may be held by nobody for ever.
void in_child() {
    current.store(nullptr, std::memory_order_relaxed);
    forks.fetch_add(1, std::memory_order_relaxed);
}

// Null where there is no memory for it.
Team* team() noexcept {
    if (Team* found = current.load(std::memory_order_acquire)) return found;
    // Before any worker exists. Two threads that meet here register twice, which does no harm; that one waits for the
    // other would: it could fork meanwhile.
    if (!watching_forks.load(std::memory_order_acquire)) {
        if (pthread_atfork(nullptr, nullptr, in_child) != 0) return nullptr;
        watching_forks.store(true, std::memory_order_release);
    }
    Team* made = nullptr;
    try {
        made = new Team;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    Team* found = nullptr;
    if (current.compare_exchange_strong(found, made, std::memory_order_acq_rel)) return made;
    delete made;
    return found;
}

}  // namespace

void Pool::run_erased(int n, Call call, void* context) {
    if (n <= 0) return;
    if (n == 1) return call(context, 0, 1);
    Run run(call, context, n);
    std::uint16_t ids[max_threads];
    const unsigned generation = forks.load(std::memory_order_relaxed);
    Team* const team = lw::team();
    const int count = team == nullptr ? 0 : team->take(n, ids, run.crowded);
    run.next.store(count + 1, std::memory_order_relaxed);
    for (int i = 0; i < count; ++i) team->workers[ids[i]]->post(run, i + 1);
    run.share(0);
    run.rest();
    if (forks.load(std::memory_order_relaxed) != generation) {
        throw std::runtime_error("a task forked the process; the child cannot finish the parent's parallel stage");
    }
    for (int i = 0; i < count; ++i) {
        if (team->workers[ids[i]]->take_back()) run.share(i + 1);
    }
    const nanoseconds spinning = run.crowded ? nanoseconds::zero() : longest_spin;
    for (int i = 0; i < count; ++i) team->workers[ids[i]]->await(spinning);
    if (team != nullptr) team->give_back(ids, count);
    if (run.failure) std::rethrow_exception(std::move(run.failure));
}

int Pool::workers() noexcept {
    const Team* team = current.load(std::memory_order_acquire);
    return team == nullptr ? 0 : team->made.load(std::memory_order_acquire);
}

void Pool::limit_workers(int limit) noexcept { worker_limit.store(limit, std::memory_order_relaxed); }

}  // namespace lw
