"""Sums, means, maxima and log-sum-exp over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from layerwise.errors import ShapeError, shape_text
from layerwise.graph.node import Node, Op, size
from layerwise.graph.shapes import normal_axes, reduced
from layerwise.ops.arithmetic import equal, exp, where
from layerwise.ops.layout import broadcast_to, reshape
from layerwise.ops.table import declare
from layerwise.types import Array, Shape

Axis = int | tuple[int, ...] | None
_DEFAULTS: dict[str, Any] = {"axes": (), "keepdims": False}


def _shape(x: Shape, *, axes: tuple[int, ...], keepdims: bool) -> Shape:
    return reduced(x, axes, keepdims)


def _nonempty(name: str) -> Callable[..., Shape]:
    def shape(x: Shape, *, axes: tuple[int, ...], keepdims: bool) -> Shape:
        if any(x[a] == 0 for a in axes):
            raise ShapeError(f"{name} over an axis of size 0 has no value; got shape {shape_text(x)}, axes {axes}.")
        return reduced(x, axes, keepdims)

    return shape


def _spread(g: Node, x: Node, axes: tuple[int, ...]) -> Node:
    """``g``, the shape of a reduction of ``x``, repeated along the reduced axes."""
    return broadcast_to(_kept(g, x, axes), x.shape)


def _kept(g: Node, x: Node, axes: tuple[int, ...]) -> Node:
    """``g`` with the reduced axes put back with size 1."""
    return reshape(g, reduced(x.shape, axes, keepdims=True))


def _max_vjp(g: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool) -> tuple[Node]:
    top = where(equal(x, _kept(out, x, axes)), 1.0, 0.0)
    return (top * _spread(g / _sum(top, axes=axes, keepdims=keepdims), x, axes),)


def _logsumexp_vjp(g: Node, out: Node, x: Node, *, axes: tuple[int, ...], keepdims: bool) -> tuple[Node]:
    return (exp(x - _kept(out, x, axes)) * _kept(g, x, axes),)


def top_removed(z: Array) -> tuple[Array, Array]:
    """The maximum along the last axis, and Σ e^(z - max) over all entries but that one; both keep the axis.

    log Σ e^z = max + log1p(others): the largest term is not added to the small ones, so a sum of
    1 + 1e-11 does not lose what follows the 1.
    """
    at = np.argmax(z, axis=-1, keepdims=True)
    top = np.take_along_axis(z, at, axis=-1)
    e = np.exp(z - top)
    np.put_along_axis(e, at, 0, axis=-1)
    return top, np.sum(e, axis=-1, keepdims=True)


def _max_forward(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    _nonempty("max")(x.shape, axes=axes, keepdims=keepdims)  # a named axis may turn out to be empty
    return np.max(x, axis=axes, keepdims=keepdims)


def _logsumexp(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
    _nonempty("logsumexp")(x.shape, axes=axes, keepdims=keepdims)
    others = [a for a in range(x.ndim) if a not in axes]
    flat = np.transpose(x, (*others, *axes)).reshape([x.shape[a] for a in others] + [-1 if x.size else 1])
    top, rest = top_removed(flat)
    # e^(∞ - ∞) is NaN; the sum is then ±∞, as the maximum says
    result = np.where(np.isinf(top), top, top + np.log1p(rest))[..., 0]
    return np.reshape(result, reduced(x.shape, axes, keepdims))  # type: ignore[arg-type]


_sum = declare(
    "sum",
    shape=_shape,
    forward=lambda x, *, axes, keepdims: np.sum(x, axis=axes, keepdims=keepdims),
    vjp=lambda g, out, x, *, axes, keepdims: (_spread(g, x, axes),),
    latex=r"\sum {0}",
    kernel="sum",
    defaults=_DEFAULTS,
    doc="The sum over axes.",
)
_mean = declare(
    "mean",
    shape=_shape,
    # np.mean warns over an empty axis
    forward=lambda x, *, axes, keepdims: np.sum(x, axis=axes, keepdims=keepdims) / math.prod(x.shape[a] for a in axes),
    vjp=lambda g, out, x, *, axes, keepdims: (_spread(g / size(tuple(x.shape[a] for a in axes)), x, axes),),
    latex=r"\operatorname{{mean}} {0}",
    kernel="mean",
    defaults=_DEFAULTS,
    doc="The mean over axes; NaN over an empty axis.",
)
_max = declare(
    "max",
    shape=_nonempty("max"),
    forward=_max_forward,
    vjp=_max_vjp,
    latex=r"\max {0}",
    kernel="max",
    defaults=_DEFAULTS,
    doc="The maximum over axes; equal maxima share the gradient.",
)
_logsumexp_op = declare(
    "logsumexp",
    shape=_nonempty("logsumexp"),
    forward=_logsumexp,
    vjp=_logsumexp_vjp,
    latex=r"\log \sum e^{{{0}}}",
    kernel="logsumexp",
    defaults=_DEFAULTS,
    doc="log Σ e^x over axes, shifted by the maximum.",
)


def _reduce(op: Op, x: Any, axis: Axis, keepdims: bool) -> Any:
    x = x if isinstance(x, Node) else np.asarray(x)
    return op(x, axes=normal_axes(axis, x.ndim, op.name), keepdims=bool(keepdims))


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum of ``x`` over ``axis``.

    Parameters
    ----------
    x : Node or array_like
    axis : int, tuple of int or None
        None: all axes.
    keepdims : bool
        Keep the reduced axes with size 1.

    Returns
    -------
    Node or array
    """
    return _reduce(_sum, x, axis, keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean of ``x`` over ``axis``; parameters as in `sum`. NaN over an empty axis."""
    return _reduce(_mean, x, axis, keepdims)


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The maximum of ``x`` over ``axis``; parameters as in `sum`. NaN wins; equal maxima share the gradient."""
    return _reduce(_max, x, axis, keepdims)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log Σ e^x over ``axis`` without overflow; parameters as in `sum`."""
    return _reduce(_logsumexp_op, x, axis, keepdims)
