"""`Program`: what the native engine runs, as plain data: values in memory, stages, jobs, instructions.

A program is made for one precision and for concrete sizes. Every value is a matrix of rows and columns; see
`layerwise.compile.lower` for how a graph becomes one, and native/program.h for how it is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from layerwise.compile.kernels import KERNELS, MAP_KERNELS
from layerwise.graph.node import Node
from layerwise.types import Array

SPACES = ("bound", "state", "arena", "local", "scalar")
_MAGIC, _VERSION = 0x4C57504C, 1
SPLIT_ROWS, SPLIT_COLUMNS, ROW_BLOCKS = 1, 2, 4


@dataclass(frozen=True)
class Value:
    """A matrix in memory.

    Parameters
    ----------
    space : str
        "bound": an array of the caller's; "state": what outlives a run; "arena": what does not; "local": one tile
        of one thread; "scalar": a number that is given for each step.
    offset : int
        In bytes; per row of the tile for "local"; the number of the array for "bound".
    rows, columns : int
    stride : int
        Elements between rows; of a packed value all its elements, of a packed local one those of a row.
    integer : bool
        int64 instead of the program's precision.
    written : bool
        A bound array that the program writes.
    packed : bool
        In blocks of columns, as right operands of products lie.
    """

    space: str
    offset: int
    rows: int
    columns: int
    stride: int
    integer: bool = False
    written: bool = False
    packed: bool = False


@dataclass(frozen=True)
class MapStep:
    """One operation of an elementwise chain: ``out = kernel(inputs; options)`` on registers."""

    kernel: str
    out: int
    inputs: tuple[int, ...]
    options: tuple[float, ...] = ()


@dataclass(frozen=True)
class MapCode:
    """An elementwise chain; registers 0 … n-1 hold the inputs.

    Parameters
    ----------
    modes : tuple of int
        For each input 0 full, 1 row vector, 2 column vector, 3 scalar.
    results : tuple of int
        Registers of the outputs.
    registers : int
    steps : tuple of MapStep
    """

    modes: tuple[int, ...]
    results: tuple[int, ...]
    registers: int
    steps: tuple[MapStep, ...]


@dataclass(frozen=True)
class Instruction:
    """A kernel on values.

    Parameters
    ----------
    kernel : str
    values : tuple of int or None
        Numbers of the values, outputs first; None for an optional one that is absent.
    numbers : tuple of int
    options : tuple of float
    code : MapCode, optional
    """

    kernel: str
    values: tuple[int | None, ...]
    numbers: tuple[int, ...] = ()
    options: tuple[float, ...] = ()
    code: MapCode | None = None


@dataclass(frozen=True)
class Job:
    """Instructions that run one after another on each tile of rows × columns; tiles are independent.

    Parameters
    ----------
    rows, columns : int
    flags : int
        Sum of `SPLIT_ROWS`, `SPLIT_COLUMNS`, `ROW_BLOCKS`: how tiles may be cut.
    local_bytes : int
        Of local values, for each row of a tile.
    instructions : tuple of Instruction
    """

    rows: int
    columns: int
    flags: int
    local_bytes: int
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Bound:
    """An array that the caller gives: what a node holds, or where one is to be put.

    Parameters
    ----------
    node : Node
        A source or a constant that is read; an output that is written.
    written : bool
    """

    node: Node
    written: bool = False


@dataclass(frozen=True)
class Program:
    """What the native engine needs to compute some nodes for given sizes.

    Parameters
    ----------
    item_size : int
        4 or 8: bytes of a real number.
    values : tuple of Value
    bound : tuple of Bound
    outputs : tuple of Node
        For each node that was asked for, the one whose bound array holds its values; several may share one.
    stages : tuple of tuple of Job
        Run one after another; the jobs of a stage are independent.
    state_bytes, arena_bytes : int
    n_scalars, n_sources : int
    names : dict of int to str
        Names of values, for reading.
    """

    item_size: int
    values: tuple[Value, ...]
    bound: tuple[Bound, ...]
    outputs: tuple[Node, ...]
    stages: tuple[tuple[Job, ...], ...]
    state_bytes: int
    arena_bytes: int
    n_scalars: int = 0
    n_sources: int = 0
    names: dict[int, str] = field(default_factory=dict[int, str])

    def encode(self) -> tuple[Array, Array]:
        """The program as integers and as real options, the form in which native code takes it."""
        words = [_MAGIC, _VERSION, self.item_size, len(self.values), len(self.bound)]
        words += [self.state_bytes, self.arena_bytes, self.n_scalars, self.n_sources, len(self.stages)]
        options: list[float] = []
        for v in self.values:
            kind = 2 if v.packed else int(v.integer)
            words += [kind, SPACES.index(v.space), v.offset, v.rows, v.columns, v.stride, int(v.written)]
        for stage in self.stages:
            words.append(len(stage))
            for job in stage:
                words += [job.rows, job.columns, job.flags, job.local_bytes, len(job.instructions)]
                for instruction in job.instructions:
                    words += _words(instruction, options)
        return np.array(words, dtype=np.int64), np.array(options, dtype=np.float64)

    def __str__(self) -> str:
        lines = [f"arena {self.arena_bytes} bytes, state {self.state_bytes} bytes"]
        for number, stage in enumerate(self.stages, start=1):
            lines.append(f"stage {number}")
            for job in stage:
                cut = [n for n, f in (("rows", SPLIT_ROWS), ("columns", SPLIT_COLUMNS)) if job.flags & f]
                how = f" in tiles of {' and '.join(cut)}" if cut else ""
                lines.append(f"  job {job.rows} x {job.columns}{how}")
                lines += [f"    {self._text(i)}" for i in job.instructions]
        return "\n".join(lines)

    def _name(self, number: int | None) -> str:
        if number is None:
            return "-"
        value = self.values[number]
        return f"{self.names.get(number, f'v{number}')}:{'packed ' if value.packed else ''}{value.space}"

    def _text(self, instruction: Instruction) -> str:
        n_out = KERNELS[instruction.kernel]
        if instruction.code is not None:
            n_out = len(instruction.code.results)
        out = ", ".join(self._name(v) for v in instruction.values[:n_out])
        reads = ", ".join(self._name(v) for v in instruction.values[n_out:])
        numbers = f"; {' '.join(map(str, instruction.numbers))}" if instruction.numbers else ""
        text = f"{out} = {instruction.kernel}({reads}{numbers})"
        if instruction.code is None:
            return text
        steps = (f"r{s.out} = {s.kernel}({', '.join(f'r{i}' for i in s.inputs)})" for s in instruction.code.steps)
        results = ", ".join(f"r{r}" for r in instruction.code.results)
        return f"{text} {{ {'; '.join(steps)}; {results} }}"


def _words(instruction: Instruction, options: list[float]) -> list[int]:
    """The record of one instruction; its options are appended to ``options``."""
    own: list[float] = list(instruction.options)
    numbers = instruction.numbers if instruction.code is None else _code_words(instruction.code, own)
    values = [-1 if v is None else v for v in instruction.values]
    kernel = list(KERNELS).index(instruction.kernel)
    words = [kernel, len(values), *values, len(numbers), *numbers, len(own), len(options)]
    options.extend(own)
    return words


def _code_words(code: MapCode, options: list[float]) -> Sequence[int]:
    words = [len(code.results), len(code.modes), code.registers, len(code.steps), *code.modes, *code.results]
    for step in code.steps:
        a, b, c = (*step.inputs, 0, 0, 0)[:3]
        words += [MAP_KERNELS.index(step.kernel), step.out, a, b, c, len(options)]
        options.extend(step.options)
    return words
