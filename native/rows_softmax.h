// Softmax along runs of entries, its logarithm, its cross-entropy and log-sum-exp.
//
// All of them rest on the distances d = z - top from the largest entry and on `others`, Σ e^d over all entries but
// that one: log Σ e^z = top + log1p(others), where nothing small is added to the 1 before its logarithm is taken.
// Several entries may be as large as `top`; each but one counts 1. One infinite entry: others = 0, d = NaN there.
#pragma once

#include "rows_turn.h"

namespace lw::LW_NAMESPACE {

// Where top is infinite, d and with it the sum are NaN; right, unless top = ∞ is one entry alone.
// nans: how many entries have d = NaN.
template <class T>
LW_INLINE Vector<T> others_of_infinity(Vector<T> others, Vector<T> top, Vector<T> nans) {
    return select<T>((top == infinity<T>) & (nans == T(1)), Vector<T>{}, others);
}

// Σ e^d, NaN where top is infinite.
template <class T>
LW_INLINE Vector<T> total_of(Vector<T> others, Vector<T> top) {
    return (others + T(1)) + (top - top);
}

// A few short runs, one after another ---------------------------------------------------------------------------

// NaN aside.
template <class T>
LW_INLINE T largest(const T* z, Size length) {
    Lanes<T> top = all_lanes<T>(-infinity<T>);
    over_lanes<T>(length, [&](Size k, int n) __attribute__((always_inline)) {
        const Lanes<T> x = load_lanes<T>(z + k, n, -infinity<T>);
        LW_EACH_LANE_VECTOR top.v[i] = larger<T>(x.v[i], top.v[i]);
    });
    return fold<T>(top, Larger{});
}

// f(k, n) for pieces of n <= width entries from k on.
template <class T, class F>
LW_INLINE void over_vectors(int length, F f) {
    for (int k = 0; k < length; k += width<T>) f(k, length - k < width<T> ? length - k : width<T>);
}

// One run. The sum is that of a panel (see others_of), and so are the bits.
template <class T>
struct ShortRun {
    alignas(64) T d[longest_turned], e[longest_turned];
    Vector<T> top, others;  // in every lane

    LW_INLINE void find(const T* z, int length) {
        alignas(64) T below[longest_turned];
        int tops = 0;
        top = all<T>(largest<T>(z, static_cast<Size>(length)));
        over_vectors<T>(length, [&](int k, int n) __attribute__((always_inline)) {
            const Vector<T> distance = load_some<T>(z + k, n, top[0]) - top, exponential = exp_v<T>(distance);
            const Mask<T> at_top = distance == T(0);
            store<T>(d + k, distance);
            store<T>(e + k, exponential);
            store<T>(below + k, select<T>(at_top, Vector<T>{}, exponential));
            tops += __builtin_popcount(set_lanes<T>(at_top)) - (width<T> - n);
        });
        T sum = 0;
        for (int k = 0; k < length; ++k) sum += below[k];
        others = all<T>(sum + static_cast<T>(tops - 1));
        if (__builtin_expect(top[0] == infinity<T>, false)) {
            int nans = 0;
            for (int k = 0; k < length; ++k) nans += d[k] != d[k];
            others = others_of_infinity<T>(others, top, all<T>(static_cast<T>(nans)));
        }
    }
};

// One run of ten takes 47 ns, four 101, a panel 125, full or not (AVX-512, float).
template <class T>
constexpr Size few_runs = width<T> < 8 ? width<T> / 2 : 4;

// out = of_run(run)(k) for the entries from k on. All runs are read before one is written: what is stored in part is slow
// to load again, and so is what lies beside it.
template <class T, class F>
LW_INLINE void over_few(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length, F of_run) {
    const int n = static_cast<int>(length);
    ShortRun<T> run[few_runs<T>];
    for (Size r = 0; r < runs; ++r) run[r].find(Z + r * ldz, n);
    for (Size r = 0; r < runs; ++r) {
        const auto entries = of_run(run[r]);
        over_vectors<T>(n, [&](int k, int here) __attribute__((always_inline)) {
            store_some<T>(out + r * ldo + k, entries(k), here);
        });
    }
}

template <class T>
__attribute__((noinline)) void few_softmax(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    over_few<T>(Z, ldz, out, ldo, runs, length, [](const ShortRun<T>& run) __attribute__((always_inline)) {
        const Vector<T> factor = T(1) / total_of<T>(run.others, run.top);
        return [&run, factor](int k) __attribute__((always_inline)) { return load<T>(run.e + k) * factor; };
    });
}

template <class T>
__attribute__((noinline)) void few_log_softmax(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    over_few<T>(Z, ldz, out, ldo, runs, length, [](const ShortRun<T>& run) __attribute__((always_inline)) {
        const Vector<T> log_total = log1p_v<T>(run.others);
        return [&run, log_total](int k) __attribute__((always_inline)) { return load<T>(run.d + k) - log_total; };
    });
}

// Short runs: one in each lane ---------------------------------------------------------------------------------

// What is known of several panels of `width` runs each, one after another. Each step is done for all of them before the
// next: the chain of one panel is longer than what a processor looks ahead.
constexpr int turned_vectors = 64;

// fixed: the length of the runs, or 0 where it is known at run time only.
template <class T, int fixed>
struct Panels {
    int given_length;
    Vector<T> d[turned_vectors], e[turned_vectors];  // entry k of panel p: p · length + k
    Vector<T> top[turned_vectors], others[turned_vectors], log_total[turned_vectors];  // of panel p

