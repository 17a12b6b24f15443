"""Networks as descriptions: what makes one, what does not, and that a description survives every journey."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import layerwise as lw

NETWORKS = [
    lw.Network([3, 1]),
    lw.Network([784, 1000, 10], hidden="relu", output="softmax"),
    lw.Network([2, 5, 3, 1], hidden=lw.Activation("leaky_relu", alpha=0.2), loss=lw.Loss("huber", delta=0.1)),
    lw.Network(
        [
            lw.Input(4),
            lw.Dense(3, "tanh", bias=False),
            lw.Dense(2, lw.Activation("elu", alpha=0.5), lw.Initialiser("normal", scale=0.3)),
            lw.Dense(2, "sigmoid", "zeros"),
        ],
        loss="half_squared_error",
    ),
]
networks = pytest.mark.parametrize("net", NETWORKS, ids=repr)


def test_widths_alone_are_enough():
    net = lw.Network([4, 16, 8, 2])
    assert net.widths == (4, 16, 8, 2)
    assert [layer.activation.name for layer in net.layers] == ["relu", "relu", "identity"]
    assert net.loss == lw.Loss("squared_error")
    assert all(layer.bias for layer in net.layers)


def test_layers_give_the_same_network_as_widths():
    layers = [lw.Input(4), lw.Dense(16, "tanh"), lw.Dense(2, "softmax")]
    assert lw.Network(layers) == lw.Network([4, 16, 2], hidden="tanh", output="softmax")


def test_parameters_are_named_and_shaped_by_layer():
    assert NETWORKS[3].parameter_shapes == {"W1": (4, 3), "W2": (3, 2), "b2": (2,), "W3": (2, 2), "b3": (2,)}
    assert NETWORKS[3].n_parameters == 12 + 6 + 2 + 4 + 2
    assert NETWORKS[1].n_parameters == 784 * 1000 + 1000 + 1000 * 10 + 10
    assert list(NETWORKS[2].parameter_shapes) == ["W1", "b1", "W2", "b2", "W3", "b3"]


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("softmax", "cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("exp", "poisson"),
        ("identity", "squared_error"),
        ("tanh", "squared_error"),
        ("softplus", "squared_error"),
    ],
)
def test_the_usual_loss_of_an_output(output, loss):
    assert lw.Network([2, 3], output=output).loss.name == loss


@networks
@pytest.mark.parametrize(
    "journey",
    [
        lambda net: lw.Network.from_dict(net.to_dict()),
        lambda net: lw.Network.from_dict(json.loads(json.dumps(net.to_dict(), allow_nan=False))),
        lambda net: pickle.loads(pickle.dumps(net)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=["dict", "json", "pickle", "copy", "deepcopy"],
)
def test_a_network_survives(net, journey):
    net.forward(net.initialise(0), np.zeros((1, net.widths[0])))  # what it keeps for the next call does not travel
    back = journey(net)
    assert back == net
    assert hash(back) == hash(net)
    assert back.to_dict() == net.to_dict()
    assert repr(back) == repr(net)
    for name, W in net.initialise(3).items():
        np.testing.assert_array_equal(back.initialise(3)[name], W)


def test_networks_that_differ_are_not_equal():
    other = [
        lw.Network([3, 2]),
        lw.Network([4, 1]),
        lw.Network([3, 1], output="tanh"),
        lw.Network([3, 1], loss="huber"),
        lw.Network([3, 1], loss=lw.Loss("huber", delta=2)),
        lw.Network([lw.Input(3), lw.Dense(1, bias=False)]),
        lw.Network([lw.Input(3), lw.Dense(1, initialiser="zeros")]),
        lw.Network([3, 1, 1]),
    ]
    assert len({NETWORKS[0], *other}) == len(other) + 1
    assert NETWORKS[0] != "a network"


@pytest.mark.parametrize("thing", [NETWORKS[0], lw.Dense(3), lw.Input(3), lw.Activation("elu"), lw.SGD(0.1)])
def test_nothing_can_be_changed(thing):
    with pytest.raises((lw.NetworkError, AttributeError)):
        thing.width = thing.loss = thing.name = thing.learning_rate = 5


@pytest.mark.parametrize("width", [0, -1, 2.5, True, "3", None, np.float64(3), [3], float("nan")])
def test_widths_are_positive_integers(width):
    for build in (
        lambda: lw.Network([width, 3]),
        lambda: lw.Network([3, width]),
        lambda: lw.Network([3, width, 2]),
        lambda: lw.Dense(width),
        lambda: lw.Input(width),
    ):
        with pytest.raises(lw.NetworkError, match=r"must be a positive integer; got ") as raised:
            build()
        assert repr(width) in str(raised.value)


def test_a_width_of_zero_is_a_layer_to_leave_out():
    with pytest.raises(lw.NetworkError, match="Leave the layer out"):
        lw.Network([3, 0, 2])


def test_integers_of_numpy_are_integers():
    net = lw.Network([np.int64(3), np.uint8(4), np.int32(1)])
    assert net == lw.Network([3, 4, 1])
    assert json.dumps(net.to_dict()) == json.dumps(lw.Network([3, 4, 1]).to_dict())
    assert lw.Dense(np.int64(4)) == lw.Dense(4)
    assert lw.Activation("elu", alpha=np.float32(0.5)) == lw.Activation("elu", alpha=0.5)


@pytest.mark.parametrize("layers", [[], [3], (), 3, None, "3 4", {3: 4}, np.array([3, 4])])
def test_a_network_needs_a_list_of_two_or_more(layers):
    with pytest.raises(lw.NetworkError, match=r"at least one layer, such as \[4, 16, 3\]; got "):
        lw.Network(layers)


@pytest.mark.parametrize(
    ("layers", "hint"),
    [
        ([lw.Dense(3), lw.Dense(2)], r"starts with Input\(n\)"),
        ([3, lw.Dense(2)], r"starts with Input\(n\)"),
        ([lw.Input(3), 2], "After Input come Dense layers, Scale or Embedding; got 2"),
        ([lw.Input(3), lw.Input(2)], "After Input come Dense layers, Scale or Embedding; got Input"),
    ],
)
def test_layers_and_widths_are_not_mixed(layers, hint):
    with pytest.raises(lw.NetworkError, match=hint):
        lw.Network(layers)


@pytest.mark.parametrize("more", [{"hidden": "relu"}, {"output": "softmax"}])
def test_layers_carry_their_own_activations(more):
    with pytest.raises(lw.NetworkError, match="leave hidden and output out"):
        lw.Network([lw.Input(3), lw.Dense(2)], **more)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("rlu", "relu"), ("ReLU", "relu"), ("soft_max", "softmax"), ("leakyrelu", "leaky_relu"), ("Tanh", "tanh")],
)
def test_an_unknown_activation_is_met_with_the_nearest(wrong, right):
    with pytest.raises(lw.UnknownName, match=f"Did you mean '{right}'") as raised:
        lw.Network([2, 3, 1], hidden=wrong)
    assert repr(wrong) in str(raised.value)
    assert "hardtanh" in str(raised.value)


@pytest.mark.parametrize(
    ("make", "nearest"),
    [
        (lambda: lw.Loss("crossentropy"), "cross_entropy"),
        (lambda: lw.Network([2, 1], loss="squarederror"), "squared_error"),
        (lambda: lw.Initialiser("glorot"), "glorot_"),
        (lambda: lw.Dense(3, initialiser="henormal"), "he_normal"),
        (lambda: lw.Activation("leaky_relu", alfa=0.1), "alpha"),
        (lambda: lw.Loss("pinball", quantil=0.1), "quantile"),
        (lambda: lw.Initialiser("normal", scal=0.1), "scale"),
    ],
)
def test_other_unknown_names_too(make, nearest):
    with pytest.raises(lw.UnknownName, match=f"Did you mean '{nearest}"):
        make()


@pytest.mark.parametrize("nothing", ["hidden", "output", "loss"])
def test_an_empty_name_is_not_the_default(nothing):
    with pytest.raises(lw.UnknownName):
        lw.Network([2, 3, 1], **{nothing: ""})


def test_an_option_of_an_activation_without_options():
    with pytest.raises(lw.UnknownName, match="option of activation 'relu' 'alpha'"):
        lw.Activation("relu", alpha=0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.1", None, True, [0.1]])
def test_options_are_finite_numbers(value):
    with pytest.raises(lw.NetworkError, match=r"alpha of activation 'leaky_relu' must be a finite number; got "):
        lw.Activation("leaky_relu", alpha=value)


@pytest.mark.parametrize(
    ("name", "option", "values"), [("pinball", "quantile", [0, 1, -0.1, 1.5]), ("huber", "delta", [0, -1])]
)
def test_options_lie_in_their_range(name, option, values):
    for value in values:
        with pytest.raises(
            lw.NetworkError, match=f"Option {option} of loss '{name}' must lie between 0 and (1|inf); got {value:g}"
        ):
            lw.Loss(name, **{option: value})


@pytest.mark.parametrize("value", [3, None, {"name": "relu"}, ["relu"]])
def test_what_is_no_name_is_no_activation(value):
    with pytest.raises(lw.NetworkError, match=r"layerwise.Activation\(name, ...\); got "):
        lw.Dense(3, value)


@pytest.mark.parametrize(
    ("output", "loss", "advice"),
    [
        ("softmax", "squared_error", "Use loss='cross_entropy'"),
        ("log_softmax", "huber", "Use loss='cross_entropy' with output='softmax'"),
        ("identity", "cross_entropy", "Use output='softmax'"),
        ("softmax", "binary_cross_entropy", "Use loss='cross_entropy'"),
        ("sigmoid", "cross_entropy", "Use loss='binary_cross_entropy'"),
        ("exp", "hinge", "Use loss='poisson'"),
        ("identity", "poisson", "Use output='exp'"),
        ("tanh", "binary_cross_entropy", "Use output='sigmoid'"),
    ],
)
def test_a_loss_that_does_not_fit_comes_with_what_does(output, loss, advice):
    with pytest.raises(lw.NetworkError, match=advice):
        lw.Network([2, 3], output=output, loss=loss)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"n_inputs": 3, "layers": [], "loss": "squared_error"},
        {"n_inputs": 3, "layers": 5, "loss": "squared_error"},
        {"n_inputs": 3, "layers": [{"width": 2, "act": "relu"}], "loss": "squared_error"},
        {"n_inputs": 3, "layers": [{"width": "2"}], "loss": "squared_error"},
        {"n_inputs": True, "layers": [{"width": 2}], "loss": "squared_error"},
        {"n_inputs": 3, "layers": [{"width": 2}], "loss": {"name": "huber", "options": 3}},
        {"n_inputs": 3, "layers": [{"width": 2}], "loss": "squared_error", "more": 1},
        {"n_inputs": 3, "layers": ["relu"], "loss": "squared_error"},
    ],
    ids=repr,
)
def test_what_describes_no_network_is_refused(data):
    with pytest.raises(lw.NetworkError):
        lw.Network.from_dict(data)


def test_labels_are_for_cross_entropy():
    with pytest.raises(lw.NetworkError, match="'squared_error' takes numbers as targets, not labels"):
        lw.Network([2, 3]).graph(labels=True)
    assert lw.Network([2, 3], output="softmax").graph(labels=True).targets.shape == ("N",)


def test_the_graph_names_all_its_nodes():
    net = lw.Network([2, 4, 3], hidden="tanh")
    graph = net.graph(weighted=True)
    assert graph.inputs.shape == ("N", 2)
    assert graph.targets.shape == ("N", 3)
    assert graph.sample_weight.shape == graph.losses.shape == ("N",)
    assert graph.cost.shape == ()
    assert [z.shape for z in graph.pre_activations] == [("N", 4), ("N", 3)]
    assert [a.shape for a in graph.activations] == [("N", 2), ("N", 4), ("N", 3)]
    assert graph.activations[0] is graph.inputs
    assert graph.output is graph.activations[-1]
    assert {k: p.shape for k, p in graph.parameters.items()} == net.parameter_shapes
    assert net.graph().sample_weight is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lw.SGD(0), "learning_rate of SGD must be a finite number > 0; got 0"),
        (lambda: lw.SGD(-0.1), "must be a finite number > 0; got -0.1"),
        (lambda: lw.SGD(float("nan")), "must be a finite number > 0; got nan"),
        (lambda: lw.SGD(float("inf")), "must be a finite number > 0; got inf"),
        (lambda: lw.SGD("0.1"), "must be a finite number > 0; got '0.1'"),
        (lambda: lw.SGD(True), "must be a finite number > 0; got True"),
        (lambda: lw.Momentum(0.1, -0.5), "momentum of Momentum must be a finite number >= 0; got -0.5"),
        (lambda: lw.Momentum(0.1, 1.0), "momentum of Momentum must be below 1.0; got 1.0"),
        (lambda: lw.Momentum(0.1, 2), "must be below 1.0; got 2"),
    ],
)
def test_update_rules_check_their_numbers(make, message):
    with pytest.raises(lw.DataError, match=message):
        make()


def test_update_rules_take_numbers_of_numpy():
    assert lw.SGD(np.float64(0.25)) == lw.SGD(np.float32(0.25)) == lw.SGD(0.25)
    assert repr(lw.SGD(np.float64(0.25))) == "SGD(learning_rate=0.25)"
    assert lw.Momentum(np.int64(1), 0).hyperparameters == {"learning_rate": 1.0, "momentum": 0.0}


def test_names_of_other_libraries_are_translated():
    for name, ours in {"mse": "squared_error", "BCELoss": "binary_cross_entropy", "mae": "absolute_error"}.items():
        with pytest.raises(lw.UnknownName, match=f"Unknown loss '{name}'. Did you mean '{ours}'"):
            lw.Network([2, 1], loss=name)
    with pytest.raises(lw.UnknownName, match=r"Unknown activation 'swish'\. Did you mean 'silu'"):
        lw.Dense(3, "swish")


def test_a_softmax_over_one_output_is_refused_with_advice():
    with pytest.raises(lw.NetworkError, match="For two classes use one output with output='sigmoid'"):
        lw.Network([4, 1], output="softmax")


def test_an_activation_that_no_layer_uses_is_checked_too():
    with pytest.raises(lw.UnknownName, match="nonsense"):
        lw.Network([2, 3], hidden="nonsense")


def test_what_a_network_hands_out_is_not_its_own():
    net = lw.Network([lw.Input(2), lw.Dense(3, lw.Activation("leaky_relu", alpha=0.2))])
    number = hash(net)
    net.parameter_shapes.clear()
    net.layers[0].activation.options["alpha"] = 7.0
    assert hash(net) == number
    assert list(net.parameter_shapes) == ["W1", "b1"]
    assert net.layers[0].activation.options == {"alpha": 0.2}


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("f4")])
def test_a_precision_may_be_given_as_numpy_does(dtype):
    assert lw.Network([2, 3]).initialise(dtype=dtype)["W1"].dtype == np.float32


def test_the_last_pre_activation():
    net = lw.Network([2, 3, 1], output="sigmoid")
    params, X = net.initialise(3), np.linspace(-1, 1, 8).reshape(4, 2)
    Z = np.maximum(X @ params["W1"] + params["b1"], 0) @ params["W2"] + params["b2"]
    np.testing.assert_allclose(net.pre_activation(params, X), Z, rtol=1e-14)
    np.testing.assert_allclose(net.forward(params, X), 1 / (1 + np.exp(-Z)), rtol=1e-14)
