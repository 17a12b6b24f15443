"""`Model`: what it predicts, its file in a new process, and files whose content does not fit together."""

from __future__ import annotations

import copy
import json
import pickle
import random
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import layerwise as lw
from layerwise.container import store
from layerwise.container.kinds import MODEL
from layerwise.errors import DataError, LayerwiseError, ModelFileError, NetworkError, ShapeError, TableError
from layerwise.model.model import BLOCK_ROWS, Model, load
from layerwise.network.network import Network
from layerwise.table.encode import fit_encoder
from layerwise.table.frame import Table
from layerwise.table.target import Target, fit_target


def columns(n: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(8)
    return {
        "x": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
        "whole": rng.integers(0, 9, n),
        "colour": [
            None if rng.random() < 0.2 else str(rng.choice(["red", "gr,een", "bl\nue", "ä\"'"])) for _ in range(n)
        ],
        "yes": rng.random(n) < 0.5,
        "price": 1e4 + 500 * rng.normal(size=n),
        "kind": [["a", "b", "c"][i % 3] for i in range(n)],
        "pass": [i % 2 == 0 for i in range(n)],
        "number": [[7, -2, 5][i % 3] for i in range(n)],
    }


INPUTS = ["x", "whole", "colour", "yes"]
TARGETS = ["price", "kind", "pass", "number"]


def model_of(target_name: str, dtype: str = "float32", hidden: tuple[int, ...] = (5,)) -> Model:
    """A model with drawn weights: what a network computes does not hang on how well it was trained."""
    table = Table.from_columns(columns())
    target = fit_target(table, target_name, "regression" if target_name == "price" else "classification")
    encoder = fit_encoder(table, ignore=TARGETS)
    k = len(target.classes)
    output = "softmax" if k > 2 else "sigmoid" if k else "identity"
    network = Network([encoder.width, *hidden, k if k > 2 else 1], hidden="tanh", output=output)
    return Model(network, network.initialise(3, dtype), encoder, target, {"rows_learned": 60, "metrics": {"r2": None}})


def by_hand(model: Model, X: np.ndarray) -> np.ndarray:
    """A^L of a tanh network, in float64."""
    A = X.astype(np.float64)
    n = len(model.network.layers)
    for layer in range(1, n + 1):
        Z = A @ model.params[f"W{layer}"].astype(np.float64) + model.params[f"b{layer}"].astype(np.float64)
        A = np.tanh(Z) if layer < n else Z
    last = model.network.layers[-1].activation.name
    if last == "sigmoid":
        return 1 / (1 + np.exp(-A))
    if last == "softmax":
        E = np.exp(A - A.max(axis=1, keepdims=True))
        return E / E.sum(axis=1, keepdims=True)
    return A


# What is predicted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", TARGETS)
def test_predictions_are_those_of_the_formula(target, dtype):
    model = model_of(target, dtype)
    assert model.encoder is not None
    assert model.target is not None
    X = model.encoder.transform(Table.from_columns(columns()), dtype="float64")
    A = by_hand(model, X)
    # Four sums of at most 12 terms of size 1: some 20 roundings of 6e-8.
    tolerance = 2e-6 if dtype == "float32" else 1e-14
    assert model.outputs(columns()).dtype == dtype
    np.testing.assert_allclose(model.outputs(columns()), A, rtol=tolerance, atol=tolerance)
    if target == "price":
        y = np.array(columns()["price"])
        np.testing.assert_allclose(model.predict(columns()), A[:, 0] * y.std() + y.mean(), rtol=tolerance)
        return
    P = np.concatenate([1 - A, A], axis=1) if A.shape[1] == 1 else A
    np.testing.assert_allclose(model.predict_proba(columns()), P, atol=tolerance)
    labels = {"kind": ["a", "b", "c"], "pass": [False, True], "number": [-2, 5, 7]}[target]
    assert list(model.classes) == labels
    sure = np.sort(P, axis=1)[:, -1] - np.sort(P, axis=1)[:, -2] > 1e-4
    expected = np.array(labels, dtype=object)[P.argmax(axis=1)]
    assert model.predict(columns())[sure].tolist() == expected[sure].tolist()


def test_labels_keep_their_type():
    kinds = {target: model_of(target).predict(columns()).dtype.kind for target in TARGETS}
    assert kinds == {"price": "f", "kind": "O", "pass": "b", "number": "i"}
    assert all(type(label) is str for label in model_of("kind").predict(columns()))


@pytest.mark.parametrize("target", ["kind", "pass", "number"])
def test_probabilities_sum_to_one(target):
    P = model_of(target).predict_proba(columns(500))
    assert P.shape == (500, 2 if target == "pass" else 3)
    assert (P >= 0).all()
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=3e-7)  # three roundings of float32


