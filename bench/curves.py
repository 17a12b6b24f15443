"""How fast every update rule learns at its default settings: learning curves on three data sets.

    python -m bench.curves                  all of it: five minutes
    python -m bench.curves --only Lion      one rule anew, or for the first time, on the machine of the others
    python -m bench.curves --pages          only the tables and pictures, from what is recorded

Records the curves into tests/fit/golden/, where tests/fit/test_learning.py compares them with new fits, and from these
files alone writes the tables and pictures of docs/curves/. For each data set the network, the batch size and the number
of epochs are the same for all rules; only a rule that takes the whole data set at once has a number of epochs of its
own, since an epoch is one step for it. Five seeds show how much of the number of epochs to the bar is chance; the curve
is that of the first. All in float64: in float32 the rounding of another processor leads minibatches elsewhere. Times
are those of a processor at work, on one thread, so that the machine need not be quiet.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import gzip
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import layerwise as lw
from bench.report import number, table
from bench.rounds import say
from bench.run import ROOT, processor
from bench.workloads import EXAMPLES, Arrays, digits, spiral
from layerwise import _native as native  # noqa: TID251  the instruction set is named, the number of threads is set
from layerwise.explain.plot import Plot, Series

sys.path.insert(0, str(ROOT / "tests" / "support"))

from update_rules import DECLARED

RULES: list[Callable[[], Any]] = [*DECLARED]
"""Called without arguments: the defaults. What `train` takes as an optimizer and is no `UpdateRule` is added here."""

GOLDEN, PAGES = ROOT / "tests" / "fit" / "golden", ROOT / "docs" / "curves"
WHOLE_EPOCHS = 60
"""Of a rule that takes the whole data set at once."""
SEEDS = 5
TIMED = 3
"""Equal fits to the bar, of which the fastest counts: what else runs empties caches."""
LONGEST = 10
"""How many times the epochs of a task a fit may take to the bar before it is given up."""
DIGITS = 6
"""Of a recorded cost."""
COLOURS = 8
"""Of a plot; lines beyond are dashed."""

Golden = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What all rules have to learn.

    Parameters
    ----------
    key, title : str
        Of its files; of its picture.
    about : str
        Its rows, and which are held out.
    rows : callable
        Gives the training rows, the labels, and `validation` of `train`: rows to judge by, or a share.
    widths : tuple of int
        Of the network: ReLU, and softmax at the end.
    batch, epochs : int
    bar : float
        The accuracy on held-out rows that the best epoch must have.
    lower : dict of str to float
        Bars of rules that at their defaults do not reach it with every seed.
    """

    key: str
    title: str
    about: str
    rows: Callable[[], tuple[np.ndarray, np.ndarray, Any]]
    widths: tuple[int, ...]
    batch: int
    epochs: int
    bar: float
    lower: Mapping[str, float] = field(default_factory=dict)

    def bar_of(self, rule: str) -> float:
        return self.lower.get(rule, self.bar)


# Data -------------------------------------------------------------------------------------------------


@functools.cache
def two_spirals() -> tuple[np.ndarray, np.ndarray, Arrays]:
    return *spiral(300), spiral(300, seed=1)


@functools.cache
def split_digits() -> tuple[np.ndarray, np.ndarray, float]:
    return *digits(1797), 0.2


