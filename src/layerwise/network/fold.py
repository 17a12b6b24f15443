"""A network for prediction: what is only a factor or a shift by then, folded into weights and biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.network.inputs import Scale
from layerwise.network.layers import Dense, Input, Layer, numbered
from layerwise.network.normalisation import EPSILON
from layerwise.types import Array, FloatArray

if TYPE_CHECKING:
    from layerwise.network.network import Network


def folded_layers(net: Network, params: Mapping[str, Array]) -> tuple[list[Input | Layer], dict[str, Array]]:
    """The layers that are left and their parameters, in the precision of ``params``."""
    layers: list[Input | Layer] = [Input(net.widths[0])]
    result: dict[str, Array] = {}
    factors: FloatArray | None = None
    for number, (n_in, layer) in enumerate(zip(net.widths, net.layers, strict=False), start=1):
        own = {name: params[numbered(name, number)] for name in layer.parameters(n_in)}
        if isinstance(layer, Scale) and _is_absorbed(net.layers[number:]):
            s = own["s"].astype(np.float64)
            factors = s if factors is None else s * factors
            continue
        if isinstance(layer, Dense):
            layer, own = _folded_dense(layer, own, factors)
            factors = None
        result |= {numbered(name, len(layers)): array for name, array in own.items()}
        layers.append(layer)
    return layers, result


def _is_absorbed(behind: Sequence[Layer]) -> bool:
    """Whether a factor for each input can be part of the weights behind: not where the inputs are added as they are."""
    dense = next(layer for layer in behind if not isinstance(layer, Scale))
    return isinstance(dense, Dense) and not dense.residual


def _folded_dense(layer: Dense, own: Mapping[str, Array], factors: FloatArray | None) -> tuple[Dense, dict[str, Array]]:
    """s W c g and (b - mean) g + β with c = 1/√n_in and g = γ/√(variance + ε), where there are such."""
    dtype = own["W"].dtype
    exact: dict[str, Any] = {name: array.astype(np.float64) for name, array in own.items()}
    kept: dict[str, FloatArray] = {"W": exact["W"] * layer.factor(len(exact["W"]))}
    if factors is not None:
        kept["W"] = factors[:, None] * kept["W"]
    if layer.bias:
        kept["b"] = exact["b"]
    if layer.normalisation == "batch":
        g = exact["gamma"] / np.sqrt(exact["variance"] + EPSILON)
        kept = {"W": kept["W"] * g, "b": (exact.get("b", 0.0) - exact["mean"]) * g + exact["beta"]}
    elif layer.normalisation == "layer":
        kept |= {name: exact[name] for name in ("gamma", "beta")}
    plain = Dense(
        layer.width,
        layer.activation,
        None if layer.parametrisation == "ntk" else layer.initialiser,
        bias="b" in kept,
        normalisation="layer" if layer.normalisation == "layer" else None,
        residual=layer.residual,
    )
    return plain, {name: array.astype(dtype) for name, array in kept.items()}
