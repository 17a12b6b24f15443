"""The tables of a report, in Markdown. Nothing here needs a peer, so that a test can write a report of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bench.peers import LAYERWISE, PEERS, REFERENCE, peers_for
from bench.proof import allowed, difference
from bench.workloads import WORKLOADS

NONE = "–"
QUIET = 0.1
"""Part of the processors that other programs may use before a report warns of them."""
AGAINST = "best peer / layerwise"


def number(value: float, digits: int = 3) -> str:
    """So many significant digits, and commas."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def markdown(results: dict[str, Any]) -> str:
    """The whole report, each section under a comment that a page can include it by."""
    sections = {"conditions": conditions(results)}
    if results["training"]:
        sections |= {
            "training": training(results),
            "peak": part_of_peak(results),
            "memory": memory(results),
            "proof": proof(results),
        }
    if results["inference"]:
        sections |= {"one-row": inference(results, one_row=True), "many-rows": inference(results, one_row=False)}
    sections["peers"] = table(["peer", "how it is used"], [[about.label, about.how] for about in PEERS.values()])
    sections["missing"] = missing(results)
    parts = [f"<!-- {name} -->\n\n{text}\n\n<!-- end of {name} -->\n" for name, text in sections.items() if text]
    return "\n".join(parts)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conditions(results: dict[str, Any]) -> str:
    machine, versions = results["machine"], results["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    busy = max(job["busy"] for job in results["training"] + results["inference"])
    warning = (
        f"\n\n**Other programs used up to {100 * busy:.0f}\u00a0% of the processors: these are not the times of a "
        "quiet machine.**"
    )
    return (
        f"Measured on {results['date']} on {machine['cpu']}, {machine['cores']} cores, {machine['isa']}; "
        f"peak of multiply-adds, in the same run: {results['peak_gflops']:.0f} GFLOP/s in float32 on all cores. "
        f"Python {machine['python']}, {listed}.{warning if busy > QUIET else ''}"
    )


def _shown(results: list[dict[str, Any]], job: str) -> list[str]:
    """Peers that have at least one time."""
    return [n for n in peers_for(job) if any("microseconds" in r["peers"].get(n, {}) for r in results)]


def _cells(job: dict[str, Any], names: list[str], value: Callable[[dict[str, Any]], str | None]) -> list[str]:
    cells = []
    for name in names:
        record = job["peers"].get(name, {})
        text = value(record) if "microseconds" in record else None
        cells.append(NONE if text is None else f"**{text}**" if name == job["best_peer"] else text)
    return cells


def _against(job: dict[str, Any]) -> str:
    ratio = job["against_best"]
    if ratio is None:
        return NONE
    low, high = number(ratio["lower_quartile"]), number(ratio["upper_quartile"])
    return f"{number(ratio['median'])}× ({low}–{high})"


def training(results: dict[str, Any]) -> str:
    """Microseconds a step."""
    jobs = results["training"]
    names = _shown(jobs, "train")
    head = ["workload", *(PEERS[n].label for n in names), AGAINST]
    rows = [
        [
            f"{job['key']} {job['name']}",
            *_cells(job, names, lambda r: number(r["microseconds"]["median"])),
            _against(job),
        ]
        for job in jobs
    ]
    return table(head, rows)


def part_of_peak(results: dict[str, Any]) -> str:
    jobs = results["training"]
    names = _shown(jobs, "train")
    head = ["workload", "GFLOP a step", *(PEERS[n].label for n in names)]
    rows = [
        [
            f"{job['key']} {job['name']}",
            number(job["flops_per_pass"] / job["steps_per_pass"] / 1e9, 2),
            *_cells(job, names, lambda r: f"{100 * r['part_of_peak']:.0f}\u00a0%"),
        ]
        for job in jobs
    ]
    return table(head, rows)


def memory(results: dict[str, Any]) -> str:
    jobs = results["training"]
    names = _shown(jobs, "train")
    if not any("memory_mib" in r for job in jobs for r in job["peers"].values()):
        return "Not measured in this run."
    head = ["workload", *(PEERS[n].label for n in names)]
    rows = []
    for job in jobs:
        sizes = [job["peers"].get(n, {}).get("memory_mib") for n in names]
        least = min((s for s in sizes if s is not None), default=None)
        cells = [NONE if s is None else f"**{s:,.0f}**" if s == least else f"{s:,.0f}" for s in sizes]
        rows.append([f"{job['key']} {job['name']}", *cells])
    return table(head, rows)


def proof(results: dict[str, Any]) -> str:
    """Costs after some steps in float64, and how far the others are from NumPy by hand."""
    jobs = [job for job in results["training"] if "float64" in job["peers"].get(REFERENCE, {})]
    if not jobs:
        return ""
    names = [n for n in peers_for("train") if n != REFERENCE and any("float64" in j["peers"].get(n, {}) for j in jobs)]
    rows = []
    for job in jobs:
        reference = job["peers"][REFERENCE]
        cells = []
        for name in names:
            record = job["peers"].get(name, {})
            if "float64" not in record:
                cells.append(NONE)
            elif allowed(name, WORKLOADS[job["key"]], "float64", job["orders"]) is None:
                cells.append("another network")
            else:
                far = difference(record, reference, "float64")
                cells.append(f"{far:.0e}" if far else "the same")
        done = reference["float64"]
        rows.append([f"{job['key']} {job['name']}", str(done["steps"]), f"{done['cost']:.12g}", *cells])
    return table(["workload", "steps", "cost", *(PEERS[n].label for n in names)], rows)


def inference(results: dict[str, Any], *, one_row: bool) -> str:
    jobs = [job for job in results["inference"] if (job["rows"] == 1) == one_row]
    if not jobs:
        return ""
    names = _shown(jobs, "predict")
    what = "µs for one row" if one_row else "million rows a second"
    head = [what, *(PEERS[n].label for n in names), AGAINST]

    def value(job: dict[str, Any]) -> Callable[[dict[str, Any]], str]:
        def of(record: dict[str, Any]) -> str:
            microseconds = record["microseconds"]["median"]
            return number(microseconds if one_row else job["rows"] / microseconds)

        return of

    return table(head, [[job["network"], *_cells(job, names, value(job)), _against(job)] for job in jobs])


def goals(results: dict[str, Any]) -> str:
    """What layerwise means to reach, and what it has reached; for whoever runs this."""
    lines = []
    for job in results["training"] + results["inference"]:
        ours = job["peers"].get(LAYERWISE, {})
        if "microseconds" not in ours:
            continue
        reached = []
        if job.get("goal") and job["against_best"]:
            reached.append((job["against_best"]["median"], job["goal"], "× the best peer"))
        if job.get("goal_peak"):
            reached.append((100 * ours["part_of_peak"], 100 * job["goal_peak"], " % of the peak"))
        said = [f"{number(value)}{what} (goal {number(goal)})" for value, goal, what in reached]
        met = all(value >= goal for value, goal, _ in reached)
        if job.get("goal_microseconds"):
            microseconds = ours["microseconds"]["median"]
            said.append(f"{number(microseconds)} µs (goal {number(job['goal_microseconds'])})")
            met = met and microseconds <= job["goal_microseconds"]
        name = job["key"] if "name" in job else f"{job['network']}, {job['rows']:,} rows"
        lines.append(f"{'reached' if met else 'missed '}  {name}: {', '.join(said)}")
    return "\n".join(lines)


def missing(results: dict[str, Any]) -> str:
    """Who is not in the tables, and why."""
    why: dict[str, list[str]] = {}
    for job in results["training"]:
        for name, record in job["peers"].items():
            reason = record.get("unavailable") or record.get("failed")
            if reason:
                why.setdefault(f"{PEERS[name].label}: {reason}", []).append(job["key"])
    for job in results["inference"]:
        for name, record in job["peers"].items():
            reason = record.get("unavailable") or record.get("failed")
            if reason:
                why.setdefault(f"{PEERS[name].label}: {reason}", []).append(f"{job['network']} ({job['rows']:,} rows)")
    lines = [f"- {', '.join(where)}: not measured. {reason}" for reason, where in why.items()]
    return "\n".join(lines) or "Every peer has done every job."


__all__ = ["LAYERWISE", "markdown"]
