"""What a fit shows of itself: plain lines, a bar in a terminal, and nothing that could end it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from terminal import in_terminal, shown

import layerwise as lw
from layerwise.fit import progress
from layerwise.fit.loop import Loop

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes and terminals")
ENGINES = ["native", "numpy"]


def problem(n=200):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    return lw.Network([4, 8, 3], output="softmax"), X, np.argmax(X[:, :3], axis=1)


def lines(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_nothing_by_default(capsys):
    lw.train(*problem(), epochs=3)
    assert lines(capsys) == []


def test_lines_where_there_is_no_terminal(capsys):
    lw.train(*problem(), epochs=30, progress=True)
    first, last = lines(capsys)
    assert re.fullmatch(r"epoch 1/30: cost [\d.]+, 0\.\d s", first)
    assert re.fullmatch(r"epoch 30/30: cost [\d.]+, \d\.\d s", last)


def test_the_score_that_is_watched(capsys):
    fit = lw.train(*problem(), epochs=2, validation=0.2, metric=["accuracy", "log_loss"], progress=True)
    score = f"{fit.history[0].validation['accuracy']:.4g}"
    assert re.fullmatch(rf"epoch 1/2: cost [\d.]+, validation accuracy {score}, 0\.\d s", lines(capsys)[0])
    lw.train(*problem(), epochs=2, validation=0.2, progress=True)
    assert "validation cost" in lines(capsys)[1]


def test_a_line_every_few_seconds_says_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.1)
    monkeypatch.setattr(progress, "_KNOWN", 0.1)
    lw.train(*problem(), epochs=20, on_epoch_end=lambda epoch: time.sleep(0.05), progress=True)
    first, *between, last = lines(capsys)
    assert "left" not in first + last
    assert 2 <= len(between) <= 10
    assert any(re.search(r" s, 0:0\d left$", line) for line in between)


def test_the_last_epoch_of_a_fit_that_ends_early(capsys):
    lw.train(*problem(), epochs=50, on_epoch_end=lambda epoch: epoch.number == 7, progress=True)
    assert [line.split(":")[0] for line in lines(capsys)] == ["epoch 1/50", "epoch 7/50"]


def test_a_fit_that_goes_on_counts_all_epochs(capsys, tmp_path):
    net, X, y = problem()

    def stop(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(lw.TrainingInterrupted):
        lw.train(net, X, y, epochs=6, checkpoint=tmp_path, on_epoch_end=stop, progress=True)
    assert [line.split(":")[0] for line in lines(capsys)] == ["epoch 1/6", "epoch 3/6"]
    first = lw.train(net, X, y, epochs=6, resume=tmp_path, progress=True)
    assert [line.split(":")[0] for line in lines(capsys)] == ["epoch 4/6", "epoch 6/6"]
    lw.train(net, X, y, epochs=6, resume=tmp_path, progress=True)
    assert lines(capsys) == []  # there was nothing to do
    lw.train(net, X, y, params=first, epochs=2, progress=True)
    assert [line.split(":")[0] for line in lines(capsys)] == ["epoch 7/8", "epoch 8/8"]


def test_a_fit_that_begins_again_shows_both(capsys):
    net, X, y = problem()
    options = {"optimizer": lw.SGD(1e30), "epochs": 4, "restarts": 1, "progress": True}
    with pytest.warns(lw.DivergenceWarning):
        lw.train(net, X, y, validation=0.2, on_epoch_end=lambda epoch: None, **options)
    assert all(line.startswith("epoch ") for line in lines(capsys))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", [{}, {"validation": 0.2}, {"max_steps": 333}, {"batch_size": None}])
def test_progress_changes_no_bit(engine, options, capsys, monkeypatch):
    monkeypatch.setattr("layerwise.fit.loop._GLANCE", 0.003)  # runs of a few epochs, of another number each time
    options = {"optimizer": lw.Adam(0.01), "epochs": 60, "batch_size": 32, "engine": engine, **options}
    plain = lw.train(*problem(), **options)
    seen = lw.train(*problem(), progress=True, **options)
    for name, W in plain.params.items():
        assert W.tobytes() == seen.params[name].tobytes()
    assert plain.history.cost.tobytes() == seen.history.cost.tobytes()
    assert (plain.stop_reason, plain.steps) == (seen.stop_reason, seen.steps)


def test_short_epochs_are_run_many_at_once(capsys, monkeypatch):
    # By itself an epoch of a few microseconds would cost ten times as much.
    runs = 0
    go_on = Loop._go_on

    def counted(self):
        nonlocal runs
        runs += 1
        go_on(self)

    monkeypatch.setattr(Loop, "_go_on", counted)
    began = time.monotonic()
    lw.train(lw.Network([1, 1]), np.ones((4, 1)), np.ones(4), epochs=20_000, progress=True)
    assert runs < 20 + 40 * (time.monotonic() - began)


def test_what_is_no_truth_value_is_refused():
    with pytest.raises(lw.DataError, match="progress must be True or False; got 'bar'"):
        lw.train(*problem(), progress="bar")


def test_rich_is_imported_for_those_who_ask():
    code = """
import sys
import layerwise as lw
lw.train(lw.Network([1, 1]), [[0.0], [1.0]], [0.0, 1.0], epochs=1)
assert "rich" not in sys.modules
lw.train(lw.Network([1, 1]), [[0.0], [1.0]], [0.0, 1.0], epochs=1, progress=True)
assert "rich" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


# Standard error that is not there -------------------------------------------------------------------------------------

HEAD = """
import os, sys, time
import numpy as np
import layerwise as lw
X = np.random.default_rng(0).normal(size=(64, 3))
net = lw.Network([3, 4, 1])
"""


