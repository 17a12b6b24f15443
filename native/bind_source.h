// A NumPy array as a Source: through the buffer protocol, which hands on strides in bytes, arrays that are not aligned
// and arrays that cannot be written to.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <optional>

#include "gather.h"

namespace lw {

// By the letters of NumPy's array interface: b for booleans, i, u, f.
std::optional<Element> element_of_kind(char kind, std::size_t bytes);

class SourceBuffer {
public:
    // A matrix, or a vector as a matrix of one column. nb::type_error for anything else, for elements that are no
    // Element, and for a byte order that is not the machine's.
    explicit SourceBuffer(nanobind::handle array);
    ~SourceBuffer();
    SourceBuffer(const SourceBuffer&) = delete;
    SourceBuffer& operator=(const SourceBuffer&) = delete;

    const Source& source() const { return source_; }
    std::size_t rows() const { return rows_; }

private:
    Py_buffer view_;
    Source source_;
    std::size_t rows_;
};

}  // namespace lw
