// The register tile of the products: R rows × C vectors of C = A·B, all sums held in registers.
//
// Included only by *_isa.cpp; see simd.h. Tile shapes are chosen so that sums, one row of B and one element of A fill
// the registers: 6 × 4 vectors of 32 registers, 6 × 2 of 16. Narrower blocks take more rows, to keep at least the
// eight independent sums that the latency of a multiply-add asks for.
#pragma once

#include "simd.h"

namespace lw::LW_NAMESPACE {

using Size = std::size_t;

#if LW_ISA == 2
constexpr int block_vectors = 4;
constexpr int tile_rows(int vectors) { return vectors == 4 ? 6 : vectors == 3 ? 8 : 12; }
#elif defined(__aarch64__)
constexpr int block_vectors = 4;
constexpr int tile_rows(int vectors) { return vectors == 4 ? 6 : 8; }
#else
constexpr int block_vectors = 2;
constexpr int tile_rows(int vectors) { return vectors == 2 ? 6 : 12; }
#endif

// Blocks of at most half a vector use half vectors where that runs two at a time (AVX-512 on many processors).
constexpr bool half_vectors = LW_ISA == 2;
// A block of B comes from memory while the one before it is used. Measured on Zen 4 at
// 512 × 2048 × 2048: 8 to 16 points of the peak with AVX2, none with AVX-512.
constexpr bool fetches_ahead = LW_ISA != 2;
constexpr int most_rows = 12;
template <class T>
constexpr int block_width = block_vectors * width<T>;

template <class T>
struct Half;
template <>
struct Half<float> {
    typedef float Vector __attribute__((vector_size(LW_VECTOR_BYTES / 2)));
};
template <>
struct Half<double> {
    typedef double Vector __attribute__((vector_size(LW_VECTOR_BYTES / 2)));
};

#if LW_ISA == 2
LW_INLINE Half<float>::Vector fma(Half<float>::Vector a, Half<float>::Vector b, Half<float>::Vector c) {
    return _mm256_fmadd_ps(a, b, c);
}
LW_INLINE Half<double>::Vector fma(Half<double>::Vector a, Half<double>::Vector b, Half<double>::Vector c) {
    return _mm256_fmadd_pd(a, b, c);
}
#endif

// K terms of a tile: element (r, k) of A at a[r · a_row + k · a_k], row k of B at b + k · b_k.
template <class T>
struct Terms {
    const T* a;
    Size a_row, a_k;
    const T* b;
    Size b_k;
    Size K;
    const char* ahead = nullptr;  // where the next block of B is fetched from, ahead_k bytes further for each k
    Size ahead_k = 0;
};

template <class V, int R, int C, class T>
LW_INLINE void accumulate(const Terms<T>& t, V (&sum)[R][C]) {
    constexpr int w = sizeof(V) / sizeof(T);
    // One pointer for three rows: x86 addresses p, p + s and p + 2 s, and twelve pointers would not fit.
    const T* a[(R + 2) / 3];
    const Size a_row = t.a_row, a_k = t.a_k, b_k = t.b_k;
#pragma GCC unroll 8
    for (int g = 0; g < (R + 2) / 3; ++g) a[g] = t.a + 3 * static_cast<Size>(g) * a_row;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[r][c] = V{};
    }
    const T* b = t.b;
    [[maybe_unused]] const char* ahead = t.ahead;
    [[maybe_unused]] const Size ahead_k = t.ahead_k;
    for (Size k = t.K; k > 0; --k) {
        if constexpr (fetches_ahead) {
            __builtin_prefetch(ahead, 0, 2);
            ahead += ahead_k;
        }
        V row[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) __builtin_memcpy(&row[c], b + c * w, sizeof(V));
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const V x = a[r / 3][static_cast<Size>(r % 3) * a_row] - V{};
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) sum[r][c] = fma(x, row[c], sum[r][c]);
        }
#pragma GCC unroll 8
        for (int g = 0; g < (R + 2) / 3; ++g) a[g] += a_k;
        b += b_k;
    }
}

// Where a tile stands, and which blocks of terms came before.
template <class T>
struct Place {
    Size row, column;
    T* partial;  // element (0, 0) of the sums over earlier blocks of terms
    Size ldp;
    bool first, last;  // block of terms
};

