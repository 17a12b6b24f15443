"""Update rules that scale the step of each weight by the gradients that it has had.

In all of them g = ∂C/∂W, and t counts steps from 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from layerwise.network.schedules import Rate
from layerwise.network.updates import UpdateRule
from layerwise.ops.arithmetic import maximum, sqrt, square


@dataclass(frozen=True)
class Adagrad(UpdateRule):
    """Adagrad: steps that shrink as squared gradients add up, in each weight by its own.

    At step t::

        s ← s + g²
        W ← W - ρ_t g / (√s + ε),   ρ_t = ρ / (1 + (t - 1) κ)

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ, in units of weight.
    learning_rate_decay : float >= 0
        κ, the growth of 1/ρ_t per step.
    epsilon : float >= 0
        ε, in units of gradient. With 0 a gradient that has always been 0 gives 0/0 and ends the fit.

    Notes
    -----
    PyTorch's formula and defaults.

    References
    ----------
    Duchi, Hazan and Singer (2011).
    """

    learning_rate: Rate = 0.01
    learning_rate_decay: float = 0.0
    epsilon: float = 1e-10
    slots: ClassVar[tuple[str, ...]] = ("sum_of_squares",)

    def scalars(self, step: Any) -> dict[str, Any]:
        # Without decay a number and not an array of equal ones, so that one row is fed for all steps.
        slowed = 1.0 + (step - 1) * self.learning_rate_decay if self.learning_rate_decay else 1.0
        return {"learning_rate": self.learning_rate / slowed, "epsilon": self.epsilon}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        s = slots[0] + square(g)
        return W - scalars["learning_rate"] * g / (sqrt(s) + scalars["epsilon"]), s


@dataclass(frozen=True)
class RMSprop(UpdateRule):
    """RMSprop: the gradient divided by the root of its mean square.

    At every step::

        v ← α v + (1 - α) g²
        W ← W - ρ g / (√v + ε)

    With ``centered`` the variance takes the place of v; with ``momentum`` the quotient is gathered::

        m ← α m + (1 - α) g,   variance = v - m²
        V ← μ V + g / (√v + ε),   W ← W - ρ V

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ, in units of weight.
    alpha : float, 0 <= α < 1
        The share of the mean squared gradient v that is kept in a step.
    epsilon : float >= 0
        ε, in units of gradient. With 0 a gradient that has always been 0 gives 0/0 and ends the fit.
    momentum : float, 0 <= μ < 1
        The share of the last step's velocity V that is kept; with 0 none is remembered.
    centered : bool
        Whether to divide by the standard deviation of the gradient. It is near 0 where the gradient hardly changes, and
        the step there as large as g/ε.

    Notes
    -----
    PyTorch's formula and defaults.

    References
    ----------
    Tieleman and Hinton (2012), lecture 6.5; Graves (2013), for the centred form.
    """

    learning_rate: Rate = 0.01
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    below: ClassVar[dict[str, float]] = {"alpha": 1.0, "momentum": 1.0}

    @property
    def slots(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride] -- by its options
        """Names of the arrays that it remembers: no more than its options need."""
        averages = ("variance", "first_moment") if self.centered else ("second_moment",)
        return (*averages, "velocity") if self.momentum else averages

    def scalars(self, step: Any) -> dict[str, Any]:
        fed = {"learning_rate": self.learning_rate, "alpha": self.alpha, "one_minus_alpha": 1.0 - self.alpha}
        return {**fed, "epsilon": self.epsilon, **({"momentum": self.momentum} if self.momentum else {})}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        alpha, rest, rate = scalars["alpha"], scalars["one_minus_alpha"], scalars["learning_rate"]
        if self.centered:
            # v - m² by a recurrence of its own: where g hardly changes the difference cancels, and may be negative.
            v = alpha * (slots[0] + rest * square(g - slots[1]))
            averages = (v, alpha * slots[1] + rest * g)
        else:
            v = alpha * slots[0] + rest * square(g)
            averages = (v,)
        scale = sqrt(v) + scalars["epsilon"]
        if not self.momentum:
            return W - rate * g / scale, *averages
        velocity = scalars["momentum"] * slots[-1] + g / scale
        return W - rate * velocity, *averages, velocity


@dataclass(frozen=True)
class Adadelta(UpdateRule):
    """Adadelta: steps in the unit of the weights without a rate, from the sizes of earlier steps and of gradients.

    At every step, with r for the argument ``rho``::

        v ← r v + (1 - r) g²
        D = g √(u + ε) / √(v + ε)
        u ← r u + (1 - r) D²
        W ← W - ρ D

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ, without unit.
    rho : float, 0 <= r < 1
        The share of both means that is kept in a step; the paper's ρ.
    epsilon : float > 0
        ε, in squared units of gradient in one root and of weight in the other: its size decides the first steps. With 0
        no step would ever be made.

    Notes
    -----
    PyTorch's formula and defaults.

    References
    ----------
    Zeiler (2012).
    """

    learning_rate: Rate = 1.0
    rho: float = 0.9
    epsilon: float = 1e-6
    slots: ClassVar[tuple[str, ...]] = ("second_moment", "squared_step")
    above: ClassVar[dict[str, float]] = {"epsilon": 0.0}
    below: ClassVar[dict[str, float]] = {"rho": 1.0}

    def scalars(self, step: Any) -> dict[str, Any]:
        return {**self.hyperparameters, "one_minus_rho": 1.0 - self.rho}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        rho, rest, epsilon = scalars["rho"], scalars["one_minus_rho"], scalars["epsilon"]
        v = rho * slots[0] + rest * square(g)
        D = sqrt(slots[1] + epsilon) / sqrt(v + epsilon) * g
        return W - scalars["learning_rate"] * D, v, rho * slots[1] + rest * square(D)


@dataclass(frozen=True)
class _TwoMoments(UpdateRule):
    """Base of Adam and what came of it: a mean gradient m, and a mean squared gradient v."""

    learning_rate: Rate = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    slots: ClassVar[tuple[str, ...]] = ("first_moment", "second_moment")
    below: ClassVar[dict[str, float]] = {"beta1": 1.0, "beta2": 1.0}

    def scalars(self, step: Any) -> dict[str, Any]:
        # Multiplied through by √(1 - β2^t), the corrections are factors of two scalars and of no array.
        root = np.sqrt(_one_minus_power(self.beta2, step))
        return {
            "beta1": self.beta1,
            "one_minus_beta1": 1.0 - self.beta1,
            "beta2": self.beta2,
            "one_minus_beta2": 1.0 - self.beta2,
            "step_size": self.learning_rate * (root / _one_minus_power(self.beta1, step)),
            "scaled_epsilon": self.epsilon * root,
        }

    def _moments(self, g: Any, slots: tuple[Any, ...], scalars: dict[str, Any]) -> tuple[Any, Any]:
        m = scalars["beta1"] * slots[0] + scalars["one_minus_beta1"] * g
        return m, scalars["beta2"] * slots[1] + scalars["one_minus_beta2"] * square(g)


@dataclass(frozen=True)
class Adam(_TwoMoments):
    """Adam: steps of about ρ in each weight, whatever the size of its gradient.

    At step t::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        W ← W - ρ m̂ / (√v̂ + ε),   m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
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

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        m, v = self._moments(g, slots, scalars)
        return W - scalars["step_size"] * m / (sqrt(v) + scalars["scaled_epsilon"]), m, v


