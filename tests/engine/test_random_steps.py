"""Training steps that draw random numbers: every engine draws the same ones, and a step done again draws its own."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

import layerwise as lw
from layerwise.engine.native_training import NativeTraining
from layerwise.engine.training import Data, NumpyTraining, Run, Step
from layerwise.graph.node import Node
from layerwise.ops.random import uniform
from layerwise.randomness import Stream, permutation, uniform_matrix

SEED = 2**63 + 11
ADDRESS = lw.input("address", (2,), "integer")


def dropped(A: Node, rate: float, stream: int) -> Node:
    """A with a part of its elements 0, and the others larger."""
    return A * lw.where(uniform(ADDRESS, dims=A.shape, stream=stream) >= rate, 1 / (1 - rate), 0.0)


def dropout_step(widths=(7, 33, 20, 3), learning_rate: float = 0.1, activation=lw.tanh) -> tuple[Step, list[Node]]:
    """SGD on half the squared error of a network with noise on its inputs and dropout behind its hidden layers."""
    X, Y = lw.input("X", ("N", widths[0])), lw.input("Y", ("N", widths[-1]))
    eta = lw.input("eta", ())
    weights: list[Node] = []
    A = X + 0.1 * (uniform(ADDRESS, dims=X.shape, stream=0, bits=24) - 0.5)
    P = X  # the same without what is random
    for number, (n_in, n_out) in enumerate(itertools.pairwise(widths), start=1):
        W, b = lw.parameter(f"W{number}", (n_in, n_out)), lw.parameter(f"b{number}", (n_out,))
        weights += [W, b]
        Z, U = lw.affine(A, W, b), lw.affine(P, W, b)
        A = Z if n_out == widths[-1] else dropped(activation(Z), 0.25, number)
        P = U if n_out == widths[-1] else activation(U)
    cost = lw.mean(lw.half_squared_error(A, Y))
    stores = {W: W - eta * g for W, g in zip(weights, lw.gradient(cost, weights), strict=True)}

    def scalars(numbers):
        return {eta: learning_rate + 0.0 * np.asarray(numbers)}

    return Step(cost, (lw.half_squared_error(P, Y),), stores, tuple(weights), (X, Y), (eta,), scalars, ADDRESS), weights


def problem(weights: list[Node], n: int = 100, batch_size: int = 32, scale: float = 1.0) -> tuple[Data, dict]:
    rng = np.random.default_rng(1)
    start = {W: scale * rng.normal(size=W.shape) / math.sqrt(W.shape[0]) for W in weights}
    n_in, n_out = weights[0].shape[0], weights[-1].shape[0]
    tables = rng.normal(size=(n, int(n_in))), rng.normal(size=(n, int(n_out)))
    return Data(tables, batch_size, SEED), start


def digest(training) -> bytes:
    return b"".join(W.tobytes() for W in training.values().values())


@pytest.mark.parametrize(("n", "batch_size"), [(100, 32), (96, 32), (33, 1), (70, 70), (101, 100)])
def test_both_engines_train_alike(n: int, batch_size: int) -> None:
    # So slow that steps do not amplify differences.
    step, weights = dropout_step(learning_rate=0.01)
    data, start = problem(weights, n, batch_size)
    trainings = [kind(step, data, start, "float64") for kind in (NativeTraining, NumpyTraining)]
    for first, epochs in [(1, 2), (3, 3), (6, 1)]:
        native_outcome, numpy_outcome = (t.run(Run(first, epochs)) for t in trainings)
        np.testing.assert_allclose(native_outcome.costs, numpy_outcome.costs, rtol=1e-10)
        for rows in (slice(20), np.array([3, 1])):
            # At the weights after the run, without what is random.
            losses = [t.measure(data.tables, rows)[0] for t in trainings]
            np.testing.assert_allclose(*losses, rtol=1e-10)
    native_values, numpy_values = (t.values() for t in trainings)
    for W in weights:
        np.testing.assert_allclose(native_values[W], numpy_values[W], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_every_number_of_threads(dtype: str, monkeypatch) -> None:
    step, weights = dropout_step((7, 300, 20, 3))
    data, start = problem(weights, 600, 256)
    found = set()
    for threads in (1, 2, 8):
        monkeypatch.setenv("LAYERWISE_NUM_THREADS", str(threads))
        training = NativeTraining(step, data, start, dtype)
        training.run(Run(1, 3))
        found.add(digest(training))
    assert len(found) == 1


def showing_step() -> tuple[Step, Node]:
    """A step after which the weights say which numbers it drew."""
    X, W = lw.input("X", ("N", 5)), lw.parameter("W", (5,))
    drawn = lw.sum(uniform(ADDRESS, dims=("N", 5), stream=9, bits=24) * X, axis=0)
    return Step(lw.sum(drawn), (X * W,), {W: drawn}, (W,), (X,), (), lambda _: {}, ADDRESS), W


@pytest.mark.parametrize("kind", [NativeTraining, NumpyTraining])
@pytest.mark.parametrize(("n", "batch_size"), [(20, 8), (24, 8), (6, 6)])
def test_every_step_has_numbers_of_its_own(kind, n: int, batch_size: int) -> None:
    step, W = showing_step()
    X = np.random.default_rng(3).normal(size=(n, 5))
    data = Data((X,), batch_size, SEED)
    training = kind(step, data, {W: np.zeros(5)}, "float64")
    number, seen = 0, set()
    for epoch in range(1, 7):
        training.run(Run(epoch, 1))
        number += data.steps
        rows = list(data.batches(epoch))[-1]
        part = X[rows]
        expected = (uniform_matrix(SEED, number, 9, len(part), 5, 24) * part).sum(axis=0)
        (got,) = training.values().values()
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        np.testing.assert_allclose(training.measure((X,), slice(4))[0], X[:4] * got, rtol=1e-12)
        seen.add(got.tobytes())
    assert len(seen) == 6


@pytest.mark.parametrize(("n", "batch_size"), [(100, 32), (64, 64)])
@pytest.mark.parametrize("epochs", [1, 3, 70])
def test_a_step_is_undone_with_the_numbers_it_was_made_with(n: int, batch_size: int, epochs: int) -> None:
    """The steps since the last copy of the state are done again, up to the one that is undone."""
    step, weights = dropout_step(learning_rate=0.01)
    data, start = problem(weights, n, batch_size)
    trainings = [kind(step, data, start, "float64") for kind in (NativeTraining, NumpyTraining)]
    for training in trainings:
        training.run(Run(1, epochs))
        training.step_back()
        assert training.steps_done == epochs * data.steps
    for W, value in trainings[1].values().items():
        np.testing.assert_allclose(trainings[0].values()[W], value, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(*(t.measure(data.tables, slice(20))[0] for t in trainings), rtol=1e-10)


def test_a_step_done_again_has_the_same_bits() -> None:
    step, weights = dropout_step(learning_rate=0.01)
    data, start = problem(weights, 96, 32)
    whole, undone = (NativeTraining(step, data, start, "float64") for _ in range(2))
    single = native_single_steps(step, data, start, 3 * data.steps - 1)
    whole.run(Run(1, 3))
    undone.run(Run(1, 2))
    undone.run(Run(3, 1))
    assert digest(whole) == digest(undone)
    undone.step_back()
    assert digest(undone) == single


def native_single_steps(step: Step, data: Data, start: dict, most: int) -> bytes:
    """The same steps, each on a data set of its own batch, so that nothing is ever done again."""
    values = {W: np.asarray(start[W], np.float64) for W in step.stores}
    number = 0
    for epoch in range(1, 100):
        order = permutation(SEED, Stream.SHUFFLE, epoch, data.n_rows)
        for first in range(0, data.n_rows, data.batch_size):
            if number == most:
                return b"".join(W.tobytes() for W in values.values())
            rows = order[first : first + data.batch_size]
            one = NativeTraining(step, Data(tuple(t[rows] for t in data.tables), len(rows), SEED), values, "float64")
            one._trainer.steps = number
            one.run(Run(1, 1))
            values = one.values()
            number += 1
    raise AssertionError("there are not so many steps")


@pytest.mark.parametrize("batch_size", [16, 60])
@pytest.mark.parametrize("rate", [30.0, 1e4, 1e160])
def test_a_fit_that_diverges_ends_at_the_same_step(rate: float, batch_size: int) -> None:
    # With relu all is products and sums, whose relative differences stay small however large they become.
    step, weights = dropout_step((5, 8, 2), rate, lw.relu)
    data, start = problem(weights, 60, batch_size, scale=3.0)
    trainings = [kind(step, data, start, "float64") for kind in (NativeTraining, NumpyTraining)]
    outcomes = [t.run(Run(1, 200)) for t in trainings]
    assert outcomes[0].stopped == outcomes[1].stopped
    assert outcomes[0].stopped in ("cost", "weights")
    assert len(outcomes[0].costs) == len(outcomes[1].costs)
    assert trainings[0].steps_done == trainings[1].steps_done
    for W, value in trainings[1].values().items():
        np.testing.assert_allclose(trainings[0].values()[W], value, rtol=1e-6)


@pytest.mark.parametrize("kind", [NativeTraining, NumpyTraining])
def test_a_step_need_not_draw_what_it_may(kind) -> None:
    step, W = showing_step()
    X = np.ones((6, 5))
    plain = dataclasses.replace(step, cost=lw.sum(W), stores={W: W * 0.5 + lw.sum(step.tables[0], axis=0)})
    training = kind(plain, Data((X,), 4, SEED), {W: np.zeros(5)}, "float64")
    assert not training.run(Run(1, 2)).stopped
