// The functions on blocks of numbers: each operand is a block or one number, which stays in a register.
#pragma once

#include "map_functions.h"

namespace lw::LW_NAMESPACE {

template <class T, bool one>
struct Operand {
    const T* p;
    Vector<T> number;

    LW_INLINE explicit Operand(const T* from) : p(from), number(one ? all<T>(*from) : Vector<T>{}) {}
    LW_INLINE Vector<T> at(std::size_t i) const { return one ? number : load<T>(p + i); }
    LW_INLINE Vector<T> first(std::size_t i, int n) const { return one ? number : load_first<T>(p + i, n); }
};

// out[i] = f(operands[i]...) for n elements; out may be one of the operands. The rest of an array goes through the same
// code as a full vector, so it has the same bits.
template <class T, int unrolled, class F, class... Operands>
LW_INLINE void each(T* out, std::size_t n, F f, Operands... operands) {
    constexpr std::size_t step = width<T>;
    std::size_t i = 0;
    if constexpr (unrolled > 1) {
        for (; i + unrolled * step <= n; i += unrolled * step) {
#pragma GCC unroll 8
            for (int j = 0; j < unrolled; ++j) store<T>(out + i + j * step, f(operands.at(i + j * step)...));
        }
    }
    for (; i + step <= n; i += step) store<T>(out + i, f(operands.at(i)...));
    if (i < n) {
        const int rest = static_cast<int>(n - i);
        store_first<T>(out + i, f(operands.first(i, rest)...), rest);
    }
}

// ones: bit 0 for the first operand, bit 1 for the second, …, where it is one number.
#define LW_BINARY(name, Name)                                                                              \
    template <class T, unsigned ones>                                                                      \
    void name##_blocks(const T* x, const T* y, T* out, std::size_t n) {                                    \
        each<T, 4>(                                                                                        \
            out, n, [](Vector<T> a, Vector<T> b) __attribute__((always_inline)) { return name##_v<T>(a, b); }, \
            Operand<T, (ones & 1) != 0>(x), Operand<T, (ones & 2) != 0>(y));                               \
    }
#define LW_TERNARY(name, Name)                                                                                 \
    template <class T, unsigned ones>                                                                          \
    void name##_blocks(const T* x, const T* y, const T* z, T* out, std::size_t n) {                            \
        each<T, 4>(                                                                                            \
            out, n,                                                                                            \
            [](Vector<T> a, Vector<T> b, Vector<T> c) __attribute__((always_inline)) { return name##_v<T>(a, b, c); }, \
            Operand<T, (ones & 1) != 0>(x), Operand<T, (ones & 2) != 0>(y), Operand<T, (ones & 4) != 0>(z));   \
    }
#include "kernels.def"

template <class T>
using BinaryFunction = void (*)(const T*, const T*, T*, std::size_t);
template <class T>
using TernaryFunction = void (*)(const T*, const T*, const T*, T*, std::size_t);

template <class T>
constexpr BinaryFunction<T> binary_functions[][4] = {
#define LW_BINARY(name, Name) {name##_blocks<T, 0>, name##_blocks<T, 1>, name##_blocks<T, 2>, name##_blocks<T, 3>},
#include "kernels.def"
};

template <class T>
constexpr TernaryFunction<T> ternary_functions[][8] = {
#define LW_TERNARY(name, Name)                                                                      \
    {name##_blocks<T, 0>, name##_blocks<T, 1>, name##_blocks<T, 2>, name##_blocks<T, 3>,            \
     name##_blocks<T, 4>, name##_blocks<T, 5>, name##_blocks<T, 6>, name##_blocks<T, 7>},
#include "kernels.def"
};

constexpr int binary_count = 0
#define LW_BINARY(name, Name) +1
#include "kernels.def"
    ;

// n copies of a number.
template <class T>
LW_INLINE void fill(T* out, std::size_t n, const T* number) {
    each<T, 4>(out, n, [](Vector<T> x) __attribute__((always_inline)) { return x; }, Operand<T, true>(number));
}

template <class T>
LW_INLINE void copy(T* out, std::size_t n, const T* from) {
    each<T, 4>(out, n, [](Vector<T> x) __attribute__((always_inline)) { return x; }, Operand<T, false>(from));
}

}  // namespace lw::LW_NAMESPACE
