"""Slips that are easily made when deriving by hand: each wrong form differs from the library, the right one does not.

Three witnesses in every test: the library's value, the form under test written in NumPy, and a difference of the
cost that uses no derivative at all (a complex step where the cost is analytic, else a central difference).
"""

import numpy as np
import pytest

import layerwise as lw

RNG = np.random.default_rng(20)
EXACT = 1e-12  # rounding of sums of fewer than 100 terms near 1


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(Z):
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def complex_step(cost, at, h=1e-30):
    """∂cost/∂at, exact to rounding for an analytic cost: Im cost(x + ih) / h."""
    grad = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[place] += 1j * h
        grad[place] = cost(moved).imag / h
    return grad


def central(cost, at, h=1e-6):
    """∂cost/∂at by central differences, to about 1e-9."""
    grad = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += h
        down[place] -= h
        grad[place] = (cost(up) - cost(down)) / (2 * h)
    return grad


def same(a, b, tolerance=EXACT):
    return np.shape(a) == np.shape(b) and np.abs(np.subtract(a, b)).max() <= tolerance


def differs(a, b):
    """By far more than rounding, or in shape."""
    return np.shape(a) != np.shape(b) or np.abs(np.subtract(a, b)).max() > 1e-3


def cost_of(net, params, X, T, dtype="float64"):
    """The cost as the library's graph computes it, for complex parameters too."""
    graph = net.graph()
    feeds = graph.feeds(params, X, T)
    return lw.evaluate(graph.cost, feeds, dtype=dtype)


def test_relu_slope_is_not_the_sign():
    z = np.array([-2.0, -0.3, 0.4, 1.7])
    node = lw.input("z", (4,))
    library = lw.evaluate(lw.gradient(lw.sum(lw.relu(node)), node), {node: z})
    difference = central(lambda z: np.maximum(0, z).sum(), z)
    right, wrong = (z > 0).astype(float), np.sign(z)
    assert same(right, library)
    assert same(right, difference, 1e-9)
    assert differs(wrong, library)
    assert differs(wrong, difference)


def test_relu_slope_within_a_network():
    net = lw.Network([3, 5, 2], hidden="relu", loss="squared_error")
    X, T, params = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 2)), net.initialise(1)
    Z1 = X @ params["W1"] + params["b1"]
    upstream = 2 / 7 * (np.maximum(0, Z1) @ params["W2"] + params["b2"] - T) @ params["W2"].T
    right, wrong = X.T @ (upstream * (Z1 > 0)), X.T @ (upstream * np.sign(Z1))
    library = net.cost_and_gradients(params, X, T)[1]["W1"]
    difference = central(lambda W1: cost_of(net, {**params, "W1": W1}, X, T), params["W1"])
    assert same(right, library)
    assert same(right, difference, 1e-8)
    assert differs(wrong, library)
    assert differs(wrong, difference)


def test_gradient_of_a_square_is_of_first_degree():
    net = lw.Network([3, 2], loss="squared_error")
    X, T, params = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 2)), net.initialise(2)
    error = X @ params["W1"] + params["b1"] - T
    right, wrong = X.T @ (2 / 7 * error), X.T @ (2 / 7 * error**2)
    library = net.cost_and_gradients(params, X, T)[1]["W1"]
    difference = complex_step(lambda W1: cost_of(net, {**params, "W1": W1}, X, T, "complex128"), params["W1"])
    assert same(right, library)
    assert same(right, difference)
    assert differs(wrong, library)
    assert differs(wrong, difference)


def test_softmax_denominator_is_a_sum_of_exponentials():
    Z = RNG.normal(size=(6, 4))
    wrong, right = np.exp(Z) / Z.sum(axis=1, keepdims=True), np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    library = lw.softmax(Z)
    assert same(right, library)
    assert same(library.sum(axis=1), np.ones(6))
    assert differs(wrong, library)
    assert differs(wrong.sum(axis=1), np.ones(6))

    # The gradient that belongs to the right one, by the cost alone.
    T, node = np.eye(4)[[0, 1, 2, 3, 0, 1]], lw.input("Z", (6, 4))
    cost = lw.mean(lw.cross_entropy(lw.softmax(node), T))
    gradient = lw.evaluate(lw.gradient(cost, node), {node: Z})
    difference = complex_step(lambda Z: -np.mean(np.log((np.exp(Z) / np.exp(Z).sum(1, keepdims=True))[T == 1])), Z)
    assert same((right - T) / 6, gradient)
    assert same(gradient, difference)
    assert differs((wrong - T) / 6, difference)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_is_computed_shifted_by_the_row_maximum(dtype):
    Z = np.array([[1000.0, 999.0, 0.0], [-1000.0, -1001.0, -3000.0]])
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        unshifted = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    assert not np.isfinite(unshifted).any(axis=1).all()  # inf / inf and 0 / 0
    node = lw.input("Z", ("N", 3))
    value = lw.evaluate(lw.softmax(node), {node: Z}, dtype=dtype)
    assert same(value, np.array([[sigmoid(1.0), sigmoid(-1.0), 0.0]] * 2), 1e-7 if dtype == "float32" else EXACT)


