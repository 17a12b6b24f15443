"""Every update rule, by its defaults and otherwise; and a rule run on gradients that are given."""

from __future__ import annotations

import numpy as np

import layerwise as lw

DECLARED = sorted(
    (
        value
        for value in (getattr(lw, name) for name in lw.__all__)
        if isinstance(value, type) and issubclass(value, lw.UpdateRule) and value is not lw.UpdateRule
    ),
    key=lambda rule: rule.__name__,
)
"""All classes of rules that are public."""

RULES = [
    *(rule() for rule in DECLARED),
    lw.SGD(0.5),
    lw.Momentum(0.1, 0.5),
    lw.Nesterov(0.05, 0.6),
    lw.Adagrad(0.1, 0.02, 1e-3),
    lw.RMSprop(0.02, 0.5, 1e-3),
    lw.RMSprop(0.003, 0.9, 1e-6, momentum=0.7),
    lw.RMSprop(0.002, 0.95, 1e-4, centered=True),
    lw.RMSprop(0.001, 0.8, 1e-2, momentum=0.5, centered=True),
    lw.Adadelta(0.5, 0.6, 1e-3),
    lw.Adam(0.05, 0.5, 0.9, 1e-2),
    lw.AMSGrad(0.02, 0.6, 0.5, 1e-4),
    lw.AdamW(0.02, 0.7, 0.95, 1e-3, 0.5),
    lw.NAdam(0.01, 0.6, 0.9, 1e-3, 0.3),
    lw.NAdam(0.01, 0.95, 0.99, momentum_decay=0.0),
    lw.Lion(0.003, 0.6, 0.8, 0.2),
    lw.Rprop(0.1, 0.3, 1.7, 1e-3, 0.2),
]


def run(rule, W, gradients, engine="native"):
    """The weights after each step, and the slots at the end."""
    w, g = lw.input("W", W.shape), lw.input("g", W.shape)
    slots = [lw.input(name, W.shape) for name in rule.slots]
    scalars = {name: lw.input(name, ()) for name in rule.scalars(1)}
    after = rule.step(w, g, *slots, **scalars)
    values, path = [W, *(np.full_like(W, rule.start(slot)) for slot in rule.slots)], []
    for t, gradient in enumerate(gradients, start=1):
        feeds = dict(zip([w, *slots], values, strict=True)) | {g: gradient}
        feeds |= {scalars[name]: value for name, value in rule.scalars(t).items()}
        values = lw.evaluate(list(after), feeds, engine=engine)
        path.append(values[0])
    return path, values[1:]


def gradients(steps, shape=(4, 5), seed=0):
    """Of many sizes and signs; always 0 in the first row, 0 in three of four steps in the second."""
    rng = np.random.default_rng(seed)
    G = rng.normal(size=(steps, *shape)) * 10.0 ** rng.integers(-3, 2, size=(1, *shape)) + 0.1
    G[:, 0] = 0.0
    G[:, 1][rng.random((steps, *shape[1:])) < 0.75] = 0.0
    return G
