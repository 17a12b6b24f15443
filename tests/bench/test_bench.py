import math
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import layerwise as lw

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import chart, proof, report, results, store, widths
from bench.inference import PREDICTIONS
from bench.peers import LAYERWISE, PEERS, REFERENCE, layerwise_api, numpy_by_hand
from bench.peers.base import ALIGNMENT, Task, load
from bench.workloads import WORKLOADS, Workload, cost

SMALL = {
    "W1": {"rows": 60, "orders": 3},
    "W2": {"data": "spiral", "rows": 75, "widths": (2, 16, 3), "orders": 3},
    "W3": {"data": "images", "rows": 75, "widths": (784, 8, 10), "orders": 2},
    "W4": {"rows": 300, "orders": 2},
    "W5": {"rows": 300, "orders": 2, "widths": (784, 20, 10), "batch": 100},
    "W6": {"rows": 2500, "orders": 2},
    "W7": {"rows": 1024, "widths": (4096, 8, 8, 8, 1000)},
    "W8": {"rows": 300, "orders": 2},
}


def small(key: str) -> Workload:
    return replace(WORKLOADS[key], **SMALL[key])


def task_of(key: str, folder: Path) -> Task:
    return Task(small(key), folder, "float64", 2)


@pytest.mark.parametrize("key", WORKLOADS)
def test_numpy_by_hand_and_layerwise_take_the_same_steps(key, tmp_path):
    task = task_of(key, tmp_path)
    X, T = store.store(task)
    weights = []
    for peer in (numpy_by_hand, layerwise_api):
        runner = peer.train(task)
        runner.reset()
        runner.run(1)
        weights.append(runner.result())
    way = max(np.abs(a - b).max() for a, b in zip(weights[0], [a for p in task.start() for a in p], strict=True))
    assert way > 1e-5
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * way)  # float64 after a few dozen steps
    pairs = list(zip(weights[0][::2], weights[0][1::2], strict=True))
    assert cost(task.workload, pairs, X, T) < cost(task.workload, task.start(), X, T)


@pytest.mark.parametrize("key", ["W1", "W2", "W6", "W8"])
def test_cost_is_that_of_the_library(key, tmp_path):
    w = small(key)
    X, T = w.arrays()
    net = lw.Network(list(w.widths), hidden=w.hidden, output=w.output, loss=w.loss)
    params = {f"{name}{n}": a for n, pair in enumerate(w.start(), 1) for name, a in zip("Wb", pair, strict=True)}
    assert cost(w, w.start(), X, T) == pytest.approx(net.cost_and_gradients(params, X, T)[0], rel=1e-12)


@pytest.mark.parametrize("key", ["W2", "W6"])
def test_reset_begins_anew(key, tmp_path):
    task = task_of(key, tmp_path)
    store.store(task)
    runner = numpy_by_hand.train(task)
    runner.reset()
    runner.run(2)
    first = [a.copy() for a in runner.result()]
    runner.reset()
    runner.run(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, runner.result(), strict=True))


@pytest.mark.parametrize("key", ["W2", "W4", "W6"])
def test_predictions_agree(key, tmp_path):
    task = replace(task_of(key, tmp_path), rows=7, dtype="float32")
    store.store_rows(task)
    outputs = []
    for peer in (numpy_by_hand, layerwise_api):
        runner = peer.predict(task)
        runner.run(1)
        (A,) = runner.result()
        assert A.shape == (7, task.workload.widths[-1])
        assert A.dtype == np.float32
        outputs.append(A)
    np.testing.assert_allclose(*outputs, atol=1e-5)  # outputs are at most 1, of sums of 784 terms in float32


def test_arrays_are_read_to_aligned_memory(tmp_path):
    for shape in [(3,), (5, 7), (1, 1)]:
        array = np.random.default_rng(0).random(shape)
        np.save(tmp_path / "a.npy", array)
        read = load(tmp_path / "a.npy")
        assert read.ctypes.data % ALIGNMENT == 0
        assert np.array_equal(read, array)


