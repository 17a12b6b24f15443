"""`Blocks`: data that come in blocks of rows, one at a time, and so need not fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerwise.engine.training import Data
from layerwise.errors import DataError, ShapeError
from layerwise.network.checks import checked_count
from layerwise.network.data import check_inputs, check_targets, check_weights, in_order
from layerwise.network.network import Network
from layerwise.types import Array

_SAMPLE = 1024
"""Rows of the first block that stay in memory: from them notes and diagnostics are found."""
_SPREAD = 256
"""Rows from which the cost of the starting weights is found: more would cost as much as a step."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Data in blocks of rows, for `train`, which holds one of them at a time.

    Each block is cut into batches, in an order of its own that depends on the seed, the epoch and the number of the
    block; the last batch of a block holds what is left of it. Blocks come in the order in which they are given. One
    block is the same as a table, to the bit.

    Parameters
    ----------
    make : callable () -> iterable of (X, Y) or (X, Y, sample_weight)
        Called for each epoch, for an iterator that begins anew: a generator function that reads files, or cuts a
        memory-mapped array. X, Y and weights are as for `train`, of one row or more, in all blocks of the same kind.
    rows : sequence of int, optional
        How many rows each block has. Only a fit with a schedule needs it, for the steps of an epoch; it reads all
        blocks once before its first step where it is not given.

    Notes
    -----
    Weights of samples are scaled to mean 1 over all blocks, for which these are read once before the first step.

    Examples
    --------
    >>> import numpy as np, layerwise as lw
    >>> def parts():
    ...     for part in range(10):
    ...         X = np.linspace(-1, 1, 1000)[part::10, None]
    ...         yield X, X**2
    >>> fit = lw.train(lw.Network([1, 8, 1], hidden="tanh"), lw.Blocks(parts), batch_size=20, epochs=2)
    >>> fit.steps
    100
    """

    make: Callable[[], Iterable[Any]]
    rows: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise DataError(
                "Blocks takes a function that gives a fresh iterator of blocks (X, Y) each time, such as a generator "
                f"function; got {type(self.make).__name__}."
            )
        if self.rows is not None:
            listed = tuple(checked_count(n, "each of the rows of Blocks") for n in self.rows)
            if not listed:
                raise DataError("rows of Blocks must name the rows of at least one block; got none.")
            object.__setattr__(self, "rows", listed)


class BlockReader:
    """The blocks of a fit: checked, numbered from 1, and cut into batches.

    Parameters
    ----------
    blocks : Blocks
    net : Network
    dtype : str
    batch_size : int
    seed : int
    planned : bool
        Whether the steps of an epoch must be known before the first one.

    Attributes
    ----------
    steps, n_rows : int or None
        Of an epoch, where they are known.
    sample, spread : tuple of array
        The tables of the first rows, and of rows spread over the first block.
    """

    def __init__(self, blocks: Blocks, net: Network, dtype: str, batch_size: int, seed: int, planned: bool):
        self._blocks, self._net, self._dtype, self._seed = blocks, net, dtype, seed
        self.batch_size = batch_size
        self._weighted: bool | None = None  # as the first block is
        self._labels: bool | None = None
        self._scale: tuple[int, float] | None = None
        self._last: Iterator[Any] | None = None
        self._planned = planned
        self.steps: int | None = None
        self.n_rows = None if blocks.rows is None else sum(blocks.rows)
        begun = self._begun()
        first = self._next(begun, 1)
        if first is None:
            raise DataError("Blocks gave no block; at least one row is needed to learn from.")
        self._keep_some(first)
        # The first epoch goes on from here, where nothing else has to be read before it.
        self._ahead: tuple[tuple[Array, ...], Iterator[Any]] | None = None
        if self._weighted or (planned and blocks.rows is None):
            counted = [self._counted(first)]
            del first
            counted += map(self._counted, self._rest(begun))
            self._plan(counted)
        else:
            self._ahead = first, begun
            if planned and blocks.rows is not None:
                self.steps = sum(map(self._steps_of, blocks.rows))
        if self._weighted:
            self._keep_some(next(self.epoch(1)).tables)  # without rows of weight 0, and the weights as they are used

    def _keep_some(self, tables: tuple[Array, ...]) -> None:
        self.sample = tuple(np.array(table[:_SAMPLE]) for table in tables)
        self.spread = tuple(map(np.array, spread_rows(tables)))

    @property
    def few(self) -> Data:
        """Rows to begin with, before the first block: whole batches, if there are so many."""
        n = len(self.sample[0])
        batch = min(self.batch_size, n)
        return self._data(tuple(table[: n // batch * batch] for table in self.sample), 0)

    def epoch(self, number: int) -> Generator[Data]:
        """The blocks of an epoch; none is held here when the next one is made."""
        ahead, self._ahead = self._ahead, None
        first, begun = ahead or (None, self._begun())
        ahead = None
        block, steps = 0, 0
        while True:
            block += 1
            tables = first if first is not None else self._next(begun, block)
            first = None
            if tables is None:
                break
            tables = self._present(tables)
            if len(tables[0]):
                data = self._data(tables, block - 1)
                tables = None
                steps += data.steps
                yield data
                del data
            tables = None
        if block == 1:
            raise DataError(
                f"Blocks gave no block in epoch {number}: its function must give an iterator that begins anew."
            )
        if not steps:
            raise DataError(f"sample_weight is 0 for every row of all blocks in epoch {number}.")
        self._check_whole(number, block - 1, steps)

    # Blocks as they come ----------------------------------------------------------------------------------------

    def _begun(self) -> Iterator[Any]:
        made: Any = self._blocks.make()
        try:
            iterator = iter(made)
        except TypeError:
            raise DataError(
                "The function of Blocks must give an iterator of blocks (X, Y) or (X, Y, sample_weight); "
                f"got {type(made).__name__}."
            ) from None
        if iterator is self._last:
            raise DataError("The function of Blocks gave the same iterator again; it must make a new one each time.")
        self._last = iterator
        return iterator

    def _next(self, begun: Iterator[Any], number: int) -> tuple[Array, ...] | None:
        """The next block, checked; its weights are not scaled yet."""
        for block in begun:
            try:
                return self._checked(block, number)
            except (DataError, ShapeError) as error:
                raise type(error)(f"block {number}: {error}") from None
        return None

    def _rest(self, begun: Iterator[Any]) -> Generator[tuple[Array, ...]]:
        number = 2
        while (tables := self._next(begun, number)) is not None:
            yield tables
            tables = None
            number += 1

    def _checked(self, block: Any, number: int) -> tuple[Array, ...]:
        if not isinstance(block, (tuple, list)) or len(block) not in (2, 3):
            raise DataError(f"a block must be (X, Y) or (X, Y, sample_weight); got {type(block).__name__}.")
        X = check_inputs(self._net, block[0], self._dtype)
        if len(X) == 0:
            raise DataError("X has no rows.")
        rows = self._blocks.rows
        if rows is not None and (number > len(rows) or len(X) != rows[number - 1]):
            told = "there is no such block" if number > len(rows) else f"it has {rows[number - 1]}"
            raise DataError(f"X has {len(X)} rows, and by the rows of Blocks {told}.")
        Y = check_targets(self._net, block[1], len(X), self._dtype)
        weighted, labels = len(block) == 3 and block[2] is not None, Y.ndim == 1
        if self._weighted is None or self._labels is None:
            self._weighted, self._labels = weighted, labels
        if weighted != self._weighted:
            some, first = _with(weighted), _with(self._weighted)
            raise DataError(f"it is {some} weights of samples, and the first block is {first}.")
        if labels != self._labels:
            kinds = "rows of numbers", "labels"
            raise DataError(f"Y holds {kinds[labels]}, and in the first block {kinds[self._labels]}.")
        return (X, Y, check_weights(block[2], len(X), all_absent=True)) if weighted else (X, Y)

    def _check_whole(self, epoch: int, blocks: int, steps: int) -> None:
        rows = self._blocks.rows
        if rows is not None and blocks < len(rows):
            raise DataError(f"Blocks gave {blocks} blocks in epoch {epoch}, and by its rows there are {len(rows)}.")
        if self._planned and self.steps is not None and steps != self.steps:
            raise DataError(
                f"Epoch {epoch} had {steps} steps, and the schedule was made for {self.steps}. Give blocks of the same "
                "rows in each epoch, or a learning rate without schedule."
            )

    # Weights ----------------------------------------------------------------------------------------------------

    def _counted(self, tables: tuple[Array, ...]) -> tuple[int, float, int]:
        """Of the rows with a weight: an exponent of 2, the sum of the weights less that, their number."""
        if not self._weighted:
            return 0, 0.0, len(tables[0])
        w = tables[2][tables[2] > 0]
        # By a power of 2 first, which rounds nothing: the sum of large weights would overflow.
        exponent = int(np.frexp(w.max())[1]) if len(w) else 0
        return exponent, float(np.add.reduce(np.ldexp(w, -exponent))), len(w)

    def _plan(self, counted: list[tuple[int, float, int]]) -> None:
        """The steps of an epoch, and the mean of all weights."""
        present = [part for part in counted if part[2]]
        if not present:
            raise DataError("sample_weight is 0 for every row of all blocks, so nothing can be learned.")
        self.steps = sum(self._steps_of(n) for _, _, n in present)
        self.n_rows = sum(n for _, _, n in present)
        if self._weighted:
            top = max(exponent for exponent, _, _ in present)
            total = math.fsum(math.ldexp(part, exponent - top) for exponent, part, _ in present)
            self._scale = top, total / self.n_rows

    def _present(self, tables: tuple[Array, ...]) -> tuple[Array, ...]:
        """The rows that have a weight, with weights of mean 1 over all blocks."""
        if self._scale is None:
            return tables
        X, Y, w = tables
        if not w.all():
            X, Y, w = X[w > 0], Y[w > 0], w[w > 0]
        exponent, mean = self._scale
        return X, Y, (np.ldexp(w, -exponent) / mean).astype(self._dtype)

    # Batches ----------------------------------------------------------------------------------------------------

    def _steps_of(self, rows: int) -> int:
        return -(-rows // self.batch_size)

    def _data(self, tables: tuple[Array, ...], block: int) -> Data:
        return batched(tables, self.batch_size, self._seed, self._dtype, block)


def spread_rows(tables: tuple[Array, ...]) -> tuple[Array, ...]:
    """Some rows of tables, from the first to the last: where these are sorted, the first ones are unlike the others."""
    n = len(tables[0])
    if n <= _SPREAD:
        return tables
    rows = np.linspace(0, n - 1, _SPREAD).astype(np.int64)
    return tuple(table[rows] for table in tables)


def batched(tables: tuple[Array, ...], batch_size: int, seed: int, dtype: str, block: int = 0) -> Data:
    """Tables with how they are cut; those that are one batch are made ready once, not in every epoch."""
    rows = min(batch_size, len(tables[0]))
    if rows == len(tables[0]):
        tables = tuple(in_order(table, dtype) for table in tables)
    return Data(tables, rows, seed, block)


def refuse_with_blocks(**given: Any) -> None:
    """Raise a DataError where one of these arguments of `train` is given, whose place is in the blocks."""
    for name, value in given.items():
        if value is not None:
            raise DataError(f"{name} cannot be given with Blocks: {_REFUSED[name]}")


_REFUSED = {
    "Y": "each block holds its own, (X, Y).",
    "sample_weight": "each block holds its own, (X, Y, sample_weight).",
    "class_weight": "give each row the weight of its class, in blocks (X, Y, sample_weight).",
    "every_steps": "checkpoints are saved where epochs end, every=1; all blocks before one would be read again.",
}


def _with(weighted: bool) -> str:
    return "with" if weighted else "without"
