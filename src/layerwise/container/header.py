"""The header of a file: its layout, its one spelling, and the strict reader of both.

Knows nothing of networks and opens no file (`store` does); `kinds` says what differs between models and checkpoints.

Layout
------
::

    8 bytes        length H of the header, unsigned, little-endian; a multiple of 8, at most 16 MiB
    H bytes        header: one JSON object in ASCII, without white space, padded at its end with spaces
    the rest       the numbers of the tensors, in the order of their names, little-endian, C order, without gaps

    {"__metadata__":{"sha256":"<64 digits>","<key of the kind>":"<document>"},
     "<name>":{"dtype":"F32"|"F64"|…,"shape":[…],"data_offsets":[begin,end]}, …}

The header's spelling is fixed: its keys in the order above, names in ascending order of code points, JSON as
``json.dumps(…, separators=(",", ":"))`` writes it. One content has one spelling, and the 64 digits stand at bytes
35 to 98 of every file (the first byte is byte 0). `sha256` is the SHA-256, in lower-case hexadecimal digits, of all
bytes of the file with those 64 replaced by the digit 0. It finds damage; it does not tell who wrote the file.

The document is a JSON object as text. Its key "format" is the version of the kind's format and is looked at before any
other key; "layerwise" is the version of the library that wrote the file. All other keys are the caller's.

Nothing in a file is executed, imported or used as a path. A reader allocates no more than the size of the file and a
bounded multiple of the header (17 times, measured on the worst kind of document).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn, TypeAlias, cast

from layerwise.container.kinds import KINDS, Kind

MAX_HEADER = 16 * 2**20
_MAX_TENSORS = 10_000
_MAX_DIMENSIONS = 32
_MAX_BYTES = 2**62  # of one tensor, also with its sizes of 0 left out; no file is as large
_MAX_DEPTH = 64
# An empty list takes 2 bytes of text and 64 of memory: without a limit, 16 MiB become half a gigabyte.
_MAX_CONTAINERS = 500_000
_MAX_DIGITS = 1000

NO_DIGEST = "0" * 64
DIGEST_START = len(b'{"__metadata__":{"sha256":"')  # in the header; 8 more in the file
ITEM_BYTES = {"F32": 4, "F64": 8, "I64": 8, "U64": 8, "U8": 1}
# Possessive (*+): a string of 16 MiB would otherwise cost a stack of as many places to go back to.
_STRINGS_AND_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)

Document: TypeAlias = dict[str, Any]
Layout: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]
"""Name → dtype as the file spells it, shape."""


class RefusedError(Exception):
    """Why a file or a content is refused; `store` adds the path and raises the error of the kind."""


def spell_header(kind: Kind, document_text: str, digest: str, layout: Layout) -> bytes:
    """The only header with this content; names and offsets follow from the layout."""
    entries: dict[str, Any] = {"__metadata__": {"sha256": digest, kind.key: document_text}}
    begin = 0
    for name, (dtype, shape) in sorted(layout.items()):
        end = begin + math.prod(shape) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    return text + b" " * (-len(text) % 8)


def parse_header(kind: Kind, header: bytes) -> tuple[Document, str, Layout]:
    """Document, digest and layout of a header; `RefusedError` unless every byte is as it would be written."""
    if not header.isascii():
        raise RefusedError("its header is not ASCII text")
    entries = _parse_json(header.decode("ascii"), "header")
    metadata = entries.pop("__metadata__", None)
    _refuse_other_kinds(kind, metadata)
    metadata = _exact_keys(metadata, ("sha256", kind.key), "'__metadata__' in its header")
    digest, text = metadata["sha256"], metadata[kind.key]
    if not isinstance(text, str) or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise RefusedError("the digest or the document in its header is not text of the right form")
    # Before the tensors: a newer format may lay them out otherwise.
    document = _parse_document(kind, text)
    if len(entries) > _MAX_TENSORS:
        raise RefusedError(f"it declares {len(entries)} tensors; the limit is {_MAX_TENSORS}")
    layout: Layout = {}
    begin = 0
    for name, entry in entries.items():
        layout[name] = _parse_entry(kind, name, entry, begin)
        begin += math.prod(layout[name][1]) * ITEM_BYTES[layout[name][0]]
    if spell_header(kind, text, digest, layout) != header:
        raise RefusedError("its header is not spelled as this format asks (order of names, white space, escapes)")
    return document, digest, layout


def _refuse_other_kinds(kind: Kind, metadata: object) -> None:
    """Before anything that would only say that the file is odd."""
    for other in KINDS:
        if other.key != kind.key and isinstance(metadata, dict) and other.key in metadata:
            raise RefusedError(f"it is a {other.name}, not a {kind.name}; {other.use}")


def _parse_entry(kind: Kind, name: str, entry: object, begin: int) -> tuple[str, tuple[int, ...]]:
    what = f"tensor {name!r}"
    if not name.isprintable():  # nor a lone surrogate, which no other reader takes
        raise RefusedError(f"{what} has a name with characters that cannot be printed")
    fields = _exact_keys(entry, ("dtype", "shape", "data_offsets"), what)
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in kind.dtypes:
        raise RefusedError(f"{what} has dtype {_short(dtype)}; expected {any_of(map(repr, kind.dtypes))}")
    sizes = _natural_numbers(shape)
    if sizes is None or len(sizes) > _MAX_DIMENSIONS:
        raise RefusedError(f"{what} has shape {_short(shape)}; expected at most {_MAX_DIMENSIONS} sizes of 0 or more")
    # Also without the zeros: NumPy refuses (0, 2**63), since the other sizes alone overflow.
    if math.prod(size for size in sizes if size) * ITEM_BYTES[dtype] > _MAX_BYTES:
        raise RefusedError(f"{what} has shape {_short(shape)}, more than any file can hold")
    expected = [begin, begin + math.prod(sizes) * ITEM_BYTES[dtype]]
    if _natural_numbers(offsets) != tuple(expected):
        raise RefusedError(f"{what} has data_offsets {_short(offsets)} where its shape and place ask for {expected}")
    return dtype, sizes


def _natural_numbers(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    items = cast("list[object]", value)
    # Each bounded, so that no product of a few of them grows without limit; True is an int and is refused.
    numbers = tuple(item for item in items if type(item) is int and 0 <= item <= _MAX_BYTES)
    return numbers if len(numbers) == len(items) else None


def data_bytes(layout: Layout) -> int:
    return sum(math.prod(shape) * ITEM_BYTES[dtype] for dtype, shape in layout.values())


def _exact_keys(value: object, keys: tuple[str, ...], what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise RefusedError(f"{what} is missing or no JSON object")
    fields = cast("dict[str, object]", value)
    if set(fields) != set(keys):
        raise RefusedError(f"{what} has the keys {_short(sorted(fields))}; expected {sorted(keys)}")
    return fields


def any_of(words: Iterable[str]) -> str:
    """``float32, float64 or uint8``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _short(value: object) -> str:
    """How a value from a file appears in a message: never long."""
    if isinstance(value, (list, dict)) and len(cast("list[object]", value)) > 40:
        return "a long list"
    text = repr(cast("object", value))
    return text if len(text) <= 80 else text[:77] + "..."