def test_the_order_of_a_block_is_whole_passes():
    w = small("W6")
    order = store.block_order(w).reshape(w.orders, w.rows)
    assert not np.array_equal(order[0], order[1])
    for one in order:
        assert np.array_equal(np.sort(one), np.arange(w.rows))


def test_counted_operations():
    w = WORKLOADS["W4"]
    # forward and weights: 2 · 2 · 784 · 128 of the first layer; and towards the inputs: 3 · 2 · 128 · 10 of the second
    assert w.flops == 60_000 * (401_408 + 7_680)
    assert w.flops_forward(1) == 2 * 784 * 128 + 2 * 128 * 10
    assert w.steps == 469
    assert w.n_parameters == 784 * 128 + 128 + 128 * 10 + 10
    assert WORKLOADS["W1"].steps == 1


# Report ----------------------------------------------------------------------------------------------


def measured(**seconds):
    """What `bench.rounds.measure` gives, from seconds a unit of three rounds."""
    peers = {
        name: {"times": times, "choice": "2 threads", "choices": {"2 threads": times[0]}, "build_seconds": 1.0}
        | {"memory": 50 * 2**20, "float64": {"cost": 0.5, "weights": 0.0, "steps": 10}}
        for name, times in seconds.items()
    }
    return {"busy": 0.02, "peak": [200.0, 200.0, 100.0], "peers": peers}


@pytest.fixture
def outcome():
    w = WORKLOADS["W4"]  # 469 steps a unit, 24.54528 GFLOP: 0.1227264 s at 200 GFLOP/s
    times = {
        LAYERWISE: [0.1227264, 0.1227264, 0.2454528],
        REFERENCE: [1.0, 1.0, 2.0],
        "jax_jit": [0.25, 0.3681792, 0.4909056],
    }
    training = results.training(w, measured(**times))
    training["peers"]["sklearn_mlp"] = {"unavailable": "no module named sklearn"}
    one = results.inference(PREDICTIONS[1], measured(**{LAYERWISE: [5e-6] * 3, "onnx_runtime": [1e-5] * 3}))
    many = results.inference(PREDICTIONS[3], measured(**{LAYERWISE: [5e-3] * 3, "onnx_runtime": [1e-2] * 3}))
    return {
        "date": "2026-01-02",
        "machine": {"cpu": "a processor", "cores": 2, "isa": "avx2", "python": "3.11.0"},
        "versions": {"numpy": "2.0", "jax": "0.1"},
        "peak_gflops": 200.0,
        "training": [training],
        "inference": [one, many],
    }


def test_numbers_of_a_run(outcome):
    (job,) = outcome["training"]
    ours = job["peers"][LAYERWISE]
    assert ours["microseconds"]["median"] == pytest.approx(1e6 * 0.1227264 / 469)
    assert ours["part_of_peak"] == pytest.approx(1.0)  # the third round is half as fast, and so was the peak
    assert job["best_peer"] == "jax_jit"
    # 0.25 / 0.1227 = 2.04, 3, and 2: paired by rounds
    assert job["against_best"]["median"] == pytest.approx(0.25 / 0.1227264)
    assert job["against_best"]["least"] == pytest.approx(2.0)
    assert job["against_best"]["most"] == pytest.approx(3.0)
    assert job["peak_gflops"] == 200.0


def test_tables(outcome):
    text = report.markdown(outcome)
    lines = text.splitlines()
    (training,) = [line for line in lines if line.startswith("| W4") and "×" in line]
    assert training.split(" | ")[1:4] == ["262", "2,130", "**785**"]
    assert "2.04× (2.02–2.52)" in training
    (peak,) = [line for line in lines if line.startswith("| W4") and "100\u00a0%" in line]
    assert "0.052" in peak
    assert "2026-01-02 on a processor, 2 cores, avx2" in text
    assert "| 784-128-10 | 5.00 | **10.0** | 2.00× (2.00–2.00) |" in text
    assert "| 784-128-10 | 2.00 | **1.00** | 2.00× (2.00–2.00) |" in text  # 10,000 rows in 5 ms
    assert "- W4: not measured. scikit-learn: no module named sklearn" in text
    for section in ("conditions", "training", "peak", "memory", "proof", "one-row", "many-rows", "peers", "missing"):
        assert text.count(f"<!-- {section} -->") == text.count(f"<!-- end of {section} -->") == 1
    for head in [line for line in lines if line.startswith("| ---")]:
        at = lines.index(head)
        assert lines[at - 1].count("|") == head.count("|")


