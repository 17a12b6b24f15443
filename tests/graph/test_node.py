"""Nodes: identity, immutability, kinds, names, and graphs too deep for recursion."""

from __future__ import annotations

import copy
import gc
import pickle
import threading

import numpy as np
import pytest

import layerwise as lw
from layerwise.graph.node import OPS, Node
from layerwise.graph.order import order

DEPTH = 20_000


# Hash-consing ----------------------------------------------------------------------------------------


def test_equal_graphs_are_one_object():
    def build() -> lw.Node:
        x, W = lw.input("x", ("N", 3)), lw.parameter("W", (3, 2))
        return lw.mean(lw.square(lw.tanh(x @ W) - 0.5), axis=1)

    assert build() is build()
    assert build() == build()
    assert len({build(), build()}) == 1


def test_what_differs_is_another_node():
    x = lw.input("x", (2,))
    different = [
        x,
        lw.input("y", (2,)),
        lw.input("x", (3,)),
        lw.input("x", ("N",)),
        lw.input("x", (2,), "integer"),
        lw.input("x", (2,), "boolean"),
        lw.parameter("x", (2,)),
        lw.sum(x),
        lw.sum(x, keepdims=True),
        lw.mean(x),
        lw.leaky_relu(x),
        lw.leaky_relu(x, alpha=0.1),
        x - 1.0,
        1.0 - x,
        x + 1.0,
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize(
    ("a", "b"),
    [(0.0, -0.0), (1, True), (0.0, False), (1.0, [1.0]), ([1], [1.0]), ([1], [True]), (1.0, 1.0 + 2**-52), ([], [[]])],
)
def test_constants_that_differ_in_sign_kind_shape_or_the_last_bit(a, b):
    assert lw.constant(a) is not lw.constant(b)


def test_constants_with_equal_bits_are_one_node():
    assert lw.constant(1) is lw.constant(1.0)  # a number in a real graph
    assert lw.constant(np.float32(0.5)) is lw.constant(0.5)
    assert lw.constant([1.0, 2.0]) is lw.constant(np.array([[1.0, 2.0]])[0])
    assert lw.constant(np.nan) is lw.constant(np.nan)
    assert 1 / (lw.input("x", ()) * 0.0) is not 1 / (lw.input("x", ()) * -0.0)


def test_attributes_that_compare_equal_but_differ_make_two_nodes():
    x = lw.input("x", ())
    values = lw.evaluate([1 / lw.leaky_relu(x, alpha=a) for a in (0.0, -0.0)], {x: -1.0})
    assert values == [-np.inf, np.inf]


def test_the_default_of_an_attribute_is_the_same_node():
    x = lw.input("x", ())
    assert lw.leaky_relu(x) is lw.leaky_relu(x, alpha=0.01)


def test_eight_threads_build_identical_nodes():
    built: list[list[lw.Node]] = []
    start = threading.Barrier(8)

    def build() -> None:
        start.wait()
        nodes = []
        for k in range(300):
            x = lw.input("threaded", (k % 7 + 1,))
            nodes.append(lw.gradient(lw.sum(lw.sin(x * float(k)) + x), x))
            lw.exp(lw.input(f"dropped {k}", ())) + 1.0
        built.append(nodes)

    threads = [threading.Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 8
    assert all(a is b for other in built[1:] for a, b in zip(built[0], other, strict=True))


def test_dropped_graphs_leave_nothing_behind():
    def build(k: int) -> None:
        x, t = lw.input(f"x{k}", ("N", 3)), lw.input(f"t{k}", ("N", 3))
        cost = lw.mean(OPS["softmax_cross_entropy"](x, t)) + lw.sum(lw.matmul_t(x, x))
        lw.hessian_vector(cost, [x], [1.0])

    build(-1)
    gc.collect()
    before = len(Node._interned)
    for k in range(50):
        build(k)
    gc.collect()
    assert len(Node._interned) == before


# Immutability ----------------------------------------------------------------------------------------


def test_a_node_cannot_be_changed():
    x = lw.input("x", (2,))
    for name in ("name", "shape", "inputs", "anything"):
        with pytest.raises(lw.GraphError, match="cannot be changed"):
            setattr(x, name, None)
    assert x.shape == (2,)


def test_the_array_of_a_constant_is_its_own():
    array = np.ones(3)
    node = lw.constant(array)
    array[0] = 7.0
    np.testing.assert_array_equal(lw.evaluate(node), [1, 1, 1])
    with pytest.raises(ValueError, match="read-only"):
        node.attributes["value"][0] = 2.0


def test_a_copy_is_the_node_and_a_pickle_is_refused():
    x = lw.input("x", (2,))
    assert copy.copy(x) is x
    assert copy.deepcopy([x])[0] is x
    with pytest.raises(lw.GraphError, match="cannot be pickled"):
        pickle.dumps(x)


def test_a_node_is_neither_true_nor_false_and_cannot_be_looped_over():
    x = lw.input("x", (2,))
    with pytest.raises(lw.GraphError, match=r"neither true nor false.*layerwise\.where"):
        bool(x > 0.0)
    with pytest.raises(TypeError):
        iter(x)


def test_repr_says_op_inputs_and_shape():
    x = lw.input("x", ("N", 2))
    assert repr(x) == "<input(x) (N, 2)>"
    assert repr(x @ lw.parameter("W", (2, 3))) == "<matmul(x, W) (N, 3)>"
    assert repr(lw.sum(lw.exp(x))) == "<sum(exp) ()>"


def test_python_operators():
    a, b = lw.input("a", (2, 2)), lw.input("b", (2, 2))
    u, v = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5, -1.0], [2.0, 4.0]])
    pairs = [
        (a + b, u + v), (a - b, u - v), (a * b, u * v), (a / b, u / v), (abs(b) ** a, np.abs(v) ** u),
        (a @ b, u @ v), (-a + b, v - u), (+a + b, u + v), (1 + a * b, 1 + u * v), (1 - a + b, 1 - u + v),
        (2 * a + b, 2 * u + v), (2 / a + b, 2 / u + v), (2**a + b, 2**u + v), (v @ a + b, v @ u + v),
        (a.T + b, u.T + v), (a < b, u < v), (a <= b, u <= v), (a > b, u > v), (a >= b, u >= v),
        (v * a + b, v * u + v), (v - a + b, v - u + v),
    ]  # fmt: skip
    for node, expected in pairs:
        np.testing.assert_array_equal(lw.evaluate(node, {a: u, b: v}), expected, err_msg=repr(node))


