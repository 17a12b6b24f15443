// Matrix products of one thread on packed operands, as a table of functions for each instruction set.
//
// The right operand B (K, N) of A·B is packed: its columns in blocks of `block` columns, a block holding its K rows
// one after another without gaps, the last block filled up to whole vectors, or to half a one on AVX-512. What fills it
// is 0 where an operand was packed and anything where a product wrote it; no result depends on it. A is row-major, in
// place.
//
// Order of summation. An element of C is the sum over blocks of 512 terms, the blocks added in order, each block one
// chain of multiply-add over k = 0, 1, 2, … from 0. That depends on K alone: not on the tile an element falls in,
// the rows and columns computed with it, the range a caller asks for, or the width of the vectors. (AVX2 and AVX-512
// therefore agree to the bit; the baseline rounds the products as well.)
//
// Nothing here allocates. Ranges are half-open; any two calls on ranges that do not overlap may run at once, each
// with its own workspace.
#pragma once

#include <cstddef>

#include "isa.h"
#include "rows_ahead.h"

namespace lw {

// Epilogues C = (A·B) ⊙ s(a): X(name, s) with a the element of `other` at the same place. For ⊙f' behind ΔWᵀ, with f'
// written in the activations.
#define LW_SLOPES(X)                               \
    X(times_relu_slope, a > T(0) ? T(1) : T(0))    \
    X(times_tanh_slope, (T(1) - a) * (T(1) + a))   \
    X(times_sigmoid_slope, a * (T(1) - a))

#define LW_NAME(name, slope) name,
enum class Epilogue { none = 0, bias = 1, bias_relu = 2, LW_SLOPES(LW_NAME) };
#undef LW_NAME

// A packed matrix that a product writes: from which column on, how many rows each block has, and which of them is the
// first that is meant.
template <class T>
struct InBlocks {
    T* data = nullptr;  // of the block of the first column
    std::size_t rows = 0, first_row = 0;
};

// C[rows, blocks] = A[rows, :] · B[:, blocks], then the epilogue. A (M, K), C (M, N); lda ≥ K, ldc ≥ N. C holds partial
// sums on the way, so it overlaps no operand.
template <class T>
struct Product {
    const T* A;
    std::size_t lda;
    const T* packed;  // B (K, N)
    std::size_t K, N;
    std::size_t first_row, last_row;
    std::size_t first_block, last_block;
    const T* bias;  // N elements, or unused
    Epilogue epilogue;
    T* C;
    std::size_t ldc;
    const T* other = nullptr;  // (M, N), or unused
    std::size_t ldo = 0;
    InBlocks<T> packed_C = {};  // instead of C
    InBlocks<T> twin = {};      // C once more
};

// C[rows, columns] = A[:, rows]ᵀ · D[:, columns]. A (K, M), D (K, N), C (M, N): the sum runs over the rows of both.
template <class T>
struct TransposedProduct {
    const T* A;
    std::size_t lda;
    const T* D;
    std::size_t ldd;
    std::size_t K;
    std::size_t first_row, last_row;
    std::size_t first_column, last_column;
    T* C;
    std::size_t ldc;
    T* workspace;  // `t_workspace` elements
};

// The same with D packed, which is quicker where D is used by more than one call. (D is packed as any B; rows of it as
// they come to be known, by `pack_range`.)
template <class T>
struct PackedTransposedProduct {
    const T* A;
    std::size_t lda;
    const T* packed;  // D (K, N)
    std::size_t K, N;
    std::size_t first_row, last_row;
    std::size_t first_block, last_block;
    T* C;
    std::size_t ldc;
    T* workspace;  // `t_workspace` elements
    InBlocks<T> packed_C = {};  // instead of C
    // Beside packed_C: what will be written after it. Its values stay, and its cache lines come to this core while the
    // sums run.
    InBlocks<T> claimed = {};
    RowsAhead* ahead = nullptr;  // or null: a line is fetched for each one claimed
};

template <class T>
struct Products {
    std::size_t block;        // columns of a full block
    std::size_t tile_rows;    // rows of a full tile: a range of rows is fastest as a multiple of it
    std::size_t t_workspace;  // elements that both AᵀD need, whatever the shape; `multiply` needs none
    std::size_t fma_loop_flops;

    std::size_t (*block_count)(std::size_t N);
    std::size_t (*packed_size)(std::size_t K, std::size_t N);  // in elements
    // Blocks [first, last) of B (K, N), ldb ≥ N.
    void (*pack)(const T* B, std::size_t ldb, std::size_t K, std::size_t N, std::size_t first, std::size_t last,
                 T* packed);
    // The same of B = Sᵀ, from S (N, K), lds ≥ K.
    void (*pack_transposed)(const T* S, std::size_t lds, std::size_t K, std::size_t N, std::size_t first,
                            std::size_t last, T* packed);
    // Rows [first_k, last_k) of B in all its blocks, from B (K, N) itself.
    void (*pack_range)(const T* B, std::size_t ldb, std::size_t K, std::size_t N, std::size_t first_k,
                       std::size_t last_k, T* packed);
    void (*multiply)(const Product<T>&);
    void (*t_multiply)(const TransposedProduct<T>&);
    void (*t_multiply_packed)(const PackedTransposedProduct<T>&);
    // sums[j] = Σ_k D[k, j] for first ≤ j < last, to the bit 1ᵀ·D. D (K, N), ldd ≥ N; sums (N).
    void (*column_sums)(const T* D, std::size_t ldd, std::size_t K, std::size_t first, std::size_t last, T* sums);
    // Multiply-adds in registers alone, fma_loop_flops operations per iteration: the peak of a core.
    T (*fma_loop)(std::size_t iterations, T start);
};

// The set must be available.
template <class T>
const Products<T>& products(Isa isa);

}  // namespace lw
