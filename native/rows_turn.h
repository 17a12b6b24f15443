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

// 16 bytes of each run -----------------------------------------------------------------------------------------
//
// `Rows` says which of `width` runs are there: all of them, or the first so many. What is not there reads as zeros.

struct AllRows {
    LW_INLINE bool operator()(int) const { return true; }
};

struct FirstRows {
    int count;
    LW_INLINE bool operator()(int row) const { return row < count; }
};

// n elements of the runs row, row + unit, row + 2 unit, …
template <class T, class Rows>
LW_INLINE Vector<T> load_units(const T* x, Size stride, int row, int n, Rows there) {
    const T* const first = x + static_cast<Size>(row) * stride;
    [[maybe_unused]] const Size step = unit<T> * stride;
    const auto at = [=](int i) __attribute__((always_inline)) {
        return there(row + i * unit<T>) ? load_unit(first + static_cast<Size>(i) * step, n) : Unit<T>{};
    };
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) {
        const __m512 v = _mm512_insertf32x4(_mm512_zextps128_ps512(at(0)), at(1), 1);
        return _mm512_insertf32x4(_mm512_insertf32x4(v, at(2), 2), at(3), 3);
    } else {
        const __m512d v = _mm512_insertf64x2(_mm512_zextpd128_pd512(at(0)), at(1), 1);
        return _mm512_insertf64x2(_mm512_insertf64x2(v, at(2), 2), at(3), 3);
    }
#elif LW_ISA == 1
    if constexpr (sizeof(T) == 4) {
        return _mm256_insertf128_ps(_mm256_zextps128_ps256(at(0)), at(1), 1);
    } else {
        return _mm256_insertf128_pd(_mm256_zextpd128_pd256(at(0)), at(1), 1);
    }
#else
    return at(0);
#endif
}

template <class T, class Rows>
LW_INLINE void store_units(T* x, Size stride, int row, Vector<T> v, int n, Rows there) {
    T* const first = x + static_cast<Size>(row) * stride;
    [[maybe_unused]] const Size step = unit<T> * stride;
    const auto put = [=](int i, Unit<T> u) __attribute__((always_inline)) {
        if (there(row + i * unit<T>)) store_unit<T>(first + static_cast<Size>(i) * step, u, n);
    };
#if LW_ISA == 2  // the plain forms make GCC 12 warn
    if constexpr (sizeof(T) == 4) {
        put(0, _mm512_maskz_extractf32x4_ps(0xf, v, 0));
        put(1, _mm512_maskz_extractf32x4_ps(0xf, v, 1));
        put(2, _mm512_maskz_extractf32x4_ps(0xf, v, 2));
        put(3, _mm512_maskz_extractf32x4_ps(0xf, v, 3));
    } else {
        put(0, _mm512_maskz_extractf64x2_pd(0x3, v, 0));
        put(1, _mm512_maskz_extractf64x2_pd(0x3, v, 1));
        put(2, _mm512_maskz_extractf64x2_pd(0x3, v, 2));
        put(3, _mm512_maskz_extractf64x2_pd(0x3, v, 3));
    }
#elif LW_ISA == 1
    if constexpr (sizeof(T) == 4) {
        put(0, _mm256_castps256_ps128(v));
        put(1, _mm256_extractf128_ps(v, 1));
    } else {
        put(0, _mm256_castpd256_pd128(v));
        put(1, _mm256_extractf128_pd(v, 1));
    }
#else
    put(0, v);
#endif
}

// Two or three entries side by side ----------------------------------------------------------------------------

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
template <class T, class Rows, class F>
LW_INLINE void columns_in(const T* x, Size stride, int k, int n, int skip, Rows there, F each) {
    Vector<T> v[unit<T>];
#pragma GCC unroll 4
    for (int i = 0; i < unit<T>; ++i) v[i] = load_units<T>(x + k, stride, i, n, there);
    turn(v);
#pragma GCC unroll 4
    for (int i = 0; i < unit<T>; ++i) {
        if (i >= skip && i < n) each(k + i, v[i]);
    }
}

template <class T, class Rows, class F>
LW_INLINE void columns_out(T* x, Size stride, int k, int n, Rows there, F column) {
    Vector<T> v[unit<T>] = {};
#pragma GCC unroll 4
    for (int i = 0; i < unit<T>; ++i) {
        if (i < n) v[i] = column(k + i);
    }
    turn(v);
#pragma GCC unroll 4
    for (int i = 0; i < unit<T>; ++i) store_units<T>(x + k, stride, i, v[i], n, there);
}