    LW_INLINE int length() const { return fixed > 0 ? fixed : given_length; }
};

template <class T>
LW_INLINE Vector<T> others_of(const Vector<T>* z, int length, Vector<T> top, Vector<T>* d, Vector<T>* e) {
    Vector<T> sum = {}, less = {};
    for (int k = 0; k < length; ++k) {
        d[k] = z[k] - top;
        e[k] = exp_v<T>(d[k]);
        const Mask<T> below = d[k] != T(0);
        sum = add_where<T>(below, sum, e[k]);
        less = add_where<T>(below, less, all<T>(T(1)));
    }
    sum += static_cast<T>(length - 1) - less;
    if (__builtin_expect(any<T>(top == infinity<T>), false)) {
        Vector<T> nans = {};
        for (int k = 0; k < length; ++k) nans += select<T>(d[k] != d[k], all<T>(T(1)), Vector<T>{});
        sum = others_of_infinity<T>(sum, top, nans);
    }
    return sum;
}

// f(panels, panel, first run, runs) for every panel.
template <class T, bool nan_wins, int fixed, class F>
LW_INLINE void over_panels(const T* Z, Size ldz, Size runs, Size length, F f) {
    Panels<T, fixed> p;
    p.given_length = static_cast<int>(length);
    const Size at_once = static_cast<Size>(turned_vectors / p.length() * width<T>);
    for (Size first = 0; first < runs; first += at_once) {
        const Size here = runs - first < at_once ? runs - first : at_once;
        const int panels = static_cast<int>((here + width<T> - 1) / width<T>);
        for (int i = 0; i < panels; ++i) {
            const Size done = static_cast<Size>(i * width<T>);
            Vector<T> z[longest_turned], top = all<T>(-infinity<T>);
            turn_in<T>(Z + (first + done) * ldz, ldz, here - done, p.length(), [&](int k, Vector<T> v)
                       __attribute__((always_inline)) {
                z[k] = v;
                top = nan_wins ? larger_or_nan<T>(v, top) : larger<T>(v, top);
            });
            p.top[i] = top;
            const int at = i * p.length();
            p.others[i] = others_of<T>(z, p.length(), top, p.d + at, p.e + at);
        }
        for (int i = 0; i < panels; ++i) p.log_total[i] = log1p_v<T>(p.others[i]);
        for (int i = 0; i < panels; ++i) {
            const Size done = static_cast<Size>(i * width<T>);
            f(p, i, first + done, here - done);
        }
    }
}

template <class T, int fixed>
LW_INLINE void store_softmax(const Panels<T, fixed>& p, int panel, T* out, Size ldo, Size runs) {
    const Vector<T> factor = T(1) / total_of<T>(p.others[panel], p.top[panel]);
    const Vector<T>* const e = p.e + panel * p.length();
    turn_out<T>(out, ldo, runs, p.length(), [=](int k) __attribute__((always_inline)) { return e[k] * factor; });
}

template <class T>
void short_softmax(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    if (runs <= few_runs<T>) return few_softmax<T>(Z, ldz, out, ldo, runs, length);
    over_panels<T, false, 0>(Z, ldz, runs, length, [=](const Panels<T, 0>& p, int panel, Size first, Size n)
                             __attribute__((always_inline)) {
        store_softmax<T, 0>(p, panel, out + first * ldo, ldo, n);
    });
}

template <class T>
void short_log_softmax(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    if (runs <= few_runs<T>) return few_log_softmax<T>(Z, ldz, out, ldo, runs, length);
    over_panels<T, false, 0>(Z, ldz, runs, length, [=](const Panels<T, 0>& p, int panel, Size first, Size n)
                             __attribute__((always_inline)) {
        const Vector<T> log_total = p.log_total[panel];
        const Vector<T>* const d = p.d + panel * p.length();
        turn_out<T>(out + first * ldo, ldo, n, p.length(), [=](int k)
                    __attribute__((always_inline)) { return d[k] - log_total; });
    });
}

template <class T>
void short_logsumexp(const T* x, Size ldx, T* out, Size ldo, Size runs, Size length) {
    over_panels<T, true, 0>(x, ldx, runs, length, [=](const Panels<T, 0>& p, int panel, Size first, Size n)
                            __attribute__((always_inline)) {
        const Vector<T> top = p.top[panel];
        const Vector<T> y = select<T>(magnitude<T>(top) == infinity<T>, top, top + p.log_total[panel]);
        store_each<T>(out + first * ldo, ldo, y, n);
    });
}

template <class T, int fixed>
void short_cross_entropy(const T* Z, Size ldz, const T* targets, Size ldt, T* L, Size ldl, T* A, Size lda, Size rows,
                         Size length) {
    over_panels<T, false, fixed>(Z, ldz, rows, length, [=](const Panels<T, fixed>& p, int panel, Size first, Size n)
                                 __attribute__((always_inline)) {
        const Vector<T> log_total = p.log_total[panel];
        const Vector<T>* const d = p.d + panel * p.length();
        Vector<T> loss = {};
        turn_in<T>(targets + first * ldt, ldt, n, p.length(), [&](int k, Vector<T> t) __attribute__((always_inline)) {
            loss = add_where<T>(t != T(0), loss, t * (log_total - d[k]));
        });
        store_each<T>(L + first * ldl, ldl, loss, n);
        if (A != nullptr) store_softmax<T, fixed>(p, panel, A + first * lda, lda, n);
    });
}

// Long runs: one after another ---------------------------------------------------------------------------------

template <class T>
LW_INLINE T run_max(const T* z, Size length) {
    Lanes<T> top = all_lanes<T>(-infinity<T>);
    over_lanes<T>(length, [&](Size k, int n) __attribute__((always_inline)) {
        const Lanes<T> x = load_lanes<T>(z + k, n, -infinity<T>);
        LW_EACH_LANE_VECTOR top.v[i] = larger_or_nan<T>(x.v[i], top.v[i]);
    });
    return fold<T>(top, LargerOrNan{});
}

// Whether +∞ is the top, once, and nothing is NaN.
template <class T>
LW_INLINE bool one_infinity(const T* z, Size length, T top) {
    if (__builtin_expect(top != infinity<T>, true)) return false;
    Size nans = 0;
    for (Size k = 0; k < length; ++k) nans += !(z[k] < top);
    return nans == 1;
}

// The exponentials along a run: the sum of those below the largest, and how many are as large.
template <class T>
struct Exponentials {
    Lanes<T> sum = all_lanes<T>(0), tops = all_lanes<T>(0);

