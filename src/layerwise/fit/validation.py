"""What a fit is judged by: rows that it does not learn from, and metrics of its outputs for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from layerwise.errors import DataError, ShapeError, shape_text
from layerwise.metrics import Metric, metric
from layerwise.network.data import check_inputs, check_targets, check_weights
from layerwise.network.network import Network
from layerwise.ops.losses import LOSSES
from layerwise.randomness import Stream, permutation
from layerwise.types import Array, FloatArray

COST = "cost"
"""The loss of the network, averaged over the validation rows: what is watched where no metric is named."""


class Measures(Protocol):
    """What knows weights."""

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        """Losses and outputs (N, …) for rows of inputs and targets."""
        ...


@dataclass(frozen=True, eq=False)
class Validation:
    """Rows to judge by, checked, and what is found on them after each epoch.

    Parameters
    ----------
    tables : tuple of array
        Inputs and targets.
    weights : (N,) float64 or None
    metrics : dict of str to Metric or callable; None for the cost
        In the order in which they were named.
    network : Network
    """

    tables: tuple[Array, Array]
    weights: FloatArray | None
    metrics: Mapping[str, Metric | Callable[[Array, Array], float] | None]
    network: Network

    def __post_init__(self) -> None:
        if self.weights is not None:  # by a power of 2, which rounds nothing: sums of large ones would overflow
            scaled = np.ldexp(self.weights, -np.frexp(self.weights.max())[1])
            object.__setattr__(self, "weights", scaled)

    @property
    def watched(self) -> str:
        """The name of the score that decides which epoch is the best: the first metric, or the cost."""
        return next(iter(self.metrics), COST)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that is found."""
        return (COST, *self.metrics)

    @property
    def larger_is_better(self) -> bool:
        """Of the score that is watched."""
        first = self.metrics.get(self.watched)
        return first is not None and bool(getattr(first, "larger_is_better", False))

    def scores(self, weights: Measures) -> dict[str, float]:
        """Cost and metrics at these weights."""
        losses, outputs = weights.measure(self.tables)
        scores = {COST: float(np.average(losses.astype(np.float64), weights=self.weights))}
        for name, one in self.metrics.items():
            if isinstance(one, Metric):
                scores[name] = float(one(*_compared(one, self.network, self.tables[1], outputs), self.weights))
            elif one is not None:
                scores[name] = _own_metric(name, one, self.tables[1], outputs)
        return scores


def _own_metric(name: str, function: Callable[[Array, Array], float], true: Array, outputs: Array) -> float:
    found = function(true, outputs)
    try:
        return float(found)
    except (TypeError, ValueError):
        raise DataError(f"metric {name!r} must give a number for targets and outputs; got {found!r}.") from None


def _compared(one: Metric, net: Network, Y: Array, outputs: Array) -> tuple[Array, Array]:
    """Targets and outputs in the form that a metric of the catalogue takes."""
    if one.needs == "numbers":
        return Y, outputs
    if net.widths[-1] == 1:
        labels = (Y[:, 0] > 0.5).astype(np.int64) if Y.ndim > 1 else Y
        return labels, np.concatenate([1.0 - outputs, outputs], axis=1)
    labels = np.argmax(Y, axis=1) if Y.ndim > 1 else Y
    return labels, np.exp(outputs) if net.output_layer.activation.name == "log_softmax" else outputs


def chosen_metrics(net: Network, named: Any) -> dict[str, Metric | Callable[[Array, Array], float] | None]:
    """The metrics under their names.

    Parameters
    ----------
    named : str, callable, Metric, or sequence of them; None for none

    Raises
    ------
    UnknownName, DataError
        No such metric; one of classes for a network that gives none, or of numbers for one that gives classes.
    """
    listed: Sequence[Any] = [] if named is None else named if isinstance(named, (list, tuple)) else [named]
    chosen: dict[str, Metric | Callable[[Array, Array], float] | None] = {}
    for item in listed:
        one: Any
        if isinstance(item, str) and item == COST:
            name, one = COST, None
        elif isinstance(item, (str, Metric)):
            one = metric(item) if isinstance(item, str) else item
            _check_metric(net, one)
            name = one.name
        elif callable(item):
            one = item
            name = getattr(item, "__name__", type(item).__name__)
            if name in {*chosen, COST}:
                raise DataError(f"metric names {name!r} twice. Give each function a name of its own, by def.")
        else:
            raise DataError(f"metric must be the name of a metric, or a function of targets and outputs; got {item!r}.")
        chosen[name] = one
    return chosen