@pytest.mark.parametrize("target", TARGETS)
def test_no_rows(target):
    model = model_of(target)
    empty = {name: values[:0] for name, values in columns().items()}
    assert model.predict(empty).shape == (0,)
    assert model.outputs(empty).shape == (0, model.network.widths[-1])
    if model.is_classifier:
        assert model.predict_proba(empty).shape == (0, len(model.classes))


def test_a_row_alone_is_as_in_the_batch():
    model = model_of("kind")
    whole = Table.from_columns(columns())
    batch = model.predict_proba(whole)
    for i in range(0, 60, 7):
        # A column of this row alone may be all missing or look otherwise; the file's kinds are kept by the table.
        np.testing.assert_allclose(model.predict_proba(whole.rows([i]))[0], batch[i], atol=3e-7)


def test_rows_beyond_one_block():
    model = model_of("price")
    table = Table.from_columns(columns(60)).rows(np.arange(2 * BLOCK_ROWS + 5) % 60)
    long, short = model.predict(table), model.predict(columns())
    assert long.shape == (2 * BLOCK_ROWS + 5,)
    np.testing.assert_allclose(long, short[np.arange(len(long)) % 60], rtol=1e-6)


def test_every_kind_of_table_gives_the_same():
    model, data = model_of("kind"), columns()
    expected = model.predict_proba(data)
    named = {name: list(values) for name, values in data.items()}
    missing = {**named, "x": [None if v != v else v for v in named["x"]]}
    frames = {
        "table": Table.from_columns(data),
        "lists": named,
        "pandas": pd.DataFrame(named),
        "pandas categories": pd.DataFrame(named).astype({"colour": "category", "whole": "Int64"}),
        "polars": pl.DataFrame(missing, strict=False),
        "pyarrow": pa.table(missing),
        "another order, more columns": {"extra": [0] * 60, **dict(reversed(named.items()))},
    }
    for kind, frame in frames.items():
        assert np.array_equal(model.predict_proba(frame), expected), kind


def test_inputs_are_not_changed():
    data = columns()
    before = copy.deepcopy(data)
    model_of("kind").predict(data)
    for name, values in before.items():
        np.testing.assert_array_equal(data[name], values)


def test_columns_that_are_all_missing_or_unseen():
    model, data = model_of("kind"), columns()
    nothing = {**data, "x": [float("nan")] * 60, "colour": [None] * 60}
    strange = {**data, "colour": ["never seen"] * 60}
    for table in (nothing, strange):
        assert np.isfinite(model.predict_proba(table)).all()


def test_missing_columns_are_named_with_those_that_came_instead():
    data = columns()
    del data["whole"]
    with pytest.raises(TableError, match=r"lacks 1 of the 4 columns of the fit: 'whole'.*'wole'.*Did you mean 'wole'"):
        model_of("kind").predict({**data, "wole": [1] * 60})
    with pytest.raises(TableError, match="column 'x' held numbers in the fit and holds text now; first in row 1"):
        model_of("kind").predict({**columns(2), "x": [None, "many"]})


# Without an encoder or a target --------------------------------------------------------------------------------------


def network_and_params(widths: list[int], output: str) -> tuple[Network, dict[str, np.ndarray]]:
    network = Network(widths, hidden="tanh", output=output)
    return network, network.initialise(1)


