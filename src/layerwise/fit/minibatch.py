"""`train`: gradient descent over minibatches or over the whole data set at once."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from layerwise.arrays import precision_name
from layerwise.engine.choice import training
from layerwise.engine.training import Data, Outcome
from layerwise.errors import DataError, DivergenceWarning, TrainingInterrupted
from layerwise.fit.history import Epoch, Fit, History
from layerwise.network.build import step_graph
from layerwise.network.data import (
    check_batch,
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
    engine: str = "native",
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
    engine : {"native", "numpy"}
        What runs the steps. NumPy is the definition; native code agrees with it to rounding, and is the same to the
        bit on any number of threads.
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
    tables = _checked_tables(net, X, Y, sample_weight, dtype)
    _check_count(epochs, "epochs")
    if batch_size is not None:
        _check_count(batch_size, "batch_size")
    optimizer = Momentum() if optimizer is None else optimizer
    if not isinstance(optimizer, UpdateRule):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"optimizer must be an update rule such as layerwise.SGD(0.1); got {optimizer!r}.")
    rows = len(tables[0]) if batch_size is None else min(int(batch_size), len(tables[0]))
    if optimizer.full_batch and rows < len(tables[0]):
        raise DataError(
            f"{type(optimizer).__name__} takes all {len(tables[0])} samples at once; got batch_size={batch_size}. "
            "Give batch_size=None, or for minibatches another rule such as layerwise.Adam()."
        )
    check_batch(net, rows)
    if rows == len(tables[0]):
        tables = tuple(in_order(table, dtype) for table in tables)  # once, not in every epoch
    loop = _Loop(net, optimizer, Data(tables, rows, seed), start, dtype, engine)
    try:
        loop.run(int(epochs), on_epoch_end)
    except KeyboardInterrupt:
        raise TrainingInterrupted(loop.interrupted()) from None
    return loop.fit()


def _checked_tables(net: Network, X: Any, Y: Any, sample_weight: Any, dtype: str) -> tuple[Array, ...]:
    """X, Y and, where they differ, the weights of samples."""
    X = check_inputs(net, X, dtype)
    if len(X) == 0:
        raise DataError("X has no rows; at least one sample is needed to learn from.")
    X, Y, weights = weighted_rows(X, check_targets(net, Y, len(X), dtype), sample_weight, dtype)
    return (X, Y) if weights is None else (X, Y, weights)


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
    return {k: a.astype(dtype or own, copy=False) for k, a in arrays.items()}, dtype or own


GROWTH = 100.0
"""An epoch whose cost is this many times that of the starting weights is a fit that runs away."""

_LAST_FINITE = "The last weights whose cost was finite are kept."
_SAMPLE = 256
"""Rows from which the cost is found at the start and after the last step: more would cost as much as a step."""


class _Loop:
    """A fit in progress."""

    def __init__(self, net: Network, rule: UpdateRule, data: Data, start: dict[str, Array], dtype: str, engine: str):
        self.net, self.rule, self.data = net, rule, data
        self.epochs: list[Epoch] = []
        self.epoch = 0
        self.stop_reason = ""
        self.diverged = False
        labels, weighted = data.tables[1].ndim == 1, len(data.tables) > 2
        self._graph = step_graph(net.graph(labels=labels, weighted=weighted, training=True), rule)
        values = self._graph.start(rule, start, dtype)
        self._training = training(engine, self._graph.step(rule), data, values, dtype)
        self._began = time.monotonic()

    def run(self, epochs: int, on_epoch_end: Callable[[Epoch], None] | None) -> None:
        start = self._training.cost_of(slice(_SAMPLE))
        self._training.start_from(start)
        bounded = LOSSES[self.net.loss.name].nonnegative
        limit = GROWTH * start if bounded and start > 0 else math.inf
        while len(self.epochs) < epochs:
            outcome = self._run_some(1 if on_epoch_end is not None else epochs - len(self.epochs), limit)
            if on_epoch_end is not None and self.epochs and outcome.costs:
                on_epoch_end(self.epochs[-1])
            if outcome.stopped:
                self._stop(outcome, start)
                return
        self._check_last_step()
        if not self.diverged:
            self.stop_reason = f"All {epochs} epochs are done." if epochs > 1 else "The one epoch is done."

    def _run_some(self, n_epochs: int, limit: float) -> Outcome:
        begun = time.monotonic() - self._began
        self.epoch = first = len(self.epochs) + 1
        outcome = self._training.run(first, n_epochs, limit)
        done = zip(outcome.costs, outcome.seconds, strict=True)
        self.epochs += [Epoch(first + i, cost, begun + seconds) for i, (cost, seconds) in enumerate(done)]
        self.epoch = len(self.epochs) + (outcome.stopped not in ("", "runaway"))
        return outcome

    def _stop(self, outcome: Outcome, start: float) -> None:
        if outcome.stopped == "interrupted":
            raise KeyboardInterrupt
        here = f"epoch {self.epoch}, step {self._training.steps_done + 1}"
        if outcome.stopped == "runaway":
            last = self.epochs[-1]
            grown = f"The cost grew from {start:.3g} at the start to {last.cost:.3g} in epoch {last.number}"
            self._training.restore_best()
            self._stop_diverged(grown, "The weights of the lowest cost are kept.")
        elif outcome.stopped == "cost":
            self._stop_diverged(f"The cost became {outcome.cost} in {here}")
        else:
            self._stop_diverged(f"The weights became infinite or NaN in {here}")

    def _check_last_step(self) -> None:
        """No further step would find out that the last one led to weights of infinite cost."""
        cost = self._training.cost_of(self._training.last_rows(len(self.epochs), _SAMPLE))
        if not math.isfinite(cost):
            self._training.step_back()
            self._stop_diverged(f"The cost is {cost} after the last step")

    def _stop_diverged(self, what: str, kept: str = _LAST_FINITE) -> None:
        rate = self.rule.learning_rate
        if not self._training.steps_done:
            kept = "The starting weights are kept."
        self.diverged = True
        self.stop_reason = (
            f"{what}, with learning rate {rate:g}. {kept} "
            f"Try learning rate {rate / 10:g}, or scale inputs and targets to about 1."
        )
        warnings.warn(self.stop_reason, DivergenceWarning, stacklevel=5)

    def interrupted(self) -> Fit:
        """What has been learned when Ctrl-C came."""
        steps = self._training.steps_done
        self.stop_reason = f"Ctrl-C in epoch {self.epoch}, after {steps} steps in all; their weights are kept."
        return self.fit()

    def fit(self) -> Fit:
        """What has been learned so far."""
        values = self._training.values()
        weights = {name: values[node] for name, node in self._graph.graph.parameters.items()}
        history = History(tuple(self.epochs))
        return Fit(self.net, weights, self.rule, history, self.stop_reason, self.diverged, self._training.engine)
