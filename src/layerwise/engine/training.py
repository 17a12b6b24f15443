"""Training: epochs of steps on one graph. This is the definition, in NumPy, and what every engine offers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np

from layerwise.compile.plan import plan
from layerwise.engine.reference import Runner
from layerwise.graph.node import Node
from layerwise.graph.shapes import resolve
from layerwise.randomness import Stream, permutation
from layerwise.types import Array

Scalars = Callable[[Any], Mapping[Node, Any]]
"""What is fed at the steps with these numbers, counted from 1: for an array of numbers, arrays or plain numbers."""
Stop = Literal["", "cost", "weights", "runaway", "steps", "time", "interrupted", "failed"]
N_MEASURED_TABLES = 2
"""Inputs and targets; the weights of samples take no part in what is found for each of them."""
Best = Literal["", "cost", "marked"]
"""Which values `Training.restore_best` goes back to: none, those of the lowest cost, those that were marked."""


@dataclass(frozen=True)
class Step:
    """One training step, as engines see it.

    Parameters
    ----------
    cost : Node
    measured : tuple of Node
        Rows (N, …) that `Training.measure` finds without a step: of inputs and targets, at present weights.
    stores : dict of Node to Node
        What a step changes, weights and what the update rule remembers → its value after the step.
    weights : tuple of Node
        Those of ``stores`` that must stay finite.
    tables : tuple of Node
        Sources with one row for each sample: X, Y and, where there are any, the sample weights.
    inputs : tuple of Node
        What is fed as a number at each step.
    scalars : Scalars
        The numbers.
    address : Node, optional
        Where the random numbers of a step come from: an integer source of shape (2,), fed `Data.address`.
    """

    cost: Node
    measured: tuple[Node, ...]
    stores: Mapping[Node, Node]
    weights: tuple[Node, ...]
    tables: tuple[Node, ...]
    inputs: tuple[Node, ...]
    scalars: Scalars
    address: Node | None = None


def address_of(seed: int, step: int) -> Array:
    """Where the random numbers of a step are: (seed, step), the 64 bits of each as an integer."""
    return np.array([seed, step], np.uint64).view(np.int64)


@dataclass(frozen=True)
class Data:
    """The tables of a step, with how they are cut into batches.

    Parameters
    ----------
    tables : tuple of array
        (N, …) each; any real dtype and memory layout.
    batch_size : int
        Rows a step; the last batch of an epoch holds what is left.
    seed : int
        Of the order of rows, which is another one in each epoch, and of the random numbers of steps. A batch of all
        rows takes them as they come.
    block : int
        Its number, from 0, where an epoch has the rows of several: each has an order of its own.
    """

    tables: tuple[Array, ...]
    batch_size: int
    seed: int
    block: int = 0

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self.tables[0])

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return -(-self.n_rows // self.batch_size)

    def address(self, step: int) -> Array:
        """Where the random numbers of the step with this number are."""
        return address_of(self.seed, step)

    def order(self, epoch: int) -> int:
        """The number of the order that the rows have in an epoch, in `Stream.SHUFFLE`."""
        return epoch + (self.block << 32)

    def batches(self, epoch: int) -> Iterator[Array | slice]:
        """The rows of each batch."""
        if self.batch_size >= self.n_rows:
            yield slice(None)
            return
        order = permutation(self.seed, Stream.SHUFFLE, self.order(epoch), self.n_rows)
        for first in range(0, self.n_rows, self.batch_size):
            yield order[first : first + self.batch_size]


NO_ROWS = Data((), 1, 0)
"""What a training holds between two blocks of rows."""


def cost_of(training: Training, tables: tuple[Array, ...]) -> float:
    """The cost of these rows at the present weights, without penalties."""
    losses = training.measure(tables)[0].astype(np.float64)
    return float(np.mean(losses if len(tables) == N_MEASURED_TABLES else losses * tables[N_MEASURED_TABLES]))


@dataclass(frozen=True)
class Run:
    """How far a run is to go.

    Parameters
    ----------
    first_epoch : int
        Its number, from 1; the order of rows depends on it.
    n_epochs : int
    first_step : int
        Steps of the first epoch that an earlier run has done.
    epoch_cost : float
        The sum of cost times rows over those.
    cost_limit : float
        An epoch whose cost is above it is the last one.
    steps_limit : int, optional
        Steps in all runs.
    seconds_limit : float
        Of this run, by the monotonic clock; looked at before each step.
    keep : str
        Which values `Training.restore_best` goes back to.
    """

    first_epoch: int
    n_epochs: int
    first_step: int = 0
    epoch_cost: float = 0.0
    cost_limit: float = math.inf
    steps_limit: int | None = None
    seconds_limit: float = math.inf
    keep: Best = ""


@dataclass
class Outcome:
    """How far a run came.

    Parameters
    ----------
    costs, seconds : list of float
        Of each whole epoch: the average of its steps' costs; when it ended, since the run began.
    stopped : str
        Why it ended early: a cost or a weight that is not finite, an epoch whose cost was above the limit, as many
        steps or seconds as there may be, Ctrl-C, rows that could not be had.
    cost : float
        The one that was not finite.
    epoch_steps : int
        Steps of the epoch that was begun last and is not whole.
    epoch_cost : float
        The sum of cost times rows over those.
    whole_cost : float
        Likewise over the last epoch that is whole.
    error : Exception, optional
        Why rows could not be had.
    whole : bool
        False where Ctrl-C came while this was written, so that it may not be what the values say.
    """

    costs: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])
    stopped: Stop = ""
    cost: float = math.nan
    epoch_steps: int = 0
    epoch_cost: float = 0.0
    whole_cost: float = 0.0
    error: Exception | None = None
    whole: bool = True


class Training(Protocol):
    """Epochs of steps.

    Attributes
    ----------
    engine : str
        Its name, with the instruction set where that is chosen when it runs.
    """

    engine: str

    def start_from(self, cost: float) -> None:
        """Say what the start costs, before the first run: an epoch is the best so far only below it."""
        ...

    @property
    def steps_done(self) -> int:
        """Since the start, over all runs."""
        ...

    def run(self, run: Run) -> Outcome:
        """Run epochs.

        Returns
        -------
        Outcome
            After a cost that is not finite, the values are those from which the last finite cost came; after such
            a weight, those before that step; after Ctrl-C, those after the last whole step.
        """
        ...

    def go_on_from(self, steps: int, best: Mapping[Node, Array] | None, best_cost: float) -> None:
        """Say how many steps led to the start, before the first run, and the best weights among those."""
        ...

    @property
    def best_cost(self) -> float:
        """The lowest cost of an epoch, or what the start costs."""
        ...

    def values(self) -> dict[Node, Array]:
        """Copies of all that steps change."""
        ...

    def mark_best(self) -> None:
        """The present weights are the best."""
        ...

    def best(self) -> dict[Node, Array]:
        """Copies of the best weights: the start, where none were marked or no epoch cost less."""
        ...

    def restore_best(self) -> None:
        """Go back to the best weights; an engine has them only after runs that keep them."""
        ...

    def last_batch(self, epoch: int, most: int) -> tuple[Array, ...]:
        """The tables of at most so many rows of the last batch of an epoch."""
        ...

    def take(self, data: Data | None) -> None:
        """Go on with other rows, between runs; None: hold none until there are others. All else stays as it is."""
        ...

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        """`Step.measured` for these rows of tables like those of the step, at the present weights."""
        ...

    def step_back(self) -> None:
        """Undo the last step of the last run."""
        ...


@dataclass(frozen=True)
class _State:
    """What steps change, after the last step and before it; replaced as a whole, so that Ctrl-C finds it consistent."""

    now: Mapping[Node, Array]
    before: Mapping[Node, Array]
    step: int = 0


class NumpyTraining:
    """Training in NumPy.

    Parameters
    ----------
    step : Step
    data : Data
    start : mapping of Node to array
        Of what steps change; 0 where it is not named. Copied.
    dtype : {"float32", "float64"}
    """

    engine = "numpy"

    def __init__(self, step: Step, data: Data, start: Mapping[Node, Array], dtype: str):
        self._step, self._data, self._dtype = step, data, dtype
        self._runner = Runner(plan([step.cost, *step.stores.values()]), dtype)
        self._measure = Runner(plan(step.measured), dtype)
        first = {
            node: np.array(start[node], dtype) if node in start else np.zeros(resolve(node.shape, {}), dtype)
            for node in step.stores
        }
        self._state = _State(first, first)
        self._best: Mapping[Node, Array] = first
        self._best_cost = math.inf

    @property
    def steps_done(self) -> int:
        return self._state.step

    def start_from(self, cost: float) -> None:
        self._best_cost = cost

    @property
    def best_cost(self) -> float:
        return self._best_cost

    def go_on_from(self, steps: int, best: Mapping[Node, Array] | None, best_cost: float) -> None:
        self._state = replace(self._state, step=steps)
        self._best_cost = best_cost
        self._best = self._best if best is None else {**self._best, **best}

    def run(self, run: Run) -> Outcome:
        outcome = Outcome(epoch_steps=run.first_step, epoch_cost=run.epoch_cost)
        began = time.monotonic()
        try:
            for epoch in range(run.first_epoch, run.first_epoch + run.n_epochs):
                outcome.stopped = self._epoch(epoch, outcome, run, began)
                if outcome.stopped:
                    return outcome
                outcome.whole = False
                outcome.whole_cost = outcome.epoch_cost
                outcome.costs.append(outcome.epoch_cost / self._data.n_rows)
                outcome.seconds.append(time.monotonic() - began)
                outcome.epoch_steps, outcome.epoch_cost = 0, 0.0
                better = run.keep == "cost" and outcome.costs[-1] < self._best_cost
                if better and outcome.costs[-1] <= run.cost_limit:
                    self._best, self._best_cost = self._state.now, outcome.costs[-1]
                outcome.whole = True
                if outcome.costs[-1] > run.cost_limit:
                    outcome.stopped = "runaway"
                    return outcome
        except KeyboardInterrupt:
            outcome.stopped = "interrupted"
        return outcome

    def _epoch(self, epoch: int, outcome: Outcome, run: Run, began: float) -> Stop:
        for rows in islice(self._data.batches(epoch), outcome.epoch_steps, None):
            if run.steps_limit is not None and self.steps_done >= run.steps_limit:
                return "steps"
            if time.monotonic() - began >= run.seconds_limit:
                return "time"
            feeds = self._feeds(rows)
            outcome.cost, after = self._one(feeds)
            outcome.whole = False
            stopped = self._take(outcome.cost, after)
            if not stopped:
                outcome.epoch_steps += 1
                outcome.epoch_cost += outcome.cost * len(feeds[self._step.tables[0]])
            outcome.whole = True
            if stopped:
                return stopped
        return ""

    def _feeds(self, rows: Array | slice, tables: tuple[Array, ...] | None = None) -> dict[Node, Any]:
        own = (np.ascontiguousarray(table[rows]) for table in tables or self._data.tables)
        feeds = {**self._state.now, **dict(zip(self._step.tables, own, strict=False))}
        if self._step.address is not None:
            feeds[self._step.address] = self._data.address(self.steps_done + 1)
        return feeds

    def _one(self, feeds: Mapping[Node, Any]) -> tuple[float, dict[Node, Array]]:
        """The cost of a step, and the values after it."""
        cost, *after = self._runner.run({**feeds, **self._step.scalars(self.steps_done + 1)})
        return float(cost), dict(zip(self._step.stores, after, strict=True))

    def _take(self, cost: float, after: Mapping[Node, Array]) -> Stop:
        """Make the step, if its cost and its weights are finite."""
        if not math.isfinite(cost):
            self.step_back()
            return "cost"
        if not all(np.isfinite(after[W]).all() for W in self._step.weights):
            return "weights"
        self._state = _State(after, self._state.now, self._state.step + 1)
        return ""

    def values(self) -> dict[Node, Array]:
        return {node: np.array(array, order="C") for node, array in self._state.now.items()}

    def mark_best(self) -> None:
        self._best = self._state.now

    def best(self) -> dict[Node, Array]:
        return {node: np.array(self._best[node], order="C") for node in self._step.weights}

    def restore_best(self) -> None:
        self._state = replace(self._state, now={**self._state.now, **self.best()})

    def last_batch(self, epoch: int, most: int) -> tuple[Array, ...]:
        *_, rows = self._data.batches(epoch)
        rows = slice(most) if isinstance(rows, slice) else rows[:most]
        return tuple(table[rows] for table in self._data.tables)

    def take(self, data: Data | None) -> None:
        self._data = data or NO_ROWS

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        return self._measure.run(self._feeds(rows, tables))

    def step_back(self) -> None:
        self._state = replace(self._state, now=self._state.before)
