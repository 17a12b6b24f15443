"""What is predicted: the network of a workload, and rows a call; arrays of NumPy in, arrays of NumPy out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """One row is what a service asks for, ten thousand what a table does.

    Parameters
    ----------
    key : str
        The workload whose network it is.
    rows : int
    goal : float
        How many times as fast as the best peer layerwise means to be.
    goal_microseconds : float
        What a call may take.
    """

    key: str
    rows: int
    goal: float | None = None
    goal_microseconds: float | None = None


PREDICTIONS = [
    Prediction("W3", 1, goal_microseconds=3.0),
    Prediction("W4", 1, goal_microseconds=6.0),
    Prediction("W3", 10_000, goal=1.2),
    Prediction("W4", 10_000, goal=1.2),
    Prediction("W6", 10_000, goal=1.2),
]
ROUNDS = 9
