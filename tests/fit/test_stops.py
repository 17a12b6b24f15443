"""How a fit ends before its time: divergence and Ctrl-C. Both leave weights that can be used."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest

import layerwise as lw
from layerwise.fit import loop
from layerwise.randomness import Stream, permutation


def problem(n=30):
    rng = np.random.default_rng(0)
    return lw.Network([3, 5, 1]), rng.normal(size=(n, 3)), rng.normal(size=(n, 1))


def diverged(net, X, Y, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = lw.train(net, X, Y, **options)
    assert [w.category for w in caught] == [lw.DivergenceWarning]
    assert str(caught[0].message) == fit.stop_reason
    assert caught[0].filename == __file__
    assert fit.diverged
    return fit


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", [lw.SGD(50.0), lw.Momentum(20.0, 0.9)])
def test_full_batch_keeps_the_weights_before_the_first_infinite_cost(rule, dtype, monkeypatch):
    monkeypatch.setattr(loop, "GROWTH", math.inf)  # or the fit would stop as it runs away, long before infinity
    net, X, Y = problem()
    start = net.initialise(0, dtype)
    # A deep valley: relu and squared error at this rate grow without bound.
    options = {"params": start, "optimizer": rule, "batch_size": None}
    fit = diverged(net, X, Y, epochs=500, **options)
    n = len(fit.history)  # epochs with a finite cost, one step each
    assert 0 < n < 500
    cost, _ = net.cost_and_gradients(fit.params, X, Y)
    assert np.isfinite(cost)
    assert all(np.isfinite(W).all() for W in fit.params.values())
    assert {W.dtype for W in fit.params.values()} == {np.dtype(dtype)}
    # They are the weights of the last finite cost, and so those of a fit of one step less.
    assert cost == fit.history[-1].cost
    before = lw.train(net, X, Y, epochs=n - 1, **options) if n > 1 else None
    for name in start:
        np.testing.assert_array_equal(fit.params[name], before.params[name] if before else start[name])
    assert f"in epoch {n + 1}, step {n + 1}, with learning rate {rule.learning_rate:g}. " in fit.stop_reason
    assert "The last weights whose cost was finite are kept" in fit.stop_reason
    assert f"Try learning rate {rule.learning_rate / 10:g}" in fit.stop_reason


def test_a_fit_that_runs_away_keeps_the_weights_of_the_lowest_cost():
    net, X, Y = problem()
    start = net.initialise(0)
    before, _ = net.cost_and_gradients(start, X, Y)
    fit = diverged(net, X, Y, params=start, optimizer=lw.SGD(1.0), batch_size=None, epochs=500)
    grown = fit.history[-1].cost
    assert np.isfinite(grown)
    assert grown > 100 * before
    assert all(e.cost <= 100 * before for e in fit.history[:-1])
    after, _ = net.cost_and_gradients(fit.params, X, Y)
    assert after <= before
    assert f"The cost grew from {before:.3g} at the start to {grown:.3g} in epoch {len(fit.history)}" in fit.stop_reason
    assert "weights of the lowest cost are kept" in fit.stop_reason or "starting weights are kept" in fit.stop_reason


def test_sorted_rows_are_no_sign_of_running_away():
    # The first rows cost next to nothing at the start, for which rows of the whole table are looked at.
    X = np.linspace(0, 1, 10_000)[:, None]
    fit = lw.train(lw.Network([1, 8, 1], hidden="tanh"), X, X**2, epochs=5)
    assert fit.stop_reason == "All 5 epochs are done."


def test_a_cost_without_a_lower_bound_may_grow_by_any_factor():
    net = lw.Network([1, 1], output="exp")  # the Poisson loss e^z - t z may be near 0, so ratios mean nothing
    start = {"W1": np.zeros((1, 1)), "b1": np.array([0.6190612867359456 - 1e-6])}  # e^z = 3 z, less a little
    X, Y = np.zeros((8, 1)), np.full((8, 1), 3.0)
    fit = lw.train(net, X, Y, params=start, optimizer=lw.SGD(1.0), batch_size=None, epochs=6)
    assert 0 < 1000 * fit.history[0].cost < fit.history[1].cost
    assert not fit.diverged


def test_minibatches_that_diverge_leave_finite_weights(monkeypatch):
    monkeypatch.setattr(loop, "GROWTH", math.inf)
    net, X, Y = problem()
    fit = diverged(net, X, Y, optimizer=lw.SGD(50.0), batch_size=4, epochs=500)
    assert all(np.isfinite(W).all() for W in fit.params.values())
    assert np.isfinite(net.forward(fit.params, X)).all()
    assert np.isfinite(fit.history.cost).all()
    assert fit.stop_reason.startswith("The cost became ")


def test_weights_that_overflow_behind_a_bounded_cost():
    # tanh hides infinite weights: the cost stays finite, the weights do not.
    net = lw.Network([2, 3, 1], hidden="tanh", output="tanh")
    X, Y = np.full((4, 2), 1e200), np.full((4, 1), 3.0)
    start = net.initialise(0)
    fit = diverged(net, X, Y, params=start, optimizer=lw.SGD(1e308), epochs=3)
    assert fit.stop_reason.startswith("The weights became infinite or NaN in epoch 1, step 1")
    for name in start:
        np.testing.assert_array_equal(fit.params[name], start[name])


def test_the_last_step_of_all_is_looked_at_too():
    net = lw.Network([1, 1])
    fit = diverged(net, [[1e160]], [0.0], params={"W1": np.ones((1, 1)), "b1": np.zeros(1)}, epochs=1)
    assert fit.stop_reason.startswith("The cost became inf in epoch 1, step 1")
    slow = {"optimizer": lw.SGD(1e200), "params": {"W1": np.full((1, 1), 1e75), "b1": np.zeros(1)}}
    fit = diverged(net, [[1e60]], [0.0], epochs=1, **slow)  # cost 1e270, gradient 2e195, step 2e395
    assert fit.stop_reason.startswith("The weights became infinite or NaN in epoch 1, step 1")
    assert fit.params["W1"] == 1e75


def test_a_start_of_infinite_cost():
    net, X, Y = problem()
    start = net.initialise(0)
    fit = diverged(net, X, 1e300 * Y, params=start)
    assert "in epoch 1, step 1, " in fit.stop_reason
    assert "The starting weights are kept." in fit.stop_reason
    assert len(fit.history) == 0
    for name in start:
        np.testing.assert_array_equal(fit.params[name], start[name])


def test_divergence_can_be_made_an_error():
    net, X, Y = problem()
    with pytest.raises(lw.DivergenceWarning, match=r"The cost (grew|became)"):
        lw.train(net, X, Y, optimizer=lw.SGD(50.0), epochs=500)  # warnings are errors in these tests


def test_ctrl_c_between_epochs():
    net, X, Y = problem()

    def stop(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    options = {"batch_size": 7, "seed": 5}
    with pytest.raises(lw.TrainingInterrupted, match=r"in the exception's \.fit") as raised:
        lw.train(net, X, Y, epochs=100, on_epoch_end=stop, **options)
    assert isinstance(raised.value, KeyboardInterrupt)
    assert not isinstance(raised.value, Exception)  # `except Exception` does not swallow it
    fit = raised.value.fit
    assert fit.stop_reason == "Ctrl-C in epoch 3, after 15 steps in all; their weights are kept."
    assert not fit.diverged
    whole = lw.train(net, X, Y, epochs=3, **options)
    np.testing.assert_array_equal(fit.history.cost, whole.history.cost)
    for name, W in whole.params.items():
        np.testing.assert_array_equal(fit.params[name], W)
    lw.train(net, X, Y, params=fit.params, epochs=1)  # and on


INTERRUPTED = """
import json, os, signal, sys, threading, time
import numpy as np
import layerwise as lw
from layerwise.randomness import Stream, permutation

