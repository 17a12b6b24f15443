"""Instruction selection: each node of a normal form becomes one item of work, or is absorbed into another's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from layerwise.compile.kernels import EPILOGUES, MAP_KERNELS, REDUCTIONS, SLOPES
from layerwise.errors import GraphError
from layerwise.graph.node import Node, constant_value, is_source
from layerwise.graph.order import after_inputs, order
from layerwise.graph.shapes import resolve
from layerwise.types import Dim

_MUCH_WORK = 1 << 20
"""Multiplications of an AᵀD whose tiles would each pack D for themselves."""


@dataclass(frozen=True)
class Pack:
    """A right operand as products read it: the matrix of ``node``, transposed or not, in blocks of columns.

    Parameters
    ----------
    node : Node
    transposed : bool
    frame : (int, int)
        Rows and columns under which the value of ``node`` is seen.
    """

    node: Node
    transposed: bool
    frame: tuple[int, int]

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns of what is packed."""
        rows, columns = self.frame
        return (columns, rows) if self.transposed else (rows, columns)


Key: TypeAlias = Node | Pack
"""What lies in memory: the value of a node, or a packed copy of it."""


@dataclass(eq=False)
class Item:
    """One instruction before it has its place.

    Parameters
    ----------
    kernel : str
    outputs, reads : tuples of Key
        Nodes stand for their memory: a reshape for what it reshapes.
    row : bool
        Row r of its outputs needs row r of the samples only.
    frame : (int, int)
        Rows and columns of its first output.
    numbers : tuple of int
    sources : tuple of Node
        The nodes as the instruction meets them, reshapes included; for elementwise operations the operands.
    level : int
        Its stage.
    """

    kernel: str
    outputs: tuple[Key, ...]
    reads: tuple[Key, ...]
    row: bool
    frame: tuple[int, int]
    numbers: tuple[int, ...] = ()
    sources: tuple[Node, ...] = ()
    level: int = -1


def base(node: Node) -> Node:
    """The node whose memory holds the value: a reshape moves nothing."""
    while node.op.name == "reshape":
        node = node.inputs[0]
    return node


