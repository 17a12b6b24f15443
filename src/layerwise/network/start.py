"""Starting weights that know the data: each layer is drawn, then fitted to what those before it make of some rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.engine.choice import runner
from layerwise.graph.node import Node, input, parameter
from layerwise.network.layers import Dense, Layer, numbered
from layerwise.network.regularise import Place
from layerwise.randomness import Stream, uniform
from layerwise.types import Array, FloatArray

if TYPE_CHECKING:
    from layerwise.network.network import Network

_ROWS = 5
"""Rows from which the kink of a unit is mixed."""


def start_on_rows(net: Network, seed: int, X: Array) -> dict[str, FloatArray]:
    """Starting values of all parameters, in float64.

    The columns of each W are divided by the standard deviations of their products over the rows, which then have
    variance 1. b is minus a random mixture of a unit's products at five random rows, so that Z = 0 lies among the data.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart (2024), Better by default, who call it he+5.
    """
    A: Any = X
    result: dict[str, FloatArray] = {}
    for number, (n_in, layer) in enumerate(zip(net.widths, net.layers, strict=False), start=1):
        own = layer.start(n_in, seed, number)
        if isinstance(layer, Dense):
            own |= _fitted(layer, own["W"], A, seed, number)
        A = _activation(layer, own, A, number)
        result |= {numbered(name, number): array for name, array in own.items()}
    return result


def _fitted(layer: Dense, W: FloatArray, A: FloatArray, seed: int, number: int) -> dict[str, FloatArray]:
    Z = layer.linear(A, W)
    deviation = Z.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)  # constant inputs, or weights of 0: as they were drawn
    fitted: dict[str, FloatArray] = {"W": W / deviation}
    if layer.bias:
        place, share = uniform(seed, Stream.START_ON_ROWS, number, (2, _ROWS, layer.width))
        # Exponential, then normalised: uniform over all mixtures.
        share = -np.log1p(-share) + np.finfo(float).tiny
        at = (place * len(Z)).astype(np.int64)
        fitted["b"] = -np.sum(share / share.sum(axis=0) * np.take_along_axis(Z, at, axis=0), axis=0) / deviation
    return fitted


def _activation(layer: Layer, own: Mapping[str, FloatArray], A: FloatArray, number: int) -> FloatArray:
    """What the layer makes of A, by the statistics of these rows."""
    X = input("A", ("N", A.shape[1]))
    nodes: dict[str, Node] = {name: parameter(name, array.shape) for name, array in own.items()}
    built = layer.graph(X, nodes, Place(number, training=True))
    feeds = {X: A, **{nodes[name]: array for name, array in own.items()}}
    (activation,) = runner([built.activation], "float64", "numpy").run(feeds)
    return activation
