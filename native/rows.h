// Kernels along the rows of matrices, one table for each instruction set: softmax, its cross-entropy, reductions.
//
// Strides are in elements. A row's bits depend on that row alone. Nothing here allocates, and out may be the input
// where both have the same shape.
#pragma once

#include <cstddef>

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

    // L[r] = -Σ_k T log softmax(Z), 0 where T is 0; A = softmax(Z) where A is not null, from the same exponentials.
    void (*softmax_cross_entropy)(const T* Z, std::size_t ldz, const T* targets, std::size_t ldt, T* L,
                                  std::size_t ldl, T* A, std::size_t lda, std::size_t rows, std::size_t length);

    // out (rows, groups): the reduction of each run. A maximum is NaN where one entry is.
    void (*row_reduce)(const T* x, std::size_t ldx, T* out, std::size_t ldo, std::size_t rows, std::size_t groups,
                       std::size_t length, Reduction op);

    // out[j] = reduction of D[k, j] over k < K, for j < columns; sums in the order of the products (see product.h).
    // logsumexp is not offered.
    void (*column_reduce)(const T* D, std::size_t ldd, std::size_t K, std::size_t columns, T* out, Reduction op);
};

// The set must be available.
template <class T>
const RowKernels<T>& row_kernels(Isa isa);

}  // namespace lw
