"""Random numbers against the published Philox vectors, a second implementation, and the statistics they promise."""

from __future__ import annotations

import math
import statistics
import sys
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import uniform_by_hand

from layerwise import randomness
from layerwise.errors import DataError
from layerwise.randomness import Stream, normal, permutation, random_bits, small_blocks, uniform, uniform_matrix

TOP = 2**64 - 1


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """Philox4x64-10 as the module's text has it, in Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(second >> 64) ^ c[1] ^ k[0], second & TOP, (first >> 64) ^ c[3] ^ k[1], first & TOP]
        k = [(k[0] + 0x9E3779B97F4A7C15) & TOP, (k[1] + 0xBB67AE8584CAA73B) & TOP]
    return c


# Random123, tests/kat_vectors, philox4x64 with 10 rounds: counter, key, block
KNOWN_ANSWERS = [
    ("0 0 0 0", "0 0", "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    (
        "ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff",
        "ffffffffffffffff ffffffffffffffff",
        "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
    ),
    (
        "243f6a8885a308d3 13198a2e03707344 a4093822299f31d0 082efa98ec4e6c89",
        "452821e638d01377 be5466cf34e90c6c",
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
]


def words(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN_ANSWERS)
def test_the_written_recipe_gives_the_published_vectors(counter: str, key: str, block: str) -> None:
    first, second = words(key)
    assert philox(words(counter), (first, second)) == list(words(block))


def test_first_published_vector() -> None:
    assert random_bits(0, 0, 0, 4).tolist() == list(words(KNOWN_ANSWERS[0][2]))


@pytest.mark.parametrize("seed", [0, 1, 2**32, TOP])
@pytest.mark.parametrize("stream", [0, Stream.SHUFFLE, TOP])
@pytest.mark.parametrize("index", [0, 1, 12345, 2**63, TOP])
def test_bits_follow_the_written_recipe(seed: int, stream: int, index: int) -> None:
    expected = [word for j in range(3) for word in philox((j, index, 0, 0), (seed, stream))]
    bits = random_bits(seed, stream, index, 10)
    assert bits.dtype == np.uint64
    assert bits.tolist() == expected[:10]


def test_fixed_values() -> None:
    """A change of any of these breaks every saved seed."""
    assert [int(s) for s in Stream] == [1, 2, 3, 4]
    assert [v.hex() for v in normal(42, Stream.INITIAL_WEIGHTS, 1, 6).tolist()] == NORMALS
    assert permutation(42, Stream.SHUFFLE, 3, 10).tolist() == ORDER


NORMALS = [
    "0x1.d9ccaa1848008p-3",
    "0x1.0ea1302019463p-1",
    "0x1.9beb142f59155p-1",
    "-0x1.d50bc253540a9p+1",
    "0x1.b074775f54a42p-1",
    "0x1.270ffe6971546p-2",
]
ORDER = [5, 6, 4, 9, 1, 2, 0, 3, 7, 8]


def test_the_first_k_of_n_numbers_are_the_k_numbers() -> None:
    for draw in (uniform, normal):
        whole = draw(3, 1, 4, 1000)
        for shape in ((0,), (1,), (7,), (3, 5), (10, 10, 10)):
            part = draw(3, 1, 4, shape)
            assert part.shape == shape
            np.testing.assert_array_equal(part.ravel(), whole[: part.size])
    assert uniform(3, 1, 4, ()).shape == ()
    assert uniform(3, 1, 4, (5, 0)).shape == (5, 0)


def test_addresses_do_not_share_numbers() -> None:
    drawn = [random_bits(s, t, i, 64) for s in (0, 1, 2) for t in (1, 2, 3) for i in (0, 1, 2)]
    assert np.unique(np.concatenate(drawn)).size == 27 * 64


def test_uniform_is_the_upper_53_bits() -> None:
    u = uniform(5, 1, 0, 500)
    expected = [Fraction(int(word) >> 11, 2**53) for word in random_bits(5, 1, 0, 500)]
    assert [Fraction(float(v)) for v in u] == expected


def test_uniform_and_normal_distributions() -> None:
    """Fixed seeds, so these pass or fail for ever; the limits are 4 standard errors."""
    n = 400_000
    u, z = uniform(11, 1, 0, n), normal(11, 1, 0, n)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert scipy.stats.kstest(u, "uniform").pvalue > 0.01
    assert scipy.stats.kstest(z, "norm").pvalue > 0.01
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        spread = math.sqrt(scipy.stats.norm.moment(2 * power) - moment**2)
        assert abs(np.mean(z**power) - moment) < 4 * spread / math.sqrt(n)
    neighbours = np.corrcoef([z[0::4], z[1::4], z[2::4], z[3::4]])[np.triu_indices(4, 1)]
    assert np.abs(neighbours).max() < 4 / math.sqrt(n / 4)
    across = np.corrcoef([normal(11, s, i, 10_000) for s in (1, 2) for i in (0, 1)])[np.triu_indices(4, 1)]
    assert np.abs(across).max() < 4 / math.sqrt(10_000)


def quantile_arguments() -> np.ndarray:
    """Steps k of the uniform: the whole range, both tails down to the last step, the edges of the branches."""
    rng = np.random.default_rng(0)
    tail = np.concatenate([np.arange(64), 2 ** np.arange(53), (2.0 ** rng.uniform(0, 53, 500)).astype(np.int64)])
    edges = [int(p * 2**53) + d for p in (0.075, 0.5, math.exp(-25)) for d in range(-20, 21)]
    k = np.concatenate([rng.integers(0, 2**53, 1500), tail, 2**53 - 1 - tail, edges])
    return k[(k >= 0) & (k < 2**53)].astype(np.uint64)


def test_normal_quantile_against_multiple_precision() -> None:
    steps = quantile_arguments()
    q = (steps * 2.0**-53 - 0.5) + 2.0**-54
    z = randomness._normal_quantile(q)  # pyright: ignore[reportPrivateUsage]
    for k, centred, value in zip(steps.tolist(), q.tolist(), z.tolist(), strict=True):
        assert Fraction(centred) == Fraction(2 * k + 1, 2**54) - Fraction(1, 2)
        with mpmath.workdps(50):
            exact = mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(centred))
            assert abs(value - exact) <= 5 * mpmath.mpf(math.ulp(value)), k
    np.testing.assert_array_equal(randomness._normal_quantile(-q), -z)  # pyright: ignore[reportPrivateUsage]
    assert np.isfinite(z).all()


def test_normal_agrees_with_other_libraries() -> None:
    u = uniform(2, 1, 0, 20_000)
    middle = u + 2.0**-54
    z = normal(2, 1, 0, 20_000)
    # u + 2^-54 is rounded where u > 1/2, 2^-54 at most, which the quantile magnifies by 1/density < 2e5 here.
    np.testing.assert_allclose(z, scipy.special.ndtri(middle), rtol=1e-12, atol=1e-15)
    standard = statistics.NormalDist()
    np.testing.assert_allclose(z[:2000], [standard.inv_cdf(p) for p in middle[:2000].tolist()], rtol=1e-12, atol=1e-15)


def test_logarithm_within_one_ulp() -> None:
    p = np.concatenate(
        [np.linspace(1e-3, 0.075, 2000), 2.0 ** -np.arange(4.0, 55.0), 0.75 * 2.0 ** -np.arange(4.0, 54.0)]
    )
    for x, value in zip(p, randomness._minus_log(p), strict=True):  # pyright: ignore[reportPrivateUsage]
        with mpmath.workdps(40):
            assert abs(value + mpmath.log(mpmath.mpf(float(x)))) <= mpmath.mpf(math.ulp(value))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 17, 1000, 100_000])
def test_permutation_is_the_stable_order_of_the_bits(n: int) -> None:
    order = permutation(9, Stream.SHUFFLE, 2, n)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    if n <= 1000:
        keys = random_bits(9, Stream.SHUFFLE, 2, n).tolist()
        assert order.tolist() == sorted(range(n), key=keys.__getitem__)


def test_permutations_are_equally_likely() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(6000):
        order = tuple(permutation(1, Stream.SHUFFLE, epoch, 3).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 0.01


def test_global_state_is_neither_read_nor_changed() -> None:
    np.random.seed(0)
    first = normal(1, 1, 1, 5)
    before = np.random.get_state()[1].tolist()
    np.random.seed(1)
    np.testing.assert_array_equal(normal(1, 1, 1, 5), first)
    np.random.seed(0)
    normal(1, 1, 1, 5)
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.0, "1", None, True, np.float64(3)])
def test_wrong_addresses_are_refused_by_name(wrong: object) -> None:
    for position, name in enumerate(("seed", "stream", "index")):
        address: list[object] = [1, 1, 1]
        address[position] = wrong
        with pytest.raises(DataError, match=f"{name} must be an integer"):
            random_bits(*address, 4)  # type: ignore[arg-type]


def test_wrong_counts_are_refused() -> None:
    for wrong in (-1, 1.5, None):
        with pytest.raises(DataError, match="n must be an integer"):
            permutation(1, 1, 1, wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="sizes of 0 or more"):
        uniform(1, 1, 1, (2, -1))
    assert random_bits(np.int64(1), np.uint64(2), np.uint8(3), 2).tolist() == random_bits(1, 2, 3, 2).tolist()


def test_no_mathematical_library_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logarithms and the like come out differently on other machines; the numbers must not need them."""
    expected = normal(4, 1, 0, 1000)
    for name in ("log", "log1p", "log2", "exp", "expm1", "power", "arctanh"):
        monkeypatch.setattr(np, name, None)
    np.testing.assert_array_equal(normal(4, 1, 0, 1000), expected)
    assert "math" not in vars(sys.modules["layerwise.randomness"])


