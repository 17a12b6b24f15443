"""A fit that was cut off and goes on: the same bits as one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_case, random_layered_case
from update_rules import DECLARED

import layerwise as lw
from layerwise.engine.native_training import NativeTraining
from layerwise.fit import checkpoints
from layerwise.fit.saving import fingerprint

ENGINES = ["native", "numpy"]


def same(a: lw.Fit, b: lw.Fit) -> None:
    """All that a fit holds, but for times."""
    for name in ("params", "slots", "last"):
        one, other = getattr(a, name), getattr(b, name)
        assert list(one) == list(other)
        for key, value in one.items():
            assert value.tobytes() == other[key].tobytes(), (name, key)
    assert (a.stop_reason, a.best_epoch, a.steps, a.diverged) == (b.stop_reason, b.best_epoch, b.steps, b.diverged)
    assert a.history.cost.tobytes() == b.history.cost.tobytes()
    assert a.history.learning_rate.tobytes() == b.history.learning_rate.tobytes()
    for key, curve in a.history.validation.items():
        assert curve.tobytes() == b.history.validation[key].tobytes()
    assert [e.number for e in a.history] == [e.number for e in b.history]


class CutError(Exception):
    """The process is gone, as far as the fit can know."""


def cut_after(folder, n):
    """A folder of checkpoints that fails the caller after the n-th is durable, as a kill would."""
    save = checkpoints.CheckpointFolder.save
    left = n

    def counted(self, document, arrays):
        nonlocal left
        save(self, document, arrays)
        left -= 1
        if left == 0:
            raise CutError

    return counted


SCHEDULES = [
    lambda r: r,
    lambda r: lw.CosineDecay(r),
    lambda r: lw.Warmup(epochs=1.5) * lw.StepDecay(r, every=2),
    lambda r: lw.ReduceOnPlateau(r, factor=0.5, patience=0, cooldown=1),
    lambda r: lw.OneCycle(r),
    lambda r: lw.CosLog4(r),
]


def batches(net):
    """Whether statistics of the batch are computed."""
    return any(getattr(layer, "normalisation", None) == "batch" for layer in net.layers)


def random_options(seed, case):
    """Settings of all kinds, by chance."""
    rng = random.Random(seed)
    kind = DECLARED[seed % len(DECLARED)]
    rate = 0.01 if kind is not lw.Adadelta else 1.0
    rule = kind(rate) if kind is lw.Rprop else kind(rng.choice(SCHEDULES)(rate))
    n = len(case.X)
    sizes = [None, 2, 3, 5, 8] if batches(case.net) else [None, 1, 2, 3, 8]
    options = {
        "params": case.params,
        "optimizer": rule,
        "batch_size": None if rule.full_batch else rng.choice(sizes),
        "epochs": rng.randint(2, 6),
        "seed": seed,
        "every_steps": rng.choice([None, None, 1, 2, 7]),
        "every": rng.randint(1, 2),
        "diagnostics": rng.random() < 0.2,
    }
    if n >= 4 and rng.random() < 0.6:
        options["validation"] = (case.X[: n // 2], case.Y[: n // 2]) if rng.random() < 0.5 else 0.5
        options["patience"] = rng.choice([None, 1, 2])
        options["restore_best"] = rng.random() < 0.7
    if rng.random() < 0.3:
        options["sample_weight"] = np.random.default_rng(seed).random(n) + 0.5
    if rng.random() < 0.3:
        options["clip_norm"] = 0.3
    if rng.random() < 0.3:
        options["groups"] = {"W*": lw.Group(0.5)}
    if rng.random() < 0.2:
        options["max_steps"] = rng.randint(1, 9)
    return options


@pytest.mark.parametrize("seed", range(120))
def test_any_fit_cut_after_any_checkpoint_goes_on_to_the_same_bits(seed, tmp_path, monkeypatch):
    case = random_layered_case(seed, random_parts=True) if seed % 2 else random_case(seed)
    options = random_options(seed, case)
    engine = ENGINES[seed % 3 == 0]
    try:
        whole = lw.train(case.net, case.X, case.Y, engine=engine, checkpoint=tmp_path / "whole", **options)
    except lw.DataError:  # too few rows of a class to hold any out
        options["validation"] = case.X, case.Y
        whole = lw.train(case.net, case.X, case.Y, engine=engine, checkpoint=tmp_path / "whole", **options)
    n = checkpoints.read_newest(tmp_path / "whole").document["number"]
    rng = random.Random(seed)
    folder = tmp_path / "cut"
    cuts = sorted(rng.sample(range(1, n + 1), min(n, 2)))
    for i, cut in enumerate(cuts):  # cut, resumed, and cut again
        monkeypatch.setattr(checkpoints.CheckpointFolder, "save", cut_after(folder, cut - (cuts[i - 1] if i else 0)))
        where = {"resume": folder} if i else {"checkpoint": folder}
        with pytest.raises(CutError):
            lw.train(case.net, case.X, case.Y, engine=engine, **where, **options)
        monkeypatch.undo()
    again = lw.train(case.net, case.X, case.Y, engine=engine, resume=folder, **options)
    assert any(note.startswith("Resumed after ") for note in again.notes)
    same(again, whole)
    plain = {k: v for k, v in options.items() if k not in ("every", "every_steps")}
    same(lw.train(case.net, case.X, case.Y, engine=engine, **plain), whole)  # saving changes nothing
    same(lw.train(case.net, case.X, case.Y, engine=engine, resume=folder, **options), whole)  # there is nothing to do


def problem(n=300):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    return lw.Network([4, 16, 3], output="softmax"), X, np.argmax(X @ rng.normal(size=(4, 3)), axis=1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", [1, 20, 77, 150])
def test_ctrl_c_saves_the_last_whole_step(engine, at, tmp_path):
    net, X, y = problem()
    options = {"optimizer": lw.Adam(0.01), "epochs": 8, "batch_size": 16, "validation": 0.2, "engine": engine}
    whole = lw.train(net, X, y, **options)

    def stop(epoch):
        if epoch.number == 1 + at // 20:
            raise KeyboardInterrupt

    with pytest.raises(lw.TrainingInterrupted) as raised:
        lw.train(net, X, y, checkpoint=tmp_path, every=100, on_epoch_end=stop, **options)
    assert checkpoints.read_newest(tmp_path).document["position"]["steps"] == raised.value.fit.steps
    same(lw.train(net, X, y, resume=tmp_path, every=100, **options), whole)


def test_ctrl_c_that_is_heard_when_a_run_is_done(tmp_path, monkeypatch):
    """Native code asks for signals now and then; what came after the last time is heard when it has returned."""
    net, X, y = problem()
    options = {"optimizer": lw.Adam(0.01), "epochs": 8, "batch_size": 16, "validation": 0.2}
    whole = lw.train(net, X, y, **options)
    runs = 0

    class Heard:
        def __init__(self, trainer):
            object.__setattr__(self, "trainer", trainer)

        def __getattr__(self, name):
            return getattr(self.trainer, name)

        def __setattr__(self, name, value):
            setattr(self.trainer, name, value)

        def run(self, *args, **kwargs):
            nonlocal runs
            runs += 1
            status = self.trainer.run(*args, **kwargs)
            if runs == 3:
                raise KeyboardInterrupt
            return status

    init = NativeTraining.__init__

    def wrapped(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self._trainer = Heard(self._trainer)

    monkeypatch.setattr(NativeTraining, "__init__", wrapped)
    with pytest.raises(lw.TrainingInterrupted) as raised:
        lw.train(net, X, y, checkpoint=tmp_path, every=100, **options)
    monkeypatch.undo()
    assert len(raised.value.fit.history) == 3
    same(lw.train(net, X, y, resume=tmp_path, every=100, **options), whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_goes_on_from_another(engine):
    net, X, y = problem()
    options = {"optimizer": lw.Adam(0.01), "batch_size": 16, "engine": engine}
    whole = lw.train(net, X, y, epochs=5, **options)
    first = lw.train(net, X, y, epochs=2, **options)
    second = lw.train(net, X, y, params=first, epochs=3, **options)
    for name, W in whole.params.items():
        np.testing.assert_array_equal(second.params[name], W)
    assert second.steps == whole.steps
    np.testing.assert_array_equal(second.history.cost, whole.history.cost)
    best = lw.train(net, X, y, params=first, epochs=3, validation=(X, y), **options)
    np.testing.assert_array_equal(best.last["W1"], whole.params["W1"])
    with pytest.raises(lw.DataError, match="params is a fit of another network"):
        lw.train(lw.Network([4, 3], output="softmax"), X, y, params=first)


# What is refused ----------------------------------------------------------------------------------------------


def test_what_a_fit_must_agree_with(tmp_path):
    net, X, y = problem()
    options = {"optimizer": lw.Adam(0.01), "epochs": 2, "batch_size": 16}
    lw.train(net, X, y, checkpoint=tmp_path, **options)
    other = X.copy()
    other[-1, -1] += 1e-9
    for change, message in [
        ({"batch_size": 8}, "the batch_size differs: 16 there, 8 here"),
        ({"optimizer": lw.Adam(0.02)}, "the optimizer differs"),
        ({"optimizer": lw.SGD(0.01)}, "the optimizer differs"),
        ({"seed": 1}, "the seed differs: 0 there, 1 here"),
        ({"epochs": 3}, "the epochs differs"),
        ({"clip_norm": 1.0}, "the clip_norm differs: None there, 1.0 here"),
        ({"validation": (X, y)}, "the validation data differs"),
        ({"dtype": "float32"}, "the dtype differs"),
        ({"groups": {"W1": lw.Group(0.5)}}, "the groups differs"),
    ]:
        with pytest.raises(lw.CheckpointError, match=message):
            lw.train(net, X, y, resume=tmp_path, **{**options, **change})
    with pytest.raises(lw.CheckpointError, match=r"the training data differs\. Resume with what the fit began with"):
        lw.train(net, other, y, resume=tmp_path, **options)
    with pytest.raises(lw.CheckpointError, match="the network differs"):
        lw.train(lw.Network([4, 3], output="softmax"), X, y, resume=tmp_path, **options)
    with pytest.raises(lw.CheckpointError, match=r"holds checkpoints of an earlier fit\. Go on with that by resume="):
        lw.train(net, X, y, checkpoint=tmp_path, **options)
    with pytest.raises(lw.DataError, match="Give either checkpoint"):
        lw.train(net, X, y, checkpoint=tmp_path, resume=tmp_path, **options)
    with pytest.raises(lw.CheckpointError, match="There is no folder"):
        lw.train(net, X, y, resume=tmp_path / "nowhere", **options)
    with pytest.raises(lw.DataError, match="every must be a positive integer; got 0"):
        lw.train(net, X, y, checkpoint=tmp_path / "new", every=0, **options)


def test_weights_of_validation_rows_must_agree(tmp_path):
    net, X, y = problem()
    w = np.ones(len(y))
    lw.train(net, X, y, checkpoint=tmp_path, validation=(X, y, w), epochs=2)
    w[0] = 1.5
    with pytest.raises(lw.CheckpointError, match="the validation data differs"):
        lw.train(net, X, y, resume=tmp_path, validation=(X, y, w), epochs=2)


def test_the_order_of_groups_counts(tmp_path):
    net, X, y = problem()
    groups = {"W1": lw.Group(0.5), "W*": lw.Group(0.1)}
    lw.train(net, X, y, checkpoint=tmp_path, epochs=1, groups=groups)
    lw.train(net, X, y, resume=tmp_path, epochs=1, groups=dict(groups))
    with pytest.raises(lw.CheckpointError, match="the groups differs"):
        lw.train(net, X, y, resume=tmp_path, epochs=1, groups=dict(reversed(groups.items())))


def test_the_fingerprint_is_of_numbers_and_not_of_their_layout():
    X = np.random.default_rng(0).normal(size=(5000, 7))
    found = fingerprint([X, np.arange(5)])
    assert fingerprint([np.asfortranarray(X), np.arange(5)]) == found
    assert fingerprint([X[::-1][::-1], np.arange(5)]) == found
    assert fingerprint([X.astype(">f8"), np.arange(5)]) == found
    for row in (0, 2500, 4999):
        other = X.copy()
        other[row, 3] = np.nextafter(other[row, 3], 9)
        assert fingerprint([other, np.arange(5)]) != found
    assert fingerprint([X.reshape(7, 5000), np.arange(5)]) != found
    assert fingerprint([]) != fingerprint([np.empty((0, 3))])


def test_a_checkpoint_that_cannot_be_saved_does_not_end_the_fit(tmp_path, monkeypatch):
    net, X, y = problem()
    save, count = checkpoints.CheckpointFolder.save, 0

    def full(self, document, arrays):
        nonlocal count
        count += 1
        if count == 3:
            raise lw.CheckpointError("The checkpoint was not saved: No space left on device.")
        save(self, document, arrays)

    monkeypatch.setattr(checkpoints.CheckpointFolder, "save", full)
    with pytest.warns(lw.CheckpointWarning, match="No space left on device. The fit goes on."):
        fit = lw.train(net, X, y, checkpoint=tmp_path, epochs=4)
    assert "The checkpoint was not saved: No space left on device." in fit.notes
    same(fit, lw.train(net, X, y, epochs=4))
    assert checkpoints.read_newest(tmp_path).document["position"]["steps"] == fit.steps


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(tmp_path):
    net, X, y = problem()
    (tmp_path / "file").write_text("")
    begun = []
    with pytest.raises(lw.CheckpointError):
        lw.train(net, X, y, checkpoint=tmp_path / "file", on_epoch_end=begun.append)
    assert begun == []


# kill -9 ------------------------------------------------------------------------------------------------------

CHILD = """
import json, sys
import numpy as np
import layerwise as lw
folder, resume = sys.argv[1], sys.argv[2] == "resume"
rng = np.random.default_rng(0)
X = rng.normal(size=(600, 8))
y = np.argmax(X[:, :3], axis=1)
net = lw.Network([8, 24, 24, 3], hidden="tanh", output="softmax")
fit = lw.train(net, X, y, optimizer=lw.AMSGrad(lw.Warmup(epochs=3) * lw.CosineDecay(0.01)), batch_size=16, epochs=40,
               validation=0.2, metric="accuracy", patience=39, every_steps=11,
               **({"resume" if resume else "checkpoint": folder}))
