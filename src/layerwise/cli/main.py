"""The commands: fit, predict, score, show. A user's mistake is one message and exit code 2."""

from __future__ import annotations

import io
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import numpy as np
import typer

import layerwise
from layerwise.cli import begun, screen
from layerwise.errors import (
    CheckpointError,
    DataError,
    DivergenceWarning,
    LayerwiseError,
    ModelFileError,
    unknown_name,
)
from layerwise.model.model import Model, load
from layerwise.table.frame import Table
from layerwise.table.read import SUFFIXES, file_suffix, read_table
from layerwise.table.target import Task
from layerwise.table.write import write_csv, write_table
from layerwise.tabular.attempts import Attempts
from layerwise.tabular.fit import fit_table
from layerwise.tabular.settings import EPOCHS, Settings

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""
WIDEST = 1_000_000
"""Units of a hidden layer; what is beyond is a slip of the keyboard."""
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")

TableArgument = Annotated[Path, typer.Argument(metavar="TABLE", help="A .csv, .csv.gz, .tsv or .parquet file.")]
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A file that 'layerwise fit' saved.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"layerwise {layerwise.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Dense networks on tables: [b]fit[/b] a model, [b]predict[/b] with it, [b]score[/b] it, [b]show[/b] it."""


@app.command()
def fit(
    context: typer.Context,
    table: TableArgument,
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Where to save the model; by default TABLE's name + .layerwise."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="classification or regression; by default found from the target."),
    ] = None,
    hidden: Annotated[
        str, typer.Option(metavar="SIZES", help="Widths of the hidden layers, as in 64,64; '' for none.")
    ] = "64,64",
    activation: Annotated[
        str, typer.Option(metavar="NAME", help="Activation of the hidden layers: relu, tanh, gelu and others.")
    ] = "relu",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Passes over the data.", show_default=f"{EPOCHS}, more for few rows"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Rows in a step.")] = 64,
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help="How weights are changed: momentum, adam, adamw and others.")
    ] = "momentum",
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Length of a step.",
            show_default="that of the optimizer, 0.01 for momentum; less where that fails",
        ),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Share of rows held out to score the model; 0 for none. They choose nothing."
        ),
    ] = 0.2,
    validation: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the other rows by which the best epoch is chosen.")
    ] = 0.0,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Epochs that are no better, after which the fit ends.", show_default="none"
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Of training, after which it ends.", show_default="none")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="A column not to use; repeatable.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column of text that looks like numbers; repeatable.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Of the split, the starting weights and the order of rows.")
    ] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder to save the state of the fit to, from which it can be resumed."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with the fit that saved to this folder, by the options it began with."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Epochs from one checkpoint to the next.")] = 1,
) -> None:
    """Learn to predict a column of a table from the others, and save the model."""
    if checkpoint is not None and resume is not None:
        raise CheckpointError("Give either --checkpoint, for a new fit, or --resume, to go on with one; not both.")
    options = begun.Options.of(context.params)
    # By name: where typer keeps the kinds of source is not public.
    sources = {name: context.get_parameter_source(name) for name in context.params}
    chosen = [name for name, source in sources.items() if getattr(source, "name", "") == "COMMANDLINE"]
    folder = checkpoint if resume is None else resume
    attempts = None
    if folder is not None:
        attempts = Attempts(folder, resume is not None, every)
        options = options if resume is None else begun.resumed(resume, options, chosen)
    elif "every" in chosen:
        raise CheckpointError("--every says how often checkpoints are saved. Say where with --checkpoint DIR.")
    _fit(table, options, attempts)


def _fit(table: Path, options: begun.Options, attempts: Attempts | None) -> None:
    target, text = options.target, options.text
    if options.task not in (None, "classification", "regression"):
        raise unknown_name("task", options.task, ("classification", "regression"))
    settings = Settings(
        _sizes(options.hidden),
        options.activation,
        options.learning_rate,
        batch_size=options.batch_size,
        epochs=options.epochs,
        held_out=options.held_out,
        seed=options.seed,
        optimizer=options.optimizer,
        validation=options.validation,
        patience=options.patience,
        max_seconds=options.max_seconds,
    )
    out = Path(_stem(table) + ".layerwise") if options.out is None else Path(options.out)
    if out.name.lower().endswith(SUFFIXES):
        raise ModelFileError(f"--out {out} is the name of a table; give the model another, such as model.layerwise.")
    _check_writable(out, table)
    data = read_table(table, text=text)
    for name in (target, *options.ignore, *text):
        data.column(name)
    if data.kind(target) == "boolean" and file_suffix(table) != ".parquet":
        # Labels keep their spelling, True or TRUE; unless there is more than one, which are the same labels then.
        spelled = read_table(table, text=[*text, target])
        if len(set(spelled.column(target))) == len(set(data.column(target))):
            data = spelled
    if attempts is not None:
        begun.record(attempts.folder, options)
    screen.say_table(data, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # said with the result
        result = fit_table(
            data,
            target,
            task=cast("Task | None", options.task),
            ignore=options.ignore,
            settings=settings,
            on_start=screen.say_network,
            progress=True,
            attempts=attempts,
        )
    result.model.save(out)
    screen.say_fit(result, out)
    if result.interrupted:
        if attempts is not None:
            again = ["layerwise", "fit", str(table), "--target", target, "--resume", str(attempts.folder)]
            screen.say_notes([f"To go on: {shlex.join(again)}"])
        raise typer.Exit(INTERRUPTED)


@app.command()
def predict(
    model: ModelArgument,
    table: TableArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="TABLE",
            help="A .csv, .csv.gz, .tsv or .parquet file.",
            show_default="CSV to the terminal",
        ),
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add a column for each class.")] = False,
) -> None:
    """Predict the target for every row of a table, in the table's order."""
    if out is not None:
        file_suffix(out)
        _check_writable(out, table, model)
    learned = _load_with_encoder(model)
    if probabilities and not learned.is_classifier:
        raise DataError(f"{model} predicts a number, so it has no probabilities. Leave --probabilities out.")
    data = _read_for(learned, table)
    screen.say_notes(_unusual(learned, data))
    result = _predictions(learned, data, probabilities)
    if out is None:
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8", newline="")  # the same bytes as in a file
        write_csv(sys.stdout, result)
        sys.stdout.flush()
    else:
        write_table(out, result)
        screen.say(f"{result.n_rows:,} predictions are in {out}.")


