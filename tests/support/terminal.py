"""A terminal for a process, and all that it was sent."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path


def in_terminal(
    command: Sequence[str], folder: Path, columns: int = 80, stdout: int | None = None, **env: str
) -> tuple[int, str]:
    """Exit code and everything that a terminal of this width was sent; standard output may go elsewhere."""
    import fcntl
    import pty
    import struct
    import termios

    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI")}
    running = subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal if stdout is None else stdout,
        stderr=terminal,
        cwd=folder,
        env={**inherited, "TERM": "xterm-256color", **env},
    )
    os.close(terminal)
    sent = b""
    try:
        while part := os.read(screen, 65536):
            sent += part
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(screen)
    return running.wait(timeout=60), sent.decode()


def shown(sent: str) -> list[str]:
    """The lines that stay on the screen, where each was written from its beginning on, and drawn over."""
    plain = re.sub(r"\x1b\[[?0-9;]*[A-JL-Za-z]", "", sent.replace("\r\n", "\n"))
    return [re.split(r"\r\x1b\[2K|\x1b\[2K\r|\r", line)[-1] for line in plain.split("\n")]
