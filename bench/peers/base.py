"""What every peer is given, and what it gives: `Task` and `Runner`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.workloads import Arrays, Workload

ALIGNMENT = 64
"""Bytes; JAX takes arrays that begin at such an address without a copy."""


class UnavailableError(Exception):
    """This peer cannot do this job; the message says why."""


@dataclass(frozen=True)
class Task:
    """One job, with its data in files, so that a process holds what its peer asks for and no more.

    Parameters
    ----------
    workload : Workload
    folder : Path
        Where `store` has put the data.
    dtype : str
    cores : int
        Processors that the process may use.
    rows : int
        Rows of a call; for predictions only.
    """

    workload: Workload
    folder: Path
    dtype: str
    cores: int
    rows: int = 0

    def path(self, what: str) -> Path:
        return self.folder / f"{what}-{self.dtype}.npy"

    def as_they_lie(self) -> Arrays:
        """X and T, not shuffled."""
        return self._pair("X", "T")

    def in_order(self) -> Arrays:
        """X and T of a block: the passes over the data end to end, each shuffled as layerwise shuffles it.

        A full batch is not shuffled: then the data once.
        """
        return self._pair("X", "T") if self.workload.batch is None else self._pair("ordered-X", "ordered-T")

    def _pair(self, x: str, t: str) -> Arrays:
        X = load(self.path(x))
        return X, load(self.path(t)) if self.path(t).exists() else X

    def start(self) -> list[Arrays]:
        """Starting weights; new arrays at every call."""
        number = range(1, len(self.workload.layers) + 1)
        return [(load(self.path(f"W{n}")), load(self.path(f"b{n}"))) for n in number]

    def rows_to_predict(self) -> np.ndarray:
        """(rows, n_0)."""
        return load(self.path("P"))[: self.rows]

    @property
    def few_operations(self) -> bool:
        """So few that a second thread may cost more than it brings; both are tried then."""
        w = self.workload
        work = w.flops_forward(self.rows) if self.rows else w.flops / w.steps
        return work < 2e7

    @property
    def thread_choices(self) -> tuple[int, ...]:
        return (1, self.cores) if self.few_operations and self.cores > 1 else (self.cores,)


def load(path: Path) -> np.ndarray:
    """An array from a .npy file, in memory of its own that begins at an aligned address."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        array = aligned(shape, dtype)
        file.readinto(array.reshape(-1).view(np.uint8).data)
    return array


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % ALIGNMENT
    return raw[first : first + size].view(dtype).reshape(shape)


class Runner:
    """A peer at work.

    Attributes
    ----------
    choices : sequence of str
        Settings to try; the fastest is kept.
    """

    choices: Sequence[str] = ("",)

    def use(self, choice: str) -> None:
        """Switch to one of the choices."""

    def reset(self) -> None:
        """Back to the starting weights; not timed."""

    def run(self, n: int) -> None:
        """Train n blocks, or predict n times; return when all is done."""
        raise NotImplementedError

    def result(self) -> list[np.ndarray]:
        """W1, b1, W2, … with W (n_in, n_out); or the outputs of the last call."""
        raise NotImplementedError


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_label(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"