print(json.dumps({"notes": fit.notes, "reason": fit.stop_reason,
                  "bits": {k: W.tobytes().hex() for k, W in fit.params.items()}}))
"""


def child(folder, how):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_kill_9_at_random_instants(tmp_path):
    """One fit, killed again and again until it is done: at most one interval is done again each time."""
    reference = child(tmp_path / "whole", "checkpoint")
    expected = json.loads(reference.communicate(timeout=120)[0])
    rng = random.Random(4)
    kills, reached = 0, 0
    want = int(os.environ.get("LAYERWISE_KILLS", "12"))
    round_number = 0
    while kills < want:
        folder = tmp_path / f"cut{round_number}"
        how = "resume" if folder.exists() else "checkpoint"
        process = child(folder, how)
        deadline = time.monotonic() + 60
        while not (folder / "lock").exists() and not list(folder.glob("*.layerwise-checkpoint")):
            if process.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.005)
        time.sleep(rng.random() * 0.25)
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:  # it was done before the kill
            found = json.loads(out)
            assert found["bits"] == expected["bits"]
            assert found["reason"] == expected["reason"]
            round_number += 1
            reached = 0
            continue
        assert process.returncode == -signal.SIGKILL, err
        kills += 1
        if any(Path(folder).glob("*.layerwise-checkpoint")):
            newest = checkpoints.read_newest(folder)
            steps = newest.document["position"]["steps"]
            assert newest.notes == ()  # what was killed left nothing that is damaged
            assert steps >= reached
            reached = steps
    process = child(
        tmp_path / f"cut{round_number}", "resume" if (tmp_path / f"cut{round_number}").exists() else "checkpoint"
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["bits"] == expected["bits"]
    assert not [p for p in (tmp_path / f"cut{round_number}").iterdir() if p.name.endswith("tmp")]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", range(1, 140, 3))
def test_ctrl_c_at_any_line_between_steps(at, engine, tmp_path):
    """KeyboardInterrupt is raised at the line number ``at`` that the loop and the engine run after the first epoch."""
    net, X, y = problem(40)
    options = {
        "optimizer": lw.Adam(lw.ReduceOnPlateau(0.05, patience=0)),
        "epochs": 6,
        "batch_size": 16,
        "validation": 0.25,
        "patience": 4,
        "engine": engine,
        "every": 100,
    }
    expected = lw.train(net, X, y, **{k: v for k, v in options.items() if k != "every"})
    lines = 0

    def tracer(frame, event, arg):
        nonlocal lines
        if not frame.f_code.co_filename.endswith(("loop.py", "training.py", "validation.py")):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return tracer

    def begin(epoch):
        if epoch.number == 1:
            sys.settrace(tracer)

    before = sys.gettrace()
    try:
        with pytest.raises(lw.TrainingInterrupted):
            lw.train(net, X, y, checkpoint=tmp_path, on_epoch_end=begin, **options)
    finally:
        sys.settrace(before)
    same(lw.train(net, X, y, resume=tmp_path, **options), expected)


# Going on from a fit whose epochs had other steps, or another rule ------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_schedules_go_on_by_epochs_where_these_have_other_steps(engine):
    rng = np.random.default_rng(0)
    X, net = rng.normal(size=(64, 3)), lw.Network([3, 4, 1])
    options = {"optimizer": lw.SGD(lw.CosineDecay(0.01)), "engine": engine}
    first = lw.train(net, X, X[:, :1], batch_size=8, epochs=5, **options)
    second = lw.train(net, X, X[:, :1], params=first, batch_size=None, epochs=5, **options)
    # Half of the ten epochs are over: steps 5, …, 9 of 10, whose weights are those of one step an epoch.
    rates = 0.005 * (1 + np.cos(np.pi * np.arange(5, 10) / 10))
    np.testing.assert_allclose(second.history.learning_rate[5:], rates, rtol=1e-12)
    params = first.last
    for rate in rates:
        _, gradients = net.cost_and_gradients(params, X, X[:, :1], engine=engine)
        params = {name: W - rate * gradients[name] for name, W in params.items()}
    for name, W in params.items():
        np.testing.assert_allclose(second.last[name], W, rtol=1e-10)


def test_an_epoch_that_was_broken_off_does_not_shift_the_rates_of_those_after_it():
    rng = np.random.default_rng(0)
    X, net = rng.normal(size=(64, 3)), lw.Network([3, 4, 1])
    options = {"optimizer": lw.SGD(lw.StepDecay(0.1, every=1, factor=0.5)), "batch_size": 8}
    first = lw.train(net, X, X[:, :1], epochs=5, max_steps=13, **options)  # an epoch and five steps
    second = lw.train(net, X, X[:, :1], params=first, epochs=2, **options)
    np.testing.assert_allclose(second.history.learning_rate, [0.1, 0.05, 0.025])


def test_a_plateau_goes_on_from_what_it_has_seen():
    rng = np.random.default_rng(0)
    X, net = rng.normal(size=(64, 3)), lw.Network([3, 4, 1])
    options = {"optimizer": lw.SGD(lw.ReduceOnPlateau(1e-9, patience=0, threshold=0.5)), "batch_size": None}
    whole = lw.train(net, X, X[:, :1], epochs=7, **options)
    first = lw.train(net, X, X[:, :1], epochs=4, **options)
    assert first.history.learning_rate[-1] == pytest.approx(1e-11)
    second = lw.train(net, X, X[:, :1], params=first, epochs=3, **options)
    np.testing.assert_array_equal(second.history.learning_rate, whole.history.learning_rate)


@pytest.mark.parametrize("engine", ENGINES)
def test_another_rule_counts_its_steps_from_where_it_begins(engine, tmp_path):
    rng = np.random.default_rng(0)
    X, net = rng.normal(size=(64, 3)), lw.Network([3, 4, 1])
    options = {"batch_size": None, "engine": engine}
    first = lw.train(net, X, X[:, :1], optimizer=lw.SGD(0.01), epochs=20, **options)
    options |= {"optimizer": lw.Adam(1e-3), "params": first, "epochs": 3}
    second = lw.train(net, X, X[:, :1], **options)
    # Adam moves each weight by its rate in the first step, and hardly differently in the next ones.
    moved = np.abs(second.last["W2"] - first.last["W2"])
    np.testing.assert_allclose(moved, 3e-3, rtol=0.02)
    lw.train(net, X, X[:, :1], checkpoint=tmp_path, max_steps=2, **options)
    same(lw.train(net, X, X[:, :1], resume=tmp_path, **options), second)


@pytest.mark.parametrize("first", [{}, {"validation": 0.2}, {"diagnostics": True}])
@pytest.mark.parametrize("then", [{}, {"validation": 0.2}, {"diagnostics": True}])
def test_a_fit_goes_on_from_one_that_was_judged_otherwise(tmp_path, first, then):
    net, X, y = problem()
    earlier = lw.train(net, X, y, epochs=2, **first)
    whole = lw.train(net, X, y, params=earlier, epochs=3, **then)
    lw.train(net, X, y, params=earlier, epochs=3, checkpoint=tmp_path, max_steps=3, **then)
    found = lw.train(net, X, y, params=earlier, epochs=3, resume=tmp_path, **then)
    same(found, whole)
    assert [len(e.layers) for e in found.history] == [len(e.layers) for e in whole.history]


def test_numbers_that_are_wider_than_their_digits_have_one_fingerprint():
    X = np.arange(6.0).reshape(2, 3)
    wide = [np.full(6, filler).astype(np.longdouble).reshape(2, 3) for filler in (7e77, 1 / 3)]
    for array in wide:
        array[...] = X
    bits = wide[0].view(np.uint8)
    bits.reshape(-1, np.dtype(np.longdouble).itemsize)[:, 10:] = 7  # what no digit is kept in
    assert fingerprint([wide[0]]) == fingerprint([wide[1]])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_start_stays_the_best_of_a_fit_that_is_cut_off_at_once(tmp_path, monkeypatch, engine):
    rng = np.random.default_rng(0)
    X, net = rng.normal(size=(40, 3)), lw.Network([3, 1])
    options = {"optimizer": lw.SGD(2.0), "batch_size": None, "epochs": 30, "engine": engine}
    with pytest.warns(lw.DivergenceWarning, match="The weights of the lowest cost are kept"):
        whole = lw.train(net, X, X[:, :1], **options)
    # Every epoch costs more than the one before; the cost of the first is that of the start.
    assert (np.diff(whole.history.cost) > 0).all()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.CheckpointFolder, "save", cut_after(tmp_path, 1))
        with pytest.raises(CutError):
            lw.train(net, X, X[:, :1], checkpoint=tmp_path, **options)
    with pytest.warns(lw.DivergenceWarning):
        same(lw.train(net, X, X[:, :1], resume=tmp_path, **options), whole)


def test_a_fit_that_goes_on_has_no_more_restarts_than_it_is_given(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X, net = rng.normal(size=(40, 3)), lw.Network([3, 1])
    options = {"optimizer": lw.SGD(1e6), "epochs": 9}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.CheckpointFolder, "save", cut_after(tmp_path, 5))  # two a start, so in the third
        with pytest.raises(CutError):
            lw.train(net, X, X[:, :1], checkpoint=tmp_path, restarts=9, **options)
    with pytest.warns(lw.DivergenceWarning):
        fit = lw.train(net, X, X[:, :1], resume=tmp_path, restarts=1, **options)
    assert fit.optimizer.learning_rate == 1e4


def test_restarts_share_the_seconds():
    rng = np.random.default_rng(0)
    X, net = rng.normal(size=(40, 3)), lw.Network([3, 1])

    def slow(epoch):
        time.sleep(0.1)

    options = {"optimizer": lw.SGD(1e6), "restarts": 9, "epochs": 10**6, "max_seconds": 0.25, "on_epoch_end": slow}
    fit = lw.train(net, X, X[:, :1], batch_size=None, **options)
    assert fit.stop_reason.startswith("The 0.25 seconds of max_seconds are over")
    assert fit.optimizer.learning_rate > 100  # not one of 0.1, at which it would not diverge
