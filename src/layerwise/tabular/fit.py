"""From a table to a Model: hold rows out, encode, train, score against a plain baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np

from layerwise.errors import DataError, TableError, TrainingInterrupted
from layerwise.fit.history import Epoch, Fit
from layerwise.fit.minibatch import train
from layerwise.model.model import Model, score
from layerwise.network.network import Network
from layerwise.network.updates import Momentum
from layerwise.randomness import Stream, permutation
from layerwise.table.encode import fit_encoder
from layerwise.table.frame import Table
from layerwise.table.target import Target, Task, fit_target
from layerwise.types import Array

LEARNING_RATES = (0.01, 0.001, 0.0001)
EPOCHS, LEAST_STEPS = 20, 300
"""Passes of a fit whose number of epochs is not given; more of them where they would make too few steps."""


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
        By default the first of `LEARNING_RATES` with which the network learns more than a constant.
    momentum : float
    batch_size : int
    epochs : int, optional
        By default `EPOCHS`, or as many as make `LEAST_STEPS` steps on a small table.
    held_out : float
        Share of rows that are not learned from, to score the model; 0 for none.
    seed : int

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

    def __post_init__(self) -> None:
        # All refused here, before a long table is read for nothing.
        if not 0 <= self.held_out < 1:
            raise DataError(f"held_out must be a share of the rows, 0 <= held_out < 1; got {self.held_out!r}.")
        Network([1, *self.hidden_layer_sizes, 1], hidden=self.activation)
        for rate in self.learning_rates:
            Momentum(rate, self.momentum)
        permutation(self.seed, Stream.SPLIT, 0, 1)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Those to try, the largest first."""
        return LEARNING_RATES if self.learning_rate is None else (self.learning_rate,)

    def epochs_for(self, n_rows: int) -> int:
        """The number of passes over ``n_rows``."""
        if self.epochs is not None:
            return self.epochs
        return max(EPOCHS, math.ceil(LEAST_STEPS / math.ceil(n_rows / self.batch_size)))


@dataclass(frozen=True, eq=False)
class TableFit:
    """A model learned from a table, and what is known of it.

    Parameters
    ----------
    model : Model
        Its ``report`` holds the scores as well.
    fit : Fit
    metrics, baseline : dict of str to float
        Scores on the held-out rows: of the model, and of always predicting the most frequent class or
        the mean. Empty where no row was held out.
    interrupted : bool
        Ctrl-C ended the training early.
    notes : tuple of str
        Sentences that a user should see.
    """

    model: Model
    fit: Fit
    metrics: dict[str, float]
    baseline: dict[str, float]
    interrupted: bool
    notes: tuple[str, ...] = ()


def fit_table(
    table: Table,
    target_name: str,
    *,
    task: Task | None = None,
    ignore: Sequence[str] = (),
    settings: Settings | None = None,
    on_start: Callable[[Network, Target, int], None] | None = None,
    on_epoch_end: Callable[[Epoch], None] | None = None,
) -> TableFit:
    """Learn one column of a table from the others.

    Parameters
    ----------
    table : Table
    target_name : str
        The column to predict.
    task : {"classification", "regression"}, optional
        By default found from the target.
    ignore : sequence of str
        Columns that are no inputs.
    settings : Settings, optional
    on_start : callable(network, target, n_epochs), optional
    on_epoch_end : callable(Epoch), optional

    Returns
    -------
    TableFit

    Raises
    ------
    TableError, DataError
        No such target, a target that cannot be learned, too few rows; the message names it.
    """
    settings = settings or Settings()
    learned, held_out = _split(table, settings)
    # Classes from all rows, so that a rare one has its output; numbers are scaled by the learned rows alone.
    target = fit_target(table, target_name, task)
    if target.task == "regression":
        target = fit_target(learned, target_name, "regression")
    encoder = fit_encoder(learned, ignore=[target_name, *ignore])
    X = encoder.transform(learned)
    y = target.encode(learned.column(target_name))
    network = _network_for(target, encoder.width, settings)
    epochs = settings.epochs_for(learned.n_rows)
    constant_cost = _constant_cost(target, y)
    notes: list[str] = []
    for rate, next_rate in pairwise((*settings.learning_rates, None)):
        assert rate is not None
        if on_start is not None:
            on_start(network, target, epochs)
        fit, interrupted = _trained(network, X, y, epochs, rate, settings, on_epoch_end)
        learned_something = not fit.diverged and len(fit.history) and fit.history[-1].cost < constant_cost
        if interrupted or learned_something:
            break
        if next_rate is not None:
            notes.append(f"Learning rate {rate:g} led nowhere ({_ending(fit)}), so {next_rate:g} was tried.")
    model = Model(network, fit.params, encoder, target)
    metrics, baseline = _scores(model, learned, held_out) if held_out.n_rows else ({}, {})
    error = "rmse" if target.task == "regression" else "log_loss"
    if metrics and not metrics[error] < baseline[error]:
        notes.append("The model is no better than its baseline on the rows held out: do not rely on it.")
    report = {
        "rows_learned": learned.n_rows,
        "rows_held_out": held_out.n_rows,
        "metrics": _finite(metrics),
        "baseline": _finite(baseline),
        "settings": {**asdict(settings), "hidden_layer_sizes": list(settings.hidden_layer_sizes), "epochs": epochs},
        "learning_rate": rate,
        "cost": [float(c) for c in fit.history.cost],
        "stop_reason": fit.stop_reason,
    }
    model = Model(network, fit.params, encoder, target, report)
    return TableFit(model, fit, metrics, baseline, interrupted, tuple(notes))


