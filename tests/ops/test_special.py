"""erf and erfc against multiple-precision arithmetic (mpmath) and SciPy."""

from __future__ import annotations

import itertools
import warnings

import mpmath
import numpy as np
import pytest
import scipy.special

from layerwise.ops.special import erf, erfc

EDGES = [0.0, 0.25, 0.5, 0.84375, 1.25, 1 / 0.35, 6.0, 26.5, 27.25]
BOUND = {"erf": 1.0, "erfc": 2.0}  # ULP; what the docstrings promise for float64
EXACT = {"erf": mpmath.erf, "erfc": mpmath.erfc}
OURS = {"erf": erf, "erfc": erfc}


def exact_values(name: str, z: np.ndarray) -> list[mpmath.mpf]:
    with mpmath.workprec(200):
        return [EXACT[name](mpmath.mpf(float(v))) for v in z]


def worst_ulp(name: str, z: np.ndarray) -> tuple[float, float]:
    """The largest error in units in the last place of the exact value, and where it is."""
    got = OURS[name](z)
    unit_of = z.dtype.type
    errors: list[float] = []
    for value, exact in zip(got, exact_values(name, z), strict=True):
        rounded = abs(unit_of(float(exact)))
        with mpmath.workprec(200):
            errors.append(float(abs(mpmath.mpf(float(value)) - exact) / mpmath.mpf(float(np.spacing(rounded)))))
    at = int(np.argmax(errors))
    return errors[at], float(z[at])


@pytest.mark.parametrize("name", ["erf", "erfc"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("low", "high"), list(itertools.pairwise(EDGES)))
def test_float64_within_the_stated_bound(name: str, sign: float, low: float, high: float) -> None:
    rng = np.random.default_rng(5)
    inside = rng.uniform(low, high, 600)
    beside = [edge + k * np.spacing(edge or 1.0) for edge in (low, high) for k in range(-40, 41)]
    error, where = worst_ulp(name, sign * np.concatenate([inside, beside]))
    assert error <= BOUND[name], where


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_tiny_and_subnormal_arguments(name: str) -> None:
    rng = np.random.default_rng(6)
    z = np.ldexp(rng.uniform(0.5, 1, 1500), rng.integers(-1080, -20, 1500))
    z = np.concatenate([z, -z, [5e-324, -5e-324, np.finfo(np.float64).tiny]])
    error, where = worst_ulp(name, z)
    assert error <= BOUND[name], where


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_float32_is_the_rounded_float64(name: str) -> None:
    rng = np.random.default_rng(7)
    z = np.concatenate([rng.uniform(-11, 11, 4000), np.ldexp(rng.uniform(-1, 1, 500), -140)]).astype(np.float32)
    assert OURS[name](z).dtype == np.float32
    error, where = worst_ulp(name, z)
    assert error <= 0.501, where


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_agrees_with_scipy_on_many_points(name: str) -> None:
    z = np.random.default_rng(8).normal(scale=3, size=200_000)
    expected = getattr(scipy.special, name)(z)
    # SciPy squares z in one rounding, so its erfc loses about z² ULP: 200 at z = 14.
    np.testing.assert_allclose(OURS[name](z), expected, rtol=5e-14, atol=0)


def test_relative_accuracy_down_to_underflow() -> None:
    z = np.array([26.5, 26.6, 27.0, 27.2])
    assert np.all(erfc(z) > 0)
    assert erfc(np.array([27.3, 28.0, 1e3, 1e308, np.inf])).tolist() == [0.0] * 5


def test_special_values() -> None:
    for dtype in (np.float32, np.float64):
        z = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype)
        value = erf(z)
        assert value.dtype == dtype
        assert value[:2].tolist() == [1.0, -1.0]
        assert np.isnan(value[2])
        assert value[3:].tolist() == [0.0, 0.0]
        assert np.signbit(value[3:]).tolist() == [False, True]
        complement = erfc(z)
        assert complement[:2].tolist() == [0.0, 2.0]
        assert np.isnan(complement[2])
        assert complement[3:].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("function", [erf, erfc])
def test_shapes_and_dtypes(function) -> None:
    assert function(np.empty((0, 3))).shape == (0, 3)
    assert function(0.5).shape == ()
    assert function(np.array(0.5, np.float32)).dtype == np.float32
    assert function([0, 1]).dtype == np.float64
    z = np.random.default_rng(0).normal(size=(70, 601))
    whole = function(z)
    assert whole.shape == z.shape
    # Neither the memory layout nor the place in the array changes a bit.
    np.testing.assert_array_equal(function(np.asfortranarray(z)), whole)
    np.testing.assert_array_equal(function(z[::3, ::7]), whole[::3, ::7])
    for wrong in (np.array([1j]), np.array(["1"]), np.array([None])):
        with pytest.raises(TypeError, match="float32 or float64"):
            function(wrong)


@pytest.mark.parametrize("function", [erf, erfc])
def test_no_warning_and_input_untouched(function) -> None:
    bits = np.random.default_rng(1).integers(0, 2**64, 50_000, dtype=np.uint64)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for z in (bits.view(np.float64), bits.view(np.float32)):
            before = z.tobytes()
            function(z)
            assert z.tobytes() == before


def test_odd_and_complementary() -> None:
    z = np.linspace(-7, 7, 10_001)
    np.testing.assert_array_equal(erf(-z), -erf(z))
    np.testing.assert_allclose(erf(z) + erfc(z), 1.0, rtol=0, atol=3e-16)  # two roundings near 1
