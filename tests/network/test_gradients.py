"""Gradients of whole networks: 500 random ones, entry by entry, against derivatives by a complex step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from random_networks import ACTIVATIONS, COUPLED, LOSSES, OUTPUTS, complex_step, cost, random_case

import layerwise as lw

# NumPy's |z| of a complex number is its modulus, which is not analytic, and there is no complex erf here.
NOT_ANALYTIC = {"gelu", "softsign", "absolute_error", "huber", "log_cosh"}


def names(net):
    return {net.loss.name, *(layer.activation.name for layer in net.layers)}


@pytest.mark.parametrize("seed", range(500))
def test_every_entry_of_the_gradient_of_a_random_network(seed):
    case = random_case(seed)
    value, gradients = case.net.cost_and_gradients(case.params, case.X, case.Y, case.weights)
    # 1e-12: the formulas compared with lose up to four digits of sixteen.
    assert value == pytest.approx(cost(case, case.params).real, rel=1e-12, abs=1e-13)
    expected = complex_step(case)
    # Where softmax has one unit all gradients are 0, and the formulas compared with leave 1e-17; hence not below 0.01.
    largest = max(0.01, *(np.abs(g).max() for g in expected.values()))
    assert list(gradients) == list(case.net.parameter_shapes)
    for name, g in gradients.items():
        assert g.shape == case.params[name].shape
        # An entry is a sum in which larger terms may cancel: beside its own 1e-9, rounding of the largest entry
        # is allowed for, 1e-13 of it.
        np.testing.assert_allclose(g, expected[name], rtol=1e-9, atol=1e-13 * largest, err_msg=f"{name}, {case.net!r}")


@pytest.mark.parametrize("seed", range(1000, 1100))
def test_the_graph_run_with_a_complex_step_gives_the_derivative_along_a_direction(seed):
    cases = map(random_case, itertools.count(1000 * seed))
    case = next(c for c in cases if not names(c.net) & NOT_ANALYTIC)
    graph = case.net.graph(labels=case.Y.ndim == 1, weighted=case.weights is not None)
    rng = np.random.default_rng(seed)
    direction = {name: rng.normal(size=W.shape) for name, W in case.params.items()}
    moved = {k: W + 1e-30j * direction[k] for k, W in case.params.items()}
    weights = None if case.weights is None else case.weights / np.mean(case.weights)
    feeds = graph.feeds(moved, case.X, case.Y, weights)
    slope = lw.evaluate(graph.cost, feeds, dtype="complex128").imag / 1e-30
    _, gradients = case.net.cost_and_gradients(case.params, case.X, case.Y, case.weights)
    terms = [gradients[k] * direction[k] for k in gradients]
    size = sum(np.abs(t).sum() for t in terms)
    assert sum(t.sum() for t in terms) == pytest.approx(slope, rel=1e-9, abs=1e-13 * size)


def test_the_random_networks_reach_everything():
    cases = [random_case(seed) for seed in range(500)]
    assert {name for c in cases for name in names(c.net)} == {*ACTIVATIONS, *LOSSES}
    assert {len(c.net.layers) for c in cases} == {1, 2, 3, 4, 5}
    assert {(c.weights is None, c.Y.ndim) for c in cases} == {(False, 1), (False, 2), (True, 1), (True, 2)}
    assert {layer.bias for c in cases for layer in c.net.layers} == {True, False}
    assert {layer.activation.name for c in cases for layer in c.net.layers[:-1]} == set(ACTIVATIONS)


def test_the_formulas_cover_every_activation_and_loss_of_the_library():
    assert set(ACTIVATIONS) == set(lw.Activation.known)
    assert set(LOSSES) == set(lw.Loss.known)


@pytest.mark.parametrize("output", sorted(ACTIVATIONS))
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_which_losses_fit_which_outputs(loss, output):
    fits = output in OUTPUTS[loss] if loss in OUTPUTS else output not in COUPLED
    if fits:
        assert lw.Network([2, 3], output=output, loss=loss).loss.name == loss
    else:
        with pytest.raises(lw.NetworkError, match=r"[Uu]se "):
            lw.Network([2, 3], output=output, loss=loss)
