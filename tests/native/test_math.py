"""The elementwise kernels against exact values: every instruction set, both precisions, all exponents, all edges."""

from __future__ import annotations

import functools
import importlib
import math

import mpmath
import numpy as np
import pytest

import layerwise  # noqa: F401  declares the ops
from layerwise.graph.node import OPS
from layerwise.ops import special

native = importlib.import_module("layerwise._native")  # only the engine may import it by name
ISAS = native.isas()
DTYPES = {"float32": np.float32, "float64": np.float64}
INF, NAN = math.inf, math.nan
LONG = np.finfo(np.longdouble).nmant >= 63

# Largest error in ULP of the exact result, measured over more numbers than here (float32, float64).
BOUNDS = {
    "exp": (1.0, 1.0),
    "expm1": (1.1, 1.1),
    "log": (0.85, 0.85),
    "log1p": (0.85, 0.85),
    "tanh": (0.8, 0.8),
    "sin": (0.51, 0.85),
    "cos": (0.51, 0.85),
    "erf": (1.3, 1.3),
    "erfc": (1.7, 3.1),
    "normal_cdf": (1.8, 3.0),
    "sigmoid": (2.2, 2.2),
    "log_sigmoid": (1.7, 1.8),
    "softplus": (1.7, 1.8),
    "log_of_cosh": (4.7, 4.7),
    "softsign": (1.5, 1.5),
    # z · gate: as long as the gate is a normal number
    "silu": (3.2, 3.2),
    "gelu": (2.5, 3.6),
    "mish": (3.6, 3.6),
}
AT_MOST_TWO = ("exp", "expm1", "log", "log1p", "tanh", "erf", "sin", "cos")
OPTIONS = {"leaky_relu": (0.01,), "elu": (1.0,), "clip": (-0.5, 0.75)}
ATTRIBUTES = {"leaky_relu": {"alpha": 0.01}, "elu": {"alpha": 1.0}, "clip": {"low": -0.5, "high": 0.75}}
NOT_AN_OP = {"erfc"}


def apply(name: str, x: np.ndarray, isa: str | None = None) -> np.ndarray:
    return native.apply(name, x, OPTIONS.get(name, ()), isa)


def test_the_bounds_that_were_asked_for():
    assert all(max(BOUNDS[name]) <= 2 for name in AT_MOST_TWO)


def test_functions_are_the_kernels_of_the_unary_ops():
    kernels = {op.kernel for op in OPS.values() if op.slopes is not None and len(op.slopes) == 1 and op.kernel}
    names = native.functions()
    assert len(names) == len(set(names))
    assert set(names) - NOT_AN_OP == kernels


# Exact values ----------------------------------------------------------------------------------------


def _sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def _normal_cdf(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


EXACT = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "erf": mpmath.erf,
    "erfc": mpmath.erfc,
    "normal_cdf": _normal_cdf,
    "sigmoid": _sigmoid,
    "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "log_of_cosh": lambda x: mpmath.log1p(2 * mpmath.sinh(x / 2) ** 2),
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: x * _normal_cdf(x),
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
}


def errors_in_ulp(got: np.ndarray, exact: list[mpmath.mpf]) -> np.ndarray:
    """|got - exact| in units of the last place that `got`'s dtype has at the exact value (subnormal: the smallest)."""
    info = np.finfo(got.dtype)
    errors = np.empty(len(exact))
    for i, (g, e) in enumerate(zip(got.tolist(), exact, strict=True)):
        if math.isinf(g):
            # Past the middle of the largest number and the power of two after it infinity is right.
            limit = mpmath.mpf(float(info.max)) * (1 + mpmath.mpf(2) ** -(info.nmant + 2))
            errors[i] = 0 if abs(e) >= limit and (e > 0) == (g > 0) else INF
            continue
        exponent = mpmath.frexp(e)[1] - 1 if e else info.minexp
        errors[i] = float(mpmath.ldexp(abs(mpmath.mpf(g) - e), info.nmant - max(exponent, info.minexp)))
    return errors


