#include "layout.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

namespace lw {
namespace {

// Loops --------------------------------------------------------------------------------------------------------

// Calls f(offsets) for every index of the dims, the last one fastest.
template <class Dim, class Offsets, class F>
void for_each(const Dim* dims, int n_dims, Offsets at, F f) {
    std::size_t index[max_dims] = {};
    for (;;) {
        f(at);
        int d = n_dims - 1;
        for (; d >= 0; --d) {
            if (++index[d] < dims[d].size) break;
            at.move(dims[d], -static_cast<std::ptrdiff_t>(dims[d].size - 1));
            index[d] = 0;
        }
        if (d < 0) return;
        at.move(dims[d], 1);
    }
}

// Copies -------------------------------------------------------------------------------------------------------

struct CopyAt {
    std::ptrdiff_t out, x;
    void move(const CopyDim& d, std::ptrdiff_t steps) {
        out += d.out * steps;
        x += d.x * steps;
    }
};

// Dims of size 1 go, and two that lie in both arrays as one become one. 0 where there is nothing to copy.
int merged(const CopyDim* dims, int n_dims, CopyDim* result, bool& empty) {
    int n = 0;
    empty = false;
    for (int i = 0; i < n_dims; ++i) {
        const CopyDim d = dims[i];
        if (d.size == 0) empty = true;
        if (d.size == 1) continue;
        const auto size = static_cast<std::ptrdiff_t>(d.size);
        if (n > 0 && result[n - 1].out == d.out * size && result[n - 1].x == d.x * size) {
            result[n - 1] = {result[n - 1].size * d.size, d.out, d.x};
        } else {
            result[n++] = d;
        }
    }
    return n;
}

// `lines` runs of n elements, out_line and x_line apart. A constant n turns memcpy and the loops into a few moves.
template <class T, class Size>
void copy_runs(T* out, const T* x, const CopyDim& lines, Size n) {
    const auto count = static_cast<std::ptrdiff_t>(lines.size);
    for (std::ptrdiff_t i = 0; i < count; ++i) std::memcpy(out + i * lines.out, x + i * lines.x, n * sizeof(T));
}

template <class T, class Size>
void fill_runs(T* out, const T* x, const CopyDim& lines, Size n) {
    const auto count = static_cast<std::ptrdiff_t>(lines.size);
    for (std::ptrdiff_t i = 0; i < count; ++i) std::fill_n(out + i * lines.out, n, x[i * lines.x]);
}

template <std::size_t n>
using Constant = std::integral_constant<std::size_t, n>;

// f(n), with a constant where n is small.
template <class F>
void with_constant(std::size_t n, F f) {
    switch (n) {
        case 1:
            return f(Constant<1>{});
        case 2:
            return f(Constant<2>{});
        case 3:
            return f(Constant<3>{});
        case 4:
            return f(Constant<4>{});
        case 5:
            return f(Constant<5>{});
        case 6:
            return f(Constant<6>{});
        case 7:
            return f(Constant<7>{});
        case 8:
            return f(Constant<8>{});
        default:
            return f(n);
    }
}

template <class T>
void copy_plane(T* out, const T* x, const CopyDim& lines, const CopyDim& line) {
    if (line.out == 1 && line.x == 1) {
        with_constant(line.size, [&](auto n) { copy_runs(out, x, lines, n); });
    } else if (line.out == 1 && line.x == 0) {
        with_constant(line.size, [&](auto n) { fill_runs(out, x, lines, n); });
    } else {
        const auto n = static_cast<std::ptrdiff_t>(line.size), count = static_cast<std::ptrdiff_t>(lines.size);
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            for (std::ptrdiff_t j = 0; j < n; ++j) out[i * lines.out + j * line.out] = x[i * lines.x + j * line.x];
        }
    }
}

// The square of elements in 16 bytes each way, transposed.
void transpose_square(float* out, std::ptrdiff_t out_row, const float* x, std::ptrdiff_t x_column) {
    typedef float V __attribute__((vector_size(16)));
    V v[4];
    for (int j = 0; j < 4; ++j) std::memcpy(&v[j], x + j * x_column, sizeof v[j]);
    const V a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const V c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5), d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
    for (int i = 0; i < 4; ++i) std::memcpy(out + i * out_row, &v[i], sizeof v[i]);
}

template <class T>
void transpose_square(T* out, std::ptrdiff_t out_row, const T* x, std::ptrdiff_t x_column) {
    typedef T V __attribute__((vector_size(16)));
    V a, b;
    std::memcpy(&a, x, sizeof a);
    std::memcpy(&b, x + x_column, sizeof b);
    const V first = __builtin_shufflevector(a, b, 0, 2), second = __builtin_shufflevector(a, b, 1, 3);
    std::memcpy(out, &first, sizeof first);
    std::memcpy(out + out_row, &second, sizeof second);
}

