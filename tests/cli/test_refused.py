"""What a user can get wrong: one message that says what was expected, what came and what to do; exit code 2."""

from __future__ import annotations

import gzip
import os
import re
from dataclasses import replace

import numpy as np
import pytest

from layerwise.container import store
from layerwise.container.kinds import MODEL

FIT = ("fit", "t.csv", "--target")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv: the file is empty"),
        (b"size,label\n", "t.csv: only a header line and no rows"),
        (b"size,label\n1,a\n2,b,c\n3,a\n", "t.csv: line 3 has 3 cells; the header has 2"),
        (b"size,label\n1,a\n2\n3,a\n", "t.csv: line 3 has 1 cell; the header has 2"),
        ("size,label\n1,ä\n2,b\n".encode("latin-1"), "line 2 is not UTF-8.*Save the file as UTF-8"),
        ("size,label\n1,a\n2,b\n".encode("utf-16"), "the encoding is UTF-16; save the file as UTF-8"),
        (b"size,label\n1,\n2,\n3,\n", "target 'label' is missing in every row"),
        (b"size,label\n1,a\n2,a\n3,a\n", "target 'label' has one class only"),
        (b"size,label\n1,a\n2,\n3,b\n", "target 'label' is missing in 1 of 3 rows, first in row 1"),
        (b"size,size,label\n1,2,a\n", "column names must differ; more than one column is called 'size'"),
        (b"size,label\n1,a\n", "t.csv has 1 row; at least 2 are needed"),
        (b"size,label\n7,a\n7,b\n7,a\n", "t.csv has no column to learn from. 'size' is left out: every cell is 7"),
        (b"PK\x03\x04rest", "zip archive"),
    ],
)
def test_tables(call, tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    assert re.search(message, call(*FIT, "label").error)
    assert not (tmp_path / "t.layerwise").exists()


def test_files_that_are_not_there(call, make, tmp_path):
    make("table.csv", 5)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "notes.txt").write_text("a,b\n1,2\n")
    assert call("fit", "tabel.csv", "--target", "x").error == "There is no file 'tabel.csv'. Did you mean 'table.csv'?"
    assert "is a folder" in call("fit", "folder.csv", "--target", "x").error
    assert "must end in one of .csv, .csv.gz" in call("fit", "notes.txt", "--target", "x").error
    assert "no such file" in call("show", "m.layerwise").error
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:-9])
    assert "damaged" in call("fit", "cut.csv.gz", "--target", "a").error


def test_a_link_to_nothing(call, tmp_path):
    (tmp_path / "t.csv").symlink_to("gone.csv")
    assert call(*FIT, "x").error == "t.csv is a link that points to nothing: there is no 'gone.csv'."


def test_columns_that_are_not_there(call, make):
    make("t.csv", 20)
    done = call(*FIT, "prize")
    assert done.error.startswith("t.csv has no column 'prize'. Did you mean 'price'? Its columns: 'size', 'colour',")
    assert done.out == ""
    assert "no column 'sise'. Did you mean 'size'?" in call(*FIT, "price", "--ignore", "sise").error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "clasification"], "Unknown task 'clasification'. Did you mean 'classification'?"),
        (["--task", "regression"], r"target 'label' holds text .*choose the task classification"),
        (["--activation", "rleu"], "Unknown activation 'rleu'. Did you mean 'relu'?"),
        (["--hidden", "64,0"], "--hidden takes widths .* such as 64,64.*; got '64,0'"),
        (["--hidden", "64,,64"], "got '64,,64'"),
        (["--hidden", "-3"], "got '-3'"),
        (["--hidden", "1e3"], "got '1e3'"),
        (["--hidden", "a"], "got 'a'"),
        (["--hidden", "9" * 5000], r"got '9{57}\.\.\.'"),
        (["--hidden", "1000000000"], "from 1 to 1,000,000"),
        (["--learning-rate", "0"], "learning_rate .*must be a finite number > 0; got 0.0"),
        (["--learning-rate", "nan"], "got nan"),
        (["--held-out", "1"], "held_out must be a share of the rows, 0 <= held_out < 1; got 1.0"),
        (["--held-out", "-0.5"], "got -0.5"),
        (["--seed", "-1"], r"seed must be an integer from 0 to 2\*\*64 - 1; got -1"),
        (["--seed", "1" * 30], "seed"),
        (["--out", "nowhere/m"], "--out nowhere/m: there is no folder 'nowhere'. Make it first"),
        (["--out", "."], "--out . is a folder"),
        (["--out", ""], "is a folder"),
        (["--out", "t.csv"], "--out t.csv is the name of a table"),
        (["--out", "other.parquet"], "is the name of a table"),
        (["--out", "m" * 300], "File name too long"),
        (["--out", os.devnull], "is no ordinary file"),
    ],
)
def test_options(call, make, tmp_path, options, message):
    table = make("t.csv", 20)
    before = table.read_bytes()
    done = call(*FIT, "label", *options)
    assert re.search(message, done.error)
    assert "--task" in options or done.out == ""  # nothing is read for an option that cannot be
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]
    assert table.read_bytes() == before


