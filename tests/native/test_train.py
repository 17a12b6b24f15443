"""The training loop against the same steps one by one, and against NumPy; what ends it, and what it leaves."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from program_networks import at, network, numpy_step, random
from program_words import Words

from layerwise.randomness import Stream, permutation, uniform_matrix

native = importlib.import_module("layerwise._native")  # only the engine may import it by name
DTYPES = ["float32", "float64"]
SEED = 5


@dataclass
class Fit:
    """A trainer and what it works on. The same numbers can be had step by step (see `steps`)."""

    dtype: str
    N: int
    batch: int
    shuffled: bool = True
    gather: bool = True
    cost_last: bool = False

    def __post_init__(self) -> None:
        self.rest = self.N % self.batch
        self.words, _, self.state = network(self.dtype, self.batch, gather=self.gather, cost_last=self.cost_last)
        self.last_words = None
        if self.rest:
            self.last_words = network(self.dtype, self.rest, gather=self.gather, cost_last=self.cost_last)[0]
        self.X, self.Y = random(3, self.N, 5, dtype=self.dtype), random(4, self.N, 3, dtype=self.dtype)
        self.cost = np.zeros((1, 1), self.dtype)
        self.bound = [self.cost] if self.gather else [self.X, self.Y, self.cost]
        self.start = self.state.copy()

    def trainer(self):
        kind = native.Trainer32 if self.dtype == "float32" else native.Trainer64
        p = self.words
        ranges = [[p.values[v][2], p.values[v][3] * p.values[v][4]] for v in p.weights]
        return kind(
            p.load(),
            self.last_words.load() if self.last_words else None,
            state=self.state,
            bound=self.bound,
            last_bound=self.bound if self.last_words else None,
            sources=[self.X, self.Y] if self.gather else None,
            rows=self.N,
            batch=self.batch,
            parameters=np.array(ranges),
            cost=len(self.bound) - 1,
            shuffled=self.shuffled,
            seed=SEED,
            stream=Stream.SHUFFLE,
        )

    def run(self, trainer, epochs: int, scalars, first_epoch: int = 1, **options):
        """Why it ended; the costs of the epochs that were done."""
        costs, seconds = np.full(epochs, -1.0), np.full(epochs, -1.0)
        scalars = np.asarray(scalars, float).reshape(-1, 1)
        status = trainer.run(first_epoch, epochs, scalars, costs, seconds, **options)
        done = trainer.epochs_done
        assert (np.diff(seconds[:done], prepend=0) >= 0).all()
        # What was not done is not written, but for epochs that were done again.
        return status, costs[:done]

    def weights(self, state: np.ndarray | None = None) -> list[np.ndarray]:
        return [at(self.words, self.state if state is None else state, v).copy() for v in self.words.weights]

    def steps(self, epochs: int, scalars, first_epoch: int = 1, most: int = 10_000):
        """The same fit, one run of a program at a time, with the checks of layerwise.fit.loop after each."""
        scalars = np.broadcast_to(np.asarray(scalars, float).ravel(), (10_000,)) if np.ndim(scalars) == 0 else scalars
        full = self.words.load()
        last = self.last_words.load() if self.last_words else None
        state, costs, step = self.start.copy(), [], 0
        trusted = self.weights(state)
        for epoch in range(first_epoch, first_epoch + epochs):
            order = permutation(SEED, Stream.SHUFFLE, epoch, self.N) if self.shuffled else np.arange(self.N)
            total = 0.0
            for first in range(0, self.N, self.batch):
                if step == most:
                    return "done", costs, self.weights(state), step, epoch
                rows = order[first : first + self.batch]
                program = full if len(rows) == self.batch else last
                cost = np.zeros((1, 1), self.dtype)
                before = self.weights(state)
                rate = np.array([scalars[step]])
                if self.gather:
                    program.run([cost], state, rate, 1, [self.X, self.Y], rows)
                else:
                    program.run([self.X, self.Y, cost], state, rate, 1)
                if not math.isfinite(cost[0, 0]):
                    return "infinite cost", costs, trusted, step, epoch
                after = self.weights(state)
                if not all(np.isfinite(w).all() for w in after):
                    return "infinite weights", costs, before, step, epoch
                trusted = before
                total += float(cost[0, 0]) * len(rows)
                step += 1
            costs.append(total / self.N)
        self.trusted = trusted
        return "done", costs, self.weights(state), step, epoch


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return [x.tobytes() for x in a] == [x.tobytes() for x in b]


CASES = [(50, 16, True, True), (48, 16, True, True), (50, 50, False, True), (50, 50, False, False), (7, 1, True, True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize(("N", "batch", "shuffled", "gather"), CASES)
def test_the_same_bits_as_single_steps(dtype: str, threads: int, N: int, batch: int, shuffled: bool, gather) -> None:
    fit = Fit(dtype, N, batch, shuffled, gather)
    trainer = fit.trainer()
    status, costs = fit.run(trainer, 3, 0.01, threads=threads)
    expected = fit.steps(3, 0.01)
    assert status == "done"
    assert (trainer.epoch, trainer.epochs_done, trainer.steps) == (3, 3, expected[3])
    assert costs.tolist() == expected[1]
    assert same(fit.weights(), expected[2])
    trainer.step_back()
    assert same(fit.weights(), fit.trusted)
    trainer.step_back()  # a second step is not undone
    assert same(fit.weights(), fit.trusted)
    assert trainer.steps == expected[3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_against_numpy(dtype: str) -> None:
    fit = Fit(dtype, 50, 16)
    weights = [w.astype(float) for w in fit.weights()]
    costs = []
    for epoch in (1, 2, 3):
        order = permutation(SEED, Stream.SHUFFLE, epoch, 50)
        total = 0.0
        for first in range(0, 50, 16):
            rows = order[first : first + 16]
            cost, weights = numpy_step(weights, fit.X[rows].astype(float), fit.Y[rows].astype(float), 0.003)
            total += cost * len(rows)
        costs.append(total / 50)
    status, got = fit.run(fit.trainer(), 3, 0.003)
    assert status == "done"
    # 12 steps, each of sums of some 70 terms.
    tolerance = 2000 * np.finfo(dtype).eps
    np.testing.assert_allclose(got, costs, rtol=tolerance)
    for w, expected in zip(fit.weights(), weights, strict=True):
        np.testing.assert_allclose(w, expected, rtol=0, atol=tolerance)


def test_epochs_in_several_calls_and_a_rate_for_each_step() -> None:
    fit, again = Fit("float64", 50, 16), Fit("float64", 50, 16)
    rates = 0.01 / (1 + np.arange(20))
    status, costs = fit.run(fit.trainer(), 5, rates)
    assert status == "done"
    trainer, parts = again.trainer(), []
    for first, epochs in ((1, 2), (3, 1), (4, 2)):
        parts += again.run(trainer, epochs, rates[4 * (first - 1) :], first)[1].tolist()
    assert parts == costs.tolist() == fit.steps(5, rates)[1]
    assert same(fit.weights(), again.weights())
    assert trainer.steps == 20


@pytest.mark.parametrize("calls", ["one", "two", "one an epoch"])
@pytest.mark.parametrize(
    ("N", "batch", "step"),
    # Step of the fit whose learning rate is huge; the cost of the next one is infinite, or its weights are.
    [
        *[(50, 16, s) for s in (0, 1, 2, 3, 4, 5, 11, 14, 15)],
        *[(30, 30, s) for s in (0, 1, 3, 62, 63, 64, 65, 66, 127, 128, 199)],
        *[(6, 2, s) for s in (0, 62, 63, 64, 65, 66, 67, 191, 192)],
    ],
)
@pytest.mark.parametrize("rate", [1e160, 1e306, math.nan])
@pytest.mark.parametrize("cost_last", [False, True])
def test_a_fit_that_leaves_the_finite_numbers(
    N: int, batch: int, step: int, rate: float, calls: str, cost_last: bool
) -> None:
    fit = Fit("float64", N, batch, shuffled=batch < N, cost_last=cost_last)
    length = -(-N // batch)
    epochs = max(4, -(-(step + 1) // length) + 1)
    rates = np.full(epochs * length, 0.001)
    rates[step] = rate
    expected = fit.steps(epochs, rates)
    assert expected[0] != "done"
    trainer = fit.trainer()
    ends = {"one": [epochs], "two": [epochs // 2, epochs], "one an epoch": range(1, epochs + 1)}[calls]
    costs, begun = [], 0
    for end in ends:
        # No more scalars than the call needs: it is not to read those of another call.
        own = rates[begun * length : end * length].copy()
        status, more = fit.run(trainer, end - begun, own, begun + 1, keep_best=True)
        costs += more.tolist()
        begun = end
        if status != "done":
            break
    assert status == expected[0]
    assert math.isfinite(trainer.cost) == (status != "infinite cost")
    assert costs == expected[1]
    assert (trainer.steps, trainer.epoch) == expected[3:]
    assert same(fit.weights(), expected[2])


def test_samples_that_are_infinite() -> None:
    """The cost of a step is infinite before any weight is."""
    fit = Fit("float64", 50, 16)
    row = permutation(SEED, Stream.SHUFFLE, 1, 50)[35]
    fit.X[row] = 1e200
    expected = fit.steps(2, 0.001)
    assert expected[0] == "infinite cost"
    trainer = fit.trainer()
    assert fit.run(trainer, 2, 0.001)[0] == "infinite cost"
    assert trainer.steps == expected[3] == 2
    assert same(fit.weights(), expected[2])


@pytest.mark.parametrize("cost_last", [False, True])
@pytest.mark.parametrize("quiet", [3, 62, 63, 64, 65, 66, 127, 130])
def test_the_lowest_cost_and_the_limit(quiet: int, cost_last: bool) -> None:
    def a_fit() -> Fit:
        return Fit("float64", 30, 30, shuffled=False, cost_last=cost_last)

    fit = a_fit()
    epochs = quiet + 3
    rates = np.full(epochs, 0.0005)
    rates[quiet] = 5.0
    _, costs, *_ = fit.steps(epochs, rates)
    best = int(np.argmin(costs))
    assert 0 < best <= quiet
    assert costs[quiet + 1] > 10 * max(costs[: quiet + 1])  # of the weights after the large step
    trainer = fit.trainer()
    trainer.best_cost = costs[0] * 2
    status, got = fit.run(trainer, epochs, rates, keep_best=True)
    assert (status, got.tolist()) == ("done", costs)
    assert trainer.best_cost == costs[best]
    trainer.load_best()
    assert same(fit.weights(), a_fit().steps(best + 1, rates)[2])
    # A limit ends it after the epoch that exceeds it.
    again = a_fit()
    trainer = again.trainer()
    limit = costs[quiet + 1] / 2
    status, got = again.run(trainer, epochs, rates, limit=limit, keep_best=True)
    assert (status, got.tolist()) == ("runaway", costs[: quiet + 2])
    trainer.load_best()
    assert same(again.weights(), fit.weights())
    # Epochs one by one.
    alone = a_fit()
    trainer = alone.trainer()
    for e in range(epochs):
        alone.run(trainer, 1, rates[e], e + 1, keep_best=True)
    trainer.load_best()
    assert same(alone.weights(), fit.weights())


@pytest.mark.parametrize("infinite", [2, 62, 63, 64, 65, 66])
def test_the_lowest_cost_outlives_steps_that_are_done_again(infinite: int) -> None:
    fit = Fit("float64", 30, 30, shuffled=False)
    rates = np.full(infinite + 1, 0.0005)
    rates[infinite] = 1e160  # the next step's cost is infinite
    epochs = infinite + 2
    rates = np.append(rates, 0.0005)
    _, costs, *_ = fit.steps(epochs, rates)
    trainer = fit.trainer()
    status, got = fit.run(trainer, epochs, rates, keep_best=True)
    assert (status, got.tolist()) == ("infinite cost", costs)
    best = int(np.argmin(costs))
    assert best > 0
    trainer.load_best()
    assert same(fit.weights(), Fit("float64", 30, 30, shuffled=False).steps(best + 1, rates)[2])


@pytest.mark.parametrize("cost_last", [False, True])
@pytest.mark.parametrize(("N", "batch"), [(30, 30), (6, 2), (50, 16)])
@pytest.mark.parametrize("calls", ["one", "one an epoch"])
def test_the_last_step_is_undone(N: int, batch: int, calls: str, cost_last: bool) -> None:
    for epochs in (1, 2, 16, 17, 22, 23, 64, 65, 66, 90):
        fit = Fit("float32", N, batch, shuffled=batch < N, cost_last=cost_last)
        length = -(-N // batch)
        rates = 0.001 / (1 + np.arange(epochs * length))
        trainer = fit.trainer()
        begun = 0
        for end in [epochs] if calls == "one" else range(1, epochs + 1):
            fit.run(trainer, end - begun, rates[begun * length : end * length].copy(), begun + 1)
            begun = end
        expected = fit.steps(epochs, rates)
        assert same(fit.weights(), expected[2])
        trainer.step_back()
        assert same(fit.weights(), fit.trusted)
        assert trainer.steps == expected[3]


def test_no_step_is_undone_where_none_was_made() -> None:
    fit = Fit("float32", 50, 16)
    start = fit.weights()
    trainer = fit.trainer()
    trainer.step_back()
    assert same(fit.weights(), start)
    trainer.stop()
    assert fit.run(trainer, 1, 0.001)[0] == "stopped"
    trainer.step_back()
    assert same(fit.weights(), start)


def test_no_step_is_undone_by_a_run_that_made_none() -> None:
    fit = Fit("float32", 50, 16)
    trainer = fit.trainer()
    assert fit.run(trainer, 1, 0.001, steps_limit=2)[0] == "out of steps"
    after = fit.weights()
    assert fit.run(trainer, 1, 0.001, first_step=2, seconds_limit=0.0)[0] == "out of time"
    trainer.step_back()
    assert same(fit.weights(), after)
    assert trainer.steps == 2


def test_steps_that_are_done_again_need_no_scalars_beyond_those_of_the_run() -> None:
    fit = Fit("float64", 50, 16)
    trainer = fit.trainer()
    rates = np.array([0.001, 1e308])  # infinite weights, which are found where the run ends
    assert fit.run(trainer, 1, rates, steps_limit=2)[0] == "infinite weights"
    expected = fit.steps(1, rates, most=2)
    assert expected[0] == "infinite weights"
    assert same(fit.weights(), expected[2])
    assert trainer.steps == expected[3]


def test_a_run_need_not_go_on_where_the_last_one_ended() -> None:
    fit = Fit("float64", 50, 16)
    trainer = fit.trainer()
    fit.run(trainer, 2, 0.001)
    before = fit.weights()
    rates = np.array([0.001, 1e160, 0.001, 0.001])
    assert fit.run(trainer, 1, rates, first_epoch=9)[0] == "infinite cost"
    assert trainer.steps == 10
    again = Fit("float64", 50, 16)
    again.run(again.trainer(), 2, 0.001)
    assert same(again.weights(), before)
    again.start = again.state
    assert same(fit.weights(), again.steps(1, rates, 9)[2])


@pytest.mark.parametrize("epochs", [2, 200])
def test_no_epoch_better_than_the_start(epochs: int) -> None:
    fit = Fit("float32", 50, 16)
    start = fit.weights()
    trainer = fit.trainer()
    trainer.best_cost = 0.0
    fit.run(trainer, epochs, 0.001, keep_best=True)
    assert not same(fit.weights(), start)
    trainer.load_best()
    assert same(fit.weights(), start)
    assert trainer.best_cost == 0.0


def test_stop_from_another_thread() -> None:
    fit = Fit("float32", 50, 16)
    trainer = fit.trainer()

    def stop() -> None:
        while trainer.steps == 0:
            time.sleep(0.001)
        trainer.stop()

    threading.Thread(target=stop).start()
    status, _ = fit.run(trainer, 1_000_000, 1e-6)
    assert status == "stopped"
    assert trainer.steps == 4 * trainer.epochs_done + trainer.epoch_steps > 0
    assert trainer.epoch == trainer.epochs_done + 1


def taken(fit: Fit) -> dict:
    """What `take` is told of the rows of a fit; its programs come first."""
    return {
        "bound": fit.bound,
        "last_bound": fit.bound if fit.last_words else None,
        "sources": [fit.X, fit.Y] if fit.gather else None,
        "rows": fit.N,
        "batch": fit.batch,
        "shuffled": fit.shuffled,
    }


def programs(fit: Fit) -> tuple:
    return fit.words.load(), fit.last_words.load() if fit.last_words else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(("N", "batch"), [(50, 16), (16, 16), (33, 16), (40, 8), (7, 1), (200, 100)])
def test_other_rows_go_on_from_the_same_state(dtype: str, released: bool, N: int, batch: int) -> None:
    fit, other = Fit(dtype, 50, 16), Fit(dtype, N, batch)
    trainer = fit.trainer()
    _, costs = fit.run(trainer, 2, 0.01)
    assert costs.tolist() == fit.steps(2, 0.01)[1]
    if released:
        trainer.release()
    trainer.take(*programs(other), **taken(other))
    other.start = fit.state.copy()
    status, costs = other.run(trainer, 3, 0.01, first_epoch=5)
    expected = other.steps(3, 0.01, first_epoch=5)
    assert (status, costs.tolist()) == ("done", expected[1])
    assert same(other.weights(fit.state), expected[2])
    assert trainer.steps == 8 + expected[3]
    trainer.step_back()
    assert same(other.weights(fit.state), other.trusted)
    # And back to the first rows.
    again = Fit(dtype, 50, 16)
    again.start = fit.state.copy()
    trainer.take(*programs(fit), **taken(fit))
    again.run(trainer, 1, 0.01, first_epoch=3)
    assert same(fit.weights(), again.steps(1, 0.01, first_epoch=3)[2])


@pytest.mark.parametrize("marked", [False, True])
def test_the_best_outlives_other_rows(marked: bool) -> None:
    fit, other = Fit("float64", 50, 16), Fit("float64", 33, 16)
    trainer = fit.trainer()
    start = fit.weights()
    trainer.best_cost = 0.0
    fit.run(trainer, 1, 0.01, keep_best=True, best_by_cost=False)
    if marked:
        trainer.mark_best()
    best = fit.weights() if marked else start
    trainer.release()
    trainer.take(*programs(other), **taken(other))
    other.run(trainer, 100, 0.01, keep_best=True, best_by_cost=False)
    trainer.load_best()
    assert same(fit.weights(), best)


def test_no_step_on_earlier_rows_is_undone() -> None:
    fit, other = Fit("float32", 50, 16), Fit("float32", 33, 16)
    trainer = fit.trainer()
    fit.run(trainer, 1, 0.01)
    trainer.take(*programs(other), **taken(other))
    before = fit.weights()
    trainer.step_back()
    assert same(fit.weights(), before)
    # Weights of infinite cost on the first of the other rows: they are what they were when these came.
    other.X[:] = 1e30
    assert other.run(trainer, 1, 0.01)[0] == "infinite cost"
    assert same(fit.weights(), before)


def test_rows_that_do_not_fit_change_nothing() -> None:
    fit, other = Fit("float64", 50, 16), Fit("float64", 33, 16)
    trainer = fit.trainer()
    fit.run(trainer, 1, 0.01)
    wrong = [
        ({"rows": 0}, "rows and batch must be at least 1"),
        ({"sources": [fit.X[:20], fit.Y]}, "must have 33 rows; got 20"),
        ({"batch": 8}, "a program of 8 rows is needed"),
        ({"rows": 32}, "a program of 0 rows is needed"),
        ({"bound": []}, "bound"),
    ]
    for change, message in wrong:
        with pytest.raises(ValueError, match=message):
            trainer.take(*programs(other), **{**taken(other), **change})
    with pytest.raises(ValueError, match="remaining rows"):
        trainer.take(programs(other)[0], None, **{**taken(other), "last_bound": None})
    single = Fit("float32", 33, 16)
    with pytest.raises((TypeError, RuntimeError)):
        trainer.take(*programs(single), **taken(single))
    fit.run(trainer, 1, 0.01, first_epoch=2)
    assert same(fit.weights(), fit.steps(2, 0.01)[2])


def test_without_rows_nothing_runs() -> None:
    fit = Fit("float64", 50, 16)
    trainer = fit.trainer()
    fit.run(trainer, 1, 0.01, keep_best=True)
    references = sys.getrefcount(fit.X)
    trainer.release()
    assert sys.getrefcount(fit.X) < references
    for run in (lambda: fit.run(trainer, 1, 0.01), trainer.step_back):
        with pytest.raises(ValueError, match="the trainer holds no rows: take some first"):
            run()
    trainer.mark_best()
    trainer.load_best()
    assert trainer.steps == 4


def test_rows_stay_during_a_run() -> None:
    fit, other = Fit("float32", 50, 16), Fit("float32", 33, 16)
    trainer, refused = fit.trainer(), []

    def change() -> None:
        while trainer.steps == 0:
            time.sleep(0.001)
        for attempt in (trainer.release, lambda: trainer.take(*programs(other), **taken(other))):
            try:
                attempt()
            except ValueError as error:
                refused.append(str(error))
        trainer.stop()

    thread = threading.Thread(target=change)
    thread.start()
    fit.run(trainer, 1_000_000, 1e-6)
    thread.join()
    assert refused == ["the trainer is running"] * 2


CTRL_C = """
    import os, signal, sys, threading, time
    sys.path[:0] = {path}
    from test_train import Fit, same

    fit = Fit("float32", 50, 16)
    trainer = fit.trainer()
    sent = []
    def send():
        while trainer.steps == 0:
            time.sleep(0.01)
        time.sleep(0.1)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=send).start()
    try:
        fit.run(trainer, 5_000_000, 1e-6, threads={threads})
    except KeyboardInterrupt:
        late = time.monotonic() - sent[0]
    steps, epochs = trainer.steps, trainer.epochs_done
    assert steps == 4 * epochs + trainer.epoch_steps > 0, (steps, epochs, trainer.epoch_steps)
    # The weights are those of that step.
    again = Fit("float32", 50, 16)
    again.run(again.trainer(), epochs, 1e-6)
    again.start = again.state
    expected = again.steps(1, 1e-6, epochs + 1, most=trainer.epoch_steps)[2]
    assert same(fit.weights(), expected)
    print(late)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c(threads: int) -> None:
    here = Path(__file__).parent
    program = textwrap.dedent(CTRL_C).format(path=[str(here), str(here.parent / "support")], threads=threads)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # 10 ms between checks; the rest is for a busy machine.
    assert float(done.stdout) < 1.0


