"""One input column: what is kept of it from the fit, and the numbers a network gets for it.

Three forms, all plain data, so that an export can repeat them: a scaled number, a category with one place per value,
and the mere presence of a cell.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal, TypeAlias

import numpy as np

from layerwise.errors import ModelFileError, TableError
from layerwise.table import plain
from layerwise.table.detect import is_number
from layerwise.table.frame import missing_cells, quoted
from layerwise.types import Array

_ENOUGH_FOR_RARE = 100  # rows from which a value seen once joins "other"
_ENOUGH_FOR_IDENTIFIER, _DISTINCT_SHARE = 20, 0.95


@dataclass(frozen=True)
class NumberColumn:
    """(x - centre) / scale; a missing cell becomes 0, the centre. Then 1 where missing, if ``indicator``."""

    name: str
    centre: float
    scale: float
    indicator: bool
    kind: Literal["number"] = "number"

    @property
    def output_names(self) -> tuple[str, ...]:
        return (self.name, f"{self.name} is missing") if self.indicator else (self.name,)

    def fill(self, out: Array, column: Array, source: str) -> None:
        """Write the places of this column, (N, width), zeros before."""
        x = self._numbers(column, source)
        missing = np.isnan(x)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.where(missing, 0.0, x / self.scale - self.centre / self.scale)
            near = np.where(missing, 0.0, (x - self.centre) / self.scale)
            # x - centre is exact where the two are near; it overflows only where the quotients differ anyway.
            out[:, 0] = np.where(np.isfinite(near), near, scaled)
        bad = ~np.isfinite(out[:, 0])
        if bad.any():
            row = int(np.argmax(bad))
            raise TableError(
                f"{source}: column {self.name!r} has {float(x[row])!r} in row {row} (counting from 0), too far from "
                f"the values of the fit (mean {self.centre:.6g}, deviation {self.scale:.6g}) for {out.dtype}."
            )
        if self.indicator:
            out[:, 1] = missing

    def _numbers(self, column: Array, source: str) -> Array:
        if column.dtype != object:
            return column
        text = np.array([cell is not None and not is_number(cell) for cell in column.tolist()], dtype=bool)
        filled = text if text.any() else ~missing_cells(column)
        if filled.any():
            row = int(np.argmax(filled))
            raise TableError(
                f"{source}: column {self.name!r} held numbers in the fit and holds text now; first in row {row} "
                f"(counting from 0): {column[row]!r}."
            )
        return np.full(len(column), np.nan)

    def unusual(self, column: Array) -> list[str]:
        count = int(missing_cells(column).sum())
        if self.indicator or not count:
            return []
        return [f"{self.name!r}: {_cells(count)} missing, none in the fit; the mean stands in."]


@dataclass(frozen=True)
class CategoryColumn:
    """1 in the place of the value: ``values`` in sorted order, then missing, then other values.

    The places for missing and other cells exist only where the fit had such rows: the weights of a place that no row
    reached would be as they were drawn. Without them, such a cell is 0 in every place.
    """

    name: str
    values: tuple[str, ...]
    missing: bool
    other: bool
    kind: Literal["category"] = "category"

    @property
    def output_names(self) -> tuple[str, ...]:
        names = [f"{self.name} = {value}" for value in self.values]
        names += [f"{self.name} is missing"] * self.missing + [f"{self.name}: other"] * self.other
        return tuple(names)

    def fill(self, out: Array, column: Array, source: str) -> None:
        """Write the places of this column, (N, width), zeros before."""
        codes = self.codes(column, source)
        rows = np.flatnonzero(codes >= 0)
        out[rows, codes[rows]] = 1

    def codes(self, column: Array, source: str) -> Array:
        """The place of every cell, (N,) int64; -1 where it has none."""
        places: dict[Any, int] = {value: place for place, value in enumerate(self.values)}
        unseen = len(self.values) + self.missing if self.other else -1
        places[None] = len(self.values) if self.missing else unseen
        cells = self._texts(column, source).tolist()
        # A dict over the cells, driven from C: 20 times faster than sorting them (np.unique, np.searchsorted).
        return np.fromiter(map(places.get, cells, repeat(unseen)), dtype=np.int64, count=len(cells))

    def _texts(self, column: Array, source: str) -> Array:
        """Numbers where the fit had text: the same values if all are known as text, otherwise an error."""
        if column.dtype == object:
            return column
        known = set(self.values)
        distinct, inverse = np.unique(column, return_inverse=True)
        texts = np.empty(len(distinct), dtype=object)
        texts[:] = [None if v != v else number_text(v) for v in distinct.tolist()]
        strange = np.array([text is not None and text not in known for text in texts], dtype=bool)
        if strange.any():
            row = int(np.argmax(strange[inverse]))
            raise TableError(
                f"{source}: column {self.name!r} held text in the fit and holds numbers now; first in row {row} "
                f"(counting from 0): {number_text(float(column[row]))}. Read the column as text."
            )
        return texts[inverse]

    def unusual(self, column: Array) -> list[str]:
        cells: list[Any] = column.tolist() if column.dtype == object else []
        known = set(self.values)
        unseen = Counter(cell for cell in cells if cell is not None and cell not in known)
        said: list[str] = []
        if unseen:
            names = quoted((value for value, _ in unseen.most_common(6)), 5)
            fate = "they count as other values" if self.other else "they count as no value"
            rare = "rare or not seen" if self.other else "not seen"
            said.append(f"{self.name!r}: {_cells(sum(unseen.values()))} of values {rare} in the fit ({names}); {fate}.")
        absent = int(missing_cells(column).sum())
        if absent and not self.missing:
            fate = "other values" if self.other else "no value"
            said.append(f"{self.name!r}: {_cells(absent)} missing, none in the fit; they count as {fate}.")
        return said


@dataclass(frozen=True)
class PresenceColumn:
    """1 where the cell is missing: all that a column of one value, or of names, with gaps can tell."""

    name: str
    kind: Literal["presence"] = "presence"

    @property
    def output_names(self) -> tuple[str, ...]:
        return (f"{self.name} is missing",)

    def fill(self, out: Array, column: Array, source: str) -> None:
        """Write the place of this column, (N, 1)."""
        out[:, 0] = missing_cells(column)

    def unusual(self, column: Array) -> list[str]:
        return []


InputColumn: TypeAlias = NumberColumn | CategoryColumn | PresenceColumn


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def number_text(value: float) -> str:
    """A number as the text it would be as a category: 3.0 is "3"."""
    return str(int(value)) if value.is_integer() else repr(value)


def centre_and_scale(values: Array) -> tuple[float, float]:
    """Mean and standard deviation of finite numbers, (n,) float64, n > 0; scale 1 where all are equal.

    Notes
    -----
    Computed on values divided by a power of two near the largest magnitude, so that neither squares nor sums overflow
    (1e300) or vanish (1e-300), and in two passes, so that 1e15 + {0, 1} has deviation 0.5.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 1.0
    exponent = int(np.frexp(max(abs(low), abs(high)))[1])
    y = np.ldexp(values, -exponent)
    origin = float(y[0])
    deviations = y - origin  # exact for close values, where a mean of the values would round
    shift = float(deviations.mean())
    centre = float(np.ldexp(origin + shift, exponent))
    scale = float(np.ldexp(np.sqrt(np.mean(np.square(deviations - shift))), exponent))
    # Subnormal columns: the deviation may round to 0.
    return centre, scale if scale > 0 else high - low


