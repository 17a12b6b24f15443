"""Native programs: stages, fusion, memory; held as text, and by what must hold for every one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_networks import random_case
from update_rules import RULES

import layerwise as lw
from layerwise.compile.lower import State, Target, lower
from layerwise.compile.memory import Pool
from layerwise.compile.normal import normal_form
from layerwise.graph.node import OPS, Node, Op
from layerwise.network.build import step_graph

GOLDEN = Path(__file__).parent / "golden"
TARGET = Target(4, lambda K, N: K * -(-N // 16) * 16)


def step_program(rule, labels=True, rows=32, widths=(2, 4, 3), hidden="relu"):
    """The training step of a small softmax network."""
    graph = lw.Network(list(widths), hidden=hidden, output="softmax").graph(labels=labels, weighted=False)
    step = step_graph(graph, rule).step(rule)
    return lower(
        [step.cost], {"N": rows}, TARGET, state=State(), stores=step.stores, gathered=step.tables, scalars=step.inputs
    )


@pytest.mark.parametrize("rule", [lw.SGD(0.1), lw.Momentum(0.1), lw.Adam(0.1)], ids=lambda r: type(r).__name__.lower())
def test_the_step_of_a_small_network(rule):
    text = (GOLDEN / f"native_step_2_4_3_{type(rule).__name__.lower()}.txt").read_text(encoding="utf-8")
    assert str(step_program(rule)) + "\n" == text


def test_the_step_of_a_wide_network():
    """Wide weights live packed, with what the update rule remembers of them; a large D is packed where it is made."""
    text = (GOLDEN / "native_step_20_64_3_momentum.txt").read_text(encoding="utf-8")
    program = step_program(lw.Momentum(0.1), rows=1000, widths=(20, 64, 3))
    assert str(program) + "\n" == text
    packed = {program.names[i] for i, v in enumerate(program.values) if v.packed and v.space == "state"}
    assert packed == {"W1", "velocity of W1", "W2", "W2ᵀ"}
    plain = {program.names[i] for i, v in enumerate(program.values) if not v.packed and v.space == "state"}
    assert plain == {"b1", "velocity of b1", "W2", "velocity of W2", "b2", "velocity of b2"}


def test_weights_that_are_read_in_another_way_live_unpacked():
    W, X = lw.parameter("W", (8, 64)), lw.input("X", ("N", 8))

    def lives(cost):
        (gradient,) = lw.gradient(cost, [W])
        state = State()
        lower([cost], {"N": 10}, TARGET, state=state, stores={W: lw.subtract(W, gradient)})
        return [value.packed for value in state.places.values()]

    fit = lw.mean(lw.square(lw.matmul(X, W)))
    assert lives(fit) == [True]
    norms = lw.logsumexp(W, axis=1)
    assert lives(lw.add(fit, lw.sum(norms))) == [False, True]  # itself, and a packed copy


def kernels(program):
    return [[[i.kernel for i in job.instructions] for job in stage] for stage in program.stages]


@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid"])
def test_the_slope_is_part_of_the_product_and_the_update_part_of_the_gradient(hidden):
    rows, weights = kernels(step_program(lw.Adam(0.1), hidden=hidden))
    activation = [] if hidden == "relu" else ["map"]
    loss = ["softmax_cross_entropy", "map"]
    assert sorted(rows[0]) == sorted(
        ["gather", "gather", "product", *activation, "product", "one_hot", *loss, "product"]
    )
    assert rows[0][-1] == "product"
    assert ["t_product", "map", "pack", "pack_transposed"] in weights
    assert ["t_product", "map", "pack"] in weights  # no sensitivity goes below the first layer
    assert weights.count(["column_reduce", "map"]) == 2


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("widths", [(2, 4, 3), (20, 64, 3)])
def test_every_update_is_one_pass_over_its_parameter(rule, widths):
    program = step_program(rule, widths=widths)
    _, weights = kernels(program)
    updates = [job for job in weights if "map" in job]
    assert len(updates) == 4
    assert all(job.count("map") == 1 and job[1] == "map" for job in updates)
    assert {job[0] for job in updates} <= {"t_product", "t_product_packed", "column_reduce"}
    assert str(lw.training_program(lw.Network(list(widths), output="softmax"), rule, 32))


def test_a_slope_that_is_no_epilogue_is_a_chain():
    rows, _ = kernels(step_program(lw.SGD(0.1), hidden="gelu"))
    assert rows[0][-2:] == ["product", "map"]


def overlap(a, b):
    return a[0] < b[1] and b[0] < a[1]


@pytest.mark.parametrize("seed", range(40))
def test_values_that_live_at_the_same_time_do_not_share_memory(seed):
    case = random_case(seed)
    graph = (
        case.net.graph(labels=False, weighted=False) if case.Y.ndim > 1 else case.net.graph(labels=True, weighted=False)
    )
    nodes = [graph.cost, *lw.gradient(graph.cost, list(graph.parameters.values()))]
    program = lower(nodes, {"N": len(case.X)}, TARGET)
    written: dict = {}
    for level, stage in enumerate(program.stages):
        for job in stage:
            for step in job.instructions:
                for number in step.values:
                    value = program.values[number] if number is not None else None
                    if value is not None and value.space == "arena":
                        first, _ = written.get(number, (level, level))
                        written[number] = (first, level)
    spans = []
    for number, (first, last) in written.items():
        v = program.values[number]
        extent = v.stride if v.packed else (v.rows - 1) * v.stride + v.columns
        end = v.offset + extent * TARGET.item_size if v.rows else v.offset
        assert end <= program.arena_bytes
        spans.append(((v.offset, end), (first, last + 1)))
    for i, (place, time) in enumerate(spans):
        for other_place, other_time in spans[:i]:
            # the same place twice is one value seen twice
            assert place[0] == other_place[0] or not (overlap(place, other_place) and overlap(time, other_time))


def test_the_pool_uses_memory_again_when_it_is_free():
    pool = Pool()
    a = pool.place(100, 0, 1)
    b = pool.place(64, 1, 2)
    c = pool.place(128, 2, 3)
    assert (a, b, c) == (0, 128, 0)
    assert pool.size == 192


def test_a_node_without_a_native_form_is_named():
    op = Op("strange", lambda x: x, lambda x: x)
    x = lw.input("x", ("N", 2))
    node = Node(op, (x,), {}, x.shape)
    with pytest.raises(lw.GraphError, match=r"<strange\(x\) \(N, 2\)> has no native form. engine='numpy' runs it."):
        lower([node], {"N": 3}, TARGET)


def test_known_numbers_are_computed_once_and_repeats_are_left_to_who_reads_them():
    x = lw.input("x", ("N", 3))
    (node,) = normal_form(lw.gradient(lw.mean(lw.square(x)), [x]), {"N": 4})
    assert [n.op.name for n in (node, *node.inputs)].count("broadcast_to") == 0
    assert "size" not in str(lower([node], {"N": 4}, TARGET))


def test_every_composite_runs_on_nodes_as_on_arrays():
    rng = np.random.default_rng(0)
    for op in OPS.values():
        if op.definition is None:
            continue
        Y, T = rng.uniform(0.1, 0.9, (2, 4, 3))
        y, t = lw.input("y", ("N", 3)), lw.input("t", ("N", 3))
        np.testing.assert_allclose(
            lw.evaluate(op.forward(y, t, **op.defaults), {y: Y, t: T}), op(Y, T, **op.defaults), rtol=1e-14
        )
