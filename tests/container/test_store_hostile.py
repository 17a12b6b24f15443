"""Files that are damaged or made to do harm: each is refused by the error of its kind."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from layerwise.container.kinds import CHECKPOINT, KINDS, MODEL, Kind
from layerwise.container.store import peek, read, write
from layerwise.errors import CheckpointError

TENSORS = {"W1": np.arange(6, dtype=np.float64).reshape(2, 3), "b1": np.ones(3, np.float32), "z": np.zeros((0, 2))}
START = b'{"__metadata__":{"sha256":"'


class Raw(str):
    """Text that goes into the JSON as it is: numbers that Python would spell otherwise, NaN, doubled keys."""


def spell(value: Any) -> str:
    """JSON of a value in which an object is a list of pairs, so that keys may stand twice."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(k)}:{spell(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spell, value)) + "]"
    return json.dumps(value)


class Pairs(list[tuple[str, Any]]):
    """A JSON object as a list of pairs."""

    def set(self, key: str, value: Any) -> None:
        self[:] = [(k, value if k == key else v) for k, v in self]

    def get(self, key: str) -> Any:
        return dict(self)[key]


def pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs((k, pairs(v)) for k, v in value.items())
    return [pairs(v) for v in value] if isinstance(value, list) else value


def seal(header: bytes, data: bytes, *, pad: bool = True, length: int | None = None) -> bytes:
    """A file with the right digest for whatever its content is, as someone who means harm would make it."""
    if pad:
        header += b" " * (-len(header) % 8)
    file = (len(header) if length is None else length).to_bytes(8, "little") + header + data
    if file[8 : 8 + len(START)] != START:
        return file
    digest = hashlib.sha256(file[:35] + b"0" * 64 + file[99:]).hexdigest().encode()
    return file[:35] + digest + file[99:]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, kind: Kind) -> bytes:
    path = tmp_path_factory.mktemp("good") / "m"
    write(kind, path, {"k": [1, {"x": 0.5}]}, TENSORS)
    return path.read_bytes()


def parts(file: bytes) -> tuple[Pairs, Pairs, bytes]:
    """Header, document and numbers of a file."""
    length = int.from_bytes(file[:8], "little")
    header = pairs(json.loads(file[8 : 8 + length]))
    return header, pairs(json.loads(header.get("__metadata__")[1][1])), file[8 + length :]


def forge(header: Pairs, document: Any, data: bytes) -> bytes:
    metadata = header[0][1]
    if isinstance(metadata, Pairs):
        for key in (kind.key for kind in KINDS):
            metadata.set(key, document if isinstance(document, str) else spell(document))
    return seal(spell(header).encode(), data)


def refused(kind: Kind, path: Path, content: bytes, message: str = "not a usable") -> None:
    path.write_bytes(content)
    with pytest.raises(kind.error, match=message) as caught:
        read(kind, path)
    assert str(caught.value).startswith(f"{path} is not a usable {kind.name} file: ")
    assert len(str(caught.value)) < len(str(path)) + 500


def test_forging_an_unchanged_file_gives_the_same_bytes(good: bytes) -> None:
    assert forge(*parts(good)) == good


def test_every_flipped_byte_is_refused(tmp_path: Path, kind: Kind, good: bytes) -> None:
    for at in range(len(good)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            refused(kind, tmp_path / "m", good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])


def test_every_truncation_and_addition_is_refused(tmp_path: Path, kind: Kind, good: bytes) -> None:
    for size in range(len(good)):
        refused(kind, tmp_path / "m", good[:size])
    for added in (b"\0", b" ", b"\n", b"PK\x05\x06" + bytes(18), good):
        refused(kind, tmp_path / "m", good + added, "where its header asks for")
        refused(kind, tmp_path / "m", added + good)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"\0" * 8, b"\0" * 4096, b"\xff" * 4096, b"\x80\x04N.", b"PK\x03\x04" + bytes(50), b"a,b\n1,2\n" * 99],
)
def test_other_files_are_refused(tmp_path: Path, kind: Kind, content: bytes) -> None:
    refused(kind, tmp_path / "m", content)


def test_other_safetensors_files_are_refused(tmp_path: Path, kind: Kind) -> None:
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "m")
    refused(kind, tmp_path / "m", (tmp_path / "m").read_bytes(), "__metadata__")


