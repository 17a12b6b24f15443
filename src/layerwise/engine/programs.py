"""The native engine: programs made for given sizes, kept, and run."""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.compile.lower import Target, lower
from layerwise.compile.program import Program
from layerwise.engine.reference import as_numbers
from layerwise.errors import DataError
from layerwise.graph.node import Node, constant_value, is_source
from layerwise.graph.order import order
from layerwise.graph.shapes import bind, resolve
from layerwise.types import Array

# By its name in text: the import linter would take the compiled module for the whole package.
native: Any = importlib.import_module("layerwise._native")

_KEPT = 64
"""Programs that are kept for the next call with the same nodes and sizes."""
_LARGE = 2000
"""Nodes of a graph that nobody but its owner keeps alive."""


def target(dtype: str, isa: str | None = None) -> Target:
    """What the kernels of an instruction set ask of memory; by default the widest that this processor has."""
    return Target(np.dtype(dtype).itemsize, lambda K, N: native.packed_size(K, N, dtype, isa))


def compiled(program: Program, isa: str | None = None) -> Any:
    """The program as native code holds it: checked, ready to run, with memory of its own."""
    kind = native.Program32 if program.item_size == 4 else native.Program64
    return kind(*program.encode(), isa)


class NativeRunner:
    """Nodes made ready to be computed again and again in one precision.

    Parameters
    ----------
    nodes : sequence of Node
    dtype : {"float32", "float64"}
    isa : str, optional
        "baseline", "avx2" or "avx512"; by default the widest that this processor has.
    threads : int
        At most so many; 0 for as many as the process may use. Results do not depend on it.
    """

    def __init__(self, nodes: Sequence[Node], dtype: str, isa: str | None = None, threads: int = 0):
        self._nodes, self._dtype, self._isa, self._threads = tuple(nodes), dtype, isa, threads
        present = order(nodes)
        self._sources = [node for node in present if is_source(node)]
        self._shared = len(present) <= _LARGE
        self._last: tuple[dict[str, int], _Prepared] | None = None

    def run(self, feeds: Mapping[Node, Any], sizes: Mapping[str, int] | None = None) -> list[Array]:
        """The values for these feeds; parameters and errors as for the NumPy engine."""
        bound = dict(sizes or {})
        arrays: dict[Node, Array] = {}
        for node in self._sources:
            owner = f"{node.op.name} {node.name!r}"
            dtype = np.dtype({"real": self._dtype, "integer": np.int64, "boolean": np.bool_}[node.kind])
            array = as_numbers(feeds[node], dtype, node.kind, owner)
            bind(node.shape, array.shape, bound, owner)
            arrays[node] = np.require(array, np.int64 if node.kind == "integer" else self._dtype, ["C", "A"])
        last = self._last
        if last is None or last[0] != bound:
            make = _prepared if self._shared else _Prepared
            self._last = last = bound, make(self._nodes, self._dtype, bound, self._isa)
        return last[1].run(arrays, bound, self._threads)


def constant_array(node: Node, dtype: np.dtype[Any]) -> Array | None:
    """The value of a constant as native code reads it; None for every other node."""
    value = constant_value(node)
    if value is None:
        return None
    with np.errstate(over="ignore"):  # 1e300 is ∞ in float32
        return np.array(value, np.int64 if node.kind == "integer" else dtype, order="C")


class _Prepared:
    """A program with copies of it in native code, one for each thread that runs it at the same time."""

    def __init__(self, nodes: tuple[Node, ...], dtype: str, sizes: Mapping[str, int], isa: str | None):
        self._nodes, self._dtype, self._isa = nodes, np.dtype(dtype), isa
        self.program = lower(nodes, sizes, target(dtype, isa))
        self._idle: list[Any] = []
        self._constants = {b.node: self._constant(b.node) for b in self.program.bound}

    def _constant(self, node: Node) -> Array | None:
        """The value of a constant in the program's precision; None for every other node."""
        return constant_array(node, self._dtype)

    def run(self, arrays: Mapping[Node, Array], sizes: Mapping[str, int], threads: int) -> list[Array]:
        results: dict[Node, Array] = {}
        bound: list[Array] = []
        for b in self.program.bound:
            array = self._constants[b.node]
            if array is None and not b.written:
                array = arrays[b.node]
            elif array is None:
                dtype = np.int64 if b.node.kind == "integer" else self._dtype
                array = results[b.node] = np.empty(resolve(b.node.shape, sizes), dtype)
            bound.append(array)
        try:
            code = self._idle.pop()
        except IndexError:
            code = compiled(self.program, self._isa)
        try:
            code.run(bound, None, _NO_SCALARS, threads)
        except IndexError as error:
            raise bad_index(error) from None
        finally:
            self._idle.append(code)
        values = {**arrays, **results}
        return [self._result(n, held, values, sizes) for n, held in zip(self._nodes, self.program.outputs, strict=True)]

    def _result(self, node: Node, held: Node, values: Mapping[Node, Array], sizes: Mapping[str, int]) -> Array:
        known = self._constant(held)
        array = (values[held] if known is None else known).reshape(resolve(node.shape, sizes))
        if node.kind == "boolean":
            return array != 0
        return array.copy() if is_source(held) else array


_NO_SCALARS = np.empty(0)
_recent: OrderedDict[Any, _Prepared] = OrderedDict()
_lock = threading.Lock()


def _prepared(nodes: tuple[Node, ...], dtype: str, sizes: Mapping[str, int], isa: str | None) -> _Prepared:
    """The program for these nodes and sizes, from the last ones where it is among them."""
    key = (nodes, dtype, tuple(sorted(sizes.items())), isa)
    with _lock:
        found = _recent.get(key)
        if found is not None:
            _recent.move_to_end(key)
            return found
    made = _Prepared(nodes, dtype, sizes, isa)
    with _lock:
        _recent[key] = made
        while len(_recent) > _KEPT:
            _recent.popitem(last=False)
    return made


def bad_index(error: IndexError) -> DataError:
    """The NumPy engine's words for a row number or a label that is not there."""
    kernel, position, value, limit = error.args
    what = {"take": "take: row numbers", "one_hot": "one_hot: labels"}.get(kernel, f"{kernel}: row numbers")
    return DataError(f"{what} must be in 0 .. {limit - 1}; got {value} at position {position}.")
