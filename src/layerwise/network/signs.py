"""Update rules that go by the signs of gradients and not by their sizes; g = ∂C/∂W."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from layerwise.errors import DataError
from layerwise.network.schedules import Rate
from layerwise.network.updates import UpdateRule
from layerwise.ops.arithmetic import greater, less, maximum, minimum, sign, where


@dataclass(frozen=True)
class Lion(UpdateRule):
    """Lion: steps of ρ in every weight, in the direction of the sign of a mean gradient.

    At every step::

        W ← W - ρ (sign(β1 m + (1 - β1) g) + λ W)
        m ← β2 m + (1 - β2) g

    Parameters
    ----------
    learning_rate : float > 0, or Schedule
        ρ, in units of weight: the size of a step. Three to ten times smaller than for `AdamW`.
    beta1 : float, 0 <= β1 < 1
        The share of the mean gradient m in the direction of the step.
    beta2 : float, 0 <= β2 < 1
        The share of the mean gradient m that is kept in a step.
    weight_decay : float >= 0, or Schedule
        λ: without a gradient a weight loses the share ρ λ in a step. Biases decay too. To match `AdamW`, as many times
        larger as ρ is smaller.

    References
    ----------
    Chen et al. (2023), "Symbolic discovery of optimization algorithms", Algorithm 2; the defaults are those of the
    authors' program.
    """

    learning_rate: Rate = 0.0001
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: Rate = 0.0
    scheduled: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay")
    slots: ClassVar[tuple[str, ...]] = ("first_moment",)
    below: ClassVar[dict[str, float]] = {"beta1": 1.0, "beta2": 1.0}

    def scalars(self, step: Any) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "beta1": self.beta1,
            "one_minus_beta1": 1.0 - self.beta1,
            "beta2": self.beta2,
            "one_minus_beta2": 1.0 - self.beta2,
            "decay": self.learning_rate * self.weight_decay,
        }

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        (m,) = slots
        direction = sign(scalars["beta1"] * m + scalars["one_minus_beta1"] * g)
        after = W - (scalars["decay"] * W + scalars["learning_rate"] * direction)
        return after, scalars["beta2"] * m + scalars["one_minus_beta2"] * g


@dataclass(frozen=True)
class Rprop(UpdateRule):
    """Rprop: a step size for each weight, which grows while its gradient keeps its sign and shrinks when that turns.

    At every step, with s for the sign of the last one::

        a = s · sign(g)
        Δ ← Δ η+ where a > 0,  Δ η- where a < 0;  within Δ_min … Δ_max
        s ← sign(g), but 0 where a < 0
        W ← W - Δ s

    Takes the whole data set at once (``batch_size=None``): minibatches turn the signs by chance, and the step sizes
    shrink. `train` refuses anything else.

    Parameters
    ----------
    learning_rate : float > 0
        Δ at the start, in units of weight; before the first step it is limited to Δ_min … Δ_max.
    eta_minus : float, 0 < η- < 1
    eta_plus : float > 1
        η+.
    step_size_min, step_size_max : float > 0
        Δ_min and Δ_max, in units of weight.

    Notes
    -----
    PyTorch's formula and defaults: where the sign turned, a weight rests for one step and does not go back. PyTorch
    takes the sign of the product of both gradients, which is 0 where that underflows; here it is the product of signs.
    And it takes the sign of NaN for 0; here the weight becomes NaN, and the fit ends.

    References
    ----------
    Riedmiller and Braun (1993); Igel and Hüsken (2000), who call this form iRprop⁻.
    """

    learning_rate: float = 0.01
    scheduled: ClassVar[tuple[str, ...]] = ()
    eta_minus: float = 0.5
    eta_plus: float = 1.2
    step_size_min: float = 1e-6
    step_size_max: float = 50.0
    slots: ClassVar[tuple[str, ...]] = ("last_sign", "step_size")
    above: ClassVar[dict[str, float]] = {
        "eta_minus": 0.0,
        "eta_plus": 1.0,
        "step_size_min": 0.0,
        "step_size_max": 0.0,
    }
    below: ClassVar[dict[str, float]] = {"eta_minus": 1.0}
    full_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size_min > self.step_size_max:
            raise DataError(
                "step_size_min of Rprop must not be above step_size_max; "
                f"got {self.step_size_min!r} and {self.step_size_max!r}."
            )

    def times(self, factor: float) -> Self:
        # Where Δ begins; from 0 it would be raised to Δ_min, and grow.
        rule = super().times(factor)
        return rule if factor else rule.at({"step_size_min": 0.0})

    def scalars(self, step: Any) -> dict[str, Any]:
        fed = self.hyperparameters
        del fed["learning_rate"]
        return fed

    def start(self, slot: str) -> float:
        return self.learning_rate if slot == "step_size" else 0.0

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        last_sign, step_size = slots
        agreement = last_sign * sign(g)
        turned = less(agreement, 0.0)
        factor = where(turned, scalars["eta_minus"], where(greater(agreement, 0.0), scalars["eta_plus"], 1.0))
        size = minimum(maximum(step_size * factor, scalars["step_size_min"]), scalars["step_size_max"])
        direction = where(turned, 0.0, sign(g))
        return W - size * direction, direction, size
