"""Drawings: what lines show, where ticks stand, what is refused; and that they are well-formed SVG."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import layerwise as lw
from layerwise.explain import plot

SVG = "{http://www.w3.org/2000/svg}"
FALLING = np.array([1.0, 0.5, 0.25, 0.125])


def lines(drawing):
    """The points of every path of every line."""
    root = ET.fromstring(drawing.svg)
    return [
        [
            np.array([point.split() for point in re.split("[ML]", path.get("d"))[1:]], float)
            for path in group.iter(f"{SVG}path")
        ]
        for group in root.iter(f"{SVG}g")
    ]


def texts(drawing):
    return [element.text for element in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def numbers(drawing):
    """The labels of both axes, y before x."""
    found = [t.replace(",", "").replace("\N{MINUS SIGN}", "-") for t in texts(drawing)]
    return [float(t) for t in found if re.fullmatch(r"-?[\d.]+(e-?\d+)?", t)]


def test_a_straight_line_needs_two_points():
    ((path,),) = lines(lw.draw(lw.Warmup(share=1.0), epochs=10))
    assert len(path) == 2
    (x0, y0), (x1, y1) = path
    assert x0 < x1
    assert y0 > y1  # y of SVG goes down


def test_a_step_is_drawn_as_a_step():
    ((path,),) = lines(lw.draw(lw.StepDecay(1.0, 0.5, 5), epochs=10))
    assert len(path) == 4
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = path
    assert (y0, y2) == (y1, y3)
    assert abs(x1 - x2) < 1.0
    assert x3 - x0 == pytest.approx(2 * (x2 - x0), rel=0.01)


def test_a_line_goes_through_its_numbers():
    """From the places of two ticks follow those of all values."""
    drawing = lw.draw(SimpleNamespace(cost=FALLING))
    root = ET.fromstring(drawing.svg)
    y = {e.text: float(e.get("y")) - 4 for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "end"}
    x = {e.text: float(e.get("x")) for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "middle"}
    ((path,),) = lines(drawing)
    shown = (path[:, 1] - y["0.0"]) / (y["1.0"] - y["0.0"])
    np.testing.assert_allclose(shown, FALLING, atol=1e-3)
    np.testing.assert_allclose(path[:, 0], [x["1"] + (x["2"] - x["1"]) * k for k in range(4)], atol=0.5)


def test_on_a_logarithmic_axis_halves_are_equal_steps():
    ((path,),) = lines(lw.draw(SimpleNamespace(cost=FALLING), logarithmic=True))
    assert len(path) == 2
    assert set(numbers(lw.draw(SimpleNamespace(cost=FALLING), logarithmic=True))) >= {0.2, 0.5, 1.0}


def test_a_cost_that_falls_far_is_drawn_on_a_logarithmic_axis():
    far = np.geomspace(1.0, 1e-5, 50)
    assert len(lines(lw.draw(SimpleNamespace(cost=far)))[0][0]) == 2
    assert len(lines(lw.draw(SimpleNamespace(cost=far), logarithmic=False))[0][0]) > 2
    assert {1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5} <= set(numbers(lw.draw(SimpleNamespace(cost=far))))
    assert len(lines(lw.draw(SimpleNamespace(cost=[*far, -1.0])))[0][0]) > 2  # has no logarithm


def test_a_line_is_broken_where_there_is_no_number():
    drawing = lw.draw(SimpleNamespace(cost=[1.0, 2.0, np.inf, 3.0, np.nan, 4.0, 5.0, 1e301]))
    (paths,) = lines(drawing)
    assert len(paths) == 2
    assert drawing.svg.count("<circle") == 1
    for nothing in ([np.nan], [np.inf, -np.inf]):
        assert lines(lw.draw(SimpleNamespace(cost=nothing))) == [[]]


@given(
    st.lists(st.floats() | st.floats(0.1, 1.0) | st.integers(-3, 3).map(float), min_size=1, max_size=8), st.booleans()
)
def test_any_numbers_make_a_picture(costs, logarithmic):
    drawing = lw.draw(SimpleNamespace(cost=np.array(costs)), logarithmic=logarithmic)
    root = ET.fromstring(drawing.svg)
    assert 2 <= len([e for e in root.iter(f"{SVG}text") if e.get("text-anchor") == "end"]) <= 12
    for paths in lines(drawing):
        for path in paths:
            assert (path >= 0).all()
            assert (path <= [plot.WIDTH, plot.HEIGHT]).all()
    labels = texts(drawing)
    assert len(labels) - len(set(labels)) <= 8  # those of y differ, those of x too


def test_ticks_are_round_and_few():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low, span = float(rng.normal()) * 10.0 ** rng.integers(-5, 5), 10.0 ** float(rng.uniform(-5, 5))
        if span < 1e-6 * abs(low):
            continue
        ticks, first, last = plot._vertical([np.array([low, low + span])], False)
        assert first <= low + 1e-8 * span
        assert low + span <= last + 1e-8 * span
        assert 3 <= len(ticks) <= 9
        step = ticks[1] - ticks[0]
        digits = step / 10.0 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(digits - m) for m in (1, 2, 5)) < 1e-3
        labels = plot._numbers(ticks)
        assert len(set(labels)) == len(labels)


def test_labels_have_the_digits_that_they_need():
    assert plot._numbers([0.0, 0.005, 0.01]) == ["0.000", "0.005", "0.010"]
    assert plot._numbers([-1.0, 0.0, 1.0]) == ["\N{MINUS SIGN}1", "0", "1"]
    assert plot._numbers([0.0, 20000.0, 40000.0]) == ["0", "20,000", "40,000"]
    assert plot._numbers([0.0, 2e-6, 4e-6]) == ["0", "2e\N{MINUS SIGN}6", "4e\N{MINUS SIGN}6"]
    assert plot._numbers([1e-5, 0.1, 1000.0], True) == ["1e\N{MINUS SIGN}5", "0.1", "1,000"]


def test_epochs_are_whole_numbers():
    assert [t for t in texts(lw.draw(SimpleNamespace(cost=[2.0, 1.0]))) if re.fullmatch(r"\d", t)] == ["1", "2"]


def test_the_axis_of_a_schedule_is_its_fit():
    assert numbers(lw.draw(lw.CosineDecay(1.0), epochs=50))[-6:] == [0, 10, 20, 30, 40, 50]
    assert numbers(lw.draw(lw.CosineDecay(1.0), epochs=2, steps=6))[-1] == 2
    assert numbers(lw.draw(lw.CosineDecay(1.0), steps=700))[-1] == 100
    assert numbers(lw.draw(lw.CosineDecay(1.0)))[-1] == 100


def test_names():
    assert "learning rate" in texts(lw.draw(lw.CosineDecay(1.0), label="learning rate"))
    assert "value" in texts(lw.draw(lw.CosineDecay(1.0)))
    assert "learning rate" in texts(lw.draw(lw.Adam(lw.CosineDecay(1.0))))
    both = lw.draw(lw.Momentum(lw.OneCycle(1.0), lw.OneCycle(0.85)))
    assert {"value", "learning rate", "momentum"} <= set(texts(both))
    assert len(lines(both)) == 2
    named = lw.draw({"a": lw.CosineDecay(1.0), "b_c": lw.CosLog4(1.0)}, label="rate")
    assert {"rate", "a", "b c"} <= set(texts(named))
    assert repr(named) == "<Drawing: rate over epoch: a, b c>"


def test_a_fit_and_its_history():
    fit = lw.train(lw.Network([1, 2, 1]), np.ones((4, 1)), np.ones(4), epochs=3)
    assert lw.draw(fit) == lw.draw(fit.history)
    assert "cost" in texts(lw.draw(fit))
    both = lw.draw({"one": fit, "two": fit.history})
    assert {"one", "two", "cost"} <= set(texts(both))
    assert len(lines(both)) == 2


def test_validation_beside_training():
    history = SimpleNamespace(cost=FALLING, validation={"cost": 2 * FALLING, "accuracy": FALLING})
    drawing = lw.draw(history)
    assert {"training", "validation"} <= set(texts(drawing))
    assert len(lines(drawing)) == 2
    two = lw.draw({"a": history, "b": SimpleNamespace(cost=FALLING, validation={})})
    assert {"a, training", "a, validation", "b"} <= set(texts(two))


def test_many_names_stay_in_the_picture():
    names = [f"schedule number {i}, with a name of some length" for i in range(9)]
    root = ET.fromstring(lw.draw({name: lw.Constant(i) for i, name in enumerate(names)}).svg)
    places = {e.text: (float(e.get("x")), float(e.get("y"))) for e in root.iter(f"{SVG}text") if e.text in names}
    assert len(set(places.values())) == 9
    assert all(x < 400 and y < plot.HEIGHT - 60 for x, y in places.values())
    strokes = [e.get("stroke") for e in root.iter(f"{SVG}g")]
    assert len(set(strokes)) == 8


def test_names_are_text_and_not_tags():
    name = "<script>&\"'\x00\ud800"
    drawing = lw.draw({name: lw.Constant(1.0), "b": lw.Constant(2.0)}, label="</svg>")
    assert {"<script>&\"'��", "</svg>"} <= set(texts(drawing))
    drawing.svg.encode()


def test_it_is_shown_and_saved(tmp_path):
    drawing = lw.draw(lw.CosineDecay(1.0))
    assert drawing._repr_svg_() == drawing.svg
    path = tmp_path / "rate.svg"
    path.write_text("old")
    drawing.save(path)
    assert path.read_bytes().decode() == drawing.svg
    drawing.save(str(tmp_path / "RATE.SVG"))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: lw.draw(3), "layerwise.draw draws a schedule, .* got 3"),
        (lambda: lw.draw({}), "There is nothing to draw"),
        (lambda: lw.draw({"a": lw.Constant(1.0), "b": SimpleNamespace(cost=[1.0])}), "a dict of one kind"),
        (lambda: lw.draw(SimpleNamespace(cost=[[1.0]])), "a fit or its history with costs"),
        (lambda: lw.draw(SimpleNamespace(cost=["a"])), "a fit or its history with costs"),
        (lambda: lw.draw(lw.History()), "no epoch has been fitted"),
        (lambda: lw.draw(lw.Adam()), r"Adam\(.*\) has no schedules to draw"),
        (lambda: lw.draw(SimpleNamespace(cost=[1.0]), epochs=3), "say for which fit a schedule is drawn"),
        (lambda: lw.draw(lw.Constant(1.0), epochs=0), "epochs must be a positive integer; got 0"),
        (lambda: lw.draw(lw.Constant(1.0), steps=2.5), r"steps must be a positive integer; got 2\.5"),
        (lambda: lw.draw(lw.Constant(1.0), epochs=5, steps=3), "got steps=3 and epochs=5"),
        (lambda: lw.draw(lw.Constant(1.0)).save("a.png"), r"whose name ends in \.svg; got 'a\.png'"),
        (lambda: lw.draw(lw.Constant(1.0)).save(5), "named by text or a path; got 5"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(lw.DataError, match=message):
        wrong()
