"""What is given to `train`, checked: data, batches, where a fit begins, who listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from layerwise.arrays import precision_name
from layerwise.engine.training import Data
from layerwise.errors import DataError
from layerwise.fit.blocks import BlockReader, Blocks, batched
from layerwise.fit.callbacks import Callback
from layerwise.fit.history import Fit
from layerwise.fit.quasi_newton import LBFGS
from layerwise.fit.task import OnEpoch, Position
from layerwise.fit.validation import classes_of, given_rows, split
from layerwise.fit.weights import class_weights
from layerwise.network.checks import checked_count
from layerwise.network.data import (
    check_batch,
    check_finite,
    check_inputs,
    check_parameters,
    check_targets,
    check_weights,
    weighted_rows,
)
from layerwise.network.groups import Group
from layerwise.network.network import Network
from layerwise.network.schedules import Schedule
from layerwise.network.updates import UpdateRule
from layerwise.types import Array, FloatArray


def listeners(given: Any) -> tuple[OnEpoch, ...]:
    """Those who are called after each epoch: one, or several in a list."""
    listed = () if given is None else tuple(given) if isinstance(given, (list, tuple)) else (given,)
    for listener in listed:
        if not callable(listener):
            raise DataError(f"on_epoch_end must be a function of an Epoch; got {listener!r}.")
    return listed


def watcher(progress: Any) -> Callback | None:
    """What shows how far a fit is, if that is wanted."""
    if not isinstance(progress, bool):
        raise DataError(f"progress must be True or False; got {progress!r}.")
    if not progress:
        return None
    from layerwise.fit.progress import Progress  # brings rich: 50 ms, for those who want it

    return Progress()


def batches(
    net: Network, tables: tuple[Array, ...], batch_size: Any, rule: UpdateRule | LBFGS, seed: int, dtype: str
) -> Data:
    """Tables with how they are cut into batches, where that fits network and rule."""
    n = len(tables[0])
    rows = n if batch_size is None else min(checked_count(batch_size, "batch_size"), n)
    if rule.full_batch and rows < n:
        raise DataError(
            f"{type(rule).__name__} takes all {n} samples at once; got batch_size={batch_size}. "
            "Give batch_size=None, or for minibatches another rule such as layerwise.Adam()."
        )
    check_batch(net, rows)
    return batched(tables, rows, seed, dtype)


def reader(
    net: Network,
    blocks: Blocks,
    batch_size: Any,
    rule: UpdateRule | LBFGS,
    groups: Mapping[str, Group],
    seed: int,
    dtype: str,
) -> BlockReader:
    """The blocks, with the first of them read."""
    if rule.full_batch or batch_size is None:
        what = f"{type(rule).__name__} takes" if rule.full_batch else "batch_size=None is"
        raise DataError(
            f"{what} all samples at once, and of Blocks one is held at a time. Give a batch_size"
            + (", and another rule such as layerwise.Adam()." if rule.full_batch else " such as 128.")
        )
    rows = checked_count(batch_size, "batch_size")
    check_batch(net, rows)
    scheduled = not isinstance(rule, LBFGS) and bool(rule.schedules)
    numbers = [value for part in (*net.layers, *groups.values()) for value in vars(part).values()]
    scheduled |= any(isinstance(value, Schedule) for value in numbers)
    return BlockReader(blocks, net, dtype, rows, seed, scheduled)


def tables_of(
    net: Network,
    X: Any,
    Y: Any,
    sample_weight: Any,
    class_weight: Any,
    validation: Any,
    seed: int,
    dtype: str,
) -> tuple[tuple[Array, ...], tuple[tuple[Array, Array], FloatArray | None] | None]:
    """X, Y and, where they differ, the weights of samples; and the rows to judge by with their weights."""
    X = check_inputs(net, X, dtype)
    if len(X) == 0:
        raise DataError("X has no rows; at least one sample is needed to learn from.")
    Y = check_targets(net, Y, len(X), dtype)
    judge = None
    if validation is not None and isinstance(validation, (tuple, list)):
        judge = given_rows(net, validation, dtype, Y.ndim == 1)
    elif validation is not None:
        own = None if sample_weight is None else check_weights(sample_weight, len(X))
        if own is not None and not own.all():  # rows of weight 0 are absent, also where rows are held out
            X, Y, own = X[own > 0], Y[own > 0], own[own > 0]
        learned, held_out = split(len(X), validation, seed, classes_of(net, Y))
        judge = (X[held_out], Y[held_out]), None if own is None else own[held_out]
        X, Y, sample_weight = X[learned], Y[learned], None if own is None else own[learned]
    if class_weight is not None:
        sample_weight = class_weights(class_weight, classes_of(net, Y), sample_weight, len(X), net)
    X, Y, weights = weighted_rows(X, Y, sample_weight, dtype)
    return ((X, Y) if weights is None else (X, Y, weights)), judge


def remembers(start: Position, net: Network, rule: UpdateRule) -> bool:
    """Whether there is all that the rule remembers of the steps before."""
    return all(f"{slot} of {name}" in start.slots for slot in rule.slots for name in net.trained)


def start_of(net: Network, params: Any, seed: int, dtype: str | None, rule: Any) -> tuple[Position, str]:
    """Where the fit begins, and its precision."""
    dtype = None if dtype is None else precision_name(dtype)
    if params is None:
        return Position(net.initialise(seed, dtype or "float64")), dtype or "float64"
    earlier = params if isinstance(params, Fit) else None
    if earlier is not None and earlier.network != net:
        raise DataError(f"params is a fit of another network: {earlier.network!r}.")
    arrays, own = check_parameters(net, params if earlier is None else earlier.last)
    for name, array in arrays.items():
        check_finite(array, f"params[{name!r}]", dtype or own)
    dtype = dtype or own
    weights = {k: a.astype(dtype, copy=False) for k, a in arrays.items()}
    if earlier is None:
        return Position(weights), dtype
    seconds = earlier.history[-1].seconds if earlier.history else 0.0
    position = Position(weights, earlier.slots, earlier.steps, earlier.history.epochs, seconds=seconds)
    return (replace(position, schedules=earlier.schedules) if earlier.optimizer == rule else position), dtype
