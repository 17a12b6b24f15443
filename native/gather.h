// Rows of a matrix of any numeric type and layout, copied into a dense matrix: what a minibatch is made of.
//
// Conversions are those of NumPy's astype: to nearest, beyond the range infinite; integers to int64 modulo 2^64. An
// element's bits depend on its value only, not on the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.h"

namespace lw {

enum class Element {
    boolean,  // a byte, true where it is not 0
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    float32,
    float64,
};

constexpr bool is_integer(Element element) { return element < Element::float16; }

constexpr std::size_t element_bytes[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8};

// Element (i, j) begins at byte i · row_stride + j · column_stride after `data`, at any alignment; a stride may be
// negative or 0. In the byte order of the machine.
struct Source {
    const void* data;
    Element element;
    std::ptrdiff_t row_stride;
    std::ptrdiff_t column_stride;
    std::size_t columns;
};

// out[i, :] = source[rows[i], :], or source[first + i, :], for i < n; out (n, columns), ldo ≥ columns, does not overlap
// the source. Rows are not checked. Integers as T take integers only. Nothing is allocated; parts of `rows` may be
// gathered by several threads at once.
template <class T>
struct Gather {
    void (*rows)(const Source& source, const std::int64_t* rows, std::size_t n, T* out, std::size_t ldo);
    void (*range)(const Source& source, std::int64_t first, std::size_t n, T* out, std::size_t ldo);
};

// T = float, double, and int64_t for labels. The set must be available.
template <class T>
const Gather<T>& gather(Isa isa);

}  // namespace lw
