"""fit, predict, score and show on tables as users have them."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest

import layerwise as lw
from layerwise.cli import screen
from layerwise.table.read import read_table

INPUTS = ("size", "colour", "zone")


def rows_of(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def fit(call, target: str, *options: object, table: str = "t.csv"):
    done = call("fit", table, "--target", target, "--epochs", 2, "--hidden", "4", *options)
    assert done.code == 0, done
    return done


# fit -----------------------------------------------------------------------------------------------------------------


def test_fit_says_what_it_reads_learns_and_saves(call, make, tmp_path):
    make("t.csv", 60)
    done = fit(call, "label", "--out", "m.layerwise")
    assert re.match(
        r"t\.csv: 60 rows, 8 columns; target label\nclassification \(2 classes\) with a network \d+-4-1 ", done.out
    )
    assert "Score on 12 rows held out" in done.out
    for name in ("accuracy", "area under ROC curve", "log-loss", "majority class"):
        assert name in done.out
    size = (tmp_path / "m.layerwise").stat().st_size
    assert done.out.endswith(f"Saved to m.layerwise ({round(size / 1024)} KB).\n")
    lines = done.err.splitlines()
    assert lines[0].startswith("Note: t.csv: column 'zone' is read as text")
    assert re.fullmatch(r"epoch 1/2: cost [\d.e-]+, [\d.]+ s", lines[1])
    assert re.fullmatch(r"epoch 2/2: cost [\d.e-]+, [\d.]+ s", lines[2])
    assert "\x1b" not in done.out + done.err


def test_baselines(call, make):
    make("t.csv", 60, "size", label=["a", "a", "b"] * 20, price=[str(i / 8) for i in range(60)])
    assert "│ mean absolute error" in fit(call, "price").out.replace("|", "│")
    assert re.search(r"┃ +metric +┃ +model ┃ +mean ┃", fit(call, "price").out)
    out = fit(call, "label", "--held-out", "0.5").out
    accuracy = float(re.findall(r"accuracy +│ +[\d.]+ │ +([\d.]+)", out)[0])
    assert accuracy == pytest.approx(2 / 3, abs=0.2)


@pytest.mark.parametrize(
    ("target", "task", "said"),
    [
        ("label", None, "classification (2 classes)"),
        ("odd", None, "classification (3 classes)"),
        ("flag", None, "classification (2 classes)"),
        ("price", None, "regression with"),
        ("class", "classification", "classification ("),
        ("class", "regression", "regression with"),
    ],
)
def test_the_task_is_found_or_given(call, make, target, task, said):
    make("t.csv", 60)
    assert said in fit(call, target, *(["--task", task] if task else [])).out


def test_ignored_columns_are_no_inputs(call, make):
    make("t.csv", 60)
    fit(call, "label", "--ignore", "odd", "--ignore", "price", "--ignore", "flag", "--out", "m")
    encoder = lw.load("m").encoder
    assert encoder is not None
    assert set(encoder.input_names) == {"size", "colour", "zone", "class"}


def test_no_hidden_layer_is_logistic_regression(call, make):
    make("t.csv", 60)
    assert call("fit", "t.csv", "--target", "label", "--hidden", "", "--out", "m", "--epochs", 2).code == 0
    assert len(lw.load("m").network.layers) == 1


def test_no_rows_held_out(call, make):
    make("t.csv", 30)
    done = fit(call, "label", "--held-out", "0")
    assert "held out" not in done.out
    assert "30 rows learned" in call("show", "t.layerwise").out


def test_settings_reach_the_model(call, make):
    make("t.csv", 60)
    options = ["--activation", "tanh", "--batch-size", 7, "--learning-rate", 0.5, "--seed", 9, "--held-out", 0.5]
    fit(call, "price", *options, "--out", "m")
    model = lw.load("m")
    settings = model.report["settings"]
    assert model.network.layers[0].activation.name == "tanh"
    assert (settings["batch_size"], settings["learning_rate"], settings["seed"]) == (7, 0.5, 9)
    assert (settings["epochs"], settings["hidden_layer_sizes"], model.report["rows_held_out"]) == (2, [4], 30)


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("adult.csv.gz", "adult.layerwise"),
        ("sales.2024.csv", "sales.2024.layerwise"),
        ("T.CSV", "T.layerwise"),
        ("a b é.tsv.gz", "a b é.layerwise"),
    ],
)
def test_the_model_is_named_after_the_table(call, make, tmp_path, table, model):
    source = make("plain.csv", 20, "size", "label")
    text = source.read_text().replace(",", "\t" if ".tsv" in table else ",").encode()
    (tmp_path / table).write_bytes(gzip.compress(text) if table.endswith(".gz") else text)
    fit(call, "label", table=table)
    assert (tmp_path / model).is_file()


def test_equal_fits_are_equal_files_whatever_the_format(call, make, tmp_path):
    table = read_table(make("t.csv", 60, "size", "colour", "label", "price"))
    from layerwise.table.write import write_table

    for name in ("one.csv", "two.csv.gz", "three.parquet"):
        write_table(tmp_path / name, table)
    files = set()
    for name in ("one.csv", "two.csv.gz", "three.parquet", "one.csv"):
        fit(call, "label", "--out", "m", table=name)
        files.add((tmp_path / "m").read_bytes())
    assert len(files) == 1


def test_a_fit_that_diverges_says_so_once(call, make):
    make("t.csv", 80)
    done = call("fit", "t.csv", "--target", "price", "--learning-rate", "1e30", "--out", "m")
    assert done.code == 0
    assert done.err.count("learning rate") == 2  # the rate it had and the one to try, in one note
    assert "DivergenceWarning" not in done.err
    assert np.isfinite(lw.load("m").predict(read_table("t.csv"))).all()


# predict -------------------------------------------------------------------------------------------------------------


def test_predictions_for_rows_without_the_target(call, make, trained):
    make("new.csv", 40, *INPUTS, seed=5)
    done = call("predict", trained("label"), "new.csv")
    header, *rows = rows_of(done.out)
    assert (done.code, done.err, header) == (0, "", ["label"])
    truth = [row[0] for row in rows_of(make("truth.csv", 40, "label", seed=5).read_text())[1:]]
    right = sum(row == [label] for row, label in zip(rows, truth, strict=True))
    assert right >= 32  # of 40, where guessing gives 25


def test_the_order_of_columns_does_not_matter_and_more_are_ignored_with_a_note(call, make, trained):
    make("a.csv", 30, *INPUTS)
    make("b.csv", 30, *reversed(INPUTS), note=["x", "y", "z"] * 10)
    a, b = call("predict", trained("price"), "a.csv"), call("predict", trained("price"), "b.csv")
    assert a.out == b.out
    assert a.err == ""
    assert b.err == "Note: Not used: 'note'.\n"


def test_categories_that_look_like_numbers_here(call, make, trained):
    # In the fit, zone was 01, 02, 1 or A. These rows alone look like numbers, and 01 would become 1.
    make("a.csv", 12, "size", "colour", zone=["01", "02", "1"] * 4)
    make("b.csv", 12, "size", "colour", zone=["01", "02", "1"] * 3 + ["A"] * 3)
    a, b = (rows_of(call("predict", trained("price"), name).out) for name in ("a.csv", "b.csv"))
    assert a[:10] == b[:10]
    assert a[1:4] != a[4:7]


def test_truth_values_are_one_however_they_are_written(call, make):
    n = 40
    make("t.csv", n, "size", "price", on=["True", "False"] * (n // 2))
    fit(call, "price", "--out", "m")
    outs = set()
    for yes, no in (("True", "False"), ("true", "false"), ("TRUE", "FALSE")):
        make("new.csv", n, "size", on=[yes, no] * (n // 2))
        done = call("predict", "m", "new.csv")
        assert done.err == ""
        outs.add(done.out)
    make("new.csv", n, "size", on=["False", "True"] * (n // 2))
    assert len(outs) == 1
    assert call("predict", "m", "new.csv").out not in outs


def test_unseen_values_and_empty_columns(call, make, trained):
    make("t.csv", 3, size=["", "", ""], colour=["", "", ""], zone=["B", "B", "01"])
    done = call("predict", trained("label"), "t.csv", "--probabilities")
    assert done.code == 0
    assert "'zone': 2 cells hold values" in done.err
    assert "'B'" in done.err
    assert "'size': 3 cells are missing, none in the fit; the median stands in." in done.err
    assert len(rows_of(done.out)) == 4


def test_one_row(call, make, trained):
    make("all.csv", 8, *INPUTS)
    make("one.csv", 1, *INPUTS)
    every = rows_of(call("predict", trained("price"), "all.csv").out)
    one = rows_of(call("predict", trained("price"), "one.csv").out)
    assert float(one[1][0]) == pytest.approx(float(every[1][0]), rel=1e-6)


@pytest.mark.parametrize("target", ["label", "odd", "flag", "class"])
def test_probabilities(call, make, trained, target):
    make("t.csv", 50, *INPUTS)
    header, *rows = rows_of(call("predict", trained(target), "t.csv", "--probabilities").out)
    classes = {"label": ["high", "low"], "odd": ['a,"b"', "né\nö", "plain"], "flag": ["False", "True"]}.get(target)
    classes = classes or [str(k) for k in lw.load(trained(target)).classes]
    assert header == [target, *(f"P({k})" for k in classes)]
    for label, *shares in rows:
        P = np.array(shares, dtype=float)
        assert P.sum() == pytest.approx(1, abs=1e-6)
        assert label == classes[int(P.argmax())]


@pytest.mark.parametrize(
    ("target", "kind"), [("label", "VARCHAR"), ("odd", "VARCHAR"), ("flag", "VARCHAR"), ("price", "DOUBLE")]
)
def test_files_of_predictions_agree_and_keep_their_types(call, make, trained, tmp_path, target, kind):
    make("t.csv", 50, *INPUTS)
    text = call("predict", trained(target), "t.csv").out
    for name in ("o.csv", "o.csv.gz", "o.parquet", "o.tsv"):
        done = call("predict", trained(target), "t.csv", "-o", name)
        assert (done.code, done.out) == (0, f"50 predictions are in {name}.\n")
    assert (tmp_path / "o.csv").read_bytes() == gzip.decompress((tmp_path / "o.csv.gz").read_bytes()) == text.encode()
    found = duckdb.sql(f"SELECT * FROM read_parquet('{tmp_path / 'o.parquet'}')")
    assert [str(t) for t in found.types] == [kind]
    cells = [row[0] for row in found.fetchall()]
    assert cells == [float(c) if kind == "DOUBLE" else c for (c,) in rows_of(text)[1:]]


@pytest.mark.parametrize("spelling", ["True,False", "TRUE,FALSE", "true,false"])
@pytest.mark.parametrize("table", ["t.csv", "t.csv.gz"])
def test_truth_values_keep_their_spelling(call, make, spelling, table):
    yes, no = spelling.split(",")
    make(table, 60, "size", on=[yes, no, no] * 20)
    fit(call, "on", "--out", "m", table=table)
    assert lw.load("m").classes == (no, yes)
    header, *rows = rows_of(call("predict", "m", table, "--probabilities").out)
    assert header == ["on", f"P({no})", f"P({yes})"]
    assert {row[0] for row in rows} <= {yes, no}
    # their spelling does not matter to a score
    scores = set()
    for other in ("True,False", "TRUE,FALSE", "true,false"):
        yes, no = other.split(",")
        make("new.csv", 30, "size", on=[yes, no] * 15)
        scores.add(call("score", "m", "new.csv").out)
    assert len(scores) == 1
    duckdb.sql("COPY (SELECT size, \"on\" = 'true' AS \"on\" FROM 'new.csv') TO 'new.parquet'")
    assert call("score", "m", "new.parquet").out == scores.pop().replace("new.csv", "new.parquet")


def test_truth_values_of_several_spellings_are_two_labels(call, make):
    make("t.csv", 60, "size", on=["True", "TRUE", "false"] * 20)
    fit(call, "on", "--out", "m")
    assert lw.load("m").classes == (False, True)


def test_truth_values_of_parquet_stay_truth_values(call, make):
    make("t.csv", 60, "size", on=["true", "false"] * 30)
    duckdb.sql("COPY (SELECT size, CAST(\"on\" AS BOOLEAN) AS \"on\" FROM 't.csv') TO 't.parquet'")
    fit(call, "on", "--out", "m", table="t.parquet")
    assert lw.load("m").classes == (False, True)
    call("predict", "m", "t.parquet", "-o", "o.parquet")
    assert [str(t) for t in duckdb.sql("SELECT * FROM 'o.parquet'").types] == ["BOOLEAN"]


def test_integer_labels_stay_integers(call, make):
    make("t.csv", 60, "size", digit=["-7", "40", "3"] * 20)
    fit(call, "digit", "--out", "m")
    assert {cell for (cell,) in rows_of(call("predict", "m", "t.csv").out)[1:]} <= {"-7", "40", "3"}
    call("predict", "m", "t.csv", "-o", "o.parquet")
    assert [str(t) for t in duckdb.sql("SELECT * FROM 'o.parquet'").types] == ["BIGINT"]


def test_numbers_are_in_the_unit_of_the_target(call, make, trained):
    make("t.csv", 60, *INPUTS, seed=3)
    truth = np.array([float(c) for (c,) in rows_of(make("y.csv", 60, "price", seed=3).read_text())[1:]])
    found = np.array([float(c) for (c,) in rows_of(call("predict", trained("price"), "t.csv").out)[1:]])
    # The target has mean 2030 and deviation 110; its rows were not in the fit.
    assert np.corrcoef(truth, found)[0, 1] > 0.9
    assert abs(found.mean() - truth.mean()) < 40


def test_the_command_line_predicts_as_python_does(call, make, trained):
    make("t.csv", 50, *INPUTS)
    model = lw.load(trained("price"))
    assert model.encoder is not None
    table = read_table("t.csv", text=model.encoder.text_columns)
    shown = [float(c) for (c,) in rows_of(call("predict", trained("price"), "t.csv").out)[1:]]
    assert shown == model.predict(table).tolist()


# score and show ------------------------------------------------------------------------------------------------------


def test_score(call, make, trained):
    make("t.csv", 80, seed=7)
    done = call("score", trained("label"), "t.csv")
    assert "Score on 80 rows of t.csv" in done.out
    predicted = rows_of(call("predict", trained("label"), "t.csv").out)[1:]
    truth = rows_of(make("y.csv", 80, "label", seed=7).read_text())[1:]
    right = sum(p == t for p, t in zip(predicted, truth, strict=True)) / 80
    assert f"{right:.4f}" in done.out
    assert "majority" not in done.out
    numbers = call("score", trained("price"), "t.csv").out
    assert all(name in numbers for name in ("R²", "root mean squared error", "mean absolute error"))


def test_score_reads_text_labels_that_look_like_numbers(call, make):
    make("t.csv", 60, "size", code=["01", "02", "B"] * 20)
    fit(call, "code", "--out", "m")
    make("new.csv", 10, "size", code=["01", "02"] * 5)
    assert call("score", "m", "new.csv").code == 0


def test_show(call, trained):
    done = call("show", trained("odd"))
    assert done.code == 0
    for part in ("target odd: classification, classes", "size", "colour", "category", "median", "learned", "float32"):
        assert part in done.out
    assert r"né\nö" in done.out
    numbers = call("show", trained("price")).out
    assert re.search(r"target price: regression, mean 20\d\d\.?\d*, deviation 1\d\d", numbers)


def test_foreign_text_is_shown_as_it_stands(call, make):
    strange = ["[red]x[/red]", "a\x1b[2Jb", "[/]"]
    make("t.csv", 60, "size", **{"[bold]y": strange * 20, "\x1b[31mz": ["p", "q"] * 30})
    done = fit(call, "[bold]y", "--out", "m[0]")
    shown = call("show", "m[0]")
    assert "target [bold]y" in done.out
    assert "m[0]" in done.out
    assert "[red]x[/red]" in shown.out
    assert "\x1b" not in done.out + done.err + shown.out + shown.err
    assert call("predict", "m[0]", "t.csv").code == 0


def test_non_ascii_paths(call, make, tmp_path):
    folder = tmp_path / "dä ta"
    folder.mkdir()
    Path(make("t.csv", 20)).rename(folder / "tä ble.csv")
    fit(call, "label", "--out", "dä ta/mö del", table="dä ta/tä ble.csv")
    assert call("predict", "dä ta/mö del", "dä ta/tä ble.csv", "-o", "dä ta/ö ut.csv").code == 0
    assert (folder / "ö ut.csv").is_file()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.85534, 0.7662], ["0.8553", "0.7662"]),
        ([5.42516, 16.1], ["5.43", "16.10"]),
        ([23048.44, 84754.5], ["23,048.44", "84,754.50"]),
        ([1.25e-7, 3e-7], ["1.25e-07", "3e-07"]),
        ([2.5e200, 1e200], ["2.5e+200", "1e+200"]),
        ([-0.01, 0.0], ["-0.0100", "0.0000"]),
        ([0.0, 0.0], ["0.0000", "0.0000"]),
        ([float("nan"), None, 0.5], ["–", "–", "0.5000"]),
        ([float("inf"), 2.0], ["inf", "2.0000"]),
    ],
)
def test_the_numbers_of_a_row_have_the_same_decimals(values, shown):
    assert screen._alike(values) == shown