def test_vectors_in_products():
    M, v, w = lw.input("M", (2, 3)), lw.input("v", (3,)), lw.input("w", (2,))
    m, x, y = np.arange(6.0).reshape(2, 3), np.array([1.0, -1.0, 2.0]), np.array([3.0, 5.0])
    feeds = {M: m, v: x, w: y}
    np.testing.assert_array_equal(lw.evaluate([M @ v, w @ M], {**feeds})[0], [3.0, 9.0])
    np.testing.assert_array_equal(lw.evaluate([M @ v, w @ M], {**feeds})[1], [15.0, 23.0, 31.0])
    assert lw.evaluate(v @ v, {v: x}) == 6.0
    stack = lw.input("S", (4, 2, 3))
    assert (stack @ v).shape == (4, 2)
    assert (w @ stack).shape == (4, 3)


# Kinds and values ------------------------------------------------------------------------------------


def test_a_boolean_is_no_number():
    x = lw.input("x", (2,))
    with pytest.raises(lw.GraphError, match=r"add needs a real value as argument 1; got the boolean .*where"):
        (x > 0.0) + x
    with pytest.raises(lw.GraphError, match="needs a boolean value as argument 1; got the real"):
        lw.where(x, 1.0, 0.0)
    with pytest.raises(lw.GraphError, match="multiply needs a real value as argument 2; got the boolean"):
        x * True