def test_a_continuous_target_as_classes(call, make):
    make("t.csv", 50)
    assert "a continuous number, not classes" in call(*FIT, "price", "--task", "classification").error


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Usage"),
        (["fit"], "Missing argument"),
        (["fit", "t.csv"], "Missing option"),
        (["fit", "t.csv", "--target", "label", "--epochs", "0"], "--epochs"),
        (["fit", "t.csv", "--target", "label", "--epochs", "many"], "--epochs"),
        (["fit", "t.csv", "--target", "label", "--batch-size", "0"], "--batch-size"),
        (["fit", "t.csv", "--targt", "label"], "--target"),
        (["fot"], "'fit'"),
        (["predict", "m"], "Missing argument"),
    ],
)
def test_wrong_usage(call, make, args, message):
    make("t.csv", 20)
    done = call(*args)
    assert done.code == 2
    assert message in done.err + done.out
    assert "Traceback" not in done.err


def test_a_folder_without_the_right_to_write(call, make, tmp_path, monkeypatch):
    make("t.csv", 20)
    (tmp_path / "closed").mkdir()
    # A superuser may write everywhere, so the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "closed")
    done = call(*FIT, "label", "--out", "closed/m.layerwise")
    assert done.error == "--out closed/m.layerwise: the folder 'closed' cannot be written to."
    assert done.out == ""


# predict and score ---------------------------------------------------------------------------------------------------


def test_missing_and_extra_columns_are_all_named(call, make, trained):
    make("t.csv", 5, "size", "zone", color=["red"] * 5, extra=["1"] * 5)
    for command in ("predict", "score"):
        error = call(command, trained("label"), "t.csv").error
        assert error == (
            "t.csv lacks 1 of the 3 columns of the fit: 'colour'. It has columns that the fit did not have: "
            "'color', 'extra'. For 'colour': Did you mean 'color'?"
        )


def test_text_where_numbers_were(call, make, trained):
    make("t.csv", 3, "colour", "zone", size=["1", "many", "2"])
    assert (
        "column 'size' held numbers in the fit and holds text now; first in row 1"
        in call("predict", trained("label"), "t.csv").error
    )


