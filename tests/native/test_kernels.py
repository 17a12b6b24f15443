"""Kernels along rows and of layout, on every instruction set: values, edges, bits, and memory that stays untouched."""

from __future__ import annotations

import importlib
import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerwise.ops.activations import log_softmax, softmax
from layerwise.ops.losses import softmax_cross_entropy
from layerwise.ops.reductions import logsumexp

native = importlib.import_module("layerwise._native")  # only the engine may import it by name
ISAS = native.isas()
DTYPES = [np.float32, np.float64]
ROWS = [1, 7, 8, 9, 15, 16, 17, 31, 33, 100]
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 100, 300]
INF, NAN = math.inf, math.nan
GUARD = 12345.0

isas = pytest.mark.parametrize("isa", ISAS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
lengths = pytest.mark.parametrize("length", LENGTHS)


def wide(dtype):
    """A type in which references are computed."""
    if dtype == np.float64 and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is not wider than double here")
    return np.float64 if dtype == np.float32 else np.longdouble


def random(shape, dtype, seed=0, scale=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def targets(shape, dtype, seed=1):
    """Rows that sum to 1, every other one with a single 1."""
    rng = np.random.default_rng(seed)
    T = rng.random(shape) * (rng.random(shape) < 0.7)
    T /= np.maximum(T.sum(axis=-1, keepdims=True), 1e-3)
    T[::2] = np.eye(shape[1])[rng.integers(0, shape[1], len(T[::2]))]
    return T.astype(dtype)


def guarded(shape, dtype, gap=3):
    """A matrix whose rows lie apart, and the memory around it."""
    memory = np.full((shape[0] + 2, shape[1] + gap), GUARD, dtype)
    return memory[1:-1, 1 : 1 + shape[1]], memory


def apart(x, gap=3):
    """x, its rows apart and NaN between them."""
    memory = np.full((x.shape[0], x.shape[1] + gap), np.nan, x.dtype)
    memory[:, : x.shape[1]] = x
    return memory[:, : x.shape[1]]


def assert_guards_stand(view, memory):
    inside = np.zeros(memory.shape, bool)
    inside[1:-1, 1 : 1 + view.shape[1]] = True
    assert np.all(memory[~inside] == GUARD)


def same_bits(x, y):
    return x.shape == y.shape and np.ascontiguousarray(x).tobytes() == np.ascontiguousarray(y).tobytes()


def over_rows(kind, z, isa, groups=1):
    out, memory = guarded(z.shape, z.dtype)
    native.softmax_rows(kind, z, out, groups, isa)
    assert_guards_stand(out, memory)
    return out.copy()


def cross_entropy(z, t, isa, with_softmax=True):
    loss, memory = guarded((len(z), 1), z.dtype)
    a, around = guarded(z.shape, z.dtype)
    native.softmax_cross_entropy_rows(z, t, loss, a if with_softmax else None, isa)
    assert_guards_stand(loss, memory)
    assert_guards_stand(a, around)
    return loss[:, 0].copy(), a.copy()


def reduced(op, x, isa, groups=1):
    out, memory = guarded((len(x), groups), x.dtype, gap=2)
    native.row_reduce(x, out, op, isa)
    assert_guards_stand(out, memory)
    return out.copy()


def down(op, d, isa):
    out, memory = guarded((1, d.shape[1]), d.dtype)
    native.column_reduce(d, out, op, isa)
    assert_guards_stand(out, memory)
    return out[0].copy()


# Softmax and its kin ---------------------------------------------------------------------------------


def least(dtype):
    return 2 * np.finfo(dtype).smallest_subnormal.astype(wide(dtype))


class Reference:
    """Softmax in a wider type, and how far off the kernels may be, in units of u.

    d = z - top is rounded, which changes e^d by |d| u, relatively; exp is good to 2 u; a sum of n terms adds at most
    n u. The sum of the others, and with it c = log1p(others), is therefore good to (D + n + 4) u where D is the average
    of |d| weighted by e^d. Exponentials may be subnormal: `least` is what each of them may be off by then.
    """

    def __init__(self, z):
        z = z.astype(wide(z.dtype))
        top = np.max(z, axis=-1, keepdims=True)
        at = np.argmax(z, axis=-1, keepdims=True)
        self.d = z - top
        e = np.exp(self.d)
        rest = e.copy()
        np.put_along_axis(rest, at, 0, axis=-1)
        others = np.sum(rest, axis=-1, keepdims=True)
        n = z.shape[-1] if z.shape[-1] <= 32 else z.shape[-1] / 8 + 8
        self.c = np.log1p(others)
        self.softmax = e / (1 + others)
        self.log_softmax = self.d - self.c
        self.logsumexp = top + self.c
        with np.errstate(invalid="ignore"):
            average = np.where(others > 0, np.sum(rest * -self.d, axis=-1, keepdims=True) / others, 0)
        self.sum_error = average + n + 6

    def assert_softmax(self, got):
        allowed = self.softmax * (self.sum_error - self.d + 4) * (np.finfo(got.dtype).eps / 2) + least(got.dtype)
        assert np.all(np.abs(got - self.softmax) <= allowed)

    def log_error(self):
        return self.c * self.sum_error - self.d + np.abs(self.log_softmax)

    def assert_log_softmax(self, got):
        allowed = self.log_error() * (np.finfo(got.dtype).eps / 2) + got.shape[-1] * least(got.dtype)
        assert np.all(np.abs(got - self.log_softmax) <= allowed)

    def assert_loss(self, got, t):
        t = t.astype(self.d.dtype)
        exact = -np.sum(t * self.log_softmax, axis=-1)
        terms = np.sum(np.abs(t) * (self.log_error() + (t.shape[-1] + 4) * np.abs(self.log_softmax)), axis=-1)
        allowed = terms * (np.finfo(got.dtype).eps / 2) + t.shape[-1] * least(got.dtype)
        assert np.all(np.abs(got - exact) <= allowed)


@isas
@dtypes
@lengths
def test_softmax_of_rows(isa, dtype, length):
    for rows in ROWS:
        z = apart(random((rows, length), dtype, seed=length))
        t = apart(targets((rows, length), dtype))
        reference = Reference(z)
        reference.assert_softmax(over_rows("softmax", z, isa))
        reference.assert_log_softmax(over_rows("log_softmax", z, isa))
        loss, a = cross_entropy(z, t, isa)
        reference.assert_softmax(a)
        reference.assert_loss(loss, t)
        alone, untouched = cross_entropy(z, t, isa, with_softmax=False)
        assert same_bits(alone, loss)
        assert np.all(untouched == GUARD)


@isas
@dtypes
@pytest.mark.parametrize("length", [2, 3, 10, 33, 100])
@pytest.mark.parametrize("lead", [5.0, 27.6, 60.0])
def test_a_confident_row_keeps_its_digits(isa, dtype, length, lead):
    z = np.zeros((40, length), dtype)
    z[np.arange(40), np.arange(40) % length] = lead  # the loss is log1p((length - 1) e^-lead), 1e-12 for 27.6
    t = np.zeros_like(z)
    t[np.arange(40), np.arange(40) % length] = 1
    with mpmath.workprec(200):
        exact = float(mpmath.log1p((length - 1) * mpmath.exp(-mpmath.mpf(float(dtype(lead))))))
    loss, _ = cross_entropy(z, t, isa)
    np.testing.assert_allclose(loss, exact, rtol=(8 + length / 8) * np.finfo(dtype).eps)


@isas
@dtypes
@pytest.mark.parametrize("length", [1, 2, 3, 10, 33, 100])
def test_equal_entries(isa, dtype, length):
    z = np.full((20, length), 0.7, dtype)
    t = np.zeros_like(z)
    t[:, 0] = 1
    loss, a = cross_entropy(z, t, isa)
    np.testing.assert_allclose(a, 1 / length, rtol=np.finfo(dtype).eps)
    np.testing.assert_allclose(loss, math.log(length), rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(
        reduced("logsumexp", z, isa)[:, 0], float(z[0, 0]) + math.log(length), rtol=2 * np.finfo(dtype).eps
    )


@isas
@dtypes
@pytest.mark.parametrize("length", [3, 10, 40, 100])
def test_entries_far_apart(isa, dtype, length):
    z = random((33, length), dtype, scale=1e3)
    t = targets((33, length), dtype)
    reference = Reference(z)
    loss, a = cross_entropy(z, t, isa)
    reference.assert_softmax(a)
    reference.assert_loss(loss, t)
    reference.assert_log_softmax(over_rows("log_softmax", z, isa))
    big = np.finfo(dtype).max
    z[:, 0], z[:, 1] = big, -big  # their difference overflows; what is infinitely far has probability 0
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(over_rows("softmax", z, isa)[:, 1], 0)
        np.testing.assert_array_equal(over_rows("log_softmax", z, isa)[:, 1], -INF)


def assert_like_definition(got, expected, u):
    expected = np.asarray(expected)
    assert np.array_equal(np.isnan(got), np.isnan(expected)), (got, expected)
    finite = np.isfinite(expected)
    infinite = ~finite & ~np.isnan(expected)
    assert np.array_equal(got[infinite], expected[infinite].astype(got.dtype)), (got, expected)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=u, atol=u)


@isas
@dtypes
@pytest.mark.parametrize("length", [1, 2, 3, 5, 17, 33, 40, 70])
def test_infinities_and_nan_as_the_definitions_say(isa, dtype, length):
    rng = np.random.default_rng(length)
    rows = 200
    special = rng.choice([INF, -INF, NAN, -INF, 0.0, 5.0], (rows, length))
    often = rng.random((rows, 1)) ** 3
    z = np.where(rng.random((rows, length)) < often, special, rng.standard_normal((rows, length))).astype(dtype)
    z[:5] = np.array([INF, -INF, NAN, 0, -0.0])[:, None]
    t = targets((rows, length), dtype)
    t[7::11] = 0  # no weight at all: a loss of 0 whatever the row holds
    with np.errstate(all="ignore"):
        u = 100 * np.finfo(dtype).eps
        assert_like_definition(over_rows("softmax", z, isa), softmax.forward(z), u)
        assert_like_definition(over_rows("log_softmax", z, isa), log_softmax.forward(z), u)
        loss, a = cross_entropy(z, t, isa)
        assert_like_definition(a, softmax.forward(z), u)
        assert_like_definition(loss, softmax_cross_entropy.forward(z, t), u)
        assert_like_definition(reduced("logsumexp", z, isa)[:, 0], logsumexp(z, axis=1), u)
        for op in ("sum", "mean", "max"):
            assert_like_definition(reduced(op, z, isa)[:, 0], getattr(np, op)(z, axis=1), u)
            assert_like_definition(down(op, z, isa), getattr(np, op)(z, axis=0), u)


@isas
@dtypes
@pytest.mark.parametrize("length", [2, 10, 40])
def test_no_loss_where_the_target_is_zero(isa, dtype, length):
    z = random((20, length), dtype)
    z[:, 0] = -INF
    t = np.zeros_like(z)
    t[:, 1] = 1
    loss, a = cross_entropy(z, t, isa)
    assert np.all(np.isfinite(loss))
    assert np.all(a[:, 0] == 0)
    t[:, 0] = 0.5
    assert np.all(cross_entropy(z, t, isa)[0] == INF)
    z[:] = NAN
    assert np.all(np.isnan(cross_entropy(z, t, isa)[0]))
    assert np.all(cross_entropy(z, 0 * t, isa)[0] == 0)
    assert np.all(cross_entropy(z, -0.0 * t, isa)[0] == 0)


# Bits ------------------------------------------------------------------------------------------------


def everything(z, t, isa):
    loss, a = cross_entropy(z, t, isa)
    results = [over_rows("softmax", z, isa), over_rows("log_softmax", z, isa), loss[:, None], a]
    return results + [reduced(op, z, isa) for op in ("sum", "mean", "max", "logsumexp")]


@isas
@dtypes
@pytest.mark.parametrize("length", [1, 2, 3, 10, 16, 17, 33, 100, 300])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(isa, dtype, length):
    z, t = random((70, length), dtype), targets((70, length), dtype)
    z[3], z[20, 0], z[22], z[41, -1] = NAN, INF, INF, -INF
    whole = everything(z, t, isa)
    few = [(0, 1), (69, 70), (3, 4), (17, 18), (20, 21), (22, 24), (41, 44)]
    for first, last in [*few, (0, 16), (5, 37), (3, 20), (60, 70)]:
        part = everything(apart(z[first:last], gap=first % 3), apart(t[first:last]), isa)
        for x, y in zip(whole, part, strict=True):
            assert same_bits(np.nan_to_num(x[first:last], nan=7), np.nan_to_num(y, nan=7))


@dtypes
@pytest.mark.parametrize("length", LENGTHS)
def test_sets_with_fused_multiply_add_have_the_same_bits(dtype, length):
    fused = [isa for isa in ("avx2", "avx512") if isa in ISAS]
    z, t = random((50, length), dtype), targets((50, length), dtype)
    results = [everything(z, t, isa) for isa in fused]
    for other in results[1:]:
        assert all(same_bits(x, y) for x, y in zip(results[0], other, strict=True))


@dtypes
@pytest.mark.parametrize("length", [*LENGTHS, 1000])
def test_all_sets_add_in_the_same_order(dtype, length):
    x = random((37, length), dtype)
    for op in ("sum", "mean", "max"):
        assert all(same_bits(reduced(op, x, isa), reduced(op, x, ISAS[0])) for isa in ISAS)
        assert all(same_bits(down(op, x, isa), down(op, x, ISAS[0])) for isa in ISAS)
        assert all(same_bits(down(op, x.T.copy(), isa), down(op, x.T.copy(), ISAS[0])) for isa in ISAS)


@isas
@dtypes
@pytest.mark.parametrize(("groups", "length"), [(2, 1), (2, 3), (5, 4), (3, 10), (3, 33), (17, 2), (2, 100)])
def test_groups_are_runs(isa, dtype, groups, length):
    x = random((19, groups * length), dtype)
    runs = x.reshape(-1, length)
    for z in (x, apart(x)):
        for kind in ("softmax", "log_softmax"):
            expected = over_rows(kind, runs, isa).reshape(x.shape)
            assert same_bits(over_rows(kind, z, isa, groups), expected)
            dense = np.empty_like(x)
            native.softmax_rows(kind, z, dense, groups, isa)
            assert same_bits(dense, expected)
        for op in ("sum", "mean", "max", "logsumexp"):
            expected = reduced(op, runs, isa).reshape(-1, groups)
            assert same_bits(reduced(op, z, isa, groups), expected)
            dense = np.empty((len(x), groups), dtype)
            native.row_reduce(z, dense, op, isa)
            assert same_bits(dense, expected)


@isas
@dtypes
@pytest.mark.parametrize("length", [1, 2, 3, 4, 10, 31, 33, 100])
@pytest.mark.parametrize("gap", [0, 2])
def test_in_place(isa, dtype, length, gap):
    z, t = random((37, length), dtype), targets((37, length), dtype)
    for kind in ("softmax", "log_softmax"):
        x = apart(z, gap)
        native.softmax_rows(kind, x, x, 1, isa)
        assert same_bits(x, over_rows(kind, z, isa))
    loss, a = cross_entropy(z, t, isa)
    for over_targets in (False, True):
        x, y, L = apart(z, gap), apart(t, gap), np.empty((37, 1), dtype)
        native.softmax_cross_entropy_rows(x, y, L, y if over_targets else x, isa)
        assert same_bits(y if over_targets else x, a)
        assert same_bits(L[:, 0], loss)


@isas
@dtypes
@pytest.mark.parametrize("length", [0, 1, 3])
def test_no_rows(isa, dtype, length):
    z = np.empty((0, length), dtype)
    for x in everything(z, z, isa) if length else [over_rows("softmax", z, isa)]:
        assert len(x) == 0


# Reductions ------------------------------------------------------------------------------------------


def assert_sum(got, x, terms, axis, divisor=1):
    """|sum - exact| <= terms · u · Σ|x| (Higham, section 4.2), and the last rounding."""
    u = np.finfo(got.dtype).eps / 2
    x = x.astype(wide(got.dtype))
    exact = np.sum(x, axis=axis) / divisor
    assert np.all(np.abs(got - exact) <= terms * u * np.sum(np.abs(x), axis=axis) / divisor + 2 * u * np.abs(exact))


@isas
@dtypes
@pytest.mark.parametrize("length", [*LENGTHS, 1000, 10007])
@pytest.mark.parametrize("rows", [1, 5, 33])
def test_sums_along_rows(isa, dtype, length, rows):
    x = apart(random((rows, length), dtype))
    terms = min(length, 16) + 8
    if length > 64:
        terms = 1e-6 if dtype == np.float32 else length / 32 + 8  # float32 is accumulated in double
    assert_sum(reduced("sum", x, isa)[:, 0], x, terms, axis=1)
    assert_sum(reduced("mean", x, isa)[:, 0], x, terms, axis=1, divisor=length)
    assert np.array_equal(reduced("max", x, isa)[:, 0], x.max(axis=1))
    got = reduced("logsumexp", x, isa)[:, 0]
    reference = Reference(x)
    allowed = reference.c * reference.sum_error + np.abs(reference.logsumexp)
    assert np.all(np.abs(got[:, None] - reference.logsumexp) <= allowed * (np.finfo(dtype).eps / 2))


@isas
def test_a_mean_of_many_keeps_its_digits(isa):
    x = np.full((1, 1 << 20), 0.1, np.float32)
    assert reduced("mean", x, isa)[0, 0] == np.float32(0.1)


@isas
@dtypes
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 33, 100, 130, 530, 1030])
def test_sums_down_columns(isa, dtype, columns):
    for K in (1, 2, 7, 8, 9, 33, 511, 512, 513, 1100):
        d = random((K, columns), dtype)
        whole = down("sum", d, isa)
        assert_sum(whole, d, 3 + min(K, 512) / 8 + K / 512, axis=0)
        assert_sum(down("mean", d, isa), d, 3 + min(K, 512) / 8 + K / 512, axis=0, divisor=K)
        assert np.array_equal(down("max", d, isa), d.max(axis=0))
        assert same_bits(down("sum", apart(d), isa), whole)
        for first, last in [(0, 1), (columns // 2, columns), (max(0, columns - 5), columns)]:  # as threads may cut it
            assert same_bits(down("sum", d[:, first:last], isa), whole[first:last])


@isas
@dtypes
def test_integers_are_added_exactly(isa, dtype):
    x = np.random.default_rng(0).integers(-9, 10, (300, 77))
    assert np.array_equal(down("sum", x.astype(dtype), isa), x.sum(axis=0))
    for length in (1, 2, 7, 16, 17, 64, 65, 77):
        assert np.array_equal(reduced("sum", x[:, :length].astype(dtype), isa)[:, 0], x[:, :length].sum(axis=1))


@isas
@dtypes
def test_nothing_to_reduce(isa, dtype):
    x = np.empty((3, 0), dtype)
    assert np.array_equal(reduced("sum", x, isa), np.zeros((3, 1)))
    assert np.all(np.isnan(reduced("mean", x, isa)))
    assert np.all(reduced("max", x, isa) == -INF)
    assert np.all(reduced("logsumexp", x, isa) == -INF)
    assert np.array_equal(down("sum", x.T.copy(), isa), np.zeros(3))
    assert np.all(np.isnan(down("mean", x.T.copy(), isa)))
    assert np.all(down("max", x.T.copy(), isa) == -INF)


@isas
def test_timing_returns_figures(isa):
    assert min(native.time_rows("cross_entropy_and_softmax", 4, 3, 1, "float64", isa, 3)) > 0


# Layout ----------------------------------------------------------------------------------------------


def places(dims, strides):
    """The offset of every index, as an array of the shape of the dims."""
    total = np.zeros([d[0] for d in dims], int)
    for axis, (dim, stride) in enumerate(zip(dims, strides, strict=True)):
        total += (np.arange(dim[0]) * stride).reshape([-1 if i == axis else 1 for i in range(len(dims))])
    return total


def check_copy(dims, dtype, seed=0):
    """dims: (size, stride in out, stride in x), no place of out twice."""
    to, source = places(dims, [d[1] for d in dims]), places(dims, [d[2] for d in dims])
    out_offset, x_offset = (2 - int(p.min(initial=0)) for p in (to, source))
    x = random(x_offset + int(source.max(initial=0)) + 1, dtype, seed)
    out = np.full(out_offset + int(to.max(initial=0)) + 3, GUARD, dtype)
    expected = out.copy()
    expected[to + out_offset] = x[source + x_offset]
    native.strided_copy(out, x, dims, out_offset, x_offset)
    assert np.array_equal(out, expected)


def row_major(sizes):
    return [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]


@dtypes
@given(data=st.data())
def test_copies_of_any_strides(dtype, data):
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 9, 17]), min_size=0, max_size=4))
    order = data.draw(st.permutations(range(len(sizes))))
    dense = row_major([sizes[i] for i in order])
    out = [0] * len(sizes)
    for axis, stride in zip(order, dense, strict=True):
        out[axis] = stride * data.draw(st.sampled_from([1, -1]))
    x = [data.draw(st.sampled_from([0, 1, -1, 2, 3, 17, 40])) for _ in sizes]
    check_copy(list(zip(sizes, out, x, strict=True)), dtype)