def test_newer_format_names_both_versions_before_anything_else(tmp_path: Path, kind: Kind, good: bytes) -> None:
    header, document, data = parts(good)
    document.set("format", 2)
    document.set("layerwise", "9.1")
    document.append(("new", "thing"))
    header.append(("t", Pairs([("dtype", "F8"), ("shape", [2]), ("codec", 1)])))
    refused(kind, tmp_path / "m", forge(header, document, data), "has format 2, .* '9.1', .* up to format 1; upgrade")


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", None, [], Raw("1e0")])
def test_formats_that_are_none(tmp_path: Path, kind: Kind, good: bytes, version: Any) -> None:
    header, document, data = parts(good)
    document.set("format", version)
    refused(kind, tmp_path / "m", forge(header, document, data), "expected a whole number from 1")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_numbers_that_are_not_finite(tmp_path: Path, value: float, dtype: str) -> None:
    write(MODEL, tmp_path / "m", {}, {"W": np.zeros(3, dtype)})
    header, document, data = parts((tmp_path / "m").read_bytes())
    data = data[: -np.dtype(dtype).itemsize] + np.array([value], dtype).tobytes()
    refused(MODEL, tmp_path / "m", forge(header, document, data), "'W' holds NaN or infinity")


@pytest.mark.parametrize("dtype", ["I64", "U64", "U8"])
def test_dtypes_of_the_other_kind(tmp_path: Path, dtype: str) -> None:
    write(MODEL, tmp_path / "m", {}, {"W": np.zeros(8 if dtype == "U8" else 1)})
    header, document, data = parts((tmp_path / "m").read_bytes())
    header.get("W").set("dtype", dtype)
    header.get("W").set("data_offsets", [0, len(data[:8])])
    refused(MODEL, tmp_path / "m", forge(header, document, data[:8]), f"dtype '{dtype}'; expected 'F32' or 'F64'")


def test_one_kind_is_not_taken_for_the_other(tmp_path: Path, good: bytes, kind: Kind) -> None:
    """Not even with a newer format: what it is comes before anything else."""
    (other,) = (k for k in KINDS if k is not kind)
    header, document, data = parts(good)
    document.set("format", 99)
    for content in (good, forge(header, document, data)):
        refused(other, tmp_path / "m", content, f"it is a {kind.name}, not a {other.name}; {kind.use}")
    both = Pairs([*header[0][1], (other.key, "{}")])
    header[0] = ("__metadata__", both)
    for reader in KINDS:
        refused(reader, tmp_path / "m", seal(spell(header).encode(), data), "it is a ")


def test_a_peek_sees_the_document_and_refuses_what_is_no_file(tmp_path: Path, good: bytes, kind: Kind) -> None:
    path = tmp_path / "m"
    path.write_bytes(good)
    assert peek(kind, path) == read(kind, path)[0]
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert peek(kind, path)["k"] == [1, {"x": 0.5}]  # the numbers are not looked at
    refused(kind, path, path.read_bytes(), "digest")
    for content in (good[:-1], good + b"\0", good[:50], b""):
        path.write_bytes(content)
        with pytest.raises(kind.error, match="is not a usable"):
            peek(kind, path)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX links")
def test_checkpoints_follow_no_links(tmp_path: Path) -> None:
    write(CHECKPOINT, tmp_path / "real", {}, {})
    (tmp_path / "link").symlink_to("real")
    before = (tmp_path / "real").read_bytes()
    for use in (read, peek, lambda kind, path: write(kind, path, {"k": 1}, {})):
        with pytest.raises(CheckpointError, match="no regular file"):
            use(CHECKPOINT, tmp_path / "link")
    assert (tmp_path / "real").read_bytes() == before
    assert (tmp_path / "link").is_symlink()


