"""Fits by an update rule: runs of epochs, and what ends them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from layerwise.compile.plan import plan
from layerwise.engine.reference import Runner
from layerwise.engine.training import Outcome, Run, cost_of
from layerwise.fit.blocks import spread_rows
from layerwise.fit.course import Course
from layerwise.fit.divergence import Growth
from layerwise.fit.history import Epoch
from layerwise.fit.task import Position, Task
from layerwise.network.scheduled import RuleRun
from layerwise.ops.losses import LOSSES
from layerwise.types import Array

GROWTH = 100.0
"""An epoch whose cost is this many times that of the starting weights is a fit that runs away."""
_SAMPLE = 256
"""Rows from which the cost is found after the last step: more would cost as much as a step."""
_GLANCE = 0.25
"""Seconds between looks at a fit that only its progress is shown of: runs of so many epochs cost nothing measurable."""
_LAST_FINITE = "The last weights whose cost was finite are kept."


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


class Loop(Course):
    """A fit by an update rule, in progress.

    Parameters
    ----------
    task : Task
    start : Position
    saves : Saves, optional
    """

    def __init__(self, task: Task, start: Position, saves: Saves | None = None):
        super().__init__(task, start, task.rule)
        self._saves = saves
        self.epoch_cost = start.epoch_cost
        self._graph = task.step_graph()
        before = {"epochs_done": len(start.epochs), "steps_done": start.steps - start.epoch_steps}
        before |= {"forgotten": task.forgotten}
        self._rules = [RuleRun(fed.rule, task.steps, task.epochs, **before) for fed in self._graph.fed]
        if len(start.schedules) == len(self._rules):  # else of a fit with other groups
            for run, state in zip(self._rules, start.schedules, strict=True):
                run.restore(state)
        values = self._graph.start(start.params, task.dtype)
        values |= {node: start.slots[node.name] for node in self._graph.slots.values() if node.name in start.slots}
        self._training = task.training(self._graph.step(self._rules), values)
        nodes = self._graph.graph.parameters
        best = {nodes[name]: array for name, array in start.best_params.items()}
        if start.steps or not math.isnan(start.first_cost):
            self._training.go_on_from(start.steps, best or None, start.best_cost)
        self._first_cost = start.first_cost
        self._looks = bool(
            task.validation is not None
            or task.on_epoch_end
            or saves is not None
            or self._observer is not None
            or any(rule.measures for rule in self._rules)
        )  # at each epoch by itself
        self._stride = 1 if task.watch is not None else task.epochs  # epochs of the next run, if it may be of several

    @property
    def engine(self) -> str:
        return self._training.engine

    @property
    def steps(self) -> int:
        return self._training.steps_done

    # The run ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        task = self.task
        if math.isnan(self._first_cost):
            rows = spread_rows(task.data.tables) if task.blocks is None else task.blocks.spread
            self._first_cost = cost_of(self._training, rows) + self._penalties()
            self._training.start_from(self._first_cost)
        if self._saves is not None:
            self._saves.begin(self)
        if self.epochs and self._looks:
            self._judge() if not self._judged else self._stop_if_exhausted()
        while not self.stop_reason and len(self.epochs) < task.epochs:
            self._go_on()
        if not self.stop_reason:
            self._say_done()
        if not self.diverged and self.steps > self._start.steps:
            self._check_last_step()
        if self._saves is not None and not self.diverged:
            self._saves.at_end(self)
        self._take_best()

    def _go_on(self) -> None:
        """As many epochs as nothing has to look at one by one, or as steps go to the next save."""
        task = self.task
        # Only costs that are bounded below by 0 have ratios.
        may_grow = not LOSSES[task.net.loss.name].nonnegative or not self._first_cost > 0
        limit = math.inf if may_grow else GROWTH * self._first_cost
        first_of_blocks = task.blocks is not None and not self.epochs
        if task.blocks is not None:
            # The rows of the start are of the first block, which may be unlike the others.
            limit = math.inf if first_of_blocks else max(limit, GROWTH * self.epochs[0].cost)
        save_at = None if self._saves is None else self._saves.next_step(self.steps)
        last = min((s for s in (task.max_steps, save_at) if s is not None), default=None)
        run = Run(
            len(self.epochs) + 1,
            1 if self._looks or first_of_blocks else min(self._stride, task.epochs - len(self.epochs)),
            self.epoch_steps,
            self.epoch_cost,
            limit,
            last,
            math.inf if task.max_seconds is None else max(task.max_seconds - self._seconds(), 0.0),
            "marked" if task.validation is not None else "" if may_grow else "cost",
        )
        begun, before = self._seconds(), len(self.epochs)
        self._epoch = before + 1
        self._torn = True
        outcome = self._training.run(run)
        self._record(outcome, begun)
        self._torn = not outcome.whole
        if outcome.stopped == "interrupted":
            raise KeyboardInterrupt
        if outcome.error is not None:
            self._raised = outcome.error
            raise outcome.error
        if outcome.stopped in ("cost", "weights", "runaway"):
            self._stop_diverged(outcome)
        elif outcome.stopped == "time":
            self._say_out_of_time()
        elif outcome.stopped == "steps" and self.steps == task.max_steps:
            self._say_out_of_steps()
        if self._looks and len(self.epochs) > before and outcome.stopped != "runaway":
            self._judge()
        if task.watch is not None and len(self.epochs) > before:
            task.watch.on_epoch_end(self.epochs[-1])
            pace = (self._seconds() - begun) / (len(self.epochs) - before)
            self._stride = max(1, int(_GLANCE / max(pace, 1e-7)))
        if self._saves is not None and not self.stop_reason:
            self._saves.after_run(self)

    def _record(self, outcome: Outcome, begun: float) -> None:
        number = len(self.epochs) + 1
        whole = self.steps - outcome.epoch_steps
        for later, cost, seconds in zip(range(len(outcome.costs))[::-1], outcome.costs, outcome.seconds, strict=True):
            rate = self._rules[0].value("learning_rate", max(whole - later * self.task.steps, 1))
            self.epochs.append(Epoch(number, cost, begun + seconds, learning_rate=rate))
            number += 1
            self._judged = not self._looks
        self.epoch_steps, self.epoch_cost = outcome.epoch_steps, outcome.epoch_cost
        self._epoch = len(self.epochs) + (outcome.stopped not in ("", "runaway"))

    def _told(self, measured: float) -> None:
        for rule in self._rules:
            rule.after_epoch(measured)

    def _schedules(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(run.state for run in self._rules)

    def _ended_early(self, save: bool) -> str:
        if self._saves is None or not save:
            return ""
        self._saves.at_end(self)
        return self._saves.place

    def _penalties(self) -> float:
        """What the layers add to the cost at the present weights."""
        graph = self._graph.graph
        params = self.params()
        feeds = {node: params[name] for name, node in graph.parameters.items()}
        return float(sum(Runner(plan(graph.penalties), self.task.dtype).run(feeds)))

    def _check_last_step(self) -> None:
        """No further step would find out that the last one led to weights of infinite cost."""
        epoch = len(self.epochs) + (self.epoch_steps > 0)
        cost = cost_of(self._training, self._training.last_batch(epoch, _SAMPLE))
        if not math.isfinite(cost):
            self._training.step_back()
            self._say_diverged(f"The cost is {cost} after the last step", _LAST_FINITE)

    # Ends ---------------------------------------------------------------------------------------------------

    def _stop_diverged(self, outcome: Outcome) -> None:
        here = f"epoch {len(self.epochs) + 1}, step {self.steps + 1}"
        if outcome.stopped == "runaway":
            last = self.epochs[-1]
            what = f"The cost grew from {self._first_cost:.3g} at the start to {last.cost:.3g} in epoch {last.number}"
            grown = self.params()
            self._training.restore_best()
            self._say_diverged(what, "The weights of the lowest cost are kept.", grown)
        elif outcome.stopped == "cost":
            self._say_diverged(f"The cost became {outcome.cost} in {here}", _LAST_FINITE)
        else:
            self._say_diverged(f"The weights became infinite or NaN in {here}", _LAST_FINITE)

    def _say_diverged(self, what: str, kept: str, grown: Mapping[str, Array] | None = None) -> None:
        task = self.task
        if self.task.validation is not None and self.best.epoch:
            kept = ""  # said with the best epoch
        elif not self.steps:
            kept = "The starting weights are kept."
        rate = self._rules[0].value("learning_rate", max(self.steps, self._start.steps + 1))
        grown = self.params() if grown is None else grown
        growth = Growth.between(task.net, self._start.params, grown, task.data.tables[:2], task.dtype)
        self.diverged = True
        parts = (f"{what}, with learning rate {rate:g}.", kept, growth.sentence, growth.remedy(rate))
        self.stop_reason = " ".join(part for part in parts if part)

    # What there is at any time --------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        values = self._training.values()
        nodes = self._graph.graph.parameters
        slots = self._graph.slots.values()
        return {name: values[node] for name, node in nodes.items()}, {node.name: values[node] for node in slots}

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        return self._training.measure(tables, rows)

    def _mark_best(self) -> None:
        self._training.mark_best()

    def _restore_best(self) -> None:
        self._training.restore_best()

    def position(self) -> Position:
        """How far the fit is."""
        params, slots = self.state()
        best = self._training.best()
        return Position(
            params,
            slots,
            self.steps,
            tuple(self.epochs),
            self.epoch_steps,
            self.epoch_cost,
            self._first_cost,
            self.best,
            {name: best[node] for name, node in self._graph.graph.parameters.items()},
            self._training.best_cost,
            self._schedules(),
            self._seconds(),
            self._judged,
        )
