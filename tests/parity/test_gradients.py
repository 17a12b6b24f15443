"""The same networks in torch: equal cost and gradients in float64, for random networks and for each part alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_networks import random_case

import layerwise as lw

ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": F.logsigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "leaky_relu": lambda z, alpha: F.leaky_relu(z, alpha),
    "elu": lambda z, alpha: F.elu(z, alpha),
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "softmax": lambda z: F.softmax(z, dim=-1),
    "log_softmax": lambda z: F.log_softmax(z, dim=-1),
    "exp": torch.exp,
    "sin": torch.sin,
    "cos": torch.cos,
    "square": torch.square,
}


def summed(values):
    return values.sum(dim=1)


# Losses of the last pre-activation z, or of the output y = f(z); one number a sample. torch has no log-cosh, no
# pinball and no plain hinge loss, so these are written with its arithmetic.
OF_Z = {
    ("binary_cross_entropy", "sigmoid"): lambda z, t: summed(
        F.binary_cross_entropy_with_logits(z, t, reduction="none")
    ),
    ("cross_entropy", "softmax"): lambda z, t: F.cross_entropy(z, t, reduction="none"),
    ("poisson", "exp"): lambda z, t: summed(F.poisson_nll_loss(z, t, log_input=True, reduction="none")),
}
OF_Y = {
    "squared_error": lambda y, t: summed(F.mse_loss(y, t, reduction="none")),
    "half_squared_error": lambda y, t: summed(F.mse_loss(y, t, reduction="none")) / 2,
    "absolute_error": lambda y, t: summed(F.l1_loss(y, t, reduction="none")),
    "huber": lambda y, t, delta: summed(F.huber_loss(y, t, reduction="none", delta=delta)),
    "log_cosh": lambda y, t: summed(torch.log(torch.cosh(y - t))),
    "pinball": lambda y, t, quantile: summed(torch.maximum(quantile * (t - y), (quantile - 1) * (t - y))),
    "poisson": lambda y, t: summed(F.poisson_nll_loss(y, t, log_input=False, eps=0.0, reduction="none")),
    "hinge": lambda y, t: summed(torch.clamp(1 - t * y, min=0)),
}


def in_torch(net, params, X, Y, weights=None):
    """Cost and gradients by torch's autograd, in float64."""
    leaves = {k: torch.tensor(W, requires_grad=True) for k, W in params.items()}
    A = torch.tensor(X)
    for number, layer in enumerate(net.layers, start=1):
        Z = A @ leaves[f"W{number}"]
        if layer.bias:
            Z = Z + leaves[f"b{number}"]
        A = ACTIVATIONS[layer.activation.name](Z, **layer.activation.options)
    joined = OF_Z.get((net.loss.name, net.layers[-1].activation.name))
    T = torch.tensor(Y)
    L = joined(Z, T) if joined else OF_Y[net.loss.name](A, T, **net.loss.options)
    w = torch.ones(len(X), dtype=torch.float64) if weights is None else torch.tensor(weights)
    cost = (w * L).sum() / w.sum()
    cost.backward()
    return cost.item(), {k: leaf.grad.numpy() for k, leaf in leaves.items()}


def assert_equal_in_torch(net, params, X, Y, weights=None):
    value, gradients = net.cost_and_gradients(params, X, Y, weights)
    cost, expected = in_torch(net, params, X, Y, weights)
    # 1e-13: rounding of both sides where larger terms cancel, relative to the largest entry (not below 0.01: all
    # gradients are 0 where softmax has one unit).
    assert value == pytest.approx(cost, rel=1e-12, abs=1e-13)
    largest = max(0.01, *(np.abs(g).max() for g in expected.values()))
    for name, g in gradients.items():
        np.testing.assert_allclose(g, expected[name], rtol=1e-10, atol=1e-13 * largest, err_msg=f"{name}, {net!r}")


@pytest.mark.parametrize("seed", range(500))
def test_random_network(seed):
    case = random_case(seed)
    assert_equal_in_torch(case.net, case.params, case.X, case.Y, case.weights)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_each_activation_alone(name):
    # 20 and beyond, where torch's softplus is z itself, is left out; so are the bends.
    z = np.concatenate([np.linspace(-19.9, 19.9, 398), [1e-12, -1e-12, 1e-300, 0.3]]).reshape(-1, 3)
    options = lw.Activation(name).options
    Z = lw.input("Z", z.shape)
    A = getattr(lw, name)(Z, **options)
    g = np.random.default_rng(0).normal(size=z.shape)
    value, slope = lw.evaluate([A, lw.gradient(lw.sum(A * g), Z)], {Z: z})
    leaf = torch.tensor(z, requires_grad=True)
    expected = ACTIVATIONS[name](leaf, **options)
    (expected * torch.tensor(g)).sum().backward()
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-11, atol=1e-15)
    # 1e-13: torch's slopes of mish, gelu and silu lose digits in the left tail, where they are tiny.
    np.testing.assert_allclose(slope, leaf.grad.numpy(), rtol=1e-10, atol=1e-13)


LOSS_CASES = [*((loss, "identity") for loss in OF_Y if loss != "poisson"), ("poisson", "softplus"), *OF_Z]


@pytest.mark.parametrize(("loss", "output"), LOSS_CASES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_each_loss_alone(loss, output, scale):
    rng = np.random.default_rng(1)
    n, width = 50, 4
    Y = {
        "binary_cross_entropy": rng.random((n, width)),
        "cross_entropy": rng.dirichlet(np.ones(width), size=n),
        "poisson": rng.poisson(3.0, (n, width)).astype(float),
        "hinge": rng.choice([-1.0, 1.0], size=(n, width)),
    }.get(loss, rng.normal(size=(n, width)))
    net = lw.Network([3, width], output=output, loss=loss)
    params = {"W1": scale * rng.normal(size=(3, width)), "b1": rng.normal(size=width)}
    assert_equal_in_torch(net, params, rng.normal(size=(n, 3)), Y)


def test_labels_are_torchs_class_indices():
    rng = np.random.default_rng(2)
    net = lw.Network([5, 8, 7], output="softmax")
    X, labels = rng.normal(size=(40, 5)), rng.integers(0, 7, size=40)
    assert_equal_in_torch(net, net.initialise(3), X, labels, rng.random(40))