    LW_INLINE Vector<T> add(int i, Vector<T> d) {
        const Vector<T> e = exp_v<T>(d);
        sum.v[i] = add_where<T>(d != T(0), sum.v[i], e);
        tops.v[i] = add_where<T>(d == T(0), tops.v[i], all<T>(T(1)));
        return e;
    }

    // `more` tops than there are have been added.
    LW_INLINE T others(Size more) const {
        return fold<T>(sum, Add{}) + (fold<T>(tops, Add{}) - static_cast<T>(more + 1));
    }
};

// What is known of some runs. Each step is done for all of them before the next, as with panels.
constexpr int batch_runs = 16;

template <class T>
struct Batch {
    T top[batch_runs], others[batch_runs] = {};
    bool one_infinity[batch_runs] = {};
    Lanes<T> last[batch_runs];  // exponentials that fill no vector: what is stored in part is slow to load again

    LW_INLINE void find_tops(const T* Z, Size ldz, Size runs, Size length) {
        for (Size r = 0; r < runs; ++r) {
            top[r] = largest<T>(Z + r * ldz, length);
            one_infinity[r] = lw::LW_NAMESPACE::one_infinity<T>(Z + r * ldz, length, top[r]);
        }
        for (Size r = runs; r < batch_runs; ++r) top[r] = 0;
    }

