from __future__ import annotations

import csv
import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from layerwise.cli.main import main

HEADER = ["size", "colour", "zone", "label", "odd", "flag", "class", "price"]
LABELS = ['a,"b"', "né\nö", "plain"]


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one message of a command that was refused."""
        assert self.code == 2, self
        *notes, last = self.err.removesuffix("\n").split("\n")
        assert all(note.startswith("Note: ") for note in notes), self.err
        assert last.startswith("Error: "), self.err
        return last.removeprefix("Error: ")


def cells(n: int, seed: int = 1) -> list[list[str]]:
    """Rows in which label, flag, class and price follow from size and colour."""
    draw = random.Random(seed)
    rows: list[list[str]] = []
    for i in range(n):
        size, colour = draw.gauss(0, 1), draw.choice(["red", "green", ""])
        z = size + (colour == "red")
        rows.append(
            [
                f"{size:.4f}",
                colour,
                draw.choice(["01", "02", "1", "A"]),
                "high" if z > 0.3 else "low",
                LABELS[i % 3],
                "True" if z > 0.3 else "False",
                str(2 * (z > 0) + 3 * (z > 1)),
                f"{2000 + 100 * z:.2f}",
            ]
        )
    return rows


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a table of some columns: make("t.csv", 30, "size", colour=["x"] * 30)."""

    def table(name: str, n: int, *columns: str, seed: int = 1, **replaced: Sequence[str]) -> Path:
        rows = cells(n, seed)
        wanted = columns or HEADER
        found = {c: replaced.get(c) or [row[HEADER.index(c)] for row in rows] for c in wanted}
        found |= {c: values for c, values in replaced.items() if c not in found}
        return write_csv(tmp_path / name, list(found), list(zip(*found.values(), strict=True)))

    return table


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function that runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["layerwise", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Done]:
    """A function that runs the command line in a process of its own, in an empty folder."""

    def run(*args: object, env: dict[str, str] | None = None, **options: Any) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "layerwise", *map(str, args)],
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            timeout=60,
            **options,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the model file of a target, fitted once."""
    folder = tmp_path_factory.mktemp("trained")
    table = write_csv(folder / "table.csv", HEADER, cells(150))
    known: dict[str, Path] = {}

    def model(target: str) -> Path:
        if target not in known:
            known[target] = folder / f"{target}.layerwise"
            ignored = [name for name in ("label", "odd", "flag", "class", "price") if name != target]
            options = [part for name in ignored for part in ("--ignore", name)]
            command = [sys.executable, "-m", "layerwise", "fit", str(table), "--target", target, *options]
            out = ["--out", str(known[target]), "--epochs", "15", "--hidden", "8"]
            subprocess.run([*command, *out], check=True, capture_output=True)
        return known[target]

    return model
