"""What is fed is checked at the door: each message says what was expected, what came and what to do."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

import layerwise as lw

X = np.arange(12.0).reshape(4, 3) / 10
NET = lw.Network([3, 5, 2], hidden="tanh")
CLASSES = lw.Network([3, 5, 2], hidden="tanh", output="softmax")
LABELS = np.array([0, 1, 1, 0])
Y = np.ones((4, 2))


def by_gradient(net, X, Y, weights=None, params=None):
    return net.cost_and_gradients(net.initialise(0) if params is None else params, X, Y, weights)


def by_training(net, X, Y, weights=None, params=None):
    return lw.train(net, X, Y, sample_weight=weights, params=params, epochs=1)


either = pytest.mark.parametrize("call", [by_gradient, by_training])


@either
@pytest.mark.parametrize(
    ("wrong", "shape", "hint"),
    [
        (np.ones((4, 2)), r"\(4, 2\)", ""),
        (np.ones((3, 4)), r"\(3, 4\)", "It looks transposed: samples are rows."),
        (np.ones(3), r"\(3,\)", r"For one sample pass X\[None, :\]."),
        (np.ones(7), r"\(7,\)", ""),
        (np.ones((4, 1, 3)), r"\(4, 1, 3\)", r"Flatten each sample: X.reshape\(len\(X\), -1\)."),
        (3.0, r"\(\)", ""),
        ([], r"\(0,\)", ""),
        (np.ones((4, 0)), r"\(4, 0\)", ""),
    ],
)
def test_shapes_of_inputs(call, wrong, shape, hint):
    with pytest.raises(lw.ShapeError, match=rf"X must have shape \(N, 3\), one sample a row; got {shape}\..*{hint}"):
        call(NET, wrong, Y)


@either
def test_a_vector_for_one_input(call):
    with pytest.raises(lw.ShapeError, match=r"got \(4,\)\. Pass X\[:, None\]\."):
        call(lw.Network([1, 2]), np.ones(4), Y)


@either
@pytest.mark.parametrize(
    ("net", "wrong", "message"),
    [
        (NET, np.ones((3, 2)), r"one row for each of the 4 rows of X; got 3 rows, shape \(3, 2\)"),
        (NET, np.ones(5), r"one row for each of the 4 rows of X; got 5 rows, shape \(5,\)"),
        (NET, 1.0, r"got no rows, shape \(\)"),
        (NET, np.ones((2, 4)), r"got 2 rows, shape \(2, 4\)"),
        (NET, np.ones(4), r"Y must have shape \(N, 2\) with N = 4; got \(4,\)"),
        (NET, np.ones((4, 3)), r"Y must have shape \(N, 2\) with N = 4; got \(4, 3\)"),
        (NET, np.ones((4, 2, 1)), r"got \(4, 2, 1\)"),
        (CLASSES, np.ones((4, 3)), r"Y must have shape \(N, 2\) or \(N,\) labels with N = 4; got \(4, 3\)"),
        (CLASSES, LABELS[:, None], r"or \(N,\) labels with N = 4; got \(4, 1\)"),
        (CLASSES, LABELS[:3], r"got 3 rows, shape \(3,\)"),
    ],
)
def test_shapes_of_targets(call, net, wrong, message):
    with pytest.raises(lw.ShapeError, match=message):
        call(net, X, wrong)


@either
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.longdouble, ">f8"])
def test_values_that_are_not_finite(call, value, dtype):
    bad = X.astype(dtype)
    bad[2, 1] = bad[3, 0] = value
    with pytest.raises(lw.DataError, match=r"X has 2 NaN or infinite values; the first is .* at row 2, column 1"):
        call(NET, bad, Y)
    bad = Y.astype(dtype)
    bad[3, 1] = value
    with pytest.raises(lw.DataError, match=r"Y has 1 NaN or infinite values; the first is .* at row 3, column 1"):
        call(NET, X, bad)
    with pytest.raises(lw.DataError, match=r"Y has 1 NaN or infinite values; the first is .* at row 3\."):
        call(CLASSES, X, np.array([0, 1, 1, value], dtype))


@either
def test_both_infinities_together(call):
    # Their sum is NaN, of which NumPy would warn.
    bad = X.copy()
    bad[1] = [np.inf, -np.inf, np.inf]
    with pytest.raises(lw.DataError, match=r"X has 3 NaN or infinite values; the first is inf at row 1, column 0"):
        call(NET, bad, Y)


@either
def test_large_values_whose_sum_is_not_finite_are_finite(call):
    far = np.where(np.arange(12).reshape(4, 3) % 2, 1.7e308, -1.7e308)
    call(lw.Network([3, 2], output="tanh"), far, Y)
    call(lw.Network([3, 2], output="tanh"), np.abs(far), Y)


@either
@pytest.mark.parametrize("name", ["X", "Y"])
@pytest.mark.parametrize(
    ("value", "dtype", "precision"),
    [(-1e39, np.float64, "float32"), (np.longdouble("1e400"), np.longdouble, "float64")],
)
def test_values_beyond_the_precision_of_the_computation(call, name, value, dtype, precision):
    if dtype is np.longdouble and np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long double is double here")
    params = NET.initialise(0, precision)
    data = {"X": X.astype(dtype), "Y": Y.astype(dtype)}
    data[name][3, 1] = value
    with pytest.raises(
        lw.DataError, match=f"{name} has 1 values too large for {precision}; .* at row 3, column 1. Scale"
    ):
        call(NET, **data, params=params)


@either
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3], r"Labels in Y must be 0 .. 1 for 2 outputs; got 2 at row 2 \(2 rows in all\)"),
        ([0, -1, 1, 0], r"got -1 at row 1 \(1 rows in all\)"),
        (np.array([0, 1, 2**64 - 1, 0], np.uint64), "got 18446744073709551615 at row 2"),
        ([0, 1, 0.5, 0], r"Labels in Y must be whole numbers; got 0.5 at row 2"),
        ([0, 1e300, 0, 0], r"Labels in Y must be 0 .. 1 for 2 outputs; got 1e\+300 at row 1"),
    ],
)
def test_labels(call, labels, message):
    with pytest.raises(lw.DataError, match=message):
        call(CLASSES, X, labels)


@either
@pytest.mark.parametrize(
    ("output", "loss", "row", "message"),
    [
        ("softmax", "cross_entropy", [0.5, 0.4], "each row of Y must be a distribution: values >= 0 that sum to 1"),
        ("softmax", "cross_entropy", [1.5, -0.5], "each row of Y must be a distribution"),
        ("softmax", "cross_entropy", [1, 1], "each row of Y must be a distribution"),
        ("sigmoid", "binary_cross_entropy", [0.5, 1.1], "Y must lie between 0 and 1"),
        ("sigmoid", "binary_cross_entropy", [-1, 1], "Y must lie between 0 and 1"),
        ("exp", "poisson", [3, -1], "Y must be >= 0"),
        ("identity", "hinge", [1, 0], "Y must be -1 or 1"),
        ("identity", "hinge", [1, 2], "Y must be -1 or 1"),
    ],
)
def test_values_that_a_loss_does_not_allow(call, output, loss, row, message):
    targets = [[1, 0], [1, 0], row, row] if loss != "hinge" else [[1, -1], [1, 1], row, row]
    with pytest.raises(lw.DataError, match=rf"For loss '{loss}' {message}.*; row 2 is .* \(2 rows in all\)"):
        call(lw.Network([3, 2], output=output, loss=loss), X, targets)


@either
def test_one_hot_rows_in_single_precision_sum_to_one_up_to_rounding(call):
    third = np.full((4, 3), 1 / 3, np.float32)
    call(lw.Network([3, 3], output="softmax"), X, third)
    call(lw.Network([3, 3], output="softmax"), X, np.eye(3, dtype=bool)[[0, 1, 2, 0]])


@either
@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 1, -0.5, 1], lw.DataError, "sample_weight must be >= 0; got -0.5 at row 2"),
        ([1, np.nan, 1, 1], lw.DataError, "sample_weight has 1 NaN or infinite values; the first is nan at row 1"),
        ([1, np.inf, 1, 1], lw.DataError, "sample_weight has 1 NaN or infinite values"),
        ([0, 0, 0, 0], lw.DataError, "sample_weight is 0 for every row"),
        ([1, 1, 1], lw.ShapeError, r"sample_weight must have shape \(4,\); got \(3,\)"),
        ([[1], [1], [1], [1]], lw.ShapeError, r"sample_weight must have shape \(4,\); got \(4, 1\)"),
        (2.0, lw.ShapeError, r"sample_weight must have shape \(4,\); got \(\)"),
        (["1", "1", "1", "1"], lw.DataError, "sample_weight must hold real numbers"),
        ("balanced", lw.DataError, "sample_weight must be an array of numbers; got str"),
    ],
)
def test_weights(call, weights, error, message):
    with pytest.raises(error, match=message):
        call(NET, X, Y, weights)


NOT_NUMBERS = [
    (None, "must be an array of numbers; got NoneType"),
    ("0.5", "must be an array of numbers; got str"),
    (b"0.5", "must be an array of numbers; got bytes"),
    ({"a": [1, 2]}, "must be an array of numbers; got dict"),
    ([[1, 2, 3], [4, 5]], "must be rectangular; got rows of different lengths"),
    ([["1", "2", "3"]] * 4, "must hold real numbers; got dtype <U1. Encode text and dates first."),
    (np.full((4, 3), "a", object), "must hold real numbers; got dtype object"),
    ([[1, 2, None]] * 4, "must hold real numbers; got dtype object"),
    (X + 0j, "must hold real numbers; got dtype complex128"),
    (np.full((4, 3), "2020-01-01", "datetime64[D]"), "must hold real numbers; got dtype datetime64"),
    (np.full((4, 3), 1, "timedelta64[s]"), "must hold real numbers; got dtype timedelta64"),
    ([[datetime.date(2020, 1, 1)] * 3] * 4, "must hold real numbers; got dtype object"),
    (np.zeros(4, [("a", float), ("b", int)]), "must hold real numbers; got dtype"),
    ([[10**400, 1, 1]] * 4, "must hold real numbers; got dtype object"),
    (np.ma.masked_greater(X, 0.9), "is a masked array with 2 masked values. Fill or drop them first."),
    ({1, 2, 3}, "must hold real numbers; got dtype object"),
    (iter([1, 2]), "must hold real numbers; got dtype object"),
]


@either
@pytest.mark.parametrize(("value", "message"), NOT_NUMBERS, ids=[type(v).__name__ for v, _ in NOT_NUMBERS])
def test_what_is_not_numbers(call, value, message):
    with pytest.raises(lw.DataError, match=rf"^X {message}"):
        call(NET, value, Y)
    with pytest.raises(lw.DataError, match=rf"^Y {message}"):
        call(lw.Network([3, 3]), X, value)


@either
def test_a_masked_array_without_masked_values_is_an_array(call):
    call(NET, np.ma.masked_array(X), Y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.pop("b2"), lw.DataError, "exactly the keys W1, b1, W2, b2; missing: b2, unknown: none"),
        (lambda p: p.update(w1=p.pop("W1")), lw.DataError, r"missing: W1, unknown: w1\."),
        (lambda p: p.update({3: 1}), lw.DataError, "missing: none, unknown: 3"),
        (lambda p: p.update(W1=p["W1"].T), lw.ShapeError, r"params\['W1'\] must have shape \(3, 5\); got \(5, 3\)"),
        (
            lambda p: p.update(b1=np.zeros((1, 5))),
            lw.ShapeError,
            r"params\['b1'\] must have shape \(5,\); got \(1, 5\)",
        ),
        (lambda p: p.update(W1="W1"), lw.DataError, r"params\['W1'\] must be an array of numbers; got str"),
        (lambda p: p.update(W1=p["W1"] + 0j), lw.DataError, r"params\['W1'\] must hold real numbers"),
    ],
)
@either
def test_parameters(call, change, error, message):
    params = NET.initialise(0)
    change(params)
    with pytest.raises(error, match=message):
        call(NET, X, Y, params=params)
    with pytest.raises(error, match=message):
        NET.forward(params, X)


@either
def test_parameters_are_a_dict(call):
    with pytest.raises(lw.DataError, match="params must be a dict with the keys W1, b1, W2, b2; got list"):
        call(NET, X, Y, params=list(NET.initialise(0).values()))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [(np.nan, None, "NaN or infinite"), (np.inf, None, "NaN or infinite"), (1e39, "float32", "too large for float32")],
)
def test_training_does_not_start_from_what_is_not_finite(value, dtype, message):
    params = NET.initialise(0)
    params["b2"][1] = value
    with pytest.raises(lw.DataError, match=rf"params\['b2'\] has 1 .*{message}.* at row 1"):
        lw.train(NET, X, Y, params=params, dtype=dtype)


LAYOUTS = {
    "rows": lambda a: a,
    "columns": np.asfortranarray,
    "gaps": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_the_first_infinite_number_is_found_in_any_layout(layout, dtype):
    wide = np.ones((70, 3), dtype)
    lw.train(lw.Network([3, 2]), layout(wide), np.ones((70, 2)), epochs=1)
    wide[41, 2] = np.inf
    wide[43, 1] = np.nan
    with pytest.raises(lw.DataError, match="X has 2 NaN or infinite values; the first is inf at row 41, column 2"):
        lw.train(lw.Network([3, 2]), layout(wide), np.ones((70, 2)), epochs=1)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_numbers_too_large_for_the_precision_are_found_in_any_layout(layout):
    wide = np.ones((70, 3))
    wide[5, 1] = -1e39
    with pytest.raises(lw.DataError, match=r"X has 1 values too large for float32; the first is -1e\+39 at row 5"):
        lw.train(lw.Network([3, 2]), layout(wide), np.ones((70, 2)), epochs=1, dtype="float32")
    lw.train(lw.Network([3, 2]), layout(wide), np.ones((70, 2)), epochs=1, optimizer=lw.SGD(1e-100))