    // of_run(r) makes what sees the entries of run r: see(k, n, d, e) those from k to k+n-1, and done().
    template <class F>
    LW_INLINE void add_exponentials(const T* Z, Size ldz, Size runs, Size length, F of_run) {
        for (Size r = 0; r < runs; ++r) {
            const T* const z = Z + r * ldz;
            const T shift = top[r];
            Exponentials<T> sums;
            auto run = of_run(r);
            over_lanes<T>(length, [&](Size k, int n) __attribute__((always_inline)) {
                // Not -∞ beyond the end: what underflows costs a processor some 60 cycles.
                Lanes<T> d = load_lanes<T>(z + k, n, shift), e;
                LW_EACH_LANE_VECTOR {
                    d.v[i] -= shift;
                    e.v[i] = sums.add(i, d.v[i]);
                }
                run.see(k, n, d, e);
            });
            run.done();
            others[r] = sums.others((lanes<T> - length % lanes<T>) % lanes<T>);
        }
    }

    LW_INLINE void log_totals(T* result) const {
        for (int i = 0; i < batch_runs; i += width<T>) {
            T x[width<T>];
            for (int j = 0; j < width<T>; ++j) x[j] = one_infinity[i + j] ? T(0) : others[i + j];
            store<T>(result + i, log1p_v<T>(load<T>(x)));
        }
    }

    LW_INLINE void store_unscaled(T* out, Size r, Size k, int n, const Lanes<T>& e) {
        if (n == lanes<T>) {
            store_lanes<T>(out + k, e, n);
        } else {
            last[r] = e;
        }
    }

