"""Fits that are cut off at the command line and resumed: the same model file, to the bit."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

import layerwise as lw
from layerwise.cli import begun
from layerwise.fit import checkpoints

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
COMMAND = [sys.executable, "-m", "layerwise"]
FIT = ("fit", "t.csv", "--target", "label")
OPTIONS = ("--ignore", "odd", "--ignore", "price", "--epochs", 6, "--hidden", "8", "--validation", 0.25, "--seed", 3)


def stopped_after(monkeypatch, n):
    """Ctrl-C after the n-th checkpoint."""
    save, left = checkpoints.CheckpointFolder.save, n

    def counted(self, document, arrays):
        nonlocal left
        save(self, document, arrays)
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.CheckpointFolder, "save", counted)


def test_a_fit_goes_on_without_its_options(call, make, tmp_path, monkeypatch):
    make("t.csv", 120)
    assert call(*FIT, *OPTIONS, "--out", "whole").code == 0
    stopped_after(monkeypatch, 3)
    done = call(*FIT, *OPTIONS, "--out", "m", "--checkpoint", "folder")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert done.code == 130
    assert "Saved to m" in done.out
    assert "Note: Ctrl-C in epoch 2" in done.err
    assert done.err.endswith("Note: To go on: layerwise fit t.csv --target label --resume folder\n")
    assert len(lw.load("m").report["cost"]) == 2
    done = call(*FIT, "--resume", "folder")
    assert done.code == 0, done
    assert re.search(r"Note: Resumed after \d+ steps, 2 epochs, from .*rate-0\.01", done.err)
    assert "epoch 3/6: cost" in done.err
    assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()
    again = call(*FIT, "--resume", "folder", "--out", "again", *OPTIONS)  # there is nothing to do
    assert again.code == 0
    assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_folder_in_which_nothing_was_begun(call, make, tmp_path):
    """The same command for the first start and for any other, as a scheduler of jobs wants it."""
    make("t.csv", 60)
    assert call(*FIT, *OPTIONS, "--out", "whole").code == 0
    (tmp_path / "folder").mkdir()
    for _ in range(2):
        assert call(*FIT, *OPTIONS, "--out", "m", "--resume", "folder").code == 0
        assert (tmp_path / "m").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_may_differ_and_what_may_not(call, make, tmp_path):
    make("t.csv", 60)
    assert call(*FIT, *OPTIONS, "--checkpoint", "folder").code == 0
    for given, message in [
        (["--epochs", 7], "--epochs is 7 here and 6 in the fit that saved to folder. Leave --epochs out to go on"),
        (["--hidden", "9"], "--hidden is '9' here and '8' in the fit"),
        (["--learning-rate", 0.01], "--learning-rate is 0.01 here and not given in the fit"),
        (["--ignore", "odd"], "--ignore is 'odd' here and 'odd', 'price' in the fit"),
        (["--optimizer", "adam"], "--optimizer is 'adam' here and 'momentum'"),
    ]:
        assert message in call(*FIT, "--resume", "folder", *given).error
    error = call("fit", "t.csv", "--target", "price", "--resume", "folder").error
    assert error == "The fit that saved to folder learns 'label', not 'price'. Name its target to go on with it."
    assert call(*FIT, "--resume", "folder", "--out", "other", "--every", 5, "--max-seconds", 9, "--epochs", 6).code == 0
    assert (tmp_path / "other").exists()
    assert json.loads((tmp_path / "folder" / begun.FILE).read_text())["max_seconds"] == 9.0
    make("t.csv", 60, seed=2)
    assert re.search(r"of another fit: .*differs", call(*FIT, "--resume", "folder").error)


def test_folders_that_are_refused(call, make, tmp_path):
    make("t.csv", 30)
    before = sorted(p.name for p in tmp_path.iterdir())
    assert call(*FIT, "--resume", "nowhere").error == "There is no folder nowhere to resume from."
    assert "Give either --checkpoint" in call(*FIT, "--resume", "a", "--checkpoint", "b").error
    assert "Say where with --checkpoint DIR" in call(*FIT, "--every", 2).error
    assert "prise" in call("fit", "t.csv", "--target", "prise", "--checkpoint", "new").error
    assert sorted(p.name for p in tmp_path.iterdir()) == before  # a slip leaves nothing behind
    (tmp_path / "file").write_text("")
    assert "cannot be saved to file" in call(*FIT, "--checkpoint", "file").error
    assert call(*FIT, *OPTIONS, "--checkpoint", "folder").code == 0
    error = call(*FIT, *OPTIONS, "--checkpoint", "folder").error
    assert error == "folder holds checkpoints of an earlier fit. Resume that, or name another folder."


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense", '{"target": 3}', "\udcff"])
def test_damaged_options(call, make, tmp_path, content):
    make("t.csv", 30)
    assert call(*FIT, *OPTIONS, "--checkpoint", "folder").code == 0
    file = tmp_path / "folder" / begun.FILE
    whole = json.loads(file.read_text())
    for text in (content, json.dumps({**whole, "epochs": "many"}), json.dumps({**whole, "ignore": [1]})):
        file.write_bytes(text.encode(errors="surrogateescape"))
        error = call(*FIT, "--resume", "folder").error
        assert error.startswith(f"folder/{begun.FILE} is damaged: ")
    file.unlink()
    assert call(*FIT, *OPTIONS, "--resume", "folder").code == 0


def test_rows_of_three_kinds(call, make):
    make("t.csv", 100)
    options = ["--validation", 0.25, "--patience", 2, "--optimizer", "adam", "--learning-rate", 0.05, "--epochs", 200]
    done = call(*FIT, *options, "--ignore", "odd", "--ignore", "price", "--out", "m")
    report = lw.load("m").report
    assert (report["rows_learned"], report["rows_validation"], report["rows_held_out"]) == (60, 20, 20)
    assert re.search(r"Note: No improvement of the validation cost in 2 epochs, .* The weights are those of", done.err)
    assert report["best_epoch"] <= len(report["cost"]) < 200
    assert "validation cost" in done.err
    done = call(*FIT, "--epochs", 10**6, "--max-seconds", 0.2, "--out", "m")
    assert "Note: The 0.2 seconds of max_seconds are over" in done.err


def test_options_of_validation_that_cannot_be(call, make):
    make("t.csv", 30)
    assert "Give validation too" in call(*FIT, "--patience", 3).error
    assert "validation must be a share" in call(*FIT, "--validation", 1).error
    assert "Did you mean 'adam'" in call(*FIT, "--optimizer", "adm").error
    assert "max_seconds" in call(*FIT, "--max-seconds", 0).error


# Signals --------------------------------------------------------------------------------------------------------------

LONG = ["--ignore", "odd", "--ignore", "price", "--epochs", "150", "--validation", "0.2"]


def start(folder, *args):
    command = [*COMMAND, *FIT, *map(str, args)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@posix
def test_kill_9_at_random_instants(make, tmp_path):
    make("t.csv", 1000)
    whole = start(tmp_path, *LONG, "--out", "whole")
    whole.communicate(timeout=120)
    assert whole.returncode == 0
    expected = (tmp_path / "whole").read_bytes()
    draw = random.Random(7)
    kills = steps = 0
    fit = 0
    while kills < int(os.environ.get("LAYERWISE_KILLS", "8")):
        folder = tmp_path / f"folder{fit}"
        if folder.exists():
            running = start(tmp_path, "--resume", folder)  # nothing is repeated
        else:
            running = start(tmp_path, *LONG, "--checkpoint", folder, "--out", "m")
        deadline = time.monotonic() + 60
        seen = len(list(folder.glob("rate-*/*")))
        while running.poll() is None and len(list(folder.glob("rate-*/*"))) == seen and time.monotonic() < deadline:
            time.sleep(0.002)  # Python starts; half of the kills come before anything is done
            if kills % 2 and draw.random() < 0.01:
                break
        time.sleep(draw.random() * 0.3)
        running.kill()
        _, err = running.communicate(timeout=60)
        if running.returncode == 0:  # it was done before
            assert (tmp_path / "m").read_bytes() == expected
            (tmp_path / "m").unlink()
            fit, steps = fit + 1, 0
            continue
        assert running.returncode == -signal.SIGKILL, err
        kills += 1
        assert not (tmp_path / "m").exists()
        if list(folder.glob("rate-*/*.layerwise-checkpoint")):
            reached = checkpoints.read_newest(folder / "rate-0.01").document["position"]["steps"]
            assert reached >= steps
            steps = reached
    folder = tmp_path / f"folder{fit}"
    last = start(
        tmp_path, *(["--resume", folder] if folder.exists() else [*LONG, "--out", "m", "--checkpoint", folder])
    )
    _, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert (tmp_path / "m").read_bytes() == expected


@posix
def test_ctrl_c_saves_model_and_checkpoint(make, tmp_path):
    make("t.csv", 400)
    running = start(tmp_path, "--epochs", 400, "--every", 100_000, "--checkpoint", "folder", "--out", "m")
    assert running.stderr is not None
    while "epoch 1/" not in running.stderr.readline():
        pass
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "Saved to m" in out
    done = len(lw.load(tmp_path / "m").report["cost"])
    assert len(checkpoints.read_newest(tmp_path / "folder" / "rate-0.01").arrays["history/cost"]) == done
    again = start(tmp_path, "--resume", "folder")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert len(lw.load(tmp_path / "m").report["cost"]) == 400
