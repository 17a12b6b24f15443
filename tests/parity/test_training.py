"""Every rule beside its peer in torch.optim: a hundred steps of training, and a hundred gradients that are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from update_rules import DECLARED, gradients, run

import layerwise as lw
from layerwise.randomness import Stream, permutation

N = 50


@pytest.fixture(autouse=True)
def numbers_of_torch_in_float64():
    """Also the one of NAdam: the product of its momenta is kept in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 4))
    return X, np.argmax(X @ rng.normal(size=(4, 3)) + 0.3 * rng.normal(size=(N, 3)), axis=1)


def torch_fit(optimizer, params, X, labels, batches, hidden=torch.tanh, **options):
    """Costs by epoch, each the average over the samples at the weights of their step; and the final weights."""
    W = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    optimizer = optimizer(W.values(), **options)
    X, labels = torch.tensor(X), torch.tensor(labels)
    costs = []
    for epoch in batches:
        total = 0.0
        for rows in epoch:
            A = hidden(X[rows] @ W["W1"] + W["b1"])
            cost = F.cross_entropy(A @ W["W2"] + W["b2"], labels[rows])
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


CASES = [
    (lw.SGD(0.5), torch.optim.SGD, {"lr": 0.5}),
    (lw.Momentum(0.1, 0.9), torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (lw.Momentum(0.2, 0.5), torch.optim.SGD, {"lr": 0.2, "momentum": 0.5}),
    (lw.Nesterov(), torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    (lw.Nesterov(0.2, 0.5), torch.optim.SGD, {"lr": 0.2, "momentum": 0.5, "nesterov": True}),
    (lw.Adagrad(), torch.optim.Adagrad, {}),
    (lw.Adagrad(0.1, 0.02, 1e-3), torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.02, "eps": 1e-3}),
    (lw.RMSprop(), torch.optim.RMSprop, {}),
    (lw.RMSprop(0.02, 0.5, 1e-3), torch.optim.RMSprop, {"lr": 0.02, "alpha": 0.5, "eps": 1e-3}),
    (
        lw.RMSprop(0.003, 0.9, 1e-6, momentum=0.7),
        torch.optim.RMSprop,
        {"lr": 0.003, "alpha": 0.9, "eps": 1e-6, "momentum": 0.7},
    ),
    (
        lw.RMSprop(0.001, 0.9, 1e-3, centered=True),
        torch.optim.RMSprop,
        {"lr": 0.001, "alpha": 0.9, "eps": 1e-3, "centered": True},
    ),
    (
        lw.RMSprop(0.001, 0.8, 1e-2, momentum=0.5, centered=True),
        torch.optim.RMSprop,
        {"lr": 0.001, "alpha": 0.8, "eps": 1e-2, "momentum": 0.5, "centered": True},
    ),
    (lw.Adadelta(), torch.optim.Adadelta, {}),
    (lw.Adadelta(0.5, 0.6, 1e-3), torch.optim.Adadelta, {"lr": 0.5, "rho": 0.6, "eps": 1e-3}),
    (lw.Adam(), torch.optim.Adam, {}),
    (lw.Adam(0.02), torch.optim.Adam, {"lr": 0.02}),
    (lw.Adam(0.05, 0.5, 0.9, 1e-2), torch.optim.Adam, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-2}),
    (lw.Adam(0.02, 0.0, 0.99, 0.1), torch.optim.Adam, {"lr": 0.02, "betas": (0.0, 0.99), "eps": 0.1}),
    (lw.AMSGrad(), torch.optim.Adam, {"amsgrad": True}),
    (
        lw.AMSGrad(0.05, 0.6, 0.5, 1e-4),
        torch.optim.Adam,
        {"lr": 0.05, "betas": (0.6, 0.5), "eps": 1e-4, "amsgrad": True},
    ),
    (lw.AdamW(), torch.optim.AdamW, {}),
    (
        lw.AdamW(0.02, 0.7, 0.95, 1e-3, 0.5),
        torch.optim.AdamW,
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.5},
    ),
    (lw.NAdam(), torch.optim.NAdam, {}),
    (
        lw.NAdam(0.01, 0.6, 0.9, 1e-3, 0.3),
        torch.optim.NAdam,
        {"lr": 0.01, "betas": (0.6, 0.9), "eps": 1e-3, "momentum_decay": 0.3},
    ),
    (lw.NAdam(0.01, 0.0, 0.5), torch.optim.NAdam, {"lr": 0.01, "betas": (0.0, 0.5)}),
    (lw.Rprop(), torch.optim.Rprop, {}),
    (lw.Rprop(0.1, 0.3, 1.7, 1e-3, 0.2), torch.optim.Rprop, {"lr": 0.1, "etas": (0.3, 1.7), "step_sizes": (1e-3, 0.2)}),
    (lw.Rprop(0.5, 0.5, 1.2, 1e-3, 0.1), torch.optim.Rprop, {"lr": 0.5, "step_sizes": (1e-3, 0.1)}),
]
"""Each rule by its defaults and otherwise, and what it is in torch."""