@functools.cache
def clothing() -> tuple[np.ndarray, np.ndarray, Arrays]:
    """The training and the test images of Fashion-MNIST that the examples have."""

    def part(name: str) -> Arrays:
        # idx: 16 bytes before images, 8 before labels.
        images, labels = (
            np.frombuffer(gzip.decompress((EXAMPLES / "fashion_mnist" / f"{name}-{file}.gz").read_bytes()), np.uint8)
            for file in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        return images[16:].reshape(-1, 784) / 255.0, labels[8:].astype(np.int64)

    return *part("train"), part("t10k")


TASKS = {
    task.key: task
    for task in (
        Task("spiral", "Spiral", "S4: 300 points on three arms; held out: 300 others that are drawn alike",
             two_spirals, (2, 100, 3), 10, 300, 0.95),
        Task("digits", "Digits", "1,797 digits of 8 × 8 pixels; held out: a fifth of each class, by chance",
             split_digits, (64, 64, 10), 32, 60, 0.93),
        Task("clothing", "Clothing", "S2: 9,400 images of 28 × 28 pixels; held out: 2,000 others",
             clothing, (784, 64, 10), 32, 30, 0.85, {"RMSprop": 0.84}),
    )
}  # fmt: skip

# Fits -------------------------------------------------------------------------------------------------


def learn(task: Task, rule: Callable[[], Any], seed: int = 0, to_the_bar: bool = False) -> lw.History:
    """The epochs of a fit by a rule's defaults; to the bar: up to the first epoch that reaches it."""
    X, labels, validation = task.rows()
    optimizer = rule()
    epochs = WHOLE_EPOCHS if optimizer.full_batch else task.epochs
    return lw.train(
        lw.Network(task.widths, hidden="relu", output="softmax"),
        X,
        labels,
        optimizer=optimizer,
        batch_size=None if optimizer.full_batch else task.batch,
        epochs=epochs * LONGEST if to_the_bar else epochs,
        validation=validation,
        metric="accuracy",
        seed=seed,
        restore_best=False,
        on_epoch_end=(lambda epoch: epoch.validation["accuracy"] >= task.bar) if to_the_bar else None,
    ).history


def record(task: Task, rule: Callable[[], Any]) -> Golden:
    """What is written down of a rule."""
    curve = learn(task, rule)
    epochs, seconds = [], []
    for seed in range(SEEDS):
        timed = []
        for _ in range(TIMED):
            begun = time.process_time()
            run = learn(task, rule, seed, to_the_bar=True)
            timed.append(time.process_time() - begun)
        epochs.append(len(run) if run.validation["accuracy"][-1] >= task.bar else None)
        seconds.append(min(timed))
    return {
        "cost": [float(f"{cost:.{DIGITS - 1}e}") for cost in curve.cost],
        "accuracy": [round(float(a), 4) for a in curve.validation["accuracy"]],
        "epochs to the bar": epochs,
        "seconds to the bar": float(f"{statistics.median(seconds):.2e}"),
    }


def machine() -> dict[str, str]:
    """Where and when the times are measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": processor(),
        "isa": native.best_isa(),
    }


def load(task: Task) -> Golden:
    return json.loads((GOLDEN / f"{task.key}.json").read_text(encoding="utf-8"))


def save(task: Task, golden: Golden) -> None:
    """With a line for each list, so that a change shows what has changed."""
    parts = [f'"measured": {json.dumps(golden["measured"])}']
    for name, kept in sorted(golden["rules"].items()):
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in kept.items())
        parts.append(f"{json.dumps(name)}: {{\n{lines}\n}}")
    head, *rules = parts
    text = "{\n" + head + ',\n"rules": {\n' + ",\n".join(rules) + "\n}}\n"
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{task.key}.json").write_text(text, encoding="utf-8")


# Pages ------------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def report(task: Task, golden: Golden) -> str:
    """The table of a data set: its rules, those first that reach the bar in the fewest epochs."""
    rows = []
    for name, kept in golden["rules"].items():
        epochs = sorted(math.inf if n is None else n for n in kept["epochs to the bar"])
        middle, seconds = epochs[SEEDS // 2], kept["seconds to the bar"]
        given_up = LONGEST * len(kept["cost"])
        shown = [f"{n:.0f}" if n < math.inf else f"> {given_up}" for n in (middle, epochs[0], epochs[-1])]
        rows.append(
            (
                (middle, sum(epochs), name),
                [
                    f"`{name}`",
                    percent(max(kept["accuracy"])),
                    percent(kept["accuracy"][-1]),
                    f"{shown[0]} ({shown[1]} … {shown[2]})",
                    number(1000 * seconds, 2) if middle < math.inf else "–",
                ],
            )
        )
    head = [
        "rule",
        "best epoch",
        "last epoch",
        f"epochs to {whole_percent(task.bar)}",
        f"ms to {whole_percent(task.bar)}",
    ]
    return table(head, [row for _, row in sorted(rows)])


def tasks() -> str:
    """The table of the data sets."""
    rows = []
    for task in TASKS.values():
        lower = "".join(f", {rule} {whole_percent(bar)}" for rule, bar in task.lower.items())
        widths = "-".join(map(str, task.widths))
        rows.append(
            [task.title, task.about, widths, f"{task.batch}", f"{task.epochs}", whole_percent(task.bar) + lower]
        )
    return table(["", "data", "network", "batch", "epochs", "bar"], rows)


def conditions(golden: Mapping[str, Golden]) -> str:
    """Where and when the times were measured."""
    measured = {f"{m['date']}, {m['cpu']}, {m['isa']}" for m in (g["measured"] for g in golden.values())}
    return f"Times: {'; '.join(sorted(measured))}; of one thread, and of the processor at work."


def pages(golden: Mapping[str, Golden]) -> str:
    """All tables, each under a comment that a page can include it by."""
    sections = {"tasks": tasks()} | {key: report(task, golden[key]) for key, task in TASKS.items()}
    sections["conditions"] = conditions(golden)
    return "\n".join(f"<!-- {key} -->\n\n{text}\n\n<!-- end of {key} -->\n" for key, text in sections.items())


def draw(task: Task, golden: Golden) -> str:
    """The cost of each epoch, one line a rule; as far as minibatches go."""
    series = []
    for i, (name, kept) in enumerate(golden["rules"].items()):
        cost = np.array(kept["cost"][: task.epochs])
        series.append(Series(name, np.arange(1.0, len(cost) + 1), cost, i, dashed=i >= COLOURS))
    return Plot(series, "epoch", f"{task.title}: cost of each epoch", logarithmic=True).svg()


def write_pages() -> None:
    golden = {key: load(task) for key, task in TASKS.items()}
    PAGES.mkdir(exist_ok=True)
    (PAGES / "tables.md").write_text(pages(golden), encoding="utf-8")
    for key, task in TASKS.items():
        (PAGES / f"{key}.svg").write_text(draw(task, golden[key]), encoding="utf-8")


def main(arguments: list[str]) -> None:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        prog="bench.curves", description=lines[0], epilog="\n".join(lines[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--only", action="append", choices=[rule.__name__ for rule in RULES], help="a rule")
    parser.add_argument("--pages", action="store_true", help="fit nothing")
    asked = parser.parse_args(arguments)
    native.set_usable_processors(1)
    for task in () if asked.pages else TASKS.values():
        golden = load(task) if asked.only else {"measured": machine(), "rules": {}}
        for rule in RULES:
            if not asked.only or rule.__name__ in asked.only:
                say(f"{task.title}: {rule.__name__}")
                golden["rules"][rule.__name__] = record(task, rule)
        save(task, golden)
    write_pages()


if __name__ == "__main__":
    main(sys.argv[1:])
