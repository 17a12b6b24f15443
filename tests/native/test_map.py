"""Elementwise programs: every kernel against NumPy, every way of passing operands, in place, in parts, at random."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

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
) -> Sequence[np.ndarray]:
    """Runs the program on the arrays as they are; an op's options are those of OPTIONS."""
    options: list[float] = []
    words = [len(outputs), len(inputs), 1 + max(op.out for op in ops), len(ops), *modes, *results]
    for op in ops:
        words += [KERNELS[op.kernel][0], op.out, *op.operands, *[0] * (3 - len(op.operands)), len(options)]
        options += OPTIONS.get(op.kernel, ())
    native.run_map(words, options, list(inputs), list(outputs), isa)
    return outputs


def reference(kernel: str, *x: np.ndarray) -> np.ndarray:
    """The definition, from the op of that name; of the unary ones the functions on arrays, which test_math.py tests."""
    with np.errstate(all="ignore"):
        if KERNELS[kernel][1] == 1:
            return native.apply(kernel, np.ascontiguousarray(x[0]), OPTIONS.get(kernel, ()))
        return np.asarray(OPS[kernel].forward(*x)).astype(x[-1].dtype)


def assert_same(got: np.ndarray, expected: np.ndarray, kernel: str = "") -> None:
    """Equal numbers; those of `power` to two roundings."""
    if kernel == "power":
        np.testing.assert_allclose(got, expected, rtol=2 * np.finfo(got.dtype).eps, atol=0)
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
        expected = native.apply(kernel, x[0], OPTIONS.get(kernel, ()), isa) if arity == 1 else reference(kernel, *x)
        assert_same(out[:, 1:-1], expected, kernel)
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