def test_a_busy_machine_is_told_of(outcome):
    assert "Other programs" not in report.markdown(outcome)
    outcome["inference"][0]["busy"] = 0.64
    assert "Other programs used up to 64\u00a0% of the processors" in report.markdown(outcome)


def test_goals(outcome):
    assert report.goals(outcome).splitlines() == [
        "reached  W4: 2.04× the best peer (goal 1.50), 100 % of the peak (goal 81.0)",
        "reached  784-128-10, 1 rows: 5.00 µs (goal 6.00)",
        "reached  784-128-10, 10,000 rows: 2.00× the best peer (goal 1.20)",
    ]
    outcome["training"][0]["peers"][LAYERWISE]["part_of_peak"] = 0.8
    assert report.goals(outcome).startswith("missed   W4")


def test_a_report_is_the_same_every_time(outcome):
    assert report.markdown(outcome) == report.markdown(outcome)
    assert chart.training_chart(outcome) == chart.training_chart(outcome)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1,230"),
        (999.7, "1,000"),
        (123.4, "123"),
        (45.12, "45.1"),
        (9.999, "10.0"),
        (0.0523, "0.0523"),
        (0, "0"),
    ],
)
def test_numbers_have_three_digits_that_say_something(value, text):
    assert report.number(value) == text


def test_charts(outcome):
    for draw, job, lines in ((chart.training_chart, "train", 1), (chart.inference_chart, "predict", 2)):
        root = ET.fromstring(draw(outcome))
        space = "{http://www.w3.org/2000/svg}"
        groups = [g for g in root.iter(f"{space}g") if g.find(f"{space}title") is not None]
        ours = [g for g in groups if g.get("class") == LAYERWISE]
        assert len(ours) == lines
        one = next(e for e in root.iter(f"{space}line") if e.get("class") == "grid one")
        for mark in ours:
            assert float(mark.find(f"{space}circle").get("cx")) < float(one.get("x1"))  # faster is left of 1×
        width = float(root.get("width"))
        for text in root.iter(f"{space}text"):
            assert 0 <= float(text.get("x")) <= width
        assert all(PEERS[g.get("class")].jobs.count(job) for g in groups)


def test_another_cost_is_told():
    a = measured(**{REFERENCE: [1.0] * 3, "jax_jit": [1.0] * 3, "torch_eager": [1.0] * 3})
    a["peers"]["jax_jit"]["float64"]["cost"] = 0.5 * (1 + 1e-8)
    a["peers"]["torch_eager"]["float64"]["cost"] = math.nan
    outcome = {"training": [results.training(WORKLOADS["W2"], a)], "inference": []}
    wrong = proof.failures(outcome)
    assert len(wrong) == 2
    assert any(s.startswith("W2, JAX, float64: the cost after 10 steps is 0.500000005, not 0.5") for s in wrong)


def test_every_width_is_timed_drawn_and_compared_with_its_neighbours():
    times = widths.measure([1, 2, 3], rounds=1)
    assert all(list(known) == [1, 2, 3] and min(known.values()) > 0 for known in times.values())
    times[next(iter(times))] = {1: 4.0, 2: 5.0, 3: 8.0}
    assert widths.jumps({1: 4.0, 2: 5.0, 3: 8.0, 5: 90.0}) == [(1.6, 3), (1.25, 2), (0.8, 1), (0.625, 2)]
    assert "1.60×, at 3" in widths.report(times, 0.0)
    rings = [e for e in ET.fromstring(widths.draw(times)).iter() if e.tag.endswith("circle")]
    assert rings
