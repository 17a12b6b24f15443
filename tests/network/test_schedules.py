"""Schedules: values from algebra, how they combine, their descriptions, and what update rules make of them."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from update_rules import DECLARED

import layerwise as lw
from layerwise.network.plateau import PlateauState, ScheduleRun
from layerwise.network.scheduled import RuleRun
from layerwise.network.schedules import KINDS, Product, Sum, Then

SIMPLE = [
    lw.Constant(0.3),
    lw.StepDecay(0.3),
    lw.StepDecay(0.3, 0.5, 2.5),
    lw.ExponentialDecay(0.3),
    lw.ExponentialDecay(0.3, 0.5, staircase=False),
    lw.CosineDecay(0.3),
    lw.CosineDecay(0.3, 0.1, epochs=4),
    lw.Warmup(2),
    lw.Warmup(share=0.5, start=0.25),
    lw.OneCycle(0.3),
    lw.OneCycle(0.3, 0.5, 10, 100, "linear"),
    lw.InverseScaling(0.3),
    lw.CosLog4(0.3),
    lw.FlatCosine(0.3),
    lw.ReduceOnPlateau(0.3),
    lw.ReduceOnPlateau(0.3, 0.5, 2, 0.01, 1, 0.001),
]
JOINED = [
    lw.Warmup(2) * lw.CosineDecay(0.3),
    2 * lw.Warmup(2) * lw.ReduceOnPlateau(0.3),
    lw.CosineDecay(0.3) + 0.01,
    lw.CosineDecay(0.3).then(lw.Constant(0.1), epochs=3),
    (lw.Warmup(1) * lw.CosLog4(0.3) + lw.Constant(0.1)).then(lw.StepDecay(0.1).then(0.01, share=0.5), share=0.25),
    0.5 * (lw.FlatCosine(0.3) + lw.Constant(0.1)),
]


def values(schedule, steps, steps_per_epoch=1):
    return schedule.at(lw.Moments(range(steps), steps, steps_per_epoch))


def at_share(schedule, *shares):
    """The values at parts of a fit of 15 · 64 steps, all of which are whole numbers of steps here."""
    steps_done = np.array([t * 960 for t in shares])
    return schedule.at(lw.Moments(steps_done, 960, 1))


# Moments --------------------------------------------------------------------------------------------------


def test_moments_of_a_fit():
    moments = lw.Moments([0, 1, 5, 6], steps=6, steps_per_epoch=3)
    np.testing.assert_array_equal(moments.share, [0, 1 / 6, 5 / 6, 1])
    np.testing.assert_array_equal(moments.epochs, [0, 1 / 3, 5 / 3, 2])
    np.testing.assert_array_equal(lw.Moments([7, 100], 6, 3).share, 1.0)
    assert lw.Moments(0, 0, 1).share == 0.0


# Values ---------------------------------------------------------------------------------------------------


def test_a_constant():
    np.testing.assert_array_equal(values(lw.Constant(0.3), 4), [0.3] * 4)


def test_steps_down():
    np.testing.assert_allclose(values(lw.StepDecay(8.0, 0.5, 2), 6), [8, 8, 4, 4, 2, 2], rtol=1e-15)
    np.testing.assert_allclose(values(lw.StepDecay(8.0, 0.5, 0.5), 6, 4), [8, 8, 4, 4, 2, 2], rtol=1e-15)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 200))
def test_a_change_comes_with_its_step(steps_per_epoch, every, changes):
    """Whatever epochs / every is rounded to: every 3/10 epochs of 10 steps are 3 steps."""
    schedule = lw.StepDecay(1.0, 0.5, every / steps_per_epoch)
    steps_done = np.array([changes * every - 1, changes * every])
    result = schedule.at(lw.Moments(steps_done, 10**6, steps_per_epoch))
    np.testing.assert_array_equal(result, [0.5 ** (changes - 1), 0.5**changes])


def test_exponentials():
    np.testing.assert_allclose(values(lw.ExponentialDecay(8.0, 0.5), 6, 2), [8, 8, 4, 4, 2, 2], rtol=1e-15)
    smooth = values(lw.ExponentialDecay(8.0, 0.25, staircase=False), 5, 2)
    np.testing.assert_allclose(smooth, [8, 4, 2, 1, 0.5], rtol=1e-15)


def test_a_cosine():
    # cos π/3 = 1/2: three quarters of the way down at 2/3.
    np.testing.assert_allclose(values(lw.CosineDecay(1.0, 0.2), 3), [1.0, 0.8, 0.4], rtol=1e-15)
    assert at_share(lw.CosineDecay(1.0, 0.2), 1.0) == 0.2
    ended = values(lw.CosineDecay(1.0, 0.2, epochs=1.5), 6, 2)
    np.testing.assert_allclose(ended, [1.0, 0.8, 0.4, 0.2, 0.2, 0.2], rtol=1e-15)


def test_a_warm_up():
    np.testing.assert_allclose(values(lw.Warmup(2), 6, 2), [0, 0.25, 0.5, 0.75, 1, 1], rtol=1e-15)
    np.testing.assert_allclose(values(lw.Warmup(share=0.5, start=0.1), 4), [0.1, 0.55, 1, 1], rtol=1e-15)
    for nothing in (lw.Warmup(0), lw.Warmup(share=0.0), lw.Warmup(3, start=1.0)):
        np.testing.assert_array_equal(values(nothing, 4), 1.0)


def test_one_cycle_by_hand():
    # Of 10 steps, half before the peak: up in 4 steps, down in 5.
    up_down = [0.5, 0.875, 1.25, 1.625, 2.0, 1.61, 1.22, 0.83, 0.44, 0.05]
    np.testing.assert_allclose(values(lw.OneCycle(2.0, 0.5, 4.0, 10.0, "linear"), 10), up_down, rtol=1e-14)
    by_cosine = values(lw.OneCycle(2.0, 0.5, 4.0, 10.0), 10)
    np.testing.assert_allclose(by_cosine[[0, 2, 4, 9]], [0.5, 1.25, 2.0, 0.05], rtol=1e-14)


@pytest.mark.parametrize("rise", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_one_cycle_of_few_steps(rise, steps):
    """The peak may be before the first step, at it, or at the last: PyTorch divides by 0 in some of these."""
    result = values(lw.OneCycle(2.0, rise, 4.0, 10.0), steps)
    assert ((result >= 0.0499) & (result <= 2.0)).all()
    if rise * steps == 1:
        assert result[0] == 2.0
    assert result[-1] == pytest.approx(2.0 if rise == 1 else 0.05)


def test_inverse_scaling():
    np.testing.assert_allclose(values(lw.InverseScaling(6.0), 9)[[0, 3, 8]], [6, 3, 2], rtol=1e-15)
    np.testing.assert_allclose(values(lw.InverseScaling(6.0, 1.0), 3), [6, 3, 2], rtol=1e-15)


def test_four_cycles():
    # log₂(1 + 15 t) is a whole number at the zeros, and half of an odd one at the peaks.
    np.testing.assert_allclose(at_share(lw.CosLog4(0.3), 0, 1 / 15, 3 / 15, 7 / 15, 1), 0.0, atol=1e-15)
    peaks = (2.0 ** np.array([0.5, 1.5, 2.5, 3.5]) - 1) / 15
    np.testing.assert_allclose(at_share(lw.CosLog4(0.3), *peaks), 0.3, rtol=1e-15)
    halves = (2.0 ** np.array([0.25, 1.75, 3.25]) - 1) / 15
    np.testing.assert_allclose(at_share(lw.CosLog4(0.3), *halves), 0.15, rtol=1e-14)


def test_flat_and_then_a_cosine():
    shares = [0, 0.25, 0.5, 0.5 + 1 / 6, 0.75, 0.5 + 1 / 3, 1]
    expected = [1, 1, 1, 0.75, 0.5, 0.25, 0]
    np.testing.assert_allclose(at_share(lw.FlatCosine(0.3), *shares), np.multiply(0.3, expected), atol=1e-15)


@pytest.mark.parametrize("schedule", [*SIMPLE, *JOINED], ids=repr)
def test_every_schedule_at_every_step(schedule):
    """A step alone has the value that it has among all; nothing is below 0, also beyond the plan and in tiny fits."""
    for steps, per_epoch in [(1, 1), (2, 2), (7, 7), (60, 6)]:
        together = values(schedule, steps, per_epoch)
        assert together.shape == (steps,)
        for done in range(steps):
            alone = schedule.at(lw.Moments(done, steps, per_epoch))
            assert alone.shape == ()
            assert alone == pytest.approx(together[done], rel=1e-14)  # NumPy's powers and cosines of one and of many
        beyond = schedule.at(lw.Moments(np.arange(3 * steps), steps, per_epoch))
        np.testing.assert_allclose(beyond[:steps], together, rtol=1e-14)
        assert np.isfinite(beyond).all()
        assert (beyond >= 0).all()


# Composition ----------------------------------------------------------------------------------------------


def test_arithmetic():
    a, b = lw.CosineDecay(0.3), lw.Warmup(2)
    A, B = values(a, 8), values(b, 8)
    np.testing.assert_allclose(values(a * b, 8), A * B, rtol=1e-15)
    np.testing.assert_allclose(values(a + b, 8), A + B, rtol=1e-15)
    np.testing.assert_allclose(values(2 * a + 1, 8), 2 * A + 1, rtol=1e-15)
    np.testing.assert_allclose(values(1 + a * np.float64(2), 8), 1 + A * 2, rtol=1e-15)
    np.testing.assert_allclose(values(np.float32(2) * (a + b) / 4, 8), (A + B) / 2, rtol=1e-15)
    assert a * b * 2 == Product((a, b, lw.Constant(2.0)))
    assert a + (b + 2) == Sum((a, b, lw.Constant(2.0)))


@pytest.mark.parametrize("operand", ["2", None, [2.0], np.ones(2), 1j])
def test_arithmetic_with_other_things(operand):
    for wrong in (lambda s: s * operand, lambda s: operand * s, lambda s: s + operand, lambda s: operand + s):
        with pytest.raises((TypeError, lw.DataError)):
            wrong(lw.Constant(1.0))


@pytest.mark.parametrize("number", [-1.0, math.nan, math.inf, True])
def test_arithmetic_with_other_numbers(number):
    for wrong in (lambda s: s * number, lambda s: number + s, lambda s: s / number):
        with pytest.raises(lw.DataError, match="must be a finite number"):
            wrong(lw.Constant(1.0))


def test_each_of_two_takes_its_stretch_for_the_fit():
    a, b = lw.CosineDecay(1.0, 0.5), lw.OneCycle(3.0)
    for one_after_another in (a.then(b, epochs=2), a.then(b, share=0.4)):
        expected = [*values(a, 12, 6), *values(b, 18, 6)]
        np.testing.assert_allclose(values(one_after_another, 30, 6), expected, rtol=1e-15)


def test_three_after_each_other():
    three = lw.Constant(3).then(2, epochs=1).then(1, epochs=2)
    np.testing.assert_array_equal(values(three, 6, 2), [3, 3, 2, 2, 1, 1])
    three = lw.Constant(3).then(lw.Constant(2).then(1, epochs=1), epochs=1)
    np.testing.assert_array_equal(values(three, 6, 2), [3, 3, 2, 2, 1, 1])


@given(st.integers(1, 30), st.integers(1, 60))
def test_the_second_begins_with_the_first_step_after_the_change(steps_per_epoch, change):
    schedule = lw.Constant(1.0).then(lw.InverseScaling(8.0, 1.0), epochs=change / steps_per_epoch)
    result = values(schedule, change + 2, steps_per_epoch)
    np.testing.assert_array_equal(result, [*[1.0] * change, 8.0, 4.0])


def test_a_change_in_the_middle_of_a_step_comes_after_it():
    np.testing.assert_array_equal(values(lw.Constant(1).then(2, epochs=0.5), 6, 3), [1, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(values(lw.Constant(1).then(2, share=0.3), 6, 3), [1, 1, 2, 2, 2, 2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: lw.Warmup(), "Warmup takes either epochs or share; got epochs=None and share=None"),
        (lambda: lw.Warmup(2, 0.1), r"Warmup takes either epochs or share; got epochs=2 and share=0\.1"),
        (lambda: lw.Warmup(share=1.5), r"share of Warmup must be at most 1; got 1\.5"),
        (lambda: lw.Warmup(2, start=2), "start of Warmup must be at most 1; got 2"),
        (lambda: lw.Constant(1).then(2), "Then takes either epochs or share"),
        (lambda: lw.Constant(1).then(2, epochs=0), "epochs of Then must be a finite number > 0; got 0"),
        (lambda: lw.Constant(1).then(2, share=1), r"share of Then must be below 1\.0; got 1"),
        (lambda: lw.Constant(1).then("2", epochs=1), "value of Constant must be a finite number >= 0; got '2'"),
        (lambda: lw.Constant(-1), "value of Constant must be a finite number >= 0; got -1"),
        (lambda: lw.StepDecay(1, 0), "factor of StepDecay must be a finite number > 0; got 0"),
        (lambda: lw.StepDecay(1, every=0), "every of StepDecay must be a finite number > 0; got 0"),
        (lambda: lw.ExponentialDecay(1, 0.5, 1), "staircase of ExponentialDecay must be True or False; got 1"),
        (lambda: lw.CosineDecay(1, epochs=0), "epochs of CosineDecay must be a finite number > 0; got 0"),
        (lambda: lw.CosineDecay([1]), r"value of CosineDecay must be a finite number >= 0; got \[1\]"),
        (lambda: lw.CosineDecay(lw.Constant(1)), "value of CosineDecay must be a finite number"),
        (lambda: lw.OneCycle(1, rise=1.1), r"rise of OneCycle must be at most 1; got 1\.1"),
        (lambda: lw.OneCycle(1, anneal="cosine"), "Unknown anneal of OneCycle 'cosine'. Did you mean 'cos'"),
        (lambda: lw.OneCycle(1, divide=0), "divide of OneCycle must be a finite number > 0"),
        (lambda: lw.ReduceOnPlateau(1, 1.0), r"factor of ReduceOnPlateau must be below 1\.0"),
        (
            lambda: lw.ReduceOnPlateau(1, patience=1.5),
            r"patience of ReduceOnPlateau must be a whole number .* got 1\.5",
        ),
        (lambda: lw.ReduceOnPlateau(1, cooldown=-1), "cooldown of ReduceOnPlateau must be a finite number >= 0"),
        (lambda: lw.ReduceOnPlateau(1, minimum=2), r"minimum of ReduceOnPlateau must not be above value; got 2\.0"),
        (lambda: lw.ReduceOnPlateau(1, threshold=1), r"threshold of ReduceOnPlateau must be below 1\.0"),
    ],
)
def test_wrong_parameters(wrong, message):
    with pytest.raises(lw.LayerwiseError, match=message):
        wrong()


@pytest.mark.parametrize("schedule", SIMPLE, ids=repr)
def test_every_parameter_is_checked_by_name(schedule):
    for name in vars(schedule):
        for wrong in (-1.0, math.nan, math.inf, "0.1", [0.1], 10**400):
            with pytest.raises(lw.LayerwiseError, match=f"{name} of {type(schedule).__name__}|Warmup takes either"):
                type(schedule)(**(vars(schedule) | {name: wrong}))


# Descriptions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [*SIMPLE, *JOINED], ids=repr)
def test_a_description_makes_an_equal_schedule(schedule):
    described = json.loads(json.dumps(schedule.to_dict(), allow_nan=False))
    assert lw.Schedule.from_dict(described) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule
    assert hash(lw.Schedule.from_dict(described)) == hash(schedule)
    assert eval(repr(schedule), {name: getattr(lw, name) for name in lw.__all__}) == schedule


def test_every_kind_is_described():
    assert {type(s).__name__ for s in (*SIMPLE, *JOINED)} == set(KINDS)
    assert {Product, Sum, Then} < set(KINDS.values())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "Unknown kind of schedule None"),
        ({"kind": "CosinDecay"}, "Unknown kind of schedule 'CosinDecay'. Did you mean 'CosineDecay'"),
        ({"kind": "os.system", "value": 1}, "Unknown kind of schedule 'os.system'"),
        ({"kind": ["Constant"]}, "Unknown kind of schedule"),
        ({"kind": "Constant"}, r"Constant is described by kind, value; got \['kind'\]"),
        ({"kind": "Constant", "value": 1, "x": 2}, "Constant is described by kind, value; got"),
        ({"kind": "Constant", "value": "1"}, "value of Constant must be a finite number"),
        ({"kind": "Constant", "value": {"kind": "Constant", "value": 1}}, "value of Constant must be a finite number"),
        ({"kind": "Product", "joined": []}, "A Product is made of schedules; got"),
        ({"kind": "Product", "joined": 3}, "A Product is made of schedules; got 3"),
        ({"kind": "Sum", "joined": [1.0]}, "A Sum is made of schedules"),
        ({"kind": "Then", "first": 1, "second": 2, "epochs": 1, "share": None}, "A schedule is followed by a schedule"),
        ([], "A schedule is described by a mapping"),
        (None, "A schedule is described by a mapping"),
    ],
)
def test_what_describes_no_schedule(data, message):
    with pytest.raises(lw.LayerwiseError, match=message):
        lw.Schedule.from_dict(data)


def test_a_description_without_end():
    data = {"kind": "Constant", "value": 1.0}
    for _ in range(5000):
        data = {"kind": "Product", "joined": [data]}
    with pytest.raises(lw.DataError, match="50 deep"):
        lw.Schedule.from_dict(data)


def test_a_schedule_is_no_number():
    with pytest.raises(TypeError, match="its value depends on the step"):
        float(lw.CosineDecay(0.1))
    with pytest.raises(TypeError, match="its value depends on the step"):
        np.asarray(lw.CosineDecay(0.1), np.float64)


# Plateaus -------------------------------------------------------------------------------------------------


def path(schedule, costs, steps_per_epoch=1):
    """The value in each epoch, and after the last."""
    run = ScheduleRun(schedule, len(costs) * steps_per_epoch, steps_per_epoch)
    seen = [float(run.at(0))]
    for epoch, cost in enumerate(costs, start=1):
        run.after_epoch(cost)
        seen.append(float(run.at(epoch * steps_per_epoch)))
    return seen


def test_a_plateau_by_hand():
    plateau = lw.ReduceOnPlateau(8.0, 0.5, patience=1, threshold=0.1, cooldown=2, minimum=1.5)
    #        best  better  0.46 is not 10 % better than 0.5, nor is the next: reduced; two epochs do not count
    costs = [1.0, 0.5, 0.46, 0.46, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    assert path(plateau, costs) == [8, 8, 8, 8, 4, 4, 4, 4, 2, 2, 2, 2, 1.5]


def test_a_cost_that_is_no_number_is_not_better():
    assert path(lw.ReduceOnPlateau(8.0, 0.5, patience=1), [math.nan] * 4) == [8, 8, 4, 4, 2]
    assert path(lw.ReduceOnPlateau(8.0, 0.5, patience=0), [math.inf, 1.0, 1.0]) == [8, 4, 4, 2]


def test_a_plateau_after_another_schedule_counts_from_there():
    plateau = lw.ReduceOnPlateau(8.0, 0.5, patience=0)
    assert path(lw.Constant(1.0).then(plateau, epochs=3), [5.0] * 6) == [1, 1, 1, 8, 8, 4, 2]
    assert path(lw.Constant(1.0).then(plateau, share=0.5), [5.0] * 6, 4) == [1, 1, 1, 8, 8, 4, 2]
    assert path(lw.Constant(2.0) * lw.Constant(0.5).then(plateau, epochs=3), [5.0] * 6) == [1, 1, 1, 16, 16, 8, 4]


def test_several_plateaus():
    first, second = lw.ReduceOnPlateau(1.0, 0.5, patience=0), lw.ReduceOnPlateau(1.0, 0.1, patience=1)
    assert path(first * second * 8, [5.0] * 3) == pytest.approx([8, 8, 4, 0.2])


def test_the_state_goes_on():
    schedule = lw.Warmup(2) * lw.ReduceOnPlateau(8.0, 0.5, patience=1, cooldown=1) + lw.ReduceOnPlateau(1.0, 0.1, 0)
    costs = np.random.default_rng(0).uniform(size=30)
    run = ScheduleRun(schedule, 60, 2)
    for epoch, cost in enumerate(costs):
        other = ScheduleRun(schedule, 60, 2)
        other.restore(json.loads(json.dumps(run.state, allow_nan=False)))
        for r in (run, other):
            r.after_epoch(cost)
        assert other.state == run.state
        np.testing.assert_array_equal(run.at([2 * epoch, 2 * epoch + 1]), other.at([2 * epoch, 2 * epoch + 1]))
    assert run.measures
    assert not ScheduleRun(lw.Warmup(2), 60, 2).measures


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"epochs": 1},
        {"epochs": 1, "plateaus": []},
        {"epochs": -1, "plateaus": [{"value": 1.0}]},
        {"epochs": 1.5, "plateaus": [{"value": 1.0}]},
        {"epochs": 1, "plateaus": [{"value": "1"}]},
        {"epochs": 1, "plateaus": [{"value": math.nan}]},
        {"epochs": 1, "plateaus": [{"value": -1.0}]},
        {"epochs": 1, "plateaus": [{"value": 1.0, "bad_epochs": -1}]},
        {"epochs": 1, "plateaus": [{"value": 1.0, "unknown": 1}]},
        {"epochs": 1, "plateaus": [3]},
        {"epochs": 1, "plateaus": [{"value": 1.0}] * 2},
    ],
)
def test_what_is_no_state(state):
    run = ScheduleRun(lw.ReduceOnPlateau(1.0), 10, 1)
    before = run.state
    with pytest.raises(lw.DataError, match="state of a schedule"):
        run.restore(state)
    assert run.state == before


def test_a_plateau_has_its_state_in_plain_numbers():
    plateau = lw.ReduceOnPlateau(1.0, patience=0)
    state = plateau.after_epoch(plateau.after_epoch(plateau.start(), 2.0), 3.0)
    assert state == PlateauState(0.1, 2.0, 0, 0)


# Update rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", DECLARED)
def test_hyperparameters_that_may_be_schedules(rule):
    schedule = lw.CosineDecay(0.1)
    for name, default in rule().hyperparameters.items():
        if name in rule.scheduled:
            made = rule(**{name: schedule})
            assert made.schedules == {name: schedule}
            assert made == rule(**{name: lw.CosineDecay(0.1)}) != rule()
            assert f"{name}=CosineDecay(value=0.1" in repr(made)
        else:
            with pytest.raises(lw.DataError, match=f"^{name} of {rule.__name__} must be "):
                rule(**{name: schedule})
        assert not isinstance(default, lw.Schedule)
    assert rule().schedules == {}


def test_where_a_schedule_may_stand():
    assert lw.Adam.scheduled == ("learning_rate",)
    assert lw.Nesterov.scheduled == lw.Momentum.scheduled == ("learning_rate", "momentum")
    assert lw.AdamW.scheduled == lw.Lion.scheduled == ("learning_rate", "weight_decay")
    assert lw.Rprop.scheduled == ()
    with pytest.raises(lw.DataError, match=r"beta1 of Adam .* A schedule may be given as learning_rate"):
        lw.Adam(beta1=lw.CosineDecay(0.9))


@pytest.mark.parametrize("rule", DECLARED)
def test_what_a_rule_with_schedules_feeds_is_what_it_feeds_with_their_numbers(rule):
    """At every step the scalars of a rule that has these numbers, alone and among the steps of an epoch."""
    schedules = {name: lw.Warmup(1, start=0.5) * lw.CosineDecay(0.02) for name in rule.scheduled}
    run = RuleRun(rule(**schedules), steps_per_epoch=4, epochs=3)
    numbers = np.arange(1, 13)
    together = run.scalars(numbers)
    assert list(together) == list(run.first.scalars(1))
    for t in numbers:
        value = values(lw.Warmup(1, start=0.5) * lw.CosineDecay(0.02), 12, 4)[t - 1]
        expected = rule(**dict.fromkeys(rule.scheduled, float(value))).scalars(int(t))
        assert run.scalars(int(t)) == pytest.approx(expected, rel=1e-14)
        at_t = {name: np.broadcast_to(array, 12)[t - 1] for name, array in together.items()}
        assert at_t == pytest.approx(expected, rel=1e-14)
        for name in rule.scheduled:
            assert run.value(name, int(t)) == pytest.approx(value, rel=1e-14)
    assert type(run.first) is rule
    assert run.first.schedules == {}


def test_without_schedules_a_run_feeds_what_the_rule_feeds():
    run = RuleRun(lw.Adam(0.5), 3, 2)
    assert run.scalars(5) == lw.Adam(0.5).scalars(5)
    assert run.first == lw.Adam(0.5)
    assert run.value("learning_rate", 5) == 0.5
    assert (run.measures, run.state) == (False, {})


@dataclass(frozen=True)
class Given(lw.Schedule):
    """A schedule of one's own: a table of numbers."""

    numbers: tuple[float, ...]
    calls: ClassVar[int] = 0

    def __post_init__(self) -> None:
        pass

    def at(self, moments):
        return np.array(self.numbers)[moments.steps_done.astype(int) % len(self.numbers)]


