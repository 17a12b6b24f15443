"""Positions of a fit as checkpoints, and back: what must agree for a fit to go on, and what is saved when."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.errors import CheckpointError, CheckpointWarning
from layerwise.fit.checkpoints import CheckpointFolder, Loaded
from layerwise.fit.diagnostics import LayerReport
from layerwise.fit.history import Epoch
from layerwise.fit.loop import Loop
from layerwise.fit.stopping import best_from
from layerwise.fit.task import Position, Task
from layerwise.fit.validation import Validation
from layerwise.network.schedules import Schedule
from layerwise.network.updates import UpdateRule
from layerwise.types import Array

_HASHED = 1 << 28
"""Bytes of a table that are all looked at; of a larger one as many, in blocks of rows spread over it."""
_BLOCKS = 256


# What must agree ----------------------------------------------------------------------------------------------


def identity(task: Task) -> dict[str, Any]:
    """All that decides what a fit computes, as plain data, under names that a user knows."""
    judged = task.validation
    return {
        "network": task.net.to_dict(),
        "optimizer": described(task.rule),
        # A list: of two patterns that fit a name the first decides.
        "groups": [[name, group.learning_rate_factor, group.weight_decay] for name, group in task.groups.items()],
        "clip_value": task.clip.value,
        "clip_norm": task.clip.norm,
        "batch_size": task.data.batch_size,
        "seed": int(task.data.seed),
        "dtype": task.dtype,
        "epochs": task.epochs,
        "data": fingerprint(task.data.tables),
        "validation": None if judged is None else fingerprint([*judged.tables, *_weights(judged)]),
        "metric": None if judged is None else judged.watched,
        "patience": task.patience.epochs,
        "min_improvement": float(task.patience.min_improvement),
    }


def _weights(judged: Validation) -> list[Array]:
    return [] if judged.weights is None else [judged.weights]


def described(rule: UpdateRule) -> dict[str, Any]:
    """An update rule as plain data."""
    fields = {
        name: value.to_dict() if isinstance(value, Schedule) else value for name, value in rule.hyperparameters.items()
    }
    return {"rule": type(rule).__name__, **fields}


def fingerprint(tables: Sequence[Array]) -> str:
    """A digest of the shapes and numbers of tables; of a very large one, of rows spread over it."""
    digest = hashlib.blake2b(digest_size=16)
    for table in tables:
        # Numbers of more than 8 bytes have some that hold nothing.
        native = table.dtype.newbyteorder("=") if table.dtype.itemsize <= 8 else np.dtype(np.float64)
        digest.update(f"{table.shape} {native.str};".encode())
        for rows in _looked_at(table):
            digest.update(np.ascontiguousarray(table[rows], native).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def _looked_at(table: Array) -> list[slice]:
    n = len(table)
    if not n:
        return []
    width = max(1, table.nbytes // n)
    rows = max(1, min(n, _HASHED // width) // _BLOCKS)
    if n * width <= _HASHED:
        return [slice(first, first + rows) for first in range(0, n, rows)]
    return [slice(first, first + rows) for first in np.linspace(0, n - rows, _BLOCKS).astype(int).tolist()]


def _check_same(wanted: Mapping[str, Any], found: Any, folder: str) -> None:
    """Raise a CheckpointError that names the first thing in which a checkpoint is of another fit."""
    if not isinstance(found, Mapping):
        raise CheckpointError(f"The newest checkpoint in {folder} is not of a fit.")
    for name, value in wanted.items():
        other: Any = found.get(name)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if other != value:
            shown = "" if name in ("data", "validation", "network") else f": {other!r} there, {value!r} here"
            what = {"data": "training data", "validation": "validation data"}.get(name, name)
            raise CheckpointError(
                f"The checkpoint in {folder} is of another fit: the {what} differs{shown}. Resume with what the fit "
                "began with, or give another folder to checkpoint."
            )


# Positions ----------------------------------------------------------------------------------------------------

_REPORT = ("weights", "gradient", "update", "dead", "saturated")


def packed(position: Position) -> tuple[dict[str, Any], dict[str, Array]]:
    """A position as plain data and arrays."""
    arrays = {f"weights/{name}": array for name, array in position.params.items()}
    arrays |= {f"slot/{name}": array for name, array in position.slots.items()}
    arrays |= {f"best/{name}": array for name, array in position.best_params.items()}
    epochs, best = position.epochs, position.best
    for name in ("cost", "seconds", "learning_rate"):
        arrays[f"history/{name}"] = np.array([getattr(e, name) for e in epochs], np.float64)
    # A fit may go on from one that was judged otherwise: not every epoch has all of them.
    scores = list(dict.fromkeys(name for e in epochs for name in e.validation))
    arrays["history/validation"] = np.array(
        [[e.validation.get(n, math.nan) for n in scores] for e in epochs], np.float64
    ).reshape(len(epochs), len(scores))
    layers = max((len(e.layers) for e in epochs), default=0)
    unknown = (LayerReport(*[math.nan] * len(_REPORT)),) * layers  # of an epoch that was not looked at
    reports = [[[getattr(layer, k) for k in _REPORT] for layer in e.layers or unknown] for e in epochs]
    arrays["history/layers"] = np.array(reports, np.float64).reshape(len(epochs), layers, len(_REPORT))
    arrays["numbers"] = np.array(
        [position.epoch_cost, position.first_cost, position.best_cost, position.seconds, best.score, best.reference]
    )
    document = {
        "steps": position.steps,
        "epoch_steps": position.epoch_steps,
        "judged": position.judged,
        "best": {"epoch": best.epoch, "improved": best.improved},
        "scores": scores,
        "schedules": [dict(state) for state in position.schedules],
    }
    return document, arrays


def unpacked(document: Mapping[str, Any], arrays: Mapping[str, Array]) -> Position:
    """The position that `packed` described.

    Raises
    ------
    KeyError, ValueError, TypeError
        It is none.
    """

    def under(prefix: str) -> dict[str, Array]:
        return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

    epoch_cost, first_cost, best_cost, seconds, score, reference = arrays["numbers"].tolist()
    curves = [arrays[f"history/{name}"].tolist() for name in ("cost", "seconds", "learning_rate")]
    scores, layers = arrays["history/validation"].tolist(), arrays["history/layers"].tolist()
    epochs = tuple(
        Epoch(
            number,
            cost,
            spent,
            dict(zip(document["scores"], row, strict=True)),
            rate,
            tuple(LayerReport(*report) for report in reports if not math.isnan(report[0])),
        )
        for number, (cost, spent, rate, row, reports) in enumerate(zip(*curves, scores, layers, strict=True), start=1)
    )
    best = best_from({**document["best"], "score": score, "reference": reference})
    return Position(
        under("weights/"),
        under("slot/"),
        int(document["steps"]),
        epochs,
        int(document["epoch_steps"]),
        epoch_cost,
        first_cost,
        best,
        under("best/"),
        best_cost,
        tuple(document["schedules"]),
        seconds,
        bool(document["judged"]),
    )


# Saving -------------------------------------------------------------------------------------------------------


class Checkpoints:
    """Saves the positions of a fit to an open folder.

    Parameters
    ----------
    folder : CheckpointFolder
    task : Task
    every : int
        Epochs from one checkpoint to the next.
    every_steps : int, optional
        Steps from one to the next, in place of epochs.
    """

    def __init__(self, folder: CheckpointFolder, task: Task, every: int, every_steps: int | None):
        self._folder, self._every, self._every_steps = folder, every, every_steps
        self._identity = identity(task)
        self._saved: tuple[int, bool] | None = None
        self._notes: list[str] = []
        self.restarts = 0

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._folder.path)

    def resumed(self, notes: list[str]) -> Position | None:
        """Where the newest checkpoint goes on, None where there is none; what is to be said goes to ``notes``.

        Raises
        ------
        CheckpointError
            It is of another fit, and in what; or none of those that there are can be used.
        """
        self._notes = notes
        loaded = self._folder.newest()
        return None if loaded is None else self._position(loaded)

    def _position(self, loaded: Loaded) -> Position:
        document = loaded.document
        _check_same(self._identity, document.get("fit"), str(self._folder.path))
        try:
            position = unpacked(document["position"], loaded.arrays)
            self.restarts = int(document["restarts"])
            engine, version = str(document["engine"]), str(document["layerwise"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{loaded.path} is no checkpoint of a fit: {error}.") from None
        self._notes += loaded.notes
        self._saved = position.steps, bool(document["ended"])
        self._engine = engine
        self._notes.append(
            f"Resumed after {position.steps} steps, {len(position.epochs)} epochs, from {loaded.path} "
            f"(layerwise {version}, {engine})."
        )
        return position

    def begin_again(self) -> None:
        """The fit begins again at a smaller learning rate."""
        self.restarts += 1
        self._saved = None

    def begin(self, loop: Loop) -> None:
        """Save where the fit begins, so that a folder that cannot be written is found out before the first step."""
        if self._saved is None:
            self._save(loop, ended=False)
        elif loop.engine != self._engine:
            self._notes.append(
                f"The checkpoint was made by {self._engine}, and {loop.engine} goes on: the weights agree with an "
                "uninterrupted fit to rounding only."
            )

    def next_step(self, steps: int) -> int | None:
        """The step after which a checkpoint is due; None: where an epoch ends."""
        return None if self._every_steps is None else (steps // self._every_steps + 1) * self._every_steps

    def after_run(self, loop: Loop) -> None:
        """Save, if it is time."""
        if self._every_steps is not None:
            due = loop.steps % self._every_steps == 0
        else:
            due = loop.epoch_steps == 0 and len(loop.epochs) % self._every == 0
        if due:
            self._try(loop, ended=False)

    def at_end(self, loop: Loop) -> None:
        """Save where the fit has ended."""
        self._try(loop, ended=True)

    def _try(self, loop: Loop, ended: bool) -> None:
        """A fit goes on where a checkpoint cannot be saved: the earlier one is intact, and the weights are here."""
        try:
            self._save(loop, ended)
        except CheckpointError as error:
            self._notes.append(str(error))
            warnings.warn(f"{error} The fit goes on.", CheckpointWarning, stacklevel=2)

    def _save(self, loop: Loop, ended: bool) -> None:
        if self._saved == (loop.steps, ended):
            return
        document, arrays = packed(loop.position())
        whole = {
            "fit": self._identity,
            "position": document,
            "engine": loop.engine,
            "restarts": self.restarts,
            "ended": ended,
            "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self._folder.save(whole, arrays)
        self._saved = loop.steps, ended
