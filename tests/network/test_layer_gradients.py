"""Networks that mix all options of layers: cost and gradients against plain formulas and a complex step, both forms."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import complex_step, cost, forward, random_layered_case

import layerwise as lw


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(100))
def test_every_entry_of_the_gradient(seed, training, engine):
    case = random_layered_case(seed)
    net = case.net
    value, gradients = net.cost_and_gradients(
        case.params, case.X, case.Y, case.weights, training=training, engine=engine
    )
    assert value == pytest.approx(cost(case, case.params, training).real, rel=1e-12, abs=1e-13)
    expected = complex_step(case, training, net.trained)
    assert list(gradients) == list(net.trained)
    largest = max(0.01, *(np.abs(g).max() for g in expected.values()))
    for name, g in gradients.items():
        # Normalised gradients are differences of nearly equal terms, hence 1e-12 of the largest entry.
        np.testing.assert_allclose(g, expected[name], rtol=1e-9, atol=1e-12 * largest, err_msg=f"{name}, {net!r}")


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("seed", range(60))
def test_outputs(seed, engine):
    case = random_layered_case(seed)
    _, expected = forward(case.net, case.params, case.X)
    np.testing.assert_allclose(case.net.forward(case.params, case.X, engine=engine), expected, rtol=1e-11, atol=1e-13)
    model = lw.Model(case.net, case.params, engine=engine)
    np.testing.assert_allclose(model.outputs(case.X), expected, rtol=1e-10, atol=1e-12)


def test_the_random_networks_reach_everything():
    nets = [random_layered_case(seed, random_parts=True).net for seed in range(100)]
    layers = [layer for net in nets for layer in net.layers]
    dense = [layer for layer in layers if isinstance(layer, lw.Dense)]
    assert {type(layer) for layer in layers} == {lw.Dense, lw.Scale, lw.Embedding}
    for name in ("bias", "residual"):
        assert {getattr(layer, name) for layer in dense} == {True, False}
    for name in ("l1", "l2", "max_norm", "dropout", "noise"):
        assert {bool(getattr(layer, name)) for layer in dense} == {True, False}
    assert {layer.normalisation for layer in dense} == {None, "batch", "layer"}
    assert {layer.parametrisation for layer in dense} == {"standard", "ntk"}
    assert {bool(net.loss.options) for net in nets} == {True, False}
