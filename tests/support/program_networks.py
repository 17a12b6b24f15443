"""A network and its training step as a program written by hand, and the same in NumPy."""

from __future__ import annotations

import numpy as np
from program_words import Words


def random(seed: int, *shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def pack_state(p: Words, values: list[tuple[int, int, np.ndarray]]) -> np.ndarray:
    """A state with matrices packed into it by another program: (packed value, 0 or 1 for transposed, matrix)."""
    q = Words(p.dtype, isa=p.isa, values=[list(v) for v in p.values if v[1] == 1], state_bytes=p.state_bytes)
    moved = {i: k for k, i in enumerate(i for i, v in enumerate(p.values) if v[1] == 1)}
    jobs = []
    for packed, transposed, matrix in values:
        B = q.bound(*matrix.shape)
        kernel = "pack_transposed" if transposed else "pack"
        jobs.append(q.job(*matrix.shape, [q.instruction(kernel, [moved[packed], B], matrix.shape)]))
    q.stage(*jobs)
    state = p.new_state()
    q.load().run([m for *_, m in values], state)
    return state


def network(
    dtype: str, rows: int, sizes=(5, 70, 3), gather: bool = False, cost_last: bool = False
) -> tuple[Words, list[np.ndarray], np.ndarray]:
    """A step of gradient descent: half squared error, relu, one hidden layer.

    X and Y are bound arrays, or gathered from two sources; the cost is the last bound array. Returns the program,
    samples, and a state with starting weights, of which `p.weights` are the values. States of any number of rows are
    alike. ``cost_last``: it is written after the weights, not beside them.
    """
    p = Words(dtype, n_sources=2 if gather else 0)
    n, h, k = sizes
    new = p.arena if gather else p.bound
    X, Y, cost, rate = new(rows, n), new(rows, k), p.bound(1, 1, written=True), p.scalar()
    W, P, Q = [p.state(n, h), p.state(h, k)], [p.packed(n, h), p.packed(h, k)], [None, p.packed(k, h)]
    b = [p.state(1, h), p.state(1, k)]
    A, E, D, loss = p.arena(rows, h), p.arena(rows, k), p.arena(rows, h), p.arena(rows, 1)
    Z, S = p.local(rows, k), p.local(rows, k)
    code = [p.instruction("gather", [v], [i]) for i, v in enumerate([X, Y]) if gather]
    code += [
        p.product(A, X, P[0], K=n, N=h, bias=b[0], epilogue="bias_relu"),
        p.product(Z, A, P[1], K=h, N=k, bias=b[1], epilogue="bias"),
        p.map([E, S], [(Z, "full"), (Y, "full")], [("subtract", 2, 0, 1), ("square", 3, 2)], results=[2, 3]),
        p.instruction("row_reduce", [loss, S], [1, 0]),
        p.product(D, E, Q[1], K=k, N=h, other=A, epilogue="times_relu_slope"),
    ]
    p.stage(p.job(rows, 1, code, "r"))

    def update(value: int, gradient: int) -> list[int]:
        ops = [("multiply", 3, 1, 2), ("subtract", 4, 0, 3)]
        return p.map([value], [(value, "full"), (gradient, "full"), (rate, "scalar")], ops)

    jobs = []
    for i, (left, delta) in enumerate([(X, D), (A, E)]):
        K, N = sizes[i : i + 2]
        g = p.local(K, N)
        code = [p.instruction("t_product", [g, left, delta], [rows]), update(W[i], g)]
        code.append(p.instruction("pack", [P[i], W[i]], [K, N]))
        if Q[i] is not None:
            code.append(p.instruction("pack_transposed", [Q[i], W[i]], [K, N]))
        jobs.append(p.job(K, N, code, "rcb"))
        g = p.local(1, N)
        jobs.append(p.job(1, N, [p.instruction("column_reduce", [g, delta], [rows, 0]), update(b[i], g)], "c"))
    of_cost = p.job(1, 1, [p.instruction("column_reduce", [cost, loss], [rows, 1])])
    for stage in [jobs, [of_cost]] if cost_last else [[*jobs, of_cost]]:
        p.stage(*stage)
    weights = [random(10 + i, *s, dtype=dtype) / 2 for i, s in enumerate([(n, h), (h, k)])]
    state = pack_state(p, [(P[0], 0, weights[0]), (P[1], 0, weights[1]), (Q[1], 1, weights[1])])
    for i, w in enumerate(weights):
        at(p, state, W[i])[:] = w
    p.weights = [W[0], b[0], W[1], b[1]]
    return p, [random(1, rows, n, dtype=dtype), random(2, rows, k, dtype=dtype)], state


def at(p: Words, state: np.ndarray, value: int) -> np.ndarray:
    """A dense value of the state, as a view."""
    _, space, offset, rows, columns, *_ = p.values[value]
    assert space == 1
    return state[offset // p.item : offset // p.item + rows * columns].reshape(rows, columns)


def numpy_step(weights: list[np.ndarray], X, Y, rate) -> tuple[float, list[np.ndarray]]:
    W1, b1, W2, b2 = weights
    A = np.maximum(X @ W1 + b1, 0)
    E = A @ W2 + b2 - Y
    D = (E @ W2.T) * (A > 0)
    gradients = [X.T @ D, D.sum(0, keepdims=True), A.T @ E, E.sum(0, keepdims=True)]
    cost = float((E * E).sum(1).mean())
    return cost, [w - rate * g for w, g in zip(weights, gradients, strict=True)]
