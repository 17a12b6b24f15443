"""Which engine runs a graph: native code by default, NumPy where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from layerwise.compile.plan import plan
from layerwise.engine.native_training import NativeTraining
from layerwise.engine.programs import NativeRunner, native
from layerwise.engine.reference import Runner
from layerwise.engine.training import Data, NumpyTraining, Step, Training
from layerwise.errors import GraphError, unknown_name
from layerwise.graph.node import Node
from layerwise.types import Array

ENGINES = ("native", "numpy")


class Computes(Protocol):
    """Nodes made ready to be computed again and again in one precision."""

    def run(self, feeds: Mapping[Node, Any], sizes: Mapping[str, int] | None = None) -> list[Array]:
        """The values of the nodes for these feeds."""
        ...


def checked_engine(engine: str) -> str:
    """``engine`` where it is the name of one.

    Raises
    ------
    UnknownName
        It is not; the message names those that there are.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    return engine


def engine_name(engine: str) -> str:
    """What runs, as a fit records it: native code with its instruction set."""
    return f"native {native.best_isa()}" if checked_engine(engine) == "native" else engine


def runner(nodes: Sequence[Node], dtype: str, engine: str) -> Computes:
    """What computes ``nodes`` in ``dtype``."""
    if checked_engine(engine) == "numpy":
        return Runner(plan(nodes), dtype)
    if dtype == "complex128":
        raise GraphError("The native engine has no complex numbers. engine='numpy' computes in complex128.")
    return NativeRunner(nodes, dtype)


def training(engine: str, step: Step, data: Data, start: Mapping[Node, Array], dtype: str) -> Training:
    """What trains: ``start`` holds values of what steps change, which begins at 0 where it is not named."""
    kind = NumpyTraining if checked_engine(engine) == "numpy" else NativeTraining
    return kind(step, data, start, dtype)
