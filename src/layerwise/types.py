"""Words shared by all rooms: what an array, a size and a precision are called in annotations."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]

Dim: TypeAlias = int | str
"""A size: a number, or the name of an axis whose size is known when values are fed ("N")."""

Shape: TypeAlias = tuple[Dim, ...]

Precision: TypeAlias = Literal["float32", "float64"]
Kind: TypeAlias = Literal["real", "integer", "boolean"]
