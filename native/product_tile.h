// The register tile of the products: R rows × C vectors of C = A·B, all sums held in registers.
//
// Included only by *_isa.cpp; see simd.h. Tile shapes are chosen so that sums, one row of B and one element of A fill
// the registers: 6 × 4 vectors of 32 registers, 6 × 2 of 16. Narrower blocks take more rows, to keep at least the
// eight independent sums that the latency of a multiply-add asks for.
#pragma once

#include "product_lanes.h"

namespace lw::LW_NAMESPACE {

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

constexpr int most_rows = 12;
template <class T>
constexpr int block_width = block_vectors * width<T>;

// K terms of a tile: element (r, k) of A at a[r · a_row + k · a_k], row k of B at b + k · b_k.
template <class T>
struct Terms {
    const T* a;
    Size a_row, a_k;
    const T* b;
    Size b_k;
    Size K;
    const char* ahead = reinterpret_cast<const char*>(b);  // fetched meanwhile, ahead_k bytes further for each k
    Size ahead_k = 0;
};

// Vectors for so many halves of one.
constexpr int vectors_of(int halves) { return (halves + 1) / 2; }

// Sums of R rows of H half vectors; a last half is computed as such, and the upper half of its vector is 0.
template <int R, int H, class T>
LW_INLINE void accumulate(const Terms<T>& t, Vector<T> (&sum)[R][vectors_of(H)]) {
    using V = Vector<T>;
    using Tail = typename Half<T>::Vector;
    constexpr int w = width<T>, C = H / 2;
    // One pointer for three rows: x86 addresses p, p + s and p + 2 s, and twelve pointers would not fit.
    const T* a[(R + 2) / 3];
    const Size a_row = t.a_row, a_k = t.a_k, b_k = t.b_k;
#pragma GCC unroll 8
    for (int g = 0; g < (R + 2) / 3; ++g) a[g] = t.a + 3 * static_cast<Size>(g) * a_row;
    Tail tail[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[r][c] = V{};
        tail[r] = Tail{};
    }
    const T* b = t.b;
    const char* ahead = t.ahead;
    const Size ahead_k = t.ahead_k;
    for (Size k = t.K; k > 0; --k) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_k;
        V row[C > 0 ? C : 1];
        Tail row_tail;
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) __builtin_memcpy(&row[c], b + c * w, sizeof(V));
        if constexpr (H % 2 == 1) __builtin_memcpy(&row_tail, b + C * w, sizeof row_tail);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const T* const x = a[r / 3] + static_cast<Size>(r % 3) * a_row;
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) sum[r][c] = fma(*x - V{}, row[c], sum[r][c]);
            if constexpr (H % 2 == 1) tail[r] = fma(*x - Tail{}, row_tail, tail[r]);
        }
#pragma GCC unroll 8
        for (int g = 0; g < (R + 2) / 3; ++g) a[g] += a_k;
        b += b_k;
    }
    if constexpr (H % 2 == 1) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) sum[r][C] = widened<T>(tail[r]);
    }
}

// Where a tile stands, and which blocks of terms came before.
template <class T>
struct Place {
    Size row, column;
    bool first, last;      // block of terms
    T* partial = nullptr;  // element (0, 0) of the sums over earlier blocks of terms
    Size ldp = 0;
};

#define LW_INLINE_LAMBDA __attribute__((always_inline))

// f(row, vector, lanes) for each vector of a tile.
template <int R, int C, class Last, class F>
LW_INLINE void each_vector(Last last, const F& f) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c + 1 < C; ++c) f(r, c, Whole{});
        f(r, C - 1, last);
    }
}

// From the registers through the epilogue. `last`: lanes of the last vector of each row.
template <int R, int H, class T, class Last, class E>
__attribute__((noinline)) void tile(const Terms<T>& t, const Place<T>& place, const E& epilogue, Last last) {
    constexpr int w = width<T>, C = vectors_of(H);
    // Copies: behind a store the compiler would read again what it knows by reference only.
    const Place<T> p = place;
    const E e = epilogue.at(p.row, p.column);
    T* const partial = p.partial + p.row * p.ldp + p.column;
    // The lines of C, while the sums run: about 2 points in large products; small ones lost 1.
    if (!p.first || t.K >= 256) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int c = 0; c < C * w; c += 64 / static_cast<int>(sizeof(T))) {
                __builtin_prefetch(partial + static_cast<Size>(r) * p.ldp + c, 1, 3);
                if (p.last) e.fetch(static_cast<Size>(r), static_cast<Size>(c));
            }
        }
    }
    if (p.last) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
            for (int c = 0; c < C * w; c += 64 / static_cast<int>(sizeof(T))) {
                e.claim(static_cast<Size>(r), static_cast<Size>(c));
            }
        }
    }
    Vector<T> z[R][C];
    accumulate<R, H>(t, z);
    if (!p.first) {
        each_vector<R, C>(last, [&](int r, int c, auto lanes) LW_INLINE_LAMBDA {
            z[r][c] = load_lanes(partial + static_cast<Size>(r) * p.ldp + c * w, lanes) + z[r][c];
        });
    }
    if (!p.last) {
        each_vector<R, C>(last, [&](int r, int c, auto lanes) LW_INLINE_LAMBDA {
            store_lanes(partial + static_cast<Size>(r) * p.ldp + c * w, z[r][c], lanes);
        });
        return;
    }
    if (e.twice()) [[unlikely]] {
        each_vector<R, C>(last, [&](int r, int c, auto lanes) LW_INLINE_LAMBDA {
            e.template put<true>(z[r][c], static_cast<Size>(r), static_cast<Size>(c * w), lanes);
        });
    } else {
        each_vector<R, C>(last, [&](int r, int c, auto lanes) LW_INLINE_LAMBDA {
            e.template put<false>(z[r][c], static_cast<Size>(r), static_cast<Size>(c * w), lanes);
        });
    }
}