    LW_INLINE void scale(T* out, Size ldo, Size runs, Size length) const {
        T factor[batch_runs];
        for (int i = 0; i < batch_runs; i += width<T>) {
            store<T>(factor + i, T(1) / total_of<T>(load<T>(others + i), load<T>(top + i)));
        }
        // Backwards: a masked store holds up loads from all the bytes of its vector, also those it leaves alone, and
        // these are the beginning of the next row. (128 × 47: 35 to 28 ns a row.)
        for (Size r = runs; r-- > 0;) {
            T* const a = out + r * ldo;
            over_lanes<T>(length, [=, this](Size k, int n) __attribute__((always_inline)) {
                Lanes<T> y = n == lanes<T> ? load_lanes<T>(a + k, n, T(0)) : last[r];
                LW_EACH_LANE_VECTOR y.v[i] *= factor[r];
                store_lanes<T>(a + k, y, n);
            });
        }
    }
};

// f(first run, runs): batches that stay in the first-level cache, or nearly.
template <class F>
LW_INLINE void over_batches(Size runs, Size length, F f) {
    Size most = 2048 / length;
    if (most > batch_runs) most = batch_runs;
    if (most == 0) most = 1;
    for (Size first = 0; first < runs; first += most) f(first, runs - first < most ? runs - first : most);
}

template <class T>
struct Nothing {
    LW_INLINE void see(Size, int, const Lanes<T>&, const Lanes<T>&) const {}
    LW_INLINE void done() const {}
};

template <class T>
struct KeepExponentials {
    Batch<T>& batch;
    T* out;
    Size r;
    LW_INLINE void see(Size k, int n, const Lanes<T>&, const Lanes<T>& e) const {
        batch.store_unscaled(out, r, k, n, e);
    }
    LW_INLINE void done() const {}
};

template <class T>
void long_softmax(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    over_batches(runs, length, [=](Size first, Size here) __attribute__((always_inline)) {
        const T* const z = Z + first * ldz;
        T* const a = out + first * ldo;
        Batch<T> b;
        b.find_tops(z, ldz, here, length);
        b.add_exponentials(z, ldz, here, length, [&](Size r) __attribute__((always_inline)) {
            return KeepExponentials<T>{b, a + r * ldo, r};
        });
        b.scale(a, ldo, here, length);
    });
}

template <class T>
void long_log_softmax(const T* Z, Size ldz, T* out, Size ldo, Size runs, Size length) {
    over_batches(runs, length, [=](Size first, Size here) __attribute__((always_inline)) {
        const T* const z = Z + first * ldz;
        Batch<T> b;
        b.find_tops(z, ldz, here, length);
        b.add_exponentials(z, ldz, here, length, [](Size) { return Nothing<T>{}; });
        T log_total[batch_runs];
        b.log_totals(log_total);
        for (Size r = here; r-- > 0;) {
            const T* const from = z + r * ldz;
            T* const to = out + (first + r) * ldo;
            over_lanes<T>(length, [&](Size k, int n) __attribute__((always_inline)) {
                Lanes<T> x = load_lanes<T>(from + k, n, T(0));
                LW_EACH_LANE_VECTOR x.v[i] = (x.v[i] - b.top[r]) - log_total[r];
                store_lanes<T>(to + k, x, n);
            });
        }
    });
}

template <class T>
void long_logsumexp(const T* x, Size ldx, T* out, Size ldo, Size runs, Size length) {
    over_batches(runs, length, [=](Size first, Size here) __attribute__((always_inline)) {
        Batch<T> b;
        b.find_tops(x + first * ldx, ldx, here, length);
        b.add_exponentials(x + first * ldx, ldx, here, length, [](Size) { return Nothing<T>{}; });
        T log_total[batch_runs];
        b.log_totals(log_total);
        for (Size r = 0; r < here; ++r) {
            T y = b.top[r] + log_total[r];
            if (b.top[r] - b.top[r] != 0) y = run_max<T>(x + (first + r) * ldx, length);  // ±∞, or NaN somewhere
            out[(first + r) * ldo] = y;
        }
    });
}

// Σ T (log_total - d) as log_total Σ T - Σ T d: then one pass is enough, and A may be Z or the targets. Both sums have
// terms of one sign where T has, so nothing cancels that did not before.
template <class T>
struct Weights {
    T weighted[batch_runs] = {}, weights[batch_runs] = {};  // Σ T d, Σ T
    bool none[batch_runs] = {};                             // every T is 0
};

template <class T, bool softmax>
struct AddWeights {
    Weights<T>& to;
    Batch<T>& batch;
    const T* targets;
    T* out;
    Size r;
    Lanes<T> weighted = all_lanes<T>(0), weights = all_lanes<T>(0), seen = all_lanes<T>(0);  // seen: the bits of all T

    LW_INLINE void see(Size k, int n, const Lanes<T>& d, const Lanes<T>& e) {
        const Lanes<T> t = load_lanes<T>(targets + k, n, T(0));
        LW_EACH_LANE_VECTOR {
            weighted.v[i] = add_where<T>((d.v[i] != T(0)) & (t.v[i] != T(0)), weighted.v[i], t.v[i] * d.v[i]);
            weights.v[i] += t.v[i];
            seen.v[i] = number<T>(bits<T>(seen.v[i]) | bits<T>(t.v[i]));
        }
        if constexpr (softmax) batch.store_unscaled(out, r, k, n, e);
    }

