"""Random matrices of the native module: those of layerwise.randomness, to the bit, wherever they are made."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import uniform_by_hand
from program_words import Words

import layerwise as lw
from layerwise.engine.programs import NativeRunner
from layerwise.ops.random import uniform
from layerwise.randomness import uniform_matrix

native = importlib.import_module("layerwise._native")  # only the engine may import it by name
DTYPES = ["float32", "float64"]
ISAS = native.isas()
BITS = [16, 24]
ROWS = [1, 7, 33]
COLUMNS = [1, 3, 8, 9, 64, 100, 257, 1025, 2100]  # 129 and 263 blocks of 16-bit numbers: more than are made together
ADDRESS = (2**63 + 5, 2**40 + 3)
STREAM = 2**16 - 2


def address(seed: int = ADDRESS[0], step: int = ADDRESS[1]) -> np.ndarray:
    return np.array([seed, step], np.uint64).view(np.int64)


def rows_of(first: int, rows: int, columns: int, bits: int, dtype: str, isa: str, where=(*ADDRESS, STREAM)):
    """What the module writes, which must leave alone what stands around it."""
    out = np.full((rows + 2, columns), -7, dtype)
    native.uniform_rows(*where, bits, first, out[1:-1], isa)
    assert (out[[0, -1]] == -7).all()
    return out[1:-1]


# Kernel ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("columns", COLUMNS)
def test_rows(columns: int, bits: int, dtype: str, isa: str) -> None:
    expected = uniform_matrix(*ADDRESS, STREAM, 300, columns, bits).astype(dtype)
    for first, rows in [(0, 1), (0, 7), (0, 33), (0, 300), (5, 1), (17, 33), (299, 1), (4, 0)]:
        got = rows_of(first, rows, columns, bits, dtype, isa)
        np.testing.assert_array_equal(got, expected[first : first + rows], strict=True)


@pytest.mark.parametrize("isa", ISAS)
def test_published_vectors(isa: str) -> None:
    """Random123, philox4x32 with 10 rounds: a row of 8 numbers of 16 bits is one block."""
    answers = [
        ((0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**64 - 1, 2**64 - 1, 2**16 - 1), 2**48 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0x299F31D0A4093822, 0x0370734413198A2E, 0x85A3), 0x08D3243F6A88, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]
    for where, block, words in answers:
        halves = (rows_of(block, 1, 8, 16, "float32", isa, where)[0] * 2**16).astype(np.uint32)
        assert (halves[1::2] << 16 | halves[::2]).tolist() == [int(word, 16) for word in words.split()]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_on_both_sides_of_32_bits(dtype: str, isa: str) -> None:
    columns, bits, first = 24, 16, 2**32 // 3 - 2
    got = rows_of(first, 5, columns, bits, dtype, isa)
    for r in range(5):
        for c in range(columns):
            assert got[r, c] == uniform_by_hand.element(*ADDRESS, STREAM, columns, bits, (first + r, c))


@pytest.mark.parametrize(("stream", "bits", "message"), [(2**16, 16, "stream"), (0, 17, "bits")])
def test_other_numbers_are_refused(stream: int, bits: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native.uniform_rows(0, 0, stream, bits, 0, np.zeros((1, 1)))


# Programs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns", [1, 3, 8, 9, 64, 257])
def test_the_same_bits_however_a_program_is_cut(rows: int, columns: int, bits: int, dtype: str, isa: str) -> None:
    expected = uniform_matrix(*ADDRESS, STREAM, rows, columns, bits).astype(dtype)
    p = Words(dtype, isa=isa)
    where, gaps = p.bound(1, 2, integer=True), p.bound(rows, columns, stride=columns + 3, written=True)
    out, t = p.bound(rows, columns, written=True), p.local(rows, columns)
    code = [p.instruction("uniform", [value, where, None, None], [STREAM, bits]) for value in (gaps, t)]
    p.stage(p.job(rows, 1, [*code, p.map([out], [(t, "full")], [("identity", 1, 0)])], "r"))
    program = p.load()
    for cut, threads in [(0, 1), (0, 2), (0, 8), (1, 2), (3, 8), (7, 1)]:
        wide, plain = np.full((rows, columns + 3), -7, dtype), np.full((rows, columns), -7, dtype)
        program.cut(cut, 0)
        program.run([address(), wide, plain], None, None, threads)
        np.testing.assert_array_equal(wide[:, :columns], expected)
        assert (wide[:-1, columns:] == -7).all()
        np.testing.assert_array_equal(plain, expected)


def refused(ints: list[int], message: str, shape=(1, 2), integer: bool = True, out=(4, 6), split: str = "r") -> None:
    p = Words("float32")
    where, value = p.bound(*shape, integer=integer), p.bound(*out, written=True)
    p.stage(p.job(4, 6, [p.instruction("uniform", [value, where, None, None], ints)], split))
    with pytest.raises(ValueError, match=message):
        p.load()


def test_what_a_program_may_not_ask() -> None:
    refused([2**16, 16], "the stream must be from 0 to 65535; got 65536")
    refused([-1, 16], "the stream")
    refused([0, 17], "the bits of a number must be 16 or 24; got 17")
    refused([0, 32], "the bits of a number must be from 16 to 24")
    refused([0], "2 ints expected")
    refused([0, 16], "address must be 1 x 2; got 1 x 1", shape=(1, 1))
    refused([0, 16], "address must be 1 x 2; got 2 x 1", shape=(2, 1))
    refused([0, 16], "address must be integer", integer=False)
    refused([0, 16], "out must have the job's 4 rows", out=(3, 6))
    refused([0, 16], "its columns cannot be cut", split="rc")


def test_an_address_that_is_written_meanwhile_is_refused() -> None:
    p = Words("float32")
    source, where, out = p.bound(1, 2, integer=True), p.arena(1, 2, integer=True), p.bound(4, 6, written=True)
    copy = p.job(1, 1, [p.instruction("copy", [where, source], [0, 0, 1, 2, 1, 1])])
    p.stage(copy, p.job(4, 6, [p.instruction("uniform", [out, where, None, None], [0, 16])], "r"))
    with pytest.raises(ValueError, match="jobs 0 and 1 meet in memory"):
        p.load()
    q = Words("float64")
    memory = q.arena(1, 2, integer=True)
    q.stage(q.job(1, 2, [q.instruction("uniform", [q.view(memory, 1, 2), memory, None, None], [0, 16])]))
    q.values[-1][0] = 0  # the same bytes as real numbers
    with pytest.raises(ValueError, match="operand 0 is written and meets the memory of operand 1"):
        q.load()


# Graphs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", BITS)
def test_graphs(bits: int, dtype: str, isa: str) -> None:
    a = lw.input("a", (2,), "integer")
    for rows in ROWS:
        for dims in [("N",), ("N", 1), ("N", 3), ("N", 8), ("N", 9), ("N", 4, 16), ("N", 257), (5,), (4, 300)]:
            u = uniform(a, dims=dims, stream=STREAM, bits=bits)
            shape = tuple(rows if d == "N" else d for d in dims)
            expected = uniform_matrix(*ADDRESS, STREAM, shape[0], int(np.prod(shape[1:])), bits).reshape(shape)
            for threads in (1, 2, 8):
                (got,) = NativeRunner([u], dtype, isa, threads).run({a: address()}, {"N": rows})
                np.testing.assert_array_equal(got, expected.astype(dtype), strict=True)
            got = lw.evaluate(u, {a: address()}, dtype=dtype, engine="numpy", sizes={"N": rows})
            np.testing.assert_array_equal(got, expected.astype(dtype), strict=True)


def test_one_graph_for_every_address() -> None:
    a, x = lw.input("a", (2,), "integer"), lw.input("x", ("N", 9))
    out = lw.where(uniform(a, dims=("N", 9), stream=1) >= 0.25, x, 0.0)
    X = np.ones((40, 9))
    for seed, step in [(0, 0), ADDRESS, (2**64 - 1, 2**32), (5, 2**32 - 1)]:
        expected = uniform_matrix(seed, step, 1, 40, 9, 16) >= 0.25
        for engine in ("numpy", "native"):
            got = lw.evaluate(out, {a: address(seed, step), x: X}, engine=engine)
            np.testing.assert_array_equal(got, expected)


def test_a_mask_has_both_of_its_numbers() -> None:
    for given in ([True, False], [False, True]):
        p = Words("float32")
        where, value, number = p.bound(1, 2, integer=True), p.bound(4, 6, written=True), p.scalar()
        numbers = [number if g else None for g in given]
        p.stage(p.job(4, 6, [p.instruction("uniform", [value, where, *numbers], [0, 16])], "r"))
        with pytest.raises(ValueError, match="a mask has a threshold and a factor, or neither"):
            p.load()