def test_a_schedule_of_ones_own():
    run = RuleRun(lw.SGD(2 * Given((0.5, 0.25))), 2, 2)
    np.testing.assert_array_equal(run.scalars(np.arange(1, 5))["learning_rate"], [1, 0.5, 1, 0.5])
    with pytest.raises(lw.UnknownName, match="kind of schedule 'Given'"):
        lw.Schedule.from_dict(Given((0.5,)).to_dict())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            lw.SGD(Given((0.1, -0.5))),
            r"learning_rate of SGD must be finite numbers >= 0 at all steps; got -0\.5 at step 2",
        ),
        (lw.SGD(Given((0.1, 0.1, math.nan))), "got nan at step 3, in epoch 2, from Given"),
        (lw.SGD(lw.ExponentialDecay(1.0, 1e200)), "got inf at step 5, in epoch 3, from ExponentialDecay"),
        (
            lw.Momentum(0.1, lw.Constant(1.0)),
            "momentum of Momentum must be finite numbers >= 0 and below 1 at all steps",
        ),
        (lw.AdamW(weight_decay=Given((-1.0,))), "weight_decay of AdamW must be finite numbers >= 0"),
    ],
)
def test_values_are_checked_before_the_fit(rule, message):
    with pytest.raises(lw.DataError, match=message):
        RuleRun(rule, steps_per_epoch=2, epochs=4)


