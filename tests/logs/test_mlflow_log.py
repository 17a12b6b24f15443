"""Runs of MLflow, against a module of the same interface, and against MLflow itself where it is installed."""

from __future__ import annotations

import importlib
import sys
import types
from dataclasses import dataclass, field

import numpy as np
import pytest

import layerwise as lw


def problem(n=64):
    X = np.random.default_rng(0).normal(size=(n, 3))
    return lw.Network([3, 4, 1], hidden="tanh"), X, X[:, 0]


@dataclass
class Run:
    run_id: str
    name: str | None = None
    params: dict = field(default_factory=dict)
    metrics: list = field(default_factory=list)
    tags: dict = field(default_factory=dict)
    status: str = "RUNNING"

    @property
    def info(self):
        return self


@dataclass
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


class Fake(types.ModuleType):
    """What of MLflow 3.17 is called, with its signatures."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs, self.stack, self.refuses = {}, [], False
        self.batches = []
        self.entities = types.ModuleType("mlflow.entities")
        self.entities.Metric = Metric

    def answer(self):
        if self.refuses:
            raise ConnectionError("the server is gone")

    def active_run(self):
        return self.stack[-1] if self.stack else None

    def start_run(
        self,
        run_id=None,
        experiment_id=None,
        run_name=None,
        nested=False,
        parent_run_id=None,
        tags=None,
        description=None,
        log_system_metrics=None,
    ):
        self.answer()
        if self.stack and not nested:
            raise ValueError("Run is already active")
        run = self.runs.setdefault(run_id or f"run{len(self.runs)}", Run(run_id or f"run{len(self.runs)}", run_name))
        run.status = "RUNNING"
        self.stack.append(run)
        return run

    def log_params(self, params, synchronous=None, run_id=None):
        self.answer()
        run = self.stack[-1]
        assert all(run.params.get(k, v) == v for k, v in params.items()), "params of a run do not change"
        run.params |= params

    def set_tags(self, tags, synchronous=None):
        self.stack[-1].tags |= tags

    def end_run(self, status="FINISHED"):
        self.stack.pop().status = status

    def MlflowClient(self):  # noqa: N802
        return Client(self)


class Client:
    def __init__(self, fake):
        self.fake = fake

    def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        self.fake.answer()
        assert len(metrics) <= 1000
        self.fake.batches.append(len(metrics))
        self.fake.runs[run_id].metrics += metrics

    def set_tag(self, run_id, key, value):
        self.fake.answer()
        self.fake.runs[run_id].tags[key] = value

    def set_terminated(self, run_id, status=None, end_time=None):
        self.fake.runs[run_id].status = status


@pytest.fixture
def mlflow(monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", fake.entities)
    return fake


def curve(run, key):
    return [(m.step, m.value) for m in run.metrics if m.key == key]


OPTIONS = {"validation": 0.25, "metric": "rmse"}


def test_a_run_of_its_own(mlflow):
    kept = lw.MLflowLog("first", tags={"by": "test"})
    fit = lw.train(*problem(), on_epoch_end=kept, epochs=3, optimizer=lw.Adam(0.01), **OPTIONS)
    (run,) = mlflow.runs.values()
    assert (run.name, run.status, kept.run_id, mlflow.stack) == ("first", "FINISHED", run.run_id, [])
    assert run.params["optimizer"] == "Adam"
    assert run.params["learning_rate"] == "0.01"
    assert run.params["network"] == "3-4-1"
    assert run.tags == {"by": "test", "layerwise.stop_reason": fit.stop_reason}
    assert curve(run, "training/cost") == [(e.number, e.cost) for e in fit.history]
    assert curve(run, "validation/rmse") == [(e.number, e.validation["rmse"]) for e in fit.history]


def test_a_run_that_is_active_stays_so(mlflow):
    outer = mlflow.start_run()
    lw.train(*problem(), on_epoch_end=lw.MLflowLog(), epochs=2)
    assert mlflow.stack == [outer]
    assert len(curve(outer, "training/cost")) == 2
    assert outer.status == "RUNNING"


def test_how_a_run_ends(mlflow):
    def by(error):
        def stop(epoch):
            raise error

        return stop

    with pytest.raises(lw.TrainingInterrupted):
        lw.train(*problem(), on_epoch_end=[lw.MLflowLog(), by(KeyboardInterrupt)])
    with pytest.raises(ValueError, match="no"):
        lw.train(*problem(), on_epoch_end=[lw.MLflowLog(), by(ValueError("no"))])
    with pytest.warns(lw.DivergenceWarning):
        lw.train(*problem(), on_epoch_end=lw.MLflowLog(), optimizer=lw.SGD(1e30))
    lw.train(*problem(), on_epoch_end=lw.MLflowLog(), max_steps=1)
    assert [run.status for run in mlflow.runs.values()] == ["KILLED", "FAILED", "FAILED", "FINISHED"]
    assert mlflow.stack == []


def test_going_on(mlflow):
    net, X, y = problem()
    first = lw.train(net, X, y, on_epoch_end=lw.MLflowLog(), epochs=3)
    lw.train(net, X, y, params=first, on_epoch_end=lw.MLflowLog(), epochs=2)  # another run: whole curves
    one, two = mlflow.runs.values()
    assert [step for step, _ in curve(two, "training/cost")] == [1, 2, 3, 4, 5]
    lw.train(net, X, y, params=first, on_epoch_end=lw.MLflowLog(run_id=one.run_id), epochs=2)
    assert curve(one, "training/cost") == curve(two, "training/cost")
    assert (one.status, one.params["epochs"]) == ("FINISHED", "3")


def test_long_histories_go_in_parts(mlflow):
    net, X, y = problem()
    first = lw.train(net, X, y, epochs=1500)
    lw.train(net, X, y, params=first, on_epoch_end=lw.MLflowLog(), epochs=1)
    assert mlflow.batches == [1000, 1000, 1000, 1000, 500, 3]


def test_a_server_that_is_gone(mlflow):
    def goes(epoch):
        mlflow.refuses = epoch.number >= 2

    with (
        pytest.warns(lw.LogWarning, match=r"in epoch 2 \(ConnectionError: the server is gone\)"),
        pytest.warns(lw.LogWarning, match="could not be closed"),
        pytest.warns(lw.LogWarning, match="lacks the last 4 epochs"),
    ):
        fit = lw.train(*problem(), on_epoch_end=[goes, lw.MLflowLog()], epochs=5)
    assert fit.stop_reason == "All 5 epochs are done."
    mlflow.refuses = True
    with pytest.raises(lw.LogError, match="MLflow does not begin a run: the server is gone"):
        lw.train(*problem(), on_epoch_end=lw.MLflowLog())


def test_a_server_that_comes_back_gets_all(mlflow):
    def goes(epoch):
        mlflow.refuses = epoch.number in (2, 3)

    with pytest.warns(lw.LogWarning):
        fit = lw.train(*problem(), on_epoch_end=[goes, lw.MLflowLog()], epochs=5)
    (run,) = mlflow.runs.values()
    assert curve(run, "training/cost") == [(e.number, e.cost) for e in fit.history]


def test_names_of_functions(mlflow):
    lw.train(*problem(), on_epoch_end=lw.MLflowLog(), epochs=1, validation=0.25, metric=lambda true, found: 1.0)
    (run,) = mlflow.runs.values()
    assert curve(run, "validation/_lambda_") == [(1, 1.0)]


def test_without_mlflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(lw.LogError, match="MLflow is needed for MLflowLog: pip install mlflow-skinny"):
        lw.MLflowLog()


@pytest.mark.filterwarnings("ignore")
def test_mlflow_takes_it(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    mlflow = importlib.import_module("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # or it asks for a database
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    mlflow.set_experiment("fits")
    kept = lw.MLflowLog("real")
    fit = lw.train(*problem(), on_epoch_end=kept, epochs=3, **OPTIONS)
    client = mlflow.MlflowClient()
    run = client.get_run(kept.run_id)
    assert (run.info.status, run.info.run_name, run.data.params["network"]) == ("FINISHED", "real", "3-4-1")
    found = client.get_metric_history(kept.run_id, "training/cost")
    assert [(m.step, m.value) for m in found] == [(e.number, e.cost) for e in fit.history]
    lw.train(*problem(), params=fit, on_epoch_end=lw.MLflowLog(run_id=kept.run_id), epochs=2)
    assert len(client.get_metric_history(kept.run_id, "training/cost")) == 5
    assert mlflow.active_run() is None
