// Matrices from Python whose rows may lie apart.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace lw {

// The distance of rows, in elements; nb::value_error where columns do not lie side by side or rows overlap.
std::size_t leading(const auto& x, const std::string& name = "a matrix") {
    if (x.size() == 0) return x.shape(1);  // whatever its strides
    if (x.shape(1) > 1 && x.stride(1) != 1) {
        throw nanobind::value_error((name + " must have its columns side by side.").c_str());
    }
    if (x.shape(0) <= 1) return x.shape(1);
    if (x.stride(0) < static_cast<std::int64_t>(x.shape(1))) {
        throw nanobind::value_error((name + " must have rows that do not overlap.").c_str());
    }
    return static_cast<std::size_t>(x.stride(0));
}

}  // namespace lw
