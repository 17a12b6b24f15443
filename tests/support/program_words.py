"""Native programs written by hand: the words that `compile` would write, for the tests of `native/program*`.

p = Words("float32")
X, W = p.bound(12, 4), p.state(1, packed)
out = p.bound(12, 3, written=True)
p.stage(p.job(12, 3, [p.product(out, X, W, K=4, N=3)], rows=True))
program = p.load()
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

_native = importlib.import_module("layerwise._native")  # only the engine may import it by name

KERNELS = _native.program_kernels()
MAP_KERNELS = [name for name, *_ in _native.map_kernels()]
MAGIC, VERSION = 0x4C57504C, 1
BOUND, STATE, ARENA, LOCAL, SCALAR = range(5)
EPILOGUES = ["none", "bias", "bias_relu", "times_relu_slope", "times_tanh_slope", "times_sigmoid_slope"]
REDUCTIONS = ["sum", "mean", "max", "logsumexp"]
MODES = {"full": 0, "row": 1, "column": 2, "scalar": 3}


@dataclass
class Words:
    dtype: str
    isa: str | None = None
    values: list[list[int]] = field(default_factory=list)
    stages: list[list[list[int]]] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    n_bound: int = 0
    state_bytes: int = 0
    arena_bytes: int = 0
    n_scalars: int = 0
    n_sources: int = 0
    local_bytes: int = 0  # of the job that is being written

    @property
    def item(self) -> int:
        return np.dtype(self.dtype).itemsize

    # Values --------------------------------------------------------------------------------------------------

    def value(self, space, offset, rows, columns, stride=None, kind=0, written=False) -> int:
        """`kind` is 0 real, 1 integer, 2 packed."""
        stride = columns if stride is None else stride
        self.values.append([int(kind), space, offset, rows, columns, stride, int(written)])
        return len(self.values) - 1

    def bound(self, rows, columns, *, stride=None, integer=False, written=False) -> int:
        self.n_bound += 1
        return self.value(BOUND, self.n_bound - 1, rows, columns, stride, integer, written)

    def scalar(self) -> int:
        self.n_scalars += 1
        return self.value(SCALAR, (self.n_scalars - 1) * self.item, 1, 1)

    def _bytes(self, rows, columns, stride, integer) -> int:
        size = max(rows - 1, 0) * (stride or columns) + columns
        return -(-size * (8 if integer else self.item) // 64) * 64

    def arena(self, rows, columns, *, stride=None, integer=False) -> int:
        offset = self.arena_bytes
        self.arena_bytes += self._bytes(rows, columns, stride, integer)
        return self.value(ARENA, offset, rows, columns, stride, integer)

    def state(self, rows, columns, *, stride=None, integer=False) -> int:
        offset = self.state_bytes
        self.state_bytes += self._bytes(rows, columns, stride, integer)
        return self.value(STATE, offset, rows, columns, stride, integer)

    def local(self, rows, columns, *, stride=None, integer=False) -> int:
        offset = self.local_bytes
        self.local_bytes += -(-(stride or columns) * (8 if integer else self.item) // 64) * 64
        return self.value(LOCAL, offset, rows, columns, stride, integer)

    def packed_size(self, K, N) -> int:
        return _native.packed_size(K, N, self.dtype, self.isa)

    def packed(self, K, N) -> int:
        """A packed matrix in the state."""
        size = self.packed_size(K, N)
        offset = self.state_bytes
        self.state_bytes += self._bytes(1, size, None, False)
        return self.value(STATE, offset, K, N, size, 2)

    def bound_packed(self, K, N, *, written=False) -> int:
        self.n_bound += 1
        return self.value(BOUND, self.n_bound - 1, K, N, self.packed_size(K, N), 2, written)

    def local_packed(self, K, N) -> int:
        offset, row = self.local_bytes, self.packed_size(1, N)
        self.local_bytes += self._bytes(1, row, None, False)
        return self.value(LOCAL, offset, K, N, row, 2)

    def view(self, of: int, rows, columns, *, stride=None, skip: int = 0) -> int:
        """A part of a value of the state or arena that begins so many elements further on."""
        kind, space, offset, *_ = self.values[of]
        return self.value(space, offset + skip * (8 if kind == 1 else self.item), rows, columns, stride, kind)

    # Instructions --------------------------------------------------------------------------------------------

    def instruction(self, kernel: str, operands: Sequence[int | None], ints=(), options=()) -> list[int]:
        first = len(self.numbers)
        self.numbers += [float(o) for o in options]
        index = KERNELS.index(kernel)
        operands = [-1 if v is None else v for v in operands]
        return [index, len(operands), *operands, len(ints), *[int(i) for i in ints], len(options), first]

    def product(self, out, A, packed, *, K, N, bias=None, other=None, groups=1, epilogue="none") -> list[int]:
        return self.instruction("product", [out, A, packed, bias, other], [K, N, groups, EPILOGUES.index(epilogue)])

    def map(self, outs, ins, ops, *, registers=None, results=None) -> list[int]:
        """`ins` are (value, mode); `ops` are (name, out, *operands) or (name, out, *operands, options)."""
        code, options, highest = [], [], len(ins)
        for name, out, *rest in ops:
            own = rest.pop() if rest and isinstance(rest[-1], tuple) else ()
            code += [MAP_KERNELS.index(name), out, *rest, *[0] * (3 - len(rest)), len(options)]
            options += own
            highest = max(highest, out + 1)
        if results is None:
            results = [op[1] for op in ops[len(ops) - len(outs) :]]
        ints = [len(outs), len(ins), registers or highest, len(ops), *[MODES[m] for _, m in ins], *results, *code]
        return self.instruction("map", [*outs, *[v for v, _ in ins]], ints, options)

    # Jobs ----------------------------------------------------------------------------------------------------

    def job(self, rows, columns, instructions: Iterable[list[int]], split="", local=None) -> list[int]:
        """`split` has an r where rows may be cut, c for columns, b for whole blocks of rows."""
        instructions = list(instructions)
        flags = sum(bit for bit, letter in ((1, "r"), (2, "c"), (4, "b")) if letter in split)
        local = self.local_bytes if local is None else local
        self.local_bytes = 0
        return [rows, columns, flags, local, len(instructions), *[w for i in instructions for w in i]]

    def stage(self, *jobs: list[int]) -> None:
        self.stages.append(list(jobs))

    def encode(self) -> tuple[np.ndarray, np.ndarray]:
        header = [MAGIC, VERSION, self.item, len(self.values), self.n_bound, self.state_bytes, self.arena_bytes]
        words = [*header, self.n_scalars, self.n_sources, len(self.stages)]
        for v in self.values:
            words += v
        for jobs in self.stages:
            words += [len(jobs), *[w for job in jobs for w in job]]
        return np.array(words, np.int64), np.array(self.numbers, np.float64)

    @property
    def kind(self):
        return _native.Program32 if self.dtype == "float32" else _native.Program64

    def load(self):
        return self.kind(*self.encode(), isa=self.isa)

    def new_state(self) -> np.ndarray:
        return np.zeros(self.state_bytes // self.item, self.dtype)
