"""What the native engine runs for a network's training step, to be read."""

from __future__ import annotations

from layerwise.arrays import precision_name
from layerwise.compile.program import Program
from layerwise.engine.native_training import step_program
from layerwise.errors import DataError
from layerwise.network.build import step_graph
from layerwise.network.network import Network
from layerwise.network.scheduled import RuleRun
from layerwise.network.updates import Momentum, UpdateRule
from layerwise.ops.losses import LOSSES


def training_program(
    net: Network, optimizer: UpdateRule | None = None, batch_size: int = 128, dtype: str = "float64"
) -> Program:
    """The native program of one training step: stages, fused instructions, where values lie.

    Parameters
    ----------
    net : Network
    optimizer : UpdateRule, optional
        By default ``Momentum(0.01, 0.9)``.
    batch_size : int
        Samples a step.
    dtype : {"float64", "float32"}

    Returns
    -------
    Program
        ``print`` shows it; ``arena_bytes`` and ``state_bytes`` are the memory of a step and of what outlives it.

    Raises
    ------
    DataError
        ``batch_size`` is no positive integer.

    Examples
    --------
    >>> import layerwise as lw
    >>> program = lw.training_program(lw.Network([2, 4, 3], output="softmax"), lw.SGD(0.1), batch_size=32)
    >>> len(program.stages)
    2
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:  # pyright: ignore
        raise DataError(f"batch_size must be a positive integer; got {batch_size!r}.")
    # A step is the same program whatever its numbers are.
    rule = RuleRun(Momentum() if optimizer is None else optimizer, 1, 1).first
    labels = LOSSES[net.loss.name].targets == "distribution"
    step = step_graph(net.graph(labels=labels, weighted=False, training=True), rule).step()
    return step_program(step, batch_size, precision_name(dtype))
