"""Native epochs: the trajectory of the definition, and the same bits whatever runs them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from random_networks import random_case
from update_rules import RULES as EVERY_RULE

import layerwise as lw
from layerwise.engine.native_training import NativeTraining
from layerwise.engine.programs import native
from layerwise.engine.training import Data, NumpyTraining, Run
from layerwise.network.build import step_graph

RULES = [lw.SGD(0.05), lw.Momentum(0.02, 0.8), lw.Adam(0.01)]


def digest(fit):
    return b"".join(W.tobytes() for W in fit.params.values()) + fit.history.cost.tobytes()


def problem(n=211, widths=(7, 33, 3), dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    net = lw.Network(list(widths), hidden="tanh", output="softmax")
    return net, rng.normal(size=(n, widths[0])).astype(dtype), rng.integers(0, widths[-1], n)


def trained(engine="native", **options):
    net, X, Y = problem(dtype=options.get("dtype", "float64"))
    return lw.train(net, X, Y, **{"epochs": 3, "batch_size": 32, "optimizer": lw.Adam(0.01), **options}, engine=engine)


@pytest.mark.parametrize("seed", range(300))
def test_random_steps_are_those_of_the_definition(seed):
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    options = {
        "params": case.params,
        "optimizer": RULES[seed % 3],
        "batch_size": [None, 1, 3, 4, 7][int(rng.integers(5))],
        "epochs": 3,
        "seed": seed,
        "sample_weight": rng.random(len(case.X)) + 0.1 if seed % 4 == 1 else None,
    }
    expected = lw.train(case.net, case.X, case.Y, engine="numpy", **options)
    fit = lw.train(case.net, case.X, case.Y, engine="native", **options)
    np.testing.assert_allclose(fit.history.cost, expected.history.cost, rtol=1e-10, atol=1e-14)
    for name, W in expected.params.items():
        assert fit.params[name].shape == W.shape
        np.testing.assert_allclose(fit.params[name], W, rtol=1e-9, atol=1e-10 * max(1.0, np.abs(W).max()))


@pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("batch_size", [1, 16, 32, 210, 211, None])
def test_a_hundred_steps(rule, batch_size):
    epochs = max(2, 100 // -(-211 // (batch_size or 211)))
    fits = [trained(e, optimizer=rule, batch_size=batch_size, epochs=epochs) for e in ("native", "numpy")]
    np.testing.assert_allclose(fits[0].history.cost, fits[1].history.cost, rtol=1e-10)
    for name, W in fits[1].params.items():
        np.testing.assert_allclose(fits[0].params[name], W, rtol=1e-8, atol=1e-10)


def batch_sizes(rule, batch_size):
    return [None] if rule.full_batch else [batch_size, None]


@pytest.mark.parametrize("rule", EVERY_RULE, ids=repr)
def test_fifty_steps_of_every_rule(rule):
    for batch_size in batch_sizes(rule, 32):
        options = {"optimizer": rule, "batch_size": batch_size, "epochs": 50 if batch_size is None else 8}
        native_fit, numpy_fit = (trained(engine, **options) for engine in ("native", "numpy"))
        np.testing.assert_allclose(native_fit.history.cost, numpy_fit.history.cost, rtol=1e-10)
        for name, W in numpy_fit.params.items():
            # 1e-10: this descent does not amplify what is rounded in one step.
            np.testing.assert_allclose(native_fit.params[name], W, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", EVERY_RULE, ids=repr)
def test_every_rule_gives_the_same_bits_on_any_number_of_threads(rule):
    usable = native.usable_processors()
    for batch_size in batch_sizes(rule, 100):
        dtype = "float32" if batch_size else "float64"
        net, X, Y = problem(n=300, widths=(40, 150, 70, 5), dtype=dtype)  # live packed, with a block that is not full
        found = []
        try:
            for threads in (1, 2, 8):
                native.set_usable_processors(threads)
                fit = lw.train(net, X, Y, optimizer=rule, batch_size=batch_size, epochs=2, dtype=dtype)
                assert not fit.diverged
                found.append(digest(fit))
        finally:
            native.set_usable_processors(usable)
        assert len(set(found)) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [32, None])
def test_the_same_bits_on_any_number_of_threads(dtype, batch_size):
    net, X, Y = problem(n=700, widths=(40, 300, 200, 5), dtype=dtype)
    options = {"epochs": 2, "batch_size": batch_size, "optimizer": lw.Momentum(0.1), "dtype": dtype}
    usable = native.usable_processors()
    try:
        found = []
        for threads in (1, 2, 3, 8, 64):
            native.set_usable_processors(threads)
            found.append(digest(lw.train(net, X, Y, **options)))
    finally:
        native.set_usable_processors(usable)
    assert len(set(found)) == 1


def test_the_same_bits_for_any_layout_of_the_data():
    net, X, Y = problem(dtype="float32")
    expected = digest(lw.train(net, X, Y, epochs=2, dtype="float32"))
    wide = np.zeros((211, 14), np.float32)
    wide[:, ::2] = X
    swapped = X.astype(X.dtype.newbyteorder())
    for other in (np.asfortranarray(X), wide[:, ::2], X[::-1].copy()[::-1], X.astype(np.float64), swapped, X.tolist()):
        assert digest(lw.train(net, other, Y, epochs=2, dtype="float32")) == expected
    for labels in (Y.astype(np.int8), Y.astype(np.uint16), np.repeat(Y, 2)[::2], Y.tolist()):
        assert digest(lw.train(net, X, labels, epochs=2, dtype="float32")) == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_same_bits_in_any_process_also_after_a_fork(method):
    expected = digest(trained())  # the pool has threads when the process forks
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_digest_of_trained, range(2)) == [expected] * 2


def _digest_of_trained(_):
    return digest(trained())


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_the_same_bits_under_joblib(backend):
    expected = digest(trained())
    found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(_digest_of_trained)(i) for i in range(4))
    assert found == [expected] * 4


def test_the_same_bits_from_many_threads_at_once():
    expected = digest(trained())
    with ThreadPoolExecutor(8) as executor:
        assert list(executor.map(_digest_of_trained, range(16))) == [expected] * 16


IN_A_NEW_PROCESS = """
import sys, numpy as np, layerwise as lw
rng = np.random.default_rng(0)
net = lw.Network([7, 33, 3], hidden="tanh", output="softmax")
X, Y = rng.normal(size=(211, 7)), rng.integers(0, 3, 211)
fit = lw.train(net, X, Y, epochs=15, batch_size=32, optimizer=lw.Momentum(0.05))
assert fit.engine == "native " + sys.argv[1], fit.engine
sys.stdout.buffer.write(b"".join(W.tobytes() for W in fit.params.values()))
"""


def weights_under(isa, hash_seed):
    run = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, isa],
        env={**os.environ, "LAYERWISE_ISA": isa, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
    )
    return np.frombuffer(run.stdout)


def test_instruction_sets_agree_after_a_hundred_steps():
    found = {isa: weights_under(isa, "1") for isa in native.isas()}
    for isa, W in found.items():
        scale = np.abs(W).max()
        np.testing.assert_allclose(W, found["baseline"], rtol=1e-12, atol=1e-12 * scale, err_msg=isa)
    best = native.isas()[-1]
    assert weights_under(best, "2").tobytes() == found[best].tobytes()


def test_an_instruction_set_that_is_not_there_is_refused_by_name():
    run = subprocess.run(
        [sys.executable, "-c", "import layerwise as lw; x = lw.input('x', ()); lw.evaluate(lw.exp(x), {x: 1.0})"],
        env={**os.environ, "LAYERWISE_ISA": "mmx"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert 'got "mmx"' in run.stderr


def test_epochs_one_by_one_are_epochs_in_one_call():
    seen = []
    one_by_one = trained(on_epoch_end=seen.append, epochs=5)
    together = trained(epochs=5)
    assert digest(one_by_one) == digest(together)
    assert [e.number for e in seen] == [1, 2, 3, 4, 5]
    seconds = [e.seconds for e in together.history]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("n", [1, 30, 211, 600])
@pytest.mark.parametrize("batch_size", [1, 32, 300, 600])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_cost_of_some_rows_is_that_of_the_definition(n, batch_size, weighted):
    net, X, Y = problem(n=n)
    rule = lw.Adam(0.01)
    graph = step_graph(net.graph(labels=True, weighted=weighted), rule)
    tables = (X, Y, np.linspace(0.5, 1.5, n)) if weighted else (X, Y)
    start = {node: net.initialise(3)[name] for name, node in graph.graph.parameters.items()}
    data = Data(tables, min(batch_size, n), seed=4)
    native_one, numpy_one = (kind(graph.step(), data, start, "float64") for kind in (NativeTraining, NumpyTraining))
    for epoch in range(1, 4):
        for rows in (slice(256), slice(7), np.arange(n)[::-2]):
            assert native_one.measure(tables, rows)[0] == pytest.approx(numpy_one.measure(tables, rows)[0], rel=1e-12)
        for most in (256, 5):
            last = [t.last_batch(epoch, most) for t in (native_one, numpy_one)]
            assert len(last[0]) == len(tables)
            for one, other in zip(*last, strict=True):
                np.testing.assert_array_equal(one, other)
                assert 1 <= len(one) <= most
        outcomes = [t.run(Run(epoch, 1)) for t in (native_one, numpy_one)]
        assert outcomes[0].costs == pytest.approx(outcomes[1].costs, rel=1e-10)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_starting_weights_that_change_while_it_trains_do_not_matter(engine):
    net, X, Y = problem()
    start = net.initialise(0)
    options = {"batch_size": None, "optimizer": lw.SGD(1e4), "epochs": 3, "engine": engine}
    with pytest.warns(lw.DivergenceWarning, match="weights of the lowest cost are kept"):
        expected = lw.train(net, X, 1.0 * np.eye(3)[Y], params=start, **options)

    def change(epoch):
        for W in start.values():
            W[...] = 7.0

    kept = {name: W.copy() for name, W in start.items()}
    with pytest.warns(lw.DivergenceWarning, match="weights of the lowest cost are kept"):
        fit = lw.train(net, X, 1.0 * np.eye(3)[Y], params=start, on_epoch_end=change, **options)
    assert digest(fit) == digest(expected)
    for name, W in kept.items():
        np.testing.assert_array_equal(fit.params[name], W)


# Ends of a fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_ctrl_c_within_an_epoch_keeps_the_weights_of_the_last_whole_step(engine):
    net, X, Y = problem(n=4000, widths=(64, 256, 10))
    main = threading.get_ident()
    timer = threading.Timer(0.4, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(lw.TrainingInterrupted) as raised:
        lw.train(net, X, Y, epochs=100_000, batch_size=16, engine=engine)
    assert time.monotonic() - start < 5.0
    fit = raised.value.fit
    assert "Ctrl-C in epoch" in fit.stop_reason
    assert all(np.isfinite(W).all() for W in fit.params.values())
    steps = int(fit.stop_reason.split("after ")[1].split(" ")[0])
    assert steps > 0
    whole, rest = divmod(steps, 250)
    assert len(fit.history) == whole
    if engine == "native" and rest and whole < 3:
        again = lw.train(net, X, Y, epochs=whole + 1, batch_size=16, engine=engine)
        assert digest(again) != digest(fit)


def stops_of(**options):
    """How a fit that diverges ends, by both engines."""
    found = []
    for engine in ("native", "numpy"):
        with pytest.warns(lw.DivergenceWarning):
            found.append(lw.train(**options, engine=engine))
    return found


@pytest.mark.parametrize("batch_size", [16, None])
@pytest.mark.parametrize("rate", [1e4, 1e160, 1e300])
def test_a_fit_that_diverges_ends_at_the_same_step_with_the_same_weights(rate, batch_size):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5))
    native_fit, numpy_fit = stops_of(
        net=lw.Network([5, 8, 2], hidden="relu"), X=X, Y=rng.normal(size=(100, 2)), epochs=20,
        batch_size=batch_size, optimizer=lw.SGD(rate),
    )  # fmt: skip
    assert native_fit.stop_reason == numpy_fit.stop_reason
    assert native_fit.diverged
    assert len(native_fit.history) == len(numpy_fit.history)
    for name, W in numpy_fit.params.items():
        np.testing.assert_allclose(native_fit.params[name], W, rtol=1e-9)
        assert np.isfinite(native_fit.params[name]).all()


def test_no_memory_is_lost():
    net, X, Y = problem(n=64, widths=(4, 5, 3))

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    lw.train(net, X, Y, epochs=1000, batch_size=1)
    for _ in range(50):
        lw.train(net, X, Y, epochs=2, batch_size=16)
    before = resident()
    lw.train(net, X, Y, epochs=1600, batch_size=1)  # 1e5 steps
    assert resident() - before < 4e6
    for _ in range(300):
        lw.train(net, X, Y, epochs=2, batch_size=16)
    assert resident() - before < 8e6


PEAK_OF_A_FIT = """
import resource, sys, numpy as np, layerwise as lw

net = lw.Network([1536, 1536, 1536, 10], output="softmax")
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(64, 1536)).astype("float32"), rng.integers(0, 10, 64)
start = {name: rng.standard_normal(shape, "float32") for name, shape in net.parameter_shapes.items()}
for W in start.values():
    W *= 0.02
weights = sum(W.nbytes for W in start.values())
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small = lw.Network([3, 3])
lw.train(small, np.ones((4, 3)), np.ones((4, 3)))  # threads and what is made once
before = peak()
lw.train(net, X, Y, params=start, optimizer=lw.SGD(1e-3), batch_size=16, epochs=int(sys.argv[1]))
print((peak() - before) / weights)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module there")
@pytest.mark.parametrize(("epochs", "copies"), [(1, 5.0), (35, 6.0)])
def test_the_memory_of_a_fit(epochs, copies):
    """Its peak in copies of the weights: the state, with what is packed of them; one of the state; what is returned.

    In the longer fit the copy of the state is renewed, and one of the best weights is kept.
    """
    run = subprocess.run([sys.executable, "-c", PEAK_OF_A_FIT, str(epochs)], capture_output=True, text=True, check=True)
    assert float(run.stdout) < copies
