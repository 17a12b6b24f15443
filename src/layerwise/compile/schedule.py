"""Stages: which items may run together, and in which jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from layerwise.compile.select import Item, Key, Pack, Selection
from layerwise.graph.node import Node

_CUT = frozenset(("t_product", "t_product_packed", "column_reduce", "map"))
"""Kernels in whose jobs an elementwise operation of the same frame may follow, tile by tile."""


@dataclass(eq=False)
class Work:
    """A job in the making.

    Parameters
    ----------
    level : int
        Its stage.
    row : bool
        Panels of samples.
    frame : (int, int)
    items : list of Item
    groups : list of list of Item
        The items in the order in which they run; elementwise ones that run as one instruction stand together.
    refreshed : list of Pack
        Packed copies that are made anew from what the job writes.
    local_bytes : int
        Of local values, for each row of a tile.
    """

    level: int
    row: bool
    frame: tuple[int, int]
    items: list[Item] = field(default_factory=list[Item])
    groups: list[list[Item]] = field(default_factory=list[list[Item]])
    refreshed: list[Pack] = field(default_factory=list[Pack])
    local_bytes: int = 0


class Schedule:
    """Jobs by stages.

    Parameters
    ----------
    selection : Selection
    stores : mapping of Node to Node
        A source that outlives the run → the value that it holds from then on.
    kept : set of Pack
        Packed copies that outlive the run too; they are there at its beginning and must be right at its end.
    outputs : set of Node
        Values that the caller gets.
    """

    def __init__(self, selection: Selection, stores: Mapping[Node, Node], kept: set[Pack], outputs: set[Node]):
        self.jobs: list[Work] = []
        self.of: dict[Item, Work] = {}
        self.writer: dict[Key, Item] = {}
        self.readers: dict[Key, list[Item]] = {}
        self._rows: dict[int, Work] = {}
        self._given = {*outputs, *stores.values()}
        for item in selection.items:
            if not kept.issuperset(item.outputs):
                self._place(item)
        for item in reversed(selection.items):
            self._sink(item)
        self.jobs = [job for job in self.jobs if job.items]
        for job in self.jobs:
            job.groups = _grouped(job.items)
        self.in_place: dict[Node, Node] = {}
        self.copied: dict[Node, Node] = {}
        self._settle(stores, kept, outputs, selection)
        self.last_level = max((job.level for job in self.jobs), default=-1)

    def _place(self, item: Item) -> None:
        if self._is_twin(item):
            self._add_twin(item)
            return
        writers = [self.writer[key] for key in item.reads if key in self.writer]
        level = max((w.level for w in writers), default=-1)
        if item.row:
            level = max((w.level + (not w.row) for w in writers), default=0)
            job = self._rows.get(level)
            if job is None:
                rows = item.frame[0]
                job = self._rows[level] = self._new(level, True, (rows, 1))
        else:
            job = self._joined(item, [w for w in writers if w.level == level])
            if job is None:
                job = self._new(level + 1, False, item.frame)
        item.level = job.level
        job.items.append(item)
        self.of[item] = job
        for key in item.outputs:
            self.writer[key] = item
        for key in dict.fromkeys(item.reads):
            self.readers.setdefault(key, []).append(item)

    def _is_twin(self, item: Item) -> bool:
        """Whether a packed copy can be written, panel by panel, by whoever writes what it is a copy of."""
        writer = self.writer.get(item.reads[0]) if item.reads else None
        if item.kernel != "pack" or not item.row or writer is None or not writer.row or writer.frame != item.frame:
            return False
        return writer.kernel == "map" or (writer.kernel == "product" and writer.numbers[2] == 1)

    def _add_twin(self, item: Item) -> None:
        writer = self.writer[item.reads[0]]
        writer.outputs += item.outputs
        self.writer.update(dict.fromkeys(item.outputs, writer))

    def _new(self, level: int, row: bool, frame: tuple[int, int]) -> Work:
        self.jobs.append(Work(level, row, frame))
        return self.jobs[-1]

    def _joined(self, item: Item, latest: list[Item]) -> Work | None:
        """The job that an elementwise item can continue: all that it waits for is in the same tile."""
        if item.kernel != "map" or not latest:
            return None
        jobs = {self.of[w] for w in latest}
        job = next(iter(jobs))
        same = len(jobs) == 1 and not job.row and job.frame == item.frame
        return job if same and all(w.kernel in _CUT and w.frame == item.frame for w in latest) else None

    def _sink(self, item: Item) -> None:
        """Move an elementwise item to the one job that reads it, tile by tile, so that it needs no memory."""
        job = self.of.get(item)
        readers = self.readers.get(item.outputs[0], [])
        later = {self.of[r] for r in readers}
        if job is None or job.row or item.kernel != "map" or len(later) != 1 or item.outputs[0] in self._given:
            return
        if any(r.kernel != "map" for r in readers):  # it would be read as a whole, not tile by tile
            return
        (target,) = later
        alone = all(i.kernel == "map" for i in job.items)
        if alone and target is not job and not target.row and target.frame == item.frame and _is_cut(target):
            job.items.remove(item)
            target.items.insert(0, item)
            self.of[item], item.level = target, target.level

    def _is_before(self, reader: Item, writer: Item, job: Work) -> bool:
        """Whether ``reader`` has read its element when ``writer`` writes it."""
        if self.of[reader] is not job or reader.kernel != "map":
            return False
        place = {item: at for at, group in enumerate(job.groups) for item in group}
        return place[reader] <= place[writer]

    def _settle(self, stores: Mapping[Node, Node], kept: set[Pack], outputs: set[Node], selection: Selection) -> None:
        """Where a new value may replace the old one at once, and where it must wait until everybody has read that."""
        values = list(stores.values())
        for source, value in stores.items():
            item = self.writer.get(value)
            packs = sorted((p for p in kept if p.node is source), key=lambda p: (p.transposed, p.frame))
            readers = [r for key in (source, *packs) for r in self.readers.get(key, [])]
            job = self.of.get(item) if item is not None else None
            direct = (
                item is not None
                and job is not None
                and item.kernel == "map"
                and values.count(value) == 1
                and source not in values  # what another one takes over
                and value not in outputs
                and all(r.level < job.level or self._is_before(r, item, job) for r in readers)
                and item.frame == selection.matrix(source, False)
            )
            if direct and job is not None:
                self.in_place[value] = source
                job.refreshed += packs
            else:
                self.copied[source] = value


def _is_cut(job: Work) -> bool:
    return all(item.kernel in _CUT for item in job.items)


_MOST = 40
"""Operands and results of one elementwise chain; native/map.h has room for 48."""


def _grouped(items: list[Item]) -> list[list[Item]]:
    """The items of a job, elementwise ones of one frame brought together as far as what they wait for allows."""
    own = {key for item in items for key in item.outputs}
    done: set[Key] = set()
    pending = list(items)
    groups: list[list[Item]] = []

    def ready(item: Item) -> bool:
        return all(key in done or key not in own for key in item.reads)

    def take(item: Item) -> None:
        pending.remove(item)
        done.update(item.outputs)

    while pending:
        waiting = [i for i in pending if ready(i)]
        # Random numbers wait for nothing: they are drawn when nothing else can go on, and then read from the cache.
        item = next((i for i in waiting if i.kernel not in ("map", "uniform")), None)
        if item is None and waiting[0].kernel == "uniform" and not any(i.kernel == "map" for i in waiting):
            item = waiting[0]
        if item is not None:
            groups.append([item])
            take(item)
            continue
        first = next(i for i in waiting if i.kernel == "map")
        group: list[Item] = []
        keys: set[Key] = set()
        following: Item | None = first
        while following is not None and len(keys | {*following.reads, *following.outputs}) <= _MOST:
            group.append(following)
            keys.update(following.reads, following.outputs)
            take(following)
            frame = first.frame
            following = next((i for i in pending if i.kernel == "map" and i.frame == frame and ready(i)), None)
        groups.append(group)
    return groups
