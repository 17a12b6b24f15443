"""What a network is made of: an input width and dense layers, each with its own activation and options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np

from layerwise.errors import NetworkError, unknown_name
from layerwise.graph.node import Node
from layerwise.network.checks import checked_number
from layerwise.network.initialise import RULES, default_rule
from layerwise.network.normalisation import NORMALISATIONS
from layerwise.network.regularise import Place, dropped, noisy, penalty
from layerwise.network.schedules import Rate, Schedule
from layerwise.network.spec import Activation, Initialiser, as_named
from layerwise.ops.activations import ACTIVATIONS
from layerwise.ops.linear import affine, matmul
from layerwise.types import FloatArray

PARAMETRISATIONS = ("standard", "ntk")
_HOMOGENEOUS = ("relu", "leaky_relu")
"""Activations with f(c z) = c f(z) for every c >= 0."""


def checked_width(width: object, what: str) -> int:
    """A number of units or inputs as an int."""
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
        object.__setattr__(self, "width", checked_width(self.width, "Input"))


def numbered(name: str, number: int) -> str:
    """A layer's own name for a parameter as the network's: W of layer 2 is W2, E_0 of layer 1 is E1_0."""
    letters, dash, rest = name.partition("_")
    return f"{letters}{number}{dash}{rest}"


@dataclass(frozen=True)
class Built:
    """What a layer adds to a graph.

    Parameters
    ----------
    pre_activation : Node, (N, n_l)
        What its activation function is applied to; the same as ``activation`` where it has none.
    activation : Node, (N, n_l)
    stores : dict of str to Node
        By the layer's own name: state after a training step.
    penalty : Node, (), or None
        Its part of the training cost.
    """

    pre_activation: Node
    activation: Node
    stores: dict[str, Node] = field(default_factory=dict[str, Node])
    penalty: Node | None = None


class Layer:
    """Base of all layers."""

    state: ClassVar[tuple[str, ...]] = ()
    """Those of its parameters that are no weights: no gradient changes them."""

    @property
    def max_norms(self) -> dict[str, float]:
        """Parameters whose columns are limited, with the limits."""
        return {}

    def width_behind(self, n_in: int, number: int) -> int:
        """Units behind ``n_in`` inputs, for the layer at this place in the network, from 1.

        Raises
        ------
        NetworkError
            The layer cannot stand behind so many inputs, or not at this place.
        """
        raise TypeError(f"{type(self).__name__} is no layer: it has no width")

    def parameters(self, n_in: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of this layer's own parameters behind ``n_in`` inputs, state included."""
        raise TypeError(f"{type(self).__name__} is no layer: it has no parameters")

    def start(self, n_in: int, seed: int, number: int) -> dict[str, FloatArray]:
        """Starting values of the parameters; ``number`` is the layer's place in the network, from 1."""
        raise TypeError(f"{type(self).__name__} is no layer: it has no start")

    def graph(self, A: Node, own: Mapping[str, Node], place: Place) -> Built:
        """The nodes for inputs A (N, n_in) and this layer's own parameters, in the form of that place."""
        raise TypeError(f"{type(self).__name__} is no layer: it has no graph")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which an equal layer can be made."""
        raise TypeError(f"{type(self).__name__} is no layer: it has no description")


class DenseOptions(TypedDict, total=False):
    """The options of `Dense`, for all layers of a network at once."""

    dropout: Rate
    noise: Rate
    normalisation: Literal["batch", "layer"] | None
    residual: bool
    l1: float
    l2: float
    max_norm: float | None
    parametrisation: Literal["standard", "ntk"]


@dataclass(frozen=True, init=False)
class Dense(Layer):
    """One dense layer: Z = A W + b, then f(Z), with options in between.

    For inputs A (N, n_in) it computes, in this order:

    1. in training, noise added to A;
    2. Z = A W + b; in the NTK parametrisation Z = A W/√n_in + b;
    3. normalisation: over the rows of the batch, or over the units of each row, to mean 0 and variance 1, then
       γ Z + β with trained γ and β;
    4. f(Z);
    5. in training, dropout: random zeros;
    6. the inputs A added, without their noise, where the layer is residual.

    Parameters
    ----------
    width : int
        Number of units n_l.
    activation : str or Activation
        f; "softmax" couples the units, all others act on each unit alone.
    initialiser : str or Initialiser, optional
        How W starts; by default N(0, 1) in the NTK parametrisation, otherwise He for ReLU and its kin, LeCun for SELU,
        else Glorot. b starts at 0.
    bias : bool, optional
        Whether there is a b; by default where nothing is normalised, since β does its work there.
    dropout : float, 0 <= p < 1, or Schedule
        In training each activation is 0 with probability p and divided by 1 - p otherwise, so that its expectation
        stays; p is rounded to a multiple of 2^-16. Which are 0 depends on the seed of the fit, the step, the layer and
        the place in the batch. Not in the last layer.
    noise : float >= 0, or Schedule
        In training, the standard deviation of normal noise in each input, drawn anew at each step.
    normalisation : {None, "batch", "layer"}
        With ε = 1e-5 added to variances. "batch" computes in training with the mean and variance of the batch at hand,
        whatever the weights of its samples, and predicts with running ones: a step takes them a tenth of the way to
        those of its batch (of the variance the unbiased one). In a batch of one row every normalised value is β, and
        the running values stay as they are.
    residual : bool
        Whether the inputs are added to the activations; there must be as many of both.
    l1, l2 : float >= 0
        l1 Σ|W| + l2/2 ΣW² is added to the training cost, biases left out.
    max_norm : float > 0, optional
        After each step a column of W, the weights into one unit, that is longer is scaled to this length.
    parametrisation : {"standard", "ntk"}

    Raises
    ------
    NetworkError, UnknownName
        A width below 1, an unknown activation or initialiser, an option that is not what it must be.

    Notes
    -----
    Keras's ``l2`` is half of this one, its ``MaxNorm(axis=0)`` is ``max_norm``; scikit-learn's ``alpha`` is l2 times
    the rows of a batch. Batch and layer normalisation have PyTorch's formulas and defaults.

    References
    ----------
    Ioffe and Szegedy (2015), batch normalisation; Ba, Kiros and Hinton (2016), layer normalisation; He et al. (2016),
    residual layers; Srivastava et al. (2014), dropout and max-norm; Jacot, Gabriel and Hongler (2018), NTK.
    """

    width: int
    activation: Activation
    initialiser: Initialiser
    bias: bool
    dropout: Rate
    noise: Rate
    normalisation: str | None
    residual: bool
    l1: float
    l2: float
    max_norm: float | None
    parametrisation: str

    def __init__(
        self,
        width: int,
        activation: str | Activation = "identity",
        initialiser: str | Initialiser | None = None,
        bias: bool | None = None,
        *,
        dropout: Rate = 0.0,
        noise: Rate = 0.0,
        normalisation: Literal["batch", "layer"] | None = None,
        residual: bool = False,
        l1: float = 0.0,
        l2: float = 0.0,
        max_norm: float | None = None,
        parametrisation: Literal["standard", "ntk"] = "standard",
    ):
        f = as_named(Activation, activation)
        if normalisation is not None and normalisation not in NORMALISATIONS:
            raise unknown_name("normalisation", normalisation, NORMALISATIONS)
        if parametrisation not in PARAMETRISATIONS:
            raise unknown_name("parametrisation", parametrisation, PARAMETRISATIONS)
        if normalisation == "layer" and width == 1:
            raise NetworkError(
                "Layer normalisation of one unit is 0 whatever the input. Leave it out, or give the layer more units."
            )
        start = _default_start(f, parametrisation) if initialiser is None else as_named(Initialiser, initialiser)
        values = {
            "width": checked_width(width, "Dense"),
            "activation": f,
            "initialiser": start,
            "bias": normalisation is None if bias is None else bool(bias),
            "dropout": _checked_rate(dropout, "dropout", below=1.0),
            "noise": _checked_rate(noise, "noise"),
            "normalisation": normalisation,
            "residual": bool(residual),
            "l1": _checked_number(l1, "l1"),
            "l2": _checked_number(l2, "l2"),
            "max_norm": None if max_norm is None else _checked_number(max_norm, "max_norm", above=0.0),
            "parametrisation": parametrisation,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def state(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride] -- by its options
        """Those of its parameters that are no weights."""
        return NORMALISATIONS[self.normalisation].state if self.normalisation else ()

    @property
    def max_norms(self) -> dict[str, float]:
        """Parameters whose columns are limited, with the limits."""
        return {} if self.max_norm is None else {"W": self.max_norm}

    def width_behind(self, n_in: int, number: int) -> int:
        if self.residual and n_in != self.width:
            raise NetworkError(
                f"Layer {number} is residual, so it needs as many units as inputs; it has {self.width} units behind "
                f"{n_in} inputs. Make it Dense({n_in}, ...), or leave residual out."
            )
        return self.width

    def parameters(self, n_in: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of this layer's own parameters behind ``n_in`` inputs, state included."""
        units = (*(["b"] if self.bias else []), *self._normalised)
        return {"W": (n_in, self.width), **dict.fromkeys(units, (self.width,))}

    @property
    def _normalised(self) -> Mapping[str, float]:
        """The parameters of the normalisation, with their starting values."""
        return NORMALISATIONS[self.normalisation].start if self.normalisation else {}

    def start(self, n_in: int, seed: int, number: int) -> dict[str, FloatArray]:
        """Starting values of the parameters; ``number`` is the layer's place in the network, from 1."""
        rule = RULES[self.initialiser.name]
        W = rule.draw(seed, (n_in, self.width), number, **self.initialiser.options)
        units = {**({"b": 0.0} if self.bias else {}), **self._normalised}
        return {"W": W, **{name: np.full(self.width, value) for name, value in units.items()}}

    def linear(self, A: Any, W: Any, b: Any = None) -> Any:
        """A W + b by this layer's parametrisation, for nodes or arrays."""
        if self.parametrisation == "ntk":
            # The inputs, not the product: so the product with its bias and activation stays one instruction.
            A = A * self.factor(W.shape[0])
        return matmul(A, W) if b is None else affine(A, W, b)

    def factor(self, n_in: int) -> float:
        """What W is multiplied by: 1/√n_in in the NTK parametrisation, else 1."""
        return 1.0 / math.sqrt(n_in) if self.parametrisation == "ntk" else 1.0

    def graph(self, A: Node, own: Mapping[str, Node], place: Place) -> Built:
        """The nodes for inputs A (N, n_in) and this layer's own parameters, in the form of that place."""
        Z: Node = self.linear(noisy(A, self.noise, place), own["W"], own.get("b"))
        stores: dict[str, Node] = {}
        if self.normalisation:
            Z, stores = NORMALISATIONS[self.normalisation].graph(Z, own, place.training)
        f = ACTIVATIONS[self.activation.name]
        # f(Z m) = f(Z) m for masks m >= 0; then the slope is found from what is left, which a product does by the way.
        first = f.name in _HOMOGENEOUS
        masked = dropped(Z, self.dropout, place) if first else Z
        activation = masked if f.name == "identity" else f(masked, **self.activation.options)
        activation = activation if first else dropped(activation, self.dropout, place)
        if self.residual:
            activation = activation + A
        return Built(Z, activation, stores, penalty(own["W"], self.l1, self.l2) if place.training else None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which ``Dense(**data)`` makes an equal layer; options that are not used are left out."""
        return {
            "width": self.width,
            "activation": self.activation.to_dict(),
            "initialiser": self.initialiser.to_dict(),
            "bias": self.bias,
            **{k: v.to_dict() if isinstance(v, Schedule) else v for k, v in self._options().items()},
        }

    def _options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        options = {f.name: getattr(self, f.name) for f in fields(self)[4:]}
        return {name: value for name, value in options.items() if value != _DEFAULTS[name]}

    def __repr__(self) -> str:
        f = self.activation
        shown = [str(self.width), repr(f.name) if f == Activation(f.name) else repr(f)]
        if self.initialiser != _default_start(f, self.parametrisation):
            shown.append(f"initialiser={self.initialiser!r}")
        if self.bias != (self.normalisation is None):
            shown.append(f"bias={self.bias!r}")
        return f"Dense({', '.join([*shown, *(f'{k}={v!r}' for k, v in self._options().items())])})"


_DEFAULTS: dict[str, Any] = Dense.__init__.__kwdefaults__ or {}


def _default_start(f: Activation, parametrisation: str) -> Initialiser:
    return Initialiser("normal", scale=1.0) if parametrisation == "ntk" else Initialiser(default_rule(f.name))


def _checked_number(value: object, name: str, above: float | None = None, below: float = math.inf) -> float:
    return checked_number(f"{name} of Dense", value, above, below, error=NetworkError)


def _checked_rate(value: Any, name: str, below: float = math.inf) -> Rate:
    """A number, or a schedule: itself or as `Schedule.to_dict` describes it."""
    if isinstance(value, Schedule):
        return value
    if isinstance(value, Mapping):
        return Schedule.from_dict(value)  # pyright: ignore[reportUnknownArgumentType]
    return _checked_number(value, name, below=below)
