"""The native engine computes what NumPy computes: whole graphs, cost and gradients, every layout of the inputs."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from random_networks import random_case

import layerwise as lw
from layerwise.compile.kernels import KERNELS, MAP_KERNELS
from layerwise.compile.plan import plan
from layerwise.engine.programs import NativeRunner, native
from layerwise.engine.reference import Runner
from layerwise.graph.node import OPS

SIZES = [1, 7, 8, 9, 15, 16, 17, 31, 33, 100]


@pytest.fixture(params=native.isas())
def isa(request):
    """Every instruction set that this processor has."""
    return request.param


def test_both_sides_count_the_kernels_alike():
    assert list(native.program_kernels()) == list(KERNELS)
    assert [name for name, *_ in native.map_kernels()] == list(MAP_KERNELS)


def close(got, expected, tolerance):
    got, expected = np.asarray(got), np.asarray(expected)
    scale = np.abs(expected).max(initial=0.0, where=np.isfinite(expected))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * max(scale, 1e-30))


def both(nodes, feeds, dtype="float64", tolerance=1e-12, isa=None):
    """Values of nodes by both engines, after they were found to agree."""
    native = NativeRunner(nodes, dtype, isa).run(feeds)
    for got, expected in zip(native, Runner(plan(nodes), dtype).run(feeds), strict=True):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        close(got, expected, tolerance)
    return native


def feeds_of(case, graph):
    return graph.feeds(case.params, case.X, case.Y, None)


@pytest.mark.parametrize("seed", range(100))
def test_cost_and_gradients_of_random_networks(seed, isa):
    case = random_case(seed)
    graph = case.net.graph(labels=case.Y.ndim == 1, weighted=False)
    nodes = [graph.cost, *lw.gradient(graph.cost, list(graph.parameters.values()))]
    both(nodes, feeds_of(case, graph), isa=isa, tolerance=1e-11)
    both(nodes, feeds_of(case, graph), "float32", tolerance=2e-3, isa=isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", SIZES)
def test_awkward_sizes_of_the_sample_axis_and_of_layers(n, dtype, isa):
    rng = np.random.default_rng(n)
    for width in SIZES:
        graph = lw.Network([width, 9, 3], hidden="tanh", output="softmax").graph(labels=True, weighted=True)
        nodes = [graph.cost, graph.losses, graph.output, *lw.gradient(graph.cost, list(graph.parameters.values()))]
        params = {k: rng.normal(size=W.shape) / 2 / np.sqrt(W.shape[0]) for k, W in graph.parameters.items()}
        feeds = graph.feeds(params, rng.normal(size=(n, width)), rng.integers(0, 3, n), rng.random(n))
        both(nodes, feeds, dtype, 1e-12 if dtype == "float64" else 2e-4, isa)


def test_a_graph_of_one_s_own():
    x, y = lw.input("x", ("N",)), lw.input("y", ("N",))
    b1, b2 = lw.parameter("b1"), lw.parameter("b2")
    residual = y - b1 * (1.0 - lw.exp(-b2 * x))
    J = [lw.jacobian(residual, b) for b in (b1, b2)]
    rng = np.random.default_rng(0)
    feeds = {x: rng.random(50), y: rng.random(50), b1: 2.0, b2: 0.5}
    both([residual, *J, lw.sum(lw.square(residual))], feeds)


def test_values_that_are_needed_in_several_forms():
    x, W = lw.input("x", ("N", 6)), lw.parameter("W", (6, 6))
    A = lw.tanh(x @ W)
    nodes = [
        A, A.T, lw.reshape(A, ("N", 2, 3)), A[:, 1:4], A[:, ::2], lw.concat([A, x], axis=1), lw.sum(A, axis=0),
        lw.sum(lw.reshape(A, ("N", 2, 3)), axis=1), lw.max(A, axis=1), lw.mean(A), lw.softmax(A), lw.softmax(A.T),
        lw.logsumexp(A, axis=0), A.T @ A, lw.transpose(lw.reshape(A, ("N", 2, 3)), (0, 2, 1)), x @ W.T @ W, W @ W,
        lw.greater(A, 0.0), lw.where(lw.greater(A, lw.mean(A, axis=0)), A, 1.0), lw.log_softmax(x @ W),
        lw.broadcast_to(lw.sum(W, axis=0), ("N", 6)), A * 2.0,
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    for n in (1, 2, 37):
        both(nodes, {x: rng.normal(size=(n, 6)), W: rng.normal(size=(6, 6))}, tolerance=1e-13)


def test_matrices_of_more_than_two_axes():
    a, b = lw.input("a", ("N", 3, 4)), lw.input("b", ("N", 4, 5))
    W, V = lw.parameter("W", (4, 5)), lw.parameter("V", (2, 4, 5))
    G = lw.parameter("G", (3, 4, 2))
    nodes = [a @ b, a @ W, OPS["matmul_t"](a, W.T), OPS["t_matmul"](a, a)]
    nodes += [OPS["matmul_t"](a, a), lw.reshape(W, (1, 4, 5)) @ lw.transpose(V, (0, 2, 1))]
    nodes += [OPS["grouped_product"](lw.reshape(a, ("N", 12)), G)]
    nodes += lw.gradient(lw.sum(nodes[-1]) + lw.sum(lw.square(nodes[0])), [G, a, b])
    rng = np.random.default_rng(1)
    feeds = {a: rng.normal(size=(6, 3, 4)), b: rng.normal(size=(6, 4, 5)), W: rng.normal(size=(4, 5))}
    feeds |= {V: rng.normal(size=(2, 4, 5)), G: rng.normal(size=(3, 4, 2))}
    both(nodes, feeds)


def test_look_ups():
    table, rows, labels = lw.parameter("t", (5, 3)), lw.input("r", ("N",), "integer"), lw.input("l", ("N",), "integer")
    E = OPS["take"](table, rows)
    nodes = [E, lw.one_hot(labels, 4), *lw.gradient(lw.sum(lw.square(E)), [table])]
    feeds = {table: np.arange(15.0).reshape(5, 3), rows: [0, 4, 4, 2], labels: [3, 0, 1, 1]}
    both(nodes, feeds)
    for engine in ("numpy", "native"):
        with pytest.raises(lw.DataError, match=r"take: row numbers must be in 0 .. 4; got 5 at position 2\."):
            lw.evaluate(E, {table: feeds[table], rows: [0, 1, 5, -1]}, engine=engine)
        with pytest.raises(lw.DataError, match=r"one_hot: labels must be in 0 .. 3; got -1 at position 1\."):
            lw.evaluate(nodes[1], {labels: [0, -1]}, engine=engine)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_do_not_depend_on_threads_or_on_the_layout_of_what_is_fed(dtype):
    net = lw.Network([33, 70, 5], hidden="gelu", output="softmax")
    graph = net.graph(labels=True, weighted=False)
    nodes = [graph.cost, graph.output, *lw.gradient(graph.cost, list(graph.parameters.values()))]
    rng = np.random.default_rng(0)
    X, Y, params = rng.normal(size=(999, 33)).astype(dtype), rng.integers(0, 5, 999), net.initialise(0, dtype)

    def bits(X, threads):
        return [v.tobytes() for v in NativeRunner(nodes, dtype, threads=threads).run(graph.feeds(params, X, Y))]

    expected = bits(X, 1)
    for threads in (2, 3, 8, 64):
        assert bits(X, threads) == expected
    wide = np.zeros((999, 66), dtype)
    wide[:, ::2] = X
    for other in (np.asfortranarray(X), wide[:, ::2], X[::-1].copy()[::-1], X.tolist() if dtype == "float64" else X):
        assert bits(other, 2) == expected


def test_from_many_threads_at_once():
    net = lw.Network([10, 50, 4], output="softmax")
    params, rng = net.initialise(0), np.random.default_rng(0)
    X, Y = rng.normal(size=(300, 10)), rng.integers(0, 4, 300)
    expected = net.cost_and_gradients(params, X, Y)
    results = []
    run = [threading.Thread(target=lambda: results.append(net.cost_and_gradients(params, X, Y))) for _ in range(8)]
    for thread in run:
        thread.start()
    for thread in run:
        thread.join()
    for cost, grads in results:
        assert cost == expected[0]
        assert all(grads[k].tobytes() == g.tobytes() for k, g in expected[1].items())


def test_results_belong_to_the_caller():
    x = lw.input("x", (3,))
    fed = np.array([1.0, 2.0, 3.0])
    a, b, c = lw.evaluate([x, lw.reshape(x, (3, 1)), x], {x: fed})
    a[0] = 7.0
    assert fed[0] == 1.0
    assert b[0, 0] == 1.0
    assert c[0] == 1.0


def test_nothing_to_compute():
    assert lw.evaluate([], {}) == []
    x = lw.input("x", ("N", 3))
    assert lw.evaluate(lw.sum(x, axis=1), {x: np.zeros((0, 3))}).shape == (0,)
    W = lw.parameter("W", (3, 0))
    assert lw.evaluate(x @ W, {x: np.ones((2, 3)), W: np.zeros((3, 0))}).shape == (2, 0)