def fit_column(name: str, column: Array, max_categories: int) -> tuple[InputColumn | None, str]:
    """The form of a column, or None where it has nothing to tell; and a note, or ''."""
    if column.dtype == object:
        return _fit_category(name, column, max_categories)
    missing = np.isnan(column)
    present = column[~missing]
    if not len(present):
        return None, f"{name!r} is left out: every cell is missing."
    centre, scale = centre_and_scale(present)
    if present.min() == present.max():
        return _alone(name, f"every cell is {number_text(float(present[0]))}", bool(missing.any()))
    note = ""
    if len(present) == len(column) >= _ENOUGH_FOR_IDENTIFIER and bool(np.all(np.diff(column) == 1)):
        note = f"{name!r} counts the rows; if it is a mere row number, leave it out."
    return NumberColumn(name, centre, scale, bool(missing.any())), note


def _alone(name: str, why: str, missing: bool) -> tuple[PresenceColumn | None, str]:
    if missing:
        return PresenceColumn(name), f"{name!r} tells only whether the cell is missing: {why}, or is missing."
    return None, f"{name!r} is left out: {why}."


def _fit_category(name: str, column: Array, max_categories: int) -> tuple[InputColumn | None, str]:
    cells: list[Any] = column.tolist()
    counts: Counter[Any] = Counter(cells)
    absent = counts.pop(None, 0)
    present = len(column) - absent
    if not present:
        return None, f"{name!r} is left out: every cell is missing."
    if len(counts) == 1:
        return _alone(name, f"every cell is {next(iter(counts))!r}", absent > 0)
    if present >= _ENOUGH_FOR_IDENTIFIER and len(counts) > _DISTINCT_SHARE * present:
        return _alone(name, f"{len(counts)} of {present} texts differ, like names or free text", absent > 0)
    kept = sorted(counts, key=lambda value: (-counts[value], value))
    rare = [value for value in kept if counts[value] == 1] if len(column) >= _ENOUGH_FOR_RARE else []
    frequent = kept[: len(kept) - len(rare)][:max_categories]
    other = len(counts) - len(frequent)
    note = ""
    if other:
        note = f'{name!r}: {other} of {len(counts)} values are rare and count as "other".'
    if not frequent and not absent:
        return None, f"{name!r} is left out: {len(counts)} texts, each seen once."
    return CategoryColumn(name, tuple(sorted(frequent)), absent > 0, other > 0), note


