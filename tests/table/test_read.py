from __future__ import annotations

import builtins
import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerwise.errors import TableError
from layerwise.table.frame import Table
from layerwise.table.read import read_table
from layerwise.table.write import write_table


def test_types_are_decided_on_the_whole_file(write):
    rows = "".join(f"{i},{i}\n" for i in range(30_000))
    table = read_table(write("t.csv", "n,late\n" + rows + "".join(f"1,word{i}\n" for i in range(500))))
    assert table.columns["n"].dtype == np.float64
    assert table.columns["late"].dtype == object
    assert table.columns["late"][-1] == "word499"
    assert (
        "'late' is read as text: 30000 cells are numbers, 500 are not (first: 'word0' in line 30002)" in table.notes[0]
    )


def test_missing_cells(write):
    content = "number,word\n1,NA\nNA,a\n,\nnull,None\n-,b\nNone,?\n n/a ,-\nNaN,N/A\n2.5,#N/A\n"
    table = read_table(write("t.csv", content))
    np.testing.assert_array_equal(table.columns["number"], [1, *[np.nan] * 7, 2.5])
    assert table.columns["word"].tolist() == [None, "a", None, "None", "b", None, "-", None, None]


def test_text_is_kept_as_it_stands(write):
    content = 'name,y\n" a ",1\n"say ""hi""",2\n"two\nlines",3\n"1,5",4\nGröße,5\n'
    table = read_table(write("t.csv", content))
    assert table.columns["name"].tolist() == [" a ", 'say "hi"', "two\nlines", "1,5", "Größe"]
    assert table.columns["y"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("spelling", ["True,False", "true,false", "TRUE,FALSE"])
def test_truth_values(write, spelling):
    yes, no = spelling.split(",")
    table = read_table(write("t.csv", f"flag,x\n{yes},1\n{no},2\n,3\n"))
    assert table.columns["flag"].tolist() == ["true", "false", None]
    assert table.kinds == {"flag": "boolean", "x": "integer"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(write, delimiter):
    table = read_table(write("t.csv", f"a{delimiter}b\n1{delimiter}x y\n2{delimiter}z\n"))
    assert table.columns["a"].tolist() == [1.0, 2.0]
    assert table.columns["b"].tolist() == ["x y", "z"]


def test_decimal_commas(write):
    table = read_table(write("t.csv", "price;name\n1,5;a\n-20,25;b\n3;c\n;d\n"))
    np.testing.assert_array_equal(table.columns["price"], [1.5, -20.25, 3, np.nan])


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        (["1,234", "5,678", "9,012"], "numbers with signs"),
        (["$5", "$7.50", "$1,000"], "numbers with signs"),
        (["3%", "4%", "50%"], "numbers with signs"),
        (["0x1F", "0xFF", "0x00"], "numbers with signs"),
        (["2020-01-01", "2021-12-31", "2022-06-15"], "dates"),
        (["1.2.2020", "31.12.2021", "15.6.2022"], "dates"),
    ],
)
def test_what_looks_like_numbers_or_dates_is_noted(write, cells, what):
    table = read_table(write("t.csv", "a;b\n" + "".join(f"{cell};1\n" for cell in cells)))
    assert table.columns["a"].tolist() == cells
    assert f"column 'a' is read as text, though it looks like {what}" in table.notes[0]
    assert f"({cells[0]!r} in line 2)" in table.notes[0]


def test_columns_can_be_forced_to_text(write):
    path = write("t.csv", "zip,x\n01234,1\n00001,2\n")
    assert read_table(path).columns["zip"].tolist() == [1234.0, 1.0]
    assert read_table(path, text="zip").columns["x"].tolist() == [1.0, 2.0]
    assert read_table(path, text=["zip"]).columns["zip"].tolist() == ["01234", "00001"]
    assert read_table(path, text=["zap"]).names == ("zip", "x")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(write, end):
    assert read_table(write("t.csv", f"a,b{end}1,2{end}3,4{end}")).columns["b"].tolist() == [2.0, 4.0]


