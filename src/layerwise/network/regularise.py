"""What keeps weights small: penalties, which are part of the training cost, and a limit to the norm of columns."""

from __future__ import annotations

from typing import Any

from layerwise.graph.node import Node
from layerwise.ops.arithmetic import absolute, minimum, sqrt, square
from layerwise.ops.reductions import sum


def penalty(W: Node, l1: float, l2: float) -> Node | None:
    """l1 Σ|W| + l2/2 ΣW²; None where both are 0."""
    parts: list[Any] = []
    # Summed by rows first, which several threads share.
    if l1:
        parts.append(l1 * sum(sum(absolute(W), axis=1)))
    if l2:
        parts.append(0.5 * l2 * sum(sum(square(W), axis=1)))
    return parts[0] + parts[1] if len(parts) > 1 else parts[0] if parts else None


def limited(W: Any, norm: float) -> Any:
    """W with the columns that are longer than ``norm`` scaled to that length."""
    return W * minimum(norm / sqrt(sum(square(W), axis=0)), 1.0)  # a column of zeros: ∞, so 1
