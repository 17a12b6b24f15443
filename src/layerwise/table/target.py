"""The target: class labels with their type, or one number per row, centred and scaled."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from layerwise.errors import ModelFileError, TableError
from layerwise.table import plain
from layerwise.table.columns import centre_and_scale, number_text, scaled
from layerwise.table.detect import MISSING, MISSING_AMONG_NUMBERS
from layerwise.table.frame import ColumnKind, Table, as_column, counted, missing_cells, quoted
from layerwise.types import Array, FloatArray

Task: TypeAlias = Literal["classification", "regression"]
Label: TypeAlias = str | int | float | bool

_FEW_CLASSES, _FEW_SHARE = 20, 0.05
_TEXT_FILES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class Target:
    """What is predicted. Made by `fit_target`; plain data.

    Attributes
    ----------
    name : str
    task : {"classification", "regression"}
    classes : tuple of str, int, float or bool
        Sorted, at least two; empty for regression.
    centre, scale : float
        Mean and standard deviation of a regression target; 0 and 1 for classification.
    """

    name: str
    task: Task
    classes: tuple[Label, ...] = ()
    centre: float = 0.0
    scale: float = 1.0

    def encode(self, column: Any) -> Array:
        """Labels as (N,) int64 numbers of classes, or numbers as (N,) float64 (y - centre) / scale.

        Parameters
        ----------
        column : (N,) array or list
            A column of a Table, or labels of the type of ``classes``. Truth values are also labels of classes that
            are their texts, such as "TRUE" and "FALSE".

        Raises
        ------
        TableError
            Missing cells, a label that the fit did not have, text for a number; names the first row.
        """
        values, _ = as_column(column, self.name, "target")
        _check_filled(values, self.name, "target")
        if self.task == "regression":
            if values.dtype == object:
                raise TableError(f"target {self.name!r} must be numbers; got {values[0]!r} in row 0 (counting from 0).")
            return scaled(values, self.centre, self.scale)
        numbers = {_key(label): i for i, label in enumerate(self.classes)}
        if self.are_truth_values:
            numbers |= {str(label).lower(): i for i, label in enumerate(self.classes)}
        cells = values.tolist()
        labels = np.fromiter((numbers.get(cell, -1) for cell in cells), dtype=np.int64, count=len(cells))
        if (labels < 0).any():
            row = int(np.argmax(labels < 0))
            cell = number_text(cells[row]) if isinstance(cells[row], float) else repr(cells[row])
            raise TableError(
                f"target {self.name!r}: {cell} in row {row} (counting from 0) is no class of the fit; "
                f"{counted(int((labels < 0).sum()), 'such cell')}. Classes: {quoted(self.classes, 12)}."
            )
        return labels

    @property
    def are_truth_values(self) -> bool:
        """Whether the classes are truth values, or one spelling of each as text."""
        return sorted(str(label).lower() for label in self.classes) == ["false", "true"]

    def decode_labels(self, labels: Any) -> Array:
        """The classes at ``labels``, (N,) integers 0..K-1; object for text, else bool, int64 or float64."""
        if self.task == "regression":
            raise TableError(f"target {self.name!r} is a number; it has no classes.")
        # object, because a fixed-width text array drops NUL at the end
        table = np.array(self.classes, dtype=object if isinstance(self.classes[0], str) else None)
        index = np.asarray(labels)
        if index.size and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= len(table)):
            raise TableError(
                f"labels must be integers 0..{len(table) - 1}; got {index.dtype} {index.min()}..{index.max()}."
            )
        return table[index.astype(np.intp)]

    def unscale(self, values: Any) -> FloatArray:
        """Outputs of the network in the unit of the target: values * scale + centre, float64, same shape.

        What would be beyond the largest float64 is that number.
        """
        z = np.asarray(values, dtype=np.float64)
        with np.errstate(over="ignore", under="ignore"):
            product = z * self.scale
            # A product beyond float64 may come back into it with the centre, which halves show.
            y = np.where(np.isinf(product), (z / 2 * self.scale + self.centre / 2) * 2, product + self.centre)
        largest = np.finfo(np.float64).max
        return np.clip(y, -largest, largest)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "task": self.task,
            "classes": list(self.classes),
            "centre": self.centre,
            "scale": self.scale,
        }

    @staticmethod
    def from_dict(data: object) -> Target:
        """The inverse of `to_dict`; a ModelFileError on anything it cannot have written."""
        given = plain.record(data, "The target", {"name", "task", "classes", "centre", "scale"})
        classes = tuple(plain.items(given["classes"], "classes"))
        if given["task"] == "classification":
            _check_classes(classes)
        elif given["task"] != "regression" or classes:
            raise ModelFileError("The task must be classification, or regression without classes.")
        return Target(
            plain.text(given["name"], "The name of the target"),
            given["task"],
            classes,
            plain.number(given["centre"], "centre"),
            plain.number(given["scale"], "scale", positive=True),
        )


def _key(label: Label) -> str | float:
    """A class as it stands in a column of a Table."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return label if isinstance(label, str) else float(label)


