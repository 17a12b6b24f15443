"""The NumPy engine. It is slow, short and the definition: every other engine must agree with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from layerwise.arrays import numeric_array
from layerwise.compile.plan import Instruction, Plan
from layerwise.graph.node import Node
from layerwise.graph.shapes import bind, resolve
from layerwise.types import Array, Kind


class Runner:
    """A plan made ready to run again and again in one precision.

    Parameters
    ----------
    plan : Plan
    dtype : str
        "float32" or "float64"; "complex128" for derivatives by a complex step.
    """

    def __init__(self, plan: Plan, dtype: str):
        self._plan = plan
        self._dtypes: dict[Kind, np.dtype[Any]] = {
            "real": np.dtype(dtype),
            "integer": np.dtype(np.int64),
            "boolean": np.dtype(np.bool_),
        }
        self._start: list[Array | None] = [None] * plan.n_values
        with np.errstate(over="ignore"):  # 1e300 is ∞ in float32
            for slot, value in plan.constants:
                self._start[slot] = value.astype(dtype) if value.dtype == np.float64 else value

    def run(self, feeds: Mapping[Node, Any], sizes: Mapping[str, int] | None = None) -> list[Array]:
        """The plan's outputs for these feeds.

        Parameters
        ----------
        feeds : mapping of Node to array
            One array for every source, of any numeric dtype.
        sizes : mapping of str to int, optional
            Sizes of named axes that no input carries.

        Raises
        ------
        ShapeError, DataError
            A fed array has another shape than its node, or its values are not numbers.
        """
        bound = dict(sizes or {})
        values = list(self._start)
        for slot, node in self._plan.sources:
            owner = f"{node.op.name} {node.name!r}"
            array = as_numbers(feeds[node], self._dtypes[node.kind], node.kind, owner)
            bind(node.shape, array.shape, bound, owner)
            # A view that cannot be written to: what was fed stays as it is, and no result is the fed array itself.
            view = array.view()
            view.flags.writeable = False
            values[slot] = view
        with np.errstate(all="ignore"):  # IEEE 754: inf and NaN are values
            for step in self._plan.instructions:
                self._step(step, values, bound)
        return [values[i] for i in self._plan.outputs]  # type: ignore[misc]

    def _step(self, step: Instruction, values: list[Array | None], sizes: Mapping[str, int]) -> None:
        op = step.op
        attributes = step.attributes
        if op.sized:
            attributes = {k: resolve(v, sizes) if k in op.sized else v for k, v in attributes.items()}
        result = op.forward(*(values[i] for i in step.inputs), **attributes)
        values[step.output] = np.asarray(result, self._dtypes[op.kind])
        for i in step.releases:
            values[i] = None


def as_numbers(value: Any, dtype: np.dtype[Any], kind: Kind, owner: str) -> Array:
    """``value`` as an array of ``dtype``, without a copy where it is one already.

    Raises
    ------
    DataError
        Text, objects, dates, complex numbers; fractions where integers are needed.
    """
    allowed = {"real": "fiub", "integer": "iu", "boolean": "b"}[kind] + ("c" if dtype.kind == "c" else "")
    array = numeric_array(value, owner, allowed)
    with np.errstate(over="ignore", invalid="ignore"):  # 1e300 is ∞ in float32; a signalling NaN stays NaN
        return array.astype(dtype, copy=False)
