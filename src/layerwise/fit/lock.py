"""A lock on a folder: one process writes there at a time. The system gives it back when the process ends, however."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import stat
import sys
import weakref

from layerwise.container.store import shown
from layerwise.errors import CheckpointError

NAME = ".layerwise-lock"
"""The file that is locked. It stays in the folder: were it removed, two processes could hold one lock each."""

_ATTEMPTS = 10
# How file systems without locks refuse one (Lustre mounted without "flock": ENOSYS).
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)

if sys.platform == "win32":
    import msvcrt

    _TAKEN = (errno.EACCES, errno.EDEADLK)
    _FAR = 2**30  # a locked byte cannot be read, and the first ones say who holds the lock

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    _TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK)

    def _lock(descriptor: int) -> None:
        # flock and not lockf: the lock of lockf is lost as soon as the process closes any descriptor of the file,
        # and does not keep the same process from opening the folder twice.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FolderLock:
    """The lock of one folder; from `take` to `release` no other process, and no other lock of this one, has it.

    A folder on a file system without locks is refused. A file that is made only where there is none would do
    without, but outlives the process that is killed, and then keeps the fit from going on.

    Parameters
    ----------
    folder : str
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._path = os.path.join(folder, NAME)
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock without waiting.

        Raises
        ------
        CheckpointError
            Another process has it (the message says which), or the folder cannot be locked or written.
        """
        if self.taken:
            raise self._refusal("it is open already")
        for _ in range(_ATTEMPTS):
            try:
                self._descriptor = _open(self._path)
            except OSError as error:
                raise self._refusal(f"the lock file cannot be opened ({error.strerror})") from error
            _taken.add(self)
            try:
                self._lock_and_sign()
                if self.held():
                    return
            except OSError as error:
                self._close()
                raise self._refusal(f"it cannot be locked ({error.strerror})") from error
            except BaseException:
                self._close()
                raise
            self._close()  # the file was removed or replaced before it was locked
        raise self._refusal("the lock file is replaced again and again")

    def held(self) -> bool:
        """Whether the lock is this one's: taken in this process, and its file not removed or replaced since."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.lstat(self._path))
        except FileNotFoundError:
            return False

    @property
    def taken(self) -> bool:
        """Whether `take` was the last word, in this process."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give the lock back; nothing where it is not taken."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            with contextlib.suppress(OSError):
                # Closing would do, but for copies of the descriptor in processes forked by other means than os.fork.
                _unlock(self._descriptor)
            self._close()

    def forget(self) -> None:
        """In a forked child: the lock is the parent's, and must not outlive it through a copy of the descriptor."""
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        _taken.discard(self)
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _lock_and_sign(self) -> None:
        assert self._descriptor is not None
        try:
            _require_regular(self._descriptor)
            _lock(self._descriptor)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = _holder(self._descriptor)
                raise self._refusal(
                    f"{holder} is writing there; wait until it is done, or name another folder"
                ) from None
            if error.errno in _NO_LOCKS:
                raise self._refusal(
                    f"its file system has no locks ({error.strerror}), which keep two fits from writing to one folder; "
                    "name a folder on another file system, such as a local disk"
                ) from error
            raise
        # Only for the messages of others, so a full disk is no reason to stop.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, f"{os.getpid()} {platform.node()}\n".encode("ascii", "replace"))

    def _refusal(self, cause: str) -> CheckpointError:
        return CheckpointError(f"{shown(self._folder)} cannot be opened for checkpoints: {cause}.")


_taken: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_taken):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT
    # Neither through a link to another place, nor waiting for the other end of a FIFO.
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_NOINHERIT"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o666)


def _require_regular(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EPERM, f"{NAME} is no regular file")


def _holder(descriptor: int) -> str:
    """Who has the lock, in words; what the file says is not trusted further than that."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        signed = re.fullmatch(rb"([0-9]{1,10}) ([\w.-]{0,64})\n", os.read(descriptor, 100))
    except OSError:
        signed = None
    if signed is None:
        return "another process"
    number, machine = signed[1].decode(), signed[2].decode("ascii", "replace")
    if machine != platform.node():
        return f"another process ({number} on {machine})"
    return "this process" if int(number) == os.getpid() else f"another process ({number})"