def test_outcomes_that_cannot_be_scored(call, make, trained):
    inputs = ("size", "colour", "zone")
    make("without.csv", 5, *inputs)
    assert "without.csv has no column 'label'" in call("score", trained("label"), "without.csv").error
    assert "without.csv has no column 'price'" in call("score", trained("price"), "without.csv").error
    make("unseen.csv", 3, *inputs, label=["high", "medium", "low"])
    assert (
        "'medium' in row 1 (counting from 0) is no class of the fit"
        in call("score", trained("label"), "unseen.csv").error
    )
    make("gap.csv", 3, *inputs, label=["high", "", "low"])
    assert "target 'label' is missing in 1 of 3 rows" in call("score", trained("label"), "gap.csv").error
    make("text.csv", 3, *inputs, price=["a", "b", "c"])
    assert "must be numbers; got 'a'" in call("score", trained("price"), "text.csv").error


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("out.xlsx", "unknown kind of file; the name must end in one of .csv"),
        ("nowhere/out.csv", "there is no folder 'nowhere'"),
        ("t.csv", "--out t.csv is a file that is read here, and would be replaced"),
        ("../{folder}/t.csv", "would be replaced"),
        ("folder.csv", "is a folder"),
    ],
)
def test_places_for_predictions(call, make, trained, tmp_path, out, message):
    before = make("t.csv", 5).read_bytes()
    (tmp_path / "folder.csv").mkdir()
    done = call("predict", trained("label"), "t.csv", "--out", out.format(folder=tmp_path.name))
    assert message in done.error
    assert (tmp_path / "t.csv").read_bytes() == before


def test_probabilities_of_a_number(call, make, trained):
    make("t.csv", 5)
    assert (
        "predicts a number, so it has no probabilities. Leave --probabilities out."
        in call("predict", trained("price"), "t.csv", "--probabilities").error
    )


# Model files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["show"], ["predict", "t.csv"], ["score", "t.csv"]])
def test_damaged_model_files(call, make, trained, tmp_path, command):
    make("t.csv", 5)
    good = trained("label").read_bytes()
    flipped = bytearray(good)
    flipped[-5] ^= 1
    kinds = {
        "empty": b"",
        "cut": good[:-100],
        "flipped": bytes(flipped),
        "longer": good + b"\0",
        "table": (tmp_path / "t.csv").read_bytes(),
        "pickle": b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.",
    }
    for kind, content in kinds.items():
        (tmp_path / kind).write_bytes(content)
        error = call(command[0], kind, *command[1:]).error
        assert error.startswith(f"{kind} is not a usable model file: "), error
    assert not (tmp_path / "owned").exists()


def test_a_newer_model_file(call, trained, tmp_path, monkeypatch):
    document, tensors = store.read(MODEL, trained("label"))
    store.write(replace(MODEL, version=2), tmp_path / "new", document, tensors)
    monkeypatch.chdir(tmp_path)
    assert re.search(r"it has format 2, .*reads up to format 1; upgrade layerwise", call("show", "new").error)


def test_a_model_without_columns(call, make, tmp_path):
    from layerwise import Model, Network

    network = Network([2, 3], output="softmax")
    Model(network, network.initialise(0)).save(tmp_path / "m")
    make("t.csv", 5)
    assert "takes matrices, not tables" in call("predict", "m", "t.csv").error
    assert "takes matrices, not tables" in call("score", "m", "t.csv").error
    done = call("show", "m")
    assert (done.code, done.err) == (0, "")
    assert "2-3" in done.out


@pytest.mark.parametrize(
    "report",
    [
        {"metrics": "good", "rows_learned": []},
        {"metrics": {"accuracy": "high", "r2": {}}, "rows_held_out": "x"},
        {"metrics": {"accuracy": 0.5}, "baseline": 7, "stop_reason": 3},
        {"metrics": {"accuracy": 0.5}, "baseline": {"accuracy": None}, "stop_reason": "[red]Done.\x1b[2J"},
    ],
)
def test_show_takes_whatever_is_in_a_report(call, trained, tmp_path, report):
    document, tensors = store.read(MODEL, trained("label"))
    store.write(MODEL, tmp_path / "m", {**document, "report": report}, tensors)
    done = call("show", "m")
    assert done.code == 0
    assert "\x1b" not in done.out
    if "accuracy" in report["metrics"] and report["metrics"]["accuracy"] == 0.5:
        assert "0.5000" in done.out
    if isinstance(report.get("stop_reason"), str):
        assert "[red]Done.\\x1b[2J" in done.out


def test_not_enough_memory(call, make, monkeypatch):
    make("t.csv", 20)
    monkeypatch.setattr(np, "zeros", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    assert "not enough memory" in call(*FIT, "label").error
