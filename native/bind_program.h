// What the bindings of Program and Trainer share: arrays checked against what a program asks for.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "bind_source.h"
#include "program.h"

namespace lw {

using Numbers = nanobind::ndarray<const double, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;
using Words = nanobind::ndarray<const std::int64_t, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

inline std::string text(const char* part) { return part; }
inline std::string text(std::size_t number) { return std::to_string(number); }

template <class... Parts>
[[noreturn]] void refuse(Parts... parts) {
    throw nanobind::value_error((text(parts) + ...).c_str());
}

// The memory of all arrays of a run; ValueError where one does not fit, or meets one that is written.
struct Arrays {
    nanobind::tuple kept;  // the sequence that they came in may change meanwhile
    std::vector<void*> bound;
    char* state;
};
template <class T>
Arrays checked_arrays(const Program<T>& program, nanobind::handle bound, nanobind::handle state);

// The sources of gather while they live.
class Sources {
public:
    // At least `rows` rows each, where a program takes them.
    Sources(const std::vector<SourceUse>& uses, nanobind::handle arrays, std::size_t rows);

    const std::vector<Source>& sources() const { return sources_; }
    std::size_t rows() const { return rows_; }  // of the shortest that is used

private:
    std::deque<SourceBuffer> buffers_;
    std::vector<Source> sources_;
    std::size_t rows_;
};

// IndexError(kernel, position, value, limit).
[[noreturn]] void raise_bad_index(const BadIndexError& error);

}  // namespace lw
