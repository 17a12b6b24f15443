// The loops around the register tile: blocks of terms, chunks of rows that stay in cache, tiles.
//
// Included only by *_isa.cpp. An epilogue is a class with
//     void operator()(Vector<T> z, Size row, Size column, int count) const
// that receives each finished vector of C once, `count` of its lanes real, and writes it. `constexpr bool in_place`
// says whether it may be repeated for every register of a tile (a few instructions) or takes them from a buffer.
#pragma once

#include "product.h"
#include "product_pack.h"

namespace lw::LW_NAMESPACE {

// Terms of one chain; part of what is promised about bits, see product.h.
constexpr Size term_block = 512;
// Rows (of A, or columns of A in AᵀD) whose tiles share one block of B while it is in cache: a multiple of 6 and 12.
constexpr Size chunk_rows = 96;
// Columns packed at a time by AᵀD.
constexpr Size chunk_columns = 1024;

// Copied rows lie an odd number of cache lines apart, so that they spread over all sets of the cache.
template <class T>
constexpr Size copy_stride = chunk_rows + (chunk_rows * sizeof(T) / 64 % 2 == 0 ? 64 / sizeof(T) : 0);
template <class T>
constexpr Size t_workspace_size = term_block * (chunk_columns + copy_stride<T>);

template <class T>
struct Store {
    static constexpr bool in_place = true;
    T* C;
    Size ldc;
    LW_INLINE void operator()(Vector<T> z, Size row, Size column, int n) const {
        store_first(C + row * ldc + column, z, n);
    }
};

struct Identity {
    static constexpr bool in_place = true;
    template <class V>
    LW_INLINE V operator()(V z) const {
        return z;
    }
};

struct Relu {
    static constexpr bool in_place = true;
    template <class V>
    LW_INLINE V operator()(V z) const {
        return z < V{} ? V{} : z;  // NaN stays
    }
};

template <class T, class Activation>
struct BiasThen {
    static constexpr bool in_place = Activation::in_place;
    Store<T> out;
    const T* bias;
    Activation activation;
    LW_INLINE void operator()(Vector<T> z, Size row, Size column, int n) const {
        out(activation(z + load_first(bias + column, n)), row, column, n);
    }
};

#define LW_DEFINE(name, slope)                     \
    struct slope_##name {                          \
        template <class T>                         \
        LW_INLINE static Vector<T> of(Vector<T> a) { \
            return slope;                          \
        }                                          \
    };
LW_SLOPES(LW_DEFINE)
#undef LW_DEFINE

template <class T, class Slope>
struct Times {
    static constexpr bool in_place = true;
    Store<T> out;
    const T* other;
    Size ldo;
    LW_INLINE void operator()(Vector<T> z, Size row, Size column, int n) const {
        out(z * Slope::template of<T>(load_first(other + row * ldo + column, n)), row, column, n);
    }
};

// Rows of the next tile when `left` remain: tiles as equal as possible, so that no thin one is left over.
LW_INLINE int next_rows(Size left, int most) {
    const Size m = static_cast<Size>(most);
    if (left >= 2 * m) return most;
    return static_cast<int>(left <= m ? left : (left + 1) / 2);
}

// The first four tiles of a block fetch a quarter of the next block each.
template <class T>
LW_INLINE Terms<T> fetch_ahead(Terms<T> t, const T* next, Size lanes, Size tile) {
    if constexpr (fetches_ahead) {
        t.ahead = reinterpret_cast<const char*>(t.b);
        if (next != nullptr && tile < 4) {
            t.ahead_k = lanes * sizeof(T) / 4;
            t.ahead = reinterpret_cast<const char*>(next) + tile * t.ahead_k * t.K;
        }
    }
    return t;
}

// One tile of any shape.
template <class T, class E>
LW_INLINE void compute(int rows, const Block& block, const Terms<T>& t, const Place<T>& p, const E& e) {
    if constexpr (E::in_place) {
        if (block.columns == block_width<T>) return tile_of<tile_rows(block_vectors)>(rows, t, p, e);
    }
    alignas(64) T buffer[most_rows * block_width<T>];
    any_raw_tile(rows, block.vectors, t, buffer);
    const int stride = block.lanes < width<T> ? width<T> : block.lanes;
    finish(buffer, static_cast<Size>(stride), rows, block.columns, p, e);
}

