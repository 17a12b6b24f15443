"""Every example runs as a program and prints that its checks passed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

SAYS = {
    "s1_conventions": [
        "the costs agree: largest difference",
        "∂C/∂W1 (64, 784) in columns is the transpose of (784, 64)",
        "∂C/∂b3 = Δ3 1 by hand",
        "the average of the 300 single ∂C/∂W1 is ∂C/∂W1",
        "-(1/N) Σ log p(label) is the cost",
        "W3 after 60 steps, in columns and in rows",
        "the cost fell from",
    ],
    "s2_vectorised_classifier": [
        *(f"∂C/∂{name} " for name in ("W_o", "b_o", "W_h", "b_h")),
        "the seed through the full Jacobian of the softmax",
        "accuracy on 2,000 unseen test images",
    ],
    "s3_graph_and_neuron": [
        "∂C/∂W1 by hand",
        "one is the transpose of the other",
        "∂C/∂b2 of the classifier",
        "the classifier on the new rows",
        "∂C/∂W5 = (A4)ᵀ Δ5",
        "J_r = -σ'(·) [xᵀ, 1], row by row",
        "2 f b1² is the certified residual sum of squares",
        "w by gradient descent and in closed form",
        "J_r (1030, 37) by hand, layer by layer",
    ],
    "s4_spiral": [
        "2-4-3: ∂C/∂W1 (2, 4)",
        "2-100-3: ∂C/∂W2 (100, 3)",
        "∂C/∂W1 and central differences",
        "training accuracy of 2-100-3",
    ],
    "s5_composed_function": [
        "the average of 64 single ∂L/∂W2 is ∂C/∂W2",
        "∂C/∂W3, 60 entries one by one",
        "Δ4 = 2/N (x̂ - x) ⊙ x̂ ⊙ (1 - x̂)",
        "share of the variance of unseen images explained",
    ],
}


def run(code: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *code],
        cwd=EXAMPLES,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs_and_its_checks_pass(name):
    result = run(["-W", "error", f"{name}.py"])
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    missing = [words for words in SAYS[name] if words not in result.stdout]
    assert not missing


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("s*.py")} == set(SAYS)


@pytest.mark.parametrize(
    "line",
    [
        "agree('x', 1.0, 1.1)",
        "agree('x', [1.0, 1.0], [[1.0, 1.0]])",  # broadcasting would call these equal
        "agree('x', float('nan'), 1.0)",
        "reaches('x', 0.84, 0.85)",
        "reaches('x', float('nan'), 0.85)",
    ],
)
def test_a_failing_check_stops_the_program(line):
    result = run(["-c", f"from common import agree, reaches; {line}; print('went on')"])
    assert result.returncode != 0
    assert "went on" not in result.stdout


def test_the_shipped_images_stay_within_their_limit():
    assert sum(path.stat().st_size for path in (EXAMPLES / "data" / "fashion_mnist").iterdir()) <= 5_000_000
