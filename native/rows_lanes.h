// 64 bytes of numbers, whatever the vectors of the instruction set: sums along a row run in that many lanes and the
// lanes are added in pairs, so that every set adds in the same order.
//
// Included only by *_isa.cpp; see simd.h.
#pragma once

#include "math.h"
#include "product_tile.h"

namespace lw::LW_NAMESPACE {

// Parts of vectors ---------------------------------------------------------------------------------------------

// Elements in 16 bytes, the least that is loaded and stored at a time.
template <class T>
constexpr int unit = 16 / static_cast<int>(sizeof(T));

template <class T>
struct UnitOf;
template <>
struct UnitOf<float> {
    typedef float Vector __attribute__((vector_size(16)));
};
template <>
struct UnitOf<double> {
    typedef double Vector __attribute__((vector_size(16)));
};
template <class T>
using Unit = typename UnitOf<T>::Vector;

// n elements of p, 0 < n <= unit; the others are 0.
LW_INLINE Unit<double> load_unit(const double* p, int n) {
    return n == 1 ? Unit<double>{p[0]} : Unit<double>{p[0], p[1]};
}

LW_INLINE Unit<float> load_unit(const float* p, int n) {
    Unit<float> u;
    if (n == 4) {
        __builtin_memcpy(&u, p, sizeof u);
        return u;
    }
#if LW_ISA == 2
    return _mm_maskz_loadu_ps(static_cast<__mmask8>((1u << n) - 1), p);
#else
    if (n == 1) return Unit<float>{p[0]};
    double two;
    __builtin_memcpy(&two, p, sizeof two);
    u = (Unit<float>)Unit<double>{two};
    return n == 2 ? u : __builtin_shufflevector(u, Unit<float>{p[2]}, 0, 1, 4, 5);
#endif
}

template <class T>
LW_INLINE void store_unit(T* p, Unit<T> u, int n) {
    if (n == unit<T>) {
        __builtin_memcpy(p, &u, sizeof u);
    } else {
        for (int i = 0; i < n; ++i) p[i] = u[i];
    }
}

// The first n elements of width, 0 < n <= width; the others are 0, and in memory they are left alone. (load_part and
// store_part of the products go by single elements in the baseline.)
template <class T>
LW_INLINE Vector<T> load_some(const T* p, int n) {
#if LW_ISA == 0 && LW_VECTOR_BYTES == 16
    return load_unit(p, n);
#else
    return load_part<T>(p, n);
#endif
}

template <class T>
LW_INLINE void store_some(T* p, Vector<T> v, int n) {
#if LW_ISA == 0 && LW_VECTOR_BYTES == 16
    store_unit<T>(p, v, n);
#else
    store_part<T>(p, v, n);
#endif
}

// The others are `rest`.
template <class T>
LW_INLINE Vector<T> load_some(const T* p, int n, T rest) {
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) {
        return _mm512_mask_loadu_ps(all<T>(rest), static_cast<__mmask16>((1u << n) - 1), p);
    } else {
        return _mm512_mask_loadu_pd(all<T>(rest), static_cast<__mmask8>((1u << n) - 1), p);
    }
#else
    Vector<T> index;
    for (int i = 0; i < width<T>; ++i) index[i] = static_cast<T>(i);
    return select<T>(index < static_cast<T>(n), load_some<T>(p, n), all<T>(rest));
#endif
}

// Lanes that are set, lane 0 in bit 0.
template <class T>
LW_INLINE unsigned set_lanes(Mask<T> m) {
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask((__m512i)m);
    return _mm512_movepi64_mask((__m512i)m);
#elif LW_ISA == 1
    if constexpr (sizeof(T) == 4) return static_cast<unsigned>(_mm256_movemask_ps((__m256)m));
    return static_cast<unsigned>(_mm256_movemask_pd((__m256d)m));
#else
    unsigned found = 0;
    for (int i = 0; i < width<T>; ++i) found |= m[i] != 0 ? 1u << i : 0u;
    return found;
#endif
}

// Lanes --------------------------------------------------------------------------------------------------------

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

// The first n lanes, 0 < n <= lanes; the others are `rest`, and in memory they are left alone.
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
            y.v[i] = load_some<T>(p + i * width<T>, here, rest);
        }
    }
    return y;
}

template <class T>
LW_INLINE void store_lanes(T* p, const Lanes<T>& x, int n) {
    LW_EACH_LANE_VECTOR {
        const int here = n - i * width<T>;
        if (here > 0) store_some<T>(p + i * width<T>, x.v[i], here < width<T> ? here : width<T>);
    }
}

