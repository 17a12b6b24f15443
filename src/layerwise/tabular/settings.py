"""How a table is learned: what a user may choose, and what is chosen where nothing is said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from layerwise.errors import DataError, unknown_name
from layerwise.fit.stopping import Patience
from layerwise.network.adaptive import Adadelta, Adagrad, Adam, AdamW, AMSGrad, NAdam, RMSprop
from layerwise.network.checks import checked_number
from layerwise.network.network import Network
from layerwise.network.signs import Lion
from layerwise.network.updates import SGD, Momentum, Nesterov, UpdateRule
from layerwise.randomness import Stream, permutation

LEARNING_RATES = (0.01, 0.001, 0.0001)
"""Of the default optimizer; another one's are as many times larger as the rate that it has by default."""
EPOCHS, LEAST_STEPS = 20, 300
"""Passes of a fit whose number of epochs is not given; more of them where they would make too few steps."""
# Without Rprop, which takes all rows at once.
_RULES = (Momentum, Nesterov, SGD, Adam, AdamW, NAdam, AMSGrad, RMSprop, Adagrad, Adadelta, Lion)
OPTIMIZERS: dict[str, type[UpdateRule]] = {rule.__name__.lower(): rule for rule in _RULES}


@dataclass(frozen=True)
class Settings:
    """How a table is learned.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int
        Widths of the hidden layers.
    activation : str
        Of the hidden layers.
    learning_rate : float, optional
        By default the first of `learning_rates` with which the network learns more than a constant.
    momentum : float
        Of the optimizers "momentum" and "nesterov".
    batch_size : int
    epochs : int, optional
        By default `EPOCHS`, or as many as make `LEAST_STEPS` steps on a small table.
    held_out : float
        Share of rows that are not learned from, to score the model; 0 for none.
    seed : int
    optimizer : str
        One of `OPTIMIZERS`.
    validation : float
        Share of the other rows by which the best epoch is chosen; 0 for none. They are neither learned from nor
        scored on: a score of rows that have chosen the epoch is too good.
    patience : int, optional
        As many epochs that are no better end the fit.
    max_seconds : float, optional
        Of training; with several learning rates, of all together.

    Raises
    ------
    DataError, NetworkError, UnknownName
        A setting with which no table could be learned.
    """

    hidden_layer_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    learning_rate: float | None = None
    momentum: float = 0.9
    batch_size: int = 64
    epochs: int | None = None
    held_out: float = 0.2
    seed: int = 0
    optimizer: str = "momentum"
    validation: float = 0.0
    patience: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        # All refused here, before a long table is read for nothing.
        for name in ("held_out", "validation"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise DataError(f"{name} must be a share of the rows, 0 <= {name} < 1; got {share!r}.")
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        Network([1, *self.hidden_layer_sizes, 1], hidden=self.activation)
        for rate in self.learning_rates:
            self.rule(rate)
        Patience(epochs=self.patience)
        if self.patience is not None and not self.validation:
            raise DataError(
                f"patience={self.patience} needs rows to judge epochs by, apart from those held out for the score. "
                "Give validation too, such as 0.2."
            )
        if self.max_seconds is not None:
            checked_number("max_seconds", self.max_seconds, above=0.0)
        permutation(self.seed, Stream.SPLIT, 0, 1)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Those to try, the largest first."""
        if self.learning_rate is not None:
            return (self.learning_rate,)
        own: Any = OPTIMIZERS[self.optimizer]().learning_rate
        usual: Any = Momentum().learning_rate
        return tuple(float(f"{own / usual * rate:.9g}") for rate in LEARNING_RATES)

    def rule(self, learning_rate: float) -> UpdateRule:
        """The optimizer with this rate."""
        if self.optimizer in ("momentum", "nesterov"):
            return OPTIMIZERS[self.optimizer](learning_rate, momentum=self.momentum)  # pyright: ignore[reportCallIssue]
        return OPTIMIZERS[self.optimizer](learning_rate)

    def epochs_for(self, n_rows: int) -> int:
        """The number of passes over ``n_rows``."""
        if self.epochs is not None:
            return self.epochs
        return max(EPOCHS, math.ceil(LEAST_STEPS / math.ceil(n_rows / self.batch_size)))
