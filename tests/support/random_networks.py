"""Random small networks, and the textbook formulas of their cost, for the tests that compare gradients.

The formulas are written from their definitions, in plain NumPy, and share no code with the library. They hold
for complex numbers too (comparisons look at the real part), so a step of 1e-30 i in one entry gives the
derivative by that entry exactly: the difference quotient of the imaginary part has no cancellation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

import layerwise as lw


def magnitude(z):
    return np.where(z.real < 0, -z, z)


def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "log_sigmoid": lambda z: -np.log(1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky_relu": lambda z, alpha: np.where(z.real > 0, z, alpha * z),
    "elu": lambda z, alpha: np.where(z.real > 0, z, alpha * (np.exp(z) - 1)),
    "selu": lambda z: 1.0507009873554805 * np.where(z.real > 0, z, 1.6732632423543772 * (np.exp(z) - 1)),
    "gelu": lambda z: z * special.ndtr(z),
    "gelu_tanh": lambda z: z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "mish": lambda z: z * np.tanh(np.log(1 + np.exp(z))),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "softsign": lambda z: z / (1 + magnitude(z)),
    "hardtanh": lambda z: np.where(magnitude(z).real > 1, np.sign(z.real), z),
    "softmax": softmax,
    "log_softmax": lambda z: z - np.log(np.exp(z).sum(axis=-1, keepdims=True)),
    "exp": np.exp,
    "sin": np.sin,
    "cos": np.cos,
    "square": lambda z: z * z,
}

LOSSES = {
    "squared_error": lambda y, t: (y - t) ** 2,
    "half_squared_error": lambda y, t: (y - t) ** 2 / 2,
    "absolute_error": lambda y, t: magnitude(y - t),
    "huber": lambda y, t, delta: np.where(
        magnitude(y - t).real <= delta, (y - t) ** 2 / 2, delta * (magnitude(y - t) - delta / 2)
    ),
    "log_cosh": lambda y, t: np.log(np.cosh(y - t)),
    "pinball": lambda y, t, quantile: np.where((t - y).real > 0, quantile * (t - y), (quantile - 1) * (t - y)),
    "poisson": lambda y, t: y - t * np.log(y),
    "binary_cross_entropy": lambda y, t: -t * np.log(y) - (1 - t) * np.log(1 - y),
    "cross_entropy": lambda y, t: -t * np.log(y),
    "hinge": lambda y, t: np.where((t * y).real < 1, 1 - t * y, 0),
}

OUTPUTS = {
    "poisson": ["exp", "softplus"],
    "binary_cross_entropy": ["sigmoid"],
    "cross_entropy": ["softmax"],
    "hinge": ["identity", "tanh", "hardtanh", "softsign"],
}
"""The outputs that a loss is for; the others take every activation but these two:"""
COUPLED = ("softmax", "log_softmax")

# Where a formula bends: values of z, and of y - t. There is no derivative to compare at these places.
BENDS = {"relu": (0,), "leaky_relu": (0,), "elu": (0,), "selu": (0,), "softsign": (0,), "hardtanh": (-1, 1)}


@dataclass(frozen=True)
class Case:
    """A network with weights and data.

    Parameters
    ----------
    net : Network
    params : dict of str to (…) float64
    X : (N, n_0) float64
    Y : (N, n_L) float64, or (N,) int64 labels
    T : (N, n_L) float64
        Y as rows.
    weights : (N,) float64, or None
    """

    net: lw.Network
    params: dict[str, np.ndarray]
    X: np.ndarray
    Y: np.ndarray
    T: np.ndarray
    weights: np.ndarray | None


def forward(net, params, X, training=False):
    """Z^1 … Z^L and A^L; in training with the statistics of the rows."""
    A, Z = X, []
    for number, layer in enumerate(net.layers, start=1):
        own = {k.replace(str(number), "", 1): v for k, v in params.items() if number_of(k) == number}
        if isinstance(layer, lw.Scale):
            A = A * own["s"]
            Z.append(A)
        elif isinstance(layer, lw.Embedding):
            coded = dict(layer.columns)
            others = A[:, [j for j in range(A.shape[1]) if j not in coded]]
            A = np.hstack([others, *(own[f"E_{j}"][A[:, j].astype(int)] for j in coded)])
            Z.append(A)
        else:
            Z.append(pre_activation(layer, own, A, training))
            f = ACTIVATIONS[layer.activation.name](Z[-1], **layer.activation.options)
            A = f + A if layer.residual else f
    return Z, A


def number_of(name):
    """The layer of a parameter: 12 of W12, 1 of E1_3."""
    return int("".join(c for c in name.partition("_")[0] if c.isdigit()))


def pre_activation(layer, own, A, training):
    n_in = A.shape[1]
    Z = A @ own["W"] / (math.sqrt(n_in) if layer.parametrisation == "ntk" else 1) + own.get("b", 0)
    if layer.normalisation is None:
        return Z
    if layer.normalisation == "batch" and not training:
        centre, variance = own["mean"], own["variance"]
    else:
        axis = 0 if layer.normalisation == "batch" else 1
        centre = Z.mean(axis=axis, keepdims=True)
        variance = ((Z - centre) ** 2).mean(axis=axis, keepdims=True)
    return (Z - centre) / np.sqrt(variance + 1e-5) * own["gamma"] + own["beta"]


def cost(case, params, training=False):
    """C = Σ w L / Σ w; in training with the penalties."""
    _, A = forward(case.net, params, case.X, training)
    options = case.net.loss.options
    smoothing = options.pop("label_smoothing", 0)
    T = (1 - smoothing) * case.T + smoothing / case.T.shape[1]
    L = LOSSES[case.net.loss.name](A, T, **options).sum(axis=1)
    w = np.ones(len(L)) if case.weights is None else case.weights
    penalty = 0
    for number, layer in enumerate(case.net.layers, start=1):
        if training and isinstance(layer, lw.Dense):
            W = params[f"W{number}"]
            penalty = penalty + layer.l1 * magnitude(W).sum() + layer.l2 / 2 * (W * W).sum()
    return (w * L).sum() / w.sum() + penalty


def complex_step(case, training=False, names=None):
    """The gradient by every parameter, one entry at a time."""
    gradients = {}
    for name in names or case.params:
        W = case.params[name]
        gradients[name] = np.empty(W.shape)
        for at in np.ndindex(W.shape):
            moved = W.astype(complex)
            moved[at] += 1e-30j
            gradients[name][at] = cost(case, {**case.params, name: moved}, training).imag / 1e-30
    return gradients


def random_case(seed):
    """The network number ``seed``: 1 to 5 layers, any activations, any loss, weighted or not."""
    rng = np.random.default_rng(seed)
    while True:
        case = _drawn(rng)
        if _comparable(case):
            return case


def _drawn(rng):
    loss = str(rng.choice(list(LOSSES)))
    depth = rng.integers(1, 6)
    widths = rng.integers(1, 7, size=depth + 1).tolist()
    hidden = rng.choice(list(ACTIVATIONS), size=depth - 1).tolist()
    output = str(rng.choice(OUTPUTS.get(loss) or [f for f in ACTIVATIONS if f not in COUPLED]))
    if output in COUPLED:
        widths[-1] = max(widths[-1], 2)
    layers = [
        lw.Dense(width, _with_options(rng, lw.Activation, f), bias=bool(rng.random() < 0.8))
        for width, f in zip(widths[1:], [*hidden, output], strict=True)
    ]
    net = lw.Network([lw.Input(widths[0]), *layers], loss=_with_options(rng, lw.Loss, loss))
    params = {
        name: rng.normal(size=shape) / math.sqrt(shape[0]) if name[0] == "W" else rng.normal(size=shape) / 2
        for name, shape in net.parameter_shapes.items()
    }
    n = int(rng.integers(1, 8))
    Y, T = _targets(rng, loss, n, widths[-1])
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], size=n) + rng.random(n) if rng.random() < 0.5 else None
    return Case(net, params, rng.normal(size=(n, widths[0])), Y, T, weights)


SMOOTH = ("identity", "sigmoid", "tanh", "elu", "silu", "softplus", "gelu_tanh", "mish", "relu", "softmax")


def random_layered_case(seed, random_parts=False):
    """The network number ``seed`` of those that mix all options of layers; the rows are at least 3."""
    rng = np.random.default_rng([seed, 1])
    while True:
        case = _layered(rng, random_parts)
        if _comparable(case) and _comparable(case, training=True):
            return case


def _layered(rng, random_parts):
    n, n_0 = int(rng.integers(3, 9)), int(rng.integers(2, 6))
    X = rng.normal(size=(n, n_0))
    layers = [lw.Input(n_0)]
    if rng.random() < 0.3:
        columns = {int(j): int(rng.integers(1, 5)) for j in rng.permutation(n_0)[: rng.integers(1, n_0 + 1)]}
        for j, codes in columns.items():
            X[:, j] = rng.integers(0, codes, n)
        layers.append(lw.Embedding(columns, width=int(rng.integers(1, 4))))
    width = lw.Network([*layers, lw.Dense(1)]).widths[-2]
    for _ in range(int(rng.integers(0, 4))):
        if rng.random() < 0.2:
            layers.append(lw.Scale())
            continue
        residual = bool(rng.random() < 0.4)
        width = width if residual else int(rng.integers(2, 6))
        layers.append(_dense(rng, width, str(rng.choice(SMOOTH)), residual, random_parts))
    loss = str(rng.choice(["cross_entropy", "half_squared_error", "binary_cross_entropy", "poisson"]))
    output = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}.get(loss, "identity")
    n_L = int(rng.integers(2, 5))
    last = _dense(rng, n_L, output, False, False)
    smoothing = {"label_smoothing": 0.2} if loss == "cross_entropy" and rng.random() < 0.5 else {}
    net = lw.Network([*layers, last], loss=lw.Loss(loss, **smoothing))
    params = {}
    for name, shape in net.parameter_shapes.items():
        params[name] = rng.normal(size=shape) / (2 if len(shape) == 1 else 1)
        if name[0] in "gvs":  # a variance is positive, factors are about 1
            params[name] = rng.uniform(0.5, 1.5, size=shape)
    Y, T = _targets(rng, loss, n, n_L)
    weights = rng.uniform(0.5, 2, size=n) if rng.random() < 0.3 else None
    return Case(net, params, X, Y, T, weights)


def _dense(rng, width, activation, residual, random_parts):
    norms = [None, "batch"] if width == 1 else [None, "batch", "layer"]
    normalisation = norms[int(rng.integers(len(norms)))]
    options = {"dropout": 0.3 * (rng.random() < 0.5), "noise": 0.2 * (rng.random() < 0.3)} if random_parts else {}
    return lw.Dense(
        width,
        "tanh" if activation == "softmax" and width == 1 else activation,
        bias=bool(rng.random() < 0.5),
        normalisation=normalisation,
        residual=residual,
        l1=0.01 * (rng.random() < 0.3),
        l2=0.1 * (rng.random() < 0.3),
        max_norm=1.0 if rng.random() < 0.3 else None,
        parametrisation="ntk" if rng.random() < 0.3 else "standard",
        **options,
    )


def _with_options(rng, kind, name):
    low, high = {"leaky_relu": (0.01, 0.5), "elu": (0.3, 2), "huber": (0.2, 2), "pinball": (0.05, 0.95)}.get(
        name, (0, 0)
    )
    option = {"leaky_relu": "alpha", "elu": "alpha", "huber": "delta", "pinball": "quantile"}.get(name)
    return kind(name, **({option: rng.uniform(low, high)} if option else {}))


def _targets(rng, loss, n, width):
    if loss == "cross_entropy":
        labels = rng.integers(0, width, size=n)
        one_hot = np.eye(width)[labels]
        form = rng.integers(3)
        if form == 0:
            return labels, one_hot
        T = one_hot if form == 1 else rng.dirichlet(np.ones(width), size=n)
    elif loss == "binary_cross_entropy":
        T = rng.random((n, width)) if rng.random() < 0.5 else rng.integers(0, 2, (n, width)).astype(float)
    elif loss == "poisson":
        T = rng.poisson(2.0, (n, width)).astype(float)
    elif loss == "hinge":
        T = rng.choice([-1.0, 1.0], size=(n, width))
    else:
        T = 1.5 * rng.normal(size=(n, width))
    return T, T


def _comparable(case, training=False):
    """Clear of every bend, and of sizes at which the plain formulas above lose digits."""
    with np.errstate(all="ignore"):
        Z, A = forward(case.net, case.params, case.X, training)
    if not all(np.abs(z).max() <= 8 for z in Z):  # 1 - sigmoid(8) keeps 12 digits; NaN is refused too
        return False
    bent = [
        np.abs(z - at).min()
        for z, layer in zip(Z, case.net.layers, strict=True)
        if isinstance(layer, lw.Dense)
        for at in BENDS.get(layer.activation.name, ())
    ]
    r = np.abs(A - case.T)
    delta = case.net.loss.options.get("delta", 0.0)
    bent += [{"hinge": np.abs(1 - A * case.T), "huber": np.abs(r - delta)}.get(case.net.loss.name, r).min()]
    return min(bent) > 1e-6
