// The products of product.h for one instruction set.
#include "product.h"
#include "product_loops.h"

namespace lw::LW_NAMESPACE {

template <class T>
void multiply_with(const Product<T>& p) {
    const auto run = [&p](const auto& e) { multiply(p, e); };
    const Store<T> out{p.C, p.ldc, p.packed_C, p.twin};
    switch (p.epilogue) {
        case Epilogue::none:
            return run(out);
        case Epilogue::bias:
            return run(BiasThen<T, Identity>{out, p.bias, {}});
        case Epilogue::bias_relu:
            return run(BiasThen<T, Relu>{out, p.bias, {}});
#define LW_CASE(name, slope) \
        case Epilogue::name: \
            return run(Times<T, slope_##name>{out, p.other, p.ldo});
        LW_SLOPES(LW_CASE)
#undef LW_CASE
    }
}

template <class T>
void t_multiply_with(const TransposedProduct<T>& p) {
    t_multiply(p, Claim<T>{{p.C, p.ldc}, {}});
}

template <class T>
void t_multiply_packed_with(const PackedTransposedProduct<T>& p) {
    t_multiply_packed(p, Claim<T>{{p.C, p.ldc, p.packed_C}, p.claimed, p.ahead});
}

// As many independent sums as a tile has.
constexpr int fma_rows = tile_rows(block_vectors);

#if defined(__aarch64__)
#define LW_OPAQUE(v) asm volatile("" : "+w"(v))
#elif defined(__x86_64__)
#define LW_OPAQUE(v) asm volatile("" : "+v"(v))
#else
#define LW_OPAQUE(v) asm volatile("" : "+m"(v))
#endif

template <class T>
T fma_loop(std::size_t iterations, T start) {
    Vector<T> sum[fma_rows][block_vectors];
    Vector<T> a = all(start), b = all(start);
#pragma GCC unroll 16
    for (int r = 0; r < fma_rows; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < block_vectors; ++c) {
            sum[r][c] = Vector<T>{};
            LW_OPAQUE(sum[r][c]);  // else the sums are seen to be equal, and one is computed
        }
    }
    for (std::size_t i = 0; i < iterations; ++i) {
        LW_OPAQUE(a);  // else a · b would be computed once, before the loop
        LW_OPAQUE(b);
#pragma GCC unroll 16
        for (int r = 0; r < fma_rows; ++r) {
#pragma GCC unroll 4
            for (int c = 0; c < block_vectors; ++c) sum[r][c] = fma(a, b, sum[r][c]);
        }
    }
    Vector<T> total = {};
#pragma GCC unroll 16
    for (int r = 0; r < fma_rows; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < block_vectors; ++c) total = total + sum[r][c];
    }
    T result = 0;
    for (int i = 0; i < width<T>; ++i) result += total[i];
    return result;
}

template <class T>
constexpr Products<T> table = {
    block_width<T>,
    tile_rows(block_vectors),
    t_workspace_size<T>,
    2 * fma_rows * block_vectors * width<T>,
    block_count<T>,
    packed_size<T>,
    pack<T>,
    pack_transposed<T>,
    pack_range<T>,
    multiply_with<T>,
    t_multiply_with<T>,
    t_multiply_packed_with<T>,
    column_sums<T>,
    fma_loop<T>,
};

extern const Products<float> products_f32;
extern const Products<double> products_f64;
const Products<float> products_f32 = table<float>;
const Products<double> products_f64 = table<double>;

}  // namespace lw::LW_NAMESPACE
