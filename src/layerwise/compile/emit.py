"""Instructions from items: operands as matrices, numbers, and the code of elementwise chains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from layerwise.compile.normal import COLUMN_VECTOR, FULL, ROW_VECTOR, SCALAR, broadcast_mode
from layerwise.compile.program import Instruction, MapCode, MapStep
from layerwise.compile.select import Item, Key, Pack, Selection, base, no_native_form
from layerwise.graph.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_DIMS = 8
Dims = Sequence[tuple[int, ...]]


class Places(Protocol):
    """Where values lie."""

    selection: Selection

    def operand(self, key: Key, frame: tuple[int, int] | None = None) -> int:
        """The number of a value, seen as a matrix of ``frame``."""
        ...

    def is_stored(self, key: Key) -> bool:
        """Whether a value has memory."""
        ...

    def claimed(self, item: Item) -> int | None:
        """The number of the value that the tile of a gradient changes and other threads read."""
        ...


def instructions(places: Places, group: list[Item]) -> list[Instruction]:
    """The instructions of items that run together: one item, or an elementwise chain."""
    if group[0].kernel == "map":
        return [_chain(places, group)]
    return _EMITTERS[group[0].kernel](places, group[0])


def _single(item: Item) -> Node:
    key = item.outputs[0]
    assert isinstance(key, Node)
    return key


# Elementwise chains ------------------------------------------------------------------------------------------


def _chain(places: Places, group: list[Item]) -> Instruction:
    inside = {item.outputs[0] for item in group}
    inputs: dict[tuple[int, int], int] = {}  # value and mode → register
    operands: dict[Item, list[Key | int]] = {}
    for item in group:
        node = _single(item)
        operands[item] = []
        for x in node.inputs:
            if base(x) in inside:
                operands[item].append(base(x))
                continue
            mode = broadcast_mode(x.shape, node.shape)
            assert mode is not None, f"{x!r} in {node!r}"
            value = places.operand(x, _seen(item.frame, mode))
            operands[item].append(inputs.setdefault((value, mode), len(inputs)))
    steps, register, count = _allocate(group, operands, len(inputs), places)
    stored = [(item, key) for item in group for key in item.outputs if places.is_stored(key)]
    outputs = [places.operand(key, item.frame if isinstance(key, Node) else None) for item, key in stored]
    code = MapCode(
        tuple(mode for _, mode in inputs), tuple(register[item.outputs[0]] for item, _ in stored), count, tuple(steps)
    )
    return Instruction("map", (*outputs, *(value for value, _ in inputs)), code=code)


def _seen(frame: tuple[int, int], mode: int) -> tuple[int, int]:
    rows, columns = frame
    return {FULL: frame, ROW_VECTOR: (1, columns), COLUMN_VECTOR: (rows, 1), SCALAR: (1, 1)}[mode]


def _allocate(
    group: list[Item], operands: dict[Item, list[Key | int]], n_inputs: int, places: Places
) -> tuple[list[MapStep], dict[Key, int], int]:
    """Registers for the results of a chain; one that nothing reads any more is taken again."""
    last = {key: at for at, item in enumerate(group) for key in operands[item] if not isinstance(key, int)}
    kept = {item.outputs[0] for item in group if any(map(places.is_stored, item.outputs))}
    register: dict[Key, int] = {}
    free: list[int] = []
    count = n_inputs
    steps: list[MapStep] = []
    for at, item in enumerate(group):
        read = tuple(x if isinstance(x, int) else register[x] for x in operands[item])
        key, node = item.outputs[0], _single(item)
        if key in kept or not free:
            register[key], count = count, count + 1
        else:
            register[key] = free.pop()
        steps.append(MapStep(str(node.op.kernel), register[key], read, _options(node)))
        ended = dict.fromkeys(x for x in operands[item] if not isinstance(x, int) and last[x] == at)
        free += [register[x] for x in ended if x not in kept]
    return steps, register, count


def _options(node: Node) -> tuple[float, ...]:
    return tuple(float(node.attributes[name]) for name in node.op.defaults)


# Products and reductions -------------------------------------------------------------------------------------


def _plain(places: Places, item: Item) -> list[Instruction]:
    """Output and inputs under the same rows."""
    node = _single(item)
    reads = [places.operand(x, item.frame) for x in node.inputs]
    return [Instruction(item.kernel, (places.operand(node, item.frame), *reads), item.numbers)]


def _gather(places: Places, item: Item) -> list[Instruction]:
    return [Instruction("gather", (places.operand(_single(item), item.frame),), item.numbers)]


def _product(places: Places, item: Item) -> list[Instruction]:
    node = _single(item)
    a, *others = item.sources
    epilogue = item.numbers[3]
    bias = places.operand(others[0], (1, item.numbers[1])) if epilogue in (1, 2) else None
    other = places.operand(others[0], item.frame) if epilogue > 2 else None
    out = [places.operand(node, item.frame)] if places.is_stored(node) else []
    out += [places.operand(twin) for twin in item.outputs[1:]]
    out += [None] * (2 - len(out))
    A = places.operand(a, places.selection.matrix(a, True))
    return [Instruction("product", (*out, A, places.operand(item.reads[1]), bias, other), item.numbers)]


def _t_product(places: Places, item: Item) -> list[Instruction]:
    reads = [places.operand(x, places.selection.matrix(x, True)) for x in item.sources]
    return [Instruction("t_product", (places.operand(_single(item), item.frame), *reads), item.numbers)]


def _t_product_packed(places: Places, item: Item) -> list[Instruction]:
    (a,) = item.sources
    A = places.operand(a, places.selection.matrix(a, True))
    values = (places.operand(_single(item), item.frame), places.claimed(item), A, places.operand(item.reads[1]))
    return [Instruction("t_product_packed", values, item.numbers)]


def _column_reduce(places: Places, item: Item) -> list[Instruction]:
    (x,) = item.sources
    packed = isinstance(item.reads[0], Pack)
    D = places.operand(item.reads[0]) if packed else places.operand(x, (item.numbers[0], item.frame[1]))
    return [Instruction("column_reduce", (places.operand(_single(item), item.frame), D), item.numbers)]


def _row_reduce(places: Places, item: Item) -> list[Instruction]:
    (x,) = item.sources
    total = math.prod(places.selection.concrete(x))
    rows = item.frame[0]
    length = total // rows if rows else math.prod(places.selection.concrete(x)[1:])
    reads = places.operand(x, (rows, length))
    return [Instruction("row_reduce", (places.operand(_single(item), item.frame), reads), item.numbers)]


def _pack(places: Places, item: Item) -> list[Instruction]:
    (b,) = item.sources
    return [Instruction(item.kernel, (places.operand(item.outputs[0]), places.operand(b, item.frame)), item.frame)]


def _softmax_cross_entropy(places: Places, item: Item) -> list[Instruction]:
    frame = places.selection.matrix(item.sources[0], True)
    loss, *softmax = item.outputs
    A = next((places.operand(key, frame) for key in softmax if places.is_stored(key)), None)
    reads = [places.operand(x, frame) for x in item.sources]
    return [Instruction(item.kernel, (places.operand(loss, item.frame), A, *reads))]


# Look-ups ----------------------------------------------------------------------------------------------------


def _take(places: Places, item: Item) -> list[Instruction]:
    table, index = item.sources
    values = (
        places.operand(_single(item), item.frame),
        places.operand(table, places.selection.matrix(table, True)),
        places.operand(index, (item.frame[0], 1)),
    )
    return [Instruction("take", values)]


def _one_hot(places: Places, item: Item) -> list[Instruction]:
    (labels,) = item.sources
    values = (
        places.operand(_single(item), item.frame),
        places.operand(labels, places.selection.matrix(labels, True)),
    )
    return [Instruction("one_hot", values, item.numbers)]


def _uniform(places: Places, item: Item) -> list[Instruction]:
    address, *mask = item.sources
    numbers = [places.operand(x, (1, 1)) for x in mask] or [None, None]
    values = (places.operand(_single(item), item.frame), places.operand(address, (1, 2)), *numbers)
    return [Instruction("uniform", values, item.numbers)]


def _scatter(places: Places, item: Item) -> list[Instruction]:
    g, index = item.sources
    K = item.numbers[0]
    values = (
        places.operand(_single(item), item.frame),
        places.operand(g, (K, item.frame[1])),
        places.operand(index, (K, 1)),
    )
    return [Instruction("scatter", values, item.numbers)]


# Strided copies and contractions -----------------------------------------------------------------------------


def _dense(shape: Sequence[int]) -> list[int]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return strides


def _in_row(places: Places, x: Node, item: Item) -> tuple[tuple[int, ...], bool]:
    """The shape of ``x`` as an instruction meets it, without the axis of samples where it goes row by row."""
    shape = places.selection.concrete(x)
    by_row = item.row and places.selection.is_row(x)
    return (shape[1:] if by_row else shape), by_row


def _read(places: Places, x: Node, by_row: bool) -> int:
    shape = places.selection.concrete(x)
    return places.operand(x, places.selection.matrix(x, True) if by_row else (1, math.prod(shape)))


def _move(places: Places, item: Item) -> list[Instruction]:
    node = _single(item)
    out = places.operand(node, item.frame)
    result: list[Instruction] = []
    if node.op.name == "embed":
        result.append(Instruction("fill", (out,), options=(0.0,)))
    for x, (out_offset, x_offset, dims) in zip(node.inputs, _copies(places, item, node), strict=True):
        dims = [d for d in dims if d[0] != 1] or [(1, 1, 1)]
        if len(dims) > _MOST_DIMS:
            raise no_native_form(node)
        read = _read(places, x, _in_row(places, x, item)[1])
        numbers = (out_offset, x_offset, len(dims), *(n for d in dims for n in d))
        result.append(Instruction("copy", (out, read), numbers))
    return result


def _copies(places: Places, item: Item, node: Node) -> Iterator[tuple[int, int, Dims]]:
    """For each input: offsets in the output's and in its own row, and sizes with the strides of both."""
    name, attributes = node.op.name, node.attributes
    first = 1 if item.row else 0
    out_shape, _ = _in_row(places, node, item)
    out = _dense(out_shape)
    start = 0
    for x in node.inputs:
        shape, by_row = _in_row(places, x, item)
        own = _dense(shape)
        if name == "transpose":
            axes = [a - first for a in attributes["axes"][first:]]
            yield 0, 0, [(n, o, own[a]) for n, o, a in zip(out_shape, out, axes, strict=True)]
        elif name == "broadcast_to":
            if item.row and not by_row and len(shape) == node.ndim:
                shape, own = shape[1:], own[1:]
            pad = len(out_shape) - len(shape)
            steps = [0] * pad + [0 if n == 1 else s for n, s in zip(shape, own, strict=True)]
            yield 0, 0, list(zip(out_shape, out, steps, strict=True))
        elif name == "concat":
            axis: int = attributes["axis"] - first
            yield start * out[axis], 0, list(zip(shape, out, own, strict=True))
            start += shape[axis]
        elif name == "to_integer":
            yield 0, 0, list(zip(out_shape, out, own, strict=True))
        else:
            yield _part(name, attributes["parts"][first:], (out_shape, out), (shape, own))


