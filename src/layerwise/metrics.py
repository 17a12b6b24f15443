"""Scores of predictions against what came true, in NumPy alone.

Each takes what came true first, then the predictions, and weights of the samples where they differ: a row of weight 2
counts as two equal rows, one of weight 0 as none. `METRICS` lists them by the names that users type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from layerwise.errors import DataError, ShapeError, shape_text, unknown_name
from layerwise.types import Array, FloatArray

# Classes ----------------------------------------------------------------------------------------------


def accuracy(labels: Array, predicted: Array, sample_weight: Any = None) -> float:
    """The share of equal labels.

    Parameters
    ----------
    labels, predicted : (N,) arrays, N >= 1
    sample_weight : (N,), optional
    """
    labels, predicted = _alike(labels, predicted, "labels", "predicted labels")
    return _mean(labels == predicted, sample_weight)


def balanced_accuracy(labels: Array, predicted: Array, sample_weight: Any = None) -> float:
    """The mean over classes of the share of their samples that are found.

    Parameters
    ----------
    labels, predicted : (N,) arrays, N >= 1
        A class that is not among ``labels`` does not count.
    sample_weight : (N,), optional
    """
    labels, predicted = _alike(labels, predicted, "labels", "predicted labels")
    weight = _weights(sample_weight, len(labels))
    _, place = np.unique(labels, return_inverse=True)
    whole, found = np.bincount(place, weight), np.bincount(place, weight * (labels == predicted))
    return float(np.mean(found[whole > 0] / whole[whole > 0]))


def f1(labels: Array, predicted: Array, sample_weight: Any = None, n_classes: int | None = None) -> float:
    """2 TP / (2 TP + FP + FN) of class 1; of more than two classes the mean over them.

    Parameters
    ----------
    labels, predicted : (N,) int, N >= 1
        Class numbers 0 .. K-1.
    sample_weight : (N,), optional
    n_classes : int, optional
        K; by default as many as there are numbers up to the largest, and at least 2.

    Notes
    -----
    As in scikit-learn, a class that is neither among ``labels`` nor predicted is left out of the mean, and of two
    classes the score is then 0.
    """
    labels, predicted = _alike(labels, predicted, "labels", "predicted labels")
    K = max(2, 1 + int(max(labels.max(), predicted.max()))) if n_classes is None else n_classes
    labels, predicted = _class_numbers(labels, K), _class_numbers(predicted, K)
    weight = _weights(sample_weight, len(labels))
    true, guessed = np.bincount(labels, weight, K), np.bincount(predicted, weight, K)
    found = np.bincount(labels, weight * (labels == predicted), K)
    scores = 2.0 * found / np.where(true + guessed > 0, true + guessed, 1.0)
    return float(scores[1] if K == 2 else np.mean(scores[true + guessed > 0]))


def log_loss(labels: Array, probabilities: FloatArray, sample_weight: Any = None) -> float:
    """The mean of -log of the probability given to the true class.

    Parameters
    ----------
    labels : (N,) int
        Class numbers 0 .. K-1.
    probabilities : (N, K), or (N,) of class 1
    sample_weight : (N,), optional

    Notes
    -----
    A probability of 0 for the true class counts as the smallest one its precision can hold.
    """
    labels, P = _classes_and_scores(labels, probabilities)
    chosen = np.where(labels == 1, P, 1.0 - P) if P.ndim == 1 else np.take_along_axis(P, labels[:, None], axis=1)[:, 0]
    return _mean(-np.log(np.maximum(chosen, np.finfo(chosen.dtype).tiny), dtype=np.float64), sample_weight)


def brier(labels: Array, probabilities: FloatArray, sample_weight: Any = None) -> float:
    """The mean squared error of the probability of class 1; of more than two classes summed over them.

    Parameters
    ----------
    labels : (N,) int
        Class numbers 0 .. K-1.
    probabilities : (N, K), or (N,) of class 1
    sample_weight : (N,), optional

    Returns
    -------
    float
        From 0 to 1; of more than two classes to 2.

    References
    ----------
    Brier (1950), whose sum over two classes is twice this.
    """
    labels, P = _classes_and_scores(labels, probabilities)
    if P.ndim == 2 and P.shape[1] == 2:
        P = P[:, 1]
    hit = labels == 1 if P.ndim == 1 else labels[:, None] == np.arange(P.shape[1])
    squared = np.square(np.subtract(P, hit, dtype=np.float64))
    return _mean(squared if P.ndim == 1 else squared.sum(axis=1), sample_weight)


def roc_auc(labels: Array, scores: FloatArray, sample_weight: Any = None) -> float:
    """The area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    Parameters
    ----------
    labels : (N,) int or bool
        Class numbers 0 .. K-1; of two classes 1 for positive, 0 for negative.
    scores : (N,), or (N, K)
        Probabilities, or anything that is larger where the class is more likely. Of two columns the second counts; of
        more the mean is taken over classes, each against all others.
    sample_weight : (N,), optional

    Returns
    -------
    float
        NaN where one of the classes is absent.

    References
    ----------
    Mann and Whitney (1947): U / (n₁ n₀), from the counts of tied scores. Hand and Till (2001) compare ways to join
    classes.
    """
    labels, scores = _classes_and_scores(labels, scores)
    weight = _weights(sample_weight, len(labels))
    if scores.ndim == 1 or scores.shape[1] == 2:
        return _area(labels == 1, scores if scores.ndim == 1 else scores[:, 1], weight)
    return float(np.mean([_area(labels == k, scores[:, k], weight) for k in range(scores.shape[1])]))


def _area(positive: Array, scores: Array, weight: FloatArray) -> float:
    if np.isnan(scores).any():
        return float("nan")
    _, place = np.unique(scores, return_inverse=True)
    w_1, w_0 = np.bincount(place, weight * positive), np.bincount(place, weight * ~positive)
    total_1, total_0 = float(w_1.sum()), float(w_0.sum())
    if not total_1 or not total_0:
        return float("nan")
    # Sums of whole and half numbers, exact where no weights are given.
    return float(np.sum(w_1 * (np.cumsum(w_0) - 0.5 * w_0))) / (total_1 * total_0)


# Numbers ----------------------------------------------------------------------------------------------


def root_mean_squared_error(y: Any, predicted: Any, sample_weight: Any = None) -> float:
    """√(mean (y - ŷ)²), in the unit of y."""
    return _root_mean_square(_residuals(y, predicted), sample_weight)


def mean_absolute_error(y: Any, predicted: Any, sample_weight: Any = None) -> float:
    """mean |y - ŷ|, in the unit of y."""
    return _mean(np.abs(_residuals(y, predicted)), sample_weight)


def mean_absolute_percentage_error(y: Any, predicted: Any, sample_weight: Any = None) -> float:
    """mean |y - ŷ| / |y|, as a share: 0.1 is ten percent.

    Notes
    -----
    As in scikit-learn |y| is at least 2.2e-16, so that y = 0 gives a very large number, or 0 where ŷ = 0 too.
    """
    residuals = np.abs(_residuals(y, predicted))
    with np.errstate(over="ignore"):
        shares = residuals / np.maximum(np.abs(np.asarray(y, dtype=np.float64)), np.finfo(np.float64).eps)
        return _mean(shares, sample_weight)


def pinball_loss(y: Any, predicted: Any, sample_weight: Any = None, quantile: float = 0.5) -> float:
    """mean of q (y - ŷ) where y is above ŷ, and of (1 - q) (ŷ - y) where below; least for ŷ the quantile q of y.

    Parameters
    ----------
    y, predicted : (N,) or (N, m)
    sample_weight : (N,), optional
    quantile : float, 0 <= q <= 1
        With 1/2 this is half the mean absolute error.

    References
    ----------
    Koenker and Bassett (1978).
    """
    if not 0 <= quantile <= 1:
        raise DataError(f"quantile must be a number from 0 to 1; got {quantile!r}.")
    residuals = _residuals(y, predicted)
    return _mean(np.maximum(quantile * residuals, (quantile - 1.0) * residuals), sample_weight)


def r_squared(y: Any, predicted: Any, sample_weight: Any = None) -> float:
    """1 - Σ (y - ŷ)² / Σ (y - ȳ)²; NaN where y is constant. Of several columns the mean over them."""
    y, residuals = np.asarray(y, dtype=np.float64), _residuals(y, predicted)
    columns = zip(y.reshape(len(y), -1).T, residuals.reshape(len(y), -1).T, strict=True)
    return float(np.mean([_explained(y_j, r_j, sample_weight) for y_j, r_j in columns]))


def _explained(y: FloatArray, residuals: FloatArray, sample_weight: Any) -> float:
    """1 less the share of the spread of y that is left."""
    spread = _root_mean_square(y - _mean(y, sample_weight), sample_weight)
    return 1.0 - (_root_mean_square(residuals, sample_weight) / spread) ** 2 if spread else float("nan")


def _root_mean_square(values: FloatArray, sample_weight: Any) -> float:
    """Of values of any size: the square of 1e200 would be infinite, that of 1e-200 zero."""
    if sample_weight is not None:
        values = values[_weights(sample_weight, len(values)) > 0]
        sample_weight = np.asarray(sample_weight)[np.asarray(sample_weight) > 0]
    largest = float(np.max(np.abs(values)))
    if not 0 < largest < np.inf:  # nothing to divide by; infinity and NaN as they are
        return largest
    return largest * float(np.sqrt(_mean(np.square(values / largest), sample_weight)))


# What comes in ----------------------------------------------------------------------------------------


def _mean(values: Array, sample_weight: Any) -> float:
    """The mean over samples, and over what each sample has."""
    if sample_weight is None:
        _some(len(values))
        return float(np.mean(values, dtype=np.float64))
    weight = _weights(sample_weight, len(values))
    counted = weight > 0  # a row of weight 0 is absent, also where its value is infinite
    rows = np.mean(values.reshape(len(values), -1)[counted], axis=1, dtype=np.float64)
    return float(np.sum(rows * (weight[counted] / weight.sum())))


def _some(n: int) -> None:
    if not n:
        raise DataError("There are no rows to score.")


def _weights(sample_weight: Any, n: int) -> FloatArray:
    """One for each row, the largest 1."""
    _some(n)
    if sample_weight is None:
        return np.ones(n)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise ShapeError(f"sample_weight must be one number a row, ({n},); got {shape_text(weight.shape)}.")
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise DataError("sample_weight must hold finite numbers >= 0, and at least one above 0.")
    return weight / weight.max()


def _alike(true: Any, predicted: Any, name: str, name_predicted: str) -> tuple[Array, Array]:
    """Both as arrays of one shape: rows and columns would else be combined with each other."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape:
        raise ShapeError(
            f"{name} and {name_predicted} must have the same shape; "
            f"got {shape_text(true.shape)} and {shape_text(predicted.shape)}."
        )
    _some(true.size)
    return true, predicted


