"""Programs written by hand: every kernel against NumPy, the same bits however they are cut, and what is refused.

tests/native/program_fuzz.cpp beside this file looks for words that are accepted and should not be.
"""

from __future__ import annotations

import importlib
import itertools
import threading
import time

import numpy as np
import pytest
from program_networks import at, network, numpy_step, pack_state, random
from program_words import Words

native = importlib.import_module("layerwise._native")  # only the engine may import it by name
DTYPES = ["float32", "float64"]
ISAS = native.isas()
EPS = {"float32": 6e-8, "float64": 1.2e-16}
# Rows and columns of tiles, threads; (0, 0) lets the program choose.
CUTS = [(0, 0, 1), (0, 0, 8), (1, 1, 3), (3, 64, 2), (7, 1, 1), (64, 128, 8), (1000, 1000, 2)]


def bits(arrays) -> list[bytes]:
    return [np.ascontiguousarray(a).tobytes() for a in arrays]


def run(p: Words, *inputs: np.ndarray, state=None, scalars=None, sources=None, rows=None) -> list[np.ndarray]:
    """Run with every cut, compare all bits, and return the written arrays (and the state, where there is one).

    The inputs are the bound arrays that are only read, in order; written ones are made here, full of numbers
    that a kernel must not leave.
    """
    program = p.load()
    results = []
    for row_cut, column_cut, threads in CUTS:
        given = iter(inputs)
        bound, written = [], []
        for kind, space, _, n_rows, _, stride, flag in p.values:
            if space != 0:
                continue
            if flag:
                written.append(np.full((n_rows, stride), -77, "int64" if kind == 1 else p.dtype))
                bound.append(written[-1])
            else:
                bound.append(next(given))
        memory = None if state is None else state.copy()
        program.cut(row_cut, column_cut)
        program.run(bound, memory, scalars, threads, sources, rows)
        results.append(written if memory is None else [*written, memory])
    for other in results[1:]:
        assert bits(other) == bits(results[0])
    return results[0]


def near(got: np.ndarray, expected: np.ndarray, dtype: str, terms: float = 4, scale: float | None = None) -> None:
    """Within the rounding of so many operations on numbers as large as the scale."""
    scale = float(np.abs(expected).max()) if scale is None else scale
    np.testing.assert_allclose(got, expected, rtol=0, atol=terms * EPS[dtype] * max(scale, 1e-30))


# Products --------------------------------------------------------------------------------------------


SLOPES = {
    "times_relu_slope": lambda a: a > 0,
    "times_tanh_slope": lambda a: (1 - a) * (1 + a),
    "times_sigmoid_slope": lambda a: a * (1 - a),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epilogue", ["none", "bias", "bias_relu", *SLOPES])
def test_product(dtype: str, isa: str, epilogue: str) -> None:
    M, K, N = 37, 23, 150
    A, B, bias, other = (random(i, *s, dtype=dtype) for i, s in enumerate([(M, K), (K, N), (1, N), (M, N)]))
    p = Words(dtype, isa=isa)
    a, packed, out = p.bound(M, K), p.packed(K, N), p.bound(M, N, written=True)
    extra = {}
    inputs = [A]
    if epilogue.startswith("bias"):
        extra["bias"] = p.bound(1, N)
        inputs.append(bias)
    elif epilogue != "none":
        extra["other"] = p.bound(M, N)
        inputs.append(other)
    p.stage(p.job(M, N, [p.product(out, a, packed, K=K, N=N, epilogue=epilogue, **extra)], "rc"))
    got = run(p, *inputs, state=pack_state(p, [(packed, 0, B)]))[0]
    expected = A.astype(float) @ B.astype(float)
    if epilogue.startswith("bias"):
        expected = expected + bias
    elif epilogue != "none":
        expected = expected * SLOPES[epilogue](other.astype(float))
    if epilogue == "bias_relu":
        expected = np.maximum(expected, 0)
    near(got, expected, dtype, terms=2 * K, scale=30)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epilogue", ["none", "bias_relu", "times_tanh_slope"])
@pytest.mark.parametrize(("M", "K", "N"), [(37, 600, 150), (70, 5, 64), (20, 9, 3), (130, 20, 33)])
def test_a_product_that_is_packed(dtype: str, isa: str, epilogue: str, M: int, K: int, N: int) -> None:
    """Written in blocks instead of rows, or besides: what packing the rows gives, and the sums of its columns."""
    A, B, bias, other = (random(i, *s, dtype=dtype) for i, s in enumerate([(M, K), (K, N), (1, N), (M, N)]))

    def outcome(way: str) -> list[np.ndarray]:
        p = Words(dtype, isa=isa)
        a, b, t = p.bound(M, K), p.bound(1, N), p.bound(M, N)
        left, packed, sums = p.packed(K, N), p.packed(M, N), p.bound(1, N, written=True)
        state = pack_state(p, [(left, 0, B)])
        extra = {"bias": b} if epilogue == "bias_relu" else {"other": t} if epilogue != "none" else {}
        plain = p.bound(M, N, written=True) if way != "packed" else packed
        twin = {"twin": packed} if way == "twin" else {}
        code = [p.product(plain, a, left, K=K, N=N, epilogue=epilogue, **extra, **twin)]
        if way == "rows":
            code.append(p.instruction("pack", [packed, plain], [M, N]))
        p.stage(p.job(M, N, code, "r"))
        read = plain if way == "rows" else packed
        p.stage(p.job(1, N, [p.instruction("column_reduce", [sums, read], [M, 0])], "c"))
        *written, after = run(p, A, bias, other, state=state)
        return [written[0], after, *written[1:]]

    assert bits(outcome("packed")) == bits(outcome("rows")[:2])
    assert bits(outcome("twin")) == bits(outcome("rows"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_product_of_groups(dtype: str) -> None:
    rows, groups, K, N = 11, 5, 7, 70
    A, B, other = random(1, rows, groups * K, dtype=dtype), random(2, K, N, dtype=dtype), random(3, rows, groups * N)
    other = np.tanh(other).astype(dtype)
    p = Words(dtype)
    a, packed, t = p.bound(rows, groups * K), p.packed(K, N), p.bound(rows, groups * N)
    out = p.bound(rows, groups * N, written=True)
    code = p.product(out, a, packed, K=K, N=N, groups=groups, other=t, epilogue="times_tanh_slope")
    p.stage(p.job(rows, 1, [code], "r"))
    got = run(p, A, other, state=pack_state(p, [(packed, 0, B)]))[0]
    expected = (A.reshape(-1, K).astype(float) @ B).reshape(rows, -1) * SLOPES["times_tanh_slope"](other.astype(float))
    near(got, expected, dtype, terms=2 * K, scale=10)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_matrices_with_strides(dtype: str, isa: str) -> None:
    """The operands are columns of wider matrices; what lies between stays as it is."""
    M, K, N = 20, 9, 66
    A, B = random(1, M, 14, dtype=dtype), random(2, K, N, dtype=dtype)
    p = Words(dtype, isa=isa)
    a, packed = p.bound(M, K, stride=14), p.packed(K, N)
    out = p.bound(M, N, stride=80, written=True)
    p.stage(p.job(M, N, [p.product(out, a, packed, K=K, N=N)], "rc"))
    got = run(p, A, state=pack_state(p, [(packed, 0, B)]))[0]
    near(got[:, :N], A[:, :K].astype(float) @ B, dtype, terms=2 * K, scale=10)
    assert (got[:-1, N:] == -77).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("K", "M", "N"), [(33, 50, 140), (600, 7, 3), (5, 200, 70), (1, 1, 1)])
def test_t_product(dtype: str, isa: str, K: int, M: int, N: int) -> None:
    A, D = random(1, K, M, dtype=dtype), random(2, K, N, dtype=dtype)
    p = Words(dtype, isa=isa)
    a, d, out = p.bound(K, M), p.bound(K, N), p.bound(M, N, written=True)
    p.stage(p.job(M, N, [p.instruction("t_product", [out, a, d], [K])], "rc"))
    plain = run(p, A, D)[0]
    near(plain, A.astype(float).T @ D, dtype, terms=K + 2, scale=10)
    # The same with D packed by the rows that are computed together.
    p = Words(dtype, isa=isa)
    a, d, packed, out = p.bound(K, M), p.bound(K, N), p.packed(K, N), p.bound(M, N, written=True)
    p.stage(p.job(K, N, [p.instruction("pack", [packed, d], [K, N])], "r"))
    p.stage(p.job(M, N, [p.instruction("t_product_packed", [out, None, a, packed], [K, N])], "rc"))
    assert bits(run(p, A, D, state=p.new_state())[:1]) == bits([plain])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("K", "N"), [(70, 150), (5, 64), (64, 5), (1, 1), (129, 32), (200, 33)])
def test_packing_in_parts_is_packing_at_once(dtype: str, isa: str, K: int, N: int) -> None:
    B = random(1, K, N, dtype=dtype)
    p = Words(dtype, isa=isa)
    b, packed, turned = p.bound(K, N), p.packed(K, N), p.packed(N, K)
    code = [p.instruction("pack", [packed, b], [K, N]), p.instruction("pack_transposed", [turned, b], [K, N])]
    p.stage(p.job(K, N, code, "rcb"))
    state = run(p, B, state=p.new_state())[0]
    # What was packed is seen by multiplying with it: rows of the identity give rows of the matrix.
    q = Words(dtype, isa=isa, values=[v for v in p.values if v[1] == 1], state_bytes=p.state_bytes)
    eye, eye_t = q.bound(K, K), q.bound(N, N)
    out, out_t = q.bound(K, N, written=True), q.bound(N, K, written=True)
    q.stage(
        q.job(K, N, [q.product(out, eye, 0, K=K, N=N)], "r"), q.job(N, K, [q.product(out_t, eye_t, 1, K=N, N=K)], "r")
    )
    direct, turned_back = np.empty((K, N), dtype), np.empty((N, K), dtype)
    q.load().run([np.eye(K, dtype=dtype), np.eye(N, dtype=dtype), direct, turned_back], state)
    assert bits([direct, turned_back]) == bits([B, B.T])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("K", "M", "N"), [(5, 70, 150), (600, 7, 64), (3, 130, 33), (40, 200, 128), (2, 9, 5)])
