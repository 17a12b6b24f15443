"""Every error a user can meet, and the words they share.

A message says what was expected, what came and what to do, and names the thing it is about.
All classes derive from `LayerwiseError`; most are also the built-in exception a Python user
would expect (``ValueError`` for a wrong value), so both ``except`` clauses work.
"""

from __future__ import annotations

from collections.abc import Iterable


class LayerwiseError(Exception):
    """Base of every error that this library raises on purpose."""


class ShapeError(LayerwiseError, ValueError):
    """Shapes do not fit; the message carries the names and all shapes."""


class GraphError(LayerwiseError, ValueError):
    """A graph is asked for something it does not hold: an unfed input, a cost that is no scalar."""


class UnknownName(LayerwiseError, ValueError):
    """A name that is not in a closed list; the message offers the nearest one."""


class NetworkError(LayerwiseError, ValueError):
    """Layers, activations and loss that do not make a network."""


class DataError(LayerwiseError, ValueError):
    """Values that cannot be learned from: NaN, a label out of range, an empty array."""


class TableError(LayerwiseError, ValueError):
    """A table that cannot be read or does not fit; names file, line, column and value."""


class ModelFileError(LayerwiseError, ValueError):
    """A model file that is damaged, hostile, or of another version."""


class CheckpointError(LayerwiseError, ValueError):
    """A checkpoint that was not saved or cannot be gone on from, or a folder that cannot hold checkpoints."""


class LogError(LayerwiseError, ValueError):
    """A log of a fit that cannot be begun: no package for it, no right to write, a file of something else."""


class DivergenceWarning(RuntimeWarning):
    """The cost stopped being finite, or ran away; the fit ended early and says which weights it kept."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be saved; earlier ones are intact, and the fit goes on."""


class LogWarning(UserWarning):
    """A log of a fit could not be written; the fit goes on."""


class SymmetryWarning(UserWarning):
    """All units of a layer start equal and will stay equal."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during a fit. The weights learned so far are in ``.fit``.

    Attributes
    ----------
    fit : layerwise.Fit
        What a finished fit would have returned, as of the last whole step.
    """

    def __init__(self, fit: object):
        super().__init__("Training was interrupted; the weights so far are in the exception's .fit")
        self.fit = fit


def nearest(name: object, known: Iterable[str]) -> str:
    """``" Did you mean 'relu'?"``, or an empty string where nothing is near."""
    import difflib  # slow to import, and needed only here

    lowered = {k.lower(): k for k in known}
    matches = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
    return f" Did you mean {lowered[matches[0]]!r}?" if matches else ""


def unknown_name(what: str, name: object, known: Iterable[str], shown: object = None) -> UnknownName:
    """The error for ``name``, which is not one of the ``known`` names of a ``what``.

    ``shown`` is what the caller wrote, where ``name`` already stands for what was meant.
    """
    names = sorted(known)
    written = name if shown is None else shown
    return UnknownName(f"Unknown {what} {written!r}.{nearest(name, names)} Known: {', '.join(names)}.")


def shape_text(shape: Iterable[object]) -> str:
    """``(N, 3)`` as it is printed in messages and drawings."""
    parts = [str(d) for d in shape]
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
