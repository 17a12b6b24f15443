"""Learning rates that are tried one after another, in a fit that is cut off and resumed."""

from __future__ import annotations

import numpy as np
import pytest

from layerwise.errors import CheckpointError, DataError, UnknownName
from layerwise.network.adaptive import Adam
from layerwise.network.updates import Nesterov
from layerwise.table.frame import Table
from layerwise.tabular import settings as settings_room
from layerwise.tabular.attempts import Attempts
from layerwise.tabular.fit import fit_table
from layerwise.tabular.settings import LEARNING_RATES, OPTIMIZERS, Settings


def data(n: int = 200) -> Table:
    rng = np.random.default_rng(4)
    x, u = rng.normal(size=(2, n))
    return Table.from_columns({"x": x, "u": u, "price": 5000 + 300 * x * u, "flag": x > 0})


CHOSEN = Settings(hidden_layer_sizes=(8,), epochs=6)


@pytest.mark.filterwarnings("ignore::layerwise.DivergenceWarning")
@pytest.mark.parametrize("rates", [(1e30, 0.01), (1e-12, 0.01), (1e30, 1e-12, 0.01)])
@pytest.mark.parametrize("cut", [1, 3, 7, 8, 12])
def test_a_fit_that_is_cut_off_in_any_attempt(tmp_path, monkeypatch, rates, cut):
    monkeypatch.setattr(settings_room, "LEARNING_RATES", rates)
    whole = fit_table(data(), "price", ignore=["flag"], settings=CHOSEN)
    assert whole.model.report["learning_rate"] == 0.01
    assert len(whole.notes) >= len(rates) - 1
    seen = 0

    def stop(epoch):
        nonlocal seen
        seen += 1
        if seen == cut:
            raise KeyboardInterrupt

    first = fit_table(
        data(), "price", ignore=["flag"], settings=CHOSEN, on_epoch_end=stop, attempts=Attempts(tmp_path, resume=False)
    )
    assert first.interrupted == (seen >= cut)
    again = fit_table(data(), "price", ignore=["flag"], settings=CHOSEN, attempts=Attempts(tmp_path, resume=True))
    assert not again.interrupted
    assert dict(again.model.report) == dict(whole.model.report)
    assert again.notes == whole.notes
    for name, W in whole.model.params.items():
        assert W.tobytes() == again.model.params[name].tobytes()
    with pytest.raises(CheckpointError, match="holds checkpoints of an earlier fit"):
        Attempts(tmp_path, resume=False)


def test_folders(tmp_path):
    with pytest.raises(CheckpointError, match="There is no folder"):
        Attempts(tmp_path / "none", resume=True)
    with pytest.raises(DataError, match="every"):
        Attempts(tmp_path, resume=False, every=0)
    options = Attempts(tmp_path, resume=True, every=7).options(0.001)
    assert options == {"checkpoint": tmp_path / "rate-0.001", "every": 7}
    (tmp_path / "rate-0.001").mkdir()
    assert Attempts(tmp_path, resume=True).options(np.float64(0.001)) == {"resume": tmp_path / "rate-0.001", "every": 1}


def test_rates_of_an_optimizer():
    assert Settings().learning_rates == LEARNING_RATES
    assert Settings(optimizer="adam").learning_rates == (0.001, 0.0001, 0.00001)
    assert Settings(optimizer="adadelta").learning_rates == (1.0, 0.1, 0.01)
    assert Settings(optimizer="adam", learning_rate=0.5).learning_rates == (0.5,)
    assert Settings(optimizer="nesterov", momentum=0.5).rule(0.1) == Nesterov(0.1, 0.5)
    assert Settings(optimizer="adam").rule(0.1) == Adam(0.1)
    for name, rule in OPTIMIZERS.items():
        assert type(Settings(optimizer=name).rule(0.01)) is rule
    with pytest.raises(UnknownName, match="Did you mean 'adamw'"):
        Settings(optimizer="adamW ")


def test_rows_to_choose_by_are_neither_learned_from_nor_scored_on():
    n = 200
    table = data(n)
    whole = fit_table(table, "price", ignore=["flag"], settings=Settings((8,), epochs=9, validation=0.25, patience=3))
    report = whole.model.report
    assert (report["rows_learned"], report["rows_validation"], report["rows_held_out"]) == (120, 40, 40)
    assert report["best_epoch"] == whole.fit.best_epoch
    # The unit of the target is found from the rows that are learned from, and from no others.
    assert whole.model.target is not None
    prices = set()
    for seed in range(3):
        result = fit_table(table, "flag", settings=Settings((4,), epochs=1, validation=0.5, seed=seed))
        prices.add(result.model.report["rows_validation"])
    assert prices <= {79, 80, 81}  # as many of each class


def test_seconds_are_those_of_all_attempts(monkeypatch):
    monkeypatch.setattr(settings_room, "LEARNING_RATES", (1e-12, 1e-13, 1e-14))
    settings = Settings((4,), epochs=10**6, max_seconds=0.2)
    result = fit_table(data(), "price", ignore=["flag"], settings=settings)
    assert "max_seconds" in result.fit.stop_reason
    assert result.model.report["learning_rate"] == 1e-12
    tiny = fit_table(data(), "price", ignore=["flag"], settings=Settings((4,), max_seconds=1e-9))
    assert len(tiny.fit.history) == 0  # not one epoch, and a model of the starting weights all the same
    with pytest.raises(DataError, match="max_seconds"):
        Settings(max_seconds=0.0)