def errors_by_wider_type(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The same against an array of float64 (for float32) or 80 bits (for float64)."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):  # NaN with a signal
        wide = got.astype(exact.dtype)
        exponent = np.maximum(np.frexp(np.abs(exact))[1] - 1, info.minexp)
        errors = np.abs(wide - exact) / np.ldexp(np.ones_like(exact), exponent - info.nmant)
        beyond = np.abs(exact) >= exact.dtype.type(info.max) * (1 + exact.dtype.type(2) ** -(info.nmant + 2))
    errors[(wide == exact) | (np.isnan(wide) & np.isnan(exact))] = 0
    errors[beyond & np.isinf(wide) & (np.sign(wide) == np.sign(exact))] = 0
    return np.where(np.isnan(errors), INF, errors).astype(np.float64)


def worst(errors: np.ndarray, x: np.ndarray) -> str:
    i = int(np.argmax(errors))
    return f"{errors[i]:.3f} ULP at {x[i]!r}"


def wide_reference(name: str, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        if name == "erf":
            return special.erf(x)
        if name == "erfc":
            return special.erfc(x)
        if name == "normal_cdf":
            return 0.5 * special.erfc(x * -math.sqrt(0.5))
        return getattr(np, name)(x)


@functools.cache
def all_float32() -> np.ndarray:
    """Every 4093rd bit pattern, infinities and NaN among them, and a denser set where most activations live."""
    patterns = np.arange(0, 2**32, 4093, dtype=np.uint64).astype(np.uint32).view(np.float32)
    generator = np.random.default_rng(1)
    return np.concatenate(
        [patterns, *(generator.uniform(-s, s, 50_000).astype(np.float32) for s in (1, 1, 4, 20, 110))]
    )


@functools.cache
def all_float64() -> np.ndarray:
    generator = np.random.default_rng(2)
    return np.concatenate(
        [
            generator.integers(0, 2**64, 200_000, dtype=np.uint64).view(np.float64),
            *(generator.uniform(-s, s, 50_000) for s in (1, 1, 4, 20, 750)),
            np.ldexp(generator.uniform(-1, 1, 50_000), generator.integers(-60, 30, 50_000)),
            math.pi / 2 * generator.integers(-(10**6), 10**6, 50_000),  # where sin or cos nearly vanishes
        ]
    )


DENSE = ("exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "erf", "erfc", "normal_cdf")


@pytest.mark.parametrize("name", DENSE)
def test_float32_over_all_exponents(name):
    x = all_float32()
    with np.errstate(invalid="ignore"):  # NaN with a signal
        exact = wide_reference(name, x.astype(np.float64))
    for isa in ISAS:
        errors = errors_by_wider_type(apply(name, x, isa), exact)
        assert errors.max() <= BOUNDS[name][0], f"{name} {isa}: {worst(errors, x)}"


@pytest.mark.skipif(not LONG, reason="long double is not wider than double here")
@pytest.mark.parametrize("name", [n for n in DENSE if n not in ("erf", "erfc", "normal_cdf")])
def test_float64_over_all_exponents(name):
    x = all_float64()
    with np.errstate(invalid="ignore"):
        exact = wide_reference(name, x.astype(np.longdouble))
    for isa in ISAS:
        errors = errors_by_wider_type(apply(name, x, isa), exact)
        assert errors.max() <= BOUNDS[name][1], f"{name} {isa}: {worst(errors, x)}"


# Where each function changes its way or its result its kind: overflow, the last result that is not 0, the branches.
TURNS = {
    "float32": {
        "exp": (88.72283, -87.33654, -103.27893, -103.97208, 0.34657359, -0.34657359),
        "expm1": (88.72283, 89.41599, -17.32868, -16.635532, 0.34657359, 1.0397208, -20.0),
        "log": (0.70710678, 1.4142135, 1.0, 2.0, 1.1754944e-38, 3.4028235e38),
        "log1p": (-0.29289323, 0.41421354, -0.99999994, 1.0, 3.4028235e38),
        "tanh": (9.010913, 10.0, 8.66434, 0.17328679, 0.5198604),
        "sin": (0.7853982, 3.1415927, 1048576.0, 1e10, 3.4028235e38, 16367173.0 * 2.0**72),
        "cos": (0.7853982, 1.5707964, 1048576.0, 1e10, 3.4028235e38, 16367173.0 * 2.0**72),
        "erf": (1.0, 3.8325, 4.5),
        "erfc": (0.46875, 9.194, 10.05, -3.9, 10.4),
        "normal_cdf": (0.6629126, -0.6629126, -13.0, -14.17, 5.4, -14.7),
    },
    "float64": {
        "exp": (709.782712893384, -708.3964185322641, -744.4400719213812, -745.1332191019412, 0.34657359027997264),
        "expm1": (
            709.782712893384,
            710.4758600739439,
            -37.42994775023705,
            -36.7368005696771,
            0.34657359027997264,
            -40.0,
        ),
        "log": (0.7071067811865476, 1.4142135623730951, 1.0, 2.0, 2.2250738585072014e-308, 1.7976931348623157e308),
        "log1p": (-0.2928932188134524, 0.41421356237309515, -0.9999999999999999, 1.0, 1.7976931348623157e308),
        "tanh": (19.061547465398498, 20.0, 18.714973, 0.17328679513998632, 0.5198603854199589),
        "sin": (0.7853981633974483, math.pi, 1048576.0, 1e22, 1.7976931348623157e308, 6381956970095103.0 * 2.0**797),
        "cos": (
            0.7853981633974483,
            math.pi / 2,
            1048576.0,
            1e22,
            1.7976931348623157e308,
            6381956970095103.0 * 2.0**797,
        ),
        "erf": (1.0, 5.921587195794507, 6.5),
        "erfc": (0.46875, 26.543, 27.226, -5.86, 27.5),
        "normal_cdf": (0.6629126073623882, -0.6629126073623882, -37.5, -38.4, 8.29, -38.8),
    },
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DENSE)
def test_at_the_turns(name, dtype):
    T = DTYPES[dtype]
    info = np.finfo(T)
    centres = [s * T(c) for c in TURNS[dtype][name] for s in (1, -1)]
    centres += [s * T(c) for c in (info.smallest_subnormal, info.tiny, info.eps, 2 * info.tiny) for s in (1, -1)]
    x = []
    for centre in centres:
        below = above = centre
        x.append(centre)
        for _ in range(4):
            with np.errstate(over="ignore"):
                below, above = np.nextafter(below, T(-INF)), np.nextafter(above, T(INF))
            x += [below, above]
    x = np.array(x, T)
    if name in ("log", "log1p"):
        x = x[x > (0 if name == "log" else -1)]
    x = x[np.isfinite(x) & (x != 0)]
    with mpmath.workprec(1500 if name in ("sin", "cos") else 1200):
        exact = [EXACT[name](mpmath.mpf(float(v))) if name != "erf" or abs(v) < 7 else mpmath.sign(float(v)) for v in x]
    with mpmath.workprec(200):
        for isa in ISAS:
            errors = errors_in_ulp(apply(name, x, isa), exact)
            assert errors.max() <= BOUNDS[name][T is np.float64], f"{name} {isa}: {worst(errors, x)}"


RANGES = {"erf": 6.0, "erfc": 27.5, "normal_cdf": 38.6, "gelu": 36.0, "log_of_cosh": 40.0}
RANGES_32 = {
    "erf": 4.0,
    "erfc": 10.4,
    "normal_cdf": 14.5,
    "gelu": 12.5,
    "log_of_cosh": 40.0,
    "silu": 80.0,
    "mish": 80.0,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n in BOUNDS if n not in DENSE] + ["erf", "erfc", "normal_cdf"])
def test_against_many_digits(name, dtype):
    generator = np.random.default_rng(3)
    limit = RANGES.get(name, 650.0) if dtype == "float64" else RANGES_32.get(name, 100.0)
    x = np.concatenate(
        [
            *(generator.uniform(-s, s, 500) for s in (1.0, 1.0, 3.0, limit)),
            np.ldexp(generator.uniform(-1, 1, 150), generator.integers(-100, 0, 150)),
        ]
    ).astype(dtype)
    with mpmath.workprec(160):
        exact = [EXACT[name](mpmath.mpf(float(v))) for v in x]
        for isa in ISAS:
            errors = errors_in_ulp(apply(name, x, isa), exact)
            assert errors.max() <= BOUNDS[name][dtype == "float64"], f"{name} {isa}: {worst(errors, x)}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_tanh_is_as_good_as_its_definition(dtype):
    # u = √(2/π) (z + 0.044715 z³) rounded costs 2|u| roundings in the gate, a few times over.
    x = np.random.default_rng(4).uniform(-8, 8, 1500).astype(dtype)
    with mpmath.workprec(160):
        root, cubic = mpmath.sqrt(2 / mpmath.pi), mpmath.mpf("0.044715")
        u = [2 * root * (v + cubic * v**3) for v in map(mpmath.mpf, x.tolist())]
        exact = [mpmath.mpf(v) * _sigmoid(w) for v, w in zip(x.tolist(), u, strict=True)]
        for isa in ISAS:
            errors = errors_in_ulp(apply("gelu_tanh", x, isa), exact)
            allowed = 4 + 4 * np.maximum(0, -np.array(u, float))
            assert (errors <= allowed).all(), f"{isa}: {worst(errors / allowed, x)}"


# The Python ops --------------------------------------------------------------------------------------

TINY = {"float32": 1e-45, "float64": 5e-324}
# NumPy says which zero comes out of maximum(0, -0.0) only on some machines, so there the sign does not count.
ZERO_WITHOUT_SIGN = {"relu", "elu", "selu", "softplus"}


def special_values(dtype: str) -> np.ndarray:
    T = DTYPES[dtype]
    info = np.finfo(T)
    positive = [0.0, INF, 1000.0, TINY[dtype], info.tiny, info.max, info.eps, 1.0, 20.0, 0.5, 1e-10, 3.0, 40.0, 90.0]
    x = np.array([*positive, NAN, info.tiny * 0.75, 88.8, 104.5, 709.9, 746.0], T)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n in native.functions() if n not in NOT_AN_OP])
