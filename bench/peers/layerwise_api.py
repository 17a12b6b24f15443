"""layerwise, through its public interface: everything that a call costs is in its time, shuffling too."""

from __future__ import annotations

import os

import numpy as np

import layerwise as lw
from bench.peers.base import Runner, Task
from bench.workloads import Rule, Workload

SEED = 0
"""Of the order of samples; `bench.store` lays the peers' data in the same order."""


def _network(w: Workload) -> lw.Network:
    return lw.Network(list(w.widths), hidden=w.hidden, output=w.output, loss=w.loss)


def _params(task: Task) -> dict[str, np.ndarray]:
    return {f"{name}{n}": a for n, pair in enumerate(task.start(), start=1) for name, a in zip("Wb", pair, strict=True)}


def _rule(rule: Rule) -> lw.UpdateRule:
    if rule.kind == "adam":
        return lw.Adam(rule.learning_rate)
    return lw.SGD(rule.learning_rate) if rule.kind == "sgd" else lw.Momentum(rule.learning_rate, rule.momentum)


class _Train(Runner):
    def __init__(self, task: Task):
        self.workload, self.dtype = task.workload, task.dtype
        self.rule, self.net = _rule(task.workload.rule), _network(task.workload)
        self.X, self.T = task.as_they_lie()
        self.start = _params(task)
        engine = os.environ.get("BENCH_ENGINE")
        self.more = {"engine": engine} if engine else {}

    def run(self, n: int) -> None:
        w = self.workload
        self.fit = lw.train(
            self.net,
            self.X,
            self.T,
            params=self.start,
            optimizer=self.rule,
            batch_size=w.batch,
            epochs=n * w.orders,
            seed=SEED,
            dtype=self.dtype,
            **self.more,
        )
        if self.fit.diverged:
            raise RuntimeError(self.fit.stop_reason)

    def result(self) -> list[np.ndarray]:
        return list(self.fit.params.values())


class _Predict(Runner):
    def __init__(self, task: Task):
        self.X = task.rows_to_predict()
        self.model = lw.Model(_network(task.workload), _params(task))

    def run(self, n: int) -> None:
        outputs, X = self.model.outputs, self.X
        for _ in range(n):
            A = outputs(X)
        self.A = A

    def result(self) -> list[np.ndarray]:
        return [self.A]


train, predict = _Train, _Predict
