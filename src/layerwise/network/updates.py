"""Update rules: how a step changes a parameter. Each is one class: its numbers, what it remembers, its formula.

The formula runs on graph nodes, so the step of a network (cost, gradients, update) is one graph. Here are those with
one learning rate for all weights; `adaptive` and `signs` hold those that give each weight a step of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from layerwise.errors import DataError
from layerwise.network.checks import checked_flag, checked_number
from layerwise.network.schedules import Rate, Schedule


@dataclass(frozen=True)
class UpdateRule:
    """Base of all update rules: the fields of a rule are its hyperparameters.

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ, in units of weight per unit of gradient.

    Attributes
    ----------
    scheduled : tuple of str
        Names of the hyperparameters that may be a `Schedule`, and so change from step to step.
    slots : tuple of str
        Names of the arrays that the rule remembers for each parameter.
    above, below : dict of str to float
        Limits that a hyperparameter must stay above, or below. One that is not named in ``above`` is >= 0.
    full_batch : bool
        Whether every step must see all samples.

    Notes
    -----
    A field whose default is True or False takes these two; all others take numbers.
    """

    learning_rate: Rate = 0.01
    scheduled: ClassVar[tuple[str, ...]] = ("learning_rate",)
    slots: ClassVar[tuple[str, ...]] = ()
    above: ClassVar[dict[str, float]] = {}
    below: ClassVar[dict[str, float]] = {}
    full_batch: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, self._checked(f.name, f.default, getattr(self, f.name)))

    def _checked(self, name: str, default: object, value: Any) -> Any:
        what = f"{name} of {type(self).__name__}"
        if isinstance(default, bool):
            return checked_flag(what, value)
        if isinstance(value, Schedule):
            if name not in self.scheduled:
                may = f" A schedule may be given as {' or '.join(self.scheduled)}." if self.scheduled else ""
                raise DataError(f"{what} must be a number; got {value!r}.{may}")
            return value
        above = {"learning_rate": 0.0} | self.above
        return checked_number(what, value, above.get(name), self.below.get(name, math.inf))

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Names and values, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The hyperparameters that are schedules."""
        return {name: value for name, value in self.hyperparameters.items() if isinstance(value, Schedule)}

    def at(self, values: Mapping[str, Any]) -> Self:
        """The rule at some steps: a copy with these values for its schedules.

        Parameters
        ----------
        values : mapping of str to float or array
            One number, or one for each of the steps that `scalars` is then asked about. Not checked.
        """
        rule = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(rule, name, value)
        return rule

    def scalars(self, step: Any) -> dict[str, Any]:
        """What is fed at a step; by default the hyperparameters that are numbers.

        A rule with schedules is asked for it where they have values: ``rule.at(values).scalars(step)``.

        Parameters
        ----------
        step : int, or array of int
            Its number, counted from 1.

        Returns
        -------
        dict of str to float
            The names are the same at every step. For an array of steps, what changes is an array.
        """
        return {name: value for name, value in self.hyperparameters.items() if not isinstance(value, bool)}

    def start(self, slot: str) -> float:
        """What all numbers of a slot are before the first step."""
        return 0.0

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        """The parameter after the step, then its slots.

        Parameters
        ----------
        W, g : Node
            A parameter and the gradient of the cost by it.
        *slots : Node
        **scalars : Node, ()
            Under the names of `scalars`.
        """
        raise TypeError(f"{type(self).__name__} is no update rule: it has no formula")


@dataclass(frozen=True)
class SGD(UpdateRule):
    """Gradient descent: W ← W - ρ ∂C/∂W; full-batch or stochastic by the batch size.

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ.

    References
    ----------
    Robbins and Monro (1951).
    """

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        return (W - scalars["learning_rate"] * g,)


@dataclass(frozen=True)
class Momentum(UpdateRule):
    """Gradient descent with momentum: V ← μ V + ∂C/∂W, W ← W - ρ V.

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ.
    momentum : float, 0 <= μ < 1, or Schedule
        The share of the last step's velocity that is kept.

    Notes
    -----
    PyTorch's convention: the learning rate multiplies the velocity, not the gradient.

    References
    ----------
    Polyak (1964).
    """

    momentum: Rate = 0.9
    scheduled: ClassVar[tuple[str, ...]] = ("learning_rate", "momentum")
    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    below: ClassVar[dict[str, float]] = {"momentum": 1.0}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        velocity = scalars["momentum"] * slots[0] + g
        return W - scalars["learning_rate"] * velocity, velocity


@dataclass(frozen=True)
class Nesterov(UpdateRule):
    """Gradient descent with Nesterov's momentum: V ← μ V + ∂C/∂W, W ← W - ρ (∂C/∂W + μ V).

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ.
    momentum : float, 0 <= μ < 1, or Schedule
        The share of the last step's velocity that is kept.

    Notes
    -----
    PyTorch's convention, ``SGD(nesterov=True)``: the weights that are kept are those at which the gradient is taken,
    one push of the velocity ahead of Nesterov's own.

    References
    ----------
    Nesterov (1983); Sutskever, Martens, Dahl and Hinton (2013).
    """

    momentum: Rate = 0.9
    scheduled: ClassVar[tuple[str, ...]] = ("learning_rate", "momentum")
    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    below: ClassVar[dict[str, float]] = {"momentum": 1.0}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        velocity = scalars["momentum"] * slots[0] + g
        return W - scalars["learning_rate"] * (g + scalars["momentum"] * velocity), velocity
