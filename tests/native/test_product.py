"""Matrix products of the native module, on every instruction set that runs here."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

native = pytest.importorskip("layerwise._native")

ISAS = native.isas()
DTYPES = [np.float32, np.float64]
KINDS = ["matmul", "matmul_t", "t_matmul", "t_matmul_packed"]
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100]
CHAIN = 512  # terms of one chain of multiply-adds (product.h)

isas = pytest.mark.parametrize("isa", ISAS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
kinds = pytest.mark.parametrize("kind", KINDS)


def random(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def product(kind, A, B, isa):
    """A · B by any of the four, which get the transposes that they undo."""
    if kind == "matmul":
        return native.matmul(A, B, isa=isa)
    if kind == "matmul_t":
        return native.matmul_t(A, np.ascontiguousarray(B.T), isa=isa)
    if kind == "t_matmul":
        return native.t_matmul(np.ascontiguousarray(A.T), B, isa=isa)
    C = np.full((len(A), B.shape[1]), np.nan, A.dtype)
    parts(kind, A, B, C, [0, len(A)], [0, column_end(kind, C, isa)], isa)
    return C


def parts(kind, A, B, C, rows, columns, isa):
    left, right = kind.startswith("t_"), kind == "matmul_t"
    native.multiply_parts(kind, A.T.copy() if left else A, B.T.copy() if right else B, C, rows, columns, isa)


def column_end(kind, C, isa):
    """The last of the cuts between columns: columns of t_matmul, blocks of the others."""
    N = C.shape[1]
    return N if kind == "t_matmul" else -(-N // native.product_block(C.dtype.name, isa))


def same_bits(x, y):
    return x.shape == y.shape and x.tobytes() == y.tobytes()


def assert_within_theory(C, A, B, extra=0, factor=1):
    """|C - AB ⊙ factor| ≤ γ |A||B| ⊙ |factor| (Higham, Accuracy and Stability, section 3.1).

    The longest way of a term: a product, a chain of CHAIN sums, one sum for each block of terms.
    """
    K = A.shape[1]
    u = np.finfo(A.dtype).eps / 2
    n = 1 + min(K, CHAIN) + -(-K // CHAIN) + extra
    exact = A.astype(np.longdouble) @ B.astype(np.longdouble) * factor
    scale = np.abs(A).astype(np.longdouble) @ np.abs(B).astype(np.longdouble) * np.abs(factor)
    assert C.dtype == A.dtype
    assert C.shape == exact.shape
    assert np.all(np.abs(C - exact) <= n * u / (1 - n * u) * scale)


# Values ----------------------------------------------------------------------------------------------


@isas
@dtypes
@kinds
@given(M=st.sampled_from(SIZES), K=st.sampled_from(SIZES), N=st.sampled_from(SIZES), seed=st.integers(0, 99))
@example(M=7, K=511, N=17, seed=0)
@example(M=7, K=512, N=17, seed=0)
@example(M=98, K=513, N=5, seed=0)
@example(M=193, K=1030, N=67, seed=0)
@example(M=1, K=2000, N=130, seed=0)
@example(M=13, K=30, N=1100, seed=0)
@example(M=1100, K=30, N=5, seed=0)
@example(M=512, K=20, N=1024, seed=0)  # AᵀD: rows a page apart, both operands copied
def test_values(isa, dtype, kind, M, K, N, seed):
    A, B = random((M, K), dtype, seed), random((K, N), dtype, seed + 1)
    assert_within_theory(product(kind, A, B, isa), A, B)


@isas
@dtypes
@kinds
@pytest.mark.parametrize("N", range(1, 17))
def test_integers_are_exact(isa, dtype, kind, N):
    rng = np.random.default_rng(N)
    A, B = rng.integers(-9, 10, (37, 600)), rng.integers(-9, 10, (600, N))
    C = product(kind, A.astype(dtype), B.astype(dtype), isa)
    assert np.array_equal(C, A @ B)


@isas
@dtypes
@pytest.mark.parametrize("shape", [(33, 70, 100), (32, 600, 64), (1, 0, 3), (5, 4, 1), (0, 4, 9)])
def test_bias_and_relu(isa, dtype, shape):
    M, K, N = shape
    A, B, b = random((M, K), dtype), random((K, N), dtype, 1), random(N, dtype, 2)
    plain = native.matmul(A, B, isa=isa)
    assert same_bits(native.matmul(A, B, b, isa=isa), plain + b)
    assert same_bits(native.matmul(A, B, b, isa=isa, relu=True), np.maximum(plain + b, 0))


@isas
@dtypes
@kinds
def test_nothing_summed_is_zero(isa, dtype, kind):
    C = product(kind, np.empty((70, 0), dtype), np.empty((0, 90), dtype), isa)
    assert same_bits(C, np.zeros((70, 90), dtype))


@isas
@dtypes
@kinds
@pytest.mark.parametrize("N", [1, 3, 10, 65])
def test_nan_and_infinity_reach_their_row_and_column_only(isa, dtype, kind, N):
    A, B = random((20, 40), dtype), random((40, N), dtype, 1)
    A[3, 7], A[11, 39], B[5, N - 1] = np.nan, np.inf, -np.inf
    C = product(kind, A, B, isa)
    with np.errstate(invalid="ignore"):
        expected = A.astype(np.float64) @ B.astype(np.float64)
    assert np.array_equal(np.isnan(C), np.isnan(expected))
    assert np.array_equal(np.isposinf(C), np.isposinf(expected))
    assert np.array_equal(np.isneginf(C), np.isneginf(expected))
    assert np.all(np.isnan(C[3]))


# Bits ------------------------------------------------------------------------------------------------


@isas
@dtypes
@kinds
@pytest.mark.parametrize("K", [1, 4, 100, 1100])
def test_a_row_alone_equals_that_row_in_a_batch(isa, dtype, kind, K):
    A, B = random((25, K), dtype), random((K, 75), dtype, 1)
    whole = product(kind, A, B, isa)
    for rows in ([0], [13], [24], [3, 4], range(5, 22)):
        assert same_bits(product(kind, A[list(rows)], B, isa), whole[list(rows)])


@isas
@dtypes
@kinds
def test_a_column_alone_equals_that_column_among_others(isa, dtype, kind):
    A, B = random((25, 700), dtype), random((700, 150), dtype, 1)
    whole = product(kind, A, B, isa)
    for first, last in [(0, 1), (149, 150), (3, 20), (60, 70), (0, 64), (30, 149)]:
        assert same_bits(product(kind, A, B[:, first:last].copy(), isa), whole[:, first:last].copy())


@isas
@dtypes
def test_all_products_have_the_same_bits(isa, dtype):
    for M, K, N in [(300, 700, 3), (3, 40, 300), (70, 1030, 70)]:
        A, B = random((M, K), dtype), random((K, N), dtype, 1)
        results = [product(kind, A, B, isa) for kind in KINDS]
        assert all(same_bits(C, results[0]) for C in results)


@dtypes
def test_sets_with_fused_multiply_add_have_the_same_bits(dtype):
    fused = [isa for isa in ("avx2", "avx512") if isa in ISAS]
    A, B = random((40, 1100), dtype), random((1100, 77), dtype, 1)
    results = [native.matmul(A, B, isa=isa) for isa in fused]
    assert all(same_bits(C, results[0]) for C in results)


@isas
@dtypes
@kinds
@given(data=st.data())
def test_parts_equal_the_whole_and_nothing_else_is_written(isa, dtype, kind, data):
    M, K, N = (data.draw(st.sampled_from([1, 5, 17, 33, 100, 200])) for _ in range(3))
    K = data.draw(st.sampled_from([K, 520]))
    A, B = random((M, K), dtype), random((K, N), dtype, 1)
    block = native.product_block(np.dtype(dtype).name, isa)
    guarded = np.full((M + 2, N + 7), 12345, dtype)
    end = column_end(kind, guarded[:, :N], isa)
    rows = sorted(data.draw(st.lists(st.integers(0, M), min_size=2, max_size=5)))
    columns = sorted(data.draw(st.lists(st.integers(0, end), min_size=2, max_size=4)))
    expected = guarded.copy()
    inside = np.s_[1 + rows[0] : 1 + rows[-1], 3 + columns[0] : 3 + columns[-1]]
    if kind != "t_matmul":
        inside = np.s_[1 + rows[0] : 1 + rows[-1], 3 + columns[0] * block : 3 + min(N, columns[-1] * block)]
    whole = np.full_like(guarded, 0)
    whole[1:-1, 3:-4] = product(kind, A, B, isa)
    expected[inside] = whole[inside]
    parts(kind, A, B, guarded[1:-1, 3:-4], rows, columns, isa)
    assert same_bits(guarded, expected)


@isas
@dtypes
@kinds
@pytest.mark.parametrize("shift", [1, 3, 5])
def test_alignment_and_strides_do_not_matter(isa, dtype, kind, shift):
    def moved(x):
        """The same matrix, off the alignment of its items and with NaN after each row."""
        rows, columns = x.shape
        space = np.full(rows * (columns + shift) + 64, np.nan, dtype)
        view = space[shift : shift + rows * (columns + shift)].reshape(rows, -1)[:, :columns]
        view[:] = x
        return view

    A, B = random((50, 90), dtype), random((90, 70), dtype, 1)
    whole = product(kind, A, B, isa)
    left, right = kind.startswith("t_"), kind == "matmul_t"
    C = moved(np.zeros_like(whole))
    columns = [0, column_end(kind, C, isa)]
    native.multiply_parts(kind, moved(A.T if left else A), moved(B.T if right else B), C, [0, 50], columns, isa)
    assert same_bits(C.copy(), whole)


# Epilogues -------------------------------------------------------------------------------------------

SLOPES = {  # of the activation a, with the roundings of s(a) and of its product with A·B
    "times_relu_slope": (lambda a: (a > 0).astype(a.dtype), 1),
    "times_tanh_slope": (lambda a: (1 - a) * (1 + a), 4),
    "times_sigmoid_slope": (lambda a: a * (1 - a), 3),
}
AWKWARD = [1, 7, 8, 9, 15, 16, 17, 31, 33, 100]


def guarded(M, N, dtype):
    """Space filled with a mark, and the (M, N) inside it."""
    space = np.full((M + 2, N + 9), 12345, dtype)
    return space, space[1:-1, 4:-5]


def blocks_of(N, dtype, isa):
    return -(-N // native.product_block(np.dtype(dtype).name, isa))


def multiply_slope(kind, A, B, a, name, isa, rows=None):
    """(A·B) ⊙ s(a), the other elements of the space untouched."""
    M, N = a.shape
    space, C = guarded(M, N, dtype=A.dtype)
    right = np.ascontiguousarray(B.T) if kind == "matmul_t" else B
    native.multiply_parts(
        kind, A, right, C, rows or [0, M], [0, blocks_of(N, A.dtype, isa)], isa, epilogue=name, other=a
    )
    result = C.copy()
    C[:] = 12345
    assert np.all(space == 12345)
    return result


@isas
@dtypes
@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("kind", ["matmul", "matmul_t"])
@given(M=st.sampled_from(AWKWARD), K=st.sampled_from([*AWKWARD, 600]), N=st.sampled_from(AWKWARD))
@example(M=97, K=1030, N=130)
@example(M=5, K=0, N=70)
def test_slopes(isa, dtype, name, kind, M, K, N):
    slope, roundings = SLOPES[name]
    A, B, a = random((M, K), dtype), random((K, N), dtype, 1), random((M, N), dtype, 2)
    a[0, 0] = 0
    C = multiply_slope(kind, A, B, a, name, isa)
    assert_within_theory(C, A, B, roundings, slope(a.astype(np.longdouble)))
    assert same_bits(C, product(kind, A, B, isa) * slope(a))
    spread = np.full((M, N + 3), np.nan, dtype)
    spread[:, :N] = a
    assert same_bits(multiply_slope(kind, A, B, spread[:, :N], name, isa, [0, M // 3, M // 2, M]), C)


@isas
@dtypes
def test_slopes_at_infinity_and_nan_are_products(isa, dtype):
    A = np.array([[np.inf], [-np.inf], [np.nan], [-1], [2]], dtype)
    a = np.tile(np.array([-1, 0, 1, np.nan, np.inf], dtype), (5, 1))
    with np.errstate(invalid="ignore"):
        for name, (slope, _) in SLOPES.items():
            C = multiply_slope("matmul", A, np.ones((1, 5), dtype), a, name, isa)
            np.testing.assert_array_equal(C, A * slope(a))


@isas
@dtypes
@pytest.mark.parametrize("name", ["bias", "bias_relu"])
@given(M=st.sampled_from(AWKWARD), N=st.sampled_from(AWKWARD))
def test_bias_epilogues_write_their_part_only(isa, dtype, name, M, N):
    A, B, b = random((M, 30), dtype), random((30, N), dtype, 1), random((1, N), dtype, 2)
    expected = product("matmul", A, B, isa) + b
    space, C = guarded(M, N, dtype)
    native.multiply_parts("matmul", A, B, C, [0, M], [0, blocks_of(N, dtype, isa)], isa, epilogue=name, bias=b)
    assert same_bits(C.copy(), np.maximum(expected, 0) if name == "bias_relu" else expected)
    C[:] = 12345
    assert np.all(space == 12345)


# Packing ---------------------------------------------------------------------------------------------


def packed(B, isa):
    """The packed copy by its definition: blocks of columns, the last one filled with zeros."""
    K, N = B.shape
    name = B.dtype.name
    block, size = native.product_block(name, isa), native.packed_size(K, N, name, isa)
    wide = np.zeros((K, size // K), B.dtype)
    wide[:, :N] = B
    return np.concatenate([wide[:, j : j + block].ravel() for j in range(0, N, block)])


@isas
@dtypes
@pytest.mark.parametrize("by", ["blocks", "transposed", "rows"])
@given(K=st.sampled_from(AWKWARD), N=st.sampled_from([*AWKWARD, 130]))
def test_packing_whole_and_in_parts(isa, dtype, K, N, by):
    B = random((K, N), dtype)
    expected = packed(B, isa)
    source = np.full((N, K + 3) if by == "transposed" else (K, N + 3), np.nan, dtype)
    source = source[:, :K] if by == "transposed" else source[:, :N]
    source[:] = B.T if by == "transposed" else B
    end = K if by == "rows" else blocks_of(N, dtype, isa)
    for cuts in ([0, end], range(end + 1), [0, end // 3, end // 2, end]):
        space = np.full(len(expected) + 40, 12345, dtype)
        native.pack_parts(by, source, space[17:-23], list(cuts), isa)
        assert same_bits(space[17:-23], expected)
        assert np.all(space[:17] == 12345)
        assert np.all(space[-23:] == 12345)


@isas
@dtypes
@pytest.mark.parametrize("by", ["blocks", "transposed", "rows"])
def test_packing_a_part_leaves_the_rest(isa, dtype, by):
    B = random((200, 320), dtype)  # whole blocks: no filling
    whole = packed(B, isa)
    rows, columns = (x.astype(dtype) for x in np.indices(B.shape))
    place = packed(rows if by == "rows" else columns, isa)
    first, last = (30, 64) if by == "rows" else (1, 3)
    size = 1 if by == "rows" else native.product_block(np.dtype(dtype).name, isa)
    result = np.full_like(whole, 12345)
    native.pack_parts(by, B.T.copy() if by == "transposed" else B, result, [first, last], isa)
    inside = (place >= first * size) & (place < last * size)
    assert same_bits(result, np.where(inside, whole, dtype(12345)))


# Sums of columns -------------------------------------------------------------------------------------


@isas
@dtypes
@given(K=st.sampled_from([0, 1, 2, 9, 33, 511, 512, 513, 1100]), N=st.sampled_from([*AWKWARD, 65, 300]))
def test_column_sums(isa, dtype, K, N):
    D = np.full((K, N + 5), np.nan, dtype)[:, :N]
    D[:] = random((K, N), dtype)
    ones = np.ones((1, K), dtype)
    space = np.full(N + 40, 12345, dtype)
    sums = space[17:-23]
    native.column_sums(D, sums, [0, N], isa)
    assert_within_theory(sums[None], ones, D)
    expected = np.zeros(N, dtype)
    for k in range(0, K, CHAIN):  # cumsum adds one by one
        expected = expected + np.cumsum(D[k : k + CHAIN], axis=0)[-1]
    assert same_bits(sums, expected)
    assert same_bits(sums[None], native.matmul(ones, D.copy(), isa=isa))
    assert np.all(space[:17] == 12345)
    assert np.all(space[-23:] == 12345)
    in_parts = np.full(N, 12345, dtype)
    native.column_sums(D, in_parts, [N // 5, N // 3, N // 2, N - N // 7], isa)
    expected[: N // 5] = expected[N - N // 7 :] = 12345
    assert same_bits(in_parts, expected)


# Bad input -------------------------------------------------------------------------------------------


def test_bad_input_is_refused_with_what_came():
    A, B = np.zeros((2, 3)), np.zeros((4, 5))
    with pytest.raises(ValueError, match=r"a \(2, 3\), b \(4, 5\); expected \(M, K\) and \(K, N\)"):
        native.matmul(A, B)
    with pytest.raises(ValueError, match=r"expected \(M, K\) and \(N, K\)"):
        native.matmul_t(A, B)
    with pytest.raises(ValueError, match=r"expected \(K, M\) and \(K, N\)"):
        native.t_matmul(A, B)
    with pytest.raises(ValueError, match=r"bias must have shape \(5,\).*got \(4,\)"):
        native.matmul(np.zeros((2, 4)), B, np.zeros(4))
    with pytest.raises(ValueError, match=r'instruction set must be one.*baseline.*got "mmx"'):
        native.matmul(A, A.T.copy(), isa="mmx")
    with pytest.raises(ValueError, match=r"a must be a matrix; got shape \(3,\)"):
        native.matmul(np.zeros(3), B)
    with pytest.raises(TypeError, match="both be float32 or both be float64"):
        native.matmul(A, np.zeros((3, 2), np.float32))
    with pytest.raises(TypeError, match="both be float32 or both be float64"):
        native.matmul(np.zeros((2, 3), int), np.zeros((3, 2), int))


# Timing helpers --------------------------------------------------------------------------------------


@isas
def test_timing_helpers_return_rates(isa):
    assert native.fma_peak("float32", isa) > 0
    times = native.time_product("matmul_t", 8, 9, 10, "float64", isa, repeats=2)
    assert {name: len(values) for name, values in times.items()} == {"peak": 2, "product": 2, "packing": 2}
    assert min(times["product"]) > 0
