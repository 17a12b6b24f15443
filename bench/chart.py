"""A chart of times relative to the best peer, as SVG: one line a workload, one mark a peer, on a logarithmic axis.

The chart brings its own background, light or dark as the reader's system says, so it is legible on any page.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

from bench.peers import LAYERWISE, PEERS
from bench.report import number

WIDTH, LEFT, RIGHT, TOP, LINE, BOTTOM = 860, 196, 128, 92, 44, 46
MARKS = {
    LAYERWISE: "circle",
    "jax_jit": "square",
    "torch_eager": "triangle",
    "torch_compile": "diamond",
    "numpy_by_hand": "plus",
    "sklearn_mlp": "cross",
    "onnx_runtime": "ring",
}
COLOURS = {  # on light, on dark
    "bg": ("#ffffff", "#14181d"),
    "ink": ("#1f2328", "#e6edf3"),
    "soft": ("#59636e", "#9aa5b1"),
    "grid": ("#d1d9e0", "#303842"),
    LAYERWISE: ("#c2410c", "#fb923c"),
    "jax_jit": ("#1d4ed8", "#7aa5ff"),
    "torch_eager": ("#b4237a", "#f27ac0"),
    "torch_compile": ("#7c3aed", "#b79bff"),
    "numpy_by_hand": ("#0f766e", "#2dd4bf"),
    "sklearn_mlp": ("#4d7c0f", "#a3e635"),
    "onnx_runtime": ("#334155", "#cbd5e1"),
}


def beginning(title: str, width: int, height: int, colours: dict[str, tuple[str, str]]) -> list[str]:
    """The first lines of a chart: its size, its name, its style and its background."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_style(colours)}</style>",
        f'<rect class="bg" width="{width}" height="{height}" rx="8"/>',
    ]


def _style(colours: dict[str, tuple[str, str]]) -> str:
    light, dark = (" ".join(f".{name} {{ --c: {pair[k]}; }}" for name, pair in colours.items()) for k in (0, 1))
    return f"""
{light}
@media (prefers-color-scheme: dark) {{ {dark} }}
.bg, .ink, .soft {{ fill: var(--c); }}
.grid {{ stroke: var(--c); }}
.mark {{ fill: var(--c); stroke: var(--c); stroke-width: 1.5; }}
.open {{ fill: none; stroke: var(--c); stroke-width: 2; }}
text {{ font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
.name {{ fill: var(--c); font-weight: 600; font-size: 12.5px; }}
.small {{ font-size: 11.5px; }}
.title {{ font-size: 15px; font-weight: 600; }}
.one {{ stroke-width: 2.5; }}
"""


def training_chart(results: dict[str, Any]) -> str:
    lines = [
        _line(job, f"{job['key']} {job['name']}", job["network"], f"{number(_best(job))} µs a step")
        for job in results["training"]
        if job["best_peer"]
    ]
    return _chart("Time of a training step, relative to the best peer", lines, "train")


def inference_chart(results: dict[str, Any]) -> str:
    lines = [
        _line(job, "1 row" if job["rows"] == 1 else f"{job['rows']:,} rows", job["network"], f"{number(_best(job))} µs")
        for job in results["inference"]
        if job["best_peer"]
    ]
    return _chart("Time of a prediction, relative to the best peer", lines, "predict")


def _best(job: dict[str, Any]) -> float:
    return job["peers"][job["best_peer"]]["microseconds"]["median"]


def _line(job: dict[str, Any], name: str, network: str, time: str) -> dict[str, Any]:
    timed = {n: r["microseconds"] for n, r in job["peers"].items() if "microseconds" in r}
    best = _best(job)
    return {
        "name": name,
        "network": network,
        "best": PEERS[job["best_peer"]].label,
        "time": time,
        "against": job["against_best"] and job["against_best"]["median"],
        "marks": {n: t["median"] / best for n, t in timed.items()},
        "spread": {n: (t["lower_quartile"] / best, t["upper_quartile"] / best) for n, t in timed.items()},
    }


def _chart(title: str, lines: list[dict[str, Any]], job: str) -> str:
    values = [v for line in lines for v in line["marks"].values()] + [1.0]
    low, high = math.floor(math.log2(min(values)) - 0.3), math.ceil(math.log2(max(values)) + 0.2)
    bottom = TOP + LINE * len(lines)
    height = bottom + BOTTOM

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log2(value) - low) / (high - low)

    out = [
        *beginning(title, WIDTH, height, COLOURS),
        text(20, 30, title, "ink title"),
        text(WIDTH - 20, 30, "left is faster; n× is how much faster layerwise is", "soft small", "end"),
        *_legend(lines, job),
        text(WIDTH - RIGHT + 14, TOP - 12, "the best peer", "soft small"),
    ]
    for power in range(low, high + 1, max(1, math.ceil((high - low) / 12))):
        at = x(2.0**power)
        out.append(segment(at, at, TOP - 4, bottom, "grid one" if power == 0 else "grid"))
        out.append(text(at, bottom + 18, f"{2**power}×" if power >= 0 else f"1/{2**-power}×", "soft small", "middle"))
    for place, line in enumerate(lines):
        y = TOP + LINE * place + LINE / 2
        out += [
            text(LEFT - 14, y - 1, line["name"], "ink", "end"),
            text(LEFT - 14, y + 13, line["network"], "soft small", "end"),
            text(WIDTH - RIGHT + 14, y - 1, line["best"], "ink small"),
            text(WIDTH - RIGHT + 14, y + 13, line["time"], "soft small"),
            segment(LEFT, WIDTH - RIGHT, y, y, "grid"),
        ]
        # layerwise last, so that nothing lies over it
        for name in sorted(line["marks"], key=lambda n: (n == LAYERWISE, n)):
            said = f"{PEERS[name].label}: {number(line['marks'][name])} times the best peer"
            out.append(f'<g class="{name}"><title>{escape(said)}</title>')
            first, last = (x(v) for v in line["spread"][name])
            if last - first > 3:
                out.append(segment(first, last, y, y, "open"))
            at = x(line["marks"][name])
            if name == LAYERWISE and line["against"]:
                out.append(text(at, y - 11, f"{number(line['against'], 2)}×", "name small", "middle"))
            out.append(_mark(MARKS[name], at, y, 7 if name == LAYERWISE else 5) + "</g>")
    return "\n".join([*out, "</svg>", ""])


def text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def segment(x1: float, x2: float, y1: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _legend(lines: list[dict[str, Any]], job: str) -> list[str]:
    shown = [n for n in PEERS if job in PEERS[n].jobs and any(n in line["marks"] for line in lines)]
    out, at = [], 27.0
    for name in shown:
        label = PEERS[name].label
        out.append(f'<g class="{name}">{_mark(MARKS[name], at, 56, 5)}{text(at + 11, 60.5, label, "name")}</g>')
        at += 28 + 8.2 * len(label)  # wide enough for the widest letters
    return out


def _mark(shape: str, x: float, y: float, r: float) -> str:
    if shape in ("circle", "ring"):
        return f'<circle class="{"mark" if shape == "circle" else "open"}" cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>'
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "triangle": [(0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
        "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
        "plus": [(-1, 0), (1, 0), (0, 0), (0, -1), (0, 1)],
        "cross": [(-0.8, -0.8), (0.8, 0.8), (0, 0), (-0.8, 0.8), (0.8, -0.8)],
    }[shape]
    path = "L".join(f"{x + r * dx:.1f} {y + r * dy:.1f}" for dx, dy in corners)
    return f'<path class="open" d="M{path}"/>' if shape in ("plus", "cross") else f'<path class="mark" d="M{path}Z"/>'
