"""`Model`: network, weights and encoder together; predicts with NumPy alone, is one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from layerwise import metrics
from layerwise.compile.chain import dense_chain
from layerwise.container import store
from layerwise.container.kinds import MODEL
from layerwise.engine.native import NativeForward
from layerwise.engine.rows import NativeRows
from layerwise.errors import DataError, GraphError, ModelFileError, NetworkError, unknown_name
from layerwise.network.build import ForwardGraph, forward_graph
from layerwise.network.data import check_inputs, check_parameters, in_order
from layerwise.network.network import Network
from layerwise.ops.activations import sigmoid
from layerwise.ops.layout import concat
from layerwise.table import plain
from layerwise.table.encode import Encoder
from layerwise.table.frame import as_table
from layerwise.table.target import Target
from layerwise.types import Array

ENGINES = ("native", "numpy")
What = Literal["outputs", "probabilities", "classes"]

BLOCK_ROWS = 8192
"""Rows encoded and computed at a time, so that a long table does not need its whole matrix."""


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with all it needs to predict: the way from a row to its inputs and back.

    Parameters
    ----------
    network : Network
    params : dict of str to array
        Its weights.
    encoder : Encoder, optional
        From a table to the inputs. Without one, the model takes matrices (N, n_0).
    target : Target, optional
        From outputs to labels or numbers. Without one, `predict` gives class numbers for a softmax
        output, 0 or 1 for one sigmoid output, and the outputs themselves for all others.
    report : dict
        What is known about the fit: metrics, rows, versions. Plain data.
    engine : {"native", "numpy"}
        What computes predictions; NumPy is the definition, the native code is faster. They agree to rounding.

    Raises
    ------
    DataError, ShapeError, NetworkError
        Weights that do not belong to the network; an encoder or target of another width.
    """

    network: Network
    params: Mapping[str, Array]
    encoder: Encoder | None = None
    target: Target | None = None
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    engine: str = "native"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        if not isinstance(self.network, Network):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DataError(f"Model takes a network, then its weights; got {type(self.network).__name__} first.")
        checked, _ = check_parameters(self.network, self.params)
        params = {name: np.array(array) for name, array in checked.items()}  # the caller's may go on changing
        object.__setattr__(self, "params", params)
        for name, array in params.items():
            array.setflags(write=False)
            if not np.isfinite(array).all():
                raise DataError(f"params[{name!r}] holds NaN or infinite values; a model needs finite weights.")
        inputs = self.network.widths[0]
        if self.encoder is not None and self.encoder.width != inputs:
            raise NetworkError(f"The encoder gives {self.encoder.width} columns; the network takes {inputs} inputs.")
        if self.target is not None:
            _check_outputs(self.network, self.target)

    def __repr__(self) -> str:
        what = f" of {self.target.name!r}" if self.target else ""
        return f"<Model{what}: {self.network!r}, {self.network.n_parameters:,} parameters>"

    @cached_property
    def is_classifier(self) -> bool:
        """True where `predict_proba` gives class probabilities."""
        if self.target is not None:
            return self.target.task == "classification"
        output = self.network.output_layer.activation.name
        # Several sigmoid outputs are as many yes-or-no questions, whose probabilities do not sum to 1.
        return output == "softmax" or (output == "sigmoid" and self.network.widths[-1] == 1)

    @property
    def classes(self) -> tuple[Any, ...]:
        """The labels, in the order of the columns of `predict_proba`; numbers where no target is known."""
        if self.target is not None:
            return self.target.classes
        if not self.is_classifier:
            return ()
        return tuple(range(max(2, self.network.widths[-1])))

    def outputs(self, data: Any) -> Array:
        """The outputs A^L of the network.

        Parameters
        ----------
        data : DataFrame, Table, dict of columns, or array (N, n_0)
            Columns are found by name where the model has an encoder.

        Returns
        -------
        (N, n_L) array in the precision of the weights

        Raises
        ------
        TableError, ShapeError, DataError
            Columns are missing (the message names them), text where numbers were, NaN in a matrix.
        """
        return self._computed("outputs", data)

    @cached_property
    def _prepared(self) -> dict[What, NativeForward | NativeRows]:
        return {}

    @cached_property
    def _dtype(self) -> Literal["float32", "float64"]:
        return "float32" if next(iter(self.params.values())).dtype == np.float32 else "float64"

    def _computed(self, what: What, data: Any) -> Array:
        """The outputs, probabilities or numbers of classes for ``data``; of a table, a block of rows at a time."""
        compute = self._by_definition if self.engine == "numpy" else self._natively
        if self.encoder is None:
            return compute(what, data)
        table = as_table(data)
        blocks: list[Array] = []
        for first in range(0, max(table.n_rows, 1), BLOCK_ROWS):
            rows = table.rows(slice(first, first + BLOCK_ROWS))
            blocks.append(compute(what, self.encoder.transform(rows, self._dtype)))
        return np.concatenate(blocks)

    def _by_definition(self, what: What, X: Any) -> Array:
        if what != "outputs" and self.network.widths[-1] == 1:
            Z = self.network.pre_activation(self.params, X, engine=self.engine)
            found = np.concatenate([sigmoid(-Z), sigmoid(Z)], axis=1)  # 1 - sigmoid(Z) would be 0 from Z = 17 on
        else:
            found = self.network.forward(self.params, X, engine=self.engine)
        return np.argmax(found, axis=1) if what == "classes" else found

    def _natively(self, what: What, X: Any) -> Array:
        ready = self._prepared.get(what) or self._prepare(what)
        found = ready.classes(X) if what == "classes" else ready.outputs(X)
        if found is not None:
            return found
        A = ready(in_order(check_inputs(self.network, X, self._dtype), self._dtype))
        return np.argmax(A, axis=1) if what == "classes" else A

    def _prepare(self, what: What) -> NativeForward | NativeRows:
        one: What = "outputs" if what == "outputs" or self.network.widths[-1] > 1 else "probabilities"
        if one not in self._prepared:
            network, params = self.network.folded(self.params)
            graph = forward_graph(network)
            self._prepared.setdefault(one, _chained(graph, params, one) or self._general(graph, params, one))
        return self._prepared.setdefault(what, self._prepared[one])

    def _general(self, graph: ForwardGraph, params: Mapping[str, Array], what: What) -> NativeRows:
        """What predicts by a graph that is no chain of dense layers."""
        Z, output = graph.pre_activations[-1], graph.output
        if what == "probabilities":
            output = concat([sigmoid(-Z), sigmoid(Z)], axis=1)
        feeds = {node: params[name] for name, node in graph.parameters.items()}
        return NativeRows(output, graph.inputs, feeds, self._dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self.network, dict(self.params), self.encoder, self.target, self.report, self.engine)

    def predict_proba(self, data: Any) -> Array:
        """The probability of each class; parameters as in `outputs`.

        Returns
        -------
        (N, K) array
            Columns in the order of `classes`; each row sums to 1.

        Raises
        ------
        DataError
            The model is no classifier.
        """
        if not self.is_classifier:
            raise DataError("This model predicts numbers, not classes, so it has no probabilities. Use predict.")
        return self._computed("probabilities", data)

    def predict(self, data: Any) -> Array:
        """The label of each row, or its number in the target's unit; parameters as in `outputs`.

        Returns
        -------
        (N,) array
            Labels with their type, or float64; (N, n_L) for several outputs without a target.
        """
        if self.target is not None and self.target.task == "regression":
            return self.target.unscale(self.outputs(data)[:, 0])
        if not self.is_classifier:
            A = self.outputs(data)
            return A[:, 0] if A.shape[1] == 1 else A
        chosen = self._computed("classes", data)
        return chosen if self.target is None else self._labels[chosen]

    @cached_property
    def _labels(self) -> Array:
        """The classes of the target as an array."""
        assert self.target is not None
        return self.target.decode_labels(np.arange(len(self.target.classes)))

    def score(self, data: Any, y: Any) -> dict[str, float]:
        """How well the model predicts known outcomes.

        Parameters
        ----------
        data : as in `outputs`
        y : (N,) array_like
            Labels, or numbers in the target's unit.

        Returns
        -------
        dict of str to float
            accuracy and log_loss for classes, roc_auc as well for two of them (the second class counts
            as positive); rmse, mae and r2 for numbers.

        Raises
        ------
        TableError, DataError
            A label that the model does not know, missing outcomes, another number of rows.
        """
        if self.target is None:
            raise DataError("This model was made without a target, so it cannot be scored.")
        true = self.target.encode(y)
        classify = self.target.task == "classification"
        predicted = self.predict_proba(data) if classify else self.predict(data)
        if len(true) != len(predicted):
            raise DataError(f"y must have one value for each of the {len(predicted)} rows; got {len(true)}.")
        return score(self.target, true, predicted)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, durably: beside first, synced, then renamed.

        Parameters
        ----------
        path : str or path-like
            By custom it ends in ``.layerwise``. An existing file is replaced only by a whole new one.

        Raises
        ------
        ModelFileError
            The file cannot be written; an earlier one is intact.
        """
        document = {
            "network": self.network.to_dict(),
            "encoder": None if self.encoder is None else self.encoder.to_dict(),
            "target": None if self.target is None else self.target.to_dict(),
            "report": dict(self.report),
        }
        store.write(MODEL, path, document, dict(self.params))


def _chained(graph: ForwardGraph, params: Mapping[str, Array], what: What) -> NativeForward | None:
    """What predicts by a chain of dense layers, where the graph is one."""
    try:
        if what == "outputs":
            return NativeForward(dense_chain(graph.output, graph.inputs), params)
        *hidden, last = dense_chain(graph.pre_activations[-1], graph.inputs)
    except GraphError:
        return None
    return NativeForward((*hidden, replace(last, kernel="sigmoid_pair")), params)


def _check_outputs(network: Network, target: Target) -> None:
    """Raise a NetworkError where the target cannot be read from the outputs."""
    n, output = network.widths[-1], network.output_layer.activation.name
    n_classes = len(target.classes)
    if target.task == "regression":
        fits, wanted = n == 1, "is a number, which needs 1 output"
    else:
        fits = (n, output) == (n_classes, "softmax") or (n_classes, n, output) == (2, 1, "sigmoid")
        wanted = f"has {n_classes} classes, which need {n_classes} softmax outputs"
        wanted += " or 1 sigmoid output" if n_classes == 2 else ""
    if not fits:
        raise NetworkError(f"The target {target.name!r} {wanted}; the network has {n} with activation {output!r}.")


def score(target: Target, true: Array, predicted: Array) -> dict[str, float]:
    """The metrics of a task.

    Parameters
    ----------
    target : Target
    true : (N,)
        As ``target.encode`` gives it: class numbers, or scaled numbers.
    predicted : (N, K) probabilities, or (N,) numbers in the target's unit
    """
    if not len(true):
        raise DataError("There are no rows to score.")
    if target.task == "regression":
        y = target.unscale(true)
        return {
            "rmse": metrics.root_mean_squared_error(y, predicted),
            "mae": metrics.mean_absolute_error(y, predicted),
            "r2": metrics.r_squared(y, predicted),
        }
    result = {
        "accuracy": metrics.accuracy(true, np.argmax(predicted, axis=1)),
        "log_loss": metrics.log_loss(true, predicted),
    }
    if len(target.classes) == 2:
        result["roc_auc"] = metrics.roc_auc(true, predicted[:, 1])
    return result


def load(path: str | os.PathLike[str]) -> Model:
    """The model that `Model.save` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Model

    Raises
    ------
    ModelFileError
        The file is missing, damaged, of a newer version, or no model. Nothing in it is ever executed.
    """
    document, tensors = store.read(MODEL, path)
    wanted = {"format", "layerwise", "network", "encoder", "target", "report"}
    try:
        if set(document) != wanted:
            raise ModelFileError(f"its document has the entries {sorted(document)}")
        encoder, target = document["encoder"], document["target"]
        return Model(
            Network.from_dict(document["network"]),
            tensors,
            None if encoder is None else Encoder.from_dict(encoder),
            None if target is None else Target.from_dict(target),
            plain.mapping(document["report"], "The report"),
        )
    except (ValueError, OverflowError) as error:  # OverflowError: a whole number beyond float64 among the options
        cause = str(error)
        # What is quoted there comes from the file, and may be a megabyte.
        cause = cause if len(cause) <= 500 else cause[:497] + "..."
        raise ModelFileError(f"{os.fspath(path)} is not a usable model file: {cause}") from None
