"""Scores against hand computation and against the rank statistics of SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from layerwise import metrics
from layerwise.errors import LayerwiseError
from layerwise.metrics import METRICS


def test_accuracy_by_hand():
    assert metrics.accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75


def test_log_loss_by_hand():
    P = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    assert metrics.log_loss(np.array([1, 0]), P) == pytest.approx((math.log(4) + math.log(10)) / 2, rel=1e-15)
    assert metrics.log_loss(np.array([0]), np.array([[1.0, 0.0]])) == 0.0


@pytest.mark.parametrize(("dtype", "smallest"), [(np.float32, 2.0**-126), (np.float64, 2.0**-1022)])
def test_log_loss_of_an_impossible_class_is_finite(dtype, smallest):
    P = np.array([[1, 0]], dtype=dtype)
    assert metrics.log_loss(np.array([1]), P) == pytest.approx(-math.log(smallest), rel=1e-12)


def test_roc_auc_by_hand():
    # Pairs (positive, negative): 0.8 > 0.3, 0.8 > 0.4, 0.35 > 0.3, 0.35 < 0.4: 3 of 4.
    assert metrics.roc_auc(np.array([1, 0, 1, 0]), np.array([0.8, 0.3, 0.35, 0.4])) == 0.75
    assert metrics.roc_auc(np.array([True, False]), np.array([2.0, 1.0])) == 1.0
    assert metrics.roc_auc(np.array([1, 0]), np.array([1.0, 2.0])) == 0.0
    assert metrics.roc_auc(np.array([1, 0, 0]), np.array([7.0, 7.0, 7.0])) == 0.5


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_roc_auc_of_one_class_is_undefined(labels):
    assert math.isnan(metrics.roc_auc(np.array(labels), np.array([0.1, 0.2])))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_roc_auc_is_the_mann_whitney_statistic(pairs):
    labels, scores = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], dtype=np.float64)
    positive, negative = scores[labels], scores[~labels]
    if not len(positive) or not len(negative):
        return
    u = scipy.stats.mannwhitneyu(positive, negative, method="asymptotic", use_continuity=False).statistic
    expected = float(u) / (len(positive) * len(negative))
    counted = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    # Sums of halves are exact; only the last division rounds.
    assert metrics.roc_auc(labels, scores) == pytest.approx(expected, rel=1e-14)
    assert metrics.roc_auc(labels, scores) == pytest.approx(counted, rel=1e-14)


def test_errors_of_numbers_by_hand():
    y, predicted = [1.0, 2.0, 3.0, 6.0], [1.0, 4.0, 3.0, 2.0]
    assert metrics.root_mean_squared_error(y, predicted) == pytest.approx(math.sqrt(5), rel=1e-15)
    assert metrics.mean_absolute_error(y, predicted) == 1.5
    # mean 3; total 4 + 1 + 0 + 9 = 14; residuals 0 + 4 + 0 + 16 = 20
    assert metrics.r_squared(y, predicted) == pytest.approx(1 - 20 / 14, rel=1e-14)


def test_perfect_and_constant():
    y = [0.0, 1.0, 5.0]
    assert metrics.root_mean_squared_error(y, y) == 0.0
    assert metrics.r_squared(y, y) == 1.0
    assert metrics.r_squared(y, [2.0, 2.0, 2.0]) == pytest.approx(0.0, abs=1e-15)
    assert math.isnan(metrics.r_squared([4.0, 4.0], [4.0, 5.0]))


@pytest.mark.parametrize("unit", [2.0**600, 2.0**-600])
def test_units_whose_squares_leave_float64(unit):
    y, predicted = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 4.0, 3.0, 2.0])
    assert metrics.root_mean_squared_error(y * unit, predicted * unit) == pytest.approx(math.sqrt(5) * unit, rel=1e-15)
    assert metrics.r_squared(y * unit, predicted * unit) == pytest.approx(1 - 20 / 14, rel=1e-14)


def test_predictions_that_are_not_finite():
    assert metrics.root_mean_squared_error([1.0, 2.0], [np.inf, 2.0]) == np.inf
    assert metrics.r_squared([1.0, 2.0], [np.inf, 2.0]) == -np.inf
    assert math.isnan(metrics.root_mean_squared_error([1.0, 2.0], [np.nan, 2.0]))


def test_single_precision_is_summed_in_double():
    n = 1_000_000
    predicted = np.full(n, np.float32(0.1))
    assert metrics.mean_absolute_error(np.zeros(n, np.float32), predicted) == pytest.approx(
        float(np.float32(0.1)), rel=1e-12
    )


def pairs_counted(labels, scores, weight):
    """The weight of the pairs of a positive above a negative, of ties half."""
    over = total = 0.0
    for p, s, u in zip(labels, scores, weight, strict=True):
        for n, r, v in zip(labels, scores, weight, strict=True):
            if p and not n:
                total += u * v
                over += u * v * (1.0 if s > r else 0.5 if s == r else 0.0)
    return over / total if total else math.nan


def random_case(seed, K):
    """Labels, probabilities with ties, and weights, some of them 0."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    P = rng.integers(1, 5, size=(n, K)).astype(float)
    weight = rng.integers(0, 4, size=n) / 2
    weight[rng.integers(n)] = 1.0
    return rng.integers(K, size=n), P / P.sum(axis=1, keepdims=True), weight


