// A random order, bit for bit that of layerwise.randomness.permutation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "philox.h"

namespace lw {

// More positions would leave too few bits for the words beside them (permutation.cpp).
constexpr std::size_t max_permutation = std::size_t{1} << 31;

// Elements of the workspace for n positions: about n.
std::size_t permutation_workspace(std::size_t n);

// Positions 0 … n-1 in ascending order of their words at the address; equal words in ascending order of position.
// n ≤ max_permutation. What the workspace holds does not matter. One thread takes 6 to 10 ns a position up to a million
// of them, 16 ns for 10^8; NumPy 50 to 100.
void permutation(const RandomAddress& address, std::size_t n, std::int64_t* out, std::uint64_t* workspace);

}  // namespace lw
