"""The error function and its complement in NumPy, for the Gaussian activation and its slope.

Floor 2; imports NumPy alone. Coefficients and ranges are those of fdlibm's s_erf.c:

    Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
    Developed at SunPro, a Sun Microsystems, Inc. business.
    Permission to use, copy, modify, and distribute this software is freely granted,
    provided that this notice is preserved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_F64: TypeAlias = npt.NDArray[np.float64]

# |z| < 0.84375: erf(z) = z + z P(z²)/Q(z²)
_SMALL_P = (
    1.28379167095512558561e-01,
    -3.25042107247001499370e-01,
    -2.84817495755985104766e-02,
    -5.77027029648944159157e-03,
    -2.37630166566501626084e-05,
)
_SMALL_Q = (
    1.0,
    3.97917223959155352819e-01,
    6.50222499887672944485e-02,
    5.08130628187576562776e-03,
    1.32494738004321644526e-04,
    -3.96022827877536812320e-06,
)
# 0.84375 <= |z| < 1.25: erf(|z|) = _ERF_ONE + P(|z| - 1)/Q(|z| - 1); _ERF_ONE is erf(1) cut to 24 bits
_ERF_ONE = 8.45062911510467529297e-01
_MIDDLE_P = (
    -2.36211856075265944077e-03,
    4.14856118683748331666e-01,
    -3.72207876035701323847e-01,
    3.18346619901161753674e-01,
    -1.10894694282396677476e-01,
    3.54783043256182359371e-02,
    -2.16637559486879084300e-03,
)
_MIDDLE_Q = (
    1.0,
    1.06420880400844228286e-01,
    5.40397917702171048937e-01,
    7.18286544141962662868e-02,
    1.26171219808761642112e-01,
    1.36370839120290507362e-02,
    1.19844998467991074170e-02,
)
# 1.25 <= |z| < 1/0.35 and beyond: erfc(|z|) = exp(-z² - 0.5625 + R(1/z²)/S(1/z²)) / |z|
_NEAR_R = (
    -9.86494403484714822705e-03,
    -6.93858572707181764372e-01,
    -1.05586262253232909814e01,
    -6.23753324503260060396e01,
    -1.62396669462573470355e02,
    -1.84605092906711035994e02,
    -8.12874355063065934246e01,
    -9.81432934416914548592e00,
)
_NEAR_S = (
    1.0,
    1.96512716674392571292e01,
    1.37657754143519042600e02,
    4.34565877475229228821e02,
    6.45387271733267880336e02,
    4.29008140027567833386e02,
    1.08635005541779435134e02,
    6.57024977031928170135e00,
    -6.04244152148580987438e-02,
)
_FAR_R = (
    -9.86494292470009928597e-03,
    -7.99283237680523006574e-01,
    -1.77579549177547519889e01,
    -1.60636384855821916062e02,
    -6.37566443368389627722e02,
    -1.02509513161107724954e03,
    -4.83519191608651397019e02,
)
_FAR_S = (
    1.0,
    3.03380607434824582924e01,
    3.25792512996573918826e02,
    1.53672958608443695994e03,
    3.19985821950859553908e03,
    2.55305040643316442583e03,
    4.74528541206955367215e02,
    -2.24409524465858183362e01,
)
_UPPER_HALF = np.uint64(0xFFFFFFFF00000000)
_BLOCK = 16384  # elements; the dozen temporaries of a block stay in the second-level cache


def erf(z: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Error function, 2/√π ∫ exp(-t²) dt from 0 to z, elementwise.

    Parameters
    ----------
    z : array_like of float32 or float64, any shape
        Not modified. NaN and ±inf are allowed; integers are taken as float64.

    Returns
    -------
    (same shape) array of the same dtype
        In [-1, 1]; NaN where `z` is NaN; the sign of ±0 is kept.

    Raises
    ------
    TypeError
        For complex numbers, text or objects.

    Notes
    -----
    Measured against 60-digit arithmetic over all ranges, their edges and subnormal numbers: within
    1 ULP in float64 (0.89 measured); float32 is computed through float64 and is within 0.501 ULP. No warning is raised.

    References
    ----------
    fdlibm s_erf.c (Sun Microsystems, 1993).

    Examples
    --------
    >>> float(erf(0.5))
    0.5204998778130465
    """
    return _blockwise(_erf_block, z)


