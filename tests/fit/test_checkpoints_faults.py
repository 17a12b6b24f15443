"""Saving checkpoints when the system fails: each call in turn, in each way; what was saved before stays.

A run without faults counts the calls of the system; then there is one run for each of them in which it fails. Which
calls there are is not written down here: what is new in the code is made to fail as well.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoint_content import arrays, document, name, step_of

from layerwise import files
from layerwise.container import store
from layerwise.errors import CheckpointError
from layerwise.fit import lock
from layerwise.fit.checkpoints import CheckpointFolder, read_newest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the calls are those of POSIX")

ERRORS = [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EDQUOT, errno.EACCES, errno.EROFS]
_close = os.close
OS_CALLS = ["open", "fstat", "lstat", "stat", "mkdir", "fchmod", "write", "lseek", "ftruncate", "replace", "unlink"]


class Faults:
    """Calls of the system, counted; from the one with number ``at`` on, some fail.

    Parameters
    ----------
    at : int
        From 0; -1 lets none fail.
    how : {"once", "such", "all", "after", "short"}
        This call; this and all later ones of its name; all later ones; this, though it was done (an interrupted read
        or write never was); a write that takes half of the bytes, and the next one none.
    """

    def __init__(self, at: int = -1, how: str = "once", number: int = errno.EIO):
        self.at, self.how, self.number = at, how, number
        self.calls: list[str] = []

    def fails(self, name: str) -> bool:
        self.calls.append(name)
        last = len(self.calls) - 1
        if self.at < 0 or last < self.at:
            return False
        return last == self.at or self.how == "all" or (self.how == "such" and name == self.calls[self.at])

    def call(self, name: str, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if not self.fails(name):
            return act(*args, **options)
        # A descriptor is closed also where closing reports an error.
        done_though = self.how == "after" and not (self.number == errno.EINTR and name in ("read", "write"))
        if done_though or name == "close":
            done = act(*args, **options)
            if name in ("open", "scandir"):  # made, but not handed out
                _close(done) if isinstance(done, int) else done.close()
        raise OSError(self.number, os.strerror(self.number))

    @contextlib.contextmanager
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
        def patched_call(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **options: self.call(name, act, *args, **options)

        def opened(path: str, mode: str) -> Any:
            raw = self.call("open", lambda: Raw(self, path, mode))
            return {"wb": io.BufferedWriter, "rb+": io.BufferedRandom}[mode](raw)

        def scandir(path: str) -> Any:
            return self.call("scandir", lambda: Listing(self, scan(path)))

        scan = os.scandir
        with monkeypatch.context() as patched:
            for each in OS_CALLS:
                patched.setattr(os, each, patched_call(each, getattr(os, each)))
            patched.setattr(os, "close", patched_call("close", os.close))
            # Nothing is really synced: it takes most of the time, and no power is cut here.
            patched.setattr(os, "fsync", patched_call("fsync", lambda _descriptor: None))
            patched.setattr(os, "scandir", scandir)
            patched.setattr(os, "fdopen", lambda fd, mode: io.BufferedReader(Raw(self, fd, mode)))
            patched.setattr(lock.fcntl, "flock", patched_call("flock", lock.fcntl.flock))
            for module in (store, files):
                patched.setattr(module, "open", opened, raising=False)
            yield self


class Raw(io.FileIO):
    """A file whose reads, writes, moves and closing are counted."""

    def __init__(self, faults: Faults, file: Any, mode: str):
        self.faults = faults
        super().__init__(file, mode)

    def write(self, data: Any) -> int:
        if self.faults.how != "short":
            return self.faults.call("write", super().write, data)
        if not self.faults.fails("write"):
            return super().write(data)
        self.faults.how = "once"
        self.faults.at = len(self.faults.calls) if self.faults.number else -1
        return super().write(memoryview(data)[: max(1, len(data) // 2)])

    def readinto(self, buffer: Any) -> Any:
        return self.faults.call("read", super().readinto, buffer)

    def readall(self) -> Any:
        return self.faults.call("read", super().readall)

    def seek(self, *args: Any) -> int:
        return self.faults.call("lseek", super().seek, *args)

    def close(self) -> None:
        if not self.closed:
            self.faults.call("close", super().close)


class Listing:
    """What `os.scandir` gives, each step counted."""

    def __init__(self, faults: Faults, entries: Any):
        self.faults, self.entries = faults, entries

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.entries.close()

    def __iter__(self) -> Listing:
        return self

    def __next__(self) -> os.DirEntry[str]:
        ended = object()
        entry = self.faults.call("readdir", next, self.entries, ended)
        if entry is ended:
            raise StopIteration
        return entry


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def failure(folder: Path, number: int, act: Callable[[], Any]) -> CheckpointError | None:
    """The error of `act`, which is of the right kind and says where and why; any other is this test's failure."""
    caught = None
    try:
        act()
    except CheckpointError as error:
        caught = error
    if caught is not None:
        assert str(folder) in str(caught)
        assert os.strerror(number) in str(caught)
    return caught


