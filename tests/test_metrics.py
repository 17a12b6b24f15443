"""Scores against hand computation and against the rank statistics of SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from layerwise import metrics


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
