"""Files of tables: what is read, what is refused, and in which words.

DuckDB parses; it is told everything (delimiter, quote, header, columns) so that nothing is guessed from a sample: its
own sniffer answers a ragged file by another delimiter or by skipping rows. The bytes are looked over once before, for
what DuckDB accepts without a word: a wrong gzip checksum, NUL bytes.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import tempfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from layerwise.errors import TableError, nearest
from layerwise.table.detect import is_number, read_columns, read_parquet_columns
from layerwise.table.frame import Table, check_names, counted, quoted

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")

_CHUNK = 1 << 20
_LONGEST_LINE = 2_000_000  # bytes; DuckDB's own limit of a line
_DELIMITERS = (",", ";", "\t", "|")
_BINARY = {
    b"PK\x03\x04": "a zip archive (an Excel file?)",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
}
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(path: str | Path, text: Iterable[str] = ()) -> Table:
    """Read a table from a .csv, .csv.gz, .tsv, .tsv.gz or .parquet file.

    Delimited files are UTF-8 with one header line. The delimiter of .csv is found from the first lines among comma,
    semicolon, tab and bar. A column is numeric when every filled cell of the whole file is a number. Missing are the
    empty cell and NA, N/A, #N/A, NaN, nan, NULL, null and ?; in columns of numbers also None, none, -, --, ., n/a, na,
    n.a., Null and NAN, which may be values in a column of text. Names and texts are kept as they stand, with blanks.

    Parameters
    ----------
    path : str or Path
    text : iterable of str
        Columns to read as text whatever they look like (postal codes, class numbers); those that are not there are
        not missed here.

    Returns
    -------
    Table
        Its ``notes`` name columns that look like numbers or dates but are read as text.

    Raises
    ------
    TableError
        The file is missing, empty, damaged, of another kind or encoding; a row has too many or too few cells; the
        header is missing or has duplicates; a column of numbers holds a few cells that are no numbers, or infinities.
        The message names file, line, column and value.
    """
    try:
        file = _existing(Path(path))
    except TypeError:
        raise TableError(f"read_table expects the path of a file; got {type(path).__name__}.") from None
    forced = (text,) if isinstance(text, str) else tuple(text)
    connection = connect(f"to read {file.name}")
    import duckdb

    try:
        if file.name.lower().endswith(".parquet"):
            return _read_parquet(connection, file, forced)
        return _read_delimited(connection, file, forced)
    except OSError as error:
        raise TableError(f"{file.name}: cannot be read: {error.strerror or error}.") from None
    except duckdb.Error as error:  # memory or disk at an end; what a file can cause has been caught before
        raise TableError(f"{file.name}: cannot be read ({str(error).splitlines()[0][:200]}).") from None
    finally:
        connection.close()


def connect(purpose: str) -> Any:
    """A DuckDB connection in memory that loads no extensions; a TableError says how to install DuckDB."""
    try:
        import duckdb
    except ImportError:
        raise TableError(f'DuckDB is needed {purpose}: pip install "layerwise[tables]".') from None
    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    # Without this, a table larger than the memory is spilled to a folder ".tmp" of the working directory.
    return duckdb.connect(":memory:", config={**settings, "temp_directory": tempfile.gettempdir()})


def file_suffix(path: Path) -> str:
    """The ending of ``path`` that says its format, or a TableError that lists the endings."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise TableError(f"{path.name}: unknown kind of file; the name must end in one of {', '.join(SUFFIXES)}.")


def _existing(path: Path) -> Path:
    try:
        if path.is_dir():
            raise TableError(f"{path} is a folder; give one file of it.")
        if path.is_symlink() and not path.exists():
            raise TableError(f"{path} is a link that points to nothing: there is no {str(path.readlink())!r}.")
        if not path.exists():
            folder = path.parent
            names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
            where = "" if folder.is_dir() else f" Its folder {str(folder)!r} does not exist either."
            raise TableError(f"There is no file {str(path)!r}.{nearest(path.name, names)}{where}")
        file_suffix(path)
        if not path.is_file():
            raise TableError(f"{path.name}: not an ordinary file.")
        if path.stat().st_size == 0:
            raise TableError(f"{path.name}: the file is empty.")
    except TableError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise TableError(f"{str(path)[:200]!r} cannot be opened: {reason}.") from None
    return path


# Delimited text ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How a delimited file is to be read."""

    file: Path
    delimiter: str
    names: tuple[str, ...]
    blank: int
    """Empty lines before the header."""


def _read_delimited(connection: Any, file: Path, text: tuple[str, ...]) -> Table:
    head = _look_over(file)
    layout = _layout(file, head)
    _check_header(layout)
    _load(connection, layout)
    _check_repeated_header(connection, layout)
    found = read_columns(
        connection, file.name, layout.names, layout.delimiter, text, lambda row: _line(layout, row=row)
    )
    n_rows = int(connection.execute("SELECT count(*) FROM raw").fetchone()[0])
    if n_rows == 0:
        raise TableError(f"{file.name}: only a header line and no rows ({quoted(layout.names)}).")
    numbers = [name for name in layout.names if is_number(name)]
    notes = list(found.notes)
    if numbers:
        notes.insert(0, f"{file.name}: {quoted(numbers)} as column names: if line 1 is not a header, add one.")
    return Table(found.columns, n_rows, file.name, found.kinds, tuple(notes))


