// Runs of a few entries, one in each lane of a vector: `width` runs are turned into `length` vectors, of which the k-th
// holds entry k of every run, and back. What is computed in between needs no sums across lanes and wastes none.
//
// Included only by *_isa.cpp; see simd.h.
#pragma once

#include <utility>

#include "rows_lanes.h"

namespace lw::LW_NAMESPACE {

// Shuffles -----------------------------------------------------------------------------------------------------

template <class Order, class V, int... i>
LW_INLINE V shuffled(V a, V b, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(a, b, Order::at(i)...);
}

// Element i of the result is element Order::at(i) of a and b put together.
template <class Order, class T>
LW_INLINE Vector<T> shuffled(Vector<T> a, Vector<T> b) {
    return shuffled<Order>(a, b, std::make_integer_sequence<int, width<T>>{});
}

// The lower or upper halves of each 16 bytes of a and b, element by element in turn.
template <class T, bool upper>
struct Interleaved {
    static constexpr int at(int i) {
        return i / unit<T> * unit<T> + (upper ? unit<T> / 2 : 0) + i % unit<T> / 2 + i % 2 * width<T>;
    }
};

// Transposes the square in each 16 bytes of the vectors.
LW_INLINE void turn(Vector<double> (&v)[2]) {
    const Vector<double> first = shuffled<Interleaved<double, false>, double>(v[0], v[1]);
    v[1] = shuffled<Interleaved<double, true>, double>(v[0], v[1]);
    v[0] = first;
}

LW_INLINE void turn(Vector<float> (&v)[4]) {
    Vector<double> left[2], right[2];
    for (int i = 0; i < 2; ++i) {
        left[i] = (Vector<double>)shuffled<Interleaved<float, false>, float>(v[2 * i], v[2 * i + 1]);
        right[i] = (Vector<double>)shuffled<Interleaved<float, true>, float>(v[2 * i], v[2 * i + 1]);
    }
    turn(left);
    turn(right);
    for (int i = 0; i < 2; ++i) {
        v[i] = (Vector<float>)left[i];
        v[i + 2] = (Vector<float>)right[i];
    }
}

// 16 bytes of each run -------------------------------------------------------------------------------------------

// n elements of every unit-th of `width` runs.
template <class T>
LW_INLINE Vector<T> load_units(const T* x, Size stride, int n) {
    [[maybe_unused]] const Size step = unit<T> * stride;
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) {
        __m512 v = _mm512_zextps128_ps512(load_unit(x, n));
        v = _mm512_insertf32x4(v, load_unit(x + step, n), 1);
        v = _mm512_insertf32x4(v, load_unit(x + 2 * step, n), 2);
        return _mm512_insertf32x4(v, load_unit(x + 3 * step, n), 3);
    } else {
        __m512d v = _mm512_zextpd128_pd512(load_unit(x, n));
        v = _mm512_insertf64x2(v, load_unit(x + step, n), 1);
        v = _mm512_insertf64x2(v, load_unit(x + 2 * step, n), 2);
        return _mm512_insertf64x2(v, load_unit(x + 3 * step, n), 3);
    }
#elif LW_ISA == 1
    if constexpr (sizeof(T) == 4) {
        return _mm256_insertf128_ps(_mm256_zextps128_ps256(load_unit(x, n)), load_unit(x + step, n), 1);
    } else {
        return _mm256_insertf128_pd(_mm256_zextpd128_pd256(load_unit(x, n)), load_unit(x + step, n), 1);
    }
#else
    return load_unit(x, n);
#endif
}

