"""Checkpoints of fits that try one learning rate after another: a folder for each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from layerwise.errors import CheckpointError
from layerwise.fit.checkpoints import SUFFIX
from layerwise.network.checks import checked_count


class Attempts:
    """A folder of folders, one for each learning rate that is tried: ``rate-0.01`` and so on.

    An attempt that led nowhere is gone through again in no time when the fit is resumed: its last checkpoint is there.
    So the rate that is reached need not be written down, where it could contradict what the folders hold.

    Parameters
    ----------
    folder : path
    resume : bool
        Whether to go on with what is there; else there must be nothing yet.
    every : int
        Epochs from one checkpoint to the next.

    Raises
    ------
    CheckpointError
        There is no folder to resume from; or there are checkpoints of an earlier fit where one is to begin.
    """

    def __init__(self, folder: str | os.PathLike[str], resume: bool, every: int = 1):
        self.folder, self._resume, self._every = Path(folder), resume, checked_count(every, "every")
        try:
            if resume and not self.folder.is_dir():
                raise CheckpointError(f"There is no folder {self.folder} to resume from.")
            if not resume and any(self.folder.glob(f"rate-*/*{SUFFIX}")):
                raise CheckpointError(
                    f"{self.folder} holds checkpoints of an earlier fit. Resume that, or name another folder."
                )
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be looked at: {error.strerror or error}.") from error

    def options(self, learning_rate: float) -> dict[str, Any]:
        """What `train` is given for one attempt."""
        place = self.folder / f"rate-{float(learning_rate)!r}"
        return {"resume" if self._resume and place.is_dir() else "checkpoint": place, "every": self._every}
