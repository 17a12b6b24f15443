"""Schedules that depend on the step alone: decays, warm-up, cycles. Values are those of PyTorch and optax.

In all of them t is the share of the fit that is done, `Moments.share`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from layerwise.network.schedules import Moments, Schedule, kind, one_of
from layerwise.types import FloatArray


def _half_cosine(x: FloatArray) -> FloatArray:
    """From 1 at x = 0 to 0 at x = 1, with slope 0 at both."""
    return 0.5 * (1.0 + np.cos(np.pi * x))


@kind
@dataclass(frozen=True)
class StepDecay(Schedule):
    """A number that is multiplied by a factor every so many epochs: value · factor^⌊epochs / every⌋.

    Parameters
    ----------
    value : float >= 0
        Before the first change.
    factor : float > 0
    every : float > 0
        In epochs.

    Notes
    -----
    PyTorch's ``StepLR(step_size=every, gamma=factor)``.
    """

    value: float
    factor: float = 0.1
    every: float = 30.0
    above: ClassVar[Mapping[str, float]] = {"factor": 0.0, "every": 0.0}

    def at(self, moments: Moments) -> FloatArray:
        return self.value * self.factor ** moments.whole_epochs(self.every)


@kind
@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """A number that is multiplied by a factor in every epoch: value · factor^epochs.

    Parameters
    ----------
    value : float >= 0
        In the first epoch.
    factor : float > 0
        An epoch. Above 1 the number grows: so a range of learning rates is tried in one short fit.
    staircase : bool
        Whether it changes only between epochs, and not with every step.

    Notes
    -----
    With ``staircase`` PyTorch's ``ExponentialLR``, without it optax's ``exponential_decay`` whose transition takes an
    epoch.
    """

    value: float
    factor: float = 0.95
    staircase: bool = True
    above: ClassVar[Mapping[str, float]] = {"factor": 0.0}

    def at(self, moments: Moments) -> FloatArray:
        return self.value * self.factor ** (moments.whole_epochs() if self.staircase else moments.epochs)


@kind
@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Half a cosine from one number to another: final + (value - final) (1 + cos πx) / 2.

    Parameters
    ----------
    value : float >= 0
        At the first step.
    final : float >= 0
        After the last.
    epochs : float > 0, optional
        How long it takes; then it stays. By default the whole fit, and x is t.

    Notes
    -----
    optax's ``cosine_decay_schedule``; PyTorch's ``CosineAnnealingLR``, which after its end rises again.

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", equation 5 without restarts.
    """

    value: float
    final: float = 0.0
    epochs: float | None = None
    above: ClassVar[Mapping[str, float]] = {"epochs": 0.0}

    def at(self, moments: Moments) -> FloatArray:
        x = moments.share if self.epochs is None else np.minimum(moments.epochs / self.epochs, 1.0)
        return self.final + (self.value - self.final) * _half_cosine(x)


@kind
@dataclass(frozen=True)
class Warmup(Schedule):
    """A factor that rises in a straight line to 1 and stays there: to be multiplied with another schedule.

    Parameters
    ----------
    epochs : float >= 0
        How long it rises; or
    share : float, 0 <= share <= 1
        the share of the fit in which it rises.
    start : float, 0 <= start <= 1
        The factor at the first step. With 0 that step changes nothing.

    Raises
    ------
    DataError
        Both or none of ``epochs`` and ``share`` are given.

    Notes
    -----
    PyTorch's ``LinearLR(start_factor=start)``. It delays nothing: a cosine that it is multiplied with goes on
    meanwhile.
    """

    epochs: float | None = None
    share: float | None = None
    start: float = 0.0
    most: ClassVar[Mapping[str, float]] = {"share": 1.0, "start": 1.0}

    def __post_init__(self) -> None:
        one_of(self, "epochs", "share")
        super().__post_init__()

    def at(self, moments: Moments) -> FloatArray:
        steps = moments.stretch(self.epochs, self.share)
        risen = np.minimum(moments.steps_done / steps, 1.0) if steps else np.ones_like(moments.steps_done)
        return self.start + (1.0 - self.start) * risen