template <class T, class Rows, class F>
LW_INLINE void all_columns_in(const T* x, Size stride, int length, Rows there, F each) {
    if (length < unit<T>) return columns_in<T>(x, stride, 0, length, 0, there, each);
    int k = 0;
    for (; k + unit<T> <= length; k += unit<T>) columns_in<T>(x, stride, k, unit<T>, 0, there, each);
    const int rest = length - k;
    if (rest > 0) columns_in<T>(x, stride, length - unit<T>, unit<T>, unit<T> - rest, there, each);
}

template <class T, class Rows, class F>
LW_INLINE void all_columns_out(T* x, Size stride, int length, Rows there, F column) {
    if (length < unit<T>) return columns_out<T>(x, stride, 0, length, there, column);
    int k = 0;
    for (; k + unit<T> <= length; k += unit<T>) columns_out<T>(x, stride, k, unit<T>, there, column);
    if (k < length) columns_out<T>(x, stride, length - unit<T>, unit<T>, there, column);
}

// Runs that are turned have at most that many entries; longer ones are done one by one.
constexpr int longest_turned = 32;

// A panel that is not full.
template <class T>
__attribute__((noinline)) void part_in(const T* x, Size stride, int n, int length, Vector<T>* columns) {
    all_columns_in<T>(x, stride, length, FirstRows{n}, [=](int k, Vector<T> v) __attribute__((always_inline)) {
        columns[k] = v;
    });
}

template <class T>
__attribute__((noinline)) void part_out(T* x, Size stride, int n, int length, const Vector<T>* columns) {
    all_columns_out<T>(x, stride, length, FirstRows{n}, [=](int k) __attribute__((always_inline)) {
        return columns[k];
    });
}

// The first n of `width` runs; the other lanes hold zeros.
template <class T, class F>
LW_INLINE void turn_in(const T* x, Size stride, Size n, int length, F each) {
    if (n < width<T>) {
        Vector<T> columns[longest_turned];
        part_in<T>(x, stride, static_cast<int>(n), length, columns);
        for (int k = 0; k < length; ++k) each(k, columns[k]);
    } else if (length == 3 && stride == 3) {
        const Vector<T> a = load<T>(x), b = load<T>(x + width<T>), c = load<T>(x + 2 * width<T>);
        each(0, of_three<T, 0>(a, b, c));
        each(1, of_three<T, 1>(a, b, c));
        each(2, of_three<T, 2>(a, b, c));
    } else if (length == 2 && stride == 2) {
        const Vector<T> a = load<T>(x), b = load<T>(x + width<T>);
        each(0, shuffled<OfTwo<T, 2, 0>, T>(a, b));
        each(1, shuffled<OfTwo<T, 2, 1>, T>(a, b));
    } else {
        all_columns_in<T>(x, stride, length, AllRows{}, each);
    }
}

// Nothing else is written.
template <class T, class F>
LW_INLINE void turn_out(T* x, Size stride, Size n, int length, F column) {
    if (n < width<T>) {
        Vector<T> columns[longest_turned];
        for (int k = 0; k < length; ++k) columns[k] = column(k);
        part_out<T>(x, stride, static_cast<int>(n), length, columns);
    } else if (length == 3 && stride == 3) {
        const Vector<T> a = column(0), b = column(1), c = column(2);
        store<T>(x, to_three<T, 0>(a, b, c));
        store<T>(x + width<T>, to_three<T, 1>(a, b, c));
        store<T>(x + 2 * width<T>, to_three<T, 2>(a, b, c));
    } else if (length == 2 && stride == 2) {
        const Vector<T> a = column(0), b = column(1);
        store<T>(x, shuffled<ToTwo<T, 2, 0>, T>(a, b));
        store<T>(x + width<T>, shuffled<ToTwo<T, 2, 1>, T>(a, b));
    } else {
        all_columns_out<T>(x, stride, length, AllRows{}, column);
    }
}

// One number for each of the first n runs.
template <class T>
LW_INLINE void store_each(T* x, Size stride, Vector<T> v, Size n) {
    const int count = n < width<T> ? static_cast<int>(n) : width<T>;
    if (stride == 1) return store_some<T>(x, v, count);
    for (int i = 0; i < count; ++i) x[static_cast<Size>(i) * stride] = v[i];
}

}  // namespace lw::LW_NAMESPACE
