"""Events for TensorBoard: read back by the format's description, and by TensorBoard itself where it is installed."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest

import layerwise as lw
from layerwise.logs import tensorboard_log


def problem(n=64):
    X = np.random.default_rng(0).normal(size=(n, 3))
    return lw.Network([3, 4, 1], hidden="tanh"), X, X[:, 0]


OPTIONS = {"validation": 0.25, "metric": "rmse"}
TAGS = {"training/cost", "training/learning_rate", "training/seconds", "validation/cost", "validation/rmse"}


def stop_after(n):
    def stop(epoch):
        if epoch.number == n:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize(
    ("data", "crc"),
    [  # RFC 3720, B.4, and the check value of CRC-32C
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum(data, crc):
    turned = (crc >> 15) | (crc << 17) & 0xFFFFFFFF
    assert tensorboard_log._masked(data) == (turned + 0xA282EAD8) % 2**32


def records(path):
    data = path.read_bytes()
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        body = data[at + 12 : at + 12 + length]
        for part, place in ((data[at : at + 8], at + 8), (body, at + 12 + length)):
            assert struct.unpack_from("<I", data, place)[0] == tensorboard_log._masked(part)
        yield body
        at += 16 + length


def fields(data):
    """Fields of a protobuf message, by number."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            value, at = data[at : at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def scalars(path):
    """Steps and values of each tag in one file, and the steps at which a session starts."""
    curves, starts = {}, []
    first, *rest = map(fields, records(path))
    assert first[3] == [b"brain.Event:2"]
    for event in rest:
        (step,) = event[2]
        if 7 in event:
            assert fields(event[7][0]) == {1: [1]}
            starts.append(step)
            continue
        for value in fields(event[5][0])[1]:
            entry = fields(value)
            curves.setdefault(entry[1][0].decode(), []).append((step, struct.unpack("<f", entry[2][0])[0]))
    return curves, starts


def test_curves(tmp_path):
    fit = lw.train(*problem(), on_epoch_end=lw.TensorBoardLog(tmp_path / "a" / "b"), epochs=200, **OPTIONS)
    (path,) = (tmp_path / "a" / "b").iterdir()
    assert "tfevents" in path.name
    curves, starts = scalars(path)
    assert starts == []
    assert set(curves) == TAGS
    numbers = [epoch.number for epoch in fit.history]
    for tag, expected in [("training/cost", fit.history.cost), ("validation/rmse", fit.history.validation["rmse"])]:
        assert curves[tag] == list(zip(numbers, expected.astype(np.float32).tolist(), strict=True))


def test_a_fit_that_goes_on_has_the_folder_start_there(tmp_path):
    options = {"epochs": 9, "every": 4, **OPTIONS}
    folder, saved = tmp_path / "log", tmp_path / "saved"
    with pytest.raises(lw.TrainingInterrupted):
        lw.train(*problem(), on_epoch_end=[lw.TensorBoardLog(folder), stop_after(6)], checkpoint=saved, **options)
    (first,) = folder.iterdir()
    lw.train(*problem(), on_epoch_end=lw.TensorBoardLog(folder), resume=saved, **options)
    (second,) = set(folder.iterdir()) - {first}
    curves, starts = scalars(second)
    assert starts == [7]
    assert [step for step, _ in curves["training/cost"]] == [7, 8, 9]
    lw.train(*problem(), on_epoch_end=lw.TensorBoardLog(tmp_path / "other"), resume=saved, **options)
    (path,) = (tmp_path / "other").iterdir()
    assert [step for step, _ in scalars(path)[0]["training/cost"]] == list(range(1, 10))  # of the history


def test_numbers_beyond_single_precision():
    for value in (1e300, -1e300, float("inf"), float("nan"), 1e-300):
        (stored,) = struct.unpack("<f", tensorboard_log._single(2, value)[1:])
        np.testing.assert_equal(stored, float(np.array(value).astype("f4")) if abs(value) < 1e38 else value * 1e300)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(lw.LogError, match=r"TensorBoardLog cannot write to .*file"):
        lw.train(*problem(), on_epoch_end=lw.TensorBoardLog(tmp_path / "file"))


def test_files_are_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    kept = lw.TensorBoardLog(tmp_path)
    for _ in range(5):
        lw.train(*problem(), on_epoch_end=kept, epochs=2)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
    assert len(list(tmp_path.iterdir())) == 5


def test_tensorboard_reads_it(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = {"epochs": 9, "every": 4, **OPTIONS}
    folder, saved = tmp_path / "log", tmp_path / "saved"
    with pytest.raises(lw.TrainingInterrupted):
        lw.train(*problem(), on_epoch_end=[lw.TensorBoardLog(folder), stop_after(6)], checkpoint=saved, **options)
    for newest in sorted(saved.glob("*.layerwise-checkpoint"))[-1:]:
        newest.unlink()  # epochs 5 and 6 are done again
    fit = lw.train(*problem(), on_epoch_end=lw.TensorBoardLog(folder), resume=saved, **options)
    read = accumulator.EventAccumulator(str(folder))
    read.Reload()
    assert set(read.Tags()["scalars"]) == TAGS
    events = read.Scalars("validation/rmse")
    assert [event.step for event in events] == list(range(1, 10))
    assert [event.value for event in events] == fit.history.validation["rmse"].astype(np.float32).tolist()
