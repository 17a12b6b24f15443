"""The same numbers give the same bits, however they lie in memory; and nothing that is passed in is changed."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw

N = 40
BASE = np.random.default_rng(0).integers(0, 100, size=(N, 4))


def strided(a):
    wide = np.full((2 * len(a), 3 * a.shape[1]), 77, a.dtype)
    wide[::2, ::3] = a
    return wide[::2, ::3]


def unaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


class OnDemand:
    """Something that is an array only when asked."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return np.array(self.a, dtype=dtype)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda a: a.T.copy().T,
    "unaligned": unaligned,
    "read only": read_only,
    "list": lambda a: a.tolist(),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "array-like": OnDemand,
    "matrix": np.asmatrix,
    "masked without masks": np.ma.masked_array,
    "tuple of rows": lambda a: tuple(a),
}


def trained(X, Y, w=None, params=None, **options):
    net = lw.Network([4, 6, 3], hidden="tanh")
    return lw.train(net, X, Y, sample_weight=w, params=params, epochs=2, batch_size=7, seed=3, **options)


def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(N, 4)), rng.normal(size=(N, 3)), rng.random(N)


def assert_same_bits(a, b):
    for name in a.params:
        np.testing.assert_array_equal(a.params[name], b.params[name], err_msg=name)
    np.testing.assert_array_equal(a.history.cost, b.history.cost)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_layouts(layout, dtype):
    X, Y, w = data()
    changed = LAYOUTS[layout]
    expected = trained(X, Y, w, dtype=dtype)
    assert_same_bits(trained(changed(X), changed(Y), w, dtype=dtype), expected)
    assert_same_bits(trained(X, Y, strided(w[:, None])[:, 0], dtype=dtype), expected)
    full = {"batch_size": None, "epochs": 3, "dtype": dtype}
    net = lw.Network([4, 6, 3], hidden="tanh")
    assert_same_bits(lw.train(net, changed(X), changed(Y), **full), lw.train(net, X, Y, **full))
    params = net.initialise(0)
    np.testing.assert_array_equal(net.forward(params, changed(X)), net.forward(params, X))
    assert net.cost_and_gradients(params, changed(X), changed(Y))[0] == net.cost_and_gradients(params, X, Y)[0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_layouts_of_a_larger_problem(layout, dtype):
    # Large enough for the blocks of BLAS, which rounds a product with a transposed matrix in another order.
    rng = np.random.default_rng(2)
    X, Y, changed = rng.normal(size=(301, 53)), rng.normal(size=(301, 17)), LAYOUTS[layout]
    net = lw.Network([53, 41, 17], hidden="tanh")
    params = net.initialise(0, dtype)
    for batch_size in (None, 64):
        options = {"batch_size": batch_size, "epochs": 2, "dtype": dtype}
        assert_same_bits(lw.train(net, changed(X), changed(Y), **options), lw.train(net, X, Y, **options))
    moved = {k: W if W.ndim == 1 or layout in ("list", "tuple of rows") else changed(W) for k, W in params.items()}
    np.testing.assert_array_equal(net.forward(moved, changed(X)), net.forward(params, X))
    got, expected = net.cost_and_gradients(moved, changed(X), changed(Y)), net.cost_and_gradients(params, X, Y)
    assert got[0] == expected[0]
    for name in params:
        np.testing.assert_array_equal(got[1][name], expected[1][name])


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "unaligned", "read only", "big-endian"])
def test_layouts_of_starting_weights(layout):
    X, Y, _ = data()
    start = lw.Network([4, 6, 3], hidden="tanh").initialise(5)
    moved = {k: LAYOUTS[layout](W[:, None])[:, 0] if W.ndim == 1 else LAYOUTS[layout](W) for k, W in start.items()}
    fit = trained(X, Y, params=moved)
    assert_same_bits(fit, trained(X, Y, params=start))
    assert all(W.flags.c_contiguous and W.flags.writeable and W.dtype.isnative for W in fit.params.values())


