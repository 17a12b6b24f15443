"""`Activation`, `Loss` and `Initialiser`: a name out of a closed list, with its options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from layerwise.errors import NetworkError, unknown_name
from layerwise.network.initialise import RULES
from layerwise.ops.activations import ACTIVATIONS
from layerwise.ops.losses import LOSSES

_ELSEWHERE = {
    "mse": "squared_error",
    "mseloss": "squared_error",
    "mae": "absolute_error",
    "l1loss": "absolute_error",
    "bce": "binary_cross_entropy",
    "bceloss": "binary_cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "crossentropyloss": "cross_entropy",
    "log_loss": "cross_entropy",
    "swish": "silu",
    "linear": "identity",
    "logistic": "sigmoid",
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
}
"""Names that other libraries use, to offer ours."""


class Named:
    """A name with options; immutable, compared by value.

    Parameters
    ----------
    name : str
        One of the names of the class.
    **options : float
        The options that this name takes; those left out have their default.

    Raises
    ------
    UnknownName
        The name or an option is not known; the message offers the nearest.
    NetworkError
        An option is not a finite number.
    """

    what: ClassVar[str] = ""
    known: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    name: str
    _options: tuple[tuple[str, float], ...]

    def __init__(self, name: str, **options: float):
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise NetworkError(f"{self.what.capitalize()}: the name must be text; got {name!r}.")
        if name not in self.known:
            raise unknown_name(self.what, _ELSEWHERE.get(str(name).lower(), name), self.known, shown=name)
        defaults = self.known[name]
        for key, value in options.items():
            if key not in defaults:
                raise unknown_name(f"option of {self.what} {name!r}", key, defaults or ["(none)"])
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise NetworkError(f"Option {key} of {self.what} {name!r} must be a finite number; got {value!r}.")
        object.__setattr__(self, "name", name)
        merged = {**defaults, **options}
        object.__setattr__(self, "_options", tuple((k, float(v)) for k, v in merged.items()))

    @property
    def options(self) -> dict[str, float]:
        """Options and their values, as a dict of the caller's own."""
        return dict(self._options)

    def __setattr__(self, name: str, value: object) -> None:
        raise NetworkError(f"{self!r} cannot be changed. Make a new one.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((type(self), self.name, self._options))

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self.options.items())
        return f"{type(self).__name__}({self.name!r}{options})"

    def to_dict(self) -> dict[str, Any]:
        """Name and options as plain data."""
        return {"name": self.name, "options": self.options}


_Named = TypeVar("_Named", bound=Named)


def as_named(kind: type[_Named], value: object) -> _Named:
    """``value`` as a ``kind``: one already, its name, or its `to_dict`."""
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        return kind(value)
    if isinstance(value, dict) and set(value) == {"name", "options"}:  # pyright: ignore
        return kind(value["name"], **value["options"])  # pyright: ignore
    raise NetworkError(
        f"{kind.what.capitalize()}: give a name such as {next(iter(kind.known))!r}, or "
        f"layerwise.{kind.__name__}(name, ...); got {value!r}."
    )


class Activation(Named):
    """An activation function with options, such as ``Activation("leaky_relu", alpha=0.2)``."""

    what = "activation"
    known: ClassVar[Mapping[str, Mapping[str, Any]]] = {name: op.defaults for name, op in ACTIVATIONS.items()}


class Loss(Named):
    """A loss with options, such as ``Loss("huber", delta=0.5)``.

    "cross_entropy" takes ``label_smoothing`` ε, 0 <= ε < 1: of K classes with targets t it learns (1 - ε) t + ε/K.
    """

    what = "loss"
    known: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {**row.op.defaults, **row.of_targets} for name, row in LOSSES.items()
    }

    def __init__(self, name: str, **options: float):
        super().__init__(name, **options)
        # Targets that are left as they are need no option: descriptions from before there was one are equal.
        off = LOSSES[name].of_targets
        object.__setattr__(self, "_options", tuple((k, v) for k, v in self._options if k not in off or v != off[k]))
        for key, (low, high) in LOSSES[name].limits.items():
            if key in self.options and not low < self.options[key] < high:
                raise NetworkError(
                    f"Option {key} of loss {name!r} must lie between {low:g} and {high:g}; got {self.options[key]:g}."
                )


class Initialiser(Named):
    """A rule for starting weights with options, such as ``Initialiser("normal", scale=0.01)``."""

    what = "initialiser"
    known: ClassVar[Mapping[str, Mapping[str, Any]]] = {name: rule.options for name, rule in RULES.items()}
