"""A row an epoch: what it holds, what survives a kill, and what is refused."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import layerwise as lw
from layerwise.logs import log


def problem(n=64):
    X = np.random.default_rng(0).normal(size=(n, 3))
    return lw.Network([3, 4, 1], hidden="tanh"), X, X[:, 0]


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def stop_after(n):
    def stop(epoch):
        if epoch.number == n:
            raise KeyboardInterrupt

    return stop


def test_a_row_holds_all_digits(tmp_path):
    options = {"validation": 0.25, "metric": ["rmse", lambda true, found: 0.1], "epochs": 4}
    path = tmp_path / "fit.csv"
    fit = lw.train(*problem(), on_epoch_end=lw.CSVLog(path), optimizer=lw.SGD(lw.StepDecay(0.1, every=1)), **options)
    header, *found = rows(path)
    names = ["validation_cost", "validation_rmse", "validation_<lambda>"]
    assert header == ["epoch", "seconds", "cost", "learning_rate", *names]
    for epoch, row in zip(fit.history, found, strict=True):
        assert int(row[0]) == epoch.number
        expected = [epoch.seconds, epoch.cost, epoch.learning_rate, *epoch.validation.values()]
        assert [float(cell) for cell in row[1:]] == expected


def test_names_with_commas_and_lines(tmp_path):
    def strange(true, found):
        return 1.0

    strange.__name__ = 'a,"b"\né'
    path = tmp_path / "fit.csv"
    for epochs in (2, 3):
        lw.train(*problem(), on_epoch_end=lw.CSVLog(path), validation=0.25, metric=strange, epochs=epochs)
        assert rows(path)[0][-1] == 'validation_a,"b"\né'
        assert len(rows(path)) == epochs + 1


def test_a_new_fit_replaces_a_log_and_nothing_else(tmp_path):
    path = tmp_path / "fit.csv"
    lw.train(*problem(), on_epoch_end=lw.CSVLog(path), epochs=5)
    lw.train(*problem(), on_epoch_end=lw.CSVLog(path), epochs=2, validation=0.25)
    assert len(rows(path)) == 3
    for content in (b"a,b\n1,2\n", b"\xff\xfe", b"epoch,other\n"):
        path.write_bytes(content)
        with pytest.raises(
            lw.LogError, match=r"fit.csv is no log of a fit, and would be replaced. Give CSVLog another"
        ):
            lw.train(*problem(), on_epoch_end=lw.CSVLog(path))
        assert path.read_bytes() == content
    for content in (b"", b"epoch,sec"):
        path.write_bytes(content)
        lw.train(*problem(), on_epoch_end=lw.CSVLog(path), epochs=2)
        assert len(rows(path)) == 3


@pytest.mark.parametrize("cut", ["nothing", "half a row", "two rows", "all rows", "the file", "a row in between"])
def test_a_fit_that_is_resumed_goes_on_in_its_log(tmp_path, cut):
    path, folder = tmp_path / "fit.csv", tmp_path / "folder"
    options = {"epochs": 8, "validation": 0.25, "metric": "rmse"}
    with pytest.raises(lw.TrainingInterrupted):
        lw.train(*problem(), on_epoch_end=[lw.CSVLog(path), stop_after(5)], checkpoint=folder, **options)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 6
    left = {
        "nothing": whole,
        "half a row": whole[:-20],
        "two rows": b"".join(lines[:-2]),
        "all rows": lines[0],
        "the file": None,
        "a row in between": b"".join(lines[:2] + lines[3:]),
    }[cut]
    if left is None:
        path.unlink()
    else:
        path.write_bytes(left)
    fit = lw.train(*problem(), on_epoch_end=lw.CSVLog(path), resume=folder, **options)
    assert path.read_bytes().startswith(whole)
    assert [float(row[2]) for row in rows(path)[1:]] == fit.history.cost.tolist()
    lw.train(*problem(), on_epoch_end=lw.CSVLog(path), resume=folder, **options)  # nothing is left to do
    assert len(rows(path)) == 9


def test_rows_of_epochs_that_are_done_again(tmp_path):
    path, folder = tmp_path / "fit.csv", tmp_path / "folder"
    options = {"epochs": 8, "every": 3}
    lw.train(*problem(), on_epoch_end=lw.CSVLog(path), checkpoint=folder, **options)
    for newest in sorted(folder.glob("*.layerwise-checkpoint"))[-1:]:
        newest.unlink()  # as if it had been killed before the end was saved
    before = [row[2:] for row in rows(path)]
    lw.train(*problem(), on_epoch_end=lw.CSVLog(path), resume=folder, **options)
    assert [row[2:] for row in rows(path)] == before


def test_other_columns_are_said(tmp_path):
    path = tmp_path / "fit.csv"
    net, X, y = problem()
    first = lw.train(net, X, y, on_epoch_end=lw.CSVLog(path), epochs=2)
    before = path.read_bytes()
    with pytest.raises(
        lw.LogError,
        match=r"has the columns epoch, seconds, cost, learning_rate; this fit writes epoch, seconds, cost, "
        r"learning_rate, validation_cost\. Go on with",
    ):
        lw.train(net, X, y, params=first, on_epoch_end=lw.CSVLog(path), epochs=2, validation=0.25)
    assert path.read_bytes() == before
    lw.train(net, X, y, params=first, on_epoch_end=lw.CSVLog(path), epochs=2)
    assert path.read_bytes().startswith(before)
    assert len(rows(path)) == 5


def test_places_that_cannot_be_written(tmp_path):
    for path, why in [(tmp_path / "none" / "fit.csv", "No such file"), (tmp_path, "Is a directory")]:
        with pytest.raises(lw.LogError, match=f"CSVLog cannot write to .*{why}"):
            lw.train(*problem(), on_epoch_end=lw.CSVLog(path))


def test_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch):
    path = tmp_path / "fit.csv"
    kept = lw.CSVLog(path)
    monkeypatch.setattr(log, "RETRY", 0.0)

    class Full:
        """A file that takes half a row, and then no more."""

        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, text):
            return self.file.write(text[:7])

    def disk(epoch):
        if epoch.number == 2:
            kept._file = Full(kept._file)
        if epoch.number == 5:
            assert path.read_bytes().endswith(b"\n")  # no half row
            assert len(rows(path)) == 3
            kept._file = kept._file.file

    with pytest.warns(lw.LogWarning, match=r"could not be written in epoch 3 .*The fit is not touched") as warned:
        fit = lw.train(*problem(), on_epoch_end=[kept, disk], epochs=7)
    assert len(warned) == 1
    assert [float(row[2]) for row in rows(path)[1:]] == fit.history.cost.tolist()

    def forever(epoch):
        if epoch.number == 2:
            kept._file = Full(kept._file)

    with (
        pytest.warns(lw.LogWarning, match="in epoch 3"),
        pytest.warns(lw.LogWarning, match="lacks the last 5 epochs"),
    ):
        lw.train(*problem(), on_epoch_end=[kept, forever], epochs=7)


def test_what_was_written_outlives_the_process(tmp_path):
    code = """
import numpy as np, layerwise as lw
X = np.random.default_rng(0).normal(size=(64, 3))
lw.train(lw.Network([3, 1]), X, X[:, 0], epochs=10**9, on_epoch_end=lw.CSVLog("fit.csv"))
"""
    path = tmp_path / "fit.csv"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as running:
        deadline = time.monotonic() + 60
        while (not path.exists() or path.stat().st_size < 10_000) and time.monotonic() < deadline:
            time.sleep(0.005)
        seen = path.stat().st_size
        running.send_signal(signal.SIGKILL)
    found = rows(path)
    assert path.stat().st_size >= seen
    assert [row[0] for row in found[1:]] == [str(i) for i in range(1, len(found))]
    assert all(len(row) == 4 for row in found)