def test_special_values_are_those_of_the_op(name, dtype):
    x = special_values(dtype)
    with np.errstate(all="ignore"):
        expected = np.asarray(OPS[name].forward(x, **ATTRIBUTES.get(name, {})))
    expected = np.broadcast_to(expected, x.shape).astype(dtype)
    info = np.finfo(dtype)
    for isa in ISAS:
        for v, g, e in zip(x, apply(name, x, isa), expected, strict=True):
            told = f"{name}({v!r}) is {g!r}, not {e!r} ({isa})"
            if np.isnan(e) or np.isinf(e):
                assert np.array_equal(g, e, equal_nan=True), told
                continue
            assert np.isfinite(g), told
            # Both are within a few ULP of the exact value; the definition of Φ loses z² of them in the left tail.
            allowed = 8.0 + (1500.0 if name in ("normal_cdf", "gelu") else 200.0 if name == "gelu_tanh" else 0.0)
            assert abs(float(g) - float(e)) <= allowed * max(abs(float(e)) * info.eps, info.smallest_subnormal), told
            if e == 0:
                assert g == 0, told
                assert name in ZERO_WITHOUT_SIGN or np.signbit(g) == np.signbit(e), told
            if v == 0 and e != 0:
                assert abs(float(g) - float(e)) <= float(info.eps) * abs(float(e)), told


