"""Elementwise programs: every kernel against NumPy, every way of passing operands, in place, in parts, at random."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import layerwise  # noqa: F401  declares the ops
from layerwise.graph.node import OPS

native = importlib.import_module("layerwise._native")  # only the engine may import it by name
ISAS = native.isas()
DTYPES = ("float32", "float64")
INF, NAN = math.inf, math.nan
KERNELS = {name: (i, arity, options) for i, (name, arity, options) in enumerate(native.map_kernels())}
UNARY, BINARY, TERNARY = ([n for n, (_, arity, _) in KERNELS.items() if arity == k] for k in (1, 2, 3))
FULL, ROW, COLUMN, SCALAR = range(4)
SIZES = (1, 7, 8, 9, 15, 16, 17, 31, 33, 100, 513, 1000)
OPTIONS = {"clip": (-0.5, 0.75), "leaky_relu": (0.01,), "elu": (1.5,)}


class Op(NamedTuple):
    kernel: str
    out: int
    operands: tuple[int, ...]


def run(
    ops: Sequence[Op],
    modes: Sequence[int],
    results: Sequence[int],
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    isa: str | None = None,
    prepared: bool = True,
) -> Sequence[np.ndarray]:
    """Runs the program on the arrays as they are; an op's options are those of OPTIONS."""
    options: list[float] = []
    words = [len(outputs), len(inputs), 1 + max(op.out for op in ops), len(ops), *modes, *results]
    for op in ops:
        words += [KERNELS[op.kernel][0], op.out, *op.operands, *[0] * (3 - len(op.operands)), len(options)]
        options += OPTIONS.get(op.kernel, ())
    native.run_map(words, options, list(inputs), list(outputs), isa, prepared=prepared)
    return outputs


def by_numpy(ops: Sequence[Op], results: Sequence[int], inputs: Sequence[np.ndarray], isa: str) -> list[np.ndarray]:
    """The same with whole arrays, op after op."""
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    registers = dict(enumerate(np.broadcast_to(x, shape) for x in inputs))
    for op in ops:
        registers[op.out] = reference(op.kernel, *(registers[r] for r in op.operands), isa=isa)
    return [registers[r] for r in results]


def reference(kernel: str, *x: np.ndarray, isa: str | None = None) -> np.ndarray:
    """The definition, from the op of that name; of the unary ones the functions on arrays, which test_math.py tests."""
    with np.errstate(all="ignore"):
        if KERNELS[kernel][1] == 1:
            return native.apply(kernel, np.ascontiguousarray(x[0]), OPTIONS.get(kernel, ()), isa)
        return np.asarray(OPS[kernel].forward(*x)).astype(x[-1].dtype)


def assert_same(got: np.ndarray, expected: np.ndarray, kernel: str = "") -> None:
    """Equal numbers; powers to three roundings, since NumPy's have one or two of their own."""
    if kernel == "power":
        np.testing.assert_allclose(got, expected, rtol=3 * np.finfo(got.dtype).eps, atol=0)
    else:
        np.testing.assert_array_equal(got, expected)


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Ordinary numbers with some 0, 1, -1, infinities and NaN, so that comparisons meet equal ones too."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=shape) * 2
    special = generator.choice([0.0, -0.0, 1.0, -1.0, 2.0, INF, -INF, NAN], size=shape)
    return np.where(generator.random(shape) < 0.25, special, x).astype(dtype)


def test_kernels_are_those_of_the_ops():
    for name, (_, arity, _) in KERNELS.items():
        kernels = [op for op in OPS.values() if op.kernel == name]
        assert name == "erfc" or (kernels and all(len(op.slopes or ()) in (0, arity) for op in kernels))
    assert [n for n, (_, arity, _) in KERNELS.items() if arity == 1] == native.functions()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_at_awkward_sizes(kernel, dtype, isa):
    arity = KERNELS[kernel][1]
    for n in SIZES:
        x = [numbers((1, n), dtype, 10 * n + i) for i in range(arity)]
        if kernel in ("log", "log1p", "sqrt"):
            x[0] = np.abs(x[0])
        out = np.full((1, n + 2), 7.0, dtype)
        run([Op(kernel, arity, tuple(range(arity)))], [FULL] * arity, [arity], x, [out[:, 1:-1]], isa)
        assert_same(out[:, 1:-1], reference(kernel, *x, isa=isa), kernel)
        assert out[0, 0] == out[0, -1] == 7, "written outside"


