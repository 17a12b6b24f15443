"""PyTorch with its compiler: the whole step, update included, is one graph.

The gradient is `torch.func.grad_and_value`, which is traced into that graph; `backward()` would break it. `cpp_wrapper`
saves a tenth to a sixth of the time of a step on the small workloads; `mode="max-autotune"` saved nothing.
"""

from __future__ import annotations

import torch

from bench.peers.base import Task
from bench.peers.torch_eager import Tensor, TorchPredict, TorchTrain, cost_function

torch._dynamo.config.recompile_limit = 64  # a shape of a batch, a number of threads, a setting: each is compiled anew


class _Train(TorchTrain):
    def __init__(self, task: Task):
        super().__init__(task)
        r, cost = self.workload.rule, cost_function(self.workload)
        # Of one element: writes to a float64 tensor without axes are lost with `cpp_wrapper` (torch 2.13).
        self.count = torch.zeros(1, dtype=self.weights[0].dtype)
        self.counts = [self.count]

        def step(weights: list[Tensor], slots: list[list[Tensor]], count: Tensor, X: Tensor, T: Tensor) -> Tensor:
            gradients, value = torch.func.grad_and_value(cost)(weights, X, T)
            if r.kind == "sgd":
                for W, g in zip(weights, gradients, strict=True):
                    W.sub_(r.learning_rate * g)
            elif r.kind == "momentum":
                for W, g, v in zip(weights, gradients, *slots, strict=True):
                    v.mul_(r.momentum).add_(g)
                    W.sub_(r.learning_rate * v)
            else:
                t = count + 1
                rate = r.learning_rate / (1 - r.beta1**t)
                root = 1 / (1 - r.beta2**t).sqrt()
                for W, g, m, v in zip(weights, gradients, *slots, strict=True):
                    m.mul_(r.beta1).add_(g, alpha=1 - r.beta1)
                    v.mul_(r.beta2).addcmul_(g, g, value=1 - r.beta2)
                    W.sub_(rate * m / (v.sqrt() * root + r.epsilon))
                count.copy_(t)
            return value

        self.step = torch.compile(step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})

    def run(self, n: int) -> None:
        step, weights, slots, count = self.step, self.weights, self.slots, self.count
        with torch.no_grad():
            for _ in range(n):
                for X, T in self.batches:
                    step(weights, slots, count, X, T)


class _Predict(TorchPredict):
    """Three ways to compile; weights can be constants of the graph (`freezing`), laid out for its products."""

    def __init__(self, task: Task):
        super().__init__(task)
        module = _Module(self.outputs, self.weights)
        options = {
            "as they are": {},
            "frozen weights": {"freezing": True, "cpp_wrapper": True},
            "frozen weights, max-autotune": {"freezing": True, "cpp_wrapper": True, "max_autotune": True},
        }
        self.variants = {
            name: torch.compile(module, fullgraph=True, dynamic=False, options=chosen or None)
            for name, chosen in options.items()
        }
        self.choices = tuple(f"{t}, {v}" for t in self.choices for v in self.variants)

    def use(self, choice: str) -> None:
        threads, variant = choice.split(", ", 1)
        super().use(threads)
        compiled = self.variants[variant]
        self.outputs = lambda _, X: compiled(X)


class _Module(torch.nn.Module):
    def __init__(self, outputs, weights: list[Tensor]):
        super().__init__()
        self.outputs = outputs
        self.weights = torch.nn.ParameterList([torch.nn.Parameter(t, requires_grad=False) for t in weights])

    def forward(self, X: Tensor) -> Tensor:
        return self.outputs(list(self.weights), X)


train, predict = _Train, _Predict
