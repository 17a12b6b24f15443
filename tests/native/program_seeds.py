"""Writes small programs that use every kernel, from which program_fuzz.cpp begins: program_seeds.py FOLDER."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from program_words import KERNELS, Words, _native


def layers(p: Words) -> Words:
    """Two products, packing, softmax, and updates, in two stages."""
    rows, n, h, k = 5, 3, 4, 2
    X, T, cost, rate = p.bound(rows, n), p.bound(rows, k), p.bound(1, 1, written=True), p.scalar()
    W, V, b = p.state(n, h), p.state(h, k), p.state(1, h)
    packed, packed_v, turned = p.packed(n, h), p.packed(h, k), p.packed(k, h)
    A, E, D, loss = p.arena(rows, h), p.arena(rows, k), p.arena(rows, h), p.arena(rows, 1)
    Z = p.local(rows, k)
    code = [
        p.product(A, X, packed, K=n, N=h, bias=b, epilogue="bias_relu"),
        p.product(Z, A, packed_v, K=h, N=k),
        p.instruction("softmax_cross_entropy", [loss, E, Z, T]),
        p.product(D, E, turned, K=k, N=h, other=A, epilogue="times_tanh_slope"),
    ]
    p.stage(p.job(rows, k, code, "r"))
    jobs = []
    for value, left, right, K, N, packs in [(W, X, D, n, h, [packed]), (V, A, E, h, k, [packed_v, turned])]:
        g = p.local(K, N)
        ops = [("multiply", 3, 1, 2), ("subtract", 4, 0, 3)]
        update = p.map([value], [(value, "full"), (g, "full"), (rate, "scalar")], ops)
        code = [p.instruction("t_product", [g, left, right], [rows]), update]
        code.append(p.instruction("pack", [packs[0], value], [K, N]))
        if len(packs) > 1:
            code.append(p.instruction("pack_transposed", [packs[1], value], [K, N]))
        jobs.append(p.job(K, N, code, "rcb"))
    g = p.local(1, h)
    jobs.append(p.job(1, h, [p.instruction("column_reduce", [g, D], [rows, 0])], "c"))
    jobs.append(p.job(1, 1, [p.instruction("column_reduce", [cost, loss], [rows, 1])]))
    p.stage(*jobs)
    return p


def maps(p: Words) -> Words:
    """Every mode, options, in place, and columns of one matrix beside one another."""
    x, row, column, number = p.bound(4, 70), p.bound(1, 70), p.bound(4, 1), p.scalar()
    a, t = p.arena(4, 70), p.local(4, 70)
    out = p.bound(4, 70, written=True)
    ins = [(x, "full"), (row, "row"), (column, "column"), (number, "scalar")]
    ops = [("multiply", 4, 0, 1), ("clip", 5, 4, (-1, 1)), ("where", 6, 2, 5, 3), ("tanh", 7, 6)]
    p.stage(
        p.job(
            4,
            70,
            [
                p.map([t, a], ins, ops, results=[4, 7]),
                p.map([a], [(a, "full"), (t, "full")], [("maximum", 2, 0, 1)]),
                p.map([out], [(a, "full")], [("exp", 1, 0)]),
            ],
            "rc",
        )
    )
    whole, small = p.arena(4, 6), p.bound(4, 3)
    left, right = p.view(whole, 4, 3, stride=6), p.view(whole, 4, 3, stride=6, skip=3)
    p.stage(
        p.job(4, 3, [p.map([left], [(small, "full")], [("square", 1, 0)])], "r"),
        p.job(4, 3, [p.instruction("fill", [right], options=[1])], "r"),
    )
    return p


def rows(p: Words) -> Words:
    """Kernels along rows, with groups."""
    x, t = p.bound(6, 8), p.local(6, 8)
    s, logs, r = p.bound(6, 8, written=True), p.bound(6, 8, written=True), p.bound(6, 4, written=True)
    p.stage(
        p.job(
            6,
            8,
            [
                p.instruction("softmax", [s, x], [2]),
                p.instruction("log_softmax", [logs, x], [4]),
                p.instruction("row_reduce", [r, x], [4, 3]),
                p.instruction("copy", [t, x], [0, 7, 2, 2, 4, -4, 4, 1, -1]),
                p.instruction("softmax", [t, t], [1]),
            ],
            "r",
        )
    )
    packed, out = p.packed(4, 3), p.arena(6, 6)
    p.stage(p.job(6, 6, [p.product(out, x, packed, K=4, N=3, groups=2)], "r"))
    b, c = p.bound(1, 8), p.bound(6, 4, written=True)
    dims = [2, 2, 4, 0, 2, 1, 0, 1, 4, 0, 1, 2]
    p.stage(p.job(6, 4, [p.instruction("contract", [c, x, b], [1, 0, 3, *dims])], "r"))
    return p


def indices(p: Words) -> Words:
    """Rows by number, and rows of the data."""
    p.n_sources = 2
    table, index, labels = p.bound(3, 5), p.bound(6, 1, integer=True), p.bound(6, 2, integer=True)
    out, hot = p.arena(6, 5), p.bound(6, 4, written=True)
    x, y = p.arena(6, 2), p.arena(6, 1, integer=True)
    p.stage(
        p.job(
            6,
            1,
            [
                p.instruction("take", [out, table, index]),
                p.instruction("one_hot", [hot, labels], [2]),
                p.instruction("gather", [x], [0]),
                p.instruction("gather", [y], [1]),
            ],
            "r",
        )
    )
    address, u = p.bound(1, 2, integer=True), p.bound(6, 9, stride=11, written=True)
    v, threshold, factor = p.local(6, 5), p.scalar(), p.scalar()
    code = [
        p.instruction("uniform", [u, address, None, None], [3, 16]),
        p.instruction("uniform", [v, address, threshold, factor], [0xFFFF, 24]),
    ]
    p.stage(p.job(6, 1, code, "r"))
    back, taken = p.bound(3, 5, written=True), p.arena(6, 1, integer=True)
    whole = p.arena(6, 2, integer=True)
    p.stage(
        p.job(3, 5, [p.instruction("scatter", [back, out, index], [6])], "c"),
        p.job(6, 1, [p.instruction("copy", [taken, y], [0, 0, 1, 1, 1, 1])], "r"),
        p.job(6, 1, [p.instruction("copy", [whole, x], [0, 1, 1, 2, 1, -1])], "r"),
    )
    return p


def wide(p: Words) -> Words:
    """Blocks: columns that may be cut, with locals, products and packing in parts."""
    X, A, D = p.bound(3, 5), p.bound(2, 70), p.bound(2, 130)
    packed, mine, turned = p.packed(5, 130), p.packed(70, 130), p.packed(130, 70)
    bias, out = p.bound(1, 130), p.arena(3, 130)
    p.stage(p.job(3, 130, [p.product(out, X, packed, K=5, N=130, bias=bias, epilogue="bias")], "rc"))
    g, m = p.local(70, 130), p.state(70, 130)
    p.stage(
        p.job(
            70,
            130,
            [
                p.instruction("t_product", [g, A, D], [2]),
                p.map([m], [(m, "full"), (g, "full")], [("add", 2, 0, 1)]),
                p.instruction("pack", [mine, m], [70, 130]),
                p.instruction("pack_transposed", [turned, m], [70, 130]),
            ],
            "rcb",
        )
    )
    again, packed_d = p.bound(70, 130, written=True), p.packed(2, 130)
    p.stage(p.job(2, 130, [p.instruction("pack", [packed_d, D], [2, 130])], "r"))
    p.stage(p.job(70, 130, [p.instruction("t_product_packed", [again, None, A, packed_d], [2, 130])], "rc"))
    g, w = p.local_packed(70, 130), p.packed(70, 130)
    p.stage(
        p.job(
            70,
            130,
            [
                p.instruction("t_product_packed", [g, w, A, packed_d], [2, 130]),
                p.map([w], [(w, "full"), (g, "full"), (bias, "row")], [("add", 3, 0, 1), ("add", 4, 3, 2)]),
                p.instruction("pack_transposed", [turned, w], [70, 130]),
            ],
            "rcb",
        )
    )
    r = p.local(1, 130)
    p.stage(p.job(1, 130, [p.instruction("column_reduce", [r, D], [2, 2])], "c"))
    return p


def main(folder: Path) -> None:
    used = set()
    makes = (layers, maps, rows, indices, wide)
    for make, dtype, (i, isa) in itertools.product(makes, ("float32", "float64"), enumerate(_native.isas())):
        p = make(Words(dtype, isa=isa))
        p.load()  # all of them are accepted
        used |= {code[0] for code in _codes(p)}
        words, numbers = p.encode()
        head = np.array([p.item, i, len(words), len(numbers)], np.int64)
        name = f"{make.__name__}-{dtype}-{isa}.words"
        (folder / name).write_bytes(head.tobytes() + words.tobytes() + numbers.tobytes())
    assert used == set(range(len(KERNELS))), used


def _codes(p: Words):
    """The instructions of a program."""
    for jobs in p.stages:
        for job in jobs:
            at = 5
            for _ in range(job[4]):
                start = at
                at += 2 + job[at + 1]
                at += 1 + job[at]
                at += 2
                yield job[start:at]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
