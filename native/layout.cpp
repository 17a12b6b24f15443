#include "layout.h"

#include <algorithm>
#include <cstring>

namespace lw {
namespace {

// Loops -------------------------------------------------------------------------------------------------------

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

// Copies ------------------------------------------------------------------------------------------------------

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

template <class T>
void copy_line(T* out, const T* x, const CopyDim& d) {
    const auto n = static_cast<std::ptrdiff_t>(d.size);
    if (d.out == 1 && d.x == 1) {
        std::memcpy(out, x, d.size * sizeof(T));
    } else if (d.out == 1 && d.x == 0) {
        std::fill_n(out, d.size, *x);
    } else if (d.out == 1) {
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = x[i * d.x];
    } else if (d.x == 1) {
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i * d.out] = x[i];
    } else {
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i * d.out] = x[i * d.x];
    }
}

// out[i, j] with j side by side, x[i, j] with i side by side.
template <class T>
void transpose(T* out, std::ptrdiff_t out_row, const T* x, std::ptrdiff_t x_column, std::size_t rows,
               std::size_t columns) {
    constexpr std::size_t block = 8;  // lines of eight elements on both sides
    const auto place = [=](std::size_t i, std::size_t j) {
        out[static_cast<std::ptrdiff_t>(i) * out_row + static_cast<std::ptrdiff_t>(j)] =
            x[static_cast<std::ptrdiff_t>(j) * x_column + static_cast<std::ptrdiff_t>(i)];
    };
    for (std::size_t i = 0; i < rows; i += block) {
        const std::size_t to = std::min(rows, i + block);
        for (std::size_t j = 0; j < columns; j += block) {
            if (to == i + block && j + block <= columns) {
                for (std::size_t r = 0; r < block; ++r) {
                    for (std::size_t c = 0; c < block; ++c) place(i + r, j + c);
                }
            } else {
                for (std::size_t r = i; r < to; ++r) {
                    for (std::size_t c = j; c < std::min(columns, j + block); ++c) place(r, c);
                }
            }
        }
    }
}

// Indexes -----------------------------------------------------------------------------------------------------

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
    const CopyDim last = d[n - 1];
    int turned = -1;  // the dim along which x lies side by side, where out does along the last
    for (int i = 0; i + 1 < n; ++i) {
        if (last.out == 1 && last.x != 1 && last.x != 0 && d[i].x == 1) turned = i;
    }
    if (turned < 0) {
        for_each(d, n - 1, CopyAt{0, 0}, [&](const CopyAt& at) { copy_line(out + at.out, x + at.x, last); });
        return;
    }
    const CopyDim across = d[turned];
    std::copy(d + turned + 1, d + n - 1, d + turned);
    for_each(d, n - 2, CopyAt{0, 0}, [&](const CopyAt& at) {
        transpose(out + at.out, across.out, x + at.x, last.x, across.size, last.size);
    });
}

template <class T>
bool take(T* out, std::size_t ldo, const T* table, std::size_t ldt, std::size_t table_rows, std::size_t columns,
          const std::int64_t* index, std::size_t index_stride, std::size_t rows, BadIndex* bad) {
    for (std::size_t r = 0; r < rows; ++r) {
        const std::int64_t i = index[r * index_stride];
        if (!within(i, table_rows)) return refuse(r, i, table_rows, bad);
        if (columns == 1) {
            out[r * ldo] = table[static_cast<std::size_t>(i) * ldt];
        } else if (columns > 0) {
            std::memcpy(out + r * ldo, table + static_cast<std::size_t>(i) * ldt, columns * sizeof(T));
        }
    }
    return true;
}

template <class T>
bool one_hot(T* out, std::size_t ldo, const std::int64_t* labels, std::size_t ldl, std::size_t rows,
             std::size_t groups, std::size_t classes, BadIndex* bad) {
    for (std::size_t r = 0; r < rows; ++r) {
        T* const row = out + r * ldo;
        std::fill_n(row, groups * classes, T(0));
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

// Contractions ------------------------------------------------------------------------------------------------

namespace {

struct ContractAt {
    std::ptrdiff_t out, a, b;
    void move(const ContractDim& d, std::ptrdiff_t steps) {
        out += d.out * steps;
        a += d.a * steps;
        b += d.b * steps;
    }
};

// out[j] = or += a[j] · b[j] along one dim.
template <bool first, class T>
void multiply_line(T* __restrict__ out, const T* __restrict__ a, const T* __restrict__ b, const ContractDim& d) {
    const auto n = static_cast<std::ptrdiff_t>(d.size);
    const auto set = [](T& y, T product) { y = first ? product : y + product; };
    if (d.out == 1 && d.a == 0 && d.b == 1) {
        const T factor = *a;
        for (std::ptrdiff_t j = 0; j < n; ++j) set(out[j], factor * b[j]);
    } else if (d.out == 1 && d.a == 1 && d.b == 0) {
        const T factor = *b;
        for (std::ptrdiff_t j = 0; j < n; ++j) set(out[j], a[j] * factor);
    } else if (d.out == 1 && d.a == 1 && d.b == 1) {
        for (std::ptrdiff_t j = 0; j < n; ++j) set(out[j], a[j] * b[j]);
    } else {
        for (std::ptrdiff_t j = 0; j < n; ++j) set(out[j * d.out], a[j * d.a] * b[j * d.b]);
    }
}

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
    for_each(kept, n_kept, ContractAt{0, 0, 0}, [&](const ContractAt& at) {
        if (no_terms) {
            for (std::size_t j = 0; j < line.size; ++j) out[at.out + static_cast<std::ptrdiff_t>(j) * line.out] = 0;
            return;
        }
        bool first = true;
        for_each(summed, n_summed, at, [&](const ContractAt& term) {
            if (first) {
                multiply_line<true>(out + term.out, a + term.a, b + term.b, line);
            } else {
                multiply_line<false>(out + term.out, a + term.a, b + term.b, line);
            }
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
    template bool one_hot<T>(T*, std::size_t, const std::int64_t*, std::size_t, std::size_t, std::size_t,      \
                             std::size_t, BadIndex*);                                                          \
    template bool scatter<T>(T*, std::size_t, std::size_t, const T*, std::size_t, std::size_t,                 \
                             const std::int64_t*, std::size_t, std::size_t, BadIndex*);                        \
    template void contract<T>(T*, const T*, const T*, const ContractDim*, int);
LW_INSTANTIATE(float)
LW_INSTANTIATE(double)
LW_INSTANTIATE_MOVES(std::int64_t)

}  // namespace lw
