"""What keeps a network from learning its samples by heart.

Penalties, which are part of the training cost; a limit to the norm of columns; random zeros and random noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from layerwise.graph.node import Node, input
from layerwise.ops.arithmetic import absolute, cos, greater_equal, log, minimum, sqrt, square, where
from layerwise.ops.random import uniform
from layerwise.ops.reductions import sum

_STREAMS = 4
"""Streams of random numbers that a layer has to itself; layer l has 4 l … 4 l + 3."""
_DROPOUT, _RADIUS, _ANGLE = range(3)
_STEPS_OF_RATE = 2**16
"""The random numbers of dropout are multiples of 2^-16."""


@dataclass(frozen=True)
class Place:
    """Where a layer stands, and in which form of the graph.

    Parameters
    ----------
    number : int
        The layer's, from 1.
    training : bool
        The form of a training step, not that of predictions.
    address : Node, (2,), or None
        Of random numbers; without one nothing is random.
    fed : dict of Node to float
        Filled by the layer: what its random parts are fed at each step.
    """

    number: int
    training: bool = False
    address: Node | None = None
    fed: dict[Node, float] = field(default_factory=dict[Node, float])

    def number_fed(self, name: str, value: float) -> Any:
        """A source of shape () that is fed this value."""
        node = input(f"{name} of layer {self.number}", ())
        self.fed[node] = value
        return node

    def uniform(self, purpose: int, like: Node, bits: int) -> Any:
        """Numbers in [0, 1) in the shape of ``like``, for one purpose of this layer."""
        return uniform(self.address, dims=like.shape, stream=_STREAMS * self.number + purpose, bits=bits)


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


def dropout_rate(rate: float) -> float:
    """The rate as a multiple of 2^-16: then it is exactly the probability of a zero."""
    return min(round(rate * _STEPS_OF_RATE), _STEPS_OF_RATE - 1) / _STEPS_OF_RATE


def dropped(A: Node, rate: float, place: Place) -> Node:
    """Zeros for a share ``rate`` of A, the rest divided by 1 - rate."""
    if place.address is None or not dropout_rate(rate):
        return A
    share = place.number_fed("dropout", dropout_rate(rate))
    # Fed too: from the rate it would be found in a stage of its own, which all threads would wait for.
    factor = place.number_fed("dropout factor", 1.0 / (1.0 - dropout_rate(rate)))
    return A * where(greater_equal(place.uniform(_DROPOUT, A, 16), share), factor, 0.0)


def noisy(A: Node, deviation: float, place: Place) -> Node:
    """A with normal noise, by Box and Muller (1958)."""
    if place.address is None or not deviation:
        return A
    # 1 - u is never 0, and exact; at most the noise is 5.8 deviations.
    radius = sqrt(-2.0 * log(1.0 - place.uniform(_RADIUS, A, 24)))
    angle = (2.0 * math.pi) * place.uniform(_ANGLE, A, 24)
    return A + place.number_fed("noise", deviation) * (radius * cos(angle))
