"""Runs of MLflow: the settings of a fit as parameters, its epochs as metrics."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from layerwise.errors import LogError
from layerwise.fit.callbacks import FitInfo
from layerwise.fit.history import Epoch, Fit
from layerwise.logs.log import Log, curves

_AT_ONCE = 1000
"""Metrics that a server takes in one request."""
_LONGEST = 500
"""Letters of a parameter that every version takes."""
_CUT_SHORT = re.compile(r"(\S+) in epoch \d+, after \d+ steps in all")


class MLflowLog(Log):
    """A fit as a run of MLflow.

    Parameters
    ----------
    run_name : str, optional
        Of the run that is begun; MLflow makes one up.
    run_id : str, optional
        Of a run to go on with.
    tags : dict of str to str, optional

    Raises
    ------
    LogError
        MLflow is not installed; or, before the first step, it refuses to begin a run.

    Warns
    -----
    LogWarning
        MLflow refused something later. Epochs wait and are tried again.

    Notes
    -----
    Where a run is active in this thread (``with mlflow.start_run():``) and no ``run_id`` is given, the fit is logged
    there, and that run stays open; otherwise one is begun and ended, as FINISHED, KILLED by Ctrl-C, or FAILED by an
    error or a cost that diverged. Server and experiment are what ``mlflow.set_tracking_uri`` and
    ``mlflow.set_experiment`` say. A fit that goes on in a new run writes its earlier epochs there too, so that the
    curves are whole.
    """

    def __init__(
        self, run_name: str | None = None, *, run_id: str | None = None, tags: Mapping[str, Any] | None = None
    ):
        super().__init__()
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
        except ImportError:
            raise LogError("MLflow is needed for MLflowLog: pip install mlflow-skinny, or all of mlflow.") from None
        self._name, self._given, self._tags = run_name, run_id, dict(tags or {})
        self.run_id = run_id
        """Of the run, once the fit has begun."""
        self._own = False

    def __repr__(self) -> str:
        return f"MLflowLog(run_id={self.run_id!r})"

    def _begin(self, info: FitInfo) -> Sequence[Epoch]:
        try:
            active = None if self._given is not None else self._mlflow.active_run()
            self._own = active is None
            if active is None:
                nested = self._mlflow.active_run() is not None
                active = self._mlflow.start_run(run_id=self._given, run_name=self._name, nested=nested)
            self.run_id = active.info.run_id
            if self._tags:
                self._mlflow.set_tags(self._tags)
            if self._given is None or not info.history:  # the parameters of a run do not change
                self._mlflow.log_params({key: str(value)[:_LONGEST] for key, value in info.settings.items()})
        except Exception as error:
            if self._own and self.run_id is not None and self._is_active():
                self._mlflow.end_run("FAILED")
            raise LogError(f"MLflow does not begin a run: {error}") from error
        return () if self._given is not None else info.history.epochs

    def _is_active(self) -> bool:
        active = self._mlflow.active_run()
        return active is not None and active.info.run_id == self.run_id

    def _write(self, epochs: Sequence[Epoch]) -> None:
        entities = importlib.import_module("mlflow.entities")
        now = int(time.time() * 1000)
        metrics = [
            entities.Metric(_key(name), float(value), now, epoch.number)
            for epoch in epochs
            for name, value in curves(epoch).items()
        ]
        client = self._mlflow.MlflowClient()
        for first in range(0, len(metrics), _AT_ONCE):
            client.log_batch(self.run_id, metrics=metrics[first : first + _AT_ONCE])

    def _end(self, fit: Fit) -> None:
        cut = _CUT_SHORT.match(fit.stop_reason)
        status = "FINISHED" if cut is None else "KILLED" if cut[1] == "Ctrl-C" else "FAILED"
        client = self._mlflow.MlflowClient()
        try:
            client.set_tag(self.run_id, "layerwise.stop_reason", fit.stop_reason)
        finally:
            if self._own and self._is_active():
                self._mlflow.end_run("FAILED" if fit.diverged else status)
            elif self._own:  # the caller has ended or changed the active run
                client.set_terminated(self.run_id, "FAILED" if fit.diverged else status)


def _key(name: str) -> str:
    """A name with the letters that MLflow takes: functions may have others, such as ``<lambda>``."""
    return re.sub(r"[^\w\-. /]", "_", name)
