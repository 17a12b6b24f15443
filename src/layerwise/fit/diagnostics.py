"""What happens inside a network while it learns: norms, dead and saturated units, and what that means in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from layerwise.compile.plan import plan
from layerwise.engine.reference import Runner
from layerwise.graph.differentiate import gradient
from layerwise.network.layers import Dense, Layer, numbered
from layerwise.network.network import Network
from layerwise.types import Array

_SAMPLE = 1024
"""Rows from which gradients and activations are found."""
_LARGE, _SMALL = 100.0, 1e-3
"""Largest absolute values of inputs or targets outside of which they are not scaled."""
_DEAD, _SATURATED = 0.5, 0.5
"""Shares of a layer's units that are worth a sentence."""
_FLAT = 0.01
"""A unit is saturated in a row where its slope is below this share of the largest that its activation has."""
_STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "softsign": 1.0, "hardtanh": 1.0}


@dataclass(frozen=True)
class LayerReport:
    """One layer after an epoch.

    Parameters
    ----------
    weights, gradient, update : float
        Norms over all parameters of the layer: of them, of the gradient of the cost on some rows by them, and of
        their change in the epoch.
    dead : float
        The share of units whose output is 0 for all those rows; NaN for activations that are never flat at 0.
    saturated : float
        The share of units that are on their flat parts in nearly all those rows; NaN for activations without such.
    """

    weights: float
    gradient: float
    update: float
    dead: float = math.nan
    saturated: float = math.nan


class Observer:
    """Looks at a network after each epoch.

    Parameters
    ----------
    net : Network
    tables : sequence of array
        The training data; its first rows are looked at.
    dtype : str
    """

    def __init__(self, net: Network, tables: Sequence[Array], dtype: str):
        self._net = net
        self._X, self._Y = (table[:_SAMPLE] for table in tables[:2])
        self._graph = net.graph(labels=self._Y.ndim == 1)
        self._names = list(self._graph.parameters)
        grads = gradient(self._graph.cost, list(self._graph.parameters.values()))
        self._runner = Runner(plan([*grads, *self._graph.activations[1:]]), dtype)
        self._before: Mapping[str, Array] = {}

    def look(self, params: Mapping[str, Array]) -> tuple[LayerReport, ...]:
        """A report for each layer at these weights; the first update is unknown, NaN."""
        found = self._runner.run(self._graph.feeds(params, self._X, self._Y))
        grads = dict(zip(self._names, found, strict=False))
        activations = found[len(self._names) :]
        reports: list[LayerReport] = []
        for number, (layer, A) in enumerate(zip(self._net.layers, activations, strict=True), start=1):
            own = [numbered(name, number) for name in layer.parameters(self._net.widths[number - 1])]
            before = self._before
            update = _norm([params[k] - before[k] for k in own]) if before else math.nan
            dead, saturated = _flat_units(layer, A)
            weights, slopes = _norm([params[k] for k in own]), _norm([grads[k] for k in own])
            reports.append(LayerReport(weights, slopes, update, dead, saturated))
        self._before = dict(params)
        return tuple(reports)


def largest(values: Array) -> float:
    """The largest absolute value."""
    return float(np.max(np.abs(values.astype(np.float64)), initial=0.0))


def _norm(arrays: Sequence[Array]) -> float:
    with np.errstate(over="ignore"):  # ∞ is a norm too
        return math.sqrt(sum(float(np.sum(np.square(a, dtype=np.float64))) for a in arrays))


def _flat_units(layer: Layer, A: Array) -> tuple[float, float]:
    """The shares of dead and of saturated units among the columns of A; NaN where A does not tell."""
    if not isinstance(layer, Dense) or layer.residual:
        return math.nan, math.nan
    activation = layer.activation.name
    if activation == "relu":
        return float(np.mean((A <= 0).all(axis=0))), math.nan
    slope = {
        "sigmoid": lambda a: a * (1 - a),
        "tanh": lambda a: (1 - a) * (1 + a),
        "softsign": lambda a: (1 - np.abs(a)) ** 2,
        "hardtanh": lambda a: np.where(np.abs(a) < 1, 1.0, 0.0),
    }.get(activation)
    if slope is None:
        return math.nan, math.nan
    flat = slope(A.astype(np.float64)) < _FLAT * _STEEPEST[activation]
    return math.nan, float(np.mean(flat.mean(axis=0) > 0.99))


# In words -----------------------------------------------------------------------------------------------------


def notes_before(net: Network, X: Array, Y: Array, params: Mapping[str, Array]) -> list[str]:
    """What is likely to keep a fit from learning, known before its first step."""
    notes = [
        f"{what} are not scaled: the largest absolute value is {size:.3g}. Networks learn well from values of about 1."
        for what, size in (("Inputs", largest(X[:_SAMPLE])), ("Targets", largest(Y[:_SAMPLE]) if Y.ndim > 1 else 1.0))
        if size > _LARGE or 0 < size < _SMALL
    ]
    for number, layer in enumerate(net.layers[:-1], start=1):
        W = params.get(f"W{number}")
        if isinstance(layer, Dense) and W is not None and layer.width > 1 and (W[:, :1] == W).all():
            notes.append(
                f"All {layer.width} units of layer {number} start equal: they get equal gradients and stay equal. "
                "Start them from random weights."
            )
    return notes


def notes_after(net: Network, reports: Sequence[LayerReport]) -> list[str]:
    """What is wrong inside a network by the reports of its last epoch."""
    notes: list[str] = []
    for number, report in enumerate(reports[:-1], start=1):
        width = net.widths[number]
        if report.dead > _DEAD:
            notes.append(
                f"{report.dead:.0%} of the {width} units of layer {number} are dead: 0 for all rows looked at, "
                "so they learn no more. Try a smaller learning rate, or 'leaky_relu'."
            )
        if report.saturated > _SATURATED:
            notes.append(
                f"{report.saturated:.0%} of the {width} units of layer {number} are saturated: their slope is "
                "near 0, so they hardly learn. Scale the inputs, or try a smaller learning rate."
            )
    return notes