def test_without_encoder_and_target():
    X = np.random.default_rng(0).normal(size=(7, 2))
    for output, n, shape in [
        ("softmax", 3, (7,)),
        ("sigmoid", 1, (7,)),
        ("identity", 1, (7,)),
        ("identity", 3, (7, 3)),
    ]:
        model = Model(*network_and_params([2, 4, n], output))
        A = by_hand(model, X)
        np.testing.assert_allclose(model.outputs(X), A, atol=1e-14)
        assert model.predict(X).shape == shape
        if output == "identity":
            assert not model.is_classifier
            np.testing.assert_allclose(model.predict(X), A[:, 0] if n == 1 else A, atol=1e-14)
            with pytest.raises(DataError, match=r"predicts numbers, not classes.*Use predict"):
                model.predict_proba(X)
        else:
            expected = A.argmax(axis=1) if n > 1 else (A[:, 0] > 0.5).astype(int)
            assert model.predict(X).tolist() == expected.tolist()
            assert model.classes == tuple(range(max(2, n)))
        with pytest.raises(DataError, match="without a target"):
            model.score(X, np.zeros(7))


def test_several_sigmoids_are_no_classes():
    model = Model(*network_and_params([2, 3], "sigmoid"))
    X = np.ones((4, 2))
    assert not model.is_classifier
    assert model.classes == ()
    assert np.array_equal(model.predict(X), model.outputs(X))


def test_two_softmax_outputs_serve_two_classes():
    network, params = network_and_params([2, 2], "softmax")
    model = Model(network, params, target=Target("y", "classification", ("no", "yes")))
    X = np.random.default_rng(1).normal(size=(9, 2))
    labels = model.predict(X)
    assert labels.tolist() == [("no", "yes")[k] for k in by_hand(model, X).argmax(axis=1)]
    assert model.score(X, labels)["accuracy"] == 1.0


@pytest.mark.parametrize("X", [np.ones((3, 5)), np.ones(2), np.ones((1, 2, 1))])
def test_wrong_shapes(X):
    with pytest.raises(ShapeError, match=r"\(.*2.*\)"):
        Model(*network_and_params([2, 3, 1], "identity")).predict(X)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_matrices_with_gaps_are_refused(bad):
    with pytest.raises(DataError, match="X"):
        Model(*network_and_params([2, 3, 1], "identity")).predict(np.array([[1.0, bad]]))


@pytest.mark.parametrize(
    ("widths", "output", "target", "message"),
    [
        ([2, 1], "identity", Target("y", "classification", (0, 1)), "2 softmax outputs or 1 sigmoid output"),
        ([2, 2], "sigmoid", Target("y", "classification", (0, 1)), "the network has 2 with activation 'sigmoid'"),
        ([2, 3], "sigmoid", Target("y", "classification", (0, 1, 2)), "3 classes, which need 3 softmax outputs;"),
        ([2, 2], "softmax", Target("y", "classification", (0, 1, 2)), "the network has 2 with"),
        ([2, 2], "identity", Target("y", "regression"), "is a number, which needs 1 output; the network has 2"),
    ],
)
def test_a_target_that_cannot_be_read_from_the_outputs(widths, output, target, message):
    with pytest.raises(NetworkError, match=message):
        Model(*network_and_params(widths, output), target=target)


def test_parts_that_do_not_belong_together():
    network, params = network_and_params([2, 4, 1], "identity")
    encoder = fit_encoder(Table.from_columns({"x": [1.0, 2.0, 4.0]}))
    with pytest.raises(NetworkError, match="encoder gives 1 columns; the network takes 2 inputs"):
        Model(network, params, encoder)
    with pytest.raises(ShapeError, match=r"W1.*\(2, 4\).*\(4, 2\)"):
        Model(network, {**params, "W1": params["W1"].T})
    with pytest.raises(DataError, match="missing: b2"):
        Model(network, {k: v for k, v in params.items() if k != "b2"})
    with pytest.raises(DataError, match="NaN"):
        Model(network, {**params, "b1": np.array([1, np.nan, 1, 1])})


