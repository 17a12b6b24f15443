"""Schedules beside their peers in torch.optim.lr_scheduler, and a fit with a schedule on both sides."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import layerwise as lw
from layerwise.network.plateau import ScheduleRun
from layerwise.network.scheduled import RuleRun
from layerwise.randomness import Stream, permutation

# The same formula, in another order of roundings; torch also multiplies up what is a power here.
EXACT = {"rtol": 1e-12, "atol": 1e-18}


def optimizer(rate=1.0, momentum=0.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate, momentum=momentum)


def torch_values(scheduler, steps, what="lr"):
    """The number in force at each step, where the scheduler is stepped after each."""
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR warns of its own use of an argument
        for _ in range(steps):
            if values:
                scheduler.optimizer.step()
                scheduler.step()
            values.append(float(scheduler.optimizer.param_groups[0][what]))
    return values


def values(schedule, steps, steps_per_epoch=1):
    return schedule.at(lw.Moments(range(steps), steps, steps_per_epoch))


@pytest.mark.parametrize(("every", "factor"), [(30, 0.1), (1, 0.5), (7, 0.9)])
def test_step_decay(every, factor):
    expected = torch_values(lr_scheduler.StepLR(optimizer(0.3), every, factor), 100)
    np.testing.assert_allclose(values(lw.StepDecay(0.3, factor, every), 100), expected, **EXACT)
    in_epochs = values(lw.StepDecay(0.3, factor, every), 500, steps_per_epoch=5)
    np.testing.assert_allclose(in_epochs, np.repeat(expected, 5), **EXACT)


@pytest.mark.parametrize("factor", [0.95, 0.5, 1.1])
def test_exponential_decay(factor):
    expected = torch_values(lr_scheduler.ExponentialLR(optimizer(0.3), factor), 60)
    np.testing.assert_allclose(values(lw.ExponentialDecay(0.3, factor), 240, 4), np.repeat(expected, 4), **EXACT)
    np.testing.assert_allclose(values(lw.ExponentialDecay(0.3, factor, staircase=False), 60), expected, **EXACT)


@pytest.mark.parametrize("final", [0.0, 0.01])
def test_cosine_decay(final):
    # torch's recursion loses digits where the rate is near its end; they are absolute ones of the rate.
    expected = torch_values(lr_scheduler.CosineAnnealingLR(optimizer(0.3), 80, final), 80)
    np.testing.assert_allclose(values(lw.CosineDecay(0.3, final), 80), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        values(lw.CosineDecay(0.3, final, epochs=16), 100, 5)[:80], expected, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("start", [0.25, 1 / 3, 1.0])
def test_warm_up(start):
    expected = torch_values(lr_scheduler.LinearLR(optimizer(0.3), start, 1.0, 12), 40)
    np.testing.assert_allclose(values(0.3 * lw.Warmup(3, start=start), 40, 4), expected, **EXACT)
    np.testing.assert_allclose(values(0.3 * lw.Warmup(share=0.3, start=start), 40), expected, **EXACT)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize(("steps", "rise"), [(100, 0.3), (97, 0.25), (10, 0.0), (10, 0.05), (33, 1.0), (2, 0.9)])
def test_one_cycle(anneal, steps, rise):
    scheduler = lr_scheduler.OneCycleLR(
        optimizer(), 0.3, steps, pct_start=rise, anneal_strategy=anneal, cycle_momentum=False
    )
    expected = torch_values(scheduler, steps)
    np.testing.assert_allclose(values(lw.OneCycle(0.3, rise, anneal=anneal), steps), expected, rtol=1e-12, atol=1e-16)
    scheduler = lr_scheduler.OneCycleLR(
        optimizer(), 2.0, steps, pct_start=rise, anneal_strategy=anneal, cycle_momentum=False, div_factor=4.0,
        final_div_factor=10.0,
    )  # fmt: skip
    own = lw.OneCycle(2.0, rise, 4.0, 10.0, anneal)
    np.testing.assert_allclose(values(own, steps), torch_values(scheduler, steps), **EXACT)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_the_momentum_of_one_cycle(anneal):
    scheduler = lr_scheduler.OneCycleLR(optimizer(momentum=0.9), 0.3, 50, anneal_strategy=anneal)
    own = lw.OneCycle(0.85, divide=0.85 / 0.95, final_divide=1.0, anneal=anneal)
    np.testing.assert_allclose(values(own, 50), torch_values(scheduler, 50, "momentum"), **EXACT)


def test_one_after_another():
    o = optimizer(0.3)
    parts = [
        lr_scheduler.LinearLR(o, 0.1, 1.0, 10),
        lr_scheduler.ExponentialLR(o, 0.9),
        lr_scheduler.CosineAnnealingLR(o, 40),
    ]
    expected = torch_values(lr_scheduler.SequentialLR(o, parts, milestones=[10, 60]), 100)
    own = (0.3 * lw.Warmup(10, start=0.1)).then(lw.ExponentialDecay(0.3, 0.9), epochs=10)
    own = own.then(lw.CosineDecay(0.3), epochs=60)
    np.testing.assert_allclose(values(own, 100), expected, rtol=1e-12, atol=1e-13)
    own = (0.3 * lw.Warmup(10, start=0.1)).then(lw.ExponentialDecay(0.3, 0.9), share=10 / 60)
    own = own.then(lw.CosineDecay(0.3), share=0.6)
    np.testing.assert_allclose(values(own, 100), expected, rtol=1e-12, atol=1e-13)


def test_several_steps():
    expected = torch_values(lr_scheduler.MultiStepLR(optimizer(0.5), [4, 11], 0.1), 20)
    own = lw.Constant(0.5).then(0.05, epochs=4).then(0.005, epochs=11)
    np.testing.assert_allclose(values(own, 60, 3), np.repeat(expected, 3), **EXACT)


def test_factors_of_each_other():
    o = optimizer(0.3)
    chained = lr_scheduler.ChainedScheduler([lr_scheduler.LinearLR(o, 0.1, 1.0, 5), lr_scheduler.ExponentialLR(o, 0.9)])
    np.testing.assert_allclose(
        values(lw.Warmup(5, start=0.1) * lw.ExponentialDecay(0.3, 0.9), 30), torch_values(chained, 30), **EXACT
    )


@pytest.mark.parametrize("seed", range(40))
def test_reduce_on_plateau(seed):
    rng = np.random.default_rng(seed)
    options = {
        "factor": float(rng.uniform(0.1, 0.9)),
        "patience": int(rng.integers(0, 5)),
        "threshold": float(rng.choice([0.0, 1e-4, 0.05])),
        "cooldown": int(rng.integers(0, 4)),
    }
    minimum = float(rng.choice([0.0, 1e-3]))
    costs = np.exp(np.cumsum(rng.normal(-0.01, 0.1, size=200))) * float(rng.choice([1.0, -1.0], p=[0.8, 0.2]))
    costs[rng.random(200) < 0.05] = np.nan
    costs[rng.random(200) < 0.05] = np.inf
    o = optimizer(0.3)
    scheduler = lr_scheduler.ReduceLROnPlateau(o, min_lr=minimum, eps=0.0, **options)
    run = ScheduleRun(lw.ReduceOnPlateau(0.3, minimum=minimum, **options), 200 * 3, 3)
    warmed = ScheduleRun(lw.Warmup(10) * run.schedule, 200 * 3, 3)
    changes = 0
    for epoch, cost in enumerate(costs):
        rate = o.param_groups[0]["lr"]
        steps = np.arange(3 * epoch, 3 * epoch + 3)
        np.testing.assert_allclose(run.at(steps), rate, rtol=1e-12)
        np.testing.assert_allclose(warmed.at(steps), rate * np.minimum(steps / 30, 1), rtol=1e-12)
        scheduler.step(cost)
        run.after_epoch(cost)
        warmed.after_epoch(cost)
        changes += o.param_groups[0]["lr"] != rate
    assert changes > 1


CASES = [
    (
        lw.Adam(lw.Warmup(2, start=0.1) * lw.CosineDecay(0.05)),
        lambda W: torch.optim.Adam(W, lr=0.05),
        lambda o: lr_scheduler.LambdaLR(o, lambda n: (0.1 + 0.9 * min(n / 8, 1)) * 0.5 * (1 + np.cos(np.pi * n / 80))),
    ),
    (
        lw.AdamW(lw.StepDecay(0.02, 0.5, 5), weight_decay=0.3),
        lambda W: torch.optim.AdamW(W, lr=0.02, weight_decay=0.3),
        lambda o: lr_scheduler.StepLR(o, 20, 0.5),
    ),
    (
        lw.Momentum(lw.OneCycle(0.3), lw.OneCycle(0.85, divide=0.85 / 0.95, final_divide=1.0)),
        lambda W: torch.optim.SGD(W, lr=0.3, momentum=0.9),
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, 80),
    ),
    (
        lw.NAdam(lw.ExponentialDecay(0.02, 0.9, staircase=False)),
        lambda W: torch.optim.NAdam(W, lr=0.02),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9**0.25),
    ),
    (
        lw.RMSprop(lw.InverseScaling(0.02)),
        lambda W: torch.optim.RMSprop(W, lr=0.02),
        lambda o: lr_scheduler.LambdaLR(o, lambda n: (1 + n) ** -0.5),
    ),
    (
        lw.Adagrad(lw.CosineDecay(0.1), 0.02),
        lambda W: torch.optim.Adagrad(W, lr=0.1, lr_decay=0.02),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 80),
    ),
]


@pytest.mark.parametrize(("rule", "descent", "scheduler"), CASES, ids=lambda part: getattr(type(part), "__name__", ""))
def test_given_gradients(rule, descent, scheduler):
    """Twenty epochs of four steps; 1e-10 since torch's rates round once more in every step."""
    rng = np.random.default_rng(0)
    G, W = rng.normal(size=(80, 3, 4)), rng.normal(size=(3, 4))
    run = RuleRun(rule, steps_per_epoch=4, epochs=20)
    nodes = {name: lw.input(name, W.shape) for name in ("W", "g", *rule.slots)}
    scalars = {name: lw.input(name, ()) for name in run.first.scalars(1)}
    after = rule.step(nodes["W"], nodes["g"], *(nodes[s] for s in rule.slots), **scalars)
    state = [W, *(np.zeros_like(W) for _ in rule.slots)]
    all_at_once = run.scalars(np.arange(1, 81))
    w = torch.tensor(W, requires_grad=True)
    torch.set_default_dtype(torch.float64)  # of the product of NAdam's momenta
    try:
        o = descent([w])
        stepped = scheduler(o)
        for t, g in enumerate(G, start=1):
            w.grad = torch.tensor(g)
            o.step()
            if t < 80:
                stepped.step()
            feeds = {nodes["g"]: g} | {nodes[n]: v for n, v in zip(("W", *rule.slots), state, strict=True)}
            fed = run.scalars(t)
            for name, value in fed.items():
                assert np.broadcast_to(all_at_once[name], 80)[t - 1] == pytest.approx(value, rel=1e-14)
            state = lw.evaluate(list(after), feeds | {scalars[name]: value for name, value in fed.items()})
            np.testing.assert_allclose(state[0], w.detach().numpy(), rtol=1e-10, atol=1e-11)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_fit_on_a_schedule():
    """Batches of 16 in 50 rows: four steps an epoch, the last with two rows; a plateau goes by the cost of an epoch."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 1))
    net = lw.Network([4, 6, 1], hidden="tanh")
    start = net.initialise(1)
    for rule, schedulers in [
        (
            lw.Adam(lw.Warmup(2, start=0.25) * lw.StepDecay(0.05, 0.5, 3)),
            (lambda o: lr_scheduler.LinearLR(o, 0.25, 1.0, 8), lambda o: lr_scheduler.StepLR(o, 12, 0.5)),
        ),
        (lw.Adam(lw.OneCycle(0.05)), (lambda o: lr_scheduler.OneCycleLR(o, 0.05, 80, cycle_momentum=False),)),
        (lw.Adam(lw.ReduceOnPlateau(0.05, 0.5, 0, 0.02)), ()),
    ]:
        W = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
        o = torch.optim.Adam(W.values(), lr=0.05)
        stepped = [make(o) for make in schedulers]
        plateau = (
            None if stepped else lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.02, eps=0.0)
        )
        costs, rates = [], []
        for epoch in range(1, 21):
            order, total = permutation(5, Stream.SHUFFLE, epoch, 50), 0.0
            for rows in (order[i : i + 16] for i in range(0, 50, 16)):
                A = torch.tanh(torch.tensor(X[rows]) @ W["W1"] + W["b1"])
                cost = ((A @ W["W2"] + W["b2"] - torch.tensor(y[rows])) ** 2).mean()
                o.zero_grad()
                cost.backward()
                rates.append(o.param_groups[0]["lr"])
                o.step()
                if len(rates) < 80:
                    for scheduler in stepped:
                        scheduler.step()
                total += cost.item() * len(rows)
            costs.append(total / 50)
            if plateau is not None:
                plateau.step(costs[-1])
        assert len(set(rates)) > 3
        for engine in ("native", "numpy"):
            fit = lw.train(net, X, y, params=start, optimizer=rule, batch_size=16, epochs=20, seed=5, engine=engine)
            # 1e-9: rounding differs in the last bits of each of 80 steps.
            np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-9)
            np.testing.assert_allclose(fit.history.learning_rate, rates[3::4], rtol=1e-12, atol=1e-18)
            for name, w in W.items():
                np.testing.assert_allclose(fit.params[name], w.detach().numpy(), rtol=1e-8, atol=1e-9)
