"""Activation functions f with A = f(Z): elementwise, except softmax and log_softmax over the last axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from layerwise.errors import ShapeError, shape_text
from layerwise.graph.node import Op
from layerwise.ops.arithmetic import absolute, cos, exp, normal_cdf, sign, sin, square, where
from layerwise.ops.reductions import sum, top_removed
from layerwise.ops.table import declare, elementwise
from layerwise.types import Array, Shape

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""λ and α of Klambauer et al. (2017), Self-normalizing neural networks."""
_GELU_INNER = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715


def _sigmoid(z: Array) -> Array:
    e = np.exp(np.where(z >= 0, -z, z))  # never overflows; both branches keep their relative accuracy
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def _softplus(z: Array) -> Array:
    return np.log1p(np.exp(np.where(z >= 0, -z, z))) + np.maximum(z, 0)


def _gated(z: Array, gate: Array) -> Array:
    """z · gate for a gate that goes to 0 faster than z to -∞, so the limit is 0 and not -∞ · 0 = NaN."""
    return np.where(gate == 0, -np.zeros_like(gate), z * gate)


def _mish_gate(z: Array) -> Array:
    e = np.exp(np.minimum(z, 20.0))  # tanh(log(1 + e)) = n / (n + 2); from z = 20 on it rounds to 1
    n = e * (e + 2)
    return n / (n + 2)


identity = elementwise(
    "identity", value=np.asarray, slope=lambda z, a: 1, latex="{0}", kernel="identity", doc="z itself."
)
sigmoid = elementwise(
    "sigmoid",
    value=_sigmoid,
    slope=lambda z, a: a * (1.0 - a),
    latex=r"\sigma({0})",
    kernel="sigmoid",
    doc="1 / (1 + e^(-z)), exact to rounding for any z.",
)
log_sigmoid = elementwise(
    "log_sigmoid",
    value=lambda z: -_softplus(-np.asarray(z)),
    slope=lambda z, a: sigmoid(-z),
    latex=r"\log \sigma({0})",
    kernel="log_sigmoid",
    doc="log(1 / (1 + e^(-z))) without loss of digits.",
)
tanh = elementwise(
    "tanh",
    value=np.tanh,
    slope=lambda z, a: (1.0 - a) * (1.0 + a),
    latex=r"\tanh {0}",
    kernel="tanh",
    doc="The hyperbolic tangent.",
)
relu = elementwise(
    "relu",
    value=lambda z: np.maximum(z, 0),
    slope=lambda z, a: where(a > 0.0, 1.0, 0.0),  # 0 at z = 0, the common convention
    latex=r"\max(0, {0})",
    kernel="relu",
    doc="max(0, z); its slope is 1 for z > 0, else 0.",
)
leaky_relu = elementwise(
    "leaky_relu",
    value=lambda z, *, alpha: np.where(z > 0, z, alpha * z),
    slope=lambda z, a, *, alpha: where(z > 0.0, 1.0, alpha),
    latex=r"\operatorname{{LeakyReLU}}({0})",
    kernel="leaky_relu",
    defaults={"alpha": 0.01},
    doc="z for z > 0, else alpha · z.",
)
elu = elementwise(
    "elu",
    value=lambda z, *, alpha: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
    slope=lambda z, a, *, alpha: where(z > 0.0, 1.0, a + alpha),
    latex=r"\operatorname{{ELU}}({0})",
    kernel="elu",
    defaults={"alpha": 1.0},
    doc="z for z > 0, else alpha · (e^z - 1).",
)
selu = elementwise(
    "selu",
    value=lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    slope=lambda z, a: where(z > 0.0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA),
    latex=r"\operatorname{{SELU}}({0})",
    kernel="selu",
    doc="1.0507 · (z for z > 0, else 1.6733 · (e^z - 1)).",
)
gelu = elementwise(
    "gelu",
    value=lambda z: _gated(np.asarray(z), normal_cdf.forward(z)),
    slope=lambda z, a: normal_cdf(z) + z * ((1.0 / math.sqrt(2.0 * math.pi)) * exp(-0.5 * square(z))),
    latex=r"{0}\,\Phi({0})",
    kernel="gelu",
    doc="z · Φ(z) with the normal distribution function Φ (exact form).",
)


def _gelu_tanh_slope(z: Any, a: Any) -> Any:
    s = sigmoid(2.0 * _GELU_INNER * (z + _GELU_CUBIC * z * z * z))
    return s + z * s * (1.0 - s) * (2.0 * _GELU_INNER * (1.0 + 3.0 * _GELU_CUBIC * square(z)))


