"""A schedule that goes by what is measured after each epoch, and the state that this takes during a fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from layerwise.arrays import as_number
from layerwise.errors import DataError
from layerwise.network.schedules import Constant, Moments, Schedule, kind
from layerwise.types import FloatArray


@dataclass(frozen=True)
class PlateauState:
    """What a `ReduceOnPlateau` has seen.

    Parameters
    ----------
    value : float
        At present.
    best : float or None
        The lowest that was measured, by more than the threshold; None before the first epoch.
    bad_epochs : int
        Since then, not counting those of the cooldown.
    cooldown : int
        Epochs in which bad ones are still not counted.
    """

    value: float
    best: float | None = None
    bad_epochs: int = 0
    cooldown: int = 0


@kind
@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """A number that is multiplied by a factor where the cost has stopped falling.

    Parameters
    ----------
    value : float >= 0
        At the start.
    factor : float, 0 < factor < 1
    patience : int >= 0
        Epochs without a better cost that are let pass; the number changes after the next one.
    threshold : float, 0 <= threshold < 1
        A cost is better below (1 - threshold) times the best one.
    cooldown : int >= 0
        Epochs after a change in which a cost that is not better does not count.
    minimum : float >= 0
        The number does not fall below.

    Notes
    -----
    PyTorch's ``ReduceLROnPlateau`` with its defaults: the lowest cost counts, and the threshold is relative. Only its
    ``eps`` is left out, which keeps changes below 1e-8 from happening. A cost of NaN is not better. As in PyTorch, of
    costs below 0 an equal one counts as better.

    Part of a schedule that comes after another one, it counts from there.
    """

    value: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    minimum: float = 0.0
    above: ClassVar[Mapping[str, float]] = {"factor": 0.0}
    below: ClassVar[Mapping[str, float]] = {"factor": 1.0, "threshold": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patience", "cooldown"):
            number = getattr(self, name)
            if number != int(number):
                raise DataError(f"{name} of ReduceOnPlateau must be a whole number of epochs; got {number!r}.")
            object.__setattr__(self, name, int(number))
        if self.minimum > self.value:
            raise DataError(
                f"minimum of ReduceOnPlateau must not be above value; got {self.minimum!r} and {self.value!r}."
            )

    def at(self, moments: Moments) -> FloatArray:
        """The value at the start, whatever the step: what comes of it is known to a `ScheduleRun`."""
        return np.full_like(moments.steps_done, self.value)

    def start(self) -> PlateauState:
        """The state before the first epoch."""
        return PlateauState(self.value)

    def after_epoch(self, state: PlateauState, measured: float) -> PlateauState:
        """The state after an epoch.

        Parameters
        ----------
        state : PlateauState
        measured : float
            The cost of the epoch, or another number that is better when it is lower.
        """
        best, bad, cooldown = state.best, state.bad_epochs + 1, state.cooldown
        if measured < (math.inf if best is None else best * (1.0 - self.threshold)):
            best, bad = measured, 0
        if cooldown:
            cooldown, bad = cooldown - 1, 0
        if bad <= self.patience:
            return PlateauState(state.value, best, bad, cooldown)
        return PlateauState(max(state.value * self.factor, self.minimum), best, 0, self.cooldown)


class ScheduleRun:
    """A schedule during a fit: its values, also where they depend on what has been measured.

    Parameters
    ----------
    schedule : Schedule
    steps : int
        Of the whole fit, as planned.
    steps_per_epoch : int
    """

    def __init__(self, schedule: Schedule, steps: int, steps_per_epoch: int):
        self.schedule, self.steps, self.steps_per_epoch = schedule, steps, steps_per_epoch
        self._plateaus = tuple(_plateaus(schedule))
        self._states = tuple(plateau.start() for plateau in self._plateaus)
        self._epochs = 0

    @property
    def measures(self) -> bool:
        """Whether values depend on what is measured, so that those after the present epoch are not known yet."""
        return bool(self._plateaus)

    def at(self, steps_done: Any) -> FloatArray:
        """The values at these steps, as far as they are known: no plateau changes in an epoch.

        Parameters
        ----------
        steps_done : array_like
            Whole steps before each of them, from 0.

        Raises
        ------
        DataError
            A schedule of another library's or one's own gives no number for each step.
        """
        moments = Moments(steps_done, self.steps, self.steps_per_epoch)
        with np.errstate(over="ignore"):  # ∞ is a value that is refused by name
            values = np.asarray(_filled(self.schedule, iter(self._states)).at(moments), np.float64)
        if values.shape != moments.steps_done.shape:
            raise DataError(
                f"{self.schedule!r} must give one number a step, in the shape {moments.steps_done.shape}; "
                f"got the shape {values.shape}."
            )
        return values

    def after_epoch(self, measured: float) -> None:
        """Say what was measured after an epoch.

        Parameters
        ----------
        measured : float
            The cost, or another number that is better when it is lower.
        """
        self._epochs += 1
        if not self._plateaus:
            return
        last = Moments(np.array(self._epochs * self.steps_per_epoch - 1.0), self.steps, self.steps_per_epoch)
        heard = zip(self._plateaus, self._states, _begun(self.schedule, last), strict=True)
        self._states = tuple(p.after_epoch(s, float(measured)) if on else s for p, s, on in heard)

    @property
    def state(self) -> dict[str, Any]:
        """What has been seen, as plain data."""
        return {"epochs": self._epochs, "plateaus": [dataclasses.asdict(s) for s in self._states]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`.

        Raises
        ------
        DataError
            It is not one of this schedule.
        """
        try:
            epochs, states = state["epochs"], tuple(PlateauState(**s) for s in state["plateaus"])
        except (TypeError, KeyError):
            raise DataError(f"This is no state of a schedule: {state!r}.") from None
        counts = [epochs, *(n for s in states for n in (s.bad_epochs, s.cooldown))]
        numbers = [n for s in states for n in (s.value, 0.0 if s.best is None else s.best)]
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts)
        if not whole or not all(map(math.isfinite, map(as_number, numbers))) or any(s.value < 0 for s in states):
            raise DataError(f"This is no state of a schedule: {state!r}.")
        if len(states) != len(self._plateaus):
            raise DataError(
                f"The state of a schedule with {len(self._plateaus)} plateaus was expected; got one with {len(states)}."
            )
        self._epochs, self._states = epochs, states


def _plateaus(schedule: Schedule) -> Iterator[ReduceOnPlateau]:
    """All plateaus of a schedule, in its order."""
    if isinstance(schedule, ReduceOnPlateau):
        yield schedule
    for part in schedule.parts:
        yield from _plateaus(part)


def _filled(schedule: Schedule, states: Iterator[PlateauState]) -> Schedule:
    """The schedule with the present value of each plateau, in the order of `_plateaus`."""
    if isinstance(schedule, ReduceOnPlateau):
        return Constant(next(states).value)
    return schedule.with_parts(tuple(_filled(part, states) for part in schedule.parts)) if schedule.parts else schedule


def _begun(schedule: Schedule, moment: Moments) -> Iterator[bool]:
    """For each plateau, in the order of `_plateaus`, whether its turn has come; that it is over makes no difference."""
    if isinstance(schedule, ReduceOnPlateau):
        yield bool(moment.steps_done >= 0)
    for part, seen in zip(schedule.parts, schedule.seen_by_parts(moment), strict=True):
        yield from _begun(part, seen)
