"""What is predicted: the network of a workload, and rows a call; arrays of NumPy in, arrays of NumPy out."""

from __future__ import annotations

JOBS = [("W3", 1), ("W4", 1), ("W3", 10_000), ("W4", 10_000), ("W6", 10_000)]
"""One row is what a service asks for, ten thousand what a table does."""
