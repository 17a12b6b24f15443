"""One harness for every op: value, shape, notation, vjp, jvp and second derivative.

A row says how to draw the inputs of an op and what its value is, from elsewhere. An op without a row fails.
Derivatives are held against a complex step (1e-12) or, where NumPy has no complex value, against central
differences with one Richardson step (1e-7).
"""

from __future__ import annotations

import math
import operator
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
import uniform_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import layerwise as lw
import layerwise.ops.random  # declares uniform, which the package does not load by itself
from layerwise.graph.node import OPS
from layerwise.graph.order import order
from layerwise.ops.losses import LOSSES

ELEMENTWISE_SHAPE = {"max_dims": 3, "min_side": 0, "max_side": 3}


@dataclass(frozen=True)
class Row:
    """How an op is tested.

    draw: strategy of (arrays, attributes); value: its value from elsewhere; complex_step: whether NumPy has its
    complex value; rtol: of the value, 1e-13 being some hundred roundings.
    """

    draw: st.SearchStrategy
    value: Callable[..., Any]
    complex_step: bool = True
    rtol: float = 1e-13


# Domains ---------------------------------------------------------------------------------------------


def uniform(low: float, high: float) -> Callable:
    return lambda rng, shape: rng.uniform(low, high, shape)


def quarters(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """±0.25, ±0.75, …, ±2.75 and a little beside: at least 0.2 from every multiple of 1/2."""
    return rng.integers(-6, 6, shape) * 0.5 + 0.25 + rng.uniform(-0.05, 0.05, shape)


def halves(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/2 and a little beside: at least 0.15 from every one of `quarters`."""
    return rng.integers(-5, 6, shape) * 0.5 + rng.uniform(-0.05, 0.05, shape)


def truth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.random(shape) < 0.5


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    n = math.prod(shape)
    return (rng.permutation(n) * 0.3 - 1.0 + rng.uniform(-0.05, 0.05, n)).reshape(shape)


def probability(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """0 and 1 among them."""
    return np.clip(rng.uniform(-0.3, 1.3, shape), 0.0, 1.0)


def distribution(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows that sum to 1; some hold zeros."""
    part = rng.uniform(0.1, 1.0, shape) * (rng.random(shape) < 0.7)
    if part.size:
        part[..., :1] += 0.1
    return part / part.sum(axis=-1, keepdims=True) if part.size else part


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0)


Z = uniform(-3.0, 3.0)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(
    *domains: Callable, attributes: dict[str, st.SearchStrategy] | None = None, **shape: int
) -> st.SearchStrategy:
    """Arrays of these domains whose shapes broadcast to each other, with sizes 0 and 1 among them."""
    limits = {**ELEMENTWISE_SHAPE, **shape}

    @st.composite
    def strategy(draw: Callable) -> Any:
        shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=len(domains), **limits)).input_shapes
        rng = np.random.default_rng(draw(SEEDS))
        arrays = [np.asarray(domain(rng, s)) for domain, s in zip(domains, shapes, strict=True)]
        return arrays, {name: draw(values) for name, values in (attributes or {}).items()}

    return strategy()


def by_signature(signature: str, *domains: Callable) -> st.SearchStrategy:
    """Stacks of matrices; leading axes broadcast."""

    @st.composite
    def strategy(draw: Callable) -> Any:
        shapes = hnp.mutually_broadcastable_shapes(signature=signature, max_dims=1, min_side=0, max_side=3)
        rng = np.random.default_rng(draw(SEEDS))
        return [d(rng, s) for d, s in zip(domains, draw(shapes).input_shapes, strict=True)], {}

    return strategy()


SIZE = st.integers(0, 3)


@st.composite
def affine_inputs(draw: Callable) -> Any:
    n, i, o = draw(st.tuples(SIZE, SIZE, SIZE))
    rng = np.random.default_rng(draw(SEEDS))
    return [Z(rng, (n, i)), Z(rng, (i, o)), Z(rng, (o,))], {}


@st.composite
def grouped_inputs(draw: Callable, outer: bool) -> Any:
    n, g, i, o = draw(st.tuples(SIZE, st.integers(1, 3), SIZE, SIZE))
    rng = np.random.default_rng(draw(SEEDS))
    second = (n, g * o) if outer else (g, i, o)
    return [Z(rng, (n, g * i)), Z(rng, second)], {"groups": g} if outer else {}