def test_arguments_that_do_not_fit() -> None:
    fit = Fit("float32", 50, 16)
    trainer = fit.trainer()
    with pytest.raises(ValueError, match="scalars must have 1 columns and 1 or 8 rows; got 1 and 7"):
        fit.run(trainer, 2, np.zeros(7))
    with pytest.raises(ValueError, match="costs and seconds must hold 2 numbers"):
        trainer.run(1, 2, np.zeros((1, 1)), np.zeros(1), np.zeros(2))
    fit.X = fit.X[:49]
    with pytest.raises(ValueError, match=r"sources\[0\] must have 50 rows; got 49"):
        fit.trainer()
    fit = Fit("float32", 50, 16)
    fit.last_words = None
    with pytest.raises(ValueError, match="a program for 2 remaining rows"):
        fit.trainer()
    fit = Fit("float32", 50, 16)
    fit.batch = 20
    with pytest.raises(ValueError, match="a program of 20 rows is needed; it gathers 16"):
        fit.trainer()
    fit = Fit("float32", 50, 16)
    fit.words.weights = [fit.words.weights[0], len(fit.words.values)]
    fit.words.values.append([0, 1, 2**40, 1, 4, 4, 0])
    with pytest.raises(ValueError, match=r"value \d+ ends at byte"):
        fit.trainer()


