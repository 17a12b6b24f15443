from __future__ import annotations

import copy
import json
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise.errors import ModelFileError, TableError
from layerwise.table.columns import centre_and_scale, median_and_spread
from layerwise.table.encode import Encoder, fit_encoder
from layerwise.table.frame import Table, as_table
from layerwise.table.read import read_table


def matrix(encoder: Encoder, data: object) -> list[list[float]]:
    return encoder.transform(as_table(data), dtype="float64").tolist()


def soft(z):
    """The smooth limit, in another form than the one under test."""
    return 3 * np.sin(np.arctan(np.asarray(z, dtype=float) / 3))


def test_numbers_by_hand():
    # sorted 1 2 4 7 11: median 4, quartiles 2 and 7
    encoder = fit_encoder(as_table({"a": [11, 1, 4, 7, 2]}))
    assert (encoder.columns[0].centre, encoder.columns[0].scale) == (4.0, 5.0)
    # z = 0, 1, -3, 4 and z / sqrt(1 + z² / 9): 3/sqrt(10), -3/sqrt(2), 12/5
    found = matrix(encoder, {"a": [4, 9, -11, 24]})
    np.testing.assert_allclose(found, [[0], [3 / np.sqrt(10)], [-3 / np.sqrt(2)], [2.4]], rtol=1e-15)
    assert encoder.output_names == ("a",)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8, 9, 1000])
def test_median_and_quartiles_as_numpy_finds_them(n):
    x = np.random.default_rng(n).normal(size=n) * 7 + 100
    centre, scale = median_and_spread(x)
    assert centre == pytest.approx(np.median(x), rel=1e-14)
    assert scale == pytest.approx(np.percentile(x, 75) - np.percentile(x, 25), rel=1e-13)


def test_equal_quartiles_give_way_to_half_the_range():
    assert median_and_spread(np.array([0.0] * 9 + [80.0])) == (0.0, 40.0)
    assert median_and_spread(np.array([5.0] * 9 + [-1.0])) == (5.0, 3.0)
    assert median_and_spread(np.array([5.0] * 9)) == (5.0, 1.0)
    # quartiles of equal cells are equal to the bit, whatever the number
    assert median_and_spread(np.array([0.1] * 9 + [0.3, -0.1])) == (0.1, pytest.approx(0.2, rel=1e-15))
    assert str(median_and_spread(np.array([-0.0, 0.0, -0.0, 1.0]))[0]) == "0.0"


def test_one_far_cell_does_not_flatten_a_column():
    column = [*range(11), 10**6]
    X = fit_encoder(as_table({"a": column})).transform(as_table({"a": column}), dtype="float64")[:, 0]
    # median 5.5, quartiles 2.75 and 8.25: the steps from 0 to 10 stay between 1/5.5 and its half
    steps = np.diff(X[:11])
    assert steps.min() > 0.5 / 5.5
    assert steps.max() < 1 / 5.5
    np.testing.assert_allclose(X, soft((np.array(column) - 5.5) / 5.5), rtol=1e-13)
    assert 2.9 < X[11] <= 3


def test_missing_numbers_become_the_median_and_are_told():
    # 1 2 9: median 2, quartiles 1.5 and 5.5, so that 10 and -6 have z = 2 and -2: ±2 / sqrt(13 / 9)
    encoder = fit_encoder(as_table({"a": [1.0, None, 9.0, 2.0]}))
    assert encoder.output_names == ("a", "a is missing")
    far = 6 / np.sqrt(13)
    np.testing.assert_allclose(matrix(encoder, {"a": [10.0, None, 2.0, -6.0]}), [[far, 0], [0, 1], [0, 0], [-far, 0]])


def test_categories_by_hand():
    encoder = fit_encoder(as_table({"c": ["red", "blue", None, "red"]}))
    assert encoder.output_names == ("c = blue", "c = red", "c is missing")
    assert matrix(encoder, {"c": ["red", None, "blue", "pink"]}) == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]


