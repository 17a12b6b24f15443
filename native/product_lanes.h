// Whole vectors, half vectors, and vectors turned: what the products need beside simd.h.
#pragma once

#include <utility>

#include "simd.h"

namespace lw::LW_NAMESPACE {

using Size = std::size_t;

// All lanes of a vector are loaded and stored, where Part says that only some are.
struct Whole {};

template <class T>
LW_INLINE Vector<T> load_lanes(const T* p, Whole) {
    return load(p);
}

template <class T>
LW_INLINE void store_lanes(T* p, Vector<T> v, Whole) {
    store(p, v);
}

// Half vectors, of AVX-512 alone: on many processors two of them run at a time.
constexpr bool half_vectors = LW_ISA == 2;

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

// The upper half is 0.
template <class T, class V, int... I>
LW_INLINE Vector<T> widened(V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, V{}, I...);
}
template <class T, class V>
LW_INLINE Vector<T> widened(V v) {
    if constexpr (sizeof(V) < LW_VECTOR_BYTES) {
        return widened<T>(v, std::make_integer_sequence<int, width<T>>());
    } else {
        return v;
    }
}

template <class V, int... I>
LW_INLINE void interleave(V a, V b, V& low, V& high, std::integer_sequence<int, I...>) {
    constexpr int w = sizeof...(I);
    low = __builtin_shufflevector(a, b, (I / 2 + I % 2 * w)...);
    high = __builtin_shufflevector(a, b, (I / 2 + I % 2 * w + w / 2)...);
}

// Rows become columns: the rows i and i + w/2 interleaved, log2 w times over.
template <class T>
LW_INLINE void transpose(Vector<T> (&rows)[width<T>]) {
    constexpr int w = width<T>;
#pragma GCC unroll 4
    for (int step = 1; step < w; step *= 2) {
        Vector<T> next[w];
#pragma GCC unroll 8
        for (int i = 0; i < w / 2; ++i) {
            interleave(rows[i], rows[i + w / 2], next[2 * i], next[2 * i + 1], std::make_integer_sequence<int, w>());
        }
#pragma GCC unroll 16
        for (int i = 0; i < w; ++i) rows[i] = next[i];
    }
}

}  // namespace lw::LW_NAMESPACE