@dtypes
@pytest.mark.parametrize("rows", ROWS)
def test_transposes(dtype, rows):
    for columns in ROWS:
        check_copy([(columns, rows, 1), (rows, 1, columns)], dtype)  # dense
        check_copy([(columns, rows + 3, 1), (rows, 1, columns + 2)], dtype)
        check_copy([(2, 5000, 5000), (columns, rows * 3, 1), (3, rows, 0), (rows, 1, columns)], dtype)


@dtypes
def test_slices_broadcasts_and_joins(dtype):
    check_copy([(6, 7, 7), (7, 1, 1)], dtype)  # one run
    check_copy([(6, 7, 20), (7, 1, 2)], dtype)
    check_copy([(6, 20, 7), (7, 1, 1)], dtype)
    check_copy([(6, 7, -7), (7, 1, -1)], dtype)
    check_copy([(6, 7, 0), (7, 1, 1)], dtype)
    check_copy([(6, 7, 1), (7, 1, 0)], dtype)
    check_copy([(6, 7, 0), (7, 1, 0)], dtype)
    check_copy([], dtype)
    check_copy([(3, 9, 9), (0, 1, 1)], dtype)


def check_contraction(dims, dtype, seed=0):
    """dims: (size, strides in out, a and b); small integers, so sums are exact in any order."""
    rng = np.random.default_rng(seed)
    index = [places(dims, [d[i] for d in dims]) for i in (1, 2, 3)]
    kept = places([(1 if d[1] == 0 else d[0],) for d in dims], [d[1] for d in dims])
    offsets = [2 - int(p.min(initial=0)) for p in index]
    offsets[0] = 2 - int(kept.min(initial=0))
    a, b = (
        rng.integers(-5, 6, o + int(p.max(initial=0)) + 1).astype(dtype)
        for o, p in zip(offsets[1:], index[1:], strict=True)
    )
    out = np.full(offsets[0] + int(kept.max(initial=0)) + 3, GUARD, dtype)
    expected = out.copy()
    expected[kept + offsets[0]] = 0
    np.add.at(expected, index[0] + offsets[0], a[index[1] + offsets[1]] * b[index[2] + offsets[2]])
    native.contract(out, a, b, dims, tuple(offsets))
    assert np.array_equal(out, expected)