@st.composite
def reduced_inputs(draw: Callable, domain: Callable, min_side: int) -> Any:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=min_side, max_side=3))
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1))))) if shape else ()
    return [np.asarray(domain(np.random.default_rng(draw(SEEDS)), shape))], {
        "axes": axes,
        "keepdims": draw(st.booleans()),
    }


@st.composite
def one_array(draw: Callable, more: Callable, min_dims: int = 0, min_side: int = 0) -> Any:
    """An array and attributes that depend on its shape."""
    shape = draw(hnp.array_shapes(min_dims=min_dims, max_dims=3, min_side=min_side, max_side=3))
    return [np.asarray(Z(np.random.default_rng(draw(SEEDS)), shape))], more(draw, shape)


def reshape_attributes(draw: Callable, shape: tuple[int, ...]) -> Any:
    n = math.prod(shape)
    return {"shape": draw(st.sampled_from([(n,), (1, n), tuple(reversed(shape)), (*shape, 1)]))}


def broadcast_attributes(draw: Callable, shape: tuple[int, ...]) -> Any:
    wide = tuple(draw(st.integers(0, 3)) if d == 1 else d for d in shape)
    return {"shape": (*draw(st.sampled_from([(), (2,), (0,), (3, 1)])), *wide)}


def some_parts(draw: Callable, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    parts = []
    for d in shape:
        start = draw(st.integers(0, d))
        parts.append((start, draw(st.integers(start, d)), draw(st.integers(1, 2))))
    return tuple(parts)


def by_part(parts: tuple[tuple[int, int, int], ...]) -> tuple[np.ndarray, ...]:
    return np.ix_(*(np.arange(*p) for p in parts)) if parts else ()


@st.composite
def embed_inputs(draw: Callable) -> Any:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    parts = some_parts(draw, shape)
    own = tuple(len(range(*p)) for p in parts)
    return [np.asarray(Z(np.random.default_rng(draw(SEEDS)), own))], {"parts": parts, "shape": shape}


def embedded(x: np.ndarray, *, parts: Any, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape)
    whole[by_part(parts)] = x
    return whole


@st.composite
def concat_inputs(draw: Callable) -> Any:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    axis = draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(draw(SEEDS))
    sizes = draw(st.lists(SIZE, min_size=1, max_size=3))
    return [Z(rng, (*shape[:axis], n, *shape[axis + 1 :])) for n in sizes], {"axis": axis}


@st.composite
def take_inputs(draw: Callable, scatter: bool) -> Any:
    n_rows, n_taken = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    rest = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    rng = np.random.default_rng(draw(SEEDS))
    rows = rng.integers(0, n_rows, n_taken)
    return [Z(rng, (n_taken if scatter else n_rows, *rest)), rows], {"n_rows": (n_rows,)} if scatter else {}


def scattered(g: np.ndarray, rows: np.ndarray, *, n_rows: tuple[int]) -> np.ndarray:
    chosen = (np.arange(n_rows[0])[:, None] == rows).astype(float)
    return np.tensordot(chosen, g, axes=1)


@st.composite
def label_inputs(draw: Callable) -> Any:
    n = draw(st.integers(1, 4))
    return [np.random.default_rng(draw(SEEDS)).integers(0, n, draw(SIZE))], {"n_classes": n}


@st.composite
def addresses(draw: Callable) -> Any:
    words = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2))
    dims = tuple(draw(st.lists(st.sampled_from([0, 1, 3, 9]), min_size=1, max_size=3)))
    numbers = {"stream": draw(st.integers(0, 2**16 - 1)), "bits": draw(st.sampled_from([16, 24]))}
    return [np.array(words, np.int64)], {"dims": dims, **numbers}


# Values from elsewhere -------------------------------------------------------------------------------


def scalar(function: Callable, dtype: type = float) -> Callable:
    """A function of Python numbers, applied to each element."""

    def value(*arrays: np.ndarray, **attributes: Any) -> np.ndarray:
        arrays = np.broadcast_arrays(*arrays)
        flat = [function(*map(operator.methodcaller("item"), xs), **attributes) for xs in zip(*map(np.ravel, arrays))]  # noqa: B905
        return np.array(flat, dtype).reshape(arrays[0].shape)

    return value