// out[i, j] with j side by side, x[i, j] with i side by side.
template <class T>
void transpose(T* out, std::ptrdiff_t out_row, const T* x, std::ptrdiff_t x_column, std::size_t rows,
               std::size_t columns) {
    constexpr std::size_t square = 16 / sizeof(T), block = 8;  // rows of out whose lines are filled together
    for (std::size_t first = 0; first < rows; first += block) {
        const std::size_t last = std::min(rows, first + block);
        for (std::size_t j = 0; j < columns; j += square) {
            for (std::size_t i = first; i < last; i += square) {
                T* const to = out + static_cast<std::ptrdiff_t>(i) * out_row + static_cast<std::ptrdiff_t>(j);
                const T* const from = x + static_cast<std::ptrdiff_t>(j) * x_column + static_cast<std::ptrdiff_t>(i);
                if (i + square <= last && j + square <= columns) {
                    transpose_square(to, out_row, from, x_column);
                    continue;
                }
                const auto h = static_cast<std::ptrdiff_t>(std::min(square, last - i));
                const auto w = static_cast<std::ptrdiff_t>(std::min(square, columns - j));
                for (std::ptrdiff_t r = 0; r < h; ++r) {
                    for (std::ptrdiff_t c = 0; c < w; ++c) to[r * out_row + c] = from[c * x_column + r];
                }
            }
        }
    }
}

// Indexes ------------------------------------------------------------------------------------------------------

bool within(std::int64_t index, std::size_t limit) { return static_cast<std::uint64_t>(index) < limit; }

bool refuse(std::size_t position, std::int64_t value, std::size_t limit, BadIndex* bad) {
    *bad = {position, value, limit};
    return false;
}

}  // namespace

template <class T>
void strided_copy(T* out, const T* x, const CopyDim* dims, int n_dims) {
    CopyDim d[max_dims];
    bool empty;
    int n = merged(dims, n_dims, d, empty);
    if (empty) return;
    if (n == 0) {
        *out = *x;
        return;
    }
    if (n == 1) {
        copy_plane(out, x, {1, 0, 0}, d[0]);
        return;
    }
    const CopyDim line = d[n - 1];
    int across = -1;  // the dim along which x lies side by side, where out does along the last
    for (int i = 0; i + 1 < n; ++i) {
        if (line.out == 1 && line.x != 1 && line.x != 0 && d[i].x == 1) across = i;
    }
    if (across < 0) {
        for_each(d, n - 2, CopyAt{0, 0},
                 [&](const CopyAt& at) { copy_plane(out + at.out, x + at.x, d[n - 2], line); });
        return;
    }
    const CopyDim turned = d[across];
    std::copy(d + across + 1, d + n - 1, d + across);
    for_each(d, n - 2, CopyAt{0, 0}, [&](const CopyAt& at) {
        transpose(out + at.out, turned.out, x + at.x, line.x, turned.size, line.size);
    });
}

template <class T>
void strided_integers(std::int64_t* out, const T* x, const CopyDim* dims, int n_dims) {
    CopyDim d[max_dims];
    bool empty;
    const int n = merged(dims, n_dims, d, empty);
    if (empty) return;
    for_each(d, n, CopyAt{0, 0}, [&](const CopyAt& at) {
        const T value = x[at.x];
        constexpr T limit = 9223372036854775808.0;  // 2^63, exact in both precisions
        const bool fits = value > -limit && value < limit;
        out[at.out] = fits ? static_cast<std::int64_t>(value) : std::numeric_limits<std::int64_t>::min();
    });
}

template <class T>
bool take(T* out, std::size_t ldo, const T* table, std::size_t ldt, std::size_t table_rows, std::size_t columns,
          const std::int64_t* index, std::size_t index_stride, std::size_t rows, BadIndex* bad) {
    bool good = true;
    with_constant(columns, [&](auto n) {
        for (std::size_t r = 0; r < rows && good; ++r) {
            const std::int64_t i = index[r * index_stride];
            if (within(i, table_rows)) {
                std::memcpy(out + r * ldo, table + static_cast<std::size_t>(i) * ldt, n * sizeof(T));
            } else {
                good = refuse(r, i, table_rows, bad);
            }
        }
    });
    return good;
}

