"""A fit in progress: runs of epochs, and what happens between them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from layerwise.engine.choice import training
from layerwise.engine.training import Data, Outcome, Run
from layerwise.fit.callbacks import Callback, FitInfo
from layerwise.fit.diagnostics import Observer, notes_after
from layerwise.fit.divergence import Growth
from layerwise.fit.history import Epoch, Fit, History
from layerwise.fit.stopping import Best, Patience
from layerwise.fit.validation import Validation
from layerwise.graph.node import Node
from layerwise.network.build import StepGraph, step_graph
from layerwise.network.groups import Clip, Group
from layerwise.network.network import Network
from layerwise.network.scheduled import RuleRun
from layerwise.network.updates import UpdateRule
from layerwise.ops.losses import LOSSES
from layerwise.types import Array

GROWTH = 100.0
"""An epoch whose cost is this many times that of the starting weights is a fit that runs away."""
_SAMPLE = 256
"""Rows from which the cost is found at the start and after the last step: more would cost as much as a step."""
_GLANCE = 0.25
"""Seconds between looks at a fit that only its progress is shown of: runs of so many epochs cost nothing measurable."""
_LAST_FINITE = "The last weights whose cost was finite are kept."

OnEpoch = Callable[[Epoch], Any]


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be fitted, and when it is enough; all of it checked.

    Parameters
    ----------
    net : Network
    rule : UpdateRule
    groups : dict of str to Group
    clip : Clip
    data : Data
    dtype, engine : str
    epochs : int
        The number of the last one.
    max_steps, max_seconds : optional
        In all.
    validation : Validation, optional
    patience : Patience
    restore_best : bool
    diagnostics : bool
    on_epoch_end : tuple of callable
        Each is given every epoch; what it returns, if anything but None or False, ends the fit.
    watch : Callback, optional
        Given the last epoch of each run, which may be of several.
    """

    net: Network
    rule: UpdateRule
    groups: Mapping[str, Group]
    clip: Clip
    data: Data
    dtype: str
    engine: str
    epochs: int
    max_steps: int | None = None
    max_seconds: float | None = None
    validation: Validation | None = None
    patience: Patience = field(default_factory=Patience)
    restore_best: bool = True
    diagnostics: bool = False
    on_epoch_end: tuple[OnEpoch, ...] = ()
    watch: Callback | None = None

    @property
    def weighted(self) -> bool:
        """Whether samples have weights."""
        return len(self.data.tables) > 2

    def step_graph(self) -> StepGraph:
        """The graph of a training step."""
        graph = self.net.graph(labels=self.data.tables[1].ndim == 1, weighted=self.weighted)
        return step_graph(graph, self.rule, self.groups, self.clip)


@dataclass(frozen=True, eq=False)
class Position:
    """How far a fit is: all that decides how it goes on, but for the task.

    Parameters
    ----------
    params : dict of str to array
    slots : dict of str to array
        What the update rule remembers, "velocity of W1"; what is not there starts as the rule says.
    steps : int
        Whole steps in all.
    epochs : tuple of Epoch
        Those that are done.
    epoch_steps, epoch_cost : int, float
        Of the epoch that is begun: whole steps, and the sum of cost times rows over them.
    first_cost : float
        Of the starting weights; NaN where it is not known yet.
    best : Best
    best_params : dict of str to array
        The weights after the best epoch; empty before the first step.
    best_cost : float
        The lowest cost of an epoch.
    schedules : list
        The state of the schedules of each rule.
    seconds : float
        Spent so far.
    judged : bool
        False where the last epoch has ended and was not looked at yet.
    """

    params: Mapping[str, Array]
    slots: Mapping[str, Array] = field(default_factory=dict[str, Array])
    steps: int = 0
    epochs: tuple[Epoch, ...] = ()
    epoch_steps: int = 0
    epoch_cost: float = 0.0
    first_cost: float = math.nan
    best: Best = field(default_factory=Best)
    best_params: Mapping[str, Array] = field(default_factory=dict[str, Array])
    best_cost: float = math.inf
    schedules: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0
    judged: bool = True


