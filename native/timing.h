// How long a call takes, for the bind_*.cpp that measure kernels.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>

namespace lw {

// Seconds of this thread on a core: what other processes take from the machine does not count.
inline double thread_seconds() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
#else
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
#endif
}

template <class F>
double seconds_per_call(const F& f, std::size_t calls) {
    const double start = thread_seconds();
    for (std::size_t i = 0; i < calls; ++i) f();
    return (thread_seconds() - start) / static_cast<double>(calls);
}

// How many calls of f take half a millisecond, one at least: a measurement that short meets the same machine as the
// next one.
template <class F>
std::size_t calls_in_slice(const F& f) {
    constexpr double slice = 5e-4;
    f();
    for (std::size_t calls = 1;; calls *= 2) {
        const double seconds = seconds_per_call(f, calls);
        if (seconds * static_cast<double>(calls) > slice / 4) {
            return std::max<std::size_t>(1, static_cast<std::size_t>(slice / seconds));
        }
    }
}

}  // namespace lw