def _check_classes(classes: tuple[Any, ...]) -> None:
    kinds: set[type[Any]] = {type(label) for label in classes}
    if len(classes) < 2 or len(kinds) != 1 or not kinds <= {str, int, float, bool}:
        raise ModelFileError("The classes must be two or more, all text, all integers, all floats or all booleans.")
    # not sorted(): NaN would pass; int beyond 2^53 would collide as float
    if kinds != {str} and not all(abs(label) <= 2**53 for label in classes):
        raise ModelFileError("Classes that are numbers must lie within 2^53.")
    if any(not a < b for a, b in pairwise(classes)):
        raise ModelFileError("The classes must be sorted and differ from each other.")


def infer_task(column: Array) -> Task:
    """Classification for text, and for whole numbers with few distinct values; otherwise regression.

    Few is at most 20, and at most 5 % of the rows (but two are always few). Missing cells are not counted.
    """
    if column.dtype == object:
        return "classification"
    present = column[~np.isnan(column)]
    distinct = np.unique(present)
    few = len(distinct) <= _FEW_CLASSES and len(distinct) <= max(2, _FEW_SHARE * len(present))
    return "classification" if few and bool(np.all(distinct == np.floor(distinct))) else "regression"


def fit_target(table: Table, name: str, task: Task | None = None) -> Target:
    """Learn the classes, or centre and scale, of column ``name``.

    Parameters
    ----------
    table : Table
    name : str
    task : {"classification", "regression"}, optional
        By default `infer_task` decides.

    Raises
    ------
    TableError
        No such column, missing cells, one class or one value only, a continuous column as classes, text as numbers.
    """
    column = table.column(name)
    if task not in (None, "classification", "regression"):
        raise TableError(f"task must be 'classification' or 'regression'; got {task!r}.")
    if table.n_rows == 0:
        raise TableError(f"{table.source} has no rows to learn from.")
    _check_filled(column, name, table.source)
    task = task or infer_task(column)
    if task == "classification":
        return Target(name, task, _classes(column, table.kind(name), name, table.source))
    if column.dtype == object:
        raise TableError(
            f"{table.source}: target {name!r} holds text ({column[0]!r} in row 0), which is no regression target; "
            "choose the task classification."
        )
    if column.min() == column.max():
        raise TableError(
            f"{table.source}: target {name!r} is {number_text(float(column[0]))} in every row; nothing to learn."
        )
    centre, scale = centre_and_scale(column)
    return Target(name, task, (), centre, scale)


def _check_filled(column: Array, name: str, source: str) -> None:
    missing = missing_cells(column)
    if missing.any():
        count, row = int(missing.sum()), int(np.argmax(missing))
        if count == len(column):
            raise TableError(f"{source}: target {name!r} is missing in every row.")
        markers = [mark for mark in MISSING if mark]
        markers += MISSING_AMONG_NUMBERS if column.dtype != object else ()
        also = f" Empty cells and {quoted(markers, len(markers))} count as missing."
        also = also if source.lower().endswith(_TEXT_FILES) else ""
        raise TableError(
            f"{source}: target {name!r} is missing in {count} of {len(column)} rows, first in row {row} (counting from "
            f"0). Remove {'this row' if count == 1 else 'these rows'}.{also}"
        )


def _classes(column: Array, kind: ColumnKind, name: str, source: str) -> tuple[Label, ...]:
    found: list[Any] = sorted(set(column.tolist()))
    if len(found) == 1:
        only = number_text(found[0]) if isinstance(found[0], float) else repr(found[0])
        raise TableError(f"{source}: target {name!r} has one class only ({only}); two or more are needed.")
    if column.dtype != object:
        whole = all(value.is_integer() for value in found)
        if not whole and len(found) > _FEW_CLASSES:
            raise TableError(
                f"{source}: target {name!r} has {len(found)} distinct values such as {found[0]!r} and {found[1]!r}: a "
                "continuous number, not classes; choose the task regression."
            )
        if abs(found[0]) > 2**53 or abs(found[-1]) > 2**53:
            raise TableError(f"{source}: target {name!r} has class numbers beyond 2^53; make them text.")
        return tuple(int(value) for value in found) if kind == "integer" else tuple(found)
    if kind == "boolean":
        return tuple(value == "true" for value in found)
    return tuple(found)
