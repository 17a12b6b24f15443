// The loops around the register tile: blocks of terms, chunks of rows that stay in cache, tiles.
//
// Included only by *_isa.cpp. An epilogue is a class with
//     E within(const Block& block) const                    itself, where that block of C is written
//     E at(Size row, Size column) const                     then: with that element of C as its (0, 0)
//     Store<T> store() const                                where C lies
//     bool twice() const                                    whether C is written to two places
//     void fetch(Size r, Size c) const                      into the cache: what it will read there
//     void claim(Size r, Size c) const                      to this core: a line that is written next
//     void put<twice>(Vector<T> z, Size r, Size c, lanes) const
// and the last receives each finished vector of C, `lanes` (Whole or Part) of it real, and writes it. Some elements
// come twice.
#pragma once

#include "product.h"
#include "product_narrow.h"
#include "product_pack.h"

namespace lw::LW_NAMESPACE {

// Rows (of A, or columns of A in AᵀD) whose tiles share one block of B while it is in cache: a multiple of 6 and 12.
constexpr Size chunk_rows = 96;
// Columns packed at a time by AᵀD.
constexpr Size chunk_columns = 1024;

// Copied rows lie an odd number of cache lines apart, so that they spread over all sets of the cache.
template <class T>
constexpr Size copy_stride = chunk_rows + (chunk_rows * sizeof(T) / 64 % 2 == 0 ? 64 / sizeof(T) : 0);
template <class T>
constexpr Size copy_size = term_block * copy_stride<T>;
template <class T>
constexpr Size t_workspace_size = copy_size<T> + term_block * chunk_columns;

// One block seen as if it were a part of rows: element (row, column) of the whole at the result + row · lanes + column.
template <class T>
LW_INLINE T* block_in(const InBlocks<T>& m, const Block& block) {
    if (m.data == nullptr) return nullptr;
    return m.data + block.first * m.rows + m.first_row * static_cast<Size>(block.lanes) - block.first;
}

template <class T>
struct Store {
    T* C;
    Size ldc;
    InBlocks<T> packed_C = {};  // instead of C
    InBlocks<T> twin = {};      // the same once more
    T* second = nullptr;  // the twin where one block is written
    Size lds = 0;
    LW_INLINE Store at(Size row, Size column) const {
        T* const there = second == nullptr ? nullptr : second + row * lds + column;
        return {C + row * ldc + column, ldc, {}, {}, there, lds};
    }
    // The same where only this block is written.
    LW_INLINE Store within(const Block& block) const {
        const auto lanes = static_cast<Size>(block.lanes);
        if (packed_C.data == nullptr) return {C, ldc, {}, {}, block_in(twin, block), lanes};
        return {block_in(packed_C, block), lanes, {}, {}, block_in(twin, block), lanes};
    }
    LW_INLINE const Store& store() const { return *this; }
    LW_INLINE bool twice() const { return second != nullptr; }
    LW_INLINE void fetch(Size, Size) const {}
    LW_INLINE void claim(Size, Size) const {}
    template <bool Twice, class L>
    LW_INLINE void put(Vector<T> z, Size r, Size c, L lanes) const {
        store_lanes(C + r * ldc + c, z, lanes);
        if constexpr (Twice) store_lanes(second + r * lds + c, z, lanes);
    }
};

// Beside C, lines of the same shape that are written after it.
template <class T>
struct Claim {
    Store<T> out;
    InBlocks<T> claimed;
    RowsAhead* ahead = nullptr;
    T* lines = nullptr;  // where one block is written
    LW_INLINE Claim at(Size row, Size column) const {
        return {out.at(row, column), {}, ahead, lines == nullptr ? nullptr : lines + row * out.ldc + column};
    }
    LW_INLINE Claim within(const Block& block) const {
        return {out.within(block), {}, ahead, block_in(claimed, block)};
    }
    LW_INLINE const Store<T>& store() const { return out; }
    LW_INLINE bool twice() const { return false; }
    LW_INLINE void fetch(Size, Size) const {}
    // A store takes the line from the other cores while the sums run; a prefetch for writing was seen to do nothing.
    LW_INLINE void claim(Size r, Size c) const {
        if (lines == nullptr) return;
        volatile T* const element = lines + r * out.ldc + c;
        *element = *element;
        if (ahead != nullptr) ahead->fetch_line();
    }
    template <bool Twice, class L>
    LW_INLINE void put(Vector<T> z, Size r, Size c, L lanes) const {
        out.template put<Twice>(z, r, c, lanes);
    }
};

struct Identity {
    template <class V>
    LW_INLINE V operator()(V z) const {
        return z;
    }
};

struct Relu {
    template <class V>
    LW_INLINE V operator()(V z) const {
        return z < V{} ? V{} : z;  // NaN stays
    }
};

template <class T, class Activation>
struct BiasThen {
    Store<T> out;
    const T* bias;
    Activation activation;
    LW_INLINE BiasThen at(Size row, Size column) const { return {out.at(row, column), bias + column, activation}; }
    LW_INLINE BiasThen within(const Block& block) const { return {out.within(block), bias, activation}; }
    LW_INLINE const Store<T>& store() const { return out; }
    LW_INLINE bool twice() const { return out.twice(); }
    LW_INLINE void fetch(Size, Size) const {}
    LW_INLINE void claim(Size, Size) const {}
    template <bool Twice, class L>
    LW_INLINE void put(Vector<T> z, Size r, Size c, L lanes) const {
        out.template put<Twice>(activation(z + load_lanes(bias + c, lanes)), r, c, lanes);
    }
};

#define LW_DEFINE(name, slope)                     \
    struct slope_##name {                          \
        template <class T>                         \
        LW_INLINE static Vector<T> of(Vector<T> a) { \
            return slope;                          \
        }                                          \
    };
