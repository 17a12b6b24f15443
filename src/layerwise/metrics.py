"""Scores of predictions against what came true, in NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerwise.types import Array, FloatArray


def accuracy(labels: Array, predicted: Array) -> float:
    """The share of equal labels.

    Parameters
    ----------
    labels, predicted : (N,) arrays, N >= 1
    """
    return float(np.mean(np.asarray(labels) == np.asarray(predicted)))


def log_loss(labels: Array, probabilities: FloatArray) -> float:
    """The mean of -log of the probability given to the true class.

    Parameters
    ----------
    labels : (N,) int
        Class numbers 0 .. K-1.
    probabilities : (N, K)

    Notes
    -----
    A probability of 0 for the true class counts as the smallest one its precision can hold.
    """
    probabilities = np.asarray(probabilities)
    chosen = np.take_along_axis(probabilities, np.asarray(labels)[:, None], axis=1)[:, 0]
    return float(-np.mean(np.log(np.maximum(chosen, np.finfo(chosen.dtype).tiny), dtype=np.float64)))


def roc_auc(labels: Array, scores: FloatArray) -> float:
    """The area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    Parameters
    ----------
    labels : (N,) int or bool
        1 for positive, 0 for negative.
    scores : (N,)

    Returns
    -------
    float
        NaN where one of the classes is absent.

    References
    ----------
    Mann and Whitney (1947): U / (n₁ n₀), from the mean ranks of tied scores.
    """
    positive = np.asarray(labels).astype(bool)
    n_1 = int(positive.sum())
    n_0 = len(positive) - n_1
    if not n_1 or not n_0:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2.0
    u = float(np.sum(mean_rank[place][positive])) - n_1 * (n_1 + 1) / 2.0
    return u / (n_1 * n_0)


def root_mean_squared_error(y: Any, predicted: Any) -> float:
    """√(mean (y - ŷ)²), in the unit of y."""
    return _root_mean_square(_residuals(y, predicted))


def mean_absolute_error(y: Any, predicted: Any) -> float:
    """mean |y - ŷ|, in the unit of y."""
    return float(np.mean(np.abs(_residuals(y, predicted))))


def r_squared(y: Any, predicted: Any) -> float:
    """1 - Σ (y - ŷ)² / Σ (y - ȳ)²; NaN where y is constant."""
    y = np.asarray(y, dtype=np.float64)
    spread = _root_mean_square(y - np.mean(y))
    return 1.0 - (_root_mean_square(_residuals(y, predicted)) / spread) ** 2 if spread else float("nan")


def _root_mean_square(values: FloatArray) -> float:
    """Of values of any size: the square of 1e200 would be infinite, that of 1e-200 zero."""
    largest = float(np.max(np.abs(values)))
    if not 0 < largest < np.inf:  # nothing to divide by; infinity and NaN as they are
        return largest
    return largest * float(np.sqrt(np.mean(np.square(values / largest))))


def _residuals(y: Any, predicted: Any) -> FloatArray:
    return np.asarray(y, dtype=np.float64) - np.asarray(predicted, dtype=np.float64)