def test_rows_repeated_by_zero_strides():
    X, Y, _ = data()
    repeated = np.broadcast_to(X[:1], X.shape)
    assert_same_bits(trained(repeated, Y), trained(repeated.copy(), Y))


def test_a_memory_map(tmp_path):
    X, Y, _ = data()
    for name, a in (("X", X), ("Y", Y)):
        np.save(tmp_path / f"{name}.npy", a)
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("X", "Y")]
    fit = trained(*maps)
    assert_same_bits(fit, trained(X, Y))
    assert all(type(W) is np.ndarray for W in fit.params.values())
    np.testing.assert_array_equal(maps[0], X)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int8, np.int64, ">i2", np.longdouble])
def test_other_dtypes_are_their_values_in_double(dtype):
    X, Y = BASE.astype(dtype), (BASE[:, :3] // 7).astype(dtype)
    rate = {"optimizer": lw.SGD(1e-4)}
    assert_same_bits(trained(X, Y, **rate), trained(X.astype(np.float64), Y.astype(np.float64), **rate))


def test_booleans_are_zeros_and_ones():
    X, Y = BASE % 2 == 0, BASE[:, :3] % 3 == 0
    w = BASE[:, 0] > 20
    assert_same_bits(trained(X, Y, w), trained(X.astype(float), Y.astype(float), w.astype(float)))
    assert_same_bits(trained(X[::-1, ::-1], Y[::-1]), trained(X[::-1, ::-1].astype(float), Y[::-1].astype(float)))


def test_bytes_are_not_added_modulo_256():
    pixels = np.full((N, 4), 255, np.uint8)
    assert_same_bits(
        trained(pixels, data()[1], optimizer=lw.SGD(1e-9)), trained(pixels * 1.0, data()[1], optimizer=lw.SGD(1e-9))
    )


@pytest.mark.parametrize("weights", [None, "some zero"])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_nothing_is_modified(batch_size, weights):
    X, Y, w = data()
    w = None if weights is None else np.where(w < 0.3, 0, w)
    net = lw.Network([4, 6, 3], hidden="tanh")
    params = net.initialise(0)
    before = [a.copy() for a in (X, Y, *params.values(), *([] if w is None else [w]))]
    for a in (X, Y, *params.values(), *([] if w is None else [w])):
        a.flags.writeable = False
    fit = lw.train(net, X, Y, params=params, sample_weight=w, batch_size=batch_size, epochs=2)
    net.cost_and_gradients(params, X, Y, w)
    net.forward(params, X)
    for a, b in zip((X, Y, *params.values(), *([] if w is None else [w])), before, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in params:
        assert not np.shares_memory(fit.params[name], params[name])
        fit.params[name][...] = 0  # the caller's own


def test_weights_that_never_moved_are_a_copy_too():
    X, Y, _ = data()
    net = lw.Network([4, 3])
    params = net.initialise(0)
    with pytest.warns(lw.DivergenceWarning):
        fit = lw.train(net, X, 1e200 * Y, params=params)
    for name in params:
        np.testing.assert_array_equal(fit.params[name], params[name])
        assert not np.shares_memory(fit.params[name], params[name])


def test_labels_of_every_integer_type():
    X, _, _ = data()
    labels = BASE[:, 0] % 3
    net = lw.Network([4, 6, 3], hidden="tanh", output="softmax")
    expected = lw.train(net, X, labels, epochs=2)
    for y in (labels.astype(np.uint8), labels.astype(">i4"), labels * 1.0, labels.tolist(), labels[::-1].copy()[::-1]):
        assert_same_bits(lw.train(net, X, y, epochs=2), expected)
    two = lw.Network([4, 6, 2], hidden="tanh", output="softmax")
    assert_same_bits(lw.train(two, X, labels > 0, epochs=2), lw.train(two, X, (labels > 0).astype(int), epochs=2))