def test_values_seen_once_in_a_hundred_rows_share_a_place_with_unseen_ones():
    cells = ["a"] * 60 + ["b"] * 38 + ["once", "twin"]
    encoder = fit_encoder(as_table({"c": cells}))
    assert encoder.output_names == ("c = a", "c = b", "c: other")
    assert matrix(encoder, {"c": ["a", "once", "new", None]}) == [[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert encoder.notes == ("'c': 2 of 4 values are rare and count as \"other\".",)
    few = fit_encoder(as_table({"c": ["a"] * 60 + ["b"] * 40 + ["once"]}))
    assert few.notes == ("'c': 1 of 3 values is rare and counts as \"other\".",)
    # with 99 rows, every value has a place
    assert fit_encoder(as_table({"c": cells[1:]})).width == 4


def test_the_most_frequent_values_are_kept():
    cells = ["a"] * 3 + ["b"] * 5 + ["c"] * 3 + ["d"] * 4
    encoder = fit_encoder(as_table({"c": cells}), max_categories=3)
    # a and c tie: the first in sorted order stays
    assert encoder.output_names == ("c = a", "c = b", "c = d", "c: other")
    with pytest.raises(TableError, match="max_categories must be a positive integer; got 0"):
        fit_encoder(as_table({"c": cells}), max_categories=0)


def test_at_most_256_values():
    cells = [f"v{i:03}" for i in range(300)] * 2
    assert fit_encoder(as_table({"c": cells})).width == 257


def test_what_is_left_out():
    n = 40
    table = as_table(
        {
            "x": np.arange(n) * 0.5,
            "constant": [7] * n,
            "one word": ["same"] * n,
            "nothing": [None] * n,
            "id": [f"customer {i}" for i in range(n)],
            "row": list(range(n)),
            "five or not": [5, None] * (n // 2),
            "yes or not": ["yes", None] * (n // 2),
        }
    )
    encoder = fit_encoder(table)
    assert encoder.output_names == ("x", "row", "five or not is missing", "yes or not is missing")
    assert set(encoder.ignored) == {"constant", "one word", "nothing", "id"}
    said = "\n".join(encoder.notes)
    assert "'constant' is left out: every cell is 7." in said
    assert "'one word' is left out: every cell is 'same'." in said
    assert "'nothing' is left out: every cell is missing." in said
    assert "'id' is left out: 40 of 40 texts differ, like names or free text." in said
    assert "'row' counts the rows" in said
    assert "'five or not' tells only whether the cell is missing" in said
    assert encoder.transform(table)[:, 2].tolist() == [0, 1] * (n // 2)
    # what was left out need not be there
    assert encoder.transform(as_table({n: table.column(n) for n in encoder.input_names})).shape == (n, 4)


def test_columns_are_found_by_name():
    rng = np.random.default_rng(1)
    data = {"a": rng.normal(size=30), "b": ["x", "y", None] * 10, "c": rng.normal(size=30)}
    encoder = fit_encoder(as_table(data), ignore=["c"])
    assert encoder == fit_encoder(as_table(data), ignore="c")
    shuffled = {"extra": [1] * 30, "b": data["b"], "a": data["a"]}
    np.testing.assert_array_equal(encoder.transform(as_table(shuffled)), encoder.transform(as_table(data)))
    assert encoder.report(as_table(shuffled)) == ["Not used: 'extra'."]


def test_pandas_polars_pyarrow_and_dict_agree_to_the_bit():
    data = {"n": [1.5, None, -2.0, 4.0], "w": ["b", "a", None, "b"], "f": [True, False, True, None], "i": [1, 2, 3, 5]}
    frames = [data, pd.DataFrame(data), pl.DataFrame(data), pa.table(data)]
    results = [fit_encoder(as_table(frame)).transform(as_table(frame)).tobytes() for frame in frames]
    assert len(set(results)) == 1


def test_the_codes_of_a_category_do_not_matter():
    cells = ["low", "high", "low", "mid"]
    first = pd.DataFrame({"c": pd.Categorical(cells, categories=["low", "mid", "high"])})
    second = pd.DataFrame({"c": pd.Categorical(cells, categories=["high", "unused", "low", "mid"])})
    encoder = fit_encoder(as_table(first))
    assert encoder == fit_encoder(as_table(second))
    np.testing.assert_array_equal(encoder.transform(as_table(first)), encoder.transform(as_table(second)))


def test_missing_and_renamed_columns_are_named():
    encoder = fit_encoder(as_table({"age": [1, 2, 3], "income": [1, 2, 4], "town": ["a", "b", "a"]}))
    with pytest.raises(TableError) as caught:
        encoder.transform(as_table({"Age": [1], "income": [2], "weight": [3]}))
    text = str(caught.value)
    assert "lacks 2 of the 3 columns of the fit: 'age', 'town'" in text
    assert "columns that the fit did not have: 'Age', 'weight'" in text
    assert "For 'age': Did you mean 'Age'?" in text


def test_text_where_numbers_were():
    encoder = fit_encoder(as_table({"a": [1, 2, 3]}))
    with pytest.raises(TableError, match=r"'a' held numbers in the fit and holds text now; first in row 1 .*'two'"):
        encoder.transform(as_table({"a": [None, "two", "3"]}))
    assert matrix(encoder, {"a": [None, None]}) == [[0], [0]]


def test_numbers_where_text_was():
    encoder = fit_encoder(as_table({"c": ["1", "2", "1"]}))
    assert matrix(encoder, {"c": [2, 1, None]}) == [[0, 1], [1, 0], [0, 0]]
    with pytest.raises(TableError, match=r"'c' held text in the fit and holds numbers now; first in row 1 .*: 7\."):
        encoder.transform(as_table({"c": [2, 7, 8]}))


def test_report_tells_what_the_fit_has_not_seen():
    encoder = fit_encoder(as_table({"a": [1, 2, 3], "c": ["x", "y", "x"]}))
    table = as_table({"a": [1, None, None], "c": ["z", "x", None]})
    assert encoder.report(table) == [
        "'a': 2 cells are missing, none in the fit; the median stands in.",
        "'c': 1 cell holds a value not seen in the fit ('z'); it counts as no value.",
        "'c': 1 cell is missing, none in the fit; it counts as no value.",
    ]
    assert encoder.report(as_table({"a": [1, None], "c": ["z", "w"]})) == [
        "'a': 1 cell is missing, none in the fit; the median stands in.",
        "'c': 2 cells hold values not seen in the fit ('z', 'w'); they count as no value.",
    ]
    rare = fit_encoder(as_table({"c": ["a"] * 60 + ["b"] * 40 + ["once"]}))
    assert rare.report(as_table({"c": ["once", None]})) == [
        "'c': 1 cell holds a value that is rare or was not seen in the fit ('once'); it counts as another value.",
        "'c': 1 cell is missing, none in the fit; it counts as another value.",
    ]
    assert rare.report(as_table({"c": ["y", "y", None, None]})) == [
        "'c': 2 cells hold values that are rare or were not seen in the fit ('y'); they count as other values.",
        "'c': 2 cells are missing, none in the fit; they count as other values.",
    ]
    assert encoder.report(as_table({"a": [1], "c": ["x"]})) == []


@pytest.mark.parametrize("magnitude", [1e-320, 1e-300, 1e-15, 1.0, 1e15, 1e300])
def test_any_magnitude(magnitude):
    cells = np.array([1.0, 2.0, 3.0, 6.0]) * magnitude
    X = fit_encoder(as_table({"a": cells})).transform(as_table({"a": cells}))
    # median 2.5, quartiles 1.75 and 3.75; 1e-320 is 2024 steps of the finest numbers
    expected = soft((np.array([1, 2, 3, 6]) - 2.5) / 2)
    np.testing.assert_allclose(X[:, 0], expected, atol=2e-3 if magnitude < 1e-310 else 1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e15, -1e15, 1e8])
def test_a_small_spread_on_a_large_offset_is_not_lost(offset):
    centre, scale = centre_and_scale(np.array([offset, offset + 1, offset, offset + 1]))
    assert (centre, scale) == (offset + 0.5, 0.5)


def test_the_whole_range_of_float64():
    top = np.finfo(np.float64).max
    with np.errstate(all="raise"):
        # the quartiles are 2 * top apart, which no float64 is: the largest one stands in
        X = fit_encoder(as_table({"a": [-top, top, -top, top]})).transform(as_table({"a": [-top, top, 0.0]}))
        np.testing.assert_allclose(X[:, 0], soft([-1, 1, 0]), rtol=1e-7)
        # the median is 0 between them, the quartiles -top/2 and top/2
        X = fit_encoder(as_table({"a": [-top, top, 0.0, 0.0, -top / 2, top / 2, 0.0]})).transform(
            as_table({"a": [-top, top, 0.0]})
        )
        np.testing.assert_allclose(X[:, 0], soft([-2, 2, 0]), rtol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "fitted",
    [
        [1.0, 2.0, 3.0],
        [0.0, 5e-324],
        [0.0, 5e-324, 1e-323, 0.0],
        [1e308, 1.1e308, 1.2e308],
        [-1.7e308, 1.7e308],
        [1e300, np.nextafter(1e300, np.inf)],
        [1e-300, 1e300, 1e-300],
        [1e-300, 2e-300, 3e-300, 1e300],
    ],
)
def test_no_number_is_too_far(fitted, dtype):
    top = np.finfo(np.float64).max
    cells = sorted([-top, -1e300, -1.0, -5e-324, 0.0, 5e-324, 1e-300, 1.0, 1e300, top, *fitted])
    with np.errstate(all="raise"):
        encoder = fit_encoder(as_table({"a": fitted}))
        X = encoder.transform(as_table({"a": cells}), dtype=dtype)[:, 0]
    assert np.isfinite(X).all()
    assert np.abs(X).max() <= 3
    assert (np.diff(X) >= 0).all()
    assert X[0] < 0 or encoder.columns[0].centre == -top
    # values of the fit that differ stay apart
    places = [cells.index(value) for value in sorted(set(fitted))]
    if dtype == "float64" and 1e300 not in fitted:
        assert len(set(X[places].tolist())) == len(places)


def test_the_spread_of_small_numbers_is_not_lost_beside_a_large_one():
    assert median_and_spread(np.array([1e-300, 2e-300, 3e-300, 4e-300, 1e300])) == (3e-300, pytest.approx(2e-300))


@pytest.mark.parametrize("magnitude", [1e-320, 1e-300, 1.0, 1e300, 1.7e308])
def test_mean_and_deviation_at_any_magnitude(magnitude):
    values = np.array([-1.0, 1.0, -1.0, 1.0]) * magnitude
    with np.errstate(all="raise"):
        assert centre_and_scale(values) == (0.0, magnitude)
    top = np.finfo(np.float64).max
    with np.errstate(all="raise"):
        centre, scale = centre_and_scale(np.array([top] * 999 + [np.nextafter(top, 0)]))
        assert np.nextafter(top, 0) <= centre <= top
        assert 0 < scale <= top - np.nextafter(top, 0)


def test_nothing_to_learn_from():
    with pytest.raises(TableError, match=r"has no column to learn from\. 'a' is left out: every cell is 1"):
        fit_encoder(as_table({"a": [1, 1]}))
    with pytest.raises(TableError, match="has no rows"):
        fit_encoder(as_table({"a": []}))
    with pytest.raises(TableError, match="no column 'b'"):
        fit_encoder(as_table({"a": [1, 2]}), ignore=["b"])


def test_no_rows_to_predict():
    encoder = fit_encoder(as_table({"a": [1, 2], "c": ["x", "y"]}))
    assert encoder.transform(as_table({"a": [], "c": []})).shape == (0, 3)


def test_one_row_is_as_in_the_batch():
    rng = np.random.default_rng(2)
    table = as_table({"a": rng.normal(size=50) * 1e6, "c": rng.choice(["x", "y", "z"], size=50)})
    encoder = fit_encoder(table)
    X = encoder.transform(table)
    for i in (0, 17, 49):
        np.testing.assert_array_equal(encoder.transform(table.rows([i]))[0], X[i])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matrix_layout(dtype):
    X = fit_encoder(as_table({"a": [1, 2], "c": ["x", "y"]})).transform(as_table({"a": [1], "c": ["x"]}), dtype=dtype)
    assert X.dtype == dtype
    assert X.flags.c_contiguous
    assert X.shape == (1, 3)


CELLS = st.lists(
    st.tuples(
        st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.none() | st.text(max_size=3),
        st.none() | st.booleans(),
    ),
    min_size=2,
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(CELLS, CELLS)
def test_any_table_and_its_file_form(fitted, predicted):
    def table(rows):
        return Table.from_columns({name: [row[i] for row in rows] for i, name in enumerate("ncb")})

    try:
        encoder = fit_encoder(table(fitted))
    except TableError as error:
        assert "no column to learn from" in str(error)  # noqa: PT017
        return
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    X = encoder.transform(table(fitted))
    assert X.shape == (len(fitted), encoder.width) == (len(fitted), len(encoder.output_names))
    assert np.isfinite(X).all()
    # every place is reached by some row of the fit, so that no weight stays as it was drawn
    assert (X != 0).any(axis=0).all()
    # rows in another order: the same encoder, to the bit
    assert json.dumps(fit_encoder(table(fitted[::-1])).to_dict()["columns"]) == json.dumps(encoder.to_dict()["columns"])
    assert np.array_equal(again.transform(table(fitted)), X)
    encoder.report(table(predicted))


def test_adult(adult_path):
    table = read_table(adult_path)
    encoder = fit_encoder(table, ignore=["income"])
    started = time.process_time()
    X = encoder.transform(table)
    assert time.process_time() - started < 1.5  # measured 0.05 s
    frame = pd.read_csv(adult_path, keep_default_na=False, na_values=[""])
    age = frame["age"].to_numpy(float)
    z = (age - np.median(age)) / (np.percentile(age, 75) - np.percentile(age, 25))
    np.testing.assert_allclose(X[:, encoder.output_names.index("age")], soft(z), atol=1e-6)
    gain = frame["capital_gain"].to_numpy(float)  # more than three quarters are 0, the largest is 99999
    np.testing.assert_allclose(X[:, encoder.output_names.index("capital_gain")], soft(gain / 49999.5), atol=1e-6)
    for place, expected in [
        ("education = Bachelors", frame["education"] == "Bachelors"),
        ("workclass is missing", frame["workclass"].isna()),
        ("native_country: other", frame["native_country"] == "Holand-Netherlands"),
    ]:
        np.testing.assert_array_equal(X[:, encoder.output_names.index(place)], expected.to_numpy(np.float32))
    assert X.shape == (48_842, 108)


GOOD = fit_encoder(as_table({"a": [1.0, None, 3.0], "c": ["x", None, "y"], "p": [1, 1, None]})).to_dict()


def damaged(path: list[object], value: object) -> dict[str, object]:
    data = copy.deepcopy(GOOD)
    place = data
    for step in path[:-1]:
        place = place[step]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        damaged(["surplus"], 1),
        damaged(["notes"], KeyError),
        damaged(["notes"], [1]),
        damaged(["ignored"], "a"),
        damaged(["ignored"], ["a"]),
        damaged(["columns"], {}),
        damaged(["columns", 0], None),
        damaged(["columns", 0, "kind"], "pickle"),
        damaged(["columns", 0, "kind"], ["number"]),
        damaged(["columns", 0, "kind"], "category"),
        damaged(["columns", 0, "name"], 5),
        damaged(["columns", 0, "name"], "c"),
        damaged(["columns", 0, "centre"], float("nan")),
        damaged(["columns", 0, "centre"], "1"),
        damaged(["columns", 0, "centre"], 1),
        damaged(["columns", 0, "centre"], True),
        damaged(["columns", 0, "scale"], 0.0),
        damaged(["columns", 0, "scale"], float("inf")),
        damaged(["columns", 0, "indicator"], 1),
        damaged(["columns", 1, "values"], ["y", "x"]),
        damaged(["columns", 1, "values"], ["x", "x"]),
        damaged(["columns", 1, "values"], [1]),
        damaged(["columns", 1, "other"], None),
        damaged(["columns", 1], {"kind": "category", "name": "c", "values": [], "missing": False, "other": False}),
        damaged(["columns", 2, "surplus"], 0),
    ],
)
def test_a_damaged_encoder_is_refused(data):
    with pytest.raises(ModelFileError):
        Encoder.from_dict(data)


def test_the_undamaged_one_is_accepted():
    assert Encoder.from_dict(GOOD).to_dict() == GOOD
