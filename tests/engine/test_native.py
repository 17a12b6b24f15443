"""Prediction by the compiled module agrees with the definition, and its bits depend on the row alone."""

import importlib
import pickle
import threading
import time
import tracemalloc

import numpy as np
import pytest
import scipy.special
from random_networks import random_case

import layerwise as lw
from layerwise.compile.chain import DenseStep, dense_chain
from layerwise.engine.native import NativeForward
from layerwise.network.build import forward_graph
from layerwise.ops.activations import ACTIVATIONS

_native = importlib.import_module("layerwise._native")
ISAS = _native.isas()
SIZES = [1, 7, 8, 9, 15, 16, 17, 31, 33, 100]


def prepared(net, params, isa=None):
    graph = forward_graph(net)
    return NativeForward(dense_chain(graph.output, graph.inputs), params, isa)


def one_layer(W, kernel="identity", isa=None):
    return NativeForward([DenseStep("W1", None, kernel, ())], {"W1": W}, isa)


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


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_rows_whose_columns_are_shared_out_have_the_bits_of_one_thread(dtype, isa):
    net = lw.Network([700, 1500, 900, 5], hidden="relu", output="softmax")  # 4.8 million operations for a row
    params = net.initialise(0, dtype)
    run = prepared(net, params, isa)
    X = np.random.default_rng(0).normal(size=(100, 700)).astype(dtype)
    together = run(X, threads=1)
    close(together[:7], net.forward(params, X[:7]), 1e-5 if dtype == "float32" else 1e-13)
    for n in (1, 2, 5, 6, 7, 11, 12, 13, 24, 49, 100):
        for threads in (1, 2, 3, 8, 64):
            assert run.outputs(X[:n], threads).tobytes() == together[:n].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ["softmax", "sigmoid_pair"])
def test_the_checked_call_gives_the_same_bits_and_the_class_of_the_largest(output, dtype):
    net = lw.Network([20, 33, 7 if output == "softmax" else 1], hidden="tanh")
    params = net.initialise(0, dtype)
    steps = [DenseStep("W1", "b1", "tanh", ()), DenseStep("W2", "b2", output, ())]
    run = NativeForward(steps, params)
    X = np.random.default_rng(0).normal(size=(1500, 20)).astype(dtype)
    together = run(X, threads=1)
    for threads in (1, 2, 3, 64):
        assert run.outputs(X, threads).tobytes() == together.tobytes()
        classes = run.classes(X, threads)
        assert classes.dtype == np.int64
        np.testing.assert_array_equal(classes, together.argmax(axis=1))
    for first, last in [(0, 1), (699, 700), (1499, 1500), (5, 102), (400, 1400), (7, 7)]:
        assert run.outputs(X[first:last]).tobytes() == together[first:last].tobytes()
        np.testing.assert_array_equal(run.classes(X[first:last]), together[first:last].argmax(axis=1))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 26, 31, 33, 64, 100, 700, 2047, 2048, 2050])
def test_softmax_of_any_width(width, dtype, isa):
    Z = np.random.default_rng(width).normal(scale=5, size=(50 if width < 200 else 3, width)).astype(dtype)
    Z[0] *= 20  # all but one underflow
    Z[1] = 3.0
    eps = np.finfo(dtype).eps
    exact = Z.astype(np.float64)
    # Each e^z is off by half a rounding of z (up to 30 or 400) and one of its own; the sum by one for each fold.
    tolerance = eps * (np.abs(exact).max(axis=1, keepdims=True) + 10)
    eye = np.eye(width, dtype=dtype)
    A = one_layer(eye, "softmax", isa)(Z)
    expected = scipy.special.softmax(exact, axis=1)
    assert (np.abs(A - expected) <= tolerance * expected + np.finfo(dtype).tiny).all()
    logs = one_layer(eye, "log_softmax", isa)(Z)
    expected = scipy.special.log_softmax(exact, axis=1)
    assert (np.abs(logs - expected) <= tolerance * np.maximum(1, np.abs(expected))).all()
    for kernel, whole in [("softmax", A), ("log_softmax", logs)]:
        run = one_layer(eye, kernel, isa)
        assert b"".join(run(Z[i : i + 1]).tobytes() for i in range(len(Z))) == whole.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 9, 16, 17, 40])
