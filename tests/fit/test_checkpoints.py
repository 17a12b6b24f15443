"""A folder of checkpoints: which one is the newest, which stay, what is refused and what is left alone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_content import SUFFIX, arrays, document, name, step_of

from layerwise.container import store
from layerwise.container.kinds import CHECKPOINT, MODEL
from layerwise.errors import CheckpointError, LayerwiseError
from layerwise.fit import checkpoints as checkpoints_module
from layerwise.fit import lock as lock_module
from layerwise.fit.checkpoints import CheckpointFolder, read_newest

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def save(folder: Path, *steps: int, keep: int = 3) -> None:
    with CheckpointFolder(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(document(step), arrays(step))


def found(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != lock_module.NAME)


def without_hanging(action: Callable[[], Any]) -> Any:
    """What `action` returns or raises; a hang fails instead of stopping the tests."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(action())
        except CheckpointError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return outcome[0]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    with CheckpointFolder(tmp_path) as checkpoints:
        assert checkpoints.newest() is None
        for step in (10, 20, 5):  # what is newer is a matter of the order of saving
            assert checkpoints.save(document(step), arrays(step)) is None
            loaded = checkpoints.newest()
            assert step_of(loaded) == step
            assert loaded.notes == ()
            assert step_of(read_newest(tmp_path)) == step
        assert loaded.document["number"] == 3
        assert loaded.path == tmp_path / name(3)
        checkpoints.save(loaded.document, loaded.arrays)
        assert checkpoints.newest().document == {**loaded.document, "number": 4}
    assert issubclass(CheckpointError, LayerwiseError)


@pytest.mark.parametrize("keep", [1, 2, 3, np.int64(3)])
def test_as_many_stay_as_are_asked_for(tmp_path: Path, keep: int) -> None:
    with CheckpointFolder(tmp_path, keep) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(document(step), arrays(step))
            assert found(tmp_path) == [name(number) for number in range(max(1, step - keep + 1), step + 1)]
    save(tmp_path, 7, 8, keep=4)
    assert len(found(tmp_path)) == min(keep + 2, 4)
    save(tmp_path, 9, keep=1)
    assert found(tmp_path) == [name(9)]


def test_folders_that_are_missing_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync
    if os.name == "posix":
        monkeypatch.setattr(os, "fsync", lambda d: (synced.append(os.readlink(f"/proc/self/fd/{d}")), fsync(d))[1])
    with CheckpointFolder(tmp_path / "a" / "b"):
        if os.path.exists("/proc/self/fd"):
            assert synced == [str(tmp_path), str(tmp_path / "a")]
    save(tmp_path / "a" / "b", 1)
    assert step_of(read_newest(tmp_path / "a" / "b")) == 1


@posix
def test_the_folder_stays_the_same_when_the_working_directory_changes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with CheckpointFolder("here") as checkpoints:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        checkpoints.save(document(1), arrays(1))
        assert step_of(checkpoints.newest()) == 1
    assert found(tmp_path / "here") == [name(1)]
    (tmp_path / "elsewhere").rmdir()
    with pytest.raises(CheckpointError, match="the working directory is gone"):
        CheckpointFolder("here")


# Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, -1, True, 2.0, "3", None])
def test_keep(tmp_path: Path, keep: Any) -> None:
    with pytest.raises(CheckpointError, match="keep must be a whole number from 1"):
        CheckpointFolder(tmp_path, keep)


@pytest.mark.parametrize("folder", [None, 3, "", b"", 2.5])
def test_what_names_no_folder(folder: Any) -> None:
    for use in (CheckpointFolder, read_newest):
        with pytest.raises(CheckpointError, match="is named by text or a path; got"):
            use(folder)


def test_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    for place in ("file", "file/x", "file/x/y", "a\0b", "y" * 300):
        with pytest.raises(CheckpointError, match="cannot be opened for checkpoints") as caught:
            CheckpointFolder(tmp_path / place).__enter__()
        assert str(tmp_path) in str(caught.value)
        with pytest.raises(CheckpointError, match="cannot be listed"):
            read_newest(tmp_path / place)
    assert (tmp_path / "file").read_bytes() == b"kept"
    with pytest.raises(CheckpointError, match="file is no folder"):
        CheckpointFolder(tmp_path / "file").__enter__()


def test_no_checkpoints_to_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be listed: No such file"):
        read_newest(tmp_path / "none")
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(
        CheckpointError, match=r"holds no checkpoints: none of its files ends in '\.layerwise-checkpoint'"
    ):
        read_newest(tmp_path)


