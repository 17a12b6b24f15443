"""What comes from a caller, as an array of numbers, or a message that says what came instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from layerwise.errors import DataError, unknown_name
from layerwise.types import Array


def numeric_array(value: Any, name: str, kinds: str = "biuf") -> Array:
    """``value`` as an array, not copied where it is one.

    Parameters
    ----------
    value : array_like
    name : str
        For the message.
    kinds : str
        NumPy's letters of the dtypes that are allowed: b, i, u, f, c.

    Raises
    ------
    DataError
        Nothing, text, a mapping, rows of different lengths, masked values, another dtype.
    """
    if value is None or isinstance(value, (str, bytes, Mapping)):
        raise DataError(f"{name} must be an array of numbers; got {type(value).__name__}.")
    # numpy.ma takes 10 ms to load, half the time to the first step of a fit; its arrays have a class of their own.
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray and np.ma.is_masked(value):
        masked = int(np.ma.count_masked(value))
        raise DataError(f"{name} is a masked array with {masked} masked values. Fill or drop them first.")
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{name} must be rectangular; got rows of different lengths.") from None
    if array.dtype.kind not in kinds and array.size:  # [] is float64, whatever was meant
        advice = " Encode text and dates first." if array.dtype.kind in "USOMm" else ""
        raise DataError(f"{name} must hold {_WORDS.get(kinds, 'real numbers')}; got dtype {array.dtype}.{advice}")
    return array


_WORDS = {"iu": "integers", "b": "booleans"}


def precision_name(dtype: Any, known: tuple[str, ...] = ("float32", "float64")) -> str:
    """``dtype`` by its name: "float32", ``np.float32`` and ``np.dtype("f4")`` are one.

    Raises
    ------
    UnknownName
        It is none of ``known``.
    """
    try:
        name = np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        name = None
    if name not in known:
        raise unknown_name("dtype", dtype, known)
    return name


def as_number(value: object) -> float:
    """``value`` as a float; NaN for what is no number, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
