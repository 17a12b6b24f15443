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
    options: Mapping[str, float]

    def __init__(self, name: str, **options: float):
        if name not in self.known:
            raise unknown_name(self.what, name, self.known)
        defaults = self.known[name]
        for key, value in options.items():
            if key not in defaults:
                raise unknown_name(f"option of {self.what} {name!r}", key, defaults or ["(none)"])
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise NetworkError(f"Option {key} of {self.what} {name!r} must be a finite number; got {value!r}.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", {**defaults, **{k: float(v) for k, v in options.items()}})

    def __setattr__(self, name: str, value: object) -> None:
        raise NetworkError(f"{self!r} cannot be changed. Make a new one.")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.to_dict() == other.to_dict()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self.name, tuple(sorted(self.options.items()))))

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self.options.items())
        return f"{type(self).__name__}({self.name!r}{options})"

    def to_dict(self) -> dict[str, Any]:
        """Name and options as plain data."""
        return {"name": self.name, "options": dict(self.options)}


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
        f"An {kind.what} is a name such as {next(iter(kind.known))!r}, or layerwise.{kind.__name__}(name, ...); "
        f"got {value!r}."
    )


class Activation(Named):
    """An activation function with options, such as ``Activation("leaky_relu", alpha=0.2)``."""

    what = "activation"
    known: ClassVar[Mapping[str, Mapping[str, Any]]] = {name: op.defaults for name, op in ACTIVATIONS.items()}


class Loss(Named):
    """A loss with options, such as ``Loss("huber", delta=0.5)``."""

    what = "loss"
    known: ClassVar[Mapping[str, Mapping[str, Any]]] = {name: row.op.defaults for name, row in LOSSES.items()}

    def __init__(self, name: str, **options: float):
        super().__init__(name, **options)
        quantile, delta = self.options.get("quantile", 0.5), self.options.get("delta", 1.0)
        if not 0 < quantile < 1:
            raise NetworkError(f"The quantile of loss 'pinball' must lie between 0 and 1; got {quantile}.")
        if delta <= 0:
            raise NetworkError(f"The delta of loss 'huber' must be positive; got {delta}.")


class Initialiser(Named):
    """A rule for starting weights with options, such as ``Initialiser("normal", scale=0.01)``."""

    what = "initialiser"
    known: ClassVar[Mapping[str, Mapping[str, Any]]] = {name: rule.options for name, rule in RULES.items()}
