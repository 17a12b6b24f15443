"""What all logs have in common: they hear of epochs, and no failure to write one ends a fit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence

from layerwise.errors import LogWarning
from layerwise.fit.callbacks import Callback, FitInfo
from layerwise.fit.history import Epoch, Fit

RETRY = 10.0
"""Seconds after a failure in which nothing is tried again: a server that does not answer costs time."""


class Log(Callback):
    """Base of logs: `_begin`, `_write` and `_end` are theirs.

    What cannot be begun ends the fit before its first step. What cannot be written later waits and is tried again;
    a warning says so once.
    """

    def __init__(self) -> None:
        self._waiting: list[Epoch] = []
        self._failed = -math.inf
        self._warned = False

    def _begin(self, info: FitInfo) -> Sequence[Epoch]:
        """Open; the epochs of the history that are still to be written."""
        raise NotImplementedError

    def _write(self, epochs: Sequence[Epoch]) -> None:
        """Write all of them, or raise and leave none half written."""
        raise NotImplementedError

    def _end(self, fit: Fit) -> None:
        """Close."""

    def on_fit_begin(self, info: FitInfo) -> None:
        """Open the log, and go on where it ends."""
        self._failed, self._warned = -math.inf, False
        self._waiting = []
        self._waiting += self._begin(info)
        self._try()

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Write the epoch down."""
        self._waiting.append(epoch)
        if time.monotonic() - self._failed >= RETRY:
            self._try()

    def on_fit_end(self, fit: Fit) -> None:
        """Write what is left, and close the log."""
        self._try()
        left, self._waiting = len(self._waiting), []
        try:
            self._end(fit)
        except Exception as error:
            self._warn(f"could not be closed ({_cause(error)})")
        if left:
            self._warn(f"lacks the last {left} epochs")

    def _try(self) -> None:
        if not self._waiting:
            return
        try:
            self._write(self._waiting)
            self._waiting = []
        except Exception as error:  # of any library that writes: a fit of hours is worth more than its log
            self._failed = time.monotonic()
            if not self._warned:
                self._warn(f"could not be written in epoch {self._waiting[-1].number} ({_cause(error)})")

    def _warn(self, what: str) -> None:
        self._warned = True
        warnings.warn(f"{self!r} {what}. The fit is not touched by that.", LogWarning, stacklevel=3)


def curves(epoch: Epoch) -> dict[str, float]:
    """What is known of an epoch, under names that sort what was learned on apart from what it was judged by."""
    return {
        "training/cost": epoch.cost,
        "training/learning_rate": epoch.learning_rate,
        "training/seconds": epoch.seconds,
        **{f"validation/{name}": value for name, value in epoch.validation.items()},
    }


def _cause(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