@pytest.mark.parametrize("n_samples", [7, 5])
def test_bias_gradient_is_a_sum_over_samples(n_samples):
    """With as many samples as units (5) the wrong axis even has the right shape."""
    net = lw.Network([3, 5], output="sigmoid", loss="half_squared_error")
    X, T, params = RNG.normal(size=(n_samples, 3)), RNG.uniform(size=(n_samples, 5)), net.initialise(3)
    A = sigmoid(X @ params["W1"] + params["b1"])
    delta = (A - T) * A * (1 - A) / n_samples
    library = net.cost_and_gradients(params, X, T)[1]["b1"]
    difference = complex_step(lambda b1: cost_of(net, {**params, "b1": b1}, X, T, "complex128"), params["b1"])
    assert same(delta.sum(axis=0), library)
    assert same(delta.sum(axis=0), difference)
    assert same((n_samples * delta).mean(axis=0), difference)  # a mean, where the seed lacks 1/N
    for wrong in (delta.mean(axis=1), delta.sum(axis=1), delta.mean(axis=0)):
        assert differs(wrong, library)
        assert differs(wrong, difference)


def test_linear_residual_has_its_bias_and_its_half():
    X, y, w, b = RNG.normal(size=(9, 3)), RNG.normal(size=9), RNG.normal(size=3), 0.8
    x_node, y_node = lw.input("x", ("K", 3)), lw.input("y", ("K",))
    w_node, b_node = lw.parameter("w", (3,)), lw.parameter("b", ())
    r_node = y_node - (x_node @ w_node + b_node)
    f_node = 0.5 * lw.sum(lw.square(r_node))
    feeds = {x_node: X, y_node: y, w_node: w, b_node: b}
    f, r, dw, db = lw.evaluate([f_node, r_node, *lw.gradient(f_node, [w_node, b_node])], feeds)

    right = y - (X @ w + b)
    X_tilde = np.column_stack([X, np.ones(9)])
    gradient = -X_tilde.T @ right  # J_rᵀ r with J_r = -[X 1]
    beta = np.append(w, b)
    difference = complex_step(lambda beta: 0.5 * np.sum((y - X_tilde @ beta) ** 2), beta)
    by_library = complex_step(
        lambda beta: lw.evaluate(f_node, {**feeds, w_node: beta[:3], b_node: beta[3]}, dtype="complex128"), beta
    )
    assert same(right, r)
    assert same(0.5 * right @ right, f)
    for witness in (np.append(dw, db), difference, by_library):
        assert same(gradient, witness, 1e-11)
        assert differs(-X_tilde.T @ (y - X @ w), witness)  # without + b
        assert differs(2 * gradient, witness)  # without ½
    assert differs(y - X @ w, r)
    assert differs(right @ right, f)


def test_half_belongs_to_half_squared_error_only():
    X, T = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 2))
    half, whole = (lw.Network([3, 2], loss=loss) for loss in ("half_squared_error", "squared_error"))
    params = half.initialise(4)
    error = X @ params["W1"] + params["b1"] - T
    for net, factor in ((half, 1), (whole, 2)):
        library = net.cost_and_gradients(params, X, T)[1]["W1"]
        difference = complex_step(
            lambda W1, net=net: cost_of(net, {**params, "W1": W1}, X, T, "complex128"), params["W1"]
        )
        assert same(factor / 7 * X.T @ error, library)
        assert same(factor / 7 * X.T @ error, difference)
        assert differs((3 - factor) / 7 * X.T @ error, library)
        assert differs((3 - factor) / 7 * X.T @ error, difference)


def test_a_layer_reads_the_activation_below_not_the_pre_activation():
    net = lw.Network([3, 4, 2], hidden="tanh", loss="half_squared_error")
    X, T, params = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 2)), net.initialise(5)
    Z1 = X @ params["W1"] + params["b1"]
    A1 = np.tanh(Z1)
    right, wrong = (H @ params["W2"] + params["b2"] for H in (A1, Z1))
    graph = net.graph()
    feeds = {graph.inputs: X} | {graph.parameters[k]: params[k] for k in params}
    assert same(right, lw.evaluate(graph.pre_activations[1], feeds))
    assert differs(wrong, net.forward(params, X))

    # The same slip in the backward pass: ∂C/∂W2 is (A1)ᵀ Δ2, not (Z1)ᵀ Δ2.
    delta2 = (right - T) / 7
    library = net.cost_and_gradients(params, X, T)[1]["W2"]
    difference = complex_step(lambda W2: cost_of(net, {**params, "W2": W2}, X, T, "complex128"), params["W2"])
    assert same(A1.T @ delta2, library)
    assert same(A1.T @ delta2, difference)
    assert differs(Z1.T @ delta2, library)
    assert differs(Z1.T @ delta2, difference)


def test_one_over_n_enters_every_gradient_once():
    N = 8
    net = lw.Network([3, 4, 1], hidden="tanh", output="sigmoid", loss="binary_cross_entropy")
    X, T, params = RNG.normal(size=(N, 3)), RNG.integers(0, 2, size=(N, 1)).astype(float), net.initialise(6)
    A1 = np.tanh(X @ params["W1"] + params["b1"])
    error = sigmoid(A1 @ params["W2"] + params["b2"]) - T
    hidden = (error @ params["W2"].T) * (1 - A1**2)
    # The gradients of the *sum* of the losses: what the 1/N is applied to.
    of_the_sum = {"W1": X.T @ hidden, "b1": hidden.sum(axis=0), "W2": A1.T @ error, "b2": error.sum(axis=0)}
    _, library = net.cost_and_gradients(params, X, T)
    for key, total in of_the_sum.items():
        difference = complex_step(
            lambda value, key=key: cost_of(net, {**params, key: value}, X, T, "complex128"), params[key]
        )
        assert same(total / N, library[key])
        assert same(total / N, difference)
        for wrong in (total, total / N**2):  # divided nowhere; divided in the seed and again at the parameter
            assert differs(wrong, library[key])
            assert differs(wrong, difference)
