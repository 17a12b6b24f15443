"""Plans: what is computed, in which order, and when a value is let go; held as text."""

from __future__ import annotations

from pathlib import Path

import layerwise as lw
from layerwise.compile.plan import plan
from layerwise.graph.node import OPS

GOLDEN = Path(__file__).parent / "golden"


def small_step() -> list[lw.Node]:
    """Cost and gradients of a network of widths 2-4-3 with softmax and cross-entropy."""
    X, T = lw.input("X", ("N", 2)), lw.input("T", ("N", 3))
    W1, b1 = lw.parameter("W1", (2, 4)), lw.parameter("b1", (4,))
    W2, b2 = lw.parameter("W2", (4, 3)), lw.parameter("b2", (3,))
    Z2 = lw.affine(lw.relu(lw.affine(X, W1, b1)), W2, b2)
    cost = lw.mean(OPS["softmax_cross_entropy"](Z2, T))
    return [cost, *lw.gradient(cost, [W1, b1, W2, b2])]


def test_the_step_of_a_small_network():
    assert str(plan(small_step())) + "\n" == (GOLDEN / "step_2_4_3.txt").read_text(encoding="utf-8")


def test_every_value_is_written_before_it_is_read_and_not_read_after_its_release():
    program = plan(small_step())
    alive = {i for i, _ in program.sources} | {i for i, _ in program.constants}
    for step in program.instructions:
        assert set(step.inputs) <= alive
        assert step.output not in alive
        alive.add(step.output)
        assert set(step.releases) <= set(step.inputs)
        alive -= set(step.releases)
    assert set(program.outputs) == alive


def test_a_shared_part_is_computed_once():
    x = lw.input("x", (3,))
    program = plan([lw.exp(x) + 1.0, lw.exp(x) * lw.exp(x)])
    assert [s.op.name for s in program.instructions].count("exp") == 1
    assert program.n_values == 5


def test_outputs_may_repeat_and_be_sources():
    x = lw.input("x", (3,))
    y = lw.exp(x)
    program = plan([y, x, y])
    assert program.outputs == (1, 0, 1)
    assert program.instructions[0].releases == ()


def test_an_input_used_twice_is_released_once():
    x = lw.input("x", ())
    (square,) = plan([x * x]).instructions
    assert square.inputs == (0, 0)
    assert square.releases == (0,)


def test_no_outputs_no_plan():
    assert str(plan([])) == "return "
