"""Update rules as formulas on nodes: each against its formula in NumPy, Adam against its closed form; what is fed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mpmath
import numpy as np
import pytest
from update_rules import DECLARED, RULES, gradients, run

import layerwise as lw
from layerwise.network.build import step_graph


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
    (fed,) = step.fed
    assert {name: node.shape for name, node in fed.scalars.items()} == dict.fromkeys(rule.scalars(1), ())


def test_adam_remembers_two_moments():
    assert lw.Adam.slots == ("first_moment", "second_moment")
    assert lw.Adam() == lw.Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (lw.Adam, {"learning_rate": 0}, "learning_rate of Adam must be a finite number > 0; got 0"),
        (lw.Adam, {"beta1": 1.0}, r"beta1 of Adam must be below 1\.0; got 1\.0"),
        (lw.Adam, {"beta1": -0.1}, r"beta1 of Adam must be a finite number >= 0; got -0\.1"),
        (lw.Adam, {"beta2": 1}, r"beta2 of Adam must be below 1\.0; got 1"),
        (lw.Adam, {"beta2": float("nan")}, "beta2 of Adam must be a finite number >= 0; got nan"),
        (lw.Adam, {"epsilon": -1e-8}, "epsilon of Adam must be a finite number >= 0; got -1e-08"),
        (lw.Adam, {"epsilon": "1e-8"}, "epsilon of Adam must be a finite number >= 0; got '1e-8'"),
        (lw.Nesterov, {"momentum": 1}, r"momentum of Nesterov must be below 1\.0; got 1"),
        (
            lw.Adagrad,
            {"learning_rate_decay": -1},
            "learning_rate_decay of Adagrad must be a finite number >= 0; got -1",
        ),
        (lw.RMSprop, {"alpha": 1.0}, r"alpha of RMSprop must be below 1\.0; got 1\.0"),
        (lw.RMSprop, {"momentum": 1.5}, r"momentum of RMSprop must be below 1\.0; got 1\.5"),
        (lw.RMSprop, {"centered": 1}, "centered of RMSprop must be True or False; got 1"),
        (lw.Adadelta, {"rho": 1.0}, r"rho of Adadelta must be below 1\.0; got 1\.0"),
        (lw.Adadelta, {"epsilon": 0}, "epsilon of Adadelta must be a finite number > 0; got 0"),
        (lw.AMSGrad, {"beta2": 1.0}, r"beta2 of AMSGrad must be below 1\.0"),
        (lw.AdamW, {"weight_decay": -0.01}, r"weight_decay of AdamW must be a finite number >= 0; got -0\.01"),
        (lw.NAdam, {"momentum_decay": -1e-3}, r"momentum_decay of NAdam must be a finite number >= 0; got -0\.001"),
        (lw.Lion, {"beta1": 1.0}, r"beta1 of Lion must be below 1\.0"),
        (lw.Lion, {"beta2": 1.0}, r"beta2 of Lion must be below 1\.0"),
        (lw.Rprop, {"learning_rate": 0.0}, "learning_rate of Rprop must be a finite number > 0"),
        (lw.Rprop, {"eta_minus": 0.0}, r"eta_minus of Rprop must be a finite number > 0; got 0\.0"),
        (lw.Rprop, {"eta_minus": 1.0}, r"eta_minus of Rprop must be below 1\.0; got 1\.0"),
        (lw.Rprop, {"eta_plus": 1.0}, r"eta_plus of Rprop must be a finite number > 1; got 1\.0"),
        (lw.Rprop, {"step_size_min": 0}, "step_size_min of Rprop must be a finite number > 0; got 0"),
        (
            lw.Rprop,
            {"step_size_min": 2, "step_size_max": 1},
            r"step_size_min of Rprop must not be above step_size_max; got 2\.0 and 1\.0",
        ),
    ],
)
def test_limits_of_hyperparameters(rule, options, message):
    with pytest.raises(lw.DataError, match=message):
        rule(**options)


@pytest.mark.parametrize("rule", DECLARED)
def test_every_hyperparameter_is_checked_by_name(rule):
    for f in dataclasses.fields(rule):
        choice = isinstance(f.default, bool)
        wrong = [0, 1.0, None, "True"] if choice else [-1.0, np.nan, np.inf, -np.inf, 10**400, "0.1", None, True, [0.1]]
        for value in wrong:
            with pytest.raises(lw.DataError, match=f"^{f.name} of {rule.__name__} must be "):
                rule(**{f.name: value})


def test_a_choice_may_be_a_boolean_of_numpy():
    assert lw.RMSprop(centered=np.True_) == lw.RMSprop(centered=True)
    assert repr(lw.RMSprop(centered=np.False_)) == repr(lw.RMSprop())


def test_by_default_no_choice_is_fed():
    @dataclasses.dataclass(frozen=True)
    class Choosing(lw.UpdateRule):
        reverse: bool = False

    assert Choosing(0.5, reverse=True).scalars(1) == {"learning_rate": 0.5}
    assert Choosing(0.5, reverse=True).hyperparameters == {"learning_rate": 0.5, "reverse": True}


# Every rule -----------------------------------------------------------------------------------------------


def sgd(r, W, g, t, s):
    W -= r.learning_rate * g


def momentum(r, W, g, t, s):
    s["V"] = r.momentum * s.get("V", 0) + g
    W -= r.learning_rate * s["V"]


def nesterov(r, W, g, t, s):
    s["V"] = r.momentum * s.get("V", 0) + g
    W -= r.learning_rate * (g + r.momentum * s["V"])


def adagrad(r, W, g, t, s):
    s["sum"] = s.get("sum", 0) + g**2
    W -= r.learning_rate / (1 + (t - 1) * r.learning_rate_decay) * g / (np.sqrt(s["sum"]) + r.epsilon)


def rmsprop(r, W, g, t, s):
    s["v"] = r.alpha * s.get("v", 0) + (1 - r.alpha) * g**2
    s["m"] = r.alpha * s.get("m", 0) + (1 - r.alpha) * g
    variance = s["v"] - s["m"] ** 2 if r.centered else s["v"]
    s["V"] = r.momentum * s.get("V", 0) + g / (np.sqrt(variance) + r.epsilon)
    W -= r.learning_rate * s["V"]


def adadelta(r, W, g, t, s):
    s["v"] = r.rho * s.get("v", 0) + (1 - r.rho) * g**2
    change = np.sqrt(s.get("u", 0) + r.epsilon) / np.sqrt(s["v"] + r.epsilon) * g
    s["u"] = r.rho * s.get("u", 0) + (1 - r.rho) * change**2
    W -= r.learning_rate * change


def moments(r, g, s):
    s["m"] = r.beta1 * s.get("m", 0) + (1 - r.beta1) * g
    s["v"] = r.beta2 * s.get("v", 0) + (1 - r.beta2) * g**2
    return s["m"], s["v"]


def adam(r, W, g, t, s):
    m, v = moments(r, g, s)
    W -= r.learning_rate * (m / (1 - r.beta1**t)) / (np.sqrt(v / (1 - r.beta2**t)) + r.epsilon)


def amsgrad(r, W, g, t, s):
    m, v = moments(r, g, s)
    s["h"] = np.maximum(s.get("h", 0), v)
    W -= r.learning_rate * (m / (1 - r.beta1**t)) / (np.sqrt(s["h"] / (1 - r.beta2**t)) + r.epsilon)


def adamw(r, W, g, t, s):
    W *= 1 - r.learning_rate * r.weight_decay
    adam(r, W, g, t, s)


def nadam(r, W, g, t, s):
    m, v = moments(r, g, s)
    mu, mu_next = (r.beta1 * (1 - 0.5 * 0.96 ** (i * r.momentum_decay)) for i in (t, t + 1))
    s["product"] = s.get("product", 1) * mu
    ahead = mu_next * m / (1 - s["product"] * mu_next) + (1 - mu) * g / (1 - s["product"])
    W -= r.learning_rate * ahead / (np.sqrt(v / (1 - r.beta2**t)) + r.epsilon)


def lion(r, W, g, t, s):
    c = r.beta1 * s.get("m", 0) + (1 - r.beta1) * g
    W -= r.learning_rate * (np.sign(c) + r.weight_decay * W)
    s["m"] = r.beta2 * s.get("m", 0) + (1 - r.beta2) * g


def rprop(r, W, g, t, s):
    same = np.sign(g) * s.get("sign", 0)
    size = s.get("size", r.learning_rate) * np.choose((same + 1).astype(int), [r.eta_minus, 1.0, r.eta_plus])
    s["size"] = np.clip(size, r.step_size_min, r.step_size_max)
    s["sign"] = np.sign(g) * (same >= 0)
    W -= s["size"] * s["sign"]


BY_HAND = {
    lw.SGD: sgd,
    lw.Momentum: momentum,
    lw.Nesterov: nesterov,
    lw.Adagrad: adagrad,
    lw.RMSprop: rmsprop,
    lw.Adadelta: adadelta,
    lw.Adam: adam,
    lw.AMSGrad: amsgrad,
    lw.AdamW: adamw,
    lw.NAdam: nadam,
    lw.Lion: lion,
    lw.Rprop: rprop,
}


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_is_its_formula(rule, engine):
    G = gradients(50)
    W = np.random.default_rng(1).normal(size=G.shape[1:])
    path, _ = run(rule, W, G, engine)
    expected, s = W.copy(), {}
    for t, g in enumerate(G, start=1):
        BY_HAND[type(rule)](rule, expected, g, t, s)
        # 1e-11: fifty steps of a dozen roundings each, and v - m² cancels by hand where the gradient hardly changes.
        np.testing.assert_allclose(path[t - 1], expected, rtol=1e-11, atol=1e-11)
    decay = rule.learning_rate * getattr(rule, "weight_decay", 0.0)
    np.testing.assert_allclose(path[-1][0], W[0] * (1 - decay) ** 50, rtol=1e-13)  # no gradient, no other change
    if not decay:
        np.testing.assert_array_equal(path[-1][0], W[0])


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_nan_reaches_the_weight_whose_gradient_it_is_and_no_other(rule, engine):
    G = gradients(8)
    W = np.ones(G.shape[1:])
    expected, _ = run(rule, W, G, engine)
    G[4, 2, 3] = np.nan
    path, _ = run(rule, W, G, engine)
    for t, (found, clean) in enumerate(zip(path, expected, strict=True)):
        where = np.zeros(W.shape, bool)
        where[2, 3] = t >= 4
        np.testing.assert_array_equal(found, np.where(where, np.nan, clean))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_scalars_of_many_steps_are_those_of_each(rule):
    steps = np.array([1, 2, 3, 50, 1000, 65536, 10**9, 10**15])
    together = rule.scalars(steps)
    for i, t in enumerate(steps):
        alone = rule.scalars(int(t))
        assert list(alone) == list(together)
        for name, value in alone.items():
            column = np.asarray(together[name])
            assert np.isfinite(value)
            assert (column if column.ndim == 0 else column[i]) == pytest.approx(value, rel=1e-15)


def test_where_nothing_changes_from_step_to_step_one_row_is_fed():
    changing = {
        type(rule).__name__
        for rule in (rule() for rule in DECLARED)
        if any(np.ndim(value) for value in rule.scalars(np.arange(1, 4)).values())
    }
    assert changing == {"Adam", "AMSGrad", "AdamW", "NAdam"}


@pytest.mark.parametrize("beta1", [0.0, 1e-9, 0.5, 0.9, 0.999, 1 - 1e-12])
@pytest.mark.parametrize("psi", [0.0, 1e-12, 1e-4, 4e-3, 0.3, 5.0, 1e3])
def test_the_product_of_momenta_keeps_all_digits(beta1, psi):
    # Also 1 - the product, at any step: by multiplying in turn the step 1e15 would never come.
    rule = lw.NAdam(0.5, beta1, 0.0, 1e-8, psi)
    steps = np.arange(1, 401)
    fed = rule.scalars(steps)
    with mpmath.workdps(40):
        q = mpmath.mpf("0.96") ** mpmath.mpf(psi)
        mu = [mpmath.mpf(beta1) * (1 - q**t / 2) for t in range(1, 402)]
        product = mpmath.mpf(1)
        for t in steps:
            product *= mu[t - 1]
            of_gradient = (1 - mu[t - 1]) / (1 - product) / 2
            of_moment = mu[t] / (1 - product * mu[t]) / 2
            assert fed["gradient_step_size"][t - 1] == pytest.approx(float(of_gradient), rel=3e-15)
            assert fed["moment_step_size"][t - 1] == pytest.approx(float(of_moment), rel=3e-15)


@pytest.mark.parametrize("t", [10**6, 10**9, 10**15])
def test_momenta_far_out(t):
    # By then 0.96^(t ψ) and the product are 0, so both step sizes are those of constant momentum β1.
    fed = lw.NAdam(0.5, 0.9, 0.0).scalars(t)
    assert fed["gradient_step_size"] == pytest.approx(0.5 * 0.1, rel=1e-15)
    assert fed["moment_step_size"] == pytest.approx(0.5 * 0.9, rel=1e-15)
    # With ψ = 0 and β1 = 1 - 1e-15 momentum is 1/2 for ever.
    fed = lw.NAdam(0.5, 1 - 1e-15, 0.0, momentum_decay=0.0).scalars(t)
    assert fed["gradient_step_size"] == pytest.approx(0.25, rel=1e-14)


def test_a_momentum_that_decays_beyond_all_numbers():
    fed = lw.NAdam(0.5, 0.9, 0.0, momentum_decay=1e308).scalars(np.array([1, 10**15]))
    np.testing.assert_allclose(fed["gradient_step_size"], [0.5, 0.05], rtol=1e-14)


def test_a_rule_remembers_what_its_options_need():
    assert lw.RMSprop().slots == ("second_moment",)
    assert lw.RMSprop(momentum=0.5).slots == ("second_moment", "velocity")
    assert lw.RMSprop(centered=True).slots == ("variance", "first_moment")
    assert lw.RMSprop(momentum=0.5, centered=True).slots == ("variance", "first_moment", "velocity")


def test_a_centred_rmsprop_does_not_lose_the_variance_of_a_steady_gradient():
    # v - m² would be rounding here, and negative every other step: √ of that is NaN.
    rule = lw.RMSprop(0.01, 0.5, 1e-3, centered=True)
    steps = 60
    path, (variance, _) = run(rule, np.zeros(3), [np.array([1.0, 1e3, 1.0 / 3.0])] * steps)
    assert np.isfinite(path).all()
    g = np.array([1.0, 1e3, 1.0 / 3.0])
    np.testing.assert_allclose(variance, g**2 * 0.5**steps * (1 - 0.5**steps), rtol=1e-12)


def test_amsgrad_keeps_the_largest_divisor():
    G = [np.array([1.0]), *[np.array([1e-3])] * 20]
    _, (_, v, largest) = run(lw.AMSGrad(beta2=0.5), np.zeros(1), G)
    assert largest == 0.5
    assert v < 1e-5


def test_decay_goes_beside_the_gradient():
    for rule in (lw.AdamW(0.1, weight_decay=0.5), lw.Lion(0.1, weight_decay=0.5)):
        path, _ = run(rule, np.full(2, 4.0), [np.zeros(2)] * 3)
        np.testing.assert_allclose([p[0] for p in path], 4.0 * 0.95 ** np.arange(1, 4), rtol=1e-15)
    np.testing.assert_array_equal(
        run(lw.AdamW(weight_decay=0.0), np.ones((4, 5)), gradients(9))[0],
        run(lw.Adam(), np.ones((4, 5)), gradients(9))[0],
    )


def test_rprop_starts_at_its_rate_and_rests_where_the_sign_turned():
    G = [np.array([g]) for g in (3.0, 1e-5, -2.0, -4.0, -4.0)]
    path, (last_sign, size) = run(lw.Rprop(0.1), np.zeros(1), G)
    moves = np.diff([0.0, *(p[0] for p in path)])
    np.testing.assert_allclose(moves, [-0.1, -0.12, 0.0, 0.06, 0.072], rtol=1e-14)
    assert last_sign == -1.0
    np.testing.assert_allclose(size, 0.072, rtol=1e-14)


@pytest.mark.parametrize("g", [1e-200, 1e200])
def test_rprop_sees_signs_only(g):
    path, _ = run(lw.Rprop(0.1), np.zeros(1), [np.array([g])] * 2)
    np.testing.assert_allclose(path[1], -0.22, rtol=1e-15)  # the product of both would be 0, or ∞


def test_the_guide_has_every_rule_with_its_defaults():
    page = (Path(__file__).parents[2] / "docs" / "guide" / "training.md").read_text(encoding="utf-8")
    for rule in DECLARED:
        assert f"`{rule()!r}`" in page
