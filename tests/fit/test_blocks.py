"""Data in blocks: the same bits as a table, the same steps as by hand, bounded memory, and blocks that fail."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import layerwise as lw
from layerwise.randomness import Stream, permutation

ENGINES = ["native", "numpy"]


def problem(n=101, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return lw.Network([3, 8, 2], hidden="tanh"), X, np.column_stack([X[:, 0] * X[:, 1], np.sin(X[:, 2])])


def cut(*tables, rows):
    """Blocks of so many rows each."""
    ends = np.cumsum(rows)
    return lw.Blocks(lambda: (tuple(t[end - n : end] for t in tables) for n, end in zip(rows, ends, strict=True)))


def assert_same_bits(a, b):
    for name in a.params:
        assert a.params[name].dtype == b.params[name].dtype
        np.testing.assert_array_equal(a.params[name], b.params[name], err_msg=name)
    for name in a.slots:
        np.testing.assert_array_equal(a.slots[name], b.slots[name], err_msg=name)
    np.testing.assert_array_equal(a.history.cost, b.history.cost)
    assert a.stop_reason == b.stop_reason
    assert a.steps == b.steps
    np.testing.assert_array_equal(a.history.learning_rate, b.history.learning_rate)


# One block ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [1, 10, 100, 101, 1000])
def test_one_block_is_a_table(engine, dtype, batch_size):
    net, X, Y = problem()
    options = {"optimizer": lw.Adam(0.01), "batch_size": batch_size, "epochs": 4, "engine": engine, "dtype": dtype}
    assert_same_bits(lw.train(net, cut(X, Y, rows=[101]), **options), lw.train(net, X, Y, **options))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_block_with_weights_is_a_table_with_weights(engine):
    net, X, Y = problem()
    w = np.random.default_rng(1).random(101) * 1e200
    w[[3, 50]] = 0
    options = {"batch_size": 10, "epochs": 3, "engine": engine}
    blocks = lw.train(net, cut(X, Y, w, rows=[101]), **options)
    assert_same_bits(blocks, lw.train(net, X, Y, sample_weight=w, **options))


def test_one_block_with_all_that_judges():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, size=(300, 6)).astype(np.uint8)
    labels = (X[:, 0] > 100).astype(int) + (X[:, 1] > 100)
    net = lw.Network([6, 10, 3], output="softmax")
    options = {
        "optimizer": lw.SGD(lw.CosineDecay(1e-4)),
        "groups": {"b*": lw.Group(2.0)},
        "clip_norm": 1.0,
        "batch_size": 32,
        "epochs": 6,
        "validation": (X[:50], labels[:50]),
        "metric": "accuracy",
        "patience": 4,
        "diagnostics": True,
    }
    blocks = lw.train(net, cut(X[50:], labels[50:], rows=[250]), **options)
    whole = lw.train(net, X[50:], labels[50:], **options)
    assert_same_bits(blocks, whole)
    assert [e.validation for e in blocks.history] == [e.validation for e in whole.history]
    assert repr([e.layers for e in blocks.history]) == repr([e.layers for e in whole.history])
    assert blocks.notes == whole.notes


@pytest.mark.parametrize("engine", ENGINES)
def test_one_block_diverges_as_a_table(engine):
    net, X, Y = problem()
    options = {"optimizer": lw.SGD(30.0), "batch_size": 10, "epochs": 60, "engine": engine}
    net = lw.Network([3, 8, 2])
    with pytest.warns(lw.DivergenceWarning):
        whole = lw.train(net, X, Y, **options)
    with pytest.warns(lw.DivergenceWarning):
        blocks = lw.train(net, cut(X, Y, rows=[101]), **options)
    assert_same_bits(blocks, whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_block_is_a_table_for_every_kind_of_layer(engine):
    _, X, Y = problem()
    layers = [
        lw.Dense(8, "relu", dropout=lw.Warmup(2) * lw.Constant(0.3), noise=0.1, normalisation="batch"),
        lw.Dense(8, "tanh", normalisation="layer", residual=True, l2=0.01, max_norm=1.0),
    ]
    net = lw.Network([lw.Input(3), *layers, lw.Dense(2)])
    options = {"optimizer": lw.Adam(0.01), "batch_size": 10, "epochs": 4, "engine": engine}
    fit = lw.train(net, cut(X, Y, rows=[101]), **options)
    assert_same_bits(fit, lw.train(net, X, Y, **options))
    two = lw.train(net, cut(X, Y, rows=[60, 41]), **options)
    assert two.steps == fit.steps
    assert np.isfinite(two.history.cost).all()


# Several blocks -----------------------------------------------------------------------------------------------


def step_by_hand(p, X, T, w):
    A1 = np.tanh(X @ p["W1"] + p["b1"])
    r = A1 @ p["W2"] + p["b2"] - T
    w = (w / len(X))[:, None]
    delta2 = 2 * w * r
    delta1 = delta2 @ p["W2"].T * (1 - A1**2)
    g = {"W1": X.T @ delta1, "b1": delta1.sum(axis=0), "W2": A1.T @ delta2, "b2": delta2.sum(axis=0)}
    return (w * r**2).sum(), g


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_by_hand(engine, weighted):
    net, X, Y = problem()
    rows = [40, 1, 7, 30, 23]
    w = np.random.default_rng(2).random(101) if weighted else np.ones(101)
    if weighted:
        w[[0, 41, 42]] = 0
    blocks = cut(X, Y, w, rows=rows) if weighted else cut(X, Y, rows=rows)
    start = net.initialise(1)
    fit = lw.train(
        net, blocks, params=start, optimizer=lw.Momentum(0.05), batch_size=8, epochs=3, seed=9, engine=engine
    )
    p, V = dict(start), {k: 0.0 for k in start}
    share = w / w[w > 0].mean()
    costs, steps = [], 0
    for epoch in range(1, 4):
        total, first = 0.0, 0
        for number, n in enumerate(rows):
            block = np.arange(first, first + n)
            block = block[w[block] > 0]
            first += n
            # One batch is taken as it comes.
            order = (
                permutation(9, Stream.SHUFFLE, epoch + (number << 32), len(block)) if len(block) > 8 else slice(None)
            )
            for at in np.split(block[order], range(8, len(block), 8)):
                cost, g = step_by_hand(p, X[at], Y[at], share[at])
                V = {k: 0.9 * V[k] + g[k] for k in p}
                p = {k: p[k] - 0.05 * V[k] for k in p}
                total += cost * len(at)
                steps += 1
        costs.append(total / (w > 0).sum())
    assert fit.steps == steps
    np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-12)
    for name, W in p.items():
        np.testing.assert_allclose(fit.params[name], W, rtol=1e-10, atol=1e-13)


def test_each_block_has_its_own_order():
    # One weight a row; a rate at which the last row of an epoch with this input decides.
    net = lw.Network([1, 1])
    start = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}
    T = np.arange(20.0)

    def last(blocks):
        fit = lw.train(net, blocks, params=start, optimizer=lw.SGD(0.25), batch_size=1, epochs=1)
        return round(2 * fit.params["b1"].item(), 6)

    one = cut(np.ones((20, 1)), T, rows=[20])
    two = cut(np.ones((40, 1)), np.concatenate([T, T]), rows=[20, 20])
    three = cut(np.ones((60, 1)), np.concatenate([T, T, T]), rows=[20, 20, 20])
    assert len({last(one), last(two), last(three)}) > 1


def test_other_blocks_in_each_epoch():
    net, X, Y = problem()
    made = []

    def make():
        made.append(len(made))
        yield from ((X[i::2], Y[i::2]) for i in range(1 + len(made) % 2))  # 51 rows and 50, then 51, and so on

    fit = lw.train(net, lw.Blocks(make), batch_size=10, epochs=4)
    assert len(made) == 4
    assert fit.steps == 2 * (6 + 5) + 2 * 6
    assert len(fit.history) == 4


def test_blocks_may_be_any_iterable():
    net, X, Y = problem()
    listed = [(X[:50].tolist(), Y[:50].tolist()), [X[50:], Y[50:]]]
    fit = lw.train(net, lw.Blocks(lambda: listed), batch_size=10, epochs=2)
    assert_same_bits(fit, lw.train(net, cut(X, Y, rows=[50, 51]), batch_size=10, epochs=2))


# Schedules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [None, [40, 1, 60]])
def test_schedules_know_the_steps(told):
    net, X, Y = problem()
    made = []

    def make():
        made.append(1)
        yield from ((X[a:b], Y[a:b]) for a, b in [(0, 40), (40, 41), (41, 101)])

    fit = lw.train(net, lw.Blocks(make, told), optimizer=lw.SGD(lw.CosineDecay(0.1)), batch_size=10, epochs=3)
    steps = 4 + 1 + 6
    assert fit.steps == 3 * steps
    at = np.arange(1, 4) * steps - 1
    np.testing.assert_allclose(fit.history.learning_rate, 0.05 * (1 + np.cos(np.pi * at / (3 * steps))), rtol=1e-12)
    assert len(made) == (3 if told else 4)  # read once more, to be counted


def test_a_schedule_needs_the_same_steps_in_each_epoch():
    net, X, Y = problem()
    made = []

    def make():
        made.append(1)
        yield X[: 100 if len(made) < 3 else 50], Y[: 100 if len(made) < 3 else 50]

    with pytest.raises(lw.DataError, match=r"Epoch 2 had 5 steps, and the schedule was made for 10\. ") as raised:
        lw.train(net, lw.Blocks(make), optimizer=lw.SGD(lw.CosineDecay(0.1)), batch_size=10, epochs=3)
    assert raised.value.fit.steps == 15


# Memory -------------------------------------------------------------------------------------------------------


def test_one_block_is_held_at_a_time():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(100, 1))

    def make():
        for number in range(12):
            yield made(number)

    def made(number):
        X = np.random.default_rng(number).normal(size=(10_000, 100))
        return X, X @ W

    net = lw.Network([100, 8, 1])
    lw.train(net, lw.Blocks(make), batch_size=500, epochs=1)  # what is loaded and kept once
    gc.collect()
    tracemalloc.start()
    try:
        fit = lw.train(net, lw.Blocks(make), batch_size=500, epochs=2)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fit.steps == 2 * 12 * 20
    # A block has 8 MB, and 1024 of its rows are kept: 0.8 MB. Two blocks would be 16 MB.
    assert most < 12e6


RESIDENT = """
import resource, sys
import numpy as np
import layerwise as lw

