"""Gradients, jvps and Jacobians of whole graphs: branches, layouts, samples, and the chain rule."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw
from layerwise.graph import differentiate
from layerwise.graph.node import OPS
from layerwise.graph.order import order

RNG = np.random.default_rng(11)


def test_branches_add():
    x = lw.input("x", ())
    y = x * x + lw.sin(x) * x - x
    got = lw.evaluate(lw.gradient(y, x), {x: 0.7})
    np.testing.assert_allclose(got, 2 * 0.7 + np.cos(0.7) * 0.7 + np.sin(0.7) - 1, rtol=1e-15)


def test_gradients_of_several_and_of_nodes_inside():
    x, w, b = lw.input("x", ("N", 2)), lw.parameter("w", (2, 3)), lw.parameter("b", (3,))
    z = lw.affine(x, w, b)
    cost = lw.mean(lw.sum(lw.square(z), axis=1))
    feeds = {x: RNG.normal(size=(4, 2)), w: RNG.normal(size=(2, 3)), b: RNG.normal(size=3)}
    by_w, by_b, by_z, by_x = lw.evaluate(lw.gradient(cost, [w, b, z, x]), feeds)
    delta = 2 * (feeds[x] @ feeds[w] + feeds[b]) / 4
    np.testing.assert_allclose(by_z, delta, rtol=1e-14)
    np.testing.assert_allclose(by_w, feeds[x].T @ delta, rtol=1e-13)
    np.testing.assert_allclose(by_b, delta.sum(axis=0), rtol=1e-13)  # over the samples, not the units
    np.testing.assert_allclose(by_x, delta @ feeds[w].T, rtol=1e-13)


def test_one_reverse_sweep_visits_each_node_once(monkeypatch):
    visited: list[lw.Node] = []
    local = differentiate.local_vjp
    monkeypatch.setattr(differentiate, "local_vjp", lambda node, g: visited.append(node) or local(node, g))
    x, y = lw.input("x", ()), lw.input("y", ())
    a = lw.exp(x * y)
    cost = a * a + lw.sin(a) + x
    lw.gradient(cost, [x, y])
    assert len(visited) == len(set(visited)) == sum(bool(n.inputs) for n in order([cost]))


def test_no_dependence_is_zeros():
    x, y = lw.input("x", ("N", 2)), lw.input("y", (3,))
    gx, gy = lw.gradient(lw.sum(lw.sign(x)), [x, y])
    assert gx.shape == ("N", 2)
    np.testing.assert_array_equal(lw.evaluate(gx, sizes={"N": 4}), np.zeros((4, 2)))
    np.testing.assert_array_equal(lw.evaluate(gy), np.zeros(3))
    np.testing.assert_array_equal(lw.evaluate(lw.jvp(lw.exp(y), [lw.input("z", ())], [1.0])), np.zeros(3))


def test_the_gradient_of_a_node_by_itself_is_one():
    x = lw.input("x", ())
    assert lw.evaluate(lw.gradient(x, x)) == 1.0


def test_stop_gradient():
    x = lw.input("x", ())
    assert lw.evaluate(lw.gradient(x * lw.stop_gradient(x * x), x), {x: 3.0}) == 9.0
    assert lw.evaluate(lw.jvp(x * lw.stop_gradient(x), [x], [1.0]), {x: 3.0}) == 3.0


def test_broadcasting_is_undone_once():
    row, column, one = lw.input("r", (3,)), lw.input("c", (2, 1)), lw.input("o", (1, 1, 1))
    g = lw.gradient(lw.sum(row * column + one), [row, column, one])
    assert [n.shape for n in g] == [(3,), (2, 1), (1, 1, 1)]
    feeds = {row: [1.0, 2.0, 3.0], column: [[4.0], [5.0]]}
    by_row, by_column = lw.evaluate(g[:2], feeds)
    np.testing.assert_array_equal(by_row, [9, 9, 9])
    np.testing.assert_array_equal(by_column, [[6], [6]])
    np.testing.assert_array_equal(lw.evaluate(g[2]), [[[6]]])
    assert sum(n.op.name == "sum" for n in order([lw.gradient(lw.sum(row * column), row)])) == 1


def test_a_named_axis_of_one_sample():
    x, b = lw.input("x", ("N", 2)), lw.input("b", (1, 2))
    grad = lw.gradient(lw.sum((x + b) ** 2.0), b)
    for n in (0, 1, 3):
        values = RNG.normal(size=(n, 2))
        got = lw.evaluate(grad, {x: values, b: [[1.0, 2.0]]})
        np.testing.assert_allclose(got, 2 * (values + np.array([1, 2])).sum(axis=0, keepdims=True), rtol=1e-14)


def test_third_derivative():
    x = lw.input("x", ())
    node = lw.tanh(x)
    for _ in range(3):
        node = lw.gradient(node, x)
    t = np.tanh(0.4)
    np.testing.assert_allclose(lw.evaluate(node, {x: 0.4}), (1 - t * t) * (6 * t * t - 2), rtol=1e-13)


def test_hessian_vector_of_a_quadratic():
    A = RNG.normal(size=(4, 4))
    x, v = lw.input("x", (4,)), RNG.normal(size=4)
    (got,) = lw.hessian_vector(0.5 * (x @ (lw.constant(A) @ x)), [x], [v])
    np.testing.assert_allclose(lw.evaluate(got, {}), 0.5 * (A + A.T) @ v, rtol=1e-13)


def test_jvp_tangents_broadcast_and_may_be_nodes():
    x, v = lw.input("x", (3,)), lw.input("v", ())
    out = lw.jvp([lw.square(x), lw.sum(x)], [x], [v])
    square, total = lw.evaluate(out[0], {x: [1.0, 2.0, 3.0], v: 2.0}), lw.evaluate(out[1], {v: 2.0})
    np.testing.assert_array_equal(square, [4.0, 8.0, 12.0])
    assert total == 6.0


def test_jvp_when_one_wrt_depends_on_another():
    x = lw.input("x", ())
    h = lw.exp(x)
    y = h * h + x
    by_x, by_h = lw.evaluate(lw.gradient(y, [x, h]), {x: 0.3})
    got = lw.evaluate(lw.jvp(y, [x, h], [2.0, -0.5]), {x: 0.3})
    np.testing.assert_allclose(got, 2.0 * by_x - 0.5 * by_h, rtol=1e-14)
    np.testing.assert_allclose(by_x, 2 * np.exp(0.6) + 1, rtol=1e-14)


@pytest.mark.parametrize("name", ["upstream", "placeholder", "x0", "g"])
def test_no_name_of_an_input_disturbs_the_derivative(name):
    A, B = lw.input(name, (2, 2)), lw.input("B", (2, 2))
    a, v = RNG.normal(size=(2, 2)), RNG.normal(size=(2, 2))
    np.testing.assert_allclose(lw.evaluate(lw.jvp(A @ B, [B], [v]), {A: a}), a @ v, rtol=1e-14)


def test_errors():
    x, n = lw.input("x", (2,)), lw.input("n", (2,), "integer")
    with pytest.raises(lw.GraphError, match=r"scalar cost; got shape \(2,\).*layerwise\.jacobian"):
        lw.gradient(x, x)
    with pytest.raises(lw.GraphError, match="The cost must be a graph node; got float"):
        lw.gradient(1.0, x)
    with pytest.raises(lw.GraphError, match="wrt must be a graph node; got str"):
        lw.gradient(lw.sum(x), ["x"])
    with pytest.raises(lw.GraphError, match="of kind 'integer'"):
        lw.jvp(x, [n], [1.0])
    with pytest.raises(lw.GraphError, match="one tangent for each wrt; got 2 for 1"):
        lw.jvp(x, [x], [1.0, 2.0])
    with pytest.raises(lw.ShapeError, match=r"\(3,\)"):
        lw.jvp(x, [x], [np.ones(3)])


# Jacobians -------------------------------------------------------------------------------------------


def test_jacobian_of_an_affine_map_is_its_matrix():
    W, x, b = lw.parameter("W", (3, 2)), lw.input("x", (2,)), lw.parameter("b", (3,))
    z = W @ x + b
    w = RNG.normal(size=(3, 2))
    np.testing.assert_allclose(lw.evaluate(lw.jacobian(z, x), {W: w}), w, rtol=0)
    np.testing.assert_array_equal(lw.evaluate(lw.jacobian(z, b)), np.eye(3))
    # ∂z_i/∂W_jk = δ_ij x_k, with the axes of W in reverse order
    v = RNG.normal(size=2)
    by_W = lw.evaluate(lw.jacobian(z, W), {x: v})
    np.testing.assert_array_equal(by_W, np.einsum("ij,k->ikj", np.eye(3), v))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "softplus"])
def test_jacobian_of_an_elementwise_function_is_diagonal(name):
    z, at = lw.input("z", (4,)), np.array([-1.5, -0.2, 0.3, 2.0])
    J = lw.evaluate(lw.jacobian(OPS[name](z), z), {z: at})
    slope = lw.evaluate(lw.gradient(lw.sum(OPS[name](z)), z), {z: at})
    np.testing.assert_array_equal(J, np.diag(slope))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (5, 2), (0, 3), (3, 0)])
def test_a_vector_by_a_vector(n, m):
    x, a = lw.input("x", (m,)), RNG.normal(size=(n, m))
    J = lw.jacobian(lw.sin(lw.constant(a) @ x), x)
    assert J.shape == (n, m)
    v = RNG.normal(size=m)
    np.testing.assert_allclose(lw.evaluate(J, {x: v}), np.cos(a @ v)[:, None] * a, rtol=1e-13)


def test_a_scalar_by_a_matrix_is_the_transpose_of_the_gradient():
    W = lw.parameter("W", (2, 3))
    cost = lw.sum(lw.exp(W) * np.arange(6.0).reshape(2, 3))
    at = RNG.normal(size=(2, 3))
    J, g = lw.evaluate([lw.jacobian(cost, W), lw.gradient(cost, W)], {W: at})
    assert g.shape == (2, 3)
    np.testing.assert_array_equal(J, g.T)
    np.testing.assert_allclose(g, np.exp(at) * np.arange(6.0).reshape(2, 3), rtol=1e-15)


def test_a_scalar_by_a_scalar_and_a_node_by_itself():
    x, y = lw.input("x", ()), lw.input("y", ("N", 2))
    assert lw.evaluate(lw.jacobian(x * x, x), {x: 3.0}) == 6.0
    np.testing.assert_array_equal(lw.evaluate(lw.jacobian(y, y), sizes={"N": 3}), [np.eye(2)] * 3)


@pytest.mark.parametrize("widths", [(2, 4), (4, 2)])
def test_one_jacobian_for_each_sample(widths):
    n_in, n_out = widths
    X, W = lw.input("X", ("N", n_in)), RNG.normal(size=(n_in, n_out))
    J = lw.jacobian(lw.tanh(X @ lw.constant(W)), X)
    assert J.shape == ("N", n_out, n_in)
    x = RNG.normal(size=(5, n_in))
    slope = 1 - np.tanh(x @ W) ** 2
    np.testing.assert_allclose(lw.evaluate(J, {X: x}), slope[:, :, None] * W.T, rtol=1e-13)
    assert lw.evaluate(J, {X: np.zeros((0, n_in))}).shape == (0, n_out, n_in)


def test_every_samples_jacobian_by_a_shared_parameter():
    X, W, b = lw.input("X", ("N", 2)), lw.parameter("W", (2, 3)), lw.parameter("b", (3,))
    Z = lw.affine(X, W, b)
    by_W, by_b = lw.jacobian(Z, W), lw.jacobian(Z, b)
    assert by_W.shape == ("N", 3, 3, 2)  # (N, n, o, i)
    x = RNG.normal(size=(4, 2))
    feeds = {X: x}
    np.testing.assert_array_equal(lw.evaluate(by_W, feeds), np.einsum("si,no->snoi", x, np.eye(3)))
    np.testing.assert_array_equal(lw.evaluate(by_b, sizes={"N": 4}), [np.eye(3)] * 4)


def test_the_chain_rule_of_jacobians():
    X = lw.input("X", ("N", 3))
    H = lw.softmax(X @ lw.constant(RNG.normal(size=(3, 4))))
    Y = lw.sin(H @ lw.constant(RNG.normal(size=(4, 2))))
    x = RNG.normal(size=(6, 3))
    by_X, by_H, H_by_X = lw.evaluate([lw.jacobian(Y, X), lw.jacobian(Y, H), lw.jacobian(H, X)], {X: x})
    np.testing.assert_allclose(by_X, by_H @ H_by_X, rtol=1e-12, atol=1e-15)


def test_mixing_samples_is_refused():
    X, A, v = lw.input("X", ("N", 2)), lw.input("A", ("N", "N")), lw.input("v", ("N",))
    rows = lw.input("rows", ("N",), "integer")
    mixed = [
        (X - lw.mean(X, axis=0), X),
        (X / lw.sum(X, axis=0, keepdims=True), X),
        (lw.reshape(lw.transpose(X), ("N", 2)), X),
        (A @ X, X),
        (lw.t_matmul(A, X), X),
        (lw.softmax(lw.matmul_t(X, X)) @ X, X),
        (lw.take(X, rows), X),
        (lw.softmax(v), v),
        (lw.log_softmax(v), v),
        (v * lw.logsumexp(v), v),
        (lw.sum(lw.reshape(v, ("N", 1)) * v, axis=1), v),
    ]
    for y, x in mixed:
        with pytest.raises(lw.GraphError, match="mixes samples"):
            lw.jacobian(y, x)
    # what mixes samples beside the way from x to y does no harm
    lw.jacobian(X * lw.stop_gradient(lw.mean(lw.input("other", ("N", 2)), axis=0)), X)
    lw.jacobian(lw.softmax(X), X)
    lw.jacobian(lw.take(lw.input("table", (5, 2)), rows) * X, X)


def test_an_axis_of_unknown_size_cannot_stand_twice():
    X, Y = lw.input("X", ("N", 2)), lw.input("Y", ("M", 2))
    with pytest.raises(lw.GraphError, match=r"jacobian: x has shape \(N, 2\)"):
        lw.jacobian(lw.sum(X), X)
    with pytest.raises(lw.GraphError, match=r"jacobian: x has shape \(M, 2\)"):
        lw.jacobian(X, Y)
    with pytest.raises(lw.GraphError, match=r"jacobian: y has shape \(N, N\)"):
        lw.jacobian(lw.matmul_t(X, X), X)


# Cancellation ----------------------------------------------------------------------------------------


def names(node: lw.Node) -> set[str]:
    return {n.op.name for n in order([node])}


def case(kind: str) -> tuple[lw.Node, lw.Node, lw.Node, lw.Node, np.ndarray, np.ndarray, np.ndarray]:
    """The joined loss, the same by primitive ops, values, and the sensitivity N (A - T)/N by hand."""
    Z, T = lw.input("Z", ("N", 3)), lw.input("T", ("N", 3))
    z = RNG.normal(size=(5, 3))
    if kind == "softmax":
        t = RNG.dirichlet(np.ones(3), size=5)
        joined, general = OPS["softmax_cross_entropy"](Z, T), -lw.sum(T * lw.log(lw.softmax(Z)), axis=-1)
        a = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    elif kind == "sigmoid":
        t = RNG.uniform(size=(5, 3))
        A = lw.sigmoid(Z)
        joined = OPS["sigmoid_binary_cross_entropy"](Z, T)
        general = lw.sum(-(T * lw.log(A)) - (1.0 - T) * lw.log(1.0 - A), axis=-1)
        a = 1 / (1 + np.exp(-z))
    else:
        t = RNG.poisson(3.0, size=(5, 3)).astype(float)
        A = lw.exp(Z)
        joined, general = OPS["exp_poisson"](Z, T), lw.sum(A - T * lw.log(A), axis=-1)
        a = np.exp(z)
    return Z, T, lw.mean(joined), lw.mean(general), z, t, a


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "exp"])
def test_the_cancelled_sensitivity(kind):
    Z, T, joined, general, z, t, a = case(kind)
    feeds = {Z: z, T: t}
    short, long = lw.gradient(joined, Z), lw.gradient(general, Z)
    np.testing.assert_allclose(lw.evaluate(joined, feeds), lw.evaluate(general, feeds), rtol=1e-14)
    np.testing.assert_allclose(lw.evaluate(short, feeds), (a - t) / 5, rtol=0, atol=1e-16)
    np.testing.assert_allclose(lw.evaluate(long, feeds), lw.evaluate(short, feeds), rtol=0, atol=2e-15)
    # in the short form nothing is divided but 1 by N, and no logarithm is left
    divided = [n for n in order([short]) if n.op.name == "divide"]
    assert [[x.op.name for x in n.inputs] for n in divided] == [["constant", "size"]]
    assert not names(short) & {"log", "log_softmax", "log_sigmoid"}
    assert names(short) >= {kind, "subtract"}
    assert {"divide", "log"} & {n.op.name for n in order([long]) if n.inputs}


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "exp"])
def test_derivatives_of_the_cancelled_form(kind):
    """Forward mode and second derivatives of the joined loss are those of its definition."""
    Z, T, joined, general, z, t, _ = case(kind)
    v = lw.input("v", ("N", 3))
    feeds = {Z: z, T: t, v: RNG.normal(size=(5, 3))}
    for cost in (lambda c: lw.jvp(c, [Z], [v]), lambda c: lw.hessian_vector(c, [Z], [v])[0]):
        short, long = cost(joined), cost(general)
        used = set(order([short]))
        got = lw.evaluate(short, {n: x for n, x in feeds.items() if n in used})
        np.testing.assert_allclose(got, lw.evaluate(long, feeds), rtol=1e-11, atol=1e-14)
    by_T = [lw.evaluate(lw.gradient(c, T), {Z: z}) for c in (joined, general)]
    np.testing.assert_allclose(*by_T, rtol=1e-13)


def test_weighted_samples_keep_their_weights():
    Z, T, w = lw.input("Z", ("N", 3)), lw.input("T", ("N", 3)), lw.input("w", ("N",))
    z, t, weights = RNG.normal(size=(4, 3)), np.eye(3)[[0, 2, 1, 0]], np.array([1.0, 0.0, 2.0, 0.5])
    grad = lw.gradient(lw.sum(w * OPS["softmax_cross_entropy"](Z, T)) / lw.sum(w), Z)
    a = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = weights[:, None] * (a - t) / 3.5
    np.testing.assert_allclose(lw.evaluate(grad, {Z: z, T: t, w: weights}), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("target", [1 / 3, [1 / 3], [[1 / 3]], [0.2, 0.3, 0.5]], ids=str)
def test_targets_that_broadcast(target):
    Z, z = lw.input("Z", ("N", 3)), RNG.normal(size=(4, 3))
    grad = lw.gradient(lw.sum(OPS["softmax_cross_entropy"](Z, target)), Z)
    a = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(lw.evaluate(grad, {Z: z}), a - np.asarray(target), rtol=0, atol=1e-15)


def test_a_single_class():
    Z, T = lw.input("Z", ("N", 1)), lw.input("T", ("N", 1))
    loss = OPS["softmax_cross_entropy"](Z, T)
    value, grad = lw.evaluate([loss, lw.gradient(lw.sum(loss), Z)], {Z: [[3.0], [-1.0]], T: [[1.0], [1.0]]})
    np.testing.assert_array_equal(value, [0.0, 0.0])
    np.testing.assert_array_equal(grad, [[0.0], [0.0]])


@pytest.mark.parametrize("name", ["squared_error", "poisson", "cross_entropy", "binary_cross_entropy"])
def test_where_nothing_cancels_the_derivative_stays_as_written(name):
    Y, T = lw.input("Y", ("N", 2)), lw.input("T", ("N", 2))
    g = lw.input("g", ("N",))
    op = OPS[name]
    (written,) = differentiate.pull_back([op.definition(Y, T)], [g], [Y])
    (by_op,) = differentiate.pull_back([op(Y, T)], [g], [Y])
    assert by_op is written


def test_cancellation_ends_at_what_the_loss_is_given():
    """The graph behind Z is not expanded: quotients and sums in it stay, and so does the time it takes."""
    x, s, T = lw.input("x", ("N", 2)), lw.input("s", (2,)), lw.input("T", ("N", 2))
    Z = x / s * s
    for _ in range(12):
        Z = Z * (1.0 + Z / s)
    grad = lw.gradient(lw.mean(OPS["sigmoid_binary_cross_entropy"](Z, T)), Z)
    assert Z in order([grad])
    assert len(order([grad])) < len(order([Z])) + 20
