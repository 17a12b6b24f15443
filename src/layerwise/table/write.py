"""Tables into files: complete under the final name, or not there at all."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from layerwise.errors import TableError
from layerwise.files import replace_file
from layerwise.table.frame import Table
from layerwise.table.read import connect, file_suffix


def write_table(path: str | Path, table: Table) -> None:
    """Write ``table`` as .csv, .csv.gz, .tsv, .tsv.gz or .parquet; a missing cell is an empty one.

    The file is written beside its place, synced and renamed, so that a reader, a crash or a full disk never meets
    half of it; a file already there is replaced.

    Raises
    ------
    TableError
        Unknown ending, no such folder, no right or no room to write; names path and cause.
    """
    target = Path(path)
    suffix = file_suffix(target)

    def write(beside: str) -> None:
        if suffix == ".parquet":
            _parquet(Path(beside), table)
        else:
            _delimited(Path(beside), table, suffix)

    try:
        replace_file(target, write)
    except OSError as error:
        raise TableError(f"{str(target)!r} cannot be written: {error.strerror or error}.") from None
    except UnicodeEncodeError as error:
        raise TableError(f"{str(target)!r} cannot be written: {error.object[:40]!r} is no valid Unicode.") from None


def _delimited(file: Path, table: Table, suffix: str) -> None:
    delimiter = "\t" if suffix.startswith(".tsv") else ","
    with file.open("wb") as raw:
        # mtime=0: the same table gives the same bytes.
        packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if suffix.endswith(".gz") else None
        stream: Any = packed or raw
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        write_csv(text, table, delimiter)
        text.flush()
        text.detach()
        if packed is not None:
            packed.close()


def write_csv(stream: TextIO, table: Table, delimiter: str = ",") -> None:
    """Write the header and the rows of ``table`` to an open text stream; a missing cell is an empty one."""
    rows = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    rows.writerow(table.names)
    # Columns to cells in one pass each; a row at a time would cost a Python call per cell.
    rows.writerows(zip(*(_cells(table, name) for name in table.names), strict=True))


def _cells(table: Table, name: str) -> list[Any]:
    column = table.column(name)
    if column.dtype == object:
        return column.tolist()
    if table.kind(name) == "integer":
        return [None if value != value else int(value) for value in column.tolist()]
    return [None if value != value else value for value in column.tolist()]


def _parquet(file: Path, table: Table) -> None:
    connection = connect("to write Parquet files")
    import duckdb

    sql_types = {"integer": "BIGINT", "real": "DOUBLE", "boolean": "BOOLEAN", "text": "VARCHAR"}
    parts: list[str] = []
    cells: dict[str, Any] = {}
    for i, name in enumerate(table.names):
        column, kind = table.column(name), table.kind(name)
        if kind == "integer" and np.nanmax(np.abs(column), initial=0.0) >= 2.0**63:
            kind = "real"
        cells[f"c{i}"] = column
        quoted = name.replace('"', '""')
        parts.append(f'CAST(c{i} AS {sql_types[kind]}) AS "{quoted}"')
    try:
        connection.register("cells", cells)
        place = str(file).replace("'", "''")
        connection.execute(f"COPY (SELECT {', '.join(parts)} FROM cells) TO '{place}' (FORMAT parquet)")
    except duckdb.Error as error:
        reason = str(error).splitlines()[0][:200]
        raise TableError(f"{file.name}: cannot be written as Parquet ({reason}).") from None
    finally:
        connection.close()