def _residuals(y: Any, predicted: Any) -> FloatArray:
    y, predicted = _alike(y, predicted, "y", "predicted")
    return np.subtract(y, predicted, dtype=np.float64)


def _class_numbers(labels: Array, K: int) -> Array:
    if labels.dtype.kind not in "biu" or labels.min() < 0 or labels.max() >= K:
        raise DataError(
            f"labels must be class numbers 0 .. {K - 1}; got {labels.dtype} {labels.min()} .. {labels.max()}."
        )
    return labels.astype(np.intp, copy=False)


def _classes_and_scores(labels: Any, scores: Any) -> tuple[Array, Array]:
    """Class numbers (N,), and scores (N,) of class 1 or (N, K)."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    _some(labels.size)
    if labels.ndim != 1 or scores.ndim not in (1, 2) or len(scores) != len(labels) or scores.shape[1:] in ((0,), (1,)):
        raise ShapeError(
            "labels must be (N,) and their probabilities (N, K) with a column for each class, or (N,) of class 1; "
            f"got {shape_text(labels.shape)} and {shape_text(scores.shape)}."
        )
    labels = _class_numbers(labels, 2 if scores.ndim == 1 else scores.shape[1])
    return labels, scores if scores.dtype.kind == "f" else scores.astype(np.float64)


# The catalogue ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metric:
    """A score with its name, and what it needs to know.

    Parameters
    ----------
    name : str
        As users type it.
    function : callable(true, predicted, sample_weight)
    needs : {"probabilities", "labels", "numbers"}
        What it takes as predictions.
    larger_is_better : bool
    task : {"classification", "regression"}
    """

    name: str
    function: Callable[..., float]
    needs: Literal["probabilities", "labels", "numbers"]
    larger_is_better: bool
    task: Literal["classification", "regression"]

    def __call__(self, true: Any, predicted: Any, sample_weight: Any = None) -> float:
        """The score of what a model gives.

        Parameters
        ----------
        true : (N,) class numbers, or numbers
        predicted : (N, K) probabilities, or numbers like ``true``
            Where labels are needed, they are the classes of the largest probability.
        sample_weight : (N,), optional
        """
        if self.needs != "labels":
            return self.function(true, predicted, sample_weight)
        true, P = _classes_and_scores(true, predicted)
        labels = np.argmax(P, axis=1) if P.ndim == 2 else (P > 0.5).astype(int)
        if self.function is f1:  # a class may be absent here that the model knows
            return f1(true, labels, sample_weight, P.shape[1] if P.ndim == 2 else 2)
        return self.function(true, labels, sample_weight)

    def better(self, score: float, than: float) -> bool:
        """Whether one score is better than another; NaN is not, and all else is better than NaN."""
        if np.isnan(score) or np.isnan(than):
            return bool(np.isnan(than) and not np.isnan(score))
        return score > than if self.larger_is_better else score < than


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("accuracy", accuracy, "labels", True, "classification"),
        Metric("balanced_accuracy", balanced_accuracy, "labels", True, "classification"),
        Metric("f1", f1, "labels", True, "classification"),
        Metric("log_loss", log_loss, "probabilities", False, "classification"),
        Metric("brier", brier, "probabilities", False, "classification"),
        Metric("roc_auc", roc_auc, "probabilities", True, "classification"),
        Metric("rmse", root_mean_squared_error, "numbers", False, "regression"),
        Metric("mae", mean_absolute_error, "numbers", False, "regression"),
        Metric("mape", mean_absolute_percentage_error, "numbers", False, "regression"),
        Metric("pinball", pinball_loss, "numbers", False, "regression"),
        Metric("r2", r_squared, "numbers", True, "regression"),
    )
}
"""All scores by name."""

_ELSEWHERE = {
    "acc": "accuracy",
    "f1_score": "f1",
    "f1score": "f1",
    "f1_macro": "f1",
    "brier_score_loss": "brier",
    "r2_score": "r2",
    "r2score": "r2",
    "binarycrossentropy": "log_loss",
    "categoricalcrossentropy": "log_loss",
    "neg_mean_absolute_percentage_error": "mape",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "roc_auc_ovr": "roc_auc",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "binary_accuracy": "accuracy",
    "cross_entropy": "log_loss",
    "categorical_crossentropy": "log_loss",
    "binary_crossentropy": "log_loss",
    "mse": "rmse",
    "mean_squared_error": "rmse",
    "neg_mean_squared_error": "rmse",
    "root_mean_squared_error": "rmse",
    "neg_root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
    "neg_mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "r_squared": "r2",
    "quantile_loss": "pinball",
}
"""Names that other libraries use, to offer ours; those that begin alike are found without this list."""


def metric(name: str) -> Metric:
    """The score of this name.

    Raises
    ------
    UnknownName
        There is none; the message offers the nearest.
    """
    if not isinstance(name, str) or name not in METRICS:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise unknown_name("metric", _ELSEWHERE.get(str(name).lower(), name), METRICS, shown=name)
    return METRICS[name]
