"""What a fit says of itself: which layer grew, what to do, norms, dead and saturated units."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import layerwise as lw

ENGINES = ["native", "numpy"]


def problem(n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return lw.Network([3, 6, 1], hidden="tanh"), X, X[:, :1] * X[:, 1:2]


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lw.DivergenceWarning)
        return lw.train(*args, **options)


# Divergence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_the_layer_that_grew_first_is_named(engine):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    net = lw.Network([3, 5, 5, 1])
    groups = {"*1": lw.Group(0.0), "*3": lw.Group(0.0)}  # only layer 2 moves, and its outputs grow
    fit = quiet(net, X, X[:, :1], optimizer=lw.SGD(1e4), groups=groups, batch_size=None, epochs=50, engine=engine)
    assert fit.diverged
    assert "Layer 2 grew first: its largest |Z| went from " in fit.stop_reason
    start, now = (float(word.rstrip(".")) for word in fit.stop_reason.split("went from ")[1].split()[:3:2])
    assert now > 10 * start


@pytest.mark.parametrize(
    ("x", "y", "remedy"),
    [
        (1e4, 1.0, "Scale inputs to about 1: they reach "),
        (1.0, 1e4, "Scale targets to about 1: they reach "),
        (1.0, 1.0, "Try learning rate 10, or scale inputs and targets to about 1."),
    ],
)
def test_the_remedy_fits_the_cause(x, y, remedy):
    net, X, Y = problem()
    fit = quiet(net, x * X, y * Y, optimizer=lw.SGD(100.0), epochs=20)
    assert fit.diverged
    assert remedy in fit.stop_reason


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_that_diverges_begins_again_at_a_tenth_of_the_rate(engine):
    net, X, Y = problem()
    options = {"epochs": 20, "batch_size": None, "engine": engine}
    fit = lw.train(net, X, Y, optimizer=lw.SGD(1000.0), restarts=9, **options)
    assert not fit.diverged
    again = [note for note in fit.notes if note.startswith("Begun again with a tenth of the learning rate: The ")]
    assert 1 <= len(again) <= 8
    rate = 1000.0 * 0.1 ** len(again)
    assert fit.history[-1].learning_rate == pytest.approx(rate)
    plain = lw.train(net, X, Y, optimizer=lw.SGD(1000.0 / 10.0 ** len(again)), **options)
    for name, W in plain.params.items():
        np.testing.assert_array_equal(fit.params[name], W)
    assert quiet(net, X, Y, optimizer=lw.SGD(1000.0), restarts=len(again) - 1, **options).diverged


def test_restarts_multiply_schedules():
    net, X, Y = problem()
    fit = lw.train(net, X, Y, optimizer=lw.SGD(lw.CosineDecay(1000.0)), restarts=9, epochs=5, batch_size=None)
    rates = fit.history.learning_rate
    np.testing.assert_allclose(rates / rates[0], (1 + np.cos(np.pi * np.arange(5) / 5)) / 2)
    assert rates[0] < 1000.0


# Reports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norms_are_those_of_weights_gradients_and_changes(engine, dtype):
    net, X, Y = problem()
    options = {"optimizer": lw.SGD(0.1), "batch_size": 20, "engine": engine, "dtype": dtype}
    fit = lw.train(net, X, Y, epochs=3, diagnostics=True, **options)
    before, after = (lw.train(net, X, Y, epochs=n, **options).params for n in (2, 3))
    _, slopes = net.cost_and_gradients(after, X, Y)
    for number, report in enumerate(fit.history[-1].layers, start=1):
        own = [f"W{number}", f"b{number}"]
        rel = 1e-5 if dtype == "float32" else 1e-12

        def norm(arrays):
            return math.sqrt(sum(float(np.sum(np.asarray(a, float) ** 2)) for a in arrays))

        assert report.weights == pytest.approx(norm(after[k] for k in own), rel=rel)
        assert report.gradient == pytest.approx(norm(slopes[k] for k in own), rel=10 * rel)
        assert report.update == pytest.approx(norm(after[k].astype(float) - before[k] for k in own), rel=100 * rel)
    assert math.isnan(fit.history[0].layers[0].update)
    assert lw.train(net, X, Y, epochs=1, **options).history[0].layers == ()


def test_dead_units_are_counted_and_said():
    net = lw.Network([3, 8, 1])
    _, X, Y = problem()
    start = net.initialise(0)
    start["b1"][:6] = -100.0
    fit = lw.train(net, X, Y, params=start, epochs=2, diagnostics=True)
    assert fit.history[-1].layers[0].dead == pytest.approx(6 / 8, abs=0.13)
    assert any("of the 8 units of layer 1 are dead" in note for note in fit.notes)
    assert math.isnan(fit.history[-1].layers[1].dead)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softsign", "hardtanh"])
def test_saturated_units_are_counted_and_said(activation):
    net = lw.Network([3, 8, 1], hidden=activation)
    _, X, Y = problem()
    start = net.initialise(0)
    start["b1"][:5] = 1000.0
    fit = lw.train(net, X, Y, params=start, epochs=1, optimizer=lw.SGD(1e-6), diagnostics=True)
    assert fit.history[-1].layers[0].saturated == pytest.approx(5 / 8)
    assert any("62% of the 8 units of layer 1 are saturated" in note for note in fit.notes)


def test_any_network_is_looked_at():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 3, 40), rng.normal(size=(40, 2))])
    net = lw.Network(
        [
            lw.Input(3),
            lw.Embedding({0: 3}, width=2),
            lw.Scale(),
            lw.Dense(4, "relu", normalisation="batch", dropout=0.2),
            lw.Dense(4, "tanh", residual=True),
            lw.Dense(1),
        ]
    )
    fit = lw.train(net, X, X[:, 1], epochs=3, batch_size=8, diagnostics=True, validation=0.2)
    assert len(fit.history[-1].layers) == len(net.layers)
    assert all(report.weights > 0 for report in fit.history[-1].layers)


# Before the first step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [(1e3, 1.0, "Inputs are not scaled"), (1e-5, 1.0, "Inputs are"), (1.0, 1e3, "Targets are"), (1.0, 1.0, None)],
)
def test_what_is_not_scaled_is_said(x, y, found):
    net, X, Y = problem()
    notes = lw.train(net, x * X, y * Y, epochs=1, optimizer=lw.SGD(1e-9)).notes
    assert [note for note in notes if "not scaled" in note] == [note for note in notes if found and found in note]
    assert bool(notes) == bool(found)


def test_units_that_start_equal_are_said():
    net, X, Y = problem()
    start = net.initialise(0)
    start["W1"][...] = 0.1
    (note,) = lw.train(net, X, Y, params=start, epochs=1).notes
    assert note.startswith("All 6 units of layer 1 start equal")
