"""Files of models and of checkpoints: what is written comes back, in one spelling, wherever it is put."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.container import store
from layerwise.container.kinds import CHECKPOINT, KINDS, MODEL, Kind
from layerwise.errors import CheckpointError, ModelFileError

read, write = partial(store.read, MODEL), partial(store.write, MODEL)

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")

DOCUMENT = {"schema": [{"name": "längd", "values": ["a", "b\n", '"']}], "rate": 0.1, "n": None, "on": True, "k": -7}


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "W1": rng.normal(size=(3, 5)),
        "b1": rng.normal(size=5).astype(np.float32),
        "W10": np.asfortranarray(rng.normal(size=(5, 2)).astype(np.float32)),
        "empty": np.zeros((0, 4)),
        "scalar": np.array(-0.0),
        "β": rng.normal(size=7).astype(">f8")[::2],
        "tiny": np.array([5e-324, np.finfo(np.float64).max]),
    }


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == sorted(expected)
    for name, value in expected.items():
        assert got[name].shape == value.shape
        assert got[name].dtype == value.dtype.newbyteorder("=")
        assert got[name].tobytes() == value.astype(value.dtype.newbyteorder("=")).tobytes()
        assert got[name].flags.writeable


def only(folder: Path, *names: str) -> bool:
    return sorted(p.name for p in folder.iterdir()) == sorted(names)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "m.layerwise"
    write(path, DOCUMENT, tensors())
    document, arrays = read(path)
    assert document.pop("format") == MODEL.version == 1
    assert isinstance(document.pop("layerwise"), str)
    assert document == DOCUMENT
    assert_same(arrays, tensors())
    assert only(tmp_path, "m.layerwise")


def test_no_document_and_no_tensors(tmp_path: Path) -> None:
    write(str(tmp_path / "m"), {}, {})
    document, arrays = read(str(tmp_path / "m"))
    assert set(document) == {"format", "layerwise"}
    assert arrays == {}


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", DOCUMENT, tensors())
    shuffled = {name: value.copy(order="F") for name, value in reversed(tensors().items())}
    write(tmp_path / "b", dict(reversed(DOCUMENT.items())), shuffled)
    write(tmp_path / "c", *read(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_the_safetensors_package_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write(path, DOCUMENT, tensors())
    assert_same(dict(sorted(safetensors.numpy.load_file(path).items())), tensors())
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert set(metadata) == {"sha256", "layerwise"}
    assert json.loads(metadata["layerwise"])["schema"] == DOCUMENT["schema"]


def test_digest_is_the_documented_one(tmp_path: Path) -> None:
    write(tmp_path / "m", DOCUMENT, tensors())
    data = (tmp_path / "m").read_bytes()
    assert data[8:35] == b'{"__metadata__":{"sha256":"'
    assert hashlib.sha256(data[:35] + b"0" * 64 + data[99:]).hexdigest().encode() == data[35:99]
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_a_model_is_written_as_it_always_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of format 1, spelled out: files that exist must stay readable, and equal to new ones."""
    monkeypatch.setattr(store, "_library_version", lambda: "0.1.0")
    write(tmp_path / "m", {"k": [1, {"ö": None}]}, {"b": np.ones(1, np.float32), "W": np.array([[1.0, -0.0]])})
    header = (
        b'{"__metadata__":{"sha256":"' + b"0" * 64 + b'",'
        rb'"layerwise":"{\"format\":1,\"k\":[1,{\"\\u00f6\":null}],\"layerwise\":\"0.1.0\"}"},'
        b'"W":{"dtype":"F64","shape":[1,2],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[1],"data_offsets":[16,20]}}'
    )
    header += b" " * (-len(header) % 8)
    numbers = bytes.fromhex("000000000000f03f00000000000000800000803f")
    file = len(header).to_bytes(8, "little") + header + numbers
    digest = hashlib.sha256(file).hexdigest().encode()
    assert (tmp_path / "m").read_bytes() == file[:35] + digest + file[99:]