def numbers(folder: Path) -> list[int]:
    """The checkpoints that are there, and nothing else is."""
    names = {path.name for path in folder.iterdir()} - {lock.NAME}
    found = sorted(int(each[11:23]) for each in names)
    assert names == {name(number) for number in found}
    return found


# All ways of a few calls, and one way of all calls, would miss what only goes wrong together.
WAYS = [
    *(("once", number) for number in ERRORS),
    *(("such", number) for number in (errno.ENOSPC, errno.EIO)),
    *(("all", number) for number in (errno.EIO, errno.ENOSPC)),
    *(("after", number) for number in (errno.EIO, errno.EINTR)),
]


def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch, saved: int = 3) -> None:
    with Faults().installed(monkeypatch), CheckpointFolder(folder, keep=saved) as checkpoints:
        for step in range(1, saved + 1):
            checkpoints.save(document(step), arrays(step))


def saving(folder: Path, monkeypatch: pytest.MonkeyPatch, faults: Faults) -> bool:
    """A save under ``faults``, all that must hold afterwards, and a save without; whether the first one succeeded."""
    before = descriptors()
    with CheckpointFolder(folder, keep=2) as checkpoints:
        with faults.installed(monkeypatch):
            error = failure(folder, faults.number, lambda: checkpoints.save(document(4), arrays(4)))
        step = step_of(read_newest(folder))
        # A failure may come after the new file took its place; what it says then is that it may not last.
        assert step in ((4,) if error is None else (3, 4))
        if error is not None:
            assert isinstance(error.__cause__, OSError)
            assert "The earlier checkpoints are intact." in str(error)
            assert {1, 2, 3} <= {int(path.name[11:23]) for path in folder.iterdir() if path.name.startswith("check")}
        if error is None or faults.how in ("once", "after", "short"):  # else the deleting of it fails as well
            assert not list(folder.glob(".checkpoint-*"))
        assert step_of(checkpoints.newest()) == step
        with Faults().installed(monkeypatch):
            checkpoints.save(document(5), arrays(5))
        assert step_of(checkpoints.newest()) == 5
    assert descriptors() == before
    with CheckpointFolder(folder) as checkpoints:  # it is free, and clears away what was left
        assert step_of(checkpoints.newest()) == 5
        assert len(numbers(folder)) == 2
    return error is None


def calls_of_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    prepared(tmp_path / "counted", monkeypatch)
    counting = Faults()
    assert saving(tmp_path / "counted", monkeypatch, counting)
    return counting.calls


