"""The course of a fit, whatever makes its epochs: they are judged and told, the best is kept, and it ends."""

from __future__ import annotations

import abc
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from layerwise.fit.callbacks import FitInfo
from layerwise.fit.diagnostics import Observer, notes_after
from layerwise.fit.history import Fit, History
from layerwise.fit.task import Position, Task
from layerwise.types import Array


class Course(abc.ABC):
    """A fit in progress. What is derived from it makes the epochs.

    Parameters
    ----------
    task : Task
    start : Position
    optimizer : object
        What the caller named as such.

    Attributes
    ----------
    epochs : list of Epoch
    epoch_steps : int
        Of the epoch that is begun: whole steps.
    best : Best
    stop_reason : str
        Empty while there is none.
    diverged : bool
    notes : list of str
    """

    def __init__(self, task: Task, start: Position, optimizer: Any):
        self.task, self._start, self._optimizer = task, start, optimizer
        self.epochs = list(start.epochs)
        self.epoch_steps = start.epoch_steps
        self.best = start.best
        self.stop_reason, self.diverged, self.notes = "", False, list[str]()
        self._judged = start.judged
        self._observer = Observer(task.net, task.data.tables, task.dtype) if task.diagnostics else None
        self._epoch = len(self.epochs)  # that was begun last
        # Where the fit goes on, if that is not at the best weights.
        self._last: tuple[dict[str, Array], dict[str, Array]] | None = None
        self._began = time.monotonic() - start.seconds
        self._torn = False  # while what is known of the fit is being brought up to its weights
        self._raised: Exception | None = None  # by a metric or a listener, after whole steps

    # What makes the epochs says --------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def engine(self) -> str:
        """What runs the steps."""

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Whole steps so far."""

    @abc.abstractmethod
    def run(self) -> None:
        """Run to the end. KeyboardInterrupt leaves everything as it is after the last whole step."""

    @abc.abstractmethod
    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Copies of the weights as they are now, and of what is remembered besides them."""

    @abc.abstractmethod
    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        """Losses and outputs (N, …) for rows of inputs and targets, at the present weights."""

    @abc.abstractmethod
    def _mark_best(self) -> None:
        """The present weights are the best."""

    @abc.abstractmethod
    def _restore_best(self) -> None:
        """Go back to the best weights."""

    @abc.abstractmethod
    def _told(self, measured: float) -> None:
        """What was measured after an epoch: a number that is better when it is lower."""

    def _schedules(self) -> tuple[Mapping[str, Any], ...]:
        """What schedules have seen, as plain data."""
        return ()

    @abc.abstractmethod
    def _ended_early(self, save: bool) -> str:
        """What is to be done where a fit is cut off; where it was saved, if it was."""

    # Between epochs --------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Judge the epoch that has just ended, and say so to those who listen."""
        try:
            self._judge_and_tell()
        except Exception as error:
            self._raised = error
            raise

    def _judge_and_tell(self) -> None:
        task, epoch = self.task, self.epochs[-1]
        scores = {} if task.validation is None else task.validation.scores(self)
        layers = () if self._observer is None else self._observer.look(self.params())
        # What takes long is done; Ctrl-C before here leaves the epoch to be judged when the fit goes on.
        self._torn = True
        self.epochs[-1] = epoch = replace(epoch, validation=scores, layers=layers)
        measured = epoch.cost
        if task.validation is not None:
            score = scores[task.validation.watched]
            self.best = task.patience.after(self.best, epoch.number, score)
            if self.best.epoch == epoch.number:
                self._mark_best()
            measured = -score if task.patience.larger_is_better else score
        self._told(measured)
        self._judged = True
        self._torn = False
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

    # Ends ------------------------------------------------------------------------------------------------------

    def _say_done(self) -> None:
        n = len(self.epochs)
        self.stop_reason = f"All {n} epochs are done." if n > 1 else "The one epoch is done."

    def _say_out_of_time(self) -> None:
        self.stop_reason = f"The {self.task.max_seconds:g} seconds of max_seconds are over{self._here()}."

    def _say_out_of_steps(self) -> None:
        self.stop_reason = f"The {self.task.max_steps} steps of max_steps are done{self._here()}."

    def _here(self) -> str:
        return f", in epoch {len(self.epochs) + 1}" if self.epoch_steps else f", after epoch {len(self.epochs)}"

    def _take_best(self) -> None:
        if self.task.validation is None or not self.task.restore_best or not self.best.epoch:
            return
        self._last = self.state()
        self._restore_best()
        watched = self.task.validation.watched
        self.stop_reason += (
            f" The weights are those of epoch {self.best.epoch}, the best by the validation {watched} "
            f"({self.best.score:.6g})."
        )

    def interrupted(self) -> Fit:
        """What has been learned when Ctrl-C came."""
        return self._cut_short("Ctrl-C", save=True)[0]

    def failed(self, error: Exception) -> tuple[Fit, str]:
        """What has been learned when something raised, and the folder where that is saved.

        Nothing is saved after an error of the saving itself, or of a run that may not have come to whole steps.
        """
        return self._cut_short(type(error).__name__, save=error is self._raised)

    def _cut_short(self, by: str, save: bool) -> tuple[Fit, str]:
        kept = "" if self.best.epoch and self.task.restore_best else "; their weights are kept"
        self.stop_reason = f"{by} in epoch {self._epoch}, after {self.steps} steps in all{kept}."
        saved = self._ended_early(save and not self._torn)
        self._take_best()
        return self.fit(), saved

    # What there is at any time ---------------------------------------------------------------------------------

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def info(self) -> FitInfo:
        """What is known before the first step."""
        task, judged = self.task, self.task.validation
        return FitInfo(
            task.net,
            self._optimizer,
            task.n_rows,
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

    def params(self) -> Mapping[str, Array]:
        """The weights as they are now."""
        return self.state()[0]

    def fit(self) -> Fit:
        """What has been learned so far."""
        params, slots = self.state()
        last, slots = self._last or (params, slots)
        if self.task.diagnostics and self.epochs:
            self.notes += notes_after(self.task.net, self.epochs[-1].layers)
        return Fit(
            self.task.net,
            params,
            self._optimizer,
            History(tuple(self.epochs)),
            self.stop_reason,
            self.diverged,
            self.engine,
            self.best.epoch or None,
            self.steps,
            slots,
            last,
            tuple(self.notes),
            self._schedules(),
        )
