"""JAX: a block of batches is one compiled call, `lax.scan` over data that lies on the device; weights are donated.

The flags that XLA has for processors (vector width, XNNPACK, scheduler, fast mathematics) made no difference of 2 %;
unrolling the loop makes one of 5 % on the smallest workload, so both are tried there.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.peers.base import Runner, Task, aligned
from bench.workloads import Workload


def _hidden(w: Workload):
    return jnp.tanh if w.hidden == "tanh" else jax.nn.relu


def _pre_activation(w: Workload, weights: Any, X: Any) -> Any:
    A = X
    for W, b in weights[:-1]:
        A = _hidden(w)(A @ W + b)
    W, b = weights[-1]
    return A @ W + b


def _cost(w: Workload, weights: Any, X: Any, T: Any) -> Any:
    Z = _pre_activation(w, weights, X)
    if w.loss == "cross_entropy":
        return -jnp.mean(jnp.sum(jax.nn.log_softmax(Z) * jax.nn.one_hot(T, Z.shape[1], dtype=Z.dtype), axis=1))
    if w.loss == "binary_cross_entropy":
        Z = Z[:, 0]
        return jnp.mean(jax.nn.softplus(Z) - Z * T)
    return jnp.mean(jnp.sum(jnp.square(jax.nn.sigmoid(Z) - T), axis=1))


def _update(w: Workload, weights: Any, gradients: Any, state: Any) -> tuple[Any, Any]:
    r = w.rule
    if r.kind == "sgd":
        return jax.tree.map(lambda W, g: W - r.learning_rate * g, weights, gradients), state
    if r.kind == "momentum":
        state = jax.tree.map(lambda v, g: r.momentum * v + g, state, gradients)
        return jax.tree.map(lambda W, v: W - r.learning_rate * v, weights, state), state
    m, v, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: r.beta1 * m + (1 - r.beta1) * g, m, gradients)
    v = jax.tree.map(lambda v, g: r.beta2 * v + (1 - r.beta2) * g * g, v, gradients)
    rate, root = r.learning_rate / (1 - r.beta1**t), 1 / jnp.sqrt(1 - r.beta2**t)
    weights = jax.tree.map(lambda W, m, v: W - rate * m / (jnp.sqrt(v) * root + r.epsilon), weights, m, v)
    return weights, (m, v, t)


class _Train(Runner):
    def __init__(self, task: Task):
        self.task, self.workload = task, task.workload
        jax.config.update("jax_enable_x64", task.dtype == "float64")
        self.data = self._on_device(*task.in_order())
        self.blocks = {f"unroll {n}": self._compiled(n) for n in ((1, 2, 8) if task.few_operations else (1,))}
        self.choices = tuple(self.blocks)

    def _on_device(self, X: np.ndarray, T: np.ndarray) -> Any:
        """Full batches, (orders, steps, batch, …) or (steps, batch, …), and what is left of each pass."""
        w = self.workload
        if T.dtype == np.int64:
            T = T.astype(np.int32)
        if w.batch is None:
            return _put(X), _put(T)
        full = w.rows // w.batch
        parts = []
        for A in (X, T):
            A = A.reshape(w.orders, w.rows, *A.shape[1:])
            whole = A[:, : full * w.batch].reshape(w.orders, full, w.batch, *A.shape[2:])
            rest = A[:, full * w.batch :]
            parts.append([_put(a[0] if w.orders == 1 else a) for a in (whole, rest)])
        (X, X_rest), (T, T_rest) = parts if X is not T else (parts[0], parts[0])
        return (X, T), (X_rest, T_rest)

    def _compiled(self, unroll: int) -> Any:
        w = self.workload

        def step(carry: Any, batch: Any) -> tuple[Any, Any]:
            weights, state = carry
            cost, gradients = jax.value_and_grad(lambda p: _cost(w, p, *batch))(weights)
            return _update(w, weights, gradients, state), cost

        def one_pass(carry: Any, data: Any) -> tuple[Any, Any]:
            full, rest = data
            carry, costs = lax.scan(step, carry, full, unroll=unroll)
            if w.rows % w.batch_rows:
                carry, last = step(carry, rest)
                costs = jnp.append(costs, last)
            return carry, costs

        def block(carry: Any, data: Any) -> tuple[Any, Any]:
            if w.batch is None:
                return lax.scan(lambda c, _: step(c, data), carry, None, length=w.orders, unroll=unroll)
            return one_pass(carry, data) if w.orders == 1 else lax.scan(one_pass, carry, data)

        return jax.jit(block, donate_argnums=0)

    def use(self, choice: str) -> None:
        self.block = self.blocks[choice]

    def reset(self) -> None:
        weights = [(jnp.array(W), jnp.array(b)) for W, b in self.task.start()]

        def zeros() -> Any:
            return jax.tree.map(jnp.zeros_like, weights)

        kind = self.workload.rule.kind
        count = jnp.zeros((), self.task.dtype)
        self.carry = weights, {"sgd": (), "momentum": zeros(), "adam": (zeros(), zeros(), count)}[kind]
        jax.block_until_ready(self.carry)

    def run(self, n: int) -> None:
        for _ in range(n):
            self.carry, self.costs = self.block(self.carry, self.data)
        jax.block_until_ready(self.carry)

    def result(self) -> list[np.ndarray]:
        return [np.asarray(a) for pair in self.carry[0] for a in pair]


def _put(array: np.ndarray) -> Any:
    """On the device, without a copy where the array begins at an aligned address."""
    if not array.flags.c_contiguous:
        copy = aligned(array.shape, array.dtype)
        copy[...] = array
        array = copy
    return jax.device_put(array, may_alias=True)


class _Predict(Runner):
    def __init__(self, task: Task):
        w = self.workload = task.workload
        weights = [(jnp.array(W), jnp.array(b)) for W, b in task.start()]
        last = jax.nn.softmax if w.output == "softmax" else jax.nn.sigmoid
        as_arguments = jax.jit(lambda p, X: last(_pre_activation(w, p, X)))
        as_constants = jax.jit(lambda X: last(_pre_activation(w, weights, X)))
        self.variants = {
            "weights as arguments": lambda X: as_arguments(weights, X),
            "weights as constants": as_constants,
        }
        self.choices = tuple(self.variants)
        self.X = task.rows_to_predict()

    def use(self, choice: str) -> None:
        self.outputs = self.variants[choice]

    def run(self, n: int) -> None:
        outputs, X = self.outputs, self.X
        for _ in range(n):
            A = np.asarray(outputs(X))
        self.A = A

    def result(self) -> list[np.ndarray]:
        return [self.A]


train, predict = _Train, _Predict
