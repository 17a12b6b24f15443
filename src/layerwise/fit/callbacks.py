"""Who is told how a fit goes: the base class of those who listen, and what they are told."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from layerwise.fit.history import Epoch, Fit, History
from layerwise.network.layers import Dense, Layer
from layerwise.network.network import Network
from layerwise.network.updates import UpdateRule


@dataclass(frozen=True, eq=False)
class FitInfo:
    """What is known of a fit before its first step.

    Parameters
    ----------
    network : Network
    optimizer : UpdateRule
    samples : int or None
        Rows that are learned from; None where they come in blocks that nobody has counted.
    batch_size : int
        Rows a step.
    epochs : int
        The number of the last epoch, if nothing ends the fit earlier.
    seed : int
    dtype, engine : str
    scores : tuple of str
        What is found on the validation rows after each epoch: the names in ``Epoch.validation``.
    watched : str
        The one of them that decides which epoch is the best; empty without validation.
    max_seconds : float or None
    history : History
        The epochs that are done, where a fit goes on: resumed, or from another fit.
    """

    network: Network
    optimizer: UpdateRule
    samples: int | None
    batch_size: int
    epochs: int
    seed: int
    dtype: str
    engine: str
    scores: tuple[str, ...] = ()
    watched: str = ""
    max_seconds: float | None = None
    history: History = field(default_factory=History)

    @property
    def settings(self) -> dict[str, Any]:
        """All that is plain data, under names of ``train``: for logs."""
        rule = self.optimizer
        return {
            "network": "-".join(map(str, self.network.widths)),
            "activations": ",".join(_called(layer) for layer in self.network.layers),
            "loss": self.network.loss.name,
            "parameters": self.network.n_parameters,
            "optimizer": type(rule).__name__,
            **{name: value if isinstance(value, float) else str(value) for name, value in rule.hyperparameters.items()},
            **({} if self.samples is None else {"samples": self.samples}),
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "seed": self.seed,
            "dtype": self.dtype,
            "engine": self.engine,
        }


def _called(layer: Layer) -> str:
    """What a layer does, in a word."""
    return layer.activation.name if isinstance(layer, Dense) else type(layer).__name__.lower()


class Callback:
    """Base of what listens to a fit: ``train(..., on_epoch_end=[...])``.

    Notes
    -----
    Any function of an `Epoch` can listen; a class may also want to know of the start and the end. A fit that begins
    again after it diverged (``restarts``) is told of as one that ends, and another that begins.

    What is raised here ends the fit and reaches the caller of ``train``, with what was learned in its ``.fit``. The
    others are still told of the end.

    Examples
    --------
    >>> import layerwise as lw
    >>> class Printed(lw.Callback):
    ...     def on_fit_begin(self, info):
    ...         print(f"{info.samples} samples")
    ...     def on_epoch_end(self, epoch):
    ...         print(f"epoch {epoch.number}")
    ...     def on_fit_end(self, fit):
    ...         print(fit.stop_reason)
    >>> net = lw.Network([1, 1])
    >>> fit = lw.train(net, [[0.0], [1.0]], [0.0, 1.0], epochs=2, on_epoch_end=Printed())
    2 samples
    epoch 1
    epoch 2
    All 2 epochs are done.
    """

    def on_fit_begin(self, info: FitInfo) -> None:
        """Before the first step."""

    def on_epoch_end(self, epoch: Epoch) -> Any:
        """After each epoch. What is returned, if not None or False, ends the fit; text is given as the reason."""

    def on_fit_end(self, fit: Fit) -> None:
        """At the end, whatever it came by: also after Ctrl-C and errors. The place to close what was opened."""

    def __call__(self, epoch: Epoch) -> Any:
        """The same as `on_epoch_end`, so that a callback is a function of an epoch like any other."""
        return self.on_epoch_end(epoch)


class Audience:
    """Those who listen to one fit; a context manager, which tells them of its end.

    Parameters
    ----------
    listeners : sequence of callable
        Told of start and end, where they have a method for it.
    """

    def __init__(self, listeners: Sequence[Any]):
        self._listeners = listeners
        self._told: list[Any] = []
        self.fit: Fit | None = None
        """What they are told of at the end."""

    def begin(self, info: FitInfo) -> None:
        """The fit begins. Where one raises, those before it are told of the end."""
        self.fit = Fit(info.network, {}, info.optimizer, info.history, "The fit did not begin.")
        for listener in self._listeners:
            tell = getattr(listener, "on_fit_begin", None)
            if tell is not None:
                tell(info)
            self._told.append(listener)

    def __enter__(self) -> Audience:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Tell everybody of the end; the first exception is the one that is raised, others become notes of it."""
        raised = error
        for listener in reversed(self._told):
            tell = getattr(listener, "on_fit_end", None)
            if tell is None:
                continue
            try:
                tell(self.fit)
            except Exception as another:
                if raised is None:
                    raised = another
                else:
                    raised.add_note(f"{type(listener).__name__}.on_fit_end raised as well: {another!r}")
        if raised is not None and raised is not error:
            keep_in(raised, self.fit)
            raise raised


def keep_in(error: BaseException, fit: Fit | None, saved: str = "") -> None:
    """Attach to an exception what was learned before it."""
    if fit is None or not fit.steps:
        return
    with contextlib.suppress(AttributeError):  # a class may forbid it
        error.fit = fit  # pyright: ignore[reportAttributeAccessIssue]
        where = f" It is saved as well: go on with resume={saved!r}." if saved else ""
        error.add_note(
            f"What was learned in {fit.steps} steps is in the .fit of this exception (in an interactive session, "
            f"sys.last_value.fit).{where}"
        )