def test_mixed_line_ends(write):
    assert read_table(write("t.csv", b"a,b\n1,2\r\n3,4\n5,6\r\n")).columns["b"].tolist() == [2.0, 4.0, 6.0]
    with pytest.raises(TableError, match="line 4 has 3 cells; the header has 2"):
        read_table(write("t.csv", b"a,b\n1,2\r\n3,4\n5,6,7\r\n"))


def test_byte_order_mark_and_quoted_header(write):
    assert read_table(write("t.csv", b'\xef\xbb\xbf"a, b",c\n1,2\n')).names == ("a, b", "c")


def test_names_that_differ_by_case_or_are_odd(write):
    names = ["A", "a", "", "x[0]", "Größe", "n" * 300, "c0"]
    assert read_table(write("t.csv", ",".join(names) + "\n1,2,3,4,5,6,7\n")).names == tuple(names)


def test_a_file_name_is_no_pattern(write):
    write("d1.csv", "a,b\n9,9\n")
    for name in ("d[1].csv", "d*.csv", "d?.csv", "it's.csv", "with space é.csv"):
        assert read_table(write(name, "a,b\n1,2\n")).columns["a"].tolist() == [1.0], name


def test_a_folder_name_is_no_column(tmp_path):
    folder = tmp_path / "year=2020"
    folder.mkdir()
    (folder / "t.csv").write_text("a,b\n1,2\n")
    pd.DataFrame({"a": [1.0]}).to_parquet(folder / "t.parquet")
    assert read_table(folder / "t.csv").names == ("a", "b")
    assert read_table(folder / "t.parquet").names == ("a",)


def test_leading_empty_lines_and_missing_last_line_end(write):
    assert read_table(write("t.csv", "\n\na,b\n1,2\n\n3,4")).columns["a"].tolist() == [1.0, 3.0]


def test_many_columns(write):
    names = [f"n{i}" for i in range(2000)]
    table = read_table(write("t.csv", ",".join(names) + "\n" + ",".join("1" * 2000) + "\n"))
    assert table.names == tuple(names)
    assert table.columns["n1999"].tolist() == [1.0]


def test_column_names_that_are_numbers_are_noted(write):
    assert "'2019' as column names" in read_table(write("t.csv", "region,2019\na,1\n")).notes[0]