CLASSES = [name for name, m in METRICS.items() if m.task == "classification"]
NUMBERS = [name for name, m in METRICS.items() if m.task == "regression"]


@pytest.mark.parametrize("K", [2, 3, 4])
@pytest.mark.parametrize("seed", range(30))
def test_scores_of_classes_by_their_definitions(seed, K):
    labels, P, weight = random_case(seed, K)
    n, predicted, total = len(labels), P.argmax(axis=1), weight.sum()
    by = {name: METRICS[name](labels, P, weight) for name in CLASSES}
    assert by["accuracy"] == pytest.approx(sum(weight[i] for i in range(n) if predicted[i] == labels[i]) / total)
    recalls, scores = [], []
    for k in range(K):
        tp = sum(weight[(labels == k) & (predicted == k)])
        fp, fn = sum(weight[(labels != k) & (predicted == k)]), sum(weight[(labels == k) & (predicted != k)])
        if tp + fn:
            recalls.append(tp / (tp + fn))
        if tp + fp + fn or K == 2:
            scores.append(tp / (tp + (fp + fn) / 2) if tp else 0.0)
    assert by["balanced_accuracy"] == pytest.approx(sum(recalls) / len(recalls))
    assert by["f1"] == pytest.approx(scores[1] if K == 2 else sum(scores) / len(scores))
    assert by["log_loss"] == pytest.approx(sum(-weight[i] * math.log(P[i, labels[i]]) for i in range(n)) / total)
    squares = [sum((P[i, k] - (labels[i] == k)) ** 2 for k in range(K)) for i in range(n)]
    expected = sum(w * s for w, s in zip(weight, squares, strict=True)) / total / (2 if K == 2 else 1)
    assert by["brier"] == pytest.approx(expected)
    areas = [pairs_counted(labels == k, P[:, k], weight) for k in range(K)]
    assert by["roc_auc"] == pytest.approx(areas[1] if K == 2 else sum(areas) / K, nan_ok=True)


