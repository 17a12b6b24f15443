"""Starting weights: their distribution, their bounds, and that they depend on seed and layer alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

import layerwise as lw

N_IN, N_OUT = 300, 200
VARIANCE = {
    "glorot_normal": 2 / (N_IN + N_OUT),
    "glorot_uniform": 2 / (N_IN + N_OUT),
    "he_normal": 2 / N_IN,
    "he_uniform": 2 / N_IN,
    "lecun_normal": 1 / N_IN,
    "lecun_uniform": 1 / N_IN,
}


def weights(initialiser, n_in=N_IN, n_out=N_OUT, seed=11):
    return lw.Network([lw.Input(n_in), lw.Dense(n_out, initialiser=initialiser)]).initialise(seed)["W1"]


@pytest.mark.parametrize("gain", [1.0, 1.7])
@pytest.mark.parametrize("name", sorted(VARIANCE))
def test_mean_and_variance(name, gain):
    W = weights(lw.Initialiser(name, gain=gain)).ravel()
    deviation = gain * np.sqrt(VARIANCE[name])
    # The mean of n draws has standard error deviation/√n, their variance relative error √((κ - 1)/n) with
    # kurtosis κ = 3 (normal) or 9/5 (uniform). Five of them: one seed in 10⁶ would fail, and the seed is fixed.
    kurtosis = 3.0 if name.endswith("normal") else 1.8
    assert abs(W.mean()) < 5 * deviation / np.sqrt(W.size)
    assert abs(W.var() / deviation**2 - 1) < 5 * np.sqrt((kurtosis - 1) / W.size)


@pytest.mark.parametrize(
    ("initialiser", "distribution"),
    [
        (lw.Initialiser("normal", scale=0.3), stats.norm(0, 0.3)),
        (lw.Initialiser("uniform", limit=0.3), stats.uniform(-0.3, 0.6)),
        (lw.Initialiser("he_normal"), stats.norm(0, np.sqrt(2 / N_IN))),
        (lw.Initialiser("glorot_uniform"), stats.uniform(-np.sqrt(6 / 500), 2 * np.sqrt(6 / 500))),
    ],
)
def test_distribution(initialiser, distribution):
    # Kolmogorov-Smirnov over 60,000 draws; the seed is fixed, so the test cannot fail by chance.
    assert stats.kstest(weights(initialiser).ravel(), distribution.cdf).pvalue > 0.01


def test_uniform_weights_stay_within_their_bounds_and_reach_them():
    for name, bound in [("glorot_uniform", 6 / (N_IN + N_OUT)), ("he_uniform", 6 / N_IN), ("lecun_uniform", 3 / N_IN)]:
        W = np.abs(weights(name))
        assert 0.999 * np.sqrt(bound) < W.max() <= np.sqrt(bound)
    W = np.abs(weights(lw.Initialiser("uniform", limit=0.25)))
    assert 0.249 < W.max() <= 0.25


@pytest.mark.parametrize("shape", [(30, 30), (50, 20), (20, 50), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal(shape, gain):
    W = weights(lw.Initialiser("orthogonal", gain=gain), *shape)
    assert W.shape == shape
    product = W.T @ W if shape[0] >= shape[1] else W @ W.T
    np.testing.assert_allclose(product, gain**2 * np.eye(min(shape)), rtol=0, atol=1e-13 * gain**2)


def test_orthogonal_is_uniform_over_the_rotations():
    # Of a uniform 2 x 2 orthogonal matrix half are reflections, and each entry has mean 0.
    drawn = np.array([weights("orthogonal", 2, 2, seed) for seed in range(400)])
    assert abs((np.linalg.det(drawn) > 0).mean() - 0.5) < 5 * 0.5 / 20
    assert (np.abs(drawn.mean(axis=0)) < 5 * np.sqrt(0.5) / 20).all()


@pytest.mark.parametrize("name", sorted(lw.Initialiser.known))
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name):
    np.testing.assert_array_equal(weights(name, 5, 4), weights(name, 5, 4))
    if name not in ("zeros", "constant"):
        assert (weights(name, 5, 4, seed=1) != weights(name, 5, 4, seed=2)).all()


def test_layers_of_the_same_shape_start_differently():
    params = lw.Network([6, 6, 6, 6], hidden="tanh").initialise(0)
    assert (params["W1"] != params["W2"]).all()
    assert (params["W2"] != params["W3"]).all()


def test_a_layer_starts_the_same_whatever_stands_behind_it():
    short, long = lw.Network([6, 5, 4]).initialise(0), lw.Network([6, 5, 4, 3, 2]).initialise(0)
    np.testing.assert_array_equal(short["W1"], long["W1"])


def test_biases_start_at_zero():
    params = lw.Network([6, 5, 4]).initialise(0)
    assert not params["b1"].any()
    assert not params["b2"].any()


def test_constant_and_zeros():
    np.testing.assert_array_equal(weights(lw.Initialiser("constant", value=-0.5), 2, 3), np.full((2, 3), -0.5))
    np.testing.assert_array_equal(weights("zeros", 2, 3), np.zeros((2, 3)))


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, np.int64(7)])
def test_seeds(seed):
    assert np.isfinite(lw.Network([3, 2]).initialise(seed)["W1"]).all()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "0", None, True])
def test_what_is_no_seed(seed):
    with pytest.raises(lw.DataError, match="seed must be an integer"):
        lw.Network([3, 2]).initialise(seed)


def test_single_precision_rounds_the_double_one():
    net = lw.Network([6, 5, 4])
    single, double = net.initialise(0, "float32"), net.initialise(0)
    for name in double:
        assert single[name].dtype == np.float32
        np.testing.assert_array_equal(single[name], double[name].astype(np.float32))
    with pytest.raises(lw.UnknownName, match="Did you mean 'float32'"):
        net.initialise(0, "float23")


@pytest.mark.parametrize(
    ("activation", "rule"),
    [
        *((f, "he_normal") for f in ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "softplus"]),
        ("selu", "lecun_normal"),
        *((f, "glorot_uniform") for f in ["identity", "sigmoid", "tanh", "softmax", "softsign", "hardtanh"]),
    ],
)
def test_the_usual_rule_before_an_activation(activation, rule):
    assert lw.Dense(3, activation).initialiser == lw.Initialiser(rule)


@pytest.mark.parametrize("rule", ["zeros", "constant"])
def test_equal_units_of_a_hidden_layer_are_warned_of(rule):
    net = lw.Network([lw.Input(2), lw.Dense(3, "tanh"), lw.Dense(4, "tanh", rule), lw.Dense(2)])
    with pytest.warns(lw.SymmetryWarning, match=f"Initialiser '{rule}' makes all 4 units of layer 2 equal") as caught:
        net.initialise(0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(lw.SymmetryWarning):
        lw.train(net, [[0.0, 1.0]], [[1.0, 2.0]], epochs=1)


@pytest.mark.parametrize(
    "layers",
    [
        [lw.Dense(1, "tanh", "zeros"), lw.Dense(2)],  # one unit has no twin
        [lw.Dense(3, "tanh"), lw.Dense(2, "identity", "zeros")],  # outputs differ by their targets
        [lw.Dense(3, "identity", "constant")],
    ],
)
def test_no_warning_where_no_harm_is_done(layers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lw.Network([lw.Input(2), *layers]).initialise(0)


def test_no_warning_where_the_weights_are_given():
    net = lw.Network([lw.Input(2), lw.Dense(3, "tanh", "zeros"), lw.Dense(1)])
    start = {k: np.full(shape, 0.1) for k, shape in net.parameter_shapes.items()}
    lw.train(net, [[0.0, 1.0]], [1.0], params=start, epochs=1)
