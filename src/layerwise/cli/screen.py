"""What the command line shows: results on standard output, progress, notes and errors on standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import markup
from rich.console import Console
from rich.table import Table as Grid

from layerwise.fit.progress import error_console
from layerwise.model.model import Model
from layerwise.network.layers import Dense
from layerwise.network.network import Network
from layerwise.table.columns import CategoryColumn, NumberColumn
from layerwise.table.frame import Table
from layerwise.table.target import Target
from layerwise.tabular.fit import TableFit

_out = Console(highlight=False, soft_wrap=True)
_err = error_console()

_METRICS = {
    "accuracy": "accuracy",
    "roc_auc": "area under ROC curve",
    "log_loss": "log-loss",
    "r2": "R²",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
}


def escape(text: str) -> str:
    """Foreign text as it stands: neither rich's markup nor a terminal's control characters act."""
    return markup.escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def say(text: str) -> None:
    """A line of a result."""
    _out.print(escape(text))


def say_error(text: str) -> int:
    """An error in one message; returns the exit code 2."""
    _err.print(f"[bold red]Error:[/] {escape(text)}")
    return 2


def say_notes(notes: Iterable[str]) -> None:
    """What the user should know, but need not act on."""
    for note in notes:
        _err.print(f"[yellow]Note:[/] {escape(note)}")


def say_table(table: Table, target: str) -> None:
    """What was read."""
    _out.print(
        f"[bold]{escape(table.source)}[/]: {table.n_rows:,} rows, {len(table.columns)} columns; "
        f"target [bold]{escape(target)}[/]"
    )
    say_notes(table.notes)


def say_network(network: Network, target: Target) -> None:
    """What will be learned, and by what."""
    classes = f" ({len(target.classes)} classes)" if target.classes else ""
    _out.print(f"{target.task}{classes} with {_described(network)}")


def say_fit(result: TableFit, out: Path) -> None:
    """Scores, notes, and where the model is."""
    encoder, report = result.model.encoder, result.model.report
    say_notes(encoder.notes if encoder else ())
    say_notes(result.fit.notes)
    if len(result.fit.history) < report["settings"]["epochs"] or result.fit.diverged or result.fit.best_epoch:
        say_notes([result.fit.stop_reason])
    say_notes(result.notes)
    if result.metrics:
        say_scores(f"{report['rows_held_out']:,} rows held out", result.metrics, result.baseline)
    _out.print(f"Saved to [bold]{escape(str(out))}[/] ({out.stat().st_size / 1024:,.0f} KB).")


def say_scores(rows: str, metrics: Mapping[str, float | None], baseline: Mapping[str, float | None] | None) -> None:
    """A table of metrics, beside those of the baseline."""
    grid = Grid(title=f"Score on {escape(rows)}", title_justify="left", title_style="")
    grid.add_column("metric", overflow="fold")
    grid.add_column("model", justify="right", style="bold", no_wrap=True)
    if baseline is not None:
        grid.add_column("majority class" if "accuracy" in metrics else "mean", justify="right", overflow="fold")
    for name in [n for n in _METRICS if n in metrics]:
        values = [metrics[name], *([] if baseline is None else [baseline.get(name)])]
        grid.add_row(_METRICS[name], *_alike(values))
    _out.print(grid)


def say_model(model: Model, path: Path) -> None:
    """Everything a model file holds, but the weights."""
    _out.print(f"[bold]{escape(str(path))}[/]: {_described(model.network)}, {_precision(model)}")
    if model.target is not None:
        classes = ", ".join(map(repr, model.target.classes[:12])) + (", …" if len(model.target.classes) > 12 else "")
        what = (
            f"classes {classes}" if classes else f"mean {model.target.centre:.6g}, deviation {model.target.scale:.6g}"
        )
        _out.print(f"target [bold]{escape(model.target.name)}[/]: {model.target.task}, {escape(what)}")
    if model.encoder is not None:
        _out.print(_columns(model))
        say_notes(model.encoder.notes)
    report: Mapping[str, Any] = model.report
    metrics = _metrics(report.get("metrics"))
    if metrics:
        rows = _count(report.get("rows_held_out"))
        say_scores(f"{rows} held out of the fit", metrics, _metrics(report.get("baseline")) or None)
    if isinstance(report.get("stop_reason"), str):
        _out.print(f"{_count(report.get('rows_learned'))} learned. {escape(report['stop_reason'])}")


def _count(rows: Any) -> str:
    """A number of rows in a report, which holds whatever the maker of the model put there."""
    return f"{rows:,} rows" if isinstance(rows, int) else "rows"


def _metrics(found: Any) -> dict[str, float | None]:
    entries: dict[Any, Any] = found if isinstance(found, dict) else {}
    return {k: v for k, v in entries.items() if k in _METRICS and (v is None or isinstance(v, float))}


def _columns(model: Model) -> Grid:
    assert model.encoder is not None
    grid = Grid()
    for name in ("column", "kind", "inputs", "what"):
        grid.add_column(name, justify="right" if name == "inputs" else "left", overflow="fold")
    for column in model.encoder.columns:
        if isinstance(column, CategoryColumn):
            kind, shown = "category", ", ".join(column.values[:6]) + (", …" if len(column.values) > 6 else "")
        elif isinstance(column, NumberColumn):
            kind, shown = "number", f"median {column.centre:.6g}, spread {column.scale:.6g}"
        else:
            kind, shown = "presence", "whether the cell is filled"
        grid.add_row(escape(column.name), kind, str(len(column.output_names)), escape(shown))
    return grid


def _described(network: Network) -> str:
    widths = "-".join(map(str, network.widths))
    hidden = sorted({layer.activation.name for layer in network.layers[:-1] if isinstance(layer, Dense)})
    functions = ", ".join([*hidden, network.output_layer.activation.name])
    return f"a network {widths} ({functions}; {network.loss.name}; {network.n_parameters:,} parameters)"


def _precision(model: Model) -> str:
    return str(next(iter(model.params.values())).dtype)


def _alike(values: Iterable[float | None]) -> list[str]:
    """Numbers of one row of a table with the same decimals, as many as the largest calls for; – for none."""
    known = list(values)
    largest = max((abs(v) for v in known if v is not None and math.isfinite(v)), default=0.0)
    form = ".4g" if largest and not 1e-3 <= largest < 1e9 else ".4f" if largest < 10 else ",.2f"
    return ["–" if v is None or math.isnan(v) else format(v, form) for v in known]
