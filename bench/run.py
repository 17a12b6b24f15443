"""The benchmark: workloads and predictions of layerwise and its peers in one run, with tables and charts.

    python -m bench.run                     all of it, into docs/benchmarks/: about ten minutes on two cores
    python -m bench.run --only W4           one workload, into build/bench/
    python -m bench.run --only inference
    python -m bench.run --quick             everything cut to a moment: does it run, do all do the same?

It ends with status 1 where a peer did not do the same arithmetic.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import chart, proof, report, results
from bench.inference import PREDICTIONS
from bench.peers import PEERS
from bench.peers.base import cores
from bench.rounds import Options, fma_peak, measure, quick, say
from bench.workloads import WORKLOADS
from layerwise import _native as native  # noqa: TID251  its instruction sets are named in the report

ROOT = Path(__file__).parents[1]
DOCS, SCRATCH = ROOT / "docs" / "benchmarks", ROOT / "build" / "bench"


def processor() -> str:
    """Its name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def versions(peers: list[str]) -> dict[str, str]:
    found = {}
    for package in dict.fromkeys(p for name in peers for p in PEERS[name].packages):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def run(only: list[str], options: Options, *, cut: bool = False) -> dict[str, Any]:
    """All that was asked for, as plain data."""
    outcome: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cpu": processor(),
            "cores": options.cores,
            "isa": native.isas()[-1],
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "versions": versions(list(options.peers)),
        "peak_gflops": fma_peak(options.cores),
        "quick": cut,
        "training": [],
        "inference": [],
    }
    for key in only:
        began = time.perf_counter()
        if key == "inference":
            for wanted in PREDICTIONS:
                say(f"{WORKLOADS[wanted.key].network}, {wanted.rows:,} row{'s' if wanted.rows > 1 else ''}")
                measured = measure("predict", WORKLOADS[wanted.key], wanted.rows, options)
                outcome["inference"].append(results.inference(wanted, measured))
        else:
            workload = quick(WORKLOADS[key]) if cut else WORKLOADS[key]
            say(f"{key} {workload.name}")
            outcome["training"].append(results.training(workload, measure("train", workload, 0, options)))
        say(f"  {time.perf_counter() - began:.0f} s")
    peaks = [job["peak_gflops"] for job in outcome["training"] + outcome["inference"]]
    outcome["peak_gflops"] = max([outcome["peak_gflops"], *peaks])
    return outcome


def write(outcome: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    (folder / "tables.md").write_text(report.markdown(outcome), encoding="utf-8")
    for job, draw in (("training", chart.training_chart), ("inference", chart.inference_chart)):
        if outcome[job]:
            (folder / f"{job}.svg").write_text(draw(outcome), encoding="utf-8")


def parsed(arguments: list[str]) -> argparse.Namespace:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="bench.run", description=lines[0], epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", default=[], metavar="W4", help="a workload, or inference; or several: W1,W2"
    )
    parser.add_argument("--peers", help=f"some of {', '.join(PEERS)}")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small data, two rounds")
    parser.add_argument("--rounds", type=int, help="in place of each workload's own number")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for the rounds of a workload (60)")
    parser.add_argument("--slice", type=float, default=0.25, help="seconds that a peer works at a time (0.25)")
    parser.add_argument("--no-memory", action="store_true", help="measure no memory")
    parser.add_argument("--no-proof", action="store_true", help="do not prove equal arithmetic")
    parser.add_argument("--engine", help="lw.train's engine, if it takes one")
    parser.add_argument("--out", type=Path, help="folder for results.json, tables.md and the charts")
    options = parser.parse_args(arguments)
    options.only = [key for part in options.only for key in part.replace(",", " ").split()]
    known = [*WORKLOADS, "inference"]
    unknown = [key for key in options.only if key not in known]
    if unknown:
        parser.error(f"{unknown[0]} is no workload; there are {', '.join(known)}.")
    options.peers = options.peers.replace(",", " ").split() if options.peers else list(PEERS)
    unknown = [name for name in options.peers if name not in PEERS]
    if unknown:
        parser.error(f"{unknown[0]} is no peer; there are {', '.join(PEERS)}.")
    return options


def main(arguments: list[str]) -> int:
    asked = parsed(arguments)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("Ended before it was done.")
    )  # so that files and processes go too
    if asked.engine:
        os.environ["BENCH_ENGINE"] = asked.engine
    only = asked.only or [*WORKLOADS, "inference"]
    options = Options(
        peers=tuple(asked.peers),
        cores=cores(),
        slice=0.02 if asked.quick else asked.slice,
        rounds=2 if asked.quick and asked.rounds is None else asked.rounds,
        limit=asked.limit,
        proof=not asked.no_proof,
        memory=not asked.no_memory,
    )
    whole = not asked.only and not asked.quick and asked.peers == list(PEERS) and options.proof and options.memory
    began = time.perf_counter()
    outcome = run(only, options, cut=asked.quick)
    outcome["seconds"] = round(time.perf_counter() - began)
    folder = asked.out or (DOCS if whole else SCRATCH)
    write(outcome, folder)
    print(report.markdown(outcome))
    say(report.goals(outcome))
    wrong = proof.failures(outcome)
    for sentence in wrong:
        say(sentence)
    say(f"{outcome['seconds']} s; results.json, tables.md and charts are in {folder}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