// A full tile: the sums go from the registers through the epilogue e(sums, row, column, count of columns).
template <int R, class T, class E>
__attribute__((noinline)) void tile(const Terms<T>& t, const Place<T>& p, const E& e) {
    constexpr int w = width<T>;
    Vector<T> sum[R][block_vectors];
    T* const partial = p.partial + p.row * p.ldp + p.column;
    // The lines of C, while the sums run: about 2 points in large products; small ones lost 1.
    if (!p.first || t.K >= 256) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            for (int c = 0; c < block_width<T>; c += 64 / static_cast<int>(sizeof(T))) {
                __builtin_prefetch(partial + static_cast<Size>(r) * p.ldp + c, 1, 3);
            }
        }
    }
    accumulate(t, sum);
    if (!p.first) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int c = 0; c < block_vectors; ++c) {
                sum[r][c] = load(partial + static_cast<Size>(r) * p.ldp + c * w) + sum[r][c];
            }
        }
    }
    if (!p.last) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int c = 0; c < block_vectors; ++c) {
                store(partial + static_cast<Size>(r) * p.ldp + c * w, sum[r][c]);
            }
        }
        return;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < block_vectors; ++c) {
            e(sum[r][c], p.row + static_cast<Size>(r), p.column + static_cast<Size>(c * w), w);
        }
    }
}

// Any tile, its sums written to a buffer whose rows are whole vectors.
template <class V, int R, int C, class T>
__attribute__((noinline)) void raw_tile(const Terms<T>& t, T* buffer) {
    constexpr int w = sizeof(V) / sizeof(T);
    constexpr int stride = C * w < width<T> ? width<T> : C * w;
    V sum[R][C];
    accumulate(t, sum);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) __builtin_memcpy(buffer + r * stride + c * w, &sum[r][c], sizeof(V));
        if constexpr (w < width<T>) {
            const V zero = {};
            __builtin_memcpy(buffer + r * stride + w, &zero, sizeof(V));
        }
    }
}

// From the buffer through the epilogue: ragged and narrow tiles, and epilogues too long to repeat for each register.
template <class T, class E>
__attribute__((noinline)) void finish(const T* buffer, Size stride, int rows, int columns, const Place<T>& p,
                                      const E& e) {
    for (int r = 0; r < rows; ++r) {
        const Size row = p.row + static_cast<Size>(r);
        for (int c = 0; c < columns; c += width<T>) {
            const int n = columns - c < width<T> ? columns - c : width<T>;
            const Size column = p.column + static_cast<Size>(c);
            T* const partial = p.partial + row * p.ldp + column;
            Vector<T> z = load(buffer + static_cast<Size>(r) * stride + c);
            if (!p.first) z = load_first(partial, n) + z;
            if (p.last) {
                e(z, row, column, n);
            } else {
                store_first(partial, z, n);
            }
        }
    }
}

template <int R, class T, class E>
LW_INLINE void tile_of(int rows, const Terms<T>& t, const Place<T>& p, const E& e) {
    if (rows == R) return tile<R>(t, p, e);
    if constexpr (R > 1) tile_of<R - 1>(rows, t, p, e);
}

template <class V, int R, int C, class T>
LW_INLINE void raw_tile_of(int rows, const Terms<T>& t, T* buffer) {
    if (rows == R) return raw_tile<V, R, C>(t, buffer);
    if constexpr (R > 1) raw_tile_of<V, R - 1, C>(rows, t, buffer);
}

// vectors = 0: half a vector.
template <class T>
__attribute__((noinline)) void any_raw_tile(int rows, int vectors, const Terms<T>& t, T* buffer) {
    if constexpr (half_vectors) {
        if (vectors == 0) return raw_tile_of<typename Half<T>::Vector, tile_rows(1), 1>(rows, t, buffer);
    }
    if constexpr (block_vectors == 4) {
        if (vectors == 4) return raw_tile_of<Vector<T>, tile_rows(4), 4>(rows, t, buffer);
        if (vectors == 3) return raw_tile_of<Vector<T>, tile_rows(3), 3>(rows, t, buffer);
    }
    if (vectors == 2) return raw_tile_of<Vector<T>, tile_rows(2), 2>(rows, t, buffer);
    raw_tile_of<Vector<T>, tile_rows(1), 1>(rows, t, buffer);
}

}  // namespace lw::LW_NAMESPACE
