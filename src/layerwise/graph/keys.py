"""What tells two nodes apart: attributes as something hashable."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerwise.types import Array


def key_of(value: Any) -> Any:
    """Something hashable that differs when ``value`` does; 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(value, dict):
        return tuple((k, key_of(v)) for k, v in sorted(value.items()))  # pyright: ignore
    if isinstance(value, (tuple, list)):
        return tuple(map(key_of, value))  # pyright: ignore
    if isinstance(value, np.ndarray):
        array: Array = value  # pyright: ignore[reportUnknownVariableType]
        content = array.tobytes() if array.nbytes < 4096 else _digest(array)
        return (array.dtype.str, array.shape, content)
    if isinstance(value, float):
        return ("float", value.hex())
    return (type(value).__name__, value)


def _digest(array: Array) -> bytes:
    """Stands for the content of a large array, which a key would otherwise hold a second time."""
    import hashlib  # needed for large constants only

    return hashlib.blake2b(np.ascontiguousarray(array).data).digest()
