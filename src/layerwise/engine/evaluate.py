"""`evaluate`: values of nodes for given inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerwise.arrays import precision_name
from layerwise.compile.plan import Plan, plan
from layerwise.engine.choice import runner
from layerwise.errors import GraphError, nearest, shape_text
from layerwise.graph.differentiate import sources
from layerwise.graph.node import Node, is_source
from layerwise.graph.order import require_node
from layerwise.graph.shapes import bind

_DTYPES = ("float32", "float64", "complex128")


def evaluate(
    nodes: Node | Sequence[Node],
    feeds: Mapping[Node, Any] | None = None,
    *,
    dtype: str = "float64",
    engine: str | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Any:
    """The values of nodes.

    Parameters
    ----------
    nodes : Node or sequence of Node
        What to compute. What several of them share is computed once.
    feeds : mapping of Node to array_like
        A value for every input and parameter that they need. A derivative may be fed whatever the
        differentiated nodes need, although it is constant by some of it.
    dtype : {"float64", "float32", "complex128"}
        The precision of all real values. complex128 is for derivatives by a complex step.
    engine : {"native", "numpy"}, optional
        What runs the graph. By default native code, and NumPy, the definition, for complex128. They agree to
        rounding.
    sizes : mapping of str to int, optional
        Sizes of named axes, such as ``{"N": 10}``, where no input carries them.

    Returns
    -------
    array, or list of arrays for a sequence of nodes
        Owned by the caller; a NumPy scalar for a node of shape ().

    Raises
    ------
    GraphError
        An input without a value, or a value for something the graph does not use.
    ShapeError, DataError
        A value whose shape or dtype does not fit its node.

    Examples
    --------
    >>> import layerwise as lw
    >>> x = lw.input("x", ("N", 2))
    >>> lw.evaluate(lw.sum(x, axis=1), {x: [[1.0, 2.0], [3.0, 4.0]]})
    array([3., 7.])
    """
    dtype = precision_name(dtype, _DTYPES)
    if engine is None:
        engine = "numpy" if dtype == "complex128" else "native"
    many: Sequence[Any] = nodes if isinstance(nodes, (list, tuple)) else [nodes]
    for node in many:
        require_node(node, "What is evaluated")
    program = plan(many)
    feeds = feeds or {}
    _check_feeds(feeds, program, sources(many))
    results: list[Any] = []
    for result in runner(many, dtype, engine).run(feeds, _all_sizes(sizes, feeds, program)):
        shared = any(result is earlier for earlier in results)
        results.append(np.array(result) if shared else _owned(result))
    return results[0] if isinstance(nodes, Node) else results


def _owned(result: Any) -> Any:
    """The caller's own array, not a view of what was fed; a scalar for shape ()."""
    return result if result.ndim and result.flags.owndata and result.flags.writeable else np.array(result)[()]


def _all_sizes(sizes: Mapping[str, int] | None, feeds: Mapping[Node, Any], program: Plan) -> dict[str, int]:
    """The given sizes, and those that inputs know which the plan does not read."""
    used = {node for _, node in program.sources}
    known = dict(sizes or {})
    for name, size in known.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:  # pyright: ignore
            raise GraphError(f"sizes: axis {name!r} must have a whole number >= 0; got {size!r}.")
    for node, value in feeds.items():
        if node not in used:
            bind(node.shape, np.shape(value), known, f"{node.op.name} {node.name!r}")
    return known


def _check_feeds(feeds: Mapping[Node, Any], program: Plan, known: set[Node]) -> None:
    needed = [node for _, node in program.sources]
    names = [n.name for n in needed]
    for key in feeds:
        if not isinstance(key, Node):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise GraphError(
                f"feeds must map nodes to values; got the key {key!r}.{nearest(key, names)} Use the node itself."
            )
        if key not in known:
            what = f"{key.op.name} {key.name!r}" if is_source(key) else f"{key!r}, which is computed, not fed"
            raise GraphError(
                f"feeds holds {what} of shape {shape_text(key.shape)}, which the graph does not use as an input. "
                f"Its inputs: {', '.join(f'{n.name} {shape_text(n.shape)}' for n in needed) or 'none'}."
            )
    missing = [n for n in needed if n not in feeds]
    if missing:
        raise GraphError(
            f"No value for {', '.join(f'{n.op.name} {n.name!r} {shape_text(n.shape)}' for n in missing)}. "
            "Add it to feeds."
        )
