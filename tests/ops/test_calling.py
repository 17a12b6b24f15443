"""How an op is called: the number of values, options by name, arrays under the same rules as nodes."""

import numpy as np
import pytest

import layerwise as lw
from layerwise.graph.node import OPS


@pytest.mark.parametrize("name", [n for n in lw.__all__ if isinstance(getattr(lw, n), lw.Op)])
def test_a_wrong_number_of_values_is_refused(name):
    op = getattr(lw, name)
    assert op.arity
    values = [np.ones((2, 2))] * (op.arity + 1)
    nodes = [lw.input("x", (2, 2))] * (op.arity + 1)
    for too_many in (values, nodes):
        with pytest.raises(lw.GraphError, match=f"{name} takes {op.arity} value"):
            op(*too_many)
    with pytest.raises(lw.GraphError, match=r"takes .* got 0"):
        op()


def test_a_further_argument_is_not_written_to():
    kept = np.array([100.0, 200.0])
    with pytest.raises(lw.GraphError, match="add takes 2 values; got 3"):
        lw.add([1.0, 2.0], [3.0, 4.0], kept)
    np.testing.assert_array_equal(kept, [100.0, 200.0])


def test_options_go_by_name():
    with pytest.raises(lw.GraphError, match=r"leaky_relu takes 1 value; got 2. Options go by name: alpha."):
        lw.leaky_relu(np.ones(2), 0.2)
    with pytest.raises(lw.UnknownName, match="Did you mean 'alpha'"):
        lw.leaky_relu(np.ones(2), alpa=0.2)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: lw.affine(a(3, 2), a(2, 4), a(3, 1)),
        lambda a: lw.matmul(a(2, 3), a(4, 5)),
        lambda a: lw.matmul(a(2), a(3)),
        lambda a: lw.reshape(a(2, 3), (4,)),
        lambda a: lw.broadcast_to(a(2, 3), (4,)),
        lambda a: lw.transpose(a(2, 3), (0, 2)),
        lambda a: lw.concat([a(2, 3), a(3, 3)], axis=1),
        lambda a: lw.cross_entropy(a(2, 3), a(2, 4)),
        lambda a: lw.softmax(a(2, 0)),
        lambda a: lw.sum(a(2, 3), axis="N"),
        lambda a: lw.max(a(0, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_for_arrays_as_for_nodes(call):
    for make in (lambda *shape: np.ones(shape), lambda *shape: lw.input(f"x{shape}", shape)):
        with pytest.raises(lw.ShapeError):
            call(make)


def test_arrays_are_computed_in_real_numbers_as_nodes_are():
    assert lw.square(np.array([100], np.int8)) == 10000.0
    assert lw.power(np.array([2]), -1) == 0.5
    assert lw.add(np.ones(2, np.float32), 1).dtype == np.float32
    for value in ("abc", None, np.array(["a"]), np.array([True])):
        with pytest.raises(lw.DataError):
            lw.tanh(value)
    with pytest.raises(lw.DataError, match="one_hot: argument 1 must be integer"):
        lw.one_hot([1.0], 3)
    with pytest.raises(lw.DataError, match=r"row numbers must be in 0 \.\. 1; got 5"):
        lw.take(np.ones((2, 2)), [5])


def test_a_comparison_by_objects_is_no_condition():
    x = lw.input("x", ("N",))
    for condition in (x == 1.0, x != 1.0):
        with pytest.raises(lw.GraphError, match=r"Use layerwise.equal|use layerwise.equal"):
            lw.where(condition, 1.0, x)
    picked = lw.where(lw.equal(x, 1.0), 10.0, -x)
    np.testing.assert_array_equal(lw.evaluate(picked, {x: [1.0, 2.0]}), [10.0, -2.0])


def test_large_constants_are_told_apart():
    a = np.zeros(100_000)
    b = a.copy()
    b[-1] = -0.0
    assert lw.constant(a) is lw.constant(a.copy())
    assert lw.constant(a) is not lw.constant(b)


def test_every_op_knows_its_arity_or_takes_any_number():
    assert {name for name, op in OPS.items() if op.arity is None} == {"concat"}
