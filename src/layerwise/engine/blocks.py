"""Training in blocks of rows, of which one is held at a time: what lets data be larger than memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping

from layerwise.engine.training import Data, Outcome, Run, Training, cost_of
from layerwise.graph.node import Node
from layerwise.types import Array

_SAMPLE = 32
"""Rows of the last batch of a block from which it is known that the weights after it have a finite cost."""


class BlockTraining:
    """Training whose epochs go through blocks of rows.

    Parameters
    ----------
    training : Training
        What runs the steps of a block.
    blocks : callable (int) -> generator of Data
        The blocks of the epoch of this number. It holds none of them when it is asked for the next.
    """

    def __init__(self, training: Training, blocks: Callable[[int], Generator[Data]]):
        self._training, self._blocks = training, blocks
        self.engine = training.engine
        self._best_cost = math.inf
        self._last: tuple[Array, ...] | None = None  # rows of the last block, where it is held no more

    @property
    def steps_done(self) -> int:
        return self._training.steps_done

    @property
    def best_cost(self) -> float:
        return self._best_cost

    def start_from(self, cost: float) -> None:
        self._best_cost = cost
        self._training.start_from(cost)

    def go_on_from(self, steps: int, best: Mapping[Node, Array] | None, best_cost: float) -> None:
        self._best_cost = best_cost
        self._training.go_on_from(steps, best, best_cost)

    def run(self, run: Run) -> Outcome:
        outcome = Outcome(epoch_steps=run.first_step, epoch_cost=run.epoch_cost, whole_cost=run.epoch_cost)
        began = time.monotonic()
        try:
            while len(outcome.costs) < run.n_epochs and not outcome.stopped:
                if run.steps_limit is not None and self.steps_done >= run.steps_limit:
                    outcome.stopped = "steps"
                else:
                    self._epoch(run, outcome, began)
        except KeyboardInterrupt:
            outcome.stopped = "interrupted"
        return outcome

    def _epoch(self, run: Run, outcome: Outcome, began: float) -> None:
        """Go through the blocks of the next epoch, from the step on to which an earlier run has come."""
        epoch = run.first_epoch + len(outcome.costs)
        rows, first_step = 0, outcome.epoch_steps
        blocks = self._blocks(epoch)
        try:
            while True:
                try:
                    data = next(blocks, None)
                except Exception as error:  # of the caller's own code, whatever it is
                    outcome.stopped, outcome.error = "failed", error
                    return
                if data is None:
                    break
                rows += data.n_rows
                if first_step >= data.steps:
                    first_step -= data.steps
                    del data
                    continue
                self._training.take(data)
                self._block(epoch, first_step, run, outcome, began)
                first_step = 0
                if outcome.stopped:
                    return
                # Before the next one is made, so that memory holds one and not two.
                del data
                self._training.take(None)
        finally:
            blocks.close()
        cost = outcome.whole_cost / rows
        outcome.whole = False
        outcome.costs.append(cost)
        outcome.seconds.append(time.monotonic() - began)
        outcome.epoch_steps, outcome.epoch_cost = 0, 0.0
        if cost > run.cost_limit:
            outcome.stopped = "runaway"
        elif run.keep == "cost" and cost < self._best_cost:
            self._best_cost = cost
            self._training.mark_best()
        outcome.whole = True

    def _block(self, epoch: int, first_step: int, run: Run, outcome: Outcome, began: float) -> None:
        """The steps of the block that is held; the sum of costs goes on from the block before."""
        done = self.steps_done
        outcome.whole = False
        part = self._training.run(
            Run(
                epoch,
                1,
                first_step,
                outcome.epoch_cost,
                steps_limit=run.steps_limit,
                seconds_limit=max(run.seconds_limit - (time.monotonic() - began), 0.0),
                keep="marked" if run.keep else "",
            )
        )
        outcome.stopped, outcome.cost = part.stopped, part.cost
        outcome.epoch_steps += self.steps_done - done
        outcome.epoch_cost = outcome.whole_cost = part.whole_cost if part.costs else part.epoch_cost
        outcome.whole = part.whole
        if part.stopped:
            self._last = None
            return
        # In one table the next step would find out; here the rows from which that can be undone are about to go.
        self._last = self._training.last_batch(epoch, _SAMPLE)
        cost = cost_of(self._training, self._last)
        if not math.isfinite(cost):
            self._training.step_back()
            outcome.stopped, outcome.cost = "cost", cost

    def values(self) -> dict[Node, Array]:
        return self._training.values()

    def mark_best(self) -> None:
        self._training.mark_best()

    def best(self) -> dict[Node, Array]:
        return self._training.best()

    def restore_best(self) -> None:
        self._training.restore_best()

    def last_batch(self, epoch: int, most: int) -> tuple[Array, ...]:
        return self._training.last_batch(epoch, most) if self._last is None else self._last

    def take(self, data: Data | None) -> None:
        self._training.take(data)

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        return self._training.measure(tables, rows)

    def step_back(self) -> None:
        self._training.step_back()
