"""Ops that move values without changing them: reshape, transpose, broadcast, concat, slice, take, one-hot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from layerwise.errors import DataError, ShapeError, shape_text
from layerwise.graph.node import Node, as_node
from layerwise.graph.shapes import Part, broadcast, checked_shape, normal_axes
from layerwise.ops.table import declare
from layerwise.types import Array, Dim, Shape


def _reshape_shape(x: Shape, *, shape: Shape) -> Shape:
    def parts(s: Shape) -> tuple[int, list[str]]:
        return math.prod(d for d in s if isinstance(d, int)), sorted(d for d in s if isinstance(d, str))

    if parts(x) != parts(shape):
        raise ShapeError(f"reshape: {shape_text(x)} and {shape_text(shape)} do not hold the same number of values.")
    return shape


_reshape = declare(
    "reshape",
    shape=_reshape_shape,
    forward=lambda x, *, shape: np.reshape(x, shape),
    vjp=lambda g, out, x, *, shape: (reshape(g, x.shape),),
    latex=r"\operatorname{{reshape}}({0})",
    kernel="reshape",
    defaults={"shape": ()},
    sized=("shape",),
    doc="The same values in the same order under another shape.",
)


def reshape(x: Any, shape: Sequence[Dim]) -> Any:
    """The values of ``x`` in the same (row-major) order under another shape.

    Parameters
    ----------
    x : Node or array_like
    shape : tuple of int or str
        The same named axes as in ``x``, and sizes with the same product. One size may be -1.

    Returns
    -------
    Node or array
    """
    x = x if isinstance(x, Node) else np.asarray(x)
    wanted = list(shape)
    if wanted.count(-1) == 1:
        named = [d for d in wanted if isinstance(d, str)]
        have = math.prod(d for d in x.shape if isinstance(d, int))
        rest = math.prod(d for d in wanted if isinstance(d, int) and d != -1)
        if sorted(named) == sorted(d for d in x.shape if isinstance(d, str)) and rest and have % rest == 0:
            wanted[wanted.index(-1)] = have // rest
    new = checked_shape(tuple(wanted), "reshape")
    return x if x.shape == new else _reshape(x, shape=new)


def _transpose_shape(x: Shape, *, axes: tuple[int, ...]) -> Shape:
    if sorted(axes) != list(range(len(x))):
        raise ShapeError(f"transpose: {axes} is not an order of the {len(x)} axes of {shape_text(x)}.")
    return tuple(x[a] for a in axes)


_transpose = declare(
    "transpose",
    shape=_transpose_shape,
    forward=lambda x, *, axes: np.transpose(x, axes),
    vjp=lambda g, out, x, *, axes: (_transpose(g, axes=tuple(int(a) for a in np.argsort(axes))),),
    latex=r"{0}^\top",
    kernel="transpose",
    defaults={"axes": ()},
    doc="The axes in another order.",
)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """``x`` with its axes in another order; None reverses them, as in ``x.T``."""
    x = x if isinstance(x, Node) else np.asarray(x)
    rank = x.ndim
    order = reversed(range(rank)) if axes is None else (a % rank if -rank <= a < rank else a for a in axes)
    return _transpose(x, axes=tuple(order))


def _broadcast_shape(x: Shape, *, shape: Shape) -> Shape:
    if broadcast([x, shape], "broadcast_to") != shape:
        raise ShapeError(f"broadcast_to: {shape_text(x)} does not broadcast to {shape_text(shape)}.")
    return shape


_broadcast_to = declare(
    "broadcast_to",
    shape=_broadcast_shape,
    forward=lambda x, *, shape: np.broadcast_to(x, shape),
    vjp=lambda g, out, x, *, shape: (g,),  # the reverse sweep sums what was repeated
    latex="{0}",
    kernel="broadcast_to",
    defaults={"shape": ()},
    sized=("shape",),
    doc="x repeated along axes of size 1 and new leading axes.",
)


def broadcast_to(x: Any, shape: Sequence[Dim]) -> Any:
    """``x`` repeated, by NumPy's rule, to ``shape``."""
    if isinstance(x, Node) and x.shape == tuple(shape):
        return x
    return _broadcast_to(x, shape=checked_shape(tuple(shape), "broadcast_to"))


