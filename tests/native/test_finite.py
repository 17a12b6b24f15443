"""Whether all numbers of an array are finite, against NumPy."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

native = importlib.import_module("layerwise._native")  # only the engine may import it by name
TOP32 = float(np.finfo("float32").max)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("single", [False, True])
def test_one_number_among_many(dtype: str, single: bool) -> None:
    info = np.finfo(dtype)
    values = [np.nan, -np.nan, np.inf, -np.inf, info.max, -info.max, info.tiny, info.smallest_subnormal, -0.0]
    if dtype == "float64":
        values += [TOP32, -TOP32, np.nextafter(TOP32, np.inf), -np.nextafter(TOP32, np.inf), 1e300]
    for n in (1, 2, 7, 64, 1000):
        for at in {0, n // 2, n - 1}:
            for value in values:
                x = np.full(n, 1.5, dtype)
                x[at] = value
                assert native.all_finite(x, single) == bool(
                    np.isfinite(x).all() and (not single or (np.abs(x.astype(float)) <= TOP32).all())
                )


def test_every_half() -> None:
    for x in np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 1):
        assert native.all_finite(x, True) == bool(np.isfinite(x[0]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_on_several_threads(dtype: str, threads: int) -> None:
    x = np.ones((1001, 1003), dtype)
    usable = native.usable_processors()
    native.set_usable_processors(threads)
    try:
        assert native.all_finite(x, False)
        for at in np.linspace(0, x.size - 1, 40).astype(int):
            x.flat[at] = np.nan
            assert not native.all_finite(x, False)
            x.flat[at] = 1
    finally:
        native.set_usable_processors(usable)


def test_arrays_that_cannot_be_written_or_are_empty() -> None:
    x = np.ones(5)
    x.flags.writeable = False
    assert native.all_finite(x, False)
    assert native.all_finite(np.empty((0, 3)), False)


@pytest.mark.parametrize("x", [np.ones(8)[::2], np.ones(3, ">f8"), np.ones(3, int), np.ones(3, bool), [1.0], None])
def test_what_is_not_read(x) -> None:
    with pytest.raises(TypeError):
        native.all_finite(x, False)
