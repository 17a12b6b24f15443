"""The order in which a graph is visited, and what a visitor asks of a node."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from layerwise.errors import GraphError, ShapeError
from layerwise.graph import shapes
from layerwise.graph.node import Node
from layerwise.types import Shape

T = TypeVar("T", bound=Hashable)


def order(outputs: Iterable[Node]) -> list[Node]:
    """All nodes that ``outputs`` need, each after its inputs."""
    return after_inputs(outputs, attrgetter("inputs"))


def after_inputs(wanted: Iterable[T], inputs_of: Callable[[T], Sequence[T]]) -> list[T]:
    """All that is wanted or needed for it, each after its inputs, otherwise as it comes.

    Iterative, so depth has no limit. Nothing may need itself.
    """
    done: set[T] = set()
    result: list[T] = []
    stack = [(x, False) for x in reversed(tuple(wanted))]
    while stack:
        x, inputs_done = stack.pop()
        if x in done:
            continue
        if inputs_done:
            done.add(x)
            result.append(x)
        else:
            stack.append((x, True))
            stack.extend((y, False) for y in reversed(inputs_of(x)) if y not in done)
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
