// Results of few columns, with vectors along the rows instead: no sum changes, only what is computed together.
#pragma once

#include "product_tile.h"

namespace lw::LW_NAMESPACE {

// Terms of one chain; part of what is promised about bits, see product.h.
constexpr Size term_block = 512;

// Columns of a result turned back into its rows: sums of column c at buffer + c · stride. Rows [skip, rows) are written.
template <class T, class E>
__attribute__((noinline)) void finish_turned(const T* buffer, int stride, int skip, int rows, int columns, Size row,
                                             Size column, const E& epilogue) {
    constexpr int w = width<T>;
    const E e = epilogue.at(row, column);
    for (int c = 0; c < columns; c += w) {
        const int n = columns - c < w ? columns - c : w;
        const Part<T> lanes(n);
        for (int r = skip / w * w; r < rows; r += w) {
            Vector<T> z[w];
#pragma GCC unroll 16
            for (int i = 0; i < w; ++i) z[i] = i < n ? load(buffer + (c + i) * stride + r) : Vector<T>{};
            transpose<T>(z);
#pragma GCC unroll 16
            for (int i = 0; i < w; ++i) {
                if (r + i >= skip && r + i < rows) put<T>(e, z[i], static_cast<Size>(r + i), static_cast<Size>(c), lanes);
            }
        }
    }
}

// w rows of A·B for a block of B with N columns: A turned in registers, w terms at a time. b_k elements from one row of
// B to the next.
template <class T, int N>
__attribute__((noinline)) void across(const T* A, Size lda, const T* b, Size b_k, Size K, T* buffer) {
    constexpr int w = width<T>;
    Vector<T> total[N];
    for (Size first = 0; first == 0 || first < K; first += term_block) {
        Vector<T> sum[N];
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) sum[c] = Vector<T>{};
        const Size last = K - first < term_block ? K : first + term_block;
        Size k = first;
        for (; k + w <= last; k += w) {
            Vector<T> a[w];
#pragma GCC unroll 16
            for (int i = 0; i < w; ++i) a[i] = load(A + static_cast<Size>(i) * lda + k);
            transpose<T>(a);
#pragma GCC unroll 16
            for (int i = 0; i < w; ++i) {
#pragma GCC unroll 4
                for (int c = 0; c < N; ++c) sum[c] = fma(a[i], all(b[static_cast<Size>(i) * b_k + c]), sum[c]);
            }
            b += w * b_k;
        }
        if (k < last) {
            const int left = static_cast<int>(last - k);
            const Part<T> part(left);
            Vector<T> a[w];
#pragma GCC unroll 16
            for (int i = 0; i < w; ++i) a[i] = load_lanes(A + static_cast<Size>(i) * lda + k, part);
            transpose<T>(a);
#pragma GCC unroll 16
            for (int i = 0; i < w; ++i) {
                if (i == left) break;
#pragma GCC unroll 4
                for (int c = 0; c < N; ++c) sum[c] = fma(a[i], all(b[c]), sum[c]);
                b += b_k;
            }
        }
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) total[c] = first == 0 ? sum[c] : total[c] + sum[c];
    }
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c) store(buffer + c * w, total[c]);
}

// Columns that `across` takes at most; where it is faster than vectors along the columns.
template <class T>
constexpr int across_columns = 4;

// Rows [first_row, last_row) of A·B, at least w of them, in a block of few columns.
template <class T, class E>
void multiply_across(const T* A, Size lda, const T* b, Size b_k, Size K, Size first_row, Size last_row, Size column,
                     int columns, const E& e) {
    constexpr int w = width<T>;
    alignas(64) T buffer[across_columns<T> * w];
    for (Size r = first_row; r < last_row; r += w) {
        const Size row = last_row - r < w ? last_row - w : r;  // the last rows once more
        const T* const a = A + row * lda;
        if (columns == 1) across<T, 1>(a, lda, b, b_k, K, buffer);
        if (columns == 2) across<T, 2>(a, lda, b, b_k, K, buffer);
        if (columns == 3) across<T, 3>(a, lda, b, b_k, K, buffer);
        if (columns == 4) across<T, 4>(a, lda, b, b_k, K, buffer);
        finish_turned(buffer, w, 0, w, columns, row, column, e);
    }
}

// Vectors of rows of the result, in a tile of AᵀD with n columns.
constexpr int turned_vectors(int n) {
    if (block_vectors == 4 && n <= tile_rows(4)) return 4;
    if (block_vectors == 4 && n <= tile_rows(3)) return 3;
    return n <= tile_rows(2) ? 2 : 1;
}

// Columns [column, column + columns) of AᵀD, its rows [first_row, last_row), from element (k, j) of D at
// y[k · y_k + j - column]. Needs term_block · w elements of workspace.
template <class T, class E>
void t_multiply_turned(const T* A, Size lda, Size first_row, Size last_row, const T* y, Size y_k, Size K, Size column,
                       Size columns, T* workspace, const E& e) {
    constexpr Size w = width<T>;
    alignas(64) T buffer[most_rows * block_width<T>], total[most_rows * block_width<T>];
    const Size rows = last_row - first_row;
    Size passes = (columns + most_rows - 1) / most_rows;
    for (Size c = 0; c < columns; --passes) {
        const int n = static_cast<int>((columns - c + passes - 1) / passes);
        const Size most = static_cast<Size>(turned_vectors(n));
        for (Size r = first_row; r < last_row;) {
            Size vectors = (last_row - r + w - 1) / w;
            if (vectors > most) vectors = most;
            if (vectors * w > rows) vectors = rows < w ? 1 : rows / w;
            // The last tile begins before r: it has some rows once more.
            const bool few = rows < w;
            const Size row = !few && last_row - r < vectors * w ? last_row - vectors * w : r;
            const int lanes = static_cast<int>(vectors) * w;
            T* const sums = K <= term_block ? buffer : total;
            for (Size k = 0; k == 0 || k < K; k += term_block) {
                const Size terms = K - k < term_block ? K - k : term_block;
                const T* b = A + k * lda + row;
                Size b_k = lda;
                if (few) {
                    for (Size i = 0; i < terms; ++i) {
                        store(workspace + i * w, load_part(b + i * lda, static_cast<int>(rows)));
                    }
                    b = workspace;
                    b_k = w;
                }
                const T* const a = y + k * y_k + c;
                any_raw_tile(n, 2 * static_cast<int>(vectors), {a, 1, y_k, b, b_k, terms}, buffer);
                if (K <= term_block) break;
                for (int i = 0; i < n * lanes; i += w) {
                    store(total + i, k == 0 ? load(buffer + i) : load(total + i) + load(buffer + i));
                }
            }
            const int used = few ? static_cast<int>(rows) : lanes;
            finish_turned(sums, lanes, static_cast<int>(r - row), used, n, row, column + c, e);
            r = row + static_cast<Size>(used);
        }
        c += static_cast<Size>(n);
    }
}

}  // namespace lw::LW_NAMESPACE
