"""The progress of a fit on standard error: a bar in a terminal, a few plain lines elsewhere.

The only file of this room that imports rich, and imported only where progress is asked for.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from layerwise.fit.callbacks import Callback, FitInfo
from layerwise.fit.history import Epoch, Fit

INTERVAL = 5.0
"""Seconds between plain lines."""
_REFRESH = 4.0
"""Times a second that the bar is drawn, by a thread of its own: 0.5 ms each."""
_BAR, _SHORTEST_BAR = 40, 8
_KNOWN = 1.0
"""Seconds of epochs from which the time of those to come is foretold."""


class StandardError:
    """Standard error as it is at the time, for which no failure counts: it may be closed, or a pipe that nobody reads.

    rich ends the process at a broken pipe, which must not end a fit of hours.
    """

    @property
    def _stream(self) -> Any:
        # While a bar moves, what is printed goes through rich to the stream behind.
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except (AttributeError, ValueError):  # there is none; it is closed
            return False

    def fileno(self) -> int:
        try:
            return self._stream.fileno()
        except (AttributeError, ValueError):
            raise OSError("standard error is closed") from None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (AttributeError, OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            self._stream.flush()


def error_console() -> Console:
    """A console of rich on standard error."""
    stream: Any = StandardError()
    return Console(file=stream, highlight=False, soft_wrap=True, force_jupyter=False)


class Progress(Callback):
    """Shows how far a fit is."""

    def __init__(self) -> None:
        self._console = error_console()
        # Not where only FORCE_COLOR makes a terminal of a log.
        self._moves = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._live: Live | None = None
        self._info: FitInfo | None = None
        self._last: Epoch | None = None
        self._begun = self._at = self._said = time.monotonic()
        self._shown = self._before = 0
        self._earlier = 0.0

    def on_fit_begin(self, info: FitInfo) -> None:
        """Show that nothing is done yet, or what was done before."""
        self._info = info
        self._last = info.history[-1] if info.history else None
        self._earlier = self._last.seconds if self._last else 0.0
        self._shown = self._before = len(info.history)
        self._begun = self._at = time.monotonic()
        if self._moves:
            # What is printed meanwhile stands above the bar; but what goes to a file must go there.
            own = sys.stdout is not None and sys.stdout.isatty()
            self._live = Live(
                console=self._console, get_renderable=self._line, refresh_per_second=_REFRESH, redirect_stdout=own
            )
            self._live.start(refresh=True)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """An epoch is done. Costs next to nothing: the bar is drawn by a thread, from what is left here."""
        assert self._info is not None
        self._last, self._at = epoch, time.monotonic()
        if self._live is None and (
            self._shown == self._before or epoch.number == self._info.epochs or self._at - self._said >= INTERVAL
        ):
            self._say(epoch)

    def on_fit_end(self, fit: Fit) -> None:
        """Leave the last state, and the terminal as it was."""
        if fit.history:
            self._last = fit.history[-1]
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
        elif self._last is not None and self._last.number > self._shown:
            self._say(self._last)

    # What is shown ----------------------------------------------------------------------------------------

    def _say(self, epoch: Epoch) -> None:
        assert self._info is not None
        self._shown, self._said = epoch.number, time.monotonic()
        parts = [f"epoch {epoch.number}/{self._info.epochs}: cost {epoch.cost:.4g}"]
        parts += self._score(epoch)
        parts.append(f"{epoch.seconds:.1f} s")
        left = self._left()
        if left is not None and left >= INTERVAL and epoch.number < self._info.epochs:
            parts.append(f"{_duration(left)} left")
        self._console.print(", ".join(parts), markup=False)

    def _line(self) -> Table:
        """The bar and as much beside it as fits into the line; the last of the list is left out first."""
        info, epoch = self._info, self._last
        assert info is not None
        number = 0 if epoch is None else epoch.number
        elapsed = self._earlier + time.monotonic() - self._begun
        left, rate = self._left(), self._rate()
        # Of the same width whatever the numbers are, so that the bar beside them does not jump.
        beside = [] if epoch is None else [f"cost {epoch.cost:<9.4g}"]
        beside += [] if epoch is None else self._score(epoch)
        beside.append(_duration(elapsed) if not left else f"{_duration(elapsed)}, {_duration(left)} left")
        beside += [] if rate is None else [f"{_short(rate)} samples/s"]
        head = f"epoch {number:>{len(str(info.epochs))}}/{info.epochs}"
        room = self._console.width - len(head) - _SHORTEST_BAR - 2
        while beside and room < sum(len(part) + 2 for part in beside):
            beside.pop()
        bar = min(_BAR, _SHORTEST_BAR + room - sum(len(part) + 2 for part in beside))
        line = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        for _ in range(len(beside) + 2):
            line.add_column(no_wrap=True)
        line.add_row(head, ProgressBar(info.epochs, number, width=max(bar, 1)), *beside)
        return line

    def _score(self, epoch: Epoch) -> list[str]:
        """None without validation, and for an epoch that ran away and was not judged."""
        assert self._info is not None
        score = epoch.validation.get(self._info.watched)
        return [] if score is None else [f"validation {self._info.watched} {score:.4g}"]

    def _left(self) -> float | None:
        """Seconds, if the epochs to come take as long as those of this process; None where too little is known."""
        info, epoch = self._info, self._last
        assert info is not None
        done = 0 if epoch is None else epoch.number - self._before
        if epoch is None or not done or self._at - self._begun < _KNOWN:
            return None
        now = time.monotonic()
        left = (self._at - self._begun) / done * (info.epochs - epoch.number) - (now - self._at)
        if info.max_seconds is not None:
            left = min(left, info.max_seconds - self._earlier - (now - self._begun))
        return max(left, 0.0)

    def _rate(self) -> float | None:
        """Samples a second."""
        if self._info is None or self._last is None or self._last.number <= self._before:
            return None
        if self._info.samples is None:
            return None
        return self._info.samples * (self._last.number - self._before) / max(self._at - self._begun, 1e-9)


def _duration(seconds: float) -> str:
    """``1:23`` or ``1:23:45``."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _short(number: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
