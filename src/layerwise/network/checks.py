"""Numbers and choices of update rules and schedules, as they come from a caller: checked, or a clear error."""

from __future__ import annotations

import math

import numpy as np

from layerwise.arrays import as_number
from layerwise.errors import DataError, LayerwiseError


def checked_number(
    what: str,
    value: object,
    above: float | None = None,
    below: float = math.inf,
    most: float = math.inf,
    error: type[LayerwiseError] = DataError,
) -> float:
    """``value`` as a finite number within limits.

    Parameters
    ----------
    what : str
        What it is, for the message: "beta1 of Adam".
    value : object
    above : float, optional
        It must be larger; without it, >= 0.
    below, most : float
        It must be smaller; it must not be larger.
    error : type
        What is raised.

    Raises
    ------
    DataError
        It is no number, or outside.
    """
    number = as_number(value)
    if not math.isfinite(number) or number < 0 or (above is not None and number <= above):
        low = ">= 0" if above is None else f"> {above:g}"
        raise error(f"{what} must be a finite number {low}; got {value!r}.")
    if number >= below:
        raise error(f"{what} must be below {below}; got {value!r}.")
    if number > most:
        raise error(f"{what} must be at most {most:g}; got {value!r}.")
    return number


def checked_flag(what: str, value: object) -> bool:
    """``value`` as a bool, if it is one."""
    if not isinstance(value, (bool, np.bool_)):
        raise DataError(f"{what} must be True or False; got {value!r}.")
    return bool(value)


def checked_count(value: object, what: str) -> int:
    """``value`` as a positive integer.

    Raises
    ------
    DataError
        It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise DataError(f"{what} must be a positive integer; got {value!r}.")
    return int(value)
