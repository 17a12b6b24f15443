"""Layers and their options: descriptions, what a training step makes of them, folding, starts that know the data."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from random_networks import random_layered_case
from scipy import stats

import layerwise as lw
from layerwise.network.build import step_graph

MIXED = lw.Network(
    [
        lw.Input(5),
        lw.Embedding({3: 4, 1: 7}, width=3),
        lw.Scale(),
        lw.Dense(6, "relu", dropout=0.2, noise=0.1, normalisation="batch", l1=1e-3, max_norm=2),
        lw.Dense(6, "tanh", "zeros", residual=True, normalisation="layer", bias=True),
        lw.Dense(3, "softmax", l2=0.5, parametrisation="ntk"),
    ],
    loss=lw.Loss("cross_entropy", label_smoothing=0.1),
)


# Descriptions ----------------------------------------------------------------------------------------


def test_parameters_layer_by_layer():
    assert MIXED.widths == (5, 9, 9, 6, 6, 3)
    assert MIXED.parameter_shapes == {
        "E1_1": (7, 3),
        "E1_3": (4, 3),
        "s2": (9,),
        "W3": (9, 6),
        **dict.fromkeys(["gamma3", "beta3", "mean3", "variance3"], (6,)),
        "W4": (6, 6),
        **dict.fromkeys(["b4", "gamma4", "beta4"], (6,)),
        "W5": (6, 3),
        "b5": (3,),
    }
    assert set(MIXED.parameter_shapes) - set(MIXED.trained) == {"mean3", "variance3"}
    assert MIXED.n_parameters == 7 * 3 + 4 * 3 + 9 + 9 * 6 + 2 * 6 + 6 * 6 + 3 * 6 + 6 * 3 + 3
    assert MIXED.output_layer == MIXED.layers[-1]


def test_only_what_is_no_default_is_shown():
    assert repr(MIXED) == (
        "Network([Input(5), Embedding({1: 7, 3: 4}, width=3), Scale(), Dense(6, 'relu', dropout=0.2, noise=0.1, "
        "normalisation='batch', l1=0.001, max_norm=2.0), Dense(6, 'tanh', initialiser=Initialiser('zeros'), bias=True, "
        "normalisation='layer', residual=True), Dense(3, 'softmax', l2=0.5, parametrisation='ntk')], "
        "loss='cross_entropy')"
    )
    assert repr(lw.Dense(3, "relu", dropout=0.0)) == "Dense(3, 'relu')"
    assert repr(lw.Dense(3, "relu", normalisation="batch", bias=False)) == "Dense(3, 'relu', normalisation='batch')"


@pytest.mark.parametrize("seed", range(30))
def test_descriptions_survive_json(seed):
    net = random_layered_case(seed, random_parts=True).net if seed else MIXED
    back = lw.Network.from_dict(json.loads(json.dumps(net.to_dict(), allow_nan=False)))
    assert back == net
    assert hash(back) == hash(net)
    assert repr(back) == repr(net)
    assert back.parameter_shapes == net.parameter_shapes


OLD = {
    "n_inputs": 2,
    "layers": [
        {
            "width": 3,
            "activation": {"name": "leaky_relu", "options": {"alpha": 0.2}},
            "initialiser": {"name": "he_normal", "options": {"gain": 1.0}},
            "bias": True,
        },
        {
            "width": 2,
            "activation": {"name": "softmax", "options": {}},
            "initialiser": {"name": "glorot_uniform", "options": {"gain": 1.0}},
            "bias": False,
        },
    ],
    "loss": {"name": "cross_entropy", "options": {}},
}
"""A description from before layers had options."""


def test_descriptions_from_before_there_were_options():
    net = lw.Network.from_dict(OLD)
    assert net == lw.Network(
        [lw.Input(2), lw.Dense(3, lw.Activation("leaky_relu", alpha=0.2)), lw.Dense(2, "softmax", bias=False)]
    )
    assert net.to_dict() == OLD
    # As they were drawn before, to the bit for the normal rule.
    W1 = [
        [-1.2326028278266465, 2.128201179605177, -0.7048002601678364],
        [-0.7580958800445708, 0.00954043910905021, -0.07582701139152775],
    ]
    params = net.initialise(5)
    assert params["W1"].tolist() == W1
    assert params["W2"][0].tolist() == [-0.2626931648317138, -0.7919982067708551]
    assert lw.Loss("cross_entropy", label_smoothing=0.0) == lw.Loss("cross_entropy")
    assert lw.Loss("cross_entropy").to_dict() == OLD["loss"]


def test_options_go_to_the_hidden_layers():
    net = lw.Network(
        [4, 8, 8, 3], output="softmax", dropout=0.1, noise=0.2, normalisation="batch", residual=True, l1=0.3, l2=0.4,
        max_norm=5, parametrisation="ntk",
    )  # fmt: skip
    more = {"dropout": 0.1, "noise": 0.2, "normalisation": "batch", "max_norm": 5}
    for_all = {"l1": 0.3, "l2": 0.4, "parametrisation": "ntk"}
    first, second = lw.Dense(8, "relu", **more, **for_all), lw.Dense(8, "relu", residual=True, **more, **for_all)
    assert net == lw.Network([lw.Input(4), first, second, lw.Dense(3, "softmax", **for_all)])


REFUSED = [
    (lambda: lw.Dense(3, dropout=1.0), lw.NetworkError, r"dropout of Dense must be a finite number >= 0 and < 1"),
    (lambda: lw.Dense(3, dropout=-0.1), lw.NetworkError, "dropout of Dense"),
    (lambda: lw.Dense(3, dropout="0.5"), lw.NetworkError, "got '0.5'"),
    (lambda: lw.Dense(3, noise=float("nan")), lw.NetworkError, "noise of Dense must be a finite number >= 0; got nan"),
    (lambda: lw.Dense(3, l1=-1), lw.NetworkError, "l1 of Dense"),
    (lambda: lw.Dense(3, l2=True), lw.NetworkError, "l2 of Dense"),
    (lambda: lw.Dense(3, max_norm=0), lw.NetworkError, "max_norm of Dense must be a finite number > 0; got 0"),
    (lambda: lw.Dense(3, normalisation="batchnorm"), lw.UnknownName, "Did you mean 'batch'"),
    (lambda: lw.Dense(3, parametrisation="NTK"), lw.UnknownName, "Did you mean 'ntk'"),
    (lambda: lw.Dense(1, normalisation="layer"), lw.NetworkError, "Layer normalisation of one unit"),
    (lambda: lw.Network([lw.Input(3), lw.Dense(4, residual=True), lw.Dense(1)]), lw.NetworkError,
     r"Layer 1 is residual, so it needs as many units as inputs; it has 4 units behind 3 inputs"),
    (lambda: lw.Network([3, 4, 1], residual=True), lw.NetworkError, r"residual needs a hidden layer .* \[3, 4, 1\]"),
    (lambda: lw.Network([lw.Input(3), lw.Dense(3, "tanh", residual=True)]), lw.NetworkError, "The last layer is resid"),
    (lambda: lw.Network([lw.Input(3), lw.Dense(3, dropout=0.5)]), lw.NetworkError, "The last layer has dropout 0.5"),
    (lambda: lw.Network([lw.Input(3), lw.Dense(3), lw.Scale()]), lw.NetworkError, "The last layer must be a Dense"),
    (lambda: lw.Network([lw.Input(3), lw.Scale(), lw.Embedding({0: 3}), lw.Dense(3)]), lw.NetworkError, "first layer"),
    (lambda: lw.Network([lw.Input(3), lw.Embedding({3: 3}), lw.Dense(3)]), lw.NetworkError, "takes column 3 of X"),
    (lambda: lw.Network([3, 4, 1], dropuot=0.1), lw.UnknownName, "Did you mean 'dropout'"),
    (lambda: lw.Network([3, 4, 1], dropout=2), lw.NetworkError, "dropout of Dense"),
    (lambda: lw.Network([lw.Input(3), lw.Dense(3)], dropout=0.2), lw.NetworkError, "its own options; give dropout to"),
    (lambda: lw.Embedding({}), lw.NetworkError, "Embedding takes columns of X"),
    (lambda: lw.Embedding(3), lw.NetworkError, "Embedding takes columns of X"),
    (lambda: lw.Embedding({0: 0}), lw.NetworkError, "a positive number of codes; got 0"),
    (lambda: lw.Embedding({"a": 3}), lw.NetworkError, "must be its number in X, from 0; got 'a'"),
    (lambda: lw.Embedding([(0, 3), (0, 4)]), lw.NetworkError, "each column once"),
    (lambda: lw.Embedding({0: 3}, width=0), lw.NetworkError, "The width of Embedding"),
    (lambda: lw.Loss("cross_entropy", label_smoothing=1.0), lw.NetworkError, "label_smoothing of loss"),
    (lambda: lw.Loss("cross_entropy", label_smoothing=-0.1), lw.NetworkError, "label_smoothing of loss"),
    (lambda: lw.Loss("squared_error", label_smoothing=0.1), lw.UnknownName, "label_smoothing"),
    (lambda: lw.Network.from_dict({**OLD, "layers": [{"kind": "conv"}]}), lw.UnknownName, "kind of layer 'conv'"),
    (lambda: lw.Network.from_dict({**OLD, "layers": [{"kind": "scale", "a": 1}]}), lw.NetworkError, "not describe"),
    (lambda: lw.Network.from_dict({**OLD, "layers": [{**OLD["layers"][0], "droput": 1}]}), lw.NetworkError, "droput"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "error", "message"), REFUSED)
def test_what_makes_no_network_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("value", "shown"), [(4.0, "4.0"), (-1.0, "-1.0"), (0.5, "0.5")], ids=["too large", "negative", "no whole number"]
)
def test_codes_are_checked_at_the_door(value, shown):
    net = lw.Network([lw.Input(3), lw.Embedding({2: 4}), lw.Dense(1)])
    X = np.ones((9, 3))
    X[5:7, 2] = value
    message = re.escape(
        f"Column 2 of X must hold codes for Embedding, whole numbers 0 .. 3; got {shown} at row 5 (2 rows"
    )
    params = net.initialise(0)
    for call in (
        lambda: net.forward(params, X),
        lambda: lw.train(net, X, np.ones(9)),
        lambda: lw.Model(net, params).predict(X),
        lambda: lw.Model(net, params, engine="numpy").predict(X),
        lambda: net.initialise(0, X=X),
    ):
        with pytest.raises(lw.DataError, match=message):
            call()


# Training steps --------------------------------------------------------------------------------------


def random_rows(n=200, columns=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, columns)), rng.integers(0, classes, n)


def training_values(net, node_of, params, X, labels, step=1, seed=0):
    graph = net.graph(labels=True, training=True)
    feeds = graph.feeds(params, X, labels, seed=seed, step=step)
    node = node_of(graph)
    used = lw.graph.differentiate.sources([node])
    return lw.evaluate(node, {k: v for k, v in feeds.items() if k in used})


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_dropout_keeps_the_expectation(rate):
    net = lw.Network([lw.Input(4), lw.Dense(50, "identity", dropout=rate), lw.Dense(3, "softmax")])
    X, labels = np.ones((1000, 4)), np.zeros(1000, int)
    params = {**net.initialise(0), "W1": np.full((4, 50), 0.25), "b1": np.zeros(50)}  # all activations are 1
    kept = [training_values(net, lambda g: g.activations[1], params, X, labels, step) for step in range(1, 5)]
    p = round(rate * 2**16) / 2**16
    assert set(np.unique(kept)) == {0.0, 1 / (1 - p)}
    # 200,000 draws: a rate that is off by 0.005 would be 4.5 standard errors away at the worst (0.5), and be found with
    # a probability of 0.93 by a bound of 3.
    zeros = np.mean(np.array(kept) == 0)
    assert abs(zeros - p) < 3 * np.sqrt(p * (1 - p) / np.size(kept))
    # No two masks are related: as many places agree as chance says.
    for a, b in pairwise(kept):
        assert abs(np.mean((a == 0) == (b == 0)) - (p**2 + (1 - p) ** 2)) < 0.01


def test_masks_differ_by_layer_step_and_seed_and_nothing_else():
    net = lw.Network([6, 6, 6, 3], hidden="identity", output="softmax", dropout=0.5)
    X, labels = random_rows()
    params = {name: np.eye(*W.shape) if W.ndim == 2 else np.zeros(W.shape) for name, W in net.initialise(0).items()}

    def masks(step=1, seed=0, X=X):
        first = training_values(net, lambda g: g.activations[1], params, X, labels[: len(X)], step, seed)
        both = training_values(net, lambda g: g.activations[2], params, X, labels[: len(X)], step, seed)
        return first != 0, both[first != 0] != 0, both

    first, second, values = masks()
    assert 0.4 < first.mean() < 0.6
    assert 0.4 < second.mean() < 0.6  # where the first one keeps, the second one decides anew
    again = masks()
    np.testing.assert_array_equal(again[2], values)
    assert (masks(step=2)[0] != first).mean() > 0.4
    assert (masks(seed=1)[0] != first).mean() > 0.4
    np.testing.assert_array_equal(masks(X=X[:50])[0], first[:50])  # a row's mask is that of its place in the batch


def test_noise_is_normal():
    net = lw.Network([lw.Input(40), lw.Dense(40, "identity", noise=0.5), lw.Dense(3, "softmax")])
    X, labels = random_rows(500, 40)
    params = {**net.initialise(0), "W1": np.eye(40), "b1": np.zeros(40)}
    noise = [training_values(net, lambda g: g.activations[1], params, X, labels, step) - X for step in (1, 2)]
    # Kolmogorov-Smirnov over 40,000 draws finds a deviation that is 2 % off; the seed is fixed.
    assert stats.kstest(np.ravel(noise), stats.norm(0, 0.5).cdf).pvalue > 0.01
    assert abs(np.corrcoef(*map(np.ravel, noise))[0, 1]) < 0.03
    assert np.isfinite(noise).all()


def test_a_rate_of_0_leaves_no_trace():
    plain = lw.Network([6, 8, 3], output="softmax")
    for options in ({"dropout": 0.0}, {"noise": 0.0}, {"dropout": 2.0**-18}, {"l1": 0.0, "l2": 0.0}):
        net = lw.Network([6, 8, 3], output="softmax", **options)
        assert net.graph(labels=True, training=True).cost is plain.graph(labels=True).cost
        assert net.graph(labels=True, training=True).address is None


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_no_column_is_longer_than_its_limit_after_any_step(engine):
    net = lw.Network([6, 9, 3], output="softmax", max_norm=0.7)
    X, labels = random_rows()
    lengths = []
    for steps in range(1, 9):
        fit = lw.train(net, X, labels, optimizer=lw.SGD(1.0), batch_size=None, epochs=steps, engine=engine)
        lengths.append(np.linalg.norm(fit.params["W1"], axis=0))
        # The limit, and the rounding of a sum of 6 squares, a root, a quotient and a product.
        assert lengths[-1].max() <= 0.7 * (1 + 1e-15 * 10)
        assert np.linalg.norm(fit.params["W2"], axis=0).max() > 0.7  # the last layer has none
    assert np.isclose(lengths, 0.7).any()
    assert (np.array(lengths) < 0.69).any()  # shorter ones are left as they are


def test_running_values_are_those_of_the_batches():
    """The recurrence by hand, for a layer whose pre-activations are the inputs."""
    net = lw.Network([lw.Input(3), lw.Dense(3, normalisation="batch"), lw.Dense(3, "softmax")])
    X, labels = random_rows(50, 3)
    X = 3 * X + 1
    params = {**net.initialise(0), "W1": np.eye(3)}
    mean, variance = np.zeros(3), np.ones(3)
    for epochs in (1, 2, 3):
        mean = 0.9 * mean + 0.1 * X.mean(axis=0)
        variance = 0.9 * variance + 0.1 * X.var(axis=0, ddof=1)
        fit = lw.train(net, X, labels, params=params, optimizer=lw.SGD(1e-14), batch_size=None, epochs=epochs)
        np.testing.assert_allclose(fit.params["mean1"], mean, rtol=1e-9)
        np.testing.assert_allclose(fit.params["variance1"], variance, rtol=1e-9)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_a_last_batch_of_one_row_leaves_the_running_values_as_they_are(engine):
    net = lw.Network([6, 8, 3], output="softmax", normalisation="batch")
    X, labels = random_rows(33)
    options = {"optimizer": lw.SGD(1e-14), "epochs": 1, "seed": 3, "engine": engine}
    whole = lw.train(net, X, labels, batch_size=32, **options).params
    order = lw.randomness.permutation(3, lw.randomness.Stream.SHUFFLE, 1, 33)[:32]
    first = lw.train(net, X[order], labels[order], batch_size=None, **options).params
    for name in ("mean1", "variance1"):
        assert np.isfinite(whole[name]).all()
        np.testing.assert_allclose(whole[name], first[name], rtol=1e-9)


@pytest.mark.parametrize(("rows", "batch_size"), [(20, 1), (1, None)])
def test_batches_of_one_row_are_refused_where_they_teach_nothing(rows, batch_size):
    net = lw.Network([6, 8, 3], output="softmax", normalisation="batch")
    X, labels = random_rows(rows)
    with pytest.raises(lw.DataError, match="Layer 1 has batch normalisation"):
        lw.train(net, X, labels, batch_size=batch_size)
    lw.train(lw.Network([6, 8, 3], output="softmax", normalisation="layer"), X, labels, batch_size=batch_size)


def test_a_step_needs_the_training_form():
    net = lw.Network([6, 8, 3], output="softmax", normalisation="batch")
    with pytest.raises(lw.NetworkError, match=r"must store mean1, variance1.* Network.graph\(training=True\)"):
        step_graph(net.graph(labels=True), lw.SGD(0.1))


def test_the_cost_of_a_fit_holds_the_penalty():
    net, plain = (lw.Network([6, 8, 3], output="softmax", **o) for o in ({"l1": 0.01, "l2": 0.1}, {}))
    X, labels = random_rows()
    params = net.initialise(0)
    penalty = sum(0.01 * np.abs(W).sum() + 0.05 * np.square(W).sum() for k, W in params.items() if k[0] == "W")
    without, _ = plain.cost_and_gradients(params, X, labels)
    fit = lw.train(net, X, labels, params=params, batch_size=None, epochs=1)
    assert fit.history.cost[0] == pytest.approx(without + penalty, rel=1e-12)
    assert net.cost_and_gradients(params, X, labels, training=True)[0] == pytest.approx(without + penalty, rel=1e-12)
    assert net.cost_and_gradients(params, X, labels)[0] == pytest.approx(without, rel=1e-14)


def test_label_smoothing_is_a_mixture_of_targets():
    X, labels = random_rows()
    smooth, plain = (
        lw.Network([6, 8, 3], output="softmax", loss=lw.Loss("cross_entropy", **o))
        for o in ({"label_smoothing": 0.2}, {})
    )
    params = plain.initialise(0)
    T = 0.8 * np.eye(3)[labels] + 0.2 / 3
    expected, gradients = plain.cost_and_gradients(params, X, T)
    for Y in (labels, np.eye(3)[labels]):
        cost, found = smooth.cost_and_gradients(params, X, Y)
        assert cost == pytest.approx(expected, rel=1e-13)
        for name, g in gradients.items():
            np.testing.assert_allclose(found[name], g, rtol=1e-10, atol=1e-14)


def test_label_smoothing_stays_one_instruction():
    net = lw.Network([6, 8, 3], output="softmax", loss=lw.Loss("cross_entropy", label_smoothing=0.1))
    kernels = [i.kernel for stage in lw.training_program(net).stages for job in stage for i in job.instructions]
    assert kernels.count("softmax_cross_entropy") == 1
    assert not {"softmax", "log_softmax", "row_reduce"} & set(kernels[:-1])


# Folding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(100))
def test_a_folded_network_predicts_the_same(seed):
    case = random_layered_case(seed, random_parts=True)
    net, params = case.net.folded(case.params)
    expected = case.net.pre_activation(case.params, case.X)
    # 1e-12 of the largest: what is folded is multiplied in another order.
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(net.pre_activation(params, case.X), expected, rtol=1e-12, atol=1e-12 * scale)
    for layer in net.layers:
        if isinstance(layer, lw.Dense):
            assert (layer.dropout, layer.noise, layer.l1, layer.l2, layer.max_norm) == (0, 0, 0, 0, None)
            assert layer.normalisation in (None, "layer")
            assert layer.parametrisation == "standard"


def test_what_folds_into_plain_layers_predicts_as_a_chain():
    net = lw.Network(
        [lw.Input(6), lw.Scale(), lw.Dense(9, "relu", normalisation="batch", dropout=0.3, parametrisation="ntk"),
         lw.Scale(), lw.Scale(), lw.Dense(3, "softmax")]
    )  # fmt: skip
    plain = lw.Network([6, 9, 3], output="softmax")
    X, labels = random_rows()
    params = lw.train(net, X, labels, optimizer=lw.Adam(0.05)).params
    folded, kept = net.folded(params)
    assert folded == lw.Network([lw.Input(6), lw.Dense(9, "relu"), lw.Dense(3, "softmax")]) == plain
    assert list(kept) == ["W1", "b1", "W2", "b2"]
    expected = net.forward(params, X, engine="numpy")
    np.testing.assert_allclose(lw.Model(net, params).outputs(X), expected, rtol=1e-12)
    np.testing.assert_array_equal(lw.Model(net, params).outputs(X), lw.Model(plain, kept).outputs(X))
    single = {name: array.astype(np.float32) for name, array in params.items()}
    assert all(array.dtype == np.float32 for array in net.folded(single)[1].values())


def test_a_plain_network_folds_to_itself():
    net = lw.Network([6, 9, 3], output="softmax")
    params = net.initialise(0)
    same, kept = net.folded(params)
    assert same is net
    assert all(kept[name] is W for name, W in params.items())


@pytest.mark.parametrize("options", [{"normalisation": "layer"}, {"normalisation": "batch"}, {"residual": True}])
def test_probabilities_of_one_output_by_any_way(options):
    net = lw.Network([6, 6, 1], output="sigmoid", **options)
    X, labels = random_rows(50, classes=2)
    X[0] *= 400  # 1 - sigmoid would be 0
    params = lw.train(net, X, labels, epochs=3).params
    native, defined = (lw.Model(net, params, engine=engine) for engine in ("native", "numpy"))
    np.testing.assert_allclose(native.predict_proba(X), defined.predict_proba(X), rtol=1e-10)
    assert (native.predict_proba(X) > 0).all()
    np.testing.assert_array_equal(native.predict(X), defined.predict(X))


def test_models_of_every_kind_of_network_are_saved_whole(tmp_path):
    for seed in range(10):
        case = random_layered_case(seed, random_parts=True)
        model = lw.Model(case.net, case.params)
        model.save(tmp_path / "model.layerwise")
        back = lw.load(tmp_path / "model.layerwise")
        assert back.network == case.net
        np.testing.assert_array_equal(back.outputs(case.X), model.outputs(case.X))


# Starts that know the data ---------------------------------------------------------------------------


def rows_with_codes(n=400):
    rng = np.random.default_rng(0)
    X = 5 * rng.normal(size=(n, 5)) - 3
    X[:, 1], X[:, 3] = rng.integers(0, 7, n), rng.integers(0, 4, n)
    return X


def test_a_start_on_rows_gives_every_unit_variance_1_and_a_kink_among_them():
    layers = [lw.Dense(30, "selu", parametrisation="ntk"), lw.Dense(30, "relu"), lw.Dense(2, "identity")]
    net = lw.Network([lw.Input(5), lw.Embedding({1: 7, 3: 4}), lw.Scale(), *layers])
    X = rows_with_codes()
    params = net.initialise(7, X=X)
    graph = net.graph()
    feeds = graph.forward_feeds(params, X)
    for Z in graph.pre_activations[2:]:
        used = lw.graph.differentiate.sources([Z])
        values = lw.evaluate(Z, {k: v for k, v in feeds.items() if k in used})
        np.testing.assert_allclose(values.std(axis=0), 1.0, rtol=1e-12)
        # b is minus a mixture of products, so 0 lies between the least and the largest.
        assert (values.min(axis=0) < 0).all()
        assert (values.max(axis=0) > 0).all()
    drawn = net.initialise(7)
    for name in ("E1_1", "E1_3", "s2"):
        np.testing.assert_array_equal(params[name], drawn[name])
    ratio = params["W3"] / drawn["W3"]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-12)
    again, other = net.initialise(7, X=X), net.initialise(8, X=X)
    assert all(np.array_equal(params[name], again[name]) for name in params)
    assert not np.array_equal(params["b3"], other["b3"])
    assert net.initialise(7, "float32", X=X)["W3"].dtype == np.float32


def test_mixtures_are_spread_evenly():
    """The place of the kink: five exponential weights, normalised, of rows drawn anew for each unit."""
    X = np.arange(1000.0)[:, None]
    net = lw.Network([1, 4000])
    params = net.initialise(0, X=X)
    kinks = -params["b1"] / params["W1"][0]  # where Z = 0, in units of X
    # The mean of 5 rows uniform on 0 … 999 under Dirichlet(1, …, 1): mean 499.5, variance σ²·Σw² = σ²/3.
    sigma = np.sqrt((1000**2 - 1) / 12 / 3)
    assert abs(kinks.mean() - 499.5) < 4 * sigma / np.sqrt(4000)
    assert abs(kinks.std() / sigma - 1) < 0.05
    assert kinks.min() > 0
    assert kinks.max() < 999


def test_constant_columns_start_as_they_were_drawn():
    net = lw.Network([3, 4, 1], normalisation="batch")
    params = net.initialise(0, X=np.ones((5, 3)))
    assert all(np.isfinite(W).all() for W in params.values())
    np.testing.assert_array_equal(params["W1"], net.initialise(0)["W1"])
    with pytest.raises(lw.DataError, match="X has no rows"):
        net.initialise(0, X=np.ones((0, 3)))
