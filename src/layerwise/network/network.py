"""`Network`: a description of layers and loss; its graph, its starting weights, its cost and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from layerwise.arrays import precision_name
from layerwise.engine.choice import Computes, checked_engine, runner
from layerwise.errors import DataError, NetworkError, SymmetryWarning
from layerwise.graph.differentiate import gradient
from layerwise.graph.node import Node
from layerwise.network.build import CostGraph, ForwardGraph, cost_graph, forward_graph
from layerwise.network.data import check_inputs, check_parameters, check_targets, in_order, weighted_rows
from layerwise.network.describe import USUAL_LOSS, check_fit, described, layer_from_dict, widths_of
from layerwise.network.fold import folded_layers
from layerwise.network.initialise import RULES
from layerwise.network.layers import Dense, DenseOptions, Input, Layer, numbered
from layerwise.network.spec import Activation, Loss, as_named
from layerwise.network.start import start_on_rows
from layerwise.types import Array


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
    **options
        With widths only, those of `Dense`: ``dropout``, ``noise``, ``normalisation`` and ``max_norm`` for the hidden
        layers, ``residual`` for the hidden layers that have as many units as inputs, ``l1``, ``l2`` and
        ``parametrisation`` for all layers.

    Attributes
    ----------
    layers : tuple of layers
        Those behind the input; numbers in names of parameters count them from 1. The last one is a `Dense`.
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

    layers: tuple[Layer, ...]
    widths: tuple[int, ...]
    loss: Loss
    _ready: dict[tuple[Any, ...], tuple[Any, Computes]]

    def __init__(
        self,
        layers: Sequence[int] | Sequence[Input | Layer],
        *,
        hidden: str | Activation | None = None,
        output: str | Activation | None = None,
        loss: str | Loss | None = None,
        **options: Unpack[DenseOptions],
    ):
        n_inputs, behind = described(layers, hidden, output, options)
        widths = widths_of(n_inputs, behind)
        last = behind[-1]
        assert isinstance(last, Dense)
        named = as_named(Loss, USUAL_LOSS.get(last.activation.name, "squared_error") if loss is None else loss)
        check_fit(last.activation.name, named.name, widths[-1])
        # _ready: graphs and what runs them, kept for the next call
        self.__dict__.update(widths=widths, layers=behind, loss=named, _ready={})

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
            return cls([Input(data["n_inputs"]), *map(layer_from_dict, data["layers"])], loss=data["loss"])
        except (TypeError, KeyError, AttributeError) as error:
            raise NetworkError(f"This does not describe a network: {error}.") from None

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters, layer by layer: W1 (n_0, n_1), b1 (n_1,), W2 and so on.

        Running statistics of batch normalisation are among them; `trained` are the others.
        """
        return {
            numbered(name, number): shape
            for number, n_in, layer in self._numbered()
            for name, shape in layer.parameters(n_in).items()
        }

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the parameters that gradients change: all but running statistics."""
        return tuple(
            numbered(name, number)
            for number, n_in, layer in self._numbered()
            for name in layer.parameters(n_in)
            if name not in layer.state
        )

    @property
    def output_layer(self) -> Dense:
        """The last layer."""
        last = self.layers[-1]
        assert isinstance(last, Dense)
        return last

    def _numbered(self) -> Iterator[tuple[int, int, Layer]]:
        """Number, inputs and layer, for all layers."""
        for number, layer in enumerate(self.layers, start=1):
            yield number, self.widths[number - 1], layer

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases in all: what is trained."""
        shapes = self.parameter_shapes
        return sum(int(np.prod(shapes[name])) for name in self.trained)

    def initialise(self, seed: int = 0, dtype: str = "float64", *, X: Any = None) -> dict[str, Array]:
        """Starting weights.

        Parameters
        ----------
        seed : int
            0 .. 2⁶⁴ - 1. The same seed gives the same weights on every machine ("orthogonal": to rounding,
            since LAPACK's QR is in between).
        dtype : {"float64", "float32"}
        X : (N, n_0) array_like, optional
            Rows to which the start is fitted, layer by layer; some hundred are enough. Each column of a W is divided by
            the standard deviation of its products over these rows, so that these have variance 1, and b is minus a
            random mixture of the products at five of them, so that every Z is 0 somewhere among the data.

        Returns
        -------
        dict of str to array
            W1, b1, … with the shapes of `parameter_shapes`; every b is 0. Normalisation starts with scale 1, shift 0,
            running mean 0 and variance 1; factors of `Scale` start at 1, tables of `Embedding` N(0, 1).

        Warns
        -----
        SymmetryWarning
            An initialiser makes all units of a hidden layer equal.
        """
        dtype = precision_name(dtype)
        self._warn_of_symmetry()
        if X is not None:
            rows = check_inputs(self, X).astype(np.float64)
            if not len(rows):
                raise DataError("X has no rows; the start is fitted to at least one.")
            return {name: array.astype(dtype) for name, array in start_on_rows(self, seed, rows).items()}
        return {
            numbered(name, number): array.astype(dtype)
            for number, n_in, layer in self._numbered()
            for name, array in layer.start(n_in, seed, number).items()
        }

    def _warn_of_symmetry(self) -> None:
        for number, layer in enumerate(self.layers[:-1], start=1):
            if not isinstance(layer, Dense) or layer.width == 1:
                continue
            if RULES[layer.initialiser.name].symmetric:
                warnings.warn(
                    f"Initialiser {layer.initialiser.name!r} makes all {layer.width} units of layer {number} equal: "
                    "they get equal gradients and stay equal for ever. Use a random one, such as 'glorot_uniform'.",
                    SymmetryWarning,
                    stacklevel=3,
                )

    def graph(self, *, labels: bool = False, weighted: bool = False, training: bool = False) -> CostGraph:
        """The computation graph of the cost.

        Parameters
        ----------
        labels : bool
            Targets are integer labels (N,) instead of rows (N, n_L); cross-entropy only.
        weighted : bool
            With sample weights (N,) of mean 1: C = (1/N) Σ w L.
        training : bool
            The form that a training step computes: batch normalisation by the statistics of the rows at hand, dropout
            and noise, and the penalties ``l1`` and ``l2`` in the cost. By default the form that predicts.

        Returns
        -------
        CostGraph
            Its nodes: inputs, targets, parameters, pre_activations, activations, losses, cost.
        """
        return cost_graph(self, labels=labels, weighted=weighted, training=training)

    def _forward(self, dtype: str, engine: str) -> tuple[ForwardGraph, Computes]:
        """The forward graph and what runs it, kept for the next call."""
        key = ("forward", dtype, checked_engine(engine))
        if key not in self._ready:
            graph = forward_graph(self)
            outputs = [graph.output, graph.pre_activations[-1]]
            self._ready.setdefault(key, (graph, runner(outputs, dtype, engine)))
        return self._ready[key]

    def _backward(
        self, labels: bool, weighted: bool, training: bool, dtype: str, engine: str
    ) -> tuple[CostGraph, Computes]:
        """The graph of the cost and what runs it with all gradients, kept for the next call."""
        key = ("backward", labels, weighted, training, dtype, checked_engine(engine))
        if key not in self._ready:
            graph = cost_graph(self, labels=labels, weighted=weighted, training=training, random=False)
            outputs: list[Node] = [graph.cost, *gradient(graph.cost, [graph.parameters[k] for k in graph.trained])]
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

    def folded(self, params: Mapping[str, Any]) -> tuple[Network, dict[str, Array]]:
        """A network that predicts the same with fewer operations, and its parameters.

        Batch normalisation, `Scale` and the factor of the NTK parametrisation become part of W and b; what only
        training needs is left out. Layer normalisation, residual layers and `Embedding` stay.

        Parameters
        ----------
        params : dict of str to array
            As from `initialise`.

        Returns
        -------
        network : Network
            This one where nothing can be folded.
        params : dict of str to array
            Computed in float64, in the dtype of ``params``.

        Examples
        --------
        >>> import layerwise as lw
        >>> net = lw.Network([2, 4, 1], normalisation="batch")
        >>> net.folded(net.initialise(0))[0]
        Network([Input(2), Dense(4, 'relu'), Dense(1, 'identity')], loss='squared_error')
        """
        arrays, _ = check_parameters(self, params)
        layers, kept = folded_layers(self, arrays)
        network = Network(layers, loss=self.loss)
        return (self, arrays) if network == self else (network, kept)

    def cost_and_gradients(
        self,
        params: Mapping[str, Any],
        X: Any,
        Y: Any,
        sample_weight: Any = None,
        *,
        training: bool = False,
        engine: str = "native",
    ) -> tuple[float, dict[str, Array]]:
        """The cost C and its gradient by every trained parameter.

        Parameters
        ----------
        params : dict of str to array
            As from `initialise`; their dtype is the precision of the computation.
        X : (N, n_0) array_like
        Y : (N, n_L) array_like, or (N,) for one output or for the labels of cross-entropy
        sample_weight : (N,) array_like, optional
            >= 0. C = Σ w L / Σ w, in which rows of weight 0 are absent; without weights C = (1/N) Σ L.
        training : bool
            Batch normalisation by the statistics of these rows, and the penalties ``l1`` and ``l2`` added; without
            dropout and noise, which are random. By default C of the predictions.
        engine : {"native", "numpy"}
            What computes; NumPy is the definition. They agree to rounding.

        Returns
        -------
        cost : float
        gradients : dict of str to array
            Keys as in `trained`; shapes and dtype of ``params``.

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
        graph, ready = self._backward(Y.ndim == 1, w is not None, bool(training), dtype, engine)
        cost, *grads = ready.run(graph.feeds(arrays, in_order(X, dtype), in_order(Y, dtype), w))
        return float(cost), {k: np.array(g) for k, g in zip(graph.trained, grads, strict=True)}