EXACTLY = ("identity", "negative", "square", "sqrt", "absolute", "sign", "clip", "leaky_relu", "softsign", "hardtanh")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACTLY)
def test_plain_functions_have_the_same_bits_as_the_op(name, dtype):
    x = all_float32() if dtype == "float32" else all_float64()
    with np.errstate(all="ignore"):
        x = x[~np.isnan(x)]
        expected = OPS[name].forward(x, **ATTRIBUTES.get(name, {}))
        for isa in ISAS:
            np.testing.assert_array_equal(apply(name, x, isa), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n in native.functions() if n not in (*EXACTLY, *NOT_AN_OP, "gelu_tanh")])
def test_ordinary_values_are_those_of_the_op(name, dtype):
    x = np.random.default_rng(5).normal(size=20_000).astype(dtype) * 2
    if name in ("log", "log1p"):
        x = np.abs(x)
    expected = OPS[name].forward(x, **ATTRIBUTES.get(name, {}))
    rounding = 100 if name in ("normal_cdf", "gelu") else 8  # the definition loses z² roundings
    for isa in ISAS:
        np.testing.assert_allclose(apply(name, x, isa), expected, rtol=rounding * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("name", ["leaky_relu", "elu"])
def test_alpha_is_used(name, alpha):
    x = np.linspace(-3, 3, 41)
    np.testing.assert_allclose(native.apply(name, x, (alpha,)), OPS[name].forward(x, alpha=alpha), rtol=1e-15, atol=0)


# Sameness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", native.functions())
def test_instruction_sets_agree(name, dtype):
    x = np.random.default_rng(6).normal(size=20_000).astype(dtype) * 3
    if name in ("log", "log1p", "sqrt"):
        x = np.abs(x)
    results = [apply(name, x, isa) for isa in ISAS]
    rounding = 80 if name == "gelu_tanh" else 6  # by its left tail
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=rounding * np.finfo(dtype).eps, atol=0)
    np.testing.assert_array_equal(apply(name, x), results[-1])  # the widest one is what runs by itself


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", native.functions())
def test_an_element_has_the_same_bits_wherever_it_stands(name, isa, dtype):
    generator = np.random.default_rng(7)
    x = generator.normal(size=150).astype(dtype) * 3
    x[generator.integers(0, 150, 20)] = generator.choice(special_values(dtype), 20)
    x[generator.integers(0, 150, 10)] *= 1e7  # next to small angles
    word = np.uint32 if dtype == "float32" else np.uint64

    def bits(a: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(a), 0, a.view(word))

    whole = bits(apply(name, x, isa))
    one_by_one = np.concatenate([apply(name, x[i : i + 1], isa) for i in range(x.size)])
    np.testing.assert_array_equal(bits(one_by_one), whole)
    for start, stop in [(1, 150), (3, 20), (0, 15), (0, 16), (0, 17), (5, 37), (7, 8), (2, 131), (149, 150), (4, 4)]:
        np.testing.assert_array_equal(bits(apply(name, x[start:stop], isa)), whole[start:stop])
    order = generator.permutation(x.size)
    np.testing.assert_array_equal(bits(apply(name, x[order], isa)), whole[order])


