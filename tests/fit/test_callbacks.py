"""Who is told what, in which order, and what is kept when one of them raises."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw
from layerwise.fit import checkpoints


def problem(n=64):
    X = np.random.default_rng(0).normal(size=(n, 3))
    return lw.Network([3, 4, 1], hidden="tanh"), X, X[:, 0]


class Told(lw.Callback):
    def __init__(self, name="", said=None, fails=()):
        self.name, self.said, self.fails = name, [] if said is None else said, fails

    def hear(self, what, value):
        self.said.append((self.name + what, value))
        if what in self.fails:
            raise ArithmeticError(self.name + what)

    def on_fit_begin(self, info):
        self.hear("begin", info)

    def on_epoch_end(self, epoch):
        self.hear("epoch", epoch)

    def on_fit_end(self, fit):
        self.hear("end", fit)

    @property
    def heard(self):
        return [what for what, _ in self.said]


def test_the_order_of_events():
    said, plain = [], []
    fit = lw.train(*problem(), epochs=2, on_epoch_end=[Told("a ", said), plain.append, Told("b ", said)])
    assert [what for what, _ in said] == [
        *("a begin", "b begin", "a epoch", "b epoch", "a epoch", "b epoch"),
        *("b end", "a end"),
    ]
    assert said[-1][1] is fit
    assert plain == list(fit.history)


def test_any_class_with_these_methods_listens():
    class Own:
        def __init__(self):
            self.said = []

        def __call__(self, epoch):
            self.said.append(epoch.number)

        def on_fit_end(self, fit):
            self.said.append(fit.stop_reason)

    own = Own()
    lw.train(*problem(), epochs=2, on_epoch_end=own)
    assert own.said == [1, 2, "All 2 epochs are done."]


def test_the_base_class_does_nothing():
    fit = lw.train(*problem(), epochs=2, on_epoch_end=lw.Callback())
    assert fit.params["W1"].tobytes() == lw.train(*problem(), epochs=2).params["W1"].tobytes()


def test_what_is_known_before_the_first_step():
    net, X, y = problem(100)
    told = Told()
    options = {"optimizer": lw.Adam(lw.CosineDecay(0.01)), "batch_size": 16, "seed": 7, "dtype": "float32"}
    options |= {"validation": 0.2, "metric": ["rmse", "mae"], "max_seconds": 100.0, "epochs": 3}
    first = lw.train(net, X, y, on_epoch_end=told, **options)
    info = told.said[0][1]
    assert (info.network, info.samples, info.batch_size, info.epochs, info.seed) == (net, 80, 16, 3, 7)
    assert (info.dtype, info.engine, info.max_seconds, len(info.history)) == ("float32", first.engine, 100.0, 0)
    assert (info.scores, info.watched) == (("cost", "rmse", "mae"), "rmse")
    assert tuple(first.history[0].validation) == info.scores
    assert info.settings["network"] == "3-4-1"
    assert info.settings["optimizer"] == "Adam"
    assert info.settings["learning_rate"].startswith("CosineDecay(")
    assert info.settings["beta1"] == 0.9
    lw.train(net, X, y, params=first, on_epoch_end=told, epochs=2)
    info = [value for what, value in told.said if what == "begin"][-1]
    assert (info.epochs, [e.number for e in info.history], info.scores, info.watched) == (5, [1, 2, 3], (), "")


def test_a_fit_that_begins_again_is_told_of_as_another():
    told = Told()
    net, X, y = problem()
    with pytest.warns(lw.DivergenceWarning):
        lw.train(net, X, y, optimizer=lw.SGD(1e30), epochs=4, restarts=1, on_epoch_end=told)
    assert [what for what in told.heard if what != "epoch"] == ["begin", "end", "begin", "end"]
    assert all(value.diverged for what, value in told.said if what == "end")


def test_ctrl_c_is_an_end():
    told = Told()

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(lw.TrainingInterrupted) as raised:
        lw.train(*problem(), on_epoch_end=[told, stop])
    assert told.heard == ["begin", "epoch", "end"]
    assert told.said[-1][1] is raised.value.fit


# Exceptions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_an_exception_carries_what_was_learned(engine, tmp_path):
    options = {"epochs": 5, "batch_size": 16, "validation": 0.25, "engine": engine}
    whole = lw.train(*problem(), **options)
    told = Told()

    def fails(epoch):
        if epoch.number == 3:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as raised:
        lw.train(*problem(), on_epoch_end=[told, fails], checkpoint=tmp_path, every=100, **options)
    fit = raised.value.fit
    assert (len(fit.history), fit.steps) == (3, 9)
    assert fit.stop_reason.startswith("OSError in epoch 3, after 9 steps in all")
    assert fit.best_epoch is not None
    assert told.said[-1] == ("end", fit)
    (note,) = raised.value.__notes__
    assert "What was learned in 9 steps is in the .fit of this exception" in note
    assert f"go on with resume={str(tmp_path)!r}" in note
    assert checkpoints.read_newest(tmp_path).document["position"]["steps"] == 9
    again = lw.train(*problem(), resume=tmp_path, every=100, **options)
    for name, W in whole.params.items():
        assert W.tobytes() == again.params[name].tobytes()
    assert again.history.cost.tobytes() == whole.history.cost.tobytes()


def test_a_metric_that_raises_too():
    calls = 0

    def fails(true, found):
        nonlocal calls
        calls += 1
        return 1 / (3 - calls)

    with pytest.raises(ZeroDivisionError) as raised:
        lw.train(*problem(), epochs=9, validation=0.25, metric=fails)
    assert len(raised.value.fit.history) == 3
    assert raised.value.fit.best_epoch in (1, 2)


def test_what_raises_at_the_start():
    said = []
    listeners = [Told("a ", said), Told("b ", said, fails=["begin"]), Told("c ", said)]
    with pytest.raises(ArithmeticError, match="b begin") as raised:
        lw.train(*problem(), on_epoch_end=listeners)
    assert [what for what, _ in said] == ["a begin", "b begin", "a end"]
    assert not hasattr(raised.value, "fit")  # nothing was learned
    assert said[-1][1].stop_reason == "The fit did not begin."


def test_what_raises_at_the_end():
    said = []
    listeners = [Told("a ", said, fails=["end"]), Told("b ", said, fails=["end"])]
    with pytest.raises(ArithmeticError, match="b end") as raised:
        lw.train(*problem(), epochs=2, on_epoch_end=listeners)
    assert [what for what, _ in said][-2:] == ["b end", "a end"]
    assert raised.value.fit.stop_reason == "All 2 epochs are done."
    assert any("Told.on_fit_end raised as well: ArithmeticError('a end')" in note for note in raised.value.__notes__)
    with pytest.raises(ArithmeticError, match="epoch") as raised:
        lw.train(*problem(), on_epoch_end=[Told(fails=["epoch"]), Told("x ", fails=["end"])])
    assert len(raised.value.__notes__) == 2

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(lw.TrainingInterrupted) as raised:
        lw.train(*problem(), on_epoch_end=[stop, Told(fails=["end"])])
    assert "raised as well" in raised.value.__notes__[0]


def test_an_exception_that_takes_no_attribute():
    class ClosedError(Exception):
        @property
        def fit(self):
            return "tight"

    def fails(epoch):
        raise ClosedError

    with pytest.raises(ClosedError) as raised:
        lw.train(*problem(), on_epoch_end=fails)
    assert raised.value.fit == "tight"


def test_what_is_no_listener():
    with pytest.raises(lw.DataError, match="on_epoch_end must be a function of an Epoch; got 3"):
        lw.train(*problem(), on_epoch_end=[lw.Callback(), 3])
