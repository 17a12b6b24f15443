"""The options of a fit that was begun, kept beside its checkpoints: who resumes it need not repeat them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from layerwise.errors import CheckpointError
from layerwise.files import make_folder, replace_file

FILE = "options.json"
_FREE = ("out", "every", "max_seconds")
"""What may differ when a fit is resumed: it changes nothing of what an epoch computes."""


@dataclass(frozen=True)
class Options:
    """The options of `layerwise fit` as they were written, or their defaults."""

    target: str
    out: str | None
    task: str | None
    hidden: str
    activation: str
    epochs: int | None
    batch_size: int
    optimizer: str
    learning_rate: float | None
    held_out: float
    validation: float
    patience: int | None
    max_seconds: float | None
    ignore: list[str]
    text: list[str]
    seed: int
    every: int

    @staticmethod
    def of(parameters: Mapping[str, Any]) -> Options:
        """The options among the parameters of the command."""
        found = {field.name: parameters[field.name] for field in fields(Options)}
        found |= {name: list(found[name] or ()) for name in ("ignore", "text")}
        return Options(**{**found, "out": None if found["out"] is None else str(found["out"])})


def record(folder: Path, options: Options) -> None:
    """Save the options of a fit that begins or goes on.

    Raises
    ------
    CheckpointError
        The system refuses.
    """
    text = json.dumps(asdict(options), indent=1, ensure_ascii=False) + "\n"

    def write(path: str) -> None:
        Path(path).write_text(text, encoding="utf-8")

    try:
        make_folder(os.fspath(folder))
        replace_file(folder / FILE, write)
    except OSError as error:
        raise CheckpointError(f"Checkpoints cannot be saved to {folder}: {error.strerror or error}.") from error


def resumed(folder: Path, options: Options, chosen: Collection[str]) -> Options:
    """The options with which a fit goes on: those of its beginning, but for those that may differ and do.

    Parameters
    ----------
    folder : Path
        Where no fit was begun, the options are those of its beginning.
    options : Options
        Of the command that resumes.
    chosen : collection of str
        Which of them were written; the others have their defaults.

    Raises
    ------
    CheckpointError
        An option that was written is not that of the beginning, or the file is damaged.
    """
    before = _read(folder)
    if before is None:
        return options
    anew = {name: getattr(options, name) for name in chosen if name in asdict(options)}
    for name, value in anew.items():
        old = getattr(before, name)
        if name not in _FREE and value != old:
            option = "--" + name.replace("_", "-")
            raise CheckpointError(
                f"{option} is {_shown(value)} here and {_shown(old)} in the fit that saved to {folder}. Leave {option} "
                "out to go on with that fit, or begin another one with --checkpoint and another folder."
                if name != "target"
                else f"The fit that saved to {folder} learns {old!r}, not {value!r}. Name its target to go on with it."
            )
    return replace(before, **anew)


def _read(folder: Path) -> Options | None:
    try:
        found: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, no JSON
        raise _damaged(folder, f"it cannot be read ({error})") from error
    known = get_type_hints(Options)
    if not isinstance(found, dict) or set(found) != set(known):
        raise _damaged(folder, "it does not hold the options of a fit")
    for name, kind in known.items():
        value: Any = found[name]
        if kind == list[str]:
            fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        else:
            fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits:
            raise _damaged(folder, f"{name!r} is {value!r}")
    return Options(**found)


def _damaged(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder / FILE} is damaged: {what}. Move it away, and repeat the options of the first run with --resume."
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(repr, value)) or "none"
    return "not given" if value is None else repr(value)
