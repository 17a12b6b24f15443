"""Arguments of `train` that cannot be meant; the data themselves are in tests/network/test_data.py."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw

NET = lw.Network([3, 5, 2], hidden="tanh")
X, Y = np.ones((4, 3)), np.ones((4, 2))


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, "3", True, np.float64(2), [2], float("nan")])
def test_counts(name, value):
    with pytest.raises(lw.DataError, match=f"{name} must be a positive integer; got ") as raised:
        lw.train(NET, X, Y, **{name: value})
    assert repr(value) in str(raised.value)


def test_epochs_are_not_none():
    with pytest.raises(lw.DataError, match="epochs must be a positive integer; got None"):
        lw.train(NET, X, Y, epochs=None)


def test_counts_of_numpy_are_counts():
    assert len(lw.train(NET, X, Y, epochs=np.int64(2), batch_size=np.uint8(3)).history) == 2


@pytest.mark.parametrize("optimizer", ["sgd", 0.1, lw.SGD, object(), {"learning_rate": 0.1}])
def test_optimizers(optimizer):
    with pytest.raises(lw.DataError, match=r"optimizer must be an update rule such as layerwise.SGD\(0.1\); got "):
        lw.train(NET, X, Y, optimizer=optimizer)


def test_the_base_of_update_rules_is_none():
    with pytest.raises(TypeError, match="UpdateRule is no update rule: it has no formula"):
        lw.train(NET, X, Y, optimizer=lw.UpdateRule(0.1))


def test_nothing_to_learn_from():
    with pytest.raises(lw.DataError, match="X has no rows; at least one sample is needed to learn from"):
        lw.train(NET, np.zeros((0, 3)), np.zeros((0, 2)))


@pytest.mark.parametrize("n", [1, 2])
def test_very_few_rows_are_enough(n):
    fit = lw.train(NET, X[:n], Y[:n], epochs=2)
    assert np.isfinite(fit.history.cost).all()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a", None])
def test_seeds(seed):
    with pytest.raises(lw.DataError, match="seed must be an integer"):
        lw.train(NET, X, Y, seed=seed)


def test_a_new_update_rule_is_a_class_with_a_formula():
    class Sign(lw.UpdateRule):
        def step(self, W, g, *slots, learning_rate):
            return (W - learning_rate * lw.sign(g),)

    start = NET.initialise(0)
    _, g = NET.cost_and_gradients(start, X, Y)
    fit = lw.train(NET, X, Y, params=start, optimizer=Sign(0.125), epochs=1)
    for name in start:
        np.testing.assert_array_equal(fit.params[name], start[name] - 0.125 * np.sign(g[name]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rprop_takes_the_whole_data_set_at_once(batch_size):
    n = len(X)
    with pytest.raises(
        lw.DataError, match=f"Rprop takes all {n} samples at once; got batch_size={batch_size}. Give batch_size=None"
    ):
        lw.train(NET, X, Y, optimizer=lw.Rprop(), batch_size=batch_size)
    for whole in (None, n, n + 1):
        assert not lw.train(NET, X, Y, optimizer=lw.Rprop(), batch_size=whole).diverged
