// Softmax along runs of entries, its logarithm and its cross-entropy.
#pragma once

#include "rows_lanes.h"

namespace lw::LW_NAMESPACE {

// Of a run of z: its largest entry (NaN entries aside), and the sum of e^(z - top) over all entries but that one.
// NaN and infinity in `others` are as in the definition: one infinite entry gives 0, two give NaN.
template <class T>
struct Top {
    T top, others;

    // Σ e^(z - top), NaN where top is infinite.
    LW_INLINE T total() const { return (others + T(1)) + (top - top); }
    LW_INLINE T log_total() const { return log1p_v<T>(all<T>(others))[0]; }
};

template <class T, class F>
LW_INLINE void over_lanes(Size n, F f) {
    Size i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) f(i, lanes<T>);
    if (i < n) f(i, static_cast<int>(n - i));
}

template <class T>
LW_INLINE Lanes<T> load_lanes_of(const T* p, int n, T rest) {
    return n == lanes<T> ? load_lanes<T>(p) : load_lanes<T>(p, n, rest);
}

template <class T>
LW_INLINE void store_lanes_of(T* p, const Lanes<T>& x, int n) {
    if (n == lanes<T>) {
        store_lanes<T>(p, x);
    } else {
        store_lanes<T>(p, x, n);
    }
}

// The exponentials go to e unless it is null; e may be z.
template <class T, bool keep>
LW_INLINE Top<T> exponentials(const T* z, Size n, T* e) {
    Lanes<T> most = all_lanes<T>(-infinity<T>);
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        const Lanes<T> x = load_lanes_of<T>(z + k, count, -infinity<T>);
        LW_EACH_LANE_VECTOR most.v[i] = larger<T>(x.v[i], most.v[i]);
    });
    const T top = fold_larger<T>(most);
    Lanes<T> sum = all_lanes<T>(0), tops = all_lanes<T>(0);
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        const Lanes<T> x = load_lanes_of<T>(z + k, count, -infinity<T>);
        Lanes<T> y;
        LW_EACH_LANE_VECTOR {
            const Mask<T> is_top = x.v[i] == top;
            y.v[i] = exp_v<T>(x.v[i] - top);
            sum.v[i] += select<T>(is_top, Vector<T>{}, y.v[i]);
            tops.v[i] += select<T>(is_top, all<T>(T(1)), Vector<T>{});
        }
        if constexpr (keep) store_lanes_of<T>(e + k, y, count);
    });
    const T equal = fold_sum<T>(tops) - 1;  // entries as large as the one left out
    return {top, fold_sum<T>(sum) + (equal > 0 ? equal + (top - top) : T(0))};
}

template <class T>
LW_INLINE void scale_run(const T* e, Size n, T factor, T* out) {
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        Lanes<T> x = load_lanes_of<T>(e + k, count, T(0));
        LW_EACH_LANE_VECTOR x.v[i] *= factor;
        store_lanes_of<T>(out + k, x, count);
    });
}

template <class T>
void softmax_runs(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    for (Size r = 0; r < runs; ++r) {
        const Top<T> t = exponentials<T, true>(Z + r * ldz, length, out + r * ldo);
        scale_run<T>(out + r * ldo, length, T(1) / t.total(), out + r * ldo);
    }
}

template <class T>
void log_softmax_runs(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    for (Size r = 0; r < runs; ++r) {
        const T* const z = Z + r * ldz;
        T* const to = out + r * ldo;
        const Top<T> t = exponentials<T, false>(z, length, nullptr);
        const T log_total = t.log_total();
        over_lanes<T>(length, [&](Size k, int count) __attribute__((always_inline)) {
            Lanes<T> x = load_lanes_of<T>(z + k, count, T(0));
            LW_EACH_LANE_VECTOR x.v[i] = (x.v[i] - t.top) - log_total;
            store_lanes_of<T>(to + k, x, count);
        });
    }
}

// Σ T · (log_total - (z - top)), the terms where T is 0 left out.
template <class T>
LW_INLINE T weighted(const T* targets, const T* z, Size n, T top, T log_total) {
    Lanes<T> sum = all_lanes<T>(0);
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        const Lanes<T> t = load_lanes_of<T>(targets + k, count, T(0)), x = load_lanes_of<T>(z + k, count, T(0));
        LW_EACH_LANE_VECTOR {
            const Vector<T> term = t.v[i] * (log_total - (x.v[i] - top));
            sum.v[i] += select<T>(t.v[i] == T(0), Vector<T>{}, term);
        }
    });
    return fold_sum<T>(sum);
}

template <class T>
void softmax_cross_entropy(const T* Z, Size ldz, const T* targets, Size ldt, T* L, Size ldl, T* A, Size lda,
                           Size rows, Size length) {
    for (Size r = 0; r < rows; ++r) {
        const T *const z = Z + r * ldz, *const t = targets + r * ldt;
        T* const a = A + r * lda;
        if (A == nullptr) {
            const Top<T> top = exponentials<T, false>(z, length, nullptr);
            L[r * ldl] = weighted<T>(t, z, length, top.top, top.log_total());
        } else if (a != z && a != t) {
            const Top<T> top = exponentials<T, true>(z, length, a);
            L[r * ldl] = weighted<T>(t, z, length, top.top, top.log_total());
            scale_run<T>(a, length, T(1) / top.total(), a);
        } else {
            const Top<T> top = exponentials<T, false>(z, length, nullptr);
            const T loss = weighted<T>(t, z, length, top.top, top.log_total());
            exponentials<T, true>(z, length, a);
            scale_run<T>(a, length, T(1) / top.total(), a);
            L[r * ldl] = loss;
        }
    }
}

// Rows of `groups` runs each: as one list of runs where they lie at equal distances, else row by row.
template <class T, class F>
LW_INLINE void over_runs(const T* x, Size ldx, T* out, Size ldo, Size out_run, Size rows, Size groups, Size length,
                         F f) {
    if (groups == 0) return;
    if (groups == 1) {
        f(x, ldx, out, ldo, rows);
    } else if (ldx == groups * length && ldo == groups * out_run) {
        f(x, length, out, out_run, rows * groups);
    } else {
        for (Size r = 0; r < rows; ++r) f(x + r * ldx, length, out + r * ldo, out_run, groups);
    }
}

template <class T>
void softmax(const T* Z, Size ldz, T* out, Size ldo, Size rows, Size groups, Size length) {
    over_runs<T>(Z, ldz, out, ldo, length, rows, groups, length,
                 [=](const T* z, Size stride, T* to, Size out_stride, Size runs) {
                     softmax_runs<T>(z, stride, to, out_stride, runs, length);
                 });
}

template <class T>
void log_softmax(const T* Z, Size ldz, T* out, Size ldo, Size rows, Size groups, Size length) {
    over_runs<T>(Z, ldz, out, ldo, length, rows, groups, length,
                 [=](const T* z, Size stride, T* to, Size out_stride, Size runs) {
                     log_softmax_runs<T>(z, stride, to, out_stride, runs, length);
                 });
}

}  // namespace lw::LW_NAMESPACE
