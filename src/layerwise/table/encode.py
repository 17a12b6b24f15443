"""The encoder of inputs: a table in, a matrix out, the same way at every prediction as in the fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerwise.errors import TableError, nearest
from layerwise.table import plain
from layerwise.table.columns import CategoryColumn, InputColumn, column_from_dict, column_to_dict, fit_column
from layerwise.table.frame import Table, counted, quoted
from layerwise.types import Array, Precision

MAX_CATEGORIES = 256


@dataclass(frozen=True)
class Encoder:
    """How the columns of a table become the columns of a matrix. Made by `fit_encoder`; plain data.

    Attributes
    ----------
    columns : tuple of NumberColumn, CategoryColumn or PresenceColumn
        In the order of the table of the fit; their outputs stand side by side.
    ignored : tuple of str
        Columns of that table that are not used.
    notes : tuple of str
        Sentences on what was left out or merged, and why.
    """

    columns: tuple[InputColumn, ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the columns that a table must have."""
        return tuple(column.name for column in self.columns)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the inputs to be read as text even where a file's rows look like numbers.

        Truth values are not among them: a reader finds them as such, so that TRUE and True are one value.
        """
        categories = (column for column in self.columns if isinstance(column, CategoryColumn))
        return tuple(c.name for c in categories if not set(c.values) <= {"true", "false"})

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each column of the matrix means."""
        return tuple(name for column in self.columns for name in column.output_names)

    @property
    def width(self) -> int:
        """d, the number of columns of the matrix."""
        return sum(len(column.output_names) for column in self.columns)

    def transform(self, table: Table, dtype: Precision = "float32") -> Array:
        """The matrix of ``table``.

        Parameters
        ----------
        table : Table
            Columns are found by name, in any order; others are ignored.
        dtype : {"float32", "float64"}

        Returns
        -------
        X : (N, d) of ``dtype``, C order
            From -3 to 3. A missing number is 0, which is the median.

        Raises
        ------
        TableError
            Columns are missing; a column of numbers holds text, or a column of text holds numbers that the fit did
            not see as text.
        """
        self._check_names(table)
        out = np.zeros((table.n_rows, self.width), dtype=dtype)
        start = 0
        for column in self.columns:
            stop = start + len(column.output_names)
            column.fill(out[:, start:stop], table.columns[column.name], table.source)
            start = stop
        return out

    def report(self, table: Table) -> list[str]:
        """Sentences on what in ``table`` the fit has not seen: unseen values, new gaps, unused columns."""
        self._check_names(table)
        said = [text for column in self.columns for text in column.unusual(table.columns[column.name])]
        extra = self._extra(table)
        return [*said, f"Not used: {quoted(extra)}."] if extra else said

    def _extra(self, table: Table) -> list[str]:
        known = {*self.input_names, *self.ignored}
        return [name for name in table.columns if name not in known]

    def _check_names(self, table: Table) -> None:
        missing = [name for name in self.input_names if name not in table.columns]
        if not missing:
            return
        extra = self._extra(table)
        near = [(name, nearest(name, extra)) for name in missing[:8]]
        hints = "".join(f" For {name!r}:{hint}" for name, hint in near if hint)
        also = f" It has columns that the fit did not have: {quoted(extra)}." if extra else ""
        raise TableError(
            f"{table.source} lacks {len(missing)} of the {counted(len(self.columns), 'column')} of the fit: "
            f"{quoted(missing)}.{also}{hints}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` gives the same encoder, to the bit."""
        return {
            "columns": [column_to_dict(column) for column in self.columns],
            "ignored": list(self.ignored),
            "notes": list(self.notes),
        }

    @staticmethod
    def from_dict(data: object) -> Encoder:
        """The inverse of `to_dict`.

        Raises
        ------
        ModelFileError
            Anything that `to_dict` cannot have written.
        """
        given = plain.record(data, "The encoder", {"columns", "ignored", "notes"})
        columns = tuple(column_from_dict(item) for item in plain.items(given["columns"], "columns"))
        ignored = plain.texts(given["ignored"], "ignored")
        plain.distinct((*(column.name for column in columns), *ignored), "The columns of the encoder")
        return Encoder(columns, ignored, plain.texts(given["notes"], "notes"))


def fit_encoder(table: Table, ignore: Iterable[str] = (), max_categories: int = MAX_CATEGORIES) -> Encoder:
    """Decide for every column how it becomes numbers.

    A column of numbers is centred at its median, divided by the distance of its quartiles (half of its range, where
    these are equal) and limited smoothly to -3..3; where it has gaps, a second place says so. A column of text gets one
    place per value, one for missing cells if there are any, and one for other values: those beyond the
    ``max_categories`` most frequent and, from 100 rows on, those seen once. Left out with a note: columns of one value,
    and text that differs in almost every row. The order of rows and of columns and the codes of a DataFrame's
    categories do not matter.

    Parameters
    ----------
    table : Table
        The rows to learn from, N >= 1.
    ignore : iterable of str
        Columns that are no inputs: the target, row numbers, weights.
    max_categories : int
        Most places for the values of one column.

    Raises
    ------
    TableError
        No rows; no column left; ``ignore`` names a column that is not there.
    """
    ignored = list(dict.fromkeys((ignore,) if isinstance(ignore, str) else ignore))
    for name in ignored:
        table.column(name)
    if table.n_rows == 0:
        raise TableError(f"{table.source} has no rows to learn from.")
    if isinstance(max_categories, bool) or not isinstance(max_categories, int) or max_categories < 1:  # pyright: ignore
        raise TableError(f"max_categories must be a positive integer; got {max_categories!r}.")
    columns: list[InputColumn] = []
    notes: list[str] = []
    for name, values in table.columns.items():
        if name in ignored:
            continue
        column, note = fit_column(name, values, max_categories)
        if note:
            notes.append(note)
        if column is None:
            ignored.append(name)
        else:
            columns.append(column)
    if not columns:
        raise TableError(f"{table.source} has no column to learn from. {' '.join(notes)}".rstrip())
    return Encoder(tuple(columns), tuple(ignored), tuple(notes))