def over_axes(function: Callable) -> Callable:
    """A function of a list of Python numbers, applied to each group that a reduction joins."""

    def value(x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        kept = [a for a in range(x.ndim) if a not in axes]
        rows = np.transpose(x, (*kept, *axes)).reshape(math.prod(x.shape[a] for a in kept), -1 if x.size else 0)
        shape = [1 if a in axes else x.shape[a] for a in range(x.ndim) if keepdims or a not in axes]
        return np.array([function(row.tolist()) for row in rows], float).reshape(shape)

    return value


def per_sample(function: Callable) -> Callable:
    """A loss of one output and its target, summed over the outputs."""

    def value(Y: np.ndarray, T: np.ndarray, **attributes: Any) -> np.ndarray:
        each = scalar(function)(Y, T, **attributes)
        return np.array([math.fsum(row) for row in each.reshape(-1, each.shape[-1])]).reshape(each.shape[:-1])

    def guarded(Y: np.ndarray, T: np.ndarray, **attributes: Any) -> np.ndarray:
        shape = np.broadcast_shapes(Y.shape, T.shape)
        return np.zeros(shape[:-1]) if 0 in shape else value(Y, T, **attributes)

    return guarded


def softmax_cross_entropy(Z: np.ndarray, T: np.ndarray) -> np.ndarray:
    return (T * (scipy.special.logsumexp(Z, axis=-1, keepdims=True) - Z)).sum(axis=-1)


def grouped_product(X: np.ndarray, W: np.ndarray) -> np.ndarray:
    g, i, o = W.shape
    blocks = [X[:, k * i : (k + 1) * i].dot(W[k]) for k in range(g)]
    return np.concatenate(blocks, axis=1).reshape(len(X), g * o)


def uniform_numbers(address: np.ndarray, *, dims: tuple[int, ...], stream: int, bits: int) -> np.ndarray:
    seed, step = (word % 2**64 for word in address.tolist())
    return uniform_by_hand.matrix(seed, step, stream, dims[0], math.prod(dims[1:]), bits).reshape(dims)


def grouped_outer(X: np.ndarray, D: np.ndarray, *, groups: int) -> np.ndarray:
    i, o = X.shape[1] // groups, D.shape[1] // groups
    return np.array([X[:, k * i : (k + 1) * i].T.dot(D[:, k * o : (k + 1) * o]) for k in range(groups)])


def xlogy(t: float, y: float) -> float:
    return t * math.log(y) if t else 0.0


def huber(y: float, t: float, *, delta: float) -> float:
    return float(scipy.special.huber(delta, y - t))


POSITIVE = uniform(0.2, 4.0)
ANY = {"min_dims": 1, "max_dims": 2, "min_side": 0, "max_side": 3}
CLASSES = {"min_dims": 1, "max_dims": 2, "min_side": 1, "max_side": 3}
DELTA = {"delta": st.sampled_from([0.5, 1.0, 1.5])}
ALPHA = {"alpha": st.sampled_from([0.01, 0.3, 1.0])}
LIMITS = {"low": st.sampled_from([-1.0, -math.inf]), "high": st.sampled_from([0.5, math.inf])}

ROWS: dict[str, Row] = {
    "add": Row(drawn(Z, Z), scalar(operator.add)),
    "subtract": Row(drawn(Z, Z), scalar(operator.sub)),
    "multiply": Row(drawn(Z, Z), scalar(operator.mul)),
    "divide": Row(drawn(Z, quarters), scalar(operator.truediv)),
    "negative": Row(drawn(Z), scalar(operator.neg)),
    "power": Row(drawn(uniform(0.3, 2.5), uniform(-2.0, 2.0)), scalar(math.pow)),
    "square": Row(drawn(Z), scalar(lambda x: x * x)),
    "sqrt": Row(drawn(POSITIVE), scalar(math.sqrt)),
    "exp": Row(drawn(Z), scalar(math.exp)),
    "expm1": Row(drawn(Z), scalar(math.expm1)),
    "log": Row(drawn(POSITIVE), scalar(math.log)),
    "log1p": Row(drawn(uniform(-0.7, 3.0)), scalar(math.log1p)),
    "sin": Row(drawn(Z), scalar(math.sin)),
    "cos": Row(drawn(Z), scalar(math.cos)),
    "erf": Row(drawn(Z), scalar(math.erf), complex_step=False),
    "normal_cdf": Row(drawn(Z), scalar(lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0))), complex_step=False),
    "absolute": Row(drawn(quarters), scalar(abs)),
    "sign": Row(drawn(quarters), scalar(lambda x: math.copysign(1.0, x))),
    "maximum": Row(drawn(quarters, halves), scalar(max)),
    "minimum": Row(drawn(quarters, halves), scalar(min)),
    "where": Row(drawn(truth, Z, Z), scalar(lambda c, x, y: x if c else y)),
    "equal": Row(drawn(quarters, halves), scalar(operator.eq, bool)),
    "not_equal": Row(drawn(quarters, halves), scalar(operator.ne, bool)),
    "less": Row(drawn(quarters, halves), scalar(operator.lt, bool)),
    "less_equal": Row(drawn(quarters, halves), scalar(operator.le, bool)),
    "greater": Row(drawn(quarters, halves), scalar(operator.gt, bool)),
    "greater_equal": Row(drawn(quarters, halves), scalar(operator.ge, bool)),
    "clip": Row(drawn(quarters, attributes=LIMITS), scalar(lambda x, *, low, high: sorted((low, x, high))[1])),
    "reshape": Row(one_array(reshape_attributes), lambda x, *, shape: np.array(x.ravel().tolist()).reshape(shape)),
    "transpose": Row(
        one_array(lambda draw, s: {"axes": tuple(draw(st.permutations(range(len(s)))))}),
        lambda x, *, axes: np.einsum(x, list(range(x.ndim)), list(axes)),
    ),
    "broadcast_to": Row(one_array(broadcast_attributes), lambda x, *, shape: np.zeros(shape) + x),
    "concat": Row(concat_inputs(), lambda *xs, axis: np.moveaxis(np.array(
        [row for x in xs for row in np.moveaxis(x, axis, 0)]
    ).reshape(-1, *np.delete(xs[0].shape, axis)) if sum(x.size for x in xs) else np.zeros(
        (sum(x.shape[axis] for x in xs), *np.delete(xs[0].shape, axis))), 0, axis)),
    "slice": Row(
        one_array(lambda draw, s: {"parts": some_parts(draw, s)}), lambda x, *, parts: x[by_part(parts)]
    ),
    "embed": Row(embed_inputs(), embedded),
    "take": Row(take_inputs(scatter=False), lambda table, rows: (
        np.tensordot((rows[:, None] == np.arange(len(table))).astype(float), table, axes=1)
    )),
    "to_integer": Row(drawn(Z), scalar(math.trunc, np.int64)),
    "scatter": Row(take_inputs(scatter=True), scattered),
    "uniform": Row(addresses(), uniform_numbers),
    "one_hot": Row(label_inputs(), lambda labels, *, n_classes: np.eye(n_classes)[labels]),
    "sum": Row(reduced_inputs(Z, 0), over_axes(math.fsum)),
    "mean": Row(reduced_inputs(Z, 1), over_axes(lambda row: math.fsum(row) / len(row))),
    "max": Row(reduced_inputs(distinct, 1), over_axes(max)),
    "logsumexp": Row(reduced_inputs(Z, 1), over_axes(lambda row: math.log(math.fsum(map(math.exp, row)))), rtol=1e-12),
    "identity": Row(drawn(Z), scalar(operator.pos)),
    "stop_gradient": Row(drawn(Z), scalar(operator.pos)),
    "sigmoid": Row(drawn(Z), scipy.special.expit),
    "log_sigmoid": Row(drawn(Z), scipy.special.log_expit),
    "tanh": Row(drawn(Z), scalar(math.tanh)),
    "log_of_cosh": Row(drawn(Z), scalar(lambda r: float(mpmath.log(mpmath.cosh(r))))),
    "relu": Row(drawn(quarters), scalar(lambda z: z if z > 0 else 0.0)),
    "leaky_relu": Row(drawn(quarters, attributes=ALPHA), scalar(lambda z, *, alpha: z if z > 0 else alpha * z)),
    "elu": Row(
        drawn(quarters, attributes=ALPHA), scalar(lambda z, *, alpha: z if z > 0 else alpha * (math.exp(z) - 1))
    ),
    "selu": Row(
        drawn(quarters),
        scalar(lambda z: 1.0507009873554804934193349852946 * (z if z > 0 else 1.6732632423543772848170429916717
               * (math.exp(z) - 1))),
    ),
    "gelu": Row(drawn(Z), lambda z: z * scipy.special.ndtr(z), complex_step=False),
    "gelu_tanh": Row(
        drawn(Z), scalar(lambda z: z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))), rtol=1e-12
    ),
    "silu": Row(drawn(Z), scalar(lambda z: z / (1 + math.exp(-z)))),
    "mish": Row(drawn(Z), scalar(lambda z: z * math.tanh(math.log(1 + math.exp(z))))),
    "softplus": Row(drawn(Z), scalar(lambda z: math.log(1 + math.exp(z)))),
    "softsign": Row(drawn(quarters), scalar(lambda z: z / (1 + math.fabs(z)))),
    "hardtanh": Row(drawn(quarters), scalar(lambda z: min(1.0, max(-1.0, z)))),
    "softmax": Row(drawn(Z, min_dims=1, min_side=1), lambda z: scipy.special.softmax(z, axis=-1)),
    "log_softmax": Row(drawn(Z, min_dims=1, min_side=1), lambda z: scipy.special.log_softmax(z, axis=-1)),
    "matmul": Row(by_signature("(n,k),(k,m)->(n,m)", Z, Z), lambda a, b: np.einsum("...nk,...km->...nm", a, b)),
    "matmul_t": Row(by_signature("(n,k),(m,k)->(n,m)", Z, Z), lambda a, b: np.einsum("...nk,...mk->...nm", a, b)),
    "t_matmul": Row(by_signature("(k,n),(k,m)->(n,m)", Z, Z), lambda a, b: np.einsum("...kn,...km->...nm", a, b)),
    "affine": Row(affine_inputs(), lambda A, W, b: np.einsum("ni,io->no", A, W) + np.ones((len(A), 1)) * b),
    "grouped_product": Row(grouped_inputs(outer=False), grouped_product),
    "grouped_outer": Row(grouped_inputs(outer=True), grouped_outer),
    "squared_error": Row(drawn(Z, Z, **ANY), per_sample(lambda y, t: (y - t) ** 2)),
    "half_squared_error": Row(drawn(Z, Z, **ANY), per_sample(lambda y, t: (y - t) ** 2 / 2)),
    "absolute_error": Row(drawn(quarters, halves, **ANY), per_sample(lambda y, t: abs(y - t))),
    # y - t is at least 0.15 from every multiple of 1/2, so from ±delta
    "huber": Row(drawn(quarters, halves, attributes=DELTA, **ANY), per_sample(huber)),
    "log_cosh": Row(drawn(Z, Z, **ANY), per_sample(lambda y, t: float(mpmath.log(mpmath.cosh(y - t))))),
    "pinball": Row(
        drawn(quarters, halves, attributes={"quantile": st.sampled_from([0.1, 0.5, 0.9])}, **ANY),
        per_sample(lambda y, t, *, quantile: quantile * (t - y) if t > y else (1 - quantile) * (y - t)),
    ),
    "poisson": Row(drawn(POSITIVE, uniform(0.0, 5.0), **ANY), per_sample(lambda y, t: y - xlogy(t, y)), rtol=1e-12),
    "binary_cross_entropy": Row(
        drawn(uniform(0.1, 0.9), probability, **ANY), per_sample(lambda y, t: -xlogy(t, y) - xlogy(1 - t, 1 - y))
    ),
    "cross_entropy": Row(drawn(uniform(0.1, 0.9), distribution, **ANY), per_sample(lambda y, t: -xlogy(t, y))),
    "hinge": Row(drawn(quarters, signs, **ANY), per_sample(lambda y, t: max(0.0, 1 - t * y))),
    "softmax_cross_entropy": Row(drawn(Z, distribution, **CLASSES), softmax_cross_entropy, rtol=1e-12),
    "sigmoid_binary_cross_entropy": Row(
        drawn(Z, probability, **ANY), per_sample(lambda z, t: math.log(1 + math.exp(z)) - t * z), rtol=1e-12
    ),
    "exp_poisson": Row(drawn(Z, uniform(0.0, 5.0), **ANY), per_sample(lambda z, t: math.exp(z) - t * z), rtol=1e-12),
}  # fmt: skip

