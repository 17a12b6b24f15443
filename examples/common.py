"""What the example pages share: checks that print and raise, the image data, and small pictures in SVG."""

import base64
import gzip
import html
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
"""What the ten labels of Fashion-MNIST mean."""

COLOURS = ("#3d8fd1", "#e08e1b", "#c4609c")
"""Blue, orange and pink: readable on white and on black, and by readers who do not see all colours."""


def agree(text: str, got, expected, tolerance: float = 1e-12) -> None:
    """Print the largest difference between two values; raise when it exceeds the tolerance.

    The shapes must be equal: broadcasting would hide the very slips that a check is there to find.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{text}: shapes {got.shape} and {expected.shape} differ"
    difference = float(np.max(np.abs(got - expected)))
    assert difference <= tolerance, f"{text}: largest difference {difference:.1e}, allowed {tolerance:.1e}"
    print(f"{text}: largest difference {difference:.1e}")


def reaches(text: str, share: float, target: float) -> None:
    """Print a share in per cent; raise when it stays below the target."""
    assert share >= target, f"{text}: {share:.1%}, but at least {target:.1%} was expected"
    print(f"{text}: {100 * share:.1f} % (at least {100 * target:.0f} % was expected)")


# Data -------------------------------------------------------------------------------------------------


def read_idx(path: str | Path) -> np.ndarray:
    """An array of bytes from a gzip-compressed idx file: two zeros, type 8, number of axes, sizes, values."""
    with gzip.open(path) as file:
        zero, kind, n_axes = struct.unpack(">HBB", file.read(4))
        assert (zero, kind) == (0, 8), f"{path} is no idx file of bytes"
        shape = struct.unpack(f">{n_axes}I", file.read(4 * n_axes))
        return np.frombuffer(file.read(), np.uint8).reshape(shape)


def fashion_mnist(part: str, n_samples: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first images of a part ("train" or "t10k") as rows of 784 numbers from 0 to 1, and their labels."""
    folder = Path("data/fashion_mnist")
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")[:n_samples]
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")[:n_samples]
    return images.reshape(len(images), -1) / 255.0, labels


# Pictures ---------------------------------------------------------------------------------------------


class Picture:
    """Markup that a page shows; text and lines take the colour of the page, light or dark."""

    def __init__(self, width: float, height: float, body: str, title: str):
        self.svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-label="{html.escape(title)}" font-family="sans-serif" font-size="12" '
            f'style="width: 100%; max-width: {width:g}px; height: auto">{body}</svg>'
        )

    def _repr_html_(self) -> str:
        return self.svg


def png(pixels: np.ndarray) -> str:
    """A PNG image as a data URI, from bytes (height, width) in grey or (height, width, 4): colour and opacity."""
    height, width = pixels.shape[:2]
    # Every line of a PNG starts with the number of its filter; 0 is none.
    lines = np.hstack([np.zeros((height, 1), np.uint8), pixels.astype(np.uint8).reshape(height, -1)])
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 6, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def image(pixels: np.ndarray, x: float, y: float, width: float, height: float) -> str:
    """An <image> that shows each pixel as a crisp square."""
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<image {place} href="{png(pixels)}" preserveAspectRatio="none" style="image-rendering: pixelated"/>'


def text(words: str, x: float, y: float, anchor: str = "middle", colour: str = "currentColor", size: float = 12) -> str:
    """A line of text."""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-size="{size:g}">{html.escape(words)}</text>'


def chart(curves: dict[str, Sequence[float]], title: str, x_label: str, y_label: str) -> Picture:
    """Learning curves: one line for each entry, values on a logarithmic axis."""
    width, height, left, right, top, bottom = 640.0, 300.0, 62.0, 16.0, 30.0, 46.0
    values = np.concatenate([np.asarray(v, float) for v in curves.values()])
    low, high = np.log10(values.min()), np.log10(values.max())
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    longest = max(len(v) for v in curves.values())

    def place(step: float, value: float) -> tuple[float, float]:
        across = (step - 1) / (longest - 1)
        up = (np.log10(value) - low) / (high - low)
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    parts = [text(title, width / 2, 16, size=13)]
    marks = (1, 2, 5) if high - low > 1 else (1, 1.5, 2, 3, 4, 5, 7)
    for value in (m * 10.0**e for e in range(-9, 9) for m in marks):
        if low <= np.log10(value) <= high:
            x, y = place(1, value)
            parts.append(
                f'<path d="M{x:g} {y:.1f}H{width - right:g}" stroke="currentColor" opacity="0.18"/>'
                + text(f"{value:g}", left - 6, y + 4, "end", size=11)
            )
    steps = np.linspace(0, longest, 5).round().clip(1)
    parts += [text(f"{step:.0f}", place(step, 10**low)[0], height - bottom + 16, size=11) for step in steps]
    parts.append(text(x_label, (left + width - right) / 2, height - 8))
    parts.append(
        f'<text transform="translate(14 {(top + height - bottom) / 2:g}) rotate(-90)" text-anchor="middle" '
        f'fill="currentColor">{html.escape(y_label)}</text>'
    )
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        steps = np.unique(np.linspace(1, len(curve), min(len(curve), 400)).round().astype(int))
        points = " ".join("{:.1f},{:.1f}".format(*place(s, curve[s - 1])) for s in steps)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = top + 14 + 18 * number
        parts.append(f'<path d="M{width - 150:g} {y - 4:g}h22" stroke="{colour}" stroke-width="3"/>')
        parts.append(text(name, width - 122, y, "start"))
    return Picture(width, height, "".join(parts), title)
