"""Lines over two axes, as SVG: dark on a background of its own, so that it is legible on any page, light or dark.

Everything is said in attributes and nothing in a style sheet, which in a page would be one for all other pictures too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from layerwise.types import Array, FloatArray

WIDTH, HEIGHT = 680, 380
"""In pixels; a legend makes it higher."""
_PAD, _TOP, _BOTTOM, _LEGEND_ROW = 20, 52, 44, 22
_BACKGROUND, _INK, _SOFT, _GRID = "#ffffff", "#1f2328", "#59636e", "#d8dee4"
_COLOURS = ("#c2410c", "#1d4ed8", "#0f766e", "#a21caf", "#a16207", "#475569", "#4d7c0f", "#be123c")
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_LETTER = 6.8
"""Pixels that a letter of 12 takes in the widest of these, on average."""
_LARGEST = 1e300
"""Numbers beyond this are left out like infinite ones: the difference of two of them may be infinite."""
_DETAIL = 0.1
"""Pixels by which a line may miss a point: what is not seen is not written."""


@dataclass(frozen=True, eq=False)
class Series:
    """A line.

    Parameters
    ----------
    name : str
        In the legend.
    x, y : (n,) arrays
        The line is broken where y is not finite, or on a logarithmic axis not above 0.
    colour : int
        Its number; those of equal number belong together.
    dashed : bool
    """

    name: str
    x: FloatArray
    y: FloatArray
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True, eq=False)
class Plot:
    """Lines over two axes.

    Parameters
    ----------
    series : sequence of Series
    x_label, y_label : str
    logarithmic : bool
        The axis of y.
    x_ends : tuple of float, optional
        Of the axis of x; by default those of the lines.
    """

    series: Sequence[Series]
    x_label: str
    y_label: str
    logarithmic: bool = False
    x_ends: tuple[float, float] | None = None

    def svg(self) -> str:
        """The picture, as text."""
        legend, rows = _legend(self.series)
        height = HEIGHT + _LEGEND_ROW * rows
        ticks, low, high = _vertical([s.y for s in self.series], self.logarithmic)
        labels = _numbers(ticks, self.logarithmic)
        left = _PAD + _LETTER * max(map(len, labels)) + 8
        up = _Axis(low, high, height - _BOTTOM, _TOP + _LEGEND_ROW * rows, self.logarithmic)
        ends = self.x_ends or _reach([s.x for s in self.series])
        across = _Axis(*ends, left, WIDTH - _PAD - 8)
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" font-family="{_FONT}" font-size="12">',
            f"<title>{_escaped(self._said())}</title>",
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{_BACKGROUND}"/>',
            _text(_PAD, 30, self.y_label, _INK, size=14, bold=True),
            *legend,
        ]
        for tick, label in zip(ticks, labels, strict=True):
            y = up.place(tick)
            out += [_line(left, WIDTH - _PAD, y, y), _text(left - 8, y + 4, label, _SOFT, "end")]
        whole = all(np.array_equal(s.x, np.round(s.x)) for s in self.series)
        ticks = _ticks(*ends, 8, whole)
        for tick, label in zip(ticks, _numbers(ticks), strict=True):
            x = across.place(tick)
            out += [_line(x, x, up.start, up.start + 5), _text(x, up.start + 19, label, _SOFT, "middle")]
        out += [
            _line(left, WIDTH - _PAD, up.start, up.start, _SOFT),
            _text((left + WIDTH - _PAD) / 2, height - 7, self.x_label, _INK, "middle"),
        ]
        for s in self.series:
            said = f"<title>{_escaped(s.name or self.y_label)}</title>"
            out += [f"<g {_stroke(s)}>{said}", *_drawn(s, across, up), "</g>"]
        return "\n".join([*out, "</svg>", ""])

    def _said(self) -> str:
        names = ", ".join(s.name for s in self.series if s.name not in ("", self.y_label))
        return f"{self.y_label} over {self.x_label}" + (f": {names}" if names else "")


# Lines ------------------------------------------------------------------------------------------------


def _drawn(s: Series, across: _Axis, up: _Axis) -> Iterator[str]:
    """The path of each part of a line, and a dot for a point that is alone."""
    seen = _shown(s.y, up.logarithmic)
    ends = np.flatnonzero(np.diff(seen, prepend=False, append=False))
    for first, last in zip(ends[::2], ends[1::2], strict=True):
        x, y = across.place(s.x[first:last]), up.place(s.y[first:last])
        kept = _corners(x, y)
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in zip(x[kept], y[kept], strict=True))
        yield f'<circle cx="{x[0]:.1f}" cy="{y[0]:.1f}" r="1.5"/>' if len(x) == 1 else f'<path d="M{path}"/>'


def _corners(x: FloatArray, y: FloatArray) -> Array:
    """The points that a line needs: all others are nearer to it than one sees (Douglas and Peucker, 1973)."""
    kept = np.zeros(len(x), bool)
    kept[[0, -1]] = True
    parts = [(0, len(x) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        inside = slice(first + 1, last)
        dx, dy = x[last] - x[first], y[last] - y[first]
        off = np.abs(dx * (y[inside] - y[first]) - dy * (x[inside] - x[first])) / (math.hypot(dx, dy) or 1.0)
        if off.max() > _DETAIL:
            middle = first + 1 + int(off.argmax())
            kept[middle] = True
            parts += [(first, middle), (middle, last)]
    return np.flatnonzero(kept)


def _legend(series: Sequence[Series]) -> tuple[list[str], int]:
    """The names of the lines in rows, and how many rows; none for a line alone."""
    if len(series) < 2:
        return [], 0
    out: list[str] = []
    x, row = float(_PAD), 0
    for s in series:
        width = 34 + _LETTER * len(s.name) + 18
        if x > _PAD and x + width > WIDTH - _PAD:
            x, row = float(_PAD), row + 1
        y = _TOP + _LEGEND_ROW * row
        out += [f'<path {_stroke(s)} d="M{x:.1f} {y - 4}h26"/>', _text(x + 34, y, s.name, _INK)]
        x += width
    return out, row + 1


def _stroke(s: Series) -> str:
    dashes = ' stroke-dasharray="6 4"' if s.dashed else ""
    return f'fill="none" stroke="{_COLOURS[s.colour % len(_COLOURS)]}" stroke-width="2" stroke-linejoin="round"{dashes}'


# Axes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """Numbers from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, values: Any) -> Any:
        scale = np.log if self.logarithmic else np.asarray
        low, high = scale(self.low), scale(self.high)
        return self.start + (self.end - self.start) * (scale(values) - low) / (high - low)


