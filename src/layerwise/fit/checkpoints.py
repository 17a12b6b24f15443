"""A folder of checkpoints: the state of a fit, saved so that some whole one is there whatever happens.

A checkpoint is a file of its own, written beside, synced and renamed; earlier ones are deleted only after that. Which
one is the newest is said by the numbers inside the files: times lie when a clock is set back or a folder is copied,
and names are a matter of whoever renames a file. So a renamed file counts as what it holds (refusing it would throw
away whole work that its digest vouches for), and a note says so; but only a file whose name and content agree is ever
deleted.
"""

from __future__ import annotations

import contextlib
import operator
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt

from layerwise.container import store
from layerwise.container.kinds import CHECKPOINT
from layerwise.container.store import shown
from layerwise.errors import CheckpointError
from layerwise.files import is_beside, make_folder
from layerwise.fit.lock import FolderLock
from layerwise.types import Array

SUFFIX = ".layerwise-checkpoint"

_DIGITS = 12
_LARGEST = 10**_DIGITS - 1
_NAME = re.compile(rf"checkpoint-([0-9]{{{_DIGITS}}}){re.escape(SUFFIX)}")
# A writer may delete between the listing and the reading. It saves more slowly than a folder is listed, but a
# reader must end even if that is not so.
_LISTINGS = 20
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Loaded:
    """A checkpoint that was read.

    Parameters
    ----------
    document : dict
        As saved, with "number", "format" and "layerwise".
    arrays : dict of str to array
    path : Path
        The file.
    notes : tuple of str
        One sentence for each file that was passed over or does not hold what its name says; newest first.
    """

    document: dict[str, Any]
    arrays: dict[str, Array]
    path: Path
    notes: tuple[str, ...]


class CheckpointFolder:
    """A folder that one process saves checkpoints to; a context manager, which holds the lock of the folder.

    Parameters
    ----------
    folder : str or path-like
        Made, with those above it, where there is none.
    keep : int ≥ 1
        How many whole checkpoints stay in the folder. With 1, a disk that damages the newest leaves none.

    Raises
    ------
    CheckpointError
        On entering: another process (or this one) is writing there, or the folder cannot be made, locked or written.

    Notes
    -----
    Not for several threads at once. The lock is given back by the system when the process ends, also by ``kill -9``;
    a forked child does not have it. Files that are no checkpoint of this folder are never deleted; those that a killed
    writer left half written are, on entering.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 3):
        self.path = _as_folder(folder)
        self.keep = _as_keep(keep)
        self._lock = FolderLock(self.path)
        self._known: dict[str, _File] = {}

    def __enter__(self) -> CheckpointFolder:
        try:
            make_folder(self.path)
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise CheckpointError(f"{shown(self.path)} cannot be opened for checkpoints: {_cause(error)}.") from error
        self._lock.take()
        self._known.clear()
        try:
            _clear_away(self.path)
        except BaseException:  # Ctrl-C, after which nobody would leave what was not entered
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def save(self, document: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Save a checkpoint, newer than all that are there; on return it is durable.

        Parameters
        ----------
        document : mapping of JSON values
            "number" is set here, one more than the highest in the folder; so are "format" and "layerwise".
        arrays : mapping of name → float32, float64, int64, uint64 or uint8 array
            Not modified; NaN and infinity are saved with their bits.

        Raises
        ------
        CheckpointError
            The system refuses (no space, …), or the content is not of this form; the earlier checkpoints are intact.
            The message says so where only the last step failed, by which the file is certain to outlive a power cut.

        Notes
        -----
        An earlier checkpoint that cannot be deleted is no error; the next call tries again.
        """
        self._require_lock()
        try:
            files = _listed(self.path, self._known)
        except OSError as error:
            raise self._not_saved(f"the folder cannot be listed ({error.strerror})") from error
        highest = max(files, key=lambda file: file.bound, default=None)
        number = 1 if highest is None else highest.bound + 1
        if highest is not None and number > _LARGEST:
            raise self._not_saved(f"{shown(highest.path)} has the largest number there is; move it away")
        path = os.path.join(self.path, f"checkpoint-{number:0{_DIGITS}}{SUFFIX}")
        store.write(CHECKPOINT, path, {**document, "number": number}, arrays)
        self._delete_old(files)

    def newest(self) -> Loaded | None:
        """The newest whole checkpoint; None where the folder holds none.

        Raises
        ------
        CheckpointError
            There are checkpoints, and none can be used: going on as if there were none would lose their work.
        """
        self._require_lock()
        return _newest(self.path, self._known)

    def _require_lock(self) -> None:
        if not self._lock.taken:
            raise CheckpointError(
                f"{shown(self.path)} is not open for checkpoints in this process; use `with CheckpointFolder(...)`."
            )
        try:
            held = self._lock.held()
        except OSError as error:
            raise self._not_saved(f"its lock file cannot be looked at ({error.strerror})") from error
        if not held:
            raise self._not_saved(
                "the folder or its lock file was removed or replaced, so another process may be writing there; "
                "open the folder again"
            )

    def _not_saved(self, cause: str) -> CheckpointError:
        return CheckpointError(f"The checkpoint was not saved to {shown(self.path)}: {cause}.{CHECKPOINT.intact}")

    def _delete_old(self, files: Iterable[_File]) -> None:
        """Delete what ``keep`` whole checkpoints are newer than; one has just been saved."""
        whole = 1
        for file in files:
            if not file.is_own:
                continue
            if whole >= self.keep:
                with contextlib.suppress(OSError):
                    os.unlink(file.path)
            elif file.is_whole():
                whole += 1


