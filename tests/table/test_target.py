from __future__ import annotations

import copy
import json

import numpy as np
import pandas as pd
import pytest

from layerwise.errors import ModelFileError, TableError
from layerwise.table.frame import as_table
from layerwise.table.read import read_table
from layerwise.table.target import Target, fit_target, infer_task


@pytest.mark.parametrize(
    ("column", "task"),
    [
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 0, 1], "classification"),
        ([0, 1, 2] * 20, "classification"),
        ([0, 1, 2] * 19, "regression"),  # 3 distinct values are more than 5 % of 57 rows
        (list(range(20)) * 20, "classification"),
        (list(range(21)) * 100, "regression"),
        ([0.5, 1.5] * 50, "regression"),
        ([0.0, 1.0, None], "classification"),
        (np.linspace(0, 1, 100), "regression"),
    ],
)
def test_the_task_by_the_column(column, task):
    assert infer_task(as_table({"y": column}).columns["y"]) == task


@pytest.mark.parametrize(
    ("column", "classes"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([2, -1, 2], (-1, 2)),
        (np.array([1.0, 0.0, 1.0]), (0.0, 1.0)),
        ([True, False, True], (False, True)),
        (pd.Categorical(["z", "y", "z"], categories=["z", "y"]), ("y", "z")),
        (["a\0", "a", "a\0"], ("a", "a\0")),
    ],
    ids=["text", "integers", "floats", "booleans", "category", "NUL"],
)
def test_classes_keep_their_type_and_are_sorted(column, classes):
    table = as_table(pd.DataFrame({"y": column}))
    target = fit_target(table, "y", task="classification")
    assert target.classes == classes
    assert [type(label) for label in target.classes] == [type(label) for label in classes]
    labels = target.encode(table.columns["y"])
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 1]
    assert target.decode_labels(labels).tolist() == [classes[1], classes[0], classes[1]]
    assert target.encode(list(classes)).tolist() == [0, 1]
    again = Target.from_dict(json.loads(json.dumps(target.to_dict())))
    assert again == target
    assert [type(label) for label in again.classes] == [type(label) for label in classes]


@pytest.mark.parametrize("classes", [("False", "True"), ("FALSE", "TRUE"), ("false", "true")])
def test_truth_values_are_labels_of_their_texts(classes):
    target = fit_target(as_table({"y": [classes[1], classes[0]]}), "y")
    assert target.classes == classes
    assert target.encode([True, False, True]).tolist() == [1, 0, 1]
    assert target.encode(list(classes)).tolist() == [0, 1]
    with pytest.raises(TableError, match="no class of the fit"):
        target.encode(["tRUE"])
    # two spellings are two classes, where they were given as such
    both = fit_target(as_table({"y": ["True", "true"]}), "y")
    assert both.encode(["True", "true"]).tolist() == [0, 1]
    assert not both.are_truth_values


@pytest.mark.parametrize(
    ("cells", "count", "marks"),
    [
        (["a", "NA", "b", ""], "2 of 4 rows", "'NULL', '?' count as missing."),
        (["1.5", "-", "2.5", "3"], "1 of 4 rows", "'Null', 'NAN' count as missing."),
    ],
)
def test_gaps_of_a_text_file_are_explained(write, cells, count, marks):
    table = read_table(write("t.csv", "x,y\n" + "".join(f"1,{cell}\n" for cell in cells)))
    with pytest.raises(TableError) as caught:
        fit_target(table, "y")
    text = str(caught.value)
    assert f"target 'y' is missing in {count}, first in row 1 (counting from 0). Remove th" in text
    assert "Empty cells and 'NA', 'N/A', '#N/A'" in text
    assert text.endswith(marks)
    with pytest.raises(TableError, match=r"Remove this row\.$"):
        fit_target(as_table({"y": ["a", None, "b"]}), "y")


def test_many_classes():
    cells = [f"class {i:05}" for i in range(10_000)]
    target = fit_target(as_table({"y": cells}), "y")
    assert target.encode(np.array(cells, dtype=object)).tolist() == list(range(10_000))


@pytest.mark.parametrize("magnitude", [1e-300, 1e-15, 1.0, 1e15, 1e300])
def test_regression_by_hand(magnitude):
    y = np.array([1.0, 2.0, 3.0, 6.0]) * magnitude
    target = fit_target(as_table({"y": y}), "y", task="regression")
    assert target.centre == pytest.approx(3 * magnitude, rel=1e-15)
    assert target.scale == pytest.approx(np.sqrt(3.5) * magnitude, rel=1e-15)
    scaled = target.encode(y)
    np.testing.assert_allclose(scaled, (np.array([1, 2, 3, 6]) - 3) / np.sqrt(3.5), atol=1e-15)
    np.testing.assert_allclose(target.unscale(scaled), y, rtol=1e-15)
    assert target.unscale(scaled.astype(np.float32)).dtype == np.float64
    assert Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target