GOOD = "a,b\n" + "1,2\n" * 20
RAGGED = "1,2\n" * 5000
BAD_FILES = {
    "empty": ("t.csv", b"", "t.csv: the file is empty"),
    "blank lines only": ("t.csv", b"\n\n \n", "t.csv: the file is empty"),
    "empty gzip": ("t.csv.gz", b"", "t.csv.gz: the file is empty"),
    "header only": ("t.csv", b"a,b\n", "t.csv: only a header line and no rows \\('a', 'b'\\)"),
    "no header": ("t.csv", b"1,2\n3,4\n", "no header line; line 1 holds only numbers \\('1', '2'\\)"),
    "duplicate names": ("t.csv", b"a,b,a\n1,2,3\n", "more than one column is called 'a'"),
    "long row in line 2": ("t.csv", b"a,b\n1,2,3\n4,5\n", "t.csv: line 2 has 3 cells; the header has 2"),
    "short row in line 2": ("t.csv", b"a,b,c\n1,2\n4,5,6\n", "line 2 has 2 cells; the header has 3"),
    "long row in the middle": ("t.csv", f"a,b\n{RAGGED}1,2,3\n{RAGGED}".encode(), "line 5002 has 3 cells"),
    "short row in the middle": ("t.csv", f"a,b\n{RAGGED}1\n{RAGGED}".encode(), "line 5002 has 1 cell;"),
    "long row at the end": ("t.csv", f"a,b\n{RAGGED}1,2,3".encode(), "line 5002 has 3 cells"),
    "short row at the end": ("t.csv", f"a,b\n{RAGGED}1\n".encode(), "line 5002 has 1 cell;"),
    "every row too long": ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "line 2 has 3 cells"),
    "ragged after a cell of lines": ("t.csv", b'a,b\n"x\n\ny",2\n\n1,2,3\n', "line 6 has 3 cells"),
    "ragged in gzip": ("t.csv.gz", f"a,b\n{RAGGED}1,2,3\n".encode(), "line 5002 has 3 cells"),
    "ragged tsv": ("t.tsv", b"a\tb\n1\t2\n3\n", "line 3 has 1 cell; the header has 2"),
    "open quote": ("t.csv", b'a,b\n1,2\n"x,3\n4,5\n', "line 3: a quoted cell does not end"),
    "open quote in the header": ("t.csv", b'"a,b\n1,2\n', "t.csv: the header cannot be read as delimited text"),
    "text after quote": ("t.csv", b'a,b\n"x"y,3\n', "line 2: a quoted cell"),
    "header repeated": ("t.csv", b"a,b\nx,1\na,b\ny,2\n", "line 3 repeats the header"),
    "UTF-16": ("t.csv", GOOD.encode("utf-16"), "the encoding is UTF-16; save the file as UTF-8"),
    "UTF-16 without mark": ("t.csv", GOOD.encode("utf-16-le"), "looks like UTF-16"),
    "UTF-32": ("t.csv", GOOD.encode("utf-32"), "the encoding is UTF-32"),
    "Latin-1": ("t.csv", "a,b\n1,x\n2,café\n".encode("latin-1"), r"line 3 is not UTF-8 \(byte 0xE9, in Latin-1 'é'"),
    "cut UTF-8": ("t.csv", "a,b\n1,é".encode()[:-1], "line 2 is not UTF-8"),
    "NUL byte": ("t.csv", b"a,b\n1,2\n3,\x004\n", "line 3 holds a NUL byte"),
    "zip": ("t.csv", b"PK\x03\x04rest", "zip archive"),
    "Parquet named csv": ("t.csv", b"PAR1rest", "a Parquet file"),
    "gzip named csv": ("t.csv", gzip.compress(GOOD.encode()), "gzip-compressed; rename the file to t.csv.gz"),
    "no end of line": ("t.csv", b"x" * 3_000_000, "hold no end of line"),
    "line too long": ("t.csv", b"a,b\n1," + b"x" * 3_000_000 + b"\n", "line 2 is longer than 2,000,000 bytes"),
    "typo": ("t.csv", GOOD.encode() + b"3,4O\n5,6\n", "column 'b' holds numbers, but line 22 "),
    "typo after empty line": ("t.csv", GOOD.encode() + b"\n3,4O\n", r"line 23 has '4O'.*--text b\."),
    "infinite": ("t.csv", GOOD.encode() + b"inf,2\n", r"column 'a' is infinite in line 22 \('inf'\)"),
    "beyond float64": ("t.csv", b"a,b\n1,2\n1e999,2\n", r"column 'a' is infinite in line 3 \('1e999'\)"),
    "no Parquet": ("t.parquet", b"a,b\n1,2\n" * 9, "t.parquet: not a readable Parquet file"),
    "empty Parquet": ("t.parquet", b"", "t.parquet: the file is empty"),
    "unknown ending": ("t.xlsx", b"x", "unknown kind of file; the name must end in one of .csv, .csv.gz"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_malformed_files(write, name, content, message):
    path = write(name, content)
    with pytest.raises(TableError, match=message) as caught:
        read_table(path)
    text = str(caught.value)
    assert text.startswith(name), text
    assert "\n" not in text, text
    assert caught.value.__cause__ is None
    assert len(text) < 400


def test_damaged_gzip(tmp_path):
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 5000)
    path = tmp_path / "t.csv.gz"
    for damaged, message in [
        (packed[:-12], "ends too early"),
        (packed[:-8] + b"\0\0\0\0" + packed[-4:], "checksum is wrong"),
        (packed[:20] + b"\xff\xff" + packed[22:], "damaged"),
        (b"a,b\n1,2\n", "not gzip data"),
    ]:
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=f"t.csv.gz: the compressed file is damaged.*{message}|{message}"):
            read_table(path)


