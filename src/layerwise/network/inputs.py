"""Layers that prepare inputs: a trained factor for each of them, and trained vectors for codes of categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from layerwise.errors import DataError, NetworkError
from layerwise.graph.node import Node
from layerwise.network.layers import Built, Layer, checked_width
from layerwise.network.regularise import Place
from layerwise.ops.arithmetic import multiply
from layerwise.ops.layout import concat, take, to_integer
from layerwise.randomness import Stream, normal
from layerwise.types import Array, FloatArray


@dataclass(frozen=True)
class Scale(Layer):
    """One trained factor for each input: A_j s_j, where all s start at 1.

    It can stand anywhere before the last layer. In front of the first one it lets a network learn which columns matter;
    a higher learning rate for s makes that a soft choice of columns. A trained network folds it into the weights behind
    it when it predicts.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart (2024), Better by default, section 3.
    """

    def width_behind(self, n_in: int, number: int) -> int:
        return n_in

    def parameters(self, n_in: int) -> dict[str, tuple[int, ...]]:
        return {"s": (n_in,)}

    def start(self, n_in: int, seed: int, number: int) -> dict[str, FloatArray]:
        return {"s": np.ones(n_in)}

    def graph(self, A: Node, own: Mapping[str, Node], place: Place) -> Built:
        scaled = multiply(A, own["s"])
        return Built(scaled, scaled)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "scale"}


@dataclass(frozen=True, init=False)
class Embedding(Layer):
    """Columns of category codes become trained vectors; the other columns pass.

    It is the first layer. Its outputs are the other columns of X in their order, then the vectors, column by column.
    For column j there is a table E with a row for each code, and code c is replaced by E[c]. Tables start N(0, 1) and
    are named by layer and column: ``E1_0`` is that of column 0 in layer 1.

    Parameters
    ----------
    columns : dict of int to int, or sequence of pairs
        Column of X, from 0 → number of codes n; a code is a whole number 0 … n - 1.
    width : int
        Numbers in a vector.

    Raises
    ------
    NetworkError
        No column, one that X does not have, numbers below 1.

    Examples
    --------
    >>> import layerwise as lw
    >>> net = lw.Network([lw.Input(3), lw.Embedding({0: 5, 2: 12}, width=4), lw.Dense(2, "softmax")])
    >>> net.widths
    (3, 9, 2)
    >>> net.parameter_shapes
    {'E1_0': (5, 4), 'E1_2': (12, 4), 'W2': (9, 2), 'b2': (2,)}
    """

    columns: tuple[tuple[int, int], ...]
    width: int

    def __init__(self, columns: Mapping[int, int] | Sequence[tuple[int, int]], width: int = 8):
        try:
            pairs = tuple((column, n) for column, n in (columns.items() if isinstance(columns, Mapping) else columns))
        except (TypeError, ValueError):
            pairs = ()
        if not pairs:
            raise NetworkError(
                f"Embedding takes columns of X with their numbers of codes, such as {{0: 5, 3: 12}}; got {columns!r}."
            )
        for column, n in pairs:
            if not _is_whole(column) or column < 0:
                raise NetworkError(f"A column of Embedding must be its number in X, from 0; got {column!r}.")
            if not _is_whole(n) or n < 1:
                raise NetworkError(f"Column {column} of Embedding must have a positive number of codes; got {n!r}.")
        if len(dict(pairs)) < len(pairs):
            raise NetworkError(f"Embedding takes each column once; got {[column for column, _ in pairs]}.")
        object.__setattr__(self, "columns", tuple(sorted((int(column), int(n)) for column, n in pairs)))
        object.__setattr__(self, "width", checked_width(width, "Embedding"))

    def width_behind(self, n_in: int, number: int) -> int:
        if number != 1:
            raise NetworkError(f"Embedding takes codes from columns of X, so it must be the first layer; got {number}.")
        last, _ = self.columns[-1]
        if last >= n_in:
            raise NetworkError(f"Embedding takes column {last} of X, which has {n_in} columns, 0 … {n_in - 1}.")
        return n_in + len(self.columns) * (self.width - 1)

    def parameters(self, n_in: int) -> dict[str, tuple[int, ...]]:
        return {f"E_{column}": (n, self.width) for column, n in self.columns}

    def start(self, n_in: int, seed: int, number: int) -> dict[str, FloatArray]:
        # One matrix for all tables, so that no two of them share numbers.
        ends = np.cumsum([n for _, n in self.columns])
        rows = normal(seed, Stream.INITIAL_WEIGHTS, number, (int(ends[-1]), self.width))
        return dict(zip(self.parameters(n_in), np.split(rows, ends[:-1]), strict=True))

    def graph(self, A: Node, own: Mapping[str, Node], place: Place) -> Built:
        parts = [A[:, first:stop] for first, stop in self._others(int(A.shape[1]))]
        parts += [take(own[f"E_{column}"], to_integer(A[:, column])) for column, _ in self.columns]
        joined = concat(parts, axis=1) if len(parts) > 1 else parts[0]
        return Built(joined, joined)

    def _others(self, n_in: int) -> list[tuple[int, int]]:
        """The columns that pass, as first and last but one of those side by side."""
        edges = [-1, *(column for column, _ in self.columns), n_in]
        return [(a + 1, b) for a, b in pairwise(edges) if a + 1 < b]

    def check_codes(self, X: Array) -> None:
        """Raise a DataError where a column of X holds what is no code."""
        for column, n in self.columns:
            codes = X[:, column]
            bad = ~((codes >= 0) & (codes < n) & (codes == np.floor(codes)))
            if bad.any():
                at = int(np.flatnonzero(bad)[0])
                raise DataError(
                    f"Column {column} of X must hold codes for Embedding, whole numbers 0 .. {n - 1}; got {codes[at]} "
                    f"at row {at} ({int(bad.sum())} rows in all)."
                )

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "embedding", "columns": [list(pair) for pair in self.columns], "width": self.width}

    def __repr__(self) -> str:
        return f"Embedding({dict(self.columns)!r}, width={self.width})"


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