def name_of(part):
    return repr(part) if isinstance(part, lw.UpdateRule) else ""


def test_every_rule_that_torch_has_is_compared():
    assert {type(rule) for rule, *_ in CASES} == set(DECLARED) - {lw.Lion}


def test_the_defaults_are_those_of_torch():
    # torch's SGD has a rate of 0.001 and no momentum, and so no default for rules with momentum.
    assert {type(rule) for rule, _, options in CASES if set(options) <= {"amsgrad"}} == set(DECLARED) - {
        lw.SGD,
        lw.Momentum,
        lw.Nesterov,
        lw.Lion,
    }
    assert all(rule == type(rule)() for rule, _, options in CASES if set(options) <= {"amsgrad"})


@pytest.mark.parametrize(("rule", "optimizer", "options"), CASES, ids=name_of)
@pytest.mark.parametrize(("batch_size", "epochs"), [(None, 100), (16, 25)], ids=["full batch", "minibatch"])
def test_a_hundred_steps(rule, optimizer, options, batch_size, epochs):
    if rule.full_batch and batch_size:
        pytest.skip("takes the whole data set at once")
    X, labels = data()
    net = lw.Network([4, 6, 3], hidden="tanh", output="softmax")
    start = net.initialise(1)
    batches = documented_order(epochs, batch_size) if batch_size else [[np.arange(N)]] * epochs
    costs, weights = torch_fit(optimizer, start, X, labels, batches, **options)
    fit = lw.train(net, X, labels, params=start, optimizer=rule, batch_size=batch_size, epochs=epochs, seed=5)
    assert costs[-1] < costs[0] * 0.95
    # 1e-10: rounding differs in the last bit of each step, and this descent does not amplify it.
    np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-10, atol=1e-12)
    for name, w in weights.items():
        np.testing.assert_allclose(fit.params[name], w, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("rule", "optimizer", "options"), CASES, ids=name_of)
def test_weights_without_a_gradient(rule, optimizer, options):
    """A column of X is 0 in all rows and one in most; one unit is dead and one wakes now and then."""
    X, labels = data()
    X[:, 0] = 0.0
    X[np.arange(N) % 8 > 0, 1] = 0.0
    net = lw.Network([4, 6, 3], hidden="relu", output="softmax")
    start = net.initialise(1)
    start["b1"] += 0.1
    start["b1"][:2] = -50.0, -1.5
    size, epochs = (None, 100) if rule.full_batch else (10, 20)
    batches = documented_order(epochs, size) if size else [[np.arange(N)]] * epochs
    costs, weights = torch_fit(optimizer, start, X, labels, batches, torch.relu, **options)
    fit = lw.train(net, X, labels, params=start, optimizer=rule, batch_size=size, epochs=epochs, seed=5)
    np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-9, atol=1e-12)
    for name, w in weights.items():
        np.testing.assert_allclose(fit.params[name], w, rtol=1e-9, atol=1e-9)
    if not getattr(rule, "weight_decay", 0.0):
        np.testing.assert_array_equal(fit.params["W1"][0], start["W1"][0])
        np.testing.assert_array_equal(fit.params["W1"][:, 0], start["W1"][:, 0])


@pytest.mark.parametrize(("rule", "optimizer", "options"), CASES, ids=name_of)
def test_a_hundred_gradients(rule, optimizer, options):
    """Of many sizes, with zeros for ever and now and then, and in the end one NaN."""
    G = gradients(100)
    G[90, 2, 3] = np.nan
    W = np.random.default_rng(1).normal(size=G.shape[1:])
    w = torch.tensor(W, requires_grad=True)
    descent, expected = optimizer([w], **options), []
    for g in G:
        w.grad = torch.tensor(g)
        descent.step()
        expected.append(w.detach().numpy().copy())
    path, _ = run(rule, W, G)
    if isinstance(rule, lw.Rprop):  # torch takes the sign of NaN for 0, and goes on
        for W in expected[90:]:
            W[2, 3] = np.nan
    np.testing.assert_allclose(path, expected, rtol=1e-9, atol=1e-10)
