"""Training in native code: epochs in one call, without the interpreter lock, the same bits on any number of threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from layerwise.compile.lower import State, lower, packing
from layerwise.compile.memory import ALIGNMENT
from layerwise.compile.program import Program
from layerwise.engine.programs import compiled, constant_array, native, target
from layerwise.engine.training import N_MEASURED_TABLES, NO_ROWS, Data, Outcome, Run, Step, Stop
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
_KEPT = 32
"""Programs that are kept for numbers of rows that come again."""


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
        self._programs = _Recent[_Ready]()
        self._measures = _Recent[_Measure]()
        self._address = data.address(1)  # its step is counted in native code
        full, last = self._programs_for(data)
        self._memory = _aligned_zeros(self._state.size)
        self._packing = compiled(packing(self._state, target(dtype, isa)), isa)
        for node in start:
            self._put(node, start[node])
        self._pack()
        self._sources = _gathered_from(data)
        self._trainer = self._trainer_of(full, last)

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

    def _programs_for(self, data: Data) -> tuple[_Ready, _Ready | None]:
        """The programs of whole batches, and of the rows that remain."""
        rest = data.n_rows % data.batch_size
        full = self._ready(data.batch_size, data.steps > 1)
        return full, self._ready(rest, True) if rest else None

    def _ready(self, rows: int, gathers: bool) -> _Ready:
        found = self._programs.get((rows, gathers))
        if found is None:
            size = self._state.size
            program = step_program(self._step, rows, self._dtype.name, self._isa, self._state, gathers)
            assert size in (0, self._state.size), "the state does not depend on the number of rows"
            cost = np.zeros((), self._dtype)
            constants: list[Array | None] = [
                cost if b.written else constant_array(b.node, self._dtype) for b in program.bound
            ]
            found = self._programs.keep((rows, gathers), _Ready(program, compiled(program, self._isa), constants))
        return found

    def _trainer_of(self, full: _Ready, last: _Ready | None) -> Any:
        places = [self._state.places[W] for W in self._step.weights]
        kind: Any = native.Trainer32 if self._dtype == np.float32 else native.Trainer64
        (cost,) = (i for i, b in enumerate(full.program.bound) if b.written)
        return kind(
            full.code,
            None if last is None else last.code,
            **self._rows_bound(full, last),
            state=self._memory,
            parameters=np.array([(p.offset, p.stride * (1 if p.packed else p.rows)) for p in places]).reshape(-1, 2),
            cost=cost,
            seed=int(self._data.seed),
            stream=int(Stream.SHUFFLE),
            address=self._address if any(b.node is self._step.address for b in full.program.bound) else None,
        )

    def _rows_bound(self, full: _Ready, last: _Ready | None) -> dict[str, Any]:
        """What a trainer is told of the rows."""
        data = self._data
        return {
            "bound": self._arrays(full),
            "last_bound": None if last is None else self._arrays(last),
            "sources": self._sources if data.steps > 1 else [],
            "rows": data.n_rows,
            "batch": data.batch_size,
            "shuffled": data.batch_size < data.n_rows,
        }

    def _arrays(self, ready: _Ready) -> list[Array]:
        """What the program's bound nodes are: constants, tables as they are, the address, and room for the cost."""
        pairs = zip(ready.program.bound, ready.constants, strict=True)
        return [self._array(b.node) if constant is None else constant for b, constant in pairs]

    def _array(self, node: Node) -> Array:
        if node is self._step.address:
            return self._address
        table = self._data.tables[self._step.tables.index(node)]
        return np.require(table, np.int64 if node.kind == "integer" else self._dtype, ["C", "A"])

    def take(self, data: Data | None) -> None:
        self._data = data or NO_ROWS
        self._sources = [] if data is None else _gathered_from(data)
        if data is None:
            self._trainer.release()
        else:
            full, last = self._programs_for(data)
            self._trainer.take(full.code, None if last is None else last.code, **self._rows_bound(full, last))

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
                self._data.order(run.first_epoch + len(outcome.costs)),
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
        outcome.whole_cost = self._trainer.epoch_cost
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

    def last_batch(self, epoch: int, most: int) -> tuple[Array, ...]:
        rows = self._last_rows(epoch, most)
        return tuple(table[rows] for table in self._data.tables)

    def _last_rows(self, epoch: int, most: int) -> Array | slice:
        data, n = self._data, self._data.n_rows
        if data.steps == 1:
            return slice(most)
        order, workspace = np.empty(n, np.int64), np.empty(native.permutation_workspace(n), np.uint64)
        native.permutation(int(data.seed), int(Stream.SHUFFLE), data.order(epoch), order, workspace)
        return order[(data.steps - 1) * data.batch_size :][:most]

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        own = tables is self._data.tables
        sources = self._sources if own else [_gatherable(table, False) for table in tables]
        rows = np.arange(*rows.indices(len(tables[0]))) if isinstance(rows, slice) else rows
        parts: list[list[Array]] = []
        for first in range(0, len(rows), _MEASURED):
            block = rows[first : first + _MEASURED]
            ready = self._measures.get(len(block)) or self._measures.keep(len(block), self._measure_of(len(block)))
            parts.append(ready.run(self._memory, sources[:N_MEASURED_TABLES], block))
        return parts[0] if len(parts) == 1 else [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _measure_of(self, rows: int) -> _Measure:
        size = self._state.size
        program = lower(
            self._step.measured,
            {str(self._step.tables[0].shape[0]): rows},
            target(self._dtype.name, self._isa),
            state=self._state,
            gathered=self._step.tables[:N_MEASURED_TABLES],
        )
        assert self._state.size == size, "what is measured needs nothing in the state that a step does not need"
        return _Measure(program, self._dtype, self._isa)


_T = TypeVar("_T")


class _Recent(Generic[_T]):
    """The values that were asked for last, by key."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _T] = OrderedDict()

    def get(self, key: Hashable) -> _T | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: Hashable, value: _T) -> _T:
        self._kept[key] = value
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return value


@dataclass(frozen=True, eq=False)
class _Ready:
    """A program of a step for so many rows.

    Parameters
    ----------
    program : Program
    code : Any
        As native code holds it.
    constants : list of array or None
        What is bound and does not depend on the rows: constants, and room for the cost.
    """

    program: Program
    code: Any
    constants: list[Array | None]


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


def _gathered_from(data: Data) -> list[Array]:
    return [_gatherable(table, data.batch_size < data.n_rows) for table in data.tables]


def _aligned_zeros(size: int) -> Array:
    """Bytes that begin on a cache line."""
    room = np.zeros(size + ALIGNMENT, np.uint8)
    first = -room.ctypes.data % ALIGNMENT
    return room[first : first + size]
