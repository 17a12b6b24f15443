"""NumPy by hand: every operation writes into an array that was made beforehand, and a batch is a view."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bench.peers.base import Runner, Task, threads_label
from bench.workloads import Rule

BLOCK = 1 << 15
"""Weights updated at a time: eight such arrays in float32 are 1 MiB, and stay in cache from operation to operation."""


class _Threads(Runner):
    def __init__(self, task: Task):
        self._limits = {threads_label(n): n for n in task.thread_choices}
        self.choices = tuple(self._limits)

    def use(self, choice: str) -> None:
        import threadpoolctl  # here, so that the arithmetic can be tested where it is not installed

        threadpoolctl.threadpool_limits(self._limits[choice], user_api="blas")


class _Train(_Threads):
    def __init__(self, task: Task):
        super().__init__(task)
        w = self.workload = task.workload
        X, T = task.in_order()
        passes = [slice(0, w.rows)] * w.orders if w.batch is None else _cuts(w.orders * w.rows, w.rows)
        self.batches = [(X[p][b], T[p][b]) for p in passes for b in _cuts(w.rows, w.batch_rows)]

        self.beginning = task.start()
        count = w.n_parameters
        self.theta, self.g = np.empty(count, task.dtype), np.empty(count, task.dtype)
        self.layers, self.gradients = _views(self.theta, w.layers), _views(self.g, w.layers)
        rows = w.batch_rows
        self.A = [np.empty((rows, n), task.dtype) for n in w.widths[1:]]
        self.delta = [np.empty((rows, n), task.dtype) for n in w.widths[1:-1]]
        self.active = [np.empty((rows, n), bool) for n in w.widths[1:-1]]
        self.scratch = np.empty((rows, max(w.widths[1:])), task.dtype)
        self.column = np.empty((rows, 1), task.dtype)
        self.row_numbers = np.arange(rows)
        self.costs = np.empty(len(self.batches))
        self.last = {"cross_entropy": self._softmax, "binary_cross_entropy": self._logistic}.get(w.loss, self._squares)
        self.update = _RULES[w.rule.kind](w.rule, self.theta, self.g)

    def reset(self) -> None:
        for (W, b), (W0, b0) in zip(self.layers, self.beginning, strict=True):
            W[...], b[...] = W0, b0
        self.update.reset()

    def run(self, n: int) -> None:
        for _ in range(n):
            for number, (X, T) in enumerate(self.batches):
                self.costs[number] = self._gradients(X, T)
                self.update.step()

    def result(self) -> list[np.ndarray]:
        return [a for pair in self.layers for a in pair]

    def _gradients(self, X: np.ndarray, T: np.ndarray) -> float:
        """Leave the gradients of a batch in g; the cost."""
        n = len(X)
        A = [X, *(a[:n] for a in self.A)]
        last = len(self.layers) - 1
        for i, (W, b) in enumerate(self.layers):
            Z = np.matmul(A[i], W, out=A[i + 1])
            Z += b
            if i < last:
                np.tanh(Z, out=Z) if self.workload.hidden == "tanh" else np.maximum(Z, 0, out=Z)
        cost = self.last(A[-1], T, n)  # A[-1] is ∂C/∂Z now
        delta = A[-1]
        for i in range(last, -1, -1):
            dW, db = self.gradients[i]
            np.matmul(A[i].T, delta, out=dW)
            np.sum(delta, axis=0, out=db)
            if i:
                delta = np.matmul(delta, self.layers[i][0].T, out=self.delta[i - 1][:n])
                self._times_slope(delta, A[i], i - 1, n)
        return cost

    def _times_slope(self, delta: np.ndarray, A: np.ndarray, i: int, n: int) -> None:
        if self.workload.hidden == "tanh":
            slope = np.multiply(A, A, out=self.scratch[:n, : A.shape[1]])
            np.subtract(1, slope, out=slope)
            delta *= slope
        else:
            delta *= np.greater(A, 0, out=self.active[i][:n])

    def _softmax(self, Z: np.ndarray, T: np.ndarray, n: int) -> float:
        """∂C/∂Z in place of Z; the cost."""
        rows, column = self.row_numbers[:n], self.column[:n]
        Z -= np.max(Z, axis=1, keepdims=True, out=column)
        at_label = Z[rows, T].sum()
        np.exp(Z, out=Z)
        np.sum(Z, axis=1, keepdims=True, out=column)
        Z /= column
        Z[rows, T] -= 1
        Z *= 1 / n
        return (np.log(column, out=column).sum() - at_label) / n

    def _logistic(self, Z: np.ndarray, T: np.ndarray, n: int) -> float:
        z, e = Z[:, 0], self.scratch.reshape(-1)[:n]
        np.abs(z, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        cost = np.maximum(z, 0).sum() - np.dot(z, T) + np.log1p(e).sum()
        numerator = np.where(z >= 0, 1, e)
        e += 1
        np.divide(numerator, e, out=z)
        z -= T
        z *= 1 / n
        return cost / n

    def _squares(self, Z: np.ndarray, T: np.ndarray, n: int) -> float:
        """Of sigmoid(Z); sigmoid as tanh, which is one operation and does not overflow."""
        Y = Z
        Y *= 0.5
        np.tanh(Y, out=Y)
        Y *= 0.5
        Y += 0.5
        slope = np.subtract(1, Y, out=self.scratch[:n, : Y.shape[1]])
        slope *= Y
        Y -= T
        cost = np.vdot(Y, Y) / n
        Y *= slope
        Y *= 2 / n
        return cost


def _cuts(rows: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def _views(flat: np.ndarray, layers: list[tuple[int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    views, at = [], 0
    for i, o in layers:
        views.append((flat[at : at + i * o].reshape(i, o), flat[at + i * o : at + i * o + o]))
        at += i * o + o
    return views


class _Sgd:
    slots = 0

    def __init__(self, rule: Rule, theta: np.ndarray, g: np.ndarray):
        self.rule, self.t = rule, 0
        self.state = [np.zeros_like(theta) for _ in range(self.slots)]
        scratch = np.empty(min(BLOCK, len(theta)), theta.dtype)
        self.blocks = [
            (theta[c], g[c], scratch[: c.stop - c.start], *(s[c] for s in self.state)) for c in _cuts(len(theta), BLOCK)
        ]

    def reset(self) -> None:
        self.t = 0
        for s in self.state:
            s[...] = 0

    def step(self) -> None:
        rate = self.rule.learning_rate
        for theta, g, _ in self.blocks:
            g *= rate
            theta -= g


class _Momentum(_Sgd):
    slots = 1

    def step(self) -> None:
        rate, kept = self.rule.learning_rate, self.rule.momentum
        for theta, g, scratch, velocity in self.blocks:
            velocity *= kept
            velocity += g
            np.multiply(velocity, rate, out=scratch)
            theta -= scratch


class _Adam(_Sgd):
    slots = 2

    def step(self) -> None:
        r = self.rule
        self.t += 1
        rate = r.learning_rate / (1 - r.beta1**self.t)
        root = 1 / math.sqrt(1 - r.beta2**self.t)
        for theta, g, scratch, m, v in self.blocks:
            m *= r.beta1
            np.multiply(g, 1 - r.beta1, out=scratch)
            m += scratch
            v *= r.beta2
            np.multiply(g, g, out=g)
            g *= 1 - r.beta2
            v += g
            np.sqrt(v, out=scratch)
            scratch *= root
            scratch += r.epsilon
            np.divide(m, scratch, out=scratch)
            scratch *= rate
            theta -= scratch


_RULES: dict[str, Callable[[Rule, np.ndarray, np.ndarray], _Sgd]] = {"sgd": _Sgd, "momentum": _Momentum, "adam": _Adam}


class _Predict(_Threads):
    def __init__(self, task: Task):
        super().__init__(task)
        self.workload, self.X = task.workload, task.rows_to_predict()
        self.layers = task.start()
        self.hidden = np.tanh if task.workload.hidden == "tanh" else lambda Z, out: np.maximum(Z, 0, out=out)

    def run(self, n: int) -> None:
        for _ in range(n):
            self.outputs = self._outputs(self.X)

    def _outputs(self, A: np.ndarray) -> np.ndarray:
        for W, b in self.layers[:-1]:
            A = A @ W
            A += b
            self.hidden(A, out=A)
        W, b = self.layers[-1]
        A = A @ W
        A += b
        if self.workload.output == "softmax":
            A -= A.max(axis=1, keepdims=True)
            np.exp(A, out=A)
            A /= A.sum(axis=1, keepdims=True)
        else:
            A *= 0.5
            np.tanh(A, out=A)
            A *= 0.5
            A += 0.5
        return A

    def result(self) -> list[np.ndarray]:
        return [self.outputs]


train, predict = _Train, _Predict
