from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from layerwise.errors import TableError
from layerwise.table.frame import Table, as_table

ROWS = {
    "whole": [1, None, 3],
    "real": [1.5, None, -2.0],
    "word": ["a", None, "b"],
    "flag": [True, None, False],
}
EXPECTED = {
    "whole": np.array([1.0, np.nan, 3.0]),
    "real": np.array([1.5, np.nan, -2.0]),
    "word": np.array(["a", None, "b"], dtype=object),
    "flag": np.array(["true", None, "false"], dtype=object),
}


def assert_columns(table: Table, expected: dict[str, np.ndarray]) -> None:
    assert table.names == tuple(expected)
    for name, column in expected.items():
        assert table.columns[name].dtype == column.dtype, name
        np.testing.assert_array_equal(table.columns[name], column, err_msg=name)


def pandas_nullable() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "whole": pd.array(ROWS["whole"], dtype="Int64"),
            "real": pd.array(ROWS["real"], dtype="Float64"),
            "word": pd.array(ROWS["word"], dtype="string"),
            "flag": pd.array(ROWS["flag"], dtype="boolean"),
        }
    )


def pandas_arrow() -> pd.DataFrame:
    kinds = {"whole": pa.int64(), "real": pa.float64(), "word": pa.string(), "flag": pa.bool_()}
    return pd.DataFrame({name: pd.array(ROWS[name], dtype=pd.ArrowDtype(kind)) for name, kind in kinds.items()})


@pytest.mark.parametrize(
    "make",
    [
        lambda: ROWS,
        lambda: pd.DataFrame(ROWS, dtype=object),
        pandas_nullable,
        pandas_arrow,
        lambda: pl.DataFrame(ROWS),
        lambda: pa.table(ROWS),
        lambda: nw.from_native(pl.DataFrame(ROWS)),
    ],
    ids=["dict", "pandas object", "pandas nullable", "pandas arrow", "polars", "pyarrow", "narwhals"],
)
def test_every_source_gives_the_same_table(make):
    table = as_table(make())
    assert_columns(table, EXPECTED)
    assert table.kinds == {"whole": "integer", "real": "real", "word": "text", "flag": "boolean"}
    assert table.n_rows == 3


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(["b", None, "a"], categories=["b", "a"]),
        pd.array(["b", None, "a"], dtype="string[pyarrow]"),
        pd.Series(["b", np.nan, "a"], dtype=object),
        pd.Series(["b", None, "a"], dtype="str"),
    ],
    ids=["category", "string[pyarrow]", "object with NaN", "str"],
)
def test_pandas_text_columns(column):
    assert_columns(as_table(pd.DataFrame({"c": column})), {"c": np.array(["b", None, "a"], dtype=object)})


def test_dictionary_and_enum_columns_keep_their_nulls():
    arrow = pa.table({"c": pa.array(["b", None, "a"]).dictionary_encode()})
    enum = pl.DataFrame({"c": pl.Series(["b", None, "a"], dtype=pl.Enum(["b", "a"]))})
    for frame in (arrow, enum):
        assert_columns(as_table(frame), {"c": np.array(["b", None, "a"], dtype=object)})


def test_numbers_declared_as_categories_are_text():
    for frame in (
        pd.DataFrame({"c": pd.Categorical([7, None, 5])}),
        pa.table({"c": pa.array([7, None, 5]).dictionary_encode()}),
    ):
        assert_columns(as_table(frame), {"c": np.array(["7", None, "5"], dtype=object)})


def test_decimals_are_numbers():
    values = [Decimal("1.5"), None, Decimal(2)]
    for frame in (pa.table({"d": values}), pl.DataFrame({"d": values}), pd.DataFrame({"d": values})):
        assert_columns(as_table(frame), {"d": np.array([1.5, np.nan, 2.0])})


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "g", "i1", "u2", ">i4", "i8", "u8"])
def test_every_number_type_of_a_matrix(dtype):
    X = np.arange(6).reshape(3, 2).astype(dtype)
    table = as_table(X)
    assert_columns(table, {"x1": np.array([0.0, 2.0, 4.0]), "x2": np.array([1.0, 3.0, 5.0])})


@pytest.mark.parametrize("X", [np.asfortranarray(np.eye(3)), np.eye(6)[::2, ::2], np.eye(3)[::-1][::-1]])
def test_memory_layout_does_not_matter(X):
    np.testing.assert_array_equal(np.column_stack(list(as_table(X).columns.values())), np.eye(3))


def test_the_mask_of_a_masked_array_is_a_missing_cell():
    X = np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, True], [False, False]])
    assert_columns(as_table(X), {"x1": np.array([1.0, 3.0]), "x2": np.array([np.nan, 4.0])})
    assert_columns(Table.from_columns({"m": np.ma.array([1, 2], mask=[True, False])}), {"m": np.array([np.nan, 2.0])})


def test_the_source_is_not_modified_nor_shared():
    values = np.array([1.0, np.nan])
    values.setflags(write=False)
    table = Table.from_columns({"a": values})
    table.columns["a"][0] = 5
    assert values[0] == 1


