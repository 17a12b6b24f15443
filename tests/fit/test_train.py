"""Training step by step: against loops written out in NumPy, and what it may and may not depend on."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import layerwise as lw
from layerwise.randomness import Stream, permutation

N = 23


def problem(seed=0):
    rng = np.random.default_rng(seed)
    net = lw.Network([3, 5, 2], hidden="tanh")
    return net, rng.normal(size=(N, 3)), rng.normal(size=(N, 2))


def step_by_hand(p, X, T, w=None):
    """Cost and gradients of the network 3-5-2, tanh and identity, squared error."""
    w = np.ones(len(X)) if w is None else np.asarray(w, float)
    w = (w / w.sum())[:, None]
    A1 = np.tanh(X @ p["W1"] + p["b1"])
    r = A1 @ p["W2"] + p["b2"] - T
    delta2 = 2 * w * r
    delta1 = delta2 @ p["W2"].T * (1 - A1**2)
    g = {"W1": X.T @ delta1, "b1": delta1.sum(axis=0), "W2": A1.T @ delta2, "b2": delta2.sum(axis=0)}
    return (w * r**2).sum(), g


def assert_same(fit, weights, costs=None):
    """Equal up to rounding: the loops add in another order, and these descents do not amplify it."""
    for name, W in weights.items():
        np.testing.assert_allclose(fit.params[name], W, rtol=1e-11, atol=1e-13, err_msg=name)
    if costs is not None:
        np.testing.assert_allclose(fit.history.cost, costs, rtol=1e-12)


def assert_same_bits(a, b):
    assert list(a.params) == list(b.params)
    for name in a.params:
        assert a.params[name].dtype == b.params[name].dtype
        np.testing.assert_array_equal(a.params[name], b.params[name], err_msg=name)
    np.testing.assert_array_equal(a.history.cost, b.history.cost)


@pytest.mark.parametrize("batch_size", [None, N, N + 1, 10**9])
def test_full_batch_descent(batch_size):
    net, X, T = problem()
    p = net.initialise(3)
    fit = lw.train(net, X, T, params=p, optimizer=lw.SGD(0.1), batch_size=batch_size, epochs=40)
    costs = []
    for _ in range(40):
        value, g = step_by_hand(p, X, T)
        costs.append(value)
        p = {k: W - 0.1 * g[k] for k, W in p.items()}
    assert_same(fit, p, costs)
    assert costs[-1] < 0.8 * costs[0]


def test_momentum():
    net, X, T = problem()
    p = net.initialise(3)
    fit = lw.train(net, X, T, params=p, optimizer=lw.Momentum(0.05, 0.8), batch_size=None, epochs=30)
    V = {k: np.zeros_like(W) for k, W in p.items()}
    for _ in range(30):
        _, g = step_by_hand(p, X, T)
        V = {k: 0.8 * V[k] + g[k] for k in V}
        p = {k: W - 0.05 * V[k] for k, W in p.items()}
    assert_same(fit, p)


def test_momentum_zero_is_plain_descent():
    net, X, T = problem()
    options = {"batch_size": 5, "epochs": 4}
    plain = lw.train(net, X, T, optimizer=lw.SGD(0.1), **options)
    assert_same_bits(lw.train(net, X, T, optimizer=lw.Momentum(0.1, 0.0), **options), plain)


@pytest.mark.parametrize("batch_size", [None, 5])
def test_adam_counts_its_steps_over_the_whole_fit(batch_size):
    net, X, T = problem()
    p = net.initialise(3)
    fit = lw.train(
        net, X, T, params=p, optimizer=lw.Adam(0.01, 0.8, 0.9, 1e-3), batch_size=batch_size, epochs=6, seed=2
    )
    m, v = ({k: np.zeros_like(W) for k, W in p.items()} for _ in range(2))
    t = 0
    for epoch in range(1, 7):
        order = permutation(2, Stream.SHUFFLE, epoch, N) if batch_size else np.arange(N)
        for rows in np.split(order, range(batch_size or N, N, batch_size or N)):
            t += 1
            _, g = step_by_hand(p, X[rows], T[rows])
            m = {k: 0.8 * m[k] + 0.2 * g[k] for k in p}
            v = {k: 0.9 * v[k] + 0.1 * g[k] ** 2 for k in p}
            p = {k: W - 0.01 * (m[k] / (1 - 0.8**t)) / (np.sqrt(v[k] / (1 - 0.9**t)) + 1e-3) for k, W in p.items()}
    assert_same(fit, p)


def test_adam_in_single_precision_is_close_to_double():
    net, X, T = problem()
    options = {"optimizer": lw.Adam(0.01), "batch_size": 5, "epochs": 10}
    double, single = (lw.train(net, X, T, dtype=d, **options) for d in ("float64", "float32"))
    for name, W in double.params.items():
        assert single.params[name].dtype == np.float32
        # 50 steps of 0.01, each off by some 1e-7 of itself and more where a mean gradient is nearly 0.
        np.testing.assert_allclose(single.params[name], W, atol=2e-5)


def moves_by_epoch(batch_size, epochs, seed=0):
    """How far each row's own weight moved in each epoch.

    One linear unit and inputs that are the identity matrix: a step moves the weights of its own rows only. An epoch
    is the difference of a fit to a fit of one epoch more.
    """
    net = lw.Network([lw.Input(N), lw.Dense(1, bias=False)])
    start = {"W1": np.zeros((N, 1))}
    options = {"params": start, "optimizer": lw.SGD(0.01), "batch_size": batch_size, "seed": seed}
    ends = [
        lw.train(net, np.eye(N), np.ones(N), epochs=e, **options).params["W1"].ravel() for e in range(1, epochs + 1)
    ]
    return np.diff([np.zeros(N), *ends], axis=0)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 22, 23])
def test_every_row_is_used_once_in_an_epoch(batch_size):
    moves = moves_by_epoch(batch_size, 3)
    # In a step of m rows the weight w of each goes by the rate 0.01 times 2 (1 - w)/m.
    last = N % batch_size or batch_size
    short = np.isclose(moves[0], 0.02 / last, rtol=1e-12)
    assert (short | np.isclose(moves[0], 0.02 / batch_size, rtol=1e-12)).all()
    assert short.sum() == (N if last == batch_size else last)
    for e in (1, 2):
        left = 1 - moves[:e].sum(axis=0)
        step = moves[e] / left
        assert (np.isclose(step, 0.02 / last, rtol=1e-10) | np.isclose(step, 0.02 / batch_size, rtol=1e-10)).all()


@pytest.mark.parametrize("n", [4, 5])
def test_minibatches_by_hand(n):
    # The order is not told, so the fit is looked for among the fits of all orders.
    net = lw.Network([1, 1])
    T = np.array([0.0, 1.0, 5.0, -3.0, 9.0])[:n]
    start = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}
    fit = lw.train(net, np.ones((n, 1)), T, params=start, optimizer=lw.SGD(0.1), batch_size=3, epochs=1)

    def by_hand(order):
        y, total = 0.0, 0.0  # y = W1 + b1; both get the gradient 2 mean(r)
        for batch in (order[:3], order[3:]):
            r = y - T[list(batch)]
            total += (r**2).sum()
            y -= 2 * 0.1 * 2 * r.mean()
        return y, total / n

    got = (fit.params["W1"] + fit.params["b1"]).item(), fit.history[0].cost
    assert any(np.allclose(got, by_hand(order), rtol=1e-13) for order in itertools.permutations(range(n)))


def test_the_last_short_batch_counts_by_its_size():
    # A learning rate so small that the weights stand still: the epoch's cost is then the cost of the whole set.
    net, X, T = problem()
    p = net.initialise(1)
    w = np.arange(1.0, N + 1)
    for weights in (None, w):
        whole, _ = step_by_hand(p, X, T, weights)
        for size in (1, 2, 7, 22):
            fit = lw.train(
                net, X, T, params=p, optimizer=lw.SGD(1e-300), batch_size=size, epochs=1, sample_weight=weights
            )
            assert fit.history[0].cost == pytest.approx(whole, rel=1e-13)


def test_weighted_full_batch_by_hand():
    net, X, T = problem()
    p = net.initialise(1)
    w = np.random.default_rng(1).random(N)
    fit = lw.train(net, X, T, params=p, optimizer=lw.SGD(0.1), batch_size=None, epochs=20, sample_weight=w)
    for _ in range(20):
        _, g = step_by_hand(p, X, T, w)
        p = {k: W - 0.1 * g[k] for k, W in p.items()}
    assert_same(fit, p)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_row_of_weight_zero_is_absent(batch_size):
    net, X, T = problem()
    w = np.ones(N)
    w[[0, 7, 22]] = 0
    far = X.copy()
    far[7] = 1e300
    options = {"batch_size": batch_size, "epochs": 3}
    absent = lw.train(net, X[w > 0], T[w > 0], sample_weight=w[w > 0], **options)
    assert_same_bits(lw.train(net, far, T, sample_weight=w, **options), absent)


def test_equal_weights_are_no_weights():
    net, X, T = problem()
    plain = lw.train(net, X, T, batch_size=5, epochs=3)
    for unit in (1, 0.3, 1e300, 1e-300):
        assert_same(lw.train(net, X, T, batch_size=5, epochs=3, sample_weight=np.full(N, unit)), plain.params)


def test_integer_weights_are_repeated_rows():
    net, X, T = problem()
    times = np.arange(N) % 4
    weighted = lw.train(net, X, T, batch_size=None, epochs=20, sample_weight=times)
    repeated = lw.train(net, np.repeat(X, times, axis=0), np.repeat(T, times, axis=0), batch_size=None, epochs=20)
    assert_same(weighted, repeated.params, repeated.history.cost)


def test_equal_units_stay_equal_for_ever():
    net, X, T = problem()
    p = net.initialise(0)
    p["W1"][:, 1:] = p["W1"][:, :1]
    p["W2"][1:] = p["W2"][:1]
    fit = lw.train(net, X, T, params=p, optimizer=lw.SGD(0.1), epochs=50, batch_size=None)
    W1, W2 = fit.params["W1"], fit.params["W2"]
    assert (np.abs(W1 - p["W1"]) > 1e-3).any()
    np.testing.assert_allclose(W1, np.repeat(W1[:, :1], 5, axis=1), rtol=1e-12)
    np.testing.assert_allclose(W2, np.repeat(W2[:1], 5, axis=0), rtol=1e-12)
    # started at random, they part
    free = lw.train(net, X, T, optimizer=lw.SGD(0.1), epochs=50, batch_size=None).params["W1"]
    assert np.ptp(free, axis=1).min() > 1e-3


def test_the_seed_alone_decides():
    net, X, T = problem()
    options = {"batch_size": 4, "epochs": 3}
    first = lw.train(net, X, T, seed=7, **options)
    np.random.seed(99)  # the global generator must not matter
    np.random.default_rng().random(5)
    assert_same_bits(lw.train(net, X, T, seed=7, **options), first)
    assert (lw.train(net, X, T, seed=8, **options).params["W1"] != first.params["W1"]).all()


def test_the_order_depends_on_seed_and_epoch_only():
    # With one row a step and rows that share an input, the end depends on the order.
    net = lw.Network([1, 1])
    T = np.arange(float(N))
    start = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}

    def end(seed, params=start):
        fit = lw.train(net, np.ones((N, 1)), T, params=params, optimizer=lw.SGD(0.2), batch_size=1, seed=seed, epochs=1)
        return (fit.params["W1"] + fit.params["b1"]).item()

    assert len({end(seed) for seed in range(20)}) == 20
    # From other weights in the same order: at this rate y = W1 + b1 goes 4/5 of the way to each target, so after 23
    # of them it has forgotten where it began.
    assert end(3, {"W1": np.ones((1, 1)), "b1": np.zeros(1)}) == pytest.approx(end(3), rel=1e-10)


def test_each_epoch_has_its_own_order():
    net = lw.Network([1, 1])
    T = np.arange(float(N))
    start = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}
    # 0.25: a step forgets half of what came before in y = W1 + b1, wholly at the rate 1/4.
    ends = [
        lw.train(net, np.ones((N, 1)), T, params=start, optimizer=lw.SGD(0.25), batch_size=1, epochs=e).params["b1"]
        for e in range(1, 9)
    ]
    # At that rate y is the last target seen; the last of an epoch is another one from epoch to epoch.
    assert len({round(2 * b.item(), 6) for b in ends}) > 3


def test_resuming_by_hand_is_not_the_same_as_going_on():
    # The order belongs to (seed, epoch): two fits of one epoch repeat epoch 1, one fit of two epochs does not.
    net, X, T = problem()
    once = lw.train(net, X, T, optimizer=lw.SGD(0.1), batch_size=4, epochs=1)
    again = lw.train(net, X, T, params=once.params, optimizer=lw.SGD(0.1), batch_size=4, epochs=1)
    two = lw.train(net, X, T, optimizer=lw.SGD(0.1), batch_size=4, epochs=2)
    assert (two.params["W1"] != again.params["W1"]).any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_precision_stays(dtype):
    net, X, T = problem()
    by_name = lw.train(net, X, T, dtype=dtype, epochs=2, batch_size=5)
    by_params = lw.train(net, X, T, params=net.initialise(0, dtype), epochs=2, batch_size=5)
    assert {W.dtype for W in by_name.params.values()} == {np.dtype(dtype)}
    assert_same_bits(by_name, by_params)


def test_single_precision_is_close_to_double():
    net, X, T = problem()
    single = lw.train(net, X, T, dtype="float32", epochs=20)
    double = lw.train(net, X, T, epochs=20)
    # 20 steps, each rounding to 6e-8 of weights of about 1.
    np.testing.assert_allclose(single.params["W1"], double.params["W1"], atol=1e-5)
    np.testing.assert_allclose(single.history.cost, double.history.cost, rtol=1e-5)


def test_precision_may_be_changed_by_name():
    net, X, T = problem()
    fit = lw.train(net, X, T, params=net.initialise(0, "float32"), dtype="float64", epochs=1)
    assert {W.dtype for W in fit.params.values()} == {np.dtype("float64")}
    with pytest.raises(lw.UnknownName, match="Unknown dtype 'float16'"):
        lw.train(net, X, T, dtype="float16")


def test_what_a_fit_tells():
    net, X, T = problem()
    seen = []
    rule = lw.Momentum(0.02, 0.5)
    fit = lw.train(net, X, T, optimizer=rule, epochs=4, batch_size=6, on_epoch_end=seen.append)
    assert fit.stop_reason == "All 4 epochs are done."
    assert not fit.diverged
    assert fit.network is net
    assert fit.optimizer is rule
    assert list(fit.history) == seen
    assert [e.number for e in fit.history] == [1, 2, 3, 4]
    assert len(fit.history) == 4
    assert fit.history[-1] is seen[-1]
    assert fit.history.cost.dtype == np.float64
    assert fit.history.cost.tolist() == [e.cost for e in seen]
    seconds = [e.seconds for e in fit.history]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0
    assert lw.History().cost.shape == (0,)


def test_the_usual_rule_is_momentum():
    net, X, T = problem()
    fit = lw.train(net, X, T, epochs=2)
    assert fit.optimizer == lw.Momentum(0.01, 0.9)
    assert_same_bits(fit, lw.train(net, X, T, epochs=2, optimizer=lw.Momentum(0.01, 0.9), batch_size=128))


def test_an_error_in_the_callback_is_the_callers():
    net, X, T = problem()

    def stop(epoch):
        raise LookupError(epoch.number)

    with pytest.raises(LookupError, match="1"):
        lw.train(net, X, T, on_epoch_end=stop)


def test_training_learns_a_spiral():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 100)
    angle = [4 * k + 4 * t + 0.2 * rng.normal(size=100) for k in range(3)]
    X = np.concatenate([np.column_stack([t * np.sin(a), t * np.cos(a)]) for a in angle])
    labels = np.repeat([0, 1, 2], 100)
    net = lw.Network([2, 64, 3], hidden="relu", output="softmax")
    fit = lw.train(net, X, labels, optimizer=lw.Momentum(0.1, 0.9), epochs=200, batch_size=32)
    # A linear classifier gets about half of the points.
    assert (net.forward(fit.params, X).argmax(axis=1) == labels).mean() > 0.95


def test_an_autoencoder_learns_to_reconstruct():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 6))  # two numbers behind six columns
    net = lw.Network([6, 2, 6], hidden="identity")
    fit = lw.train(net, X, X, optimizer=lw.Momentum(0.01, 0.9), epochs=300, batch_size=None)
    assert fit.history.cost[-1] < 1e-3 * np.mean(np.sum(X**2, axis=1))


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_dropout_and_noise_may_change_during_a_fit(engine):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)

    def fit(dropout, noise):
        hidden = lw.Dense(24, "relu", dropout=dropout, noise=noise)
        net = lw.Network([lw.Input(4), hidden, lw.Dense(3, "softmax")])
        return lw.train(net, X, y, epochs=4, batch_size=16, optimizer=lw.SGD(0.1), seed=3, engine=engine).params

    for name, W in fit(0.25, 0.5).items():
        np.testing.assert_array_equal(fit(lw.Constant(0.25), lw.Constant(0.5))[name], W)
    # In the first half of a flat cosine nothing has changed yet; after two of four epochs the rate begins to fall.
    step = lw.Constant(0.25).then(0.0, epochs=2)
    changed, whole = fit(step, 0.0), fit(0.25, 0.0)
    assert not np.array_equal(changed["W1"], whole["W1"])
    with pytest.raises(
        lw.DataError, match=r"dropout of layer 1 of the network must be finite numbers >= 0 and below 1"
    ):
        fit(lw.StepDecay(2.0), 0.0)


def test_a_network_with_scheduled_dropout_is_plain_data():
    net = lw.Network([lw.Input(4), lw.Dense(5, "relu", dropout=lw.FlatCosine(0.3)), lw.Dense(1)])
    assert lw.Network.from_dict(json.loads(json.dumps(net.to_dict()))) == net
    assert "dropout=FlatCosine(value=0.3)" in repr(net)