@dtypes
@given(data=st.data())
def test_contractions_of_any_strides(dtype, data):
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 9]), min_size=0, max_size=5))
    summed = [data.draw(st.booleans()) for _ in sizes]
    order = data.draw(st.permutations([i for i, s in enumerate(summed) if not s]))
    out = [0] * len(sizes)
    for axis, stride in zip(order, row_major([sizes[i] for i in order]), strict=True):
        out[axis] = stride * data.draw(st.sampled_from([1, -1]))
    strides = st.sampled_from([0, 1, -1, 2, 3, 9])
    dims = [(n, o, data.draw(strides), data.draw(strides)) for n, o in zip(sizes, out, strict=True)]
    check_contraction(dims, dtype)


@dtypes
@pytest.mark.parametrize("sizes", list(itertools.product([1, 2, 7], [1, 3], [1, 4, 33], [1, 5, 10, 17, 40])))
def test_products_as_contractions(dtype, sizes):
    n, g, k, m = sizes  # samples, groups, inner, outer
    grouped = [(n, g * m, g * k, 0), (g, m, k, k * m), (k, 0, 1, m), (m, 1, 0, 1)]
    outer = [(g, k * m, k, m), (k, m, 1, 0), (n, 0, g * k, g * m), (m, 1, 0, 1)]
    dot = [(n, g, k * g, k * g), (g, 1, 1, 1), (k, 0, g, g)]
    for dims in (grouped, outer, dot):
        check_contraction(dims, dtype)