template <class T>
LW_INLINE void store_units(T* x, Size stride, Vector<T> v, int n) {
    [[maybe_unused]] const Size step = unit<T> * stride;
#if LW_ISA == 2  // the plain forms make GCC 12 warn
    if constexpr (sizeof(T) == 4) {
        store_unit<T>(x, _mm512_maskz_extractf32x4_ps(0xf, v, 0), n);
        store_unit<T>(x + step, _mm512_maskz_extractf32x4_ps(0xf, v, 1), n);
        store_unit<T>(x + 2 * step, _mm512_maskz_extractf32x4_ps(0xf, v, 2), n);
        store_unit<T>(x + 3 * step, _mm512_maskz_extractf32x4_ps(0xf, v, 3), n);
    } else {
        store_unit<T>(x, _mm512_maskz_extractf64x2_pd(0x3, v, 0), n);
        store_unit<T>(x + step, _mm512_maskz_extractf64x2_pd(0x3, v, 1), n);
        store_unit<T>(x + 2 * step, _mm512_maskz_extractf64x2_pd(0x3, v, 2), n);
        store_unit<T>(x + 3 * step, _mm512_maskz_extractf64x2_pd(0x3, v, 3), n);
    }
#elif LW_ISA == 1
    if constexpr (sizeof(T) == 4) {
        store_unit<T>(x, _mm256_castps256_ps128(v), n);
        store_unit<T>(x + step, _mm256_extractf128_ps(v, 1), n);
    } else {
        store_unit<T>(x, _mm256_castpd256_pd128(v), n);
        store_unit<T>(x + step, _mm256_extractf128_pd(v, 1), n);
    }
#else
    store_unit<T>(x, v, n);
#endif
}

// Two or three entries side by side ------------------------------------------------------------------------------

// Entry `column` of every run: those in the first two vectors, then those in the third.
template <class T, int length, int column>
struct OfTwo {
    static constexpr int at(int i) { return length * i + column < 2 * width<T> ? length * i + column : 0; }
};
template <class T, int column>
struct AndThird {
    static constexpr int at(int i) {
        return 3 * i + column < 2 * width<T> ? i : 3 * i + column - width<T>;
    }
};
// Back: vector `part` of the runs from columns 0 and 1, then from column 2.
template <class T, int length, int part>
struct ToTwo {
    static constexpr int at(int i) {
        return (part * width<T> + i) / length + (part * width<T> + i) % length % 2 * width<T>;
    }
};
template <class T, int part>
struct WithThird {
    static constexpr int at(int i) {
        return (part * width<T> + i) % 3 == 2 ? width<T> + (part * width<T> + i) / 3 : i;
    }
};

template <class T, int column>
LW_INLINE Vector<T> of_three(Vector<T> a, Vector<T> b, Vector<T> c) {
    return shuffled<AndThird<T, column>, T>(shuffled<OfTwo<T, 3, column>, T>(a, b), c);
}

template <class T, int part>
LW_INLINE Vector<T> to_three(Vector<T> a, Vector<T> b, Vector<T> c) {
    return shuffled<WithThird<T, part>, T>(shuffled<ToTwo<T, 3, part>, T>(a, b), c);
}

// Panels -------------------------------------------------------------------------------------------------------
//
// `each(k, v)` receives entry k of `width` runs, once for each k in order; `column(k)` gives it.

// The columns k … k+n-1, of which the first `skip` have been there before.
template <class T, class F>
LW_INLINE void columns_in(const T* x, Size stride, int k, int n, int skip, F each) {
    Vector<T> v[unit<T>];
    for (int i = 0; i < unit<T>; ++i) v[i] = load_units<T>(x + k + static_cast<Size>(i) * stride, stride, n);
    turn(v);
#pragma GCC unroll 4
    for (int i = 0; i < unit<T>; ++i) {
        if (i >= skip && i < n) each(k + i, v[i]);
    }
}

template <class T, class F>
LW_INLINE void columns_out(T* x, Size stride, int k, int n, F column) {
    Vector<T> v[unit<T>];
#pragma GCC unroll 4
    for (int i = 0; i < unit<T>; ++i) v[i] = i < n ? column(k + i) : Vector<T>{};
    turn(v);
    for (int i = 0; i < unit<T>; ++i) store_units<T>(x + k + static_cast<Size>(i) * stride, stride, v[i], n);
}

