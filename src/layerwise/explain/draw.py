"""`draw`: a picture of a schedule, of an update rule's schedules, or of how the cost of a fit went down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerwise.errors import DataError
from layerwise.explain.plot import Plot, Series
from layerwise.files import replace_file
from layerwise.network.schedules import Moments, Schedule
from layerwise.network.updates import UpdateRule
from layerwise.types import FloatArray

_EPOCHS, _STEPS_PER_EPOCH = 100, 100
"""Of a fit that is only imagined, where a schedule is drawn and none is given."""
_POINTS = 20_000
"""Steps of which a schedule is drawn: thirty for each pixel."""
_DECADES = 100.0
"""A learning curve that falls further than by this factor is drawn on a logarithmic axis."""


@dataclass(frozen=True, repr=False)
class Drawing:
    """A picture: shown by notebooks, saved as an SVG file.

    Parameters
    ----------
    svg : str
        Its text.
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Drawing: {self.svg.partition('<title>')[2].partition('</title>')[0]}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file, durably: beside first, synced, then renamed.

        Parameters
        ----------
        path : str or path-like
            Its name ends in ``.svg``.

        Raises
        ------
        DataError
            It ends otherwise, or is no path.
        OSError
            The file cannot be written; an earlier one is intact.
        """
        try:
            name = os.fsdecode(path)
        except TypeError:
            raise DataError(f"A drawing is saved to a file named by text or a path; got {path!r}.") from None
        if not name.lower().endswith(".svg"):
            raise DataError(f"A drawing is saved as SVG, in a file whose name ends in .svg; got {name!r}.")
        replace_file(name, self._write)

    def _write(self, path: str) -> None:
        Path(path).write_bytes(self.svg.encode())


def draw(
    what: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    label: str | None = None,
    logarithmic: bool | None = None,
) -> Drawing:
    """Draw a schedule, or a learning curve.

    Parameters
    ----------
    what : Schedule, UpdateRule, Fit, History, or dict of str to one of these
        The schedules of a rule; the cost of each epoch, with that of the validation rows where there is one. A dict
        gives a line, or two, for each entry, under its name.
    epochs, steps : int, optional
        Of the whole fit for which a schedule is drawn; by default 100 epochs, and 100 steps in each.
    label : str, optional
        What the axis is called; by default "learning rate" and the like where it is known, "value", or "cost".
    logarithmic : bool, optional
        Whether the axis is; by default where a cost falls to less than a hundredth.

    Returns
    -------
    Drawing
        ``drawing.svg`` is its text, ``drawing.save("rates.svg")`` a file; a notebook shows it.

    Raises
    ------
    DataError
        It is nothing of the kind, or there is nothing to draw: no epoch, a rule without schedules.

    Notes
    -----
    `ReduceOnPlateau` is drawn as it begins: what it does depends on costs that are not known.

    Examples
    --------
    >>> import layerwise as lw
    >>> lw.draw(lw.Warmup(epochs=5) * lw.CosineDecay(0.01), epochs=50, label="learning rate")
    <Drawing: learning rate over epoch>
    """
    if isinstance(what, UpdateRule) and not what.schedules:
        raise DataError(f"{what!r} has no schedules to draw: its numbers are the same at every step.")
    named = dict(what.schedules) if isinstance(what, UpdateRule) else what
    if isinstance(named, Mapping):
        entries: dict[str, Any] = {str(name).replace("_", " "): value for name, value in named.items()}  # pyright: ignore
    else:
        entries = {"": named}
    if entries and all(isinstance(entry, Schedule) for entry in entries.values()):
        series, length = _schedules(entries, epochs, steps)
        alone = next(iter(entries)) if len(entries) == 1 else ""
        return Drawing(Plot(series, "epoch", label or alone or "value", bool(logarithmic), (0.0, length)).svg())
    if epochs is not None or steps is not None:
        raise DataError("epochs and steps say for which fit a schedule is drawn; what has been fitted has its own.")
    series = _curves(entries)
    if logarithmic is None:
        positive = np.concatenate([s.y[np.isfinite(s.y)] for s in series])
        logarithmic = bool(len(positive) and positive.min() > 0 and positive.max() > _DECADES * positive.min())
    return Drawing(Plot(series, "epoch", label or "cost", logarithmic).svg())


def _schedules(schedules: Mapping[str, Schedule], epochs: int | None, steps: int | None) -> tuple[list[Series], float]:
    """The lines, and how many epochs long they are."""
    epochs = _count(epochs, "epochs", _EPOCHS)
    steps = _count(steps, "steps", epochs * _STEPS_PER_EPOCH)
    if steps % epochs:
        raise DataError(f"All epochs of a fit have as many steps; got steps={steps} and epochs={epochs}.")
    done = np.arange(float(steps)) if steps <= _POINTS else np.linspace(0, steps - 1, _POINTS).round()
    moments = Moments(done, steps, steps // epochs)
    series = [
        Series(name, moments.epochs, np.broadcast_to(schedule.at(moments), moments.epochs.shape), i)
        for i, (name, schedule) in enumerate(schedules.items())
    ]
    return series, float(epochs)


def _curves(entries: Mapping[str, Any]) -> list[Series]:
    """The cost of each epoch of each history, and that of the validation rows beside it."""
    series: list[Series] = []
    for i, (name, entry) in enumerate(entries.items()):
        history = getattr(entry, "history", entry)
        cost = _costs(getattr(history, "cost", None), entry)
        validation: Any = getattr(history, "validation", None)
        judged = validation.get("cost") if isinstance(validation, Mapping) else None  # pyright: ignore
        if judged is None:
            series.append(_curve(name, cost, i))
            continue
        prefix = f"{name}, " if name else ""
        series.append(_curve(f"{prefix}training", cost, i, dashed=True))
        series.append(_curve(f"{prefix}validation", _costs(judged, entry), i))
    if not any(len(s.y) for s in series):
        raise DataError("There is nothing to draw: no epoch has been fitted.")
    return series


def _costs(costs: Any, entry: Any) -> FloatArray:
    array = np.asarray(costs if costs is not None else np.nan)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise DataError(
            "layerwise.draw draws a schedule, an update rule, or a fit or its history with costs, or a dict of one "
            f"kind of these; got {entry!r}."
        )
    return array.astype(np.float64)


def _curve(name: str, costs: FloatArray, colour: int, dashed: bool = False) -> Series:
    return Series(name, np.arange(1.0, len(costs) + 1), costs, colour, dashed)


def _count(value: Any, name: str, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise DataError(f"{name} must be a positive integer; got {value!r}.")
    return int(value)