def _concat_shape(*shapes: Shape, axis: int) -> Shape:
    first = shapes[0]
    for s in shapes:
        if len(s) != len(first) or any(a != b for i, (a, b) in enumerate(zip(s, first, strict=True)) if i != axis):
            raise ShapeError(
                f"concat along axis {axis}: the other sizes must be equal; got {', '.join(map(shape_text, shapes))}."
            )
    sizes = [s[axis] for s in shapes]
    if any(isinstance(d, str) for d in sizes):
        raise ShapeError(f"concat: axis {axis} is named ({sizes[0]!r}); the sum of unknown sizes has no name.")
    return (*first[:axis], sum(d for d in sizes if isinstance(d, int)), *first[axis + 1 :])


def _concat_vjp(g: Node, out: Node, *inputs: Node, axis: int) -> tuple[Node, ...]:
    parts: list[Node] = []
    start = 0
    for x in inputs:
        stop = start + int(x.shape[axis])
        parts.append(g[(*(slice(None),) * axis, slice(start, stop))])
        start = stop
    return tuple(parts)


_concat = declare(
    "concat",
    shape=_concat_shape,
    forward=lambda *xs, axis: np.concatenate(xs, axis=axis),
    vjp=_concat_vjp,
    latex=r"\operatorname{{concat}}({0}, \dots)",
    kernel="concat",
    defaults={"axis": -1},
    doc="Values joined along one axis.",
)


def concat(values: Sequence[Any], axis: int = -1) -> Any:
    """Join values along ``axis``, which must not be a named one.

    Parameters
    ----------
    values : sequence of Node or array_like
        At least one; equal sizes along all other axes.
    axis : int

    Returns
    -------
    Node or array

    Raises
    ------
    ShapeError
        Other sizes differ, or the axis is named.
    """
    values = list(values)
    if not values:
        raise ShapeError("concat needs at least one value; got an empty sequence.")
    if any(isinstance(v, Node) for v in values):
        values = [as_node(v) for v in values]
    rank = values[0].ndim if isinstance(values[0], Node) else np.ndim(values[0])
    (axis,) = normal_axes(axis, rank, "concat")
    return _concat(*values, axis=axis)


def _cut(parts: tuple[Part, ...]) -> tuple[slice, ...]:
    return tuple(slice(*p) for p in parts)


def _slice_shape(x: Shape, *, parts: tuple[Part, ...]) -> Shape:
    return tuple(d if p[1] is None else len(range(p[0], p[1], p[2])) for d, p in zip(x, parts, strict=True))


_slice = declare(
    "slice",
    shape=_slice_shape,
    forward=lambda x, *, parts: x[_cut(parts)],
    vjp=lambda g, out, x, *, parts: (_embed(g, parts=parts, shape=x.shape),),
    latex=r"{0}[\cdot]",
    kernel="slice",
    defaults={"parts": ()},
    doc="A regular part of each axis; written x[:, 1:3].",
)


def _embed_forward(x: Array, *, parts: tuple[Part, ...], shape: tuple[int, ...]) -> Array:
    result = np.zeros(shape, x.dtype)
    result[_cut(parts)] = x
    return result


_embed = declare(
    "embed",
    shape=lambda x, *, parts, shape: shape,
    forward=_embed_forward,
    vjp=lambda g, out, x, *, parts, shape: (_slice(g, parts=parts),),
    latex=r"\operatorname{{embed}}({0})",
    kernel="embed",
    defaults={"parts": (), "shape": ()},
    sized=("shape",),
    doc="x put into zeros at the place from which slice would take it.",
)


