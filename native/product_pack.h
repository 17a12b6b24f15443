// Packing of the operands of products: B in column blocks, from B or from its transpose.
#pragma once

#include "product_tile.h"

namespace lw::LW_NAMESPACE {

// Block j of a packed operand of N columns: its columns, and the lanes it is padded to.
struct Block {
    Size first;
    int columns, lanes;
    int halves;  // of vectors, which the lanes fill
};

template <class T>
LW_INLINE Block block_at(Size N, Size j) {
    constexpr int w = width<T>;
    const Size first = j * block_width<T>, left = N - first;
    const int columns = left < block_width<T> ? static_cast<int>(left) : block_width<T>;
    const int unit = half_vectors ? w / 2 : w, units = (columns + unit - 1) / unit;
    return {first, columns, units * unit, half_vectors ? units : 2 * units};
}

template <class T>
Size block_count(Size N) {
    return (N + block_width<T> - 1) / block_width<T>;
}

template <class T>
Size packed_size(Size K, Size N) {
    if (N == 0) return 0;
    const Block last = block_at<T>(N, block_count<T>(N) - 1);
    return (last.first + static_cast<Size>(last.lanes)) * K;
}

// K rows of one block, padded with zeros.
template <class T>
void pack_block(const T* B, Size ldb, Size K, const Block& block, T* packed) {
    constexpr int w = width<T>;
    if (block.columns == block_width<T>) {
        for (Size k = 0; k < K; ++k) {
#pragma GCC unroll 4
            for (int c = 0; c < block_vectors; ++c) store(packed + c * w, load(B + c * w));
            B += ldb;
            packed += block_width<T>;
        }
        return;
    }
    const int whole = block.columns / w * w, rest = block.columns - whole, lanes = block.lanes - whole;
    for (Size k = 0; k < K; ++k) {
        for (int c = 0; c < whole; c += w) store(packed + c, load(B + c));
        if (rest > 0) store_part(packed + whole, load_part(B + whole, rest), lanes);
        B += ldb;
        packed += block.lanes;
    }
}

// All blocks of K rows, whole rows at a time: each row is read from end to end, for the prefetcher and the page table.
// Block j goes to packed + (first column) · stride, from its row `to_row` on.
template <class T>
void pack_rows(const T* B, Size ldb, Size K, Size N, T* packed, Size stride, Size to_row = 0) {
    const Size full = N / block_width<T>;
    for (Size k = 0; k < K; ++k) {
        const T* const from = B + k * ldb;
        for (Size j = 0; j < full; ++j) {
            T* const to = packed + (j * stride + to_row + k) * block_width<T>;
#pragma GCC unroll 4
            for (int c = 0; c < block_width<T>; c += width<T>) store(to + c, load(from + j * block_width<T> + c));
        }
    }
    if (N % block_width<T> != 0) {
        const Block block = block_at<T>(N, full);
        pack_block(B + block.first, ldb, K, block,
                   packed + block.first * stride + to_row * static_cast<Size>(block.lanes));
    }
}

template <class T>
void pack(const T* B, Size ldb, Size K, Size N, Size first, Size last, T* packed) {
    if (first == 0 && last == block_count<T>(N)) return pack_rows(B, ldb, K, N, packed, K);
    for (Size j = first; j < last; ++j) {
        const Block block = block_at<T>(N, j);
        pack_block(B + block.first, ldb, K, block, packed + block.first * K);
    }
}

template <class T>
void pack_range(const T* B, Size ldb, Size K, Size N, Size first_k, Size last_k, T* packed) {
    pack_rows(B + first_k * ldb, ldb, last_k - first_k, N, packed, K, first_k);
}

template <class T>
void pack_transposed(const T* S, Size lds, Size K, Size N, Size first, Size last, T* packed) {
    constexpr int w = width<T>;
    for (Size j = first; j < last; ++j) {
        const Block block = block_at<T>(N, j);
        T* const out = packed + block.first * K;
        for (int c = 0; c < block.lanes; c += w) {
            const int lanes = block.lanes - c < w ? block.lanes - c : w;
            const T* const from = S + (block.first + static_cast<Size>(c)) * lds;
            for (Size k = 0; k < K; k += w) {
                const int n = K - k < w ? static_cast<int>(K - k) : w;
                Vector<T> rows[w];
#pragma GCC unroll 16
                for (int i = 0; i < w; ++i) {
                    rows[i] = c + i < block.columns ? load_part(from + static_cast<Size>(i) * lds + k, n)
                                                    : Vector<T>{};
                }
                transpose<T>(rows);
                T* to = out + k * static_cast<Size>(block.lanes) + c;
                if (n == w && lanes == w) {
#pragma GCC unroll 16
                    for (int i = 0; i < w; ++i) store(to + i * block.lanes, rows[i]);
                } else {
                    for (int i = 0; i < n; ++i) store_part(to + i * block.lanes, rows[i], lanes);
                }
            }
        }
    }
}

}  // namespace lw::LW_NAMESPACE
