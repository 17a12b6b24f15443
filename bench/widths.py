"""The time of a training step for every width from 1 to 300: is there a width that is much slower than its neighbours?

    python -m bench.widths                  into docs/benchmarks/: five to ten minutes, on a quiet machine
    python -m bench.widths --out build/bench --rounds 2 --widths 1-40

A network [w, w, w] with ReLU, batches of 128 and Adam: both sides of both weight matrices, and every elementwise loop,
have the width, so each cut into vectors, blocks and threads shows. Each fit gives the median of its epochs after the
first, which leaves out what a call costs; the widths take turns in random order, round after round, and of each the
fastest round counts. One thread and all threads are lines of their own: where they part, more threads have come in.
"""

from __future__ import annotations

import argparse
import datetime
import math
import random
import statistics
import sys
from html import escape
from pathlib import Path

import numpy as np

import layerwise as lw
from bench import chart
from bench.peers.base import cores, threads_label
from bench.report import QUIET, number, table
from bench.rounds import busy_share, say
from bench.run import DOCS, processor
from layerwise import _native as native  # noqa: TID251  the number of threads is set, the instruction sets are named

BATCH, STEPS = 128, 8
SECONDS = 4e-3
"""Of a fit, about."""
MOST = 1.5
"""What neighbours may differ by."""

Series = tuple[str, int]  # precision, threads
Times = dict[Series, dict[int, float]]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 430, 70, 24, 84, 56
COLOURS = {name: chart.COLOURS[name] for name in ("bg", "ink", "soft", "grid")}
COLOURS |= {"float32": chart.COLOURS[chart.LAYERWISE], "float64": chart.COLOURS["jax_jit"]}


def microseconds(width: int, dtype: str, threads: int) -> float:
    """Of a step, in one fit."""
    native.set_usable_processors(threads)
    rng = np.random.default_rng(width)
    X, Y = rng.standard_normal((2, BATCH * STEPS, width)).astype(dtype)
    flops = 12 * BATCH * width * width
    epochs = 1 + math.ceil(SECONDS / STEPS / (3e-6 + flops / 60e9))
    net = lw.Network([width, width, width], hidden="relu")
    fit = lw.train(net, X, Y, optimizer=lw.Adam(1e-6), batch_size=BATCH, epochs=max(4, epochs), dtype=dtype)
    return 1e6 * statistics.median(np.diff([epoch.seconds for epoch in fit.history])) / STEPS


def measure(widths: list[int], rounds: int) -> Times:
    every = [(dtype, threads) for dtype in ("float32", "float64") for threads in sorted({1, cores()})]
    times: Times = {series: {} for series in every}
    jobs = [(series, width) for series in every for width in widths]
    for done in range(rounds):
        say(f"round {done + 1} of {rounds}")
        random.Random(done).shuffle(jobs)
        for (dtype, threads), width in jobs:
            known = times[dtype, threads]
            known[width] = min(known.get(width, math.inf), microseconds(width, dtype, threads))
    native.set_usable_processors(0)
    return {series: dict(sorted(known.items())) for series, known in times.items()}


def jumps(times: dict[int, float]) -> list[tuple[float, int]]:
    """How much slower a width is than the one before or after it, and which, largest first."""
    pairs = [(w, v) for w in times for v in (w - 1, w + 1) if v in times]
    return sorted(((times[w] / times[v], w) for w, v in pairs), reverse=True)


def named(series: Series) -> str:
    dtype, threads = series
    return f"{dtype}, {threads_label(threads)}"


def report(times: Times, busy: float) -> str:
    rows = []
    for series, known in times.items():
        ratio, width = jumps(known)[0]
        ends = [f"{number(known[w])} µs" for w in (min(known), max(known))]
        rows.append([named(series), *ends, f"{number(ratio)}×, at {width}"])
    head = ["", f"width {min(next(iter(times.values())))}", f"width {max(next(iter(times.values())))}", "largest jump"]
    warning = (
        f"\n\n**Other programs used {100 * busy:.0f}\u00a0% of the processors: these are not the times of a quiet "
        "machine.**"
    )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    measured = f"Measured on {today} on {processor()}, {cores()} cores, {native.best_isa()}."
    return f"{measured}{warning if busy > QUIET else ''}\n\n{table(head, rows)}\n"


def draw(times: Times) -> str:
    values = [t for known in times.values() for t in known.values()]
    widths = [w for known in times.values() for w in known]
    low, high = math.log(min(values) / 1.15), math.log(max(values) * 1.15)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    span = math.log(max(widths)) or 1

    def x(width: float) -> float:
        return LEFT + (right - LEFT) * math.log(width) / span

    def y(time: float) -> float:
        return bottom - (bottom - TOP) * (math.log(time) - low) / (high - low)

    title = "Time of a training step by width: network [w, w, w], batches of 128, Adam"
    out = [*chart.beginning(title, WIDTH, HEIGHT, COLOURS), chart.text(20, 30, title, "ink title")]
    for tick in (m * 10.0**k for k in range(-1, 6) for m in (1, 2, 5)):
        if low <= math.log(tick) <= high:
            at = y(tick)
            out += [
                chart.segment(LEFT, right, at, at, "grid"),
                chart.text(LEFT - 8, at + 4, f"{tick:,g} µs", "soft small", "end"),
            ]
    for width in [2**k for k in range(10) if 2**k <= max(widths)]:
        out += [
            chart.segment(x(width), x(width), TOP, bottom, "grid"),
            chart.text(x(width), bottom + 18, str(width), "soft small", "middle"),
        ]
    out.append(
        chart.text(
            (LEFT + right) / 2, bottom + 40, "width w, on a logarithmic axis like the time", "soft small", "middle"
        )
    )
    for place, (series, known) in enumerate(times.items()):
        path = "L".join(f"{x(w):.1f} {y(t):.1f}" for w, t in known.items())
        dashes = ' stroke-dasharray="5 4"' if series[1] == 1 else ""
        at = LEFT + place * 185
        out += [
            f'<g class="{series[0]}"><title>{escape(named(series))}</title>',
            f'<path class="open" d="M{at} 56h26"{dashes}/>{chart.text(at + 33, 60.5, named(series), "name")}',
            f'<path class="open" d="M{path}"{dashes}/>',
            *(
                f'<circle class="open" cx="{x(w):.1f}" cy="{y(known[w]):.1f}" r="6"/>'
                for r, w in jumps(known)
                if r > MOST
            ),
            "</g>",
        ]
    return "\n".join([*out, "</svg>", ""])


def main(arguments: list[str]) -> None:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="bench.widths", description=lines[0], epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--widths", default="1-300", metavar="1-300", help="the first and the last")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for widths.svg and widths.md")
    asked = parser.parse_args(arguments)
    first, last = map(int, asked.widths.split("-"))
    busy = busy_share()
    times = measure(list(range(first, last + 1)), asked.rounds)
    for series, known in times.items():
        print(f"{named(series)}: largest jumps", ", ".join(f"{r:.2f}× at {w}" for r, w in jumps(known)[:8]))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "widths.svg").write_text(draw(times), encoding="utf-8")
    (asked.out / "widths.md").write_text(report(times, busy), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
