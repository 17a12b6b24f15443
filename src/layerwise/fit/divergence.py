"""Which layer's values grew while a fit lost itself, and what helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from layerwise.compile.plan import plan
from layerwise.engine.reference import Runner
from layerwise.fit.diagnostics import Observer, largest
from layerwise.network.build import forward_graph
from layerwise.network.network import Network
from layerwise.types import Array

_SAMPLE = 256
_GROWN = 10.0
"""Times the largest value at the start: more is not what learning does in the steps before a divergence."""
_LARGE = 100.0
"""Inputs or targets beyond it are not scaled."""


@dataclass(frozen=True)
class Growth:
    """How much the values of each layer have grown since the start.

    Parameters
    ----------
    start, now : tuple of float
        The largest |Z^l| of each layer on some rows; infinity where it is not finite.
    steps : tuple of float
        The norm of each layer's gradient now, as a share of that of its weights.
    inputs, targets : float
        The largest |X| and |Y| in those rows; 0 for labels.
    """

    start: tuple[float, ...]
    now: tuple[float, ...]
    steps: tuple[float, ...]
    inputs: float
    targets: float

    @classmethod
    def between(
        cls, net: Network, start: Mapping[str, Array], now: Mapping[str, Array], tables: Sequence[Array], dtype: str
    ) -> Growth:
        """The growth from some weights to others on the first rows of the data."""
        X, Y = (table[:_SAMPLE] for table in tables)
        graph = forward_graph(net)
        runner = Runner(plan(graph.pre_activations), dtype)

        def sizes(params: Mapping[str, Array]) -> tuple[float, ...]:
            found = runner.run(graph.forward_feeds(params, X))
            return tuple(float(np.nan_to_num(largest(Z), nan=np.inf)) for Z in found)

        reports = Observer(net, (X, Y), dtype).look(now)
        steps = tuple(float(np.nan_to_num(r.gradient / (r.weights or 1.0), nan=np.inf)) for r in reports)
        return cls(sizes(start), sizes(now), steps, largest(X), 0.0 if Y.ndim == 1 else largest(Y))

    @property
    def sentence(self) -> str:
        """The first layer whose values grew much; where none did, the one that the next step would change most."""
        for layer, (before, after) in enumerate(zip(self.start, self.now, strict=True), start=1):
            if after > _GROWN * before:
                return f"Layer {layer} grew first: its largest |Z| went from {before:.3g} to {after:.3g}."
        layer = int(np.argmax(self.steps))
        return (
            f"Layer {layer + 1} is the one that a step changes most: the norm of its gradient is "
            f"{self.steps[layer]:.3g} times that of its weights."
        )

    def remedy(self, rate: float) -> str:
        """What is likely to help."""
        for what, size in (("inputs", self.inputs), ("targets", self.targets)):
            if size > _LARGE:
                return f"Scale {what} to about 1: they reach {size:.3g}. Or try learning rate {rate / 10:g}."
        return f"Try learning rate {rate / 10:g}, or scale inputs and targets to about 1."