// f(k, n) for pieces of n <= lanes entries from k on.
template <class T, class F>
LW_INLINE void over_lanes(Size length, F f) {
    Size k = 0;
    for (; k + lanes<T> <= length; k += lanes<T>) f(k, lanes<T>);
    if (k < length) f(k, static_cast<int>(length - k));
}

// x + y where m is set, else x.
template <class T>
LW_INLINE Vector<T> add_where(Mask<T> m, Vector<T> x, Vector<T> y) {
#if LW_ISA == 2
    return m ? x + y : x;  // one masked instruction
#else
    return x + select<T>(m, y, Vector<T>{});
#endif
}

// The larger one; y where one is NaN.
template <class T>
LW_INLINE Vector<T> larger(Vector<T> x, Vector<T> y) {
    return select<T>(x > y, x, y);
}

// The larger one; NaN where one is.
template <class T>
LW_INLINE Vector<T> larger_or_nan(Vector<T> x, Vector<T> y) {
    return select<T>(x != x, x, larger<T>(x, y));
}

// Lane l with lane l + half, for half = lanes/2, …, 2, 1: f(vector, vector) and in the end f of two numbers.
template <class T, class F>
LW_INLINE T fold(const Lanes<T>& x, F f) {
#if LW_ISA == 2
    const Vector<T> whole = x.v[0];
#elif LW_ISA == 1
    const Vector<T> whole = f(x.v[0], x.v[1]);
#else
    const Vector<T> whole = f(f(x.v[0], x.v[2]), f(x.v[1], x.v[3]));
#endif
    if constexpr (sizeof(T) == 4) {
        typedef float F4 __attribute__((vector_size(16)));
        F4 four;
#if LW_ISA == 2
        typedef float F8 __attribute__((vector_size(32)));
        const F8 eight = f(__builtin_shufflevector(whole, whole, 0, 1, 2, 3, 4, 5, 6, 7),
                           __builtin_shufflevector(whole, whole, 8, 9, 10, 11, 12, 13, 14, 15));
        four = f(__builtin_shufflevector(eight, eight, 0, 1, 2, 3), __builtin_shufflevector(eight, eight, 4, 5, 6, 7));
#elif LW_ISA == 1
        four = f(__builtin_shufflevector(whole, whole, 0, 1, 2, 3), __builtin_shufflevector(whole, whole, 4, 5, 6, 7));
#else
        four = whole;
#endif
        const F4 two = f(four, __builtin_shufflevector(four, four, 2, 3, 2, 3));
        return f(two[0], two[1]);
    } else {
        typedef double D2 __attribute__((vector_size(16)));
        D2 two;
#if LW_ISA == 2
        typedef double D4 __attribute__((vector_size(32)));
        const D4 four = f(__builtin_shufflevector(whole, whole, 0, 1, 2, 3),
                          __builtin_shufflevector(whole, whole, 4, 5, 6, 7));
        two = f(__builtin_shufflevector(four, four, 0, 1), __builtin_shufflevector(four, four, 2, 3));
#elif LW_ISA == 1
        two = f(__builtin_shufflevector(whole, whole, 0, 1), __builtin_shufflevector(whole, whole, 2, 3));
#else
        two = whole;
#endif
        return f(two[0], two[1]);
    }
}

// Reductions: f(a, b) of vectors of any width or numbers, where to start, and what is done in the end. (GCC 12 compiles
// `k == 0 ? v : f(v, y)` in a loop over eight doubles wrongly: the condition, one bit, becomes the mask of the lanes.)
struct Add {
    template <class V>
    LW_INLINE V operator()(V a, V b) const {
        return a + b;
    }
    template <class T>
    LW_INLINE Vector<T> start() const {
        return Vector<T>{};
    }
    template <class T>
    LW_INLINE Vector<T> finish(Vector<T> y, Size) const {
        return y;
    }
};

struct Mean : Add {
    template <class T>
    LW_INLINE Vector<T> finish(Vector<T> y, Size n) const {
        return y / static_cast<T>(n);
    }
};

struct Larger {
    template <class V>
    LW_INLINE V operator()(V a, V b) const {
        return a > b ? a : b;
    }
};

struct LargerOrNan {
    template <class V>
    LW_INLINE V operator()(V a, V b) const {
        const V c = a > b ? a : b;
        return a != a ? a : c;
    }
    template <class T>
    LW_INLINE Vector<T> start() const {
        return all<T>(-infinity<T>);
    }
    template <class T>
    LW_INLINE Vector<T> finish(Vector<T> y, Size) const {
        return y;
    }
};

}  // namespace lw::LW_NAMESPACE
