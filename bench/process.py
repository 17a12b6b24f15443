"""Processes that work one at a time, on demand."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from typing import Any

from bench.peers.base import UnavailableError

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(Exception):
    """A process did not do what was asked; its last words are in the message."""


class Worker:
    """The process of one peer. Ask, then wait; several can be asked before one is waited for.

    Parameters
    ----------
    peer : str
    cores : int
        Threads that its libraries may use.
    timeout : float
        Seconds for one answer.
    """

    def __init__(self, peer: str, cores: int, timeout: float = 600.0):
        self.peer, self.timeout = peer, timeout
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  closed with the process
        environment = {**os.environ, **dict.fromkeys(THREADS, str(cores)), "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            bufsize=1,
        )

    def ask(self, do: str, **arguments: Any) -> None:
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._last_words(self._end())) from None

    def wait(self) -> dict[str, Any]:
        ready, _, _ = select.select([self._process.stdout], [], [], self.timeout)
        if not ready:
            raise WorkerError(self._last_words(f"gave no answer in {self.timeout:.0f} s"))
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words(self._end()))
        reply = json.loads(line)
        if "unavailable" in reply:
            raise UnavailableError(reply["unavailable"])
        if "failed" in reply:
            raise WorkerError(self._last_words(reply["failed"]))
        return reply

    def call(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.ask(do, **arguments)
        return self.wait()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()

    def _end(self) -> str:
        return f"the process ended with status {self._process.wait()}"

    def _last_words(self, what: str) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()[-30:]
        return "\n    ".join([what, *lines])
