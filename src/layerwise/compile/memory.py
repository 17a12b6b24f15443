"""Where values lie: memory that is used again once nothing reads what was in it."""

from __future__ import annotations

from dataclasses import dataclass, field

ALIGNMENT = 64
"""A cache line; every allocation starts on one."""


def aligned(size: int) -> int:
    """``size`` rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass
class Pool:
    """Offsets for values that live from one moment to another; moments are numbered.

    Parameters
    ----------
    size : int
        Bytes needed so far.
    """

    size: int = 0
    _taken: list[tuple[int, int, int, int]] = field(default_factory=list[tuple[int, int, int, int]])

    def place(self, size: int, first: int, last: int) -> int:
        """The lowest offset where ``size`` bytes are free from moment ``first`` to moment ``last``."""
        size = aligned(max(size, 1))
        offset = 0
        for start, end, since, until in sorted(self._taken):
            if until < first or last < since:
                continue
            if start - offset >= size:
                break
            offset = max(offset, end)
        self._taken.append((offset, offset + size, first, last))
        self.size = max(self.size, offset + size)
        return offset
