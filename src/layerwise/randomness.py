"""Random numbers that depend on their address only: (seed, stream, index, position).

Floor 0; imports NumPy and the errors. No state is kept: any number can be made again, alone, on any machine and
by any engine. This is the whole recipe; all integers are unsigned 64-bit words.

**Bits.** The block ``j`` (0, 1, 2, …) of an address is Philox4x64-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
numbers: as easy as 1, 2, 3", 2011) of the key ``(seed, stream)`` and the counter ``(j, index, 0, 0)``. The first block
has counter word 0 equal to 0. Position ``i`` is word ``i mod 4`` of block ``i div 4``. One block:

    c, k = counter, key
    repeat 10 times:
        high0:low0 = 0xD2E7470EE14C6C93 · c[0]        (128-bit products)
        high1:low1 = 0xCA5A826395121157 · c[2]
        c = (high1 ^ c[1] ^ k[0],  low1,  high0 ^ c[3] ^ k[1],  low0)
        k = (k[0] + 0x9E3779B97F4A7C15,  k[1] + 0xBB67AE8584CAA73B)        (mod 2^64)

``numpy.random.Philox`` adds 1 to its 256-bit counter before each block, so it is started one below.

**Uniform.** ``u = (bits >> 11) · 2^-53``: a multiple of 2^-53 in [0, 1), exact.

**Normal.** ``q = (u - 0.5) + 2^-54``, exact: the middle of the step of u, less 1/2, so q is symmetric about 0 and
never ±1/2. z is the inverse normal distribution function at q + 1/2 by AS 241, routine PPND16 (Wichura 1988):

    |q| <= 0.425:  r = 0.180625 - q·q;                z = A(r)·q / B(r)
    otherwise:     r = sqrt(-log(0.5 - |q|))
        r <= 5:    r = r - 1.6;                       z = ± C(r) / D(r), with the sign of q
        r >  5:    r = r - 5;                         z = ± E(r) / F(r)

with polynomials by Horner's rule, ``value = value · r + coefficient`` from the highest power down, and

    log(p):  p = m · 2^e with 1/2 <= m < 1 (frexp); where m < sqrt(1/2): m = 2m, e = e - 1
             s = (m - 1)/(m + 1);  w = s·s;  T = Σ w^k/(2k + 1), k = 0 … 10, by Horner's rule
             log(p) = e·LN2_HIGH + (e·LN2_LOW + (2·s)·T)

Every operation is one of + - · / sqrt on float64, rounded to nearest, in the written order. IEEE 754 fixes each result
to the last bit, so no mathematical library takes part; a compiler must not join a multiplication and an addition
(``-ffp-contract=off``).

**Numbers for the elements of a matrix**, which a step of training wants many of and quickly, come from the smaller
Philox4x32-10 of the same paper. One block has 128 bits, and its words are unsigned and 32-bit:

    c, k = counter, key
    repeat 10 times:
        high0:low0 = 0xD2511F53 · c[0]        (64-bit products)
        high1:low1 = 0xCD9E8D57 · c[2]
        c = (high1 ^ c[1] ^ k[0],  low1,  high0 ^ c[3] ^ k[1],  low0)
        k = (k[0] + 0x9E3779B9,  k[1] + 0xBB67AE85)        (mod 2^32)

The key is the seed, lower half first. The counter of block b < 2^48 of the stream s < 2^16 at the step t < 2^64 is

    (b mod 2^32,  (b div 2^32) + 2^16 · s,  t mod 2^32,  t div 2^32)

so that no two addresses share a block. These streams are numbers of their own, not those of `Stream`: the other
generator has other blocks. A block gives P = 8 numbers of 16 bits, or P = 4 of 24. In a matrix of n columns a row has
B = ceil(n / P) blocks, and element (r, c) is piece c div B of block r·B + (c mod B): elements side by side are the same
piece of neighbouring blocks, which vectors of any width compute side by side. Piece p is

    16 bits:  half (p mod 2) of word (p div 2), the lower one first, · 2^-16
    24 bits:  (word p >> 8) · 2^-24

a number in [0, 1), exact in every precision.

**Permutation.** The n positions 0 … n-1 in ascending order of their n words of bits; equal words in ascending order
of position.
"""

from __future__ import annotations

import operator
from enum import IntEnum
from typing import SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from layerwise.errors import DataError

_F64: TypeAlias = npt.NDArray[np.float64]

_WORD = 2**64
_PIECES = {16: 8, 24: 4}  # of a block of 128 bits: bits of a number → numbers