@dataclass(frozen=True)
class AMSGrad(_TwoMoments):
    """Adam whose divisor never shrinks: the largest v so far takes the place of v.

    At step t::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        h ← max(h, v)
        W ← W - ρ m̂ / (√ĥ + ε),   m̂ = m / (1 - β1^t),  ĥ = h / (1 - β2^t)

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `Adam`.

    Notes
    -----
    PyTorch's convention, ``Adam(amsgrad=True)``: the maximum is that of v before its correction, and is corrected by
    the step at which it is used. The paper corrects neither m nor v.

    References
    ----------
    Reddi, Kale and Kumar (2018).
    """

    slots: ClassVar[tuple[str, ...]] = ("first_moment", "second_moment", "largest_second_moment")

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        m, v = self._moments(g, slots, scalars)
        largest = maximum(slots[2], v)
        return W - scalars["step_size"] * m / (sqrt(largest) + scalars["scaled_epsilon"]), m, v, largest


@dataclass(frozen=True)
class AdamW(_TwoMoments):
    """Adam with weights that decay by themselves, beside the gradient and not through it.

    At step t::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        W ← W - ρ λ W - ρ m̂ / (√v̂ + ε),   m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `Adam`.
    weight_decay : float >= 0, or Schedule
        λ: without a gradient a weight loses the share ρ λ in a step. Biases decay too.

    Notes
    -----
    PyTorch's formula and defaults. In the paper the decay is not multiplied by ρ.

    References
    ----------
    Loshchilov and Hutter (2019), Algorithm 2.
    """

    weight_decay: Rate = 0.01
    scheduled: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay")

    def scalars(self, step: Any) -> dict[str, Any]:
        return {**super().scalars(step), "decay": self.learning_rate * self.weight_decay}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        m, v = self._moments(g, slots, scalars)
        # Not (1 - ρ λ) W: in float32 the factor is off by up to 3e-8, in every step to the same side.
        change = scalars["decay"] * W + scalars["step_size"] * m / (sqrt(v) + scalars["scaled_epsilon"])
        return W - change, m, v