def as_mode(x: np.ndarray, mode: int) -> np.ndarray:
    return {FULL: x, ROW: x[:1], COLUMN: np.ascontiguousarray(x[:, :1]), SCALAR: x[:1, :1]}[mode]


SHAPES = [
    (1, 1),
    (1, 9),
    (5, 1),
    (3, 2),
    (40, 3),
    (700, 1),
    (300, 4),
    (100, 16),
    (67, 17),
    (4, 100),
    (3, 513),
    (2, 1200),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modes", list(itertools.product(range(4), repeat=2)))
def test_all_modes(modes, dtype, isa):
    """A binary, a unary op of each input, and a choice; dense and in rows that lie apart."""
    ops = [Op("subtract", 2, (0, 1)), Op("absolute", 3, (0,)), Op("maximum", 4, (3, 1)), Op("where", 5, (1, 0, 4))]
    for (rows, columns), apart in itertools.product(SHAPES, (0, 3)):
        wide = [numbers((rows, columns + apart), dtype, rows + i) for i in range(2)]
        x = [as_mode(w[:, :columns], mode) for w, mode in zip(wide, modes, strict=True)]
        outputs = [np.full((rows, columns + apart), 7.0, dtype) for _ in range(2)]
        run(ops, modes, [2, 5], x, [o[:, :columns] for o in outputs], isa)
        with np.errstate(invalid="ignore"):
            difference = np.broadcast_to(x[0] - x[1], (rows, columns))
            chosen = np.where(x[1] != 0, x[0], np.maximum(np.abs(x[0]), x[1]))
        np.testing.assert_array_equal(outputs[0][:, :columns], difference)
        np.testing.assert_array_equal(outputs[1][:, :columns], np.broadcast_to(chosen, (rows, columns)))
        for o in outputs:
            assert (o[:, columns:] == 7).all(), "written outside"


# Where results are put ------------------------------------------------------------------------------

# v ← 0.9 v + g; w ← w - 0.1 v
MOMENTUM = [Op("multiply", 5, (3, 1)), Op("add", 6, (5, 2)), Op("multiply", 7, (4, 6)), Op("subtract", 8, (0, 7))]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 3), (1, 48), (7, 9), (1, 1000), (33, 100), (3, 700)])
def test_in_place_and_as_an_intermediate_value(shape, dtype, isa):
    for apart in (0, 5):
        w, v, g = (numbers((shape[0], shape[1] + apart), dtype, i)[:, : shape[1]] for i in range(3))
        rates = [np.full((1, 1), rate, dtype) for rate in (0.9, 0.1)]
        with np.errstate(invalid="ignore"):
            next_v = rates[0] * v + g
            next_w = w - rates[1] * next_v
        run(MOMENTUM, [FULL, FULL, FULL, SCALAR, SCALAR], [8, 6], [w, v, g, *rates], [w, v], isa)
        np.testing.assert_array_equal(v, next_v)
        np.testing.assert_array_equal(w, next_w)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(1, 5), (1, 300), (20, 7), (3, 200)])
def test_an_input_is_read_after_its_memory_is_an_output(shape, isa):
    # W is read by the first operation and by the last; the result of the second one takes its place.
    ops = [Op("square", 1, (0,)), Op("negative", 2, (1,)), Op("exp", 3, (2,)), Op("add", 4, (3, 0))]
    for apart in (0, 2):
        W = numbers((shape[0], shape[1] + apart), "float64", 3)[:, : shape[1]]
        out = np.empty_like(W)
        with np.errstate(invalid="ignore"):
            expected_W, expected = -(W * W), native.apply("exp", -(W * W), (), isa) + W
        run(ops, [FULL], [2, 4], [W], [W, out], isa)
        np.testing.assert_array_equal(W, expected_W)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("isa", ISAS)
def test_one_register_is_two_outputs_and_numbers_are_outputs(isa):
    x, c = numbers((5, 9), "float32", 0), np.full((1, 1), 3, np.float32)
    ops = [Op("square", 2, (1,)), Op("maximum", 3, (0, 2)), Op("tanh", 4, (2,))]
    outputs = [np.empty((5, 9), np.float32) for _ in range(4)]
    run(ops, [FULL, SCALAR], [3, 3, 2, 4], [x, c], outputs, isa)
    np.testing.assert_array_equal(outputs[0], np.maximum(x, np.float32(9)))
    np.testing.assert_array_equal(outputs[1], outputs[0])
    assert (outputs[2] == 9).all()
    assert (outputs[3] == native.apply("tanh", np.float32([9]), (), isa)).all()