def _part(name: str, parts: Sequence[tuple[int, int | None, int]], out: tuple[Sequence[int], list[int]],
          x: tuple[Sequence[int], list[int]]) -> tuple[int, int, Dims]:  # fmt: skip
    """A slice, or with the roles exchanged its embedding."""
    large, small = (out, x) if name == "embed" else (x, out)
    offset = sum(part[0] * stride for part, stride in zip(parts, large[1], strict=True))
    steps = [part[2] * stride for part, stride in zip(parts, large[1], strict=True)]
    if name == "embed":
        return offset, 0, list(zip(small[0], steps, small[1], strict=True))
    return 0, offset, list(zip(small[0], small[1], steps, strict=True))


def _contract(places: Places, item: Item) -> list[Instruction]:
    node = _single(item)
    a, b = node.inputs
    (shape_a, row_a), (shape_b, row_b) = _in_row(places, a, item), _in_row(places, b, item)
    out_shape, _ = _in_row(places, node, item)
    if node.op.name == "grouped_product":
        dims = _grouped_product(shape_a, shape_b, item.row)
    elif node.op.name == "grouped_outer":
        dims = _grouped_outer(shape_a, shape_b, out_shape)
    else:
        first = node.ndim - len(out_shape)
        shape_a, shape_b = (
            s if by_row or not item.row or len(s) < node.ndim else s[first:]
            for s, by_row in ((shape_a, row_a), (shape_b, row_b))
        )
        dims = _batched(node.op.name, shape_a, shape_b, out_shape)
    if len(dims) > _MOST_DIMS:
        raise no_native_form(node)
    reads = (_read(places, a, row_a), _read(places, b, row_b))
    numbers = (int(row_a), int(row_b), len(dims), *(n for d in dims for n in d))
    return [Instruction("contract", (places.operand(node, item.frame), *reads), numbers)]