template <class T, class F>
LW_INLINE void turn_in(const T* x, Size stride, int length, F each) {
    if (length > unit<T> || (length == unit<T> && length != 2)) {
        int k = 0;
        for (; k + unit<T> <= length; k += unit<T>) columns_in<T>(x, stride, k, unit<T>, 0, each);
        const int rest = length - k;
        if (rest > 0) columns_in<T>(x, stride, length - unit<T>, unit<T>, unit<T> - rest, each);
    } else if (length == 3 && stride == 3) {
        const Vector<T> a = load<T>(x), b = load<T>(x + width<T>), c = load<T>(x + 2 * width<T>);
        each(0, of_three<T, 0>(a, b, c));
        each(1, of_three<T, 1>(a, b, c));
        each(2, of_three<T, 2>(a, b, c));
    } else if (length == 2 && stride == 2) {
        const Vector<T> a = load<T>(x), b = load<T>(x + width<T>);
        each(0, shuffled<OfTwo<T, 2, 0>, T>(a, b));
        each(1, shuffled<OfTwo<T, 2, 1>, T>(a, b));
    } else if (length == 1 && stride == 1) {
        each(0, load<T>(x));
    } else {
        columns_in<T>(x, stride, 0, length, 0, each);
    }
}

template <class T, class F>
LW_INLINE void turn_out(T* x, Size stride, int length, F column) {
    if (length > unit<T> || (length == unit<T> && length != 2)) {
        int k = 0;
        for (; k + unit<T> <= length; k += unit<T>) columns_out<T>(x, stride, k, unit<T>, column);
        if (k < length) columns_out<T>(x, stride, length - unit<T>, unit<T>, column);
    } else if (length == 3 && stride == 3) {
        const Vector<T> a = column(0), b = column(1), c = column(2);
        store<T>(x, to_three<T, 0>(a, b, c));
        store<T>(x + width<T>, to_three<T, 1>(a, b, c));
        store<T>(x + 2 * width<T>, to_three<T, 2>(a, b, c));
    } else if (length == 2 && stride == 2) {
        const Vector<T> a = column(0), b = column(1);
        store<T>(x, shuffled<ToTwo<T, 2, 0>, T>(a, b));
        store<T>(x + width<T>, shuffled<ToTwo<T, 2, 1>, T>(a, b));
    } else if (length == 1 && stride == 1) {
        store<T>(x, column(0));
    } else {
        columns_out<T>(x, stride, 0, length, column);
    }
}

// Runs that are turned have at most that many entries; longer ones are done one by one.
constexpr int longest_turned = 32;

// The same of the first n runs only: in the other lanes there are zeros, and in memory nothing else is written.
template <class T, class F>
LW_INLINE void turn_in(const T* x, Size stride, Size n, int length, F each) {
    T part[width<T> * longest_turned];
    if (n < width<T>) {
        const Size row = static_cast<Size>(length);
        for (Size r = 0; r < n; ++r) __builtin_memcpy(part + r * row, x + r * stride, row * sizeof(T));
        __builtin_memset(part + n * row, 0, (width<T> - n) * row * sizeof(T));
        x = part;
        stride = row;
    }
    turn_in<T>(x, stride, length, each);
}

template <class T, class F>
LW_INLINE void turn_out(T* x, Size stride, Size n, int length, F column) {
    T part[width<T> * longest_turned];
    const Size row = static_cast<Size>(length);
    const bool whole = n >= width<T>;
    turn_out<T>(whole ? x : part, whole ? stride : row, length, column);
    if (whole) return;
    for (Size r = 0; r < n; ++r) __builtin_memcpy(x + r * stride, part + r * row, row * sizeof(T));
}

// One number for each of the first n runs.
template <class T>
LW_INLINE void store_each(T* x, Size stride, Vector<T> v, Size n) {
    const int count = n < width<T> ? static_cast<int>(n) : width<T>;
    if (stride == 1) return store_some<T>(x, v, count);
    for (int i = 0; i < count; ++i) x[static_cast<Size>(i) * stride] = v[i];
}

}  // namespace lw::LW_NAMESPACE
