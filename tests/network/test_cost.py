"""Cost and sensitivities: numbers worked out by hand, the table of seeds, and the slips that are easily made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

import layerwise as lw

# One unit, one weight: z = w x + b = 2·1.5 - 1 = 2, and in the second row 2·0.25 - 1 = -0.5.
W1 = {"W1": np.array([[2.0]]), "b1": np.array([-1.0])}
X1 = [[1.5], [0.25]]


def cost(output, loss, params, X, Y, weights=None):
    width = len(params["b1"])
    net = lw.Network([np.shape(X)[1], width], output=output, loss=loss)
    return net.cost_and_gradients(params, X, Y, weights)[0]


@pytest.mark.parametrize(
    ("loss", "Y", "expected"),
    [
        ("squared_error", [1, 1], (1 + 2.25) / 2),
        ("half_squared_error", [1, 1], (1 + 2.25) / 4),
        ("absolute_error", [1, 1], (1 + 1.5) / 2),
        (lw.Loss("huber", delta=1.25), [1, 1], (0.5 + 1.25 * (1.5 - 0.625)) / 2),
        ("huber", [0, -0.5], (2 - 0.5 + 0) / 2),
        ("log_cosh", [1, 1], (math.log(math.cosh(1)) + math.log(math.cosh(1.5))) / 2),
        (lw.Loss("pinball", quantile=0.9), [1, 1], (0.1 * 1 + 0.9 * 1.5) / 2),
        ("hinge", [1, 1], (0 + 1.5) / 2),
        ("hinge", [-1, -1], (3 + 0.5) / 2),
    ],
)
def test_losses_by_hand(loss, Y, expected):
    assert cost("identity", loss, W1, X1, Y) == pytest.approx(expected, rel=1e-15)


def test_the_loss_of_several_outputs_is_their_sum():
    params = {"W1": np.array([[1.0, 2.0, 3.0]]), "b1": np.zeros(3)}
    assert cost("identity", "squared_error", params, [[1.0]], [[0.0, 0.0, 0.0]]) == 1 + 4 + 9
    assert cost("identity", "absolute_error", params, [[1.0]], [[0.0, 4.0, 0.0]]) == 1 + 2 + 3


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("z", [-3.0, 0.0, 2.0])
def test_binary_cross_entropy(z, t):
    y = special.expit(z)
    expected = -special.xlogy(t, y) - special.xlog1py(1 - t, -y)
    params = {"W1": np.array([[z]]), "b1": np.zeros(1)}
    assert cost("sigmoid", "binary_cross_entropy", params, [[1.0]], [t]) == pytest.approx(expected, rel=1e-14)


def test_cross_entropy():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(6, 4))
    T = rng.dirichlet(np.ones(4), size=6)
    T[0] = [0, 1, 0, 0]
    params = {"W1": np.eye(4), "b1": np.zeros(4)}
    Y = special.softmax(Z, axis=1)
    expected = -special.xlogy(T, Y).sum(axis=1).mean()
    assert cost("softmax", "cross_entropy", params, Z, T) == pytest.approx(expected, rel=1e-14)
    # the Kullback-Leibler divergence is cross-entropy less the entropy of T, row by row
    divergence = (special.rel_entr(T, Y).sum(axis=1) + special.entr(T).sum(axis=1)).mean()
    assert cost("softmax", "cross_entropy", params, Z, T) == pytest.approx(divergence, rel=1e-13)


@pytest.mark.parametrize("output", ["exp", "softplus"])
def test_poisson_is_the_likelihood_without_its_factorial(output):
    rng = np.random.default_rng(0)
    Z, T = rng.normal(size=(6, 2)), rng.poisson(2.0, (6, 2))
    rate = np.exp(Z) if output == "exp" else np.log1p(np.exp(Z))
    expected = -(stats.poisson.logpmf(T, rate) + special.gammaln(T + 1)).sum(axis=1).mean()
    params = {"W1": np.eye(2), "b1": np.zeros(2)}
    assert cost(output, "poisson", params, Z, T) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("output", "loss", "Z", "Y", "expected"),
    [
        ("softmax", "cross_entropy", [[1000.0, 0.0]], [[1.0, 0.0]], 0.0),
        ("softmax", "cross_entropy", [[1000.0, 0.0]], [[0.0, 1.0]], 1000.0),
        ("softmax", "cross_entropy", [[40.0, 0.0]], [[1.0, 0.0]], math.exp(-40.0)),
        ("sigmoid", "binary_cross_entropy", [[-800.0, 800.0]], [[0.0, 1.0]], 0.0),
        ("sigmoid", "binary_cross_entropy", [[-800.0, 800.0]], [[1.0, 0.0]], 1600.0),
        ("sigmoid", "binary_cross_entropy", [[-50.0, 50.0]], [[0.0, 1.0]], 2 * math.exp(-50.0)),
        ("exp", "poisson", [[-2000.0, 0.0]], [[0.0, 1.0]], 1.0),
        ("identity", "log_cosh", [[1e4, -1e4]], [[0.0, 0.0]], 2e4 - 2 * math.log(2.0)),
    ],
)
def test_far_out_costs_and_gradients_are_finite_and_keep_their_digits(output, loss, Z, Y, expected):
    net = lw.Network([2, 2], output=output, loss=loss)
    value, gradients = net.cost_and_gradients({"W1": np.eye(2), "b1": np.zeros(2)}, Z, Y)
    assert value == pytest.approx(expected, rel=1e-14, abs=1e-300)
    assert all(np.isfinite(g).all() for g in gradients.values())


def test_forward_by_hand():
    net = lw.Network([2, 2, 1], hidden="relu")
    params = {
        "W1": np.array([[1.0, -1.0], [2.0, 0.5]]),
        "b1": np.array([0.5, 0.25]),
        "W2": np.array([[2.0], [4.0]]),
        "b2": np.array([-1.0]),
    }
    # Z1 = [1 + 4 + 0.5, -1 + 1 + 0.25] = [5.5, 0.25];  [-1 + 0.5, 1 + 0.25] = [-0.5, 1.25]
    np.testing.assert_array_equal(net.forward(params, [[1, 2], [-1, 0]]), [[2 * 5.5 + 1 - 1], [0 + 5 - 1]])


# The table of seeds: Δ^L, the gradient of C by Z^L, of the network below.
N = 5
rng = np.random.default_rng(4)
Z_L = rng.normal(size=(N, 3))
ONE_HOT = np.eye(3)[[0, 2, 1, 1, 0]]
REAL = rng.normal(size=(N, 3))
SIGMA = special.expit(Z_L)
SEEDS = [
    ("identity", "squared_error", REAL, 2 / N * (Z_L - REAL)),
    ("identity", "half_squared_error", REAL, -1 / N * (REAL - Z_L)),
    ("sigmoid", "half_squared_error", REAL, -1 / N * (REAL - SIGMA) * SIGMA * (1 - SIGMA)),
    ("sigmoid", "binary_cross_entropy", ONE_HOT, 1 / N * (SIGMA - ONE_HOT)),
    ("softmax", "cross_entropy", ONE_HOT, 1 / N * (special.softmax(Z_L, axis=1) - ONE_HOT)),
    ("softmax", "cross_entropy", np.abs(REAL) / np.abs(REAL).sum(1, keepdims=True), None),
    # any elementwise output, any differentiable loss: (1/N) ∂L/∂y ⊙ f'(Z)
    ("tanh", "absolute_error", REAL, 1 / N * np.sign(np.tanh(Z_L) - REAL) / np.cosh(Z_L) ** 2),
    ("sin", "log_cosh", REAL, 1 / N * np.tanh(np.sin(Z_L) - REAL) * np.cos(Z_L)),
    ("exp", "poisson", np.abs(REAL), 1 / N * (np.exp(Z_L) - np.abs(REAL))),
    ("softplus", "poisson", np.abs(REAL), 1 / N * (1 - np.abs(REAL) / np.log1p(np.exp(Z_L))) * SIGMA),
]


@pytest.mark.parametrize(("output", "loss", "T", "seed"), SEEDS, ids=[f"{f}-{loss}" for f, loss, *_ in SEEDS])
def test_the_seed_of_the_backward_pass(output, loss, T, seed):
    if seed is None:
        seed = 1 / N * (special.softmax(Z_L, axis=1) - T)
    net = lw.Network([3, 3], output=output, loss=loss)
    graph = net.graph()
    delta = lw.gradient(graph.cost, graph.pre_activations[-1])
    feeds = {
        graph.inputs: Z_L,
        graph.targets: T,
        graph.parameters["W1"]: np.eye(3),
        graph.parameters["b1"]: np.zeros(3),
    }
    np.testing.assert_allclose(lw.evaluate(delta, feeds), seed, rtol=1e-13, atol=1e-16)


def two_layers(n=7, seed=2):
    rng = np.random.default_rng(seed)
    net = lw.Network([3, 4, 2], hidden="tanh")
    params = {k: rng.normal(size=shape) for k, shape in net.parameter_shapes.items()}
    return net, params, rng.normal(size=(n, 3)), rng.normal(size=(n, 2))


def test_two_layers_backward_by_hand():
    net, p, X, T = two_layers()
    A1 = np.tanh(X @ p["W1"] + p["b1"])
    delta2 = 2 / len(X) * (A1 @ p["W2"] + p["b2"] - T)  # Z2 from A1, not from Z1; 2 (y - t), not 2 (y - t)²
    delta1 = delta2 @ p["W2"].T * (1 - A1**2)
    value, g = net.cost_and_gradients(p, X, T)
    assert value == pytest.approx(np.mean(np.sum((A1 @ p["W2"] + p["b2"] - T) ** 2, axis=1)), rel=1e-14)
    np.testing.assert_allclose(g["W2"], A1.T @ delta2, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(g["b2"], delta2.sum(axis=0), rtol=1e-12, atol=1e-14)  # over the samples
    np.testing.assert_allclose(g["W1"], X.T @ delta1, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(g["b1"], delta1.sum(axis=0), rtol=1e-12, atol=1e-14)


def test_the_gradient_by_the_inputs():
    net, p, X, T = two_layers()
    graph = net.graph()
    feeds = graph.feeds(p, X, T)
    A1 = np.tanh(X @ p["W1"] + p["b1"])
    delta1 = 2 / len(X) * (A1 @ p["W2"] + p["b2"] - T) @ p["W2"].T * (1 - A1**2)
    got = lw.evaluate(lw.gradient(graph.cost, graph.inputs), feeds)
    np.testing.assert_allclose(got, delta1 @ p["W1"].T, rtol=1e-12, atol=1e-14)


def test_relu_is_flat_at_zero_and_below():
    net = lw.Network([1, 1, 1], hidden="relu")
    params = {"W1": np.eye(1), "b1": np.zeros(1), "W2": np.eye(1), "b2": np.zeros(1)}
    for x, slope in [(-2.0, 0.0), (0.0, 0.0), (2.0, 1.0)]:
        _, g = net.cost_and_gradients(params, [[x]], [[max(x, 0.0) - 0.5]])
        assert g["b1"] == [slope]  # seed 2 · 0.5


EVERY_LOSS = [
    ("identity", "squared_error", "real"),
    ("tanh", "half_squared_error", "real"),
    ("identity", "absolute_error", "real"),
    ("identity", "huber", "real"),
    ("sin", "log_cosh", "real"),
    ("identity", "pinball", "real"),
    ("exp", "poisson", "count"),
    ("softplus", "poisson", "count"),
    ("sigmoid", "binary_cross_entropy", "binary"),
    ("softmax", "cross_entropy", "labels"),
    ("softmax", "cross_entropy", "distribution"),
    ("identity", "hinge", "sign"),
]
every_loss = pytest.mark.parametrize(("output", "loss", "target"), EVERY_LOSS)


def problem(output, loss, target, n=6):
    rng = np.random.default_rng(8)
    net = lw.Network([3, 5, 4], hidden="tanh", output=output, loss=loss)
    params = {k: rng.normal(size=shape) for k, shape in net.parameter_shapes.items()}
    Y = {
        "real": rng.normal(size=(n, 4)),
        "count": rng.poisson(2.0, (n, 4)),
        "binary": rng.integers(0, 2, (n, 4)),
        "labels": rng.integers(0, 4, n),
        "distribution": rng.dirichlet(np.ones(4), size=n),
        "sign": rng.choice([-1, 1], (n, 4)),
    }[target]
    return net, params, rng.normal(size=(n, 3)), Y


def assert_close(a, b):
    """Equal up to rounding of sums in another order."""
    assert a[0] == pytest.approx(b[0], rel=1e-13)
    for name in a[1]:
        np.testing.assert_allclose(a[1][name], b[1][name], rtol=1e-12, atol=1e-14, err_msg=name)


@every_loss
def test_all_data_twice_changes_nothing(output, loss, target):
    net, params, X, Y = problem(output, loss, target)
    twice = net.cost_and_gradients(params, np.concatenate([X, X]), np.concatenate([Y, Y]))
    assert_close(twice, net.cost_and_gradients(params, X, Y))


@every_loss
def test_the_gradient_is_the_average_of_the_samples_gradients(output, loss, target):
    net, params, X, Y = problem(output, loss, target)
    alone = [net.cost_and_gradients(params, X[i : i + 1], Y[i : i + 1]) for i in range(len(X))]
    average = np.mean([c for c, _ in alone]), {k: np.mean([g[k] for _, g in alone], axis=0) for k in params}
    assert_close(net.cost_and_gradients(params, X, Y), average)


@every_loss
def test_integer_weights_are_repeated_rows(output, loss, target):
    net, params, X, Y = problem(output, loss, target)
    times = np.array([1, 3, 0, 2, 1, 5])
    weighted = net.cost_and_gradients(params, X, Y, times)
    assert_close(weighted, net.cost_and_gradients(params, np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0)))


@every_loss
def test_a_row_of_weight_zero_is_absent(output, loss, target):
    net, params, X, Y = problem(output, loss, target)
    far = X.copy()
    far[2] = 1e200  # its loss may well be infinite
    w = np.array([1.0, 0.5, 0.0, 2.0, 1.0, 1.0])
    kept = w > 0
    got, expected = (
        net.cost_and_gradients(params, far, Y, w),
        net.cost_and_gradients(params, X[kept], Y[kept], w[kept]),
    )
    assert got[0] == expected[0]
    for name in params:
        np.testing.assert_array_equal(got[1][name], expected[1][name])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("unit", [1e-300, 1e-40, 1.0, 1e30, 1e300, 1.5e308, 5e-324])
def test_only_the_ratio_of_weights_counts(unit, dtype):
    net, params, X, Y = problem("tanh", "squared_error", "real")
    params = {k: v.astype(dtype) for k, v in params.items()}
    value, gradients = net.cost_and_gradients(params, X, Y, np.full(len(X), unit))
    expected, plain = net.cost_and_gradients(params, X, Y)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert value == pytest.approx(expected, rel=tolerance)
    for name in plain:
        np.testing.assert_allclose(gradients[name], plain[name], rtol=tolerance, atol=tolerance)


def test_labels_and_one_hot_rows_are_the_same_targets():
    net, params, X, labels = problem("softmax", "cross_entropy", "labels")
    by_rows = net.cost_and_gradients(params, X, np.eye(4)[labels])
    for Y in (labels, labels.astype(np.uint8), labels.astype(float), labels.tolist(), labels.astype(">i2")):
        got = net.cost_and_gradients(params, X, Y)
        assert got[0] == by_rows[0]
        for name in params:
            np.testing.assert_array_equal(got[1][name], by_rows[1][name])


def test_a_column_and_a_vector_are_the_same_target_of_one_output():
    net = lw.Network([3, 4, 1], hidden="tanh")
    X, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6.0)
    assert_close(
        net.cost_and_gradients(net.initialise(0), X, y), net.cost_and_gradients(net.initialise(0), X, y[:, None])
    )


def test_precision_is_that_of_the_parameters():
    net, params, X, Y = problem("identity", "squared_error", "real")
    single = {k: v.astype(np.float32) for k, v in params.items()}
    assert net.forward(single, X).dtype == np.float32
    assert {g.dtype for g in net.cost_and_gradients(single, X, Y)[1].values()} == {np.dtype(np.float32)}
    mixed = {**single, "W1": params["W1"]}
    assert net.forward(mixed, X.astype(np.float32)).dtype == np.float64
    assert {g.dtype for g in net.cost_and_gradients(mixed, X, Y)[1].values()} == {np.dtype(np.float64)}


def test_what_is_handed_out_is_the_callers_own():
    net = lw.Network([2, 2])
    X, params = np.ones((3, 2)), {"W1": np.eye(2), "b1": np.zeros(2)}
    A = net.forward(params, X)
    A[:] = 7.0
    assert (X == 1).all()
    _, g = net.cost_and_gradients(params, X, X)
    g["W1"][:] = 7.0
    np.testing.assert_array_equal(net.cost_and_gradients(params, X, X)[1]["W1"], np.zeros((2, 2)))
    np.testing.assert_array_equal(net.forward(params, X), np.ones((3, 2)))


def test_no_rows_have_outputs_but_no_cost():
    net = lw.Network([2, 3], output="softmax")
    params = net.initialise(0)
    assert net.forward(params, np.zeros((0, 2))).shape == (0, 3)
    with pytest.raises(lw.DataError, match="X has no rows"):
        net.cost_and_gradients(params, np.zeros((0, 2)), np.zeros((0, 3)))
