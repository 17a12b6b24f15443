"""From a graph and sizes to a `Program`: normal form, items, stages, memory, instructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from layerwise.compile import emit
from layerwise.compile.memory import Pool, aligned
from layerwise.compile.normal import normal_form
from layerwise.compile.program import (
    ROW_BLOCKS,
    SPLIT_COLUMNS,
    SPLIT_ROWS,
    Bound,
    Instruction,
    Job,
    Program,
    Value,
)
from layerwise.compile.schedule import Schedule, Work
from layerwise.compile.select import Item, Key, Pack, Selection, base
from layerwise.graph.node import Node, constant_value, is_source
from layerwise.graph.order import order
from layerwise.types import Dim

_PAGE = 4096
_CUT_FLAGS = {
    "t_product": SPLIT_ROWS | SPLIT_COLUMNS,
    "t_product_packed": SPLIT_ROWS | SPLIT_COLUMNS,
    "map": SPLIT_ROWS | SPLIT_COLUMNS,
    "pack": SPLIT_ROWS | SPLIT_COLUMNS,
    "pack_transposed": SPLIT_ROWS | SPLIT_COLUMNS,
    "column_reduce": SPLIT_COLUMNS,
    "scatter": SPLIT_COLUMNS,
    "move": 0,
    "contract": 0,
}
"""How the tiles of a job may be cut, by its kernels; by rows where one is not named."""
_KEEPS_STRIDE = frozenset(
    ("product", "t_product", "t_product_packed", "pack", "map", "column_reduce", "softmax", "softmax_cross_entropy")
)


@dataclass(frozen=True)
class Target:
    """What kernels ask of memory.

    Parameters
    ----------
    item_size : int
        Bytes of a real number.
    packed_size : callable(K, N) -> int
        Numbers in the packed copy of a (K, N) matrix.
    """

    item_size: int
    packed_size: Callable[[int, int], int]


@dataclass
class State:
    """Memory that outlives a run: weights, what update rules remember, packed copies.

    Parameters
    ----------
    places : dict of Key to Value
    size : int
        Bytes so far.
    """

    places: dict[Key, Value] = field(default_factory=dict[Key, Value])
    size: int = 0

    def place(self, key: Key, rows: int, columns: int, target: Target, packed: bool) -> None:
        """Find room for a value, once."""
        if key not in self.places:
            elements = target.packed_size(rows, columns) if packed else rows * columns
            stride = elements if packed else columns
            self.places[key] = Value("state", self.size, rows, columns, stride, packed=packed)
            self.size += aligned(max(elements, 1) * target.item_size)


def lower(
    outputs: Sequence[Node],
    sizes: Mapping[str, int],
    target: Target,
    *,
    state: State | None = None,
    stores: Mapping[Node, Node] | None = None,
    gathered: Sequence[Node] = (),
    scalars: Sequence[Node] = (),
) -> Program:
    """The program that computes ``outputs``.

    Parameters
    ----------
    outputs : sequence of Node
        Each is written to an array of the caller's, but for those that are sources or constants.
    sizes : mapping of str to int
        What every named axis stands for.
    target : Target
    state : State, optional
        Sources that live there are read from it; packed copies of them are added to it.
    stores : mapping of Node to Node, optional
        A source → the value that it holds after the run; it lives in ``state``.
    gathered : sequence of Node
        Sources whose rows are gathered by row number, in the order of the caller's tables.
    scalars : sequence of Node
        Sources of shape () that are given as numbers for each run.

    Raises
    ------
    GraphError
        A node has no native form; the message names it.
    """
    stores, state = stores or {}, state or State()
    live = {*state.places, *stores}
    normal = normal_form([*outputs, *stores.values()], sizes)
    wanted, new = normal[: len(outputs)], dict(zip(stores, map(base, normal[len(outputs) :]), strict=True))
    selection = Selection(normal, sizes, _sample_axis(normal))
    present = set(order(normal))
    gathers = [
        Item("gather", (node,), (), True, selection.matrix(node, True), (number,))
        for number, node in enumerate(gathered)
        if node in present
    ]
    selection.items[:0] = gathers
    kept = {key for item in selection.items for key in item.outputs if isinstance(key, Pack) and key.node in live}
    schedule = Schedule(selection, new, kept, set(map(base, wanted)))
    for node in stores:
        packed = _lives_packed(node, selection, schedule, target, kept)
        state.place(node, *selection.matrix(node, False), target, packed)
        assert packed or not state.places[node].packed, f"{node!r} is packed in one program and cannot be in another"
    return _Lowering(selection, schedule, target, state, scalars, len(gathered)).program(wanted, kept)


def _lives_packed(node: Node, selection: Selection, schedule: Schedule, target: Target, kept: set[Pack]) -> bool:
    """Whether what outlives a run is held in blocks only, as products read it.

    It is where only products and elementwise operations of its own shape meet it, and where blocks, which are filled up
    to vectors or halves of them, do not make it much larger.
    """
    if node.ndim != 2 or node not in schedule.in_place.values():
        return False
    frame = rows, columns = selection.matrix(node, False)
    readers = schedule.readers.get(node, [])
    fits = all(
        r.kernel == "map" and isinstance(r.outputs[0], Node) and r.outputs[0].shape == node.shape for r in readers
    )
    itself = all(x is node or base(x) is not node for r in readers for x in r.sources)
    as_itself = itself and all(pack.frame == frame for pack in kept if pack.node is node)
    return fits and as_itself and 4 * target.packed_size(rows, columns) <= 5 * rows * columns


def packing(state: State, target: Target) -> Program:
    """The program that makes all packed copies in ``state`` from what they are copies of."""
    values: dict[Value, int] = {}

    def number(place: Value) -> int:
        return values.setdefault(place, len(values))

    jobs: list[Job] = []
    for pack in state.places:
        if isinstance(pack, Pack):
            kernel = "pack_transposed" if pack.transposed else "pack"
            matrix = state.places[pack.node]
            if (matrix.rows, matrix.columns) != pack.frame:
                matrix = Value("state", matrix.offset, *pack.frame, pack.frame[1])
            step = Instruction(kernel, (number(state.places[pack]), number(matrix)), pack.frame)
            jobs.append(Job(*pack.frame, _CUT_FLAGS[kernel] | (ROW_BLOCKS if pack.transposed else 0), 0, (step,)))
    stages = (tuple(jobs),) if jobs else ()
    return Program(target.item_size, tuple(values), (), (), stages, state.size, 0)


def _sample_axis(nodes: Iterable[Node]) -> Dim | None:
    """"N", or else the first axis with a name that some value starts with."""  # fmt: skip
    leading = [n.shape[0] for n in order(nodes) if n.shape and isinstance(n.shape[0], str)]
    return "N" if "N" in leading else next(iter(leading), None)


class _Lowering:
    """Memory and instructions for a schedule."""

    def __init__(
        self,
        selection: Selection,
        schedule: Schedule,
        target: Target,
        state: State,
        scalars: Sequence[Node],
        n_sources: int,
    ):
        self.selection, self._schedule, self._target, self._state = selection, schedule, target, state
        self._scalars, self._n_sources = list(scalars), n_sources
        self._bound: dict[Node, int] = {}
        self._bound_list: list[Bound] = []
        self._arena = Pool()
        self._values: dict[Value, int] = {}
        self._names: dict[int, str] = {}
        self._where: dict[Key, Value] = {}

    def program(self, wanted: Sequence[Node], kept: set[Pack]) -> Program:
        """The whole program; ``wanted`` are its outputs."""
        for pack in sorted(kept, key=self._order_of):
            if self._home(pack) is pack:
                self._state.place(pack, *pack.matrix, self._target, True)
        for node in dict.fromkeys(map(base, wanted)):
            if node in self._schedule.writer:
                rows, columns = self._frame_of(node)
                integer = node.kind == "integer"
                self._where[node] = Value("bound", self._bind(node, True), rows, columns, columns, integer, True)
        for value, source in self._schedule.in_place.items():
            self._where[value] = self._place_of_source(source)
        jobs = sorted(self._schedule.jobs, key=lambda job: (job.level, not job.row, -_work(job)))
        stages: list[list[Job]] = [[] for _ in range(self._schedule.last_level + 1)]
        for job in jobs:
            self._place_values(job)
        for job in jobs:
            made = self._job(job)
            if made.instructions:
                stages[job.level].append(made)
        stages += self._copies(kept)
        return Program(
            self._target.item_size,
            tuple(self._values),
            tuple(self._bound_list),
            tuple(map(base, wanted)),
            tuple(map(tuple, stages)),
            self._state.size,
            self._arena.size,
            len(self._scalars),
            self._n_sources,
            self._names,
        )

    def _order_of(self, pack: Pack) -> tuple[int, bool, tuple[int, int]]:
        return self._state.places[pack.node].offset, pack.transposed, pack.frame

    def _home(self, key: Key) -> Key:
        """What holds the value of ``key``: a matrix that lives packed is its own packed copy."""
        if isinstance(key, Pack) and not key.transposed:
            place = self._state.places.get(key.node)
            if place is not None and place.packed:
                return key.node
        return key

    def _shape_of(self, key: Key) -> tuple[int, ...]:
        return self.selection.concrete(key.node if isinstance(key, Pack) else key)

    # Where values lie ------------------------------------------------------------------------------------

    def _frame_of(self, key: Node) -> tuple[int, int]:
        item = self._schedule.writer[key]
        return item.frame if key is item.outputs[0] else self.selection.matrix(key, True)

    def _place_values(self, job: Work) -> None:
        """Memory for what a job writes, where it is read by others or by a later instruction of the same tile."""
        locals_ = Pool()
        moment = {item: at for at, group in enumerate(job.groups) for item in group}
        for item in job.items:
            for key in item.outputs:
                if key in self._where:
                    continue
                readers = self._schedule.readers.get(key, [])
                copied = key in self._schedule.copied.values()
                elsewhere = copied or any(self._schedule.of[r] is not job for r in readers)
                packed = isinstance(key, Pack) or (not elsewhere and self._is_packed_in_tile(job, item, readers))
                rows, columns = key.matrix if isinstance(key, Pack) else self._frame_of(key)
                stride = self._stride(key, item, columns, readers)
                if packed:
                    stride = self._target.packed_size(rows if elsewhere else 1, columns)
                integer = isinstance(key, Node) and key.kind == "integer"
                size = 8 if integer else self._target.item_size
                if elsewhere:
                    last = self._schedule.last_level + 2 if copied else max(r.level for r in readers)
                    offset = self._arena.place((1 if packed else rows) * stride * size, job.level, last)
                    self._where[key] = Value("arena", offset, rows, columns, stride, integer, packed=packed)
                elif any(moment[r] != moment[item] for r in readers):
                    last = max(moment[r] for r in readers)
                    offset = locals_.place(stride * size, moment[item], last)
                    self._where[key] = Value("local", offset, rows, columns, stride, integer, packed=packed)
        job.local_bytes = locals_.size

    def _is_packed_in_tile(self, job: Work, item: Item, readers: list[Item]) -> bool:
        """Whether a gradient lies in blocks until the tile's weights, which do, have been changed by it."""
        if item.kernel != "t_product_packed" or any(
            r.kernel != "map" or self._schedule.of[r] is not job for r in readers
        ):
            return False
        return any(self._state.places[node].packed for node in self._stored_by(job))

    def _stride(self, key: Key, item: Item, columns: int, readers: list[Item]) -> int:
        """Rows a multiple of a page apart would fall into the same few sets of the cache."""
        size = self._target.item_size
        plain = isinstance(key, Node) and item.row and key.ndim == 2 and columns * size % _PAGE == 0 < columns
        if plain and all(r.kernel in _KEEPS_STRIDE and key in r.sources for r in readers):
            return columns + 64 // size
        return columns

    def _bind(self, node: Node, written: bool = False) -> int:
        if node not in self._bound:
            self._bound[node] = len(self._bound_list)
            self._bound_list.append(Bound(node, written))
        return self._bound[node]

    def _place_of_source(self, node: Node) -> Value:
        rows, columns = self.selection.matrix(node, self.selection.is_row(node))
        if node in self._state.places:
            return self._state.places[node]
        if node in self._scalars:
            return Value("scalar", self._scalars.index(node) * self._target.item_size, 1, 1, 1)
        return Value("bound", self._bind(node), rows, columns, columns, node.kind == "integer")

    def operand(self, key: Key, frame: tuple[int, int] | None = None) -> int:
        """The number of the value of a node, or of a packed copy, seen as a matrix of ``frame``."""
        key = base(key) if isinstance(key, Node) else self._home(key)
        place = self._where.get(key)
        if place is None:
            if isinstance(key, Pack):
                place = self._state.places[key]
            elif is_source(key) or constant_value(key) is not None:
                place = self._place_of_source(key)
            else:
                raise AssertionError(f"{key!r} has no memory")
            self._where[key] = place
        rows, columns = frame or (place.rows, place.columns)
        if (rows, columns) != (place.rows, place.columns):
            assert not place.packed, f"{key!r} is packed"
            assert place.stride == place.columns or place.rows <= 1, f"{key!r} is not dense"
            assert rows * columns <= place.rows * place.columns, f"{key!r} is too small for {frame}"
            place = Value(place.space, place.offset, rows, columns, columns, place.integer, place.written)
        number = self._values.setdefault(place, len(self._values))
        self._names.setdefault(number, _name(key, number))
        return number

    def claimed(self, item: Item) -> int | None:
        """Packed weights that the tile of a gradient changes, and that other threads have read."""
        if not self._where[item.outputs[0]].packed:
            return None
        stored = self._stored_by(self._schedule.of[item])
        read = {key.node for key in self._schedule.readers if isinstance(key, Pack)}
        node = next((n for n in stored if self._state.places[n].packed and n in read), None)
        return None if node is None else self.operand(node)

    def _stored_by(self, job: Work) -> list[Node]:
        """What outlives the run and is changed by a job."""
        keys = [key for item in job.items for key in item.outputs if isinstance(key, Node)]
        return [self._schedule.in_place[key] for key in keys if key in self._schedule.in_place]

    def is_stored(self, key: Key) -> bool:
        """Whether the value has memory; else it lives in a register of its chain."""
        return key in self._where

    # Jobs ------------------------------------------------------------------------------------------------

    def _job(self, job: Work) -> Job:
        instructions: list[Instruction] = []
        for group in job.groups:
            if any(math.prod(self._shape_of(key)) for item in group for key in item.outputs):
                instructions += emit.instructions(self, group)
        instructions += [self._pack(pack) for pack in job.refreshed if self._home(pack) is pack]
        flags = SPLIT_ROWS
        if not job.row:
            flags = SPLIT_ROWS | SPLIT_COLUMNS
            for item in job.items:
                flags &= _CUT_FLAGS.get(item.kernel, SPLIT_ROWS)
        if any(step.kernel == "pack_transposed" for step in instructions):
            flags |= ROW_BLOCKS
        return Job(*job.frame, flags, job.local_bytes, tuple(instructions))

    def _pack(self, pack: Pack) -> Instruction:
        kernel = "pack_transposed" if pack.transposed else "pack"
        return Instruction(kernel, (self.operand(pack), self.operand(pack.node, pack.frame)), pack.frame)

    def _copies(self, kept: set[Pack]) -> list[list[Job]]:
        """Stages that put new values where the old ones could not be overwritten before."""
        copied = self._schedule.copied
        if not copied:
            return []
        # What one takes over from another that is itself written waits in the arena.
        held = {value: self._held(value) for value in copied.values() if value in copied and copied[value] is not value}
        saves = [self._copy(value, place, self._flat(value)) for value, place in held.items()]
        copies = [
            self._copy(source, self._flat(source), held.get(value, self._flat(value)))
            for source, value in copied.items()
            if source is not value
        ]
        packs = [pack for pack in kept if pack.node in copied]
        repacks = [
            Job(
                step.numbers[0],
                step.numbers[1],
                _CUT_FLAGS[step.kernel] | (ROW_BLOCKS if pack.transposed else 0),
                0,
                (step,),
            )
            for pack in sorted(packs, key=self._order_of)
            for step in (self._pack(pack),)
        ]
        return [stage for stage in (saves, copies, repacks) if stage]

    def _flat(self, node: Node) -> int:
        return self.operand(node, (1, math.prod(self.selection.concrete(node))))

    def _held(self, node: Node) -> int:
        """Memory for a copy of a value from the first stage of copies to the second."""
        n, level = math.prod(self.selection.concrete(node)), self._schedule.last_level
        offset = self._arena.place(n * self._target.item_size, level + 1, level + 2)
        return self._values.setdefault(Value("arena", offset, 1, n, n), len(self._values))

    def _copy(self, node: Node, to: int, value: int) -> Job:
        n = math.prod(self.selection.concrete(node))
        return Job(1, n, 0, 0, (Instruction("copy", (to, value), (0, 0, 1, n, 1, 1)),))


def _work(job: Work) -> int:
    """An estimate that puts large jobs first."""
    return max(i.frame[0] * i.frame[1] * (i.numbers[0] if i.kernel.startswith("t_product") else 1) for i in job.items)


def _name(key: Key, number: int) -> str:
    if isinstance(key, Pack):
        return _name(key.node, number) + ("ᵀ" if key.transposed else "")
    return key.name or f"{key.op.name}{number}"
