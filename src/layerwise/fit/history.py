"""What a fit returns: weights, history, and why it stopped, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.network.network import Network
from layerwise.network.updates import UpdateRule
from layerwise.types import Array, FloatArray

if TYPE_CHECKING:
    from layerwise.fit.diagnostics import LayerReport
    from layerwise.fit.quasi_newton import LBFGS


@dataclass(frozen=True)
class Epoch:
    """One pass over the data.

    Parameters
    ----------
    number : int
        From 1.
    cost : float
        Average over the samples of the epoch, each at the weights of its step; with the penalties of the layers. By
        `LBFGS`: at the weights after the iteration.
    seconds : float
        Since the fit began, by the monotonic clock; in a fit that was resumed, time between its parts left out.
    validation : dict of str to float
        Scores on the validation rows after the epoch: "cost", without penalties, and the metrics that were named.
    learning_rate : float
        At its last step; NaN by `LBFGS`, which has none.
    layers : tuple of LayerReport
        One a layer, where diagnostics were asked for.
    """

    number: int
    cost: float
    seconds: float
    validation: Mapping[str, float] = field(default_factory=dict[str, float])
    learning_rate: float = float("nan")
    layers: tuple[LayerReport, ...] = ()


@dataclass(frozen=True)
class History(Sequence[Epoch]):
    """The epochs of a fit, in order; a sequence of `Epoch`.

    Examples
    --------
    ``fit.history.cost`` is the learning curve as an array; ``fit.history[-1].cost`` its last value;
    ``fit.history.validation["accuracy"]`` the curve of a metric.
    """

    epochs: tuple[Epoch, ...] = ()

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, index: int) -> Epoch:  # type: ignore[override]
        return self.epochs[index]

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    @property
    def cost(self) -> FloatArray:
        """The cost of each epoch, (n_epochs,) float64."""
        return np.array([e.cost for e in self.epochs], dtype=np.float64)

    @property
    def learning_rate(self) -> FloatArray:
        """The learning rate at the last step of each epoch, (n_epochs,) float64."""
        return np.array([e.learning_rate for e in self.epochs], dtype=np.float64)

    @property
    def validation(self) -> dict[str, FloatArray]:
        """The curve of each score on the validation rows, (n_epochs,) float64; NaN where it was not found."""
        names = dict.fromkeys(name for e in self.epochs for name in e.validation)
        return {name: np.array([e.validation.get(name, np.nan) for e in self.epochs]) for name in names}


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of `layerwise.train`.

    Parameters
    ----------
    network : Network
    params : dict of str to array
        The learned weights.
    optimizer : UpdateRule or LBFGS
    history : History
    stop_reason : str
        A sentence.
    diverged : bool
        The cost stopped being finite or ran away; ``stop_reason`` says which weights ``params`` are.
    engine : str
        What ran the steps: "numpy", or "native" with the instruction set, such as "native avx2". Between
        instruction sets weights agree to rounding, under one of them to the bit.
    best_epoch : int or None
        With validation: the epoch that was the best by the score that is watched, of equal ones the last. ``params``
        are its weights, unless ``restore_best`` was off.
    steps : int
        Whole steps, with those of the fits that it goes on from.
    slots : dict of str to array
        What the update rule remembers after the last step, under names such as "velocity of W1".
    last : dict of str to array
        The weights after the last step, from which ``train(..., params=fit)`` goes on.
    notes : tuple of str
        Sentences that a user should see.
    schedules : tuple of dict
        What the schedules of the optimizer have seen, such as the best cost of `ReduceOnPlateau`.
    """

    network: Network
    params: dict[str, Array]
    optimizer: UpdateRule | LBFGS
    history: History
    stop_reason: str
    diverged: bool = False
    engine: str = "numpy"
    best_epoch: int | None = None
    steps: int = 0
    slots: Mapping[str, Array] = field(default_factory=dict[str, Array])
    last: Mapping[str, Array] = field(default_factory=dict[str, Array])
    notes: tuple[str, ...] = ()
    schedules: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
        return f"<Fit of {self.network!r}: {len(self.history)} epochs. {self.stop_reason}>"
