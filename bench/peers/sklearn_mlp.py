"""scikit-learn's multilayer perceptrons, with all settings that they have made equal.

What cannot be made equal: Adam's ε is added before the correction of the second moment, not after; the output of a
regressor is the identity, its cost half the mean square over all outputs; all passes over the data are in one order.
"""

from __future__ import annotations

import warnings

import numpy as np
import threadpoolctl
from sklearn.neural_network import MLPClassifier, MLPRegressor

from bench.peers.base import Runner, Task, threads_label
from bench.workloads import Workload

FOREVER = 10**9


def _model(w: Workload):
    kind = MLPRegressor if w.loss == "squared_error" else MLPClassifier
    return kind(
        hidden_layer_sizes=w.widths[1:-1],
        activation=w.hidden,
        solver="adam" if w.rule.kind == "adam" else "sgd",
        alpha=0.0,
        batch_size=w.batch_rows,
        learning_rate_init=w.rule.learning_rate,
        momentum=w.rule.momentum if w.rule.kind == "momentum" else 0.0,
        nesterovs_momentum=False,
        beta_1=w.rule.beta1,
        beta_2=w.rule.beta2,
        epsilon=w.rule.epsilon,
        shuffle=False,
        tol=0.0,
        n_iter_no_change=FOREVER,
    )


class _Sklearn(Runner):
    warm_start = False

    def __init__(self, task: Task):
        self.task, self.workload = task, task.workload
        self._limits = {threads_label(n): n for n in task.thread_choices}
        self.choices = tuple(self._limits)
        warnings.simplefilter("ignore")  # it warns of every fit that ends before it has converged

    def use(self, choice: str) -> None:
        threadpoolctl.threadpool_limits(self._limits[choice], user_api="blas")

    def fresh(self, X: np.ndarray, T: np.ndarray) -> None:
        """A model that has seen the data's form, with the starting weights."""
        self.model = _model(self.workload)
        self.model.set_params(learning_rate_init=1e-30)
        if isinstance(self.model, MLPClassifier):
            n_classes = max(self.workload.widths[-1], 2)
            self.model.partial_fit(X[:1], T[:1], classes=np.arange(n_classes).astype(T.dtype))
        else:
            self.model.partial_fit(X[:1], T[:1])
        # Not before: a model that starts warm wants to see every class in every call.
        self.model.set_params(learning_rate_init=self.workload.rule.learning_rate, warm_start=self.warm_start)
        start = self.task.start()
        self.model.coefs_ = [W for W, _ in start]
        self.model.intercepts_ = [b for _, b in start]
        del self.model._optimizer

    def result(self) -> list[np.ndarray]:
        return [a for pair in zip(self.model.coefs_, self.model.intercepts_, strict=True) for a in pair]


class _Train(_Sklearn):
    """`fit`, which goes over the first order again and again: `partial_fit` would check its data in every pass."""

    warm_start = True

    def __init__(self, task: Task):
        super().__init__(task)
        X, T = task.in_order()
        n = self.workload.rows
        self.data = X[:n], T[:n]

    def reset(self) -> None:
        self.fresh(*self.data)

    def run(self, n: int) -> None:
        self.model.set_params(max_iter=n * self.workload.orders)
        self.model.fit(*self.data)


class _InOrder(_Sklearn):
    """`partial_fit` on each pass in its own order, for the proof."""

    def __init__(self, task: Task):
        super().__init__(task)
        X, T = task.in_order()
        w = self.workload
        cuts = [slice(k * w.rows, (k + 1) * w.rows) for k in range(w.orders)]
        self.passes = [(X, T)] * w.orders if w.batch is None else [(X[c], T[c]) for c in cuts]

    def reset(self) -> None:
        self.fresh(*self.passes[0])

    def run(self, n: int) -> None:
        for _ in range(n):
            for X, T in self.passes:
                self.model.partial_fit(X, T)


class _Predict(_Sklearn):
    def __init__(self, task: Task):
        super().__init__(task)
        X = task.rows_to_predict()
        self.X = X
        self.fresh(X, np.zeros(len(X), np.int64))

    def run(self, n: int) -> None:
        predict, X = self.model.predict_proba, self.X
        for _ in range(n):
            P = predict(X)
        self.P = P

    def result(self) -> list[np.ndarray]:
        return [self.P[:, 1:] if self.workload.widths[-1] == 1 else self.P]


def train(task: Task) -> Runner:
    return _InOrder(task) if task.dtype == "float64" else _Train(task)


predict = _Predict