@dataclass
class Drawing:
    """Steps whose cost is the random number of their address."""

    dtype: str = "float64"
    rest: bool = False

    def __post_init__(self) -> None:
        self.address = np.array([-5, 77])  # a seed with its top bit set; the number of the step is not yet known
        self.cost = np.zeros((1, 1), self.dtype)
        self.bound = [self.address, self.cost]
        self.last_bound = [self.address, self.cost]

    def program(self):
        p = Words(self.dtype)
        address, cost = p.bound(1, 2, integer=True), p.bound(1, 1, written=True)
        p.stage(p.job(1, 1, [p.instruction("uniform", [cost, address, None, None], [4, 24])]))
        return p.load()

    def trainer(self, address):
        kind = native.Trainer32 if self.dtype == "float32" else native.Trainer64
        rows = 5 if self.rest else 4
        last = {"last": self.program(), "last_bound": self.last_bound} if self.rest else {"last": None}
        nothing = {"state": np.zeros(0), "parameters": np.empty((0, 2), np.int64), "shuffled": False}
        return kind(self.program(), **last, **nothing, bound=self.bound, rows=rows, batch=2, cost=1, address=address)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rest", [False, True])
def test_steps_are_counted_where_programs_read_their_number(dtype: str, rest: bool) -> None:
    fit = Drawing(dtype, rest)
    trainer = fit.trainer(fit.address)
    numbers, weights = 1, np.array([2, 2, 1] if rest else [2, 2])
    for first, epochs, begin in [(1, 3, 1), (4, 2, None), (6, 2, 2**33)]:
        if begin is not None:
            trainer.steps, numbers = begin - 1, begin
        costs = np.zeros(epochs)
        assert trainer.run(first, epochs, np.zeros((1, 0)), costs, np.zeros(epochs)) == "done"
        for cost in costs:
            steps = range(numbers, numbers + len(weights))
            drawn = [uniform_matrix(2**64 - 5, step, 4, 1, 1, 24)[0, 0] for step in steps]
            assert cost == pytest.approx(weights @ drawn / weights.sum(), rel=1e-15)
            numbers += len(weights)
    assert fit.address.tolist() == [-5, numbers - 1]


