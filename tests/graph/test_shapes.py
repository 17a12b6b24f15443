"""Shape rules and their messages: broadcasting, indexing, reshaping, products, row numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import layerwise as lw


def source(shape: tuple, name: str = "x", kind: str = "real") -> lw.Node:
    return lw.input(name, shape, kind)


@given(shapes=st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), min_size=2, max_size=2))
def test_broadcasting_is_numpys_rule(shapes):
    a, b = (source(s, f"x{i}") for i, s in enumerate(shapes))
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(lw.ShapeError, match="do not broadcast"):
            a + b
    else:
        assert (a + b).shape == expected


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [(("N", 2), (2,), ("N", 2)), (("N", 1), ("M",), ("N", "M")), (("N",), (1,), ("N",)), ((), ("N",), ("N",))],
)
def test_named_axes_broadcast_with_1_and_themselves(a, b, result):
    assert (source(a, "a") * source(b, "b")).shape == result


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ((2, 3), (2,), ["add", "(2, 3)", "(2,)", "axis -1", "2 and 3"]),
        (("N", 3), ("M", 3), ["(N, 3)", "(M, 3)", "M and N"]),
        (("N",), (4,), ["(N,)", "(4,)", "4 and N"]),
        ((0,), (2,), ["(0,)", "(2,)"]),
    ],
)
def test_a_broadcast_error_carries_all_shapes(a, b, words):
    with pytest.raises(lw.ShapeError) as error:
        source(a, "a") + source(b, "b")
    for word in words:
        assert word in str(error.value)


def test_product_errors_carry_all_shapes():
    A, W = source(("N", 3), "A"), source((4, 2), "W")
    for build in (lambda: A @ W, lambda: lw.matmul_t(A, W), lambda: lw.t_matmul(W, A)):
        with pytest.raises(lw.ShapeError, match=r"inner sizes"):
            build()
    with pytest.raises(lw.ShapeError, match=r"A \(N, 3\), W \(4, 2\), b \(2,\)"):
        lw.affine(A, W, source((2,), "b"))
    with pytest.raises(lw.ShapeError, match=r"affine .*b \(1, 2\)"):
        lw.affine(A, source((3, 2), "W"), source((1, 2), "b"))
    with pytest.raises(lw.ShapeError, match="needs matrices"):
        A @ 2.0
    with pytest.raises(lw.ShapeError, match=r"X \(N, 3\), W \(2, 2, 4\)"):
        lw.grouped_product(A, source((2, 2, 4), "W"))


@pytest.mark.parametrize("shape", [(-1,), (1.0,), ("N M",), (True,), (None,), "N", 3, ("",)])
def test_shapes_that_are_none(shape):
    with pytest.raises(lw.ShapeError, match="The shape of input 'x' must"):
        lw.input("x", shape)


def test_sizes_from_numpy_are_sizes():
    assert lw.input("x", (np.int64(3), 2)) is lw.input("x", (3, 2))
    assert lw.sum(source((2, 3)), axis=np.int64(1)) is lw.sum(source((2, 3)), axis=1)
    assert source((2, 3))[np.int64(1)] is source((2, 3))[1]


# Reductions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "keepdims", "shape"),
    [(None, False, ()), (None, True, (1, 1, 1)), (0, False, (2, 3)), (-1, False, ("N", 2)), ((0, -1), True, (1, 2, 1))],
)
def test_reduced_shapes(axis, keepdims, shape):
    for op in (lw.sum, lw.mean, lw.max, lw.logsumexp):
        assert op(source(("N", 2, 3)), axis, keepdims).shape == shape


def test_axes_out_of_range_or_twice():
    x = source((2, 3))
    for axis in (2, -3, (0, 5)):
        with pytest.raises(lw.ShapeError, match=r"sum: axis .* is outside a value of 2 axes"):
            lw.sum(x, axis=axis)
    with pytest.raises(lw.ShapeError, match="given twice"):
        lw.mean(x, axis=(1, -1))


def test_nothing_has_no_maximum():
    for op in (lw.max, lw.logsumexp):
        with pytest.raises(lw.ShapeError, match=r"size 0 has no value; got shape \(2, 0\)"):
            op(source((2, 0)), axis=1)
        assert op(source((2, 0)), axis=0).shape == (0,)
    for op in (lw.softmax, lw.log_softmax):
        for shape in ((), ("N", 0)):
            with pytest.raises(lw.ShapeError, match="at least one class"):
                op(source(shape))


# Indexing --------------------------------------------------------------------------------------------

ITEMS = [
    0, -1, slice(None), slice(1, None), slice(None, -1), slice(0, 10, 2), slice(2, 1), ..., (0, 1), (..., 0), (0, ...),
    (slice(None), 1), (slice(None, None, 3), slice(1, 3)), (..., slice(1, 2), 0), (1, ..., slice(None, 2)), (0, 1, 2),
    (0, ..., 1, 2),
]  # fmt: skip


@pytest.mark.parametrize("item", ITEMS, ids=repr)
def test_indexing_is_numpys(item):
    x, values = source((3, 4, 5)), np.arange(60.0).reshape(3, 4, 5)
    part = x[item]
    assert part.shape == values[item].shape
    np.testing.assert_array_equal(lw.evaluate(part, {x: values}), values[item])
    g = lw.evaluate(lw.gradient(lw.sum(part * part), x), {x: values})
    expected = np.zeros_like(values)
    expected[item] = 2 * values[item]
    np.testing.assert_array_equal(g, expected)


def test_the_whole_is_the_node_itself():
    x = source(("N", 3))
    assert x[:] is x
    assert x[...] is x
    assert x[:, 0:3] is x


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((0, 0, 0), "with 3 indices"),
        ((..., ...), "with 2 indices"),
        (3, "Index 3 is outside axis 0, which has size 3"),
        (-4, "Index -4 is outside axis 0"),
        (slice(None, None, -1), "must step forward; got step -1"),
        (slice(None, None, 0), "must step forward; got step 0"),
        (True, "integers, slices"),
        (1.0, "integers, slices"),
        (None, "integers, slices"),
        ([0, 1], "take"),
        (np.array([0, 1]), "take"),
        ((0, np.array([0, 1])), "take"),
    ],
    ids=repr,
)
def test_indexing_errors(item, message):
    with pytest.raises(lw.ShapeError, match=message):
        source((3, 4))[item]


def test_a_named_axis_is_taken_whole():
    x = source(("N", 4))
    assert x[:, 1].shape == ("N",)
    assert x[..., 1:3].shape == ("N", 2)
    for item in (0, slice(0, 2), slice(0, None)):
        with pytest.raises(lw.ShapeError, match=r"'N'.*no known size.*layerwise\.take"):
            x[item]


# Reshape, transpose, broadcast, concat ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "new", "result"),
    [
        (("N", 2, 3), ("N", -1), ("N", 6)),
        (("N", 6), ("N", 2, -1), ("N", 2, 3)),
        ((6,), (-1,), (6,)),
        ((2, 3), (3, -1, 1), (3, 2, 1)),
        (("N", 1), ("N",), ("N",)),
        (("N", 2), (2, "N"), (2, "N")),
        ((0, 3), (0,), (0,)),
        ((), (1, 1), (1, 1)),
    ],
)
def test_reshape(shape, new, result):
    x = source(shape)
    assert lw.reshape(x, new).shape == result
    values = np.arange(float(np.prod([4 if d == "N" else d for d in shape]))).reshape(
        [4 if d == "N" else d for d in shape]
    )
    expected = values.ravel().reshape([4 if d == "N" else d for d in result])
    np.testing.assert_array_equal(lw.evaluate(lw.reshape(x, new), {x: values}), expected)


@pytest.mark.parametrize("new", [("N", 5), (6,), ("M", 6), ("N", "N", 6), ("N", -1, 4), ("N", -1, -1), ("N", 0, -1)])
def test_reshapes_that_do_not_hold_the_same_values(new):
    with pytest.raises(lw.ShapeError, match="reshape"):
        lw.reshape(source(("N", 6)), new)


def test_transpose():
    x = source(("N", 2, 3))
    assert x.T.shape == (3, 2, "N")
    assert lw.transpose(x, (0, -1, 1)).shape == ("N", 3, 2)
    assert lw.transpose(source(())).shape == ()
    for axes in ((0, 1), (0, 0, 1), (0, 1, 3), (0, 1, -4)):
        with pytest.raises(lw.ShapeError, match="is not an order of the 3 axes"):
            lw.transpose(x, axes)


def test_broadcast_to():
    x = source(("N", 1))
    assert lw.broadcast_to(x, (2, "N", 3)).shape == (2, "N", 3)
    assert lw.broadcast_to(x, x.shape) is x
    for shape in (("N",), ("M", 1), (1, 1), (2, 3)):
        with pytest.raises(lw.ShapeError, match="broadcast"):
            lw.broadcast_to(x, shape)
    with pytest.raises(lw.ShapeError, match="must hold integers >= 0"):
        lw.broadcast_to(source(()), (-1,))


def test_concat():
    a, b = source(("N", 2), "a"), source(("N", 3), "b")
    assert lw.concat([a, b]).shape == ("N", 5)
    assert lw.concat([a, np.zeros((1, 2))][:1]).shape == ("N", 2)
    for values, axis, message in (
        ([], -1, "at least one value"),
        ([a, b], 0, r"the other sizes must be equal; got \(N, 2\), \(N, 3\)"),
        ([a, a], 0, "axis 0 is named"),
        ([a, source((2,), "c")], -1, r"\(N, 2\), \(2,\)"),
        ([a, b], 2, "outside a value of 2 axes"),
    ):
        with pytest.raises(lw.ShapeError, match=message):
            lw.concat(values, axis=axis)


# Row numbers -----------------------------------------------------------------------------------------


def test_take_and_its_gradient():
    table, rows = source((3, 2), "table"), source(("N",), "rows", "integer")
    values, numbers = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), [2, 0, 2]
    taken = lw.take(table, rows)
    assert taken.shape == ("N", 2)
    feeds = {table: values, rows: numbers}
    np.testing.assert_array_equal(lw.evaluate(taken, feeds), [[5, 6], [1, 2], [5, 6]])
    grad = lw.evaluate(lw.gradient(lw.sum(taken * taken), table), feeds)
    np.testing.assert_array_equal(grad, [[2, 4], [0, 0], [20, 24]])  # a row taken twice gets both
    assert lw.evaluate(taken, {table: values, rows: []}).shape == (0, 2)


@pytest.mark.parametrize(("numbers", "found"), [([0, 3], "got 3 at position 1"), ([-1], "got -1 at position 0")])
def test_row_numbers_out_of_range(numbers, found):
    table, rows = source((3, 2), "table"), source(("N",), "rows", "integer")
    with pytest.raises(lw.DataError, match=rf"take: row numbers must be in 0 \.\. 2; {found}"):
        lw.evaluate(lw.take(table, rows), {table: np.zeros((3, 2)), rows: numbers})
    with pytest.raises(lw.DataError, match=rf"one_hot: labels must be in 0 \.\. 2; {found}"):
        lw.evaluate(lw.one_hot(rows, 3), {rows: numbers})
    with pytest.raises(lw.DataError, match=found):
        lw.one_hot(numbers, 3)


def test_take_and_one_hot_shapes():
    with pytest.raises(lw.ShapeError, match=r"\(3, 2\) and \(N, 1\)"):
        lw.take(source((3, 2)), source(("N", 1), "rows", "integer"))
    with pytest.raises(lw.ShapeError, match="one_hot"):
        lw.one_hot(source(("N",), "rows", "integer"), -1)
    assert lw.one_hot(source(("N",), "rows", "integer"), 3).shape == ("N", 3)
