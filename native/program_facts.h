// What is known of the kernels of a Program before any instruction is read; program.def is the table.
#pragma once

#include <cstdint>

namespace lw::program {

enum class Kernel : std::uint8_t {
#define LW_KERNEL(name, Name, ...) Name,
#include "program.def"
};

// Where an operand begins for the tile whose first row is r and first column is c.
enum class Reach : std::uint8_t {
    tile,            // element (r, c)
    row,             // row r
    column,          // column c, all rows
    turned,          // column r, all rows: the left operand of AᵀD
    packed_columns,  // a packed operand, from column c of the matrix
    packed_rows,     // a packed operand, from column r
    whole,
};

enum class Role : std::uint8_t { read, written };
enum class Kind : std::uint8_t { real, integer, either };

struct OperandFacts {
    const char* name;
    Kind kind;
    Role role;
    Reach reach;
    bool needed;
};

constexpr int most_named_operands = 6;

struct KernelFacts {
    const char* name;
    int ints, options;  // `any`: the ints say it
    bool cuts;
    OperandFacts operands[most_named_operands];

    constexpr int count() const {
        int n = 0;
        while (n < most_named_operands && operands[n].name != nullptr) ++n;
        return n;
    }
};

constexpr int any = -1;

namespace table {
using enum Kind;
using enum Role;
using enum Reach;
constexpr bool needed = true, optional = false;

constexpr KernelFacts kernels[] = {
#define LW_KERNEL(name, Name, ints, options, cuts, ...) {#name, ints, options, cuts, {__VA_ARGS__}},
#include "program.def"
};
}  // namespace table

constexpr int kernel_count = static_cast<int>(sizeof table::kernels / sizeof *table::kernels);

constexpr const KernelFacts& facts(Kernel kernel) { return table::kernels[static_cast<int>(kernel)]; }

}  // namespace lw::program