def _constant_cost(target: Target, y: Array) -> float:
    """The cost of the best constant output: the variance of the numbers, or the entropy of the classes."""
    if target.task == "regression":
        return float(np.var(y))
    shares = np.bincount(y, minlength=len(target.classes)) / len(y)
    return float(-np.sum(shares * np.log(np.where(shares > 0, shares, 1.0))))


def _ending(fit: Fit) -> str:
    return "the cost diverged" if fit.diverged else f"cost {fit.history[-1].cost:.3g}, no less than a constant's"


def _split(table: Table, settings: Settings) -> tuple[Table, Table]:
    """Rows to learn from and rows held out, both in random order."""
    n = table.n_rows
    if n < 2:
        raise TableError(f"{table.source} has {n} row{'s' if n != 1 else ''}; at least 2 are needed to learn from.")
    order = permutation(settings.seed, Stream.SPLIT, 0, n)
    n_held_out = min(n - 1, max(1, round(settings.held_out * n))) if settings.held_out else 0
    return table.rows(order[n_held_out:]), table.rows(order[:n_held_out])


def _network_for(target: Target, n_inputs: int, settings: Settings) -> Network:
    if target.task == "regression":
        n_outputs, output = 1, "identity"
    elif len(target.classes) == 2:
        n_outputs, output = 1, "sigmoid"
    else:
        n_outputs, output = len(target.classes), "softmax"
    return Network([n_inputs, *settings.hidden_layer_sizes, n_outputs], hidden=settings.activation, output=output)


def _trained(
    network: Network,
    X: Array,
    y: Array,
    epochs: int,
    learning_rate: float,
    settings: Settings,
    on_epoch_end: Callable[[Epoch], None] | None,
) -> tuple[Fit, bool]:
    try:
        fit = train(
            network,
            X,
            y,
            optimizer=Momentum(learning_rate, settings.momentum),
            batch_size=settings.batch_size,
            epochs=epochs,
            seed=settings.seed,
            dtype="float32",
            on_epoch_end=on_epoch_end,
        )
    except TrainingInterrupted as interruption:
        return cast(Fit, interruption.fit), True
    return fit, False


def _scores(model: Model, learned: Table, held_out: Table) -> tuple[dict[str, float], dict[str, float]]:
    """The model's scores on the held-out rows, and those of the baseline."""
    target = model.target
    assert target is not None
    true = target.encode(held_out.column(target.name))
    seen = target.encode(learned.column(target.name))
    n = len(true)
    if target.task == "regression":
        constant: Any = np.full(n, target.unscale(np.mean(seen)))
        return score(target, true, model.predict(held_out)), score(target, true, constant)
    shares = np.bincount(seen, minlength=len(target.classes)) / len(seen)
    return score(target, true, model.predict_proba(held_out)), score(target, true, np.tile(shares, (n, 1)))


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """Metrics for JSON, which has no NaN: None where a metric is undefined, such as AUC of one class."""
    return {name: value if np.isfinite(value) else None for name, value in metrics.items()}
