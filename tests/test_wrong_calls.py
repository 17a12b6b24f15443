"""Calls with arguments of the wrong sort: each is a LayerwiseError that says what was expected."""

import numpy as np
import pytest

import layerwise as lw

X, Y = np.ones((4, 2)), np.zeros((4, 3))
NET = lw.Network([2, 3])
NODE = lw.input("x", ("N", 2))

CALLS = {
    "a list for a network": (lambda: lw.train([2, 3], X, Y), "train takes a Network first; got list"),
    "a text for a callback": (lambda: lw.train(NET, X, Y, on_epoch_end="x"), "on_epoch_end must be a function"),
    "a text for a seed": (
        lambda: lw.train(NET, X, Y, params=NET.initialise(), batch_size=None, seed="abc"),
        "seed",
    ),
    "no path to load": (lambda: lw.load(None), "A model file is named by text or a path; got None"),
    "a number to save to": (lambda: lw.Model(NET, NET.initialise()).save(5), "named by text or a path; got 5"),
    "a number to evaluate": (lambda: lw.evaluate(5), "What is evaluated must be a graph node; got int"),
    "nothing to differentiate by": (lambda: lw.gradient(lw.sum(NODE), None), "wrt must be a node or a list"),
    "half a sample": (
        lambda: lw.evaluate(lw.sum(NODE), {NODE: X}, sizes={"N": 2.5}),
        "axis 'N' must have a whole number",
    ),
    "a limit that is none": (lambda: lw.clip(NODE, None, 1), "clip needs two numbers; got low=None"),
    "a list for a name": (lambda: lw.Activation(["relu"]), "Activation: the name must be text"),
    "a rate beyond all numbers": (lambda: lw.Momentum(10**400), "learning_rate of Momentum must be a finite number"),
    "a rule without a formula": (lambda: lw.train(NET, X, Y, optimizer=0.1), "optimizer must be an update rule"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_one_clear_error(name):
    call, message = CALLS[name]
    with pytest.raises(lw.LayerwiseError, match=message):
        call()