LW_SLOPES(LW_DEFINE)
#undef LW_DEFINE

template <class T, class Slope>
struct Times {
    Store<T> out;
    const T* other;
    Size ldo;
    LW_INLINE Times at(Size row, Size column) const { return {out.at(row, column), other + row * ldo + column, ldo}; }
    LW_INLINE Times within(const Block& block) const { return {out.within(block), other, ldo}; }
    LW_INLINE const Store<T>& store() const { return out; }
    LW_INLINE bool twice() const { return out.twice(); }
    LW_INLINE void fetch(Size r, Size c) const { __builtin_prefetch(other + r * ldo + c, 0, 3); }
    LW_INLINE void claim(Size, Size) const {}
    template <bool Twice, class L>
    LW_INLINE void put(Vector<T> z, Size r, Size c, L lanes) const {
        out.template put<Twice>(z * Slope::template of<T>(load_lanes(other + r * ldo + c, lanes)), r, c, lanes);
    }
};

// Rows of the next tile when `left` remain: tiles as equal as possible, so that no thin one is left over.
LW_INLINE int next_rows(Size left, int most) {
    const Size m = static_cast<Size>(most);
    if (left >= 2 * m) return most;
    return static_cast<int>(left <= m ? left : (left + 1) / 2);
}

// One block of terms: element (r, k) of A at a[r · a_row + k · a_k]; row k of block j of B, whose columns begin at
// `first`, at b + first · b_block + (first_k + k) · lanes.
template <class T>
struct Step {
    const T* a;
    Size a_row, a_k;
    const T* b;
    Size b_block, first_k;
    Size terms;
    LW_INLINE const T* rows_of(const Block& block) const {
        return b + block.first * b_block + first_k * static_cast<Size>(block.lanes);
    }
};

// `rows` rows of one block, from place.row on; next: the block to be used after it, of ahead_k · 4 bytes a row, or null.
template <class T, class E>
LW_INLINE void column_of_tiles(const Step<T>& s, Size rows, const Block& block, const char* next, Size ahead_k,
                               Place<T> place, const E& e) {
    const int most = tile_rows(vectors_of(block.halves));
    Terms<T> t = {s.a, s.a_row, s.a_k, s.rows_of(block), static_cast<Size>(block.lanes), s.terms};
    const char* const here = t.ahead;
    // Tiles of the full height are quicker where a block is ragged, so there the last one has some rows once more,
    // unless it would add them twice to the sums of earlier terms.
    const bool again = block.columns < block_width<T> && place.first && place.last && rows >= static_cast<Size>(most);
    const Size first = place.row;
    Size tile = 0;
    for (Size r = 0; r < rows; ++tile) {
        const int now = again ? most : next_rows(rows - r, most);
        if (again && rows - r < static_cast<Size>(most)) r = rows - static_cast<Size>(most);
        t.a = s.a + r * s.a_row;
        // The first four tiles of a block fetch a quarter of the next block each.
        const bool fetches = next != nullptr && tile < 4;
        t.ahead_k = fetches ? ahead_k : 0;
        t.ahead = fetches ? next + tile * ahead_k * s.terms : here;
        place.row = first + r;
        any_tile(now, block.halves, block.columns, t, place, e);
        r += static_cast<Size>(now);
    }
}

