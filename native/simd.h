// Vectors of the instruction set that this file is compiled for: one fixed width, written with the compiler's
// vector extensions, so that the same source builds for SSE2, AVX2, AVX-512 and any other processor.
//
// Included only by *_isa.cpp, which CMake compiles once for each instruction set with LW_ISA set:
//   0 baseline (16 bytes, no fused multiply-add), 1 AVX2 + FMA (32 bytes), 2 AVX-512 (64 bytes).
// Everything stands in namespace LW_NAMESPACE, another one for each set: an inline function with one name and two
// codes would be joined by the linker, and an old processor would meet an instruction that it does not know. For
// the same reason these files call no inline function of the standard library.
#pragma once

#include <cstddef>
#include <cstdint>

#if LW_ISA == 1 || LW_ISA == 2
#include <immintrin.h>
#endif

#if LW_ISA == 2
#define LW_VECTOR_BYTES 64
#elif LW_ISA == 1
#define LW_VECTOR_BYTES 32
#else
#define LW_VECTOR_BYTES 16
#endif

#define LW_INLINE inline __attribute__((always_inline))

namespace lw::LW_NAMESPACE {

typedef float F32 __attribute__((vector_size(LW_VECTOR_BYTES)));
typedef double F64 __attribute__((vector_size(LW_VECTOR_BYTES)));
typedef std::int32_t I32 __attribute__((vector_size(LW_VECTOR_BYTES)));
typedef std::int64_t I64 __attribute__((vector_size(LW_VECTOR_BYTES)));

template <class T>
struct Simd;

template <>
struct Simd<float> {
    using Vector = F32;
    using Mask = I32;  // all bits set where true
    using Integer = std::int32_t;
    static constexpr int width = LW_VECTOR_BYTES / 4;
};

template <>
struct Simd<double> {
    using Vector = F64;
    using Mask = I64;
    using Integer = std::int64_t;
    static constexpr int width = LW_VECTOR_BYTES / 8;
};

template <class T>
using Vector = typename Simd<T>::Vector;
template <class T>
using Mask = typename Simd<T>::Mask;
template <class T>
constexpr int width = Simd<T>::width;

template <class T>
LW_INLINE Vector<T> load(const T* p) {
    Vector<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

template <class T>
LW_INLINE void store(T* p, Vector<T> v) {
    __builtin_memcpy(p, &v, sizeof v);
}

#if LW_ISA == 1
LW_INLINE __m256i first_lanes(const float*, int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
LW_INLINE __m256i first_lanes(const double*, int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
#endif

// The first n of width elements, 0 < n ≤ width: the others are 0 after a load, and in memory they are left alone. (memcpy
// would be a call when n is not a constant.)
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

template <class T>
LW_INLINE Vector<T> all(T x) {
    return x - Vector<T>{};  // x - 0 keeps -0, which x + 0 would not
}

template <class T>
LW_INLINE Vector<T> select(Mask<T> m, Vector<T> a, Vector<T> b) {
    return m ? a : b;
}

// a · b + c. Fused, with one rounding, where the instruction set has it.
LW_INLINE F32 fma(F32 a, F32 b, F32 c) {
#if LW_ISA == 2
    return _mm512_fmadd_ps(a, b, c);
#elif LW_ISA == 1
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

LW_INLINE F64 fma(F64 a, F64 b, F64 c) {
#if LW_ISA == 2
    return _mm512_fmadd_pd(a, b, c);
#elif LW_ISA == 1
    return _mm256_fmadd_pd(a, b, c);
#else
    return a * b + c;
#endif
}

}  // namespace lw::LW_NAMESPACE
