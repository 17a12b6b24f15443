// What Forward does with rows besides products and elementwise functions, as a table for each instruction set.
//
// A row's results depend on that row alone. A sum over a row is 64 / sizeof(T) partial sums, element k in number
// k mod that, folded by halves: the same order with vectors of any width.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.h"

namespace lw {

// The numbers that inputs may be.
#define LW_NUMBERS(X)                                                                                       \
    X(float32, float) X(float64, double) X(int8, std::int8_t) X(int16, std::int16_t) X(int32, std::int32_t) \
    X(int64, std::int64_t) X(uint8, std::uint8_t) X(uint16, std::uint16_t) X(uint32, std::uint32_t)         \
    X(uint64, std::uint64_t)

enum class Number {
#define LW_NAME(name, type) name,
    LW_NUMBERS(LW_NAME)
#undef LW_NAME
};
constexpr std::size_t number_bytes[] = {
#define LW_BYTES(name, type) sizeof(type),
    LW_NUMBERS(LW_BYTES)
#undef LW_BYTES
};
constexpr int number_count = static_cast<int>(sizeof number_bytes / sizeof *number_bytes);

template <class T>
constexpr Number number_of = sizeof(T) == 4 ? Number::float32 : Number::float64;

template <class T>
struct RowFunctions {
    // Whether all n values are finite.
    bool (*finite)(const T* x, std::size_t n);
    // n numbers of any kind, rounded to T; whether all of them are finite and none is larger than the largest T.
    bool (*read[number_count])(const void* in, T* out, std::size_t n);
    // Of each row of Z (rows, width), in place, with its largest element taken away first. A NaN spreads to its row.
    void (*softmax)(T* Z, std::size_t rows, std::size_t width);
    void (*log_softmax)(T* Z, std::size_t rows, std::size_t width);
    // Where the largest element of each row stands: the first of equal ones; the first NaN, if there is one.
    void (*argmax)(const T* Z, std::size_t rows, std::size_t width, std::int64_t* index);
};

// The set must be available.
template <class T>
const RowFunctions<T>& row_functions(Isa isa);

}  // namespace lw
