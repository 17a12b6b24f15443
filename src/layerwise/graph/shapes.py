"""Shapes with named axes: how they broadcast, and how names become numbers when values are fed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from layerwise.errors import GraphError, ShapeError, shape_text
from layerwise.types import Dim, Shape


def checked_shape(shape: object, owner: str) -> Shape:
    """``shape`` as a tuple of sizes; a size is an integer >= 0 or the name of an axis."""
    if not isinstance(shape, (tuple, list)):
        raise ShapeError(f"The shape of {owner} must be a tuple such as ('N', 3); got {shape!r}.")
    for size in shape:  # pyright: ignore[reportUnknownVariableType]
        named = isinstance(size, str) and size.isidentifier()
        counted = isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size >= 0
        if not (named or counted):
            raise ShapeError(
                f"The shape of {owner} must hold integers >= 0 or axis names such as 'N'; got {size!r} in {shape!r}."
            )
    return tuple(d if isinstance(d, str) else int(d) for d in shape)  # pyright: ignore


def broadcast(shapes: Iterable[Shape], what: str) -> Shape:
    """The shape to which all ``shapes`` broadcast by NumPy's rule; a named axis equals only itself and 1."""
    shapes = tuple(shapes)
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim] = []
    for axis in range(-rank, 0):
        sizes = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(sizes) > 1:
            raise ShapeError(
                f"{what}: shapes {' and '.join(map(shape_text, shapes))} do not broadcast; "
                f"axis {axis} has sizes {' and '.join(sorted(map(str, sizes)))}. Sizes must be equal or 1."
            )
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def normal_axes(axis: int | tuple[int, ...] | None, rank: int, what: str) -> tuple[int, ...]:
    """``axis`` as sorted numbers in 0 .. rank-1; None means all axes."""
    if axis is None:
        return tuple(range(rank))
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    if not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):  # pyright: ignore
        raise ShapeError(f"{what}: an axis is given by its number, 0 .. {rank - 1}; got {axis!r}.")
    axes = tuple(map(int, axes))
    for a in axes:
        if not -rank <= a < rank:
            raise ShapeError(f"{what}: axis {a} is outside a value of {rank} axes. Use {-rank} to {rank - 1}.")
    normal = sorted({a % rank for a in axes})
    if len(normal) != len(axes):
        raise ShapeError(f"{what}: an axis is given twice in {axes}.")
    return tuple(normal)


def reduced(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """``shape`` after a reduction over ``axes``."""
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def bind(shape: Shape, actual: tuple[int, ...], sizes: dict[str, int], owner: str) -> None:
    """Check ``actual`` against ``shape`` and note what each named axis stands for in ``sizes``.

    Raises
    ------
    ShapeError
        The number of axes or a size differs, or an axis name was bound to another size before.
    """
    wanted = shape_text(shape)
    if len(shape) != len(actual):
        raise ShapeError(
            f"{owner} must have shape {wanted}; got {shape_text(actual)}, which has {len(actual)} axes, "
            f"not {len(shape)}."
        )
    for size, came in zip(shape, actual, strict=True):
        if isinstance(size, str):
            known = sizes.setdefault(size, came)
            if known != came:
                raise ShapeError(
                    f"{owner} must have shape {wanted} with {size} = {known}, as fed for another input; "
                    f"got {shape_text(actual)}."
                )
        elif size != came:
            raise ShapeError(f"{owner} must have shape {wanted}; got {shape_text(actual)}.")


def resolve(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """``shape`` with each axis name replaced by its size.

    Raises
    ------
    GraphError
        An axis name that no fed input carries.
    """
    try:
        return tuple(sizes[d] if isinstance(d, str) else d for d in shape)
    except KeyError as missing:
        raise GraphError(
            f"The size of axis {missing.args[0]!r} is unknown: no fed input carries it. "
            f"Feed an input whose shape names it, or pass sizes={{{missing.args[0]!r}: ...}}."
        ) from None


Part = tuple[int, int | None, int]
"""Start, stop and step of a slice of one axis; stop None means the end of a named axis."""


def whole(shape: Shape) -> tuple[Part, ...]:
    """The slices that take everything."""
    return tuple((0, None if isinstance(d, str) else d, 1) for d in shape)


def slices(shape: Shape, item: object) -> tuple[tuple[Part, ...], Shape]:
    """NumPy's basic indexing as one slice an axis, and the shape once axes taken by a number are gone.

    Raises
    ------
    ShapeError
        Too many indices, an index out of range, anything but integers, slices, ``...``, or a part
        of a named axis: its size is unknown.
    """
    items: list[object] = list(item) if isinstance(item, tuple) else [item]  # pyright: ignore
    dots = [at for at, i in enumerate(items) if i is Ellipsis]  # `in` would compare an array element by element
    if len(dots) > 1 or len(items) - len(dots) > len(shape):
        raise ShapeError(f"Cannot index a value of shape {shape_text(shape)} with {len(items)} indices.")
    for at in dots:
        items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    items += [slice(None)] * (len(shape) - len(items))
    parts: list[Part] = []
    kept: list[Dim] = []
    for axis, (d, i) in enumerate(zip(shape, items, strict=True)):
        if isinstance(i, slice) and i == slice(None):
            parts.append((0, None if isinstance(d, str) else d, 1))
            kept.append(d)
        elif isinstance(d, str):
            raise ShapeError(f"Axis {axis} ({d!r}) has no known size, so only ':' selects on it. Use layerwise.take.")
        elif isinstance(i, slice):
            step = 1 if i.step is None else int(i.step)  # pyright: ignore
            if step < 1:
                raise ShapeError(f"A slice must step forward; got step {step} on axis {axis}.")
            start, stop, _ = i.indices(d)  # pyright: ignore
            stop = max(start, stop)
            parts.append((start, stop, step))
            kept.append(len(range(start, stop, step)))
        elif isinstance(i, (int, np.integer)) and not isinstance(i, bool):
            at = int(i)  # pyright: ignore[reportUnknownArgumentType]
            if not -d <= at < d:
                raise ShapeError(f"Index {at} is outside axis {axis}, which has size {d}.")
            at %= d
            parts.append((at, at + 1, 1))
        else:
            raise ShapeError(f"Index a node by integers, slices and '...'; got {i!r}. For rows by number use take.")
    return tuple(parts), tuple(kept)
