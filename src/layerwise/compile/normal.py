"""The normal form of a graph: the same values by fewer kinds of operation, each of which is one native instruction.

Composites become their parts, numbers that are known become constants, what only repeats a value is left to the
operation that reads it, and reductions run over the last axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from layerwise.graph.node import OPS, Node, constant, constant_value, is_source
from layerwise.graph.order import order
from layerwise.graph.shapes import reduced, resolve
from layerwise.types import Shape

FULL, ROW_VECTOR, COLUMN_VECTOR, SCALAR = range(4)
"""How an input of an elementwise operation meets its result, seen as rows × columns."""


def normal_form(outputs: Sequence[Node], sizes: Mapping[str, int]) -> list[Node]:
    """Nodes with the values of ``outputs`` for axes of these sizes."""
    return _Normal(sizes).of(outputs)


def broadcast_mode(shape: Shape, frame: Shape) -> int | None:
    """How a value of ``shape`` meets a result of shape ``frame``; None where it must be repeated in memory first."""
    padded = (1,) * (len(frame) - len(shape)) + tuple(shape)
    if padded == tuple(frame):
        return FULL
    if all(d == 1 for d in padded):
        return SCALAR
    if len(frame) < 2:
        return None
    if padded[1:] == tuple(frame[1:]):
        return ROW_VECTOR
    if padded[0] == frame[0] and all(d == 1 for d in padded[1:]):
        return COLUMN_VECTOR
    return None


def stripped(node: Node) -> Node:
    """The value that ``node`` only repeats, or ``node``."""
    while node.op.name == "broadcast_to":
        node = node.inputs[0]
    return node


class _Normal:
    def __init__(self, sizes: Mapping[str, int]):
        self._sizes = sizes
        self._form: dict[Node, Node] = {}
        self._rules: dict[str, Callable[[Node, tuple[Node, ...]], Node]] = {
            "identity": lambda node, inputs: inputs[0],
            "stop_gradient": lambda node, inputs: inputs[0],
            "size": lambda node, inputs: constant(float(math.prod(resolve(node.attributes["dims"], sizes)))),
            "reshape": self._reshape,
            "transpose": self._transpose,
            "broadcast_to": self._broadcast,
        }
        for name in ("sum", "mean", "max", "logsumexp"):
            self._rules[name] = self._reduce

    def of(self, outputs: Sequence[Node]) -> list[Node]:
        for node in order(outputs):
            if node not in self._form:
                form = self._one(node, tuple(self._form[x] for x in node.inputs))
                self._form[node] = self._form[form] = form
        return [self._form[node] for node in outputs]

    def _again(self, made: Node) -> Node:
        """The normal form of a node made from normal forms."""
        return self.of([made])[0]

    def _concrete(self, shape: Shape) -> tuple[int, ...]:
        return resolve(shape, self._sizes)

    def _one(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        if is_source(node) or constant_value(node) is not None:
            return node
        rule = self._rules.get(node.op.name)
        if rule is not None:
            return rule(node, inputs)
        if node.op.slopes is not None or node.op.kind == "boolean":
            return self._elementwise(node, inputs)
        if node.op.definition is not None and not _is_row_kernel(node):
            expanded = node.op.forward(*inputs, **node.attributes)
            return self._again(self._repeated(expanded, node.shape))
        return node.op(*inputs, **node.attributes) if inputs != node.inputs else node

    def _elementwise(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        bare = [stripped(x) for x in inputs]
        values = [constant_value(x) for x in bare]
        if all(v is not None and v.ndim == 0 for v in values):
            result = constant(node.op(*values, **node.attributes))
        else:
            result = node.op(*bare, **node.attributes)
            if result.shape == node.shape:
                whole = [self._met(x, node.shape) for x in bare]
                return node.op(*whole, **node.attributes)
            result = node.op(*(self._met(x, result.shape) for x in bare), **node.attributes)
        return self._repeated(result, node.shape)

    def _met(self, x: Node, frame: Shape) -> Node:
        return x if broadcast_mode(x.shape, frame) is not None else self._repeated(x, frame)

    def _repeated(self, x: Node, shape: Shape) -> Node:
        if x.shape == shape:
            return x
        if x.kind != "boolean":
            return OPS["broadcast_to"](x, shape=shape)
        numbers = OPS["where"](x, 1.0, 0.0)
        return OPS["not_equal"](OPS["broadcast_to"](numbers, shape=shape), 0.0)

    def _broadcast(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        return self._repeated(stripped(inputs[0]), node.shape)

    def _reshape(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        (x,) = inputs
        bare = stripped(x)
        if bare is not x and all(d == 1 for d in bare.shape):
            scalar = bare if not bare.shape else OPS["reshape"](bare, shape=())
            return self._repeated(self._again(scalar), node.shape)
        value = constant_value(x)
        if value is not None and all(isinstance(d, int) for d in node.shape):
            return constant(value.reshape(self._concrete(node.shape)))
        if x.op.name == "reshape":
            x = x.inputs[0]
        return x if x.shape == node.shape else OPS["reshape"](x, shape=node.shape)

    def _transpose(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        axes = node.attributes["axes"]
        (x,) = inputs
        moved = [a for a in axes if self._concrete(x.shape)[a] != 1]
        if moved == sorted(moved):  # no value changes its place
            return self._alias(x, node.shape)
        return OPS["transpose"](x, axes=axes)

    def _alias(self, x: Node, shape: Shape) -> Node:
        """``x`` under another shape with the same values in the same order."""
        names = [sorted(d for d in s if isinstance(d, str)) for s in (x.shape, shape)]
        if names[0] != names[1]:
            return OPS["transpose"](x, axes=tuple(range(x.ndim)))
        return x if x.shape == shape else OPS["reshape"](x, shape=shape)

    def _reduce(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        op, (x,) = node.op, inputs
        axes: tuple[int, ...] = node.attributes["axes"]
        keepdims: bool = node.attributes["keepdims"]
        op.shape(self._concrete(x.shape), axes=axes, keepdims=keepdims)  # an empty axis has no maximum
        if not axes:
            return x
        columns = axes == (0,) and x.ndim > 1 and op.name != "logsumexp"
        last = axes == tuple(range(x.ndim - len(axes), x.ndim))
        if not columns and not last:
            others = [a for a in range(x.ndim) if a not in axes]
            x = self._again(OPS["transpose"](x, axes=(*others, *axes)))
            axes = tuple(range(len(others), x.ndim))
        result = op(x, axes=axes, keepdims=False)
        shape = reduced(node.inputs[0].shape, node.attributes["axes"], keepdims)
        return result if result.shape == shape else OPS["reshape"](result, shape=shape)


def _is_row_kernel(node: Node) -> bool:
    """A composite that is one native instruction."""
    Z, *others = node.inputs
    return node.op.name == "softmax_cross_entropy" and Z.ndim == 2 and all(x.shape == Z.shape for x in others)