template <class T>
bool one_hot(T* out, std::size_t ldo, const std::int64_t* labels, std::size_t ldl, std::size_t rows,
             std::size_t groups, std::size_t classes, BadIndex* bad) {
    const bool dense = ldo == groups * classes;
    if (dense) std::fill_n(out, rows * ldo, T(0));
    for (std::size_t r = 0; r < rows; ++r) {
        T* const row = out + r * ldo;
        if (!dense) std::fill_n(row, groups * classes, T(0));
        for (std::size_t g = 0; g < groups; ++g) {
            const std::int64_t label = labels[r * ldl + g];
            if (!within(label, classes)) return refuse(r * groups + g, label, classes, bad);
            row[g * classes + static_cast<std::size_t>(label)] = T(1);
        }
    }
    return true;
}

template <class T>
bool scatter(T* out, std::size_t ldo, std::size_t out_rows, const T* g, std::size_t ldg, std::size_t columns,
             const std::int64_t* index, std::size_t index_stride, std::size_t K, BadIndex* bad) {
    for (std::size_t r = 0; r < out_rows; ++r) std::fill_n(out + r * ldo, columns, T(0));
    for (std::size_t r = 0; r < K; ++r) {
        const std::int64_t i = index[r * index_stride];
        if (!within(i, out_rows)) return refuse(r, i, out_rows, bad);
        T* const to = out + static_cast<std::size_t>(i) * ldo;
        const T* const from = g + r * ldg;
        for (std::size_t c = 0; c < columns; ++c) to[c] += from[c];
    }
    return true;
}

// Contractions -------------------------------------------------------------------------------------------------

namespace {

struct ContractAt {
    std::ptrdiff_t out, a, b;
    void move(const ContractDim& d, std::ptrdiff_t steps) {
        out += d.out * steps;
        a += d.a * steps;
        b += d.b * steps;
    }
};

template <class T>
struct Sixteen {
    typedef T Vector __attribute__((vector_size(16)));
};

template <class T, bool moves>
typename Sixteen<T>::Vector load_or_repeat(const T* p) {
    typename Sixteen<T>::Vector v{};
    if constexpr (moves) {
        std::memcpy(&v, p, sizeof v);
        return v;
    } else {
        return v + *p;
    }
}

// Sums of products along `term` for `places` of out, each in a lane of n vectors of which the last two may overlap. a
// and b lie side by side like out, or are the same for all places.
template <class T, int n, bool a_moves, bool b_moves>
void add_vectors(T* out, const T* a, const T* b, const ContractDim& term, std::size_t places, bool first) {
    typedef typename Sixteen<T>::Vector V;
    constexpr int lanes = 16 / sizeof(T);
    const auto terms = static_cast<std::ptrdiff_t>(term.size), last = static_cast<std::ptrdiff_t>(places) - lanes;
    const auto at = [last](int v) { return v + 1 < n ? static_cast<std::ptrdiff_t>(v) * lanes : last; };
    const auto product = [&](const T* x, const T* y, int v) {
        return load_or_repeat<T, a_moves>(a_moves ? x + at(v) : x) *
               load_or_repeat<T, b_moves>(b_moves ? y + at(v) : y);
    };
    V sum[n];
    for (int v = 0; v < n; ++v) sum[v] = product(a, b, v);
    if (!first) {
        for (int v = 0; v < n; ++v) sum[v] = load_or_repeat<T, true>(out + at(v)) + sum[v];
    }
    for (std::ptrdiff_t k = 1; k < terms; ++k) {
        for (int v = 0; v < n; ++v) sum[v] += product(a + k * term.a, b + k * term.b, v);
    }
    for (int v = 0; v < n; ++v) std::memcpy(out + at(v), &sum[v], sizeof sum[v]);
}

// The same for n places at any distances.
template <class T, int n>
void add_places(T* out, const T* a, const T* b, const ContractDim& line, const ContractDim& term, bool first) {
    const auto terms = static_cast<std::ptrdiff_t>(term.size);
    T sum[n];
    for (int j = 0; j < n; ++j) sum[j] = a[j * line.a] * b[j * line.b];
    if (!first) {
        for (int j = 0; j < n; ++j) sum[j] = out[j * line.out] + sum[j];
    }
    for (std::ptrdiff_t k = 1; k < terms; ++k) {
        const T *const x = a + k * term.a, *const y = b + k * term.b;
        for (int j = 0; j < n; ++j) sum[j] += x[j * line.a] * y[j * line.b];
    }
    for (int j = 0; j < n; ++j) out[j * line.out] = sum[j];
}

template <class T>
class Line {
public:
    Line(T* out, const T* a, const T* b, const ContractDim& line, const ContractDim& term, bool first)
        : out_(out), a_(a), b_(b), line_(line), term_(term), left_(line.size), first_(first) {}