def test_a_matrix_that_lives_packed(dtype: str, isa: str, K: int, M: int, N: int) -> None:
    """An update of W by v ⊙ AᵀD, W and AᵀD in blocks or in rows: the same bits, and Wᵀ packed from either."""
    A, D, W, V = (random(i, *s, dtype=dtype) for i, s in enumerate([(K, M), (K, N), (M, N), (M, N)]))
    row, column = random(5, 1, N, dtype=dtype), random(6, M, 1, dtype=dtype)

    def outcome(packed: bool) -> list[np.ndarray]:
        p = Words(dtype, isa=isa)
        a, d, r, c, s = p.bound(K, M), p.bound(K, N), p.bound(1, N), p.bound(M, 1), p.scalar()
        w, v, turned, packed_d = p.packed(M, N), p.state(M, N), p.packed(N, M), p.packed(K, N)
        state = pack_state(p, [(w, 0, W)])
        at(p, state, v)[:] = V
        p.stage(p.job(K, N, [p.instruction("pack", [packed_d, d], [K, N])], "r"))
        g = p.local_packed(M, N) if packed else p.local(M, N)
        mine = w if packed else p.state(M, N)
        if not packed:
            state = np.append(state, np.zeros(p.state_bytes // p.item - len(state), dtype))
            at(p, state, mine)[:] = W
        ins = [(g, "full"), (mine, "full"), (v, "full"), (r, "row"), (c, "column"), (s, "scalar")]
        ops = [("multiply", 6, 0, 5), ("multiply", 6, 6, 2), ("multiply", 6, 6, 3), ("add", 7, 2, 4)]
        update = p.map([v, mine], ins, [*ops, ("subtract", 8, 1, 6)], results=[7, 8])
        claimed = mine if packed else None
        code = [p.instruction("t_product_packed", [g, claimed, a, packed_d], [K, N]), update]
        if not packed:
            code.append(p.instruction("pack", [w, mine], [M, N]))
        code.append(p.instruction("pack_transposed", [turned, mine], [M, N]))
        p.stage(p.job(M, N, code, "rcb"))
        (after,) = run(p, A, D, row, column, state=state, scalars=np.array([0.5]))
        first, last = p.values[w][2] // p.item, p.values[packed_d][2] // p.item
        return [after[first:last]]

    assert bits(outcome(True)) == bits(outcome(False))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["sum", "mean", "max"])
@pytest.mark.parametrize(("K", "N"), [(40, 150), (700, 3), (1, 1)])
def test_column_reduce(dtype: str, op: str, K: int, N: int) -> None:
    D = random(4, K, N, dtype=dtype)
    p = Words(dtype)
    d, out = p.bound(K, N), p.bound(1, N, written=True)
    p.stage(p.job(1, N, [p.instruction("column_reduce", [out, d], [K, ["sum", "mean", "max"].index(op)])], "c"))
    near(run(p, D)[0], getattr(np, op)(D.astype(float), axis=0, keepdims=True), dtype, terms=K, scale=4)


# Elementwise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (40, 150), (1, 2000)])
def test_map_with_every_mode(dtype: str, isa: str, rows: int, columns: int) -> None:
    x, row, column = (random(i, *s, dtype=dtype) for i, s in enumerate([(rows, columns), (1, columns), (rows, 1)]))
    p = Words(dtype, isa=isa)
    values = [p.bound(rows, columns), p.bound(1, columns), p.bound(rows, 1)]
    number, outs = p.scalar(), [p.bound(rows, columns, written=True) for _ in range(2)]
    ins = [(values[0], "full"), (values[1], "row"), (values[2], "column"), (number, "scalar")]
    ops = [
        ("multiply", 4, 0, 1),
        ("add", 4, 4, 2),
        ("clip", 5, 4, (-0.5, 0.75)),
        ("maximum", 6, 5, 3),
        ("negative", 7, 4),
    ]
    p.stage(p.job(rows, columns, [p.map(outs, ins, ops, results=[6, 7])], "rc"))
    scalar = 0.125
    first, second = run(p, x, row, column, scalars=np.array([scalar]))
    # Each operation is one that IEEE 754 rounds in one way.
    inner = x * row + column
    assert bits([first, second]) == bits([np.maximum(np.clip(inner, -0.5, 0.75), np.array(scalar, dtype)), -inner])


@pytest.mark.parametrize("dtype", DTYPES)
def test_map_in_place_and_between_locals(dtype: str) -> None:
    rows, columns = 30, 130
    W, g = random(1, rows, columns, dtype=dtype), random(2, rows, columns, dtype=dtype)
    p = Words(dtype)
    w, gradient, t = p.state(rows, columns), p.bound(rows, columns), p.local(rows, columns)
    code = [
        p.map([t], [(gradient, "full")], [("square", 1, 0)]),
        p.map([t], [(t, "full"), (gradient, "full")], [("add", 2, 0, 1)]),
        p.map([w], [(w, "full"), (t, "full")], [("subtract", 2, 0, 1)]),
    ]
    p.stage(p.job(rows, columns, code, "rc"))
    state = p.new_state()
    state[: W.size] = W.ravel()
    state = run(p, g, state=state)[0]
    assert bits([state[: W.size].reshape(W.shape)]) == bits([W - (g * g + g)])


# Rows ------------------------------------------------------------------------------------------------


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("groups", "length"), [(1, 10), (4, 6), (1, 1), (3, 300)])
def test_softmax_and_its_logarithm(dtype: str, groups: int, length: int) -> None:
    rows = 19
    Z = 3 * random(5, rows, groups * length, dtype=dtype)
    p = Words(dtype)
    z = p.bound(rows, groups * length)
    outs = [p.bound(rows, groups * length, written=True) for _ in range(2)]
    code = [p.instruction(k, [o, z], [groups]) for k, o in zip(["softmax", "log_softmax"], outs, strict=True)]
    p.stage(p.job(rows, 1, code, "r"))
    A, logs = run(p, Z)
    expected = softmax(Z.astype(float).reshape(rows, groups, length)).reshape(rows, -1)
    near(A, expected, dtype, terms=length + 20, scale=1)
    near(logs, np.log(expected), dtype, terms=length + 20, scale=20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_softmax", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_softmax_cross_entropy(dtype: str, with_softmax: bool, in_place: bool) -> None:
    rows, n = 41, 7
    Z = 3 * random(6, rows, n, dtype=dtype)
    T = np.eye(n, dtype=dtype)[np.random.default_rng(7).integers(0, n, rows)]
    p = Words(dtype)
    z, t, loss = p.bound(rows, n), p.bound(rows, n), p.bound(rows, 1, written=True)
    local = p.local(rows, n)
    A = None if not with_softmax else local if in_place else p.bound(rows, n, written=True)
    code = [
        p.instruction("copy", [local, z], [0, 0, 1, n, 1, 1]),
        p.instruction("softmax_cross_entropy", [loss, A, local, t]),
    ]
    if with_softmax and in_place:
        A = p.bound(rows, n, written=True)
        code.append(p.map([A], [(local, "full")], [("identity", 1, 0)]))
    p.stage(p.job(rows, 1, code, "r"))
    got = run(p, Z, T)
    expected = softmax(Z.astype(float))
    near(got[0], -(T * np.log(expected)).sum(1, keepdims=True), dtype, terms=40, scale=10)
    if with_softmax:
        near(got[1], expected, dtype, terms=40, scale=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["sum", "mean", "max", "logsumexp"])
@pytest.mark.parametrize(("groups", "length"), [(1, 10), (4, 6), (1, 1), (2, 300)])
def test_row_reduce(dtype: str, op: str, groups: int, length: int) -> None:
    rows = 23
    x = random(8, rows, groups * length, dtype=dtype)
    p = Words(dtype)
    v, out = p.bound(rows, groups * length), p.bound(rows, groups, written=True)
    ints = [groups, ["sum", "mean", "max", "logsumexp"].index(op)]
    p.stage(p.job(rows, 1, [p.instruction("row_reduce", [out, v], ints)], "r"))
    wide = x.astype(float).reshape(rows, groups, length)
    expected = np.log(np.exp(wide).sum(-1)) if op == "logsumexp" else getattr(np, op)(wide, axis=-1)
    near(run(p, x)[0], expected, dtype, terms=length + 20, scale=10)


# Layout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*DTYPES, "int64"])
def test_copy(kind: str) -> None:
    rows = 9
    integer = kind == "int64"
    dtype = "float32" if integer else kind
    x = np.arange(rows * 24).reshape(rows, 24).astype(kind)
    p = Words(dtype)
    v = p.bound(rows, 24, integer=integer)
    turned, reversed_, repeated = (p.bound(rows, n, integer=integer, written=True) for n in (24, 24, 12))
    code = [
        p.instruction(
            "copy", [turned, v], [0, 0, 3, 4, 6, 1, 3, 2, 8, 2, 1, 4]
        ),  # (2, 3, 4) -> (4, 3, 2)... by strides
        p.instruction("copy", [reversed_, v], [0, 23, 1, 24, 1, -1]),
        p.instruction("copy", [repeated, v], [0, 5, 2, 3, 4, 6, 4, 1, 0]),
    ]
    p.stage(p.job(rows, 1, code, "r"))
    got = run(p, x)
    view = x.reshape(rows, 3, 2, 4)
    assert (got[0].reshape(rows, 4, 3, 2) == view.transpose(0, 3, 1, 2)).all()
    assert (got[1] == x[:, ::-1]).all()
    assert (got[2].reshape(rows, 3, 4) == x[:, 5:18:6, None]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_copy_of_real_numbers_to_integers(dtype: str) -> None:
    least = -(2**63)
    x = np.array([[0.0, -0.0, 1.0, 2.75, -2.75, 2.0**53], [np.nan, np.inf, -np.inf, 2.0**63, -(2.0**63), 1e30]], dtype)
    p = Words(dtype)
    v, out = p.bound(2, 6), p.bound(2, 5, integer=True, written=True)
    p.stage(p.job(2, 1, [p.instruction("copy", [out, v], [0, 5, 1, 5, 1, -1])], "r"))
    assert run(p, x)[0].tolist() == [[2**53, -2, 2, 1, 0], [least] * 5]


def test_copy_of_one_row_to_all() -> None:
    x = random(1, 1, 6)
    p = Words("float64")
    v, out = p.bound(1, 6), p.bound(13, 6, written=True)
    p.stage(p.job(13, 1, [p.instruction("copy", [out, v], [0, 0, 1, 6, 1, 1])], "r"))
    assert (run(p, x)[0] == x).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_fill(dtype: str) -> None:
    p = Words(dtype)
    out = p.bound(9, 130, stride=140, written=True)
    p.stage(p.job(9, 130, [p.instruction("fill", [out], options=[2.5])], "rc"))
    got = run(p)[0]
    assert (got[:, :130] == 2.5).all()
    assert (got[:-1, 130:] == -77).all()


@pytest.mark.parametrize("kind", [*DTYPES, "int64"])
def test_take_and_scatter(kind: str) -> None:
    integer = kind == "int64"
    rows, table_rows, n = 31, 12, 70
    table = np.arange(table_rows * n).reshape(table_rows, n).astype(kind)
    index = np.random.default_rng(1).integers(0, table_rows, (rows, 1))
    p = Words("float64" if integer else kind)
    t, i = p.bound(table_rows, n, integer=integer), p.bound(rows, 1, integer=True)
    out = p.bound(rows, n, integer=integer, written=True)
    p.stage(p.job(rows, 1, [p.instruction("take", [out, t, i])], "r"))
    assert (run(p, table, index)[0] == table[index[:, 0]]).all()
    if integer:
        return
    g = random(3, rows, n, dtype=kind)
    p = Words(kind)
    v, i, out = p.bound(rows, n), p.bound(rows, 1, integer=True), p.bound(table_rows, n, written=True)
    p.stage(p.job(table_rows, n, [p.instruction("scatter", [out, v, i], [rows])], "c"))
    expected = np.zeros((table_rows, n), kind)
    np.add.at(expected, index[:, 0], g)
    assert bits(run(p, g, index)) == bits([expected])


def test_one_hot() -> None:
    labels = np.random.default_rng(1).integers(0, 4, (15, 3))
    p = Words("float32")
    i, out = p.bound(15, 3, integer=True), p.bound(15, 12, written=True)
    p.stage(p.job(15, 1, [p.instruction("one_hot", [out, i], [4])], "r"))
    assert (run(p, labels)[0].reshape(15, 3, 4) == np.eye(4)[labels]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_contract(dtype: str) -> None:
    rows = 10
    a, b = random(1, rows, 12, dtype=dtype), random(2, rows, 20, dtype=dtype)
    p = Words(dtype)
    A, B, out = p.bound(rows, 12), p.bound(rows, 20), p.bound(rows, 15, written=True)
    # (3, 4) · (4, 5) of each row; then the same with the first row of b for all, and a summed away.
    dims = [3, 5, 4, 0, 4, 0, 1, 5, 5, 1, 0, 1]
    p.stage(p.job(rows, 1, [p.instruction("contract", [out, A, B], [1, 1, 3, *dims])], "r"))
    left, right = a.astype(float).reshape(rows, 3, 4), b.astype(float).reshape(rows, 4, 5)
    near(run(p, a, b)[0].reshape(rows, 3, 5), left @ right, dtype, terms=8, scale=10)
    p = Words(dtype)
    A, B, out = p.bound(rows, 12), p.bound(1, 20), p.bound(rows, 15, written=True)
    p.stage(p.job(rows, 1, [p.instruction("contract", [out, A, B], [1, 0, 3, *dims])], "r"))
    near(run(p, a, b[:1])[0].reshape(rows, 3, 5), left @ right[0], dtype, terms=8, scale=10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_empty_sum_is_zero(dtype: str) -> None:
    p = Words(dtype)
    A, out = p.bound(4, 3), p.bound(4, 3, written=True)
    p.stage(p.job(4, 1, [p.instruction("contract", [out, A, A], [1, 1, 2, 3, 1, 1, 1, 0, 0, 1, 1])], "r"))
    assert (run(p, random(1, 4, 3, dtype=dtype))[0] == 0).all()


@pytest.mark.parametrize("source", ["float64", "float32", "int32", "uint8"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gather(dtype: str, source: str) -> None:
    N, n, rows = 50, 8, 21
    data = (10 * np.abs(random(1, N, 2 * n))).astype(source)[:, ::2]  # any stride
    labels = np.arange(N, dtype="int16")
    order = np.random.default_rng(2).permutation(N)[:rows]
    p = Words(dtype, n_sources=2)
    x, y = p.bound(rows, n, written=True), p.bound(rows, 1, integer=True, written=True)
    p.stage(p.job(rows, 1, [p.instruction("gather", [x], [0]), p.instruction("gather", [y], [1])], "r"))
    got = run(p, sources=[data, labels], rows=order)
    assert (got[0] == data[order].astype(dtype)).all()
    assert (got[1][:, 0] == labels[order]).all()
    got = run(p, sources=[data, labels])
    assert (got[0] == data[:rows].astype(dtype)).all()
    program = p.load()
    bound = [np.empty((rows, n), dtype), np.empty((rows, 1), "int64")]
    for wrong in (-1, N):
        order[5] = wrong
        with pytest.raises(IndexError) as caught:
            program.run(bound, sources=[data, labels], rows=order)
        assert caught.value.args == ("gather", 5, wrong, N)
    with pytest.raises(ValueError, match=r"sources must hold 2 arrays; got 1"):
        program.run(bound, sources=[data])
    with pytest.raises(ValueError, match=r"sources\[1\] must have 1 integer columns"):
        program.run(bound, sources=[data, labels.astype(float)])
    with pytest.raises(ValueError, match=r"sources\[0\] must have 21 rows; got 20"):
        program.run(bound, sources=[data[:20], labels])
    with pytest.raises(ValueError, match=r"rows must hold 21 row numbers; got 20"):
        program.run(bound, sources=[data, labels], rows=order[:20])


# Stages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_stages_wait_for_one_another(dtype: str) -> None:
    """Each stage reads rows that other tiles of the stage before have written."""
    n = 64
    x = random(3, n, n, dtype=dtype)
    p = Words(dtype)
    X, out = p.bound(n, n), p.bound(n, n, written=True)
    a, b, eye = p.arena(n, n), p.arena(n, n), p.bound(n, n)
    turn = [(a, X), (b, a), (a, b), (out, a)]
    for to, of in turn:  # xᵀ, then x, …
        p.stage(p.job(n, n, [p.instruction("t_product", [to, of, eye], [n])], "rc"))
    program = p.load()
    results = [np.empty_like(x) for _ in range(2)]
    program.cut(3, 1)
    for threads in (1, 2, 8):
        for _ in range(50):
            program.run([x, results[0], np.eye(n, dtype=dtype)], None, None, threads)
            assert bits(results[:1]) == bits([x])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_training_step(dtype: str) -> None:
    p, (X, Y), state = network(dtype, 45)
    weights = [at(p, state, v).astype(float) for v in p.weights]
    cost, after = run(p, X, Y, state=state, scalars=np.array([0.001]))
    expected_cost, expected = numpy_step(weights, X.astype(float), Y.astype(float), 0.001)
    near(cost, np.array([[expected_cost]]), dtype, terms=200)
    for value, w in zip(p.weights, expected, strict=True):
        near(at(p, after, value), w, dtype, terms=200, scale=3)
    # A second step finds what was packed in the first one.
    program = p.load()
    for _ in range(3):
        program.run([X, Y, cost], after, np.array([0.001]))
        expected_cost, expected = numpy_step(expected, X.astype(float), Y.astype(float), 0.001)
    near(cost, np.array([[expected_cost]]), dtype, terms=1000)


# What is refused -------------------------------------------------------------------------------------


def refused(p: Words, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        p.load()


def test_packed_values_where_none_can_be() -> None:
    p = Words("float32")
    x, out = p.packed(4, 6), p.bound(4, 6, written=True)
    p.stage(p.job(4, 6, [p.instruction("softmax", [out, x], [1])]))
    refused(p, r"\(softmax\): Z must not be packed")
    p = Words("float32")
    short, out = p.value(1, 0, 4, 6, p.packed_size(4, 6) - 1, 2), p.bound(4, 6, written=True)
    p.state_bytes = 1 << 20
    p.stage(p.job(4, 6, [p.map([out], [(short, "full")], [("square", 1, 0)])]))
    refused(p, r"operand 1 must have the \d+ elements of a packed 4 x 6 matrix; got \d+")
    p = Words("float32")
    x, row = p.bound(4, 6), p.packed(1, 6)
    out = p.bound(4, 6, written=True)
    p.stage(p.job(4, 6, [p.map([out], [(x, "full"), (row, "row")], [("add", 2, 0, 1)])]))
    refused(p, "operand 2 must not be packed")
    # Blocks of fewer columns: their lanes lie elsewhere.
    p = Words("float32")
    a, d, out = p.bound(16, 64), p.packed(16, 33), p.bound(64, 32, written=True)
    g = p.local_packed(64, 33)
    fewer = p.value(3, p.values[g][2], 64, 32, p.values[g][5], 2)
    code = [
        p.instruction("t_product_packed", [g, None, a, d], [16, 33]),
        p.map([out], [(fewer, "full")], [("exp", 1, 0)]),
    ]
    p.stage(p.job(64, 33, code, "r"))
    refused(p, "local value 4 is read before it is written")
    # What other threads cannot have.
    p = Words("float32")
    a, d, g, c = p.bound(16, 64), p.packed(16, 33), p.local_packed(64, 33), p.local_packed(64, 33)
    p.stage(p.job(64, 33, [p.instruction("t_product_packed", [g, c, a, d], [16, 33])], "r"))
    refused(p, "what is claimed is local")
    # The same memory in blocks and in rows: tiles of one would meet others of the other.
    p = Words("float32")
    blocks = p.packed(64, 64)
    rows, out = p.view(blocks, 64, 64), p.bound(64, 64, written=True)
    p.values[rows][0] = 0
    code = [p.map([blocks], [(blocks, "full")], [("exp", 1, 0)]), p.map([out], [(rows, "full")], [("exp", 1, 0)])]
    p.stage(p.job(64, 64, code, "rc"))
    refused(p, "tiles of job 0 meet in memory")


def test_words_that_are_no_program() -> None:
    p, *_ = network("float32", 10)
    words, numbers = p.encode()
    for n in range(len(words)):
        with pytest.raises(ValueError, match=r"end before|words are left|no program|expected"):
            native.Program32(words[:n], numbers)
    with pytest.raises(ValueError, match="2 words follow the last stage"):
        native.Program32(np.append(words, [0, 0]), numbers)
    with pytest.raises(ValueError, match="no program of version 1: it begins with 7 and 1"):
        native.Program32(np.append([7], words[1:]), numbers)
    with pytest.raises(ValueError, match="numbers of 8 bytes expected; got 4"):
        native.Program64(words, numbers)
    native.Program32(words, numbers)


BIG = 2**62


def test_a_large_packed_value_is_as_large_as_its_elements() -> None:
    p = Words("float32")
    K, N = 450_000, 100
    size = p.packed_size(K, N)
    packed, out = p.value(2, 0, K, N, size, 2), p.bound(1, N, written=True)
    p.arena_bytes = 4 * size
    p.stage(p.job(1, N, [p.instruction("column_reduce", [out, packed], [K, 0])], "c"))
    p.load()
    p.arena_bytes -= 4
    refused(p, "value 0 ends at byte")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0, 1, 0, 4, 4, 4, 0], r"value 2 ends at byte 64 of the 60 bytes of the state"),
        ([0, 1, 2, 1, 1, 1, 0], r"value 2: offset 2 is no multiple of the element's 4 bytes"),
        ([0, 2, 0, 2, 3, 2, 0], r"value 2: stride 2 is less than its 3 columns"),
        ([0, 0, 2, 1, 1, 1, 0], r"value 2: bound array 2 of 2"),
        ([0, 4, 0, 1, 1, 1, 0], r"value 2 ends at byte 4 of the 0 bytes of the scalars"),
        ([0, 4, 0, 2, 1, 1, 0], r"value 2: a scalar is one real number"),
        ([0, 5, 0, 1, 1, 1, 0], r"the space of a value must be from 0 to 4; got 5"),
        ([3, 0, 0, 1, 1, 1, 0], r"the kind of a value must be from 0 to 2; got 3"),
        ([1, 0, 0, 1, 1, 1, 0], r"bound array 0 is real and integer"),
        ([0, 0, 0, -1, 1, 1, 0], r"the rows of a value must be from 0 to \d+; got -1"),
        ([0, 0, 0, BIG, 1, 1, 0], r"the rows of a value must be from 0"),
        ([0, 0, 0, 2**40, 2**40, 2**40, 0], r"value 2 is too large"),
        ([0, 2, 2**45, 2**30, 1, 2**30, 0], r"value 2 is too large"),
    ],
)
def test_values_that_do_not_fit(value: list[int], message: str) -> None:
    p = Words("float32", state_bytes=60)
    out, x = p.bound(2, 2, written=True), p.bound(2, 2)
    p.values.append(value)
    p.stage(p.job(2, 2, [p.map([out], [(x, "full")], [("exp", 1, 0)])], "r"))
    refused(p, message)


PACKED = ("packed", 5, 6)


def one(kernel: str, shapes, ints=(), options=(), job=(4, 6, ""), integer=(), dtype="float32") -> Words:
    """One instruction with bound operands of these shapes; the first one is written."""
    p = Words(dtype)
    values = [
        None if s is None
        else p.bound_packed(*s[1:], written=i == 0) if s[0] == "packed"
        else p.bound(*s, integer=i in integer, written=i == 0)
        for i, s in enumerate(shapes)
    ]  # fmt: skip
    p.stage(p.job(*job[:2], [p.instruction(kernel, values, ints, options)], job[2]))
    return p


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (one("product", [(4, 6), None, (4, 5), PACKED], [5, 6, 1, 0]), r"\(product\): 6 operands expected; got 4"),
        (one("product", [(4, 6), None, (4, 5), PACKED, None, None], [5, 6, 1]), r"\(product\): 4 ints expected; got 3"),
        (one("product", [(4, 6), None, (4, 5), None, None, None], [5, 6, 1, 0]), "packed is missing"),
        (one("product", [(4, 6), None, (4, 7), PACKED, None, None], [5, 6, 1, 0]), "A must be 4 x 5; got 4 x 7"),
        (one("product", [(4, 6), None, (3, 5), PACKED, None, None], [5, 6, 1, 0]), "A must be 4 x 5; got 3 x 5"),
        (one("product", [(4, 6), None, (4, 5), (5, 6), None, None], [5, 6, 1, 0]), "a packed 5 x 6 matrix; got 5 x 6"),
        (one("product", [(4, 6), None, (4, 5), PACKED, None, None], [5, 6, 1, 1]), "its epilogue takes a bias"),
        (one("product", [(4, 6), None, (4, 5), PACKED, (1, 6), None], [5, 6, 1, 0]), "its epilogue takes no bias"),
        (one("product", [(4, 6), None, (4, 5), PACKED, (6, 1), None], [5, 6, 1, 1]), "bias must be 1 x 6; got 6 x 1"),
        (one("product", [(4, 6), None, (4, 5), PACKED, None, None], [5, 6, 1, 6]), "must be from 0 to 5; got 6"),
        (one("product", [(4, 6), None, (4, 5), PACKED, None, None], [5, 6, 0, 0]), "groups must be from 1 to"),
        (one("product", [(4, 6), None, (4, 5), PACKED, None, None], [-5, 6, 1, 0]), "K must be from 0 to"),
        (one("product", [(4, 6), None, (4, 5), PACKED, None, None], [5, BIG, 1, 0]), "N must be from 0 to"),
        (one("product", [(4, 6), None, (4, 5), PACKED, None, None], [5, 6, 1, 0], integer=(2,)), "A must be real"),
        (one("t_product", [(4, 6), (7, 4), (8, 6)], [7]), "D must be 7 x 6; got 8 x 6"),
        (one("t_product", [(4, 6), (7, 5), (7, 6)], [7]), "A must be 7 x 4; got 7 x 5"),
        (one("column_reduce", [(1, 6), (7, 6)], [7, 3], job=(1, 6, "")), "the reduction must be from 0 to 2; got 3"),
        (one("column_reduce", [(1, 6), (0, 6)], [0, 2], job=(1, 6, "")), "no rows have no maximum"),
        (one("column_reduce", [(4, 6), (7, 6)], [7, 0]), "out must be 1 x 6; got 4 x 6"),
        (one("pack_transposed", [PACKED, (4, 6)], [4, 6], job=(4, 6, "r")), "rows may only be cut in whole blocks"),
        (one("pack", [PACKED, (4, 6)], [4, 7]), "B must be 4 x 7; got 4 x 6"),
        (one("softmax", [(4, 6), (4, 6)], [4]), "6 columns are no 4 runs of one length"),
        (one("softmax", [(4, 6), (4, 6)], [1], job=(4, 6, "c")), "its columns cannot be cut"),
        (one("softmax", [(4, 0), (4, 0)], [1]), "softmax takes at least one entry"),
        (one("softmax_cross_entropy", [(4, 2), None, (4, 6), (4, 6)]), "L must be 4 x 1; got 4 x 2"),
        (one("row_reduce", [(4, 2), (4, 6)], [3, 0]), "out must be 4 x 3; got 4 x 2"),
        (one("copy", [(4, 6), (4, 6)], [0, 0]), "at least 3 ints expected; got 2"),
        (one("copy", [(4, 6), (4, 6)], [0, 0, 1, 6, 1]), "6 ints expected; got 5"),
        (one("copy", [(4, 6), (4, 6)], [0, 0, 8]), "the number of dims must be from 0 to 7; got 8"),
        (one("copy", [(4, 6), (4, 6)], [0, 1, 1, 6, 1, 1]), "the copy leaves the 6 columns of x"),
        (one("copy", [(4, 6), (4, 6)], [0, 4, 1, 6, 1, -1]), "the copy leaves the 6 columns of x"),
        (one("copy", [(4, 6), (4, 6)], [1, 0, 1, 6, 1, 1]), "the copy leaves the 6 columns of out"),
        (one("copy", [(4, 6), (4, 6)], [0, 0, 1, 7, 1, 0]), "7 entries to copy into 6 columns"),
        (one("copy", [(4, 6), (4, 6)], [0, 0, 2, BIG // 2**20, 1, 1, 2**30, 1, 1]), "entries to copy|leaves"),
        (one("copy", [(4, 6), (4, 6)], [0, 0, 1, 6, 0, 1]), "a dim writes one entry 6 times"),
        (one("copy", [(4, 6), (4, 6)], [0, 0, 1, 6, 1, BIG]), "is too large"),
        (one("copy", [(4, 6), (4, 6)], [0, 0, 1, 6, 1, 1], integer=(1,)), "x is integer, so out must be too"),
        (one("copy", [(4, 6), (3, 6)], [0, 0, 1, 6, 1, 1]), "x must have the job's 4 rows; got 3"),
        (one("fill", [(4, 6)]), r"\(fill\): 1 options expected; got 0"),
        (one("take", [(4, 6), (9, 5), (4, 1)], integer=(2,)), "table must be 9 x 6; got 9 x 5"),
        (one("take", [(4, 6), (9, 6), (4, 1)]), "index must be integer"),
        (one("take", [(4, 6), (9, 6), (5, 1)], integer=(2,)), "index must be 4 x 1; got 5 x 1"),
        (one("one_hot", [(4, 6), (4, 2)], [4], integer=(1,)), "out must be 4 x 8; got 4 x 6"),
        (one("scatter", [(4, 6), (9, 6), (9, 1)], [9], job=(4, 6, "r"), integer=(2,)), "its rows cannot be cut"),
        (one("contract", [(4, 6), (4, 6), (4, 6)], [1, 1, 1, 5, 1, 1, 1]), "those of 5 entries; out has 6 columns"),
        (one("contract", [(4, 6), (4, 6), (4, 6)], [1, 1, 1, 6, 1, 2, 1]), "the dims leave the 6 columns of a"),
        (one("contract", [(4, 6), (4, 6), (4, 6)], [1, 0, 1, 6, 1, 1, 1]), "b is the same for all rows"),
        (one("gather", [(4, 6)], [0]), "there are no sources"),
    ],
)  # fmt: skip
def test_operands_that_do_not_fit(program: Words, message: str) -> None:
    refused(program, message)


@pytest.mark.parametrize(
    ("ints", "options", "message"),
    [
        ([1, 1, 2, 1, 0, 1], [], r"7 words|8 ints must follow|\d ints must follow the first four; got 2"),
        ([1, 1, 2, 1, 0, 1, 99, 1, 0, 0, 0, 0], [], "an operation must be from 0 to"),
        ([1, 1, 2, 1, 0, 1, 7, 0, 0, 0, 0, 0], [], "the register written must be from 1 to 1; got 0"),
        ([1, 1, 2, 1, 0, 1, 7, 2, 0, 0, 0, 0], [], "the register written must be from 1 to 1; got 2"),
        ([1, 1, 3, 1, 0, 1, 7, 1, 2, 0, 0, 0], [], "register 2 is read before it is written"),
        ([1, 1, 3, 1, 0, 2, 7, 1, 0, 0, 0, 0], [], "the register of an output is not written"),
        ([1, 1, 3, 1, 0, 0, 7, 1, 0, 0, 0, 0], [], "the register of an output must be from 1 to 2; got 0"),
        ([1, 1, 2, 1, 4, 1, 7, 1, 0, 0, 0, 0], [], "a mode must be from 0 to 3; got 4"),
        ([1, 1, 2, 1, 1, 1, 7, 1, 0, 0, 0, 0], [], "operand 1 must be 1 x 6; got 4 x 6"),
        ([1, 1, 49, 1, 0, 1, 7, 1, 0, 0, 0, 0], [], "the number of registers must be from 2 to 48; got 49"),
        ([1, 1, 2, 1, 0, 1, 6, 1, 0, 0, 0, 0], [1.0], r"clip takes options 0 to 2, of 1"),
        ([1, 1, 2, 1, 0, 1, 6, 1, 0, 0, 0, 2**40], [1.0, 2.0], r"clip takes options"),
        ([2, 1, 3, 1, 0, 1, 2, 7, 1, 0, 0, 0, 0], [], "3 operands expected; got 2"),
        ([1, 1], [], "its ints end before the number of registers"),
    ],
)
def test_maps_that_do_not_fit(ints: list[int], options: list[float], message: str) -> None:
    refused(one("map", [(4, 6), (4, 6)], ints, options), message)


def test_only_what_may_be_written_is_written() -> None:
    p = Words("float32")
    p.stage(p.job(4, 6, [p.instruction("fill", [p.bound(4, 6)], options=[0])]))
    refused(p, "out is a bound array that is not to be written")
    p = Words("float32")
    p.stage(p.job(1, 1, [p.instruction("fill", [p.scalar()], options=[0])]))
    refused(p, "out is a scalar and cannot be written")


def exp(p: Words, out: int, x: int) -> list[int]:
    return p.map([out], [(x, "full")], [("exp", 1, 0)])


def test_jobs_of_one_stage_that_meet() -> None:
    p = Words("float32")
    x, a, b = p.bound(8, 4), p.arena(8, 4), p.arena(8, 4)
    p.stage(p.job(8, 4, [exp(p, a, x)], "r"), p.job(8, 4, [exp(p, b, a)], "r"))
    refused(p, r"stage 0: jobs 0 and 1 meet in memory that one of them writes \(values 1 and 1\)")
    p.stages[:] = []
    p.stage(p.job(8, 4, [exp(p, a, x)], "r"), p.job(8, 4, [exp(p, a, x)], "r"))
    refused(p, "jobs 0 and 1 meet")
    p.stages[:] = []
    p.stage(p.job(8, 4, [exp(p, a, x)], "r"), p.job(8, 4, [exp(p, b, x)], "r"))
    p.load()
    # Rows 4 to 7 of a are still those of the job beside.
    low = p.view(a, 4, 4, skip=16)
    c = p.arena(4, 4)
    p.stages[:] = []
    p.stage(p.job(8, 4, [exp(p, a, x)], "r"), p.job(4, 4, [exp(p, c, low)], "r"))
    refused(p, "jobs 0 and 1 meet")


def test_columns_of_one_matrix_do_not_meet() -> None:
    p = Words("float64")
    x, whole, out = p.bound(8, 3), p.arena(8, 8), p.bound(8, 8, written=True)
    left, right = p.view(whole, 8, 3, stride=8), p.view(whole, 8, 5, stride=8, skip=3)
    one_row = p.bound(1, 5)
    copy = p.instruction("copy", [right, one_row], [0, 0, 1, 5, 1, 1])
    p.stage(p.job(8, 3, [exp(p, left, x)], "r"), p.job(8, 1, [copy], "r"))
    p.stage(p.job(8, 8, [p.map([out], [(whole, "full")], [("identity", 1, 0)])], "rc"))
    X, row = random(1, 8, 3), random(2, 1, 5)
    got = run(p, X, row)[0]
    np.testing.assert_allclose(got, np.hstack([np.exp(X), np.repeat(row, 8, axis=0)]), rtol=1e-15)
    wide = p.view(whole, 8, 6, stride=8, skip=2)
    p.stages[0][1] = p.job(8, 6, [p.instruction("fill", [wide], options=[0])], "r")
    refused(p, "jobs 0 and 1 meet")


def test_tiles_of_one_job_that_meet() -> None:
    p = Words("float32")
    x, a, b = p.bound(8, 8), p.arena(8, 8), p.arena(8, 8)
    turn = p.instruction("t_product", [b, x, a], [8])
    p.stage(p.job(8, 8, [exp(p, a, x), turn], "r"))
    refused(p, "stage 0: tiles of job 0 meet in memory that one of them writes")
    p.stages[:] = []
    p.stage(p.job(8, 8, [exp(p, a, x), turn]))  # one tile
    p.load()
    shifted = p.view(a, 7, 8, skip=8)
    y = p.bound(7, 8)
    p.stages[:] = []
    p.stage(p.job(7, 8, [exp(p, p.view(a, 7, 8), y), exp(p, p.bound(7, 8, written=True), shifted)], "r"))
    refused(p, "tiles of job 0 meet")
    # A row of a product is all of its columns.
    q = Words("float32")
    A, B, packed = q.arena(8, 64), q.arena(8, 64), q.packed(64, 64)
    z = q.bound(8, 64)
    code = [exp(q, A, z), q.product(B, A, packed, K=64, N=64)]
    q.stage(q.job(8, 64, code, "rc"))
    refused(q, "tiles of job 0 meet")
    q.stages[:] = []
    q.stage(q.job(8, 64, code, "r"))
    q.load()


def test_operands_of_one_instruction_that_meet() -> None:
    p = Words("float32")
    a = p.arena(9, 8)
    up, down = p.view(a, 8, 8), p.view(a, 8, 8, skip=8)
    p.stage(p.job(8, 8, [exp(p, up, down)]))
    refused(p, "operand 0 is written and meets the memory of operand 1")
    p = Words("float32")
    a, packed = p.arena(8, 8), p.packed(8, 8)
    p.stage(p.job(8, 8, [p.product(a, a, packed, K=8, N=8)]))
    refused(p, "operand 0 is written and meets the memory of operand 1")
    p = Words("float32")
    a, x = p.arena(8, 8), p.bound(8, 8)
    p.stage(p.job(8, 8, [p.map([a, a], [(x, "full")], [("exp", 1, 0), ("sqrt", 2, 0)])]))
    refused(p, "operand 0 is written and meets the memory of operand 1")
    p = Words("float32")
    z, t = p.arena(8, 1), p.bound(8, 1)
    p.stage(p.job(8, 1, [p.instruction("softmax_cross_entropy", [z, None, z, t])]))
    refused(p, "operand 0 is written and meets the memory of operand 1")


def test_local_memory() -> None:
    def program() -> tuple[Words, int, int, int]:
        p = Words("float32")
        return p, p.bound(8, 4), p.local(8, 4), p.bound(8, 4, written=True)

    p, x, t, out = program()
    p.stage(p.job(8, 4, [exp(p, out, t)], "r"))
    refused(p, f"instruction 0: local value {t} is read before it is written")
    p, x, t, out = program()
    p.stage(p.job(8, 4, [exp(p, t, x), exp(p, out, t)], "r", local=8))
    refused(p, "takes local bytes 0 to 16 a row, of 8")
    # Something else in the same place ends what was there.
    p, x, t, out = program()
    other = p.value(3, 0, 8, 3)
    y = p.bound(8, 3)
    p.stage(p.job(8, 4, [exp(p, t, x), exp(p, other, y), exp(p, out, t)], "r"))
    refused(p, f"instruction 2: local value {t} is read before it is written")
    # Rows of a tile are not rows of the value: it cannot be taken whole where the job is cut.
    p = Words("float32")
    x, t, index, out = p.bound(8, 4), p.local(8, 4), p.bound(8, 1, integer=True), p.bound(8, 4, written=True)
    code = [exp(p, t, x), p.instruction("take", [out, t, index])]
    p.stage(p.job(8, 4, code, "r"))
    refused(p, "table is local and not taken row by row; the job must not be split")
    p.stages[:] = []
    p.stage(p.job(8, 4, code, "", local=64))
    p.load()
    p = Words("float32")
    x, t = p.bound(8, 4), p.local(7, 4)
    p.stage(p.job(8, 4, [exp(p, t, x)], "r"))
    refused(p, "operand 0 must be 8 x 4; got 7 x 4")


# Running ---------------------------------------------------------------------------------------------


def exp_program(dtype: str = "float32", rows: int = 8) -> Words:
    p = Words(dtype)
    x, out = p.bound(rows, 4), p.bound(rows, 4, written=True)
    p.stage(p.job(rows, 4, [exp(p, out, x)], "r"))
    return p


def test_arrays_that_do_not_fit() -> None:
    program = exp_program().load()
    x, out = np.zeros((8, 4), "float32"), np.zeros((8, 4), "float32")
    program.run([x, out])
    assert (out == 1).all()
    read_only = np.zeros((8, 4), "float32")
    read_only.flags.writeable = False
    program.run([read_only, out])
    first = r"bound\[0\] must be a C-contiguous array of at least 32 elements of float32"
    second = r"bound\[1\] must be a writable C-contiguous array of at least 32 elements of float32"
    unaligned = np.zeros(129, "uint8")[1:].view("float32")
    for wrong in (x.astype(float), x[:7], np.zeros((4, 8), "float32").T, unaligned, [1.0] * 32, None, x.astype(">f4")):
        with pytest.raises(ValueError, match=first):
            program.run([wrong, out])
    with pytest.raises(ValueError, match=second):
        program.run([x, read_only])
    with pytest.raises(ValueError, match="bound must hold 2 arrays; got 1"):
        program.run([x])
    with pytest.raises(ValueError, match=r"bound\[0\] and bound\[1\] share memory, and one of them is written"):
        program.run([x, x])
    with pytest.raises(ValueError, match="scalars must hold 0 numbers; got 2"):
        program.run([x, out], None, np.zeros(2))


def test_a_state_that_does_not_fit() -> None:
    p = Words("float32")
    w, out = p.state(4, 4), p.bound(4, 4, written=True)
    p.stage(p.job(4, 4, [exp(p, out, w)]))
    program = p.load()
    state = np.zeros(16, "float32")
    for fine in (state, state.view("uint8"), np.zeros(8)):
        program.run([np.empty((4, 4), "float32")], fine)
    for wrong in (None, state[:15], state[::-1], np.zeros(68, "uint8")[4:]):
        with pytest.raises(ValueError, match="state must be a writable C-contiguous array of at least 64 bytes"):
            program.run([np.empty((4, 4), "float32")], wrong)
    with pytest.raises(ValueError, match=r"bound\[0\] shares memory with the state"):
        program.run([state.reshape(4, 4)], state)


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("cut", [(0, 0), (1, 1), (5, 5)])
def test_row_numbers_that_do_not_exist(threads: int, cut: tuple[int, int]) -> None:
    """The first instruction in the order of the program, and its first position, however it is cut."""
    rows = 40
    p = Words("float32")
    table, out = p.bound(5, 3), [p.bound(rows, 3, written=True) for _ in range(2)]
    i, labels = [p.bound(rows, 1, integer=True) for _ in range(2)], p.bound(rows, 2, integer=True)
    hot = p.bound(rows, 8, written=True)
    takes = [p.instruction("take", [out[k], table, i[k]]) for k in range(2)]
    p.stage(p.job(rows, 1, [*takes, p.instruction("one_hot", [hot, labels], [4])], "r"))
    program = p.load()
    program.cut(*cut)
    arrays = [np.zeros((5, 3), "float32"), *[np.zeros((rows, 3), "float32") for _ in range(2)]]
    indices = [np.zeros((rows, 1), "int64") for _ in range(2)]
    label = np.zeros((rows, 2), "int64")
    bound = [*arrays, *indices, label, np.zeros((rows, 8), "float32")]

    def caught() -> tuple[object, ...]:
        with pytest.raises(IndexError) as error:
            program.run(bound, None, None, threads)
        return error.value.args

    program.run(bound, None, None, threads)
    label[33, 1] = 4
    assert caught() == ("one_hot", 67, 4, 4)
    label[31, 0] = -1
    assert caught() == ("one_hot", 62, -1, 4)
    indices[1][2] = -9
    assert caught() == ("take", 2, -9, 5)
    indices[0][38] = 5
    indices[0][39] = 6
    assert caught() == ("take", 38, 5, 5)
    indices[0][:], indices[1][:], label[:] = 0, 0, 0
    program.run(bound, None, None, threads)


def test_a_bad_index_of_scatter() -> None:
    p = one("scatter", [(4, 6), (9, 6), (9, 1)], [9], job=(4, 6, "c"), integer=(2,))
    index = np.zeros((9, 1), "int64")
    index[7] = 4
    with pytest.raises(IndexError) as error:
        p.load().run([np.zeros((4, 6), "float32"), np.zeros((9, 6), "float32"), index])
    assert error.value.args == ("scatter", 7, 4, 4)


def test_one_run_at_a_time() -> None:
    rows = 40_000
    program = exp_program(rows=rows).load()
    x = np.zeros((rows, 4), "float32")
    done, refused_runs, wrong = [], [], []
    until = time.monotonic() + 20

    def caller() -> None:
        out = np.zeros_like(x)
        while time.monotonic() < until and not (refused_runs and len(done) > 20):
            out[:] = 0
            try:
                program.run([x, out], None, None, 2)
                done.append(1)
                if not (out == 1).all():
                    wrong.append(1)
            except RuntimeError as error:
                assert str(error) == "a program runs one call at a time; this one is at work"  # noqa: PT017
                refused_runs.append(1)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert done
    assert refused_runs
    assert not wrong
    program.run([x, np.empty_like(x)])


def test_programs_run_beside_one_another() -> None:
    p, (X, Y), state = network("float32", 64)
    rate = np.array([0.001])
    expected = run(p, X, Y, state=state, scalars=rate)
    wrong = []

    def caller() -> None:
        program = p.load()
        for threads in itertools.islice(itertools.cycle([1, 2, 3]), 60):
            program.cut(7, 64)
            memory, cost = state.copy(), np.zeros((1, 1), "float32")
            program.run([X, Y, cost], memory, rate, threads)
            if bits([cost, memory]) != bits(expected):
                wrong.append(threads)

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong


def test_an_arena_that_no_memory_holds() -> None:
    p = exp_program()
    p.arena_bytes = 2**45
    program = p.load()
    with pytest.raises(MemoryError):
        program.run([np.zeros((8, 4), "float32"), np.zeros((8, 4), "float32")])


def test_the_names_of_the_kernels() -> None:
    assert native.program_kernels() == [
        "gather", "product", "t_product", "column_reduce", "map", "pack", "pack_transposed", "softmax", "log_softmax",
        "softmax_cross_entropy", "row_reduce", "copy", "fill", "take", "one_hot", "scatter", "contract",
        "t_product_packed", "uniform",
    ]  # fmt: skip
