"""Prediction by the compiled module: layers packed once, then rows of any number, from any thread."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.compile.chain import DenseStep
from layerwise.types import Array

# By its name in text: the import linter would take the compiled module for the whole package.
_native: Any = importlib.import_module("layerwise._native")


class NativeForward:
    """A chain of dense layers with its weights, ready to run.

    The bits of a row's outputs depend on that row and the weights alone: not on the rows beside it, the
    number of threads, or the process. Between instruction sets they agree to rounding.

    Parameters
    ----------
    steps : sequence of DenseStep
    params : mapping of str to array
        All of one precision, float32 or float64; copied.
    isa : str, optional
        "baseline", "avx2" or "avx512"; by default the widest that this processor has.

    Attributes
    ----------
    outputs : callable (X, threads=0) -> (N, n_L) array or None
        The outputs, where X is an array (N, n_0) of booleans, integers or floating-point numbers of at most 64 bits, in
        C order, and all its numbers are finite in the precision of the weights. None for everything else, which is then
        for the caller to convert or to refuse. It is the compiled function itself: a frame of Python would cost a row
        of a small network a tenth of its time.
    classes : callable (X, threads=0) -> (N,) int64 array or None
        Likewise the column of the largest output of each row, as `np.argmax` finds it.
    """

    def __init__(self, steps: Sequence[DenseStep], params: Mapping[str, Array], isa: str | None = None):
        self._dtype = params[steps[-1].weights].dtype
        kind: Any = _native.Forward32 if self._dtype == np.float32 else _native.Forward64
        self._forward = kind(isa)
        for step in steps:
            W = np.ascontiguousarray(params[step.weights])
            b = None if step.bias is None else np.ascontiguousarray(params[step.bias])
            self._forward.add(W, b, step.kernel, list(step.options))
        self._width: int = self._forward.outputs
        self.outputs: Callable[..., Array | None] = self._forward.checked
        self.classes: Callable[..., Array | None] = self._forward.classes

    def __call__(self, X: Array, threads: int = 0) -> Array:
        """The outputs (N, n_L) for inputs (N, n_0) in C order and the precision of the weights, whatever their values.

        ``threads`` is the most to use; 0 for as many as the process may (affinity, container quota,
        ``LAYERWISE_NUM_THREADS``).
        """
        out = np.empty((X.shape[0], self._width), self._dtype)
        self._forward.run(X, out, threads)
        return out