@dtypes
def test_a_contraction_adds_in_order(dtype):
    a = random((7, 33), dtype)
    b = random((33, 20), dtype)
    out = np.empty(140, dtype)
    native.contract(out, a.reshape(-1), b.reshape(-1), [(7, 20, 33, 0), (33, 0, 1, 20), (20, 1, 0, 1)])
    expected = a[:, :1] * b[:1]
    for k in range(1, 33):
        expected = expected + a[:, k : k + 1] * b[k : k + 1]
    assert same_bits(out.reshape(7, 20), expected)


@dtypes
@pytest.mark.parametrize("columns", [1, 2, 3, 10, 33])
def test_take_and_scatter(dtype, columns):
    rng = np.random.default_rng(columns)
    table = apart(random((12, columns), dtype))
    spaced = rng.integers(0, 12, 80)
    for index in (spaced[:40].copy(), spaced[::2], spaced[:0]):
        out, memory = guarded((len(index), columns), dtype)
        native.take_rows(out, table, index)
        assert_guards_stand(out, memory)
        assert np.array_equal(out, table[index])
        g = apart(random((len(index), columns), dtype))
        out, memory = guarded((12, columns), dtype)
        native.scatter_rows(out, g, index)
        assert_guards_stand(out, memory)
        expected = np.zeros((12, columns), dtype)
        np.add.at(expected, index, g)  # in order
        assert same_bits(out, expected)