# Plain data ----------------------------------------------------------------------------------------------------------


def column_to_dict(column: InputColumn) -> dict[str, Any]:
    """Plain data for JSON."""
    if isinstance(column, NumberColumn):
        return {
            "kind": "number",
            "name": column.name,
            "centre": column.centre,
            "scale": column.scale,
            "indicator": column.indicator,
        }
    if isinstance(column, CategoryColumn):
        return {
            "kind": "category",
            "name": column.name,
            "values": list(column.values),
            "missing": column.missing,
            "other": column.other,
        }
    return {"kind": "presence", "name": column.name}


def column_from_dict(data: Any) -> InputColumn:
    """The inverse of `column_to_dict`; a ModelFileError on anything it cannot have written."""
    kind = plain.mapping(data, "An input column").get("kind")
    if kind == "number":
        given = plain.record(data, "A number column", {"kind", "name", "centre", "scale", "indicator"})
        return NumberColumn(
            plain.text(given["name"], "The name of a column"),
            plain.number(given["centre"], "centre"),
            plain.number(given["scale"], "scale", positive=True),
            plain.truth(given["indicator"], "indicator"),
        )
    if kind == "category":
        given = plain.record(data, "A category column", {"kind", "name", "values", "missing", "other"})
        values = plain.texts(given["values"], "values")
        if list(values) != sorted(set(values)):
            raise ModelFileError("The values of a category column must be sorted and differ from each other.")
        missing, other = plain.truth(given["missing"], "missing"), plain.truth(given["other"], "other")
        if len(values) + missing + other == 0:
            raise ModelFileError("A category column must have at least one place.")
        return CategoryColumn(plain.text(given["name"], "The name of a column"), values, missing, other)
    if kind == "presence":
        given = plain.record(data, "A presence column", {"kind", "name"})
        return PresenceColumn(plain.text(given["name"], "The name of a column"))
    raise ModelFileError(f"Unknown kind of input column {str(kind)[:50]!r}; known: category, number, presence.")