@posix
@pytest.mark.parametrize(
    "how",
    [
        "sys.stderr.close()",
        "sys.stderr = None",
        "os.close(2)",
        "r, w = os.pipe(); os.close(r); os.dup2(w, 2)",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
        "sys.stderr = open(os.devnull, 'w', encoding='ascii'); sys.stderr.close()",
    ],
)
def test_a_fit_outlives_standard_error(how):
    code = f"""{HEAD}
def cut(epoch):
    if epoch.number == 2:
        {how}
fit = lw.train(net, X, X[:, 0], epochs=5, on_epoch_end=cut, progress=True)
print(fit.stop_reason)
lw.train(net, X, X[:, 0], epochs=2, progress=True)
sys.stdout.flush()
os._exit(0)  # what Python itself says of the stream at its end does not matter here
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "All 5 epochs are done.\n")
    assert "Traceback" not in done.stderr


@posix
def test_a_reader_of_standard_error_that_stops(tmp_path):
    code = f"{HEAD}fit = lw.train(net, X, X[:, 0], epochs=5, on_epoch_end=lambda e: time.sleep(0.1), progress=True)\n"
    code += "print(fit.stop_reason, file=open('out', 'w'))\nos._exit(0)"
    (tmp_path / "fit.py").write_text(code)
    subprocess.run(f"{sys.executable} fit.py 2>&1 | head -n 1", shell=True, cwd=tmp_path, timeout=60, check=True)
    assert (tmp_path / "out").read_text() == "All 5 epochs are done.\n"


# Terminals ------------------------------------------------------------------------------------------------------------


def script(body: str) -> list[str]:
    return [sys.executable, "-c", HEAD + body]


def clean(sent: str) -> None:
    """The cursor is shown again, and nothing was written into the line of the bar."""
    assert sent.count("\x1b[?25l") == 1
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")


@posix
@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_a_bar_of_any_width(tmp_path, columns):
    body = """
rest = lambda epoch: time.sleep(0.02) if epoch.number % 10 else None
fit = lw.train(net, X, X[:, 0], epochs=100, validation=0.2, metric="r2", on_epoch_end=rest, progress=True)
"""
    code, sent = in_terminal(script(body), tmp_path, columns)
    assert code == 0
    clean(sent)
    bar, *rest = shown(sent)
    assert rest == [""]
    assert bar.startswith("epoch 100/100")
    assert len(bar) <= columns
    parts = ("━", "cost", "validation r2", "0:0", "samples/s")
    assert [part in bar for part in parts] == [True, columns > 39, columns > 79, columns > 79, columns > 199]
    assert sent.count("\r") < 40  # drawn a few times a second, not for every epoch


@posix
def test_time_goes_on_in_a_long_epoch(tmp_path):
    slow = "lambda true, found: time.sleep(2.3) or 0.0"
    body = f"lw.train(net, X, X[:, 0], epochs=1, validation=0.2, metric={slow}, progress=True)"
    code, sent = in_terminal(script(body), tmp_path)
    assert code == 0
    drawn = re.findall(r"epoch 0/1 .*?(0:0\d)", re.sub(r"\x1b\[[0-9;]*m", "", sent))
    assert {"0:00", "0:01", "0:02"} <= set(drawn)


@posix
@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("def stop(epoch):\n    raise KeyboardInterrupt", "TrainingInterrupted"),
        ("import _thread\ndef stop(epoch):\n    _thread.interrupt_main()", "TrainingInterrupted"),
        ("def stop(epoch):\n    raise RuntimeError('no more')", "RuntimeError: no more"),
        ("def stop(epoch):\n    sys.exit(3)", ""),
        ("X *= 1e300\nstop = None", "DivergenceWarning"),
        ("def stop(epoch):\n    return 'enough'", ""),
    ],
)
def test_whatever_ends_a_fit_leaves_the_terminal_clean(tmp_path, body, ending):
    code, sent = in_terminal(
        script(f"{body}\nlw.train(net, X, X[:, 0], epochs=1000, on_epoch_end=stop, progress=True)"), tmp_path, 120
    )
    assert code == {"DivergenceWarning": 0}.get(ending, 3 if "sys.exit" in body else 1 if ending else 0) or code == 130
    clean(sent)
    bar, *rest = shown(sent)
    assert bar.startswith("epoch ")
    assert "━" in bar
    assert not any("━" in line for line in rest)
    assert ending in "\n".join(rest)


@posix
def test_what_is_printed_stands_above_the_bar_or_goes_where_it_should(tmp_path):
    body = "lw.train(net, X, X[:, 0], epochs=3, on_epoch_end=lambda e: print('at', e.number), progress=True)"
    code, sent = in_terminal(script(body), tmp_path)
    assert code == 0
    assert [line for line in shown(sent) if line.startswith("at")] == ["at 1", "at 2", "at 3"]
    with open(tmp_path / "out.txt", "wb") as file:
        code, sent = in_terminal(script(body), tmp_path, stdout=file.fileno())
    assert code == 0
    assert (tmp_path / "out.txt").read_text() == "at 1\nat 2\nat 3\n"
    assert "at 1" not in sent


@posix
@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": "dumb", "FORCE_COLOR": "1"}])
def test_a_terminal_that_cannot_move(tmp_path, env):
    code, sent = in_terminal(script("lw.train(net, X, X[:, 0], epochs=3, progress=True)"), tmp_path, **env)
    assert code == 0
    assert "\x1b" not in sent
    assert sent.startswith("epoch 1/3: cost")
    assert sent.count("\n") == 2


def test_a_log_in_colour_is_no_terminal():
    code = f"{HEAD}lw.train(net, X, X[:, 0], epochs=3, progress=True)"
    env = {**os.environ, "FORCE_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert "\x1b[?25l" not in done.stderr
    assert "epoch 3/3: cost" in done.stderr