def test_scores():
    model, data = model_of("pass"), columns()
    scores = model.score(data, data["pass"])
    P, y = model.predict_proba(data)[:, 1].astype(float), np.array(data["pass"])
    assert scores["accuracy"] == pytest.approx(np.mean((P > 0.5) == y), abs=1e-12)
    assert scores["log_loss"] == pytest.approx(-np.mean(np.log(np.where(y, P, 1 - P))), rel=1e-5)
    wins = [(p > q) + 0.5 * (p == q) for p in P[y] for q in P[~y]]
    assert scores["roc_auc"] == pytest.approx(np.mean(wins), rel=1e-12)
    numbers = model_of("price")
    residuals = numbers.predict(data) - data["price"]
    assert numbers.score(data, data["price"])["rmse"] == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-9)
    with pytest.raises(DataError, match="60 rows; got 59"):
        model.score(data, data["pass"][:-1])
    with pytest.raises(TableError, match=r"'z' in row 0.*is no class of the fit"):
        model_of("kind").score(columns(1), ["z"])
    with pytest.raises(TableError, match="missing in"):
        model_of("kind").score(columns(2), ["a", None])


def test_repr_names_the_target():
    assert "'price'" in repr(model_of("price"))


# The file ------------------------------------------------------------------------------------------------------------

