"""Saving when the system fails: the file that was there stays whole, and nothing is left beside it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from layerwise.container import store
from layerwise.container.kinds import MODEL
from layerwise.errors import ModelFileError

read, write = partial(store.read, MODEL), partial(store.write, MODEL)
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")

DOCUMENT = {"k": -7}


def tensors() -> dict[str, np.ndarray]:
    return {"W": np.arange(100.0), "b": np.ones(3, np.float32)}


def only(folder: Path, *names: str) -> bool:
    return sorted(p.name for p in folder.iterdir()) == sorted(names)


def failing(number: int, skip: int = 0):
    calls = []

    def fail(*_args, **_kwargs):
        calls.append(1)
        if len(calls) > skip:
            raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("operation", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch, operation: str, number: int) -> None:
    write(tmp_path / "m", DOCUMENT, tensors())
    before = (tmp_path / "m").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, operation, failing(number))
        with pytest.raises(ModelFileError, match="was not saved") as caught:
            write(tmp_path / "m", {}, {"W": np.zeros(9)})
    assert str(tmp_path / "m") in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert (tmp_path / "m").read_bytes() == before
    assert only(tmp_path, "m")


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "m", DOCUMENT, {})

    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "m", {}, {})
    assert read(tmp_path / "m")[0]["k"] == -7
    assert only(tmp_path, "m")


@posix
def test_folder_that_cannot_be_synced(tmp_path: Path, monkeypatch) -> None:
    """The file is there, but "saved" is said only when it is durable; some file systems cannot sync folders."""
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, skip=1))
    with pytest.raises(ModelFileError, match="folder could not be synced"):
        write(tmp_path / "m", DOCUMENT, {})
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL, skip=1))
    write(tmp_path / "m", {"k": 9}, {})
    assert read(tmp_path / "m")[0]["k"] == 9


def test_folder_that_refuses_new_files(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "m", DOCUMENT, {})
    ordinary = os.open

    def refuse(path, flags, *args, **kwargs):
        if flags & os.O_CREAT:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return ordinary(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ModelFileError, match=os.strerror(errno.EACCES)):
        write(tmp_path / "m", {}, {})
    assert read(tmp_path / "m")[0]["k"] == -7
    with pytest.raises(ModelFileError, match=os.strerror(errno.ENOENT)):
        write(tmp_path / "absent" / "m", {}, {})


LIMITED = """
import resource, signal, sys
import numpy as np
from layerwise.container import store
from layerwise.container.kinds import MODEL
from layerwise.errors import ModelFileError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.write(MODEL, sys.argv[1], {}, {"W": np.zeros(1_000_000)})
except ModelFileError as error:
    print(error)
"""

ENDLESS = """
import sys
import numpy as np
from layerwise.container import store
from layerwise.container.kinds import MODEL
for step in range(10**9):
    store.write(MODEL, sys.argv[1], {"step": step}, {"W": np.full(200_000, float(step))})
    print(step, flush=True)
"""


@posix
def test_short_write(tmp_path: Path) -> None:
    """The system takes 100,000 bytes and then no more."""
    write(tmp_path / "m", DOCUMENT, {})
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path / "m")], capture_output=True, text=True)
    assert os.strerror(errno.EFBIG) in done.stdout, done.stderr
    assert read(tmp_path / "m")[0]["k"] == -7
    assert only(tmp_path, "m")


@posix
def test_killed_while_writing(tmp_path: Path) -> None:
    for after in range(3):
        process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path / "m")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(3 + after):
            process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        document, arrays = read(tmp_path / "m")
        assert (arrays["W"] == document["step"]).all()


def test_two_writers_and_a_reader(tmp_path: Path) -> None:
    write(tmp_path / "m", {"by": 0}, {"W": np.zeros(5000)})
    threads = [
        threading.Thread(
            target=lambda by=by: [write(tmp_path / "m", {"by": by}, {"W": np.full(5000, float(by))}) for _ in range(20)]
        )
        for by in (1, 2)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        document, arrays = read(tmp_path / "m")
        assert (arrays["W"] == document["by"]).all()
    for thread in threads:
        thread.join()
    assert only(tmp_path, "m")