// C[rows, blocks] = A[rows, :] · B[:, blocks] through e. Sums over more than one block of terms wait in
// partial (M, N), which may be where e writes. A is read in place: copying each chunk first cost 0 to 7
// points of the peak in the runs made with this code (AVX-512, float32, rows 256 B to 16 KB apart), and gained nothing.
template <class T, class E>
void multiply(const T* A, Size lda, const T* packed, Size K, Size N, Size first_row, Size last_row, Size first_block,
              Size last_block, T* partial, Size ldp, const E& e) {
    for (Size row = first_row; row < last_row; row += chunk_rows) {
        const Size rows = last_row - row < chunk_rows ? last_row - row : chunk_rows;
        for (Size k = 0; k == 0 || k < K; k += term_block) {
            const Size terms = K - k < term_block ? K - k : term_block;
            for (Size j = first_block; j < last_block; ++j) {
                const Block block = block_at<T>(N, j);
                const Size lanes = static_cast<Size>(block.lanes);
                const T* const b = packed + block.first * K + k * lanes;
                const int most = tile_rows(block.vectors == 0 ? 1 : block.vectors);
                const T* const next = j + 1 < last_block ? b + block_width<T> * K : nullptr;
                Size i = 0;
                for (Size r = 0; r < rows; ++i) {
                    const int now = next_rows(rows - r, most);
                    const Terms<T> t = {A + (row + r) * lda + k, lda, 1, b, lanes, terms};
                    compute<T>(now, block, fetch_ahead(t, next, lanes, i),
                               {row + r, block.first, partial, ldp, k == 0, k + terms == K}, e);
                    r += static_cast<Size>(now);
                }
            }
        }
    }
}

// Where the tiles of AᵀD take their terms: X (K, p) gives vectors, Y (K, q) single elements. With few columns in D the
// roles are exchanged, Cᵀ = DᵀA, and the tile is transposed on its way out; no sum changes.
template <class T, bool exchanged, class E>
LW_INLINE void t_compute(int rows, const Block& block, const Terms<T>& t, Size x, Size y, Place<T> p, const E& e) {
    if constexpr (!exchanged) {
        p.row = y;
        p.column = x;
        compute(rows, block, t, p, e);
    } else {
        constexpr int stride = most_rows < width<T> ? width<T> : (most_rows + width<T> - 1) / width<T> * width<T>;
        alignas(64) T buffer[most_rows * block_width<T>];
        alignas(64) T turned[block_width<T> * stride];
        any_raw_tile(rows, block.vectors, t, buffer);
        const int lanes = block.lanes < width<T> ? width<T> : block.lanes;
        for (int c = 0; c < block.columns; ++c) {
            for (int r = 0; r < rows; ++r) turned[c * stride + r] = buffer[r * lanes + c];
            for (int r = rows; r < (rows + width<T> - 1) / width<T> * width<T>; ++r) turned[c * stride + r] = 0;
        }
        p.row = x;
        p.column = y;
        finish(turned, static_cast<Size>(stride), block.columns, rows, p, e);
    }
}

template <class T, bool exchanged, class E>
void t_loops(const T* X, Size ldx, Size x_first, Size x_last, const T* Y, Size ldy, Size y_first, Size y_last, Size K,
             T* partial, Size ldp, T* workspace, const E& e) {
    // A page between rows puts them all into the same few sets of the cache. Else, as measured,
    // a packed X pays for itself when many tiles read it, and a copied Y with AVX2 but not with AVX-512.
    const Size np = x_last - x_first, nq = y_last - y_first;
    const bool pack_x = nq >= 384 || (ldx * sizeof(T) % 4096 == 0 && nq >= 48);
    const bool copy_y = (ldy * sizeof(T) % 4096 == 0 && np >= 4 * block_width<T>) ||
                        (block_vectors < 4 && np >= 16 * block_width<T>);
    T* const y_copy = workspace + term_block * chunk_columns;
    for (Size k = 0; k == 0 || k < K; k += term_block) {
        const Size terms = K - k < term_block ? K - k : term_block;
        for (Size xc = x_first; xc < x_last; xc += chunk_columns) {
            const Size nx = x_last - xc < chunk_columns ? x_last - xc : chunk_columns;
            const Size blocks = block_count<T>(nx);
            if (pack_x) {
                pack_rows(X + k * ldx + xc, ldx, terms, nx, workspace, term_block);
            } else if (nx % block_width<T> != 0) {
                const Block block = block_at<T>(nx, blocks - 1);
                pack_block(X + k * ldx + xc + block.first, ldx, terms, block, workspace + block.first * term_block);
            }
            for (Size yc = y_first; yc < y_last; yc += chunk_rows) {
                const Size ny = y_last - yc < chunk_rows ? y_last - yc : chunk_rows;
                const T* a = Y + k * ldy + yc;
                Size a_k = ldy;
                if (copy_y) {
                    for (Size i = 0; i < terms; ++i) {
                        __builtin_memcpy(y_copy + i * copy_stride<T>, a + i * ldy, ny * sizeof(T));
                    }
                    a = y_copy;
                    a_k = copy_stride<T>;
                }
                for (Size j = 0; j < blocks; ++j) {
                    const Block block = block_at<T>(nx, j);
                    const T* b = workspace + block.first * term_block;
                    Size b_k = static_cast<Size>(block.lanes);
                    if (!pack_x && block.columns == block_width<T>) {
                        b = X + k * ldx + xc + block.first;
                        b_k = ldx;
                    }
                    const int most = tile_rows(block.vectors == 0 ? 1 : block.vectors);
                    for (Size r = 0; r < ny;) {
                        const int now = next_rows(ny - r, most);
                        const Terms<T> t = {a + r, 1, a_k, b, b_k, terms};
                        // Fetching ahead cost 1 to 3 points here with AVX2 (X has just been packed).
                        t_compute<T, exchanged>(now, block, fetch_ahead<T>(t, nullptr, 0, 0), xc + block.first, yc + r,
                                                {0, 0, partial, ldp, k == 0, k + terms == K}, e);
                        r += static_cast<Size>(now);
                    }
                }
            }
        }
    }
}

