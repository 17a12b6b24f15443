// Parts of vectors, half vectors, and vectors turned: what the products need beside simd.h.
#pragma once

#include <utility>

#include "simd.h"

namespace lw::LW_NAMESPACE {

using Size = std::size_t;

// Which lanes of a vector are loaded and stored: all of them, or the first n, 0 < n ≤ width, without touching the
// memory of the others (load_first and store_first of simd.h call memcpy when n is not a constant).
struct Whole {};

template <class T>
struct Part {
#if LW_ISA == 2
    unsigned mask;
    LW_INLINE explicit Part(int n) : mask((1u << n) - 1) {}
#else
    int n;
    LW_INLINE explicit Part(int lanes) : n(lanes) {}
#endif
};

template <class T>
LW_INLINE Vector<T> load_lanes(const T* p, Whole) {
    return load(p);
}

template <class T>
LW_INLINE void store_lanes(T* p, Vector<T> v, Whole) {
    store(p, v);
}

template <class T>
LW_INLINE Vector<T> load_lanes(const T* p, Part<T> part) {
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) {
        return _mm512_maskz_loadu_ps(static_cast<__mmask16>(part.mask), p);
    } else {
        return _mm512_maskz_loadu_pd(static_cast<__mmask8>(part.mask), p);
    }
#elif LW_ISA == 1
    if constexpr (sizeof(T) == 4) {
        return _mm256_maskload_ps(p, first_lanes(p, part.n));
    } else {
        return _mm256_maskload_pd(p, first_lanes(p, part.n));
    }
#else
    T lanes[width<T>] = {};
    for (int i = 0; i < part.n; ++i) lanes[i] = p[i];
    return load(lanes);
#endif
}

template <class T>
LW_INLINE void store_lanes(T* p, Vector<T> v, Part<T> part) {
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) {
        _mm512_mask_storeu_ps(p, static_cast<__mmask16>(part.mask), v);
    } else {
        _mm512_mask_storeu_pd(p, static_cast<__mmask8>(part.mask), v);
    }
#elif LW_ISA == 1
    if constexpr (sizeof(T) == 4) {
        _mm256_maskstore_ps(p, first_lanes(p, part.n), v);
    } else {
        _mm256_maskstore_pd(p, first_lanes(p, part.n), v);
    }
#else
    T lanes[width<T>];
    store(lanes, v);
    for (int i = 0; i < part.n; ++i) p[i] = lanes[i];
#endif
}

template <class T>
LW_INLINE Vector<T> load_part(const T* p, int n) {
    return n == width<T> ? load(p) : load_lanes(p, Part<T>(n));
}

template <class T>
LW_INLINE void store_part(T* p, Vector<T> v, int n) {
    if (n == width<T>) return store(p, v);
    store_lanes(p, v, Part<T>(n));
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
