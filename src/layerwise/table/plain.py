"""Strict reading of plain data from a model file: exact keys, exact types, nothing guessed."""

from __future__ import annotations

import math
from typing import Any

from layerwise.errors import ModelFileError


def mapping(data: Any, what: str) -> dict[str, Any]:
    """``data`` as a dict."""
    if not isinstance(data, dict):
        raise ModelFileError(f"{what} must be an object with keys; got {type(data).__name__}.")
    return data  # pyright: ignore[reportUnknownVariableType]


def record(data: Any, what: str, keys: set[str]) -> dict[str, Any]:
    """``data`` as a dict with exactly these keys."""
    found = mapping(data, what)
    if set(found) != keys:
        names = ", ".join(sorted(map(str, found)))[:200]
        raise ModelFileError(f"{what} must have the keys {', '.join(sorted(keys))}; got {names or 'none'}.")
    return found


def text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ModelFileError(f"{what} must be text; got {type(value).__name__}.")
    return value


def truth(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise ModelFileError(f"{what} must be true or false; got {type(value).__name__}.")
    return value


def number(value: object, what: str, positive: bool = False) -> float:
    """A finite float; an int is refused, because what was written was a float."""
    if not isinstance(value, float) or not math.isfinite(value) or (positive and value <= 0):
        wanted = "a finite positive float" if positive else "a finite float"
        raise ModelFileError(f"{what} must be {wanted}; got {str(value)[:50]!r}.")
    return value


def items(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ModelFileError(f"{what} must be a list; got {type(value).__name__}.")
    return value  # pyright: ignore[reportUnknownVariableType]


def texts(value: object, what: str) -> tuple[str, ...]:
    return tuple(text(item, what) for item in items(value, what))


def distinct(values: tuple[str, ...], what: str) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ModelFileError(f"{what} must differ from each other.")
    return values
