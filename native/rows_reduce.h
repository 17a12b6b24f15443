// Sums, means, maxima and log-sum-exp along runs of entries and down columns.
#pragma once

#include "rows.h"
#include "rows_softmax.h"

namespace lw::LW_NAMESPACE {

// Sums of longer runs are accumulated in double, in four chains of 64 bytes (32 lanes).
constexpr Size short_run = 64;
constexpr int chains = 4;

template <class T>
LW_INLINE Lanes<double> load_as_double(const T* p) {
    Lanes<double> y;
    LW_EACH_LANE_VECTOR {
        if constexpr (sizeof(T) == 8) {
            y.v[i] = load<double>(p + i * width<double>);
        } else {
            typename Half<float>::Vector half;
            __builtin_memcpy(&half, p + i * width<double>, sizeof half);
            y.v[i] = __builtin_convertvector(half, Vector<double>);
        }
    }
    return y;
}

template <class T>
LW_INLINE void add_to_chains(Lanes<double> (&sum)[chains], const T* x) {
#pragma GCC unroll 4
    for (int c = 0; c < chains; ++c) {
        const Lanes<double> y = load_as_double<T>(x + c * lanes<double>);
        LW_EACH_LANE_VECTOR sum[c].v[i] += y.v[i];
    }
}

template <class T>
LW_INLINE double long_sum(const T* x, Size n) {
    constexpr Size step = chains * lanes<double>;
    Lanes<double> sum[chains] = {};
    Size k = 0;
    for (; k + step <= n; k += step) add_to_chains<T>(sum, x + k);
    if (k < n) {
        T rest[step] = {};
        over_lanes<T>(n - k, [&](Size at, int count) __attribute__((always_inline)) {
            store_lanes<T>(rest + at, load_lanes<T>(x + k + at, count, T(0)), lanes<T>);
        });
        add_to_chains<T>(sum, rest);
    }
    LW_EACH_LANE_VECTOR sum[0].v[i] = (sum[0].v[i] + sum[2].v[i]) + (sum[1].v[i] + sum[3].v[i]);
    return fold<double>(sum[0], Add{});
}

template <class T>
LW_INLINE T short_sum(const T* x, Size n) {
    Lanes<T> sum = all_lanes<T>(0);
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        const Lanes<T> y = load_lanes<T>(x + k, count, T(0));
        LW_EACH_LANE_VECTOR sum.v[i] += y.v[i];
    });
    return fold<T>(sum, Add{});
}

template <class T>
LW_INLINE T run_sum(const T* x, Size n, bool mean) {
    if (n <= short_run) return mean ? short_sum<T>(x, n) / static_cast<T>(n) : short_sum<T>(x, n);
    const double sum = long_sum<T>(x, n);
    return static_cast<T>(mean ? sum / static_cast<double>(n) : sum);
}

// Runs of at most that many entries are reduced one in each lane, in the order of the entries.
constexpr Size turned_run = 16;

// f.finish(f(…f(f.start, first entry)…, last entry)) of each run.
template <class T, class F>
void reduce_turned(const T* x, Size ldx, T* out, Size ldo, Size runs, Size length, F f) {
    for (Size r = 0; r < runs; r += width<T>) {
        Vector<T> y = f.template start<T>();
        turn_in<T>(x + r * ldx, ldx, runs - r, static_cast<int>(length), [&](int, Vector<T> v)
                   __attribute__((always_inline)) { y = f(v, y); });
        store_each<T>(out + r * ldo, ldo, f.template finish<T>(y, length), runs - r);
    }
}

template <class T>
void sums(const T* x, Size ldx, T* out, Size ldo, Size runs, Size length, bool mean) {
    if (length <= turned_run) {
        if (mean) return reduce_turned<T>(x, ldx, out, ldo, runs, length, Mean{});
        return reduce_turned<T>(x, ldx, out, ldo, runs, length, Add{});
    }
    for (Size r = 0; r < runs; ++r) out[r * ldo] = run_sum<T>(x + r * ldx, length, mean);
}

