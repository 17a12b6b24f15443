// Sums, means, maxima and log-sum-exp along runs of entries and down columns.
#pragma once

#include "rows.h"
#include "rows_softmax.h"

namespace lw::LW_NAMESPACE {

// Whichever is larger; NaN where one is.
template <class T>
LW_INLINE Vector<T> larger_or_nan(Vector<T> x, Vector<T> y) {
    const Vector<T> z = select<T>(x > y, x, y);  // y where one is NaN
    return select<T>(x != x, x, z);
}

template <class T>
LW_INLINE T fold_larger_or_nan(const Lanes<T>& x) {
    return fold<T>(x, [](T a, T b) __attribute__((always_inline)) { return a != a || a > b ? a : b; });
}

template <class T>
LW_INLINE T run_max(const T* x, Size n) {
    Lanes<T> most = all_lanes<T>(-infinity<T>);
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        const Lanes<T> y = load_lanes_of<T>(x + k, count, -infinity<T>);
        LW_EACH_LANE_VECTOR most.v[i] = larger_or_nan<T>(y.v[i], most.v[i]);
    });
    return fold_larger_or_nan<T>(most);
}

constexpr Size short_run = 64;   // sums of longer ones are accumulated in double
constexpr int long_lanes = 32;   // in that many chains

// `long_lanes` numbers of x added to those of sum.
template <class T>
LW_INLINE void add_long(Vector<double> (&sum)[long_lanes / width<double>], const T* x) {
    constexpr int w = width<double>, n = long_lanes / w;
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) {
        if constexpr (sizeof(T) == 8) {
            sum[i] += load<double>(x + i * w);
        } else {
            typename Half<float>::Vector half;
            __builtin_memcpy(&half, x + i * w, sizeof half);
            sum[i] += __builtin_convertvector(half, Vector<double>);
        }
    }
}

template <class T>
LW_INLINE double long_sum(const T* x, Size n) {
    constexpr int w = width<double>;
    Vector<double> sum[long_lanes / w] = {};
    Size k = 0;
    for (; k + long_lanes <= n; k += long_lanes) add_long<T>(sum, x + k);
    if (k < n) {
        T rest[long_lanes] = {};
        for (Size i = 0; k + i < n; ++i) rest[i] = x[k + i];
        add_long<T>(sum, rest);
    }
    double part[long_lanes];
    for (int i = 0; i < long_lanes / w; ++i) store<double>(part + i * w, sum[i]);
    for (int half = long_lanes / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; ++l) part[l] += part[l + half];
    }
    return part[0];
}

template <class T>
LW_INLINE T short_sum(const T* x, Size n) {
    Lanes<T> sum = all_lanes<T>(0);
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        const Lanes<T> y = load_lanes_of<T>(x + k, count, T(0));
        LW_EACH_LANE_VECTOR sum.v[i] += y.v[i];
    });
    return fold_sum<T>(sum);
}

template <class T>
LW_INLINE T run_sum(const T* x, Size n, bool mean) {
    if (n <= short_run) return mean ? short_sum<T>(x, n) / static_cast<T>(n) : short_sum<T>(x, n);
    const double sum = long_sum<T>(x, n);
    return static_cast<T>(mean ? sum / static_cast<double>(n) : sum);
}

template <class T>
LW_INLINE T run_logsumexp(const T* x, Size n) {
    const T top = run_max<T>(x, n);
    if (top - top != 0) return top;  // NaN or infinity
    return top + exponentials<T, false>(x, n, nullptr).log_total();
}

template <class T>
void row_reduce(const T* x, Size ldx, T* out, Size ldo, Size rows, Size groups, Size length, Reduction op) {
    over_runs<T>(x, ldx, out, ldo, 1, rows, groups, length,
                 [=](const T* from, Size stride, T* to, Size out_stride, Size runs) {
                     for (Size r = 0; r < runs; ++r) {
                         const T* const run = from + r * stride;
                         T& y = to[r * out_stride];
                         switch (op) {
                             case Reduction::sum:
                             case Reduction::mean:
                                 y = run_sum<T>(run, length, op == Reduction::mean);
                                 break;
                             case Reduction::max:
                                 y = run_max<T>(run, length);
                                 break;
                             case Reduction::logsumexp:
                                 y = run_logsumexp<T>(run, length);
                                 break;
                         }
                     }
                 });
}

// Down columns: eight rows are added in pairs, those sums in one chain for each block of rows, the blocks in order.
constexpr Size row_group = 8;
constexpr Size row_block = 512;

template <class T>
LW_INLINE Vector<T> group_sum(const T* D, Size ldd, Size rows, int count) {
    Vector<T> x[row_group];
    for (Size i = 0; i < row_group; ++i) x[i] = i < rows ? load_first<T>(D + i * ldd, count) : Vector<T>{};
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

template <class T>
void column_reduce(const T* D, Size ldd, Size K, Size columns, T* out, Reduction op) {
    for (Size j = 0; j < columns; j += width<T>) {
        const int count = columns - j < static_cast<Size>(width<T>) ? static_cast<int>(columns - j) : width<T>;
        if (op == Reduction::max) {
            Vector<T> most = all<T>(-infinity<T>);
            for (Size k = 0; k < K; ++k) most = larger_or_nan<T>(load_first<T>(D + k * ldd + j, count), most);
            store_first<T>(out + j, most, count);
            continue;
        }
        Vector<T> total = {};
        for (Size first = 0; first < K; first += row_block) {
            const Size last = K - first < row_block ? K : first + row_block;
            Vector<T> sum = {};
            for (Size k = first; k < last; k += row_group) {
                sum += group_sum<T>(D + k * ldd + j, ldd, last - k, count);
            }
            total += sum;
        }
        if (op == Reduction::mean) total /= static_cast<T>(K);
        store_first<T>(out + j, total, count);
    }
}

}  // namespace lw::LW_NAMESPACE
