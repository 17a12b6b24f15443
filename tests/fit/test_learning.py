"""What every update rule learns with nothing set: its recorded learning curves, and the accuracy it must have."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from update_rules import DECLARED

import layerwise as lw

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import curves

TASKS, RULES = curves.TASKS.values(), curves.RULES

WANDERS = {"RMSprop": 6}
"""Rules in whose curves rounding grows, and epochs before it shows: a rate of 0.01 for steps of full length goes on
kicking the weights about. Between instruction sets the cost of an epoch then differs by up to 3 %, once the accuracy by
0.012; that of all other rules stays within 2e-11."""
RECORDED = 0.5 * 10.0 ** (1 - curves.DIGITS)
"""What is lost, relative to the cost, where it is written down."""


@pytest.fixture(scope="module")
def golden():
    return {task.key: curves.load(task)["rules"] for task in TASKS}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.key)
def test_a_rule_learns_by_its_defaults_as_recorded(task, rule, golden):
    name, kept = rule.__name__, golden[task.key][rule.__name__]
    history = curves.learn(task, rule)
    cost, accuracy = history.cost, history.validation["accuracy"]
    assert accuracy.max() >= task.bar_of(name)
    assert len(cost) == len(kept["cost"]) == len(kept["accuracy"])
    same = WANDERS.get(name, len(cost))
    np.testing.assert_allclose(cost[:same], kept["cost"][:same], rtol=1.1 * RECORDED)
    # Four digits are recorded: the same number of rows is right.
    np.testing.assert_allclose(accuracy[:same], kept["accuracy"][:same], rtol=0, atol=1e-4)
    if same < len(cost):
        # Three times what was seen, of the middle epoch: a single one may be kicked much further.
        assert np.median(cost[same:] / kept["cost"][same:]) == pytest.approx(1, rel=0.1)
    assert accuracy.max() == pytest.approx(max(kept["accuracy"]), abs=0.02)


@pytest.mark.parametrize(
    "rule",
    [lw.AdamW(lw.Warmup(epochs=2) * lw.CosineDecay(0.001)), lw.RMSprop(lw.CosineDecay(0.001))],
    ids=lambda rule: type(rule).__name__,
)
def test_with_a_schedule_the_last_epoch_is_about_the_best(rule, golden):
    task = curves.TASKS["clothing"]
    accuracy = curves.learn(task, lambda: rule).validation["accuracy"]
    assert accuracy[-1] > accuracy.max() - 0.005
    constant = golden["clothing"][type(rule).__name__]["accuracy"]
    assert accuracy[-1] > constant[-1] + 0.01
    guide = " ".join((curves.ROOT / "docs" / "guide" / "optimisers.md").read_text(encoding="utf-8").split())
    if isinstance(rule, lw.AdamW):
        end, best, scheduled = (curves.percent(a) for a in (constant[-1], max(constant), accuracy[-1]))
        assert f"end at {end}, after a best of {best}; with this schedule they end at {scheduled}" in guide
    else:
        assert f"ends at about {curves.whole_percent(accuracy[-1])}" in guide


def test_every_rule_is_recorded():
    names = [rule.__name__ for rule in RULES]
    assert set(DECLARED) <= set(RULES)
    for task in TASKS:
        assert list(curves.load(task)["rules"]) == sorted(names), "run: python -m bench.curves"
        assert set(task.lower) <= set(names)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.key)
def test_the_first_seed_reaches_the_bar_in_the_epoch_of_its_curve(task, golden):
    for kept in golden[task.key].values():
        reached = np.flatnonzero(np.array(kept["accuracy"]) >= task.bar)
        first = kept["epochs to the bar"][0]
        assert first == reached[0] + 1 if len(reached) else first is None or first > len(kept["cost"])


def test_the_pages_show_what_is_recorded():
    recorded = {task.key: curves.load(task) for task in TASKS}
    shown = (curves.PAGES / "tables.md").read_text(encoding="utf-8")
    assert shown == curves.pages(recorded), "run: python -m bench.curves --pages"
    for task in TASKS:
        assert f"| {curves.whole_percent(task.bar)}" in shown
        picture = (curves.PAGES / f"{task.key}.svg").read_text(encoding="utf-8")
        assert all(f"<title>{rule.__name__}</title>" in picture for rule in RULES)
