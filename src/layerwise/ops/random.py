"""Random numbers in a graph: those of an address, the same ones whenever they are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from layerwise.errors import GraphError, ShapeError, shape_text
from layerwise.graph.shapes import checked_shape
from layerwise.ops.table import declare
from layerwise.randomness import uniform_matrix
from layerwise.types import Array, Dim, Shape


def _uniform_shape(address: Shape, *, dims: Shape, stream: int, bits: int) -> Shape:
    if address != (2,):
        raise ShapeError(f"uniform: the address must have shape (2,), a seed and a step; got {shape_text(address)}.")
    return dims


def _uniform_forward(address: Array, *, dims: tuple[int, ...], stream: int, bits: int) -> Array:
    seed, step = (int(word) for word in address.astype(np.uint64))
    return uniform_matrix(seed, step, stream, dims[0], math.prod(dims[1:]), bits).reshape(dims)


_uniform = declare(
    "uniform",
    shape=_uniform_shape,
    forward=_uniform_forward,
    vjp=None,  # an address is an integer, so nothing is differentiated by it
    latex=r"\operatorname{{uniform}}({0})",
    kernel="uniform",
    kinds=("integer",),
    defaults={"dims": (0,), "stream": 0, "bits": 16},
    sized=("dims",),
    doc="Random numbers in [0, 1) that depend on seed, step, stream and place only.",
)


def uniform(address: Any, *, dims: Sequence[Dim], stream: int, bits: int = 16) -> Any:
    """Uniform random numbers in [0, 1): `randomness.uniform_matrix`, the first axis being its rows.

    Parameters
    ----------
    address : Node of kind "integer", or array_like of int, shape (2,)
        The seed and the step: 64 bits each, whatever their sign says.
    dims : tuple of int or str
        The shape; at least one axis.
    stream : int in [0, 2**16)
        Two values of a graph that shall have numbers of their own have streams of their own.
    bits : {16, 24}
        The numbers are multiples of 2^-bits.

    Returns
    -------
    Node or array of shape dims
        Of derivative 0.

    Raises
    ------
    GraphError
        Another stream or other bits.
    ShapeError
        The address has another shape; ``dims`` has no axis.
    """
    shape = checked_shape(tuple(dims), "uniform")
    if not shape:
        raise ShapeError("uniform needs a shape of at least one axis; got ().")
    if not isinstance(stream, int) or isinstance(stream, bool) or not 0 <= stream < 2**16:  # pyright: ignore
        raise GraphError(f"uniform: stream must be an integer from 0 to 2**16 - 1; got {stream!r}.")
    if bits not in (16, 24):
        raise GraphError(f"uniform: bits must be 16 or 24; got {bits!r}.")
    return _uniform(address, dims=shape, stream=stream, bits=bits)
