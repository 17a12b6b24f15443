// Kernels that move values: strided copies, look-ups by row number, and sums over products with any strides.
//
// Strides and offsets are in elements and may be 0 or negative; whoever calls has checked that all of them stay
// inside. Plain code, compiled once for all instruction sets: none of them is where a training step spends its time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lw {

constexpr int max_dims = 8;

struct CopyDim {
    std::size_t size;
    std::ptrdiff_t out, x;
};

// out[Σ i_d out_d] = x[Σ i_d x_d] for all indices; the last dim is the innermost. No place of out twice, none in x; the
// order of the moves is not said. T: float, double, std::int64_t.
template <class T>
void strided_copy(T* out, const T* x, const CopyDim* dims, int n_dims);

// Likewise with real numbers that become integers, without their fractions; the least integer for NaN and for what none
// holds.
template <class T>
void strided_integers(std::int64_t* out, const T* x, const CopyDim* dims, int n_dims);

// A row number that is not in 0 .. limit-1.
struct BadIndex {
    std::size_t position;
    std::int64_t value;
    std::size_t limit;
};

// Each returns false at the first bad index, and says which.
// out[r] = table[index[r]], rows of `columns` entries. T: also std::int64_t.
template <class T>
bool take(T* out, std::size_t ldo, const T* table, std::size_t ldt, std::size_t table_rows, std::size_t columns,
          const std::int64_t* index, std::size_t index_stride, std::size_t rows, BadIndex* bad);

// out[r, g, label[r, g]] = 1, all others 0. A bad label's position is r · groups + g.
template <class T>
bool one_hot(T* out, std::size_t ldo, const std::int64_t* labels, std::size_t ldl, std::size_t rows,
             std::size_t groups, std::size_t classes, BadIndex* bad);

// out (out_rows, columns) = 0, then out[index[r]] += g[r] for r = 0 … K-1 in order.
template <class T>
bool scatter(T* out, std::size_t ldo, std::size_t out_rows, const T* g, std::size_t ldg, std::size_t columns,
             const std::int64_t* index, std::size_t index_stride, std::size_t K, BadIndex* bad);

struct ContractDim {
    std::size_t size;
    std::ptrdiff_t out, a, b;
};

// out[Σ i out] = Σ a[Σ i a] · b[Σ i b]: dims whose `out` is 0 and size is not 1 are summed, each sum in order from its
// first term; without terms it is 0. All entries of out are set, no place of it twice but by those sums. Fast where the
// innermost of the dims that are not summed has stride 1 in out, and 1 or 0 in a and b.
template <class T>
void contract(T* out, const T* a, const T* b, const ContractDim* dims, int n_dims);

}  // namespace lw