// One vector, where speed is lost already.
template <class T, class E, class L>
LW_INLINE void put(const E& e, Vector<T> z, Size r, Size c, L lanes) {
    if (e.twice()) {
        e.template put<true>(z, r, c, lanes);
    } else {
        e.template put<false>(z, r, c, lanes);
    }
}

// Any tile, its sums written to a buffer whose rows are whole vectors.
template <int R, int H, class T>
__attribute__((noinline)) void raw_tile(const Terms<T>& t, T* buffer) {
    constexpr int C = vectors_of(H);
    Vector<T> sum[R][C];
    accumulate<R, H>(t, sum);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) store(buffer + (r * C + c) * width<T>, sum[r][c]);
    }
}

template <int R, int H, class T>
LW_INLINE void raw_tile_of(int rows, const Terms<T>& t, T* buffer) {
    if (rows == R) return raw_tile<R, H>(t, buffer);
    if constexpr (R > 1) raw_tile_of<R - 1, H>(rows, t, buffer);
}

template <class T, int H = 1>
__attribute__((noinline)) void any_raw_tile(int rows, int halves, const Terms<T>& t, T* buffer) {
    if constexpr (half_vectors || H % 2 == 0) {
        if (halves == H) return raw_tile_of<tile_rows(vectors_of(H)), H>(rows, t, buffer);
    }
    if constexpr (H < 2 * block_vectors) any_raw_tile<T, H + 1>(rows, halves, t, buffer);
}

// From the buffer, whose rows are `vectors` vectors, through the epilogue.
template <class T, class E>
__attribute__((noinline)) void finish(const T* buffer, int rows, int vectors, int columns, const Place<T>& place,
                                      const E& epilogue) {
    const Place<T> p = place;
    const E e = epilogue.at(p.row, p.column);
    for (int r = 0; r < rows; ++r) {
        T* const partial = p.partial + (p.row + static_cast<Size>(r)) * p.ldp + p.column;
        for (int c = 0; c < columns; c += width<T>) {
            const Part<T> lanes(columns - c < width<T> ? columns - c : width<T>);
            Vector<T> z = load(buffer + r * vectors * width<T> + c);
            if (!p.first) z = load_lanes(partial + c, lanes) + z;
            if (p.last) {
                put<T>(e, z, static_cast<Size>(r), static_cast<Size>(c), lanes);
            } else {
                store_lanes(partial + c, z, lanes);
            }
        }
    }
}

template <int R, class T, class E>
LW_INLINE void full_tile(int rows, const Terms<T>& t, const Place<T>& p, const E& e) {
    if (rows == R) return tile<R, 2 * block_vectors>(t, p, e, Whole{});
    if constexpr (R > 1) full_tile<R - 1>(rows, t, p, e);
}

// As many rows as a tile of its width has.
template <int H, class T, class E>
LW_INLINE void high_tile(int halves, int columns, const Terms<T>& t, const Place<T>& p, const E& e) {
    constexpr int C = vectors_of(H);
    if constexpr (half_vectors || H % 2 == 0) {
        if (halves == H) return tile<tile_rows(C), H>(t, p, e, Part<T>(columns - (C - 1) * width<T>));
    }
    if constexpr (H < 2 * block_vectors) high_tile<H + 1>(halves, columns, t, p, e);
}

// A tile of any shape: `columns` of a block of so many half vectors.
template <class T, class E>
LW_INLINE void any_tile(int rows, int halves, int columns, const Terms<T>& t, const Place<T>& p, const E& e) {
    if (columns == block_width<T>) return full_tile<tile_rows(block_vectors)>(rows, t, p, e);
    const int used = vectors_of(halves);
    if (rows == tile_rows(used)) return high_tile<1>(halves, columns, t, p, e);
    alignas(64) T buffer[most_rows * block_width<T>];
    any_raw_tile(rows, halves, t, buffer);
    finish(buffer, rows, used, columns, p, e);
}

}  // namespace lw::LW_NAMESPACE