def _to_integer_forward(x: Array) -> Array:
    x = np.real(x)  # also of complex numbers: the complex step of a constant is 0
    return np.where(np.abs(x) < 2.0**63, x, -(2.0**63)).astype(np.int64)


to_integer = declare(
    "to_integer",
    shape=lambda x: x,
    forward=_to_integer_forward,
    vjp=lambda g, out, x: (None,),
    latex=r"\operatorname{{integer}}({0})",
    kernel="to_integer",
    kind="integer",
    doc="x without its fraction, as an integer; -2^63 for NaN and for what no integer of 64 bits holds.",
)


def _checked_rows(rows: Array, n: int, what: str) -> Array:
    bad = (rows < 0) | (rows >= n)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise DataError(f"{what} must be in 0 .. {n - 1}; got {rows.reshape(-1)[at]} at position {at}.")
    return rows


def _take_shape(table: Shape, rows: Shape) -> Shape:
    if len(table) < 1 or len(rows) != 1:
        raise ShapeError(
            f"take needs a table of rows and a vector of row numbers; got shapes {shape_text(table)} and "
            f"{shape_text(rows)}."
        )
    return (*rows, *table[1:])


take = declare(
    "take",
    shape=_take_shape,
    forward=lambda table, rows: table[_checked_rows(rows, len(table), "take: row numbers")],
    vjp=lambda g, out, table, rows: (_scatter(g, rows, n_rows=table.shape[0]), None),
    latex=r"{0}[{1}]",
    kernel="take",
    kinds=("real", "integer"),
    doc="The rows of a table at the given row numbers: an embedding lookup.",
)


def _scatter_forward(g: Array, rows: Array, *, n_rows: tuple[int]) -> Array:
    (n,) = n_rows
    result = np.zeros((n, *g.shape[1:]), g.dtype)
    np.add.at(result, rows, g)
    return result


_scatter_op = declare(
    "scatter",
    shape=lambda g, rows, *, n_rows: (*n_rows, *g[1:]),
    forward=_scatter_forward,
    vjp=lambda g, out, x, rows, *, n_rows: (take(g, rows), None),
    latex=r"\operatorname{{scatter}}({0}, {1})",
    kernel="scatter",
    kinds=("real", "integer"),
    defaults={"n_rows": ()},
    sized=("n_rows",),
    doc="Rows added into zeros at the given row numbers, in order; the transpose of take.",
)


def _scatter(g: Node, rows: Node, *, n_rows: Dim) -> Node:
    return _scatter_op(g, rows, n_rows=(n_rows,))


def _one_hot_forward(labels: Array, *, n_classes: int) -> Array:
    result = np.zeros((*labels.shape, n_classes))
    np.put_along_axis(result, _checked_rows(labels, n_classes, "one_hot: labels")[..., None], 1.0, axis=-1)
    return result


_one_hot = declare(
    "one_hot",
    shape=lambda labels, *, n_classes: (*labels, n_classes),
    forward=_one_hot_forward,
    vjp=None,
    latex=r"\mathbf{{1}}_{{{0}}}",
    kernel="one_hot",
    kinds=("integer",),
    defaults={"n_classes": 1},
    doc="1 at the label's place, 0 elsewhere.",
)


def one_hot(labels: Any, n_classes: int) -> Any:
    """Labels 0 .. n_classes-1 as rows that hold one 1.

    Parameters
    ----------
    labels : Node of kind "integer", or array_like of int, shape (N,)
    n_classes : int

    Returns
    -------
    Node or array of shape (N, n_classes)

    Raises
    ------
    DataError
        A label out of range; says which and where (when values are known).
    ShapeError
        ``n_classes`` is not an integer >= 0.
    """
    (n,) = checked_shape((n_classes,), "one_hot")
    return _one_hot(labels, n_classes=n)
