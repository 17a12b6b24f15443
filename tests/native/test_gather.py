"""Rows gathered by the native module: what NumPy's indexing and astype give, to the bit, from any type and layout."""

from __future__ import annotations

import numpy as np
import pytest

native = pytest.importorskip("layerwise._native")

INTEGERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
PAIRS = [(s, t) for t in ("float32", "float64") for s in INTEGERS + FLOATS] + [(s, "int64") for s in INTEGERS]
ROWS = 150

isas = pytest.mark.parametrize("isa", native.isas())
pairs = pytest.mark.parametrize(("source", "target"), PAIRS)


def values(shape, dtype, seed=0):
    """Any bits, so of any magnitude, and many an extreme: the largest, infinities, NaN, subnormal numbers, -0."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(2, size=shape).astype(bool)
    x = np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).copy()
    if dtype.kind == "f":
        # Quiet NaN only: what a conversion does to a signalling one is the processor's choice.
        x[np.isnan(x)] = np.nan
        edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal]
        if dtype == np.float64:
            # Too large, halfway between two numbers of float32, subnormal there, 0 there.
            edges += [1e300, 3.4028235677973366e38, 3.4028235677973362e38, 1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e-40, 1e-50]
    else:
        edges = [0, np.iinfo(dtype).min, np.iinfo(dtype).max, 2 ** min(24, dtype.itemsize * 8 - 2) + 1]
        if dtype.itemsize == 8:
            edges += [
                2**53 + 1,
                2**25 + 2,
                2**25 + 6,
                2**62 + 2**38,
                2**62 + 2**38 + 1,
            ]  # ties of float32 and a bit more
    some = rng.integers(x.size, size=x.size // 2) if x.size else []
    x[some] = rng.choice(np.array(edges, dtype), size=len(some))
    return x.reshape(shape)


def expected(X, rows, target):
    with np.errstate(over="ignore", invalid="ignore"):
        return X[rows].astype(target)


def gathered(X, rows, target, isa=None, gap=5):
    """Into a matrix with something beside its rows, which must stay."""
    n = len(range(ROWS)[rows]) if isinstance(rows, slice) else len(rows)
    wide = np.full((n + 2, *(s + gap for s in X.shape[1:])), 77, target)
    out = wide[(slice(1, n + 1), *(slice(2, 2 + s) for s in X.shape[1:]))]
    native.gather(X, rows.start if isinstance(rows, slice) else rows, out, isa)
    result = out.copy()
    out[...] = 77
    assert (wide == 77).all()
    return result


def assert_same_bits(a, b):
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    if a.dtype.kind == "f":
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        a, b = np.where(np.isnan(a), 0, a), np.where(np.isnan(b), 0, b)
    assert a.tobytes() == b.tobytes()


def row_lists(rng):
    yield rng.integers(ROWS, size=int(rng.integers(1, 300)))
    first = int(rng.integers(ROWS))
    yield slice(first, int(rng.integers(first, ROWS + 1)))


# Types, sizes, layouts -------------------------------------------------------------------------------


@isas
@pairs
@pytest.mark.parametrize("columns", [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 28, 31, 33, 65, 784])
def test_types_and_widths(isa, source, target, columns):
    X = values((ROWS, columns), source)
    for rows in row_lists(np.random.default_rng(columns)):
        assert_same_bits(gathered(X, rows, target, isa), expected(X, rows, target))


def in_a_record(X):
    """A column of a table of records: neither aligned nor in steps of its own size."""
    record = np.zeros(len(X), np.dtype([("before", "u1"), ("x", X.dtype, (X.shape[1],)), ("after", "u2")]))
    record["x"] = X
    return record["x"]


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "columns apart": lambda X: np.repeat(X, 3, axis=1)[:, ::3],
    "columns far apart": lambda X: np.repeat(X, 70, axis=1)[:, ::70],
    "rows apart": lambda X: np.repeat(X, 2, axis=0)[::2],
    "a window": lambda X: np.pad(X, ((1, 1), (3, 2)))[1:-1, 3:-2],
    "rows from the end": lambda X: X[::-1].copy()[::-1],
    "columns from the end": lambda X: X[:, ::-1].copy()[:, ::-1],
    "both from the end": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran from the end": lambda X: np.asfortranarray(X[::-1, ::-1])[::-1, ::-1],
    "Fortran, rows apart": lambda X: np.asfortranarray(np.repeat(X, 3, axis=0))[::3],
    "Fortran, rows far apart": lambda X: np.asfortranarray(np.repeat(X, 40, axis=0))[::40],
    "one row for all": lambda X: np.broadcast_to(X[5], X.shape),
    "one column for all": lambda X: np.broadcast_to(X[:, :1], X.shape),
    "one element for all": lambda X: np.broadcast_to(X[1, 0], X.shape),
    "a record": in_a_record,
    "an odd address": lambda X: np.frombuffer(b"x" + X.tobytes(), X.dtype, offset=1).reshape(X.shape),
    "not to be written": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
}


@isas
@pairs
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(isa, source, target, layout):
    for columns in (1, 13, 37):
        X = LAYOUTS[layout](values((ROWS, columns), source, columns))
        for rows in row_lists(np.random.default_rng(columns)):
            assert_same_bits(gathered(X, rows, target, isa), expected(X, rows, target))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 150])
def test_numbers_of_rows(order, n):
    X = np.array(values((ROWS, 19), "int16"), order=order)
    rows = np.random.default_rng(n).permutation(ROWS)[:n]
    assert_same_bits(gathered(X, rows, "float32"), expected(X, rows, "float32"))
    for first in {0, ROWS - n}:
        assert_same_bits(gathered(X, slice(first, first + n), "float32"), X[first : first + n].astype("float32"))


@isas
@pairs
def test_vectors(isa, source, target):
    x = values(ROWS, source)
    for v in (x, x[::-1], np.repeat(x, 2)[::2]):
        for rows in row_lists(np.random.default_rng(1)):
            assert_same_bits(gathered(v, rows, target, isa), expected(v, rows, target))


@isas
@pytest.mark.parametrize("target", ["float32", "float64"])
def test_every_number_of_half_precision(isa, target):
    X = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    out = np.empty(X.shape, target)
    native.gather(X, 0, out, isa)
    assert_same_bits(out, X.astype(target))


@isas
@pytest.mark.parametrize("target", ["float32", "float64"])
@pytest.mark.parametrize("source", ["int64", "uint64", "int32", "uint32"])
def test_large_integers_are_rounded_once(isa, source, target):
    # Around every power of two: at the digits lost, exactly between two numbers, and one to either side.
    digits = np.finfo(target).nmant + 1
    bits = np.iinfo(source).bits - (source[0] == "i")
    cases = set()
    for top in range(digits, bits):
        half = 1 << (top - digits)
        for odd in (0, 1):
            middle = (1 << top) + half + odd * 2 * half
            cases |= {middle - 1, middle, middle + 1}
    cases |= {2**bits - 1, 2**bits - 2 ** max(0, bits - digits - 1)}
    cases = sorted(c for c in cases if c < 2**bits)
    X = np.array(cases, source)[:, None]
    X = np.hstack([X, -X] if source[0] == "i" else [X, X])
    out = np.empty(X.shape, target)
    native.gather(X, 0, out, isa)
    # Python's own conversion of integers is to nearest, ties to even; of float32 Fraction knows nothing, so by hand.
    exact = [[nearest(int(v), digits) for v in row] for row in X.tolist()]
    assert [[int(v) for v in row] for row in out.tolist()] == exact


def nearest(value, digits):
    """The nearest number of so many binary digits, ties to even."""
    size = abs(value)
    unit = 1 << max(0, size.bit_length() - digits)
    low = size // unit * unit
    up = 2 * (size - low) > unit or (2 * (size - low) == unit and low // unit % 2 == 1)
    return (1 if value > 0 else -1) * (low + unit * up)


@pytest.mark.parametrize("order", ["C", "F"])
def test_parts_make_the_whole(order):
    X = np.array(values((ROWS, 33), "float64"), order=order)
    rows = np.random.default_rng(0).integers(ROWS, size=200)
    out = np.empty((200, 33), np.float32)
    for first, last in [(0, 7), (7, 7), (7, 130), (130, 200)]:
        native.gather(X, rows[first:last], out[first:last])
    assert_same_bits(out, expected(X, rows, "float32"))


def test_truth_is_any_byte_but_0():
    x = np.frombuffer(bytes([0, 1, 2, 255]), np.uint8).view(bool)
    for target in ("float32", "float64", "int64"):
        assert gathered(x, np.arange(4), target).tolist() == [0, 1, 1, 1]


# Refusals --------------------------------------------------------------------------------------------


def test_the_other_byte_order_is_refused():
    for dtype in ("f4", "f8", "f2", "i2", "i4", "i8", "u2", "u8"):
        X = np.zeros((3, 2), np.dtype(dtype).newbyteorder("S"))
        with pytest.raises(TypeError, match=r"in the byte order of the machine; got 2 axes of format [<>]"):
            native.gather(X, 0, np.empty((3, 2)))


@pytest.mark.parametrize("dtype", ["complex64", "longdouble", "O", "U3", "S2", "V3"])
def test_what_is_no_number_is_refused(dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("long double is float64 here")
    with pytest.raises(TypeError, match="source must be a vector or a matrix of booleans, integers or floating-point"):
        native.gather(np.zeros((3, 2), dtype), 0, np.empty((3, 2)))


@pytest.mark.parametrize("shape", [(), (3, 2, 1)])
def test_other_numbers_of_axes_are_refused(shape):
    with pytest.raises(TypeError, match=f"got {len(shape)} axes"):
        native.gather(np.zeros(shape), 0, np.empty((3, 2)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_integers_are_not_made_of_fractions(dtype):
    with pytest.raises(TypeError, match="int64 is made of integers only"):
        native.gather(np.zeros((3, 2), dtype), 0, np.empty((3, 2), np.int64))


@pytest.mark.parametrize("rows", [[3], [-1], [0, 2**62], [-(2**63)]])
def test_rows_that_are_not_there(rows):
    with pytest.raises(IndexError):
        native.gather(np.zeros((3, 2)), np.array(rows), np.empty((len(rows), 2)))


@pytest.mark.parametrize(("first", "n"), [(-1, 1), (0, 4), (3, 1), (4, 0)])
def test_ranges_that_are_not_there(first, n):
    with pytest.raises(IndexError):
        native.gather(np.zeros((3, 2)), first, np.empty((n, 2)))


@pytest.mark.parametrize(
    "out", [np.empty((3, 3)), np.empty(3), np.empty((2, 2)), np.empty((3, 4))[:, ::2], np.empty((3, 2), order="F")]
)
def test_other_places_are_refused(out):
    with pytest.raises(ValueError, match="out must have"):
        native.gather(np.zeros((3, 2)), np.arange(3), out)
