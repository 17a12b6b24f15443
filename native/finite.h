// Whether all numbers of an array are finite, on several threads.
#pragma once

#include <cstddef>

namespace lw {

// The precision that they are to be finite in: a float64 beyond the range of float32 is not.
enum class Precision { single, wide };

// n numbers of 2, 4 or 8 bytes each (float16, float32, float64) one after another, at any alignment. On at most so many
// threads; fewer where there is little to do.
bool all_finite(const void* x, std::size_t bytes_each, std::size_t n, Precision precision, int threads);

}  // namespace lw
