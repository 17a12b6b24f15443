"""What only a process shows: streams, signals, pipes, terminals, full disks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import in_terminal

import layerwise as lw
from layerwise.table.read import read_table

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, pipes and terminals")
COMMAND = [sys.executable, "-m", "layerwise"]
OPTIONS = ["target", "out", "task", "hidden", "activation", "epochs", "batch-size", "learning-rate", "held-out"]
OPTIONS += ["ignore", "seed", "help"]


def test_help_names_every_option(process):
    done = process("--help")
    assert (done.code, done.err) == (0, "")
    assert all(command in done.out for command in ("fit", "predict", "score", "show", "--version"))
    for width in ("60", "100"):
        done = process("fit", "--help", env={"COLUMNS": width})
        assert max(map(len, done.out.splitlines())) <= int(width)
        for option in OPTIONS:
            # The option, its value, and the first word of its help stand on one line.
            assert re.search(rf"--{option} +\S.* [A-Za-z]\w+", done.out), option
    assert "--probabilities" in process("predict", "--help").out


def test_version(process):
    assert process("--version").out == f"layerwise {lw.__version__}\n"


def test_the_installed_command():
    script = Path(sys.executable).with_name("layerwise")
    if not script.exists():
        pytest.skip("layerwise is not installed as a command here")
    assert subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout.startswith("layer")


def test_fit_in_one_process_and_predict_in_another(process, make, tmp_path):
    make("t.csv", 60)
    fitted = process("fit", "t.csv", "--target", "odd", "--epochs", "2", "--out", "m", env={"PYTHONWARNINGS": "error"})
    assert fitted.code == 0, fitted
    assert "Score on 12 rows held out" in fitted.out
    assert "epoch" not in fitted.out
    assert "Score" not in fitted.err
    predicted = process("predict", "m", "t.csv", env={"PYTHONWARNINGS": "error"})
    assert predicted.code == 0
    table = read_table(tmp_path / "t.csv")
    expected = [str(label) for label in lw.load(tmp_path / "m").predict(table)]
    (tmp_path / "back.csv").write_text(predicted.out, newline="")
    assert read_table(tmp_path / "back.csv").column("odd").tolist() == expected


@pytest.mark.parametrize(
    "args",
    [
        ("fit", "nothing.csv", "--target", "x"),
        ("fit", "t.csv", "--target", "labell"),
        ("predict", "t.csv", "t.csv"),
        ("score", "nothing", "t.csv"),
    ],
)
def test_an_error_is_one_message_on_standard_error(process, make, args):
    make("t.csv", 10)
    done = process(*args)
    assert done.error
    assert done.out == ""


def test_two_processes_write_the_same_file(process, make, tmp_path):
    make("t.csv", 60)
    for name, seed in (("a", "1"), ("b", "2")):
        done = process("fit", "t.csv", "--target", "odd", "--epochs", "2", "--out", name, env={"PYTHONHASHSEED": seed})
        assert done.code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# Ctrl-C --------------------------------------------------------------------------------------------------------------


@posix
def test_ctrl_c_saves_what_was_learned(make, tmp_path):
    make("t.csv", 400)
    with subprocess.Popen(
        [*COMMAND, "fit", "t.csv", "--target", "label", "--epochs", "1000000", "--out", "m"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as running:
        assert running.stderr is not None
        while "epoch 1/" not in running.stderr.readline():
            pass
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in err
    assert re.search(r"Note: Ctrl-C in epoch \d+, after \d+ steps in all; their weights are kept\.", err)
    assert "Saved to m" in out
    assert "Score on 80 rows held out" in out
    assert len(lw.load(tmp_path / "m").predict(read_table(tmp_path / "t.csv"))) == 400


@posix
def test_ctrl_c_while_reading(tmp_path):
    # A named pipe would be refused, so the table is long instead: about 10 s of reading.
    with (tmp_path / "t.csv").open("w") as file:
        file.write("x,y,label\n")
        block = "".join(f"{i / 7:.5f},{i % 11},{'ab'[i % 2]}\n" for i in range(20_000))
        for _ in range(100):
            file.write(block)
    code = (
        "import os, signal, sys, threading\n"
        "from layerwise.cli import main as cli\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "sys.argv = ['layerwise', 'fit', 't.csv', '--target', 'label', '--out', 'm']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 130
    assert done.stderr == ""
    assert not (tmp_path / "m").exists()


# Streams -------------------------------------------------------------------------------------------------------------


@posix
def test_a_reader_that_stops(make, trained, tmp_path):
    make("t.csv", 30_000, "size", "colour", "zone")
    command = f"{sys.executable} -m layerwise predict {trained('odd')} t.csv --probabilities | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.startswith("odd,")
    assert done.stderr == ""


@posix
@pytest.mark.parametrize("command", ["show", "predict"])
def test_a_full_standard_output(make, trained, tmp_path, command):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    make("t.csv", 5)
    args = [str(trained("label")), *(["t.csv"] if command == "predict" else [])]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, command, *args], stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=60
        )
    assert done.returncode == 2
    assert done.stderr == "Error: The output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_streams_of_any_encoding(process, make, trained, encoding):
    make("t.csv", 30)
    env = {"PYTHONIOENCODING": encoding}
    # The table is UTF-8 whatever the terminal is; the rest shows what it can.
    assert process("predict", trained("odd"), "t.csv", env=env).code == 0
    done = subprocess.run([*COMMAND, "show", str(trained("odd"))], capture_output=True, env={**os.environ, **env})
    assert done.returncode == 0
    assert ("n\\xe9" if encoding == "ascii" else "né").encode(encoding) in done.stdout


def test_predictions_on_standard_output_are_the_file(process, make, trained, tmp_path):
    make("t.csv", 30)
    assert process("predict", trained("odd"), "t.csv", "--out", "o.csv").code == 0
    done = subprocess.run(
        [*COMMAND, "predict", str(trained("odd")), "t.csv"],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout == (tmp_path / "o.csv").read_bytes()


# Terminals -----------------------------------------------------------------------------------------------------------


FIT = ["fit", "t.csv", "--target", "label", "--epochs", "40", "--out", "m"]


@posix
@pytest.mark.parametrize("columns", [40, 80])
def test_a_bar_in_a_terminal(make, tmp_path, columns):
    make("t.csv", 200)
    code, sent = in_terminal([*COMMAND, *FIT], tmp_path, columns)
    assert code == 0
    assert "epoch  0/40" in sent
    assert "━" in sent
    assert "\x1b[?25l" in sent  # the cursor is hidden while the bar moves
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")  # and shown again
    assert not re.search(r"epoch 1/40: cost", sent)
    assert "Saved to" in sent
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", sent).splitlines()
    assert max(len(line) for line in plain if "┃" in line or "│" in line) <= columns


@posix
def test_no_colour_and_dumb_terminals(make, tmp_path):
    make("t.csv", 200)
    _, sent = in_terminal([*COMMAND, *FIT], tmp_path, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][;m]", sent)
    code, sent = in_terminal([*COMMAND, *FIT], tmp_path, TERM="dumb")
    assert code == 0
    assert "\x1b" not in sent
    assert "epoch 40/40: cost" in sent


# Disks ---------------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from layerwise.cli.main import main
main()
"""


@posix
@pytest.mark.parametrize("command", ["fit", "predict"])
def test_a_full_disk_leaves_the_old_file(make, trained, tmp_path, command):
    make("t.csv", 2000)
    out = tmp_path / ("m" if command == "fit" else "o.csv")
    out.write_bytes(b"old")
    args = {
        "fit": ["fit", "t.csv", "--target", "label", "--epochs", "1", "--out", "m"],
        "predict": ["predict", str(trained("odd")), "t.csv", "--out", "o.csv"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *args], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["t.csv", out.name])


@posix
def test_a_folder_that_cannot_be_written_is_refused_before_the_training(make, tmp_path):
    make("t.csv", 20)
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write everywhere; test_refused replaces the system's answer")
    done = subprocess.run([*COMMAND, *FIT[:-1], "closed/m"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the folder 'closed' cannot be written to" in done.stderr
