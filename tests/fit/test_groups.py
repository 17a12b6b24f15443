"""Groups of parameters, limits of gradients: what they do to steps, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from update_rules import DECLARED

import layerwise as lw


def problem(n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return lw.Network([3, 5, 1], hidden="tanh"), X, X[:, :1] * X[:, 1:2]


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("rule", DECLARED, ids=lambda rule: rule.__name__)
def test_a_factor_of_0_keeps_parameters_as_they_start(rule, engine):
    net, X, Y = problem()
    batch_size = None if rule.full_batch else 16
    options = {"epochs": 3, "batch_size": batch_size, "engine": engine}
    fit = lw.train(net, X, Y, optimizer=rule(0.1), groups={"?1": lw.Group(0.0)}, **options)
    start = net.initialise(0)
    for name in ("W1", "b1"):
        np.testing.assert_array_equal(fit.params[name], start[name])
    assert not np.array_equal(fit.params["W2"], start["W2"])


def test_a_learning_rate_that_changes_is_multiplied_too():
    net, X, Y = problem()
    schedule = lw.CosineDecay(0.2)
    options = {"epochs": 4, "batch_size": 16}
    grouped = lw.train(net, X, Y, optimizer=lw.SGD(schedule), groups={"*": lw.Group(0.5)}, **options)
    halved = lw.train(net, X, Y, optimizer=lw.SGD(0.5 * schedule), **options)
    for name, W in halved.params.items():
        np.testing.assert_allclose(grouped.params[name], W, rtol=1e-13)


def test_the_first_pattern_decides():
    net, X, Y = problem()
    groups = {"W1": lw.Group(0.0), "W*": lw.Group(1.0), "*": lw.Group(0.0)}
    fit = lw.train(net, X, Y, optimizer=lw.SGD(0.1), groups=groups, epochs=2)
    changed = {name for name, W in net.initialise(0).items() if not np.array_equal(W, fit.params[name])}
    assert changed == {"W2"}


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_is_no_longer_than_the_limit_of_the_norm(engine, dtype):
    net, X, Y = problem()
    start = net.initialise(0, dtype)
    fit = lw.train(
        net, X, 100 * Y, params=start, optimizer=lw.SGD(1.0), clip_norm=0.25, batch_size=None, epochs=1, engine=engine
    )
    moved = np.concatenate([(fit.params[k].astype(float) - start[k]).ravel() for k in start])
    assert np.linalg.norm(moved) == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"V*": lw.Group()}}, r"no parameter is named 'V\*'. There are W1, b1, W2, b2"),
        ({"groups": {"W1": 0.1}}, r"groups\['W1'\] must be a layerwise.Group; got 0.1"),
        ({"groups": [lw.Group()]}, "groups must be a dict"),
        ({"groups": {"W1": lw.Group(weight_decay=0.1)}}, "Momentum has no weight_decay"),
        ({"clip_norm": 0}, "clip_norm must be a finite number > 0; got 0"),
        ({"clip_value": "1"}, "clip_value must be a finite number > 0; got '1'"),
    ],
)
def test_what_is_refused(options, message):
    net, X, Y = problem()
    with pytest.raises(lw.DataError, match=message):
        lw.train(net, X, Y, **options)


def test_a_group_is_refused_where_it_is_made():
    with pytest.raises(lw.DataError, match="learning_rate_factor of Group must be a finite number >= 0; got -1"):
        lw.Group(-1)


def test_native_steps_are_those_of_the_definition():
    net, X, Y = problem()
    options = {
        "optimizer": lw.AdamW(0.02, weight_decay=0.1),
        "groups": {"b*": lw.Group(2.0, weight_decay=0.0), "W2": lw.Group(0.1)},
        "clip_value": 0.02,
        "clip_norm": 0.04,
        "batch_size": 7,
        "epochs": 5,
    }
    native, numpy = (lw.train(net, X, Y, engine=engine, **options) for engine in ("native", "numpy"))
    for name, W in numpy.params.items():
        np.testing.assert_allclose(native.params[name], W, rtol=1e-10, atol=1e-13)
