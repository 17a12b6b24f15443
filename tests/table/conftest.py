from __future__ import annotations

import gzip
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def adult_path() -> Path:
    path = Path(__file__).parents[2] / "examples" / "data" / "adult.csv.gz"
    if not path.exists():
        pytest.skip("examples/data/adult.csv.gz is not in this copy")
    return path


@pytest.fixture
def write(tmp_path):
    """A function that writes bytes or text to a file and gives its path."""

    def to_file(name: str, content: bytes | str) -> Path:
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return to_file