@app.command()
def score(model: ModelArgument, table: TableArgument) -> None:
    """Compare predictions with the target column of a table."""
    learned = _load_with_encoder(model)
    target = learned.target
    assert target is not None
    data = _read_for(learned, table, target.name)
    screen.say_notes(_unusual(learned, data))
    screen.say_scores(f"{data.n_rows:,} rows of {data.source}", learned.score(data, data.column(target.name)), None)


@app.command()
def show(model: ModelArgument) -> None:
    """Print what a model file holds: target, columns, network, scores of its fit."""
    screen.say_model(load(model), model)


def main() -> NoReturn:
    """Run the command line; the process ends with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A letter that the terminal cannot show must not end a fit.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()  # ends the process itself: 0, 2 for wrong usage, 130 for Ctrl-C
    except LayerwiseError as error:
        sys.exit(screen.say_error(str(error)))
    except MemoryError:
        sys.exit(screen.say_error("There is not enough memory for this table and a network of this size."))
    except OSError as error:  # of standard output; files that are named have errors of their own
        sys.exit(screen.say_error(f"The output cannot be written: {error.strerror or error}."))
    except RuntimeError as error:
        if "interrupted" not in str(error).lower():
            raise
        sys.exit(INTERRUPTED)  # Ctrl-C while DuckDB was reading
    sys.exit(0)


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    # At most 7 digits first: int() refuses thousands of them in words of its own.
    if not all(part.isdecimal() and len(part) <= 7 and 0 < int(part) <= WIDEST for part in parts):
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise DataError(
            f"--hidden takes widths from 1 to {WIDEST:,} separated by commas, such as 64,64, or '' for no hidden "
            f"layer; got {shown!r}."
        )
    return tuple(map(int, parts))


def _stem(table: Path) -> str:
    """The name of a table's file without its ending."""
    endings = [ending for ending in SUFFIXES if table.name.lower().endswith(ending)]
    return table.name[: -len(max(endings, key=len))] if endings else table.stem


def _check_writable(out: Path, *sources: Path) -> None:
    """Refuse before the work what could not be written after it, and what would replace a source."""
    folder = out.parent
    try:
        if out.is_dir():
            raise LayerwiseError(f"--out {out} is a folder; give the name of a file in it.")
        if not folder.is_dir():
            raise LayerwiseError(f"--out {out}: there is no folder {str(folder)!r}. Make it first.")
        if out.exists() and not out.is_file():
            raise LayerwiseError(f"--out {out} is no ordinary file; give another name.")
        if any(out.exists() and source.exists() and out.samefile(source) for source in sources):
            raise LayerwiseError(f"--out {out} is a file that is read here, and would be replaced; give another name.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LayerwiseError(f"--out {out}: the folder {str(folder)!r} cannot be written to.")
    except OSError as error:
        raise LayerwiseError(f"--out {out}: {error.strerror or error}.") from None


def _load_with_encoder(path: Path) -> Model:
    model = load(path)
    if model.encoder is None or model.target is None:
        raise ModelFileError(
            f"{path} holds a network without the columns it was fitted on, so it takes matrices, not tables. "
            "Use layerwise.load(...) in Python."
        )
    return model


def _read_for(model: Model, path: Path, target_name: str | None = None) -> Table:
    """The table, with the model's categories read as text even where these rows look like numbers."""
    assert model.encoder is not None
    assert model.target is not None
    text = set(model.encoder.text_columns)
    labels = () if model.target.are_truth_values else model.target.classes
    if target_name is not None and isinstance(next(iter(labels), None), str):
        text.add(target_name)
    return read_table(path, text=text)


def _unusual(model: Model, table: Table) -> list[str]:
    assert model.encoder is not None
    return [*table.notes, *model.encoder.report(table)]


def _predictions(model: Model, table: Table, probabilities: bool) -> Table:
    target = model.target
    assert target is not None
    columns: dict[str, Any] = {}
    if model.is_classifier:
        proba = model.predict_proba(table)
        columns[target.name] = target.decode_labels(proba.argmax(axis=1))
        if probabilities:
            # seven digits are what float32 holds
            columns |= {f"P({c})": np.round(proba[:, k].astype(np.float64), 7) for k, c in enumerate(target.classes)}
    else:
        columns[target.name] = model.predict(table)
    return Table.from_columns(columns, "predictions")