def _batched(name: str, a: Sequence[int], b: Sequence[int], out: Sequence[int]) -> Dims:
    """Products with leading axes, which broadcast; the innermost loop runs along the rows of b."""
    own, other, result = _dense(a), _dense(b), _dense(out)
    dims: list[tuple[int, ...]] = []
    for axis in range(-len(out), -2):
        steps = [
            0 if len(s) < -axis or s[axis] == 1 else d[axis]
            for s, d in ((a, own), (b, other))
        ]  # fmt: skip
        dims.append((out[axis], result[axis], *steps))
    m, k = (own[-1], own[-2]) if name == "t_matmul" else (own[-2], own[-1])
    k_b, n = (other[-1], other[-2]) if name == "matmul_t" else (other[-2], other[-1])
    inner = a[-2] if name == "t_matmul" else a[-1]
    return [*dims, (out[-2], result[-2], m, 0), (inner, 0, k, k_b), (out[-1], result[-1], 0, n)]


def _grouped_product(X: Sequence[int], W: Sequence[int], by_row: bool) -> Dims:
    groups, i, o = W
    dims = [(groups, o, i, i * o), (i, 0, 1, o), (o, 1, 0, 1)]
    return dims if by_row else [(X[0], groups * o, groups * i, 0), *dims]


def _grouped_outer(X: Sequence[int], D: Sequence[int], out: Sequence[int]) -> Dims:
    groups, i, o = out
    return [(groups, i * o, i, o), (X[0], 0, groups * i, groups * o), (i, o, 1, 0), (o, 1, 0, 1)]


_EMITTERS: dict[str, Callable[[Places, Item], list[Instruction]]] = {
    "gather": _gather,
    "product": _product,
    "t_product": _t_product,
    "t_product_packed": _t_product_packed,
    "column_reduce": _column_reduce,
    "pack": _pack,
    "pack_transposed": _pack,
    "softmax": _plain,
    "log_softmax": _plain,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "row_reduce": _row_reduce,
    "move": _move,
    "take": _take,
    "one_hot": _one_hot,
    "scatter": _scatter,
    "uniform": _uniform,
    "contract": _contract,
}
