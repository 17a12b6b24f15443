"""Prediction by a general native program: rows in blocks of few sizes, so that not every number of rows makes one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from layerwise.engine.programs import NativeRunner
from layerwise.graph.node import Node
from layerwise.types import Array

MOST_ROWS = 8192
"""Rows computed at a time. Fewer are filled up to a power of 2, so there are 14 programs at most."""


class NativeRows:
    """A graph from rows to rows with its weights, ready to run: what `NativeForward` is for chains of dense layers.

    The bits of a row's outputs depend on that row and the weights alone.

    Parameters
    ----------
    output : Node, (N, n_L)
    inputs : Node, (N, n_0)
    feeds : mapping of Node to array
        The weights, all of one precision.
    dtype : {"float32", "float64"}
    isa : str, optional
        "baseline", "avx2" or "avx512"; by default the widest that this processor has.
    """

    def __init__(self, output: Node, inputs: Node, feeds: Mapping[Node, Array], dtype: str, isa: str | None = None):
        self._inputs, self._feeds, self._dtype = inputs, dict(feeds), dtype
        self._runner = NativeRunner([output], dtype, isa)
        (self._width,) = (d for d in output.shape[1:] if isinstance(d, int))

    def outputs(self, X: Any, threads: int = 0) -> None:
        """None: arrays are for the caller to check, whatever they are."""

    classes = outputs

    def __call__(self, X: Array, threads: int = 0) -> Array:
        """The outputs (N, n_L) for inputs (N, n_0) in C order and the precision of the weights."""
        out = np.empty((len(X), self._width), self._dtype)
        for first, rows, size in _blocks(len(X)):
            block = X[first : first + rows]
            if rows < size:
                # A row that is there: what fills up is computed too, and zeros might be no inputs.
                block = np.concatenate([block, np.broadcast_to(block[-1], (size - rows, block.shape[1]))])
            (A,) = self._runner.run({**self._feeds, self._inputs: block})
            out[first : first + rows] = A[:rows]
        return out


def _blocks(n: int) -> Iterator[tuple[int, int, int]]:
    """First row, rows, and the power of 2 to which they are filled up."""
    for first in range(0, n, MOST_ROWS):
        rows = min(MOST_ROWS, n - first)
        yield first, rows, 1 << (rows - 1).bit_length()
