"""Random words and orders of the native module: those of layerwise.randomness, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise import randomness
from layerwise.randomness import Stream

native = pytest.importorskip("layerwise._native")

TOP = 2**64 - 1
SEEDS = [0, 1, 42, 2**32, 2**63, TOP]
ADDRESSES = [(seed, Stream.SHUFFLE, 1) for seed in SEEDS] + [(7, 0, 0), (7, TOP, 2**63), (2**63 - 1, 1, TOP)]
GUARD = 16


def words(address, first, n):
    """What the module writes, which must leave alone what stands around it."""
    out = np.full(n + 2 * GUARD, 0x5A5A5A5A5A5A5A5A, np.uint64)
    native.random_words(*address, first, out[GUARD : GUARD + n])
    assert (np.delete(out, np.s_[GUARD : GUARD + n]) == 0x5A5A5A5A5A5A5A5A).all()
    return out[GUARD : GUARD + n]


def permutation(address, n, fill=0):
    """The same, with a workspace of the least size that holds something."""
    size = native.permutation_workspace(n)
    workspace = np.full(size + 2 * GUARD, fill, np.uint64)
    out = np.full(n + 2 * GUARD, -1, np.int64)
    native.permutation(*address, out[GUARD : GUARD + n], workspace[GUARD : GUARD + size])
    assert (np.delete(out, np.s_[GUARD : GUARD + n]) == -1).all()
    assert (np.delete(workspace, np.s_[GUARD : GUARD + size]) == fill).all()
    return out[GUARD : GUARD + n]


# Words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
def test_words(address):
    np.testing.assert_array_equal(words(address, 0, 1001), randomness.random_bits(*address, 1001))


@pytest.mark.parametrize("first", range(9))
@pytest.mark.parametrize("n", range(10))
def test_words_from_any_position(first, n):
    np.testing.assert_array_equal(words((3, 2, 1), first, n), randomness.random_bits(3, 2, 1, first + n)[first:])


def test_words_far_out():
    # The counter's lowest word is the number of the block; NumPy is started one block before.
    for block in (2**32 - 1, 2**33, 2**62 - 2):
        far = np.random.Philox(key=5 | 3 << 64, counter=(9 << 64) + block - 1).random_raw(8)
        np.testing.assert_array_equal(words((5, 3, 9), 4 * block, 8), far)


# Orders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 100, 1023, 1024, 1025, 2047, 2048, 2049, 65536, 100003, 300000])
@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
def test_orders(address, n):
    np.testing.assert_array_equal(permutation(address, n), randomness.permutation(*address, n))


def test_every_small_number_of_positions():
    for n in range(300):
        np.testing.assert_array_equal(permutation((n, 2, 1), n), randomness.permutation(n, 2, 1, n))


@pytest.mark.parametrize("power", range(9, 19))
def test_numbers_of_positions_about_a_power_of_two(power):
    for n in (2**power - 1, 2**power, 2**power + 1):
        np.testing.assert_array_equal(permutation((1, 2, power), n), randomness.permutation(1, 2, power, n))


def test_many_epochs():
    for epoch in range(200):
        np.testing.assert_array_equal(permutation((5, 2, epoch), 3000), randomness.permutation(5, 2, epoch, 3000))


@pytest.mark.parametrize("n", [2, 1000, 5000])
def test_what_the_workspace_held_does_not_matter(n):
    expected = randomness.permutation(8, 2, 1, n)
    for fill in (0, 1, 2**63, TOP):
        np.testing.assert_array_equal(permutation((8, 2, 1), n, fill), expected)


def test_words_that_agree_in_their_upper_bits():
    # Beside a position of 23 bits stand 41 bits of its word. Some neighbours agree in these and only there, and not all
    # of them in the order of their positions: whole words must decide.
    n, address = 5_000_000, (0, Stream.SHUFFLE, 0)
    drawn = randomness.random_bits(*address, n)
    order = np.argsort(drawn, kind="stable")
    upper = drawn[order] >> np.uint64(23)
    close = np.flatnonzero(upper[1:] == upper[:-1])
    backwards = order[close] > order[close + 1]
    assert backwards.any()
    assert not backwards.all()
    np.testing.assert_array_equal(permutation(address, n), order)


def test_the_workspace_is_hardly_larger_than_the_order():
    for n in (0, 1, 2, 1000, 10**6, 2**31):
        assert native.permutation_workspace(n) <= n * 1.002 + 2


# Refusals --------------------------------------------------------------------------------------------


def test_what_is_too_small_is_refused():
    needed = native.permutation_workspace(1000)
    with pytest.raises(ValueError, match=f"workspace must have at least {needed} elements; got {needed - 1}"):
        native.permutation(0, 0, 0, np.empty(1000, np.int64), np.empty(needed - 1, np.uint64))


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, None])
def test_what_is_no_word_is_refused(seed):
    with pytest.raises(TypeError):
        native.permutation(seed, 0, 0, np.empty(2, np.int64), np.empty(9, np.uint64))


@pytest.mark.parametrize("out", [np.empty(3, np.float64), np.empty((3, 1), np.uint64), np.empty(6, np.uint64)[::2]])
def test_other_arrays_are_refused(out):
    with pytest.raises(TypeError):
        native.random_words(0, 0, 0, 0, out)