NAMES = sorted(ROWS)
LOSS_OPS = {op.name for row in LOSSES.values() for op in (row.op, *row.joined.values())}
WITH_REAL_INPUT = [n for n in NAMES if "real" in OPS[n].kinds and OPS[n].kind != "integer"]


def test_every_op_has_a_row():
    assert sorted(OPS) == NAMES


# Graphs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """An op on fed inputs, and the output as a real node (comparisons become 0 and 1)."""

    name: str
    nodes: list[lw.Node]
    arrays: list[np.ndarray]
    out: lw.Node

    @property
    def wrt(self) -> list[int]:
        return [i for i, n in enumerate(self.nodes) if n.kind == "real"]

    def feeds(self, arrays: list[np.ndarray] | None = None) -> dict:
        return dict(zip(self.nodes, arrays or self.arrays, strict=True))

    def real_out(self) -> lw.Node:
        return self.out if self.out.kind == "real" else lw.where(self.out, 1.0, 0.0)

    def moved(self, tangents: list[np.ndarray], by: complex) -> dict:
        arrays = list(self.arrays)
        for i, v in zip(self.wrt, tangents, strict=True):
            arrays[i] = arrays[i] + by * v
        return self.feeds(arrays)


def run(outputs: lw.Node | list[lw.Node], feeds: dict, dtype: str = "float64", engine: str = "numpy") -> Any:
    """`layerwise.evaluate`, for gradients too that depend on some of the inputs only."""
    used = set(order([outputs] if isinstance(outputs, lw.Node) else outputs))
    return lw.evaluate(
        outputs, {node: value for node, value in feeds.items() if node in used}, dtype=dtype, engine=engine
    )


