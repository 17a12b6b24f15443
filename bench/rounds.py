"""Peers in turn, again and again: A B C, A B C; whatever else the machine does then slows all of them alike."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import store
from bench.inference import ROUNDS
from bench.peers import LAYERWISE, PEERS, REFERENCE
from bench.peers.base import Task, UnavailableError
from bench.process import Worker, WorkerError
from bench.workloads import Workload, cost
from layerwise import _native as native  # noqa: TID251  the peak of the processor is measured

PAUSE = 0.05
"""Seconds between two peers, in which the threads of the last one go to sleep."""

COST_ROWS = 4096


@dataclass(frozen=True)
class Options:
    """How to measure.

    Parameters
    ----------
    peers : tuple of str
    cores : int
    slice : float
        Seconds that a peer works at a time; at least one block.
    rounds : int or None
        In place of the workload's own number.
    limit : float
        Seconds for all rounds of a workload; three rounds are done in any case.
    proof, memory : bool
        Whether to prove equal arithmetic and to measure memory.
    """

    peers: tuple[str, ...]
    cores: int
    slice: float = 0.25
    rounds: int | None = None
    limit: float = 60.0
    proof: bool = True
    memory: bool = True


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fma_peak(threads: int, repeats: int = 40) -> float:
    """GFLOP/s of multiply-adds in registers, float32, on so many threads at once."""
    meeting = threading.Barrier(threads)

    def of_one(_: int) -> list[float]:
        meeting.wait()
        return [native.fma_peak("float32") for _ in range(repeats)]

    with ThreadPoolExecutor(threads) as pool:
        rates = list(pool.map(of_one, range(threads)))
    return median(sum(together) for together in zip(*rates, strict=True))


def busy_share(seconds: float = 0.5) -> float:
    """What part of the processors other processes use now, while this one sleeps; 0 where the system does not say."""
    status = Path("/proc/stat")
    if not status.exists():
        return 0.0

    def ticks() -> tuple[int, int]:
        counts = [int(n) for n in status.read_text().splitlines()[0].split()[1:9]]
        return sum(counts), counts[3] + counts[4]  # idle, and waiting for a disk

    all_before, idle_before = ticks()
    time.sleep(seconds)
    all_after, idle_after = ticks()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


def measure(job: str, workload: Workload, rows: int, options: Options) -> dict[str, Any]:
    """Run one workload on all peers.

    Returns
    -------
    dict
        "busy": part of the processors that was in use beforehand; "peak": GFLOP/s, one a round; "peers": by name, what
        was measured, or why it was not.
    """
    busy = busy_share()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        bench = _Measurement(job, workload, rows, options, Path(folder), stack)
        bench.build()
        bench.choose()
        bench.run_rounds()
        if options.memory and job == "train":
            bench.measure_memory()
        if options.proof and job == "train":
            bench.prove()
        return {"busy": busy, "peak": bench.peaks, "peers": bench.records}


class _Measurement:
    def __init__(self, job: str, w: Workload, rows: int, options: Options, folder: Path, stack: ExitStack):
        self.job, self.workload, self.options, self.folder, self.stack = job, w, options, folder, stack
        self.task = Task(w, folder, "float32", options.cores, rows)
        self.names = [name for name in options.peers if job in PEERS[name].jobs]
        self.records: dict[str, dict[str, Any]] = {name: {} for name in self.names}
        self.peaks: list[float] = []
        self.workers = {name: self._worker(name) for name in self.names}

    def _worker(self, name: str) -> Worker:
        worker = Worker(name, self.options.cores)
        self.stack.callback(worker.close)
        return worker

    def _give_up(self, name: str, error: Exception) -> None:
        kind = "unavailable" if isinstance(error, UnavailableError) else "failed"
        self.records[name][kind] = str(error).splitlines()[0]
        self.workers.pop(name).close()
        say(f"  {PEERS[name].label}: {error}")

    def _together(self, do: Any, names: list[str]) -> None:
        """Do that for each peer, as many at a time as there are cores; who fails is left out."""
        with ThreadPoolExecutor(self.options.cores) as pool:
            for name, future in [(name, pool.submit(do, name)) for name in names]:
                try:
                    future.result()
                except (UnavailableError, WorkerError) as error:
                    self._give_up(name, error)

    def _arguments(self, task: Task, only: str = "") -> dict[str, Any]:
        w = task.workload
        changed = {"key": w.key, "rows": w.rows, "orders": w.orders}
        return {
            "job": self.job,
            "workload": changed,
            "folder": str(task.folder),
            "dtype": task.dtype,
            "rows": task.rows,
            "only": only,
        }

    def build(self) -> None:
        """Libraries imported, steps compiled; what a first unit gives is checked."""
        if self.job == "train":
            X, T = store.store(self.task)
            self.sample = X[:COST_ROWS].copy(), T[:COST_ROWS].copy()
            del X, T
        else:
            store.store_rows(self.task)

        def one(name: str) -> None:
            start = time.perf_counter()
            reply = self.workers[name].call("build", **self._arguments(self.task))
            self.records[name] |= {"build_seconds": time.perf_counter() - start, "choices": reply["choices"]}
            self.workers[name].call("result", path=str(self.folder / f"{name}.npz"))

        self._together(one, self.names)
        self._compare(self.task, self.sample if self.job == "train" else None)

    def choose(self) -> None:
        """Settings, and how many units a slice has; one, without a trial, where the processor's peak allows no more."""
        w, seconds = self.workload, self.options.slice
        least = w.flops * w.orders / 1e9 / fma_peak(self.options.cores) if self.job == "train" else 0.0
        for name in list(self.workers):
            record = self.records[name]
            if len(record["choices"]) > 1 or least < seconds:
                reply = self.workers[name].call("choose", seconds=seconds / 4)
                record |= {"choice": reply["choice"], "choices": reply["all"]}
                record["units"] = max(1, round(seconds / reply["unit"]))
            else:
                record |= {"choice": next(iter(record["choices"])), "choices": {}, "units": 1}
            record["times"] = []

    def run_rounds(self) -> None:
        began = time.perf_counter()
        rounds = self.options.rounds or (self.workload.rounds if self.job == "train" else ROUNDS)
        names = list(self.workers)
        for turn in range(rounds):
            if turn >= 3 and time.perf_counter() - began > self.options.limit:
                break
            self.peaks.append(fma_peak(self.options.cores))
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                time.sleep(PAUSE)
                record = self.records[name]
                seconds = self.workers[name].call("run", n=record["units"])["seconds"]
                record["times"].append(seconds / record["units"])

    def measure_memory(self) -> None:
        """Of these processes; of new ones where several settings were tried."""

        def one(name: str) -> None:
            record = self.records[name]
            if len(record["choices"]) > 1:
                worker = self._worker(name)
                worker.call("build", **self._arguments(self.task, only=record["choice"]))
                record["memory"] = worker.call("memory")["bytes"]
                worker.close()
            else:
                record["memory"] = self.workers[name].call("memory")["bytes"]

        self._together(one, list(self.workers))

    def prove(self) -> None:
        """The same steps in float64, on less data, in the same processes."""
        folder = self.folder / "proof"
        task = Task(self.workload.for_proof(), folder, "float64", self.options.cores)
        X, T = store.store(task)

        def one(name: str) -> None:
            only = self.records[name]["choice"]
            self.workers[name].call("build", **self._arguments(task, only=only))
            self.workers[name].call("result", path=str(folder / f"{name}.npz"))

        self._together(one, list(self.workers))
        self._compare(task, (X, T))

    def _compare(self, task: Task, data: tuple[np.ndarray, np.ndarray] | None) -> None:
        """How far each peer's weights, their cost, or its outputs are from those of NumPy by hand."""
        of_peer = {}
        for name in self.names:
            path = task.folder / f"{name}.npz"
            if name in self.workers and path.exists():
                with np.load(path) as file:
                    of_peer[name] = [file[k].astype(np.float64) for k in file.files]
        reference = of_peer.get(REFERENCE)
        if reference is None:
            return
        if data is None:
            for name, (outputs,) in of_peer.items():
                self.records[name]["difference"] = float(np.max(np.abs(outputs - reference[0])))
            return
        start = [a for pair in task.start() for a in pair]
        way = max(float(np.max(np.abs(a - b))) for a, b in zip(reference, start, strict=True))
        for name, arrays in of_peer.items():
            layers = list(zip(arrays[::2], arrays[1::2], strict=True))
            far = max(float(np.max(np.abs(a - b))) for a, b in zip(arrays, reference, strict=True))
            self.records[name][task.dtype] = {
                "cost": cost(task.workload, layers, *data),
                "weights": far / way,
                "steps": task.workload.steps * task.workload.orders,
            }
            (task.folder / f"{name}.npz").unlink()


def quick(workload: Workload) -> Workload:
    """Cut to what takes a moment, for a smoke test."""
    return replace(workload.for_proof(), rounds=2)


__all__ = ["LAYERWISE", "Options", "fma_peak", "measure", "quick", "say"]
