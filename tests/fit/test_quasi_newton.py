"""L-BFGS through SciPy: against SciPy on a cost written by hand, its ends, and what it goes together with."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.optimize import minimize

import layerwise as lw

SHAPES = {"W1": (3, 5), "b1": (5,), "W2": (5, 2), "b2": (2,)}
LBFGS = {"optimizer": lw.LBFGS(), "batch_size": None}


def problem(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return lw.Network([3, 5, 2], hidden="tanh"), X, np.column_stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])])


def split(x):
    parts = np.split(x, np.cumsum([math.prod(s) for s in SHAPES.values()])[:-1])
    return {k: part.reshape(s) for (k, s), part in zip(SHAPES.items(), parts, strict=True)}


def cost_by_hand(x, X, T, w):
    """Cost and gradient of the network 3-5-2, tanh and identity, squared error."""
    p = split(x)
    share = (w / w.sum())[:, None]
    A1 = np.tanh(X @ p["W1"] + p["b1"])
    r = A1 @ p["W2"] + p["b2"] - T
    delta2 = 2 * share * r
    delta1 = delta2 @ p["W2"].T * (1 - A1**2)
    parts = X.T @ delta1, delta1.sum(axis=0), A1.T @ delta2, delta2.sum(axis=0)
    return (share * r**2).sum(), np.concatenate([g.reshape(-1) for g in parts])


def by_scipy(start, X, T, w, iterations, history=10):
    x = np.concatenate([start[k].reshape(-1) for k in SHAPES])
    iterates = []
    options = {"maxcor": history, "maxiter": iterations, "gtol": 1e-7, "ftol": 0.0}
    found = minimize(
        cost_by_hand,
        x,
        (X, T, w),
        method="L-BFGS-B",
        jac=True,
        options=options,
        callback=lambda xk: iterates.append(xk.copy()),
    )
    return iterates, found


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize(("history", "weighted"), [(10, False), (3, True)])
def test_the_iterates_are_scipys(engine, history, weighted):
    net, X, T = problem()
    w = np.random.default_rng(1).random(len(X)) if weighted else np.ones(len(X))
    start = net.initialise(4)
    iterates, _ = by_scipy(start, X, T, w, 25, history)
    fit = lw.train(
        net,
        X,
        T,
        params=start,
        optimizer=lw.LBFGS(history),
        batch_size=None,
        epochs=25,
        sample_weight=w if weighted else None,
        engine=engine,
    )
    assert fit.stop_reason == "All 25 epochs are done."
    assert len(iterates) == fit.steps == len(fit.history) == 25
    costs = [cost_by_hand(x, X, T, w)[0] for x in iterates]
    # Rounding of 1e-16 grows by a factor of some tens each ten iterations.
    np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-8)
    for name, W in split(iterates[-1]).items():
        np.testing.assert_allclose(fit.params[name], W, rtol=1e-6, atol=1e-8)
    assert fit.engine.startswith(engine)


def test_a_minimum_is_scipys_minimum():
    net = lw.Network([lw.Input(3), lw.Dense(1)])
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    fit = lw.train(net, X, y, epochs=100, **LBFGS)
    assert fit.stop_reason.startswith("A minimum: the largest entry of the gradient is ")
    assert f", within the tolerance of 1e-07, after epoch {len(fit.history)}." in fit.stop_reason
    _, g = net.cost_and_gradients(fit.params, X, y)
    assert max(np.abs(a).max() for a in g.values()) <= 1e-7
    least, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(50)]), y)
    np.testing.assert_allclose(np.append(fit.params["W1"], fit.params["b1"]), least, atol=1e-6)


def test_the_cost_of_an_epoch_is_that_of_its_weights_and_never_rises():
    net, X, T = problem()
    seen = []
    fit = lw.train(net, X, T, epochs=30, on_epoch_end=seen.append, **LBFGS)
    assert list(fit.history) == seen
    assert (np.diff(fit.history.cost) < 0).all()
    assert fit.history[-1].cost == net.cost_and_gradients(fit.params, X, T)[0]
    assert np.isnan(fit.history.learning_rate).all()
    assert fit.optimizer is LBFGS["optimizer"]
    assert fit.slots == {}


def test_a_tolerance_ends_it_sooner():
    net, X, T = problem()
    rough = lw.train(net, X, T, optimizer=lw.LBFGS(tolerance=1e-2), batch_size=None, epochs=500)
    assert "within the tolerance of 0.01" in rough.stop_reason
    _, g = net.cost_and_gradients(rough.params, X, T)
    assert max(np.abs(a).max() for a in g.values()) <= 1e-2
    again = lw.train(net, X, T, params=rough, optimizer=lw.LBFGS(tolerance=1e-2), batch_size=None, epochs=9)
    assert len(again.history) == len(rough.history)  # nothing left to do
    assert again.stop_reason.startswith("A minimum")


def spiral(n=100, arms=3):
    rng = np.random.default_rng(0)
    radius = np.linspace(0.05, 1.0, n)
    angle = 4 * radius + 2 * np.pi / arms * np.arange(arms)[:, None] + 0.15 * rng.normal(size=(arms, n))
    X = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1)
    return X.reshape(-1, 2), np.repeat(np.arange(arms), n)


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_learns_the_spiral(hidden, dtype):
    X, labels = spiral()
    net = lw.Network([2, 64, 3], hidden=hidden, output="softmax")
    fit = lw.train(net, X, labels, epochs=200, dtype=dtype, **LBFGS)
    assert {W.dtype for W in fit.params.values()} == {np.dtype(dtype)}
    assert (net.forward(fit.params, X).argmax(axis=1) == labels).mean() > 0.98
    assert len(fit.history) < 200
    assert fit.stop_reason.split(":")[0].split(",")[0] in ("A minimum", "The cost no longer falls")


def test_single_precision_ends_where_its_digits_end():
    net, X, T = problem()
    fit = lw.train(net, X, 1000 * T, epochs=5000, dtype="float32", **LBFGS)
    assert not fit.diverged
    assert len(fit.history) < 5000
    assert fit.stop_reason.startswith(("The cost no longer falls", "The line search found no lower cost"))
    if "line search" in fit.stop_reason:
        assert "dtype='float64' goes further" in fit.stop_reason


def test_a_line_search_that_finds_nothing(monkeypatch):
    from layerwise.fit.quasi_newton import QuasiNewton, _Point

    honest = QuasiNewton._at

    def uphill(self, x):
        point = honest(self, x)
        return _Point(point.x, point.cost, -point.gradient, point.state, point.number)

    monkeypatch.setattr(QuasiNewton, "_at", uphill)
    net, X, T = problem()
    fit = lw.train(net, X, T, epochs=10, **LBFGS)
    assert fit.stop_reason.startswith("The line search found no lower cost, after epoch 0: the largest entry of the ")
    assert "another optimizer" in fit.stop_reason
    for name, W in net.initialise(0).items():
        np.testing.assert_array_equal(fit.params[name], W)


# Ends ---------------------------------------------------------------------------------------------------------


def test_evaluations_are_limited():
    net, X, T = problem()
    fit = lw.train(net, X, T, optimizer=lw.LBFGS(max_evaluations=7), batch_size=None, epochs=50)
    n = len(fit.history)
    assert 3 <= n <= 6
    assert fit.stop_reason == f"The 7 evaluations of max_evaluations are done, after epoch {n}."
    assert fit.history[-1].cost == net.cost_and_gradients(fit.params, X, T)[0]


def test_steps_and_seconds_are_limited():
    net, X, T = problem()
    fit = lw.train(net, X, T, epochs=50, max_steps=4, **LBFGS)
    assert (fit.stop_reason, fit.steps) == ("The 4 steps of max_steps are done, after epoch 4.", 4)
    slow = lw.train(net, X, T, epochs=50, max_seconds=0.05, on_epoch_end=lambda epoch: time.sleep(0.03), **LBFGS)
    n = len(slow.history)
    assert 1 <= n <= 2
    assert slow.stop_reason == f"The 0.05 seconds of max_seconds are over, after epoch {n}."


def test_validation_patience_and_the_best_epoch():
    rng = np.random.default_rng(0)
    net, X, T = problem(30)
    T = T + rng.normal(size=T.shape)  # noise, which 37 weights soon learn by heart
    options = {"validation": 0.3, "metric": "rmse", "seed": 1, **LBFGS}
    fit = lw.train(net, X, T, epochs=200, patience=5, **options)
    scores = fit.history.validation["rmse"]
    best = int(np.flatnonzero(scores == scores.min())[-1]) + 1
    assert fit.best_epoch == best
    assert len(scores) == best + 5
    assert f"up to epoch {len(scores)}. The weights are those of epoch {best}" in fit.stop_reason
    again = lw.train(net, X, T, epochs=best, restore_best=False, **options)
    for name, W in again.params.items():
        np.testing.assert_array_equal(fit.params[name], W)
    assert (fit.last["W1"] != fit.params["W1"]).any()
    kept = lw.train(net, X, T, epochs=best + 5, restore_best=False, **options)
    np.testing.assert_array_equal(kept.params["W1"], fit.last["W1"])


def test_class_weights_and_diagnostics():
    X, labels = spiral()
    net = lw.Network([2, 8, 3], hidden="tanh", output="softmax")
    fit = lw.train(net, X, labels, epochs=5, class_weight={0: 0.0}, diagnostics=True, **LBFGS)
    bare = lw.train(net, X[labels > 0], labels[labels > 0], epochs=5, **LBFGS)
    np.testing.assert_allclose(fit.params["W1"], bare.params["W1"], rtol=1e-12)
    assert len(fit.history[-1].layers) == 2
    assert fit.history[-1].layers[0].update > 0


def test_a_listener_ends_it():
    net, X, T = problem()
    fit = lw.train(net, X, T, epochs=50, on_epoch_end=lambda e: "enough" if e.number == 3 else None, **LBFGS)
    assert fit.stop_reason == "Stopped after epoch 3: enough"
    assert len(fit.history) == 3


def test_an_error_of_a_listener_is_the_callers():
    net, X, T = problem()

    def stop(epoch):
        raise StopIteration  # which SciPy would take for its own

    with pytest.raises(StopIteration):
        lw.train(net, X, T, on_epoch_end=stop, **LBFGS)


def test_going_on_begins_with_the_gradient_again():
    net, X, T = problem()
    whole = lw.train(net, X, T, epochs=20, **LBFGS)
    first = lw.train(net, X, T, epochs=10, **LBFGS)
    then = lw.train(net, X, T, epochs=10, params=first, **LBFGS)
    np.testing.assert_array_equal(then.history.cost[:10], whole.history.cost[:10])
    assert [e.number for e in then.history] == list(range(1, 21))
    assert then.steps == 20
    assert then.history.cost[10] < then.history.cost[9]
    assert (then.history.cost[10:] != whole.history.cost[10:]).any()
    # And from and to update rules.
    rule = lw.train(net, X, T, epochs=3, params=then, optimizer=lw.Adam(), batch_size=None)
    back = lw.train(net, X, T, epochs=2, params=rule, **LBFGS)
    assert len(back.history) == back.steps == 25


# Costs that are not finite ------------------------------------------------------------------------------------


def test_a_start_of_infinite_cost():
    net, X, T = problem()
    with pytest.warns(lw.DivergenceWarning) as caught:
        fit = lw.train(net, X, 1e300 * T, epochs=5, **LBFGS)
    assert caught[0].filename == __file__
    assert fit.diverged
    assert fit.stop_reason == str(caught[0].message)
    assert fit.stop_reason.startswith(
        "The cost is inf at the starting weights, which are kept. Scale inputs and targets"
    )
    assert len(fit.history) == 0
    np.testing.assert_array_equal(fit.params["W1"], net.initialise(0)["W1"])


def test_a_line_search_comes_back_from_an_infinite_cost():
    # e^z is infinite from z = 710 on; the first step has length 1, and with these inputs z goes to thousands.
    net = lw.Network([1, 1], output="exp")
    X = np.array([[3000.0], [-3000.0], [1000.0]])
    y = np.array([0.5, 2.0, 1.0])
    start = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}
    assert not math.isfinite(net.cost_and_gradients({"W1": np.ones((1, 1)), "b1": np.zeros(1)}, X, y)[0])
    fit = lw.train(net, X, y, params=start, epochs=200, **LBFGS)
    assert np.isfinite(fit.history.cost).all()
    assert (np.diff(fit.history.cost) <= 0).all()
    assert fit.stop_reason.startswith(("A minimum", "The cost no longer falls"))
    _, g = net.cost_and_gradients(fit.params, X, y)
    assert abs(g["b1"]).max() < 1e-6


# Ctrl-C -------------------------------------------------------------------------------------------------------


def test_ctrl_c_between_epochs():
    net, X, T = problem()

    def stop(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(lw.TrainingInterrupted) as raised:
        lw.train(net, X, T, epochs=100, on_epoch_end=stop, **LBFGS)
    fit = raised.value.fit
    assert fit.stop_reason == "Ctrl-C in epoch 3, after 3 steps in all; their weights are kept."
    whole = lw.train(net, X, T, epochs=3, **LBFGS)
    for name, W in whole.params.items():
        np.testing.assert_array_equal(fit.params[name], W)


@pytest.mark.parametrize("at", range(1, 90))
def test_ctrl_c_at_any_line_leaves_whole_iterations(at):
    """KeyboardInterrupt is raised at the line number ``at`` that runs after the first epoch."""
    net, X, T = problem()
    lines = 0

    def tracer(frame, event, arg):
        nonlocal lines
        if not frame.f_code.co_filename.endswith(("quasi_newton.py", "course.py", "_lbfgsb_py.py")):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return tracer

    def begin(epoch):
        if epoch.number == 1:
            caller = sys._getframe(1)
            while caller is not None:
                caller.f_trace = tracer
                caller = caller.f_back
            sys.settrace(tracer)

    before = sys.gettrace()
    try:
        with pytest.raises(lw.TrainingInterrupted) as raised:
            lw.train(net, X, T, epochs=100, on_epoch_end=begin, **LBFGS)
    finally:
        sys.settrace(before)
    fit = raised.value.fit
    assert len(fit.history) == fit.steps >= 1
    whole = lw.train(net, X, T, epochs=fit.steps, **LBFGS)
    np.testing.assert_array_equal(fit.history.cost, whole.history.cost)
    for name, W in whole.params.items():
        np.testing.assert_array_equal(fit.params[name], W)


INTERRUPTED = """
import json, os, signal, threading, time
import numpy as np
import layerwise as lw

