"""One table, whatever it came from: named columns of numbers or of text, with one mark for a missing cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import numpy as np

from layerwise.errors import TableError, nearest
from layerwise.types import Array

ColumnKind: TypeAlias = Literal["real", "integer", "boolean", "text"]
"""What a column held before it became float64 or text; keeps the type of class labels."""

_NUMBERS = (int, float, np.integer, np.floating, Decimal)
_MISSING_TYPES = {"NoneType", "NAType", "NaTType"}
_WANTED = "A table is a DataFrame (pandas, polars, pyarrow), a dict of columns, or a 2-D array of numbers"


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of equal length. Build one with `as_table`, `read_table` or the ``from_`` methods.

    Attributes
    ----------
    columns : dict of str to (N,) array
        In the order of the source. float64, where NaN is a missing cell; or an object array of ``str``, where None
        is a missing cell. Truth values are the texts "true" and "false".
    n_rows : int
        N.
    source : str
        Name of the file, or "DataFrame", "dict", "array"; for messages.
    kinds : dict of str to {"real", "integer", "boolean", "text"}
        What each column held in the source.
    notes : tuple of str
        Sentences on what was unusual in the source.
    """

    columns: dict[str, Array]
    n_rows: int
    source: str
    kinds: dict[str, ColumnKind] = field(default_factory=dict[str, ColumnKind])
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(self.columns)

    def __repr__(self) -> str:
        return f"<Table {self.source}: {counted(self.n_rows, 'row')}, {counted(len(self.columns), 'column')}>"

    @staticmethod
    def from_frame(frame: Any) -> Table:
        """A pandas, polars, pyarrow or narwhals DataFrame as a Table; the frame is not modified.

        Raises
        ------
        TableError
            Duplicate names, names that are not strings, columns of dates, lists or other objects, infinities.
        """
        return _from_frame(frame)

    @staticmethod
    def from_columns(columns: Mapping[str, Any], source: str = "dict") -> Table:
        """A dict of equally long arrays or lists as a Table.

        Raises
        ------
        TableError
            Columns of different length or not one-dimensional, and everything `from_frame` refuses.
        """
        check_names(list(columns), source)
        built: dict[str, Array] = {}
        kinds: dict[str, ColumnKind] = {}
        for name, values in columns.items():
            built[name], kinds[name] = as_column(values, name, source)
        lengths = {name: len(column) for name, column in built.items()}
        if len(set(lengths.values())) > 1:
            common = Counter(lengths.values()).most_common(1)[0][0]
            odd = next(name for name, length in lengths.items() if length != common)
            raise TableError(
                f"{source}: all columns must have the same length; column {odd!r} has {counted(lengths[odd], 'row')} "
                f"and others have {common}."
            )
        return Table(built, next(iter(lengths.values()), 0), source, kinds)

    @staticmethod
    def from_matrix(X: Any, source: str = "array") -> Table:
        """A matrix of numbers, (N, d), as a Table with columns "x1" to "xd". Masked and NaN cells are missing.

        Raises
        ------
        TableError
            Not two-dimensional, not an array, not numbers, or infinite values.
        """
        if not _is_array(X):
            raise TableError(f"Expected a 2-D array of numbers; got {_describe(X)}. {_WANTED}.")
        if X.ndim != 2:
            hint = " A single column is X.reshape(-1, 1)." if X.ndim == 1 else ""
            raise TableError(f"Expected a 2-D array (rows, columns); got shape {X.shape}.{hint}")
        # np.asarray would drop a mask; plain slicing keeps it, and turns np.matrix columns 2-D.
        plain: Any = X if np.ma.isMaskedArray(X) else np.asarray(X)
        return Table.from_columns({f"x{j + 1}": plain[:, j] for j in range(plain.shape[1])}, source)

    def column(self, name: str) -> Array:
        """The column called ``name``, (N,); a TableError with the nearest name where there is none."""
        if name not in self.columns:
            listing = f" Its columns: {quoted(self.columns, 12)}."
            raise TableError(f"{self.source} has no column {name!r}.{nearest(name, self.columns)}{listing}")
        return self.columns[name]

    def kind(self, name: str) -> ColumnKind:
        """What the column held in its source."""
        column = self.column(name)
        return self.kinds.get(name, "text" if column.dtype == object else "real")

    def rows(self, indices: Any) -> Table:
        """Rows by position: integers (any order, repeats allowed), a slice, or a mask of N truth values."""
        index: Any = indices
        if not isinstance(indices, slice):
            index = np.asarray(indices)
            if index.size == 0 and index.dtype != bool:
                index = index.astype(np.intp)
            if index.ndim != 1 or index.dtype.kind not in "iub":
                got = f"{index.dtype} {index.shape}"
                raise TableError(f"Rows are chosen by a 1-D array of integers or truth values; got {got}.")
            if index.dtype == bool and len(index) != self.n_rows:
                mask, rows = counted(len(index), "truth value"), counted(self.n_rows, "row")
                raise TableError(f"A mask of {mask} cannot choose among {rows}.")
            if index.dtype != bool and index.size and not -self.n_rows <= index.min() <= index.max() < self.n_rows:
                raise TableError(f"Row numbers must lie in 0..{self.n_rows - 1}; got {index.min()}..{index.max()}.")
        chosen = {name: column[index] for name, column in self.columns.items()}
        n_rows = len(np.arange(self.n_rows)[index])
        return Table(chosen, n_rows, self.source, dict(self.kinds), self.notes)


