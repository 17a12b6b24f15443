"""One JSON document and named arrays in one safetensors file. Knows nothing of networks.

`header` has the layout; here a file is opened, read and checked, or written so that it is never half there.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import stat
from collections.abc import Callable, Mapping
from io import BufferedReader
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from layerwise.container.header import (
    DIGEST_START,
    MAX_HEADER,
    NO_DIGEST,
    Document,
    Layout,
    RefusedError,
    any_of,
    data_bytes,
    parse_header,
    spell_header,
)
from layerwise.container.kinds import Kind
from layerwise.errors import LayerwiseError, nearest
from layerwise.files import NotSyncedError, replace_file
from layerwise.types import Array

_CHUNK = 2**20
_DTYPES = {"F32": "float32", "F64": "float64", "I64": "int64", "U64": "uint64", "U8": "uint8"}
_Read = TypeVar("_Read")
_SPELLED = {name: spelled for spelled, name in _DTYPES.items()}

# Reading ----------------------------------------------------------------------------------------------------------


def read(kind: Kind, path: str | os.PathLike[str]) -> tuple[Document, dict[str, Array]]:
    """Read a file, all of it or nothing.

    Parameters
    ----------
    kind : Kind
        A file of another kind is refused.
    path : str or path-like
        A regular file; a symbolic link to one where the kind follows them.

    Returns
    -------
    document : dict
        As written, with "format" and "layerwise".
    tensors : dict of name → array of one of the kind's dtypes
        In ascending order of the names; every number is finite where the kind asks for that; the arrays are the
        caller's own.

    Raises
    ------
    kind.error
        For a file that is missing, unreadable, damaged, of a newer format, or not of this kind at all. No
        other exception comes from the content of a file.

    Notes
    -----
    Time is linear in the size of the file. The header is checked whole before memory is taken for the numbers,
    and never more than the file has bytes.

    References
    ----------
    The safetensors format, https://github.com/huggingface/safetensors.
    """
    return _opened(kind, path, functools.partial(_read_open, kind))


def peek(kind: Kind, path: str | os.PathLike[str]) -> Document:
    """The document of a file; only the header is read and checked, so `read` may still refuse the file."""
    return _opened(kind, path, lambda file: _read_header(kind, file)[0])


def verify(kind: Kind, path: str | os.PathLike[str]) -> Document:
    """The document of a file that is undamaged; as `read`, without memory for the numbers, which are only hashed."""
    return _opened(kind, path, functools.partial(_verify_open, kind))


def _opened(kind: Kind, path: str | os.PathLike[str], use: Callable[[BufferedReader], _Read]) -> _Read:
    path = _as_path(kind, path)
    try:
        with _open_regular(kind, path) as file:
            return use(file)
    except FileNotFoundError:
        raise _unusable(kind, path, f"there is no such file.{_nearest_file(path)}", end="") from None
    except OSError as error:
        raise _unusable(kind, path, f"it cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise _unusable(kind, path, "it does not fit in memory") from error
    except (RefusedError, ValueError) as error:  # ValueError: a path with a null character
        raise _unusable(kind, path, str(error)) from error


def _as_path(kind: Kind, path: object) -> str:
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError:
        raise kind.error(f"A {kind.name} file is named by text or a path; got {path!r}.") from None


def _unusable(kind: Kind, path: str, cause: str, end: str = ".") -> LayerwiseError:
    return kind.error(f"{shown(path)} is not a usable {kind.name} file: {cause}{end}")


def shown(path: str) -> str:
    """A path as it stands in messages."""
    # A name that is not valid UTF-8 must not break the printing of the message.
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _nearest_file(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or os.curdir) as entries:
            names = [entry.name for entry in itertools.islice(entries, 1000)]
    except OSError:
        return ""
    return nearest(name, names)


def _open_regular(kind: Kind, path: str) -> BufferedReader:
    """Open without waiting: a FIFO would hold an ordinary open for ever."""
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY", "O_NOINHERIT"):  # each missing somewhere
        flags |= getattr(os, name, 0)
    if not kind.follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    # Asked before opening, since opening a device or a FIFO already acts on it; and after, since it may be swapped.
    _require_regular(os.stat(path, follow_symlinks=kind.follow_links))
    descriptor = os.open(path, flags)
    try:
        _require_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"it is {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}")


def _read_header(kind: Kind, file: BufferedReader) -> tuple[Document, str, Layout, bytes]:
    """Document, digest and layout, and the bytes that were read."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, MAX_HEADER):
        raise RefusedError(f"its {size} bytes hold no header (it is cut short, or something else than a {kind.name})")
    header = file.read(length)
    document, digest, layout = parse_header(kind, header)
    expected = 8 + length + data_bytes(layout)
    if size != expected:
        raise RefusedError(f"it has {size} bytes where its header asks for {expected} (cut short or added to)")
    return document, digest, layout, prefix + header


def _read_open(kind: Kind, file: BufferedReader) -> tuple[Document, dict[str, Array]]:
    document, digest, layout, start = _read_header(kind, file)
    hasher = hashlib.sha256(_undigested(start))
    tensors = {name: _read_tensor(file, hasher.update, dtype, shape) for name, (dtype, shape) in layout.items()}
    _require_end(file, hasher.hexdigest() == digest)
    for name, tensor in tensors.items():
        if kind.finite and not np.isfinite(tensor).all():
            raise RefusedError(f"tensor {name!r} holds NaN or infinity")
    return document, tensors