class Saves(Protocol):
    """Where positions are saved."""

    @property
    def place(self) -> str:
        """The folder."""
        ...

    def begin(self, loop: Loop) -> None:
        """The fit begins, or goes on."""
        ...

    def next_step(self, steps: int) -> int | None:
        """The step after which one is to be saved next; None: only where epochs end."""
        ...

    def after_run(self, loop: Loop) -> None:
        """Save the position, if its time has come: the run has come to the end of an epoch, or to `next_step`."""
        ...

    def at_end(self, loop: Loop) -> None:
        """Save the position at which the fit has ended."""
        ...


class Loop:
    """A fit in progress.

    Parameters
    ----------
    task : Task
    start : Position
    saves : Saves, optional
    """

    def __init__(self, task: Task, start: Position, saves: Saves | None = None):
        self.task, self._start, self._saves = task, start, saves
        self.epochs = list(start.epochs)
        self.best = start.best
        self.epoch_steps, self.epoch_cost = start.epoch_steps, start.epoch_cost
        self._judged = start.judged
        self.stop_reason, self.diverged, self.notes = "", False, list[str]()
        self._graph = task.step_graph()
        steps = task.data.steps
        self._rules = [RuleRun(fed.rule, steps, task.epochs) for fed in self._graph.fed]
        for run, state in zip(self._rules, start.schedules, strict=False):
            run.restore(state)
        values = self._graph.start(start.params, task.dtype)
        values |= {node: start.slots[node.name] for node in self._graph.slots.values() if node.name in start.slots}
        self._training = training(task.engine, self._graph.step(self._rules), task.data, values, task.dtype)
        nodes = self._graph.graph.parameters
        best = {nodes[name]: array for name, array in start.best_params.items()}
        if start.steps:
            self._training.go_on_from(start.steps, best or None, start.best_cost)
        self._observer = Observer(task.net, task.data.tables, task.dtype) if task.diagnostics else None
        self._first_cost = start.first_cost
        self._looks = bool(
            task.validation is not None
            or task.on_epoch_end
            or saves is not None
            or self._observer is not None
            or any(rule.measures for rule in self._rules)
        )  # at each epoch by itself
        self._epoch = len(self.epochs)  # that was begun last
        self._last: Mapping[Node, Array] = {}  # where the fit goes on, if that is not at the best weights
        self._began = time.monotonic() - start.seconds
        self._stride = 1 if task.watch is not None else task.epochs  # epochs of the next run, if it may be of several
        self._raised: Exception | None = None  # by a metric or a listener, after whole steps

    @property
    def engine(self) -> str:
        """What runs the steps."""
        return self._training.engine

    @property
    def steps(self) -> int:
        """Whole steps so far."""
        return self._training.steps_done

    # The run ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run to the end. KeyboardInterrupt leaves everything as it is after the last whole step."""
        task = self.task
        if math.isnan(self._first_cost):
            self._first_cost = self._cost_of(slice(_SAMPLE))
            self._training.start_from(self._first_cost)
        bounded = LOSSES[task.net.loss.name].nonnegative
        limit = GROWTH * self._first_cost if bounded and self._first_cost > 0 else math.inf
        if self._saves is not None:
            self._saves.begin(self)
        if self.epochs and self._looks:
            self._judge() if not self._judged else self._stop_if_exhausted()
        while not self.stop_reason and len(self.epochs) < task.epochs:
            self._go_on(limit)
        if not self.stop_reason:
            n = len(self.epochs)
            self.stop_reason = f"All {n} epochs are done." if n > 1 else "The one epoch is done."
        if not self.diverged and self.steps > self._start.steps:
            self._check_last_step()
        if self._saves is not None and not self.diverged:
            self._saves.at_end(self)
        self._take_best()

    def _go_on(self, limit: float) -> None:
        """As many epochs as nothing has to look at one by one, or as steps go to the next save."""
        task = self.task
        save_at = None if self._saves is None else self._saves.next_step(self.steps)
        last = min((s for s in (task.max_steps, save_at) if s is not None), default=None)
        run = Run(
            len(self.epochs) + 1,
            1 if self._looks else min(self._stride, task.epochs - len(self.epochs)),
            self.epoch_steps,
            self.epoch_cost,
            limit,
            last,
            math.inf if task.max_seconds is None else max(task.max_seconds - self._seconds(), 0.0),
            "marked" if task.validation is not None else "cost" if limit < math.inf else "",
        )
        begun, before = self._seconds(), len(self.epochs)
        self._epoch = before + 1
        outcome = self._training.run(run)
        self._record(outcome, begun)
        if outcome.stopped == "interrupted":
            raise KeyboardInterrupt
        if outcome.stopped in ("cost", "weights", "runaway"):
            self._stop_diverged(outcome)
        elif outcome.stopped == "time":
            self.stop_reason = f"The {task.max_seconds:g} seconds of max_seconds are over{self._here()}."
        elif outcome.stopped == "steps" and self.steps == task.max_steps:
            self.stop_reason = f"The {task.max_steps} steps of max_steps are done{self._here()}."
        if self._looks and len(self.epochs) > before and outcome.stopped != "runaway":
            self._judge()
        if task.watch is not None and len(self.epochs) > before:
            task.watch.on_epoch_end(self.epochs[-1])
            pace = (self._seconds() - begun) / (len(self.epochs) - before)
            self._stride = max(1, int(_GLANCE / max(pace, 1e-7)))
        if self._saves is not None and not self.stop_reason:
            self._saves.after_run(self)

    def _record(self, outcome: Outcome, begun: float) -> None:
        first, steps = len(self.epochs) + 1, self.task.data.steps
        for i, (cost, seconds) in enumerate(zip(outcome.costs, outcome.seconds, strict=True)):
            rate = self._rules[0].value("learning_rate", (first + i) * steps)
            self.epochs.append(Epoch(first + i, cost, begun + seconds, learning_rate=rate))
            self._judged = not self._looks
        self.epoch_steps, self.epoch_cost = outcome.epoch_steps, outcome.epoch_cost
        self._epoch = len(self.epochs) + (outcome.stopped not in ("", "runaway"))

    def _judge(self) -> None:
        """Judge the epoch that has just ended, and say so to those who listen."""
        try:
            self._judge_and_tell()
        except Exception as error:
            self._raised = error
            raise

    def _judge_and_tell(self) -> None:
        task, epoch = self.task, self.epochs[-1]
        scores = {} if task.validation is None else task.validation.scores(self._training)
        layers = () if self._observer is None else self._observer.look(self.params())
        # What takes long is done; Ctrl-C before here leaves the epoch to be judged when the fit goes on.
        self.epochs[-1] = epoch = replace(epoch, validation=scores, layers=layers)
        measured = epoch.cost
        if task.validation is not None:
            score = scores[task.validation.watched]
            self.best = task.patience.after(self.best, epoch.number, score)
            if self.best.epoch == epoch.number:
                self._training.mark_best()
            measured = -score if task.patience.larger_is_better else score
        for rule in self._rules:
            rule.after_epoch(measured)
        self._judged = True
        self._stop_if_exhausted()
        for listener in task.on_epoch_end:
            answer = listener(epoch)
            if answer not in (None, False) and not self.stop_reason:
                why = answer if isinstance(answer, str) else "on_epoch_end asked for it."
                self.stop_reason = f"Stopped after epoch {epoch.number}: {why}"

    def _stop_if_exhausted(self) -> None:
        task, epoch = self.task, self.epochs[-1].number
        if task.validation is not None and task.patience.exhausted(self.best, epoch) and not self.stop_reason:
            self.stop_reason = (
                f"No improvement of the validation {task.validation.watched} in {task.patience.epochs} epochs, "
                f"up to epoch {epoch}."
            )

    def _cost_of(self, rows: Array | slice) -> float:
        """The cost of some training rows, without penalties."""
        losses = self._training.measure(self.task.data.tables, rows)[0].astype(np.float64)
        return float(np.mean(losses * self.task.data.tables[2][rows] if self.task.weighted else losses))

    def _check_last_step(self) -> None:
        """No further step would find out that the last one led to weights of infinite cost."""
        epoch = len(self.epochs) + (self.epoch_steps > 0)
        cost = self._cost_of(self._training.last_rows(epoch, _SAMPLE))
        if not math.isfinite(cost):
            self._training.step_back()
            self._say_diverged(f"The cost is {cost} after the last step", _LAST_FINITE)

    def _take_best(self) -> None:
        if self.task.validation is None or not self.task.restore_best or not self.best.epoch:
            return
        self._last = self._training.values()
        self._training.restore_best()
        watched = self.task.validation.watched
        self.stop_reason += (
            f" The weights are those of epoch {self.best.epoch}, the best by the validation {watched} "
            f"({self.best.score:.6g})."
        )

    # Ends ---------------------------------------------------------------------------------------------------

    def _here(self) -> str:
        return f", in epoch {len(self.epochs) + 1}" if self.epoch_steps else f", after epoch {len(self.epochs)}"

    def _stop_diverged(self, outcome: Outcome) -> None:
        here = f"epoch {len(self.epochs) + 1}, step {self.steps + 1}"
        if outcome.stopped == "runaway":
            last = self.epochs[-1]
            what = f"The cost grew from {self._first_cost:.3g} at the start to {last.cost:.3g} in epoch {last.number}"
            self._training.restore_best()
            self._say_diverged(what, "The weights of the lowest cost are kept.")
        elif outcome.stopped == "cost":
            self._say_diverged(f"The cost became {outcome.cost} in {here}", _LAST_FINITE)
        else:
            self._say_diverged(f"The weights became infinite or NaN in {here}", _LAST_FINITE)

    def _say_diverged(self, what: str, kept: str) -> None:
        task = self.task
        if self.task.validation is not None and self.best.epoch:
            kept = ""  # said with the best epoch
        elif not self.steps:
            kept = "The starting weights are kept."
        rate = self._rules[0].value("learning_rate", max(self.steps, 1))
        growth = Growth.between(task.net, self._start.params, self.params(), task.data.tables[:2], task.dtype)
        self.diverged = True
        parts = (f"{what}, with learning rate {rate:g}.", kept, growth.sentence, growth.remedy(rate))
        self.stop_reason = " ".join(part for part in parts if part)

    # What there is at any time --------------------------------------------------------------------------------

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def params(self) -> dict[str, Array]:
        """The weights as they are now."""
        values = self._training.values()
        return {name: values[node] for name, node in self._graph.graph.parameters.items()}

    def position(self) -> Position:
        """How far the fit is."""
        values = self._training.values()
        nodes = self._graph.graph.parameters
        best = self._training.best()
        return Position(
            {name: values[node] for name, node in nodes.items()},
            {node.name: values[node] for node in self._graph.slots.values()},
            self.steps,
            tuple(self.epochs),
            self.epoch_steps,
            self.epoch_cost,
            self._first_cost,
            self.best,
            {name: best[node] for name, node in nodes.items()},
            self._training.best_cost,
            tuple(run.state for run in self._rules),
            self._seconds(),
            self._judged,
        )

    def info(self) -> FitInfo:
        """What is known before the first step."""
        task, judged = self.task, self.task.validation
        return FitInfo(
            task.net,
            task.rule,
            task.data.n_rows,
            task.data.batch_size,
            task.epochs,
            int(task.data.seed),
            task.dtype,
            self.engine,
            () if judged is None else judged.names,
            "" if judged is None else judged.watched,
            task.max_seconds,
            History(tuple(self.epochs)),
        )

    def interrupted(self) -> Fit:
        """What has been learned when Ctrl-C came."""
        return self._cut_short("Ctrl-C", save=True)

    def failed(self, error: Exception) -> tuple[Fit, str]:
        """What has been learned when something raised, and the folder where that is saved.

        Nothing is saved after an error of the saving itself, or of a run that may not have come to whole steps.
        """
        save = error is self._raised and self._saves is not None
        fit = self._cut_short(type(error).__name__, save)
        return fit, self._saves.place if save and self._saves is not None else ""

    def _cut_short(self, by: str, save: bool) -> Fit:
        kept = "" if self.best.epoch and self.task.restore_best else "; their weights are kept"
        self.stop_reason = f"{by} in epoch {self._epoch}, after {self.steps} steps in all{kept}."
        if save and self._saves is not None:
            self._saves.at_end(self)
        self._take_best()
        return self.fit()

    def fit(self) -> Fit:
        """What has been learned so far."""
        values = self._training.values()
        last = self._last or values
        nodes = self._graph.graph.parameters
        if self.task.diagnostics and self.epochs:
            self.notes += notes_after(self.task.net, self.epochs[-1].layers)
        return Fit(
            self.task.net,
            {name: values[node] for name, node in nodes.items()},
            self.task.rule,
            History(tuple(self.epochs)),
            self.stop_reason,
            self.diverged,
            self.engine,
            self.best.epoch or None,
            self.steps,
            {node.name: last[node] for node in self._graph.slots.values()},
            {name: last[node] for name, node in nodes.items()},
            tuple(self.notes),
        )