def _check_metric(net: Network, one: Metric) -> None:
    last, n_L = net.output_layer.activation.name, net.widths[-1]
    classifier = last in ("softmax", "log_softmax") or (last == "sigmoid" and n_L == 1)
    if one.needs != "numbers" and not classifier:
        raise DataError(
            f"metric {one.name!r} compares classes, and this network gives numbers: its last layer is "
            f"{n_L} of {last!r}. Use 'rmse', 'mae' or 'r2', or a softmax output."
        )
    if one.needs == "numbers" and last in ("softmax", "log_softmax"):
        raise DataError(
            f"metric {one.name!r} compares numbers, and this network gives probabilities of classes. "
            "Use 'accuracy', 'log_loss' or 'roc_auc'."
        )


# Rows ---------------------------------------------------------------------------------------------------------


def given_rows(
    net: Network, given: Any, dtype: str, labels: bool, *, share: bool = True
) -> tuple[tuple[Array, Array], FloatArray | None]:
    """Tables and weights from what a caller gave as (X, Y) or (X, Y, sample_weight), without rows of weight 0.

    Parameters
    ----------
    net : Network
    given : tuple
    dtype : str
    labels : bool
        Whether the training targets are labels: then these become labels too, else rows.
    share : bool
        Whether a share of the rows could have been given in their place.

    Raises
    ------
    ShapeError, DataError
        As for the training data; the message says that it is the validation data.
    """
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        raise DataError(
            f"validation must be {'a share of the rows such as 0.2, or ' if share else ''}a tuple (X, Y) or "
            f"(X, Y, sample_weight){'' if share else ' where data come in blocks'}; got {type(given).__name__}."
        )
    X, Y, *rest = given
    try:
        X = check_inputs(net, X, dtype)
        if len(X) == 0:
            raise DataError("X has no rows.")
        Y = check_targets(net, Y, len(X), dtype)
        Y = _as_labels(Y) if labels and Y.ndim > 1 else np.eye(net.widths[-1])[Y] if Y.ndim == 1 and not labels else Y
        weights = check_weights(rest[0], len(X)) if rest and rest[0] is not None else None
    except (DataError, ShapeError) as error:
        raise type(error)(f"validation: {error}") from None
    if weights is not None and not weights.all():
        present = weights > 0
        X, Y, weights = X[present], Y[present], weights[present]
    return (X, Y), weights


def _as_labels(Y: Array) -> Array:
    labels = np.argmax(Y, axis=1)
    if not (np.take_along_axis(Y, labels[:, None], axis=1) == 1).all():
        raise DataError("Y holds probabilities where the training targets are labels. Give labels, or rows with one 1.")
    return labels


def split(n_rows: int, share: Any, seed: int, classes: Array | None) -> tuple[Array, Array]:
    """Rows to learn from and rows to judge by, each in ascending order.

    Parameters
    ----------
    n_rows : int
    share : float
        Of the rows to judge by, between 0 and 1.
    seed : int
    classes : (N,) int or None
        Each class is split by itself, with at least one row left to learn from.

    Raises
    ------
    DataError
        The share is no number between 0 and 1, or leaves no row on one side.
    """
    if isinstance(share, bool) or not isinstance(share, (float, int, np.floating)) or not 0 < share < 1:
        came = repr(share) if np.ndim(share) == 0 else f"{type(share).__name__} of shape {shape_text(np.shape(share))}"
        raise DataError(
            f"validation as a share of the rows must lie between 0 and 1; got {came}. Or give rows: (X, Y)."
        )
    order = permutation(seed, Stream.SPLIT, 0, n_rows)
    if classes is None:
        held_out = order[: min(n_rows - 1, max(1, round(share * n_rows)))]
    else:
        groups = [order[classes[order] == k] for k in np.unique(classes)]
        held_out = np.concatenate([rows[: min(len(rows) - 1, round(share * len(rows)))] for rows in groups])
    if not len(held_out):
        raise DataError(
            f"validation={share!r} of {n_rows} rows holds none out"
            + (": no class has enough of them." if classes is not None else ".")
            + " Give a larger share, or validation rows of your own."
        )
    learned = np.ones(n_rows, bool)
    learned[held_out] = False
    return np.flatnonzero(learned), np.sort(held_out)


def classes_of(net: Network, Y: Array) -> Array | None:
    """The class of each row where targets are classes, else None."""
    if Y.ndim == 1:
        return Y
    if LOSSES[net.loss.name].targets == "distribution":
        return np.argmax(Y, axis=1)
    if net.output_layer.activation.name == "sigmoid" and Y.shape[1] == 1 and np.isin(Y, (0, 1)).all():
        return Y[:, 0].astype(np.int64)
    return None