class Selection:
    """The items of a normal form, in an order in which values are computed before they are read.

    Parameters
    ----------
    outputs : sequence of Node
        In normal form.
    sizes : mapping of str to int
    axis : str or None
        The axis of samples, whose rows are computed panel by panel.
    """

    def __init__(self, outputs: Sequence[Node], sizes: Mapping[str, int], axis: Dim | None):
        self._sizes, self._axis = sizes, axis
        self._nodes = order(outputs)
        self._uses = Counter(x for node in self._nodes for x in node.inputs)
        self._uses.update(outputs)
        self._absorbed: set[Node] = set()
        self._products: dict[Node, dict[str, Any]] = {}
        self.items: list[Item] = []
        self._packed: set[Pack] = set()
        self._masks: dict[Node, tuple[Node, Node, Node]] = {}
        for node in self._nodes:
            self._find_product(node)
            self._find_mask(node)
        for node in self._nodes:
            if node not in self._absorbed and node.op.name != "reshape":
                self._select(node)
        for item in self.items:
            if item.kernel == "column_reduce":
                self._read_packed(item)
        self.items = _needed(_in_order(self.items), {base(node) for node in outputs})

    def concrete(self, node: Node) -> tuple[int, ...]:
        """The shape with every axis as a number."""
        return resolve(node.shape, self._sizes)

    def is_row(self, node: Node) -> bool:
        """True where the first axis, and no other, is that of the samples."""
        return bool(node.shape) and node.shape[0] == self._axis and self._axis not in node.shape[1:]

    def matrix(self, node: Node, row: bool) -> tuple[int, int]:
        """Rows and columns under which the value is seen."""
        shape = self.concrete(node)
        if not shape or (not row and len(shape) < 2):
            return 1, math.prod(shape)
        return shape[0], math.prod(shape[1:])

    # Products, with what happens to their sums --------------------------------------------------------

    def _find_product(self, node: Node) -> None:
        name, inputs = node.op.name, node.inputs
        if name == "affine":
            self._products[node] = {"a": inputs[0], "b": inputs[1], "bias": inputs[2], "epilogue": "bias"}
        elif name in ("matmul", "matmul_t") and inputs[1].ndim == 2 and inputs[0].ndim >= 2:
            self._products[node] = {"a": inputs[0], "b": inputs[1], "transposed": name == "matmul_t"}
        elif name == "add":
            self._absorb_bias(node, *inputs)
        elif name == "relu":
            (Z,) = inputs
            found = self._products.get(Z)
            if found is not None and found.get("epilogue") == "bias" and self._uses[Z] == 1:
                self._absorb(node, Z, epilogue="bias_relu")
        elif name == "multiply":
            self._absorb_slope(node, *inputs)

    def _absorb(self, node: Node, product: Node, **more: Any) -> None:
        self._absorbed.add(product)
        self._products[node] = {**self._products.pop(product), **more}

    def _absorb_bias(self, node: Node, x: Node, y: Node) -> None:
        for product, bias in ((x, y), (y, x)):
            found = self._products.get(product)
            plain = found is not None and "epilogue" not in found and self._uses[product] == 1
            if plain and product.ndim == 2 and bias.shape == product.shape[1:]:
                return self._absorb(node, product, bias=bias, epilogue="bias")
        return None

    def _absorb_slope(self, node: Node, x: Node, y: Node) -> None:
        """(D Wᵀ) ⊙ f'(A): equal nodes are identical, so the slope is recognised by building it."""
        for product, slope in ((x, y), (y, x)):
            found = self._products.get(product)
            if found is None or "epilogue" in found or self._uses[product] > 1 or product.ndim != 2:
                continue
            for A in order([slope]):
                if A.op.name in SLOPES and A.shape == product.shape and A.op.slopes is not None:
                    expected = A.op.slopes[0](*A.inputs, A)
                    if expected is slope:
                        return self._absorb(node, product, other=A, epilogue=f"times_{A.op.name}_slope")
        return None

    # Random numbers that are only compared with a number that is fed --------------------------------------

    def _find_mask(self, node: Node) -> None:
        """where(uniform >= threshold, factor, 0): a mask is made of random numbers before they are stored."""
        if node.op.name != "where" or node.inputs[0].op.name != "greater_equal":
            return
        kept, factor, zero = node.inputs
        drawn, threshold = kept.inputs
        value = constant_value(zero)
        known = all(is_source(x) and not x.shape for x in (threshold, factor))
        alone = self._uses[kept] == 1 and self._uses[drawn] == 1
        if drawn.op.name == "uniform" and known and alone and value is not None and not value.any():
            self._absorbed.update((kept, drawn))
            self._masks[node] = drawn, threshold, factor

    # One node ------------------------------------------------------------------------------------------

    def _select(self, node: Node) -> None:
        if is_source(node) or constant_value(node) is not None:
            return
        if node in self._products:
            self._add_product(node, **self._products[node])
            return
        if node in self._masks:
            self._add_uniform(node, *self._masks[node])
            return
        name = node.op.name
        if node.op.slopes is not None or node.op.kind == "boolean":
            if node.op.kernel not in MAP_KERNELS:
                raise no_native_form(node)
            row = self.is_row(node) and all(self._broadcasts_by_row(x, node) for x in node.inputs)
            self._add("map", node, row)
        elif name == "softmax_cross_entropy":
            A = self._softmax_beside(node)
            outputs = (node,) if A is None else (node, A)
            row = self.is_row(node) and all(map(self.is_row, node.inputs))
            frame = (self.concrete(node.inputs[0])[0], 1)
            self.items.append(Item(name, outputs, tuple(map(base, node.inputs)), row, frame, sources=node.inputs))
        elif name in ("softmax", "log_softmax"):
            if any(self._softmax_beside(m) is node for m in self._nodes):
                return
            shape = self.concrete(node)
            row = self.is_row(node) and node.ndim > 1
            frame = self.matrix(node, True) if row else (math.prod(shape[:-1]), shape[-1])
            self._add(name, node, row, frame, (frame[1] // max(shape[-1], 1),))
        elif name in REDUCTIONS:
            self._add_reduction(node)
        elif name == "t_matmul" and node.ndim == 2:
            self._add_t_product(node, *node.inputs)
        else:
            self._add_other(node)

    def _softmax_beside(self, loss: Node) -> Node | None:
        """softmax(Z) for a softmax_cross_entropy(Z, T): one instruction gives both, unless T is made from it."""
        if loss.op.name != "softmax_cross_entropy":
            return None
        Z, T = loss.inputs
        same = (m for m in self._nodes if m.op.name == "softmax" and m.inputs == (Z,))
        return next((m for m in same if m not in order([T])), None)

    def _add(self, kernel: str, node: Node, row: bool, frame: tuple[int, int] | None = None,
             numbers: tuple[int, ...] = (), reads: tuple[Key, ...] | None = None) -> None:  # fmt: skip
        reads = tuple(map(base, node.inputs)) if reads is None else reads
        frame = frame or self.matrix(node, row)
        self.items.append(Item(kernel, (node,), reads, row, frame, numbers, node.inputs))

    def _broadcasts_by_row(self, x: Node, frame: Node) -> bool:
        if self.is_row(x):
            return x.ndim == frame.ndim
        return self._axis not in x.shape and (x.ndim < frame.ndim or x.shape[0] == 1)

    def _add_t_product(self, node: Node, A: Node, D: Node) -> None:
        """AᵀD; a D that is made panel by panel and read in many tiles is packed where it is made."""
        (K, N), M = self.concrete(D), self.concrete(A)[1]
        if not self.is_row(D) or K * M * N < _MUCH_WORK:
            self._add("t_product", node, False, numbers=(K,))
            return
        pack = self._pack(D, False, True)
        self.items.append(Item("t_product_packed", (node,), (base(A), pack), False, (M, N), (K, N), (A,)))

    def _pack(self, b: Node, transposed: bool, row: bool) -> Pack:
        pack = Pack(base(b), transposed, self.matrix(b, False))
        if pack not in self._packed:
            self._packed.add(pack)
            kernel = "pack_transposed" if transposed else "pack"
            self.items.append(Item(kernel, (pack,), (base(b),), row, pack.frame, sources=(b,)))
        return pack

    def _add_product(self, node: Node, a: Node, b: Node, transposed: bool = False, bias: Node | None = None,
                     other: Node | None = None, epilogue: str = "none") -> None:  # fmt: skip
        pack = self._pack(b, transposed, False)
        row = self.is_row(node) and self.is_row(a) and self._axis not in b.shape
        K, N = self.concrete(b)[:: -1 if transposed else 1]
        groups = math.prod(self.concrete(a)[1:-1])
        reads: tuple[Key, ...] = (base(a), pack, *(base(x) for x in (bias, other) if x is not None))
        item = Item("product", (node,), reads, row, self.matrix(node, True))
        item.numbers = (K, N, groups, EPILOGUES.index(epilogue))
        item.sources = (a, *(x for x in (bias, other) if x is not None))
        self.items.append(item)

    def _read_packed(self, item: Item) -> None:
        """Sums of columns read D where AᵀD does, so that it is needed only once."""
        (D,) = item.sources
        pack = Pack(base(D), False, self.matrix(D, False))
        if pack in self._packed and D is base(D) and self.is_row(D) and D.ndim == 2:
            item.reads = (pack,)

    def _add_reduction(self, node: Node) -> None:
        (x,) = node.inputs
        axes: tuple[int, ...] = node.attributes["axes"]
        op = REDUCTIONS.index(node.op.name)
        shape = self.concrete(x)
        if axes == (0,) and x.ndim > 1:
            self._add("column_reduce", node, False, (1, math.prod(shape[1:])), (shape[0], op))
            return
        row = self.is_row(x) and 0 not in axes
        kept = shape[: x.ndim - len(axes)]
        frame = (shape[0], math.prod(kept[1:])) if row else (math.prod(kept), 1)
        self._add("row_reduce", node, row, frame, (frame[1], op))

    def _add_other(self, node: Node) -> None:
        """Ops that move values, look-ups, and products with leading axes."""
        name, attributes = node.op.name, node.attributes
        first = node.inputs[0]
        if name == "take":
            table, index = node.inputs
            self._add("take", node, self.is_row(index) and self._axis not in table.shape, self.matrix(node, True))
        elif name == "scatter":
            rows = self.concrete(node)[0]
            self._add("scatter", node, False, (rows, math.prod(self.concrete(node)[1:])), self.concrete(first)[:1])
        elif name == "one_hot":
            row = self.is_row(first)
            self._add(name, node, row, self.matrix(node, True), (attributes["n_classes"],))
        elif name == "uniform":
            self._add_uniform(node, node)
        elif name in ("transpose", "broadcast_to", "concat", "slice", "embed", "to_integer"):
            self._add_strided("move", node, self._moves_by_row(node))
        elif name in ("matmul", "matmul_t", "t_matmul", "grouped_product"):
            row = self.is_row(node) and all(self._multiplies_by_row(x, node) for x in node.inputs)
            if name == "grouped_product":
                row = row and self._axis not in node.inputs[1].shape
            elif node.ndim < 3:
                row = False
            self._add_strided("contract", node, row)
        elif name == "grouped_outer":
            self._add_strided("contract", node, False)
        else:
            raise no_native_form(node)

    def _add_uniform(self, node: Node, drawn: Node, *mask: Node) -> None:
        """Random numbers, or the mask that ``node`` makes of them by a threshold and a factor."""
        sources = (*drawn.inputs, *mask)
        numbers = (drawn.attributes["stream"], drawn.attributes["bits"])
        frame = self.matrix(node, True)
        self.items.append(Item("uniform", (node,), sources, self.is_row(node), frame, numbers, sources))

    def _add_strided(self, kernel: str, node: Node, row: bool) -> None:
        """A row at a time, or else the whole value as one row."""
        self._add(kernel, node, row, self.matrix(node, True) if row else (1, math.prod(self.concrete(node))))

    def _moves_by_row(self, node: Node) -> bool:
        if not self.is_row(node):
            return False
        name, attributes = node.op.name, node.attributes
        if name == "broadcast_to":
            return self._broadcasts_by_row(node.inputs[0], node)
        if not all(map(self.is_row, node.inputs)):
            return False
        if name == "transpose":
            return attributes["axes"][0] == 0
        if name == "concat":
            return attributes["axis"] != 0
        if name == "to_integer":
            return True
        return attributes["parts"][0][:3:2] == (0, 1) and attributes["parts"][0][1] is None

    def _multiplies_by_row(self, x: Node, node: Node) -> bool:
        return (self.is_row(x) and x.ndim == node.ndim) or self._axis not in x.shape


def _in_order(items: list[Item]) -> list[Item]:
    """The items, each after those that write what it reads; otherwise as they come."""
    writer = {key: item for item in items for key in item.outputs}
    return after_inputs(items, lambda item: [writer[key] for key in item.reads if key in writer])


def _needed(items: list[Item], wanted: set[Node]) -> list[Item]:
    """Without items that nobody reads, such as a slope that became part of a product."""
    read: set[Key] = set(wanted)
    result: list[Item] = []
    for item in reversed(items):
        if not read.isdisjoint(item.outputs):
            read.update(item.reads)
            result.append(item)
    return result[::-1]


def no_native_form(node: Node) -> GraphError:
    """The error for a node that native code cannot run."""
    return GraphError(f"{node!r} has no native form. engine='numpy' runs it.")