@contextmanager
def _opened(file: Path) -> Generator[IO[bytes]]:
    """The bytes of ``file``, unpacked; damage of a gzip file is a TableError."""
    opener = gzip.open if file.name.lower().endswith(".gz") else open
    try:
        with opener(file, "rb") as stream:
            yield stream  # pyright: ignore[reportReturnType]
    except gzip.BadGzipFile as error:
        reason = "its checksum is wrong" if "CRC" in str(error) else "it is not gzip data"
        raise TableError(f"{file.name}: the compressed file is damaged: {reason}.") from None
    except EOFError:
        raise TableError(f"{file.name}: the compressed file is damaged: it ends too early.") from None
    except zlib.error:
        raise TableError(f"{file.name}: the compressed file is damaged.") from None


def _look_over(file: Path) -> bytes:
    """Read every byte once, in bounded memory; the first 2 MB, or a TableError on what cannot be text."""
    head, line = bytearray(), 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(file) as stream:
        while chunk := stream.read(_CHUNK):
            if not head:
                _check_start(file, chunk)
            if b"\0" in chunk:
                raise _nul(file, chunk, line)
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                raise _not_utf8(file, error, line) from None
            if len(head) < _LONGEST_LINE:
                head += chunk
                if len(head) >= _LONGEST_LINE and b"\n" not in head and b"\r" not in head:
                    raise TableError(
                        f"{file.name}: the first {_LONGEST_LINE:,} bytes hold no end of line; not a table."
                    )
            line += chunk.count(b"\n")
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise _not_utf8(file, error, line) from None
    if not bytes(head).removeprefix(codecs.BOM_UTF8).strip():
        raise TableError(f"{file.name}: the file is empty.")
    return bytes(head)


def _check_start(file: Path, chunk: bytes) -> None:
    for bom in _WIDE:
        if chunk.startswith(bom):
            name = "UTF-32" if len(bom) == 4 else "UTF-16"
            raise TableError(f"{file.name}: the encoding is {name}; save the file as UTF-8.")
    if chunk.startswith(b"\x1f\x8b"):
        raise TableError(f"{file.name}: the content is gzip-compressed; rename the file to {file.name}.gz.")
    for magic, kind in _BINARY.items():
        if chunk.startswith(magic):
            raise TableError(f"{file.name}: the content is {kind}, not delimited text.")


def _nul(file: Path, chunk: bytes, line: int) -> TableError:
    place = line + chunk[: chunk.index(b"\0")].count(b"\n")
    # In UTF-16, every other byte of Latin text is 0.
    if line == 1 and chunk[:2000].count(b"\0") * 3 > len(chunk[:2000]):
        return TableError(f"{file.name}: the encoding looks like UTF-16; save the file as UTF-8.")
    return TableError(f"{file.name}: line {place} holds a NUL byte; the file is binary or damaged.")


def _not_utf8(file: Path, error: UnicodeDecodeError, line: int) -> TableError:
    place = line + bytes(error.object[: error.start]).count(b"\n")
    byte = error.object[error.start]
    return TableError(
        f"{file.name}: line {place} is not UTF-8 (byte 0x{byte:02X}, in Latin-1 {bytes([byte]).decode('latin-1')!r}); "
        "the encoding is probably Latin-1 or Windows-1252. Save the file as UTF-8."
    )


def _layout(file: Path, head: bytes) -> _Layout:
    """Delimiter and names from the first lines: the delimiter that gives header and first row the most cells alike."""
    content = head.decode("utf-8-sig", errors="ignore")
    blank = 0
    lines = content.splitlines(keepends=True)
    while blank < len(lines) and not lines[blank].strip("\r\n"):
        blank += 1
    content = "".join(lines[blank:])
    candidates = ("\t",) if file.name.lower().endswith((".tsv", ".tsv.gz")) else _DELIMITERS
    best, names, best_rank, refusal = "", [""], (-1, -1), ""
    for delimiter in candidates:
        try:
            rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
            header = next(rows)
        except csv.Error as error:  # a cell's closing quote is not followed by this delimiter
            refusal = refusal or str(error)
            continue
        try:
            first = next((row for row in rows if row), header)
        except csv.Error:  # a cell longer than the csv module takes; DuckDB takes it
            first = header
        rank = (int(len(header) > 1 and len(first) == len(header)), len(header))
        if rank > best_rank:
            best, names, best_rank = delimiter, header, rank
    if not best:
        raise TableError(f"{file.name}: the header cannot be read as delimited text ({refusal}).")
    return _Layout(file, best, tuple(names), blank)