def test_labels_are_no_real_numbers():
    labels, table = lw.input("labels", ("N",), "integer"), lw.input("table", (3, 2))
    with pytest.raises(lw.GraphError, match="multiply needs a real value as argument 1; got the integer"):
        labels * 2.0
    with pytest.raises(lw.GraphError, match="take needs an integer value as argument 2; got the real"):
        lw.take(table, lw.input("r", ("N",)))
    with pytest.raises(lw.GraphError, match=r"differentiated by .*labels.*'integer'"):
        lw.gradient(lw.sum(lw.take(table, labels)), labels)


@pytest.mark.parametrize("value", ["text", 1j, None, [[1.0], [1.0, 2.0]], object(), np.datetime64("2020-01-01")])
def test_constants_that_are_no_numbers(value):
    with pytest.raises(lw.GraphError, match="A constant must"):
        lw.constant(value)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_source_needs_a_name(name):
    with pytest.raises(lw.GraphError, match="must be a non-empty string"):
        lw.input(name, (2,))


def test_an_unknown_kind_or_argument_offers_the_nearest():
    with pytest.raises(lw.UnknownName, match="Did you mean 'integer'"):
        lw.input("x", (), "integers")
    with pytest.raises(lw.UnknownName, match="Did you mean 'alpha'"):
        lw.leaky_relu(lw.input("x", ()), alpah=0.1)


# Order and depth -------------------------------------------------------------------------------------


def test_each_node_comes_after_its_inputs_and_once():
    x = lw.input("x", ())
    a, b = lw.exp(x), lw.sin(x)
    y = a * b + a
    nodes = order([y, a])
    assert len(nodes) == len(set(nodes)) == 5
    at = {node: i for i, node in enumerate(nodes)}
    assert all(at[i] < at[n] for n in nodes for i in n.inputs)


def deep() -> tuple[lw.Node, lw.Node]:
    x = lw.input("x", ())
    y = x
    for k in range(DEPTH):
        y = lw.sin(y) if k % 2 else y * 1.0001
    return x, y


def test_20000_nodes_deep():
    x, y = deep()
    assert len(order([y])) == DEPTH + 2
    grad = lw.gradient(y, x)
    forward = lw.jvp(y, [x], [1.0])
    value, slope, moved = lw.evaluate([y, grad, forward], {x: 0.7})
    expected, derivative = 0.7, 1.0
    for k in range(DEPTH):
        derivative *= np.cos(expected) if k % 2 else 1.0001
        expected = np.sin(expected) if k % 2 else expected * 1.0001
    # 20,000 factors, each rounded: 20,000 · 1e-16 at most
    np.testing.assert_allclose([value, slope, moved], [expected, derivative, derivative], rtol=4e-12)


def test_a_deep_graph_is_freed_without_recursion():
    gc.collect()
    before = len(Node._interned)
    x, y = deep()
    grad = lw.gradient(y, x)
    assert len(Node._interned) > before + DEPTH
    del x, y, grad
    gc.collect()
    assert len(Node._interned) <= before


def test_a_loss_of_a_deep_graph():
    x = lw.input("x", (2,))
    y = x / 3.0
    for _ in range(3000):
        y = y + x
    grad = lw.gradient(lw.squared_error(y, np.ones(2)), x)
    a = 3000 + 1 / 3
    np.testing.assert_allclose(lw.evaluate(grad, {x: [1.0, 2.0]}), [2 * a * (a - 1), 2 * a * (2 * a - 1)], rtol=1e-12)


def test_a_wide_sum_of_branches():
    x = lw.input("x", (3,))
    y = lw.constant(0.0)
    for k in range(500):
        y = y + float(k) * x
    np.testing.assert_array_equal(lw.evaluate(lw.gradient(lw.sum(y), x)), [124750.0] * 3)
