"""Validation rows, metrics, patience, best weights, budgets, weights of classes."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

import layerwise as lw
from layerwise.fit.stopping import Best, Patience
from layerwise.fit.validation import split

ENGINES = ["native", "numpy"]


def classes(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    return (
        lw.Network([5, 16, 3], hidden="tanh", output="softmax"),
        X,
        np.argmax(X[:, :3] + rng.normal(size=(n, 3)), axis=1),
    )


def numbers(n=300):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 3))
    return lw.Network([3, 8, 1], hidden="tanh"), X, (X[:, :1] * X[:, 1:2] + 0.1 * rng.normal(size=(n, 1)))


def softmax_scores(net, params, X, y):
    P = net.forward(params, X)
    return {"cost": -np.mean(np.log(P[np.arange(len(y)), y])), "accuracy": np.mean(np.argmax(P, axis=1) == y)}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_size", [None, 32])
def test_scores_are_those_of_the_weights_after_each_epoch(engine, batch_size):
    net, X, y = classes()
    rows = (X[:100], y[:100])
    options = {"optimizer": lw.Adam(0.01), "batch_size": batch_size, "engine": engine, "seed": 3}
    fit = lw.train(net, X[100:], y[100:], validation=rows, metric="accuracy", restore_best=False, epochs=4, **options)
    assert [e.number for e in fit.history] == [1, 2, 3, 4]
    for n in range(1, 5):
        plain = lw.train(net, X[100:], y[100:], epochs=n, **options)
        expected = softmax_scores(net, plain.params, *rows)
        assert fit.history[n - 1].validation == pytest.approx(expected, rel=1e-12)
        assert fit.history[n - 1].cost == plain.history[n - 1].cost
    for name, W in plain.params.items():
        np.testing.assert_array_equal(fit.params[name], W)  # looking on changes nothing
    np.testing.assert_array_equal(fit.history.validation["cost"], [e.validation["cost"] for e in fit.history])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_weights_are_those_of_the_best_epoch(engine):
    net, X, y = classes(120)
    options = {"optimizer": lw.Adam(0.05), "batch_size": 16, "epochs": 40, "engine": engine}
    fit = lw.train(net, X, y, validation=0.3, **options)
    scores = fit.history.validation["cost"]
    assert fit.best_epoch == np.argmin(scores) + 1 < 40
    learned, held_out = split(120, 0.3, 0, y)
    assert softmax_scores(net, fit.params, X[held_out], y[held_out])["cost"] == pytest.approx(scores.min(), rel=1e-12)
    again = lw.train(net, X[learned], y[learned], **{**options, "epochs": fit.best_epoch})
    for name, W in again.params.items():
        np.testing.assert_array_equal(fit.params[name], W)
    assert f"those of epoch {fit.best_epoch}, the best by the validation cost" in fit.stop_reason


def test_of_equal_scores_the_last_epoch_counts():
    net, X, y = classes(60)
    seen = []

    def constant(true, outputs):
        seen.append(len(true))
        return 1.0

    fit = lw.train(net, X, y, validation=(X[:10], y[:10]), metric=constant, epochs=5)
    assert fit.best_epoch == 5
    assert seen == [10] * 5
    assert fit.history.validation["constant"].tolist() == [1.0] * 5


@pytest.mark.parametrize("engine", ENGINES)
def test_patience_counts_from_the_last_improvement(engine):
    net, X, y = classes(60)
    scores = iter([5.0, 4.0, 3.95, 3.95, 3.94, 1.0, 2.0])
    fit = lw.train(
        net,
        X,
        y,
        validation=(X[:10], y[:10]),
        metric=lambda *_: next(scores),
        patience=3,
        min_improvement=0.1,
        epochs=50,
        engine=engine,
    )
    assert len(fit.history) == 5
    assert fit.best_epoch == 5
    assert fit.stop_reason.startswith("No improvement of the validation <lambda> in 3 epochs, up to epoch 5.")


def test_the_rule_of_improvement():
    rule = Patience(larger_is_better=True, epochs=2, min_improvement=0.5)
    best = Best()
    for epoch, score in enumerate([1.0, math.nan, 1.4, 1.6, 1.6], start=1):
        best = rule.after(best, epoch, score)
    assert best == Best(epoch=5, score=1.6, improved=4, reference=1.6)
    assert not rule.exhausted(best, 5)
    assert rule.exhausted(best, 6)


def test_a_larger_metric_is_better_where_it_is():
    net, X, y = classes(200)
    fit = lw.train(net, X, y, validation=0.25, metric=["roc_auc", "f1", "cost"], epochs=10, optimizer=lw.Adam(0.02))
    curve = fit.history.validation["roc_auc"]
    assert fit.best_epoch == len(curve) - np.argmax(curve[::-1])
    assert set(fit.history.validation) == {"cost", "roc_auc", "f1"}


def test_every_metric_of_numbers_and_of_two_classes():
    net, X, Y = numbers()
    named = ["rmse", "mae", "r2", "mape", "pinball"]
    fit = lw.train(net, X, Y, validation=0.2, metric=named, epochs=2)
    scores = fit.history[-1].validation
    assert list(scores) == ["cost", *named]
    assert scores["rmse"] == pytest.approx(math.sqrt(scores["cost"]))
    named = ["accuracy", "balanced_accuracy", "log_loss", "roc_auc", "brier", "f1"]
    one = lw.Network([3, 8, 1], output="sigmoid")
    fit = lw.train(one, X, (Y > 0).astype(float), validation=0.2, metric=named, epochs=2)
    scores = fit.history[-1].validation
    assert list(scores) == ["cost", *named]
    assert scores["log_loss"] == pytest.approx(scores["cost"])


def test_weights_of_validation_rows_count():
    net, X, Y = numbers(100)
    w = np.arange(20.0)
    fit = lw.train(net, X[20:], Y[20:], validation=(X[:20], Y[:20], w), metric="mae", epochs=1)
    errors = np.abs(net.forward(fit.params, X[:20]) - Y[:20])[:, 0]
    assert fit.history[-1].validation["mae"] == pytest.approx(np.average(errors, weights=w))
    assert fit.history[-1].validation["cost"] == pytest.approx(np.average(errors**2, weights=w))


def test_rows_held_out_have_the_shares_of_the_classes():
    y = np.repeat([0, 1, 2, 3], [600, 300, 99, 1])
    learned, held_out = split(1000, 0.2, 7, y)
    assert np.bincount(y[held_out], minlength=4).tolist() == [120, 60, 20, 0]
    assert np.bincount(y[learned], minlength=4).tolist() == [480, 240, 79, 1]
    np.testing.assert_array_equal(np.sort(np.concatenate([learned, held_out])), np.arange(1000))
    assert not np.array_equal(held_out, split(1000, 0.2, 8, y)[1])
    assert [len(rows) for rows in split(10, 0.25, 0, None)] == [8, 2]
    assert [len(rows) for rows in split(2, 0.999, 0, None)] == [1, 1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_of_weight_0_is_absent_from_validation_too(engine):
    net, X, y = classes(100)
    w = np.ones(100)
    w[::7] = 0.0
    options = {"validation": 0.3, "epochs": 3, "batch_size": 16, "engine": engine}
    weighted = lw.train(net, X, y, sample_weight=w, **options)
    absent = lw.train(net, X[w > 0], y[w > 0], **options)
    for name, W in absent.params.items():
        np.testing.assert_allclose(weighted.params[name], W, rtol=1e-12, atol=1e-14)
    assert weighted.history[-1].validation == pytest.approx(absent.history[-1].validation, rel=1e-12)


# Budgets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("steps", [1, 24, 25, 26, 60])
def test_as_many_steps_as_there_may_be(engine, steps):
    net, X, y = classes(400)
    options = {"batch_size": 16, "optimizer": lw.Adam(0.01), "engine": engine}
    fit = lw.train(net, X, y, epochs=50, max_steps=steps, **options)
    assert fit.steps == steps
    assert len(fit.history) == steps // 25
    assert fit.stop_reason.startswith(f"The {steps} steps of max_steps are done, ")
    if steps % 25 == 0:
        whole = lw.train(net, X, y, epochs=steps // 25, **options)
        for name, W in whole.params.items():
            np.testing.assert_array_equal(fit.params[name], W)


@pytest.mark.parametrize("engine", ENGINES)
def test_time_is_up_in_the_middle_of_an_epoch(engine):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20000, 200)), rng.normal(size=(20000, 1))
    net = lw.Network([200, 300, 300, 1])
    begun = time.monotonic()
    fit = lw.train(net, X, Y, max_seconds=0.3, epochs=1000, batch_size=100, optimizer=lw.SGD(1e-4), engine=engine)
    assert time.monotonic() - begun < 3.0
    assert fit.stop_reason.startswith("The 0.3 seconds of max_seconds are over, ")
    assert 0 < fit.steps < 200 * 1000


def test_a_listener_ends_the_fit_with_its_reason():
    net, X, y = classes(50)
    seen = []
    listeners = [seen.append, lambda epoch: "that is enough" if epoch.number == 2 else None]
    fit = lw.train(net, X, y, epochs=9, on_epoch_end=listeners)
    assert fit.stop_reason == "Stopped after epoch 2: that is enough"
    assert [e.number for e in seen] == [1, 2]
    assert len(lw.train(net, X, y, epochs=9, on_epoch_end=lambda epoch: True).history) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_targets_may_come_in_another_form_than_those_of_training(engine):
    net, X, y = classes(100)
    rows = np.eye(3)[y]
    options = {"metric": "accuracy", "epochs": 2, "engine": engine}
    expected = lw.train(net, X, y, validation=(X, y), **options).history.validation
    found = lw.train(net, X, y, validation=(X, rows), **options).history.validation
    np.testing.assert_array_equal(found["cost"], expected["cost"])
    found = lw.train(net, X, rows, validation=(X, y), **options).history.validation
    np.testing.assert_allclose(found["cost"], expected["cost"], rtol=1e-13)
    np.testing.assert_array_equal(found["accuracy"], expected["accuracy"])
    with pytest.raises(lw.DataError, match="validation: Y holds probabilities where the training targets are labels"):
        lw.train(net, X, y, validation=(X, 0.5 * rows + 0.5 / 3), **options)


def test_the_cost_decides_where_it_is_named_first():
    net, X, y = classes(60)
    options = {"validation": (X, y), "epochs": 2}
    assert "the best by the validation cost" in lw.train(net, X, y, metric=["cost", "accuracy"], **options).stop_reason
    fit = lw.train(net, X, y, metric=["accuracy", "cost"], **options)
    assert "the best by the validation accuracy" in fit.stop_reason
    assert set(fit.history[0].validation) == {"cost", "accuracy"}


def test_two_functions_of_one_name_are_refused():
    net, X, Y = numbers()
    first, second = (lambda true, outputs: 1.0), (lambda true, outputs: 2.0)
    with pytest.raises(lw.DataError, match=r"metric names '<lambda>' twice. Give each function a name of its own"):
        lw.train(net, X, Y, validation=0.2, metric=[first, second])

    def cost(true, outputs):
        return 1.0

    with pytest.raises(lw.DataError, match="metric names 'cost' twice"):
        lw.train(net, X, Y, validation=0.2, metric=cost)


@pytest.mark.parametrize("engine", ENGINES)
def test_validation_rows_of_weight_0_are_absent(engine):
    net, X, Y = numbers(60)
    w = np.repeat([1e308, 0.0], 30)  # their sum is beyond float64
    Y[40] = 1e200  # whose loss is infinite

    def rows(true, outputs):
        return float(len(true))

    options = {"metric": ["rmse", rows], "epochs": 2, "engine": engine}
    found = lw.train(net, X[:30], Y[:30], validation=(X, Y, w), **options).history.validation
    expected = lw.train(net, X[:30], Y[:30], validation=(X[:30], Y[:30]), **options).history.validation
    for name, curve in expected.items():
        np.testing.assert_allclose(found[name], curve, rtol=1e-13)


# Weights of classes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_classes_that_weigh_the_same_are_repeated_rows(engine):
    net, X, _ = classes(90)
    y = np.repeat([0, 1, 2], [60, 20, 10])
    options = {"batch_size": None, "epochs": 20, "optimizer": lw.SGD(0.1), "engine": engine}
    balanced = lw.train(net, X, y, class_weight="balanced", **options)
    rows = np.repeat(np.arange(90), np.array([1, 3, 6])[y])
    repeated = lw.train(net, X[rows], y[rows], **options)
    for name, W in repeated.params.items():
        np.testing.assert_allclose(balanced.params[name], W, rtol=1e-11, atol=1e-13)
    by_hand = lw.train(net, X, y, class_weight={1: 3, 2: 6.0}, **options)
    for name, W in repeated.params.items():
        np.testing.assert_allclose(by_hand.params[name], W, rtol=1e-11, atol=1e-13)


def test_weights_of_classes_and_samples_multiply():
    net, X, y = classes(60)
    w = np.random.default_rng(3).random(60) + 0.5
    options = {"epochs": 3, "batch_size": 16}
    both = lw.train(net, X, y, class_weight={0: 2.0}, sample_weight=w, **options)
    one = lw.train(net, X, y, sample_weight=np.where(y == 0, 2 * w, w), **options)
    for name, W in one.params.items():
        np.testing.assert_array_equal(both.params[name], W)


# What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"patience": 3}, lw.DataError, "patience needs rows to judge by. Give validation=0.2"),
        ({"metric": "accuracy"}, lw.DataError, "metric needs rows to judge by"),
        ({"validation": 0.2, "metric": "acuracy"}, lw.UnknownName, "Did you mean 'accuracy'"),
        ({"validation": 0.2, "metric": "rmse"}, lw.DataError, "'rmse' compares numbers"),
        ({"validation": 0.2, "metric": 3}, lw.DataError, "metric must be the name of a metric"),
        ({"validation": 0.2, "metric": lambda *_: "high"}, lw.DataError, "must give a number"),
        ({"validation": 0.2, "patience": 0}, lw.DataError, "patience must be a positive integer; got 0"),
        ({"validation": 0.2, "min_improvement": -1}, lw.DataError, "min_improvement must be a finite number >= 0"),
        ({"validation": 1.5}, lw.DataError, "must lie between 0 and 1; got 1.5"),
        ({"validation": 0.001}, lw.DataError, "of 60 rows holds none out"),
        ({"validation": "0.2"}, lw.DataError, "must lie between 0 and 1; got '0.2'"),
        ({"validation": np.ones((3, 5))}, lw.DataError, r"got ndarray of shape \(3, 5\)"),
        ({"validation": (1,)}, lw.DataError, r"a tuple \(X, Y\)"),
        ({"validation": (np.ones((3, 4)), [0, 1, 2])}, lw.ShapeError, r"validation: X must have shape \(N, 5\)"),
        ({"validation": (np.ones((3, 5)), [0, 1, 3])}, lw.DataError, r"validation: Labels in Y must be 0 .. 2"),
        ({"validation": (np.ones((0, 5)), [])}, lw.DataError, "validation: X has no rows"),
        ({"validation": (np.full((1, 5), np.nan), [0])}, lw.DataError, "validation: X has 5 NaN"),
        ({"max_steps": 0}, lw.DataError, "max_steps must be a positive integer; got 0"),
        ({"max_seconds": -1}, lw.DataError, "max_seconds must be a finite number > 0; got -1"),
        ({"restarts": -1}, lw.DataError, "restarts must be a positive integer"),
        ({"class_weight": "balance"}, lw.DataError, "class_weight must be 'balanced' or a dict"),
        ({"class_weight": {3: 1.0}}, lw.DataError, "names classes by number, 0 .. 2; got 3"),
        ({"class_weight": {0: -1.0}}, lw.DataError, r"class_weight\[0\] must be a finite number >= 0; got -1.0"),
        ({"on_epoch_end": [3]}, lw.DataError, "on_epoch_end must be a function of an Epoch; got 3"),
    ],
)
def test_what_is_refused(options, error, message):
    net, X, y = classes(60)
    with pytest.raises(error, match=message):
        lw.train(net, X, y, **options)


def test_numbers_have_no_classes():
    net, X, Y = numbers(30)
    with pytest.raises(lw.DataError, match="class_weight needs targets that are classes"):
        lw.train(net, X, Y, class_weight="balanced")
    with pytest.raises(lw.DataError, match="'accuracy' compares classes, and this network gives numbers"):
        lw.train(net, X, Y, validation=0.2, metric="accuracy")


def test_patience_counts_the_epochs_of_this_fit_only():
    net, X, Y = numbers()
    earlier = lw.train(net, X, Y, epochs=6)
    fit = lw.train(net, X, Y, params=earlier, validation=(X, Y), patience=3, epochs=4, optimizer=lw.SGD(1e-3))
    assert fit.steps == earlier.steps + 4 * 3
    # A score that never improves: as many epochs are let pass as in a fit from nothing.
    options = {"validation": (X, Y), "metric": lambda true, outputs: float("nan"), "patience": 3, "epochs": 9}
    assert len(lw.train(net, X, Y, **options).history) == 3
    assert len(lw.train(net, X, Y, params=earlier, **options).history) == 6 + 3
