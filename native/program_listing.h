// A program as Python hands it over, decoded: values, stages, jobs, instructions. No size of it has been trusted yet,
// except that each count, offset and size lies between 0 and `most`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "program_facts.h"

namespace lw::program {

// More than any memory holds, and few enough bits for a sum of many of them.
constexpr std::size_t most = std::size_t{1} << 46;

// Products of sizes; what is too large stays too large.
inline std::size_t times(std::size_t a, std::size_t b) {
    std::size_t product;
    return __builtin_mul_overflow(a, b, &product) || product > 2 * most ? 2 * most : product;
}

enum class Space : std::uint8_t { bound, state, arena, local, scalar };

// A matrix somewhere in memory; the words are described in compile/program.py.
struct Value {
    Space space;
    bool integer, written;
    bool packed;  // in blocks of columns, as product.h says; `stride` is then its elements in all, or those of a local row
    std::size_t offset, rows, columns, stride;
    std::size_t element;  // bytes of an element

    // Elements from the first to the last, those between the rows included.
    std::size_t extent() const {
        if (rows == 0 || columns == 0) return 0;
        return packed ? stride : times(rows - 1, stride) + columns;
    }
    bool dense() const { return !packed && (rows <= 1 || stride == columns); }
    bool empty() const { return rows == 0 || columns == 0; }
};

struct Instruction {
    Kernel kernel;
    std::span<const std::int64_t> operands;  // indices of values, -1 for none
    std::span<const std::int64_t> ints;
    std::size_t first_option, options;
};

struct Job {
    std::size_t rows, columns;
    bool split_rows, split_columns, row_blocks;
    std::size_t local_bytes;  // for each row of a tile
    std::size_t first, last;  // instructions

    bool split() const { return split_rows || split_columns; }
};

struct Stage {
    std::size_t first, last;  // jobs
};

struct Listing {
    std::vector<std::int64_t> words;
    std::vector<double> numbers;
    std::size_t element;  // bytes of a real number
    std::size_t bound, state_bytes, arena_bytes, scalars, sources;
    std::vector<Value> values;
    std::vector<Stage> stages;
    std::vector<Job> jobs;
    std::vector<Instruction> instructions;
};

// Where in a program something is wrong.
struct Place {
    std::ptrdiff_t stage = -1, job = -1, instruction = -1;
    const char* kernel = nullptr;
};

// Throws std::invalid_argument.
[[noreturn]] void refuse(const Place& place, const std::string& what);

inline void append(std::string& out, const char* part) { out += part; }
inline void append(std::string& out, const std::string& part) { out += part; }
template <class N>
    requires std::numeric_limits<N>::is_integer
void append(std::string& out, N number) {
    out += std::to_string(number);
}

// Refuses unless the condition holds; the parts of the message are joined only then.
template <class... Parts>
void want(bool holds, const Place& place, const Parts&... parts) {
    if (holds) [[likely]]
        return;
    std::string what;
    (append(what, parts), ...);
    refuse(place, what);
}

// The words as records. Checked: the header, every count and range of words, and that each value lies in its space.
Listing decode(std::span<const std::int64_t> words, std::span<const double> numbers, std::size_t element);

}  // namespace lw::program
