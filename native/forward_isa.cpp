// The functions of forward_rows.h for one instruction set.
#include <utility>

#include "forward_rows.h"
#include "math_table.h"
#include "product_tile.h"

namespace lw::LW_NAMESPACE {

extern const MathTable math_table;

namespace {

template <class T>
constexpr int lanes = 64 / static_cast<int>(sizeof(T));
template <class T>
constexpr int parts = lanes<T> / width<T>;

template <class T>
constexpr T largest = sizeof(T) == 4 ? T(0x1.fffffep127) : T(0x1.fffffffffffffp1023);
template <class T>
constexpr T infinity = static_cast<T>(__builtin_inf());

template <class T>
ArrayFunction<T> function(Unary name) {
    if constexpr (sizeof(T) == 4) {
        return math_table.float32[static_cast<int>(name)];
    } else {
        return math_table.float64[static_cast<int>(name)];
    }
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

// 0, 1, 2, … in the lanes, and the vector with its lanes i and i ^ step exchanged. Written with packs of constants:
// GCC 12 fills a vector of indices at run time, lane by lane, where a loop writes it.
template <int... i>
struct Lanes {
    template <class T>
    static LW_INLINE Mask<T> numbers() {
        return Mask<T>{i...};
    }
    template <class T, int step>
    static LW_INLINE Vector<T> exchanged(Vector<T> v) {
        return __builtin_shufflevector(v, v, (i ^ step)...);
    }
};
template <class Numbers>
struct LanesOf;
template <int... i>
struct LanesOf<std::integer_sequence<int, i...>> {
    using Type = Lanes<i...>;
};
template <class T>
using LanesFor = typename LanesOf<std::make_integer_sequence<int, width<T>>>::Type;

// v op v by halves, until every lane holds the result over all lanes.
template <class T, int step = width<T> / 2, class Op>
LW_INLINE Vector<T> folded(Vector<T> v, Op op) {
    if constexpr (step == 0) {
        return v;
    } else {
        return folded<T, step / 2>(op(v, LanesFor<T>::template exchanged<T, step>(v)), op);
    }
}

template <class T>
LW_INLINE int count_at(std::size_t k, std::size_t n) {
    return n - k < static_cast<std::size_t>(width<T>) ? static_cast<int>(n - k) : width<T>;
}

template <class T>
LW_INLINE Vector<T> larger(Vector<T> a, Vector<T> b) {
    return select<T>(b > a, b, a);
}

// In every lane. A NaN is passed over; what is left of a row of nothing else is -∞.
template <class T>
LW_INLINE Vector<T> largest_of(const T* z, std::size_t n) {
    const Mask<T> lane = LanesFor<T>::template numbers<T>();
    Vector<T> top = all<T>(-infinity<T>);
    for (std::size_t k = 0; k < n; k += width<T>) {
        const int count = count_at<T>(k, n);
        const Vector<T> x = load_part(z + k, count);
        top = larger<T>(top, count == width<T> ? x : select<T>(lane < count, x, top));
    }
    return folded<T>(top, [](Vector<T> a, Vector<T> b) __attribute__((always_inline)) { return larger<T>(a, b); });
}

template <class T>
struct Partial {
    Vector<T> part[parts<T>] = {};

    LW_INLINE void add(const T* x, std::size_t n) {
        for (std::size_t k = 0; k < n; k += lanes<T>) {
#pragma GCC unroll 4
            for (int c = 0; c < parts<T>; ++c) {
                const std::size_t at = k + static_cast<std::size_t>(c * width<T>);
                if (at < n) part[c] = part[c] + load_part(x + at, count_at<T>(at, n));
            }
        }
    }

    // In every lane.
    LW_INLINE Vector<T> total() const {
        Vector<T> sum[parts<T>];
#pragma GCC unroll 4
        for (int c = 0; c < parts<T>; ++c) sum[c] = part[c];
#pragma GCC unroll 2
        for (int half = parts<T> / 2; half > 0; half /= 2) {
#pragma GCC unroll 2
            for (int c = 0; c < half; ++c) sum[c] = sum[c] + sum[c + half];
        }
        return folded<T>(sum[0], [](Vector<T> a, Vector<T> b) __attribute__((always_inline)) { return a + b; });
    }
};

// z[i] = f(z[i]).
template <class T, class F>
LW_INLINE void each(T* z, std::size_t n, F f) {
    for (std::size_t k = 0; k < n; k += width<T>) {
        const int count = count_at<T>(k, n);
        store_part(z + k, f(load_part(z + k, count)), count);
    }
}

template <class T>
bool finite(const T* x, std::size_t n) {
    // x · 0 is 0, or NaN where x is NaN or infinite. Four sums, for the latency of an addition.
    const Vector<T> zero = {};
    Vector<T> sum[4] = {};
    constexpr std::size_t step = width<T>;
    std::size_t i = 0;
    for (; i + 4 * step <= n; i += 4 * step) {
#pragma GCC unroll 4
        for (std::size_t c = 0; c < 4; ++c) sum[c] = fma(load(x + i + c * step), zero, sum[c]);
    }
    for (; i < n; i += step) sum[0] = fma(load_part(x + i, count_at<T>(i, n)), zero, sum[0]);
    const Vector<T> s = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return set_lanes<T>(s != s) == 0;
}

template <class S, class T>
bool read(const void* in, T* out, std::size_t n) {
    const S* const x = static_cast<const S*>(in);
    int bad = 0;
    for (std::size_t i = 0; i < n; ++i) {
        if constexpr (static_cast<S>(0.5) != S(0)) {
            constexpr S most = sizeof(S) > sizeof(T) ? static_cast<S>(largest<T>) : largest<S>;
            bad |= !(x[i] <= most && x[i] >= -most);
        }
        out[i] = static_cast<T>(x[i]);
    }
    return bad == 0;
}

// Elements that lie in the first-level cache between one pass over them and the next.
constexpr std::size_t near_by = 2048;

// e = z - top, and zeros up to a whole vector. (Their exponential is 1; one that underflows would take its time.)
template <class T>
LW_INLINE void shift(const T* z, std::size_t n, Vector<T> top, T* e) {
    const Mask<T> lane = LanesFor<T>::template numbers<T>();
    for (std::size_t k = 0; k < n; k += width<T>) {
        const int count = count_at<T>(k, n);
        const Vector<T> x = load_part(z + k, count) - top;
        store(e + k, count == width<T> ? x : select<T>(lane < count, x, Vector<T>{}));
    }
}

// z = e / sum. Whole vectors where that many of the `left` elements from z on are still to be written.
template <class T>
LW_INLINE void divide(const T* e, std::size_t n, Vector<T> sum, T* z, std::size_t left) {
    for (std::size_t k = 0; k < n; k += width<T>) {
        store_part(z + k, load(e + k) / sum, left - k < width<T> ? count_at<T>(k, n) : width<T>);
    }
}

// Many rows at a time: exp is at its best on many elements, however few a row has. Between the passes a row has whole
// vectors to itself, since a load of what a masked store wrote waits until it is in the cache: with ten classes
// (AVX-512, float32) a row then takes 9 ns instead of 33.
template <class T>
void softmax(T* Z, std::size_t rows, std::size_t width) {
    const ArrayFunction<T> exp = function<T>(Unary::Exp);
    constexpr std::size_t w = LW_NAMESPACE::width<T>;
    const std::size_t stride = (width + w - 1) / w * w;
    if (stride <= near_by) {
        alignas(64) T e[near_by];
        const std::size_t together = near_by / stride;
        for (std::size_t first = 0; first < rows; first += together) {
            const std::size_t now = rows - first < together ? rows - first : together;
            T* const z = Z + first * width;
            for (std::size_t r = 0; r < now; ++r) {
                shift(z + r * width, width, largest_of(z + r * width, width), e + r * stride);
            }
            exp(e, e, now * stride, nullptr);
            for (std::size_t r = 0; r < now; ++r) {
                Partial<T> partial;
                partial.add(e + r * stride, width);
                divide(e + r * stride, width, partial.total(), z + r * width, (now - r) * width);
            }
        }
        return;
    }
    for (T* z = Z; z < Z + rows * width; z += width) {
        const Vector<T> top = largest_of(z, width);
        each(z, width, [top](Vector<T> x) __attribute__((always_inline)) { return x - top; });
        exp(z, z, width, nullptr);
        Partial<T> partial;
        partial.add(z, width);
        const Vector<T> sum = partial.total();
        each(z, width, [sum](Vector<T> x) __attribute__((always_inline)) { return x / sum; });
    }
}

template <class T>
void log_softmax(T* Z, std::size_t rows, std::size_t width) {
    const ArrayFunction<T> exp = function<T>(Unary::Exp), log1p = function<T>(Unary::Log1p);
    alignas(64) T e[near_by];
    for (T* z = Z; z < Z + rows * width; z += width) {
        const Vector<T> largest = largest_of(z, width);
        std::size_t top = 0;
        while (top + 1 < width && z[top] != largest[0]) ++top;
        // The log of the sum is log1p of the sum without its largest term, which is 1.
        Partial<T> partial;
        for (std::size_t k = 0; k < width; k += near_by) {
            const std::size_t now = width - k < near_by ? width - k : near_by;
            shift(z + k, now, largest, e);
            exp(e, e, now, nullptr);
            if (top - k < now) e[top - k] = 0;  // top < k wraps around
            partial.add(e, now);
        }
        store(e, partial.total());
        log1p(e, e, LW_NAMESPACE::width<T>, nullptr);
        const Vector<T> rest = load(e);
        each(z, width, [=](Vector<T> x) __attribute__((always_inline)) { return x - largest - rest; });
    }
}

template <class T>
void argmax(const T* Z, std::size_t rows, std::size_t width, std::int64_t* index) {
    for (std::size_t r = 0; r < rows; ++r) {
        const T* const z = Z + r * width;
        std::size_t at = 0;
        if (finite(z, width)) {
            const Vector<T> top = largest_of(z, width);
            unsigned found = 0;
            for (std::size_t k = 0; found == 0 && k < width; k += LW_NAMESPACE::width<T>) {
                // Lanes beyond the row hold 0, which may be the largest; one within the row then comes before them.
                found = set_lanes<T>(load_part(z + k, count_at<T>(k, width)) == top);
                at = k;
            }
            at += static_cast<std::size_t>(__builtin_ctz(found));
        } else {
            for (std::size_t k = 1; k < width && z[at] == z[at]; ++k) {
                if (z[k] > z[at] || z[k] != z[k]) at = k;
            }
        }
        index[r] = static_cast<std::int64_t>(at);
    }
}

template <class T>
constexpr RowFunctions<T> table = {
    finite<T>,
    {
#define LW_READ(name, type) read<type, T>,
        LW_NUMBERS(LW_READ)
#undef LW_READ
    },
    softmax<T>,
    log_softmax<T>,
    argmax<T>,
};

}  // namespace

extern const RowFunctions<float> row_functions_f32;
extern const RowFunctions<double> row_functions_f64;
const RowFunctions<float> row_functions_f32 = table<float>;
const RowFunctions<double> row_functions_f64 = table<double>;

}  // namespace lw::LW_NAMESPACE