def test_numbers_of_a_target_reach_to_the_ends_of_float64():
    top = np.finfo(np.float64).max
    for values in ([-top, top], [-1e308, 1.7e308, 0.0], [0.0, 5e-324], [top, 1.0], [1.7e308, 1.6e308]):
        y = np.array(values)
        with np.errstate(all="raise"):
            target = fit_target(as_table({"y": y}), "y", task="regression")
            z = target.encode(y)
            back = target.unscale(z)
            assert np.isfinite(target.encode([-top, 0.0, top])).all()
        np.testing.assert_allclose(back, y, rtol=1e-14, atol=target.scale * 1e-14)
        assert np.abs(z).max() < 2
    with np.errstate(all="raise"):
        huge = Target("y", "regression", (), -1e308, 1e308)
        # 2 * 1e308 alone is beyond float64; 4 * 1e308 - 1e308 is so in the end
        np.testing.assert_allclose(huge.unscale([[2.0], [0.0], [4.0], [-3.0]]), [[1e308], [-1e308], [top], [-top]])
        assert np.isnan(huge.unscale([np.nan])).all()
        assert huge.unscale(np.float64(1.0)) == 0


REFUSED = {
    "no such column": ({"label": ["a", "b"]}, "Label", None, r"no column 'Label'. Did you mean 'label'\?"),
    "gaps": ({"y": ["a", None, "b", None]}, "y", None, "missing in 2 of 4 rows, first in row 1"),
    "number gaps": ({"y": [1.0, 2.5, None]}, "y", "regression", "missing in 1 of 3 rows, first in row 2"),
    "all missing": ({"y": [None, None]}, "y", None, "missing in every row"),
    "one class": ({"y": ["a", "a"]}, "y", None, r"one class only \('a'\)"),
    "one number": ({"y": [4, 4]}, "y", "classification", r"one class only \(4\)"),
    "constant": ({"y": [4.5, 4.5]}, "y", "regression", "is 4.5 in every row"),
    "continuous": ({"y": np.linspace(0, 1, 30)}, "y", "classification", "30 distinct values .*the task regression"),
    "text": ({"y": ["a", "b"]}, "y", "regression", "holds text .*choose the task classification"),
    "task": ({"y": ["a", "b"]}, "y", "ranking", "task must be 'classification' or 'regression'; got 'ranking'"),
    "no rows": ({"y": []}, "y", None, "no rows"),
    "beyond 2^53": ({"y": [2**60, 1]}, "y", "classification", "beyond 2\\^53; make them text"),
}


@pytest.mark.parametrize(("data", "name", "task", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_and_how(data, name, task, message):
    with pytest.raises(TableError, match=message):
        fit_target(as_table(data), name, task)


def test_unseen_labels_are_named():
    target = fit_target(as_table({"y": ["cat", "dog"]}), "y")
    with pytest.raises(TableError, match=r"'cow' in row 1 .*no class of the fit; 2 such cells. Classes: 'cat', 'dog'"):
        target.encode(["cat", "cow", "cow"])
    with pytest.raises(TableError, match="1 such cell\\. Classes"):
        target.encode(["cat", "cow"])
    with pytest.raises(TableError, match="3 in row 0"):
        target.encode([3, 4])
    with pytest.raises(TableError, match="missing in 1 of 2 rows"):
        target.encode(["cat", None])
    numbers = fit_target(as_table({"y": [0, 1, 0]}), "y")
    with pytest.raises(TableError, match=r"\b2 in row 1"):
        numbers.encode([0, 2])


def test_wrong_use_of_a_target():
    classes = fit_target(as_table({"y": ["cat", "dog"]}), "y")
    for labels in ([2], [-1], [0.5]):
        with pytest.raises(TableError, match=r"labels must be integers 0\.\.1"):
            classes.decode_labels(labels)
    numbers = fit_target(as_table({"y": [0.5, 1.5]}), "y")
    with pytest.raises(TableError, match="has no classes"):
        numbers.decode_labels([0])
    with pytest.raises(TableError, match=r"must be numbers; got 'x'"):
        numbers.encode(["x"])


GOOD = fit_target(as_table({"y": ["a", "b"]}), "y").to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"surplus": 1},
        {"name": None},
        {"task": "ranking"},
        {"task": ["classification"]},
        {"task": "regression"},
        {"classes": "ab"},
        {"classes": ["a"]},
        {"classes": ["b", "a"]},
        {"classes": ["a", "a"]},
        {"classes": ["a", 1]},
        {"classes": [0, True]},
        {"classes": [0.0, float("nan")]},
        {"classes": [0, 10**30]},
        {"classes": [None, None]},
        {"classes": [["a"], ["b"]]},
        {"centre": float("inf")},
        {"centre": 0},
        {"scale": 0.0},
        {"scale": -1.0},
    ],
)
def test_a_damaged_target_is_refused(change):
    with pytest.raises(ModelFileError):
        Target.from_dict({**copy.deepcopy(GOOD), **change})
    assert Target.from_dict(GOOD).to_dict() == GOOD


def test_adult(adult_path):
    table = read_table(adult_path)
    target = fit_target(table, "income")
    assert target.task == "classification"
    assert target.classes == ("<=50K", ">50K")
    income = pd.read_csv(adult_path)["income"]
    np.testing.assert_array_equal(target.encode(table.columns["income"]), (income == ">50K").to_numpy(int))
