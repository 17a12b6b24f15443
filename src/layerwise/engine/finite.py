"""Whether numbers are finite, found by the compiled module on several threads."""

from __future__ import annotations

import numpy as np

from layerwise.engine.programs import native
from layerwise.types import Array


def known_finite(array: Array, dtype: str) -> bool:
    """True where all numbers of an array are finite, and none is too large for ``dtype``.

    False says nothing of an array that the compiled module does not read: one with gaps, in the other byte order, not
    of float16, float32 or float64.
    """
    dense = array if array.flags.c_contiguous else array.T
    if not dense.flags.c_contiguous or not array.dtype.isnative or array.dtype not in _READ:
        return False
    return native.all_finite(dense, dtype == "float32")


_READ = (np.float16, np.float32, np.float64)