def test_shape_stays_and_the_input_too():
    x = np.linspace(-2, 2, 24).reshape(2, 3, 4)
    before = x.copy()
    x.flags.writeable = False
    result = native.apply("tanh", x)
    assert result.shape == (2, 3, 4)
    assert result.flags.writeable
    np.testing.assert_allclose(result, np.tanh(before), rtol=1e-15)
    np.testing.assert_array_equal(x, before)
    assert native.apply("exp", np.array(0.0)).shape == ()
    assert native.apply("exp", np.empty((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tan", np.zeros(2)), "name of a function, one of functions.*'tan'"),
        (("exp", np.zeros(2), (), "mmx"), 'instruction set must be one.*baseline.*"mmx"'),
        (("exp", np.zeros(2, np.int64)), "float32 or float64"),
        (("exp", np.zeros(2, np.float16)), "float32 or float64"),
        (("exp", np.zeros(2, np.complex128)), "float32 or float64"),
        (("exp", np.zeros((4, 4))[:, ::2]), "C-contiguous"),
        (("exp", np.zeros((4, 3)).T), "C-contiguous"),
        (("elu", np.zeros(2)), "1 options for elu; got 0"),
        (("exp", np.zeros(2), (1.0,)), "0 options for exp; got 1"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        native.apply(*arguments)