_TERMS = 50
"""Of the series for the product of momenta: each is below half of the one before it, and 2^-50 / 50 is 2e-17."""


@dataclass(frozen=True)
class NAdam(_TwoMoments):
    """Adam with Nesterov's momentum, which grows from about β1/2 to β1.

    At step t::

        m ← β1 m + (1 - β1) g
        v ← β2 v + (1 - β2) g²
        W ← W - ρ (m̄ + ḡ) / (√v̂ + ε),   v̂ = v / (1 - β2^t)
        m̄ = μ_(t+1) m / (1 - μ_1 … μ_(t+1)),   ḡ = (1 - μ_t) g / (1 - μ_1 … μ_t)
        μ_t = β1 (1 - 0.96^(t ψ) / 2)

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `Adam`.
    momentum_decay : float >= 0
        ψ: how fast the momentum μ grows; with 0 it stays at β1/2.

    Notes
    -----
    PyTorch's formula and defaults.

    References
    ----------
    Dozat (2016).
    """

    learning_rate: Rate = 0.002
    momentum_decay: float = 0.004

    def scalars(self, step: Any) -> dict[str, Any]:
        fed = super().scalars(step)
        del fed["step_size"]
        root = np.sqrt(_one_minus_power(self.beta2, step))
        (halved, halved_next), (left, left_next) = self._momenta(np.asarray(step, np.float64))
        of_gradient = (1.0 - self.beta1 + self.beta1 * halved) / left
        of_moment = self.beta1 * (1.0 - halved_next) / left_next
        rate = self.learning_rate * root
        return {**fed, "gradient_step_size": rate * of_gradient, "moment_step_size": rate * of_moment}

    def _momenta(self, t: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """0.96^(t ψ) / 2 and 1 - μ_1 … μ_t, each for t and for t + 1.

        log(μ_1 … μ_t) is t log β1 + Σ_i log(1 - q^i / 2) with q = 0.96^ψ. The logarithms as series, summed over i
        first, give -Σ_k (q^k / (1 - q^k)) (1 - q^(k t)) / (k 2^k): as much work at the step 1e15 as at the first.
        """
        log_q = self.momentum_decay * math.log(0.96)
        with np.errstate(over="ignore"):  # -∞ is as good as -1e308
            q_t, rest = np.exp(log_q * t), -np.expm1(log_q * t)
            halved, halved_next = 0.5 * q_t, 0.5 * np.exp(log_q * (t + 1))
        if not self.beta1:
            return (halved, halved_next), (1.0, 1.0)
        if log_q:
            series: Any = 0.0
            powers: Any = 0.0
            for k in range(1, _TERMS + 1):
                powers = 1.0 + q_t * powers  # (1 - q^(k t)) / (1 - q^t), without the cancellation
                series = series + powers * (math.exp(k * log_q) / (-math.expm1(k * log_q) * k * 2.0**k))
            logs = -rest * series
        else:
            logs = -t * math.log(2.0)
        logs = logs + t * math.log(self.beta1)
        logs_next = logs + math.log(self.beta1) + np.log1p(-halved_next)
        return (halved, halved_next), (-np.expm1(logs), -np.expm1(logs_next))

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        m, v = self._moments(g, slots, scalars)
        ahead = scalars["gradient_step_size"] * g + scalars["moment_step_size"] * m
        return W - ahead / (sqrt(v) + scalars["scaled_epsilon"]), m, v


def _one_minus_power(beta: float, t: Any) -> Any:
    """1 - β^t without cancellation: β = 1 - 1e-9 would leave 7 digits of it at the first step."""
    return -np.expm1(t * math.log(beta)) if beta else 1.0
