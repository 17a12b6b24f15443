// The pool as tests see it, and the check for Python's signals that the engine's binding uses.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <unistd.h>
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "pool.h"
#include "threads.h"

namespace nb = nanobind;

namespace lw {

namespace {

// Calls what takes the interpreter lock. Where Python ends meanwhile this does not return.
template <class Take>
auto take_interpreter(Take take) noexcept {
#if defined(__GLIBCXX__)
    try {
        return take();
    } catch (const abi::__forced_unwind&) {
        // Of pthread_exit. To leave this block would abort the process; to stay in it harms nobody, since no lock is
        // held and the process is about to end.
        for (;;) ::pause();
    }
#else
    return take();
#endif
}

}  // namespace

bool python_signal_raised(void*) {
    const PyGILState_STATE gil = take_interpreter([] { return PyGILState_Ensure(); });
    const bool raised = PyErr_CheckSignals() != 0;
    PyGILState_Release(gil);
    return raised;
}

WithoutInterpreter::WithoutInterpreter() noexcept : state_(PyEval_SaveThread()) {}

WithoutInterpreter::~WithoutInterpreter() {
    take_interpreter([this] { PyEval_RestoreThread(static_cast<PyThreadState*>(state_)); });
}

namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

void spin_for(double microseconds) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(Microseconds(microseconds));
    while (Clock::now() < end) {
    }
}

void check_threads(int n_threads) {
    if (n_threads < 1) {
        throw std::invalid_argument("n_threads must be at least 1; got " + std::to_string(n_threads) + ".");
    }
}

std::vector<int> pool_run(int n_threads, int n_tasks, double microseconds) {
    check_threads(n_threads);
    if (n_tasks < 0) {
        throw std::invalid_argument("n_tasks must not be negative; got " + std::to_string(n_tasks) + ".");
    }
    std::vector<int> owner(static_cast<std::size_t>(n_tasks), -1);
    const std::unique_ptr<std::atomic<int>[]> runs(new std::atomic<int>[static_cast<std::size_t>(n_threads)]());
    Pool::run(n_threads, [&](int index, int n) {
        runs[static_cast<std::size_t>(index)].fetch_add(1);
        for (int t = index; t < n_tasks; t += n) {
            spin_for(microseconds);
            owner[static_cast<std::size_t>(t)] = index;
        }
    });
    for (int i = 0; i < n_threads; ++i) {
        const int count = runs[static_cast<std::size_t>(i)].load();
        if (count != 1) {
            throw std::runtime_error("index " + std::to_string(i) + " ran " + std::to_string(count) + " times");
        }
    }
    return owner;
}

double pool_sum(const nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>& array, int n_threads) {
    check_threads(n_threads);
    const double* x = array.data();
    const std::size_t size = array.size();
    const WithoutInterpreter no_gil;
    constexpr std::size_t block = 4096;  // fixed: the sum's order follows from the size alone
    std::vector<double> sums((size + block - 1) / block);
    std::atomic<std::size_t> next{0};
    Pool::run(n_threads, [&](int, int) {
        for (std::size_t b; (b = next.fetch_add(1, std::memory_order_relaxed)) < sums.size();) {
            const std::size_t end = std::min(size, (b + 1) * block);
            double sum = 0;
            for (std::size_t i = b * block; i < end; ++i) sum += x[i];
            sums[b] = sum;
        }
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
}

// From `index` on, every index throws, the higher ones first: the lowest is to come out.
void pool_throw(int n_threads, int index, bool memory) {
    check_threads(n_threads);
    Pool::run(n_threads, [&](int i, int n) {
        if (i < index) return;
        spin_for(10.0 * (n - i) / n);
        if (memory) throw std::bad_alloc();
        throw std::runtime_error("task " + std::to_string(i) + " failed");
    });
}

double pool_latency(int n_threads, int repeats, bool together) {
    check_threads(n_threads);
    if (repeats < 1) {
        throw std::invalid_argument("repeats must be at least 1; got " + std::to_string(repeats) + ".");
    }
    std::vector<double> times(static_cast<std::size_t>(repeats));
    for (double& time : times) {
        std::atomic<int> arrived{0};
        const auto start = Clock::now();
        Pool::run(n_threads, [&](int, int n) {
            if (!together) return;
            // Only a measurement may wait for the other indices, and only for so long.
            arrived.fetch_add(1);
            while (arrived.load() < n && Clock::now() - start < std::chrono::milliseconds(5)) {
            }
        });
        time = Microseconds(Clock::now() - start).count();
    }
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
}

// Stages of 0.1 ms until the time is over or a signal handler raises. Returns the number of stages.
int pool_interruptible(int n_threads, double seconds) {
    check_threads(n_threads);
    int stages = 0;
    bool stopped = false;
    {
        const WithoutInterpreter no_gil;
        Interrupt interrupt(python_signal_raised);
        StopFlag stop;
        const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(Microseconds(1e6 * seconds));
        while (!stop.requested() && Clock::now() < end) {
            Pool::run(n_threads, [](int, int) { spin_for(100); });
            ++stages;
            if (interrupt.poll()) stop.request();
        }
        stopped = stop.requested();
    }
    if (stopped) nb::raise_python_error();
    return stages;
}

}  // namespace

void bind_pool(nb::module_& m) {
    using namespace nb::literals;
    using no_gil = nb::call_guard<WithoutInterpreter>;
    m.def("pool_run", pool_run, "n_threads"_a, "n_tasks"_a, "microseconds"_a, no_gil(),
          "Spin in each of n_tasks; returns the index that ran each. For tests, like all of pool_*.");
    m.def("pool_sum", pool_sum, "array"_a, "n_threads"_a, "The sum, in an order that follows from the size alone.");
    m.def("pool_throw", pool_throw, "n_threads"_a, "index"_a, "memory"_a = false, no_gil(),
          "Throw from this index and all above: RuntimeError, or MemoryError.");
    m.def("pool_latency", pool_latency, "n_threads"_a, "repeats"_a, "together"_a = false, no_gil(),
          "Median time of an empty run, in µs; with together, of one in which all indices meet.");
    m.def("pool_interruptible", pool_interruptible, "n_threads"_a, "seconds"_a,
          "Work that Ctrl-C interrupts; returns the number of stages.");
    m.def("pool_workers", &Pool::workers, "Threads that the pool has made.");
    m.def("pool_limit_workers", &Pool::limit_workers, "limit"_a, "Make no more workers than this.");
    m.def(
        "usable_processors",
        [](const std::string& root) { return root.empty() ? usable_processors() : available_processors(root); },
        "root"_a = "",
        "How many threads to use: LAYERWISE_NUM_THREADS, or the processors that affinity and quota leave. With a "
        "root, the latter, with the system's files below it.");
    m.def("set_usable_processors", set_usable_processors, "n"_a,
          "Set what usable_processors() returns; 0 lets it look again.");
    m.def("quota_processors", quota_processors, "root"_a = "",
          "The quota of the control groups, in processors, rounded up; 0 for none.");
    m.def("threads_for", threads_for, "flops"_a, "available"_a,
          "How many of the available threads so many floating-point operations are worth.");
}

}  // namespace lw