# JSON and the document -----------------------------------------------------------------------------------------------


def _parse_document(kind: Kind, text: str) -> Document:
    document = _parse_json(text, "document")
    version = document.get("format")
    if type(version) is not int or version < 1:
        raise RefusedError(f"its format is {_short(version)}; expected a whole number from 1")
    if version > kind.version:
        raise RefusedError(
            f"it has format {_short(version)}, written by layerwise {_short(document.get('layerwise'))}, and this "
            f"version of layerwise reads up to format {kind.version}; upgrade layerwise to read it"
        )
    if not isinstance(document.get("layerwise"), str):
        raise RefusedError("its document does not name the version of layerwise that wrote it")
    return document


def _parse_json(text: str, what: str) -> Document:
    """Strict JSON: an object, no key twice, no NaN or infinity, bounded depth and number of containers."""
    depth = containers = 0
    for match in _STRINGS_AND_BRACKETS.finditer(text):
        character = text[match.start()]
        if character in "[{":
            depth += 1
            containers += 1
            if depth > _MAX_DEPTH or containers > _MAX_CONTAINERS:
                raise RefusedError(f"its {what} is nested too deeply or has too many parts")
        elif character in "]}":
            depth -= 1
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object_without_doubles,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"its {what} is not valid JSON ({_short(str(error))})") from error
    if not isinstance(value, dict):
        raise RefusedError(f"its {what} is not a JSON object")
    return cast("Document", value)


def _object_without_doubles(pairs: list[tuple[str, Any]]) -> Document:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a float64")
    return value


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:  # int() takes quadratic time
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)
