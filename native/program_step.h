// An instruction made ready to run: a function, and for each operand where a tile finds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gather.h"
#include "layout.h"
#include "map.h"
#include "product.h"
#include "program.h"
#include "program_listing.h"
#include "rows.h"
#include "uniform.h"

namespace lw::program {

// Where operands lie: a share of a stage finds its memory by these numbers.
enum Base : std::uint32_t { no_base, local_base, state_base, arena_base, scalar_base, first_bound_base };

// base + offset + row_step · (first row of the tile) + column_step · (its first column), in bytes. Of a packed operand
// that a tile meets in the middle of blocks, see `block_of`.
struct Operand {
    std::uint32_t base = no_base;
    std::uint32_t value = 0;  // of the listing
    std::size_t offset = 0;
    std::size_t row_step = 0, column_step = 0;
    std::size_t stride = 0;  // elements between rows
    bool packed = false;
    std::size_t block_rows = 0;  // of each of its blocks
};

struct Tile {
    std::uint32_t job;
    std::size_t row, rows;
    std::size_t column, columns;  // columns 0: all of each instruction
};

template <class T>
struct Kernels {
    const Products<T>& products;
    const RowKernels<T>& rows;
    const Maps<T>& maps;
    const Gather<T>& gather;
    const Gather<std::int64_t>& gather_integers;
    const UniformKernels<T>& uniform;
};

// What one share of a stage works with. A share runs on one thread at a time.
template <class T>
struct alignas(64) Share {
    std::vector<char*> bases;
    T* workspace = nullptr;  // of t_multiply
    const Kernels<T>* kernels = nullptr;
    const GatherContext* gather = nullptr;  // of this run
    std::size_t first_gathered = 0, last_gathered = 0;  // the rows that this share gathers, unless others are quicker
    RowsAhead ahead;  // those of the next run
    std::uint32_t bad_step = no_step;  // the first step, in program order, that met a bad index
    BadIndex bad{};

    static constexpr std::uint32_t no_step = ~std::uint32_t{0};
};

template <class T>
struct Step {
    // False when an index was bad; the share says which.
    using Run = bool (*)(const Step&, const Tile&, Share<T>&);

    Run run = nullptr;
    const Operand* operands = nullptr;
    std::size_t columns = 0;  // where a tile has all of them
    std::size_t n[4] = {};    // what the kernel wants to know: K, N, groups, …
    const void* table = nullptr;
    T value = 0;
    std::uint32_t number = 0;  // in the order of the program
};

template <class E, class T>
inline E* operand(const Step<T>& s, int i, const Tile& t, const Share<T>& share) {
    const Operand& o = s.operands[i];
    return reinterpret_cast<E*>(share.bases[o.base] + o.offset + t.row * o.row_step + t.column * o.column_step);
}

// The tile's rows of a block of a packed operand: `column` of the tile is the block's first, `lanes` its elements a row.
template <class E, class T>
inline E* block_of(const Step<T>& s, int i, const Tile& t, const Share<T>& share, std::size_t column,
                   std::size_t lanes) {
    const Operand& o = s.operands[i];
    const std::size_t at = o.base == local_base ? column * o.block_rows
                                                : (t.column + column) * o.block_rows + t.row * lanes;
    return reinterpret_cast<E*>(share.bases[o.base] + o.offset) + at;
}

// f(first column, columns, lanes) for each block of n columns.
template <class T, class F>
inline void each_block(const Products<T>& products, std::size_t n, const F& f) {
    for (std::size_t c = 0; c < n; c += products.block) {
        const std::size_t columns = n - c < products.block ? n - c : products.block;
        f(c, columns, products.packed_size(1, columns));
    }
}

// The tile's part of a packed operand, for products; nothing where the operand is absent or not packed.
template <class T>
inline InBlocks<T> in_blocks(const Step<T>& s, int i, const Tile& t, const Share<T>& share) {
    const Operand& o = s.operands[i];
    if (!o.packed) return {};
    return {block_of<T>(s, i, {t.job, 0, t.rows, t.column, t.columns}, share, 0, 0), o.block_rows,
            o.base == local_base ? 0 : t.row};
}

template <class T>
inline std::size_t columns_of(const Step<T>& s, const Tile& t) {
    return t.columns == 0 ? s.columns : t.columns;
}

// Keeps the lowest step and position of all tiles of a share, so that what is reported depends on no tile.
template <class T>
bool bad_index(const Step<T>& s, Share<T>& share, BadIndex bad, std::size_t before) {
    bad.position += before;
    if (s.number < share.bad_step || (s.number == share.bad_step && bad.position < share.bad.position)) {
        share.bad_step = s.number;
        share.bad = bad;
    }
    return false;
}

}  // namespace lw::program
