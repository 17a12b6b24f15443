// Uniform random numbers for the elements of matrices, bit for bit those of randomness.uniform_matrix (its text is the
// recipe): Philox4x32-10 of Salmon, Moraes, Dror and Shaw (2011). A number depends on its address only, so any rows can
// be made alone, by any thread.
//
// With AVX-512 a number of 16 bits takes 0.25 to 0.34 ns as a float and 0.32 to 0.42 ns as a double, on one core and in
// rows of 64 or more; in rows of one block 1.2 ns.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.h"

namespace lw {

// A matrix of random numbers: of at most 2^48 blocks, which programs do not come near (program_listing.h).
struct UniformAddress {
    std::uint64_t seed, step;
    std::uint32_t stream;  // at most most_uniform_stream
    int bits;              // of each number: 16 or 24
};

constexpr std::size_t most_uniform_stream = (std::size_t{1} << 16) - 1;

// In place of a number u: factor where u >= threshold, else 0.
template <class T>
struct UniformMask {
    T threshold, factor;
};

template <class T>
struct UniformKernels {
    // The rows first_row, …, first_row + rows - 1 of that matrix, which has so many columns; row first_row goes to out.
    // What lies between rows stays as it is. `mask`: null for the numbers themselves.
    void (*fill)(const UniformAddress& address, std::size_t first_row, std::size_t rows, std::size_t columns, T* out,
                 std::size_t ldo, const UniformMask<T>* mask);
};

// The set must be available.
template <class T>
const UniformKernels<T>& uniform_kernels(Isa isa);

}  // namespace lw