// `rows` rows of the blocks [first, last) of N columns; place: where row 0 of A and column 0 of B stand in C.
template <class T, class E>
LW_INLINE void row_of_blocks(const Step<T>& s, Size rows, Size N, Size first, Size last, const Place<T>& origin,
                             const E& e) {
    for (Size j = first; j < last; ++j) {
        const Block block = block_at<T>(N, j);
        const char* next = nullptr;
        Size ahead_k = 0;
        if (j + 1 < last) {
            const Block after = block_at<T>(N, j + 1);
            next = reinterpret_cast<const char*>(s.rows_of(after));
            ahead_k = static_cast<Size>(after.lanes) * sizeof(T) / 4;
        }
        Place<T> place = origin;
        place.column += block.first;
        const E here = e.within(block);
        place.partial = here.store().C;
        place.ldp = here.store().ldc;
        column_of_tiles(s, rows, block, next, ahead_k, place, here);
    }
}

// C[rows, blocks] = A[rows, :] · B[:, blocks] through e. Sums over more than one block of terms wait in C. A is read in
// place: copying each chunk first cost 0 to 7 points of the peak in the runs made with this code (AVX-512, float32, rows
// 256 B to 16 KB apart), and gained nothing.
template <class T, class E>
void multiply(const Product<T>& p, const E& e) {
    Size last_block = p.last_block;
    if (p.first_block < last_block && p.last_row - p.first_row >= width<T>) {
        const Block block = block_at<T>(p.N, last_block - 1);
        if (block.columns <= across_columns<T>) {
            --last_block;
            multiply_across(p.A, p.lda, p.packed + block.first * p.K, static_cast<Size>(block.lanes), p.K, p.first_row,
                            p.last_row, block.first, block.columns, e.within(block));
        }
    }
    if (p.first_block == last_block) return;
    for (Size row = p.first_row; row < p.last_row; row += chunk_rows) {
        const Size rows = p.last_row - row < chunk_rows ? p.last_row - row : chunk_rows;
        for (Size k = 0; k == 0 || k < p.K; k += term_block) {
            const Size terms = p.K - k < term_block ? p.K - k : term_block;
            row_of_blocks<T>({p.A + row * p.lda + k, p.lda, 1, p.packed, p.K, k, terms}, rows, p.N, p.first_block,
                             last_block, {row, 0, k == 0, k + terms == p.K}, e);
        }
    }
}

// Whether AᵀD with these few columns is quicker with its vectors along the rows.
template <class T>
LW_INLINE bool turns(Size rows, Size columns) {
    if (columns >= block_width<T> || columns == 0) return false;
    return 4 * packed_size<T>(1, rows) * columns < 3 * packed_size<T>(1, columns) * rows;
}

// Columns of A side by side, for the tiles of AᵀD. Rows of A that lie a power of two apart fall into few sets of the
// cache, and AVX2, with its narrow blocks, reads A often.
template <class T>
struct CopiedColumns {
    const T* A;
    Size lda;
    T* workspace;  // copy_size
    bool copies;

    CopiedColumns(const T* A, Size lda, Size columns, T* workspace)
        : A(A), lda(lda), workspace(workspace),
          copies((lda * sizeof(T) % 4096 == 0 && columns >= 4 * block_width<T>) ||
                 (block_vectors < 4 && columns >= 16 * block_width<T>)) {}

    // Terms [k, k + terms) of columns [first, first + columns): where they are, and how far apart.
    LW_INLINE const T* get(Size k, Size terms, Size first, Size columns, Size& a_k) const {
        const T* from = A + k * lda + first;
        a_k = lda;
        if (!copies) return from;
        a_k = copy_stride<T>;
        constexpr Size w = width<T>;
        for (Size i = 0; i < terms; ++i) {
            T* const to = workspace + i * copy_stride<T>;
            for (Size c = 0; c < columns; c += 64 / sizeof(T)) __builtin_prefetch(from + 8 * lda + c, 0, 2);
            Size c = 0;
            for (; c + w <= columns; c += w) store(to + c, load(from + c));
            if (c < columns) store(to + c, load_part(from + c, static_cast<int>(columns - c)));
            from += lda;
        }
        return workspace;
    }
};

