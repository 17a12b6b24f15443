"""One process, one peer, one workload: `python -m bench.worker`, driven by `bench.process` in lines of JSON.

Processes of their own, because thread pools of several libraries in one process wait for each other busily, and because
the memory of each is then known. Only one of them works at a time.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.base import Runner, Task, UnavailableError, cores
from bench.workloads import WORKLOADS, Workload


class _Work:
    def __init__(self, peer: str):
        self.peer = peer
        self.runner: Runner | None = None

    def build(self, job: str, workload: dict[str, Any], folder: str, dtype: str, rows: int, only: str) -> dict:
        """Make ready: libraries, data, compilation, one unit with each choice; the result of the last is kept."""
        task = Task(_workload(workload), Path(folder), dtype, cores(), rows)
        self.runner = getattr(importlib.import_module(f"bench.peers.{self.peer}"), job)(task)
        if only:
            self.runner.choices = [only]
        seconds = {}
        for choice in self.runner.choices:
            self.runner.use(choice)
            self.runner.reset()
            start = time.perf_counter()
            self.runner.run(1)
            seconds[choice] = time.perf_counter() - start
        return {"choices": seconds}

    def choose(self, seconds: float) -> dict:
        """Keep the fastest choice; how long a unit takes with it."""
        assert self.runner is not None
        times = {}
        for choice in self.runner.choices:
            self.runner.use(choice)
            repeats = 3 if len(self.runner.choices) > 1 else 1
            times[choice] = min(self._unit(seconds) for _ in range(repeats))
        best = min(times, key=times.__getitem__)
        self.runner.use(best)
        return {"choice": best, "unit": times[best], "all": times}

    def _unit(self, seconds: float) -> float:
        n = 1
        while True:
            elapsed = self.run(n)["seconds"]
            if elapsed > seconds:
                return elapsed / n
            n = max(2 * n, min(int(1.2 * n * seconds / max(elapsed, 1e-9)), 100 * n))

    def run(self, n: int) -> dict:
        assert self.runner is not None
        self.runner.reset()
        start = time.perf_counter()
        self.runner.run(n)
        return {"seconds": time.perf_counter() - start}

    def result(self, path: str) -> dict:
        """Write what the last run gave."""
        assert self.runner is not None
        np.savez(path, *self.runner.result())
        return {}

    def memory(self) -> dict:
        return {"bytes": peak_memory()}


def peak_memory() -> int:
    """The most memory that this process has held, in bytes.

    On Linux from its count for this program: that of `getrusage` begins with what the parent held.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _workload(changes: dict[str, Any]) -> Workload:
    return replace(WORKLOADS[changes.pop("key")], **changes)


def main() -> None:
    work = _Work(sys.argv[1])
    # Answers have a channel of their own: libraries print where they like.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        message = json.loads(line)
        try:
            reply = getattr(work, message.pop("do"))(**message)
        except (UnavailableError, ModuleNotFoundError) as error:
            reply = {"unavailable": str(error)}
        except Exception as error:
            traceback.print_exc()
            reply = {"failed": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
