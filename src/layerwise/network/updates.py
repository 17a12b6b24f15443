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
from layerwise.ops.arithmetic import sqrt, square


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

    def scalars(self, step: int) -> dict[str, float]:
        """What is fed at the step with this number, counted from 1; by default the hyperparameters.

        The names are the same at every step.
        """
        return self.hyperparameters

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
class Adam(UpdateRule):
    """Adam: steps of about ρ in each weight, whatever the size of its gradient.

    At step t, with g = ∂C/∂W::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        W ← W - ρ m̂ / (√v̂ + ε),   m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)

    Parameters
    ----------
    learning_rate : float > 0
        ρ, in units of weight.
    beta1 : float, 0 <= β1 < 1
        The share of the mean gradient m that is kept in a step.
    beta2 : float, 0 <= β2 < 1
        The share of the mean squared gradient v that is kept in a step.
    epsilon : float >= 0
        ε, in units of gradient. With 0 a gradient that has always been 0 gives 0/0 and ends the fit.

    Notes
    -----
    PyTorch's convention: ε is added after the correction of v. The paper's section 2 has another form that adds it
    before, which is larger by 1/√(1 - β2^t).

    References
    ----------
    Kingma and Ba (2015), Algorithm 1.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slots: ClassVar[tuple[str, ...]] = ("first_moment", "second_moment")
    below: ClassVar[dict[str, float]] = {"beta1": 1.0, "beta2": 1.0}

    def scalars(self, step: int) -> dict[str, float]:
        # Multiplied through by √(1 - β2^t), the corrections are factors of two scalars and of no array.
        root = math.sqrt(_one_minus_power(self.beta2, step))
        return {
            "beta1": self.beta1,
            "one_minus_beta1": 1.0 - self.beta1,
            "beta2": self.beta2,
            "one_minus_beta2": 1.0 - self.beta2,
            "step_size": self.learning_rate * (root / _one_minus_power(self.beta1, step)),
            "scaled_epsilon": self.epsilon * root,
        }

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        m = scalars["beta1"] * slots[0] + scalars["one_minus_beta1"] * g
        v = scalars["beta2"] * slots[1] + scalars["one_minus_beta2"] * square(g)
        return W - scalars["step_size"] * m / (sqrt(v) + scalars["scaled_epsilon"]), m, v


def _one_minus_power(beta: float, t: int) -> float:
    """1 - β^t without cancellation: β = 1 - 1e-9 would leave 7 digits of it at the first step."""
    return -math.expm1(t * math.log(beta)) if beta else 1.0
