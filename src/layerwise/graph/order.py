"""The order in which a graph is visited, and what a visitor asks of a node."""

from __future__ import annotations

from collections.abc import Iterable

from layerwise.errors import GraphError, ShapeError
from layerwise.graph import shapes
from layerwise.graph.node import Node
from layerwise.types import Shape


def order(outputs: Iterable[Node]) -> list[Node]:
    """All nodes that ``outputs`` need, each after its inputs; iterative, so depth has no limit."""
    done: set[Node] = set()
    result: list[Node] = []
    stack: list[tuple[Node, bool]] = [(n, False) for n in reversed(tuple(outputs))]
    while stack:
        node, inputs_done = stack.pop()
        if node in done:
            continue
        if inputs_done:
            done.add(node)
            result.append(node)
        else:
            stack.append((node, True))
            stack.extend((x, False) for x in reversed(node.inputs) if x not in done)
    return result


def dependents(nodes: Iterable[Node], sources: Iterable[Node]) -> set[Node]:
    """Those of ``nodes`` (in topological order) whose real value depends on one of ``sources``."""
    found = set(sources)
    for node in nodes:
        if node.kind == "real" and any(x in found for x in node.inputs):
            found.add(node)
    return found


def require_node(value: object, what: str) -> Node:
    """``value`` when it is a node, else an error that says what was expected."""
    if not isinstance(value, Node):
        raise GraphError(f"{what} must be a graph node; got {type(value).__name__}.")
    return value


def require_shape(node: Node, shape: Shape, what: str) -> None:
    """Raise a ShapeError unless ``node`` has exactly ``shape``."""
    if node.shape != shape:
        raise ShapeError(
            f"{what} must have shape {shapes.shape_text(shape)}; got {shapes.shape_text(node.shape)} of {node!r}."
        )