def _check_header(layout: _Layout) -> None:
    check_names(list(layout.names), layout.file.name)
    filled = [name for name in layout.names if name.strip()]
    if filled and all(is_number(name) for name in filled):
        raise TableError(
            f"{layout.file.name}: there is no header line; line {layout.blank + 1} holds only numbers "
            f"({quoted(layout.names, 4)}). Add a first line with the names of the columns."
        )


def _load(connection: Any, layout: _Layout) -> None:
    """Every cell as text into the table ``raw``, columns c0, c1, ... (names may differ by case only, or be empty)."""
    import duckdb

    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(layout.names)))
    query = (
        "CREATE OR REPLACE TEMP TABLE raw AS SELECT * FROM read_csv(?, auto_detect=false, header=true, "
        f"columns={{{columns}}}, delim='{layout.delimiter}', quote='\"', escape='\"', skip={layout.blank}, "
        "compression=?, strict_mode=true, null_padding=false, ignore_errors=false, hive_partitioning=false)"
    )
    packed = "gzip" if layout.file.name.lower().endswith(".gz") else "none"
    try:
        connection.execute(query, [literal_path(layout.file), packed])
    except duckdb.Error as error:
        if "invalid state" not in str(error):
            raise _refused(layout, str(error)) from None
        # Line ends of more than one kind. Not strict_mode=false, which drops surplus cells without a word.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "lines.csv"
            _with_plain_line_ends(layout.file, copy)
            try:
                connection.execute(query, [literal_path(copy), "none"])
            except duckdb.Error as second:
                raise _refused(layout, str(second)) from None


def _with_plain_line_ends(file: Path, copy: Path) -> None:
    with (
        _opened(file) as stream,
        io.TextIOWrapper(stream, encoding="utf-8", newline=None) as lines,
        copy.open("w", encoding="utf-8", newline="") as out,
    ):
        while part := lines.read(_CHUNK):
            out.write(part)


def literal_path(path: Path) -> str:
    """``path`` so that DuckDB does not read ``*``, ``?`` or ``[`` of a file name as a pattern."""
    return re.sub(r"([\[*?])", r"[\1]", str(path.absolute()))


def _refused(layout: _Layout, message: str) -> TableError:
    """DuckDB's report in our words. It counts records; a user counts lines."""
    name = layout.file.name
    record = re.search(r"CSV Error on Line: (\d+)", message)
    line = _line(layout, record=int(record[1])) if record else None
    where = f"{name}: line {line}" if line else name
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if counts:
        cells = counted(int(counts[2]), "cell")
        return TableError(f"{where} has {cells}; the header has {counts[1]}. Correct the line or its quotes.")
    if "quote" in message.split("Possible")[0]:
        return TableError(f"{where}: a quoted cell does not end, or goes on after its closing quote.")
    if "Maximum line size" in message:
        return TableError(f"{where} is longer than {_LONGEST_LINE:,} bytes; a quote may be left open.")
    return TableError(f"{where}: cannot be read as delimited text ({message.splitlines()[0][:200]}).")


def _line(layout: _Layout, record: int | None = None, row: int | None = None) -> int | None:
    """The line, from 1, where a record (from 1; header and empty lines count) or a data row (from 0) starts.

    A quoted cell may hold line ends, and empty lines are no rows, so neither number is a line number.
    """
    seen_rows = -2  # the header is row -1
    with _opened(layout.file) as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        reader = csv.reader(lines, delimiter=layout.delimiter)
        start = 1
        try:
            for number, cells in enumerate(reader, start=1):
                if number > layout.blank and (cells or len(layout.names) == 1):
                    seen_rows += 1
                if number == record or (row is not None and seen_rows == row):
                    return start
                start = reader.line_num + 1
        except csv.Error:
            return start
        finally:
            lines.detach()
    return None


def _check_repeated_header(connection: Any, layout: _Layout) -> None:
    names = layout.names[:50]
    if len(names) < 2:
        return
    condition = " AND ".join(f"coalesce(c{i}, '') = ?" for i in range(len(names)))
    row = connection.execute(f"SELECT min(rowid) FROM raw WHERE {condition}", list(names)).fetchone()[0]
    if row is not None:
        line = _line(layout, row=row)
        raise TableError(f"{layout.file.name}: line {line} repeats the header; were two files joined? Remove it.")


# Parquet -------------------------------------------------------------------------------------------------------------


def _read_parquet(connection: Any, file: Path, text: tuple[str, ...]) -> Table:
    import duckdb

    try:
        found = read_parquet_columns(connection, file.name, literal_path(file), text)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].removeprefix("Invalid Input Error: ")[:200]
        raise TableError(f"{file.name}: not a readable Parquet file, or damaged ({reason}).") from None
    n_rows = len(next(iter(found.columns.values()), ()))
    if n_rows == 0:
        raise TableError(f"{file.name}: the table has no rows.")
    return Table(found.columns, n_rows, file.name, found.kinds, found.notes)
