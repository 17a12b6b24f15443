"""Prediction by the compiled module agrees with the definition, and its bits depend on the row alone."""

import importlib
import pickle
import threading

import numpy as np
import pytest
from random_networks import random_case

import layerwise as lw
from layerwise.compile.chain import dense_chain
from layerwise.engine.native import NativeForward
from layerwise.network.build import forward_graph
from layerwise.ops.activations import ACTIVATIONS

_native = importlib.import_module("layerwise._native")
ISAS = _native.isas()
SIZES = [1, 7, 8, 9, 15, 16, 17, 31, 33, 100]


def prepared(net, params, isa=None):
    graph = forward_graph(net)
    return NativeForward(dense_chain(graph.output, graph.inputs), params, isa)


def close(got, expected, tolerance):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("seed", range(100))
def test_a_random_network(seed, isa):
    case = random_case(seed)
    X = np.ascontiguousarray(case.X)
    expected = case.net.forward(case.params, X)
    close(prepared(case.net, case.params, isa)(X), expected, 1e-13)  # some hundred roundings of 1e-16
    single = {name: W.astype(np.float32) for name, W in case.params.items()}
    close(prepared(case.net, single, isa)(X.astype(np.float32)), expected, 1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    net = lw.Network([lw.Input(3), lw.Dense(5, activation), lw.Dense(4, activation, bias=False), lw.Dense(2)])
    params, X = net.initialise(1), np.random.default_rng(0).normal(size=(9, 3))
    close(prepared(net, params)(X), net.forward(params, X), 1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", SIZES)
def test_awkward_sizes(width, dtype):
    net = lw.Network([width, width, 3], hidden="tanh", output="softmax")
    params = net.initialise(0, dtype)
    run = prepared(net, params)
    for n in SIZES:
        X = np.random.default_rng(n).normal(size=(n, width)).astype(dtype)
        close(run(X), net.forward(params, X), 1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [[20, 33, 7], [3, 300, 300, 1], [64, 64, 10]])
def test_a_row_alone_is_the_row_in_any_batch_on_any_number_of_threads(widths, dtype):
    net = lw.Network(widths, hidden="gelu", output="softmax" if widths[-1] > 1 else "sigmoid")
    run = prepared(net, net.initialise(0, dtype))
    X = np.random.default_rng(0).normal(size=(1500, widths[0])).astype(dtype)
    together = run(X, threads=1)
    for threads in (2, 3, 8, 64):
        assert run(X, threads=threads).tobytes() == together.tobytes()
    for first, last in [(0, 1), (699, 700), (1499, 1500), (5, 102), (400, 1400)]:
        assert run(X[first:last].copy()).tobytes() == together[first:last].tobytes()


def test_from_many_python_threads():
    net = lw.Network([10, 50, 4], output="softmax")
    model = lw.Model(net, net.initialise(0))
    X = np.random.default_rng(0).normal(size=(3000, 10))
    expected = model.outputs(X).tobytes()
    results = []
    threads = [threading.Thread(target=lambda: results.append(model.outputs(X).tobytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


def test_values_that_are_no_numbers_spread_as_in_numpy():
    net = lw.Network([2, 3], output="softmax")
    run, params = prepared(net, net.initialise(0)), net.initialise(0)
    X = np.array([[np.nan, 1.0], [1e308, -1e308], [0.0, 0.0]])
    with np.errstate(all="ignore"):
        graph = forward_graph(net)
        expected = lw.evaluate(graph.output, graph.forward_feeds(params, X))
    np.testing.assert_array_equal(np.isnan(run(X)), np.isnan(expected))


def test_a_model_computes_natively_unless_told_otherwise():
    net = lw.Network([4, 6, 1], output="sigmoid")
    params, X = net.initialise(0), np.random.default_rng(0).normal(size=(20, 4))
    native, numpy = lw.Model(net, params), lw.Model(net, params, engine="numpy")
    close(native.outputs(X), numpy.outputs(X), 1e-14)
    close(native.predict_proba(X), numpy.predict_proba(X), 1e-14)
    np.testing.assert_array_equal(numpy.outputs(X), net.forward(params, X))
    again = pickle.loads(pickle.dumps(native))
    assert again.outputs(X).tobytes() == native.outputs(X).tobytes()
    assert native.outputs(np.empty((0, 4))).shape == (0, 1)
    with pytest.raises(lw.UnknownName, match=r"Unknown engine 'gpu'\. .*native, numpy"):
        lw.Model(net, params, engine="gpu")
    with pytest.raises(lw.ShapeError, match=r"X must have shape \(N, 4\)"):
        native.predict(X[:, :3])


def test_what_is_no_chain_is_refused_by_name():
    x, W = lw.input("x", ("N", 2)), lw.parameter("W", (2, 2))
    with pytest.raises(lw.GraphError, match=r"<add\(.*is no activation"):
        dense_chain(lw.tanh(x @ W) + x, x)


def test_the_module_refuses_what_does_not_fit():
    forward = _native.Forward64()
    forward.add(np.ones((2, 3)), None, "tanh", [])
    with pytest.raises(ValueError, match="a layer of 2 inputs cannot follow one of 3"):
        forward.add(np.ones((2, 3)), None, "tanh", [])
    with pytest.raises(ValueError, match="no native function nothing"):
        forward.add(np.ones((3, 3)), None, "nothing", [])
    with pytest.raises(ValueError, match="leaky_relu takes 1 options; got 0"):
        forward.add(np.ones((3, 3)), None, "leaky_relu", [])
    with pytest.raises(ValueError, match="another width"):
        forward.add(np.ones((3, 3)), np.ones(2), "tanh", [])
    with pytest.raises(ValueError, match="do not have the shapes"):
        forward.run(np.ones((4, 2)), np.empty((5, 3)))
