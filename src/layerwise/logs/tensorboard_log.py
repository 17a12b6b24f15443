"""Scalars for TensorBoard, in its own format of events: nothing needs to be installed to write them.

The format is small and has not changed since 2015. The libraries that write it bring TensorFlow, PyTorch or a
compiled protobuf, and a thread with a queue, whose last seconds a killed process loses.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Sequence

import numpy as np

from layerwise.errors import LogError
from layerwise.fit.callbacks import FitInfo
from layerwise.fit.history import Epoch, Fit
from layerwise.logs.log import Log, curves

_names = itertools.count()


class TensorBoardLog(Log):
    """Curves of a fit in a folder for TensorBoard: ``tensorboard --logdir folder``.

    Parameters
    ----------
    folder : path
        Made where there is none. A fit that goes on may have the same folder: TensorBoard then hides what was written
        of epochs that are done again. So does a new fit with all that is there; give each fit a folder of its own to
        see them side by side.

    Raises
    ------
    LogError
        Before the first step: the folder cannot be written to.

    Warns
    -----
    LogWarning
        An epoch could not be written. It waits and is tried again.

    Notes
    -----
    The curves are "training/cost", "training/learning_rate", "training/seconds" and "validation/…" for each score,
    over the number of the epoch, in float32. An epoch is handed to the system when it ends. TensorBoard itself need not
    be installed here.

    References
    ----------
    event.proto and summary.proto of TensorFlow; its TFRecord format.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        super().__init__()
        self._folder = os.path.abspath(folder)
        self._events = b""
        self._file: int | None = None

    def __repr__(self) -> str:
        return f"TensorBoardLog({self._folder!r})"

    def _begin(self, info: FitInfo) -> Sequence[Epoch]:
        # The readers take files by their names in order, so the time comes first.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_names)}"
        began = len(info.history)
        found = self._holds_events()
        try:
            os.makedirs(self._folder, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(os.path.join(self._folder, name), flags, 0o666)
            self._put(_record(_event(0, _bytes(3, b"brain.Event:2"))))
            if found:
                # A log of a session that starts: what was seen of this step and later ones is out of date.
                self._put(_record(_event(began + 1, _bytes(7, _integer(1, 1)))))
        except OSError as error:
            self._close()
            raise LogError(f"TensorBoardLog cannot write to {self._folder}: {error.strerror or error}.") from error
        return () if found else info.history.epochs

    def _holds_events(self) -> bool:
        try:
            return any("tfevents" in name for name in os.listdir(self._folder))
        except OSError:
            return False

    def _write(self, epochs: Sequence[Epoch]) -> None:
        self._put(b"".join(_record(_event(epoch.number, _bytes(5, _summary(epoch)))) for epoch in epochs))

    def _put(self, records: bytes) -> None:
        """Append, or leave the file as it was: a reader stops at a record that is cut off."""
        assert self._file is not None
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            if os.write(self._file, records) != len(records):
                raise OSError("only a part of a record could be written")
        except OSError:
            os.ftruncate(self._file, end)
            raise

    def _end(self, fit: Fit) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


# The format -----------------------------------------------------------------------------------------------------------


def _summary(epoch: Epoch) -> bytes:
    return b"".join(_bytes(1, _bytes(1, tag.encode()) + _single(2, value)) for tag, value in curves(epoch).items())


def _event(step: int, what: bytes) -> bytes:
    return _double(1, time.time()) + _integer(2, step) + what


def _record(data: bytes) -> bytes:
    """A record of TFRecord: length, its checksum, data, its checksum."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


# Fields of protobuf: number << 3 | kind; 0 is a varint, 1 eight bytes, 2 a length and as many bytes, 5 four bytes.
def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _single(field: int, value: float) -> bytes:
    with np.errstate(over="ignore"):  # infinite, where struct would raise
        return _varint(field << 3 | 5) + np.array(value, "<f4").tobytes()


def _table() -> tuple[int, ...]:
    """CRC-32C of each byte: the polynomial of Castagnoli, 0x1EDC6F41, its bits reversed."""
    table: list[int] = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC = _table()


def _masked(data: bytes) -> int:
    """CRC-32C, turned by 15 bits and moved, as TFRecord wants it: a checksum of data that holds checksums is weak."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
