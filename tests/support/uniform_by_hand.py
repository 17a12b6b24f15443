"""The recipe for the elements of matrices (layerwise.randomness) in Python integers, number by number."""

from __future__ import annotations

import numpy as np

TOP = 2**32 - 1


def philox_4x32(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """The four words of a block."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(second >> 32) ^ c[1] ^ k[0], second & TOP, (first >> 32) ^ c[3] ^ k[1], first & TOP]
        k = [(k[0] + 0x9E3779B9) & TOP, (k[1] + 0xBB67AE85) & TOP]
    return c


def block(seed: int, step: int, stream: int, number: int) -> list[int]:
    """The words of a block of an address."""
    counter = (number & TOP, number >> 32 | stream << 16, step & TOP, step >> 32)
    return philox_4x32(counter, (seed & TOP, seed >> 32))


def element(seed: int, step: int, stream: int, columns: int, bits: int, at: tuple[int, int]) -> float:
    """The number of one element of a matrix with so many columns."""
    r, c = at
    across = -(-columns // (128 // {16: 16, 24: 32}[bits]))
    words, piece = block(seed, step, stream, r * across + c % across), c // across
    if bits == 24:
        return (words[piece] >> 8) / 2**24
    return (words[piece // 2] >> 16 * (piece % 2) & 0xFFFF) / 2**16


def matrix(seed: int, step: int, stream: int, rows: int, columns: int, bits: int) -> np.ndarray:
    """All of them."""
    drawn = [[element(seed, step, stream, columns, bits, (r, c)) for c in range(columns)] for r in range(rows)]
    return np.array(drawn, float).reshape(rows, columns)
