"""A forward graph as a chain of dense layers, the form in which the native code predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from layerwise.errors import GraphError
from layerwise.graph.node import Node


@dataclass(frozen=True)
class DenseStep:
    """f(A W + b).

    Parameters
    ----------
    weights : str
        Name of W.
    bias : str, optional
        Name of b; None where there is none.
    kernel : str
        Name of f.
    options : tuple of float
        Those of f, in the order of its declaration.
    """

    weights: str
    bias: str | None
    kernel: str
    options: tuple[float, ...]


def dense_chain(output: Node, inputs: Node) -> tuple[DenseStep, ...]:
    """The layers that lead from ``inputs`` to ``output``, first to last.

    Raises
    ------
    GraphError
        A node on the way is neither an activation nor a product with weights; the message names it.
    """
    steps: list[DenseStep] = []
    node = output
    while node is not inputs:
        kernel, options = "identity", ()
        if node.op.name not in ("affine", "matmul"):
            if node.op.kernel is None or len(node.inputs) != 1:
                raise GraphError(f"{node!r} is no activation, so the graph is not a chain of dense layers.")
            kernel, options = node.op.kernel, _numbers(node.attributes)
            (node,) = node.inputs
        if node.op.name not in ("affine", "matmul"):
            raise GraphError(f"{node!r} is no product with weights, so the graph is not a chain of dense layers.")
        A, W, *b = node.inputs
        steps.append(DenseStep(W.name, b[0].name if b else None, kernel, options))
        node = A
    return tuple(reversed(steps))


def _numbers(attributes: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(float(value) for value in attributes.values())