def test_rows_and_columns_of_nothing():
    for shape in [(0, 4), (4, 0)]:
        out = np.empty(shape)
        run([Op("negative", 1, (0,))], [FULL], [1], [np.empty(shape)], [out])


# Sameness -------------------------------------------------------------------------------------------


def bits(x: np.ndarray) -> np.ndarray:
    word = np.uint32 if x.dtype == np.float32 else np.uint64
    return np.where(np.isnan(x), word(0), np.ascontiguousarray(x).view(word))


MIXED = [
    Op("power", 4, (0, 1)),
    Op("multiply", 5, (4, 2)),
    Op("exp", 6, (2,)),
    Op("divide", 7, (5, 6)),
    Op("power", 8, (0, 2)),
    Op("tanh", 9, (3,)),
    Op("where", 10, (1, 7, 8)),
    Op("subtract", 11, (10, 9)),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 37), (50, 1), (40, 6), (9, 100), (5, 128), (3, 300)])
def test_results_do_not_depend_on_the_range(shape, dtype, isa):
    rows, columns = shape
    full, row, column = (numbers(s, dtype, i) for i, s in enumerate([shape, (1, columns), (rows, 1)]))
    column[: rows // 2] = 2  # an exponent with a way of its own
    scalar = np.full((1, 1), 0.7, dtype)
    modes = [FULL, ROW, COLUMN, SCALAR]
    whole = np.empty(shape, dtype)
    run(MIXED, modes, [11], [full, row, column, scalar], [whole], isa)
    generator = np.random.default_rng(0)
    for trial in range(6):
        parts = np.empty(shape, dtype)
        row_cuts = np.unique([0, rows, *generator.integers(0, rows + 1, 4)])
        column_cuts = np.unique([0, columns, *generator.integers(0, columns + 1, 4 if trial % 2 else 0)])
        for (a, b), (c, d) in itertools.product(itertools.pairwise(row_cuts), itertools.pairwise(column_cuts)):
            inputs = [full[a:b, c:d], row[:, c:d], column[a:b], scalar]
            run(MIXED, modes, [11], inputs, [parts[a:b, c:d]], isa, prepared=trial % 3 > 0)
        np.testing.assert_array_equal(bits(parts), bits(whole))
    expanded = [np.broadcast_to(x, shape).copy() for x in (full, row, column, scalar)]
    run(MIXED, [FULL] * 4, [11], expanded, [parts], isa)
    np.testing.assert_array_equal(bits(parts), bits(whole))


# Any program ----------------------------------------------------------------------------------------

EXACT = [name for name in KERNELS if name not in ("power", "erfc")]


@st.composite
def programs(draw) -> tuple[list[Op], list[int], list[int]]:
    """Operations, modes of the inputs, registers of the outputs; registers are used again where that is drawn."""
    modes = draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    registers = draw(st.integers(len(modes) + 1, 48))
    written = list(range(len(modes)))
    ops = []
    for _ in range(draw(st.integers(1, 40))):
        kernel = draw(st.sampled_from(EXACT))
        operands = tuple(draw(st.sampled_from(written)) for _ in range(KERNELS[kernel][1]))
        out = draw(st.integers(len(modes), registers - 1))
        ops.append(Op(kernel, out, operands))
        written.append(out)  # twice or more often: what was written last is drawn more often
    results = draw(st.lists(st.sampled_from(sorted({op.out for op in ops})), min_size=1, max_size=4))
    return ops, modes, results


@pytest.mark.parametrize("isa", ISAS)
@given(
    program=programs(),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.tuples(st.integers(1, 3), st.integers(1, 700)),
    dtype=st.sampled_from(DTYPES),
    apart=st.sampled_from([0, 0, 3]),
    prepared=st.booleans(),
)
def test_random_programs(isa, program, shape, dtype, apart, prepared):
    ops, modes, results = program
    rows, columns = shape
    wide = [numbers((rows, columns + apart), dtype, i) for i in range(len(modes))]
    x = [as_mode(w[:, :columns], mode) for w, mode in zip(wide, modes, strict=True)]
    expected = by_numpy(ops, results, [np.broadcast_to(a, shape) for a in x], isa)
    outputs = [np.empty((rows, columns + apart), dtype)[:, :columns] for _ in results]
    run(ops, modes, results, x, outputs, isa, prepared)
    for got, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("isa", ISAS)
def test_a_long_program_that_uses_two_registers_again_and_again(isa):
    names = ("add", "multiply", "subtract", "maximum", "tanh", "where", "less")
    ops = [Op("identity", 2, (0,)), Op("square", 3, (1,))]
    for i in range(500):
        kernel = names[i % len(names)]
        ops.append(Op(kernel, 2 + i % 2, (2, 3, 1)[: KERNELS[kernel][1]]))
    x = [numbers((11, 29), "float64", 0), np.full((1, 1), 0.5)]
    for prepared in (False, True):
        (out,) = run(ops, [FULL, SCALAR], [3], x, [np.empty((11, 29))], isa, prepared)
        np.testing.assert_array_equal(out, by_numpy(ops, [3], x, isa)[0])


# Powers ---------------------------------------------------------------------------------------------

# In ULP of the exact result, a little more than the largest error of a search over 16 million pairs (float32 0.77,
# float64 1.2) next to overflow and underflow, where the logarithm is needed to the last bit. A cube is two products.
POWER_BOUND = {"float32": 0.8, "float64": 1.3}
CUBE_BOUND = 1.5


def power(x: np.ndarray, y: np.ndarray, isa: str | None = None, y_mode: int = FULL) -> np.ndarray:
    out = np.empty((1, x.size), x.dtype)
    run([Op("power", 2, (0, 1))], [FULL, y_mode], [2], [x.reshape(1, -1), y.reshape(1, -1)], [out], isa)
    return out[0]


def edges(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    integers = [2.0**info.nmant - 1, 2.0**info.nmant, 2.0 ** (info.nmant + 1) - 1, 2.0 ** (info.nmant + 1), 3e30]
    near_one = [1 + float(info.eps), 1 - float(info.epsneg)]
    small = [float(info.tiny), float(info.smallest_subnormal), float(info.tiny) * 0.75, 1e-20]
    x = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 101.0, 1 / 3, INF, NAN, float(info.max), *integers, *near_one, *small]
    return np.array([*x, *(-v for v in x)], dtype)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", BINARY)
def test_edges(kernel, dtype, isa):
    x, y = (a.ravel() for a in np.meshgrid(edges(dtype), edges(dtype)))
    expected = reference(kernel, x, y)
    out = np.empty((1, x.size), dtype)
    run([Op(kernel, 2, (0, 1))], [FULL, FULL], [2], [x[None], y[None]], [out], isa)
    assert_same(out[0], expected, kernel)
    if kernel not in ("maximum", "minimum"):  # there either zero may come out
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(out[0][number]), np.signbit(expected[number]))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_takes_everything_but_zero_for_true(dtype, isa):
    c = edges(dtype)[None]
    x, y = np.full_like(c, 5), np.full_like(c, -7)
    (out,) = run([Op("where", 3, (0, 1, 2))], [FULL] * 3, [3], [c, x, y], [np.empty_like(c)], isa)
    np.testing.assert_array_equal(out, np.where(c == 0, -7, 5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_is_accurate(dtype):
    info = np.finfo(dtype)
    generator = np.random.default_rng(11)
    n = 600
    lowest, highest = math.log(float(info.smallest_subnormal)), math.log(float(info.max))
    word = np.uint32 if dtype == "float32" else np.uint64
    patterns = generator.integers(0, 2 ** (8 * np.dtype(dtype).itemsize - 1), n, dtype=np.uint64).astype(word)
    bases = [
        patterns.view(dtype),
        np.exp(generator.uniform(-0.36, 0.36, n)),
        1 + generator.uniform(-1, 1, n) * 2.0 ** -generator.integers(1, info.nmant, n),
        generator.choice([0.5**0.5, 2**0.5], n) * (1 + 1e-3 * generator.normal(size=n)),
    ]
    for base in bases:
        x = base.astype(dtype)
        x = x[np.isfinite(x) & (x > 0) & (x != 1)]
        logarithms = generator.uniform(lowest, highest, x.size)
        logarithms[::3] = generator.choice([0.99 * lowest, 0.999 * highest], logarithms[::3].size)
        y = (logarithms / np.log(x.astype(np.float64))).astype(dtype)
        with mpmath.workprec(160):
            exact = [mpmath.mpf(a) ** mpmath.mpf(b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
            for isa in ISAS:
                for a, b, got, e in zip(x, y, power(x, y, isa).tolist(), exact, strict=True):
                    exponent = max(mpmath.frexp(e)[1] - 1, info.minexp)
                    limit = mpmath.ldexp(2 - mpmath.ldexp(1, -info.nmant - 1), info.maxexp - 1)
                    if math.isinf(got):
                        assert e >= limit, f"{a!r}^{b!r} ({isa})"
                        continue
                    error = float(mpmath.ldexp(abs(mpmath.mpf(got) - e), info.nmant - exponent))
                    assert error <= POWER_BOUND[dtype], f"{a!r}^{b!r}: {error:.2f} ULP ({isa})"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.0, 1.0, 0.0, -0.5, 2.5])
def test_a_known_exponent_gives_the_same_bits_as_any(exponent, dtype, isa):
    x = np.concatenate([edges(dtype), numbers((200,), dtype, 1)])
    y = np.array([exponent], dtype)
    known = power(x, y, isa, SCALAR)
    np.testing.assert_array_equal(bits(known), bits(power(x, np.full_like(x, exponent), isa)))
    with np.errstate(all="ignore"):
        exact = {2.0: x * x, 0.5: np.abs(np.sqrt(x)), -1.0: 1 / x, 1.0: x, 0.0: np.ones_like(x)}.get(exponent)
        if exact is not None:
            np.testing.assert_array_equal(known[np.isfinite(x)], exact[np.isfinite(x)])
        if exponent == 3:
            wide = x.astype(np.longdouble) ** 3
            fits = np.isfinite(known) & (np.abs(wide) > np.finfo(dtype).tiny)
            errors = np.abs(known - wide)[fits] / np.spacing(np.abs(known[fits]))
            assert errors.max() <= CUBE_BOUND


# What is refused ------------------------------------------------------------------------------------

ADD = KERNELS["add"][0]
GOOD = [1, 2, 3, 1, FULL, FULL, 2, ADD, 2, 0, 1, 0, 0]


def changed(position: int, word: int) -> list[int]:
    return [*GOOD[:position], word, *GOOD[position + 1 :]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (GOOD[:-1], "words end where an option's index"),
        ([*GOOD, 0], "left over"),
        (changed(0, 0), "number of outputs must be 1 to 48; got 0"),
        (changed(2, 49), "number of registers must be 3 to 48; got 49"),
        (changed(2, 2), "number of registers must be 3 to 48; got 2"),
        (changed(4, 4), "a mode must be 0 to 3; got 4"),
        (changed(6, 1), "an output's register must be 2 to 2; got 1"),
        (changed(7, len(KERNELS)), "a kernel must be"),
        (changed(8, 0), "a result must be 2 to 2; got 0"),
        (changed(9, 2), "read before it is written"),
        (changed(10, -1), "an operand must be 0 to 2; got -1"),
        ([1, 1, 2, 1, FULL, 1, KERNELS["clip"][0], 1, 0, 0, 0, 0], "options past the last one"),
    ],
)
def test_programs_that_are_refused(words, message):
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=message):
        native.run_map(words, [1.0], [x] * words[1], [x.copy()] * words[0] or [x])


def test_arrays_that_are_refused():
    x = np.ones((2, 3))
    for inputs, outputs, message in [
        ([x], [x], "inputs are not as many"),
        ([x, x], [x, x], "outputs are not as many"),
        ([x, x.astype(np.float32)], [x], "input 1 must have the precision"),
        ([x, np.ones((2, 4))], [x], r"input 1 must have shape \(2, 3\); got \(2, 4\)"),
        ([x, np.ones((2, 6))[:, ::2]], [x], "columns side by side"),
        ([x, np.broadcast_to(np.ones(3), (2, 3))], [x], "rows that do not overlap"),
        ([x, x], [np.ones((2, 3), np.int64)], "float32 or float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            native.run_map(GOOD, [], inputs, outputs)
