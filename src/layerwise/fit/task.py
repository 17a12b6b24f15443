"""What is to be fitted, and how far a fit is: plain records, whatever makes the epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerwise.engine.blocks import BlockTraining
from layerwise.engine.choice import training
from layerwise.engine.training import Data, Step, Training
from layerwise.fit.blocks import BlockReader
from layerwise.fit.callbacks import Callback
from layerwise.fit.history import Epoch
from layerwise.fit.stopping import Best, Patience
from layerwise.fit.validation import Validation
from layerwise.graph.node import Node
from layerwise.network.build import StepGraph, step_graph
from layerwise.network.groups import Clip, Group
from layerwise.network.network import Network
from layerwise.network.updates import UpdateRule
from layerwise.types import Array

OnEpoch = Callable[[Epoch], Any]


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be fitted, and when it is enough; all of it checked.

    Parameters
    ----------
    net : Network
    rule : UpdateRule
    groups : dict of str to Group
    clip : Clip
    data : Data
        With blocks, rows of the first of them.
    dtype, engine : str
    epochs : int
        The number of the last one.
    max_steps, max_seconds : optional
        In all.
    validation : Validation, optional
    patience : Patience
    restore_best : bool
    diagnostics : bool
    on_epoch_end : tuple of callable
        Each is given every epoch; what it returns, if anything but None or False, ends the fit.
    watch : Callback, optional
        Given the last epoch of each run, which may be of several.
    forgotten : int
        Steps of an earlier fit that the update rule remembers nothing of: that was another rule's.
    blocks : BlockReader, optional
        Where the rows come from, if not from one table.
    """

    net: Network
    rule: UpdateRule
    groups: Mapping[str, Group]
    clip: Clip
    data: Data
    dtype: str
    engine: str
    epochs: int
    max_steps: int | None = None
    max_seconds: float | None = None
    validation: Validation | None = None
    patience: Patience = field(default_factory=Patience)
    restore_best: bool = True
    diagnostics: bool = False
    on_epoch_end: tuple[OnEpoch, ...] = ()
    watch: Callback | None = None
    forgotten: int = 0
    blocks: BlockReader | None = None

    @property
    def steps(self) -> int:
        """Steps in an epoch; 1 where blocks do not say how many and nothing depends on it."""
        return self.data.steps if self.blocks is None else self.blocks.steps or 1

    @property
    def n_rows(self) -> int | None:
        """Rows that are learned from, where they are known."""
        return self.data.n_rows if self.blocks is None else self.blocks.n_rows

    def training(self, step: Step, start: Mapping[Node, Array]) -> Training:
        """What runs the steps from these values."""
        if self.blocks is None:
            return training(self.engine, step, self.data, start, self.dtype)
        return BlockTraining(training(self.engine, step, self.blocks.few, start, self.dtype), self.blocks.epoch)

    @property
    def weighted(self) -> bool:
        """Whether samples have weights."""
        return len(self.data.tables) > 2

    def step_graph(self) -> StepGraph:
        """The graph of a training step."""
        labels = self.data.tables[1].ndim == 1
        learns = self.net.graph(labels=labels, weighted=self.weighted, training=True)
        return step_graph(learns, self.rule, self.groups, self.clip, self.net.graph(labels=labels))


@dataclass(frozen=True, eq=False)
class Position:
    """How far a fit is: all that decides how it goes on, but for the task.

    Parameters
    ----------
    params : dict of str to array
    slots : dict of str to array
        What the update rule remembers, "velocity of W1"; what is not there starts as the rule says.
    steps : int
        Whole steps in all.
    epochs : tuple of Epoch
        Those that are done.
    epoch_steps, epoch_cost : int, float
        Of the epoch that is begun: whole steps, and the sum of cost times rows over them.
    first_cost : float
        Of the starting weights; NaN where it is not known yet.
    best : Best
    best_params : dict of str to array
        The weights after the best epoch; empty before the first step.
    best_cost : float
        The lowest cost of an epoch.
    schedules : list
        The state of the schedules of each rule.
    seconds : float
        Spent so far.
    judged : bool
        False where the last epoch has ended and was not looked at yet.
    """

    params: Mapping[str, Array]
    slots: Mapping[str, Array] = field(default_factory=dict[str, Array])
    steps: int = 0
    epochs: tuple[Epoch, ...] = ()
    epoch_steps: int = 0
    epoch_cost: float = 0.0
    first_cost: float = math.nan
    best: Best = field(default_factory=Best)
    best_params: Mapping[str, Array] = field(default_factory=dict[str, Array])
    best_cost: float = math.inf
    schedules: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0
    judged: bool = True
