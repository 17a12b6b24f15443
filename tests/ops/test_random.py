"""Random numbers in a graph: what is refused, what is shared, and that derivatives pass by them."""

from __future__ import annotations

import numpy as np
import pytest

import layerwise as lw
from layerwise.compile.lower import lower
from layerwise.engine.programs import NativeRunner, native, target
from layerwise.ops.random import uniform
from layerwise.randomness import uniform_matrix


@pytest.fixture
def address():
    return lw.input("address", (2,), "integer")


def test_equal_addresses_are_one_node(address):
    made = uniform(address, dims=("N", 3), stream=1)
    assert made is uniform(address, dims=("N", 3), stream=1)
    for other in ({"stream": 2}, {"bits": 24}, {"dims": ("N", 4)}):
        assert made is not uniform(address, **{"dims": ("N", 3), "stream": 1, **other})


def test_numbers_at_once():
    drawn = uniform(np.array([3, 4]), dims=(5, 2, 3), stream=1)
    np.testing.assert_array_equal(drawn, uniform_matrix(3, 4, 1, 5, 6, 16).reshape(5, 2, 3))
    of_64_bits = uniform(np.array([2**64 - 3, 4], np.uint64), dims=(5, 2), stream=1)
    np.testing.assert_array_equal(of_64_bits, uniform_matrix(2**64 - 3, 4, 1, 5, 2, 16))


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_an_address_that_is_known(engine):
    known = uniform(lw.constant(np.array([3, 4])), dims=(5, 7), stream=1, bits=24)
    np.testing.assert_array_equal(lw.evaluate(known, engine=engine), uniform_matrix(3, 4, 1, 5, 7, 24))


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_a_mask_and_noise_have_the_derivative_of_what_they_change(address, engine):
    x = lw.input("x", ("N", 3))
    mask = lw.where(uniform(address, dims=("N", 3), stream=1) >= 0.25, 4 / 3, 0.0)
    noise = uniform(address, dims=("N", 3), stream=2, bits=24)
    cost = lw.sum((x * mask + noise) ** 2)
    (gradient,) = lw.gradient(cost, [x])
    X = np.random.default_rng(0).normal(size=(11, 3))
    kept = (uniform_matrix(5, 6, 1, 11, 3, 16) >= 0.25) * (4 / 3)
    expected = 2 * (X * kept + uniform_matrix(5, 6, 2, 11, 3, 24)) * kept
    got = lw.evaluate(gradient, {x: X, address: np.array([5, 6])}, engine=engine)
    np.testing.assert_allclose(got, expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stream": 2**16}, lw.GraphError, "stream must be an integer from 0"),
        ({"stream": -1}, lw.GraphError, "stream must be"),
        ({"stream": True}, lw.GraphError, "stream must be"),
        ({"bits": 32}, lw.GraphError, "bits must be 16 or 24; got 32"),
        ({"dims": ()}, lw.ShapeError, "at least one axis"),
        ({"dims": (-1, 2)}, lw.ShapeError, "integers >= 0"),
    ],
)
def test_what_is_refused(address, options, error, message):
    for source in (address, np.array([1, 2])):
        with pytest.raises(error, match=message):
            uniform(source, **{"dims": (3,), "stream": 1, **options})


def test_addresses_that_are_none():
    with pytest.raises(lw.ShapeError, match=r"must have shape \(2,\), a seed and a step; got \(3,\)"):
        uniform(np.array([1, 2, 3]), dims=(3,), stream=1)
    with pytest.raises(lw.DataError, match="uniform: argument 1 must be integer"):
        uniform(np.array([1.0, 2.0]), dims=(3,), stream=1)
    with pytest.raises(lw.GraphError, match="uniform needs an integer value"):
        uniform(lw.input("x", (2,)), dims=(3,), stream=1)


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (33, 64), (5, 257), (130, 2000)])
def test_a_mask_is_one_instruction(address, isa, dtype, bits, shape):
    threshold, factor = lw.input("threshold", ()), lw.input("factor", ())
    mask = lw.where(uniform(address, dims=shape, stream=3, bits=bits) >= threshold, factor, 0.0)
    program = lower([mask], {}, target(dtype, isa))
    assert [i.kernel for stage in program.stages for job in stage for i in job.instructions] == ["uniform"]
    u = uniform_matrix(2**63 + 5, 7, 3, *shape, bits)
    for t in (0.0, 0.25, float(u[0, 0]), float(np.nextafter(u[0, 0], 1, dtype=dtype)), 1.0):
        feeds = {address: np.array([2**63 + 5, 7], np.uint64).view(np.int64), threshold: t, factor: 1.25}
        (got,) = NativeRunner([mask], dtype, isa).run(feeds)
        np.testing.assert_array_equal(got, np.where(u >= np.dtype(dtype).type(t), 1.25, 0.0).astype(dtype))


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_numbers_that_are_read_besides_a_mask_stay(address, engine):
    threshold, factor = lw.input("threshold", ()), lw.input("factor", ())
    u = uniform(address, dims=(4, 9), stream=3)
    mask = lw.where(u >= threshold, factor, 0.0)
    feeds = {address: np.array([1, 2]), threshold: 0.5, factor: 2.0}
    numbers, found = lw.evaluate([u, mask], feeds, engine=engine)
    np.testing.assert_array_equal(found, np.where(numbers >= 0.5, 2.0, 0.0))
    other = lw.evaluate(lw.where(u >= threshold, factor, 1.0), feeds, engine=engine)  # not 0: no mask
    np.testing.assert_array_equal(other, np.where(numbers >= 0.5, 2.0, 1.0))
