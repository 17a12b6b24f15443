"""Starting weights: rules by name, drawn from counter-based random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from layerwise.randomness import Stream, normal, uniform
from layerwise.types import FloatArray


@dataclass(frozen=True)
class Rule:
    """How a weight matrix (n_in, n_out) starts.

    Parameters
    ----------
    draw : callable(seed, shape, index, **options) -> (n_in, n_out) float64
    options : mapping
        Options and their defaults.
    symmetric : bool
        All columns come out equal, so the units of the layer would stay equal for ever.
    """

    draw: Callable[..., FloatArray]
    options: Mapping[str, float] = field(default_factory=dict[str, float])
    symmetric: bool = False


def _normal(seed: int, shape: tuple[int, int], index: int, *, scale: float) -> FloatArray:
    return scale * normal(seed, Stream.INITIAL_WEIGHTS, index, shape)


def _uniform(seed: int, shape: tuple[int, int], index: int, *, limit: float) -> FloatArray:
    return limit * (2.0 * uniform(seed, Stream.INITIAL_WEIGHTS, index, shape) - 1.0)


def _by_variance(form: str, variance: Callable[[int, int], float]) -> Callable[..., FloatArray]:
    """Normal or uniform weights of variance gain² · variance(n_in, n_out)."""

    def draw(seed: int, shape: tuple[int, int], index: int, *, gain: float) -> FloatArray:
        deviation = gain * math.sqrt(variance(*shape))
        if form == "normal":
            return _normal(seed, shape, index, scale=deviation)
        return _uniform(seed, shape, index, limit=math.sqrt(3.0) * deviation)

    return draw


def _orthogonal(seed: int, shape: tuple[int, int], index: int, *, gain: float) -> FloatArray:
    tall = normal(seed, Stream.INITIAL_WEIGHTS, index, (max(shape), min(shape)))
    Q, R = np.linalg.qr(tall)
    Q = Q * np.where(np.diag(R) < 0, -1.0, 1.0)  # without the signs Q is not uniform over the rotations
    return np.ascontiguousarray(gain * (Q if shape[0] >= shape[1] else Q.T))


_GAIN: dict[str, Any] = {"gain": 1.0}

# Glorot and Bengio (2010): variance 2 / (n_in + n_out). He et al. (2015): 2 / n_in. LeCun et al. (1998): 1 / n_in.
# Saxe et al. (2014): orthonormal columns or rows.
RULES: dict[str, Rule] = {
    "zeros": Rule(lambda seed, shape, index: np.zeros(shape), symmetric=True),
    "constant": Rule(
        lambda seed, shape, index, *, value: np.full(shape, value), options={"value": 0.1}, symmetric=True
    ),
    "normal": Rule(_normal, options={"scale": 0.05}),
    "uniform": Rule(_uniform, options={"limit": 0.05}),
    "glorot_normal": Rule(_by_variance("normal", lambda i, o: 2.0 / max(i + o, 1)), _GAIN),
    "glorot_uniform": Rule(_by_variance("uniform", lambda i, o: 2.0 / max(i + o, 1)), _GAIN),
    "he_normal": Rule(_by_variance("normal", lambda i, o: 2.0 / max(i, 1)), _GAIN),
    "he_uniform": Rule(_by_variance("uniform", lambda i, o: 2.0 / max(i, 1)), _GAIN),
    "lecun_normal": Rule(_by_variance("normal", lambda i, o: 1.0 / max(i, 1)), _GAIN),
    "lecun_uniform": Rule(_by_variance("uniform", lambda i, o: 1.0 / max(i, 1)), _GAIN),
    "orthogonal": Rule(_orthogonal, _GAIN),
}

_HE_LIKE = {"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "softplus"}


def default_rule(activation: str) -> str:
    """The usual rule for weights in front of an activation: He before ReLU and its kin, LeCun before SELU."""
    if activation in _HE_LIKE:
        return "he_normal"
    return "lecun_normal" if activation == "selu" else "glorot_uniform"
