"""A graph as a `Plan`: the list of instructions that an engine runs, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerwise.errors import shape_text
from layerwise.graph.node import Attributes, Node, Op, constant_value, is_source
from layerwise.graph.order import order
from layerwise.types import Array, Shape


@dataclass(frozen=True)
class Instruction:
    """One operation on numbered values.

    Parameters
    ----------
    op : Op
    inputs : tuple of int
        Numbers of the values it reads.
    output : int
        Number of the value it writes.
    attributes : mapping
    shape : tuple of int or str
        Of the output.
    releases : tuple of int
        Values that nothing reads after this instruction.
    """

    op: Op
    inputs: tuple[int, ...]
    output: int
    attributes: Attributes
    shape: Shape
    releases: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What an engine needs to compute some nodes; values are numbered from 0.

    Parameters
    ----------
    sources : tuple of (int, Node)
        Inputs and parameters, to be fed, with their value's number.
    constants : tuple of (int, array)
    instructions : tuple of Instruction
        In an order in which every value is written before it is read.
    outputs : tuple of int
    n_values : int
    """

    sources: tuple[tuple[int, Node], ...]
    constants: tuple[tuple[int, Array], ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    n_values: int

    def __str__(self) -> str:
        lines = [f"v{i} = {node.op.name} {node.name} {shape_text(node.shape)}" for i, node in self.sources]
        lines += [f"v{i} = constant {shape_text(value.shape)}" for i, value in self.constants]
        for step in self.instructions:
            reads = ", ".join(f"v{i}" for i in step.inputs)
            released = "".join(f" -v{i}" for i in step.releases)
            lines.append(f"v{step.output} = {step.op.name}({reads}) {shape_text(step.shape)}{released}")
        lines.append("return " + ", ".join(f"v{i}" for i in self.outputs))
        return "\n".join(lines)


def plan(outputs: Sequence[Node]) -> Plan:
    """The plan that computes ``outputs``; equal parts of the graph are computed once."""
    nodes = order(outputs)
    number = {node: i for i, node in enumerate(nodes)}
    last_reader = {x: node for node in nodes for x in node.inputs}
    kept = set(outputs)
    instructions = tuple(
        Instruction(
            node.op,
            tuple(number[x] for x in node.inputs),
            number[node],
            node.attributes,
            node.shape,
            tuple(number[x] for x in dict.fromkeys(node.inputs) if last_reader[x] is node and x not in kept),
        )
        for node in nodes
        if not is_source(node) and constant_value(node) is None
    )
    return Plan(
        sources=tuple((number[n], n) for n in nodes if is_source(n)),
        constants=tuple((number[n], v) for n in nodes if (v := constant_value(n)) is not None),
        instructions=instructions,
        outputs=tuple(number[n] for n in outputs),
        n_values=len(nodes),
    )
