"""What a network is fed, checked at the door: inputs, targets, sample weights, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.arrays import numeric_array
from layerwise.engine.finite import known_finite
from layerwise.errors import DataError, ShapeError, nearest, shape_text
from layerwise.network.inputs import Embedding
from layerwise.network.layers import Dense
from layerwise.ops.losses import LOSSES
from layerwise.types import Array

if TYPE_CHECKING:
    from layerwise.network.network import Network


def as_array(value: Any, name: str) -> Array:
    """``value`` as an array of real numbers, not copied where it is one; bool becomes uint8."""
    array = numeric_array(value, name)
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def in_order(array: Array, dtype: str) -> Array:
    """``array`` in C order, aligned, in ``dtype``; labels stay integers. Not copied where it is so already.

    A matrix product of a transposed or unaligned array adds in another order, and the bits would depend on it.
    """
    return np.require(array, np.int64 if array.ndim == 1 and array.dtype == np.int64 else dtype, ["C", "A"])


def check_finite(array: Array, name: str, dtype: str = "float64") -> None:
    """Raise a DataError that counts NaN, infinite and too large values and names the first place.

    Too large are values that ``dtype``, the precision of the computation, would round to infinity.
    """
    if array.dtype.kind != "f" or not array.size or known_finite(array, dtype):
        return
    wider = array.dtype.itemsize > np.dtype(dtype).itemsize
    if not wider:
        # A finite sum proves finite values without an array of booleans; one that is not proves nothing.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.sum(array, dtype=np.float64)):
                return
    _refuse(~np.isfinite(array), array, name, "NaN or infinite values", "Fill or drop these rows first.")
    if wider:
        advice = "Scale them to about 1" + (", or compute in float64." if dtype == "float32" else ".")
        _refuse(np.abs(array) > np.finfo(dtype).max, array, name, f"values too large for {dtype}", advice)


def _refuse(bad: Array, array: Array, name: str, what: str, advice: str) -> None:
    """Raise a DataError where any place is ``bad``."""
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"row {at[0]}" + (f", column {at[1]}" if len(at) > 1 else "")
        raise DataError(f"{name} has {int(bad.sum())} {what}; the first is {array[at]} at {where}. {advice}")


def check_inputs(net: Network, X: Any, dtype: str = "float64") -> Array:
    """X (N, n_0), of any real dtype, finite also in the precision ``dtype``."""
    array = as_array(X, "X")
    n_0 = net.widths[0]
    if array.ndim != 2 or array.shape[1] != n_0:
        hint = ""
        if array.ndim == 1 and array.size == n_0:
            hint = " For one sample pass X[None, :]."
        elif array.ndim == 1 and n_0 == 1:
            hint = " Pass X[:, None]."
        elif array.ndim > 2:
            hint = " Flatten each sample: X.reshape(len(X), -1)."
        elif array.ndim == 2 and array.shape[0] == n_0:
            hint = " It looks transposed: samples are rows."
        raise ShapeError(f"X must have shape (N, {n_0}), one sample a row; got {shape_text(array.shape)}.{hint}")
    check_finite(array, "X", dtype)
    first = net.layers[0]
    if isinstance(first, Embedding):
        first.check_codes(array)
    return array


def check_targets(net: Network, Y: Any, n_samples: int, dtype: str = "float64") -> Array:
    """Targets for the network's loss: (N, n_L) values, or (N,) int64 labels for cross-entropy.

    Raises
    ------
    ShapeError, DataError
        Another number of rows than X, another width, values that the loss does not allow.
    """
    array = as_array(Y, "Y")
    n_L = net.widths[-1]
    allowed = LOSSES[net.loss.name].targets
    if array.ndim == 0 or len(array) != n_samples:
        rows = "no rows" if array.ndim == 0 else f"{len(array)} rows"
        raise ShapeError(
            f"Y must have one row for each of the {n_samples} rows of X; got {rows}, shape {shape_text(array.shape)}."
        )
    if allowed == "distribution" and array.ndim == 1:
        return _checked_labels(array, n_L)
    if array.ndim == 1 and n_L == 1:
        array = array[:, None]
    if array.shape != (n_samples, n_L):
        labels = " or (N,) labels" if allowed == "distribution" else ""
        raise ShapeError(f"Y must have shape (N, {n_L}){labels} with N = {n_samples}; got {shape_text(array.shape)}.")
    check_finite(array, "Y", dtype)
    _check_allowed(array, allowed, net.loss.name)
    return array


def _checked_labels(labels: Array, n_classes: int) -> Array:
    check_finite(labels, "Y")
    if labels.dtype.kind == "f":
        fractions = labels != np.floor(labels)
        if fractions.any():
            at = int(np.flatnonzero(fractions)[0])
            raise DataError(f"Labels in Y must be whole numbers; got {labels[at]} at row {at}.")
    outside = (labels < 0) | (labels >= n_classes)
    if outside.any():
        at = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"Labels in Y must be 0 .. {n_classes - 1} for {n_classes} outputs; got {labels[at]} at row {at} "
            f"({int(outside.sum())} rows in all)."
        )
    return labels.astype(np.int64)


def _check_allowed(Y: Array, allowed: str, loss: str) -> None:
    if allowed == "distribution":
        bad = (Y < 0).any(axis=1) | (np.abs(Y.sum(axis=1, dtype=np.float64) - 1.0) > 1e-5)  # float32 one-hot rounding
        wanted = "each row of Y must be a distribution: values >= 0 that sum to 1"
    elif allowed == "probability":
        bad, wanted = ((Y < 0) | (Y > 1)).any(axis=1), "Y must lie between 0 and 1"
    elif allowed == "count":
        bad, wanted = (Y < 0).any(axis=1), "Y must be >= 0"
    elif allowed == "sign":
        bad, wanted = (np.abs(Y) != 1).any(axis=1), "Y must be -1 or 1"
    else:
        return
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise DataError(f"For loss {loss!r} {wanted}; row {at} is {Y[at].tolist()} ({int(bad.sum())} rows in all).")


def check_batch(net: Network, rows: int) -> None:
    """Raise a DataError where steps of so many rows cannot train the network."""
    if rows > 1:
        return
    for number, layer in enumerate(net.layers, start=1):
        if isinstance(layer, Dense) and layer.normalisation == "batch":
            raise DataError(
                f"Layer {number} has batch normalisation, which makes a batch of one row 0 whatever the inputs, so "
                "nothing before it can learn. Give a larger batch_size and at least two rows, or normalisation='layer'."
            )


def check_weights(sample_weight: Any, n_samples: int, *, all_absent: bool = False) -> Array:
    """Sample weights (N,) as float64: finite, >= 0, and but where that is allowed not all 0."""
    array = as_array(sample_weight, "sample_weight")
    if array.shape != (n_samples,):
        raise ShapeError(f"sample_weight must have shape ({n_samples},); got {shape_text(array.shape)}.")
    check_finite(array, "sample_weight")
    if (array < 0).any():
        at = int(np.flatnonzero(array < 0)[0])
        raise DataError(f"sample_weight must be >= 0; got {array[at]} at row {at}.")
    if n_samples and not all_absent and not (array > 0).any():
        raise DataError("sample_weight is 0 for every row, so nothing can be learned.")
    return array.astype(np.float64)


def weighted_rows(X: Array, Y: Array, sample_weight: Any, dtype: str) -> tuple[Array, Array, Array | None]:
    """Inputs, targets and weights without the rows of weight 0; the weights scaled to mean 1.

    In the sum a row of weight 0 and infinite loss would be 0 · ∞ = NaN, not absent. With mean 1 over the data
    set, C = (1/N) Σ w L is Σ w L / Σ w, and in a minibatch a row pulls as hard as its weight says, whatever
    else the batch holds.
    """
    if sample_weight is None:
        return X, Y, None
    w = check_weights(sample_weight, len(X))
    if not w.all():
        present = w > 0
        X, Y, w = X[present], Y[present], w[present]
    # By a power of 2 first, which rounds nothing: the sum of large weights would overflow.
    w = np.ldexp(w, -np.frexp(w.max())[1])
    return X, Y, (w / np.mean(w)).astype(dtype)


def check_parameters(net: Network, params: Any) -> tuple[dict[str, Array], str]:
    """Parameters by name with their shapes, and their common precision."""
    wanted = net.parameter_shapes
    if not isinstance(params, Mapping):
        raise DataError(f"params must be a dict with the keys {', '.join(wanted)}; got {type(params).__name__}.")
    missing = [k for k in wanted if k not in params]
    extra = [k for k in params if k not in wanted]
    if missing or extra:
        hint = nearest(extra[0], wanted) if extra else ""
        raise DataError(
            f"params must have exactly the keys {', '.join(wanted)}; missing: {', '.join(missing) or 'none'}, "
            f"unknown: {', '.join(map(str, extra)) or 'none'}.{hint}"
        )
    arrays = {k: as_array(params[k], f"params[{k!r}]") for k in wanted}
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise ShapeError(
                f"params[{key!r}] must have shape {shape_text(shape)}; got {shape_text(arrays[key].shape)}."
            )
    single = all(a.dtype.newbyteorder("=") == np.float32 for a in arrays.values())
    dtype = "float32" if single and arrays else "float64"
    return {k: in_order(a, dtype) for k, a in arrays.items()}, dtype