    LW_INLINE void done() const {
        to.weighted[r] = fold<T>(weighted, Add{});
        to.weights[r] = fold<T>(weights, Add{});
        to.none[r] = true;
        LW_EACH_LANE_VECTOR to.none[r] &= !any<T>(magnitude<T>(seen.v[i]) != T(0));
    }
};

template <class T, bool softmax>
void long_cross_entropy(const T* Z, Size ldz, const T* targets, Size ldt, T* L, Size ldl, T* A, Size lda, Size rows,
                        Size length) {
    over_batches(rows, length, [=](Size first, Size here) __attribute__((always_inline)) {
        const T *const z = Z + first * ldz, *const t = targets + first * ldt;
        T* const a = A + first * lda;
        Batch<T> b;
        Weights<T> w;
        b.find_tops(z, ldz, here, length);
        b.add_exponentials(z, ldz, here, length, [&](Size r) __attribute__((always_inline)) {
            return AddWeights<T, softmax>{w, b, t + r * ldt, a + r * lda, r};
        });
        if constexpr (softmax) b.scale(a, lda, here, length);
        T log_total[batch_runs];
        b.log_totals(log_total);
        for (Size r = 0; r < here; ++r) {
            // 0 · ∞ is not wanted: where d is not 0, an infinite weight is in the other sum.
            const bool no_share = log_total[r] == 0 && w.weights[r] == w.weights[r];
            const T share = no_share ? T(0) : log_total[r] * w.weights[r];
            L[(first + r) * ldl] = w.none[r] ? T(0) : share - w.weighted[r];
        }
    });
}

// All runs -----------------------------------------------------------------------------------------------------

// Rows of `groups` runs each as lists of runs that lie at equal distances: f(x, distance, out, distance, runs).
// A run of x gives out_length numbers.
template <class T, class F>
LW_INLINE void over_runs(const T* x, Size ldx, T* out, Size ldo, Size out_length, Size rows, Size groups, Size length,
                         F f) {
    if (groups == 1) {
        f(x, ldx, out, ldo, rows);
    } else if (ldx == groups * length && ldo == groups * out_length) {
        f(x, length, out, out_length, rows * groups);
    } else {
        for (Size r = 0; r < rows; ++r) f(x + r * ldx, length, out + r * ldo, out_length, groups);
    }
}

template <class T>
void softmax(const T* Z, Size ldz, T* out, Size ldo, Size rows, Size groups, Size length) {
    if (length == 0) return;
    const auto f = length <= longest_turned ? short_softmax<T> : long_softmax<T>;
    over_runs<T>(Z, ldz, out, ldo, length, rows, groups, length,
                 [=](const T* z, Size zd, T* a, Size ad, Size runs) { f(z, zd, a, ad, runs, length); });
}

template <class T>
void log_softmax(const T* Z, Size ldz, T* out, Size ldo, Size rows, Size groups, Size length) {
    if (length == 0) return;
    const auto f = length <= longest_turned ? short_log_softmax<T> : long_log_softmax<T>;
    over_runs<T>(Z, ldz, out, ldo, length, rows, groups, length,
                 [=](const T* z, Size zd, T* y, Size yd, Size runs) { f(z, zd, y, yd, runs, length); });
}

template <class T>
void softmax_cross_entropy(const T* Z, Size ldz, const T* targets, Size ldt, T* L, Size ldl, T* A, Size lda,
                           Size rows, Size length) {
    if (length == 0) {
        for (Size r = 0; r < rows; ++r) L[r * ldl] = 0;
        return;
    }
    auto* f = A != nullptr ? long_cross_entropy<T, true> : long_cross_entropy<T, false>;
    if (length <= longest_turned) f = short_cross_entropy<T, 0>;
    if (length == 2) f = short_cross_entropy<T, 2>;  // 300 × 3: a quarter less than with loops
    if (length == 3) f = short_cross_entropy<T, 3>;
    f(Z, ldz, targets, ldt, L, ldl, A, lda, rows, length);
}

}  // namespace lw::LW_NAMESPACE
