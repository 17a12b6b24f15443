"""Groups of parameters and limits of gradients beside torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import layerwise as lw

N = 40


def torch_fit(params, X, labels, epochs, optimizer, limit):
    W = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    descent = optimizer(W)
    X, labels = torch.tensor(X), torch.tensor(labels)
    for _ in range(epochs):
        cost = F.cross_entropy(torch.tanh(X @ W["W1"] + W["b1"]) @ W["W2"] + W["b2"], labels)
        descent.zero_grad()
        cost.backward()
        limit(list(W.values()))
        descent.step()
    return {k: w.detach().numpy() for k, w in W.items()}


def adam(W):
    return torch.optim.Adam(W.values(), lr=0.02)


def adamw(W):
    biases = [W["b1"], W["b2"]]
    return torch.optim.AdamW(
        [
            {"params": [W["W1"]]},
            {"params": [W["W2"]], "lr": 0.002},
            {"params": biases, "lr": 0.01, "weight_decay": 0.0},
        ],
        lr=0.02,
        weight_decay=0.3,
    )


CASES = {
    "value": (lw.Adam(0.02), adam, {"clip_value": 0.003}, lambda W: torch.nn.utils.clip_grad_value_(W, 0.003)),
    "norm": (lw.Adam(0.02), adam, {"clip_norm": 0.05}, lambda W: torch.nn.utils.clip_grad_norm_(W, 0.05)),
    "norm that is never reached": (lw.Adam(0.02), adam, {"clip_norm": 50.0}, lambda W: None),
    "groups": (
        lw.AdamW(0.02, weight_decay=0.3),
        adamw,
        {"groups": {"b?": lw.Group(0.5, weight_decay=0.0), "W2": lw.Group(0.1)}},
        lambda W: None,
    ),
}


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("case", CASES)
def test_a_hundred_steps(case, engine):
    rule, optimizer, options, limit = CASES[case]
    rng = np.random.default_rng(0)
    X = 3 * rng.normal(size=(N, 4))
    labels = np.argmax(X @ rng.normal(size=(4, 3)), axis=1)
    net = lw.Network([4, 6, 3], hidden="tanh", output="softmax")
    start = net.initialise(1)
    expected = torch_fit(start, X, labels, 100, optimizer, limit)
    fit = lw.train(net, X, labels, params=start, optimizer=rule, batch_size=None, epochs=100, engine=engine, **options)
    plain = lw.train(net, X, labels, params=start, optimizer=rule, batch_size=None, epochs=100)
    for name, w in expected.items():
        np.testing.assert_allclose(fit.params[name], w, rtol=1e-9, atol=1e-10)
    changed = any(not np.allclose(fit.params[k], plain.params[k], rtol=1e-3) for k in start)
    assert changed == ("never" not in case)