def test_the_class_among_equal_outputs_infinities_and_nan_is_that_of_argmax(width, dtype, isa):
    rng = np.random.default_rng(width)
    # Small integers, so that many outputs are equal; and inputs that overflow in the first layer, so that the second
    # meets ∞ - ∞ and 0 · ∞ in some columns.
    W1 = np.diag([1, 1, 0.9, 0.9]).astype(dtype)
    W1[2:] *= np.finfo(dtype).max
    W2 = rng.integers(-2, 3, (4, width)).astype(dtype)
    W2[2:] = rng.choice([0, 1, 1, -1], (2, width))
    X = rng.integers(-2, 3, (200, 4)).astype(dtype)
    X[:100, 2:] = 0
    run = NativeForward([DenseStep(f"W{layer}", None, "identity", ()) for layer in (1, 2)], {"W1": W1, "W2": W2}, isa)
    A = run(X)
    kinds = np.isnan(A).sum(axis=1)
    assert width < 7 or ((kinds > 0) & (kinds < width) & np.isinf(A).any(axis=1)).any()
    np.testing.assert_array_equal(run.classes(X), A.argmax(axis=1))


def plain_arrays(n_0):
    """Arrays that can be read as they lie in memory."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9, n_0))
    read_only = X.copy()
    read_only.flags.writeable = False
    yield from (X, X.astype("float32"), read_only, X[:0], X[3:7], X[::2].copy())
    for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        info = np.iinfo(kind)
        yield rng.integers(info.min, info.max, (9, n_0), dtype=kind, endpoint=True)
    yield X > 0
    yield X.astype("float16")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_0", [1, 5, 37])
def test_numbers_of_any_kind_are_converted_as_numpy_does(n_0, dtype, isa):
    W = np.random.default_rng(1).normal(size=(n_0, 3)).astype(dtype)
    run = one_layer(W, "tanh", isa)
    for X in plain_arrays(n_0):
        assert run.outputs(X).tobytes() == run(np.ascontiguousarray(X, dtype)).tobytes(), X.dtype


def odd_inputs():
    """Inputs (N, 3) that are not plain arrays, not of the right shape, or not finite; those that hold numbers first."""
    X = np.random.default_rng(0).normal(size=(6, 3))
    spoiled = X.copy()
    spoiled[4, 1], infinite = np.nan, X.copy()
    infinite[5, 2] = -np.inf
    unaligned = np.frombuffer(b"\0" + X.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(6, 3)
    assert not unaligned.flags.aligned
    subclass = type("Subclass", (np.ndarray,), {})
    return {
        "list": X.tolist(),
        "tuple of rows": tuple(X),
        "Fortran order": np.asfortranarray(X),
        "every other row": X[::2],
        "columns backwards": X[:, ::-1],
        "one row repeated": np.broadcast_to(X[0], (6, 3)),
        "other byte order": X.astype(X.dtype.newbyteorder()),
        "other byte order, integers": np.arange(18).reshape(6, 3).astype(">i4" if np.little_endian else "<i4"),
        "unaligned": unaligned,
        "extended": X.astype("longdouble"),
        "subclass": X.view(subclass),
        "matrix": X.view(np.recarray),
        "masked, nothing hidden": np.ma.masked_array(X, False),
        "objects that are floats": X.astype(object),
        "masked": np.ma.masked_array(X, X > 1),
        "one sample": X[0],
        "a number": 3.0,
        "an array of a number": np.array(3.0),
        "three dimensions": X[None],
        "transposed": X[:3, :2].T.copy().T,
        "another width": X[:, :2].copy(),
        "no columns": X[:, :0],
        "nothing": None,
        "text": "X",
        "array of text": X.astype(str),
        "complex": X.astype(complex),
        "dates": X.astype("int64").astype("datetime64[s]"),
        "record": np.zeros(6, dtype=[("x", "f8"), ("y", "f8"), ("z", "f8")]),
        "ragged": [[1, 2, 3], [4, 5]],
        "dict": {"a": [1, 2, 3]},
        "class": np.ndarray,
        "NaN": spoiled,
        "infinite": infinite,
        "NaN, single": spoiled.astype("float32"),
        "infinite, single": infinite.astype("float32"),
        "infinite, half": infinite.astype("float16"),
        "too large for float32": 1e300 * X,
        "just too large for float32": np.full((1, 3), np.nextafter(np.float64(np.finfo("float32").max), np.inf)),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", odd_inputs())
def test_odd_inputs_meet_the_checks_of_the_definition(name, dtype):
    X = odd_inputs()[name]
    net = lw.Network([3, 4, 2], output="softmax")
    params = net.initialise(0, dtype)
    fits = "too large" in name and dtype == "float64"
    if not fits:
        run = prepared(net, params)
        assert run.outputs(X) is None
        assert run.classes(X) is None
    results = []
    for engine in ("native", "numpy"):
        model = lw.Model(net, params, engine=engine)
        for call in (model.outputs, model.predict, model.predict_proba):
            try:
                results.append(call(X))
            except Exception as error:
                results.append((type(error), str(error)))
    for native, numpy in zip(results[:3], results[3:], strict=True):
        if isinstance(numpy, tuple):
            assert native == numpy
            assert issubclass(numpy[0], lw.errors.LayerwiseError)
        else:
            close(native, numpy, 1e-5 if dtype == "float32" else 1e-13)


def test_a_file_of_rows_is_read_through_the_careful_way(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 3))
    X.tofile(tmp_path / "rows")
    net = lw.Network([3, 4, 2], output="softmax")
    model = lw.Model(net, net.initialise(0))
    rows = np.memmap(tmp_path / "rows", dtype=np.float64, mode="r", shape=(50, 3))
    assert model.outputs(rows).tobytes() == model.outputs(X).tobytes()


@pytest.mark.parametrize("at", [0, 1, 15, 16, 63, 64, 200, 783])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ISAS)
def test_one_number_that_is_not_finite_is_found_anywhere(isa, dtype, at):
    net = lw.Network([784, 3])
    run = prepared(net, net.initialise(0, dtype), isa)
    rng = np.random.default_rng(0)
    largest = np.full((1, 784), np.finfo(dtype).max, dtype)
    assert run.outputs(largest * rng.choice([-1, 1], 784).astype(dtype)) is not None
    for n, row in [(1, 0), (300, 299)]:
        for kind in ("float32", "float64"):
            X = rng.normal(size=(n, 784)).astype(kind)
            for bad in (np.nan, np.inf, -np.inf):
                X[row, at] = bad
                assert run.outputs(X) is None
                assert run.classes(X) is None


@pytest.mark.parametrize("widths", [[64, 64, 10], [784, 128, 10], [28, 256, 256, 256, 1]])
def test_one_row_allocates_its_result_and_no_more(widths):
    # What C++ allocates is counted by tests/native/forward_test.cpp.
    net = lw.Network(widths, hidden="relu", output="softmax" if widths[-1] > 1 else "sigmoid")
    model = lw.Model(net, net.initialise(0, "float32"))
    x = np.ones((1, widths[0]), np.float32)
    for call in (model.outputs, model.predict, model.predict_proba):
        call(x)
        tracemalloc.start()
        try:
            result = call(x)
            kept, peak = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for _ in range(100):
                result = call(x)
            kept_later, peak_later = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # The array and its shape; for a moment the shape as a tuple and NumPy's description of an array.
        assert kept <= result.nbytes + 250
        assert peak <= result.nbytes + 700
        assert kept_later <= kept + 64
        assert peak_later <= peak + result.nbytes + 250  # the result before is still there


def test_from_many_python_threads():
    net = lw.Network([10, 50, 4], output="softmax")
    model = lw.Model(net, net.initialise(0))
    X = np.random.default_rng(0).normal(size=(3000, 10))
    expected, classes = model.outputs(X).tobytes(), model.predict(X).tobytes()
    fresh = lw.Model(net, net.initialise(0))  # prepared by whichever thread comes first
    together, results = threading.Barrier(8), []

    def work():
        together.wait()
        same = [fresh.outputs(X).tobytes() == expected, fresh.predict(X).tobytes() == classes]
        same += [b"".join(fresh.outputs(X[i : i + 1]).tobytes() for i in range(len(X))) == expected]
        same += [b"".join(fresh.predict(X[i : i + 1]).tobytes() for i in range(len(X))) == classes]
        results.append(same)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[True] * 4] * 8


def test_a_long_call_leaves_the_interpreter_to_others():
    net = lw.Network([500, 1000, 1000, 3], hidden="relu")
    run = prepared(net, net.initialise(0, "float32"))
    X = np.ones((4000, 500), np.float32)
    run.outputs(X[:10])
    spans = []

    def work():
        start = time.perf_counter()
        assert run.outputs(X, 1) is not None
        spans.append((start, time.perf_counter()))

    thread = threading.Thread(target=work)
    ticks = []
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
    start, end = spans[0]
    longest = max(np.diff([start, *(t for t in ticks if start < t < end), end]))
    assert longest < (end - start) / 2  # held, the longest silence would be the whole call


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
    with pytest.raises(ValueError, match="sigmoid_pair needs one output"):
        forward.add(np.ones((3, 2)), None, "sigmoid_pair", [])
