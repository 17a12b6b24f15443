"""Losses: one number a sample, L(y, t), summed over the outputs; the cost is their average.

Each loss says which outputs it fits. A loss joined to its output function (softmax with
cross-entropy) is a composite of both: its value is computed from the pre-activation without loss of
digits, and its derivative is that of the definition, with what cancels cancelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from layerwise.graph.node import Op
from layerwise.ops.activations import log_softmax, sigmoid, softmax, softplus, tanh
from layerwise.ops.arithmetic import absolute, equal, exp, log, maximum, square, where
from layerwise.ops.reductions import sum
from layerwise.ops.table import composite, elementwise
from layerwise.types import Array

Targets = Literal["real", "distribution", "probability", "count", "sign"]
"""What a target may be: any number; a row that sums to 1 (or a label); 0 … 1; >= 0; -1 or 1."""


def _per_sample(values: Any) -> Any:
    return sum(values, axis=-1)


def _times_log(T: Any, Y: Any) -> Any:
    """t log y, in value and derivative 0 where t = y = 0; both are at least 0, so their sum tells."""
    return T * log(where(equal(T + Y, 0.0), 1.0, Y))


@dataclass(frozen=True)
class LossRow:
    """A loss as the network sees it.

    Parameters
    ----------
    op : Op
        L of outputs Y (N, n) and targets T (N, n), shape (N,).
    targets : str
        What targets may hold.
    outputs : tuple of str
        The activations it fits; empty: every elementwise one.
    joined : mapping
        Output activation → op of the pre-activation Z and T that computes both together.
    usual_for : str
        The output activation for which this is the loss when none is named.
    nonnegative : bool
        L is never below 0, so the ratio of two costs means something.
    limits : mapping
        Option → the values between which it must lie.
    of_targets : mapping
        Options that change the targets and not the op, with the values that leave them as they are.
    """

    op: Op
    targets: Targets = "real"
    outputs: tuple[str, ...] = ()
    joined: Mapping[str, Op] = field(default_factory=dict[str, Op])
    usual_for: str = ""
    nonnegative: bool = True
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    of_targets: Mapping[str, float] = field(default_factory=dict[str, float])


def _loss(name: str, definition: Callable[..., Any], latex: str, doc: str, **more: Any) -> Op:
    return composite(name, definition=definition, latex=latex, doc=doc, kernel=name, **more)


squared_error = _loss(
    "squared_error",
    lambda Y, T: _per_sample(square(Y - T)),
    r"\sum_k ({0} - {1})_k^2",
    "Σ_k (y_k - t_k)².",
)
half_squared_error = _loss(
    "half_squared_error",
    lambda Y, T: 0.5 * _per_sample(square(Y - T)),
    r"\tfrac12 \lVert {0} - {1} \rVert^2",
    "½ Σ_k (y_k - t_k)².",
)
absolute_error = _loss(
    "absolute_error",
    lambda Y, T: _per_sample(absolute(Y - T)),
    r"\sum_k \lvert {0} - {1} \rvert_k",
    "Σ_k |y_k - t_k|.",
)


def _huber(Y: Any, T: Any, *, delta: float) -> Any:
    r = absolute(Y - T)
    # the square of Y - T, not of r: |.| has no second derivative at 0, the loss has
    return _per_sample(where(r <= delta, 0.5 * square(Y - T), delta * (r - 0.5 * delta)))


huber = _loss(
    "huber",
    _huber,
    r"\sum_k \operatorname{{huber}}({0} - {1})_k",
    "½ r² for |r| <= delta, else delta (|r| - ½ delta), summed; Huber (1964).",
    defaults={"delta": 1.0},
)


def _log_of_cosh(r: Array) -> Array:
    size = absolute.forward(r)
    near = np.where(size < 1, r, 0)  # cosh r = 1 + 2 sinh² (r/2), where nothing is lost beside the 1
    far = size + np.log1p(np.exp(-2 * size)) - math.log(2.0)  # cosh itself overflows from r = 711 on
    return np.where(size < 1, np.log1p(2 * np.square(np.sinh(near / 2))), far)


log_of_cosh = elementwise(
    "log_of_cosh",
    value=_log_of_cosh,
    slope=lambda r, a: tanh(r),
    latex=r"\log \cosh {0}",
    kernel="log_of_cosh",
    doc="log cosh r, accurate near 0 and without overflow.",
)
log_cosh = _loss(
    "log_cosh",
    lambda Y, T: _per_sample(log_of_cosh(Y - T)),
    r"\sum_k \log \cosh ({0} - {1})_k",
    "Σ_k log cosh(y_k - t_k).",
)
pinball = _loss(
    "pinball",
    lambda Y, T, *, quantile: _per_sample(maximum(quantile * (T - Y), (quantile - 1.0) * (T - Y))),
    r"\sum_k \rho({1} - {0})_k",
    "Σ_k max(q r, (q - 1) r) with r = t - y: its minimum is the q-quantile; Koenker and Bassett (1978).",
    defaults={"quantile": 0.5},
)
poisson = _loss(
    "poisson",
    lambda Y, T: _per_sample(Y - _times_log(T, Y)),
    r"\sum_k ({0} - {1} \log {0})_k",
    "Σ_k (y_k - t_k log y_k), the Poisson likelihood up to log t!.",
)
binary_cross_entropy = _loss(
    "binary_cross_entropy",
    lambda Y, T: _per_sample(-_times_log(T, Y) - _times_log(1.0 - T, 1.0 - Y)),
    r"-\sum_k ({1} \log {0} + (1 - {1}) \log(1 - {0}))_k",
    "-Σ_k (t_k log y_k + (1 - t_k) log(1 - y_k)).",
)
cross_entropy = _loss(
    "cross_entropy",
    lambda Y, T: _per_sample(-_times_log(T, Y)),
    r"-\sum_k ({1} \log {0})_k",
    "-Σ_k t_k log y_k.",
)
hinge = _loss(
    "hinge",
    lambda Y, T: _per_sample(maximum(1.0 - T * Y, 0.0)),
    r"\sum_k \max(0, 1 - {1} {0})_k",
    "Σ_k max(0, 1 - t_k y_k) for targets -1 and 1.",
)


def _weighted(T: Any, values: Any) -> Any:
    """Σ_k T · values; where T is 0 the term is 0, whatever the value."""
    return _per_sample(where(equal(T, 0.0), 0.0, T * values))


softmax_cross_entropy = _loss(
    "softmax_cross_entropy",
    lambda Z, T: _per_sample(-(T * log(softmax(Z)))),
    r"-\sum_k ({1} \log \operatorname{{softmax}} {0})_k",
    "Cross-entropy of softmax(Z), accurate also where it is tiny.",
    forward=lambda Z, T: _weighted(T, -log_softmax(Z)),
    distributions=(1,),
)
sigmoid_binary_cross_entropy = _loss(
    "sigmoid_binary_cross_entropy",
    lambda Z, T: _per_sample(-(T * log(sigmoid(Z))) - (1.0 - T) * log(1.0 - sigmoid(Z))),
    r"-\sum_k ({1} \log \sigma({0}) + (1 - {1}) \log(1 - \sigma({0})))_k",
    "Binary cross-entropy of sigmoid(Z), accurate also where it is tiny.",
    forward=lambda Z, T: _weighted(T, softplus(-Z)) + _weighted(1.0 - T, softplus(Z)),
)
exp_poisson = _loss(
    "exp_poisson",
    lambda Z, T: _per_sample(exp(Z) - T * log(exp(Z))),
    r"\sum_k (e^{{{0}}} - {1} {0})_k",
    "Poisson loss of e^Z, the canonical link.",
    forward=lambda Z, T: _per_sample(exp(Z) - T * Z),
)

LOSSES: dict[str, LossRow] = {
    row.op.name: row
    for row in (
        LossRow(squared_error),
        LossRow(half_squared_error),
        LossRow(absolute_error),
        LossRow(huber, limits={"delta": (0.0, math.inf)}),
        LossRow(log_cosh),
        LossRow(pinball, limits={"quantile": (0.0, 1.0)}),
        LossRow(poisson, "count", ("exp", "softplus"), {"exp": exp_poisson}, "exp", nonnegative=False),
        LossRow(
            binary_cross_entropy, "probability", ("sigmoid",), {"sigmoid": sigmoid_binary_cross_entropy}, "sigmoid"
        ),
        LossRow(
            cross_entropy,
            "distribution",
            ("softmax",),
            {"softmax": softmax_cross_entropy},
            "softmax",
            limits={"label_smoothing": (0.0, 1.0)},
            of_targets={"label_smoothing": 0.0},
        ),
        LossRow(hinge, "sign", ("identity", "tanh", "hardtanh", "softsign")),
    )
}
"""Every loss by name."""
