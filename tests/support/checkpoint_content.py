"""What tests save as a checkpoint, told from any other by every number in it."""

from __future__ import annotations

import numpy as np

from layerwise.fit.checkpoints import Loaded

SUFFIX = ".layerwise-checkpoint"


def document(step: int) -> dict[str, object]:
    return {"step": step, "rule": {"name": "Adam", "rate": 0.1 + step}}


def arrays(step: int, size: int = 300) -> dict[str, np.ndarray]:
    return {
        "W": np.full(size, step + 0.25),
        "b": np.full(7, step, np.float32),
        "cost": np.array([np.nan, np.inf, -np.inf, step]),
        "mask": np.full(5, step % 256, np.uint8),
        "order": np.arange(step, step + 9),
        "random": np.array([2**64 - 1 - step], np.uint64),
    }


def step_of(loaded: Loaded | None) -> int:
    """The step that a checkpoint was saved at; every bit of it is looked at."""
    assert loaded is not None
    step = loaded.document["step"]
    assert {**loaded.document, **document(step)} == loaded.document
    expected = arrays(step, len(loaded.arrays["W"]))
    assert list(loaded.arrays) == sorted(expected)
    for name, array in expected.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].tobytes() == array.tobytes()
    return step


def name(number: int) -> str:
    return f"checkpoint-{number:012}{SUFFIX}"
