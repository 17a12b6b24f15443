"""The workloads that define "fast": data, network, batch and update of each, declared once.

Sizes decide how long a step takes, values do not; so all data but two classical sets are drawn from fixed seeds, with
targets that can be learned, so that weights and activations take the values that a fit gives them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples" / "data"

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Rule:
    """How a step changes the weights.

    Parameters
    ----------
    kind : {"sgd", "momentum", "adam"}
        Momentum: V ← μ V + g, W ← W - ρ V. Adam: PyTorch's formula.
    learning_rate : float
    momentum : float
        μ; with "momentum" only.
    beta1, beta2, epsilon : float
        With "adam" only.
    """

    kind: str
    learning_rate: float
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


@dataclass(frozen=True)
class Workload:
    """One training job.

    Parameters
    ----------
    key, name : str
    data : str
        Name of the data set; a function of `DATA`.
    rows : int
    widths : tuple of int
        n_0 … n_L.
    hidden, output, loss : str
        Activations and loss, by layerwise's names.
    batch : int or None
        None: all rows at once.
    rule : Rule
    orders : int
        Passes over the data, each in its own order, that are laid end to end for the peers; these are a block.
    proof_rows, proof_epochs : int
        What the proof of equal arithmetic runs on, in float64.
    rounds : int
        Of a full run.
    goal, goal_peak : float
        How many times as fast as the best peer layerwise means to be, and at what part of the processor's peak.
    """

    key: str
    name: str
    data: str
    rows: int
    widths: tuple[int, ...]
    batch: int | None
    rule: Rule
    hidden: str = "relu"
    output: str = "softmax"
    loss: str = "cross_entropy"
    orders: int = 1
    proof_rows: int = 0
    proof_epochs: int = 2
    rounds: int = 5
    goal: float = 1.0
    goal_peak: float | None = None

    @property
    def batch_rows(self) -> int:
        """Rows of a full batch."""
        return self.batch or self.rows

    @property
    def steps(self) -> int:
        """Updates in one pass over the data; the last batch holds what is left."""
        return math.ceil(self.rows / self.batch_rows)

    @property
    def n_parameters(self) -> int:
        return sum(i * o + o for i, o in self.layers)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return list(zip(self.widths, self.widths[1:], strict=False))

    @property
    def flops(self) -> int:
        """Of the matrix products of one pass: A·W, Aᵀ·Δ, and Δ·Wᵀ of all layers but the first."""
        per_row = sum(2 * i * o * (2 if layer == 0 else 3) for layer, (i, o) in enumerate(self.layers))
        return per_row * self.rows

    def flops_forward(self, rows: int) -> int:
        """Of the matrix products of a prediction."""
        return rows * sum(2 * i * o for i, o in self.layers)

    @property
    def network(self) -> str:
        return "-".join(map(str, self.widths))

    def for_proof(self) -> Workload:
        """The same job, cut to what float64 does in a moment, in orders that differ from pass to pass."""
        return replace(self, rows=self.proof_rows or self.rows, orders=self.proof_epochs)

    def arrays(self) -> Arrays:
        """X (N, n_0) float64 and the targets: labels (N,) int64, numbers (N,) or rows (N, n_L) float64."""
        return DATA[self.data](self.rows)

    def start(self) -> list[Arrays]:
        """Starting weights of each layer, float64: W (n_in, n_out) of variance 2/(n_in + n_out), and b of 0."""
        rng = np.random.default_rng(1)
        return [(rng.standard_normal((i, o)) * math.sqrt(2 / (i + o)), np.zeros(o)) for i, o in self.layers]


def cost(workload: Workload, layers: list[Arrays], X: np.ndarray, T: np.ndarray) -> float:
    """C of these weights, in float64: the one measure by which all are compared."""
    A = X.astype(np.float64)
    for number, (W, b) in enumerate(layers, start=1):
        Z = A @ W.astype(np.float64) + b
        A = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}[workload.hidden](Z) if number < len(layers) else Z
    if workload.loss == "cross_entropy":
        Z = Z - Z.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(Z)), T]))
    if workload.loss == "binary_cross_entropy":
        Z = Z[:, 0]
        return float(np.mean(np.maximum(Z, 0) - Z * T + np.log1p(np.exp(-np.abs(Z)))))
    return float(np.mean(np.sum((1 / (1 + np.exp(-Z)) - T) ** 2, axis=1)))


# Data sets --------------------------------------------------------------------------------------------


def spiral(rows: int, seed: int = 0) -> Arrays:
    """Three arms, as far from a straight line as 300 points in a plane can be; seed 0 has those of system S4."""
    rng = np.random.default_rng(seed)
    each = rows // 3
    radius = np.linspace(0, 1, each)
    angle = [np.linspace(4 * k, 4 * k + 4, each) + 0.2 * rng.standard_normal(each) for k in range(3)]
    X = np.concatenate([np.c_[radius * np.sin(a), radius * np.cos(a)] for a in angle])
    return X, np.repeat(np.arange(3), each)


def iris(rows: int) -> Arrays:
    """Fisher's flowers, standardised."""
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return ((X - X.mean(axis=0)) / X.std(axis=0))[:rows], y.astype(np.int64)[:rows]