def test_the_calls_are_those_that_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness sees them: a save that no longer went through it would pass everything below."""
    calls = calls_of_a_save(tmp_path, monkeypatch)
    assert {"open", "write", "fsync", "replace", "unlink", "scandir", "readdir", "read", "close", "lstat"} <= set(calls)
    assert calls.count("fsync") == 2
    assert calls.index("fsync") < calls.index("replace") < len(calls) - 1 - calls[::-1].index("fsync")
    assert len(calls) - 1 - calls[::-1].index("fsync") < calls.index("unlink")
    assert calls.count("unlink") == 2


@pytest.mark.parametrize(("how", "number"), WAYS, ids=lambda part: errno.errorcode.get(part, part))
def test_every_call_of_a_save_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, number: int) -> None:
    calls = calls_of_a_save(tmp_path, monkeypatch)
    succeeded = 0
    for at in range(len(calls)):
        prepared(tmp_path / str(at), monkeypatch)
        succeeded += saving(tmp_path / str(at), monkeypatch, Faults(at, how, number))
    # What only reads or deletes old ones may fail without harm; the writing may not.
    assert 0 < succeeded < len(calls) - 8


@pytest.mark.parametrize("number", [0, errno.ENOSPC, errno.EIO])
def test_every_write_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    calls = calls_of_a_save(tmp_path, monkeypatch)
    writes = [at for at, call in enumerate(calls) if call == "write"]
    for at in writes:
        prepared(tmp_path / str(at), monkeypatch)
        # The rest of a write that was cut short is written next, and that fails if there is a number.
        assert saving(tmp_path / str(at), monkeypatch, Faults(at, "short", number)) == (number == 0)
    assert writes


def test_a_folder_that_is_not_synced_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of_a_save(tmp_path, monkeypatch)
    last = len(calls) - 1 - calls[::-1].index("fsync")
    folder = tmp_path / "folder"
    prepared(folder, monkeypatch)
    with CheckpointFolder(folder, keep=1) as checkpoints:
        with Faults(last).installed(monkeypatch), pytest.raises(CheckpointError) as caught:
            checkpoints.save(document(4), arrays(4))
        assert isinstance(caught.value.__cause__, files.NotSyncedError)
        assert "folder could not be synced (Input/output error): it may be lost if the machine" in str(caught.value)
        assert step_of(checkpoints.newest()) == 4
        assert numbers(folder) == [1, 2, 3, 4]  # none is deleted for one that may be lost


def test_interrupted_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in any call: it goes on as KeyboardInterrupt, and leaves nothing behind."""

    class Interrupted(Faults):
        def call(self, name: str, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
            if self.fails(name):
                if name == "close":
                    act(*args, **options)
                raise KeyboardInterrupt
            return act(*args, **options)

    calls = calls_of_a_save(tmp_path, monkeypatch)
    for at in range(len(calls)):
        folder = tmp_path / str(at)
        prepared(folder, monkeypatch)
        before = descriptors()
        with CheckpointFolder(folder, keep=2) as checkpoints:
            with Interrupted(at).installed(monkeypatch), pytest.raises(KeyboardInterrupt):
                checkpoints.save(document(4), arrays(4))
            assert step_of(checkpoints.newest()) in (3, 4)
            assert not list(folder.glob(".checkpoint-*"))
        assert descriptors() == before
        with CheckpointFolder(folder):
            assert 3 in numbers(folder)
            assert len(numbers(folder)) >= 2


@pytest.mark.parametrize(("how", "number"), WAYS, ids=lambda part: errno.errorcode.get(part, part))
def test_every_call_of_opening_and_reading_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, number: int
) -> None:
    """Opened or not, with a newest one or the one before it, the folder is free and whole afterwards."""

    def use(folder: Path) -> Any:
        with CheckpointFolder(folder) as checkpoints:
            return checkpoints.newest()

    prepared(tmp_path / "counted", monkeypatch)
    with Faults().installed(monkeypatch) as counting:
        assert step_of(use(tmp_path / "counted")) == 3
    outcomes: list[int] = []
    for at in range(len(counting.calls)):
        folder = tmp_path / str(at)
        prepared(folder, monkeypatch)
        (folder / ".checkpoint-0123456789abcdef.layerwise-tmp").write_bytes(b"half")
        before = descriptors()
        loaded: list[Any] = []
        with Faults(at, how, number).installed(monkeypatch):
            error = failure(folder, number, lambda f=folder, into=loaded: into.append(use(f)))
        assert descriptors() == before
        if error is None:
            outcomes.append(step_of(loaded[0]))
            if outcomes[-1] < 3:
                assert os.strerror(number) in loaded[0].notes[0]
        assert step_of(use(folder)) == 3
        assert numbers(folder) == [1, 2, 3]
    assert set(outcomes) <= {1, 2, 3}
    assert 3 in outcomes


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_every_call_of_making_the_folder_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def use(folder: Path) -> Any:
        with CheckpointFolder(folder / "a" / "b"):
            pass

    (tmp_path / "counted").mkdir()
    with Faults().installed(monkeypatch) as counting:
        use(tmp_path / "counted")
    for how in ("once", "after"):
        for at in range(len(counting.calls)):
            folder = tmp_path / f"{how}{at}"
            folder.mkdir()
            before = descriptors()
            with Faults(at, how, number).installed(monkeypatch):
                failure(folder, number, lambda f=folder: use(f))
            assert descriptors() == before
            use(folder)
            assert [path.name for path in (folder / "a" / "b").iterdir()] == [lock.NAME]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with pytest.raises(CheckpointError, match=r"its file system has no locks .* name a folder on another file system"):
        CheckpointFolder(tmp_path).__enter__()


def test_old_ones_that_cannot_be_deleted_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    prepared(tmp_path, monkeypatch)
    with CheckpointFolder(tmp_path, keep=1) as checkpoints:
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", refuse)
            checkpoints.save(document(4), arrays(4))
        assert numbers(tmp_path) == [1, 2, 3, 4]
        checkpoints.save(document(5), arrays(5))
        assert numbers(tmp_path) == [5]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_signals_while_saving(tmp_path: Path) -> None:
    """Real ones, each of which ends a system call early (EINTR); Python goes on with the call."""
    arrived: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: arrived.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        with CheckpointFolder(tmp_path) as checkpoints:
            for step in range(30):
                checkpoints.save(document(step), arrays(step, 100_000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert step_of(read_newest(tmp_path)) == 29
    assert len(arrived) > 30


def test_no_descriptor_is_lost(tmp_path: Path) -> None:
    before = descriptors()
    for round_ in range(5):
        with CheckpointFolder(tmp_path) as checkpoints:
            inside = descriptors()
            for step in range(3):
                checkpoints.save(document(step), arrays(step))
                with pytest.raises(CheckpointError):
                    checkpoints.save({"a": {1}}, {})
                with pytest.raises(CheckpointError):
                    CheckpointFolder(tmp_path).__enter__()
            (tmp_path / name(3 * round_ + 3)).write_bytes(b"damaged")
            checkpoints.newest()
            assert descriptors() == inside
        read_newest(tmp_path)
    assert descriptors() == before