def example(name: str, data: st.DataObject) -> tuple[Example, dict]:
    arrays, attributes = data.draw(ROWS[name].draw, label=name)
    kinds = {"f": "real", "i": "integer", "b": "boolean"}
    nodes = [lw.input(f"x{i}", a.shape, kinds[a.dtype.kind]) for i, a in enumerate(arrays)]
    return Example(name, nodes, arrays, OPS[name](*nodes, **attributes)), attributes


def directions(case: Example, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.0, 1.0, case.arrays[i].shape) for i in case.wrt]


def change(case: Example, outputs: list[lw.Node], tangents: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """The derivative of ``outputs`` along ``tangents`` without any vjp, and the relative error it allows."""
    if ROWS[case.name].complex_step:
        h = 1e-30
        values = run(outputs, case.moved(tangents, 1j * h), dtype="complex128")
        return [np.asarray(v).imag / h for v in values], 1e-12

    def at(h: float) -> list[np.ndarray]:
        return run(outputs, case.moved(tangents, h))

    h = 1e-3  # error h⁴ f⁽⁵⁾ / 30 and rounding 1e-16 / h, both near 1e-13
    return [
        (8 * (p - m) - (pp - mm)) / (12 * h) for p, m, pp, mm in zip(at(h), at(-h), at(2 * h), at(-2 * h), strict=True)
    ], 1e-7


def assert_close(name: str, what: str, got: Any, expected: Any, rtol: float) -> None:
    """Equal within ``rtol`` of the largest entry, and of 0.01 where all are small."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{name}: {what} has shape {got.shape}, not {expected.shape}"
    if expected.size:
        error = np.max(np.abs(got - expected)) / max(np.max(np.abs(expected)), 1e-2)
        assert error <= rtol, f"{name}: {what} is off by {error:.2e} (relative), allowed {rtol:.0e}: {got} {expected}"


EXAMPLES = settings(max_examples=25)


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(data=st.data())
def test_value_and_shape(name, data):
    case, attributes = example(name, data)
    got = run(case.out, case.feeds())
    expected = np.asarray(ROWS[name].value(*case.arrays, **attributes))
    assert case.out.shape == expected.shape, f"{name}: the shape rule gives {case.out.shape}, not {expected.shape}"
    assert np.shape(got) == expected.shape, f"{name}: the value has shape {np.shape(got)}, not {expected.shape}"
    assert np.asarray(got).dtype == {"boolean": np.bool_, "integer": np.int64}.get(OPS[name].kind, np.float64), name
    assert_close(name, "the value", np.asarray(got, float), expected.astype(float), ROWS[name].rtol)
    at_once = OPS[name](*case.arrays, **attributes)
    np.testing.assert_array_equal(at_once, got, err_msg=f"{name}: on arrays it differs from the graph")


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(data=st.data())
def test_float32(name, data):
    case, _ = example(name, data)
    rounded = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in case.arrays]
    got = np.asarray(run(case.out, case.feeds(rounded), dtype="float32"))
    expected = np.asarray(run(case.out, case.feeds(rounded)))
    assert got.dtype == {"boolean": np.bool_, "integer": np.int64}.get(OPS[name].kind, np.float32), (
        f"{name}: {got.dtype}"
    )
    # 27 terms of size up to 20 each lose 6e-8 of their size; what cancels is measured against 0.01
    size = max([1.0, *(float(np.max(np.abs(a))) for a in rounded if a.size)])
    assert_close(name, "the value in float32", got.astype(float), expected.astype(float), 3e-5 * size)


@pytest.mark.parametrize("name", WITH_REAL_INPUT)
@EXAMPLES
@given(data=st.data(), seed=SEEDS)
def test_vjp_is_the_transpose_of_the_change(name, data, seed):
    case, _ = example(name, data)
    out = case.real_out()
    v = directions(case, seed)
    g = np.random.default_rng([seed, 1]).uniform(-1, 1, out.shape)
    cost = lw.sum(lw.constant(g) * out)
    grads = run(lw.gradient(cost, [case.nodes[i] for i in case.wrt]), case.feeds())
    for i, grad in zip(case.wrt, grads, strict=True):
        assert np.shape(grad) == case.arrays[i].shape, f"{name}: the gradient by input {i} has shape {np.shape(grad)}"
    (moved,), rtol = change(case, [out], v)
    if name == "stop_gradient":
        moved = np.zeros_like(moved)
    terms = [np.sum(a * b) for a, b in zip(grads, v, strict=True)]
    # both sides are sums in which terms cancel, so the error is measured against the sum of their sizes
    size = max([1e-2, float(np.sum(np.abs(g * moved))), *(float(np.sum(np.abs(a * b))) for a, b in zip(grads, v))])  # noqa: B905
    error = abs(sum(terms) - np.sum(g * moved)) / size
    assert error <= rtol, f"{name}: <vjp g, v> and <g, J v> differ by {error:.2e} (relative)"


@pytest.mark.parametrize("name", WITH_REAL_INPUT)
@EXAMPLES
@given(data=st.data(), seed=SEEDS)
def test_jvp(name, data, seed):
    case, _ = example(name, data)
    out, v = case.real_out(), directions(case, seed)
    got = run(lw.jvp(out, [case.nodes[i] for i in case.wrt], v), case.feeds())
    (expected,), rtol = change(case, [out], v)
    if name == "stop_gradient":
        expected = np.zeros_like(expected)
    assert_close(name, "the jvp", got, expected, rtol)


@pytest.mark.parametrize("name", WITH_REAL_INPUT)
@EXAMPLES
@given(data=st.data(), seed=SEEDS)
def test_second_derivative(name, data, seed):
    case, _ = example(name, data)
    out, v = case.real_out(), directions(case, seed)
    wrt = [case.nodes[i] for i in case.wrt]
    c = lw.constant(np.random.default_rng([seed, 1]).uniform(-1, 1, out.shape))
    cost = lw.sum(c * out) + 0.5 * lw.sum(out * out)  # the square gives linear ops a second derivative too
    got = run(lw.hessian_vector(cost, wrt, v), case.feeds())
    expected, rtol = change(case, lw.gradient(cost, wrt), v)
    if name == "stop_gradient":
        expected = [np.zeros_like(e) for e in expected]
    for i, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert_close(name, f"the second derivative by input {i}", g, e, rtol)
    if name in {"softmax_cross_entropy", "cross_entropy"}:
        return  # their targets sum to 1; along other directions the cancelled gradient is not one of a function
    u = directions(case, seed + 1)
    other = run(lw.hessian_vector(cost, wrt, u), case.feeds())
    left, right = (sum(float(np.sum(a * b)) for a, b in zip(x, y, strict=True)) for x, y in ((got, u), (other, v)))
    size = max([1e-2, abs(left), *(float(np.sum(np.abs(a))) for a in (*got, *other))])
    assert abs(left - right) <= 1e-12 * size, f"{name}: the second derivative is not symmetric: {left} {right}"


# Engines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(data=st.data(), seed=SEEDS)
def test_native_code_agrees_with_the_definition(name, data, seed):
    case, _ = example(name, data)
    outputs = [case.out]
    if name in WITH_REAL_INPUT:
        wrt, v = [case.nodes[i] for i in case.wrt], directions(case, seed)
        cost = lw.sum(case.real_out() * case.real_out())
        outputs += [*lw.gradient(cost, wrt), lw.jvp(case.real_out(), wrt, v), *lw.hessian_vector(cost, wrt, v)]
    expected = run(outputs, case.feeds())
    for dtype, rtol in (("float64", 1e-11), ("float32", None)):
        found = run(outputs, case.feeds(), dtype, "native")
        for i, (got, wanted) in enumerate(zip(found, expected, strict=True)):
            assert got.dtype == (np.dtype(dtype) if wanted.dtype == np.float64 else wanted.dtype)
            if rtol is not None:
                assert_close(name, f"output {i} in native code", got.astype(float), wanted.astype(float), rtol)
            else:
                assert np.shape(got) == np.shape(wanted)


# Declarations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_declaration(name):
    op = OPS[name]
    assert op.name == name
    assert op.kernel, f"{name} names no kernel"
    assert op.doc.endswith("."), f"{name}: {op.doc!r} is no sentence"
    n = {"concat": 1}.get(name) or len(ROWS_INPUTS[name])
    for notation in (op.latex, op.latex_columns):
        used = {field for _, field, _, _ in string.Formatter().parse(notation) if field is not None}
        assert used == {str(i) for i in range(n)} - NOT_SHOWN.get(name, set()), f"{name}: {notation} shows {used}"
        written = notation.format(*(f"x_{i}" for i in range(n)))
        depth = 0
        for character in written:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0, f"{name}: a brace is closed before it is opened in {written}"
        assert depth == 0, f"{name}: a brace is left open in {written}"
        assert "{}" not in written, f"{name}: an empty pair of braces in {written}"


NOT_SHOWN: dict[str, set[str]] = {}
ROWS_INPUTS: dict[str, range] = {
    **{n: range(len(OPS[n].slopes)) for n in NAMES if OPS[n].slopes is not None},
    **{n: range(2) for n in NAMES if OPS[n].kind == "boolean" or n in LOSS_OPS},
    **dict.fromkeys(("matmul", "matmul_t", "t_matmul", "grouped_product", "grouped_outer"), range(2)),
    **dict.fromkeys(("take", "scatter"), range(2)),
    "affine": range(3),
    **dict.fromkeys(
        ("reshape", "transpose", "broadcast_to", "slice", "embed", "one_hot", "uniform", "to_integer"), range(1)
    ),
    **dict.fromkeys(("sum", "mean", "max", "logsumexp", "softmax", "log_softmax"), range(1)),
}


@pytest.mark.parametrize("name", [n for n in NAMES if OPS[n].slopes is not None or n in LOSS_OPS | {"softmax"}])
@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_named_axis_is_as_good_as_a_number(name, size):
    rng = np.random.default_rng(3)
    kinds = [OPS[name].kinds[min(i, len(OPS[name].kinds) - 1)] for i in ROWS_INPUTS[name]]
    arrays = [truth(rng, (size, 2)) if k == "boolean" else uniform(0.1, 0.9)(rng, (size, 2)) for k in kinds]
    named = [lw.input(f"x{i}", ("N", 2), k) for i, k in enumerate(kinds)]
    numbered = [lw.input(f"x{i}", (size, 2), k) for i, k in enumerate(kinds)]
    out = OPS[name](*named)
    assert out.shape == tuple("N" if i == 0 else d for i, d in enumerate(OPS[name](*numbered).shape)), name
    wrt = [i for i, k in enumerate(kinds) if k == "real"]
    both = [
        run(
            [OPS[name](*nodes), *lw.gradient(lw.sum(OPS[name](*nodes)), [nodes[i] for i in wrt])],
            dict(zip(nodes, arrays, strict=True)),
        )
        for nodes in (named, numbered)
    ]
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
