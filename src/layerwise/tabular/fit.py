"""From a table to a Model: hold rows out, encode, train, score against a plain baseline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np

from layerwise.errors import TableError, TrainingInterrupted
from layerwise.fit.history import Fit
from layerwise.fit.minibatch import train
from layerwise.fit.task import OnEpoch
from layerwise.fit.validation import split
from layerwise.model.model import Model, score
from layerwise.network.network import Network
from layerwise.randomness import Stream, permutation
from layerwise.table.encode import fit_encoder
from layerwise.table.frame import Table
from layerwise.table.target import Target, Task, fit_target
from layerwise.tabular.attempts import Attempts
from layerwise.tabular.settings import Settings
from layerwise.types import Array


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
    on_start: Callable[[Network, Target], None] | None = None,
    on_epoch_end: OnEpoch | Sequence[OnEpoch] | None = None,
    progress: bool = False,
    attempts: Attempts | None = None,
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
    on_start : callable(network, target), optional
        Called before each fit: there is one for each learning rate that is tried.
    on_epoch_end, progress : optional
        As for `train`.
    attempts : Attempts, optional
        Where checkpoints are saved. A fit that is resumed gives the model of one that was not cut off, to the bit.

    Returns
    -------
    TableFit

    Raises
    ------
    TableError, DataError
        No such target, a target that cannot be learned, too few rows; the message names it.
    """
    settings = settings or Settings()
    rows, held_out = _split(table, settings)
    # Classes from all rows, so that a rare one has its output; numbers are scaled by the learned rows alone.
    target = fit_target(table, target_name, task)
    learned, judged = _validation_rows(rows, target, settings)
    if target.task == "regression":
        target = fit_target(learned, target_name, "regression")
    encoder = fit_encoder(learned, ignore=[target_name, *ignore])
    y = target.encode(learned.column(target_name))
    network = _network_for(target, encoder.width, settings)
    epochs = settings.epochs_for(learned.n_rows)
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "epochs": epochs,
        "seed": settings.seed,
        "dtype": "float32",
        "patience": settings.patience,
        "validation": None
        if judged is None
        else (encoder.transform(judged), target.encode(judged.column(target_name))),
        "on_epoch_end": on_epoch_end,
        "progress": progress,
    }
    X = encoder.transform(learned)
    constant_cost = _constant_cost(target, y)
    notes: list[str] = []
    left = settings.max_seconds
    for rate, next_rate in pairwise((*settings.learning_rates, None)):
        assert rate is not None
        if on_start is not None:
            on_start(network, target)
        place = {} if attempts is None else attempts.options(rate)
        began = time.monotonic()
        fit, interrupted = _trained(network, X, y, optimizer=settings.rule(rate), max_seconds=left, **options, **place)
        if left is not None:  # a fit that was resumed has spent what its epochs took, not only what this process saw
            left -= max(time.monotonic() - began, fit.history[-1].seconds if fit.history else 0.0)
        learned_something = not fit.diverged and len(fit.history) and fit.history[-1].cost < constant_cost
        if interrupted or learned_something or (left is not None and left <= 0):
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
        "rows_validation": 0 if judged is None else judged.n_rows,
        "metrics": _finite(metrics),
        "baseline": _finite(baseline),
        "settings": {**asdict(settings), "hidden_layer_sizes": list(settings.hidden_layer_sizes), "epochs": epochs},
        "learning_rate": rate,
        "cost": [float(c) for c in fit.history.cost],
        "stop_reason": fit.stop_reason,
        "best_epoch": fit.best_epoch,
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


def _validation_rows(rows: Table, target: Target, settings: Settings) -> tuple[Table, Table | None]:
    """Rows to learn from and rows to choose the best epoch by."""
    if not settings.validation:
        return rows, None
    labels = target.encode(rows.column(target.name)) if target.task == "classification" else None
    learned, judged = split(rows.n_rows, settings.validation, settings.seed, labels)
    return rows.rows(learned), rows.rows(judged)


def _network_for(target: Target, n_inputs: int, settings: Settings) -> Network:
    if target.task == "regression":
        n_outputs, output = 1, "identity"
    elif len(target.classes) == 2:
        n_outputs, output = 1, "sigmoid"
    else:
        n_outputs, output = len(target.classes), "softmax"
    return Network([n_inputs, *settings.hidden_layer_sizes, n_outputs], hidden=settings.activation, output=output)


def _trained(network: Network, X: Array, y: Array, **options: Any) -> tuple[Fit, bool]:
    """The fit, and whether Ctrl-C ended it."""
    try:
        return train(network, X, y, **options), False
    except TrainingInterrupted as interruption:
        return cast(Fit, interruption.fit), True


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
