"""A hundred steps of training: the same cost at every step as torch.optim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import layerwise as lw
from layerwise.randomness import Stream, permutation

N = 50


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 4))
    return X, np.argmax(X @ rng.normal(size=(4, 3)) + 0.3 * rng.normal(size=(N, 3)), axis=1)


def torch_fit(optimizer, params, X, labels, batches, **options):
    """Costs by epoch, each the average over the samples at the weights of their step; and the final weights."""
    W = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    optimizer = optimizer(W.values(), **options)
    X, labels = torch.tensor(X), torch.tensor(labels)
    costs = []
    for epoch in batches:
        total = 0.0
        for rows in epoch:
            hidden = torch.tanh(X[rows] @ W["W1"] + W["b1"])
            cost = F.cross_entropy(hidden @ W["W2"] + W["b2"], labels[rows])
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            total += cost.item() * len(rows)
        costs.append(total / N)
    return costs, {k: w.detach().numpy() for k, w in W.items()}


def documented_order(epochs, batch_size):
    """The rows of each batch of each epoch: the permutation at the address (seed 5, SHUFFLE, epoch)."""
    for epoch in range(1, epochs + 1):
        order = permutation(5, Stream.SHUFFLE, epoch, N)
        yield [order[i : i + batch_size] for i in range(0, N, batch_size)]


@pytest.mark.parametrize(
    ("rule", "optimizer", "options"),
    [
        (lw.SGD(0.5), torch.optim.SGD, {"lr": 0.5}),
        (lw.Momentum(0.1, 0.9), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (lw.Momentum(0.2, 0.5), torch.optim.SGD, {"lr": 0.2, "momentum": 0.5}),
        (lw.Adam(0.02), torch.optim.Adam, {"lr": 0.02}),
        (lw.Adam(0.05, 0.5, 0.9, 1e-2), torch.optim.Adam, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-2}),
        (lw.Adam(0.02, 0.0, 0.99, 0.1), torch.optim.Adam, {"lr": 0.02, "betas": (0.0, 0.99), "eps": 0.1}),
    ],
)
@pytest.mark.parametrize(("batch_size", "epochs"), [(None, 100), (16, 25)], ids=["full batch", "minibatch"])
def test_a_hundred_steps(rule, optimizer, options, batch_size, epochs):
    X, labels = data()
    net = lw.Network([4, 6, 3], hidden="tanh", output="softmax")
    start = net.initialise(1)
    batches = documented_order(epochs, batch_size) if batch_size else [[np.arange(N)]] * epochs
    costs, weights = torch_fit(optimizer, start, X, labels, batches, **options)
    fit = lw.train(net, X, labels, params=start, optimizer=rule, batch_size=batch_size, epochs=epochs, seed=5)
    assert costs[-1] < costs[0] / 2
    # 1e-10: rounding differs in the last bit of each step, and this descent does not amplify it.
    np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-10)
    for name, w in weights.items():
        np.testing.assert_allclose(fit.params[name], w, rtol=1e-9, atol=1e-10)
