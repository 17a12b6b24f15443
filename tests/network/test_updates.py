"""Update rules as formulas on nodes: Adam against its closed form, and what is fed at each step."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import layerwise as lw
from layerwise.network.build import step_graph

RULES = [lw.SGD(0.5), lw.Momentum(0.1, 0.5), lw.Adam()]


def run(rule, W, gradients):
    """The weights after each step, and the slots at the end."""
    w, g = lw.input("W", W.shape), lw.input("g", W.shape)
    slots = [lw.input(name, W.shape) for name in rule.slots]
    scalars = {name: lw.input(name, ()) for name in rule.scalars(1)}
    after = rule.step(w, g, *slots, **scalars)
    values, path = [W, *(np.zeros_like(W) for _ in slots)], []
    for t, gradient in enumerate(gradients, start=1):
        feeds = dict(zip([w, *slots], values, strict=True)) | {g: gradient}
        feeds |= {scalars[name]: value for name, value in rule.scalars(t).items()}
        values = lw.evaluate(list(after), feeds)
        path.append(values[0])
    return path, values[1:]


def closed_form(rule, w, gradients):
    """One weight after all gradients, and the moments, by the sums that the recurrences stand for; 50 digits."""
    with mpmath.workdps(50):
        b1, b2, w = mpmath.mpf(rule.beta1), mpmath.mpf(rule.beta2), mpmath.mpf(w)
        for t in range(1, len(gradients) + 1):
            m = (1 - b1) * mpmath.fsum(b1 ** (t - i) * mpmath.mpf(g) for i, g in enumerate(gradients[:t], 1))
            v = (1 - b2) * mpmath.fsum(b2 ** (t - i) * mpmath.mpf(g) ** 2 for i, g in enumerate(gradients[:t], 1))
            m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
            w -= rule.learning_rate * m_hat / (mpmath.sqrt(v_hat) + rule.epsilon)
        return float(w), float(m), float(v)


@pytest.mark.parametrize(
    "rule",
    [
        lw.Adam(),
        lw.Adam(0.5, 0.5, 0.25, 2.0),
        lw.Adam(0.1, 0.0, 0.999),
        lw.Adam(0.1, 0.9, 0.0, 1e-3),
        lw.Adam(0.1, 0.0, 0.0, 0.0),
        lw.Adam(0.1, 0.9, 1 - 1e-9),
        lw.Adam(0.1, 1 - 1e-12, 1 - 1e-12),
    ],
    ids=repr,
)
def test_adam_is_its_closed_form(rule):
    rng = np.random.default_rng(0)
    W, G = rng.normal(size=(2, 3)), rng.normal(size=(7, 2, 3)) * 10.0 ** rng.integers(-3, 3, size=(7, 1, 1))
    path, (m, v) = run(rule, W, G)
    for at in np.ndindex(W.shape):
        w_end, m_end, v_end = closed_form(rule, float(W[at]), [float(g) for g in G[(slice(None), *at)]])
        # Seven steps of a dozen roundings each; m may cancel against terms of 1e2.
        np.testing.assert_allclose(path[-1][at], w_end, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(m[at], m_end, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(v[at], v_end, rtol=1e-13)


@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 0.5, 100.0])
def test_a_constant_gradient_moves_all_steps_alike(epsilon):
    # m̂ = g and v̂ = g² at every step, so W moves by ρ g/(|g| + ε): ε added before the correction of v gives a first
    # step with ε/√(1 - β2^t), here 31 times as large.
    rule = lw.Adam(0.25, epsilon=epsilon)
    W, g = np.zeros(4), np.array([3.0, -2.0, 1e-4, 1e5])
    path, _ = run(rule, W, [g] * 50)
    moves = np.diff([W, *path], axis=0)
    # Each difference of two sums of moves has the rounding of the sum, which is up to 50 moves large.
    np.testing.assert_allclose(moves, np.tile(-0.25 * g / (np.abs(g) + epsilon), (50, 1)), rtol=1e-13)


def test_a_weight_without_gradient_stays():
    path, (m, v) = run(lw.Adam(), np.ones(2), [np.zeros(2)] * 3)
    np.testing.assert_array_equal([*path, m + 1, v + 1], 1.0)


@pytest.mark.parametrize("beta", [0.9, 0.999, 1 - 1e-9, 1 - 2.0**-53, 0.1, 1e-300])
@pytest.mark.parametrize("t", [1, 2, 1000, 10**9, 10**15])
def test_corrections_keep_all_digits(beta, t):
    with mpmath.workdps(60):
        exact = 1 - mpmath.mpf(beta) ** t
        expected = {"step_size": 0.5 / mpmath.sqrt(exact), "scaled_epsilon": 0.25 * mpmath.sqrt(exact)}
        expected = {name: float(value) for name, value in expected.items()}
    fed = lw.Adam(0.5, beta, beta, 0.25).scalars(t)
    for name, value in expected.items():
        assert fed[name] == pytest.approx(value, rel=1e-15)
    assert (fed["beta1"], fed["beta2"]) == (beta, beta)
    assert fed["one_minus_beta1"] == fed["one_minus_beta2"] == 1 - beta


def test_without_memory_there_is_nothing_to_correct():
    assert lw.Adam(0.5, 0.0, 0.0, 0.25).scalars(1) == lw.Adam(0.5, 0.0, 0.0, 0.25).scalars(10)
    assert lw.Adam(0.5, 0.0, 0.0, 0.25).scalars(1)["step_size"] == 0.5


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_names_fed_are_the_same_at_every_step(rule):
    assert list(rule.scalars(1)) == list(rule.scalars(2)) == list(rule.scalars(10**6))


def test_by_default_the_hyperparameters_are_fed():
    assert lw.Momentum(0.1, 0.5).scalars(7) == {"learning_rate": 0.1, "momentum": 0.5}


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_slot_has_the_shape_of_its_parameter(rule):
    net = lw.Network([3, 5, 2])
    step = step_graph(net.graph(), rule)
    expected = {(name, slot): shape for name, shape in net.parameter_shapes.items() for slot in rule.slots}
    assert {key: node.shape for key, node in step.slots.items()} == expected
    assert {key: node.shape for key, node in step.new_slots.items()} == expected
    assert {name: node.shape for name, node in step.scalars.items()} == dict.fromkeys(rule.scalars(1), ())


def test_adam_remembers_two_moments():
    assert lw.Adam.slots == ("first_moment", "second_moment")
    assert lw.Adam() == lw.Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0}, "learning_rate of Adam must be a finite number > 0; got 0"),
        ({"beta1": 1.0}, r"beta1 of Adam must be below 1\.0; got 1\.0"),
        ({"beta1": -0.1}, r"beta1 of Adam must be a finite number >= 0; got -0\.1"),
        ({"beta2": 1}, r"beta2 of Adam must be below 1\.0; got 1"),
        ({"beta2": float("nan")}, "beta2 of Adam must be a finite number >= 0; got nan"),
        ({"epsilon": -1e-8}, "epsilon of Adam must be a finite number >= 0; got -1e-08"),
        ({"epsilon": "1e-8"}, "epsilon of Adam must be a finite number >= 0; got '1e-8'"),
    ],
)
def test_adam_checks_its_numbers(options, message):
    with pytest.raises(lw.DataError, match=message):
        lw.Adam(**options)
