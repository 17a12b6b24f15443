"""Update rules: how a step changes a parameter. Each is one class: its numbers, what it remembers, its formula.

The formula runs on graph nodes, so the step of a network (cost, gradients, update) is one graph.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from layerwise.errors import DataError


def _as_number(value: object) -> float:
    """``value`` as a float; NaN for what is no number, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


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
        Names of the arrays that the rule remembers for each parameter; they start at 0.
    below : dict of str to float
        Upper limits that a hyperparameter must stay under.
    """

    learning_rate: float = 0.01
    slots: ClassVar[tuple[str, ...]] = ()
    below: ClassVar[dict[str, float]] = {}

    def __post_init__(self) -> None:
        for name, value in self.hyperparameters.items():
            number = _as_number(value)
            if not math.isfinite(number) or number < 0 or (name == "learning_rate" and number == 0):
                low = "> 0" if name == "learning_rate" else ">= 0"
                raise DataError(f"{name} of {type(self).__name__} must be a finite number {low}; got {value!r}.")
            if number >= self.below.get(name, math.inf):
                raise DataError(f"{name} of {type(self).__name__} must be below {self.below[name]}; got {value!r}.")
            object.__setattr__(self, name, number)

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Names and values, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def step(self, W: Any, g: Any, *slots: Any, **hyperparameters: Any) -> tuple[Any, ...]:
        """The parameter after the step, then its slots.

        Parameters
        ----------
        W, g : Node
            A parameter and the gradient of the cost by it.
        *slots : Node
        **hyperparameters : Node
            The fields, as nodes.
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

    def step(self, W: Any, g: Any, *slots: Any, **hyperparameters: Any) -> tuple[Any, ...]:
        return (W - hyperparameters["learning_rate"] * g,)


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

    def step(self, W: Any, g: Any, *slots: Any, **hyperparameters: Any) -> tuple[Any, ...]:
        velocity = hyperparameters["momentum"] * slots[0] + g
        return W - hyperparameters["learning_rate"] * velocity, velocity