def test_only_an_open_folder_is_used(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path)
    for _ in range(2):
        for use in (checkpoints.newest, lambda: checkpoints.save({}, {})):
            with pytest.raises(CheckpointError, match="is not open for checkpoints in this process; use `with"):
                use()
        with checkpoints:
            checkpoints.save(document(1), arrays(1))
            with pytest.raises(CheckpointError, match="it is open already"):
                checkpoints.__enter__()
            with pytest.raises(CheckpointError, match="this process is writing there"):
                CheckpointFolder(tmp_path).__enter__()
            checkpoints.save(document(1), arrays(1))  # neither took the lock away


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (({"a": {1, 2}}, {}), "is not JSON"),
        (({"a": np.nan}, {}), "is not JSON"),
        (({"a": (1,)}, {}), "come back changed"),
        (({}, {"W": np.zeros(3, np.int32)}), "dtype int32; expected float32, float64, int64, uint64 or uint8"),
    ],
)
def test_content_that_cannot_be_saved(tmp_path: Path, content: Any, message: str) -> None:
    with CheckpointFolder(tmp_path) as checkpoints:
        checkpoints.save(document(1), arrays(1))
        with pytest.raises(CheckpointError, match=message) as caught:
            checkpoints.save(*content)
        assert str(tmp_path) in str(caught.value)
        assert "The earlier checkpoints are intact." in str(caught.value)
        assert step_of(checkpoints.newest()) == 1
    assert found(tmp_path) == [name(1)]


# Damage -----------------------------------------------------------------------------------------------------------


def damaged(content: bytes) -> list[bytes]:
    cut = [content[:size] for size in range(0, len(content), 50)]
    flipped = [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(0, len(content), 37)]
    return [*cut, *flipped, content + b"\0", bytes(4096), b"\x80\x04N.", bytes(len(content))]