def erfc(z: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Complementary error function, 1 - erf(z), elementwise and without its cancellation for z > 0.

    Parameters
    ----------
    z : array_like of float32 or float64, any shape
        Not modified. NaN and ±inf are allowed; integers are taken as float64.

    Returns
    -------
    (same shape) array of the same dtype
        In [0, 2]; NaN where `z` is NaN; subnormal from z = 26.55, zero from z = 27.23 (float64).

    Raises
    ------
    TypeError
        For complex numbers, text or objects.

    Notes
    -----
    Measured as for `erf`: within 2 ULP of the result in float64 (1.83 measured), subnormal
    results included; float32 within 0.501 ULP. No warning is raised.

    References
    ----------
    fdlibm s_erf.c (Sun Microsystems, 1993).

    Examples
    --------
    >>> float(erfc(10.0))
    2.088487583762545e-45
    """
    return _blockwise(_erfc_block, z)


def _blockwise(function: Callable[[_F64, _F64], None], z: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """``function(z, out)`` on float64 blocks; the result in the dtype and shape of `z`."""
    given = np.asarray(z)
    if given.dtype.kind not in "fiub" or given.dtype.itemsize > 8:
        raise TypeError(f"expected float32 or float64 numbers, got dtype {given.dtype}")
    result = np.empty(given.shape, given.dtype if given.dtype.kind == "f" else np.float64)
    source, target = given.reshape(-1), result.reshape(-1)
    # Underflow is a right answer here, and float32 NaN payloads may raise "invalid" when cast.
    with np.errstate(all="ignore"):
        for start in range(0, source.size, _BLOCK):
            block = source[start : start + _BLOCK].astype(np.float64)
            out = block.copy()  # NaN meets no range below and stays
            function(block, out)
            target[start : start + _BLOCK] = out
    return result


def _erf_block(z: _F64, out: _F64) -> None:
    size = np.abs(z)
    small = size < 0.84375
    if small.any():
        x = z[small]
        # Also for subnormal x: x² underflows to 0, and x + x·P(0) rounds once.
        out[small] = x + x * _ratio(_SMALL_P, _SMALL_Q, x * x)
    middle = (size >= 0.84375) & (size < 1.25)
    if middle.any():
        s = size[middle] - 1.0
        out[middle] = np.copysign(_ERF_ONE + _ratio(_MIDDLE_P, _MIDDLE_Q, s), z[middle])
    large = size >= 1.25
    if large.any():
        x = np.minimum(size[large], 6.0)  # erfc(6) is below half an ULP of 1
        # At most 0.077 is taken from 1, so the plain form of `_tail` will do.
        tail = np.exp(_tail_ratio(x) - (x * x + 0.5625)) / x
        out[large] = np.copysign(1.0 - tail, z[large])


def _erfc_block(z: _F64, out: _F64) -> None:
    size = np.abs(z)
    small = (size < 0.84375) & (z < 0.5)
    if small.any():
        x = z[small]
        y = x * _ratio(_SMALL_P, _SMALL_Q, x * x)
        # x - 1/2 is exact from 1/4 on (Sterbenz), so one rounding is left where the result nears 1/2.
        out[small] = np.where(x < 0.25, 1.0 - (x + y), 0.5 - (y + (x - 0.5)))
    # Where the result falls from 0.48 to 0.077 the rounding errors of P/Q, near 0.1, cost 2.4 ULP; carried along
    # in a second number they cost 1.
    lower = (z >= 0.5) & (z < 0.84375)
    if lower.any():
        x = z[lower]
        ratio, ratio_rest = _ratio_pair(_SMALL_P, _SMALL_Q, x * x)
        y, y_rest = _product_pair(x, ratio)
        value, rest = _sum_pair(1.0 - x, -y)
        out[lower] = value + (rest - (y_rest + x * ratio_rest))
    middle = (size >= 0.84375) & (size < 1.25)
    if middle.any():
        ratio, ratio_rest = _ratio_pair(_MIDDLE_P, _MIDDLE_Q, size[middle] - 1.0)
        value, rest = _sum_pair(-ratio, 1.0 - _ERF_ONE)
        out[middle] = np.where(z[middle] > 0, value + (rest - ratio_rest), 1.0 + (_ERF_ONE + ratio))
    large = size >= 1.25
    if large.any():
        tail = _tail(size[large])
        out[large] = np.where(z[large] > 0, tail, 2.0 - tail)


def _tail(size: _F64) -> _F64:
    """erfc(size) for size >= 1.25."""
    x = np.minimum(size, 28.0)  # erfc(28) underflows to 0, and inf - inf would be NaN below
    ratio, ratio_rest = _tail_ratio(x), np.zeros_like(x)
    near = x < 2.0  # beyond, R/S is smaller than 0.12 and its errors do not matter
    ratio[near], ratio_rest[near] = _ratio_pair(_NEAR_R, _NEAR_S, 1.0 / (x[near] * x[near]))
    # x² rounded would cost x² ULP in exp(-x²), 700 at the end: split x = c + (x - c) with c² exact.
    c = _upper(x)
    small = (c - x) * (c + x) + ratio  # -0.22 .. 0.001
    # exp(a) exp(small) / x (fdlibm) rounds four times and costs 2.4 ULP. Here the corrections are added to
    # exp(a) / x last: what is left is the error of exp(a) and one rounding.
    leading = np.exp(-c * c - 0.5625)
    value, rest = _quotient_pair(leading, x)
    return value + (value * (np.expm1(small) + ratio_rest) + rest)


def _tail_ratio(x: _F64) -> _F64:
    s = 1.0 / (x * x)
    ratio = np.empty_like(x)
    near = x < 1.0 / 0.35
    ratio[near] = _ratio(_NEAR_R, _NEAR_S, s[near])
    far = ~near
    ratio[far] = _ratio(_FAR_R, _FAR_S, s[far])
    return ratio


def _ratio(p: tuple[float, ...], q: tuple[float, ...], t: _F64) -> _F64:
    """p(t)/q(t), coefficients from the constant term up."""
    return _horner(p, t) / _horner(q, t)


def _ratio_pair(p: tuple[float, ...], q: tuple[float, ...], t: _F64) -> tuple[_F64, _F64]:
    """p(t)/q(t) as value and rest: without the rounding errors of the last Horner steps and the division."""
    numerator, numerator_rest = _horner_pair(p, t)
    denominator, denominator_rest = _horner_pair(q, t)
    value, rest = _quotient_pair(numerator, denominator)
    return value, rest + (numerator_rest - value * denominator_rest) / denominator


def _horner_pair(coefficients: tuple[float, ...], t: _F64) -> tuple[_F64, _F64]:
    # The last three steps only: |t| < 0.72 shrinks the errors made before them, and the others cost as much each.
    value = _horner(coefficients[3:], t)
    rest = np.zeros_like(t)
    for coefficient in reversed(coefficients[:3]):
        product, product_rest = _product_pair(value, t)
        value, sum_rest = _sum_pair(product, coefficient)
        rest = rest * t + (product_rest + sum_rest)
    return value, rest


def _horner(coefficients: tuple[float, ...], t: _F64) -> _F64:
    value = np.full_like(t, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value *= t
        value += coefficient
    return value


def _upper(a: _F64) -> _F64:
    """Upper 21 bits of each number; the rest is 0."""
    return (a.view(np.uint64) & _UPPER_HALF).view(np.float64)


def _sum_pair(a: _F64, b: _F64 | float) -> tuple[_F64, _F64]:
    """Rounded sum of a and b, and what the rounding lost (Knuth)."""
    value = a + b
    part = value - a
    return value, (a - (value - part)) + (b - part)


def _product_pair(a: _F64, b: _F64) -> tuple[_F64, _F64]:
    """Rounded product of a and b, and what the rounding lost, to 2^-95 of the product (Dekker)."""
    value = a * b
    a_upper, b_upper = _upper(a), _upper(b)
    a_lower, b_lower = a - a_upper, b - b_upper
    return value, ((a_upper * b_upper - value) + a_upper * b_lower + a_lower * b_upper) + a_lower * b_lower


def _quotient_pair(a: _F64, b: _F64) -> tuple[_F64, _F64]:
    """Rounded quotient of a and b, and what the rounding lost."""
    value = a / b
    product, rest = _product_pair(value, b)
    return value, ((a - product) - rest) / b
