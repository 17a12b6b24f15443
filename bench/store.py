"""A workload's data in files, so that each process holds them once and none makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.peers.base import Task
from bench.workloads import Arrays, Workload
from layerwise.randomness import Stream, permutation

SEED = 0
"""Of the order of samples."""


def store(task: Task) -> Arrays:
    """Write what `Task` reads; X and T themselves in its precision."""
    w = task.workload
    X, T = _typed(w.arrays(), task.dtype)
    task.folder.mkdir(parents=True, exist_ok=True)
    _save(task, {"X": X, "T": None if T is X else T})
    if w.batch is not None:
        order = block_order(w)
        _save(task, {"ordered-X": X[order], "ordered-T": None if T is X else T[order]})
    for n, (W, b) in enumerate(w.start(), start=1):
        _save(task, {f"W{n}": W.astype(task.dtype), f"b{n}": b.astype(task.dtype)})
    return X, T


def store_rows(task: Task) -> np.ndarray:
    """Write weights and rows to predict; the rows."""
    w = task.workload
    task.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    X = rng.random((task.rows, w.widths[0]), dtype=np.float32)
    _save(task, {"P": X})
    for n, (W, b) in enumerate(w.start(), start=1):
        _save(task, {f"W{n}": W.astype(task.dtype), f"b{n}": b.astype(task.dtype)})
    return X


def block_order(w: Workload) -> np.ndarray:
    """Row numbers of a block, in the order in which `layerwise.train` takes them: epochs count from 1."""
    if w.batch is None or w.batch >= w.rows:
        return np.arange(w.rows)
    return np.concatenate([permutation(SEED, Stream.SHUFFLE, epoch, w.rows) for epoch in range(1, w.orders + 1)])


def _typed(arrays: Arrays, dtype: str) -> Arrays:
    """Numbers in that precision, labels as they are."""
    X, T = arrays
    x = X.astype(dtype)
    return x, x if T is X else T if T.dtype == np.int64 else T.astype(dtype)


def _save(task: Task, arrays: dict[str, np.ndarray | None]) -> None:
    for name, array in arrays.items():
        if array is not None:
            np.save(task.path(name), array)


def remove(folder: Path) -> None:
    for file in folder.glob("*.npy"):
        file.unlink()
    folder.rmdir()