gelu_tanh = elementwise(
    "gelu_tanh",
    # z/2 (1 + tanh u) = z σ(2u), which keeps its relative accuracy for negative z
    value=lambda z: _gated(z, _sigmoid(2 * _GELU_INNER * (z + _GELU_CUBIC * z * z * z))),
    slope=_gelu_tanh_slope,
    latex=r"\operatorname{{GELU_{{tanh}}}}({0})",
    kernel="gelu_tanh",
    doc="z/2 · (1 + tanh(√(2/π) (z + 0.044715 z³))), the common approximation of gelu.",
)


def _silu_slope(z: Any, a: Any) -> Any:
    s = sigmoid(z)
    return s + a * (1.0 - s)


silu = elementwise(
    "silu",
    value=lambda z: _gated(z, _sigmoid(z)),
    slope=_silu_slope,
    latex=r"{0}\,\sigma({0})",
    kernel="silu",
    doc="z · sigmoid(z), also called swish.",
)


def _mish_slope(z: Any, a: Any) -> Any:
    t = tanh(softplus(z))
    return t + z * sigmoid(z) * ((1.0 - t) * (1.0 + t))


mish = elementwise(
    "mish",
    value=lambda z: _gated(z, _mish_gate(z)),
    slope=_mish_slope,
    latex=r"{0}\,\tanh(\operatorname{{softplus}} {0})",
    kernel="mish",
    doc="z · tanh(softplus(z)).",
)
softplus = elementwise(
    "softplus",
    value=_softplus,
    slope=lambda z, a: sigmoid(z),
    latex=r"\operatorname{{softplus}}({0})",
    kernel="softplus",
    doc="log(1 + e^z) without overflow.",
)
softsign = elementwise(
    "softsign",
    value=lambda z: np.where(np.isinf(z), sign.forward(z), z / (1 + absolute.forward(z))),
    slope=lambda z, a: 1.0 / square(1.0 + absolute(z)),
    latex=r"\frac{{{0}}}{{1 + \lvert {0} \rvert}}",
    kernel="softsign",
    doc="z / (1 + |z|).",
)
hardtanh = elementwise(
    "hardtanh",
    value=lambda z: np.clip(z, -1, 1),
    slope=lambda z, a: where(absolute(z) > 1.0, 0.0, 1.0),
    latex=r"\operatorname{{clip}}({0}, -1, 1)",
    kernel="hardtanh",
    doc="z limited to -1 … 1.",
)


def _over_classes(name: str) -> Any:
    def shape(z: Shape) -> Shape:
        if not z or z[-1] == 0:
            raise ShapeError(f"{name} needs at least one class in the last axis; got shape {shape_text(z)}.")
        return z

    return shape


def _softmax(z: Array) -> Array:
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def _log_softmax(z: Array) -> Array:
    top, others = top_removed(z)
    return (z - top) - np.log1p(others)


softmax = declare(
    "softmax",
    shape=_over_classes("softmax"),
    forward=_softmax,
    # the full Jacobian ∂a_k/∂z_j = a_k (δ_kj - a_j), applied to g without forming it
    vjp=lambda g, a, z: (a * (g - sum(g * a, axis=-1, keepdims=True)),),
    latex=r"\operatorname{{softmax}}({0})",
    kernel="softmax",
    doc="e^(z_k) / Σ_j e^(z_j) over the last axis, shifted by the maximum.",
)
log_softmax = declare(
    "log_softmax",
    shape=_over_classes("log_softmax"),
    forward=_log_softmax,
    vjp=lambda g, a, z: (g - softmax(z) * sum(g, axis=-1, keepdims=True),),
    latex=r"\log\operatorname{{softmax}}({0})",
    kernel="log_softmax",
    doc="log softmax(z); the largest entry is -log1p of the other terms, so it is accurate also near 0.",
)

ACTIVATIONS: dict[str, Op] = {
    op.name: op
    for op in (
        identity,
        sigmoid,
        log_sigmoid,
        tanh,
        relu,
        leaky_relu,
        elu,
        selu,
        gelu,
        gelu_tanh,
        silu,
        mish,
        softplus,
        softsign,
        hardtanh,
        softmax,
        log_softmax,
        exp,
        sin,
        cos,
        square,
    )
}
"""What a layer may use as its activation, by name."""