def _shown(values: FloatArray, logarithmic: bool = False) -> Array:
    """Which numbers have a place on an axis."""
    return (np.abs(values) < _LARGEST) & ((values > 1 / _LARGEST) if logarithmic else True)


def _reach(arrays: Sequence[FloatArray]) -> tuple[float, float]:
    """The smallest and the largest number; where they are one, 0 or 1 is the other."""
    finite = np.concatenate([a[_shown(a)] for a in arrays])
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # ticks between them would differ in digits that they have not
        return (min(low, 0.0), max(high, 0.0)) if low else (0.0, 1.0)
    return low, high


def _vertical(arrays: Sequence[FloatArray], logarithmic: bool) -> tuple[list[float], float, float]:
    """Ticks, and the ends of the axis: at ticks, or on a logarithmic axis at the lines."""
    if logarithmic:
        positive = np.concatenate([a[_shown(a, logarithmic)] for a in arrays])
        low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 10.0)
        ticks = _log_ticks(low, high)
        return ticks, min(low, ticks[0]), max(high, ticks[-1])
    low, high = _reach(arrays)
    low = 0.0 if 0 <= low <= 0.5 * high else low  # from 0, unless the line would lie flat at the top
    step = _step(high - low, 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [k * step for k in range(first, last + 1)]
    return ticks, ticks[0], ticks[-1]


def _step(span: float, most: int) -> float:
    """1, 2 or 5 times a power of ten, so that not many more than ``most`` fit into the span."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= most)


def _ticks(low: float, high: float, most: int, whole: bool) -> list[float]:
    """Round numbers between the ends, or only whole ones."""
    step = max(_step(high - low, most), 1.0 if whole else 0.0)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the ends, or 1, 2 and 5 times them, or as a last resort two of these around both ends."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = math.ceil((last - first + 1) / 9)
    fine = [m * 10.0**k for k in range(first - 1, last + 2) for m in (1, 2, 5)]
    inside = [t for t in fine if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
    powers = [10.0**k for k in range(first, last + 1, every) if 10.0**k in inside]
    if len(powers) > 2:
        return powers
    return inside if len(inside) > 1 else [max(t for t in fine if t <= low), min(t for t in fine if t > high)]


def _numbers(ticks: Sequence[float], logarithmic: bool = False) -> list[str]:
    """Ticks as text, those of one axis alike: 0.010 beside 0.005, 10,000, or 2e−6."""
    largest = max((abs(t) for t in ticks), default=0.0)
    if logarithmic or not largest:
        return [_number(t, 5) for t in ticks]
    finest = math.floor(math.log10(min((b - a for a, b in pairwise(ticks)), default=1.0)) + 1e-9)
    if not 1e-4 <= largest < 1e7 or finest < -7:
        return [_number(t, max(1, math.floor(math.log10(largest)) - finest + 1)) for t in ticks]
    return [f"{t:,.{max(0, -finest)}f}".replace("-", "\N{MINUS SIGN}") for t in ticks]


def _number(value: float, digits: int) -> str:
    """Without zeros at the end, and with a power of ten where that is shorter."""
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    if -5 < int(power) < 5:
        return f"{value:,.{digits}g}".replace("-", "\N{MINUS SIGN}")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(power)}".replace("-", "\N{MINUS SIGN}")


# Words of SVG -----------------------------------------------------------------------------------------


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start", size: int = 0, bold: bool = False) -> str:
    style = (f' font-size="{size}"' if size else "") + (' font-weight="600"' if bold else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"{style}>{_escaped(text)}</text>'


def _line(x1: float, x2: float, y1: float, y2: float, colour: str = _GRID) -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _escaped(text: str) -> str:
    """For text between tags. Characters that XML cannot hold are shown as a replacement."""
    printable = "".join(
        c if c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff" else "�" for c in text
    )
    return printable.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
