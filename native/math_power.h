// x^y: log |x| as a sum of two numbers, times y, then exp.
#pragma once

#include "math_activations.h"

namespace lw::LW_NAMESPACE {

// log m = 2 artanh(s) = 2 s + s (2/3 s² + s⁴ c(s²)) with s = (m - 1) / (m + 1); c interpolated at Chebyshev points for
// sqrt(1/2) <= m < sqrt(2), relative error of the whole below 2^-41 and 2^-70. The product with y, which may be 745,
// leaves an error of 2^-55 in float64.
template <class T>
struct PowerConstants;

template <>
struct PowerConstants<float> {
    static constexpr float two_thirds = 0x1.555556p-1f, two_thirds_rest = -0x1.555556p-26f;
    static constexpr float largest_exponent = 0x1p40f;  // from here on x^y is 0, 1 or infinity
    static constexpr float c[] = {0x1.99999ap-2f, 0x1.24928ep-2f, 0x1.c6c0ecp-3f, 0x1.8795bep-3f};
};

template <>
struct PowerConstants<double> {
    static constexpr double two_thirds = 0x1.5555555555555p-1, two_thirds_rest = 0x1.5555555555555p-55;
    static constexpr double largest_exponent = 0x1p70;
    static constexpr double c[] = {0x1.999999999999ap-2, 0x1.2492492492521p-2, 0x1.c71c71c6eaa8dp-3,
                                   0x1.745d177a8f200p-3, 0x1.3b1395d4f9e5fp-3, 0x1.1118c74823a2ep-3,
                                   0x1.df7ce9a6bcccbp-4, 0x1.e02d197c00c78p-4};
};

// log x for 0 < x < infinity.
template <class T>
LW_INLINE Pair<T> log_pair(Vector<T> x) {
    using C = PowerConstants<T>;
    using E = ExpConstants<T>;
    constexpr T up = T(1) / Format<T>::smallest, steps = sizeof(T) == 4 ? 126 : 1022;
    const Mask<T> tiny = x < Format<T>::smallest;
    const Parts<T> p = parts<T>(select<T>(tiny, x * up, x));
    const Vector<T> k = select<T>(tiny, p.k - steps, p.k), f = p.m - T(1);
    // s = f / (2 + f)
    const Pair<T> below = ordered_sum<T>(all<T>(T(2)), f);
    const Vector<T> inverse = T(1) / below.hi, s = f * inverse;
    const Pair<T> back = product<T>(s, below.hi);
    const Vector<T> s_rest = (((f - back.hi) - back.lo) - s * below.lo) * inverse;
    // t = 2/3 s² + s⁴ c(s²)
    const Pair<T> z = product<T>(s, s);
    const Vector<T> z_rest = z.lo + T(2) * s * s_rest;
    const Pair<T> third = product<T>(z.hi, all<T>(C::two_thirds));
    const Vector<T> third_rest = third.lo + (z.hi * C::two_thirds_rest + z_rest * C::two_thirds);
    const Pair<T> t = ordered_sum<T>(third.hi, third_rest + z.hi * z.hi * polynomial<T>(C::c, z.hi));
    // 2 s + s t, and the power of two
    const Pair<T> u = product<T>(s, t.hi);
    const Pair<T> m = ordered_sum<T>(T(2) * s, u.hi);
    const Vector<T> m_rest = m.lo + (T(2) * s_rest + (u.lo + (s * t.lo + s_rest * t.hi)));
    const Pair<T> y = ordered_sum<T>(k * E::ln2_upper, m.hi);
    return ordered_sum<T>(y.hi, y.lo + (m_rest + k * E::ln2_lower));
}

// The exponents whose powers are a product, a root or a quotient, with the same bits wherever the exponent comes from.
template <class T>
LW_INLINE Vector<T> cube(Vector<T> x) {
    return x * x * x;
}

template <class T>
LW_INLINE Vector<T> root_power(Vector<T> x) {  // as sqrt, but for the powers of -0 and -infinity
    return select<T>(x == -infinity<T>, all<T>(infinity<T>), square_root(x) + T(0));
}

template <class T>
LW_INLINE Vector<T> power_v(Vector<T> x, Vector<T> y) {
    using E = ExpConstants<T>;
    constexpr T integers = Format<T>::to_integer;  // from here on all numbers are integers, from twice that even ones
    const Vector<T> zero = {}, one = all<T>(T(1)), inf = all<T>(infinity<T>);
    const Vector<T> x_size = magnitude<T>(x), y_size = magnitude<T>(y);

    const Vector<T> exponent = at_least<T>(at_most<T>(y, PowerConstants<T>::largest_exponent),
                                           -PowerConstants<T>::largest_exponent);
    const Pair<T> l = log_pair<T>(x_size);
    const Pair<T> first = product<T>(exponent, l.hi);
    const Pair<T> z = ordered_sum<T>(first.hi, first.lo + exponent * l.lo);
    const Vector<T> limited = at_least<T>(at_most<T>(z.hi, E::highest), E::lowest);
    const ScaledPair<T> e = exp_pair<T>(limited, select<T>(limited == z.hi, z.lo, zero));
    Vector<T> r = scaled<T>(e.m.hi + e.m.lo, e.n);

    const Vector<T> half = y_size * T(0.5);
    const Mask<T> integral = ((y_size + integers) - integers == y_size) | (y_size >= integers);
    const Mask<T> odd = integral & ((half + integers) - integers != half) & (y_size < T(2) * integers);
    const Mask<T> down = y < T(0);
    r = select<T>(x == T(0), select<T>(down, inf, zero), r);
    r = select<T>(x_size == infinity<T>, select<T>(down, zero, inf), r);
    r = number<T>(bits<T>(r) ^ (bits<T>(x) & Format<T>::sign & (Bits<T>)odd));
    r = select<T>((x < T(0)) & (x_size < infinity<T>) & ~integral, all<T>(not_a_number<T>), r);
    r = select<T>((x == x) & (y == y), r, x + y);
    r = select<T>((y == T(0)) | (x == T(1)), one, r);

    const Mask<T> two = y == T(2), three = y == T(3), minus = y == T(-1), root = y == T(0.5);
    if (any<T>(two | three | minus | root)) {
        r = select<T>(two, x * x, r);
        r = select<T>(three, cube<T>(x), r);
        r = select<T>(minus, T(1) / x, r);
        r = select<T>(root, root_power<T>(x), r);
    }
    return r;
}

}  // namespace lw::LW_NAMESPACE