template <class T>
void maxima(const T* x, Size ldx, T* out, Size ldo, Size runs, Size length) {
    if (length <= turned_run) {
        return reduce_turned<T>(x, ldx, out, ldo, runs, length, LargerOrNan{});
    }
    for (Size r = 0; r < runs; ++r) out[r * ldo] = run_max<T>(x + r * ldx, length);
}

// The reduction of nothing.
template <class T>
LW_INLINE T of_nothing(Reduction op) {
    return op == Reduction::sum ? T(0) : op == Reduction::mean ? not_a_number<T> : -infinity<T>;
}

template <class T>
void row_reduce(const T* x, Size ldx, T* out, Size ldo, Size rows, Size groups, Size length, Reduction op) {
    if (length == 1 && ldx == groups && ldo == groups) {  // each of them is the entry itself
        __builtin_memmove(out, x, rows * groups * sizeof(T));
        return;
    }
    if (length <= 1) {
        for (Size r = 0; r < rows; ++r) {
            for (Size g = 0; g < groups; ++g) out[r * ldo + g] = length == 0 ? of_nothing<T>(op) : x[r * ldx + g];
        }
        return;
    }
    over_runs<T>(x, ldx, out, ldo, 1, rows, groups, length, [=](const T* z, Size zd, T* y, Size yd, Size runs) {
        switch (op) {
            case Reduction::sum:
            case Reduction::mean:
                return sums<T>(z, zd, y, yd, runs, length, op == Reduction::mean);
            case Reduction::max:
                return maxima<T>(z, zd, y, yd, runs, length);
            case Reduction::logsumexp:
                if (length <= longest_turned) return short_logsumexp<T>(z, zd, y, yd, runs, length);
                return long_logsumexp<T>(z, zd, y, yd, runs, length);
        }
    });
}

// Down columns -------------------------------------------------------------------------------------------------
//
// Eight rows are combined in pairs, their results in one chain in each block of rows, and those of the blocks in order.
// Rows that are not there count as `start`.

constexpr Size row_group = 8;
constexpr Size row_block = 512;

template <class V, class F>
LW_INLINE V in_pairs(const V (&x)[row_group], F f) {
    return f(f(f(x[0], x[1]), f(x[2], x[3])), f(f(x[4], x[5]), f(x[6], x[7])));
}

// Rows first … last-1 of columns that fill at most one vector: load(row) gives those of a row.
template <class V, class T, class Load, class F>
LW_INLINE V reduce_block(const T* D, Size ldd, Size first, Size last, V start, Load load, F f) {
    const auto group = [=](Size k) __attribute__((always_inline)) {
        V x[row_group];
        if (k + row_group <= last) {
#pragma GCC unroll 8
            for (Size i = 0; i < row_group; ++i) x[i] = load(D + (k + i) * ldd);
        } else {
            for (Size i = 0; i < row_group; ++i) x[i] = start;
            for (Size i = 0; k + i < last; ++i) x[i] = load(D + (k + i) * ldd);
        }
        return in_pairs(x, f);
    };
    V chain = group(first);
    for (Size k = first + row_group; k < last; k += row_group) chain = f(chain, group(k));
    return chain;
}

template <class V, class T, class Load, class F>
LW_INLINE V reduce_columns(const T* D, Size ldd, Size K, V start, Load load, F f) {
    V result = reduce_block<V>(D, ldd, 0, K < row_block ? K : row_block, start, load, f);
    for (Size k = row_block; k < K; k += row_block) {
        result = f(result, reduce_block<V>(D, ldd, k, K - k < row_block ? K : k + row_block, start, load, f));
    }
    return result;
}

