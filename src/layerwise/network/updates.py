"""Update rules: how a step changes a parameter. Each is one class: its numbers, what it remembers, its formula.

The formula runs on graph nodes, so the step of a network (cost, gradients, update) is one graph. Here are those with
one learning rate for all weights; `adaptive` and `signs` hold those that give each weight a step of its own.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from layerwise.arrays import as_number
from layerwise.errors import DataError


@dataclass(frozen=True)
class UpdateRule:
    """Base of all update rules: the fields of a rule are its hyperparameters.

    Parameters
    ----------
    learning_rate : float > 0
        ρ, in units of weight per unit of gradient.

    Attributes
    ----------
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

    learning_rate: float = 0.01
    slots: ClassVar[tuple[str, ...]] = ()
    above: ClassVar[dict[str, float]] = {}
    below: ClassVar[dict[str, float]] = {}
    full_batch: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            checked = self._checked_choice if isinstance(f.default, bool) else self._checked_number
            object.__setattr__(self, f.name, checked(f.name, getattr(self, f.name)))

    def _checked_choice(self, name: str, value: object) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            raise DataError(f"{name} of {type(self).__name__} must be True or False; got {value!r}.")
        return bool(value)

    def _checked_number(self, name: str, value: object) -> float:
        number, above = as_number(value), {"learning_rate": 0.0} | self.above
        if not math.isfinite(number) or number < 0 or number <= above.get(name, -1.0):
            low = f"> {above[name]:g}" if name in above else ">= 0"
            raise DataError(f"{name} of {type(self).__name__} must be a finite number {low}; got {value!r}.")
        if number >= self.below.get(name, math.inf):
            raise DataError(f"{name} of {type(self).__name__} must be below {self.below[name]}; got {value!r}.")
        return number

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Names and values, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def scalars(self, step: Any) -> dict[str, Any]:
        """What is fed at a step; by default the hyperparameters that are numbers.

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
    learning_rate : float > 0
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
    learning_rate : float > 0
        ρ.
    momentum : float, 0 <= μ < 1
        The share of the last step's velocity that is kept.

    Notes
    -----
    PyTorch's convention: the learning rate multiplies the velocity, not the gradient.

    References
    ----------
    Polyak (1964).
    """

    momentum: float = 0.9
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
    learning_rate : float > 0
        ρ.
    momentum : float, 0 <= μ < 1
        The share of the last step's velocity that is kept.

    Notes
    -----
    PyTorch's convention, ``SGD(nesterov=True)``: the weights that are kept are those at which the gradient is taken,
    one push of the velocity ahead of Nesterov's own.

    References
    ----------
    Nesterov (1983); Sutskever, Martens, Dahl and Hinton (2013).
    """

    momentum: float = 0.9
    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    below: ClassVar[dict[str, float]] = {"momentum": 1.0}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        velocity = scalars["momentum"] * slots[0] + g
        return W - scalars["learning_rate"] * (g + scalars["momentum"] * velocity), velocity
