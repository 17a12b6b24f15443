// What the mathematical functions are made of: bit patterns, signs, exponents and sums of two numbers.
#pragma once

#include "simd.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace lw::LW_NAMESPACE {

typedef std::uint32_t U32 __attribute__((vector_size(LW_VECTOR_BYTES)));
typedef std::uint64_t U64 __attribute__((vector_size(LW_VECTOR_BYTES)));

template <class T>
struct Format;

template <>
struct Format<float> {
    using Bits = U32;  // without sign: a shift to the left may lose bits, one to the right brings in zeros
    using Word = std::uint32_t;
    static constexpr int fraction = 23;
    static constexpr Word sign = 0x80000000u, one = 0x3f800000u, sqrt_half = 0x3f3504f3u;
    static constexpr float round = 0x1.8p23f;      // added and taken away again, it rounds to an integer
    static constexpr float to_integer = 0x1p23f;   // its lower bits, taken as an integer
    static constexpr float smallest = 0x1p-126f;   // smallest normal number
    static constexpr float splitter = 4097.0f;     // 2^12 + 1
};

template <>
struct Format<double> {
    using Bits = U64;
    using Word = std::uint64_t;
    static constexpr int fraction = 52;
    static constexpr Word sign = 0x8000000000000000u, one = 0x3ff0000000000000u, sqrt_half = 0x3fe6a09e667f3bcdu;
    static constexpr double round = 0x1.8p52;
    static constexpr double to_integer = 0x1p52;
    static constexpr double smallest = 0x1p-1022;
    static constexpr double splitter = 134217729.0;  // 2^27 + 1
};

template <class T>
using Bits = typename Format<T>::Bits;

template <class T>
constexpr T infinity = static_cast<T>(__builtin_inf());
template <class T>
constexpr T not_a_number = static_cast<T>(__builtin_nan(""));

template <class T>
LW_INLINE Bits<T> bits(Vector<T> x) {
    return (Bits<T>)x;
}

template <class T>
LW_INLINE Vector<T> number(Bits<T> b) {
    return (Vector<T>)b;
}

template <class T>
LW_INLINE Vector<T> magnitude(Vector<T> x) {
    return number<T>(bits<T>(x) & ~Format<T>::sign);
}

// |x| with the sign of s.
template <class T>
LW_INLINE Vector<T> with_sign(Vector<T> x, Vector<T> s) {
    return number<T>((bits<T>(x) & ~Format<T>::sign) | (bits<T>(s) & Format<T>::sign));
}

// The smaller or larger of x and a limit; NaN stays.
template <class T>
LW_INLINE Vector<T> at_most(Vector<T> x, T limit) {
    return select<T>(x > limit, all<T>(limit), x);
}

template <class T>
LW_INLINE Vector<T> at_least(Vector<T> x, T limit) {
    return select<T>(x < limit, all<T>(limit), x);
}

// Whether a mask is set anywhere. Only to leave out work whose results would not be used.
template <class T>
LW_INLINE bool any(Mask<T> m) {
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) return _mm512_movepi32_mask((__m512i)m) != 0;
    return _mm512_movepi64_mask((__m512i)m) != 0;
#elif LW_ISA == 1
    return _mm256_movemask_epi8((__m256i)m) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_epi8((__m128i)m) != 0;
#else
    bool found = false;
    for (int i = 0; i < width<T>; ++i) found |= m[i] != 0;
    return found;
#endif
}

// Exponents ---------------------------------------------------------------------------------------------------

// 2^n for n + Format<T>::round, n an integer from the exponent of the smallest normal number to the largest.
template <class T>
LW_INLINE Vector<T> power_of_two(Vector<T> n_shifted) {
    return number<T>((bits<T>(n_shifted) << Format<T>::fraction) + Format<T>::one);
}

// m · 2^n, rounded once, n an integer of at most twice that range.
template <class T>
LW_INLINE Vector<T> scaled(Vector<T> m, Vector<T> n) {
#if LW_ISA == 2
    if constexpr (sizeof(T) == 4) {
        return _mm512_maskz_scalef_ps(0xffff, m, n);  // the plain form makes GCC 12 warn
    } else {
        return _mm512_maskz_scalef_pd(0xff, m, n);
    }
#else
    constexpr T round = Format<T>::round;
    const Vector<T> half = n * T(0.5) + round;
    return m * power_of_two<T>(half) * power_of_two<T>((n - (half - round)) + round);
#endif
}

// Sums of two numbers -----------------------------------------------------------------------------------------

// hi + lo, the second at most about one rounding of the first.
template <class T>
struct Pair {
    Vector<T> hi, lo;
};

// a + b exactly, where |a| >= |b| or a = 0.
template <class T>
LW_INLINE Pair<T> ordered_sum(Vector<T> a, Vector<T> b) {
    const Vector<T> s = a + b;
    return {s, (a - s) + b};
}

// a + b exactly (Knuth).
template <class T>
LW_INLINE Pair<T> sum(Vector<T> a, Vector<T> b) {
    const Vector<T> s = a + b, part = s - a;
    return {s, (a - (s - part)) + (b - part)};
}

// a · b exactly, but for underflow; without a fused product (Dekker) |a| and |b| must stay below 2^100.
template <class T>
LW_INLINE Pair<T> product(Vector<T> a, Vector<T> b) {
    const Vector<T> p = a * b;
#if LW_ISA >= 1
    return {p, fma(a, b, -p)};
#else
    const Vector<T> a_wide = a * Format<T>::splitter, b_wide = b * Format<T>::splitter;
    const Vector<T> a_upper = a_wide - (a_wide - a), b_upper = b_wide - (b_wide - b);
    const Vector<T> a_lower = a - a_upper, b_lower = b - b_upper;
    return {p, ((a_upper * b_upper - p) + a_upper * b_lower + a_lower * b_upper) + a_lower * b_lower};
#endif
}

// (a.hi + a.lo) / (b.hi + b.lo) to little more than the last rounding.
template <class T>
LW_INLINE Vector<T> quotient(Pair<T> a, Pair<T> b) {
    const Vector<T> inverse = T(1) / b.hi, q = a.hi * inverse;
    const Pair<T> p = product<T>(q, b.hi);
    return q + (((a.hi - p.hi) - p.lo) + (a.lo - q * b.lo)) * inverse;
}

// c[0] + c[1] t + … + c[n-1] t^(n-1).
template <class T, int n>
LW_INLINE Vector<T> polynomial(const T (&c)[n], Vector<T> t) {
    Vector<T> y = all<T>(c[n - 1]);
    for (int i = n - 2; i >= 0; --i) y = fma(y, t, all<T>(c[i]));
    return y;
}

}  // namespace lw::LW_NAMESPACE
