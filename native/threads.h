// How many processors this process may use, and how many threads a piece of work deserves.
#pragma once

#include <string>

namespace lw {

// The quota of the control groups that this process is in, in processors and rounded up; 0 where there is none.
// Version 2 (cpu.max) and version 1 (cpu.cfs_quota_us over cpu.cfs_period_us), each group and all above it. A file
// that is missing or reads oddly counts as none. `root` stands before /proc and /sys.
int quota_processors(const std::string& root = "");

// The fewer of the processors that the scheduler lets this thread run on and of the quota; at least 1. Reads files,
// about 0.1 ms.
int available_processors(const std::string& root = "");

// LAYERWISE_NUM_THREADS where it is set and not empty, else available_processors(); read once per process.
// std::invalid_argument for a value that is no number from 1 to Pool::max_threads.
int usable_processors();

// Sets what usable_processors() returns; 0 lets it look again.
void set_usable_processors(int n);

// How many of `available` threads are worth waking for so many floating-point operations: one more for each 20 µs
// that one thread would need. With t threads a stage then lasts between 20 µs · (t - 1)/t and 20 µs: at the point
// where a thread is added it saves 20 µs / (t + 1), which stays above the 0.1 to 0.2 µs that a thread costs up to
// about 100 threads, so a larger stage is never slower for being given more.
int threads_for(double work_flops, int available) noexcept;

}  // namespace lw