rng = np.random.default_rng(0)
X = rng.normal(size=(5000, 20))
Y = rng.normal(size=(5000, 1))
net = lw.Network([20, 50, 1], hidden="tanh")
delay, batch_size = float(sys.argv[1]), int(sys.argv[2]) or None
sent = []

def interrupt():
    time.sleep(delay)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
first = []
def begin(epoch):
    if not first:
        first.append(epoch)
        threading.Thread(target=interrupt, daemon=True).start()
try:
    lw.train(net, X, Y, optimizer=lw.SGD(0.001), batch_size=batch_size, epochs=10**6, seed=1, on_epoch_end=begin)
except lw.TrainingInterrupted as stopped:
    seconds = time.monotonic() - sent[0]
    fit = stopped.fit
    words = fit.stop_reason.split()
    epoch, steps = int(words[3].strip(",")), int(words[5])
    # Replayed: the same descent, as many steps.
    batches = 1 if batch_size is None else -(-len(X) // batch_size)
    replay = net.initialise(1)
    done = 0
    e = 0
    while done < steps:
        e += 1
        order = np.arange(len(X)) if batch_size is None else permutation(1, Stream.SHUFFLE, e, len(X))
        for i in range(0, len(X), batch_size or len(X)):
            if done == steps:
                break
            rows = order[i : i + (batch_size or len(X))]
            _, g = net.cost_and_gradients(replay, X[rows], Y[rows])
            replay = {k: W - 0.001 * g[k] for k, W in replay.items()}
            done += 1
    print(json.dumps({
        "seconds": seconds, "steps": steps, "epochs": len(fit.history), "epoch": epoch, "batches": batches,
        "finite": all(bool(np.isfinite(W).all()) for W in fit.params.values()),
        "off": max(float(np.abs(fit.params[k] - replay[k]).max()) for k in replay),
        "step": min(float(np.abs(0.001 * g[k]).max()) for k in replay),
    }))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one's own process there")
@pytest.mark.parametrize(("delay", "batch_size"), [(0.05, 50), (0.123, 500), (0.05, 0)])
def test_a_real_ctrl_c(delay, batch_size):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED, str(delay), str(batch_size)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seconds"] < 0.5
    assert told["finite"]
    # The steps told are whole epochs and a part of the one that was interrupted.
    assert told["epochs"] * told["batches"] <= told["steps"] <= told["epoch"] * told["batches"]
    assert told["epoch"] - told["epochs"] in (0, 1)
    # The weights are those after that many steps: off by less than a hundredth of a step.
    assert told["off"] < 0.01 * told["step"]


@pytest.mark.parametrize("at", range(1, 60))
def test_ctrl_c_at_any_line_of_a_step_leaves_whole_steps(at):
    """KeyboardInterrupt is raised at the line number ``at`` that the loop runs after its first epoch."""
    net, X, Y = problem(8)
    options = {"batch_size": 4, "optimizer": lw.Momentum(0.1, 0.5), "seed": 2}
    lines = 0

    def tracer(frame, event, arg):
        nonlocal lines
        if not frame.f_code.co_filename.endswith(("loop.py", "course.py")):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return tracer

    def begin(epoch):
        if epoch.number == 1:
            caller = sys._getframe(1)
            caller.f_trace = tracer
            sys.settrace(tracer)

    before = sys.gettrace()
    try:
        with pytest.raises(lw.TrainingInterrupted) as raised:
            lw.train(net, X, Y, epochs=100, on_epoch_end=begin, **options)
    finally:
        sys.settrace(before)
    fit = raised.value.fit
    steps = int(fit.stop_reason.split()[5])
    assert steps >= 2
    # Momentum: weights that had moved without their velocities would not be those of a whole number of steps.
    for name, W in weights_after(steps, net, X, Y, options).items():
        np.testing.assert_allclose(fit.params[name], W, rtol=1e-12, atol=1e-14)


def weights_after(steps, net, X, Y, options):
    W = net.initialise(options["seed"])
    V = {k: np.zeros_like(w) for k, w in W.items()}
    for step in range(steps):
        order = permutation(options["seed"], Stream.SHUFFLE, 1 + step // 2, 8)
        rows = order[4 * (step % 2) : 4 * (step % 2) + 4]
        _, g = net.cost_and_gradients(W, X[rows], Y[rows])
        V = {k: 0.5 * V[k] + g[k] for k in V}
        W = {k: W[k] - 0.1 * V[k] for k in W}
    return W


def test_a_last_step_to_an_infinite_cost_is_noticed():
    X, Y = np.ones((4, 1)), np.zeros((4, 1))
    net = lw.Network([1, 1])
    start = net.initialise(0)
    fit = diverged(net, X, Y, params=start, optimizer=lw.SGD(1e200), batch_size=None, epochs=1)
    np.testing.assert_array_equal(fit.params["W1"], start["W1"])
    assert "The cost is inf after the last step" in fit.stop_reason


def test_a_fit_is_shown_without_its_weights():
    fit = lw.train(lw.Network([1, 1]), np.ones((4, 1)), np.ones(4), epochs=2)
    assert repr(fit).startswith("<Fit of Network([Input(1), Dense(1, 'identity')]")
    assert repr(fit).endswith("2 epochs. All 2 epochs are done.>")
    assert fit != lw.train(lw.Network([1, 1]), np.ones((4, 1)), np.ones(4), epochs=2)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_a_start_that_fits_well_does_not_run_away_by_its_penalties(engine):
    net = lw.Network([3, 5, 1], l2=0.1, l1=0.01)
    X = problem()[1]
    start = net.initialise(0)
    Y = net.forward(start, X) + 1e-3  # so a cost of 1e-6, and penalties of about 1
    fit = lw.train(net, X, Y, params=start, optimizer=lw.SGD(1e-4), epochs=2, engine=engine)
    assert not fit.diverged
    assert fit.history.cost[0] > 0.1


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_a_table_that_begins_with_quiet_rows_does_not_run_away(engine):
    X = np.random.default_rng(0).normal(size=(2000, 3))
    X[:300] *= 1e-3  # in the first rows the cost is 1e-5 whatever the weights, in the others about 1
    fit = lw.train(lw.Network([3, 8, 1]), X, 3 * X[:, :1] + X[:, 1:2], epochs=3, engine=engine)
    assert not fit.diverged
    assert fit.history.cost[-1] < 0.5
