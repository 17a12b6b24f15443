"""Weights of samples from weights of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from layerwise.errors import DataError
from layerwise.network.checks import checked_number
from layerwise.network.data import check_weights
from layerwise.network.network import Network
from layerwise.types import Array, FloatArray


def class_weights(given: Any, classes: Array | None, sample_weight: Any, n_rows: int, net: Network) -> FloatArray:
    """The weight of each sample, times that of its class.

    Parameters
    ----------
    given : "balanced" or dict of class number to float
    classes : (N,) int or None
        None where the targets are no classes.
    sample_weight : (N,) array_like, optional
    n_rows : int
    net : Network

    Raises
    ------
    DataError
        There are no classes; a class that the network does not have; a weight that is negative or not finite.
    """
    if classes is None:
        raise DataError("class_weight needs targets that are classes; for numbers give sample_weight.")
    weights = np.ones(n_rows) if sample_weight is None else check_weights(sample_weight, n_rows)
    n_classes = max(2, net.widths[-1])
    if isinstance(given, str) and given == "balanced":
        # By the weights of the samples, so that a repeated row and a row of weight 2 are the same.
        totals = np.bincount(classes, weights, minlength=n_classes)
        present = totals > 0
        factors = np.zeros(n_classes)
        factors[present] = totals.sum() / (present.sum() * totals[present])
    elif isinstance(given, Mapping):
        factors = np.ones(n_classes)
        for label, weight in given.items():
            if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or not 0 <= label < n_classes:
                raise DataError(f"class_weight names classes by number, 0 .. {n_classes - 1}; got {label!r}.")
            factors[label] = checked_number(f"class_weight[{label!r}]", weight)
    else:
        raise DataError(f"class_weight must be 'balanced' or a dict of class number to weight; got {given!r}.")
    return weights * factors[classes]
