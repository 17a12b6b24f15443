"""`train`: gradient descent over minibatches or over the whole data set at once."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerwise.compile.plan import plan
from layerwise.engine.reference import Runner
from layerwise.errors import DataError, DivergenceWarning, TrainingInterrupted, unknown_name
from layerwise.fit.history import Epoch, Fit, History
from layerwise.network.build import StepGraph, step_graph
from layerwise.network.data import (
    check_finite,
    check_inputs,
    check_parameters,
    check_targets,
    check_weights,
    in_order,
    present_rows,
)
from layerwise.network.network import Network
from layerwise.network.updates import Momentum, UpdateRule
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
        >= 0; a row of weight 0 is absent.
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
        The cost stopped being finite. The fit ends with the last weights whose cost was finite.

    Examples
    --------
    >>> import numpy as np, layerwise as lw
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> fit = lw.train(lw.Network([1, 8, 1], hidden="tanh"), X, X**2, optimizer=lw.SGD(0.1), epochs=2)
    >>> fit.stop_reason
    'All 2 epochs are done.'
    """
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
    Y = check_targets(net, Y, len(X), dtype)
    w = None if sample_weight is None else check_weights(sample_weight, len(X), dtype)
    return _Data(*present_rows(X, Y, w))


def _check_count(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise DataError(f"{name} must be a positive integer; got {value!r}.")


def _starting_weights(
    net: Network, params: Mapping[str, Any] | None, seed: int, dtype: str | None
) -> tuple[dict[str, Array], str]:
    if dtype not in (None, "float32", "float64"):
        raise unknown_name("dtype", dtype, ("float32", "float64"))
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
        slots = {key: np.zeros(node.shape, dtype) for key, node in self._graph.slots.items()}  # type: ignore[arg-type]
        self.state = _State(start, slots, start)
        self._began = time.monotonic()

    def run(self, epochs: int, batches: Callable[[int], Iterator[Array | slice]]) -> None:
        for self.epoch in range(1, epochs + 1):
            total = mass = 0.0
            for rows in batches(self.epoch):
                X, Y, w = self.data.rows(rows, self.dtype)
                share = float(len(X)) if w is None else float(np.sum(w, dtype=np.float64))
                cost = self._one_step(X, Y, w)
                if self.diverged:
                    warnings.warn(self.stop_reason, DivergenceWarning, stacklevel=3)
                    return
                total, mass = total + cost * share, mass + share
            self.epochs.append(Epoch(self.epoch, total / mass, time.monotonic() - self._began))
            if self.on_epoch_end is not None:
                self.on_epoch_end(self.epochs[-1])
        self.stop_reason = f"All {epochs} epochs are done." if epochs > 1 else "The one epoch is done."

    def _one_step(self, X: Array, Y: Array, w: Array | None) -> float:
        """Run the step; keep its weights if they and its cost are finite."""
        step, before = self._graph, self.state
        feeds = step.graph.feeds(before.weights, X, Y, w)
        feeds.update((step.slots[k], a) for k, a in before.slots.items())
        feeds.update((step.hyperparameters[k], v) for k, v in self.rule.hyperparameters.items())
        cost, *after = self._runner.run(feeds)
        n = len(before.weights)
        if not math.isfinite(cost):
            self._stop_diverged(f"The cost became {float(cost)}", before.trusted)
        elif not all(np.isfinite(a).all() for a in after[:n]):
            self._stop_diverged("The weights became infinite or NaN", before.weights)
        else:
            self.state = _State(
                dict(zip(before.weights, after[:n], strict=True)),
                dict(zip(before.slots, after[n:], strict=True)),
                before.weights,
                before.step + 1,
            )
        return float(cost)

    def _stop_diverged(self, what: str, weights: dict[str, Array]) -> None:
        rate, step = self.rule.learning_rate, self.state.step
        kept = "The last weights whose cost was finite are kept." if step else "The starting weights are kept."
        self.state, self.diverged = replace(self.state, weights=weights), True
        self.stop_reason = (
            f"{what} in epoch {self.epoch}, step {step + 1}, with learning rate {rate:g}. {kept} "
            f"Try learning rate {rate / 10:g}, or scale inputs and targets to about 1."
        )

    def fit(self) -> Fit:
        """What has been learned so far."""
        weights = {k: np.ascontiguousarray(a) for k, a in self.state.weights.items()}
        return Fit(self.net, weights, self.rule, History(tuple(self.epochs)), self.stop_reason, self.diverged)