def test_what_only_a_checkpoint_holds(tmp_path: Path) -> None:
    path = tmp_path / "c"
    nans = np.array([0x7FF8000000000001, 0xFFF0000000000123, 0x7FF0000000000000], np.uint64).view(np.float64)
    arrays = {
        **tensors(),
        "a": np.array([1, 2, 3], np.uint8),  # what follows does not begin at a multiple of 8
        "cost": np.array([np.nan, np.inf, -np.inf, 1.0]),
        "cost32": np.array([np.nan, -np.inf], np.float32),
        "nans": nans,
        "order": np.array([[-(2**63)], [2**63 - 1]]),
        "state": np.array([2**64 - 1, 0], ">u8"),
    }
    store.write(CHECKPOINT, path, DOCUMENT, arrays)
    document, got = store.read(CHECKPOINT, path)
    assert {**document, **DOCUMENT} == document
    assert_same(got, arrays)
    assert got["nans"].view(np.uint64).tolist() == nans.view(np.uint64).tolist()
    with pytest.raises(ModelFileError, match="it is a checkpoint, not a model; a fit goes on from it"):
        read(path)
    others = safetensors.numpy.load_file(path)
    assert {name: value.tobytes() for name, value in others.items()} == {k: v.tobytes() for k, v in got.items()}


@pytest.mark.parametrize("dtype", ["int32", "bool", "float16", "complex128", "M8[s]", "U3"])
def test_what_a_checkpoint_does_not_hold(tmp_path: Path, dtype: str) -> None:
    expected = "expected float32, float64, int64, uint64 or uint8. The earlier checkpoints are intact"
    with pytest.raises(CheckpointError, match=expected):
        store.write(CHECKPOINT, tmp_path / "c", {}, {"W": np.zeros(1, dtype)})
    assert only(tmp_path)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_messages_name_the_kind(tmp_path: Path, kind: Kind) -> None:
    with pytest.raises(kind.error, match=f"is not a usable {kind.name} file: there is no such file"):
        store.read(kind, tmp_path / "c")
    with pytest.raises(kind.error, match=f"The {kind.name} was not saved to .*c: .*No such file"):
        store.write(kind, tmp_path / "absent" / "c", {}, {})
    with pytest.raises(kind.error, match=f"A {kind.name} file is named by text or a path; got 3"):
        store.read(kind, 3)  # type: ignore[arg-type]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(document=st.dictionaries(st.text(), values, max_size=5))
def test_any_json_comes_back(tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]) -> None:
    path = tmp_path_factory.getbasetemp() / "property.layerwise"
    write(path, document, {})
    got, _ = read(path)
    assert {k: v for k, v in got.items() if k not in ("format", "layerwise")} == {
        k: v for k, v in document.items() if k not in ("format", "layerwise")
    }