# Numbers for the elements of a matrix -------------------------------------------------------------------


# Random123, tests/kat_vectors, philox4x32 with 10 rounds: counter, key, block
SMALL_ANSWERS = [
    ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "block"), SMALL_ANSWERS)
def test_small_blocks_are_the_published_vectors(counter: str, key: str, block: str) -> None:
    c, (low, high) = words(counter), words(key)
    address = (low | high << 32, c[2] | c[3] << 32, c[1] >> 16)
    drawn = small_blocks(*address, [c[0] | (c[1] & 0xFFFF) << 32])
    assert drawn.dtype == np.uint32
    assert drawn[:, 0].tolist() == uniform_by_hand.philox_4x32(c, (low, high)) == list(words(block))


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (1, 1), (7, 3), (2, 8), (5, 9), (3, 64), (2, 257)])
@pytest.mark.parametrize("address", [(0, 0, 0), (TOP, TOP, 2**16 - 1), (2**63 + 5, 2**32 + 7, 300)], ids=repr)
def test_a_matrix_is_that_of_the_recipe(address, rows: int, columns: int, bits: int) -> None:
    drawn = uniform_matrix(*address, rows, columns, bits)
    np.testing.assert_array_equal(drawn, uniform_by_hand.matrix(*address, rows, columns, bits), strict=True)