BAD_SOURCES = {
    "None": (None, "Expected a table; got None"),
    "scalar": (3.5, "Expected a table; got 3.5"),
    "text": ("data.csv", "a file is read by the command line"),
    "list of lists": ([[1, 2], [3]], "type list"),
    "1-D": (np.zeros(4), r"shape \(4,\).*reshape\(-1, 1\)"),
    "0-D": (np.array(1.0), r"shape \(\)"),
    "3-D": (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
    "complex": (np.array([[1j]]), "'x1' holds complex128"),
    "dates array": (np.array([["2020-01-01"]], dtype="M8[D]"), "'x1' holds datetime64"),
    "series": (pd.Series([1, 2]), "single column"),
    "lazy": (pl.LazyFrame({"a": [1]}), r"LazyFrame is not loaded yet; call its \.collect\(\)"),
    "duplicates pandas": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column is called 'a'"),
    "duplicates arrow": (pa.table([[1], [2]], names=["a", "a"]), "more than one column is called 'a'"),
    "integer names": (pd.DataFrame([[1, 2]]), r"must be strings; got 0 \(int\).*df.columns ="),
    "MultiIndex": (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), r"got \('a', 'b'\)"),
    "ragged dict": ({"a": [1, 2], "b": [1, 2], "c": [1]}, "column 'c' has 1 row and others have 2"),
    "scalar column": ({"a": 3}, "column 'a' must be a 1-D array or a list; got 3"),
    "2-D column": ({"a": np.eye(2)}, r"column 'a' must be one-dimensional; got shape \(2, 2\)"),
    "dates": (pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}), "'when' holds Datetime.*year, month"),
    "time zone": (
        pd.DataFrame({"when": pd.to_datetime(["2020-01-01"]).tz_localize("UTC")}),
        "'when' holds Datetime.*UTC",
    ),
    "durations": (pd.DataFrame({"took": pd.to_timedelta([1], unit="s")}), "'took' holds Duration"),
    "periods": (pd.DataFrame({"when": pd.period_range("2020", periods=2, freq="D")}), "'when' holds Period"),
    "polars dates": (pl.DataFrame({"when": [datetime.date(2020, 1, 1)]}), "'when' holds Date"),
    "lists": (pd.DataFrame({"l": [None, [1], [2]]}), "'l' holds list values.*row 1"),
    "polars lists": (pl.DataFrame({"l": [[1], [2]]}), "'l' holds list values.*row 0"),
    "objects": ({"o": ["a", object()]}, "'o' holds object values.*row 1"),
    "bytes": ({"b": [b"x"]}, "'b' holds bytes values.*[Dd]ecode"),
    "mixed": (pd.DataFrame({"m": [1, 2, "x"]}), "'m' mixes number and text values: row 0.*row 2 holds the text 'x'"),
    "truth and number": ({"m": [True, 2]}, "'m' mixes boolean and number"),
    "infinite matrix": (np.array([[1.0, 2.0], [3.0, -np.inf]]), "'x2' is infinite in row 1"),
    "infinite frame": (pl.DataFrame({"a": [1.0, float("inf")]}), "'a' is infinite in row 1"),
    "infinite list": ({"a": [float("inf"), 1.0]}, "'a' is infinite in row 0"),
    "huge integer": ({"a": [10**400]}, "'a' holds an integer too large"),
}


@pytest.mark.parametrize(("source", "message"), BAD_SOURCES.values(), ids=BAD_SOURCES.keys())
def test_what_is_refused_and_how(source, message):
    with pytest.raises(TableError, match=message):
        as_table(source)


def test_a_sparse_matrix_is_named():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TableError, match="sparse"):
        as_table(sparse.csr_matrix(np.eye(2)))


def test_columns_and_rows():
    table = Table.from_columns({"a": [1.0, 2.0, 3.0], "b": ["x", None, "z"]})
    assert table.rows([2, 0, 2]).columns["b"].tolist() == ["z", "x", "z"]
    assert table.rows(np.array([True, False, True])).columns["a"].tolist() == [1.0, 3.0]
    assert table.rows(slice(1, None)).n_rows == 2
    assert table.rows([]).n_rows == 0
    assert as_table(table) is table
    with pytest.raises(TableError, match=r"no column 'A'\. Did you mean 'a'\?"):
        table.column("A")
    with pytest.raises(TableError, match=r"must lie in 0\.\.2"):
        table.rows([3])
    with pytest.raises(TableError, match="mask of 2"):
        table.rows(np.array([True, False]))
    with pytest.raises(TableError, match="integers or truth values"):
        table.rows([0.5])


@pytest.mark.parametrize("name", ["", "a[0]", 'say "hi"', "<b>", "Größe", "x" * 300, "a\nb", "a:b{c}"])
def test_any_text_is_a_name(name):
    assert as_table(pd.DataFrame({name: [1.0]})).names == (name,)


def test_importing_the_room_imports_no_library():
    code = (
        "import sys, layerwise.table.encode, layerwise.table.read, layerwise.table.write, layerwise.table.target;"
        "print(sorted({'pandas', 'polars', 'pyarrow', 'narwhals', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
