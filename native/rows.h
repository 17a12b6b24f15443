// Kernels along the rows of matrices, one table for each instruction set: softmax, its cross-entropy, reductions, and
// what is looked for in rows.
//
// Strides are in elements. Nothing here allocates, and out may be the input where both have the same shape (A: that of
// Z or of the targets).
//
// Order of summation. A row's bits depend on that row alone, a column's on that column: not on what stands beside it,
// the range asked for, or the width of the vectors. Sums and maxima are the same to the bit in all sets; what takes
// exponentials is in AVX2 and AVX-512, and to rounding in the baseline, which has no fused multiply-add.
// - Along a run of at most 16 entries (32 with exponentials): one chain, first to last entry.
// - Along a longer one: entry k belongs to chain k mod 16 (float) or 8 (double), and chain l is added to chain l + half
//   for half = 8, 4, 2, 1. Sums and means of more than 64 entries: 32 chains in double, also of floats.
// - Down a column: eight rows in pairs, those sums in one chain for each block of 512 rows, the blocks in order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.h"

namespace lw {

enum class Reduction { sum = 0, mean = 1, max = 2, logsumexp = 3 };

template <class T>
struct RowKernels {
    // Each row holds `groups` runs of `length` entries; over each run.
    void (*softmax)(const T* Z, std::size_t ldz, T* out, std::size_t ldo, std::size_t rows, std::size_t groups,
                    std::size_t length);
    void (*log_softmax)(const T* Z, std::size_t ldz, T* out, std::size_t ldo, std::size_t rows, std::size_t groups,
                        std::size_t length);

    // L[r] = -Σ_k T log softmax(Z), a term 0 where T is 0; A = softmax(Z) where A is not null, from the same
    // exponentials. log Σ e^z is taken without the largest term, so a loss of 1e-12 keeps its digits.
    void (*softmax_cross_entropy)(const T* Z, std::size_t ldz, const T* targets, std::size_t ldt, T* L,
                                  std::size_t ldl, T* A, std::size_t lda, std::size_t rows, std::size_t length);

    // out (rows, groups): the reduction of each run. A maximum is NaN where one entry is. Of no entries the sum is 0,
    // the mean NaN, the others -∞.
    void (*row_reduce)(const T* x, std::size_t ldx, T* out, std::size_t ldo, std::size_t rows, std::size_t groups,
                       std::size_t length, Reduction op);

    // out[j] = reduction of D[k, j] over k < K, for j < columns. logsumexp is not offered.
    void (*column_reduce)(const T* D, std::size_t ldd, std::size_t K, std::size_t columns, T* out, Reduction op);

    // Where the largest entry of each row stands: the first of equal ones; the first NaN, if there is one.
    void (*argmax)(const T* Z, std::size_t ldz, std::int64_t* index, std::size_t rows, std::size_t length);

    // Whether all n numbers are at most `most` in magnitude, and none is NaN.
    bool (*within)(const T* x, std::size_t n, T most);
};

// The set must be available.
template <class T>
const RowKernels<T>& row_kernels(Isa isa);

}  // namespace lw
