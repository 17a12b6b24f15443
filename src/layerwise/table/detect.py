"""Which columns of a file are numbers: decided on every cell, in SQL, never on a sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerwise.errors import TableError
from layerwise.table.frame import ColumnKind, check_names, finite, refused_type
from layerwise.types import Array

# Missing in every column. "None" is not among them: it is a value in tables of houses (no masonry) and of patients
# (no test made). "NA" may be a value, too, but a missing cell of a text column is encoded as a value of its own, so
# nothing is lost by taking it for missing.
MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "?")
# Missing in a column where all else is numbers; there, no category can be meant.
MISSING_AMONG_NUMBERS = ("None", "none", "-", "--", ".", "n/a", "na", "n.a.", "Null", "NAN")

_AT_ONCE = 100  # columns per query: planning grows faster than the number of columns
_TYPO_SHARE, _TYPO_ROWS, _FEWEST_NUMBERS = 0.01, 20, 10
_DECIMAL_COMMA = r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?"
_LIKE_NUMBERS = r"[+-]?[$€£¥]?\s?[+-]?\d[\d,.' ]*\s?[%$€£¥]?|0[xX][0-9A-Fa-f]+"
_LIKE_DATES = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?"


@dataclass(frozen=True)
class Found:
    """Columns read from a file, with what each held and what was odd."""

    columns: dict[str, Array]
    kinds: dict[str, ColumnKind]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Counts:
    filled: int
    numbers: int
    dashes: int
    truths: int

    @property
    def odd(self) -> int:
        """Cells that are neither missing nor numbers."""
        return self.filled - self.numbers - self.dashes


def is_number(text: str) -> bool:
    """Whether a cell is a number as DuckDB reads it (no digit groups, no hexadecimal)."""
    return re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", text, flags=re.ASCII) is not None


def read_columns(
    connection: Any,
    source: str,
    names: Sequence[str],
    delimiter: str,
    text: Sequence[str],
    line_of: Callable[[int], int | None],
) -> Found:
    """The columns of the table ``raw`` (c0, c1, ...; all text) with their types.

    Raises
    ------
    TableError
        A column of numbers with a few cells that are none, or with an infinite one; names line and value.
    """
    counts = _count(connection, len(names))
    sql: dict[int, str] = {}
    kinds: dict[str, ColumnKind] = {}
    notes: list[str] = []
    for i, name in enumerate(names):
        sql[i], kinds[name], note = _decide(connection, source, i, name, counts[i], delimiter, name in text, line_of)
        notes += [note] if note else []
    fetched = _fetch(connection, sql)
    columns: dict[str, Array] = {}
    for i, name in enumerate(names):
        column = columns[name] = fetched.pop(i)
        if column.dtype != object:
            _check_infinite(connection, source, i, name, column, line_of)
            whole = bool(np.all(np.isnan(column) | ((column == np.floor(column)) & (np.abs(column) < 2.0**53))))
            kinds[name] = "integer" if whole and not np.all(np.isnan(column)) else "real"
    return Found(columns, kinds, tuple(notes))


def _listed(values: Sequence[str]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


def _trimmed(i: int) -> str:
    return f"trim(c{i}, e' \\t')"


def _filled(i: int) -> str:
    return f"(c{i} IS NOT NULL AND {_trimmed(i)} NOT IN {_listed(MISSING)})"


def _number(i: int) -> str:
    # DuckDB takes 1_000 for a number; nobody else does.
    return f"CASE WHEN contains(c{i}, '_') THEN NULL ELSE try_cast(c{i} AS DOUBLE) END"


def _odd(i: int) -> str:
    return f"({_filled(i)} AND {_number(i)} IS NULL AND {_trimmed(i)} NOT IN {_listed(MISSING_AMONG_NUMBERS)})"


def _count(connection: Any, n_columns: int) -> list[_Counts]:
    """Counts for every column; the dear ones only where some cell is neither empty nor a number."""
    plain = [(f"count(c{i})", f"count({_number(i)})") for i in range(n_columns)]
    counts = [_Counts(filled, numbers, 0, 0) for filled, numbers in _aggregate(connection, plain)]
    rest = [i for i, found in enumerate(counts) if found.odd]
    dear = [
        (
            f"count(*) FILTER ({_filled(i)})",
            f"count({_number(i)}) FILTER ({_filled(i)})",
            f"count(*) FILTER ({_number(i)} IS NULL AND {_trimmed(i)} IN {_listed(MISSING_AMONG_NUMBERS)})",
            f"count(*) FILTER (lower({_trimmed(i)}) IN ('true', 'false'))",
        )
        for i in rest
    ]
    for i, found in zip(rest, _aggregate(connection, dear), strict=True):
        counts[i] = _Counts(*found)
    return counts


def _aggregate(connection: Any, expressions: Sequence[tuple[str, ...]]) -> list[tuple[int, ...]]:
    """The values of groups of expressions over ``raw``, group by group."""
    results: list[tuple[int, ...]] = []
    for start in range(0, len(expressions), _AT_ONCE):
        part = expressions[start : start + _AT_ONCE]
        row = connection.execute(f"SELECT {', '.join(sql for group in part for sql in group)} FROM raw").fetchone()
        width = len(part[0])
        results += [tuple(row[k : k + width]) for k in range(0, len(row), width)]
    return results


def _decide(
    connection: Any,
    source: str,
    i: int,
    name: str,
    counts: _Counts,
    delimiter: str,
    forced: bool,
    line_of: Callable[[int], int | None],
) -> tuple[str, ColumnKind, str]:
    """SQL that gives column ``i``, what it holds, and a note or ''."""
    as_text = f"CASE WHEN {_filled(i)} THEN c{i} END"
    if forced:
        return as_text, "text", ""
    if counts.filled == 0 or (counts.numbers and counts.odd == 0):
        return _number(i), "real", ""
    if counts.truths == counts.filled:
        return f"CASE WHEN {_filled(i)} THEN lower({_trimmed(i)}) END", "boolean", ""
    if delimiter != "," and _is_decimal_comma(connection, i, counts):
        return f"CASE WHEN {_filled(i)} THEN try_cast(replace(c{i}, ',', '.') AS DOUBLE) END", "real", ""
    if counts.numbers == 0 and counts.odd == 0:
        return as_text, "text", ""
    row, value = connection.execute(f"SELECT rowid, c{i} FROM raw WHERE {_odd(i)} LIMIT 1").fetchone()
    few = min(_TYPO_ROWS, max(1, int(_TYPO_SHARE * counts.filled)))
    if counts.odd <= few and counts.numbers >= _FEWEST_NUMBERS:
        others = f" and {counts.odd - 1} more" if counts.odd > 1 else ""
        raise TableError(
            f"{source}: column {name!r} holds numbers, but line {line_of(row)} has {_short(value)}{others}. Correct "
            f"the cell or leave it empty; if the column is meant as text, say so: --text {name}."
        )
    return as_text, "text", _note(connection, source, i, name, counts, lambda: line_of(row), value)


def _is_decimal_comma(connection: Any, i: int, counts: _Counts) -> bool:
    """Whether all numbers are written like 1,5. "1,234" alone could mean a thousand, so another one is asked for."""
    like, clear = connection.execute(
        f"SELECT count(*) FILTER (regexp_full_match({_trimmed(i)}, ?)), "
        f"count(*) FILTER (regexp_full_match({_trimmed(i)}, ?)) FROM raw WHERE {_filled(i)}",
        [_DECIMAL_COMMA, r"[+-]?\d+,(\d{1,2}|\d{4,})([eE][+-]?\d+)?|[+-]?0,\d+"],
    ).fetchone()
    return clear > 0 and like + counts.dashes == counts.filled


def _note(
    connection: Any, source: str, i: int, name: str, counts: _Counts, line: Callable[[], int | None], value: str
) -> str:
    said = f"{source}: column {name!r} is read as text"
    if 2 * counts.numbers >= counts.filled:
        first = f"{_short(value)} in line {line()}"
        numbers = "1 cell is a number" if counts.numbers == 1 else f"{counts.numbers} cells are numbers"
        return f"{said}: {numbers}, {counts.odd} {'is' if counts.odd == 1 else 'are'} not (first: {first})."
    like = f"SELECT count(*) FROM raw WHERE {_filled(i)} AND regexp_full_match({_trimmed(i)}, ?)"
    for pattern, what in ((_LIKE_DATES, "dates"), (_LIKE_NUMBERS, "numbers with signs or separators")):
        if re.fullmatch(pattern, value.strip()) is None:
            continue
        if connection.execute(like, [pattern]).fetchone()[0] >= 0.9 * counts.filled:
            todo = "turn them into numbers" if what == "dates" else "write plain numbers"
            return f"{said}, though it looks like {what} ({_short(value)} in line {line()}); {todo} to use them."
    return ""


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "...")


def _fetch(connection: Any, sql: dict[int, str]) -> dict[int, Array]:
    """Every column as float64 with NaN or as objects with None."""
    result: dict[int, Array] = {}
    keys = list(sql)
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        selected = ", ".join(f"{sql[i]} AS c{i}" for i in part)
        fetched = connection.execute(f"SELECT {selected} FROM raw").fetchnumpy()
        for i in part:
            result[i] = _plain(fetched.pop(f"c{i}"))
    return result


def _plain(values: Any) -> Array:
    """DuckDB's (masked) array without its mask; equal texts become one object, which saves memory and hashing."""
    mask: Any = np.ma.getmaskarray(values)
    data: Any = np.ma.getdata(values)
    if data.dtype != object:
        numbers: Array = data.astype(np.float64)
        numbers[mask] = np.nan
        return numbers
    items: list[Any] = data.tolist()
    known: dict[Any, Any] = {}
    column = np.empty(len(items), dtype=object)
    column[:] = list(map(known.setdefault, items, items))
    column[mask] = None
    return column