    void run() {
        if (line_.out == 1 && line_.a == 0 && line_.b == 1) vectors<false, true>();
        if (line_.out == 1 && line_.a == 1 && line_.b == 0) vectors<true, false>();
        if (line_.out == 1 && line_.a == 1 && line_.b == 1) vectors<true, true>();
        places<4>();
        places<2>();
        places<1>();
    }

private:
    template <bool a_moves, bool b_moves>
    void vectors() {
        constexpr std::size_t lanes = 16 / sizeof(T);
        if (left_ < lanes) return;
        while (left_ > 6 * lanes) vectors<4, a_moves, b_moves>(4 * lanes);
        switch ((left_ + lanes - 1) / lanes) {
            case 1:
                return vectors<1, a_moves, b_moves>(left_);
            case 2:
                return vectors<2, a_moves, b_moves>(left_);
            case 3:
                return vectors<3, a_moves, b_moves>(left_);
            case 4:
                return vectors<4, a_moves, b_moves>(left_);
            case 5:
                return vectors<5, a_moves, b_moves>(left_);
            default:
                return vectors<6, a_moves, b_moves>(left_);
        }
    }

    template <int n, bool a_moves, bool b_moves>
    void vectors(std::size_t places) {
        add_vectors<T, n, a_moves, b_moves>(out_, a_, b_, term_, places, first_);
        advance(places);
    }

    template <std::size_t n>
    void places() {
        for (; left_ >= n; advance(n)) add_places<T, static_cast<int>(n)>(out_, a_, b_, line_, term_, first_);
    }

    void advance(std::size_t n) {
        left_ -= n;
        out_ += static_cast<std::ptrdiff_t>(n) * line_.out;
        a_ += static_cast<std::ptrdiff_t>(n) * line_.a;
        b_ += static_cast<std::ptrdiff_t>(n) * line_.b;
    }

    T* out_;
    const T *a_, *b_;
    const ContractDim &line_, &term_;
    std::size_t left_;
    bool first_;
};

}  // namespace

template <class T>
void contract(T* out, const T* a, const T* b, const ContractDim* dims, int n_dims) {
    ContractDim kept[max_dims], summed[max_dims];
    int n_kept = 0, n_summed = 0;
    bool no_terms = false;
    for (int i = 0; i < n_dims; ++i) {
        const ContractDim& d = dims[i];
        if (d.size == 1) continue;
        if (d.out == 0) {
            no_terms |= d.size == 0;
            summed[n_summed++] = d;
        } else {
            if (d.size == 0) return;
            kept[n_kept++] = d;
        }
    }
    const ContractDim line = n_kept > 0 ? kept[--n_kept] : ContractDim{1, 1, 1, 1};
    const ContractDim term = n_summed > 0 ? summed[--n_summed] : ContractDim{1, 0, 0, 0};
    for_each(kept, n_kept, ContractAt{0, 0, 0}, [&](const ContractAt& at) {
        if (no_terms) {
            for (std::size_t j = 0; j < line.size; ++j) out[at.out + static_cast<std::ptrdiff_t>(j) * line.out] = 0;
            return;
        }
        bool first = true;
        for_each(summed, n_summed, at, [&](const ContractAt& part) {
            Line<T>(out + part.out, a + part.a, b + part.b, line, term, first).run();
            first = false;
        });
    });
}

#define LW_INSTANTIATE_MOVES(T)                                                                                \
    template void strided_copy<T>(T*, const T*, const CopyDim*, int);                                          \
    template bool take<T>(T*, std::size_t, const T*, std::size_t, std::size_t, std::size_t, const std::int64_t*, \
                          std::size_t, std::size_t, BadIndex*);
#define LW_INSTANTIATE(T)                                                                                      \
    LW_INSTANTIATE_MOVES(T)                                                                                    \
    template void strided_integers<T>(std::int64_t*, const T*, const CopyDim*, int);                           \
    template bool one_hot<T>(T*, std::size_t, const std::int64_t*, std::size_t, std::size_t, std::size_t,      \
                             std::size_t, BadIndex*);                                                          \
    template bool scatter<T>(T*, std::size_t, std::size_t, const T*, std::size_t, std::size_t,                 \
                             const std::int64_t*, std::size_t, std::size_t, BadIndex*);                        \
    template void contract<T>(T*, const T*, const T*, const ContractDim*, int);
LW_INSTANTIATE(float)
LW_INSTANTIATE(double)
LW_INSTANTIATE_MOVES(std::int64_t)

}  // namespace lw
