"""Partial fits: a loop of `train(..., params=fit)` on what comes in parts."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw

RULES = [
    lw.Adam(0.01),
    lw.NAdam(0.01),
    lw.Momentum(0.05),
    lw.SGD(lw.InverseScaling(0.1)),
    lw.Adam(lw.ReduceOnPlateau(0.05, patience=0, threshold=0.2)),
]


def problem(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return lw.Network([3, 8, 2], hidden="tanh"), X, np.column_stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])])


def assert_same_bits(a, b):
    assert list(a.slots) == list(b.slots)
    for name in a.params:
        np.testing.assert_array_equal(a.params[name], b.params[name], err_msg=name)
    for name in a.slots:
        np.testing.assert_array_equal(a.slots[name], b.slots[name], err_msg=name)


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("batch_size", [None, 16])
def test_parts_of_a_fit_are_the_whole_fit(rule, batch_size, engine):
    # What is remembered, the count of steps, the order of rows and what schedules have seen: all go on.
    net, X, Y = problem()
    options = {"optimizer": rule, "batch_size": batch_size, "engine": engine}
    whole = lw.train(net, X, Y, epochs=6, **options)
    fit = None
    for _ in range(6):
        fit = lw.train(net, X, Y, params=fit, epochs=1, **options)
    assert_same_bits(fit, whole)
    assert fit.steps == whole.steps
    np.testing.assert_array_equal(fit.history.cost, whole.history.cost)
    np.testing.assert_array_equal(fit.history.learning_rate, whole.history.learning_rate)
    if "Plateau" in repr(rule):
        assert len(set(fit.history.learning_rate)) > 1


@pytest.mark.parametrize("rule", [lw.Adam(0.01), lw.SGD(lw.InverseScaling(0.1))], ids=repr)
def test_parts_of_other_sizes_are_blocks(rule):
    net, X, Y = problem()
    parts = [(0, 20), (20, 21), (21, 50), (50, 60)]
    fit = None
    for a, b in parts:
        fit = lw.train(net, X[a:b], Y[a:b], params=fit, optimizer=rule, batch_size=100, epochs=1)
    blocks = lw.Blocks(lambda: ((X[a:b], Y[a:b]) for a, b in parts))
    whole = lw.train(net, blocks, optimizer=rule, batch_size=100, epochs=1)
    assert_same_bits(fit, whole)
    assert fit.steps == whole.steps == 4
    assert fit.history.learning_rate[-1] == whole.history.learning_rate[-1]


def test_blocks_go_on_too():
    net, X, Y = problem()
    blocks = lw.Blocks(lambda: ((X[a : a + 20], Y[a : a + 20]) for a in (0, 20, 40)))
    options = {"optimizer": lw.Adam(0.01), "batch_size": 8}
    fit = None
    for _ in range(3):
        fit = lw.train(net, blocks, params=fit, epochs=1, **options)
    assert_same_bits(fit, lw.train(net, blocks, epochs=3, **options))


def test_a_schedule_over_a_share_sees_epochs_of_the_length_that_they_have_now():
    net, X, Y = problem()
    rule = lw.SGD(lw.CosineDecay(0.1))
    fit = lw.train(net, X, Y, optimizer=rule, batch_size=10, epochs=2)  # 12 steps, seen as 4
    fit = lw.train(net, X[:20], Y[:20], params=fit, optimizer=rule, batch_size=10, epochs=3)  # and 6
    np.testing.assert_allclose(fit.history.learning_rate[-1], 0.05 * (1 + np.cos(np.pi * 9 / 10)), rtol=1e-12)


def test_another_optimizer_begins_its_schedules_anew():
    net, X, Y = problem()
    plateau = lw.SGD(lw.ReduceOnPlateau(0.05, patience=0, threshold=0.9))
    fit = lw.train(net, X, Y, optimizer=plateau, batch_size=None, epochs=5)
    assert fit.history.learning_rate[-1] < 0.05
    same = lw.train(net, X, Y, params=fit, optimizer=plateau, batch_size=None, epochs=1)
    assert same.history.learning_rate[-1] < 0.05
    other = lw.train(net, X, Y, params=fit, optimizer=lw.SGD(lw.ReduceOnPlateau(0.04)), batch_size=None, epochs=1)
    assert other.history.learning_rate[-1] == 0.04


def test_a_start_of_weights_alone_remembers_nothing():
    net, X, Y = problem()
    options = {"optimizer": lw.Adam(0.01), "batch_size": None, "epochs": 2}
    first = lw.train(net, X, Y, **options)
    fresh = lw.train(net, X, Y, params=first.params, **options)
    assert fresh.steps == 2
    assert (fresh.params["W1"] != lw.train(net, X, Y, params=first, **options).params["W1"]).any()