NUMBERS = [
    -1,
    0,
    1,
    8,
    2**31,
    2**32,
    2**53 + 1,
    2**61,
    2**62 + 1,
    2**63 - 1,
    2**63,
    2**64 - 8,
    2**64,
    2**64 + 48,
    10**40,
]
STRANGE = [
    *(Raw(text) for text in ("1.0", "1e2", "-0", "1e999", "NaN", "Infinity", "-Infinity", "9" * 900, "9" * 9000, "01")),
    *(None, True, False, "8", "", [], [0], Pairs(), "\ud800", "é", [[[]]], Raw("[" * 5000 + "]" * 5000), Raw("[[")),
]
DTYPES = ["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "f64", "F128", "C64", ""]
NAMES = ["W1", "b1", "__metadata__", "", "../../etc/passwd", "/etc/passwd", "W1\0", "a" * 5000, "\ud800", "\u202e", "Z"]


def mutate(rng: random.Random, header: Pairs, document: Pairs, data: bytes) -> tuple[Pairs, Any, bytes]:
    """One change of the kinds that the readers of such files got wrong."""
    at = rng.randrange(1, len(header))
    entry = header[at][1]
    other = header[rng.randrange(1, len(header))][1]

    def number() -> Any:
        return rng.choice(NUMBERS + STRANGE)

    kind = rng.randrange(16)
    if not isinstance(entry, Pairs) or not isinstance(other, Pairs) or not isinstance(header[0][1], Pairs):
        return header, document, data
    if kind == 0:
        entry.set("data_offsets", [number(), number()])
    elif kind == 1:
        offsets = list(entry.get("data_offsets"))
        offsets[rng.randrange(len(offsets) or 1) : 1] = [number()]
        entry.set("data_offsets", rng.choice([offsets, offsets[::-1], offsets[:1], offsets * 2]))
    elif kind == 2:
        entry.set("data_offsets", other.get("data_offsets"))
    elif kind == 3:
        entry.set("dtype", rng.choice([*DTYPES, number()]))
    elif kind == 4:
        entry.set("shape", [number() for _ in range(rng.randrange(5))])
    elif kind == 5:
        entry.set(
            "shape", rng.choice([[2**32, 2**32], [2**61, 8], [0, 2**70], [1] * 40, [0] * 33, [2**32] * 30, number()])
        )
    elif kind == 6:
        entry.set(rng.choice(["dtype", "shape", "data_offsets"]), number())
    elif kind == 7:
        rng.choice([entry, header, header[0][1]]).append((rng.choice([*NAMES, "dtype", "sha256"]), number()))
    elif kind == 8:
        part = rng.choice([entry, header[0][1], header])
        del part[rng.randrange(1 if part is header else 0, len(part))]
    elif kind == 9:
        part = rng.choice([entry, header, document])
        part.insert(rng.randrange(1, len(part) + 1), rng.choice(part))
    elif kind == 10:
        header[at] = (rng.choice(NAMES), entry)
    elif kind == 11:
        tail = header[1:]
        rng.shuffle(tail)
        header[1:] = tail
    elif kind == 12:
        data = rng.choice([data[:-8], data + bytes(8), b"", data * 2])
    elif kind == 13:
        part = rng.choice([document, document.get("k")[1]])
        part.append((rng.choice(["format", "layerwise", "k", "new"]), number()))
    elif kind == 14:
        text = spell(document)
        return (
            header,
            rng.choice([text[:-1], text + " ", text + "1", "[]", "", text * 2, f"[{text}]", "\ufeff" + text]),
            data,
        )
    else:
        rng.shuffle(entry)
    return header, document, data


def test_structured_mutations_with_a_right_digest(tmp_path: Path, kind: Kind, good: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(good)
    original, arrays = read(kind, path)
    rng = random.Random(0)
    accepted = 0
    for _ in range(3000):
        header, document, data = parts(good)
        for _ in range(rng.choice([1, 1, 2])):
            if isinstance(document, Pairs) and len(header) > 1:
                try:
                    header, document, data = mutate(rng, header, document, data)
                except (KeyError, IndexError, AttributeError, TypeError, ValueError):
                    break  # the second change met what the first one left
        content = forge(header, document, data)
        path.write_bytes(content)
        try:
            got, tensors = read(kind, path)
        except kind.error:
            continue
        accepted += 1
        # What is taken is what it seems: the other reader sees the same, and it is the old content or openly new.
        assert safetensors.numpy.load_file(path).keys() == tensors.keys()
        for name, value in safetensors.numpy.load_file(path).items():
            assert value.tobytes() == tensors[name].tobytes()
        if set(tensors) == set(arrays) and isinstance(document, Pairs) and document == parts(good)[1]:
            assert got == original
    assert 20 < accepted < 1500  # unchanged files, changes within the document, dropped empty tensors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "not a JSON object"),
        (b'{"__metadata__":{}}', "__metadata__"),
        (b'{"a":1,"a":2}', "stands twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":' + b"9" * 2000 + b"}", "2000 digits"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"\xc3\xa9":1}', "not ASCII"),
        (b"{", "not valid JSON"),
        (b'"', "not valid JSON"),
    ],
)
def test_headers_that_are_not_one(tmp_path: Path, kind: Kind, text: bytes, message: str) -> None:
    refused(kind, tmp_path / "m", seal(text, b""), message)


def test_other_spellings_of_the_same_content_are_refused(tmp_path: Path, kind: Kind, good: bytes) -> None:
    header, _, data = parts(good)
    text = spell(header).encode()
    for other in (
        text.replace(b'"b1"', b'"b\\u0031"'),
        text.replace(b'"shape":', b'"shape": '),
        text + b" " * 8,
        text.rstrip(b" ") + b"\n",
    ):
        refused(kind, tmp_path / "m", seal(other, data))
    for spaces in (-len(text) % 8 + 1, -len(text) % 8 + 8):
        refused(kind, tmp_path / "m", seal(text + b" " * spaces, data, pad=False))