def test_rows_do_not_depend_on_how_many_there_are() -> None:
    np.testing.assert_array_equal(uniform_matrix(1, 2, 3, 9, 50, 16)[:4], uniform_matrix(1, 2, 3, 4, 50, 16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 0, 1, 1, 16), "seed"),
        ((0, 2**64, 0, 1, 1, 16), "step"),
        ((0, 0, 2**16, 1, 1, 16), "stream"),
        ((0, 0, 0, -1, 1, 16), "sizes"),
        ((0, 0, 0, 1, 1, 32), "bits"),
    ],
)
def test_no_matrix_of_other_numbers(arguments, message: str) -> None:
    with pytest.raises(DataError, match=message):
        uniform_matrix(*arguments)


@pytest.mark.parametrize("number", [-1, 2**48, 2**64 - 1, 0.5])
def test_no_block_of_another_number(number: float) -> None:
    with pytest.raises(DataError, match="numbers of blocks"):
        small_blocks(0, 0, 0, [0, number])


def chi_square(values: np.ndarray, bins: int) -> float:
    counts = np.bincount((values * bins).astype(np.int64).ravel(), minlength=bins)
    expected = values.size / bins
    return float(((counts - expected) ** 2).sum() / expected)


@pytest.mark.parametrize("bits", [16, 24])
def test_each_piece_is_uniform(bits: int) -> None:
    pieces, bins, n = {16: 8, 24: 4}[bits], 256, 2**20
    limit = scipy.stats.chi2.isf(1e-6, bins - 1)
    # Numbers whose bins were off by 1.5 % would be found with a probability of 0.999.
    assert scipy.stats.ncx2.sf(limit, bins - 1, n * 0.015**2) > 0.999
    drawn = uniform_matrix(3, 1, 2, n // 64, 64 * pieces, bits).reshape(-1, pieces, 64)
    for p in range(pieces):
        assert chi_square(drawn[:, p], bins) < limit
        lower_bits = drawn[:, p] * 2.0 ** (bits - 8) % 1.0  # the last eight
        assert chi_square(lower_bits, bins) < limit


def test_all_numbers_of_16_bits_are_equally_likely() -> None:
    n, bins = 2**23, 2**16
    limit = scipy.stats.chi2.isf(1e-6, bins - 1)
    # Off by 2 % each: found with a probability of 0.999.
    assert scipy.stats.ncx2.sf(limit, bins - 1, n * 0.02**2) > 0.999
    assert chi_square(uniform_matrix(4, 1, 0, n // 1024, 1024, 16), bins) < limit


@pytest.mark.parametrize("bits", [16, 24])
def test_neighbours_are_independent(bits: int) -> None:
    rows, columns = 512, 520
    here = uniform_matrix(5, 10, 4, rows + 1, columns, bits)
    a = here[:-1]
    across = columns // {16: 8, 24: 4}[bits]
    others = {
        "step": uniform_matrix(5, 11, 4, rows, columns, bits),
        "far step": uniform_matrix(5, 10 + 2**32, 4, rows, columns, bits),
        "stream": uniform_matrix(5, 10, 5, rows, columns, bits),
        "seed": uniform_matrix(6, 10, 4, rows, columns, bits),
        "far seed": uniform_matrix(5 + 2**32, 10, 4, rows, columns, bits),
        "row": here[1:],
        "column": np.roll(a, 1, axis=1),
        "piece": np.roll(a, across, axis=1),
    }
    # Of independent numbers a correlation has the deviation 1/sqrt(n): 5.5 of them are passed with 4e-8. One of 0.02
    # would be 10 deviations, and found all but surely.
    bound = 5.5 / math.sqrt(a.size)
    assert bound < 0.011
    for name, b in others.items():
        for f in (lambda u: u, lambda u: (u - 0.5) ** 2, lambda u: u < 0.5):
            r = np.corrcoef(np.asarray(f(a), float).ravel(), np.asarray(f(b), float).ravel())[0, 1]
            assert abs(r) < bound, f"{name}: {r}"