def test_a_damaged_newest_is_passed_over_and_named(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    newest = tmp_path / name(3)
    with CheckpointFolder(tmp_path) as checkpoints:
        for content in damaged(newest.read_bytes()):
            newest.write_bytes(content)
            for loaded in (checkpoints.newest(), read_newest(tmp_path)):
                assert step_of(loaded) == 2
                assert len(loaded.notes) == 1
                assert loaded.notes[0].startswith(f"{newest} is not a usable checkpoint file: ")


def test_an_older_one_that_is_damaged_is_no_matter(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    for content in damaged((tmp_path / name(2)).read_bytes()):
        (tmp_path / name(2)).write_bytes(content)
        loaded = read_newest(tmp_path)
        assert step_of(loaded) == 3
        assert all(str(tmp_path / name(2)) in note for note in loaded.notes)  # its header may claim any number


def test_all_damaged(tmp_path: Path) -> None:
    """Going on as if there were none would lose what they hold; the message says what was found and why not."""
    for number in range(1, 8):
        (tmp_path / name(number)).write_bytes(b"x" * number)
    with CheckpointFolder(tmp_path) as checkpoints:
        for use in (checkpoints.newest, lambda: read_newest(tmp_path)):
            with pytest.raises(CheckpointError, match=f"No checkpoint in {tmp_path} can be used") as caught:
                use()
            for number in range(3, 8):
                assert f"{name(number)} is not a usable checkpoint file: its {number} bytes" in str(caught.value)
            assert str(caught.value).endswith("And 2 more.")
        checkpoints.save(document(1), arrays(1))
        assert step_of(checkpoints.newest()) == 1
    assert found(tmp_path) == [name(number) for number in range(1, 9)]


def test_only_whole_ones_count_among_those_that_stay(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4)
    for number in (3, 4):
        path = tmp_path / name(number)
        path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    save(tmp_path, 5, keep=2)
    assert found(tmp_path) == [name(number) for number in (2, 3, 4, 5)]
    (tmp_path / name(5)).write_bytes(b"")
    loaded = read_newest(tmp_path)
    assert step_of(loaded) == 2
    assert [Path(note.split(" is not")[0]).name for note in loaded.notes] == [name(5), name(4), name(3)]
    save(tmp_path, 6, 7, keep=2)
    assert found(tmp_path) == [name(number) for number in (5, 6, 7)]  # 5 cannot be known to be of this folder


def test_neither_names_nor_times_say_what_is_newest(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    for number in (1, 2, 3):
        os.utime(tmp_path / name(number), (2e9 - number, 2e9 - number))
    assert step_of(read_newest(tmp_path)) == 3
    assert read_newest(tmp_path).notes == ()
    (tmp_path / name(3)).rename(tmp_path / "x")
    (tmp_path / name(1)).rename(tmp_path / name(3))
    (tmp_path / "x").rename(tmp_path / name(1))
    loaded = read_newest(tmp_path)
    assert step_of(loaded) == 3
    assert loaded.path == tmp_path / name(1)
    assert loaded.notes == (
        f"{tmp_path / name(3)} holds checkpoint 1, which its name does not say; its content counts.",
        f"{tmp_path / name(1)} holds checkpoint 3, which its name does not say; its content counts.",
    )
    save(tmp_path, 4, 5, 6, keep=1)
    assert found(tmp_path) == [name(1), name(3), name(6)]  # renamed by someone, and so theirs
    assert step_of(read_newest(tmp_path)) == 6


def test_a_copy_under_another_name(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / f"the best{SUFFIX}").write_bytes((tmp_path / name(1)).read_bytes())
    assert read_newest(tmp_path).path == tmp_path / name(2)
    save(tmp_path, 3, 4, keep=1)
    assert found(tmp_path) == [name(4), f"the best{SUFFIX}"]
    (tmp_path / name(4)).unlink()
    loaded = read_newest(tmp_path)
    assert step_of(loaded) == 1
    assert len(loaded.notes) == 1
    save(tmp_path, 5)
    assert found(tmp_path) == [name(2), f"the best{SUFFIX}"]  # its number is 1


def test_a_new_fit_in_an_old_folder_is_the_newer_one(tmp_path: Path) -> None:
    save(tmp_path, *range(100, 105))
    save(tmp_path, 1)
    assert step_of(read_newest(tmp_path)) == 1


def test_files_of_another_kind_and_of_a_newer_version(tmp_path: Path) -> None:
    save(tmp_path, 1)
    store.write(MODEL, tmp_path / name(7), {}, {})
    store.write(replace(CHECKPOINT, version=2), tmp_path / name(6), {"number": 6}, {})
    for number, wrong in enumerate((None, True, 0, -3, 1.0, "9", 10**12), 20):
        store.write(CHECKPOINT, tmp_path / name(number), {"number": wrong}, {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    loaded = read_newest(tmp_path)
    assert step_of(loaded) == 1
    assert len(loaded.notes) == 9
    assert all("its document has no number" in note for note in loaded.notes[:7])
    assert "it is a model, not a checkpoint; layerwise.load reads it" in loaded.notes[7]
    assert "it has format 2, " in loaded.notes[8]
    save(tmp_path, 2, 3, keep=1)
    assert step_of(read_newest(tmp_path)) == 3
    assert all(path.read_bytes() == content for path, content in before.items() if path.exists())
    assert sorted({path.name for path in before} - set(found(tmp_path))) == [lock_module.NAME, name(1)]


# Hostile folders --------------------------------------------------------------------------------------------------


@posix
def test_links_fifos_folders_and_devices(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    folder = tmp_path / "checkpoints"
    save(folder, 1, 2)
    (tmp_path / "whole").write_bytes((folder / name(2)).read_bytes())
    strange = {3: outside, 4: tmp_path / "whole", 5: Path("/dev/zero"), 6: tmp_path / "absent", 7: Path(name(7))}
    for number, target in strange.items():
        (folder / name(number)).symlink_to(target)
    os.mkfifo(folder / name(8))
    (folder / name(9)).mkdir()
    (folder / f"\x1b[2J{SUFFIX}").write_bytes(b"")
    loaded = without_hanging(lambda: read_newest(folder))
    assert step_of(loaded) == 2
    assert [note.rpartition(" ")[2] for note in loaded.notes] == ["folder."] + 6 * ["file."]
    assert not any("\x1b" in note for note in loaded.notes)
    without_hanging(lambda: save(folder, 3, 4, keep=1))
    assert step_of(read_newest(folder)) == 4
    assert found(folder) == sorted([f"\x1b[2J{SUFFIX}", *(name(number) for number in (*range(3, 10), 11))])
    assert outside.read_bytes() == b"kept"
    assert not (tmp_path / "absent").exists()


@posix
def test_a_link_put_where_the_next_one_goes_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    folder = tmp_path / "checkpoints"
    write = store.write

    def put(kind: Any, path: str, *content: Any) -> None:
        os.symlink(outside, path)
        write(kind, path, *content)

    with CheckpointFolder(folder) as checkpoints:
        with monkeypatch.context() as patched:
            patched.setattr(store, "write", put)
            with pytest.raises(CheckpointError, match="it is no regular file"):
                checkpoints.save({}, {})
        checkpoints.save(document(1), arrays(1))
        assert step_of(checkpoints.newest()) == 1
    assert outside.read_bytes() == b"kept"


@posix
@pytest.mark.parametrize("what", ["link", "dangling", "fifo", "folder"])
def test_a_lock_file_that_is_none(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (tmp_path / "outside").write_bytes(b"kept")
    place = folder / lock_module.NAME
    {
        "link": lambda: place.symlink_to(tmp_path / "outside"),
        "dangling": lambda: place.symlink_to(tmp_path / "absent"),
        "fifo": lambda: os.mkfifo(place),
        "folder": place.mkdir,
    }[what]()
    error = without_hanging(lambda: CheckpointFolder(folder).__enter__())
    assert isinstance(error, CheckpointError)
    assert str(error).startswith(f"{folder} cannot be opened for checkpoints: ")
    assert (tmp_path / "outside").read_bytes() == b"kept"
    assert not (tmp_path / "absent").exists()


def test_thousands_of_files_and_a_huge_one(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    content = (tmp_path / name(2)).read_bytes()
    for number in range(100, 5100):
        (tmp_path / name(number)).write_bytes(b"" if number % 2 else content[:300])
    with open(tmp_path / name(9000), "wb") as file:
        file.truncate(2**40)  # sparse: takes no room on the disk
    started = time.process_time()
    loaded = read_newest(tmp_path)
    assert step_of(loaded) == 2
    assert len(loaded.notes) == 5001
    with CheckpointFolder(tmp_path) as checkpoints:
        for step in (3, 4, 5):
            checkpoints.save(document(step), arrays(step))
        assert step_of(checkpoints.newest()) == 5
    assert time.process_time() - started < 30  # 1.5 here
    assert len(found(tmp_path)) == 5004
    (tmp_path / "many").mkdir()
    for number in range(1000):
        (tmp_path / "many" / name(number)).write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        read_newest(tmp_path / "many")
    assert str(caught.value).endswith("And 995 more.")


def test_the_largest_number(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / name(10**12 - 1)).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"{name(10**12 - 1)} has the largest number there is; move it away"):
        save(tmp_path, 2)
    (tmp_path / f"checkpoint-{10**13}{SUFFIX}").write_bytes(b"")  # no number of ours
    (tmp_path / name(10**12 - 1)).unlink()
    save(tmp_path, 2)
    assert step_of(read_newest(tmp_path)) == 2


@posix
def test_only_what_killed_writers_of_checkpoints_left_is_cleared_away(tmp_path: Path) -> None:
    mine = tmp_path / ".checkpoint-0123456789abcdef.layerwise-tmp"
    others = [
        ".0123456789abcdef.layerwise-tmp",
        ".checkpoint-0123.layerwise-tmp",
        "checkpoint-1.layerwise-tmp",
        "x.tmp",
    ]
    mine.write_bytes(b"half")
    for other in others:
        (tmp_path / other).write_bytes(b"half")
    (tmp_path / "outside").write_bytes(b"kept")
    link = tmp_path / ".checkpoint-0000000000000000.layerwise-tmp"
    link.symlink_to("outside")
    with CheckpointFolder(tmp_path):
        assert found(tmp_path) == sorted([*others, "outside", link.name])
        mine.write_bytes(b"of another writer, who would have the lock")
        with pytest.raises(CheckpointError):
            CheckpointFolder(tmp_path).__enter__()
        assert mine.exists()


# Readers and writers in one process -------------------------------------------------------------------------------


def test_a_reader_while_a_writer_deletes(tmp_path: Path) -> None:
    ended = threading.Event()

    def write() -> None:
        with CheckpointFolder(tmp_path, keep=1) as checkpoints:
            for step in range(2, 150):
                checkpoints.save(document(step), arrays(step))
        ended.set()

    save(tmp_path, 1)
    writer = threading.Thread(target=write)
    writer.start()
    last = 1
    while not ended.is_set():
        loaded = read_newest(tmp_path)
        assert loaded.notes == ()
        assert step_of(loaded) >= last
        last = loaded.document["step"]
        assert writer.is_alive() or ended.is_set()
    writer.join()
    assert step_of(read_newest(tmp_path)) == 149


def test_a_reader_ends_though_files_vanish_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    listed = checkpoints_module._listed

    def vanishing(folder: str, known: Any) -> Any:
        (tmp_path / name(5)).write_bytes(b"")
        files = listed(folder, known)
        (tmp_path / name(5)).unlink()
        return files

    monkeypatch.setattr(checkpoints_module, "_listed", vanishing)
    loaded = read_newest(tmp_path)
    assert step_of(loaded) == 1
    assert "there is no such file" in loaded.notes[0]


def test_a_folder_that_is_removed_or_whose_lock_is(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    with CheckpointFolder(folder) as checkpoints:
        checkpoints.save(document(1), arrays(1))
        (folder / lock_module.NAME).unlink()
        with CheckpointFolder(folder) as second:  # who now writes there
            second.save(document(2), arrays(2))
            for use in (checkpoints.newest, lambda: checkpoints.save({}, {})):
                with pytest.raises(CheckpointError, match=r"lock file was removed or replaced.*open the folder again"):
                    use()
    folder.rename(tmp_path / "moved")
    assert step_of(read_newest(tmp_path / "moved")) == 2
    with CheckpointFolder(tmp_path / "moved") as checkpoints:
        (tmp_path / "moved").rename(folder)
        with pytest.raises(CheckpointError, match="was removed or replaced"):
            checkpoints.save({}, {})
    save(folder, 3)
