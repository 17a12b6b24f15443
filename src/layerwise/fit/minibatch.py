"""`train`: gradient descent over minibatches or over the whole data set at once."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerwise.arrays import precision_name
from layerwise.compile.plan import plan
from layerwise.engine.reference import Runner
from layerwise.errors import DataError, DivergenceWarning, TrainingInterrupted
from layerwise.fit.history import Epoch, Fit, History
from layerwise.network.build import StepGraph, step_graph
from layerwise.network.data import (
    check_finite,
    check_inputs,
    check_parameters,
    check_targets,
    in_order,
    weighted_rows,
)
from layerwise.network.network import Network
from layerwise.network.updates import Momentum, UpdateRule
from layerwise.ops.losses import LOSSES
from layerwise.randomness import Stream, permutation
from layerwise.types import Array


def train(
    net: Network,
    X: Any,
    Y: Any,
    *,
    params: Mapping[str, Any] | None = None,
    optimizer: UpdateRule | None = None,
    batch_size: int | None = 128,
    epochs: int = 10,
    seed: int = 0,
    sample_weight: Any = None,
    dtype: str | None = None,
    on_epoch_end: Callable[[Epoch], None] | None = None,
) -> Fit:
    """Learn the weights of a network.

    Parameters
    ----------
    net : Network
    X : (N, n_0) array_like
        Samples in rows; any real dtype and memory layout. Converted batch by batch, never modified.
    Y : (N, n_L) array_like, or (N,) for one output or for the labels of cross-entropy
    params : dict of str to array, optional
        Starting weights; by default ``net.initialise(seed)``. Not modified.
    optimizer : UpdateRule, optional
        By default ``Momentum(0.01, 0.9)``.
    batch_size : int or None
        Samples a step. The last batch of an epoch holds what is left. None, or a number from N on:
        the whole data set at once, in its own order.
    epochs : int
        Passes over the data.
    seed : int
        Of starting weights and of the order of samples.
    sample_weight : (N,) array_like, optional
        >= 0; scaled to mean 1 over the data set. A row of weight 0 is absent.
    dtype : {"float64", "float32"}, optional
        Precision; by default that of ``params``, else float64.
    on_epoch_end : callable(Epoch), optional
        Called after each epoch.

    Returns
    -------
    Fit
        ``fit.params``, ``fit.history``, ``fit.stop_reason``.

    Raises
    ------
    ShapeError, DataError
        Data or numbers that do not fit.
    TrainingInterrupted
        Ctrl-C; a KeyboardInterrupt whose ``.fit`` holds the weights of the last whole step.

    Warns
    -----
    DivergenceWarning
        The cost stopped being finite: the fit ends with the last weights whose cost was finite. Or an epoch
        cost `GROWTH` times as much as the start: it ends with the weights of the lowest cost.

    Examples
    --------
    >>> import numpy as np, layerwise as lw
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> fit = lw.train(lw.Network([1, 8, 1], hidden="tanh"), X, X**2, optimizer=lw.SGD(0.1), epochs=2)
    >>> fit.stop_reason
    'All 2 epochs are done.'
    """
    if not isinstance(net, Network):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"train takes a Network first; got {type(net).__name__}.")
    if on_epoch_end is not None and not callable(on_epoch_end):  # pyright: ignore[reportUnnecessaryComparison]
        raise DataError(f"on_epoch_end must be a function of an Epoch; got {on_epoch_end!r}.")
    permutation(seed, Stream.SHUFFLE, 0, 1)  # refuses what is no seed, also where no order is drawn
    start, dtype = _starting_weights(net, params, seed, dtype)
    data = _checked_data(net, X, Y, sample_weight, dtype)
    _check_count(epochs, "epochs")
    if batch_size is not None:
        _check_count(batch_size, "batch_size")
    optimizer = Momentum() if optimizer is None else optimizer
    if not isinstance(optimizer, UpdateRule):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"optimizer must be an update rule such as layerwise.SGD(0.1); got {optimizer!r}.")
    if batch_size is None or batch_size >= len(data.X):
        data = _Data(*data.rows(slice(None), dtype))  # once, not in every epoch
    loop = _Loop(net, optimizer, data, start, dtype, on_epoch_end)
    try:
        loop.run(epochs, _batches(len(data.X), batch_size, seed))
    except KeyboardInterrupt:
        steps = loop.state.step
        loop.stop_reason = f"Ctrl-C in epoch {loop.epoch}, after {steps} steps in all; their weights are kept."
        raise TrainingInterrupted(loop.fit()) from None
    return loop.fit()


@dataclass(frozen=True)
class _Data:
    X: Array
    Y: Array
    weights: Array | None

    def rows(self, index: Array | slice, dtype: str) -> tuple[Array, Array, Array | None]:
        """Those rows as the engine takes them: in C order, in ``dtype``."""
        w = None if self.weights is None else self.weights[index]
        return in_order(self.X[index], dtype), in_order(self.Y[index], dtype), w


def _checked_data(net: Network, X: Any, Y: Any, sample_weight: Any, dtype: str) -> _Data:
    X = check_inputs(net, X, dtype)
    if len(X) == 0:
        raise DataError("X has no rows; at least one sample is needed to learn from.")
    return _Data(*weighted_rows(X, check_targets(net, Y, len(X), dtype), sample_weight, dtype))


def _check_count(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise DataError(f"{name} must be a positive integer; got {value!r}.")


def _starting_weights(
    net: Network, params: Mapping[str, Any] | None, seed: int, dtype: str | None
) -> tuple[dict[str, Array], str]:
    dtype = None if dtype is None else precision_name(dtype)
    if params is None:
        return net.initialise(seed, dtype or "float64"), dtype or "float64"
    arrays, own = check_parameters(net, params)
    for name, array in arrays.items():
        check_finite(array, f"params[{name!r}]", dtype or own)
    return {k: a.astype(dtype or own) for k, a in arrays.items()}, dtype or own


def _batches(n: int, batch_size: int | None, seed: int) -> Callable[[int], Iterator[Array | slice]]:
    """For each epoch its batches, as rows to take; the order depends on seed and epoch only."""

    def of_epoch(epoch: int) -> Iterator[Array | slice]:
        if batch_size is None or batch_size >= n:
            yield slice(None)
            return
        order = permutation(seed, Stream.SHUFFLE, epoch, n)
        for first in range(0, n, batch_size):
            yield order[first : first + batch_size]

    return of_epoch


@dataclass(frozen=True)
class _State:
    """What a step changes. It is replaced as a whole, so that Ctrl-C finds it consistent.

    Parameters
    ----------
    weights : dict of str to array
        Finite.
    slots : dict of (parameter, slot) to array
    trusted : dict of str to array
        What the last finite cost was computed from; one step behind `weights`.
    step : int
        Number of steps done.
    """

    weights: dict[str, Array]
    slots: dict[tuple[str, str], Array]
    trusted: dict[str, Array]
    step: int = 0


GROWTH = 100.0
"""An epoch whose cost is this many times that of the starting weights is a fit that runs away."""

_LAST_FINITE = "The last weights whose cost was finite are kept."
_SAMPLE = 1024
"""Rows from which the cost of the starting weights is found."""


class _Loop:
    """A fit in progress."""

    def __init__(
        self,
        net: Network,
        rule: UpdateRule,
        data: _Data,
        start: dict[str, Array],
        dtype: str,
        on_epoch_end: Callable[[Epoch], None] | None,
    ):
        self.net, self.rule, self.data, self.dtype, self.on_epoch_end = net, rule, data, dtype, on_epoch_end
        self.epochs: list[Epoch] = []
        self.epoch = 0
        self.stop_reason = ""
        self.diverged = False
        graph = net.graph(labels=data.Y.ndim == 1, weighted=data.weights is not None)
        self._graph: StepGraph = step_graph(graph, rule)
        self._runner = Runner(plan(self._graph.outputs), dtype)
        self._cost_runner = Runner(plan([graph.cost]), dtype)
        slots = {key: np.zeros(node.shape, dtype) for key, node in self._graph.slots.items()}  # type: ignore[arg-type]
        self.state = _State(start, slots, start)
        self._began = time.monotonic()

    def run(self, epochs: int, batches: Callable[[int], Iterator[Array | slice]]) -> None:
        start = best = self._cost(_Data(*self.data.rows(slice(_SAMPLE), self.dtype)))
        best_weights = self.state.weights
        bounded = LOSSES[self.net.loss.name].nonnegative
        for self.epoch in range(1, epochs + 1):
            total = 0.0
            batch = self.data
            for rows in batches(self.epoch):
                batch = _Data(*self.data.rows(rows, self.dtype))
                total += self._one_step(batch) * len(batch.X)
                if self.diverged:
                    return
            cost = total / len(self.data.X)
            self.epochs.append(Epoch(self.epoch, cost, time.monotonic() - self._began))
            if self.on_epoch_end is not None:
                self.on_epoch_end(self.epochs[-1])
            if bounded and cost > GROWTH * start > 0:
                grown = f"The cost grew from {start:.3g} at the start to {cost:.3g} in epoch {self.epoch}"
                self._stop_diverged(grown, best_weights, "The weights of the lowest cost are kept.")
                return
            if cost < best:
                best, best_weights = cost, self.state.weights
        self._check_last_step(batch)
        if not self.diverged:
            self.stop_reason = f"All {epochs} epochs are done." if epochs > 1 else "The one epoch is done."

    def _check_last_step(self, batch: _Data) -> None:
        """No further step would find out that the last one led to weights of infinite cost."""
        cost = self._cost(batch)
        if not math.isfinite(cost):
            self._stop_diverged(f"The cost is {cost} after the last step", self.state.trusted)

    def _cost(self, batch: _Data) -> float:
        """The cost of a batch at the present weights."""
        graph = self._graph.graph
        feeds = graph.feeds(self.state.weights, batch.X, batch.Y, batch.weights)
        return float(self._cost_runner.run(feeds)[0])

    def _one_step(self, batch: _Data) -> float:
        """Run the step; keep its weights if they and its cost are finite."""
        step, before = self._graph, self.state
        feeds = step.graph.feeds(before.weights, batch.X, batch.Y, batch.weights)
        feeds.update((step.slots[k], a) for k, a in before.slots.items())
        feeds.update((step.scalars[k], v) for k, v in self.rule.scalars(before.step + 1).items())
        cost, *after = self._runner.run(feeds)
        n = len(before.weights)
        if not math.isfinite(cost):
            self._stop_diverged(f"The cost became {float(cost)} in {self._here()}", before.trusted)
        elif not all(np.isfinite(a).all() for a in after[:n]):
            self._stop_diverged(f"The weights became infinite or NaN in {self._here()}", before.weights)
        else:
            self.state = _State(
                dict(zip(before.weights, after[:n], strict=True)),
                dict(zip(before.slots, after[n:], strict=True)),
                before.weights,
                before.step + 1,
            )
        return float(cost)

    def _here(self) -> str:
        return f"epoch {self.epoch}, step {self.state.step + 1}"

    def _stop_diverged(self, what: str, weights: dict[str, Array], kept: str = _LAST_FINITE) -> None:
        rate = self.rule.learning_rate
        if not self.state.step:
            kept = "The starting weights are kept."
        self.state, self.diverged = replace(self.state, weights=weights), True
        self.stop_reason = (
            f"{what}, with learning rate {rate:g}. {kept} "
            f"Try learning rate {rate / 10:g}, or scale inputs and targets to about 1."
        )
        warnings.warn(self.stop_reason, DivergenceWarning, stacklevel=5)

    def fit(self) -> Fit:
        """What has been learned so far."""
        weights = {k: np.ascontiguousarray(a) for k, a in self.state.weights.items()}
        return Fit(self.net, weights, self.rule, History(tuple(self.epochs)), self.stop_reason, self.diverged)
