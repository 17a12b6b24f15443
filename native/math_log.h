// log and log1p, after fdlibm's e_log.c and s_log1p.c:
//
//     Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
//     Developed at SunPro, a Sun Microsystems, Inc. business.
//     Permission to use, copy, modify, and distribute this software is freely granted,
//     provided that this notice is preserved.
#pragma once

#include "math_exp.h"

namespace lw::LW_NAMESPACE {

// log(1 + f) = f - f²/2 + s (f²/2 + s² c(s²)) with s = f / (2 + f) and sqrt(1/2) <= 1 + f < sqrt(2).
template <class T>
struct LogConstants;

template <>
struct LogConstants<float> {
    static constexpr float c[] = {0xaaaaaap-24f, 0xccce13p-25f, 0x91e9eep-25f, 0xf89e26p-26f};
};

template <>
struct LogConstants<double> {
    static constexpr double c[] = {0x1.5555555555593p-1, 0x1.999999997fa04p-2, 0x1.2492494229359p-2,
                                   0x1.c71c51d8e78afp-3, 0x1.7466496cb03dep-3, 0x1.39a09d078c69fp-3,
                                   0x1.2f112df3e5244p-3};
};

template <class T>
struct Parts {
    Vector<T> m, k;  // x = m 2^k, sqrt(1/2) <= m < sqrt(2)
};

template <class T>
LW_INLINE Parts<T> parts(Vector<T> x) {
    using F = Format<T>;
    const Bits<T> k = (bits<T>(x) - F::sqrt_half + F::one) >> F::fraction;  // biased as the exponent of one is
    constexpr T bias = F::one >> F::fraction;
    const Vector<T> exponent = number<T>(k | bits<T>(all<T>(F::to_integer))) - (F::to_integer + bias);
    return {number<T>(bits<T>(x) - (k << F::fraction) + F::one), exponent};
}

// k log 2 + log(1 + f) + rest.
template <class T>
LW_INLINE Vector<T> log_of_parts(Vector<T> k, Vector<T> f, Vector<T> rest) {
    using C = ExpConstants<T>;
    const Vector<T> s = f / (T(2) + f), z = s * s, half = T(0.5) * f * f;
    const Vector<T> tail = z * polynomial<T>(LogConstants<T>::c, z);
    const Vector<T> small = half - fma(s, half + tail, fma(k, all<T>(C::ln2_lower), rest));
    return fma(k, all<T>(C::ln2_upper), f - small);
}

// Measured: 0.83 ULP in float32, 0.82 in float64.
template <class T>
LW_INLINE Vector<T> log_v(Vector<T> x) {
    constexpr T up = T(1) / Format<T>::smallest, steps = sizeof(T) == 4 ? 126 : 1022;
    const Mask<T> tiny = x < Format<T>::smallest;
    const Parts<T> p = parts<T>(select<T>(tiny, x * up, x));
    const Vector<T> k = select<T>(tiny, p.k - steps, p.k);
    Vector<T> y = log_of_parts<T>(k, p.m - T(1), Vector<T>{});
    y = select<T>(x < infinity<T>, y, x);  // infinity and NaN
    y = select<T>(x < T(0), all<T>(not_a_number<T>), y);
    return select<T>(x == T(0), all<T>(-infinity<T>), y);
}

// Measured: 0.83 ULP in float32, 0.84 in float64.
template <class T>
LW_INLINE Vector<T> log1p_v(Vector<T> x) {
    const Pair<T> u = sum<T>(all<T>(T(1)), x);
    const Parts<T> p = parts<T>(u.hi);
    const Mask<T> near = p.k == T(0);  // there f = x, exactly
    const Vector<T> f = select<T>(near, x, p.m - T(1));
    const Vector<T> rest = select<T>(near, Vector<T>{}, u.lo / u.hi);
    Vector<T> y = with_sign<T>(log_of_parts<T>(p.k, f, rest), x);  // also -0
    y = select<T>(x < infinity<T>, y, x);
    y = select<T>(x < T(-1), all<T>(not_a_number<T>), y);
    return select<T>(x == T(-1), all<T>(-infinity<T>), y);
}

}  // namespace lw::LW_NAMESPACE
