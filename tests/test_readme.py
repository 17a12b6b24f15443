"""What the README shows runs, and what it says of the command line is what the command line prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_blocks_run(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})
    if "fit.stop_reason" in BLOCKS[number]:
        printed = capsys.readouterr().out
        assert "All 30 epochs are done." in printed
        assert float(printed.split()[-1]) == 1.0


def test_the_command_line_prints_what_the_first_screen_shows(tmp_path):
    """Word for word but for the digits of the scores, which another processor rounds to others after 12,000 steps."""
    shown = re.search(r"```console\n\$ layerwise (.*?)\n(.*?)```", README, flags=re.DOTALL)
    command = shown[1].replace("examples/", f"{ROOT}/examples/").split()
    done = subprocess.run(
        [sys.executable, "-m", "layerwise", *command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    score = re.compile(r"0\.\d{4}")
    for printed, expected in zip(done.stdout.splitlines(), shown[2].splitlines(), strict=True):
        assert score.sub("#", printed) == score.sub("#", expected)
        for a, b in zip(score.findall(printed), score.findall(expected), strict=True):
            assert float(a) == pytest.approx(float(b), abs=0.005)


def test_linked_files_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in link:
            assert (ROOT / link).exists(), link
