"""The three forms in which an op is declared, once: `elementwise`, `declare` and `composite`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from layerwise.errors import GraphError
from layerwise.graph.cancel import Given, cancelled
from layerwise.graph.differentiate import pull_back
from layerwise.graph.node import OPS, Node, Op
from layerwise.graph.shapes import broadcast
from layerwise.types import Kind, Shape


def _register(op: Op) -> Op:
    if op.name in OPS:
        raise GraphError(f"An op named {op.name!r} is declared already.")
    OPS[op.name] = op
    return op


def _positional(function: Callable[..., Any]) -> int | None:
    """The number of positional parameters; None where any number is taken."""
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)


def elementwise(
    name: str,
    *,
    value: Callable[..., Any],
    slope: Callable[..., Any] | tuple[Callable[..., Any], ...] | None,
    latex: str,
    doc: str,
    kernel: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    kinds: tuple[Kind, ...] = ("real",),
    kind: Kind = "real",
) -> Op:
    """Declare an op that acts on each element; several inputs broadcast.

    Parameters
    ----------
    name : str
    value : callable(*arrays, **attributes) -> array
        The definition; every executor must agree with it.
    slope : callable(*inputs, out, **attributes), or one for each input
        Its derivative, in terms of inputs and output; runs on arrays and on nodes. A slope may be
        a plain number. None: not differentiable, like a comparison.
    latex : str
        Notation, ``{0}`` for the first input.
    doc : str
        What it computes, in one sentence.
    kernel : str, optional
        What the engine fuses it into; None: NumPy only.
    defaults : mapping, optional
        Attributes with their default values.
    kinds, kind : optional
        Kinds of the inputs and of the result.
    """
    slopes = slope if isinstance(slope, tuple) or slope is None else (slope,)

    def shape(*shapes: Shape, **_: Any) -> Shape:
        return broadcast(shapes, name)

    return _register(
        Op(
            name,
            shape,
            value,
            slopes=slopes,
            defaults=defaults or {},
            kinds=kinds,
            kind=kind,
            latex=latex,
            latex_columns=latex,
            kernel=kernel,
            doc=doc,
            arity=len(slopes) if slopes is not None else 2,  # without slopes: a comparison
        )
    )


def declare(
    name: str,
    *,
    shape: Callable[..., Shape],
    forward: Callable[..., Any],
    vjp: Callable[..., tuple[Any, ...]] | None,
    latex: str,
    doc: str,
    latex_columns: str = "",
    kernel: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    kinds: tuple[Kind, ...] = ("real",),
    kind: Kind = "real",
    sized: tuple[str, ...] = (),
) -> Op:
    """Declare an op by its shape rule, its value and its vjp; the fields are those of `Op`."""
    return _register(
        Op(
            name,
            shape,
            forward,
            vjp=vjp,
            defaults=defaults or {},
            kinds=kinds,
            kind=kind,
            sized=sized,
            latex=latex,
            latex_columns=latex_columns or latex,
            kernel=kernel,
            doc=doc,
            arity=_positional(shape),
        )
    )


def composite(
    name: str,
    *,
    definition: Callable[..., Any],
    latex: str,
    doc: str,
    forward: Callable[..., Any] | None = None,
    distributions: tuple[int, ...] = (),
    kernel: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Op:
    """Declare an op by other ops; its derivative is theirs, with what cancels cancelled.

    Parameters
    ----------
    definition : callable(*inputs, **attributes)
        The value by other ops; runs on arrays and on nodes.
    forward : callable(*inputs, **attributes), optional
        A more accurate way to the same value, by ops too; left out, the definition is run.
    distributions : tuple of int
        Positions of inputs whose last axis sums to 1, such as one-hot targets. What follows from
        it may cancel in the derivative (the caller checks the data).
    """

    def shape(*shapes: Shape, **attributes: Any) -> Shape:
        from layerwise.graph.node import input as placeholder

        return definition(*(placeholder(f"x{i}", s) for i, s in enumerate(shapes)), **attributes).shape

    def vjp(g: Node, _: Node, *inputs: Node, **attributes: Any) -> tuple[Node, ...]:
        parts = pull_back([definition(*inputs, **attributes)], [g], inputs)
        given = Given(frozenset(inputs[i] for i in distributions), leaves=frozenset((g, *inputs)))
        return tuple(cancelled(part, given) for part in parts)

    return _register(
        Op(
            name,
            shape,
            forward or definition,
            vjp=vjp,
            defaults=defaults or {},
            latex=latex,
            latex_columns=latex,
            kernel=kernel,
            definition=definition,
            doc=doc,
            arity=_positional(definition),
        )
    )