# AS 241, coefficients from the constant term up. First pair: |q| <= 0.425.
_A = (
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
_B = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
# r <= 5
_C = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)
_D = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
# r > 5
_E = (
    6.65790464350110377720e0,
    5.46378491116411436990e0,
    1.78482653991729133580e0,
    2.96560571828504891230e-1,
    2.65321895265761230930e-2,
    1.24266094738807843860e-3,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
_F = (
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)
# ln 2 in two parts; the upper has 32 bits, so e · upper is exact for every exponent (fdlibm e_log.c).
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF = 0.7071067811865476
# atanh(s)/s in powers of s² <= 0.0295; the first term left out is below 2^-57 of the sum.
_ATANH = tuple(1.0 / (2 * k + 1) for k in range(11))


class Stream(IntEnum):
    """What a random number is for; two purposes never share numbers. A number given here is never given again."""

    INITIAL_WEIGHTS = 1
    SHUFFLE = 2
    SPLIT = 3
    START_ON_ROWS = 4


def random_bits(seed: int, stream: int, index: int, n: int) -> npt.NDArray[np.uint64]:
    """The first `n` random words of an address.

    Parameters
    ----------
    seed, stream, index : int in [0, 2**64)
        The address: the user's seed, a `Stream`, and whatever counts within it (layer, epoch, …).
    n : int >= 0
        How many; the first k of n words are the k words.

    Returns
    -------
    (n,) uint64

    Raises
    ------
    DataError
        For a number that is no integer or out of its range.

    References
    ----------
    Salmon et al. (2011), Philox4x64-10; the module's text has the recipe.

    Examples
    --------
    >>> [hex(word) for word in random_bits(0, 0, 0, 2).tolist()]
    ['0x16554d9eca36314c', '0xdb20fe9d672d0fdc']
    """
    key = _word("seed", seed) | _word("stream", stream) << 64
    count = _integer("n", n)
    if count < 0:
        raise DataError(f"n must be an integer of 0 or more; got {count}.")
    # NumPy counts up before it makes a block: start one below (j = 0, index), modulo 2^256.
    counter = ((_word("index", index) << 64) - 1) % 2**256
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def uniform(seed: int, stream: int, index: int, shape: int | tuple[int, ...]) -> _F64:
    """Uniform random numbers in [0, 1), multiples of 2^-53.

    Parameters
    ----------
    seed, stream, index : int in [0, 2**64)
        The address, as in `random_bits`.
    shape : int or tuple of int
        Filled in C order, so arrays of other shapes hold the same numbers in the same order.

    Returns
    -------
    (*shape) float64

    Raises
    ------
    DataError
        As `random_bits`; or for a negative size.

    Examples
    --------
    >>> uniform(7, Stream.SPLIT, 0, (2, 3)).shape
    (2, 3)
    """
    sizes = _sizes(shape)
    bits = random_bits(seed, stream, index, _product(sizes))
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(sizes)


def normal(seed: int, stream: int, index: int, shape: int | tuple[int, ...]) -> _F64:
    """Random numbers of the standard normal distribution.

    Parameters
    ----------
    seed, stream, index : int in [0, 2**64)
        The address, as in `random_bits`.
    shape : int or tuple of int
        Filled in C order.

    Returns
    -------
    (*shape) float64
        In ±8.3 (the quantile at 2^-54), symmetric about 0, never 0.

    Raises
    ------
    DataError
        As `uniform`.

    Notes
    -----
    The same bits on every machine. Against 50-digit arithmetic the inverse distribution function is within
    5 ULP (4.3 measured), the logarithm in it within 1 (0.62 measured).

    References
    ----------
    Wichura (1988), Algorithm AS 241: The percentage points of the normal distribution.

    Examples
    --------
    >>> normal(7, Stream.INITIAL_WEIGHTS, 1, 100_000).std().round(2).item()
    1.0
    """
    u = uniform(seed, stream, index, shape)
    # 2^-54 is added after 1/2 is taken away: u + 2^-54 would be rounded, and up to 1 at the upper end.
    return _normal_quantile((u - 0.5) + 2.0**-54)


def permutation(seed: int, stream: int, index: int, n: int) -> npt.NDArray[np.int64]:
    """A random order of 0 … n-1.

    Parameters
    ----------
    seed, stream, index : int in [0, 2**64)
        The address, as in `random_bits`.
    n : int >= 0
        How many positions.

    Returns
    -------
    (n,) int64
        Each of 0 … n-1 once; every order equally likely up to ties of 64-bit words (n²/2^65).

    Raises
    ------
    DataError
        As `random_bits`.

    Examples
    --------
    >>> sorted(permutation(7, Stream.SHUFFLE, 1, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.argsort(random_bits(seed, stream, index, n), kind="stable").astype(np.int64, copy=False)


def small_blocks(seed: int, step: int, stream: int, blocks: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Blocks of 128 bits of an address of elements.

    Parameters
    ----------
    seed, step : int in [0, 2**64)
    stream : int in [0, 2**16)
    blocks : (n,) int in [0, 2**48)
        Their numbers.

    Returns
    -------
    (4, n) uint32
        Word by word.

    Raises
    ------
    DataError
        For a number that is no integer or out of its range.

    References
    ----------
    Salmon et al. (2011), Philox4x32-10; the module's text has the recipe.

    Examples
    --------
    >>> [hex(word) for word in small_blocks(0, 0, 0, [0])[:, 0].tolist()]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    seed, step = _word("seed", seed), _word("step", step)
    if not 0 <= _integer("stream", stream) < 2**16:
        raise DataError(f"stream must be an integer from 0 to 2**16 - 1; got {stream}.")
    given = np.asarray(blocks)
    if given.size and (given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= 2**48):
        raise DataError(f"The numbers of blocks must be integers from 0 to 2**48 - 1; got {given}.")
    b = given.astype(np.uint64)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    key = [np.uint64(seed % 2**32), np.uint64(seed >> 32)]
    c0, c1 = b & low, (b >> half) | np.uint64(stream << 16)
    c2, c3 = np.full_like(b, step % 2**32), np.full_like(b, step >> 32)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ key[0], p1 & low, (p0 >> half) ^ c3 ^ key[1], p0 & low
        key = [(key[0] + np.uint64(0x9E3779B9)) & low, (key[1] + np.uint64(0xBB67AE85)) & low]
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def uniform_matrix(seed: int, step: int, stream: int, rows: int, columns: int, bits: int) -> _F64:
    """Uniform random numbers in [0, 1) for the elements of a matrix.

    Parameters
    ----------
    seed, step : int in [0, 2**64)
    stream : int in [0, 2**16)
        What tells apart the matrices of a step.
    rows, columns : int >= 0
        A row of a matrix depends on its number and on how many columns there are, not on how many rows.
    bits : {16, 24}
        The numbers are multiples of 2^-bits.

    Returns
    -------
    (rows, columns) float64

    Raises
    ------
    DataError
        As `small_blocks`; or for a negative size, more than 2**48 blocks, or other bits.

    Examples
    --------
    >>> uniform_matrix(7, 1, 0, 2, 3, 16).shape
    (2, 3)
    """
    rows, columns = _sizes((rows, columns))
    if bits not in _PIECES:
        raise DataError(f"bits must be 16 or 24; got {bits!r}.")
    pieces = _PIECES[bits]
    across = -(-columns // pieces)
    words = small_blocks(seed, step, stream, np.arange(rows * across, dtype=np.uint64))
    if bits == 16:
        numbers = np.stack([words & np.uint32(0xFFFF), words >> np.uint32(16)], axis=1)
    else:
        numbers = words >> np.uint32(8)
    # (piece, row, block of the row) → in a row piece after piece.
    drawn = numbers.reshape(pieces, rows, across).transpose(1, 0, 2).reshape(rows, pieces * across)
    return drawn[:, :columns].astype(np.float64) * 2.0**-bits


def _normal_quantile(q: _F64) -> _F64:
    """Inverse normal distribution function at q + 1/2, for q in (-1/2, 1/2)."""
    z = np.empty_like(q)
    size = np.abs(q)
    centre = size <= 0.425
    x = q[centre]
    r = 0.180625 - x * x
    z[centre] = _horner(_A, r) * x / _horner(_B, r)
    outside = ~centre
    r = np.sqrt(_minus_log(0.5 - size[outside]))
    far = r > 5.0
    value = _horner(_C, r - 1.6) / _horner(_D, r - 1.6)
    value[far] = _horner(_E, r[far] - 5.0) / _horner(_F, r[far] - 5.0)
    z[outside] = np.copysign(value, q[outside])
    return z


def _minus_log(p: _F64) -> _F64:
    """-log(p) for normal p > 0.

    Not `np.log`: it comes from the machine's mathematical library or vector unit, and these differ in the last
    bit. The atanh series needs only operations that IEEE 754 rounds in one way.
    """
    m, e = np.frexp(p)
    low = m < _SQRT_HALF
    m = np.where(low, 2.0 * m, m)
    e = np.where(low, e - 1, e).astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    return -(e * _LN2_HIGH + (e * _LN2_LOW + (2.0 * s) * _horner(_ATANH, s * s)))


def _horner(coefficients: tuple[float, ...], t: _F64) -> _F64:
    value = np.full_like(t, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value *= t
        value += coefficient
    return value


def _integer(name: str, value: SupportsIndex) -> int:
    if isinstance(value, (bool, np.bool_)):
        raise DataError(f"{name} must be an integer; got {value!r}.")
    try:
        return operator.index(value)
    except TypeError:
        raise DataError(f"{name} must be an integer; got {value!r} of type {type(value).__name__}.") from None


def _word(name: str, value: SupportsIndex) -> int:
    number = _integer(name, value)
    if not 0 <= number < _WORD:
        raise DataError(f"{name} must be an integer from 0 to 2**64 - 1; got {number}.")
    return number


def _sizes(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    sizes = tuple(_integer("a size in shape", d) for d in (shape if isinstance(shape, tuple) else (shape,)))
    if any(size < 0 for size in sizes):
        raise DataError(f"shape must hold sizes of 0 or more; got {shape}.")
    return sizes


def _product(sizes: tuple[int, ...]) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count
