"""PyTorch without a compiler, with as little Python as it lets one write.

Gradients come from `torch.autograd.grad` and go straight into the functional form of the fused optimisers: 150 to
230 µs a step on the three small workloads, against 200 to 300 with `backward()`, `optimizer.step()` and `zero_grad()`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from bench.peers.base import Runner, Task, threads_label
from bench.workloads import Workload

Tensor = torch.Tensor


def cost_function(w: Workload) -> Callable[[list[Tensor], Tensor, Tensor], Tensor]:
    """C of the weights [W1, b1, …], W as `nn.Linear` holds it, (n_out, n_in)."""
    hidden = torch.tanh if w.hidden == "tanh" else F.relu

    def cost(weights: list[Tensor], X: Tensor, T: Tensor) -> Tensor:
        A = X
        for W, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            A = hidden(F.linear(A, W, b))
        Z = F.linear(A, weights[-2], weights[-1])
        if w.loss == "cross_entropy":
            return F.cross_entropy(Z, T)
        if w.loss == "binary_cross_entropy":
            return F.binary_cross_entropy_with_logits(Z[:, 0], T)
        return F.mse_loss(torch.sigmoid(Z), T, reduction="sum") / len(Z)

    return cost


def outputs_function(w: Workload) -> Callable[[list[Tensor], Tensor], Tensor]:
    hidden = torch.tanh if w.hidden == "tanh" else F.relu

    def outputs(weights: list[Tensor], X: Tensor) -> Tensor:
        A = X
        for W, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            A = hidden(F.linear(A, W, b))
        Z = F.linear(A, weights[-2], weights[-1])
        return torch.softmax(Z, dim=1) if w.output == "softmax" else torch.sigmoid(Z)

    return outputs


def weights_of(task: Task) -> list[Tensor]:
    pairs = task.start()
    return [t for W, b in pairs for t in (torch.from_numpy(np.ascontiguousarray(W.T)), torch.from_numpy(b))]


def batches_of(task: Task) -> list[tuple[Tensor, Tensor]]:
    """Those of a block, as views."""
    w = task.workload
    X, T = (torch.from_numpy(a) for a in task.in_order())
    if w.batch is None:
        return [(X, T)] * w.orders
    pairs = zip(X.split(w.rows), T.split(w.rows), strict=True)
    return [b for x, t in pairs for b in zip(x.split(w.batch), t.split(w.batch), strict=True)]


class TorchRunner(Runner):
    """Threads chosen at run time."""

    def __init__(self, task: Task):
        self.task, self.workload = task, task.workload
        self._limits = {threads_label(n): n for n in task.thread_choices}
        self.choices = tuple(self._limits)

    def use(self, choice: str) -> None:
        torch.set_num_threads(self._limits[choice])


class TorchTrain(TorchRunner):
    """Weights, what the rule remembers of them, and batches."""

    def __init__(self, task: Task):
        super().__init__(task)
        self.batches = batches_of(task)
        self.weights = weights_of(task)
        slots = {"sgd": 0, "momentum": 1, "adam": 2}[self.workload.rule.kind]
        self.slots = [[torch.zeros_like(t) for t in self.weights] for _ in range(slots)]
        self.counts = [torch.zeros(()) for _ in self.weights]

    def reset(self) -> None:
        with torch.no_grad():
            for t, start in zip(self.weights, weights_of(self.task), strict=True):
                t.copy_(start)
            for t in (*self.counts, *(t for slot in self.slots for t in slot)):
                t.zero_()

    def result(self) -> list[np.ndarray]:
        return [t.detach().numpy().T for t in self.weights]


class _Train(TorchTrain):
    def __init__(self, task: Task):
        super().__init__(task)
        self.cost = cost_function(self.workload)
        self.detached = self.weights
        self.weights = [t.detach().requires_grad_() for t in self.detached]

    def run(self, n: int) -> None:
        cost, weights, update = self.cost, self.weights, self._update
        for _ in range(n):
            for X, T in self.batches:
                update(list(torch.autograd.grad(cost(weights, X, T), weights)))

    @torch.no_grad()
    def _update(self, gradients: list[Tensor]) -> None:
        r = self.workload.rule
        if r.kind == "adam":
            adam(
                self.detached,
                gradients,
                *self.slots,
                [],
                self.counts,
                fused=True,
                amsgrad=False,
                beta1=r.beta1,
                beta2=r.beta2,
                lr=r.learning_rate,
                weight_decay=0.0,
                eps=r.epsilon,
                maximize=False,
            )
        else:
            sgd(
                self.detached,
                gradients,
                self.slots[0] if self.slots else [None] * len(gradients),
                fused=True,
                weight_decay=0.0,
                momentum=r.momentum if r.kind == "momentum" else 0.0,
                lr=r.learning_rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )


class TorchPredict(TorchRunner):
    """A NumPy array in, a NumPy array out."""

    def __init__(self, task: Task):
        super().__init__(task)
        self.weights = weights_of(task)
        self.X = task.rows_to_predict()
        self.outputs = outputs_function(self.workload)

    def run(self, n: int) -> None:
        outputs, weights, X = self.outputs, self.weights, self.X
        with torch.inference_mode():
            for _ in range(n):
                A = outputs(weights, torch.from_numpy(X)).numpy()
        self.A = A

    def result(self) -> list[np.ndarray]:
        return [self.A]


train, predict = _Train, TorchPredict
