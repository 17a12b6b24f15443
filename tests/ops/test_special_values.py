"""Values and slopes written by hand: zeros, infinities, NaN, subnormals, ±1000, kinks, and tiny losses."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import layerwise as lw
from layerwise.graph.node import OPS
from layerwise.ops.activations import ACTIVATIONS
from layerwise.ops.losses import (
    exp_poisson,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
)

INF, NAN = math.inf, math.nan
TINY = 5e-324  # the smallest subnormal
AT = (0.0, -0.0, INF, -INF, NAN, 1000.0, -1000.0, TINY, -TINY)
LAMBDA, LAMBDA_ALPHA = 1.0507009873554805, 1.7580993408473766  # of SELU
HALF, LOG2 = 0.5, 0.6931471805599453
SIN, COS = 0.8268795405320025, 0.5623790762907029  # of 1000

# The value at each of AT; a sign of zero counts.
UNARY = {
    #                 0     -0      inf    -inf    nan  1000     -1000     tiny   -tiny
    "negative": (-0.0, 0.0, -INF, INF, NAN, -1000.0, 1000.0, -TINY, TINY),
    "square": (0.0, 0.0, INF, INF, NAN, 1e6, 1e6, 0.0, 0.0),
    "sqrt": (0.0, -0.0, INF, NAN, NAN, 31.622776601683793, NAN, 2.2227587494850775e-162, NAN),
    "exp": (1.0, 1.0, INF, 0.0, NAN, INF, 0.0, 1.0, 1.0),
    "expm1": (0.0, -0.0, INF, -1.0, NAN, INF, -1.0, TINY, -TINY),
    "log": (-INF, -INF, INF, NAN, NAN, 6.907755278982137, NAN, -744.4400719213812, NAN),
    "log1p": (0.0, -0.0, INF, NAN, NAN, 6.90875477931522, NAN, TINY, -TINY),
    "sin": (0.0, -0.0, NAN, NAN, NAN, SIN, -SIN, TINY, -TINY),
    "cos": (1.0, 1.0, NAN, NAN, NAN, COS, COS, 1.0, 1.0),
    "erf": (0.0, -0.0, 1.0, -1.0, NAN, 1.0, -1.0, TINY, -TINY),
    "normal_cdf": (HALF, HALF, 1.0, 0.0, NAN, 1.0, 0.0, HALF, HALF),
    "absolute": (0.0, 0.0, INF, INF, NAN, 1000.0, 1000.0, TINY, TINY),
    "sign": (0.0, 0.0, 1.0, -1.0, NAN, 1.0, -1.0, 1.0, -1.0),
    "stop_gradient": AT,
    "clip": AT,
    "identity": AT,
    "sigmoid": (HALF, HALF, 1.0, 0.0, NAN, 1.0, 0.0, HALF, HALF),
    "log_sigmoid": (-LOG2, -LOG2, -0.0, -INF, NAN, -0.0, -1000.0, -LOG2, -LOG2),
    "log_of_cosh": (0.0, 0.0, INF, INF, NAN, 1000.0 - LOG2, 1000.0 - LOG2, 0.0, 0.0),
    "tanh": (0.0, -0.0, 1.0, -1.0, NAN, 1.0, -1.0, TINY, -TINY),
    "relu": (0.0, 0.0, INF, 0.0, NAN, 1000.0, 0.0, TINY, 0.0),
    "leaky_relu": (0.0, -0.0, INF, -INF, NAN, 1000.0, -10.0, TINY, -0.0),
    "elu": (0.0, -0.0, INF, -1.0, NAN, 1000.0, -1.0, TINY, -TINY),
    "selu": (0.0, -0.0, INF, -LAMBDA_ALPHA, NAN, 1000.0 * LAMBDA, -LAMBDA_ALPHA, TINY, -2 * TINY),
    "gelu": (0.0, -0.0, INF, -0.0, NAN, 1000.0, -0.0, 0.0, -0.0),
    "gelu_tanh": (0.0, -0.0, INF, -0.0, NAN, 1000.0, -0.0, 0.0, -0.0),
    "silu": (0.0, -0.0, INF, -0.0, NAN, 1000.0, -0.0, 0.0, -0.0),
    "mish": (0.0, -0.0, INF, -0.0, NAN, 1000.0, -0.0, TINY, -TINY),
    "softplus": (LOG2, LOG2, INF, 0.0, NAN, 1000.0, 0.0, LOG2, LOG2),
    "softsign": (0.0, -0.0, 1.0, -1.0, NAN, 1000 / 1001, -1000 / 1001, TINY, -TINY),
    "hardtanh": (0.0, -0.0, 1.0, -1.0, NAN, 1.0, -1.0, TINY, -TINY),
}
# NumPy says which zero comes out of maximum(0, -0.0) only on some machines, so there the sign does not count.
ZERO_WITHOUT_SIGN = {"relu", "sign", "absolute", "leaky_relu", "elu", "selu"}


def value_of(name: str, *inputs: float, dtype: str = "float64") -> np.ndarray:
    nodes = [lw.input(f"x{i}", np.shape(x)) for i, x in enumerate(inputs)]
    return lw.evaluate(OPS[name](*nodes), dict(zip(nodes, inputs, strict=True)), dtype=dtype)


def slope_of(name: str, x: list[float], **attributes: float) -> np.ndarray:
    node = lw.input("x", (len(x),))
    slope = lw.gradient(lw.sum(OPS[name](node, **attributes)), node)
    return lw.evaluate(slope, {node: x})


def test_every_unary_elementwise_op_is_in_the_table():
    unary = {n for n, op in OPS.items() if op.slopes is not None and len(op.slopes) == 1}
    assert unary == set(UNARY)
    assert set(ACTIVATIONS) <= unary | {"softmax", "log_softmax"}


@pytest.mark.parametrize("name", sorted(UNARY))
def test_special_values(name):
    got = value_of(name, np.array(AT))
    expected = np.array(UNARY[name])
    for at, g, e in zip(AT, got, expected, strict=True):
        near = g == e or (math.isfinite(e) and abs(g - e) <= 4e-16 * abs(e))
        assert near or (math.isnan(g) and math.isnan(e)), f"{name}({at}) is {g}, not {e}"
        if e == 0 and name not in ZERO_WITHOUT_SIGN:
            assert math.copysign(1, g) == math.copysign(1, e), f"{name}({at}) is {g}, not {e}"


@pytest.mark.parametrize("name", sorted(UNARY))
def test_special_values_in_float32(name):
    at = np.array([0.0, INF, -INF, NAN, 1000.0, -1000.0])
    expected = np.array([UNARY[name][AT.index(x)] if x == x else UNARY[name][4] for x in at])
    np.testing.assert_allclose(value_of(name, at, dtype="float32"), expected, rtol=3e-7, atol=3e-7, err_msg=name)


@pytest.mark.parametrize(
    ("name", "x", "y", "expected"),
    [
        ("add", INF, -INF, NAN),
        ("add", INF, 1.0, INF),
        ("add", TINY, -TINY, 0.0),
        ("subtract", INF, INF, NAN),
        ("subtract", -INF, 1.0, -INF),
        ("multiply", 0.0, INF, NAN),
        ("multiply", -2.0, INF, -INF),
        ("multiply", TINY, 0.5, 0.0),
        ("divide", 1.0, 0.0, INF),
        ("divide", 1.0, -0.0, -INF),
        ("divide", 0.0, 0.0, NAN),
        ("divide", 1.0, INF, 0.0),
        ("divide", INF, INF, NAN),
        ("power", 0.0, 0.0, 1.0),
        ("power", NAN, 0.0, 1.0),
        ("power", 1.0, NAN, 1.0),
        ("power", 0.0, -1.0, INF),
        ("power", -2.0, 3.0, -8.0),
        ("power", -2.0, 0.5, NAN),
        ("power", INF, -1.0, 0.0),
        ("power", 0.5, INF, 0.0),
        ("maximum", -INF, 1.0, 1.0),
        ("maximum", INF, 1.0, INF),
        ("maximum", NAN, 1.0, NAN),
        ("maximum", 1.0, NAN, NAN),
        ("minimum", -INF, 1.0, -INF),
        ("minimum", NAN, 1.0, NAN),
        ("minimum", 1.0, NAN, NAN),
        ("equal", NAN, NAN, False),
        ("equal", 0.0, -0.0, True),
        ("equal", INF, INF, True),
        ("not_equal", NAN, NAN, True),
        ("less", -INF, INF, True),
        ("less", NAN, 1.0, False),
        ("less", 0.0, TINY, True),
        ("less_equal", NAN, NAN, False),
        ("less_equal", INF, INF, True),
        ("greater", TINY, 0.0, True),
        ("greater", 1.0, NAN, False),
        ("greater_equal", -0.0, 0.0, True),
        ("greater_equal", NAN, NAN, False),
    ],
)
def test_special_values_of_two(name, x, y, expected):
    np.testing.assert_equal(value_of(name, x, y), expected, err_msg=f"{name}({x}, {y})")


def test_where_takes_nothing_from_the_other_branch():
    c, x, y = lw.input("c", (2,), "boolean"), lw.input("x", (2,)), lw.input("y", (2,))
    feeds = {c: [True, False], x: [1.0, NAN], y: [INF, 2.0]}
    np.testing.assert_array_equal(lw.evaluate(lw.where(c, x, y), feeds), [1.0, 2.0])


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("softmax", [0.0, 0.0], [0.5, 0.5]),
        ("softmax", [1000.0, 0.0, -1000.0], [1.0, 0.0, 0.0]),
        ("softmax", [1e308, -1e308], [1.0, 0.0]),
        ("softmax", [0.0, -INF], [1.0, 0.0]),
        ("softmax", [NAN, 0.0], [NAN, NAN]),
        ("softmax", [7.0], [1.0]),
        ("log_softmax", [1000.0, 0.0, -1000.0], [0.0, -1000.0, -2000.0]),
        ("log_softmax", [0.0, -INF], [0.0, -INF]),
        ("log_softmax", [0.0, NAN], [NAN, NAN]),
        ("log_softmax", [0.0, 0.0], [-LOG2, -LOG2]),
    ],
)
def test_special_values_over_classes(name, x, expected):
    np.testing.assert_allclose(value_of(name, np.array(x)), expected, rtol=3e-16, atol=0)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([1000.0, 1000.0], 1000.0 + LOG2),
        ([-1000.0, -1000.0], -1000.0 + LOG2),
        ([INF, 1.0], INF),
        ([INF, INF], INF),
        ([-INF, 1.0], 1.0),
        ([-INF, -INF], -INF),
        ([NAN, 1.0], NAN),
        ([NAN, INF], NAN),
        ([-1e308, 1e308], 1e308),
        ([0.0, -40.0], 4.248354255291589e-18),  # e^-40: 1 + e^-40 is 1 in float64
    ],
)
def test_special_values_of_logsumexp(x, expected):
    np.testing.assert_allclose(lw.logsumexp(np.array(x)), expected, rtol=3e-16, atol=0)


def test_nan_and_infinities_in_reductions():
    assert math.isnan(lw.sum(np.array([INF, -INF])))
    assert lw.sum(np.array([INF, 1.0])) == INF
    assert math.isnan(lw.max(np.array([1.0, NAN, 2.0])))
    assert lw.max(np.array([-INF, -INF])) == -INF
    x = lw.input("x", ("N",))
    assert math.isnan(lw.evaluate(lw.mean(x), {x: []}))  # and no warning
    assert lw.evaluate(lw.sum(x), {x: []}) == 0.0


# Kinks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("relu", [-2.0, -0.0, 0.0, TINY, 2.0], [0.0, 0.0, 0.0, 1.0, 1.0]),  # not sign(z), which is -1 at -2
        ("absolute", [-2.0, -0.0, 0.0, 2.0], [-1.0, 0.0, 0.0, 1.0]),
        ("sign", [-2.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
        ("hardtanh", [-1.5, -1.0, 0.0, 1.0, 1.5], [0.0, 1.0, 1.0, 1.0, 0.0]),
        ("leaky_relu", [-1.0, 0.0, 1.0], [0.01, 0.01, 1.0]),
        ("elu", [0.0, 1.0, -1000.0], [1.0, 1.0, 0.0]),
        ("selu", [0.0, 1.0], [LAMBDA_ALPHA, LAMBDA]),
        ("softsign", [0.0], [1.0]),
        ("sigmoid", [0.0, 1000.0, -1000.0], [0.25, 0.0, 0.0]),
        ("tanh", [0.0, 1000.0, -1000.0], [1.0, 0.0, 0.0]),
        ("softplus", [0.0, 1000.0, -1000.0], [0.5, 1.0, 0.0]),
        ("log_sigmoid", [0.0, 1000.0, -1000.0], [0.5, 0.0, 1.0]),
        ("silu", [0.0, 1000.0, -1000.0], [0.5, 1.0, 0.0]),
        ("gelu", [0.0, 1000.0, -1000.0], [0.5, 1.0, 0.0]),
        ("gelu_tanh", [0.0, 1000.0, -1000.0], [0.5, 1.0, 0.0]),
        ("mish", [0.0, 1000.0, -1000.0], [0.6, 1.0, 0.0]),  # tanh(log 2) = 3/5
        ("square", [0.0, -3.0], [0.0, -6.0]),
    ],
)
def test_slopes_at_kinks_and_far_out(name, x, expected):
    np.testing.assert_allclose(slope_of(name, x), expected, rtol=4e-16, atol=0, err_msg=name)


def test_slope_of_clip_is_one_at_the_limits():
    x = [-2.0, -1.0, 0.0, 0.5, 0.6]
    np.testing.assert_array_equal(slope_of("clip", x, low=-1.0, high=0.5), [0.0, 1.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (NAN, 1.0), (0.0, NAN)])
def test_clip_limits_in_the_wrong_order(low, high):
    with pytest.raises(lw.GraphError, match="clip needs low <= high"):
        lw.clip(lw.input("x", ()), low, high)


def test_equal_values_share_the_gradient():
    x, y = lw.input("x", (3,)), lw.input("y", (3,))
    feeds = {x: [1.0, 2.0, 3.0], y: [1.0, 3.0, 2.0]}
    for op, by_x, by_y in ((lw.maximum, [0.5, 0, 1], [0.5, 1, 0]), (lw.minimum, [0.5, 1, 0], [0.5, 0, 1])):
        got = lw.evaluate(lw.gradient(lw.sum(op(x, y)), [x, y]), feeds)
        np.testing.assert_array_equal(got, [by_x, by_y])
    np.testing.assert_array_equal(
        lw.evaluate(lw.gradient(lw.max(x), x), {x: [2.0, 2.0, 1.0]}),
        [0.5, 0.5, 0.0],
    )
    m = lw.input("m", (2, 3))
    np.testing.assert_allclose(
        lw.evaluate(lw.gradient(lw.sum(lw.max(m, axis=1)), m), {m: [[1.0, 1.0, 1.0], [0.0, 5.0, 5.0]]}),
        [[1 / 3, 1 / 3, 1 / 3], [0, 0.5, 0.5]],
    )


def test_powers_at_zero():
    x, y = lw.input("x", (4,)), lw.input("y", (4,))
    feeds = {x: [0.0, 0.0, 0.0, -2.0], y: [0.0, 1.0, 2.0, 3.0]}
    by_x = lw.evaluate(lw.gradient(lw.sum(x**y), x), feeds)
    np.testing.assert_array_equal(by_x, [0.0, 1.0, 0.0, 12.0])
    by_y = lw.evaluate(lw.gradient(lw.sum(x**y), y), feeds)
    np.testing.assert_array_equal(by_y[1:3], [0.0, 0.0])  # x^y log x → 0 for y > 0
    z = lw.input("z", ())
    second = lw.gradient(lw.gradient(z**2, z), z)
    assert lw.evaluate(second, {z: 0.0}) == 2.0
    for _ in range(2):
        second = lw.gradient(second, z)
    assert lw.evaluate(second, {z: 0.0}) == 0.0


# Losses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("z", [25.0, 30.0, 36.7, 60.0, 300.0, 700.0])
def test_tiny_losses_are_accurate(z):
    with mpmath.workprec(200):
        two, three = (float(mpmath.log1p(n * mpmath.exp(-mpmath.mpf(z)))) for n in (1, 2))
    softmax = value_of("softmax_cross_entropy", np.array([[z, 0.0]]), np.array([[1.0, 0.0]]))
    wide = value_of("softmax_cross_entropy", np.array([[0.0, z, 0.0]]), np.array([[0.0, 1.0, 0.0]]))
    right = value_of("sigmoid_binary_cross_entropy", np.array([[z]]), np.array([[1.0]]))
    left = value_of("sigmoid_binary_cross_entropy", np.array([[-z]]), np.array([[0.0]]))
    for got, exact in ((softmax, two), (wide, three), (right, two), (left, two)):
        np.testing.assert_allclose(got, exact, rtol=1e-14, atol=0)  # a loss of 1.4e-11 at z = 25


def test_huge_scores_give_the_loss_itself():
    Z, T = np.array([[1000.0, 0.0], [0.0, 1e6], [1000.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(value_of("softmax_cross_entropy", Z, T), [1000.0, 0.0, 0.0])
    np.testing.assert_array_equal(
        value_of(
            "sigmoid_binary_cross_entropy", np.array([[1000.0], [-1000.0], [1000.0]]), np.array([[0.0], [1], [1]])
        ),
        [1000.0, 1000.0, 0.0],
    )
    # a score of -∞ for a class that is not the target costs nothing; for the target, everything
    np.testing.assert_array_equal(value_of("softmax_cross_entropy", np.array([[0.0, -INF]] * 2), np.eye(2)), [0.0, INF])
    np.testing.assert_array_equal(
        value_of("sigmoid_binary_cross_entropy", np.array([[INF], [-INF], [INF]]), np.array([[1.0], [0.0], [0.0]])),
        [0.0, 0.0, INF],
    )


@pytest.mark.parametrize("op", [softmax_cross_entropy, sigmoid_binary_cross_entropy, exp_poisson])
def test_nan_reaches_the_loss(op):
    T = np.array([[0.0, 1.0]])
    assert np.isnan(op(np.array([[NAN, 0.0]]), T)).all()
    assert np.isnan(op(np.array([[0.0, NAN]]), T)).all()


@pytest.mark.parametrize("scale", [1e3, 1e6])
@pytest.mark.parametrize("op", [softmax_cross_entropy, sigmoid_binary_cross_entropy])
def test_gradients_stay_finite_for_huge_scores(op, scale):
    Z, T = lw.input("Z", ("N", 3)), lw.input("T", ("N", 3))
    z, t = scale * np.array([[1.0, -1.0, 0.0], [-2.0, 0.5, 1.0]]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    by_Z, by_T = lw.evaluate(lw.gradient(lw.mean(op(Z, T)), [Z, T]), {Z: z, T: t})
    assert np.isfinite(by_T).all()
    if op is softmax_cross_entropy:
        a = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        # what -log softmax adds to the distance from the maximum is log1p(e^-500) at most
        np.testing.assert_allclose(by_T, (z.max(axis=1, keepdims=True) - z) / 2, rtol=0, atol=1e-200)
    else:
        a = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]])
        np.testing.assert_allclose(by_T, -z / 2, rtol=1e-15)
    np.testing.assert_allclose(by_Z, (a - t) / 2, rtol=0, atol=1e-200)


@pytest.mark.parametrize(
    ("name", "y", "t", "loss", "by_y"),
    [
        ("cross_entropy", [0.0, 1.0], [0.0, 1.0], 0.0, [0.0, -1.0]),
        ("cross_entropy", [0.0, 1.0], [1.0, 0.0], INF, [-INF, 0.0]),
        ("binary_cross_entropy", [0.0, 1.0], [0.0, 1.0], 0.0, [1.0, -1.0]),
        ("binary_cross_entropy", [0.0, 0.5], [1.0, 0.5], INF, [-INF, 0.0]),
        ("poisson", [0.0, 2.0], [0.0, 0.0], 2.0, [1.0, 1.0]),
        ("poisson", [0.0, 2.0], [1.0, 2.0], INF, [-INF, 0.0]),
    ],
)
def test_zero_probabilities(name, y, t, loss, by_y):
    Y, T = lw.input("Y", (2,)), lw.input("T", (2,))
    value, grad = lw.evaluate([OPS[name](Y, T), lw.gradient(OPS[name](Y, T), Y)], {Y: y, T: t})
    assert value == loss
    np.testing.assert_array_equal(grad, by_y)


def test_gradient_of_the_squared_difference():
    Y, T = lw.input("Y", (3,)), lw.input("T", (3,))
    feeds = {Y: [1.0, 2.0, -3.0], T: [0.5, 2.0, 1.0]}
    got = lw.evaluate(lw.gradient(lw.squared_error(Y, T), Y), feeds)
    np.testing.assert_array_equal(got, [1.0, 0.0, -8.0])  # 2(ŷ - y); 2(ŷ - y)² would be 0.5, 0, 32
    got = lw.evaluate(lw.gradient(lw.half_squared_error(Y, T), Y), feeds)
    np.testing.assert_array_equal(got, [0.5, 0.0, -4.0])


@pytest.mark.parametrize(
    ("name", "expected"), [("huber", 1.0), ("log_cosh", 1.0), ("squared_error", 2.0), ("half_squared_error", 1.0)]
)
def test_second_derivative_of_a_smooth_loss_at_its_minimum(name, expected):
    Y = lw.input("Y", (2,))
    (got,) = lw.hessian_vector(OPS[name](Y, np.zeros(2)), [Y], [np.ones(2)])
    # the second derivative of a square is a constant
    np.testing.assert_allclose(lw.evaluate(got, {Y: np.zeros(2)}), [expected] * 2, rtol=1e-15)


def test_log_cosh_near_zero_keeps_its_digits():
    r = np.array([[1e-8], [-1e-3], [0.5]])
    # r²/2 - r⁴/12 + r⁶/45 - 17 r⁸/2520 + 31 r¹⁰/14175 - …, from the series of tanh; the last from mpmath
    expected = [5e-17, 4.999999166666889e-07, 0.12011450695827753]
    np.testing.assert_allclose(lw.log_cosh(r, np.zeros((3, 1))), expected, rtol=1e-15)
    Y = lw.input("Y", (1, 1))
    slope = lw.gradient(lw.sum(lw.log_cosh(Y, np.zeros((1, 1)))), Y)
    assert lw.evaluate(slope, {Y: [[1e-8]]}) == pytest.approx(1e-8, rel=1e-15)


def test_log_cosh_far_out():
    y = np.array([[1e3], [-1e3], [1e300]])
    np.testing.assert_allclose(lw.log_cosh(y, np.zeros((3, 1))), [1000 - LOG2, 1000 - LOG2, 1e300], rtol=1e-15)


def test_softmax_is_normalised_by_the_exponentials():
    z = np.array([1.0, 2.0, 4.0])
    a = lw.softmax(z)
    np.testing.assert_allclose(a, np.array([math.exp(v) for v in z]) / math.fsum(map(math.exp, z)), rtol=1e-15)
    assert not np.allclose(a, np.exp(z) / np.sum(z))
    x = lw.input("z", (3,))
    J = lw.evaluate(lw.jacobian(lw.softmax(x), x), {x: z})
    expected = [[a[k] * ((k == j) - a[j]) for j in range(3)] for k in range(3)]
    np.testing.assert_allclose(J, expected, rtol=1e-14, atol=1e-17)