def test_missing_file_suggests_the_nearest(write, tmp_path):
    write("customers.csv", GOOD)
    with pytest.raises(TableError, match=r"There is no file .*custmers\.csv'\. Did you mean 'customers\.csv'\?"):
        read_table(tmp_path / "custmers.csv")
    with pytest.raises(TableError, match=r"Its folder .* does not exist either"):
        read_table(tmp_path / "nowhere" / "t.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(TableError, match=r"There is no file|cannot be opened"):
        read_table("a\0b.csv")
    with pytest.raises(TableError, match="expects the path of a file; got NoneType"):
        read_table(None)  # type: ignore[arg-type]


def test_a_link_to_nothing(write, tmp_path):
    write("target.csv", GOOD)
    (tmp_path / "good.csv").symlink_to("target.csv")
    assert read_table(tmp_path / "good.csv").n_rows == 20
    (tmp_path / "t.csv").symlink_to("gone.csv")
    with pytest.raises(TableError) as caught:
        read_table(tmp_path / "t.csv")
    assert str(caught.value) == f"{tmp_path / 't.csv'} is a link that points to nothing: there is no 'gone.csv'."
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(TableError, match=r"loop\.csv"):
        read_table(tmp_path / "loop.csv")


def test_without_duckdb_the_message_says_what_to_install(write, monkeypatch):
    genuine = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "duckdb":
            raise ImportError(name)
        return genuine(name, *args, **kwargs)

    path = write("t.csv", GOOD)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TableError, match=r'pip install "layerwise\[tables\]"'):
        read_table(path)


def test_few_odd_cells_in_a_short_column_make_text_with_a_note(write):
    table = read_table(write("t.csv", "a,b\n1,1\n2,1\nx,1\n"))
    assert table.columns["a"].tolist() == ["1", "2", "x"]
    assert "2 cells are numbers, 1 is not (first: 'x' in line 4)" in table.notes[0]
    table = read_table(write("t.csv", "a,b\n1,1\nx,1\n"))
    assert "1 cell is a number, 1 is not (first: 'x' in line 3)" in table.notes[0]


def test_parquet_types(tmp_path):
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "f": [0.1, np.nan],
            "s": ["a", None],
            "b": pd.array([True, None], dtype="boolean"),
            'q"x': [1.5, 2.5],
        }
    )
    frame.to_parquet(path)
    table = read_table(path)
    assert table.names == tuple(frame.columns)
    np.testing.assert_array_equal(table.columns["i"], [1.0, np.nan])
    np.testing.assert_array_equal(table.columns["f"], [0.1, np.nan])
    assert table.columns["s"].tolist() == ["a", None]
    assert table.columns["b"].tolist() == ["true", None]
    assert list(table.kinds.values()) == ["integer", "real", "text", "boolean", "real"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.to_datetime(["2020-01-01"]), "'c' holds TIMESTAMP"),
        ([[1, 2]], "'c' holds BIGINT"),
        ([np.inf], "'c' is infinite in row 0"),
    ],
    ids=["date", "list", "infinite"],
)
def test_parquet_refusals(tmp_path, column, message):
    pd.DataFrame({"c": column}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / "t.parquet")


def test_damaged_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"c": [1.0, 2.0]}).to_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match=r"t.parquet: not a readable Parquet file, or damaged"):
        read_table(path)


