"""From times of rounds to the numbers of a report."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median, quantiles
from typing import Any

from bench.inference import Prediction
from bench.peers import LAYERWISE
from bench.workloads import WORKLOADS, Workload


def training(workload: Workload, measured: dict[str, Any]) -> dict[str, Any]:
    """One workload: microseconds a step, part of the peak, memory."""
    w, unit = workload, workload.steps * workload.orders
    rates = [w.flops * w.orders / 1e9 / peak for peak in measured["peak"]]
    job = {
        "key": w.key,
        "name": w.name,
        "network": w.network,
        "rows": w.rows,
        "batch": w.batch_rows,
        "update": w.rule.kind,
        "orders": w.orders,
        "steps_per_pass": w.steps,
        "flops_per_pass": w.flops,
        "goal": w.goal,
        "goal_peak": w.goal_peak,
    }
    return job | _common(measured, unit, rates)


def inference(prediction: Prediction, measured: dict[str, Any]) -> dict[str, Any]:
    """One network and number of rows: microseconds a call."""
    w = WORKLOADS[prediction.key]
    rates = [w.flops_forward(prediction.rows) / 1e9 / peak for peak in measured["peak"]]
    return asdict(prediction) | {"network": w.network} | _common(measured, 1, rates)


def _common(measured: dict[str, Any], unit: int, rates: list[float]) -> dict[str, Any]:
    """``rates``: seconds that a unit would take at the peak, of each round."""
    peers: dict[str, Any] = {}
    for name, record in measured["peers"].items():
        kept = {k: record[k] for k in ("unavailable", "failed", "float64", "float32", "difference") if k in record}
        if record.get("times"):
            times = record["times"]
            kept |= {
                "microseconds": spread([1e6 * t / unit for t in times]),
                "part_of_peak": median(rate / t for rate, t in zip(rates, times, strict=True)),
                "setting": record["choice"],
                "tried": {k: 1e6 * t / unit for k, t in record["choices"].items()},
                "build_seconds": record["build_seconds"],
            }
            if "memory" in record:
                kept["memory_mib"] = record["memory"] / 2**20
        peers[name] = kept
    timed = {name: record for name, record in peers.items() if "microseconds" in record}
    others = [name for name in timed if name != LAYERWISE]
    best = min(others, key=lambda name: timed[name]["microseconds"]["median"], default=None)
    against = None
    if best and LAYERWISE in timed:
        pairs = zip(measured["peers"][best]["times"], measured["peers"][LAYERWISE]["times"], strict=True)
        against = spread([theirs / ours for theirs, ours in pairs])
    return {
        "busy": measured["busy"],
        "peak_gflops": median(measured["peak"]),
        "best_peer": best,
        "against_best": against,
        "peers": peers,
    }


def spread(values: list[float]) -> dict[str, float]:
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {
        "median": median(values),
        "lower_quartile": low,
        "upper_quartile": high,
        "least": min(values),
        "most": max(values),
        "rounds": len(values),
    }
