"""Files made to take time or memory, and things that are no files: refused soon and in bounded memory."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerwise.container import header as header_module
from layerwise.container import store
from layerwise.container.kinds import MODEL, Kind
from layerwise.errors import ModelFileError

read, write = partial(store.read, MODEL), partial(store.write, MODEL)
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


@pytest.mark.parametrize("length", [16 * 2**20 + 8, 2**31, 2**32, 2**63 - 1, 2**64 - 8, 2**64 - 1])
@pytest.mark.parametrize("size", [100, 2**30])
def test_header_lengths_are_checked_before_memory_is_taken(tmp_path: Path, length: int, size: int) -> None:
    with open(tmp_path / "m", "wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(size)  # sparse: takes no room on the disk
    tracemalloc.start()
    with pytest.raises(ModelFileError):
        read(tmp_path / "m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def bomb(value: str, entries: str = "") -> bytes:
    """A whole file whose document holds `value`."""
    document = json.dumps(f'{{"format":1,"layerwise":"1","x":{value}}}')
    text = f'{{"__metadata__":{{"sha256":"{"0" * 64}","layerwise":{document}}}{entries}}}'.encode()
    text += b" " * (-len(text) % 8)
    file = len(text).to_bytes(8, "little") + text
    return file[:35] + hashlib.sha256(file).hexdigest().encode() + file[99:]


FULL = header_module.MAX_HEADER - 400
BOMBS = {
    "many tensors": lambda: bomb(
        "0", "," + ",".join(f'"t{i:06}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(100_000))
    ),
    "open lists": lambda: bomb("[" * FULL),
    "empty lists": lambda: bomb("[" + "[]," * (FULL // 3 - 1) + "0]"),
    "backslashes": lambda: bomb('"' + "\\" * (FULL // 4)),
    "digits": lambda: bomb("9" * FULL),
    "huge tensor": lambda: bomb("0", ',"W":{"dtype":"F64","shape":[1099511627776],"data_offsets":[0,8796093022208]}'),
    "empty strings": lambda: bomb("[" + '"",' * (FULL // 5 - 1) + "0]"),
    "keys": lambda: bomb("{" + "".join(f'"{i:x}":0,' for i in range(FULL // 14)) + '"":0}'),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    """In time and memory bounded by a multiple of the file; the last two are large but as they should be."""
    content = BOMBS[name]()
    assert len(content) <= header_module.MAX_HEADER + 8
    (tmp_path / "m").write_bytes(content)
    causes: list[str] = []
    tracemalloc.start()
    started = time.process_time()
    try:
        read(tmp_path / "m")
    except ModelFileError as error:
        causes.append(str(error))
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bool(causes) == (name not in ("empty strings", "keys")), causes
    assert not any("digest" in cause for cause in causes)
    assert seconds < 20  # 3 with tracemalloc, under 1 without
    assert peak < 24 * len(content) + 2**20  # 17 for the keys, each a text of its own


def test_no_memory_for_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_args: object) -> None:
        raise MemoryError

    write(tmp_path / "m", {}, {"W": np.zeros(3)})
    monkeypatch.setattr(np, "empty", exhausted)
    with pytest.raises(ModelFileError, match="does not fit in memory"):
        read(tmp_path / "m")


def without_hanging(action: Callable[[], object]) -> BaseException | None:
    """What `action` raises; a hang fails instead of stopping the tests."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except ModelFileError as error:
            caught.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return caught[0] if caught else None


@posix
def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "folder").mkdir()
    strange = [tmp_path / "fifo", tmp_path / "link", tmp_path / "folder", *map(Path, ("/dev/zero", "/dev/null"))]
    for path in strange:
        for action in (lambda p=path: read(p), lambda p=path: write(p, {}, {})):
            error = without_hanging(action)
            assert error is not None
            assert str(path) in str(error)
            assert "folder" in str(error) if path.is_dir() else "no regular file" in str(error)
    assert (tmp_path / "fifo").is_fifo()
    assert Path("/dev/null").is_char_device()


def test_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    parse = header_module.parse_header
    for change in (lambda f: f.truncate(200_000), lambda f: (f.seek(0, 2), f.write(b"x" * 70_000))):
        write(path, {}, {"W": np.zeros(50_000)})

        def changing(kind: Kind, header: bytes, change: Callable[[Any], object] = change) -> Any:
            with open(path, "r+b") as file:
                change(file)
            return parse(kind, header)

        monkeypatch.setattr("layerwise.container.store.parse_header", changing)
        with pytest.raises(ModelFileError, match="while it was read"):
            read(path)