def test_adult(adult_path):
    table = read_table(adult_path)
    missing = {
        name: int(np.isnan(column).sum()) if column.dtype == np.float64 else column.tolist().count(None)
        for name, column in table.columns.items()
    }
    assert table.n_rows == 48_842
    assert sum(missing.values()) == 6_465
    assert {name: count for name, count in missing.items() if count} == {
        "workclass": 2799,
        "occupation": 2809,
        "native_country": 857,
    }
    assert sum(column.dtype == np.float64 for column in table.columns.values()) == 6
    assert set(table.columns["income"].tolist()) == {"<=50K", ">50K"}
    # the same cells as another reader sees
    other = pd.read_csv(adult_path, keep_default_na=False, na_values=[""])
    for name, column in table.columns.items():
        if column.dtype == np.float64:
            np.testing.assert_array_equal(column, other[name].to_numpy(dtype=float))
        else:
            np.testing.assert_array_equal(column, other[name].astype(object).where(other[name].notna(), None))


TABLE = Table.from_columns(
    {
        "n": [0.1, None, -1e300, 5e-324],
        "i": np.array([1, -2, 3, 2**53]),
        'odd "name", with\nline': ["a,b", 'say "hi"', None, "two\nlines"],
        "flag": [True, False, None, True],
    }
)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"])
def test_written_and_read_back(tmp_path, suffix):
    path = tmp_path / f"it's out{suffix}"
    write_table(path, TABLE)
    back = read_table(path)
    assert back.names == TABLE.names
    for name, column in TABLE.columns.items():
        np.testing.assert_array_equal(back.columns[name], column, err_msg=name)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_csv_content(tmp_path):
    write_table(tmp_path / "t.csv", Table.from_columns({"a": [1, None], "b": [0.5, 1.0], "c": ["x,y", None]}))
    assert (tmp_path / "t.csv").read_text() == 'a,b,c\n1,0.5,"x,y"\n,1.0,\n'


def test_the_same_table_gives_the_same_bytes(tmp_path):
    write_table(tmp_path / "a.csv.gz", TABLE)
    write_table(tmp_path / "b.csv.gz", TABLE)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_writing_refuses_and_leaves_what_was_there(tmp_path):
    with pytest.raises(TableError, match="unknown kind of file"):
        write_table(tmp_path / "t.json", TABLE)
    with pytest.raises(TableError, match="cannot be written: No such file or directory"):
        write_table(tmp_path / "nowhere" / "t.csv", TABLE)
    target = tmp_path / "t.csv"
    target.write_text("precious")
    broken = Table({"a": np.array(["\ud800"], dtype=object)}, 1, "dict", {"a": "text"})
    with pytest.raises(TableError, match=r"cannot be written: .*no valid Unicode"):
        write_table(target, broken)
    assert target.read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text("ab1,;\t|\"'\n\r .-", max_size=80).map(str.encode),
        st.text('ab1,"\n', max_size=40).map(lambda text: b"a,b\n1,2\n" + text.encode()),
    ),
    st.sampled_from([".csv", ".csv.gz", ".tsv", ".parquet"]),
)
def test_any_bytes_give_a_table_or_a_table_error(tmp_path, content, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".csv.gz" else content)
    try:
        table = read_table(path)
    except TableError as error:
        assert path.name in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(len(column) == table.n_rows > 0 for column in table.columns.values())


MARKERS = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "?")
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8).filter(
    lambda cell: cell.strip(" \t") not in MARKERS
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.none() | CELLS, st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
        max_size=20,
    )
)
def test_any_table_survives_csv(tmp_path, rows):
    words, numbers = [row[0] for row in rows], [row[1] for row in rows]
    path = tmp_path / "t.csv"
    # "key" keeps a row of gaps from being an empty line's twin; header cells differ from every cell
    table = Table.from_columns({"the words": ["w", *words], "numbers": [0.5, *numbers], "key": ["k"] * (len(rows) + 1)})
    write_table(path, table)
    back = read_table(path, text=["the words"])
    assert back.columns["the words"].tolist() == ["w", *words]
    np.testing.assert_array_equal(back.columns["numbers"], table.columns["numbers"])
