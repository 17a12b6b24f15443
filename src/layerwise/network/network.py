"""`Network`: a description of layers and loss; its graph, its starting weights, its cost and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.arrays import precision_name
from layerwise.engine.choice import Computes, checked_engine, runner
from layerwise.errors import DataError, NetworkError, SymmetryWarning
from layerwise.graph.differentiate import gradient
from layerwise.graph.node import Node
from layerwise.network.build import CostGraph, ForwardGraph, cost_graph, forward_graph
from layerwise.network.data import check_inputs, check_parameters, check_targets, in_order, weighted_rows
from layerwise.network.initialise import RULES
from layerwise.network.layers import Dense, Input
from layerwise.network.spec import Activation, Loss, as_named
from layerwise.ops.losses import LOSSES
from layerwise.types import Array

_USUAL_LOSS = {row.usual_for: name for name, row in LOSSES.items() if row.usual_for}


class Network:
    """A dense feed-forward network: Z^l = A^(l-1) W^l + b^l, A^l = f_l(Z^l), with a loss.

    Immutable: it holds no weights. Samples are rows.

    Parameters
    ----------
    layers : sequence
        Widths n_0 … n_L, such as ``[784, 1000, 10]``; or ``[Input(784), Dense(1000, "relu"), ...]``.
    hidden, output : str or Activation, optional
        Activation of the hidden layers ("relu") and of the last ("identity"); with widths only.
    loss : str or Loss, optional
        By default what fits the output: cross-entropy for softmax, binary cross-entropy for
        sigmoid, Poisson for exp, squared error for all others.

    Attributes
    ----------
    layers : tuple of Dense
    widths : tuple of int
        n_0 … n_L.
    loss : Loss

    Raises
    ------
    NetworkError, UnknownName
        Widths below 1, fewer than one layer, an unknown activation, a loss that does not fit the
        output (the message says which does).

    Examples
    --------
    >>> import layerwise as lw
    >>> net = lw.Network([2, 4, 3], hidden="relu", output="softmax")
    >>> net.parameter_shapes
    {'W1': (2, 4), 'b1': (4,), 'W2': (4, 3), 'b2': (3,)}
    """

    layers: tuple[Dense, ...]
    widths: tuple[int, ...]
    loss: Loss
    _ready: dict[tuple[Any, ...], tuple[Any, Computes]]

    def __init__(
        self,
        layers: Sequence[int] | Sequence[Input | Dense],
        *,
        hidden: str | Activation | None = None,
        output: str | Activation | None = None,
        loss: str | Loss | None = None,
    ):
        widths, dense = _described(layers, hidden, output)
        last = dense[-1].activation.name
        named = as_named(Loss, _USUAL_LOSS.get(last, "squared_error") if loss is None else loss)
        _check_fit(last, named.name, widths[-1])
        # _ready: graphs and what runs them, kept for the next call
        self.__dict__.update(widths=widths, layers=dense, loss=named, _ready={})

    def __setattr__(self, name: str, value: object) -> None:
        raise NetworkError(f"{self!r} cannot be changed. Make a new one.")

    def __repr__(self) -> str:
        parts = ", ".join(map(repr, self.layers))
        return f"Network([Input({self.widths[0]}), {parts}], loss={self.loss.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.widths, self.layers, self.loss))

    def __getstate__(self) -> dict[str, Any]:
        return self.to_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(Network.from_dict(state).__dict__)

    def to_dict(self) -> dict[str, Any]:
        """The description as plain data, from which `from_dict` makes an equal network."""
        return {
            "n_inputs": self.widths[0],
            "layers": [layer.to_dict() for layer in self.layers],
            "loss": self.loss.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Network:
        """The network that `to_dict` described.

        Raises
        ------
        NetworkError
            Keys are missing or unknown, or what they hold makes no network.
        """
        try:
            if set(data) != {"n_inputs", "layers", "loss"}:
                raise NetworkError(f"A network is described by n_inputs, layers and loss; got {sorted(data)}.")
            return cls([Input(data["n_inputs"]), *(Dense(**layer) for layer in data["layers"])], loss=data["loss"])
        except (TypeError, KeyError, AttributeError) as error:
            raise NetworkError(f"This does not describe a network: {error}.") from None

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters: W1 (n_0, n_1), b1 (n_1,), W2 and so on."""
        return {
            f"{name}{number}": shape
            for number, n_in, layer in self._numbered()
            for name, shape in layer.parameters(n_in).items()
        }

    def _numbered(self) -> Iterator[tuple[int, int, Dense]]:
        """Number, inputs and layer, for all layers."""
        for number, layer in enumerate(self.layers, start=1):
            yield number, self.widths[number - 1], layer

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases in all."""
        return sum(int(np.prod(s)) for s in self.parameter_shapes.values())

    def initialise(self, seed: int = 0, dtype: str = "float64") -> dict[str, Array]:
        """Starting weights.

        Parameters
        ----------
        seed : int
            0 .. 2⁶⁴ - 1. The same seed gives the same weights on every machine ("orthogonal": to rounding,
            since LAPACK's QR is in between).
        dtype : {"float64", "float32"}

        Returns
        -------
        dict of str to array
            W1, b1, … with the shapes of `parameter_shapes`; every b is 0.

        Warns
        -----
        SymmetryWarning
            An initialiser makes all units of a hidden layer equal.
        """
        dtype = precision_name(dtype)
        self._warn_of_symmetry()
        return {
            f"{name}{number}": array.astype(dtype)
            for number, n_in, layer in self._numbered()
            for name, array in layer.start(n_in, seed, number).items()
        }

    def _warn_of_symmetry(self) -> None:
        for number, layer in enumerate(self.layers[:-1], start=1):
            if RULES[layer.initialiser.name].symmetric and layer.width > 1:
                warnings.warn(
                    f"Initialiser {layer.initialiser.name!r} makes all {layer.width} units of layer {number} equal: "
                    "they get equal gradients and stay equal for ever. Use a random one, such as 'glorot_uniform'.",
                    SymmetryWarning,
                    stacklevel=3,
                )

    def graph(self, *, labels: bool = False, weighted: bool = False) -> CostGraph:
        """The computation graph of the cost.

        Parameters
        ----------
        labels : bool
            Targets are integer labels (N,) instead of rows (N, n_L); cross-entropy only.
        weighted : bool
            With sample weights (N,) of mean 1: C = (1/N) Σ w L.

        Returns
        -------
        CostGraph
            Its nodes: inputs, targets, parameters, pre_activations, activations, losses, cost.
        """
        return cost_graph(self, labels=labels, weighted=weighted)

    def _forward(self, dtype: str, engine: str) -> tuple[ForwardGraph, Computes]:
        """The forward graph and what runs it, kept for the next call."""
        key = ("forward", dtype, checked_engine(engine))
        if key not in self._ready:
            graph = forward_graph(self)
            outputs = [graph.output, graph.pre_activations[-1]]
            self._ready.setdefault(key, (graph, runner(outputs, dtype, engine)))
        return self._ready[key]

    def _backward(self, labels: bool, weighted: bool, dtype: str, engine: str) -> tuple[CostGraph, Computes]:
        """The graph of the cost and what runs it with all gradients, kept for the next call."""
        key = ("backward", labels, weighted, dtype, checked_engine(engine))
        if key not in self._ready:
            graph = self.graph(labels=labels, weighted=weighted)
            outputs: list[Node] = [graph.cost, *gradient(graph.cost, list(graph.parameters.values()))]
            self._ready.setdefault(key, (graph, runner(outputs, dtype, engine)))
        return self._ready[key]

    def forward(self, params: Mapping[str, Any], X: Any, *, engine: str = "native") -> Array:
        """The outputs A^L of the network.

        Parameters
        ----------
        params : dict of str to array
            As from `initialise`; their dtype is the precision of the computation.
        X : (N, n_0) array_like
        engine : {"native", "numpy"}
            What computes; NumPy is the definition. They agree to rounding.

        Returns
        -------
        (N, n_L) array
        """
        return self._last_layer(params, X, engine)[0]

    def pre_activation(self, params: Mapping[str, Any], X: Any, *, engine: str = "native") -> Array:
        """Z^L of the last layer, before its activation; parameters and result as in `forward`."""
        return self._last_layer(params, X, engine)[1]

    def _last_layer(self, params: Mapping[str, Any], X: Any, engine: str) -> tuple[Array, Array]:
        """A^L and Z^L."""
        arrays, dtype = check_parameters(self, params)
        graph, ready = self._forward(dtype, engine)
        A, Z = ready.run(graph.forward_feeds(arrays, in_order(check_inputs(self, X, dtype), dtype)))
        return np.array(A), np.array(Z)

    def cost_and_gradients(
        self, params: Mapping[str, Any], X: Any, Y: Any, sample_weight: Any = None, *, engine: str = "native"
    ) -> tuple[float, dict[str, Array]]:
        """The cost C and its gradient by every parameter.

        Parameters
        ----------
        params : dict of str to array
            As from `initialise`; their dtype is the precision of the computation.
        X : (N, n_0) array_like
        Y : (N, n_L) array_like, or (N,) for one output or for the labels of cross-entropy
        sample_weight : (N,) array_like, optional
            >= 0. C = Σ w L / Σ w, in which rows of weight 0 are absent; without weights C = (1/N) Σ L.
        engine : {"native", "numpy"}
            What computes; NumPy is the definition. They agree to rounding.

        Returns
        -------
        cost : float
        gradients : dict of str to array
            The keys, shapes and dtype of ``params``.

        Raises
        ------
        ShapeError, DataError
            Shapes, keys or values that do not fit; the message names all of them.
        """
        arrays, dtype = check_parameters(self, params)
        X = check_inputs(self, X, dtype)
        if len(X) == 0:
            raise DataError("X has no rows; the cost is an average over at least one sample.")
        X, Y, w = weighted_rows(X, check_targets(self, Y, len(X), dtype), sample_weight, dtype)
        graph, ready = self._backward(Y.ndim == 1, w is not None, dtype, engine)
        cost, *grads = ready.run(graph.feeds(arrays, in_order(X, dtype), in_order(Y, dtype), w))
        return float(cost), {k: np.array(g) for k, g in zip(graph.parameters, grads, strict=True)}


def _described(
    layers: Any, hidden: str | Activation | None, output: str | Activation | None
) -> tuple[tuple[int, ...], tuple[Dense, ...]]:
    items = list(layers) if isinstance(layers, (list, tuple)) else None
    if not items or len(items) < 2:
        raise NetworkError(
            f"A network needs the number of inputs and at least one layer, such as [4, 16, 3]; got {layers!r}."
        )
    if isinstance(items[0], Input):
        if hidden is not None or output is not None:
            raise NetworkError("With Dense layers, each has its own activation; leave hidden and output out.")
        wrong = [x for x in items[1:] if not isinstance(x, Dense)]
        if wrong:
            raise NetworkError(f"After Input come Dense layers; got {wrong[0]!r}.")
        return (items[0].width, *(x.width for x in items[1:])), tuple(items[1:])
    if any(isinstance(x, (Input, Dense)) for x in items):
        raise NetworkError(f"A list of layers starts with Input(n) and goes on with Dense layers; got {layers!r}.")
    between = as_named(Activation, "relu" if hidden is None else hidden)  # checked also where no layer uses it
    dense = [Dense(width, between) for width in items[1:-1]]
    dense.append(Dense(items[-1], "identity" if output is None else output))
    return (Input(items[0]).width, *(layer.width for layer in dense)), tuple(dense)


def _check_fit(output: str, loss: str, n_outputs: int) -> None:
    """Raise a NetworkError where the output activation and the loss do not belong together."""
    row = LOSSES[loss]
    if output in ("softmax", "log_softmax") and n_outputs == 1:
        raise NetworkError(
            "A softmax over one output is 1 whatever the input. For two classes use one output with output='sigmoid', "
            "or two outputs."
        )
    if row.outputs:
        if output not in row.outputs:
            raise NetworkError(
                f"Loss {loss!r} needs an output in its range: {' or '.join(map(repr, row.outputs))}; got {output!r}. "
                + (f"Use loss={_USUAL_LOSS[output]!r}." if output in _USUAL_LOSS else f"Use output={row.outputs[0]!r}.")
            )
    elif output in ("softmax", "log_softmax"):
        raise NetworkError(
            f"A {output} output gives class probabilities, for which {loss!r} learns slowly: its gradient vanishes "
            "where the network is confidently wrong. Use loss='cross_entropy' with output='softmax', or another output."
        )
