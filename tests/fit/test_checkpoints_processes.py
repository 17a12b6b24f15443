"""Checkpoints of processes that are killed, of two at once, on a full disk and in a read-only folder."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoint_content import arrays, document, name, step_of

from layerwise.errors import CheckpointError
from layerwise.fit.checkpoints import CheckpointFolder, read_newest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals and forks of POSIX")

SUPPORT = str(Path(__file__).parents[1] / "support")
BEGIN = f"""
import os, signal, subprocess, sys, time
sys.path.insert(0, {SUPPORT!r})
from checkpoint_content import arrays, document, step_of
from layerwise.errors import CheckpointError
from layerwise.fit.checkpoints import CheckpointFolder, read_newest
folder = sys.argv[1]
"""


@contextlib.contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# One process that has imported everything forks those that are killed: thirty imports would take a minute.
SAVES_FOR_EVER = """
for line in sys.stdin:
    step = int(line)
    child = os.fork()
    if not child:
        with CheckpointFolder(folder, keep=2) as checkpoints:
            os.write(1, b"open\\n")
            while True:
                checkpoints.save(document(step), arrays(step, 20_000))
                os.write(1, b"saved %d\\n" % step)
                step += 1
    os.write(1, b"child %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


def test_killed_at_any_instant(tmp_path: Path) -> None:
    """What was reported as saved is there, and at most one more that was not reported any longer."""
    draw = random.Random(0)
    folder = tmp_path / "checkpoints"
    half_written = last = 0
    pace = 0.01  # seconds of a save, as measured: on a busy machine the instants must not all come before the first
    with running(SAVES_FOR_EVER, folder) as process:
        assert process.stdin is not None
        for _ in range(30):
            reported, child, opened, saves = last, 0, False, draw.randrange(4)
            process.stdin.write(f"{last + 1}\n")
            process.stdin.flush()
            while not (child and opened and reported >= last + saves):
                before = time.monotonic()
                word, _, value = line(process).partition(" ")
                if word == "saved":
                    reported = int(value)
                    pace = 0.7 * pace + 0.3 * (time.monotonic() - before)
                child = int(value) if word == "child" else child
                opened = opened or word == "open"
            time.sleep(draw.uniform(0, 1.5 * pace))
            os.kill(child, signal.SIGKILL)
            while (words := line(process)) != "gone":
                reported = int(words.removeprefix("saved "))
            half_written += bool(list(folder.glob(".checkpoint-*")))
            if reported:
                loaded = read_newest(folder)
                assert loaded.notes == ()
                assert reported <= step_of(loaded) <= reported + 1
            with CheckpointFolder(folder) as checkpoints:  # at once: the lock went with the process
                newest = checkpoints.newest()
                assert not list(folder.glob(".checkpoint-*"))
            if newest is not None:
                last = step_of(newest)
            assert reported <= last <= reported + 1
            assert len(list(folder.glob("checkpoint-*"))) <= 3  # two, and one that was still to be deleted
    assert half_written  # some were killed in the midst of writing


HOLDS = """
with CheckpointFolder(folder) as checkpoints:
    checkpoints.save(document(1), arrays(1))
    child = 0
    if "fork" in sys.argv:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"running")
            time.sleep(600)
        os.read(reading, 1)
    print(child, flush=True)
    sys.stdin.readline()
    checkpoints.save(document(2), arrays(2))
print("left", flush=True)
sys.stdin.readline()
"""


def test_a_second_writer_waits_for_the_first_to_end(tmp_path: Path) -> None:
    with running(HOLDS, tmp_path) as first:
        assert line(first) == "0"
        for _ in range(2):
            with pytest.raises(CheckpointError, match="is writing there; wait until it is done") as caught:
                CheckpointFolder(tmp_path).__enter__()
            assert f"{tmp_path} cannot be opened for checkpoints: another process ({first.pid}) is" in str(caught.value)
        assert step_of(read_newest(tmp_path)) == 1  # looking is free
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert line(first) == "left"
        with CheckpointFolder(tmp_path) as checkpoints:
            assert step_of(checkpoints.newest()) == 2


@pytest.mark.parametrize("forks", [False, True])
def test_a_killed_writer_has_no_lock(tmp_path: Path, forks: bool) -> None:
    """Not even if a process that it forked, as for loading data, lives on with copies of its descriptors."""
    with running(HOLDS, tmp_path, "fork" if forks else "") as first:
        child = int(line(first))
        first.kill()
        first.wait()
        try:
            with CheckpointFolder(tmp_path) as checkpoints:
                assert step_of(checkpoints.newest()) == 1
                checkpoints.save(document(3), arrays(3))
        finally:
            if child:
                os.kill(child, signal.SIGKILL)
    assert (child > 0) == forks


def test_a_forked_child_does_not_write(tmp_path: Path) -> None:
    script = """
with CheckpointFolder(folder) as checkpoints:
    child = os.fork()
    if not child:
        try:
            checkpoints.save(document(1), arrays(1))
        except CheckpointError as error:
            print(error, flush=True)
        checkpoints.__exit__(None, None, None)  # which must not give back what the parent holds
        os._exit(0)
    os.waitpid(child, 0)
    checkpoints.save(document(2), arrays(2))
    try:
        CheckpointFolder(folder).__enter__()
    except CheckpointError as error:
        print(error, flush=True)
"""
    with running(script, tmp_path) as process:
        assert "is not open for checkpoints in this process" in line(process)
        assert "this process is writing there" in line(process)
    assert step_of(read_newest(tmp_path)) == 2


def test_who_is_writing_is_not_believed_to_be_anything_but_a_name(tmp_path: Path) -> None:
    with running(HOLDS, tmp_path) as first:
        line(first)
        (lock,) = tmp_path.glob(".layerwise-lock")
        for content in (b"", b"\x1b[2J", b"12 a\nb\n", b"9" * 5000, b"1 " + b"x" * 5000 + b"\n", bytes(10**6)):
            lock.write_bytes(content)
            with pytest.raises(CheckpointError, match="checkpoints: another process is writing there"):
                CheckpointFolder(tmp_path).__enter__()
        lock.write_bytes(b"77 far.away\n")
        with pytest.raises(CheckpointError, match=r"another process \(77 on far\.away\) is writing there"):
            CheckpointFolder(tmp_path).__enter__()


# Full and read-only -----------------------------------------------------------------------------------------------


def test_no_more_than_so_many_bytes_in_a_file(tmp_path: Path) -> None:
    """As a quota does: the system takes a part of the bytes, and then no more."""
    script = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with CheckpointFolder(folder) as checkpoints:
    checkpoints.save(document(1), arrays(1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    for _ in range(2):
        try:
            checkpoints.save(document(2), arrays(2, 1_000_000))
        except CheckpointError as error:
            print(error, flush=True)
    checkpoints.save(document(3), arrays(3))
"""
    with running(script, tmp_path) as process:
        for number in (2, 2):
            assert line(process) == (
                f"The checkpoint was not saved to {tmp_path / name(number)}: {os.strerror(errno.EFBIG)}. "
                "The earlier checkpoints are intact."
            )
        assert process.wait(60) == 0
    assert step_of(read_newest(tmp_path)) == 3
    assert not list(tmp_path.glob(".checkpoint-*"))


SMALL_DISK = """
INTACT = "The earlier checkpoints are intact."

def refused(act, *words):
    try:
        act()
    except CheckpointError as error:
        assert folder in str(error) and all(word in str(error) for word in words), error
        return
    raise AssertionError(words)

def fill():
    with open(disk + "/other", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert "No space" in str(error)

def here():
    return sorted(os.listdir(folder))

def read_only():  # a second mount over the first, which the open lock file keeps from being changed
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)

def writable():
    subprocess.run(["umount", folder], check=True)

disk, folder = folder, folder + "/checkpoints"
with CheckpointFolder(folder, keep=2) as checkpoints:
    for step in range(1, 20):  # 45 kB each: all of them would never fit
        checkpoints.save(document(step), arrays(step, 5000))
    fill()
    before = here()
    for size in (1, 300, 5000, 100_000):
        refused(lambda: checkpoints.save(document(20), arrays(20, size)), "No space left", INTACT)
        assert here() == before
        assert step_of(checkpoints.newest()) == 19
    with open(disk + "/other", "rb+") as file:
        file.truncate(os.path.getsize(disk + "/other") - 30_000)
    refused(lambda: checkpoints.save(document(20), arrays(20, 5000)), "No space left")  # begun, and not ended
    assert here() == before
    assert step_of(read_newest(folder)) == 19
    checkpoints.save(document(21), arrays(21, 300))
    os.unlink(disk + "/other")
    checkpoints.save(document(22), arrays(22, 5000))
    assert step_of(checkpoints.newest()) == 22
    read_only()
    refused(lambda: checkpoints.save(document(23), arrays(23)), "Read-only file system", INTACT)
    assert step_of(checkpoints.newest()) == 22
    writable()
    checkpoints.save(document(24), arrays(24))
read_only()
refused(lambda: CheckpointFolder(folder).__enter__(), "Read-only file system")
refused(lambda: CheckpointFolder(folder + "/new/er").__enter__(), "Read-only file system")
assert step_of(read_newest(folder)) == 24
writable()
with CheckpointFolder(folder) as checkpoints:
    checkpoints.save(document(25), arrays(25))
fill()
with CheckpointFolder(folder) as checkpoints:  # resuming needs no space, not even to write who is writing
    assert step_of(checkpoints.newest()) == 25
print("done")
"""


@pytest.fixture
def mounts() -> None:
    """Skips where a file system cannot be mounted, in a name space of its own."""
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare here to mount a small disk with")
    if tried.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")


@pytest.mark.usefixtures("mounts")
def test_a_full_disk_and_a_read_only_one(tmp_path: Path) -> None:
    shell = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", shell, "sh", str(tmp_path), sys.executable, BEGIN + SMALL_DISK]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    with CheckpointFolder(tmp_path) as checkpoints:
        checkpoints.save(document(1), arrays(1))
        tmp_path.chmod(0o555)
        try:
            with pytest.raises(CheckpointError, match=r"Permission denied.*The earlier checkpoints are intact"):
                checkpoints.save(document(2), arrays(2))
            with pytest.raises(CheckpointError, match="Permission denied"):
                CheckpointFolder(tmp_path / "new").__enter__()
            assert step_of(checkpoints.newest()) == 1
        finally:
            tmp_path.chmod(0o755)