@kind
@dataclass(frozen=True)
class OneCycle(Schedule):
    """A rise to a peak in the first part of the fit, and a descent far below the start in the rest.

    Parameters
    ----------
    value : float >= 0
        The peak.
    rise : float, 0 <= rise <= 1
        The share of the fit before the peak.
    divide : float > 0
        The first step has value / divide.
    final_divide : float > 0
        The last step has value / divide / final_divide.
    anneal : {"cos", "linear"}
        The form of both parts.

    Notes
    -----
    PyTorch's ``OneCycleLR``, with the places of its steps: the peak is after ``rise * steps - 1`` steps, the end at the
    last step. The momentum that PyTorch lets fall meanwhile from 0.95 to 0.85 and rise again is a schedule of its own,
    ``OneCycle(0.85, divide=0.85 / 0.95, final_divide=1)``.

    References
    ----------
    Smith and Topin (2018), "Super-convergence: very fast training of neural networks using large learning rates".
    """

    value: float
    rise: float = 0.3
    divide: float = 25.0
    final_divide: float = 1e4
    anneal: str = "cos"
    above: ClassVar[Mapping[str, float]] = {"divide": 0.0, "final_divide": 0.0}
    most: ClassVar[Mapping[str, float]] = {"rise": 1.0}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"anneal": ("cos", "linear")}

    def at(self, moments: Moments) -> FloatArray:
        last = max(moments.steps - 1, 0)
        peak = self.rise * moments.steps - 1
        done = np.minimum(moments.steps_done, last)
        first = self.value / self.divide
        down = self._annealed(self.value, first / self.final_divide, (done - peak) / ((last - peak) or 1.0))
        if peak <= 0:  # before the first step, or at it
            return down
        return np.where(done <= peak, self._annealed(first, self.value, done / peak), down)

    def _annealed(self, start: float, end: float, x: Any) -> FloatArray:
        return end + (start - end) * (_half_cosine(x) if self.anneal == "cos" else 1.0 - x)


@kind
@dataclass(frozen=True)
class InverseScaling(Schedule):
    """A number that falls with a power of the number of steps: value / (1 + steps done)^power.

    Parameters
    ----------
    value : float >= 0
        At the first step.
    power : float >= 0

    References
    ----------
    Robbins and Monro (1951): with powers above 1/2 and up to 1 the noise of minibatches averages out.
    """

    value: float
    power: float = 0.5

    def at(self, moments: Moments) -> FloatArray:
        return self.value / (1.0 + moments.steps_done) ** self.power


@kind
@dataclass(frozen=True)
class CosLog4(Schedule):
    """Four cycles, each twice as long as the one before it: value (1 - cos(2π log₂(1 + 15 t))) / 2.

    Parameters
    ----------
    value : float >= 0
        The peak of every cycle; between them, at t = 1/15, 3/15, 7/15 and 1, it is 0, and so at the first step.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart (2024), "Better by default", for tables.
    """

    value: float

    def at(self, moments: Moments) -> FloatArray:
        return self.value * 0.5 * (1.0 - np.cos(2.0 * np.pi * np.log2(1.0 + 15.0 * moments.share)))


@kind
@dataclass(frozen=True)
class FlatCosine(Schedule):
    """A number that stays for half of the fit, and goes to 0 by half a cosine in the other half.

    Parameters
    ----------
    value : float >= 0

    Notes
    -----
    value where t < 1/2, then value (1 + cos(π (2t - 1))) / 2.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart (2024), for weight decay and dropout.
    """

    value: float

    def at(self, moments: Moments) -> FloatArray:
        return self.value * _half_cosine(np.maximum(2.0 * moments.share - 1.0, 0.0))