@pytest.mark.parametrize(
    ("document", "arrays", "message"),
    [
        ({"a": (1, 2)}, {}, "come back changed"),
        ({"a": {1: "a"}}, {}, "come back changed"),
        ({1: "a"}, {}, "is not JSON"),
        ({"a": {1: "a", "1": "b"}}, {}, "is not JSON"),
        ({"a": float("nan")}, {}, "is not JSON"),
        ({"a": {1, 2}}, {}, "is not JSON"),
        ({"a": np.float32(1)}, {}, "is not JSON"),
        ({"a": json.loads("[" * 70 + "]" * 70)}, {}, "nested too deeply"),
        ({"a": "x" * (17 * 2**20)}, {}, "the limit is 16777216"),
        ({}, {"W": np.array([1.0, np.nan])}, r"'W' holds nan at \[1\]"),
        ({}, {"W": np.array([[1.0], [-np.inf]])}, r"'W' holds -inf at \[1, 0\]"),
        ({}, {"W": np.array([1])}, "dtype int64; expected float32 or float64"),
        ({}, {"W": np.array([1], np.float16)}, "dtype float16"),
        ({}, {"W": np.array([None])}, "dtype object"),
        ({}, {"__metadata__": np.zeros(1)}, "cannot have the name"),
        ({}, {"a\x00b": np.zeros(1)}, "cannot be printed"),
        ({}, {"\ud800": np.zeros(1)}, "cannot be printed"),
        ({}, {7: np.zeros(1)}, "cannot have the name 7"),
        ({}, {"W": np.zeros(1), 7: np.zeros(1)}, "cannot have the name 7"),
        ({}, {f"W{i}": np.zeros(0) for i in range(10_001)}, "10001 tensors"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, document, arrays, message) -> None:
    write(tmp_path / "m", DOCUMENT, {})
    before = (tmp_path / "m").read_bytes()
    with pytest.raises(ModelFileError, match=message) as caught:
        write(tmp_path / "m", document, arrays)
    assert str(tmp_path / "m") in str(caught.value)
    assert (tmp_path / "m").read_bytes() == before
    assert only(tmp_path, "m")


# Paths ------------------------------------------------------------------------------------------------------------


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "wine.layerwise", {}, {})
    with pytest.raises(ModelFileError, match=r"there is no such file\. Did you mean 'wine\.layerwise'\?"):
        read(tmp_path / "wines.layerwise")
    with pytest.raises(ModelFileError, match=r"no such file\.$"):
        read(tmp_path / "no folder" / "m")


@pytest.mark.parametrize("name", ["with space", "längd 模型 😀", "x" * 255, "-rf", "new\nline"])
def test_unusual_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, DOCUMENT, {})
    assert read(tmp_path / name)[0]["k"] == -7
    assert only(tmp_path, name)


@posix
def test_path_of_4000_characters(tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 3800:
        folder = folder / ("d" * min(200, 3990 - len(str(folder))))
    folder.mkdir(parents=True)
    path = str(folder / "m") + "x" * (3998 - len(str(folder)))
    assert len(path) == 4000
    write(path, DOCUMENT, {})
    assert read(path)[0]["k"] == -7


@posix
def test_names_that_are_not_utf8_and_names_that_are_not_names(tmp_path: Path) -> None:
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/m\xff")
    write(strange, DOCUMENT, {})
    assert read(strange)[0]["k"] == -7
    with pytest.raises(ModelFileError) as caught:
        read(strange + "?")
    str(caught.value).encode("utf-8")
    for wrong in ("", "a\0b", str(tmp_path / ("x" * 256))):
        with pytest.raises(ModelFileError):
            read(wrong)
        with pytest.raises(ModelFileError):
            write(wrong, {}, {})
    for unfit in (None, 3, 2.5):
        with pytest.raises(ModelFileError, match="named by text or a path"):
            read(unfit)  # type: ignore[arg-type]


@posix
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "m", tmp_path / "link"
    link.symlink_to(Path("real") / "m")
    write(link, DOCUMENT, {})  # the target is not there yet
    write(link, {"k": 8}, {})
    assert link.is_symlink()
    assert not target.is_symlink()
    assert read(target)[0]["k"] == read(link)[0]["k"] == 8
    assert only(tmp_path / "real", "m")
    (tmp_path / "loop").symlink_to("loop")
    for action in (lambda: read(tmp_path / "loop"), lambda: write(tmp_path / "loop", {}, {})):
        with pytest.raises(ModelFileError):
            action()
    assert (tmp_path / "loop").is_symlink()


@posix
def test_permissions_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "m", {}, {})
    (tmp_path / "m").chmod(0o640)
    write(tmp_path / "m", DOCUMENT, {})
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o640


def test_written_over_while_mapped(tmp_path: Path) -> None:
    write(tmp_path / "m", {}, {"W": np.full(1000, 1.0)})
    mapped = np.memmap(tmp_path / "m", np.uint8, "r")
    before = mapped.tobytes()
    if os.name == "posix":
        write(tmp_path / "m", {}, {"W": np.full(1000, 2.0)})
        assert mapped.tobytes() == before
        assert read(tmp_path / "m")[1]["W"][0] == 2.0