def test_an_address_that_does_not_fit() -> None:
    fit = Drawing(rest=True)
    fixed = fit.address.copy()
    fixed.flags.writeable = False
    others = [np.zeros(3, np.int64), np.zeros(2), np.zeros((1, 2), np.int64), np.zeros(4, np.int64)[::2], 7]
    for address in (fixed, *others):
        with pytest.raises(ValueError, match="address must be a writable C-contiguous array of 2 int64"):
            fit.trainer(address)
    with pytest.raises(ValueError, match="address must be one of the bound arrays of each program"):
        fit.trainer(fit.address.copy())
    fit.last_bound = [fit.address.copy(), fit.cost]
    with pytest.raises(ValueError, match="address must be one of the bound arrays of each program"):
        fit.trainer(fit.address)


def test_two_jobs_that_gather():
    """Each thread then begins with rows of one of them or of both, and fetches those of the next step."""
    batch, n = 256, 512
    p = Words("float32", n_sources=2)
    x, y, a, d, w = p.arena(batch, 1), p.arena(batch, 1), p.arena(1, n), p.packed(1, n), p.packed(n, n)
    cost = p.bound(1, 1, written=True)
    gathers = [p.job(batch, 1, [p.instruction("gather", [v], [i])], "r") for i, v in enumerate((x, y))]
    p.stage(*gathers)
    g = p.local_packed(n, n)
    update = p.map([w], [(g, "full"), (w, "full")], [("add", 2, 0, 1)])
    code = [p.instruction("t_product_packed", [g, w, a, d], [1, n]), update]
    p.stage(p.job(n, n, code, "rc"), p.job(1, 1, [p.instruction("fill", [cost], [], [1.0])]))
    program = p.load()
    program.cut(32, 128)
    rows = 4 * batch
    trainer = native.Trainer32(
        program, None, state=p.new_state(), bound=[np.zeros((1, 1), "f4")], sources=[np.zeros((rows, 1), "f4")] * 2,
        rows=rows, batch=batch, parameters=np.zeros((0, 2), np.int64), cost=0, shuffled=True, seed=1, stream=1,
    )  # fmt: skip
    costs, seconds = np.zeros(3), np.zeros(3)
    assert trainer.run(1, 3, np.zeros((1, 0)), costs, seconds, threads=3) == "done"
    assert costs.tolist() == [1, 1, 1]