def _check_infinite(
    connection: Any, source: str, i: int, name: str, column: Array, line_of: Callable[[int], int | None]
) -> None:
    bad = np.isinf(column)
    if bad.any():
        row = int(np.argmax(bad))
        value = connection.execute(f"SELECT c{i} FROM raw WHERE rowid = {row}").fetchone()[0]
        raise TableError(
            f"{source}: column {name!r} is infinite in line {line_of(row)} ({_short(value)}), {int(bad.sum())} in all. "
            "Numbers reach up to 1.8e308; leave the cell empty if the value is unknown."
        )


def read_parquet_columns(connection: Any, source: str, path: str, text: Sequence[str]) -> Found:
    """The columns of a Parquet file; DuckDB's own errors are the caller's to translate."""
    schema = connection.execute("SELECT name, num_children FROM parquet_schema(?)", [path]).fetchall()
    check_names(_top_level(schema), source)
    described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning=false)", [path]).fetchall()
    names = [row[0] for row in described]
    kinds: dict[str, ColumnKind] = {}
    parts: list[str] = []
    for i, (name, kind) in enumerate((row[0], str(row[1])) for row in described):
        quoted = '"' + name.replace('"', '""') + '"'
        kinds[name], target = ("text", "VARCHAR") if name in text else _parquet_kind(source, name, kind)
        parts.append(f"CAST({quoted} AS {target}) AS c{i}")
    fetched = connection.execute(
        f"SELECT {', '.join(parts)} FROM read_parquet(?, hive_partitioning=false)", [path]
    ).fetchnumpy()
    columns: dict[str, Array] = {}
    for i, name in enumerate(names):
        column = columns[name] = _plain(fetched.pop(f"c{i}"))
        if column.dtype != object:
            finite(column, name, source)
    return Found(columns, kinds, ())


def _parquet_kind(source: str, name: str, kind: str) -> tuple[ColumnKind, str]:
    if kind.endswith("INT") or kind.endswith("INTEGER"):
        return "integer", "DOUBLE"
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return "real", "DOUBLE"
    if kind == "BOOLEAN":
        return "boolean", "VARCHAR"
    if kind == "VARCHAR" or kind.startswith("ENUM"):
        return "text", "VARCHAR"
    raise refused_type(source, name, kind)


def _top_level(schema: Sequence[tuple[str, int | None]]) -> list[str]:
    """Names of the columns from the flat list of a tree, in depth-first order; its first entry is the root."""
    names: list[str] = []
    position = 1
    for _ in range(schema[0][1] or 0):
        names.append(schema[position][0])
        open_nodes = 1
        while open_nodes:
            open_nodes += (schema[position][1] or 0) - 1
            position += 1
    return names
