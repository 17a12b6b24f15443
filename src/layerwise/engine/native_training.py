"""Training in native code: epochs in one call, without the interpreter lock, the same bits on any number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from layerwise.compile.lower import State, lower, packing
from layerwise.compile.memory import ALIGNMENT
from layerwise.compile.program import Program
from layerwise.engine.programs import compiled, constant_array, native, target
from layerwise.engine.training import Data, Outcome, Run, Step, Stop
from layerwise.graph.node import Node
from layerwise.graph.shapes import resolve
from layerwise.randomness import Stream
from layerwise.types import Array

_STATUS: dict[str, Stop] = {
    "done": "",
    "infinite cost": "cost",
    "infinite weights": "weights",
    "runaway": "runaway",
    "out of steps": "steps",
    "out of time": "time",
}
_SCALARS_AHEAD = 65536
"""Steps whose scalars are computed together, so that one call runs at most so many, or one epoch."""
_MEASURED = 8192
"""Rows that are measured at once."""
_N_MEASURED_TABLES = 2
"""Inputs and targets; the weights of samples take no part in what is found for each of them."""


def step_program(
    step: Step, rows: int, dtype: str, isa: str | None = None, state: State | None = None, gathers: bool = True
) -> Program:
    """The program of one step on so many rows, gathered from the tables or given as arrays.

    What outlives the step has its place in ``state``.
    """
    return lower(
        [step.cost],
        {str(step.tables[0].shape[0]): rows},
        target(dtype, isa),
        state=state,
        stores=step.stores,
        gathered=step.tables if gathers else (),
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
        full = step_program(step, data.batch_size, dtype, isa, self._state, gathers=data.steps > 1)
        rest = data.n_rows % data.batch_size
        last = step_program(step, rest, dtype, isa, self._state) if rest else None
        self._memory = _aligned_zeros(self._state.size)
        self._packing = compiled(packing(self._state, target(dtype, isa)), isa)
        for node in start:
            self._put(node, start[node])
        self._pack()
        self._costs = [np.zeros((), dtype) for _ in (full, last)]
        self._address = data.address(1)  # its step is counted in native code
        self._measures: dict[int, _Measure] = {}
        self._sources = [_gatherable(table, data.batch_size < data.n_rows) for table in data.tables]
        self._trainer = self._bound(full, last)

    def _put(self, node: Node, value: Array) -> None:
        matrix = np.asarray(value, self._dtype).reshape(self._state.places[node].rows, -1)
        for columns, part in self._parts(node, self._memory):
            part[...] = matrix[:, columns].reshape(part.shape)

    def _parts(self, node: Node, memory: Array) -> Iterator[tuple[slice, Array]]:
        """What a copy of the state holds of a node: columns, and where they lie; blocks as (rows, blocks, columns)."""
        place = self._state.places[node]
        elements = memory[place.offset :].view(self._dtype)
        if not place.packed:
            yield slice(0, place.columns), elements[: place.rows * place.columns].reshape(place.rows, place.columns)
            return
        block = native.product_block(self._dtype.name, self._isa)
        count, rest = divmod(place.columns, block)
        whole = place.columns - rest
        if whole:
            blocks = elements[: whole * place.rows].reshape(count, place.rows, block)
            yield slice(0, whole), blocks.transpose(1, 0, 2)
        if rest:
            lanes = native.packed_size(1, rest, self._dtype.name, self._isa)
            part = elements[whole * place.rows :][: place.rows * lanes].reshape(place.rows, lanes)
            yield slice(whole, place.columns), part[:, :rest]

    def _value(self, node: Node, memory: Array) -> Array:
        place = self._state.places[node]
        matrix = np.empty((place.rows, place.columns), self._dtype)
        for columns, part in self._parts(node, memory):
            matrix[:, columns].reshape(part.shape)[...] = part  # a view: an axis is split, nothing moves
        return matrix.reshape(resolve(node.shape, {}))

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
            sources=self._sources if self._data.steps > 1 else [],
            rows=self._data.n_rows,
            batch=self._data.batch_size,
            parameters=np.array([(p.offset, p.stride * (1 if p.packed else p.rows)) for p in places]).reshape(-1, 2),
            cost=cost,
            shuffled=shuffled,
            seed=int(self._data.seed),
            stream=int(Stream.SHUFFLE),
            address=self._address if any(b.node is self._step.address for b in full.bound) else None,
        )

    def _arrays(self, program: Program, cost: Array) -> list[Array]:
        """What the program's bound nodes are: constants, tables as they are, the address, and room for the cost."""
        return [cost if b.written else self._array(b.node) for b in program.bound]

    def _array(self, node: Node) -> Array:
        constant = constant_array(node, self._dtype)
        if constant is not None:
            return constant
        if node is self._step.address:
            return self._address
        table = self._data.tables[self._step.tables.index(node)]
        return np.require(table, np.int64 if node.kind == "integer" else self._dtype, ["C", "A"])

    def start_from(self, cost: float) -> None:
        self._trainer.best_cost = cost

    @property
    def steps_done(self) -> int:
        return self._trainer.steps

    @property
    def best_cost(self) -> float:
        return self._trainer.best_cost

    def go_on_from(self, steps: int, best: Mapping[Node, Array] | None, best_cost: float) -> None:
        if best is not None:
            now = self._memory.copy()
            for node in best:
                self._put(node, best[node])
            self._trainer.mark_best(copy=True)
            self._memory[...] = now
        self._trainer.best_cost = best_cost
        self._trainer.steps = steps

    def run(self, run: Run) -> Outcome:
        outcome = Outcome(epoch_steps=run.first_step, epoch_cost=run.epoch_cost)
        at_once = max(1, _SCALARS_AHEAD // self._data.steps)
        while len(outcome.costs) < run.n_epochs and not outcome.stopped:
            self._run_some(outcome, run, min(run.n_epochs - len(outcome.costs), at_once))
        return outcome

    def _run_some(self, outcome: Outcome, run: Run, epochs: int) -> None:
        costs, seconds = np.empty(epochs), np.empty(epochs)
        begun = outcome.seconds[-1] if outcome.seconds else 0.0
        steps = epochs * self._data.steps - outcome.epoch_steps
        if run.steps_limit is not None:
            steps = min(steps, max(0, run.steps_limit - self.steps_done))
        limits = {} if run.steps_limit is None else {"steps_limit": run.steps_limit}
        scalars, runs = self._scalars(steps), self._trainer.runs
        try:
            status = self._trainer.run(
                run.first_epoch + len(outcome.costs),
                epochs,
                scalars,
                costs,
                seconds,
                limit=run.cost_limit,
                keep_best=run.keep != "",
                best_by_cost=run.keep == "cost",
                first_step=outcome.epoch_steps,
                epoch_cost=outcome.epoch_cost,
                seconds_limit=run.seconds_limit - begun,
                **limits,
            )
            outcome.stopped = _STATUS[status]
        except KeyboardInterrupt:
            outcome.stopped = "interrupted"
        if self._trainer.runs == runs:  # Ctrl-C came before it began
            return
        done = self._trainer.epochs_done
        outcome.costs += costs[:done].tolist()
        outcome.seconds += (begun + seconds[:done]).tolist()
        partial = outcome.stopped not in ("", "runaway")
        outcome.epoch_steps = self._trainer.epoch_steps if partial else 0
        outcome.epoch_cost = self._trainer.epoch_cost if partial else 0.0
        if outcome.epoch_steps == self._data.steps:  # Ctrl-C was heard when the run was done: its epochs are whole
            outcome.epoch_steps, outcome.epoch_cost = 0, 0.0
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
        return {node: self._value(node, self._memory) for node in self._step.stores}

    def mark_best(self) -> None:
        self._trainer.mark_best()

    def best(self) -> dict[Node, Array]:
        memory = np.empty_like(self._memory)
        self._trainer.copy_best(memory)
        return {node: self._value(node, memory) for node in self._step.weights}

    def restore_best(self) -> None:
        self._trainer.load_best()
        self._pack()

    def step_back(self) -> None:
        self._trainer.step_back()

    def last_rows(self, epoch: int, most: int) -> Array | slice:
        n = self._data.n_rows
        if self._data.steps == 1:
            return slice(most)
        order, workspace = np.empty(n, np.int64), np.empty(native.permutation_workspace(n), np.uint64)
        native.permutation(int(self._data.seed), int(Stream.SHUFFLE), epoch, order, workspace)
        return order[(self._data.steps - 1) * self._data.batch_size :][:most]

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        own = tables is self._data.tables
        sources = self._sources if own else [_gatherable(table, False) for table in tables]
        rows = np.arange(*rows.indices(len(tables[0]))) if isinstance(rows, slice) else rows
        parts: list[list[Array]] = []
        for first in range(0, len(rows), _MEASURED):
            block = rows[first : first + _MEASURED]
            if len(block) not in self._measures:
                self._measures[len(block)] = self._measure_of(len(block))
            parts.append(self._measures[len(block)].run(self._memory, sources[:_N_MEASURED_TABLES], block))
        return parts[0] if len(parts) == 1 else [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _measure_of(self, rows: int) -> _Measure:
        size = self._state.size
        program = lower(
            self._step.measured,
            {str(self._step.tables[0].shape[0]): rows},
            target(self._dtype.name, self._isa),
            state=self._state,
            gathered=self._step.tables[:_N_MEASURED_TABLES],
        )
        assert self._state.size == size, "what is measured needs nothing in the state that a step does not need"
        return _Measure(program, self._dtype, self._isa)


class _Measure:
    """A program of row values at the weights of a training state, for so many rows."""

    def __init__(self, program: Program, dtype: np.dtype[Any], isa: str | None):
        self._code, self._dtype = compiled(program, isa), dtype
        self._bound = [(b.node, None if b.written else constant_array(b.node, dtype)) for b in program.bound]
        self._outputs = program.outputs

    def run(self, memory: Array, sources: list[Array], rows: Array) -> list[Array]:
        written = {
            node: np.empty(resolve(node.shape, {str(node.shape[0]): len(rows)}), self._dtype)
            for node, constant in self._bound
            if constant is None
        }
        self._code.run([written.get(node, constant) for node, constant in self._bound], memory, None, 0, sources, rows)
        return [written[node] for node in self._outputs]


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