def blocks(number):
    for first in range(number):
        X = np.fromfile(sys.argv[1], np.float32, 10**6, offset=4 * 10**6 * first).reshape(-1, 100)
        yield X, X[:, :1]

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

net = lw.Network([100, 16, 1])
options = {"batch_size": 500, "epochs": 1, "dtype": "float32"}
lw.train(net, lw.Blocks(lambda: blocks(2)), **options)
before = most()
lw.train(net, lw.Blocks(lambda: blocks(50)), **options)
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes there")
def test_a_file_of_200_megabytes_takes_no_more_than_one_of_8(tmp_path):
    path = tmp_path / "table.bin"
    block = np.random.default_rng(0).normal(size=(10_000, 100)).astype(np.float32)
    with path.open("wb") as file:
        for _ in range(50):
            file.write(block.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 12  # megabytes: 0.2 when this was written


# Limits, Ctrl-C, checkpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_are_limited_in_the_middle_of_a_block_and_between(engine):
    net, X, Y = problem()
    for most, where in ((3, "in epoch 1"), (5, "in epoch 1"), (11, "after epoch 1"), (14, "in epoch 2")):
        fit = lw.train(net, cut(X, Y, rows=[50, 51]), batch_size=10, epochs=5, max_steps=most, engine=engine)
        assert fit.steps == most
        assert fit.stop_reason == f"The {most} steps of max_steps are done, {where}."
        assert len(fit.history) == most // 11


def test_seconds_are_limited():
    import time

    net, X, Y = problem()

    def slow():
        for first in range(0, 100, 10):
            time.sleep(0.02)
            yield X[first : first + 10], Y[first : first + 10]

    fit = lw.train(net, lw.Blocks(slow), batch_size=10, epochs=5, max_seconds=0.07)
    assert fit.stop_reason == "The 0.07 seconds of max_seconds are over, in epoch 1."
    assert 1 <= fit.steps < 10


def interrupting(X, Y, at, error=KeyboardInterrupt):
    """Blocks of 20 rows; the error is raised in place of the block with this number, from 1, counted over epochs."""
    given = []

    def make():
        for first in range(0, 100, 20):
            given.append(first)
            if len(given) == at:
                raise error
            yield X[first : first + 20], Y[first : first + 20]

    return lw.Blocks(make)


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_while_a_block_is_made(engine):
    net, X, Y = problem()
    with pytest.raises(lw.TrainingInterrupted) as raised:
        lw.train(net, interrupting(X, Y, 8), batch_size=10, epochs=9, engine=engine)
    fit = raised.value.fit
    assert fit.stop_reason == "Ctrl-C in epoch 2, after 14 steps in all; their weights are kept."
    assert len(fit.history) == 1
    whole = lw.train(net, cut(X[:100], Y[:100], rows=[20] * 5), batch_size=10, epochs=9, max_steps=14, engine=engine)
    np.testing.assert_array_equal(fit.params["W1"], whole.params["W1"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("at", [2, 6, 8, 11])
def test_a_fit_cut_off_between_blocks_is_resumed_to_the_same_bits(engine, at, tmp_path):
    net, X, Y = problem()
    options = {"optimizer": lw.Adam(0.01), "batch_size": 8, "epochs": 3, "engine": engine}
    with pytest.raises(lw.TrainingInterrupted):
        lw.train(net, interrupting(X, Y, at), checkpoint=tmp_path, **options)
    blocks = cut(X[:100], Y[:100], rows=[20] * 5)
    fit = lw.train(net, blocks, resume=tmp_path, **options)
    assert_same_bits(fit, lw.train(net, blocks, **options))
    with pytest.raises(lw.CheckpointError, match="training data differs"):
        lw.train(net, cut(X[:100] + 1, Y[:100], rows=[20] * 5), resume=tmp_path, **options)


# Blocks that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_of_the_blocks_is_the_callers_and_carries_the_fit(engine):
    net, X, Y = problem()
    error = OSError("the disk is gone")
    with pytest.raises(OSError, match="the disk is gone") as raised:
        lw.train(net, interrupting(X, Y, 8, error), batch_size=10, epochs=9, engine=engine)
    assert raised.value is error
    assert raised.value.__cause__ is None
    assert raised.value.__notes__[0].startswith("What was learned in 14 steps is in the .fit of this exception")
    fit = raised.value.fit
    assert fit.stop_reason == "OSError in epoch 2, after 14 steps in all; their weights are kept."
    whole = lw.train(net, cut(X[:100], Y[:100], rows=[20] * 5), batch_size=10, epochs=9, max_steps=14, engine=engine)
    np.testing.assert_array_equal(fit.params["W1"], whole.params["W1"])
    lw.train(net, X, Y, params=fit, epochs=1)


def test_what_was_learned_before_an_error_is_saved(tmp_path):
    net, X, Y = problem()
    options = {"optimizer": lw.Adam(0.01), "batch_size": 8, "epochs": 3}
    with pytest.raises(OSError, match="gone") as raised:
        lw.train(net, interrupting(X, Y, 8, OSError("gone")), checkpoint=tmp_path, **options)
    assert raised.value.__notes__[0].endswith(f"It is saved as well: go on with resume={str(tmp_path)!r}.")
    blocks = cut(X[:100], Y[:100], rows=[20] * 5)
    assert_same_bits(lw.train(net, blocks, resume=tmp_path, **options), lw.train(net, blocks, **options))


def test_an_error_before_the_first_step_carries_none():
    net, X, Y = problem()
    with pytest.raises(OSError, match="gone") as raised:
        lw.train(net, interrupting(X, Y, 1, OSError("gone")), batch_size=10)
    assert not hasattr(raised.value, "fit")


def with_third(*third):
    net, X, Y = problem()
    return net, lw.Blocks(lambda: iter([(X[:20], Y[:20]), (X[20:40], Y[20:40]), third, (X[40:], Y[40:])]))


@pytest.mark.parametrize(
    ("third", "error", "message"),
    [
        ((np.ones((5, 4)), np.ones((5, 2))), lw.ShapeError, r"block 3: X must have shape \(N, 3\)"),
        ((np.ones((5, 3)), np.ones((5, 1))), lw.ShapeError, r"block 3: Y must have shape \(N, 2\)"),
        ((np.ones((5, 3)), np.ones((4, 2))), lw.ShapeError, "block 3: Y must have one row for each of the 5 rows"),
        ((np.full((5, 3), np.nan), np.ones((5, 2))), lw.DataError, "block 3: X has 15 NaN or infinite values"),
        ((np.ones((0, 3)), np.ones((0, 2))), lw.DataError, "block 3: X has no rows"),
        (
            (np.ones((5, 3)), np.ones((5, 2)), np.ones(5)),
            lw.DataError,
            "block 3: it is with weights of samples, and the",
        ),
        ((np.ones((5, 3)),), lw.DataError, r"block 3: a block must be \(X, Y\) or \(X, Y, sample_weight\); got tuple"),
    ],
)
def test_a_wrong_block_is_named_and_the_steps_before_it_stay(third, error, message):
    net, blocks = with_third(*third)
    with pytest.raises(error, match=message) as raised:
        lw.train(net, blocks, batch_size=10, epochs=3)
    assert raised.value.fit.steps == 4
    _, X, Y = problem()
    whole = lw.train(net, X[:40], Y[:40], batch_size=10, epochs=1, max_steps=2)
    assert np.isfinite(raised.value.fit.params["W1"]).all()
    assert (raised.value.fit.params["W1"] != whole.params["W1"]).any()


def test_labels_are_checked_in_each_block():
    net = lw.Network([2, 3], output="softmax")
    X = np.ones((4, 2))

    def blocks(third):
        return lw.Blocks(lambda: iter([(X, [0, 1, 2, 0]), (X, [0, 0, 0, 0]), (X, third)]))

    with pytest.raises(lw.DataError, match=r"block 3: Labels in Y must be 0 \.\. 2 for 3 outputs; got 3 at row 1"):
        lw.train(net, blocks([0, 3, 1, 1]), batch_size=2)
    with pytest.raises(lw.DataError, match="block 3: Y holds rows of numbers, and in the first block labels"):
        lw.train(net, blocks(np.eye(3)[[0, 1, 2, 0]]), batch_size=2)


def test_rows_are_as_they_were_told():
    net, X, Y = problem()
    for rows, message in (
        ([50, 50], "block 2: X has 51 rows, and by the rows of Blocks it has 50"),
        ([50], "block 2: X has 51 rows, and by the rows of Blocks there is no such block"),
        ([50, 51, 3], r"Blocks gave 2 blocks in epoch 1, and by its rows there are 3\."),
    ):
        with pytest.raises(lw.DataError, match=message):
            lw.train(net, lw.Blocks(cut(X, Y, rows=[50, 51]).make, rows), batch_size=10)


def test_an_iterator_must_begin_anew():
    net, X, Y = problem()
    one = iter([(X[:50], Y[:50]), (X[50:], Y[50:])])
    with pytest.raises(lw.DataError, match="gave the same iterator again; it must make a new one each time") as raised:
        lw.train(net, lw.Blocks(lambda: one), batch_size=10, epochs=2)
    assert raised.value.fit.steps == 11
    with pytest.raises(lw.DataError, match="Blocks gave no block; at least one row is needed"):
        lw.train(net, lw.Blocks(lambda: []), batch_size=10)
    listed = [[(X, Y)], []]
    with pytest.raises(lw.DataError, match="Blocks gave no block in epoch 2: "):
        lw.train(net, lw.Blocks(lambda: listed.pop(0)), batch_size=10, epochs=2)
    with pytest.raises(lw.DataError, match=r"must give an iterator of blocks .*; got int"):
        lw.train(net, lw.Blocks(lambda: 3), batch_size=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Y": [1.0]}, r"Y cannot be given with Blocks: each block holds its own, \(X, Y\)"),
        ({"sample_weight": [1.0]}, "sample_weight cannot be given with Blocks"),
        ({"class_weight": "balanced"}, "class_weight cannot be given with Blocks: give each row the weight"),
        ({"every_steps": 3, "checkpoint": "folder"}, "every_steps cannot be given with Blocks: checkpoints are saved"),
        ({"validation": 0.2}, r"validation must be a tuple \(X, Y\) or .* where data come in blocks; got float"),
        ({"batch_size": None}, r"batch_size=None is all samples at once, .* Give a batch_size such as 128"),
        ({"batch_size": 0}, "batch_size must be a positive integer; got 0"),
        ({"optimizer": lw.Rprop()}, "Rprop takes all samples at once, and of Blocks one is held at a time"),
        ({"optimizer": lw.LBFGS()}, "LBFGS takes all samples at once, and of Blocks one is held at a time"),
    ],
)
def test_what_does_not_go_with_blocks(options, message):
    net, X, Y = problem()
    with pytest.raises(lw.DataError, match=message):
        lw.train(net, cut(X, Y, rows=[50, 51]), **{"batch_size": 10, **options})


def test_batches_of_one_row_with_batch_normalisation_are_refused():
    net, X, Y = lw.Network([3, 8, 2], normalisation="batch"), *problem()[1:]
    with pytest.raises(lw.DataError, match="Layer 1 has batch normalisation, which makes a batch of one row 0"):
        lw.train(net, cut(X, Y, rows=[101]), batch_size=1)


def test_listeners_are_told_of_the_rows_that_are_known():
    net, X, Y = problem()
    told = []

    class Told(lw.Callback):
        def on_fit_begin(self, info):
            told.append(info.samples)
            assert ("samples" in info.settings) == (info.samples is not None)

    blocks = cut(X, Y, rows=[50, 51])
    options = {"batch_size": 10, "epochs": 1, "on_epoch_end": Told()}
    lw.train(net, blocks, **options)
    lw.train(net, lw.Blocks(blocks.make, [50, 51]), **options)
    lw.train(net, blocks, optimizer=lw.SGD(lw.CosineDecay(0.1)), **options)
    assert told == [None, 101, 101]
    lw.train(net, blocks, batch_size=10, epochs=1, progress=True)


def test_blocks_are_a_function_and_counts():
    with pytest.raises(lw.DataError, match=r"Blocks takes a function that gives a fresh iterator .*; got list"):
        lw.Blocks([1])
    with pytest.raises(lw.DataError, match="each of the rows of Blocks must be a positive integer; got 0"):
        lw.Blocks(list, [3, 0])
    with pytest.raises(lw.DataError, match="at least one block"):
        lw.Blocks(list, [])


def test_weights_that_are_all_0_in_a_block_or_in_all():
    net, X, Y = problem()
    w = np.ones(101)
    w[:50] = 0
    fit = lw.train(net, cut(X, Y, w, rows=[50, 51]), batch_size=10, epochs=2)
    assert fit.steps == 2 * 6
    np.testing.assert_array_equal(
        fit.history.cost, lw.train(net, cut(X, Y, w, rows=[50, 51]), batch_size=10, epochs=2).history.cost
    )
    with pytest.raises(lw.DataError, match="sample_weight is 0 for every row of all blocks"):
        lw.train(net, cut(X, Y, 0 * w, rows=[50, 51]), batch_size=10)
    with pytest.raises(lw.DataError, match="block 2: sample_weight must be >= 0; got -1"):
        lw.train(net, cut(X, Y, np.where(np.arange(101) == 60, -1, 1), rows=[50, 51]), batch_size=10)


def test_weights_that_are_all_0_in_a_later_epoch():
    net, X, Y = problem()
    weights = [1.0, 1.0, 1.0, 0.0]  # the mean, the first rows, and two epochs
    blocks = lw.Blocks(lambda: [(X, Y, np.full(101, weights.pop(0)))])
    with pytest.raises(lw.DataError, match="sample_weight is 0 for every row of all blocks in epoch 2") as raised:
        lw.train(net, blocks, batch_size=10, epochs=3)
    assert raised.value.fit.steps == 11


# Costs that are not finite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_that_leads_to_an_infinite_cost(engine):
    # The last step of the first block leads to weights of infinite cost: it is undone while its rows are still there.
    net = lw.Network([1, 1])
    start = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}
    X, Y = np.ones((4, 1)), np.array([[0.0], [0.0], [1e153], [1e153]])

    def make():
        yield X[:2], Y[:2]
        yield X[2:], Y[2:]
        yield X, Y

    with pytest.warns(lw.DivergenceWarning):
        fit = lw.train(
            net, lw.Blocks(make), params=start, optimizer=lw.SGD(1e10), batch_size=2, epochs=1, engine=engine
        )
    assert fit.diverged
    assert fit.stop_reason.startswith("The cost became inf in epoch 1, step ")
    for name, W in start.items():
        np.testing.assert_array_equal(fit.params[name], W)  # after the first block, which had nothing to learn


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_in_blocks_that_runs_away_keeps_the_weights_of_the_lowest_cost(engine):
    # All rows are the same, so the order of blocks does not matter: W1 + b1 shrinks, then grows.
    net = lw.Network([1, 1])
    rate = lw.Constant(0.1).then(lw.Constant(0.6), epochs=3)
    X, Y = np.ones((4, 1)), np.zeros(4)
    options = {"optimizer": lw.SGD(rate), "batch_size": 2, "epochs": 40, "engine": engine, "seed": 1}
    with pytest.warns(lw.DivergenceWarning, match="The cost grew"):
        whole = lw.train(net, X, Y, **options)
    with pytest.warns(lw.DivergenceWarning, match="The cost grew"):
        blocks = lw.train(net, cut(X, Y, rows=[2, 2]), **options)
    assert np.argmin(whole.history.cost) not in (0, len(whole.history) - 1)
    assert_same_bits(blocks, whole)


def test_a_first_block_that_is_unlike_the_others_is_no_sign_of_running_away():
    X = np.linspace(0, 1, 10_000)[:, None]
    net = lw.Network([1, 8, 1], hidden="tanh")
    blocks = lw.Blocks(lambda: ((X[i : i + 1000], X[i : i + 1000] ** 2) for i in range(0, 10_000, 1000)))
    fit = lw.train(net, blocks, epochs=5)
    assert fit.stop_reason == "All 5 epochs are done."
    # The start of the first block costs next to nothing, an epoch thousands of times as much.
    first, _ = net.cost_and_gradients(net.initialise(0), X[:1000], X[:1000] ** 2)
    assert fit.history[0].cost > 5 * first
