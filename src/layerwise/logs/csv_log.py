"""A fit as a table that grows: one row an epoch, on the disk before the next epoch begins."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

from layerwise.errors import LogError
from layerwise.fit.callbacks import FitInfo
from layerwise.fit.history import Epoch, Fit
from layerwise.logs.log import Log

_FIRST = ("epoch", "seconds", "cost", "learning_rate")


class CSVLog(Log):
    """A CSV file with a row for each epoch.

    Parameters
    ----------
    path : path
        The log of an earlier fit is replaced by a new fit; any other file is refused. A fit that goes on
        (``resume``, ``params=fit``) goes on after the last of its epochs there; rows of epochs that are done again
        are replaced, and those that are missing are added.

    Raises
    ------
    LogError
        Before the first step: the file cannot be written, is no such log, or has other columns than a fit that goes
        on would write.

    Warns
    -----
    LogWarning
        A row could not be written. It waits and is tried again.

    Notes
    -----
    Columns are epoch, seconds, cost, learning_rate, and for each score one such as ``validation_rmse``. A row is handed
    to the system when its epoch ends, so it outlives a process that is killed; a row that was cut off is written anew.

    Examples
    --------
    >>> import layerwise as lw
    >>> net = lw.Network([1, 1])
    >>> fit = lw.train(net, [[0.0], [1.0]], [0.0, 1.0], epochs=3, on_epoch_end=lw.CSVLog("fit.csv"))
    >>> from pathlib import Path
    >>> Path("fit.csv").read_text().splitlines()[0]
    'epoch,seconds,cost,learning_rate'
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__()
        self._path = os.path.abspath(path)
        self._file: io.FileIO | None = None
        self._end_of_rows = 0
        self._scores: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"CSVLog({self._path!r})"

    def _begin(self, info: FitInfo) -> Sequence[Epoch]:
        self._scores = info.scores
        columns = [*_FIRST, *(f"validation_{name}" for name in info.scores)]
        header = _line(columns)
        try:
            before = self._before()
            kept = _rows_kept(before, header, len(columns), len(info.history))
            if kept is None and not header.startswith(before):
                self._check_replaceable(before, columns, goes_on=bool(info.history))
            self._file = io.FileIO(self._path, "r+" if before else "w")
            # What is kept is not touched: it could not be written again on a disk that is full.
            self._end_of_rows = 0 if kept is None else len(header) + sum(map(len, kept))
            self._file.truncate(self._end_of_rows)
            if kept is None:
                self._put(header)
        except OSError as error:
            self._close()
            raise LogError(f"CSVLog cannot write to {self._path}: {error.strerror or error}.") from error
        return info.history.epochs[len(kept or ()) :]

    def _before(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _check_replaceable(self, before: bytes, columns: list[str], goes_on: bool) -> None:
        found = before.split(b"\n")[0].decode("utf-8", "replace").split(",")
        if tuple(found[: len(_FIRST)]) != _FIRST:
            raise LogError(f"{self._path} is no log of a fit, and would be replaced. Give CSVLog another name.")
        if goes_on:
            raise LogError(
                f"{self._path} has the columns {', '.join(found)}; this fit writes {', '.join(columns)}. Go on with "
                "the validation and metrics of the beginning, or give CSVLog another name."
            )

    def _write(self, epochs: Sequence[Epoch]) -> None:
        self._put(b"".join(_line(self._row(epoch)) for epoch in epochs))

    def _row(self, epoch: Epoch) -> list[object]:
        scores = [epoch.validation.get(name, float("nan")) for name in self._scores]
        return [epoch.number, *map(repr, map(float, (epoch.seconds, epoch.cost, epoch.learning_rate, *scores)))]

    def _put(self, text: bytes) -> None:
        """Append, or leave the file as it was."""
        assert self._file is not None
        self._file.seek(self._end_of_rows)
        try:
            if self._file.write(text) != len(text):
                raise OSError("only a part of a row could be written")
        except OSError:
            self._file.truncate(self._end_of_rows)
            raise
        self._end_of_rows += len(text)

    def _end(self, fit: Fit) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8")


def _rows_kept(before: bytes, header: bytes, width: int, done: int) -> list[bytes] | None:
    """The whole rows of the first epochs, at most ``done``; None where the header is another one."""
    if not before.startswith(header):
        return None
    rows: list[bytes] = []
    for line in before[len(header) :].splitlines(keepends=True)[:done]:
        cells = line.split(b",")
        if not line.endswith(b"\n") or len(cells) != width or cells[0] != str(len(rows) + 1).encode():
            break
        rows.append(line)
    return rows