rng = np.random.default_rng(0)
X = rng.normal(size=(20000, 100))
net = lw.Network([100, 100, 1], hidden="tanh")
ends, sent = [], []

def interrupt():
    time.sleep(0.33)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

def begin(epoch):
    ends.append(time.monotonic())
    if len(ends) == 1:
        threading.Thread(target=interrupt, daemon=True).start()
try:
    lw.train(net, X, np.sin(X[:, 0]), optimizer=lw.LBFGS(), batch_size=None, epochs=10**6, on_epoch_end=begin)
except lw.TrainingInterrupted as stopped:
    seconds = time.monotonic() - sent[0]
    print(json.dumps([seconds, max(np.diff(ends)), stopped.fit.steps, len(ends)]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one's own process there")
def test_a_real_ctrl_c():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    seconds, iteration, steps, told = json.loads(done.stdout)
    assert seconds < max(0.5, 3 * iteration)  # 0.03 s when this was written; an evaluation in progress is finished
    assert steps == told


# What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": 0}, "history of LBFGS must be a positive integer; got 0"),
        ({"tolerance": -1.0}, "tolerance of LBFGS must be a finite number >= 0; got -1"),
        ({"tolerance": math.nan}, "tolerance of LBFGS must be a finite number"),
        ({"max_evaluations": 0}, "max_evaluations of LBFGS must be a positive integer; got 0"),
    ],
)
def test_numbers_that_cannot_be_meant(options, message):
    with pytest.raises(lw.DataError, match=message):
        lw.LBFGS(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "folder"}, r"checkpoint cannot be given with LBFGS: .*params=fit"),
        ({"resume": "folder"}, "resume cannot be given with LBFGS: "),
        ({"restarts": 2}, "restarts cannot be given with LBFGS: it has no learning rate"),
        ({"groups": {"b*": lw.Group(0.5)}}, "groups cannot be given with LBFGS: "),
        ({"clip_norm": 1.0}, "clip_norm cannot be given with LBFGS: "),
        ({"clip_value": 1.0}, "clip_value cannot be given with LBFGS: "),
        ({"batch_size": 10}, "LBFGS takes all 40 samples at once; got batch_size=10. Give batch_size=None"),
    ],
)
def test_what_does_not_go_with_it(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, X, T = problem()
    with pytest.raises(lw.DataError, match=message):
        lw.train(net, X, T, **{**LBFGS, **options})
    assert not list(tmp_path.iterdir())


def test_a_batch_of_all_rows_is_the_whole_data_set():
    net, X, T = problem()
    for batch_size in (None, 40, 128):
        assert len(lw.train(net, X, T, optimizer=lw.LBFGS(), batch_size=batch_size, epochs=2).history) == 2


@pytest.mark.parametrize("option", [{"dropout": 0.2}, {"noise": 0.1}, {"dropout": lw.Constant(0.1)}])
def test_a_random_cost_is_refused(option):
    _, X, T = problem()
    net = lw.Network([3, 5, 2], **option)
    with pytest.raises(lw.DataError, match=r"LBFGS needs a cost that is the same .* dropout or noise .*\.Adam"):
        lw.train(net, X, T, **LBFGS)


def test_weights_that_are_limited_after_a_step_are_refused():
    _, X, T = problem()
    net = lw.Network([3, 5, 2], max_norm=1.0)
    with pytest.raises(lw.DataError, match=r"LBFGS changes W1 by line searches, and .* Leave max_norm out"):
        lw.train(net, X, T, **LBFGS)


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize(
    "option", [{"l2": 0.01}, {"l1": 0.001, "parametrisation": "ntk"}, {"normalisation": "layer"}], ids=repr
)
def test_penalties_and_layers_are_part_of_the_cost(option, engine):
    _, X, T = problem()
    net = lw.Network([3, 5, 2], hidden="tanh", **option)
    fit = lw.train(net, X, T, epochs=15, engine=engine, **LBFGS)
    cost, _ = net.cost_and_gradients(fit.params, X, T, training=True, engine=engine)
    assert fit.history[-1].cost == pytest.approx(cost, rel=1e-12)
    assert (np.diff(fit.history.cost) < 0).all()


def test_running_statistics_follow_the_iterates():
    # An iteration is one step for them: a tenth of the way to the statistics of all rows at its weights.
    _, X, T = problem()
    net = lw.Network([3, 5, 2], hidden="tanh", normalisation="batch")
    mean = np.zeros(5)
    for n in range(1, 5):
        fit = lw.train(net, X, T, epochs=n, **LBFGS)
        mean = 0.9 * mean + 0.1 * (X @ fit.params["W1"]).mean(axis=0)
        np.testing.assert_allclose(fit.params["mean1"], mean, rtol=1e-10, atol=1e-14)
        cost, _ = net.cost_and_gradients(fit.params, X, T, training=True)
        assert fit.history[-1].cost == pytest.approx(cost, rel=1e-12)


def test_scipy_is_named_where_it_is_absent(monkeypatch):
    net, X, T = problem()
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(lw.DataError, match=r"LBFGS needs SciPy, .* pip install 'layerwise\[solvers\]'"):
        lw.train(net, X, T, **LBFGS)
