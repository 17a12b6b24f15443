"""Normalisation of pre-activations, over the rows of a batch or the units of a row; then a trained scale and shift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from layerwise.graph.node import Node, size
from layerwise.ops.arithmetic import maximum, minimum, sqrt, square
from layerwise.ops.reductions import mean

EPSILON = 1e-5
"""Added to a variance, in squared units of the pre-activation."""
MOMENTUM = 0.1
"""The share of a batch's statistics in the running ones."""


@dataclass(frozen=True)
class Normalisation:
    """One way to normalise.

    Parameters
    ----------
    start : mapping of str to float
        Its parameters, one number for each unit, with what all of them are at the start.
    state : tuple of str
        Those that are no weights: a step stores them, no gradient changes them.
    graph : callable(Z, own, training) -> (Node, dict of str to Node)
        The normalised values, and what a training step stores.
    """

    start: Mapping[str, float]
    state: tuple[str, ...]
    graph: Callable[[Node, Mapping[str, Node], bool], tuple[Node, dict[str, Node]]]


def _shifted(centred: Any, variance: Any, own: Mapping[str, Node]) -> Any:
    return centred / sqrt(variance + EPSILON) * own["gamma"] + own["beta"]


def _batch(Z: Node, own: Mapping[str, Node], training: bool) -> tuple[Node, dict[str, Node]]:
    if not training:
        return _shifted(Z - own["mean"], own["variance"], own), {}
    centre: Any = mean(Z, axis=0)
    centred: Any = Z - centre
    variance: Any = mean(square(centred), axis=0)
    n: Any = size(Z.shape[:1])
    # A batch of one row says nothing about a variance: N / (N - 1) would be ∞, and the running values stay.
    share = MOMENTUM * minimum(n - 1.0, 1.0)
    unbiased = variance * (n / maximum(n - 1.0, 1.0))
    stores = {
        "mean": own["mean"] + share * (centre - own["mean"]),
        "variance": own["variance"] + share * (unbiased - own["variance"]),
    }
    return _shifted(centred, variance, own), stores


def _layer(Z: Node, own: Mapping[str, Node], training: bool) -> tuple[Node, dict[str, Node]]:
    centred: Any = Z - mean(Z, axis=-1, keepdims=True)
    return _shifted(centred, mean(square(centred), axis=-1, keepdims=True), own), {}


_SCALE = {"gamma": 1.0, "beta": 0.0}

# Ioffe and Szegedy (2015); Ba, Kiros and Hinton (2016).
NORMALISATIONS: dict[str, Normalisation] = {
    "batch": Normalisation({**_SCALE, "mean": 0.0, "variance": 1.0}, ("mean", "variance"), _batch),
    "layer": Normalisation(_SCALE, (), _layer),
}
