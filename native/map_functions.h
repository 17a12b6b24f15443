// Functions of two and three numbers, as NumPy has them: name_v<T>(x, y), like those of one number in math.h.
#pragma once

#include "math_power.h"

namespace lw::LW_NAMESPACE {

template <class T>
LW_INLINE Vector<T> add_v(Vector<T> x, Vector<T> y) {
    return x + y;
}

template <class T>
LW_INLINE Vector<T> subtract_v(Vector<T> x, Vector<T> y) {
    return x - y;
}

template <class T>
LW_INLINE Vector<T> multiply_v(Vector<T> x, Vector<T> y) {
    return x * y;
}

template <class T>
LW_INLINE Vector<T> divide_v(Vector<T> x, Vector<T> y) {
    return x / y;
}

// A NaN on either side wins: y comes out where x > y is false.
template <class T>
LW_INLINE Vector<T> maximum_v(Vector<T> x, Vector<T> y) {
    return select<T>(x != x, x, select<T>(x > y, x, y));
}

template <class T>
LW_INLINE Vector<T> minimum_v(Vector<T> x, Vector<T> y) {
    return select<T>(x != x, x, select<T>(x < y, x, y));
}

template <class T>
LW_INLINE Vector<T> truth(Mask<T> m) {
    return number<T>((Bits<T>)m & Format<T>::one);
}

template <class T>
LW_INLINE Vector<T> equal_v(Vector<T> x, Vector<T> y) {
    return truth<T>(x == y);
}

template <class T>
LW_INLINE Vector<T> not_equal_v(Vector<T> x, Vector<T> y) {
    return truth<T>(x != y);
}

template <class T>
LW_INLINE Vector<T> less_v(Vector<T> x, Vector<T> y) {
    return truth<T>(x < y);
}

template <class T>
LW_INLINE Vector<T> less_equal_v(Vector<T> x, Vector<T> y) {
    return truth<T>(x <= y);
}

template <class T>
LW_INLINE Vector<T> greater_v(Vector<T> x, Vector<T> y) {
    return truth<T>(x > y);
}

template <class T>
LW_INLINE Vector<T> greater_equal_v(Vector<T> x, Vector<T> y) {
    return truth<T>(x >= y);
}

template <class T>
LW_INLINE Vector<T> where_v(Vector<T> c, Vector<T> x, Vector<T> y) {
    return select<T>(c != T(0), x, y);
}

}  // namespace lw::LW_NAMESPACE