template <class T, class F>
void narrow_columns(const T* D, Size ldd, Size K, int columns, T* out, F f) {
    const Vector<T> start = f.template start<T>();
    T result[width<T>];
    if (columns <= unit<T>) {
        Unit<T> first;
        __builtin_memcpy(&first, &start, sizeof first);
        const Unit<T> y = reduce_columns<Unit<T>>(
            D, ldd, K, first, [=](const T* p) __attribute__((always_inline)) { return load_unit(p, columns); }, f);
        __builtin_memcpy(result, &y, sizeof y);
    } else {
        const Vector<T> y = reduce_columns<Vector<T>>(
            D, ldd, K, start, [=](const T* p) __attribute__((always_inline)) { return load_some<T>(p, columns); }, f);
        store<T>(result, y);
    }
    for (int j = 0; j < columns; ++j) out[j] = result[j];
}

// Columns that are done together: their chains stay in the first-level cache while eight rows at a time go by. (Panels
// of columns with their chains in registers took seven times as long for 512 × 1024 in float32, rows a page apart.)
template <class T>
constexpr Size column_chunk = 2048 / sizeof(T);

// Eight rows of a chunk, put into its chains if they are the first, else combined with them. The chains are whole
// vectors.
template <bool first, class T, class F>
LW_INLINE void reduce_group(const T* const (&row)[row_group], Size columns, T* chain, F f) {
    const auto step = [&](Size j, int n) __attribute__((always_inline)) {
        Vector<T> x[row_group];
#pragma GCC unroll 8
        for (Size i = 0; i < row_group; ++i) x[i] = load_some<T>(row[i] + j, n);
        Vector<T> y = in_pairs(x, f);
        if constexpr (!first) y = f(load<T>(chain + j), y);
        store<T>(chain + j, y);
    };
    Size j = 0;
    for (; j + width<T> <= columns; j += width<T>) step(j, width<T>);
    if (j < columns) step(j, static_cast<int>(columns - j));
}

template <class T, class F>
void wide_columns(const T* D, Size ldd, Size K, Size columns, T* out, F f) {
    T chain[column_chunk<T>], absent[column_chunk<T>];
    if (K % row_group != 0) {
        for (Size j = 0; j < columns && j < column_chunk<T>; ++j) absent[j] = f.template start<T>()[0];
    }
    for (Size c = 0; c < columns; c += column_chunk<T>) {
        const Size here = columns - c < column_chunk<T> ? columns - c : column_chunk<T>;
        for (Size block = 0; block < K; block += row_block) {
            const Size last = K - block < row_block ? K : block + row_block;
            for (Size k = block; k < last; k += row_group) {
                const T* row[row_group];
                for (Size i = 0; i < row_group; ++i) row[i] = k + i < last ? D + (k + i) * ldd + c : absent;
                if (k == block) {
                    reduce_group<true>(row, here, chain, f);
                } else {
                    reduce_group<false>(row, here, chain, f);
                }
            }
            if (block == 0) {
                for (Size j = 0; j < here; ++j) out[c + j] = chain[j];
            } else {
                for (Size j = 0; j < here; ++j) out[c + j] = f(out[c + j], chain[j]);
            }
        }
    }
}

template <class T, class F>
LW_INLINE void reduce_down(const T* D, Size ldd, Size K, Size columns, T* out, F f) {
    if (columns < width<T>) {
        narrow_columns<T>(D, ldd, K, static_cast<int>(columns), out, f);
    } else {
        wide_columns<T>(D, ldd, K, columns, out, f);
    }
}

template <class T>
void column_reduce(const T* D, Size ldd, Size K, Size columns, T* out, Reduction op) {
    if (K == 0) {
        for (Size j = 0; j < columns; ++j) out[j] = of_nothing<T>(op);
        return;
    }
    if (op == Reduction::max) return reduce_down<T>(D, ldd, K, columns, out, LargerOrNan{});
    reduce_down<T>(D, ldd, K, columns, out, Add{});
    if (op != Reduction::mean) return;
    for (Size j = 0; j < columns; ++j) out[j] /= static_cast<T>(K);
}

}  // namespace lw::LW_NAMESPACE
