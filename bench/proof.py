"""That all peers do the same: after the same steps from the same weights, the same cost.

The float64 run of each workload has few rows, several passes, each in an order of its own, and a last batch that is
smaller. The float32 run is the first block of what is timed.
"""

from __future__ import annotations

from typing import Any

from bench.peers import PEERS, REFERENCE
from bench.workloads import WORKLOADS, Workload

COST = {"float64": 1e-9, "float32": 2e-2}
"""How far costs may be apart, relatively.

float32 rounds at 6e-8, but Adam divides by the size of the gradient, so where that is near 0 the rounding decides the
direction: after the 489 steps of W6 the costs of two peers were 3e-3 apart.
"""

OUTPUTS = 1e-4
"""How far predictions in float32 may be apart."""

ADAM_OF_SKLEARN = 1e-2
"""Its ε stands inside the correction of the second moment, which tells where gradients are near 1e-8."""


def allowed(peer: str, workload: Workload, dtype: str, orders: int) -> float | None:
    """The tolerance for the cost; None where this peer computes something else, and cannot be compared.

    ``orders``: passes in an order each that the float32 run had.
    """
    if peer != "sklearn_mlp":
        return COST[dtype]
    if workload.loss == "squared_error":  # its regressor's output is the identity
        return None
    if dtype == "float32" and workload.batch is not None and orders > 1:  # it repeats the first order
        return None
    return ADAM_OF_SKLEARN if workload.rule.kind == "adam" else COST[dtype]


def difference(record: dict[str, Any], reference: dict[str, Any], dtype: str) -> float:
    """Of two costs, relative."""
    return abs(record[dtype]["cost"] / reference[dtype]["cost"] - 1)


def failures(results: dict[str, Any]) -> list[str]:
    """Sentences, one for each peer that did not do the same."""
    wrong = []
    for job in results["training"]:
        reference = job["peers"].get(REFERENCE, {})
        for name, record in job["peers"].items():
            for dtype in ("float64", "float32"):
                limit = allowed(name, WORKLOADS[job["key"]], dtype, job["orders"])
                if limit is None or dtype not in record or dtype not in reference:
                    continue
                far = difference(record, reference, dtype)
                if not far <= limit:
                    wrong.append(
                        f"{job['key']}, {PEERS[name].label}, {dtype}: the cost after {record[dtype]['steps']} steps is "
                        f"{record[dtype]['cost']:.12g}, not {reference[dtype]['cost']:.12g} (relative {far:.1e})."
                    )
    for job in results["inference"]:
        for name, record in job["peers"].items():
            if not record.get("difference", 0.0) <= OUTPUTS:
                wrong.append(f"{job['network']}, {PEERS[name].label}: outputs are off by {record['difference']:.1e}.")
    return wrong
