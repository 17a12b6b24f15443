"""Products: matrix products and their transposed forms, the affine map, one product a group of columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from layerwise.errors import ShapeError, shape_text
from layerwise.graph import node as graph
from layerwise.graph.node import Node
from layerwise.graph.shapes import broadcast
from layerwise.ops.layout import transpose
from layerwise.ops.reductions import sum
from layerwise.ops.table import declare
from layerwise.types import Array, Dim, Shape


def _swapped(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


def _product_shape(name: str, first: bool, second: bool) -> Callable[[Shape, Shape], Shape]:
    """The shape rule of a product whose first or second factor is transposed."""

    def shape(a: Shape, b: Shape) -> Shape:
        if len(a) < 2 or len(b) < 2:
            raise ShapeError(f"{name} needs matrices; got shapes {shape_text(a)} and {shape_text(b)}.")
        (rows, inner), (inner_b, columns) = _last_two(a, first), _last_two(b, second)
        if inner != inner_b:
            raise ShapeError(
                f"{name}: the inner sizes must agree; got shapes {shape_text(a)} and {shape_text(b)}, "
                f"inner sizes {inner} and {inner_b}."
            )
        return (*broadcast([a[:-2], b[:-2]], name), rows, columns)

    return shape


def _last_two(shape: Shape, swap: bool) -> tuple[Dim, Dim]:
    return (shape[-1], shape[-2]) if swap else (shape[-2], shape[-1])


_matmul = declare(
    "matmul",
    shape=_product_shape("matmul", False, False),
    forward=np.matmul,
    vjp=lambda g, out, a, b: (matmul_t(g, b), t_matmul(a, g)),
    latex="{0} {1}",
    latex_columns="{1} {0}",
    kernel="matmul",
    doc="The matrix product A B; leading axes broadcast.",
)
matmul_t = declare(
    "matmul_t",
    shape=_product_shape("matmul_t", False, True),
    forward=lambda a, b: np.matmul(a, _swapped(b)),
    vjp=lambda g, out, a, b: (_matmul(g, b), t_matmul(g, a)),
    latex=r"{0} {1}^\top",
    latex_columns=r"{1}^\top {0}",
    kernel="matmul_t",
    doc="The product A Bᵀ.",
)
t_matmul = declare(
    "t_matmul",
    shape=_product_shape("t_matmul", True, False),
    forward=lambda a, b: np.matmul(_swapped(a), b),
    vjp=lambda g, out, a, b: (matmul_t(b, g), _matmul(a, g)),
    latex=r"{0}^\top {1}",
    latex_columns=r"{1} {0}^\top",
    kernel="t_matmul",
    doc="The product Aᵀ B.",
)


def matmul(a: Any, b: Any) -> Any:
    """The matrix product, as ``a @ b``.

    Parameters
    ----------
    a : Node or array_like of shape (..., n, k) or (k,)
    b : Node or array_like of shape (..., k, m) or (k,)
        A vector counts as a row on the left and as a column on the right, and its axis is dropped.

    Returns
    -------
    Node or array of shape (..., n, m)

    Raises
    ------
    ShapeError
        The inner sizes differ; the message carries both shapes.
    """
    return graph.product(*(x if isinstance(x, Node) else np.asarray(x) for x in (a, b)))


def _affine_shape(A: Shape, W: Shape, b: Shape) -> Shape:
    if len(A) != 2 or len(W) != 2 or A[1] != W[0] or b != W[1:]:
        raise ShapeError(
            f"affine computes A W + b with shapes (N, i), (i, o), (o,); got A {shape_text(A)}, "
            f"W {shape_text(W)}, b {shape_text(b)}."
        )
    return (A[0], W[1])


affine = declare(
    "affine",
    shape=_affine_shape,
    forward=lambda A, W, b: A @ W + b,
    vjp=lambda g, Z, A, W, b: (matmul_t(g, W), t_matmul(A, g), sum(g, axis=0)),
    latex="{0} {1} + {2}",
    latex_columns="{1} {0} + {2}",
    kernel="affine",
    doc="A W + b, with b added to every row.",
)


def _grouped_shape(X: Shape, W: Shape) -> Shape:
    if len(X) != 2 or len(W) != 3 or not isinstance(W[0], int) or not isinstance(W[1], int) or X[1] != W[0] * W[1]:
        raise ShapeError(
            "grouped_product computes one product for each group of columns, with shapes (N, G·i) and (G, i, o); got "
            f"X {shape_text(X)}, W {shape_text(W)}."
        )
    if not isinstance(W[2], int):
        raise ShapeError(f"grouped_product: the last axis of W must have a known size; got {shape_text(W)}.")
    return (X[0], W[0] * W[2])


def _by_group(X: Array, groups: int) -> Array:
    """(N, G·i) as (G, N, i)."""
    return np.moveaxis(X.reshape(X.shape[0], groups, X.shape[1] // groups if groups else 0), 1, 0)


def _grouped(X: Array, W: Array) -> Array:
    Z = np.matmul(_by_group(X, W.shape[0]), W)
    return np.moveaxis(Z, 0, 1).reshape(X.shape[0], W.shape[0] * W.shape[2])


def _grouped_outer_shape(X: Shape, D: Shape, *, groups: int) -> Shape:
    if len(X) != 2 or len(D) != 2 or X[0] != D[0]:
        raise ShapeError(f"grouped_outer needs (N, G·i) and (N, G·o); got {shape_text(X)}, {shape_text(D)}.")
    widths = [d // groups if groups and isinstance(d, int) else 0 for d in (X[1], D[1])]
    return (groups, *widths)


grouped_product = declare(
    "grouped_product",
    shape=_grouped_shape,
    forward=_grouped,
    vjp=lambda g, out, X, W: (
        grouped_product(g, transpose(W, (0, 2, 1))),
        _grouped_outer(X, g, groups=W.shape[0]),
    ),
    latex=r"\left[{0}_g {1}_g\right]_g",
    latex_columns=r"\left[{1}_g {0}_g\right]_g",
    kernel="grouped_product",
    doc="One weight matrix for each group of columns: (N, G·i) and (G, i, o) give (N, G·o).",
)
_grouped_outer = declare(
    "grouped_outer",
    shape=_grouped_outer_shape,
    forward=lambda X, D, *, groups: np.matmul(_swapped(_by_group(X, groups)), _by_group(D, groups)),
    vjp=lambda g, out, X, D, *, groups: (
        grouped_product(D, transpose(g, (0, 2, 1))),
        grouped_product(X, g),
    ),
    latex=r"\left[{0}_g^\top {1}_g\right]_g",
    latex_columns=r"\left[{1}_g {0}_g^\top\right]_g",
    kernel="grouped_outer",
    defaults={"groups": 1},
    doc="XᵀD for each group of columns: (N, G·i) and (N, G·o) give (G, i, o).",
)
