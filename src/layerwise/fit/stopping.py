"""When to stop: what is watched after each epoch, the best of it so far, and for how long there was no better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from layerwise.network.checks import checked_count, checked_number


@dataclass(frozen=True)
class Best:
    """The best epoch so far, and how long ago the last improvement was.

    Parameters
    ----------
    epoch : int
        Its number; 0 before the first.
    score : float
    improved : int
        The last epoch whose score was better than that of the one before by more than the least improvement; before the
        first one, the epochs that were done when the fit began.
    reference : float
        Its score; NaN before the first.
    """

    epoch: int = 0
    score: float = math.nan
    improved: int = 0
    reference: float = math.nan


@dataclass(frozen=True)
class Patience:
    """How long a fit goes on without getting better.

    Parameters
    ----------
    larger_is_better : bool
        Of the score.
    epochs : int, optional
        As many without an improvement end the fit; None: none do.
    min_improvement : float
        Changes up to this are none, in the unit of the score.
    before : int
        Epochs of earlier fits that this one goes on from; they do not count.

    Raises
    ------
    DataError
        Epochs that are no positive integer, an improvement below 0.
    """

    larger_is_better: bool = False
    epochs: int | None = None
    min_improvement: float = 0.0
    before: int = 0

    def __post_init__(self) -> None:
        if self.epochs is not None:
            checked_count(self.epochs, "patience")
        checked_number("min_improvement", self.min_improvement)

    def after(self, best: Best, epoch: int, score: float) -> Best:
        """What is known after one more epoch. Of equal scores the last counts as the best; NaN never does."""
        sign = 1.0 if self.larger_is_better else -1.0
        if math.isnan(score):
            return best
        if best.epoch == 0 or sign * score >= sign * best.score:
            best = replace(best, epoch=epoch, score=score)
        if math.isnan(best.reference) or sign * score > sign * best.reference + self.min_improvement:
            best = replace(best, improved=epoch, reference=score)
        return best

    def exhausted(self, best: Best, epoch: int) -> bool:
        """Whether the epoch is the last."""
        return self.epochs is not None and epoch - max(best.improved, self.before) >= self.epochs


def best_from(data: Mapping[str, Any]) -> Best:
    """The `Best` whose fields are in ``data``."""
    return Best(int(data["epoch"]), float(data["score"]), int(data["improved"]), float(data["reference"]))
