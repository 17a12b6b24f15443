"""What a fit returns: weights, history, and why it stopped, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from layerwise.network.network import Network
from layerwise.network.updates import UpdateRule
from layerwise.types import Array, FloatArray


@dataclass(frozen=True)
class Epoch:
    """One pass over the data.

    Parameters
    ----------
    number : int
        From 1.
    cost : float
        Average over the samples of the epoch, each at the weights of its step.
    seconds : float
        Since the fit began, by the monotonic clock.
    """

    number: int
    cost: float
    seconds: float


@dataclass(frozen=True)
class History(Sequence[Epoch]):
    """The epochs of a fit, in order; a sequence of `Epoch`.

    Examples
    --------
    ``fit.history.cost`` is the learning curve as an array; ``fit.history[-1].cost`` its last value.
    """

    epochs: tuple[Epoch, ...] = ()

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, index: int) -> Epoch:  # type: ignore[override]
        return self.epochs[index]

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    @property
    def cost(self) -> FloatArray:
        """The cost of each epoch, (n_epochs,) float64."""
        return np.array([e.cost for e in self.epochs], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of `layerwise.train`.

    Parameters
    ----------
    network : Network
    params : dict of str to array
        The learned weights.
    optimizer : UpdateRule
    history : History
    stop_reason : str
        A sentence.
    diverged : bool
        The cost stopped being finite or ran away; ``stop_reason`` says which weights ``params`` are.
    engine : str
        What ran the steps: "numpy", or "native" with the instruction set, such as "native avx2". Between
        instruction sets weights agree to rounding, under one of them to the bit.
    """

    network: Network
    params: dict[str, Array]
    optimizer: UpdateRule
    history: History
    stop_reason: str
    diverged: bool = False
    engine: str = "numpy"

    def __repr__(self) -> str:
        return f"<Fit of {self.network!r}: {len(self.history)} epochs. {self.stop_reason}>"