def _verify_open(kind: Kind, file: BufferedReader) -> Document:
    document, digest, layout, start = _read_header(kind, file)
    hasher = hashlib.sha256(_undigested(start))
    remaining = data_bytes(layout)
    while remaining:
        chunk = file.read(min(remaining, _CHUNK))
        if not chunk:
            raise RefusedError("it shrank while it was read")
        hasher.update(chunk)
        remaining -= len(chunk)
    _require_end(file, hasher.hexdigest() == digest)
    return document


def _undigested(start: bytes) -> bytes:
    """What stands before the numbers, as it was when the digest was not yet known."""
    return start[: 8 + DIGEST_START] + NO_DIGEST.encode() + start[8 + DIGEST_START + 64 :]


def _require_end(file: BufferedReader, matches: bool) -> None:
    if file.read(1):
        raise RefusedError("it grew while it was read")
    if not matches:
        raise RefusedError("its content does not match its digest: it is damaged; take a copy that is not")


def _read_tensor(
    file: BufferedReader, update: Callable[[memoryview], object], dtype: str, shape: tuple[int, ...]
) -> Array:
    tensor = np.empty(shape, np.dtype(_DTYPES[dtype]).newbyteorder("<"))
    remaining = tensor.reshape(-1).view(np.uint8).data
    while len(remaining):
        count = file.readinto(remaining[:_CHUNK])
        if not count:
            raise RefusedError("it shrank while it was read")
        update(remaining[:count])
        remaining = remaining[count:]
    return tensor.astype(tensor.dtype.newbyteorder("="), copy=False)


# Writing ----------------------------------------------------------------------------------------------------------


def write(
    kind: Kind, path: str | os.PathLike[str], document: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write a file; on return it is durable, on any error the previous file is untouched.

    Parameters
    ----------
    kind : Kind
    path : str or path-like
        Replaced if it is a regular file. Where it is a symbolic link, the file it points to is replaced, or, if the
        kind does not follow links, nothing is written.
    document : mapping of JSON values
        Lists, dicts with text keys, text, numbers, booleans, None. The keys "format" and "layerwise" are set here.
    tensors : mapping of name → array of one of the kind's dtypes
        Finite where the kind asks for that; any memory layout; not modified.

    Raises
    ------
    kind.error
        For content that `read` would refuse or give back changed, and when the system refuses (no space,
        read-only folder, …).

    Notes
    -----
    Equal content gives equal bytes. The file is written beside the old one, synced, renamed over it, and the
    folder synced. Of two writers at once the last whole file wins.
    """
    path = _as_path(kind, path)
    not_saved = f"The {kind.name} was not saved to {shown(path)}"
    try:
        _write(kind, path, document, tensors)
    except NotSyncedError as error:
        raise kind.error(
            f"The {kind.name} was written to {shown(path)}, but its folder could not be synced ({error.strerror}): it "
            f"may be lost if the machine stops. Save again.{kind.intact}"
        ) from error
    except OSError as error:
        raise kind.error(f"{not_saved}: {error.strerror or error}.{kind.intact}") from error
    except (RefusedError, ValueError) as error:  # ValueError: a path with a null character
        raise kind.error(f"{not_saved}: {error}.{kind.intact}") from error


def _write(kind: Kind, path: str, document: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    for name in tensors:  # before they are sorted, which a number among them would stop
        if not isinstance(name, str) or name == "__metadata__":  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RefusedError(f"a tensor cannot have the name {name!r}")
    arrays = {name: _storable(kind, name, tensors[name]) for name in sorted(tensors)}
    layout: Layout = {name: (_SPELLED[array.dtype.name], array.shape) for name, array in arrays.items()}
    whole = {**document, "format": kind.version, "layerwise": _library_version()}
    try:
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusedError(f"the document is not JSON ({error})") from error
    header = spell_header(kind, text, NO_DIGEST, layout)
    if len(header) > MAX_HEADER:
        raise RefusedError(f"its document and names need {len(header)} bytes; the limit is {MAX_HEADER}")
    # Nothing is written that could not be read: a tuple would come back as a list, a key 1 as "1".
    if parse_header(kind, header)[0] != whole:
        raise RefusedError("the document would come back changed; use dicts with text keys, lists, text, numbers")
    replace_file(
        path,
        lambda beside: _write_content(beside, header, list(arrays.values())),
        follow_links=kind.follow_links,
        beside=kind.beside,
    )


def _storable(kind: Kind, name: str, tensor: npt.NDArray[Any]) -> Array:
    array = np.asarray(tensor)
    if _SPELLED.get(array.dtype.name) not in kind.dtypes:
        expected = any_of(_DTYPES[spelled] for spelled in kind.dtypes)
        raise RefusedError(f"tensor {name!r} has dtype {array.dtype}; expected {expected}")
    if kind.finite and not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise RefusedError(f"tensor {name!r} holds {array[at]} at {list(at)}; only finite numbers are saved")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


@functools.cache
def _library_version() -> str:
    import importlib.metadata  # slow to import, and needed only here

    try:
        return importlib.metadata.version("layerwise")
    except importlib.metadata.PackageNotFoundError:  # run from its sources without installation
        return "unknown"


def _write_content(path: str, header: bytes, arrays: list[Array]) -> None:
    prefix = len(header).to_bytes(8, "little")
    hasher = hashlib.sha256(prefix + header)
    with open(path, "wb") as file:
        file.write(prefix + header)
        for array in arrays:
            numbers = array.reshape(-1).view(np.uint8).data
            for start in range(0, len(numbers), _CHUNK):
                # Copied, then hashed and written: should another thread train on, the digest still fits the file.
                chunk = bytes(numbers[start : start + _CHUNK])
                hasher.update(chunk)
                file.write(chunk)
        file.seek(8 + DIGEST_START)
        file.write(hasher.hexdigest().encode("ascii"))
