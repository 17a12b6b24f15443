"""Layers with options beside their peers in torch.nn: outputs, gradients, and a hundred steps of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import layerwise as lw
from layerwise.randomness import Stream, permutation

N, BATCH = 60, 16


@pytest.fixture(autouse=True)
def numbers_of_torch_in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def data(seed=0, inputs=5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, inputs)) * 2 + 1
    return X, np.argmax(X[:, :3] + rng.normal(size=(N, 3)), axis=1)


class Peer(torch.nn.Module):
    """The network in torch.nn; its parameters have our names."""

    def __init__(self, net, params):
        super().__init__()
        self.net = net
        self.weights = torch.nn.ParameterDict()
        self.norms = torch.nn.ModuleDict()
        for number, (n_in, layer) in enumerate(zip(net.widths, net.layers, strict=False), start=1):
            for name in layer.parameters(n_in):
                key = f"{name}{number}"
                if name in ("W", "b"):
                    self.weights[key] = torch.nn.Parameter(torch.tensor(params[key]))
            if layer.normalisation:
                kind = torch.nn.BatchNorm1d if layer.normalisation == "batch" else torch.nn.LayerNorm
                self.norms[str(number)] = norm = kind(layer.width)
                with torch.no_grad():
                    norm.weight.copy_(torch.tensor(params[f"gamma{number}"]))
                    norm.bias.copy_(torch.tensor(params[f"beta{number}"]))
                    if layer.normalisation == "batch":
                        norm.running_mean.copy_(torch.tensor(params[f"mean{number}"]))
                        norm.running_var.copy_(torch.tensor(params[f"variance{number}"]))

    def forward(self, X):
        A = X
        for number, layer in enumerate(self.net.layers, start=1):
            W = self.weights[f"W{number}"]
            Z = A @ W / (W.shape[0] ** 0.5 if layer.parametrisation == "ntk" else 1.0)
            Z = Z + self.weights[f"b{number}"] if layer.bias else Z
            Z = self.norms[str(number)](Z) if layer.normalisation else Z
            f = {"identity": lambda z: z, "softmax": lambda z: z, "tanh": torch.tanh, "relu": torch.relu}
            f_of_Z = f[layer.activation.name](Z)
            A = f_of_Z + A if layer.residual else f_of_Z
        return A

    def penalty(self):
        total = 0.0
        for number, layer in enumerate(self.net.layers, start=1):
            W = self.weights[f"W{number}"]
            total = total + layer.l1 * W.abs().sum() + 0.5 * layer.l2 * W.square().sum()
        return total

    def named(self, of=lambda t: t.detach().numpy()):
        """What ``of`` gives for every parameter and state, by our names."""
        found = {name: of(w) for name, w in self.weights.items()}
        for number, norm in self.norms.items():
            found |= {f"gamma{number}": of(norm.weight), f"beta{number}": of(norm.bias)}
            if isinstance(norm, torch.nn.BatchNorm1d):
                found |= {f"mean{number}": of(norm.running_mean), f"variance{number}": of(norm.running_var)}
        return found


def network(**options):
    last = {k: v for k, v in options.items() if k in ("l1", "l2", "parametrisation")}
    loss = lw.Loss("cross_entropy", label_smoothing=options.pop("label_smoothing", 0.0))
    layers = [
        lw.Dense(8, "tanh", **{k: v for k, v in options.items() if k != "residual"}),
        lw.Dense(8, "relu", **options),
        lw.Dense(3, "softmax", **last),
    ]
    return lw.Network([lw.Input(5), *layers], loss=loss)


OPTIONS = [
    {"normalisation": "batch"},
    {"normalisation": "batch", "bias": True},
    {"normalisation": "layer"},
    {"residual": True},
    {"residual": True, "normalisation": "batch"},
    {"l1": 0.003, "l2": 0.02},
    {"label_smoothing": 0.1},
    {"parametrisation": "ntk"},
    {"normalisation": "layer", "residual": True, "l2": 0.01, "label_smoothing": 0.3, "parametrisation": "ntk"},
]
options = pytest.mark.parametrize("options", OPTIONS, ids=str)


def started(net, seed=1):
    """Not where everything is 0 or 1."""
    rng = np.random.default_rng(seed)
    params = net.initialise(seed)
    return {k: v + 0.1 * rng.random(v.shape) if k[0] in "bgmv" else v for k, v in params.items()}


def cost_of(peer, X, labels):
    smoothing = peer.net.loss.options.get("label_smoothing", 0.0)
    return F.cross_entropy(peer(X), labels, label_smoothing=smoothing)


@options
@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("training", [True, False])
def test_cost_and_gradients(options, engine, training):
    net, (X, labels) = network(**dict(options)), data()
    params = started(net)
    peer = Peer(net, params).train(training)
    cost = cost_of(peer, torch.tensor(X), torch.tensor(labels)) + (peer.penalty() if training else 0.0)
    cost.backward()
    found, gradients = net.cost_and_gradients(params, X, labels, training=training, engine=engine)
    np.testing.assert_allclose(found, cost.item(), rtol=1e-12)
    expected = peer.named(lambda t: None if t.grad is None else t.grad.numpy())
    assert list(gradients) == [name for name in net.parameter_shapes if expected[name] is not None]
    for name, g in gradients.items():
        np.testing.assert_allclose(g, expected[name], rtol=1e-9, atol=1e-12)


@options
def test_predictions(options):
    net, (X, _) = network(**dict(options)), data()
    params = started(net)
    with torch.no_grad():
        expected = torch.softmax(Peer(net, params).eval()(torch.tensor(X)), 1).numpy()
    for engine in ("native", "numpy"):
        np.testing.assert_allclose(net.forward(params, X, engine=engine), expected, rtol=1e-10)
        np.testing.assert_allclose(lw.Model(net, params, engine=engine).outputs(X), expected, rtol=1e-9)


RULES = [
    (lw.SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    (lw.Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
]


@options
@pytest.mark.parametrize(("rule", "optimizer"), RULES, ids=["SGD", "Adam"])
def test_a_hundred_steps(options, rule, optimizer):
    net, (X, labels) = network(**dict(options)), data()
    params = started(net)
    peer = Peer(net, params).train()
    torch_rule = optimizer(peer.parameters())
    costs = []
    for epoch in range(1, 26):
        order, total = permutation(5, Stream.SHUFFLE, epoch, N), 0.0
        for rows in (order[i : i + BATCH] for i in range(0, N, BATCH)):
            cost = cost_of(peer, torch.tensor(X[rows]), torch.tensor(labels[rows])) + peer.penalty()
            torch_rule.zero_grad()
            cost.backward()
            torch_rule.step()
            total += cost.item() * len(rows)
        costs.append(total / N)
    fit = lw.train(net, X, labels, params=params, optimizer=rule, batch_size=BATCH, epochs=25, seed=5)
    np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-9)
    for name, w in peer.named().items():
        # Rounding is amplified where an element's gradient is near 0 beside Adam's division by its size.
        np.testing.assert_allclose(fit.params[name], w, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        expected = torch.softmax(peer.eval()(torch.tensor(X)), 1).numpy()
    np.testing.assert_allclose(net.forward(fit.params, X), expected, rtol=1e-9)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_embedding_and_scale(engine):
    """The other columns, then the vectors; 100 steps, in which some codes are absent from a batch."""
    X, labels = data()
    rng = np.random.default_rng(2)
    X[:, 1], X[:, 4] = rng.integers(0, 6, N), rng.integers(0, 9, N)
    net = lw.Network([lw.Input(5), lw.Embedding({4: 9, 1: 6}, width=3), lw.Scale(), lw.Dense(3, "softmax")])
    params = net.initialise(3)
    tables = {j: torch.nn.Embedding.from_pretrained(torch.tensor(params[f"E1_{j}"]), freeze=False) for j in (1, 4)}
    s, W, b = (torch.tensor(params[k], requires_grad=True) for k in ("s2", "W3", "b3"))

    def outputs(X):
        vectors = [table(torch.tensor(X[:, j].astype(int))) for j, table in tables.items()]
        return torch.cat([torch.tensor(X[:, [0, 2, 3]]), *vectors], dim=1) * s @ W + b

    optimizer = torch.optim.Adam([*(t.weight for t in tables.values()), s, W, b], lr=0.02)
    for epoch in range(1, 26):
        order = permutation(5, Stream.SHUFFLE, epoch, N)
        for rows in (order[i : i + BATCH] for i in range(0, N, BATCH)):
            optimizer.zero_grad()
            F.cross_entropy(outputs(X[rows]), torch.tensor(labels[rows])).backward()
            optimizer.step()
    fit = lw.train(
        net, X, labels, params=params, optimizer=lw.Adam(0.02), batch_size=BATCH, epochs=25, seed=5, engine=engine
    )
    expected = {"E1_1": tables[1].weight, "E1_4": tables[4].weight, "s2": s, "W3": W, "b3": b}
    for name, w in expected.items():
        np.testing.assert_allclose(fit.params[name], w.detach().numpy(), rtol=1e-9, atol=1e-11)
    with torch.no_grad():
        np.testing.assert_allclose(lw.Model(net, fit.params).outputs(X), torch.softmax(outputs(X), 1), rtol=1e-9)


def test_max_norm_is_renorm():
    net, (X, labels) = lw.Network([5, 8, 3], output="softmax", max_norm=0.8), data()
    params = net.initialise(1)
    W = {k: torch.tensor(v, requires_grad=True) for k, v in params.items()}
    optimizer = torch.optim.SGD(W.values(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        A = torch.relu(torch.tensor(X) @ W["W1"] + W["b1"])
        F.cross_entropy(A @ W["W2"] + W["b2"], torch.tensor(labels)).backward()
        optimizer.step()
        with torch.no_grad():
            W["W1"].copy_(torch.renorm(W["W1"], 2, 1, 0.8))
    fit = lw.train(net, X, labels, params=params, optimizer=lw.SGD(0.5), batch_size=None, epochs=100)
    for name, w in W.items():
        # renorm divides by the norm plus 1e-7, so its columns are 1e-7 shorter.
        np.testing.assert_allclose(fit.params[name], w.detach().numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.05, 0.4])
def test_label_smoothing_of_distributions(smoothing):
    X, _ = data()
    T = np.random.default_rng(1).dirichlet(np.ones(3), size=N)
    net = lw.Network([5, 3], output="softmax", loss=lw.Loss("cross_entropy", label_smoothing=smoothing))
    params = net.initialise(0)
    Z = torch.tensor(X @ params["W1"] + params["b1"])
    expected = F.cross_entropy(Z, torch.tensor(T), label_smoothing=smoothing).item()
    assert net.cost_and_gradients(params, X, T)[0] == pytest.approx(expected, rel=1e-13)
