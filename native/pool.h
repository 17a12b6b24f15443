// A team of threads that stays: many short parallel stages, one after another, without OpenMP and without Python.
//
//     Pool::run(n, [&](int index, int n) { rows(index * N / n, (index + 1) * N / n); });
//
// calls the task once for each index 0 .. n-1 and returns when all have returned; what the tasks wrote is then visible
// to the caller, and what the caller wrote before is visible to the tasks. Index 0 runs on the calling thread.
//
// What a task may rely on, and what not:
// - Every index runs exactly once, also when another index has thrown. The exception of the lowest index that threw
//   leaves run(); the others are dropped.
// - An index is a share of the work, not a thread. A caller that has done its own share takes back those that no
//   worker has begun, and where there are fewer threads than indices (other callers, the system refuses threads) one
//   thread runs several. So tasks must not wait for one another, and a result must depend on indices only, never on
//   threads. Stages with shares of unequal cost hand out tiles from an atomic counter inside the task.
// - run() may be called inside a task and from any number of threads at once: it never waits for a thread that
//   another call holds. A call that finds the pool unused gets all the threads it asks for; the next ones share the
//   processors that are left, and run on the calling thread alone when none is.
// - Tasks must not touch Python, and have `stack_bytes` of stack, less what the system takes.
//
// Threads are made when first asked for, spin for at most 300 µs after a stage and then sleep; they block the signals
// that a process handles, so that Ctrl-C reaches the thread that Python expects. They are detached and the pool is
// never destroyed: at exit the workers sleep in memory that nobody frees, and end with the process. After a fork the
// child has an empty pool and makes its own threads; a task that was running in the forking thread fails in the child.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <type_traits>

namespace lw {

class Pool {
public:
    // A larger n is allowed: the indices above are run by the same threads.
    static constexpr int max_threads = 512;
    static constexpr std::size_t stack_bytes = std::size_t{2} << 20;

    template <class Task>
    static void run(int n, Task&& task) {
        using Callable = std::remove_reference_t<Task>;
        run_erased(
            n, [](void* context, int index, int count) { (*static_cast<Callable*>(context))(index, count); },
            const_cast<void*>(static_cast<const void*>(std::addressof(task))));
    }

    // Threads that exist besides the callers' own.
    static int workers() noexcept;

    // At most this many workers are made from now on, as if the system refused more. For tests.
    static void limit_workers(int limit) noexcept;

private:
    using Call = void (*)(void* context, int index, int n);
    static void run_erased(int n, Call call, void* context);
};

// Set by whoever wants a fit to end; read between steps.
class StopFlag {
public:
    void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
    bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }

private:
    std::atomic<bool> requested_{false};
};

// Asks a callback, at most once per interval of the monotonic clock, whether to stop; meant to be polled between
// steps, by the thread that called in. Once the answer was yes it stays yes and the callback is not asked again.
class Interrupt {
public:
    using Check = bool (*)(void* context);

    // A null check never interrupts.
    explicit Interrupt(Check check, void* context = nullptr,
                       std::chrono::nanoseconds interval = std::chrono::milliseconds(10)) noexcept
        : check_(check), context_(context), interval_(interval), last_(Clock::now()) {}

    bool poll() {
        if (stopped_ || check_ == nullptr) return stopped_;
        const auto now = Clock::now();
        if (now - last_ < interval_) return false;
        stopped_ = check_(context_);
        // After the callback: a slow handler does not then take all of the time.
        last_ = Clock::now();
        return stopped_;
    }

private:
    using Clock = std::chrono::steady_clock;
    Check check_;
    void* context_;
    std::chrono::nanoseconds interval_;
    Clock::time_point last_;
    bool stopped_ = false;
};

// For the bindings only, and defined in bind_pool.cpp: the core knows no Python.

// The check for Interrupt that runs Python's pending signal handlers, with the interpreter lock taken for that time.
// True when one raised; the exception is then set in this thread and the binding throws it with
// nb::raise_python_error(), as soon as it holds the lock again.
bool python_signal_raised(void*);

// While it lives, this thread is without the interpreter lock. Unlike nb::gil_scoped_release it outlives the
// interpreter: a daemon thread that comes back while Python ends is ended by Python (before 3.14) with pthread_exit,
// whose unwinding meets nanobind's noexcept and aborts the process. Here such a thread sleeps until the process is gone,
// as in Python 3.14.
class WithoutInterpreter {
public:
    WithoutInterpreter() noexcept;
    ~WithoutInterpreter();
    WithoutInterpreter(const WithoutInterpreter&) = delete;
    WithoutInterpreter& operator=(const WithoutInterpreter&) = delete;

private:
    void* state_;
};

}  // namespace lw