def test_a_rate_may_be_0_at_some_steps():
    assert RuleRun(lw.SGD(lw.CosLog4(0.1)), 15, 1).scalars(1) == {"learning_rate": 0.0}


def test_a_long_plan_is_looked_at_from_beginning_to_end():
    with pytest.raises(lw.DataError, match="got -1 at step 10000000000, in epoch 100000000"):
        RuleRun(lw.SGD(lw.Constant(1.0) * _FallsAtTheEnd()), 100, 10**8)


class _FallsAtTheEnd(lw.Schedule):
    def at(self, moments):
        return np.where(moments.steps_done >= moments.steps - 1, -1.0, 1.0)


def test_one_number_for_all_steps_is_refused():
    class Scalar(lw.Schedule):
        def at(self, moments):
            return 0.5

    with pytest.raises(lw.DataError, match=r"one number a step, in the shape \(8,\); got the shape \(\)"):
        RuleRun(lw.SGD(Scalar()), 2, 4)


def test_the_state_of_a_rule():
    rule = lw.AdamW(lw.ReduceOnPlateau(0.1, patience=0), weight_decay=lw.FlatCosine(0.1))
    run, other = RuleRun(rule, 2, 5), RuleRun(rule, 2, 5)
    assert run.measures
    run.after_epoch(1.0)
    run.after_epoch(1.0)
    assert run.value("learning_rate", 5) == pytest.approx(0.01)
    other.restore(json.loads(json.dumps(run.state)))
    assert other.scalars(5) == run.scalars(5)
    with pytest.raises(
        lw.DataError, match=r"schedules for \['learning_rate', 'weight_decay'\] was expected; got one for"
    ):
        other.restore({})


def test_the_guide_has_every_schedule_with_its_defaults():
    page = (Path(__file__).parents[2] / "docs" / "guide" / "training.md").read_text(encoding="utf-8")
    public = [kind for name, kind in KINDS.items() if hasattr(lw, name)]
    assert len(public) == 10
    for kind in public:
        shown = ", ".join(f.name if f.default is MISSING else f"{f.name}={f.default!r}" for f in fields(kind))
        assert kind is lw.Warmup or f"`{kind.__name__}({shown})`" in page
