"""What a network is made of: an input width and dense layers, each with its own activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerwise.errors import NetworkError
from layerwise.graph.node import Node
from layerwise.network.initialise import RULES, default_rule
from layerwise.network.spec import Activation, Initialiser, as_named
from layerwise.ops.activations import ACTIVATIONS
from layerwise.ops.linear import affine, matmul
from layerwise.types import FloatArray


def _checked_width(width: object, what: str) -> int:
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
        hint = " Leave the layer out." if isinstance(width, (int, np.integer)) and width == 0 else ""
        raise NetworkError(f"The width of {what} must be a positive integer; got {width!r}.{hint}")
    return int(width)


@dataclass(frozen=True)
class Input:
    """The number of inputs n_0 of a network.

    Parameters
    ----------
    width : int
        Columns of X.
    """

    width: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", _checked_width(self.width, "Input"))


@dataclass(frozen=True, init=False)
class Dense:
    """One dense layer: Z = A W + b, then A = f(Z).

    Parameters
    ----------
    width : int
        Number of units n_l.
    activation : str or Activation
        f; "softmax" couples the units, all others act on each unit alone.
    initialiser : str or Initialiser, optional
        How W starts; by default He for ReLU and its kin, LeCun for SELU, else Glorot. b starts at 0.
    bias : bool
        Whether there is a b.

    Raises
    ------
    NetworkError, UnknownName
        A width below 1, an unknown activation or initialiser.
    """

    width: int
    activation: Activation
    initialiser: Initialiser
    bias: bool

    def __init__(
        self,
        width: int,
        activation: str | Activation = "identity",
        initialiser: str | Initialiser | None = None,
        bias: bool = True,
    ):
        f = as_named(Activation, activation)
        object.__setattr__(self, "width", _checked_width(width, "Dense"))
        object.__setattr__(self, "activation", f)
        start = default_rule(f.name) if initialiser is None else initialiser
        object.__setattr__(self, "initialiser", as_named(Initialiser, start))
        object.__setattr__(self, "bias", bool(bias))

    def parameters(self, n_in: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of this layer's own parameters behind ``n_in`` inputs."""
        return {"W": (n_in, self.width), **({"b": (self.width,)} if self.bias else {})}

    def start(self, n_in: int, seed: int, number: int) -> dict[str, FloatArray]:
        """Starting values of the parameters; ``number`` is the layer's place in the network, from 1."""
        rule = RULES[self.initialiser.name]
        W = rule.draw(seed, (n_in, self.width), number, **self.initialiser.options)
        return {"W": W, **({"b": np.zeros(self.width)} if self.bias else {})}

    def graph(self, A: Node, parameters: Mapping[str, Node]) -> tuple[Node, Node]:
        """The nodes Z (N, n_l) and f(Z) for inputs A (N, n_in) and this layer's own parameters."""
        W = parameters["W"]
        Z: Node = affine(A, W, parameters["b"]) if self.bias else matmul(A, W)
        f = ACTIVATIONS[self.activation.name]
        return Z, Z if f.name == "identity" else f(Z, **self.activation.options)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which ``Dense(**data)`` makes an equal layer."""
        return {
            "width": self.width,
            "activation": self.activation.to_dict(),
            "initialiser": self.initialiser.to_dict(),
            "bias": self.bias,
        }

    def __repr__(self) -> str:
        f = self.activation
        shown = repr(f.name) if f == Activation(f.name) else repr(f)
        usual = Initialiser(default_rule(f.name))
        start = "" if self.initialiser == usual else f", initialiser={self.initialiser!r}"
        return f"Dense({self.width}, {shown}{start}{'' if self.bias else ', bias=False'})"
