"""Training in native code: epochs in one call, without the interpreter lock, the same bits on any number of threads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from layerwise.compile.lower import State, lower, packing
from layerwise.compile.memory import ALIGNMENT
from layerwise.compile.program import Program
from layerwise.engine.programs import NativeRunner, compiled, constant_array, native, target
from layerwise.engine.training import Data, Outcome, Step, Stop
from layerwise.graph.node import Node
from layerwise.graph.shapes import resolve
from layerwise.randomness import Stream
from layerwise.types import Array

_STATUS: dict[str, Stop] = {
    "done": "",
    "infinite cost": "cost",
    "infinite weights": "weights",
    "runaway": "runaway",
}
_SCALARS_AHEAD = 65536
"""Steps whose scalars are computed together, so that one call runs at most so many, or one epoch."""


def step_program(step: Step, rows: int, dtype: str, isa: str | None = None, state: State | None = None) -> Program:
    """The program of one step on so many rows; what outlives it has its place in ``state``."""
    state = State() if state is None else state
    item_size = np.dtype(dtype).itemsize
    for node in step.stores:
        shape = resolve(node.shape, {})
        state.place(node, *((1, math.prod(shape)) if len(shape) < 2 else (shape[0], math.prod(shape[1:]))), item_size)
    return lower(
        [step.cost],
        {str(step.tables[0].shape[0]): rows},
        target(dtype, isa),
        state=state,
        stores=step.stores,
        gathered=step.tables,
        scalars=step.inputs,
    )


class NativeTraining:
    """Training in native code; parameters and meaning as for the NumPy engine.

    Parameters
    ----------
    step : Step
    data : Data
    start : mapping of Node to array
    dtype : {"float32", "float64"}
    isa : str, optional
        "baseline", "avx2" or "avx512"; by default the widest that this processor has.
    """

    def __init__(self, step: Step, data: Data, start: Mapping[Node, Array], dtype: str, isa: str | None = None):
        self._step, self._data, self._dtype, self._isa = step, data, np.dtype(dtype), isa
        self.engine = f"native {isa or native.best_isa()}"
        self._state = State()
        full = step_program(step, data.batch_size, dtype, isa, self._state)
        rest = data.n_rows % data.batch_size
        last = step_program(step, rest, dtype, isa, self._state) if rest else None
        self._memory = _aligned_zeros(self._state.size)
        self._packing = compiled(packing(self._state, target(dtype, isa)), isa)
        self._views = {node: self._view(node) for node in step.stores}
        for node, view in self._views.items():
            view[...] = start[node]
        self._pack()
        self._costs = [np.zeros((), dtype) for _ in (full, last)]
        self._trainer = self._bound(full, last)

    def _view(self, node: Node) -> Array:
        offset, rows, columns = self._state.places[node]
        size = rows * columns * self._dtype.itemsize
        return self._memory[offset : offset + size].view(self._dtype).reshape(resolve(node.shape, {}))

    def _pack(self) -> None:
        self._packing.run([], self._memory)

    def _bound(self, full: Program, last: Program | None) -> Any:
        places = [self._state.places[W] for W in self._step.weights]
        kind: Any = native.Trainer32 if self._dtype == np.float32 else native.Trainer64
        (cost,) = (i for i, b in enumerate(full.bound) if b.written)
        shuffled = self._data.batch_size < self._data.n_rows
        return kind(
            compiled(full, self._isa),
            None if last is None else compiled(last, self._isa),
            state=self._memory,
            bound=self._arrays(full, self._costs[0]),
            last_bound=None if last is None else self._arrays(last, self._costs[1]),
            sources=[_gatherable(table, shuffled) for table in self._data.tables],
            rows=self._data.n_rows,
            batch=self._data.batch_size,
            parameters=np.array([(offset, m * n) for offset, m, n in places], np.int64).reshape(-1, 2),
            cost=cost,
            shuffled=shuffled,
            seed=int(self._data.seed),
            stream=int(Stream.SHUFFLE),
        )

    def _arrays(self, program: Program, cost: Array) -> list[Array]:
        """What the program's bound nodes are: constants, and room for the cost."""
        arrays = (constant_array(b.node, self._dtype) for b in program.bound)
        return [cost if a is None else a for a in arrays]

    def start_from(self, cost: float) -> None:
        self._trainer.best_cost = cost

    @property
    def steps_done(self) -> int:
        return self._trainer.steps

    def run(self, first_epoch: int, n_epochs: int, limit: float = math.inf) -> Outcome:
        outcome = Outcome()
        at_once = max(1, _SCALARS_AHEAD // self._data.steps)
        while n_epochs and not outcome.stopped:
            epochs = min(n_epochs, at_once)
            self._run_some(outcome, first_epoch + len(outcome.costs), epochs, limit)
            n_epochs -= epochs
        return outcome

    def _run_some(self, outcome: Outcome, first_epoch: int, epochs: int, limit: float) -> None:
        costs, seconds = np.empty(epochs), np.empty(epochs)
        begun = outcome.seconds[-1] if outcome.seconds else 0.0
        scalars = self._scalars(epochs * self._data.steps)
        try:
            status = self._trainer.run(
                first_epoch, epochs, scalars, costs, seconds, limit=limit, keep_best=limit < math.inf
            )
            outcome.stopped = _STATUS[status]
        except KeyboardInterrupt:
            outcome.stopped = "interrupted"
        done = self._trainer.epochs_done
        outcome.costs += costs[:done].tolist()
        outcome.seconds += (begun + seconds[:done]).tolist()
        if outcome.stopped == "cost":
            outcome.cost = self._trainer.cost

    def _scalars(self, steps: int) -> Array:
        """One row for each of the next steps; one for all where none of them changes."""
        values = self._step.scalars(np.arange(1, steps + 1) + self.steps_done)
        columns = [np.asarray(values[node], np.float64) for node in self._step.inputs]
        rows = steps if any(c.ndim for c in columns) else 1
        table = np.empty((rows, len(columns)))
        for i, column in enumerate(columns):
            table[:, i] = column
        return table

    def values(self) -> dict[Node, Array]:
        return {node: view.copy() for node, view in self._views.items()}

    def restore_best(self) -> None:
        self._trainer.load_best()
        self._pack()

    def step_back(self) -> None:
        self._trainer.step_back()

    def cost_of(self, rows: Array | slice) -> float:
        feeds: dict[Node, Any] = dict(self._views)
        feeds.update((node, table[rows]) for node, table in zip(self._step.tables, self._data.tables, strict=True))
        (cost,) = NativeRunner([self._step.cost], self._dtype.name, self._isa).run(feeds)
        return float(cost)


def _gatherable(table: Array, shuffled: bool) -> Array:
    """A table whose rows native code reads where they are; columns far apart would cost a cache line each."""
    if table.dtype.itemsize > 8 or not table.dtype.isnative:
        table = table.astype(np.float64 if table.dtype.kind == "f" else table.dtype.newbyteorder("="))
    together = table.ndim < 2 or abs(table.strides[1]) <= 64
    return table if together or not shuffled else np.ascontiguousarray(table)


def _aligned_zeros(size: int) -> Array:
    """Bytes that begin on a cache line."""
    room = np.zeros(size + ALIGNMENT, np.uint8)
    first = -room.ctypes.data % ALIGNMENT
    return room[first : first + size]