def digits(rows: int) -> Arrays:
    """Images of 8×8 pixels, in [0, 1]: scikit-learn's file, which lies with the examples."""
    table = np.loadtxt(EXAMPLES / "digits.csv.gz", delimiter=",")
    return (table[:, :-1] / 16)[:rows], table[:, -1].astype(np.int64)[:rows]


def images(rows: int) -> Arrays:
    """Of MNIST's shape: 784 numbers in [0, 1); the label is the largest of ten fixed linear functions."""
    rng = np.random.default_rng(2)
    teacher = rng.standard_normal((784, 10))
    X = rng.random((rows, 784), dtype=np.float32).astype(np.float64)
    return X, np.argmax((X - 0.5) @ teacher, axis=1)


def itself(rows: int) -> Arrays:
    """The images as their own targets."""
    X, _ = images(rows)
    return X, X


def table(rows: int) -> Arrays:
    """28 numbers a row, and 0 or 1 by chance, more often 1 where a fixed smooth function is large."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((rows, 28), dtype=np.float32).astype(np.float64)
    teacher = rng.standard_normal((28, 8)) / math.sqrt(28)
    logit = 2 * np.tanh(X @ teacher).sum(axis=1)
    return X, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)


def wide(rows: int) -> Arrays:
    """4096 random numbers a row, and each of 1000 labels about equally often."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((rows, 4096), dtype=np.float32).astype(np.float64)
    return X, rng.permutation(np.arange(rows) % 1000)


DATA: dict[str, Callable[[int], Arrays]] = {f.__name__: f for f in (spiral, iris, digits, images, itself, table, wide)}

WORKLOADS: dict[str, Workload] = {
    w.key: w
    for w in (
        Workload("W1", "spiral", "spiral", 300, (2, 100, 3), None, Rule("sgd", 0.5),
                 orders=500, proof_epochs=50, rounds=15, goal=3),
        Workload("W2", "iris", "iris", 150, (4, 16, 3), 32, Rule("momentum", 0.02), hidden="tanh",
                 orders=200, proof_epochs=10, rounds=15, goal=4),
        Workload("W3", "digits", "digits", 1797, (64, 64, 10), 32, Rule("adam", 1e-3), orders=8, rounds=15, goal=2.5),
        Workload("W4", "MNIST small", "images", 60_000, (784, 128, 10), 128, Rule("momentum", 1e-3),
                 proof_rows=6 * 128 + 96, rounds=15, goal=1.5, goal_peak=0.81),
        Workload("W5", "MNIST wide", "images", 60_000, (784, 1000, 10), 1000, Rule("momentum", 1e-3),
                 proof_rows=3000, rounds=7, goal=1.15, goal_peak=0.92),
        Workload("W6", "table", "table", 500_000, (28, 256, 256, 256, 1), 1024, Rule("adam", 1e-3),
                 output="sigmoid", loss="binary_cross_entropy", proof_rows=4 * 1024 + 288, rounds=3,
                 goal=1.2, goal_peak=0.9),
        Workload("W7", "deep wide", "wide", 2048, (4096, 2048, 2048, 2048, 1000), 512, Rule("sgd", 0.01), orders=4,
                 proof_rows=1000, rounds=5, goal=1.13, goal_peak=0.92),
        Workload("W8", "autoencoder", "itself", 60_000, (784, 256, 64, 256, 784), 256, Rule("adam", 1e-3),
                 output="sigmoid", loss="squared_error", proof_rows=4 * 256 + 96, rounds=5, goal=1.38, goal_peak=0.88),
    )
}  # fmt: skip
