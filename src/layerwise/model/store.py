"""The model file: one JSON document and named arrays in one safetensors file. Knows nothing of networks.

Floor 6. `header` has the layout; here a file is opened, read and checked, or written so that it is never half there.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
from collections.abc import Callable, Mapping
from io import BufferedReader
from typing import Any

import numpy as np
import numpy.typing as npt

from layerwise.errors import ModelFileError, nearest
from layerwise.files import NotSyncedError, replace_file
from layerwise.model.header import (
    DIGEST_START,
    FORMAT_VERSION,
    ITEM_BYTES,
    MAX_HEADER,
    NO_DIGEST,
    Document,
    Layout,
    RefusedError,
    data_bytes,
    parse_header,
    spell_header,
)
from layerwise.types import Array

__all__ = ["FORMAT_VERSION", "read", "write"]

_CHUNK = 2**20

# Reading ----------------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> tuple[Document, dict[str, Array]]:
    """Read a model file, all of it or nothing.

    Parameters
    ----------
    path : str or path-like
        A regular file, or a symbolic link to one.

    Returns
    -------
    document : dict
        As written, with "format" and "layerwise".
    tensors : dict of name → float32 or float64 array
        In ascending order of the names; every number is finite; the arrays are the caller's own.

    Raises
    ------
    ModelFileError
        For a file that is missing, unreadable, damaged, of a newer format, or not a model file at all. No
        other exception comes from the content of a file.

    Notes
    -----
    Time is linear in the size of the file. The header is checked whole before memory is taken for the numbers,
    and never more than the file has bytes.

    References
    ----------
    The safetensors format, https://github.com/huggingface/safetensors.
    """
    path = _as_path(path)
    try:
        with _open_regular(path) as file:
            return _read_open(file)
    except FileNotFoundError:
        cause = f"there is no such file.{_nearest_file(path)}"
        raise ModelFileError(f"{_shown(path)} is not a usable model file: {cause}") from None
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise _unusable(path, "it does not fit in memory") from error
    except (RefusedError, ValueError) as error:  # ValueError: a path with a null character
        raise _unusable(path, str(error)) from error


def _as_path(path: object) -> str:
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError:
        raise ModelFileError(f"A model file is named by text or a path; got {path!r}.") from None


def _unusable(path: str, cause: str) -> ModelFileError:
    return ModelFileError(f"{_shown(path)} is not a usable model file: {cause}.")


def _shown(path: str) -> str:
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


def _open_regular(path: str) -> BufferedReader:
    """Open without waiting: a FIFO would hold an ordinary open for ever."""
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY", "O_NOINHERIT"):  # each missing somewhere
        flags |= getattr(os, name, 0)
    # Asked before opening, since opening a device or a FIFO already acts on it; and after, since it may be swapped.
    _require_regular(os.stat(path))
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


def _read_open(file: BufferedReader) -> tuple[Document, dict[str, Array]]:
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, MAX_HEADER):
        raise RefusedError(f"its {size} bytes hold no header (it is cut short, or something else than a model)")
    header = file.read(length)
    document, digest, layout = parse_header(header)
    expected = 8 + length + data_bytes(layout)
    if size != expected:
        raise RefusedError(f"it has {size} bytes where its header asks for {expected} (cut short or added to)")

    hasher = hashlib.sha256(prefix + header[:DIGEST_START] + NO_DIGEST.encode() + header[DIGEST_START + 64 :])
    tensors = {name: _read_tensor(file, hasher.update, dtype, shape) for name, (dtype, shape) in layout.items()}
    if file.read(1):
        raise RefusedError("it grew while it was read")
    if hasher.hexdigest() != digest:
        raise RefusedError("its content does not match its digest: it is damaged; take a copy that is not")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise RefusedError(f"tensor {name!r} holds NaN or infinity")
    return document, tensors


def _read_tensor(
    file: BufferedReader, update: Callable[[memoryview], object], dtype: str, shape: tuple[int, ...]
) -> Array:
    tensor = np.empty(shape, f"<f{ITEM_BYTES[dtype]}")
    remaining = tensor.reshape(-1).view(np.uint8).data
    while len(remaining):
        count = file.readinto(remaining[:_CHUNK])
        if not count:
            raise RefusedError("it shrank while it was read")
        update(remaining[:count])
        remaining = remaining[count:]
    return tensor.astype(tensor.dtype.newbyteorder("="), copy=False)


# Writing ----------------------------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], document: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a model file; on return it is durable, on any error the previous file is untouched.

    Parameters
    ----------
    path : str or path-like
        Replaced if it is a regular file; where it is a symbolic link, the file it points to is replaced.
    document : mapping of JSON values
        Lists, dicts with text keys, text, numbers, booleans, None. The keys "format" and "layerwise" are set here.
    tensors : mapping of name → float32 or float64 array
        Finite; any memory layout; not modified.

    Raises
    ------
    ModelFileError
        For content that `read` would refuse or give back changed, and when the system refuses (no space,
        read-only folder, …).

    Notes
    -----
    Equal content gives equal bytes. The file is written beside the old one, synced, renamed over it, and the
    folder synced. Of two writers at once the last whole file wins.
    """
    path = _as_path(path)
    try:
        _write(path, document, tensors)
    except NotSyncedError as error:
        raise ModelFileError(
            f"The model was written to {_shown(path)}, but its folder could not be synced ({error.strerror}): it may "
            "be lost if the machine stops. Save again."
        ) from error
    except OSError as error:
        raise ModelFileError(f"The model was not saved to {_shown(path)}: {error.strerror or error}.") from error
    except (RefusedError, ValueError) as error:  # ValueError: a path with a null character
        raise ModelFileError(f"The model was not saved to {_shown(path)}: {error}.") from error


def _write(path: str, document: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    arrays = {name: _storable(name, tensors[name]) for name in sorted(tensors)}
    layout: Layout = {name: (f"F{8 * array.itemsize}", array.shape) for name, array in arrays.items()}
    whole = {**document, "format": FORMAT_VERSION, "layerwise": _library_version()}
    try:
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RefusedError(f"the document is not JSON ({error})") from error
    header = spell_header(text, NO_DIGEST, layout)
    if len(header) > MAX_HEADER:
        raise RefusedError(f"its document and names need {len(header)} bytes; the limit is {MAX_HEADER}")
    # Nothing is written that could not be read: a tuple would come back as a list, a key 1 as "1".
    if parse_header(header)[0] != whole:
        raise RefusedError("the document would come back changed; use dicts with text keys, lists, text, numbers")
    replace_file(path, lambda beside: _write_content(beside, header, list(arrays.values())))


def _storable(name: object, tensor: npt.NDArray[Any]) -> Array:
    array = np.asarray(tensor)
    if not isinstance(name, str) or name == "__metadata__":
        raise RefusedError(f"a tensor cannot have the name {name!r}")
    if array.dtype.kind != "f" or array.itemsize not in ITEM_BYTES.values():
        raise RefusedError(f"tensor {name!r} has dtype {array.dtype}; expected float32 or float64")
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise RefusedError(f"tensor {name!r} holds {array[at]} at {list(at)}; only finite numbers are saved")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


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