// C[rows, columns] = A[:, rows]ᵀ · D[:, columns] through e.
template <class T, class E>
void t_multiply(const TransposedProduct<T>& p, const E& e) {
    const Size rows = p.last_row - p.first_row, columns = p.last_column - p.first_column;
    if (turns<T>(rows, columns)) {
        return t_multiply_turned(p.A, p.lda, p.first_row, p.last_row, p.D + p.first_column, p.ldd, p.K, p.first_column,
                                 columns, p.workspace, e);
    }
    const CopiedColumns<T> A(p.A, p.lda, columns, p.workspace);
    T* const packed = p.workspace + copy_size<T>;
    for (Size k = 0; k == 0 || k < p.K; k += term_block) {
        const Size terms = p.K - k < term_block ? p.K - k : term_block;
        for (Size column = p.first_column; column < p.last_column; column += chunk_columns) {
            const Size n = p.last_column - column < chunk_columns ? p.last_column - column : chunk_columns;
            pack_rows(p.D + k * p.ldd + column, p.ldd, terms, n, packed, term_block);
            for (Size row = p.first_row; row < p.last_row; row += chunk_rows) {
                const Size now = p.last_row - row < chunk_rows ? p.last_row - row : chunk_rows;
                Size a_k;
                const T* const a = A.get(k, terms, row, now, a_k);
                row_of_blocks<T>({a, 1, a_k, packed, term_block, 0, terms}, now, n, 0, block_count<T>(n),
                                 {row, column, k == 0, k + terms == p.K}, e);
            }
        }
    }
}

// The same with D packed.
template <class T, class E>
void t_multiply_packed(const PackedTransposedProduct<T>& p, const E& e) {
    if (p.first_block == p.last_block) return;
    Size last_block = p.last_block;
    const Block last = block_at<T>(p.N, last_block - 1);
    if (turns<T>(p.last_row - p.first_row, static_cast<Size>(last.columns))) {
        --last_block;
        t_multiply_turned(p.A, p.lda, p.first_row, p.last_row, p.packed + last.first * p.K,
                          static_cast<Size>(last.lanes), p.K, last.first, static_cast<Size>(last.columns), p.workspace,
                          e.within(last));
    }
    if (p.first_block == last_block) return;
    const CopiedColumns<T> A(p.A, p.lda, (last_block - p.first_block) * block_width<T>, p.workspace);
    for (Size row = p.first_row; row < p.last_row; row += chunk_rows) {
        const Size rows = p.last_row - row < chunk_rows ? p.last_row - row : chunk_rows;
        for (Size k = 0; k == 0 || k < p.K; k += term_block) {
            const Size terms = p.K - k < term_block ? p.K - k : term_block;
            Size a_k;
            const T* const a = A.get(k, terms, row, rows, a_k);
            row_of_blocks<T>({a, 1, a_k, p.packed, p.K, k, terms}, rows, p.N, p.first_block, last_block,
                             {row, 0, k == 0, k + terms == p.K}, e);
        }
    }
}

// Vectors of columns that column_sums takes together: as many chains as hide the latency of an addition.
constexpr int sum_vectors = 8;

template <class T, int C>
LW_INLINE void column_sums_of(const T* D, Size ldd, Size K, T* sums, int last_lanes) {
    constexpr int w = width<T>;
    Vector<T> total[C];
    for (Size k = 0; k == 0 || k < K; k += term_block) {
        Vector<T> sum[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) sum[c] = Vector<T>{};
        const Size end = K - k < term_block ? K : k + term_block;
        for (Size i = k; i < end; ++i) {
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) {
                sum[c] = sum[c] + (c + 1 < C ? load(D + i * ldd + c * w) : load_part(D + i * ldd + c * w, last_lanes));
            }
        }
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) total[c] = k == 0 ? sum[c] : total[c] + sum[c];
    }
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) store_part(sums + c * w, total[c], c + 1 < C ? w : last_lanes);
}

template <class T, int C>
LW_INLINE void column_sums_up_to(int vectors, const T* D, Size ldd, Size K, T* sums, int last_lanes) {
    if (vectors == C) return column_sums_of<T, C>(D, ldd, K, sums, last_lanes);
    if constexpr (C > 1) column_sums_up_to<T, C - 1>(vectors, D, ldd, K, sums, last_lanes);
}

template <class T>
void column_sums(const T* D, Size ldd, Size K, Size first, Size last, T* sums) {
    constexpr Size w = width<T>;
    for (Size j = first; j < last; j += sum_vectors * w) {
        const Size left = last - j;
        const int vectors = left >= sum_vectors * w ? sum_vectors : static_cast<int>((left + w - 1) / w);
        const Size lanes = left - (static_cast<Size>(vectors) - 1) * w;
        column_sums_up_to<T, sum_vectors>(vectors, D + j, ldd, K, sums + j, static_cast<int>(lanes < w ? lanes : w));
    }
}

}  // namespace lw::LW_NAMESPACE