@dtypes
@pytest.mark.parametrize(("groups", "classes"), [(1, 1), (1, 3), (1, 10), (2, 3), (5, 4)])
def test_one_hot(dtype, groups, classes):
    labels = np.random.default_rng(0).integers(0, classes, (33, groups + 2))[:, :groups]
    out, memory = guarded((33, groups * classes), dtype)
    native.one_hot_rows(out, labels, classes)
    assert_guards_stand(out, memory)
    assert np.array_equal(out.reshape(33, groups, classes), np.eye(classes)[labels])


@dtypes
@pytest.mark.parametrize("bad", [-1, 6, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
def test_bad_indexes_say_which_and_where(dtype, bad):
    x, index = np.zeros((6, 2), dtype), np.array([0, 5, bad, 9])
    with pytest.raises(ValueError, match=rf"take: row numbers must be in 0 \.\. 5; got {bad} at position 2\."):
        native.take_rows(np.zeros((4, 2), dtype), x, index)
    with pytest.raises(ValueError, match=rf"scatter: row numbers must be in 0 \.\. 5; got {bad} at position 2\."):
        native.scatter_rows(x, np.zeros((4, 2), dtype), index)
    with pytest.raises(ValueError, match=rf"one_hot: labels must be in 0 \.\. 5; got {bad} at position 2\."):
        native.one_hot_rows(np.zeros((2, 12), dtype), index.reshape(2, 2), 6)
    with pytest.raises(ValueError, match=r"must be in 0 \.\. -1; got 0 at position 0\."):
        native.take_rows(np.zeros((1, 2), dtype), np.zeros((0, 2), dtype), np.array([0]))


def test_arrays_that_do_not_fit_are_refused():
    x = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"out must have shape \(3, 4\)"):
        native.softmax_rows("softmax", x, np.zeros((4, 3)))
    with pytest.raises(ValueError, match="dtypes must be equal"):
        native.softmax_rows("softmax", x, np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="side by side"):
        native.softmax_rows("softmax", x.T, np.zeros((4, 3)))
    with pytest.raises(ValueError, match="left by an index"):
        native.strided_copy(np.zeros(4), np.zeros(4), [(5, 1, 0)])
    with pytest.raises(ValueError, match="left by an index"):
        native.contract(np.zeros(4), np.zeros(4), np.zeros(4), [(4, 1, 1, -1)])