// Lanes that n columns are padded to.
template <class T>
LW_INLINE Size padded(Size n) {
    return n == 0 ? 0 : packed_size<T>(1, n);
}

// C[rows, columns] = A[:, rows]ᵀ · D[:, columns] through e; partial as in multiply.
template <class T, class E>
void t_multiply(const T* A, Size lda, Size first_row, Size last_row, const T* D, Size ldd, Size first_column,
                Size last_column, Size K, T* partial, Size ldp, T* workspace, const E& e) {
    const Size rows = last_row - first_row, columns = last_column - first_column;
    if (columns < block_width<T> && padded<T>(rows) * columns < padded<T>(columns) * rows) {
        t_loops<T, true>(A, lda, first_row, last_row, D, ldd, first_column, last_column, K, partial, ldp, workspace,
                         e);
    } else {
        t_loops<T, false>(D, ldd, first_column, last_column, A, lda, first_row, last_row, K, partial, ldp, workspace,
                          e);
    }
}

// Vectors of columns that column_sums takes together: as many chains as hide the latency of an addition.
constexpr int sum_vectors = 8;

template <class T, int C>
LW_INLINE void column_sums_of(const T* D, Size ldd, Size K, T* sums, int last_lanes) {
    constexpr int w = width<T>;
    Vector<T> total[C];
    for (Size k = 0; k == 0 || k < K; k += term_block) {
        Vector<T> sum[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[c] = Vector<T>{};
        const Size end = K - k < term_block ? K : k + term_block;
        for (Size i = k; i < end; ++i) {
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) {
                sum[c] = sum[c] + (c + 1 < C ? load(D + i * ldd + c * w) : load_first(D + i * ldd + c * w, last_lanes));
            }
        }
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) total[c] = k == 0 ? sum[c] : total[c] + sum[c];
    }
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) store_first(sums + c * w, total[c], c + 1 < C ? w : last_lanes);
}

template <class T, int C>
LW_INLINE void column_sums_up_to(int vectors, const T* D, Size ldd, Size K, T* sums, int last_lanes) {
    if (vectors == C) return column_sums_of<T, C>(D, ldd, K, sums, last_lanes);
    if constexpr (C > 1) column_sums_up_to<T, C - 1>(vectors, D, ldd, K, sums, last_lanes);
}

template <class T>
void column_sums(const T* D, Size ldd, Size K, Size first, Size last, T* sums) {
    constexpr Size w = width<T>;
    for (Size j = first; j < last; j += sum_vectors * w) {
        const Size left = last - j;
        const int vectors = left >= sum_vectors * w ? sum_vectors : static_cast<int>((left + w - 1) / w);
        const Size lanes = left - (static_cast<Size>(vectors) - 1) * w;
        column_sums_up_to<T, sum_vectors>(vectors, D + j, ldd, K, sums + j, static_cast<int>(lanes < w ? lanes : w));
    }
}

}  // namespace lw::LW_NAMESPACE
