"""Update rules of one's own, which keep or exchange what a step changes in ways that no rule of the library does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import layerwise as lw

FORMULAS: dict[str, tuple[tuple[str, ...], Any]] = {
    "keeps the gradient": (("last",), lambda W, g, s, r: (W - r * g, g)),
    "a gradient late": (("last",), lambda W, g, s, r: (W - r * s[0], g)),
    "keeps two gradients": (("a", "b"), lambda W, g, s, r: (W - r * (s[0] + s[1] + g), g, s[0])),
    "keeps the weights": (("old",), lambda W, g, s, r: (W - r * g - r * s[0], W)),
    "exchanges weights and slot": (("old",), lambda W, g, s, r: (s[0] + 0.5 * W - r * g, W)),
    "turns three around": (("a", "b"), lambda W, g, s, r: (s[0] + 0.5 * W - r * g, s[1] + W, s[0])),
    "the same twice": (("copy",), lambda W, g, s, r: (W - r * g, W - r * g)),
    "the gradient itself": ((), lambda W, g, s, r: (g,)),
    "means of columns": ((), lambda W, g, s, r: (W - r * (g + lw.mean(W, axis=0, keepdims=True)),)),
    "one number of all": ((), lambda W, g, s, r: (W - r * g * lw.mean(lw.square(W)),)),
}


def rule(name: str) -> lw.UpdateRule:
    names, formula = FORMULAS[name]

    @dataclass(frozen=True)
    class Own(lw.UpdateRule):
        learning_rate: float = 1e-3
        slots: ClassVar[tuple[str, ...]] = names

        def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
            return formula(W, g, slots, scalars["learning_rate"])

    return Own()


@pytest.mark.parametrize(
    ("widths", "rows", "batch"), [((3, 5, 2), 33, 8), ((1, 1), 5, 1), ((129, 130, 65), 300, 128), ((1, 64, 1), 9, 4)]
)
@pytest.mark.parametrize("name", FORMULAS)
def test_a_rule_of_ones_own(name: str, widths: tuple[int, ...], rows: int, batch: int) -> None:
    rng = np.random.default_rng(0)
    net = lw.Network(list(widths), hidden="tanh")
    X, Y = (0.3 * rng.normal(size=(rows, n)) for n in (widths[0], widths[-1]))

    def fit(engine: str) -> lw.Fit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lw.DivergenceWarning)  # some of them are no good
            return lw.train(net, X, Y, optimizer=rule(name), batch_size=batch, epochs=2, engine=engine)

    native, defined = fit("native"), fit("numpy")
    assert native.stop_reason == defined.stop_reason
    for key, expected in defined.params.items():
        np.testing.assert_allclose(native.params[key], expected, rtol=0, atol=1e-12 * (1 + np.abs(expected).max()))