def as_table(data: Any) -> Table:
    """Whatever holds a table, as a `Table`: a Table itself, a DataFrame, a dict of columns, a 2-D array.

    Raises
    ------
    TableError
        Naming what came instead, or the column and row that cannot be used.
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, Mapping):
        return Table.from_columns(data)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(data, np.ndarray):
        return Table.from_matrix(data)
    return Table.from_frame(data)


def _from_frame(frame: Any) -> Table:
    import narwhals as nw

    if hasattr(frame, "tocsr"):
        raise TableError("A sparse matrix is not a table; pass X.toarray() if it fits in memory.")
    native = nw.to_native(frame, pass_through=True)
    if hasattr(native, "collect"):
        raise TableError(f"{type(native).__name__} is not loaded yet; call its .collect() first.")
    # Names first: narwhals refuses duplicates, too, but in words of its own.
    names = getattr(native, "column_names", getattr(native, "columns", None))
    if isinstance(names, Iterable):
        check_names(list(names), "DataFrame")  # pyright: ignore[reportUnknownArgumentType]
    try:
        data: Any = nw.from_native(frame, allow_series=True)
    except TypeError:
        raise TableError(f"Expected a table; got {_describe(frame)}. {_WANTED}.") from None
    if isinstance(data, nw.Series):
        raise TableError(f"Expected a table; got a single column ({type(native).__name__}). {_WANTED}.")
    if not isinstance(data, nw.DataFrame):
        raise TableError(f"Expected a table; got {_describe(native)}. {_WANTED}.")
    columns: dict[str, Array] = {}
    kinds: dict[str, ColumnKind] = {}
    for series in data.iter_columns():  # pyright: ignore[reportUnknownVariableType]
        columns[series.name], kinds[series.name] = _series_column(series, nw)
    return Table(columns, len(data), "DataFrame", kinds)  # pyright: ignore[reportUnknownArgumentType]


def _series_column(series: Any, nw: Any) -> tuple[Array, ColumnKind]:
    name, dtype = series.name, series.dtype
    if dtype.is_temporal():
        raise refused_type("DataFrame", name, str(dtype))
    if dtype.is_numeric():
        column = np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
        return finite(column, name, "DataFrame"), "integer" if dtype.is_integer() else "real"
    if isinstance(dtype, nw.Categorical | nw.Enum):
        # A declared category is text whatever its codes stand for. to_list, because to_numpy of a pyarrow
        # dictionary puts a neighbouring value where a null was (narwhals 2.28).
        text = [v if isinstance(v, str) or _is_missing(v) else _plain_text(v) for v in series.to_list()]
        return _object_column(text, name, "DataFrame")
    return _object_column(series.to_list(), name, "DataFrame")


def as_column(values: Any, name: str, source: str) -> tuple[Array, ColumnKind]:
    """One column as float64 with NaN, or text with None; and what it held.

    Parameters
    ----------
    values : (N,) array, or a list
        Not modified.
    name, source : str
        For messages.

    Returns
    -------
    column : (N,) float64, or (N,) object
    kind : {"real", "integer", "boolean", "text"}

    Raises
    ------
    TableError
        Not one-dimensional, infinite, dates, mixed numbers and text, or objects, naming column and first row.
    """
    if _is_list(values):
        return _object_column(list(values), name, source)
    if not _is_array(values):
        native_list = getattr(values, "to_list", None) or getattr(values, "to_pylist", None)
        if native_list is None:
            raise TableError(f"{source}: column {name!r} must be a 1-D array or a list; got {_describe(values)}.")
        return _object_column(native_list(), name, source)
    if values.ndim != 1:
        raise TableError(f"{source}: column {name!r} must be one-dimensional; got shape {values.shape}.")
    mask: Any = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
    if values.dtype.kind in "fiu":
        with np.errstate(over="ignore"):
            column = np.array(values, dtype=np.float64)
        if mask is not None:
            column[mask] = np.nan
        return finite(column, name, source), "real" if values.dtype.kind == "f" else "integer"
    if values.dtype.kind in "OUTb":
        items: list[Any] = values.tolist()
        if mask is not None:
            items = [None if hidden else item for item, hidden in zip(items, mask, strict=True)]
        return _object_column(items, name, source)
    raise refused_type(source, name, str(values.dtype))


def _object_column(items: list[Any], name: str, source: str) -> tuple[Array, ColumnKind]:
    """Python objects of one sort, and missing ones, as a column."""
    one_of_each: dict[Any, Any] = dict(zip(map(type, items), items, strict=True))
    samples = [v for kind, v in one_of_each.items() if kind.__name__ not in _MISSING_TYPES]
    sorts = {_sort(v) for v in samples}
    if "number" in sorts and len(sorts) > 1 and all(_is_missing(v) for v in items if _sort(v) == "number"):
        sorts.discard("number")  # the only floats are NaN, the mark of a missing cell
    if "object" in sorts:
        row = next(i for i, v in enumerate(items) if not _is_missing(v) and _sort(v) == "object")
        kind = type(items[row]).__name__
        raise refused_type(source, name, kind, row)
    if len(sorts) > 1:
        raise _mixed(items, sorts, name, source)
    if sorts == {"number"} or not sorts:
        try:
            column = np.array([np.nan if _is_missing(v) else float(v) for v in items], dtype=np.float64)
        except OverflowError:
            raise TableError(f"{source}: column {name!r} holds an integer too large for float64 (1.8e308).") from None
        whole = bool(samples) and all(isinstance(v, (int, np.integer)) for v in samples)
        return finite(column, name, source), "integer" if whole else "real"
    column = np.empty(len(items), dtype=object)
    if sorts == {"boolean"}:
        column[:] = [None if _is_missing(v) else ("true" if v else "false") for v in items]
        return column, "boolean"
    column[:] = [str(v) if isinstance(v, str) else None for v in items]
    return column, "text"


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _sort(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    return "number" if isinstance(value, _NUMBERS) else "object"


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in _MISSING_TYPES or (isinstance(value, _NUMBERS) and bool(value != value))


def _plain_text(value: Any) -> str:
    return str(value).lower() if _sort(value) == "boolean" else str(value)


def _mixed(items: list[Any], sorts: set[str], name: str, source: str) -> TableError:
    first: dict[str, int] = {}
    for i, v in enumerate(items):
        if not _is_missing(v):
            first.setdefault(_sort(v), i)
    where = "; ".join(f"row {i} holds the {sort} {items[i]!r}" for sort, i in sorted(first.items(), key=lambda p: p[1]))
    return TableError(
        f"{source}: column {name!r} mixes {' and '.join(sorted(sorts))} values: {where} (rows count from 0). "
        "Make the column all numbers or all text."
    )


def refused_type(source: str, name: str, kind: str, row: int | None = None) -> TableError:
    where = "" if row is None else f"; first in row {row}, counting from 0"
    if kind.lower().startswith(("date", "time", "duration", "period")):
        todo = "Turn it into numbers (year, month, weekday, days since a day) or drop it."
    elif kind in ("bytes", "Binary") or kind.startswith("|S"):
        todo = "Decode it to text first."
    else:
        todo = "Turn it into numbers or text, or drop it."
    return TableError(f"{source}: column {name!r} holds {kind} values, which cannot be used as they are{where}. {todo}")


def finite(column: Array, name: str, source: str) -> Array:
    bad = np.isinf(column)
    if bad.any():
        row = int(np.argmax(bad))
        raise TableError(
            f"{source}: column {name!r} is infinite in row {row} (counting from 0), {int(bad.sum())} in all. "
            "Remove such rows, or make the cells missing (NaN)."
        )
    return column


def check_names(names: list[Any], source: str) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TableError(
                f"{source}: column names must be strings; got {name!r} ({type(name).__name__}). "
                "Rename the columns, e.g. df.columns = [str(name) for name in df.columns]."
            )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TableError(f"{source}: column names must differ; more than one column is called {quoted(twice)}.")


def missing_cells(column: Array) -> Array:
    """Which cells of a Table's column are missing, (N,) bool."""
    if column.dtype != object:
        return np.isnan(column)
    missing: Any = None
    return np.equal(column, missing).astype(bool)


def quoted(names: Iterable[object], most: int = 8) -> str:
    """``'a', 'b' and 3 more``, for messages."""
    listed = list(names)
    text = ", ".join(repr(name) for name in listed[:most])
    return text if len(listed) <= most else f"{text} and {len(listed) - most} more"


def counted(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``, for messages."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _describe(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        hint = " (a file is read by the command line)" if isinstance(value, str) else ""
        return f"{type(value).__name__} {str(value)[:40]!r}{hint}" if isinstance(value, str) else f"{value!r}"
    return f"an object of type {type(value).__name__}"
