// 64 bytes of numbers, whatever the vectors of the instruction set: sums along a row run in that many lanes and the
// lanes are added in pairs, so that every set adds in the same order.
//
// Included only by *_isa.cpp; see simd.h.
#pragma once

#include "math.h"
#include "product_tile.h"

namespace lw::LW_NAMESPACE {

template <class T>
constexpr int lanes = 64 / static_cast<int>(sizeof(T));
constexpr int lane_vectors = 64 / LW_VECTOR_BYTES;

#define LW_EACH_LANE_VECTOR _Pragma("GCC unroll 4") for (int i = 0; i < lane_vectors; ++i)

template <class T>
struct Lanes {
    Vector<T> v[lane_vectors];
};

template <class T>
LW_INLINE Lanes<T> all_lanes(T x) {
    Lanes<T> y;
    LW_EACH_LANE_VECTOR y.v[i] = all<T>(x);
    return y;
}

template <class T>
LW_INLINE Lanes<T> load_lanes(const T* p) {
    Lanes<T> y;
    LW_EACH_LANE_VECTOR y.v[i] = load<T>(p + i * width<T>);
    return y;
}

template <class T>
LW_INLINE void store_lanes(T* p, const Lanes<T>& x) {
    LW_EACH_LANE_VECTOR store<T>(p + i * width<T>, x.v[i]);
}

// The first n lanes, 0 < n < lanes; the others hold `rest`, and in memory they are left alone.
template <class T>
LW_INLINE Lanes<T> load_lanes(const T* p, int n, T rest) {
    Lanes<T> y;
    LW_EACH_LANE_VECTOR {
        const int here = n - i * width<T>;
        if (here >= width<T>) {
            y.v[i] = load<T>(p + i * width<T>);
        } else if (here <= 0) {
            y.v[i] = all<T>(rest);
        } else {
            T part[width<T>];
            store<T>(part, all<T>(rest));
            for (int k = 0; k < here; ++k) part[k] = p[i * width<T> + k];
            y.v[i] = load<T>(part);
        }
    }
    return y;
}

template <class T>
LW_INLINE void store_lanes(T* p, const Lanes<T>& x, int n) {
    LW_EACH_LANE_VECTOR {
        const int here = n - i * width<T>;
        if (here > 0) store_first<T>(p + i * width<T>, x.v[i], here < width<T> ? here : width<T>);
    }
}

// The larger one; y where one is NaN.
template <class T>
LW_INLINE Vector<T> larger(Vector<T> x, Vector<T> y) {
    return select<T>(x > y, x, y);
}

// Lane l with lane l + half, for half = 8, 4, 2, 1.
template <class T, class F>
LW_INLINE T fold(const Lanes<T>& x, F f) {
    T part[lanes<T>];
    store_lanes<T>(part, x);
    for (int half = lanes<T> / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; ++l) part[l] = f(part[l], part[l + half]);
    }
    return part[0];
}

template <class T>
LW_INLINE T fold_sum(const Lanes<T>& x) {
    return fold<T>(x, [](T a, T b) __attribute__((always_inline)) { return a + b; });
}

template <class T>
LW_INLINE T fold_larger(const Lanes<T>& x) {
    return fold<T>(x, [](T a, T b) __attribute__((always_inline)) { return a > b ? a : b; });
}

}  // namespace lw::LW_NAMESPACE
