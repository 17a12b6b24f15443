"""`evaluate`: what it accepts, what it refuses with which words, and to whom arrays belong."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw


@pytest.fixture
def x():
    return lw.input("x", ("N", 2))


VALUES = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


# Feeds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fed",
    [
        VALUES.astype(np.float16),
        VALUES.astype(np.float32),
        VALUES.astype(np.int8),
        VALUES.astype(np.uint64),
        VALUES.astype(">f8"),
        VALUES.astype(">i2"),
        np.asfortranarray(VALUES),
        np.repeat(np.repeat(VALUES, 2, axis=0), 3, axis=1)[::2, ::3],
        VALUES[::-1][::-1],
        VALUES.tolist(),
        [tuple(row) for row in VALUES],
        np.ma.masked_array(VALUES, mask=False),
        VALUES.astype(np.longdouble),
    ],
    ids=lambda v: getattr(getattr(v, "dtype", None), "str", type(v).__name__),
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_numbers_of_every_sort(x, fed, dtype):
    got = lw.evaluate(2.0 * x + 1.0, {x: fed}, dtype=dtype)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, 2 * VALUES + 1)


def test_booleans_are_numbers_where_numbers_are_wanted(x):
    np.testing.assert_array_equal(lw.evaluate(x + 1.0, {x: [[True, False]]}), [[2.0, 1.0]])


@pytest.mark.parametrize("order", ["C", "F"])
def test_inputs_are_not_modified_and_may_be_read_only(x, order):
    fed = np.array(VALUES, order=order)
    fed.setflags(write=False)
    before = fed.tobytes()
    lw.evaluate([lw.exp(x), lw.gradient(lw.sum(lw.softmax(x)[:, 0]), x)], {x: fed})
    assert fed.tobytes() == before
    assert not fed.flags.writeable
    writeable = VALUES.copy()
    lw.evaluate(lw.exp(x), {x: writeable})
    assert writeable.flags.writeable


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_result_shares_memory_with_a_feed_or_another_result(x, dtype):
    fed = VALUES.astype(dtype)
    nodes = [
        x, lw.identity(x), lw.stop_gradient(x), x[:, 0], lw.reshape(x, (2, "N")), x.T, lw.relu(x), lw.clip(x),
        lw.broadcast_to(x, (2, "N", 2)), lw.exp(x), lw.exp(x), lw.identity(lw.exp(x)), lw.exp(x).T, lw.exp(x)[:, 1:],
        lw.constant(VALUES), lw.constant([1, 2]),
    ]  # fmt: skip
    results = lw.evaluate(nodes, {x: fed}, dtype=dtype)
    for i, result in enumerate(results):
        assert result.flags.writeable
        assert not np.shares_memory(result, fed), nodes[i]
        for other in results[:i]:
            assert not np.shares_memory(result, other), nodes[i]


def test_a_scalar_is_a_scalar():
    s = lw.input("s", ())
    for value in (lw.evaluate(s, {s: 2}), lw.evaluate(s * s, {s: 2.0}), lw.evaluate(lw.constant(2.0))):
        assert isinstance(value, np.float64)
    assert isinstance(lw.evaluate(s * s, {s: 2.0}, dtype="float32"), np.float32)
    assert isinstance(lw.evaluate(s > 1.0, {s: 2.0}), np.bool_)
    assert lw.evaluate([], {}) == []


def test_what_overflows_in_float32_is_infinite():
    s = lw.input("s", ())
    assert lw.evaluate(s * 1.0, {s: 1e300}, dtype="float32") == np.inf
    assert lw.evaluate(s * -1e300, {s: 1.0}, dtype="float32") == -np.inf


def test_all_steps_are_in_the_chosen_precision():
    s = lw.input("s", ())
    third = lw.evaluate(s / 3.0 * 3.0 - s, {s: 1e8}, dtype="float32")
    step = np.float32(1e8) / np.float32(3) * np.float32(3) - np.float32(1e8)
    assert third == step
    assert lw.evaluate(lw.constant(0.1), dtype="float32") == np.float32(0.1)


def test_a_complex_step():
    s = lw.input("s", ())
    got = lw.evaluate(lw.exp(s), {s: 0.5 + 1e-30j}, dtype="complex128")
    np.testing.assert_allclose(got.imag / 1e-30, np.exp(0.5), rtol=1e-15)


@pytest.mark.parametrize("at", [-0.7, 0.7])
@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("absolute", lambda z: np.sign(z)),
        ("sign", lambda z: 0.0),
        ("softsign", lambda z: 1 / (1 + abs(z)) ** 2),
        ("relu", lambda z: float(z > 0)),
        ("hardtanh", lambda z: 1.0),
        ("silu", lambda z: (1 + np.exp(-z) * (1 + z)) / (1 + np.exp(-z)) ** 2),
    ],
)
def test_a_complex_step_of_what_complex_analysis_does_not_know(name, slope, at):
    s = lw.input("s", ())
    got = lw.evaluate(getattr(lw, name)(s), {s: at + 1e-30j}, dtype="complex128")
    np.testing.assert_allclose(got.imag / 1e-30, slope(at), rtol=1e-14, atol=0)


# Refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fed", "message"),
    [
        (np.array([["a", "b"]]), "input 'x' must hold real numbers; got dtype <U1"),
        (np.array([[None, 1.0]]), "input 'x' must hold real numbers; got dtype object"),
        (np.array([[1j, 2j]]), "got dtype complex128"),
        (np.array([["2020-01-01"] * 2], dtype="M8[D]"), "got dtype datetime64"),
        ([[1.0, 2.0], [3.0]], "rows of different lengths"),
        (np.ma.masked_array(VALUES, mask=VALUES > 5), "masked values"),
        ([[10**30, 1]], "got dtype object"),
    ],
    ids=str,
)
def test_what_is_no_number(x, fed, message):
    with pytest.raises(lw.DataError, match=message):
        lw.evaluate(x, {x: fed})


def test_fractions_are_no_row_numbers():
    rows = lw.input("rows", ("N",), "integer")
    flags = lw.input("flags", ("N",), "boolean")
    with pytest.raises(lw.DataError, match="'rows' must hold integers; got dtype float64"):
        lw.evaluate(lw.one_hot(rows, 2), {rows: [0.0, 1.0]})
    with pytest.raises(lw.DataError, match="'flags' must hold booleans; got dtype int64"):
        lw.evaluate(lw.where(flags, 1.0, 0.0), {flags: np.array([0, 1])})
    assert lw.evaluate(lw.one_hot(rows, 2), {rows: []}).shape == (0, 2)


def test_a_derivative_takes_the_feeds_of_what_was_differentiated(x):
    w, other = lw.parameter("w", (2, 1)), lw.input("other", (2,))
    cost = lw.mean(x @ w)
    feeds = {x: np.ones((3, 2)), w: np.ones((2, 1))}
    np.testing.assert_allclose(lw.evaluate(lw.gradient(cost, w), feeds), np.full((2, 1), 1.0))
    np.testing.assert_array_equal(lw.evaluate(2.0 * lw.jvp(cost, w, 1.0), feeds), 4.0)
    second = lw.hessian_vector(cost, w, np.ones((2, 1)))
    np.testing.assert_array_equal(lw.evaluate(second, feeds), np.zeros((2, 1)))
    ones = lw.gradient(lw.sum(x), x)  # its only size comes from x
    np.testing.assert_array_equal(lw.evaluate(ones, {x: np.zeros((3, 2))}), np.ones((3, 2)))
    with pytest.raises(lw.ShapeError, match=r"input 'x' must have shape \(N, 2\)"):
        lw.evaluate(ones, {x: np.zeros((3, 4))})
    with pytest.raises(lw.GraphError, match="input 'other'"):
        lw.evaluate(lw.gradient(cost, w), {**feeds, other: np.zeros(2)})
    with pytest.raises(lw.GraphError, match="computed, not fed"):
        lw.evaluate(ones, {x: np.zeros((3, 2)), x * 2.0: np.zeros((3, 2))})


def test_missing_and_unknown_feeds(x):
    y, w = lw.input("y", (2,)), lw.parameter("w", (2, 1))
    with pytest.raises(lw.GraphError, match=r"No value for input 'x' \(N, 2\), parameter 'w' \(2, 1\)\. Add"):
        lw.evaluate(x @ w, {})
    with pytest.raises(lw.GraphError, match=r"input 'y' of shape \(2,\), which the graph does not use.*x \(N, 2\)"):
        lw.evaluate(lw.exp(x), {x: VALUES, y: [1, 2]})
    with pytest.raises(lw.GraphError, match="which is computed, not fed"):
        lw.evaluate(lw.exp(x) + 1.0, {x: VALUES, lw.exp(x): VALUES})
    with pytest.raises(lw.GraphError, match=r"got the key 'x'\. Did you mean 'x'\? Use the node"):
        lw.evaluate(lw.exp(x), {"x": VALUES})
    with pytest.raises(lw.GraphError, match="What is evaluated must be a graph node; got float"):
        lw.evaluate([x, 1.0], {x: VALUES})


def test_wrong_shapes_name_the_input_and_its_axes(x):
    y = lw.input("y", ("N",))
    for fed, message in (
        (np.ones(2), r"input 'x' must have shape \(N, 2\); got \(2,\), which has 1 axes, not 2"),
        (np.ones((3, 4)), r"input 'x' must have shape \(N, 2\); got \(3, 4\)"),
    ):
        with pytest.raises(lw.ShapeError, match=message):
            lw.evaluate(x, {x: fed})
    with pytest.raises(lw.ShapeError, match=r"'y' must have shape \(N,\) with N = 3, as fed.*got \(2,\)"):
        lw.evaluate(lw.sum(x, axis=1) + y, {x: VALUES, y: [1.0, 2.0]})
    # a sample axis of 1 does not stretch: it is N as well
    with pytest.raises(lw.ShapeError, match="N = 3"):
        lw.evaluate(lw.sum(x, axis=1) + y, {x: VALUES, y: [1.0]})


@pytest.mark.parametrize("dtype", ["float16", "double double", "int64", None])
def test_an_unknown_precision(x, dtype):
    with pytest.raises(lw.UnknownName, match=r"Unknown dtype .*Known: complex128, float32, float64"):
        lw.evaluate(x, {x: VALUES}, dtype=dtype)


def test_an_unknown_engine(x):
    with pytest.raises(lw.UnknownName, match=r"Unknown engine 'nunpy'\. Did you mean 'numpy'"):
        lw.evaluate(x, {x: VALUES}, engine="nunpy")


def test_sizes_of_axes_that_nothing_carries(x):
    zero = lw.gradient(lw.sum(lw.sign(x)), x)
    with pytest.raises(lw.GraphError, match=r"size of axis 'N' is unknown.*sizes="):
        lw.evaluate(zero)
    assert lw.evaluate(zero, sizes={"N": 5}).shape == (5, 2)
    average = lw.gradient(lw.mean(lw.input("m", ("N",))), lw.input("m", ("N",)))
    np.testing.assert_array_equal(lw.evaluate(average, sizes={"N": 4}), [0.25] * 4)
    with pytest.raises(lw.ShapeError, match="N = 2"):
        lw.evaluate(x, {x: VALUES}, sizes={"N": 2})


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_one_graph_for_every_number_of_samples(x, n):
    w = lw.parameter("w", (2, 3))
    cost = lw.sum(lw.square(lw.tanh(x @ w)))
    values, weights = np.linspace(-1, 1, 2 * n).reshape(n, 2), np.linspace(-1, 1, 6).reshape(2, 3)
    got = lw.evaluate(lw.gradient(cost, w), {x: values, w: weights})
    a = np.tanh(values @ weights)
    np.testing.assert_allclose(got, values.T @ (2 * a * (1 - a * a)), rtol=1e-13, atol=1e-15)