@pytest.mark.parametrize("seed", range(30))
def test_scores_of_numbers_by_their_definitions(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    y, predicted, weight = rng.normal(size=n), rng.normal(size=n), rng.integers(0, 4, size=n) / 2
    weight[:2] = 1.0
    by = {name: METRICS[name](y, predicted, weight) for name in NUMBERS}
    rows = list(zip(y, predicted, weight / weight.sum(), strict=True))
    mean = sum(w * a for a, _, w in rows)
    mse = sum(w * (a - b) ** 2 for a, b, w in rows)
    assert by["rmse"] == pytest.approx(math.sqrt(mse))
    assert by["mae"] == pytest.approx(sum(w * abs(a - b) for a, b, w in rows))
    assert by["mape"] == pytest.approx(sum(w * abs((a - b) / a) for a, b, w in rows))
    assert by["pinball"] == pytest.approx(by["mae"] / 2)
    assert by["r2"] == pytest.approx(1 - mse / sum(w * (a - mean) ** 2 for a, _, w in rows))
    tilted = sum(w * (0.9 * (a - b) if a > b else 0.1 * (b - a)) for a, b, w in rows)
    assert metrics.pinball_loss(y, predicted, weight, quantile=0.9) == pytest.approx(tilted)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("seed", range(10))
def test_a_weight_is_how_often_a_row_is_there(name, seed):
    """Equal weights are none, a row of weight 3 is three rows, and one of weight 0 none, whatever is in it."""
    rng = np.random.default_rng(seed)
    if METRICS[name].task == "classification":
        true, predicted, _ = random_case(seed, 3)
    else:
        true, predicted = rng.normal(size=(2, 20))
    n = len(true)
    plain = METRICS[name](true, predicted)
    for equal in (0.25, 1e-300, 1e300):
        assert METRICS[name](true, predicted, np.full(n, equal)) == pytest.approx(plain, rel=1e-13, nan_ok=True)
    often = rng.integers(0, 4, size=n)
    often[0] = 2
    repeated = METRICS[name](np.repeat(true, often), np.repeat(predicted, often, axis=0))
    weighted = METRICS[name](true, predicted, often)
    assert weighted == pytest.approx(repeated, rel=1e-12, abs=1e-15, nan_ok=True)
    if METRICS[name].task == "regression":
        predicted[often == 0] = np.inf
        assert METRICS[name](true, predicted, often) == pytest.approx(weighted, rel=1e-14)


@pytest.mark.parametrize("name", CLASSES)
def test_scores_of_one_row_and_of_one_class(name):
    one = METRICS[name](np.array([1]), np.array([[0.25, 0.75]]))
    expected = {"log_loss": -math.log(0.75), "brier": 0.0625, "roc_auc": math.nan}.get(name, 1.0)
    assert one == pytest.approx(expected, nan_ok=True)
    # No row of class 2; rows 0 and 1 are right, and row 2 is called a 2.
    P = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    expected = {
        "accuracy": 2 / 3,
        "balanced_accuracy": (1 + 1 / 2) / 2,
        "f1": (1 + 2 / 3 + 0) / 3,
        "log_loss": -(2 * math.log(0.8) + math.log(0.1)) / 3,
        "brier": (2 * 0.06 + (0.01 + 0.81 + 0.64)) / 3,
        "roc_auc": math.nan,
    }[name]
    assert METRICS[name](np.array([0, 1, 1]), P) == pytest.approx(expected, nan_ok=True)


def test_f1_of_two_classes_without_a_positive_is_0():
    assert metrics.f1(np.zeros(3, int), np.zeros(3, int)) == 0.0
    assert METRICS["f1"](np.zeros(3, int), np.tile([0.9, 0.1], (3, 1))) == 0.0
    # Of three classes those that are nowhere are left out.
    assert METRICS["f1"](np.zeros(3, int), np.tile([0.9, 0.1, 0.0], (3, 1))) == 1.0


@pytest.mark.parametrize("name", CLASSES)
def test_one_column_of_probabilities_stands_for_two(name):
    labels, P, weight = random_case(3, 2)
    alone = METRICS[name](labels, P[:, 1], weight)
    assert alone == pytest.approx(METRICS[name](labels, P, weight), rel=1e-14)


def test_scores_of_several_columns():
    y, predicted = np.random.default_rng(0).normal(size=(2, 9, 3))
    columns = [metrics.r_squared(y[:, j], predicted[:, j]) for j in range(3)]
    assert metrics.r_squared(y, predicted) == pytest.approx(np.mean(columns))
    weighted = [metrics.mean_absolute_error(y[:, j], predicted[:, j], np.arange(9)) for j in range(3)]
    assert metrics.mean_absolute_error(y, predicted, np.arange(9)) == pytest.approx(np.mean(weighted))


def test_a_percentage_of_nothing():
    assert metrics.mean_absolute_percentage_error([0.0, 2.0], [0.0, 3.0]) == 0.25
    assert metrics.mean_absolute_percentage_error([0.0], [1.0]) == 2.0**52
    assert metrics.mean_absolute_percentage_error([0.0], [1e300]) == math.inf


def test_a_score_that_is_no_number():
    assert math.isnan(metrics.roc_auc(np.array([0, 1]), np.array([0.5, np.nan])))
    assert math.isnan(metrics.brier(np.array([0, 1]), np.array([0.5, np.nan])))
    assert math.isnan(metrics.log_loss(np.array([0, 1]), np.array([0.5, np.nan])))


@pytest.mark.parametrize("name", METRICS)
def test_what_cannot_be_scored(name):
    m = METRICS[name]
    true, predicted = (np.array([0, 1]), np.full((2, 2), 0.5)) if name in CLASSES else (np.ones(2), np.ones(2))
    wrong = [
        ((true[:0], predicted[:0]), "There are no rows to score"),
        ((true, predicted[:1]), r"got \(2,\) and"),
        ((true, predicted, [1.0]), r"sample_weight must be one number a row, \(2,\); got \(1,\)"),
        ((true, predicted, [1.0, -1.0]), "sample_weight must hold finite numbers >= 0"),
        ((true, predicted, [1.0, np.nan]), "sample_weight must hold finite numbers >= 0"),
        ((true, predicted, [0.0, 0.0]), "at least one above 0"),
    ]
    if name in CLASSES:
        wrong += [
            ((true + 1, predicted), r"labels must be class numbers 0 \.\. 1; got int64 1 \.\. 2"),
            ((true - 1, predicted), "labels must be class numbers"),
            ((true + 0.5, predicted), "labels must be class numbers"),
            ((true, predicted[:, :1]), "a column for each class"),
        ]
    else:
        wrong += [((true, predicted[:, None]), r"got \(2,\) and \(2, 1\)")]
    for arguments, message in wrong:
        with pytest.raises(LayerwiseError, match=message):
            m(*arguments)


def test_a_quantile_is_a_share():
    with pytest.raises(LayerwiseError, match=r"quantile must be a number from 0 to 1; got 90"):
        metrics.pinball_loss([1.0], [1.0], quantile=90)


def test_the_catalogue():
    assert list(METRICS) == [m.name for m in METRICS.values()]
    for name, m in METRICS.items():
        assert metrics.metric(name) is m
        true, worse = (np.array([0, 1, 2]), np.full((3, 3), 1 / 3)) if name in CLASSES else (np.arange(3.0), np.ones(3))
        better = np.eye(3) * 0.9 + 0.1 / 3 if name in CLASSES else np.arange(3.0)
        assert m.better(m(true, better), than=m(true, worse))
        assert not m.better(m(true, worse), than=m(true, better))
        assert not m.better(1.0, than=1.0)
        assert not m.better(math.nan, than=1.0)
        assert m.better(1.0, than=math.nan)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("auc", "roc_auc"),
        ("AUC", "roc_auc"),
        ("roc_auc_score", "roc_auc"),
        ("mse", "rmse"),
        ("neg_mean_squared_error", "rmse"),
        ("acc", "accuracy"),
        ("acuracy", "accuracy"),
        ("neg_log_loss", "log_loss"),
        ("brier_score_loss", "brier"),
        ("f1_macro", "f1"),
        ("r2_score", "r2"),
        ("mean_pinball_loss", "pinball"),
    ],
)
def test_names_of_other_libraries_are_offered_ours(name, offered):
    with pytest.raises(LayerwiseError, match=f"Unknown metric '{name}'. Did you mean '{offered}'"):
        metrics.metric(name)


@pytest.mark.parametrize("name", [None, 3, ["rmse"]])
def test_what_is_no_name(name):
    with pytest.raises(LayerwiseError, match="Unknown metric"):
        metrics.metric(name)
