"""What keeps a network from learning its samples by heart.

Penalties, which are part of the training cost; a limit to the norm of columns; random zeros and random noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from layerwise.graph.node import Node, input
from layerwise.network.schedules import Moments, Rate, Schedule
from layerwise.ops.arithmetic import absolute, cos, greater_equal, log, minimum, sqrt, square, where
from layerwise.ops.random import uniform
from layerwise.ops.reductions import sum

_STREAMS = 4
"""Streams of random numbers that a layer has to itself; layer l has 4 l … 4 l + 3."""
_DROPOUT, _RADIUS, _ANGLE = range(3)
_DROPPED = "dropout"
_STEPS_OF_RATE = 2**16
"""The random numbers of dropout are multiples of 2^-16."""


@dataclass(frozen=True)
class Number:
    """A number that a layer is fed at each step.

    Parameters
    ----------
    value : float or Schedule
    of : callable
        What of the value is fed; takes arrays too.
    """

    value: Rate
    of: Callable[[Any], Any]

    @property
    def start(self) -> float:
        """The value at the first step of a fit."""
        if isinstance(self.value, Schedule):
            return float(self.value.at(Moments(np.zeros(()), 1, 1)))
        return self.value


@dataclass(frozen=True)
class LayerNumbers:
    """The numbers that layers are fed at each step, as an update rule has its own.

    Parameters
    ----------
    numbers : dict of str to Number
    """

    numbers: Mapping[str, Number]
    name: ClassVar[str] = "the network"

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Those that change."""
        return {name: number.value for name, number in self.numbers.items() if isinstance(number.value, Schedule)}

    @property
    def below(self) -> dict[str, float]:
        """Limits that they must stay below."""
        return {name: 1.0 for name in self.numbers if name.startswith(_DROPPED)}

    def at(self, values: Mapping[str, Any]) -> Self:
        """The numbers at some steps."""
        return type(self)({name: replace(n, value=values.get(name, n.value)) for name, n in self.numbers.items()})

    def scalars(self, step: Any) -> dict[str, Any]:
        """What is fed at a step."""
        return {name: number.of(number.value) for name, number in self.numbers.items()}


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
    fed : dict of Node to Number
        Filled by the layer: what its random parts are fed at each step.
    """

    number: int
    training: bool = False
    address: Node | None = None
    fed: dict[Node, Number] = field(default_factory=dict[Node, Number])

    def number_fed(self, name: str, value: Rate, of: Callable[[Any], Any]) -> Any:
        """A source of shape () that is fed this value, or what is made of it."""
        node = input(f"{name} of layer {self.number}", ())
        self.fed[node] = Number(value, of)
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


def dropout_rate(rate: Any) -> Any:
    """The rate, or an array of rates, as multiples of 2^-16: then it is exactly the probability of a zero."""
    return np.minimum(np.round(np.asarray(rate) * _STEPS_OF_RATE), _STEPS_OF_RATE - 1) / _STEPS_OF_RATE


def dropped(A: Node, rate: Rate, place: Place) -> Node:
    """Zeros for a share ``rate`` of A, the rest divided by 1 - rate."""
    if place.address is None or (not isinstance(rate, Schedule) and not dropout_rate(rate)):
        return A
    share = place.number_fed(_DROPPED, rate, dropout_rate)
    # Fed too: from the rate it would be found in a stage of its own, which all threads would wait for.
    factor = place.number_fed(f"{_DROPPED} factor", rate, lambda r: 1.0 / (1.0 - dropout_rate(r)))
    return A * where(greater_equal(place.uniform(_DROPOUT, A, 16), share), factor, 0.0)


def noisy(A: Node, deviation: Rate, place: Place) -> Node:
    """A with normal noise, by Box and Muller (1958)."""
    if place.address is None or not deviation:
        return A
    # 1 - u is never 0, and exact; at most the noise is 5.8 deviations.
    radius = sqrt(-2.0 * log(1.0 - place.uniform(_RADIUS, A, 24)))
    angle = (2.0 * math.pi) * place.uniform(_ANGLE, A, 24)
    return A + place.number_fed("noise", deviation, np.asarray) * (radius * cos(angle))
