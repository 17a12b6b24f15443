"""An update rule during a fit: the numbers of its steps, where some of them are schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from layerwise.errors import DataError
from layerwise.network.plateau import ScheduleRun
from layerwise.network.regularise import LayerNumbers
from layerwise.network.updates import UpdateRule
from layerwise.types import Array, FloatArray

_Rule = TypeVar("_Rule", bound=UpdateRule | LayerNumbers)

_MOST_CHECKED = 2**18
"""Steps of a plan whose values are looked at before a fit: a few milliseconds for each schedule."""


class RuleRun(Generic[_Rule]):
    """An update rule during a fit.

    Parameters
    ----------
    rule : UpdateRule or LayerNumbers
    steps_per_epoch : int
    epochs : int
        As planned; "share of the fit" in a schedule is one of these.
    steps : int, optional
        As planned, where they are not these epochs times the steps of one.

    Raises
    ------
    DataError
        A schedule has a value that is not finite, below 0, or not below the limit of its hyperparameter. Values that
        depend on what is measured are checked as they are at the start.

    Examples
    --------
    >>> import layerwise as lw
    >>> from layerwise.network.scheduled import RuleRun
    >>> run = RuleRun(lw.SGD(lw.CosineDecay(0.5)), steps_per_epoch=10, epochs=4)
    >>> run.scalars(1)
    {'learning_rate': 0.5}
    >>> run.value("learning_rate", 21)
    0.25
    """

    def __init__(self, rule: _Rule, steps_per_epoch: int, epochs: int, steps: int | None = None):
        self.rule = rule
        steps = steps_per_epoch * epochs if steps is None else steps
        self._runs = {name: ScheduleRun(s, steps, steps_per_epoch) for name, s in rule.schedules.items()}
        # Evenly spaced where not all: the values of a long plan hardly change from one step to the next.
        steps_done = np.arange(steps) if steps <= _MOST_CHECKED else np.linspace(0, steps - 1, _MOST_CHECKED).round()
        for name, run in self._runs.items():
            self._check(name, steps_done, run.at(steps_done), steps_per_epoch)

    def _check(self, name: str, steps_done: Array, values: FloatArray, steps_per_epoch: int) -> None:
        limit = self.rule.below.get(name, math.inf)
        wrong = np.flatnonzero(~((values >= 0) & (values < limit)))
        if not len(wrong):
            return
        step, value = int(steps_done[wrong[0]]), values[wrong[0]]
        allowed = "finite numbers >= 0" + (f" and below {limit:g}" if limit < math.inf else "")
        raise DataError(
            f"{name} of {self.rule.name} must be {allowed} at all steps; got {value:g} at step {step + 1}, "
            f"in epoch {step // steps_per_epoch + 1}, from {self._runs[name].schedule!r}. Give a schedule within these."
        )

    @property
    def measures(self) -> bool:
        """Whether numbers depend on what is measured after an epoch: then epochs are run one by one."""
        return any(run.measures for run in self._runs.values())

    @property
    def first(self) -> _Rule:
        """The rule with the values of the first step: one without schedules, whose graph is that of all steps."""
        return self._at(np.array(1))

    def _at(self, step: Any) -> _Rule:
        values = {name: run.at(np.asarray(step) - 1) for name, run in self._runs.items()}
        # One step gives plain numbers, for formulas that know no arrays.
        return self.rule.at({name: value if value.ndim else value.item() for name, value in values.items()})

    def scalars(self, step: Any) -> dict[str, Any]:
        """What is fed at a step, as `UpdateRule.scalars`.

        Parameters
        ----------
        step : int, or array of int
            Its number, counted from 1 at the start of the fit; of an epoch after the present one only where nothing
            `measures`.
        """
        return self._at(step).scalars(step) if self._runs else self.rule.scalars(step)

    def value(self, name: str, step: int) -> float:
        """The number that a hyperparameter is at a step, counted from 1."""
        return float(getattr(self._at(step), name))

    def after_epoch(self, measured: float) -> None:
        """Say what was measured after an epoch: its cost, or another number that is better when it is lower."""
        for run in self._runs.values():
            run.after_epoch(measured)

    @property
    def state(self) -> dict[str, Any]:
        """What schedules have seen, as plain data by hyperparameter."""
        return {name: run.state for name, run in self._runs.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`.

        Raises
        ------
        DataError
            It is not one of this rule.
        """
        if set(state) != set(self._runs):
            raise DataError(
                f"The state of schedules for {sorted(self._runs)} was expected; got one for {sorted(map(str, state))}."
            )
        for name, run in self._runs.items():
            run.restore(state[name])
