"""Writing a file so that it is never half there: beside its place, synced, renamed, the folder synced.

A folder that is made lasts as well: the one that holds it is synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator

SUFFIX = ".layerwise-tmp"
"""Ending of the file beside, for a reader who finds one after a power cut."""


_RANDOM_BYTES = 8


class NotSyncedError(OSError):
    """The file has its new content, but the system did not confirm that its folder is on the disk."""


def replace_file(
    path: str | os.PathLike[str], write: Callable[[str], None], *, follow_links: bool = True, beside: str = ""
) -> None:
    """Give ``path`` new content: at every moment the whole old or the whole new file is there.

    Parameters
    ----------
    path : str or path-like
        Where it is a symbolic link, the file it points to is replaced; its permissions are kept.
    write : callable(path of an empty file)
        Writes the content.
    follow_links : bool
        False refuses a symbolic link; one that is put there meanwhile is replaced, never followed.
    beside : str
        Begins the name of the file beside, for `is_beside`.

    Raises
    ------
    OSError
        The system refuses, or ``path`` is a folder, a device or a FIFO; the old file is as it was.
    NotSyncedError
        Only the last step failed: the new file is there, and may be lost if the machine stops.
    """
    path = os.fsdecode(path)
    target = os.path.realpath(path) if follow_links and os.path.islink(path) else path
    try:
        replaced = os.lstat(target)
    except FileNotFoundError:
        replaced = None
    if replaced is not None and not stat.S_ISREG(replaced.st_mode):
        what = "it is a folder" if stat.S_ISDIR(replaced.st_mode) else "it is no regular file"
        raise OSError(errno.EINVAL, what)
    folder = os.path.dirname(target) or os.curdir
    # A short name of its own: the target's name may already be as long as names can be.
    temporary = os.path.join(folder, f".{beside}{secrets.token_hex(_RANDOM_BYTES)}{SUFFIX}")
    with _opened_folder(folder) as descriptor:
        try:
            _make(temporary, replaced)
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(descriptor)


def is_beside(name: str, beside: str) -> bool:
    """Whether `replace_file` gives such names to the files that it writes with this ``beside``."""
    return re.fullmatch(rf"\.{re.escape(beside)}[0-9a-f]{{{2 * _RANDOM_BYTES}}}{re.escape(SUFFIX)}", name) is not None


def make_folder(path: str) -> None:
    """Make a folder and those above it that are missing; on return they are durable.

    Raises
    ------
    OSError
        The system refuses, or something else than a folder stands there.
    """
    missing: list[str] = []
    place = os.path.abspath(path)
    while not _is_folder(place):
        missing.append(place)
        place = os.path.dirname(place)
    for place in reversed(missing):
        _make_folder(place)


def _is_folder(path: str) -> bool:
    """Whether it is a folder; False where nothing is, an error where something else is or the system does not say."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return True


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        if not _is_folder(path):  # another process may have made it meanwhile
            raise
        return
    try:
        with _opened_folder(os.path.dirname(path)) as descriptor:
            _sync_folder(descriptor)
    except OSError:
        # The next call would take it for one that lasts.
        with contextlib.suppress(OSError):
            os.rmdir(path)
        raise


def _make(path: str, replaced: os.stat_result | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY", "O_NOINHERIT"):  # each missing somewhere
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        if replaced is not None and hasattr(os, "fchmod"):
            os.fchmod(descriptor, stat.S_IMODE(replaced.st_mode))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened_folder(folder: str) -> Generator[int | None, None, None]:
    """A descriptor to sync the folder with; opened before anything is written. Windows has none."""
    if os.name == "nt":
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(descriptor: int | None) -> None:
    if descriptor is None:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without this operation
            raise NotSyncedError(error.errno, error.strerror) from error
