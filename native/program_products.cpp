// Products and packing as instructions.
#include "program_build.h"

namespace lw::program {
namespace {

// Multiply-adds of a thread in a nanosecond, as operations; what a thread is worth does not need more than that.
template <class T>
double product_time(double K, double rows, double columns) {
    return 2 * K * rows * columns / (sizeof(T) == 4 ? 100 : 50);
}

template <class T>
double copy_time(double elements) {
    return elements * sizeof(T) / 10;
}

enum : std::size_t { at_K, at_N, at_groups, at_epilogue };

template <class T>
bool run_product(const Step<T>& s, const Tile& t, Share<T>& share) {
    const Products<T>& products = share.kernels->products;
    const std::size_t groups = s.n[at_groups], N = columns_of(s, t);
    Product<T> p;
    p.A = operand<const T>(s, 2, t, share);
    p.packed = operand<const T>(s, 3, t, share);
    p.K = s.n[at_K];
    p.N = N;
    p.first_row = 0;
    p.last_row = t.rows * groups;
    p.first_block = 0;
    p.last_block = products.block_count(N);
    p.bias = operand<const T>(s, 4, t, share);
    p.epilogue = static_cast<Epilogue>(s.n[at_epilogue]);
    p.C = operand<T>(s, 0, t, share);
    p.other = operand<const T>(s, 5, t, share);
    p.lda = groups == 1 ? s.operands[2].stride : p.K;
    p.ldc = groups == 1 ? s.operands[0].stride : N;
    p.ldo = groups == 1 ? s.operands[5].stride : N;
    p.packed_C = in_blocks(s, 0, t, share);
    p.twin = in_blocks(s, 1, t, share);
    products.multiply(p);
    return true;
}

template <class T>
bool run_t_product(const Step<T>& s, const Tile& t, Share<T>& share) {
    TransposedProduct<T> p;
    p.A = operand<const T>(s, 1, t, share);
    p.lda = s.operands[1].stride;
    p.D = operand<const T>(s, 2, t, share);
    p.ldd = s.operands[2].stride;
    p.K = s.n[at_K];
    p.first_row = 0;
    p.last_row = t.rows;
    p.first_column = 0;
    p.last_column = columns_of(s, t);
    p.C = operand<T>(s, 0, t, share);
    p.ldc = s.operands[0].stride;
    p.workspace = share.workspace;
    share.kernels->products.t_multiply(p);
    return true;
}

// D has been packed, rows as they came to be known. The result may be packed too.
template <class T>
bool run_t_product_packed(const Step<T>& s, const Tile& t, Share<T>& share) {
    const Products<T>& products = share.kernels->products;
    PackedTransposedProduct<T> p;
    p.A = operand<const T>(s, 2, t, share);
    p.lda = s.operands[2].stride;
    p.packed = operand<const T>(s, 3, t, share);
    p.K = s.n[at_K];
    p.N = columns_of(s, t);
    p.first_row = 0;
    p.last_row = t.rows;
    p.first_block = 0;
    p.last_block = products.block_count(p.N);
    p.C = operand<T>(s, 0, t, share);
    p.ldc = s.operands[0].stride;
    p.packed_C = in_blocks(s, 0, t, share);
    p.claimed = in_blocks(s, 1, t, share);
    p.ahead = &share.ahead;
    p.workspace = share.workspace;
    products.t_multiply_packed(p);
    return true;
}

// The columns of a tile begin with a block and are a packed operand of their own, K rows long.
template <class T>
bool run_pack(const Step<T>& s, const Tile& t, Share<T>& share) {
    const Products<T>& products = share.kernels->products;
    T* const packed = operand<T>(s, 0, t, share);
    const T* const B = operand<const T>(s, 1, t, share);
    const std::size_t K = s.n[at_K], N = columns_of(s, t), ldb = s.operands[1].stride, block = products.block;
    if (t.rows == K) {
        products.pack(B, ldb, K, N, 0, products.block_count(N), packed);
        return true;
    }
    // Some of the rows: each at its place in every block, which is another one in the last, narrower block.
    const std::size_t whole = N / block * block, rest = N - whole;
    if (whole > 0) products.pack_range(B, ldb, K, whole, 0, t.rows, packed + t.row * block);
    if (rest > 0) {
        const std::size_t lanes = products.packed_size(1, rest);
        products.pack_range(B + whole, ldb, K, rest, 0, t.rows, packed + whole * K + t.row * lanes);
    }
    return true;
}

// Columns [first, first + n) of S (rows, K), which are rows of Sᵀ, to their places in each block of Sᵀ.
template <class T>
void pack_some_transposed(const Products<T>& products, const T* S, std::size_t lds, std::size_t rows, std::size_t first,
                          std::size_t n, std::size_t K, T* packed) {
    each_block(products, rows, [&](std::size_t r, std::size_t columns, std::size_t lanes) {
        products.pack_transposed(S + r * lds, lds, n, columns, 0, 1, packed + r * K + first * lanes);
    });
}

// Rows of S are columns of Sᵀ, in whole blocks.
template <class T>
bool run_pack_transposed(const Step<T>& s, const Tile& t, Share<T>& share) {
    const Products<T>& products = share.kernels->products;
    T* const packed = operand<T>(s, 0, t, share);
    const std::size_t K = s.n[at_K], n = columns_of(s, t);
    if (s.operands[1].packed) {
        each_block(products, n, [&](std::size_t c, std::size_t columns, std::size_t lanes) {
            const T* const S = block_of<const T>(s, 1, t, share, c, lanes);
            pack_some_transposed(products, S, lanes, t.rows, t.column + c, columns, K, packed);
        });
        return true;
    }
    const T* const S = operand<const T>(s, 1, t, share);
    const std::size_t lds = s.operands[1].stride;
    if (n == K) {
        products.pack_transposed(S, lds, K, t.rows, 0, products.block_count(t.rows), packed);
    } else {
        pack_some_transposed(products, S, lds, t.rows, t.column, n, K, packed);
    }
    return true;
}

template <class T>
bool run_column_reduce(const Step<T>& s, const Tile& t, Share<T>& share) {
    const RowKernels<T>& rows = share.kernels->rows;
    const auto op = static_cast<Reduction>(s.n[1]);
    const std::size_t K = s.n[0], n = columns_of(s, t);
    T* const out = operand<T>(s, 0, t, share);
    if (!s.operands[1].packed) {
        rows.column_reduce(operand<const T>(s, 1, t, share), s.operands[1].stride, K, n, out, op);
        return true;
    }
    // D's rows are none of the tile's.
    const T* const D = reinterpret_cast<const T*>(share.bases[s.operands[1].base] + s.operands[1].offset);
    each_block(share.kernels->products, n, [&](std::size_t c, std::size_t columns, std::size_t lanes) {
        rows.column_reduce(D + (t.column + c) * K, lanes, K, columns, out + c, op);
    });
    return true;
}

}  // namespace

template <class T>
void build_product(Builder<T>& b) {
    const std::size_t K = b.number(0, "K", 0), N = b.number(1, "N", 0), groups = b.number(2, "groups", 1);
    const auto epilogue = static_cast<Epilogue>(b.number(3, "the epilogue", 0, 5));
    const bool biased = epilogue == Epilogue::bias || epilogue == Epilogue::bias_relu;
    const bool sloped = !biased && epilogue != Epilogue::none;
    b.want(groups == 1 || !b.job.split_columns, "columns of several groups cannot be cut");
    b.want(groups == 1 || (!b.value(0).packed && !b.has(1)), "the result of several groups cannot be packed");
    b.want_shape(0, b.job.rows, times(groups, N));
    b.want_shape(2, b.job.rows, times(groups, K));
    b.want_packed(3, K, N);
    b.want(b.has(4) == biased, "its epilogue takes ", biased ? "a" : "no", " bias");
    b.want(b.has(5) == sloped, "its epilogue takes ", sloped ? "an" : "no", " other operand");
    for (const int i : {0, 2, 5}) {
        if (groups > 1 && b.has(i)) b.want_dense(i);
    }
    b.add(0, true, Reach::tile, true);
    if (b.has(1)) b.want_packed(1, b.job.rows, N);
    b.add_if(b.has(1), 1, true, Reach::tile, true);
    b.add(2, false, Reach::row);
    b.add(3, false, Reach::packed_columns);
    b.operands.back().column_step = K * sizeof(T);
    if (biased) b.want_shape(4, 1, N);
    b.add_if(biased, 4, false, Reach::column);
    if (sloped) b.want_shape(5, b.job.rows, times(groups, N));
    b.add_if(sloped, 5, false, Reach::tile);
    b.step.run = run_product<T>;
    b.step.columns = N;
    b.step.n[at_K] = K;
    b.step.n[at_groups] = groups;
    b.step.n[at_epilogue] = static_cast<std::size_t>(epilogue);
    b.job_facts.products = true;
    b.cost(product_time<T>(static_cast<double>(K), static_cast<double>(b.job.rows),
                              static_cast<double>(groups) * static_cast<double>(N)));
}

template <class T>
void build_t_product(Builder<T>& b) {
    const std::size_t K = b.number(0, "K", 0), N = b.value(0).columns;
    b.want_shape(0, b.job.rows, N);
    b.want_shape(1, K, b.job.rows);
    b.want_shape(2, K, N);
    b.add(0, true, Reach::tile);
    b.add(1, false, Reach::turned);
    b.add(2, false, Reach::column);
    b.step.run = run_t_product<T>;
    b.step.columns = N;
    b.step.n[at_K] = K;
    b.job_facts.products = b.job_facts.turned = true;
    b.cost(product_time<T>(static_cast<double>(K), static_cast<double>(b.job.rows), static_cast<double>(N)));
}

template <class T>
void build_t_product_packed(Builder<T>& b) {
    const std::size_t K = b.number(0, "K", 0), N = b.number(1, "N", 0);
    b.want_shape(0, b.job.rows, N);
    b.want_shape(2, K, b.job.rows);
    b.want_packed(3, K, N);
    b.add(0, true, Reach::tile, true);
    if (b.has(1)) {
        b.want_packed(1, b.job.rows, N);
        b.want(b.value(0).packed, "where something is claimed the result must be packed");
        b.want(b.value(1).space != Space::local, "what is claimed is local: no other thread has it");
    }
    b.add_if(b.has(1), 1, true, Reach::tile, true);
    b.add(2, false, Reach::turned);
    b.add(3, false, Reach::packed_columns);
    b.operands.back().column_step = K * sizeof(T);
    b.step.run = run_t_product_packed<T>;
    b.step.columns = N;
    b.step.n[at_K] = K;
    b.job_facts.products = b.job_facts.turned = true;
    b.cost(product_time<T>(static_cast<double>(K), static_cast<double>(b.job.rows), static_cast<double>(N)));
}

template <class T>
void build_column_reduce(Builder<T>& b) {
    const std::size_t K = b.number(0, "K", 0), N = b.value(0).columns;
    const std::size_t op = b.number(1, "the reduction", 0, 2);
    b.want(K > 0 || op != static_cast<std::size_t>(Reduction::max), "no rows have no maximum");
    b.want_shape(0, 1, N);
    b.want_shape(1, K, N);
    b.add(0, true, Reach::tile);
    b.add(1, false, b.value(1).packed ? Reach::packed_columns : Reach::column);
    b.step.run = run_column_reduce<T>;
    b.step.columns = N;
    b.step.n[0] = K;
    b.step.n[1] = op;
    b.cost(copy_time<T>(b.elements(1)));
}

template <class T>
void build_pack(Builder<T>& b) {
    const std::size_t K = b.number(0, "K", 0), N = b.number(1, "N", 0);
    b.want_shape(1, K, N);
    b.want_packed(0, K, N);
    b.add(0, true, Reach::packed_columns);
    b.operands.back().column_step = K * sizeof(T);
    b.add(1, false, Reach::tile);
    b.step.run = run_pack<T>;
    b.step.columns = N;
    b.step.n[at_K] = K;
    b.cost(copy_time<T>(2 * b.elements(1)));
}

template <class T>
void build_pack_transposed(Builder<T>& b) {
    const std::size_t M = b.number(0, "M", 0), N = b.number(1, "N", 0);
    b.want(!b.job.split_rows || b.job.row_blocks, "rows may only be cut in whole blocks");
    b.want_shape(1, M, N);
    b.want_packed(0, N, M);
    b.add(0, true, Reach::packed_rows);
    b.operands.back().row_step = N * sizeof(T);
    b.add(1, false, Reach::tile, true);
    b.step.run = run_pack_transposed<T>;
    b.step.columns = N;
    b.step.n[at_K] = N;
    b.cost(copy_time<T>(4 * b.elements(1)));
}

LW_INSTANTIATE_BUILD(product)
LW_INSTANTIATE_BUILD(t_product)
LW_INSTANTIATE_BUILD(t_product_packed)
LW_INSTANTIATE_BUILD(column_reduce)
LW_INSTANTIATE_BUILD(pack)
LW_INSTANTIATE_BUILD(pack_transposed)

}  // namespace lw::program