LOAD_AND_PREDICT = """
import json, sys
import numpy as np
import layerwise as lw
model = lw.load(sys.argv[1])
data = json.load(open(sys.argv[2]))
found = model.outputs(data)
labels = model.predict(data)
heavy = "narwhals duckdb sklearn pandas polars pyarrow rich typer scipy".split()
loaded = [name for name in heavy if name in sys.modules]
print(json.dumps([found.tobytes().hex(), labels.tolist(), loaded]))
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", ["price", "kind"])
def test_a_new_process_with_numpy_alone_gives_the_same_bits(tmp_path, target, dtype):
    model = model_of(target, dtype)
    path, rows = tmp_path / "modèle 1.layerwise", tmp_path / "rows.json"
    model.save(path)
    data = {name: np.array(columns()[name], dtype=object).tolist() for name in INPUTS}
    rows.write_text(json.dumps(data))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD_AND_PREDICT, str(path), str(rows)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    outputs, labels, loaded = json.loads(done.stdout)
    assert outputs == model.outputs(data).tobytes().hex()
    assert labels == model.predict(data).tolist()
    assert loaded == []


@pytest.mark.parametrize("target", TARGETS)
def test_save_and_load(tmp_path, target):
    model = model_of(target)
    model.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.network == model.network
    assert (loaded.encoder, loaded.target, loaded.report) == (model.encoder, model.target, model.report)
    assert [type(label) for label in loaded.classes] == [type(label) for label in model.classes]
    assert all(loaded.params[k].tobytes() == model.params[k].tobytes() for k in model.params)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_without_encoder_and_target_and_hidden_layers(tmp_path):
    network = Network([3, 2], output="softmax")
    Model(network, network.initialise(0)).save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert (loaded.encoder, loaded.target, dict(loaded.report)) == (None, None, {})
    assert loaded.predict(np.eye(3)).shape == (3,)


def test_options_of_activations_come_back(tmp_path):
    layers = [lw.Input(2), lw.Dense(3, lw.Activation("leaky_relu", alpha=0.3), bias=False), lw.Dense(1, "exp")]
    network = Network(layers, loss="poisson")
    model = Model(network, network.initialise(0))
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").network == network


def test_equal_models_are_equal_files(tmp_path):
    for name in "ab":
        model_of("kind").save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("report", [{"x": float("nan")}, {"x": object}, {1: "x"}, {"x": (1, 2)}, {"x": np.float32(1)}])
def test_a_report_that_is_not_plain_is_refused_and_the_old_file_stays(tmp_path, report):
    path = tmp_path / "m"
    model = model_of("kind")
    model.save(path)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="was not saved"):
        Model(model.network, model.params, model.encoder, model.target, report).save(path)
    assert path.read_bytes() == before


def test_load_says_what_is_not_there(tmp_path):
    model_of("kind").save(tmp_path / "prices.layerwise")
    with pytest.raises(ModelFileError, match=r"no such file. Did you mean 'prices.layerwise'"):
        load(tmp_path / "price.layerwise")


# Files with a right digest and a wrong content -----------------------------------------------------------------------


def document_of(model: Model, path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    model.save(path)
    return store.read(MODEL, path)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, item in items for p in places(item, (*path, key)))]


STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 10**9, 2**63, 10**300, 10**400, 0.0, -0.5, 1.5, 1e308, 5e-324, -1e308,
    "", "relu", "softmax", "é\ud800", "x" * 5000, [], {}, [[]], [1, 2], ["a"], {"name": "relu", "options": {}},
    {"name": "elu", "options": {"alpha": 10**400}}, {"kind": "number"}, {"name": []},
]  # fmt: skip


def mutated(document: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """A document with one or two changes anywhere."""
    document = copy.deepcopy(document)
    for _ in range(draw.choice([1, 1, 2])):
        *path, last = draw.choice([p for p in places(document) if p and p[0] not in ("format", "layerwise")])
        holder: Any = document
        for key in path:
            holder = holder[key]
        change = draw.choice(["replace", "replace", "remove", "double", "swap", "move"])
        if change == "remove":
            del holder[last]
        elif change == "double" and isinstance(holder, list):
            holder.insert(draw.randrange(len(holder) + 1), copy.deepcopy(holder[last]))
        elif change == "swap" and isinstance(holder, list):
            draw.shuffle(holder)
        elif change == "move":
            holder[last] = copy.deepcopy(draw.choice([value_at(document, p) for p in places(document)]))
        else:
            holder[last] = copy.deepcopy(draw.choice(STRANGE))
    return document


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize("target", ["price", "kind", "pass"])
def test_a_mutated_document_is_refused_or_is_a_whole_model(tmp_path, target):
    model = model_of(target)
    document, tensors = document_of(model, tmp_path / "m")
    draw = random.Random(target)
    data, outcomes, messages = columns(5), {"refused": 0, "whole": 0}, list[str]()
    tracemalloc.start()
    try:
        for _ in range(250):
            changed = mutated(document, draw)
            try:
                store.write(MODEL, tmp_path / "m", changed, tensors)
            except ModelFileError:  # not even JSON
                continue
            tracemalloc.reset_peak()
            try:
                found = load(tmp_path / "m")
            except ModelFileError as error:
                outcomes["refused"] += 1
                messages.append(str(error))
            else:
                outcomes["whole"] += 1
                found.save(tmp_path / "again")
                assert load(tmp_path / "again").network == found.network
                with np.errstate(all="ignore"):  # a scale of 1e308 is one that a fit could have found
                    try:
                        assert len(found.predict(data)) == 5
                    except LayerwiseError:  # a column of another name
                        assert changed["encoder"] != document["encoder"]
            assert tracemalloc.get_traced_memory()[1] < 20e6, changed
    finally:
        tracemalloc.stop()
    assert all(message.startswith(f"{tmp_path / 'm'} is not a usable model file: ") for message in messages)
    assert max(map(len, messages)) < len(str(tmp_path)) + 1000
    assert outcomes["refused"] > 125
    assert outcomes["whole"] > 15


def test_tensors_that_are_not_those_of_the_network(tmp_path):
    document, tensors = document_of(model_of("kind"), tmp_path / "m")
    W1, b1 = tensors["W1"], tensors["b1"]
    wrong: list[dict[str, np.ndarray]] = [
        {},
        {k: v for k, v in tensors.items() if k != "b2"},
        {**tensors, "W3": W1},
        {**tensors, "W1": W1.T.copy()},
        {**tensors, "W1": W1[:-1]},
        {**tensors, "W1": W1.reshape(-1)},
        {**tensors, "b1": b1[:, None]},
        {**tensors, "b1": b1[:0]},
        {**tensors, "b1": np.array(1.0)},
        {("w1" if k == "W1" else k): v for k, v in tensors.items()},
    ]
    for arrays in wrong:
        store.write(MODEL, tmp_path / "m", document, arrays)
        with pytest.raises(ModelFileError, match="is not a usable model file"):
            load(tmp_path / "m")


@pytest.mark.parametrize("width", [10**9, 2**62, 10**18, 10**300])
def test_a_huge_network_is_refused_without_memory_for_it(tmp_path, width):
    document, tensors = document_of(model_of("kind"), tmp_path / "m")
    for change in ("inputs", "layer", "both"):
        changed = copy.deepcopy(document)
        if change != "layer":
            changed["network"]["n_inputs"] = width
        if change != "inputs":
            changed["network"]["layers"][0]["width"] = width
        store.write(MODEL, tmp_path / "m", changed, tensors)
        tracemalloc.start()
        with pytest.raises(ModelFileError):
            load(tmp_path / "m")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5e6


def test_ten_thousand_layers_are_refused(tmp_path):
    document, tensors = document_of(model_of("kind"), tmp_path / "m")
    layer = document["network"]["layers"][0]
    document["network"]["layers"] = [layer] * 10_000
    store.write(MODEL, tmp_path / "m", document, tensors)
    with pytest.raises(ModelFileError):
        load(tmp_path / "m")


@pytest.mark.parametrize("key", ["network", "encoder", "target", "report"])
def test_a_missing_or_additional_entry(tmp_path, key):
    document, tensors = document_of(model_of("kind"), tmp_path / "m")
    for changed in ({k: v for k, v in document.items() if k != key}, {**document, f"{key}2": None}):
        store.write(MODEL, tmp_path / "m", changed, tensors)
        with pytest.raises(ModelFileError, match="its document has the entries"):
            load(tmp_path / "m")


def test_a_file_of_the_store_that_is_no_model(tmp_path):
    store.write(MODEL, tmp_path / "m", {"schema": []}, {"W1": np.zeros((2, 2))})
    with pytest.raises(ModelFileError, match="is not a usable model file"):
        load(tmp_path / "m")


def test_a_model_keeps_its_own_weights():
    net = lw.Network([2, 3], output="softmax")
    params = net.initialise(0)
    model = lw.Model(net, params)
    before = model.predict_proba(np.ones((1, 2)))
    params["W1"] *= np.nan
    np.testing.assert_array_equal(model.predict_proba(np.ones((1, 2))), before)
    with pytest.raises(ValueError, match="read-only"):
        model.params["W1"][0, 0] = 1.0
    with pytest.raises(lw.DataError, match="Model takes a network, then its weights; got dict first"):
        lw.Model(params, net)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_probabilities_of_two_classes_keep_their_digits(dtype):
    net = lw.Network([1, 1], output="sigmoid")
    model = lw.Model(net, {"W1": np.ones((1, 1), dtype), "b1": np.zeros(1, dtype)})
    for z in (18.0, 40.0, 80.0):
        low, high = model.predict_proba([[z]])[0]
        assert low == pytest.approx(np.exp(-z), rel=1e-6)
        assert model.predict_proba([[-z]])[0][1] == pytest.approx(np.exp(-z), rel=1e-6)
        assert high == pytest.approx(1.0)


@dataclass(frozen=True)
class _Own(lw.Schedule):
    """A schedule that no description names."""

    def at(self, moments: lw.Moments) -> Any:
        return np.full_like(moments.steps_done, 0.5)


def test_a_schedule_of_ones_own_stays_in_the_process_but_not_in_a_file(tmp_path: Path) -> None:
    net = lw.Network([lw.Input(2), lw.Dense(3, dropout=_Own()), lw.Dense(1)])
    params = net.initialise(0)
    for back in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert back == net
    model = Model(net, params)
    with pytest.raises(ModelFileError, match=r"nothing was written: Unknown kind of schedule '_Own'.*network\.folded"):
        model.save(tmp_path / "own")
    assert not list(tmp_path.iterdir())
    Model(*net.folded(params)).save(tmp_path / "own")
    np.testing.assert_array_equal(load(tmp_path / "own").outputs(np.ones((4, 2))), model.outputs(np.ones((4, 2))))
