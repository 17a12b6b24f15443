"""Training of networks that mix all options of layers: native steps are those of the definition, whatever runs them."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import random_layered_case

import layerwise as lw
from layerwise.engine.native_training import NativeTraining
from layerwise.engine.programs import native
from layerwise.engine.training import Data, NumpyTraining, Run
from layerwise.network.build import step_graph

# A bias in front of batch normalisation has gradient 0. By its usual ε of 1e-8 Adam would make steps of the rounding.
RULES = [lw.SGD(0.05), lw.Momentum(0.02, 0.8), lw.Adam(0.01, epsilon=1e-3)]


@pytest.mark.parametrize("seed", range(200))
def test_random_steps_are_those_of_the_definition(seed):
    case = random_layered_case(seed, random_parts=True)
    options = {
        "params": case.params,
        "optimizer": RULES[seed % 3],
        "batch_size": [None, 2, 3][seed % 4 % 3],
        "epochs": 3,
        "seed": seed,
        "sample_weight": case.weights,
    }
    expected = lw.train(case.net, case.X, case.Y, engine="numpy", **options)
    fit = lw.train(case.net, case.X, case.Y, engine="native", **options)
    np.testing.assert_allclose(fit.history.cost, expected.history.cost, rtol=1e-10, atol=1e-13)
    for name, W in expected.params.items():
        np.testing.assert_allclose(
            fit.params[name], W, rtol=1e-10, atol=1e-10 * max(1.0, np.abs(W).max()), err_msg=name
        )


WIDE = {
    "all at once": {"dropout": 0.3, "noise": 0.1, "normalisation": "batch", "residual": True, "max_norm": 1.5},
    "layer": {"normalisation": "layer", "l1": 1e-4, "l2": 1e-3, "parametrisation": "ntk"},
    "dropout": {"dropout": 0.5},
}


def problem(options, dtype="float64"):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 40))
    X[:, 3], X[:, 17] = rng.integers(0, 9, 700), rng.integers(0, 200, 700)
    dense = [lw.Dense(130, "relu", **{**options, "residual": False}), lw.Dense(130, "tanh", **options)]
    net = lw.Network([lw.Input(40), lw.Embedding({3: 9, 17: 200}, width=5), lw.Scale(), *dense, lw.Dense(5, "softmax")])
    return net, X.astype(dtype), rng.integers(0, 5, 700)


@pytest.mark.parametrize("options", WIDE.values(), ids=WIDE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_any_number_of_threads(options, dtype):
    net, X, Y = problem(options, dtype)
    usable, found = native.usable_processors(), []
    try:
        for threads in (1, 2, 8):
            native.set_usable_processors(threads)
            fit = lw.train(net, X, Y, optimizer=lw.Adam(0.01), batch_size=128, epochs=2, dtype=dtype)
            model = lw.Model(net, fit.params)
            found.append(b"".join(W.tobytes() for W in fit.params.values()) + model.outputs(X).tobytes())
    finally:
        native.set_usable_processors(usable)
    assert len(set(found)) == 1


@pytest.mark.parametrize("options", WIDE.values(), ids=WIDE)
@pytest.mark.parametrize("isa", native.isas())
def test_wide_layers_under_every_instruction_set(options, isa):
    net, X, Y = problem(options)
    graph = step_graph(net.graph(labels=True, training=True), lw.Momentum(0.05))
    step, data, start = graph.step(), Data((X, Y), 128, 1), graph.start(net.initialise(0), "float64")
    runs = [NumpyTraining(step, data, start, "float64"), NativeTraining(step, data, start, "float64", isa)]
    costs = [run.run(Run(1, 2)).costs for run in runs]
    np.testing.assert_allclose(costs[1], costs[0], rtol=1e-10)
    expected, found = (run.values() for run in runs)
    for node, W in expected.items():
        np.testing.assert_allclose(found[node], W, rtol=1e-9, atol=1e-10, err_msg=node.name)


@pytest.mark.parametrize("options", [{"normalisation": "layer", "residual": True}, {"normalisation": "batch"}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_alone_and_in_any_batch_gets_the_same_bits(options, dtype):
    net = lw.Network([37, 61, 61, 130, 5], hidden="gelu", output="softmax", **options)
    X = np.random.default_rng(0).normal(size=(9000, 37)).astype(dtype)
    model = lw.Model(net, net.initialise(1, dtype))
    A = model.outputs(X)
    assert A.dtype == dtype
    for rows in (0, 1, 2, 3, 5, 17, 100, 777, 8191, 8193):
        np.testing.assert_array_equal(model.outputs(X[:rows]), A[:rows])
    for first in range(0, 9000, 531):
        for n in (1, 7):
            np.testing.assert_array_equal(model.outputs(X[first : first + n]), A[first : first + n])


def test_integers_within_a_graph():
    x, table = lw.input("x", ("N", 3)), lw.parameter("t", (4, 2))
    rows = lw.network.inputs.to_integer(x[:, 1])
    E = lw.take(table, rows)
    feeds = {x: [[9.0, 3.0, 9.0], [9.0, 0.0, 9.0], [9.0, 2.5, 9.0]], table: np.arange(8.0).reshape(4, 2)}
    for engine in ("native", "numpy"):
        for dtype in ("float32", "float64"):
            got = lw.evaluate([E, rows, lw.gradient(lw.sum(E), table)], feeds, dtype=dtype, engine=engine)
            assert got[0].tolist() == [[6.0, 7.0], [0.0, 1.0], [4.0, 5.0]]
            assert got[1].dtype == np.int64
            assert got[1].tolist() == [3, 0, 2]
            assert got[2].tolist() == [[1, 1], [0, 0], [1, 1], [1, 1]]
    with pytest.raises(lw.DataError, match=r"take: row numbers must be in 0 .. 3; got -1 at position 0"):
        lw.evaluate(E, {**feeds, x: [[0.0, -1.0, 0.0]]})