def read_newest(folder: str | os.PathLike[str]) -> Loaded:
    """The newest whole checkpoint of a folder; another process may be writing there.

    Parameters
    ----------
    folder : str or path-like

    Raises
    ------
    CheckpointError
        There is no folder or no checkpoint, or none can be used; the message says which were found and why each was
        refused.
    """
    path = _as_folder(folder)
    loaded = _newest(path, {})
    if loaded is None:
        raise CheckpointError(f"{shown(path)} holds no checkpoints: none of its files ends in '{SUFFIX}'.")
    return loaded


# Files ------------------------------------------------------------------------------------------------------------


@dataclass
class _File:
    """What is known of a file, without its arrays in memory."""

    path: str
    signature: tuple[int, ...] | None
    """By which a file that was replaced is told from the one that was looked at; None where it has none."""
    named: int
    """The number in its name; 0 for a name that `CheckpointFolder` does not give."""
    number: int
    """The number in its header; 0 where that is refused."""
    whole: bool | None = None

    @property
    def bound(self) -> int:
        """No smaller than the number of the content, unless that is damaged and the file renamed as well."""
        return max(self.named, self.number)

    @property
    def is_own(self) -> bool:
        return self.named == self.number > 0

    def is_whole(self) -> bool:
        """Whether all of it is undamaged; read once."""
        if self.whole is None:
            try:
                self.whole = _number(store.verify(CHECKPOINT, self.path)) == self.number
            except CheckpointError:
                self.whole = False
        return self.whole


def _listed(folder: str, known: dict[str, _File]) -> list[_File]:
    """The checkpoints of a folder, those that may be the newest first; what is ``known`` is not read again."""
    with os.scandir(folder) as entries:
        # Names end up in notes, where escape codes have no place.
        names = [entry.name for entry in entries if entry.name.endswith(SUFFIX) and entry.name.isprintable()]
    files = [_looked_at(os.path.join(folder, name), known) for name in names]
    known.clear()
    known.update((file.path, file) for file in files)
    return sorted(files, key=lambda file: (file.bound, file.named, file.path), reverse=True)


def _looked_at(path: str, known: Mapping[str, _File]) -> _File:
    try:
        status = os.lstat(path)
        signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError:  # reading it will say why
        signature = None
    before = known.get(path)
    if before is not None and signature is not None and before.signature == signature:
        return before
    named = _NAME.fullmatch(os.path.basename(path))
    try:
        number = _number(store.peek(CHECKPOINT, path))
    except CheckpointError as error:
        number = 0
        if isinstance(error.__cause__, OSError):  # the system's fault and not the file's: ask again next time
            signature = None
    return _File(path, signature, int(named[1]) if named else 0, number)


def _number(document: Mapping[str, Any]) -> int:
    """The number in a document; 0 where there is none."""
    number = document.get("number")
    return number if type(number) is int and 0 < number <= _LARGEST else 0


def _newest(folder: str, known: dict[str, _File]) -> Loaded | None:
    loaded: Loaded | None = None
    notes: list[str] = []
    for _ in range(_LISTINGS):
        try:
            files = _listed(folder, known)
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise CheckpointError(f"The checkpoints in {shown(folder)} cannot be listed: {_cause(error)}.") from error
        loaded, notes, vanished = _first_whole(files)
        if not vanished:
            break
    if loaded is None and notes:
        more = f" And {len(notes) - _SHOWN} more." if len(notes) > _SHOWN else ""
        raise CheckpointError(f"No checkpoint in {shown(folder)} can be used. {' '.join(notes[:_SHOWN])}{more}")
    return loaded


def _first_whole(files: Iterable[_File]) -> tuple[Loaded | None, list[str], bool]:
    """The one with the highest number inside, notes, and whether a file of the list is gone."""
    best: tuple[int, dict[str, Any], dict[str, Array], str] | None = None
    notes: list[str] = []
    vanished = False
    for file in files:
        if best is not None and best[0] >= file.bound:
            break
        try:
            document, arrays = store.read(CHECKPOINT, file.path)
        except CheckpointError as error:
            vanished = vanished or not os.path.lexists(file.path)
            notes.append(str(error))
            continue
        number = _number(document)
        if not number:
            notes.append(f"{shown(file.path)} is not a usable checkpoint file: its document has no number.")
            continue
        file.whole = number == file.number
        if number != file.named:
            notes.append(
                f"{shown(file.path)} holds checkpoint {number}, which its name does not say; its content counts."
            )
        if best is None or number > best[0]:
            best = number, document, arrays, file.path
    if best is None:
        return None, notes, vanished
    return Loaded(best[1], best[2], Path(best[3]), tuple(notes)), notes, vanished


def _clear_away(folder: str) -> None:
    """Delete what killed writers of checkpoints left half written; what cannot be deleted does no harm."""
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            left = [
                entry.path
                for entry in entries
                if is_beside(entry.name, CHECKPOINT.beside) and entry.is_file(follow_symlinks=False)
            ]
        for path in left:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _as_keep(keep: Any) -> int:
    try:
        number = 0 if isinstance(keep, bool) else operator.index(keep)
    except TypeError:
        number = 0
    if number < 1:
        raise CheckpointError(f"keep must be a whole number from 1, of checkpoints that stay; got {keep!r}.")
    return number


def _as_folder(folder: object) -> str:
    try:
        path = os.fsdecode(folder)  # type: ignore[arg-type]
    except TypeError:
        path = ""
    if not path:
        raise CheckpointError(f"A folder of checkpoints is named by text or a path; got {folder!r}.")
    try:
        # A fit that changes the working directory must go on saving to the same place.
        return os.path.abspath(path)
    except OSError as error:
        raise CheckpointError(f"{shown(path)} cannot be found: the working directory is gone.") from error


def _cause(error: Exception) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{shown(os.fsdecode(error.filename))} is no folder"
    return (isinstance(error, OSError) and error.strerror) or str(error)
