"""The pool of threads: every index once, exceptions, callers at once, forks, signals, quotas.

The pool without Python, also under sanitizers, is hammered by pool_test.cpp beside this file.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

# The pool has no Python face of its own: the engine calls it from C++. So its tests go past the engine.
from layerwise import _native  # noqa: TID251

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pool is written for POSIX threads")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

TEAMS = [1, 2, 3, 8, 64]


def in_new_process(program: str, *, seconds: float = 20, expect: int = 0, env: dict[str, str] | None = None) -> str:
    """Run the program in an interpreter of its own; what it printed."""
    done = subprocess.run(
        # Not -W error: Python 3.12 warns of any fork with threads, which is what is tested here.
        [sys.executable, "-c", "import os, sys, time\nfrom layerwise import _native\n" + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=os.environ | (env or {}),
        check=False,
    )
    assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
    return done.stdout.strip()


# Every index once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", TEAMS)
def test_every_index_runs_exactly_once(n: int) -> None:
    # pool_run itself raises where an index did not run exactly once.
    tasks = 2 * n + 1
    expected = [t % n for t in range(tasks)]
    for i in range(2000 if n <= 8 else 500):
        assert _native.pool_run(n, tasks, i % 2) == expected


@pytest.mark.parametrize("n", TEAMS)
def test_every_index_runs_once_when_the_workers_had_fallen_asleep(n: int) -> None:
    for _ in range(20):
        time.sleep(0.002)
        assert _native.pool_run(n, n, 1) == list(range(n))


def test_more_indices_than_workers_there_can_be() -> None:
    assert in_new_process("print(_native.pool_run(700, 700, 0) == list(range(700)))") == "True"


def test_a_team_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="n_threads must be at least 1; got 0"):
        _native.pool_run(0, 1, 0)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1_000_003])
def test_sums_have_the_same_bits_for_any_number_of_threads(size: int) -> None:
    x = np.random.default_rng(7).normal(size=size)
    sums = {float(_native.pool_sum(x, n)).hex() for n in TEAMS for _ in range(5)}
    assert len(sums) == 1
    # Summation loses at most size · eps of the sum of absolute values (Higham); math.fsum is exact.
    assert float.fromhex(sums.pop()) == pytest.approx(math.fsum(x), abs=size * 2.3e-16 * float(np.abs(x).sum()) + 0.0)


def test_workers_are_kept() -> None:
    program = """
        assert _native.pool_workers() == 0
        for _ in range(100): _native.pool_run(4, 4, 10)
        for _ in range(100): _native.pool_run(3, 4, 10)
        print(_native.pool_workers())
    """
    assert in_new_process(program) == "3"


# Exceptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "index"), [(1, 0), (2, 0), (2, 1), (3, 1), (8, 0), (8, 7), (64, 33)])
def test_the_exception_of_the_lowest_index_comes_out(n: int, index: int) -> None:
    for _ in range(20):
        with pytest.raises(RuntimeError, match=f"^task {index} failed$"):
            _native.pool_throw(n, index)
        assert _native.pool_run(n, n, 0) == list(range(n))


def test_memory_that_runs_out_in_a_worker_is_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        _native.pool_throw(3, 1, memory=True)
    _native.pool_throw(3, 3)  # no such index: nothing is thrown


# Callers at once -------------------------------------------------------------------------------------


def test_several_python_threads_at_once() -> None:
    x = np.random.default_rng(8).normal(size=50_000)
    expected = _native.pool_sum(x, 1)
    wrong: list[object] = []

    def caller(n: int) -> None:
        for i in range(200):
            if _native.pool_sum(x, n) != expected:
                wrong.append((n, i, "sum"))
            if _native.pool_run(n, n, i % 20) != list(range(n)):
                wrong.append((n, i, "run"))
            try:
                _native.pool_throw(n, n - 1)
            except RuntimeError as error:
                if str(error) != f"task {n - 1} failed":
                    wrong.append(error)

    callers = [threading.Thread(target=caller, args=(n,)) for n in (2, 2, 3, 8, 1, 64)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert wrong == []


# Forks -----------------------------------------------------------------------------------------------

FORKED = """
    import multiprocessing

    def work(queue):
        before = _native.pool_workers()
        queue.put((before, _native.pool_run(3, 3, 10), _native.pool_workers()))

    def children(method, count=3):
        context = multiprocessing.get_context(method)
        for _ in range(count):
            queue = context.SimpleQueue()
            child = context.Process(target=work, args=(queue,))
            child.start()
            child.join(10)
            assert child.exitcode == 0, child.exitcode
            assert queue.get() == (0, [0, 1, 2], 2)
"""


def test_fork_before_the_pool_is_used() -> None:
    in_new_process(FORKED + "    children('fork')\n    assert _native.pool_workers() == 0")


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_fork_of_an_idle_pool(pause: float) -> None:
    program = f"""
    for _ in range(5):
        _native.pool_run(4, 4, 10)
        time.sleep({pause})
        children('fork', 1)
    assert _native.pool_workers() == 3
    """
    in_new_process(FORKED + program)


def test_fork_while_another_thread_runs() -> None:
    program = """
    import threading
    over = False

    def busy():
        while not over:
            _native.pool_run(3, 30, 20)

    thread = threading.Thread(target=busy)
    thread.start()
    children('fork', 20)
    over = True
    thread.join()
    """
    in_new_process(FORKED + program)


def test_fork_of_a_fork() -> None:
    program = """
        _native.pool_run(3, 3, 10)
        for _ in range(3):
            child = os.fork()
            if child:
                _, status = os.waitpid(child, 0)
                os._exit(os.waitstatus_to_exitcode(status))
            assert _native.pool_workers() == 0
            _native.pool_run(3, 3, 10)
        os._exit(7)
    """
    in_new_process(program, expect=7)


def test_spawn_beside_a_running_pool(tmp_path: Path) -> None:
    script = tmp_path / "spawning.py"
    script.write_text(
        "from layerwise import _native\n"
        + textwrap.dedent(FORKED)
        + "if __name__ == '__main__':\n    _native.pool_run(3, 3, 10)\n    children('spawn', 1)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


# What the process sees of it -------------------------------------------------------------------------


@linux
def test_nothing_happens_at_import() -> None:
    program = """
        import signal
        threads = len(os.listdir("/proc/self/task"))
        assert threads == 1, threads
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert _native.pool_workers() == 0
    """
    # The numbers libraries start threads of their own unless told not to.
    in_new_process(program, env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})


@linux
def test_workers_block_the_signals_that_python_handles() -> None:
    program = """
        import signal
        tasks = "/proc/self/task"
        names = lambda: {int(t): open(f"{tasks}/{t}/comm").read().strip() for t in os.listdir(tasks)}
        mine = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        _native.pool_run(3, 300, 10)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mine
        until = time.monotonic() + 60
        workers = []
        while len(workers) < 2 and time.monotonic() < until:  # a busy machine lets them start when it likes
            workers = [t for t, name in names().items() if name == "layerwise"]
            time.sleep(0.01)
        assert len(workers) == 2, names()
        for worker in workers:
            status = dict(line.split(":", 1) for line in open(f"/proc/self/task/{worker}/status"))
            blocked = int(status["SigBlk"], 16)
            for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF, signal.SIGCHLD):
                assert blocked >> (s - 1) & 1, s
            for s in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE):
                assert not blocked >> (s - 1) & 1, s
    """
    in_new_process(program)


@pytest.mark.parametrize("n", [1, 3])
def test_ctrl_c_interrupts_native_work(n: int) -> None:
    program = f"""
        import signal, threading
        sent = []
        def send():
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Timer(0.2, send).start()
        try:
            _native.pool_interruptible({n}, 15.0)
        except KeyboardInterrupt:
            print(time.monotonic() - sent[0])
    """
    # 10 ms between checks and a stage; the rest is for a busy machine.
    assert float(in_new_process(program)) < 1.0


def test_work_without_a_signal_is_not_interrupted() -> None:
    assert _native.pool_interruptible(2, 0.05) > 0


def test_an_idle_pool_uses_no_processor() -> None:
    program = """
        import resource
        def used():
            r = resource.getrusage(resource.RUSAGE_SELF)
            return r.ru_utime + r.ru_stime
        _native.pool_run(8, 800, 10)
        time.sleep(0.05)
        before = used()
        time.sleep(0.5)
        print(used() - before)
    """
    assert float(in_new_process(program)) < 0.01


REFUSED = """
    for _ in range(50):
        assert _native.pool_run(8, 80, 5) == [t % 8 for t in range(80)]
    try:
        _native.pool_throw(8, 5)
    except RuntimeError as error:
        assert str(error) == "task 5 failed"
    print(_native.pool_workers())
"""


@linux
def test_threads_that_the_system_refuses() -> None:
    # The limit holds for no privileged user, so the process first becomes nobody.
    program = """
    import resource
    if os.getuid() == 0:
        os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
    """
    assert in_new_process(program + REFUSED) == "0"


@linux
def test_threads_for_which_there_is_no_memory() -> None:
    program = """
    import resource
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    # Room for two stacks of 2 MiB and not for seven.
    resource.setrlimit(resource.RLIMIT_AS, (size + (6 << 20), size + (6 << 20)))
    """
    assert 0 <= int(in_new_process(program + REFUSED)) < 7


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_fewer_threads_than_asked_for(limit: int) -> None:
    assert in_new_process(f"\n    _native.pool_limit_workers({limit})\n" + REFUSED) == str(limit)


FOREVER = """
import threading
def forever():
    while True:
        _native.pool_run(3, 30, 10)
        try:
            _native.pool_interruptible(2, 0.02)
        except KeyboardInterrupt:
            pass
_native.pool_run(8, 80, 10)
"""


@pytest.mark.parametrize(
    ("ending", "expect"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("os._exit(4)", 4),
        ("threading.Thread(target=forever, daemon=True).start()\ntime.sleep(0.05)", 0),
        ("for _ in range(4): threading.Thread(target=forever, daemon=True).start()\ntime.sleep(0.1)\nsys.exit(5)", 5),
    ],
    ids=["end", "exit", "at once", "beside a daemon thread", "beside daemon threads"],
)
def test_the_interpreter_ends(ending: str, expect: int) -> None:
    started = time.monotonic()
    for _ in range(3):
        in_new_process(FOREVER + ending, expect=expect)
    assert time.monotonic() - started < 20


# Processors ------------------------------------------------------------------------------------------

V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


def tree(root: Path, groups: str | None, mounts: str | None, **files: str) -> str:
    """A false /proc and /sys; a file's name has __ for /."""
    contents = {f"sys/fs/cgroup/{name.replace('__', '/')}": text for name, text in files.items()}
    if groups is not None:
        contents["proc/self/cgroup"] = groups
    if mounts is not None:
        contents["proc/self/mountinfo"] = mounts
    for name, text in contents.items():
        path = root / name.replace("@", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 0),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("200000 100000\n", 2),
        ("200001 100000\n", 3),
        ("1000 100000\n", 1),
        ("6400000 100000", 64),
        ("50000 20000\n", 3),
        ("", 0),
        ("\n", 0),
        ("max\n", 0),
        ("100000\n", 0),
        ("100000 0\n", 0),
        ("0 100000\n", 0),
        ("-1 100000\n", 0),
        ("a b\n", 0),
        ("1e5 100000\n", 0),
        ("100000 100000 7\n", 0),
        ("99999999999999999999999 100000\n", 0),
        ("9223372036854775807 1\n", 0),
        ("\0\0\0", 0),
    ],
)
def test_quota_of_version_2(tmp_path: Path, text: str, expected: int) -> None:
    root = tree(tmp_path, "0::/user/job\n", V2, **{"user__job__cpu@max": text})
    assert _native.quota_processors(root) == expected


def test_version_2_takes_the_tightest_group_above(tmp_path: Path) -> None:
    files = {"cpu@max": "800000 100000", "a__cpu@max": "300000 100000", "a__b__cpu@max": "max 100000"}
    assert _native.quota_processors(tree(tmp_path, "0::/a/b/c\n", V2, **files)) == 3
    assert _native.quota_processors(tree(tmp_path, "0::/\n", V2)) == 8
    assert _native.quota_processors(tree(tmp_path, "0::/d/\n", V2)) == 8
    # A group outside of what this namespace shows: the mount point alone.
    assert _native.quota_processors(tree(tmp_path, "0::/../a\n", V2)) == 8


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("-1\n", "100000\n", 0),
        ("250000\n", "100000\n", 3),
        ("50000\n", "100000\n", 1),
        ("100000\n", None, 0),
        (None, "100000\n", 0),
        ("100000\n", "0\n", 0),
        ("many\n", "100000\n", 0),
    ],
)
def test_quota_of_version_1(tmp_path: Path, quota: str | None, period: str | None, expected: int) -> None:
    folder = "cpu,cpuacct__docker__1234__cpu@cfs_"
    files = {f"{folder}{k}_us": v for k, v in (("quota", quota), ("period", period)) if v is not None}
    groups = "12:pids:/docker/1234\n4:cpu,cpuacct:/docker/1234\n2:cpuset:/\n"
    assert _native.quota_processors(tree(tmp_path, groups, V1, **files)) == expected


def test_version_1_walks_up_too(tmp_path: Path) -> None:
    files = {"a__b": "400000", "a": "200000"}
    files = {f"cpu,cpuacct__{g}__cpu@cfs_quota_us": v for g, v in files.items()} | {
        f"cpu,cpuacct__{g}__cpu@cfs_period_us": "100000" for g in files
    }
    assert _native.quota_processors(tree(tmp_path, "4:cpu,cpuacct:/a/b\n", V1, **files)) == 2


def test_a_container_that_is_shown_its_own_group_as_the_mount_point(tmp_path: Path) -> None:
    mounts = "31 20 0:27 /docker/12 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
    files = {"cpu__cpu@cfs_quota_us": "150000", "cpu__cpu@cfs_period_us": "100000"}
    assert _native.quota_processors(tree(tmp_path, "4:cpu:/docker/12\n", mounts, **files)) == 2
    # /docker/123 only begins with the same letters.
    assert _native.quota_processors(tree(tmp_path, "4:cpu:/docker/123\n", mounts)) == 2


def test_both_versions_at_once(tmp_path: Path) -> None:
    files = {
        "unified__job__cpu@max": "500000 100000",
        "cpu__job__cpu@cfs_quota_us": "300000",
        "cpu__job__cpu@cfs_period_us": "100000",
    }
    mounts = "1 0 0:1 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    mounts += "2 0 0:2 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n"
    assert _native.quota_processors(tree(tmp_path, "1:cpu:/job\n0::/job\n", mounts, **files)) == 3


@pytest.mark.parametrize("mounts", [None, "", "odd\n - \n- cgroup2\n 1 2 - cgroup2 a b\n", "\0\xff" * 100])
def test_mounts_that_cannot_be_read_are_sought_where_they_usually_are(tmp_path: Path, mounts: str | None) -> None:
    root = tree(tmp_path, "0::/job\n", mounts, **{"job__cpu@max": "200000 100000"})
    assert _native.quota_processors(root) == 2


@pytest.mark.parametrize("groups", [None, "", "\n", ":::\n", "0::\n", "0::job\n", "odd", "0::/missing\n", "\0" * 9000])
def test_groups_that_cannot_be_read_are_no_quota(tmp_path: Path, groups: str | None) -> None:
    root = tree(tmp_path, groups, V2)
    assert _native.quota_processors(root) == 0
    assert _native.usable_processors(root) == _native.usable_processors("/nowhere") >= 1


def test_odd_files_are_no_quota(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/a/b\n", V2)
    (tmp_path / "sys/fs/cgroup/a/b/cpu.max").mkdir(parents=True)
    # A pipe that nobody writes: reading must not wait.
    os.mkfifo(tmp_path / "sys/fs/cgroup/a/cpu.max")
    assert _native.quota_processors(root) == 0


def test_a_mount_point_with_a_blank(tmp_path: Path) -> None:
    mounts = r"30 20 0:26 / /sys/fs/cgroup/a\040b rw - cgroup2 cgroup2 rw" + "\n"
    root = tree(tmp_path, "0::/\n", mounts, **{"a b__cpu@max": "700000 100000"})
    assert _native.quota_processors(root) == 7


def test_usable_processors_are_the_fewer_of_quota_and_affinity(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/\n", V2, **{"cpu@max": "50000 100000"})
    assert _native.usable_processors(root) == 1
    root = tree(tmp_path, "0::/\n", V2, **{"cpu@max": "99999900000 100000"})
    assert _native.usable_processors(root) == _native.usable_processors("/nowhere")


@linux
def test_affinity_is_read() -> None:
    program = """
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        print(_native.usable_processors())
    """
    assert in_new_process(program, env={"LAYERWISE_NUM_THREADS": ""}) == "1"
    assert _native.usable_processors("/nowhere") == len(os.sched_getaffinity(0))


@pytest.fixture
def fresh_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LAYERWISE_NUM_THREADS", raising=False)
    _native.set_usable_processors(0)
    yield monkeypatch
    _native.set_usable_processors(0)


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("7", 7), (" 12 ", 12), ("512", 512)])
def test_the_environment_sets_the_number(fresh_count: pytest.MonkeyPatch, text: str, expected: int) -> None:
    fresh_count.setenv("LAYERWISE_NUM_THREADS", text)
    assert _native.usable_processors() == expected


@pytest.mark.parametrize("text", ["0", "-2", "513", "two", "2.0", "1,2", "0x4", "99999999999999999999"])
def test_an_environment_that_makes_no_sense_is_refused(fresh_count: pytest.MonkeyPatch, text: str) -> None:
    fresh_count.setenv("LAYERWISE_NUM_THREADS", text)
    with pytest.raises(ValueError, match=f'LAYERWISE_NUM_THREADS must be an integer from 1 to 512; got "{text}"'):
        _native.usable_processors()
    fresh_count.delenv("LAYERWISE_NUM_THREADS")
    assert _native.usable_processors() >= 1


def test_the_number_is_read_once_and_can_be_set(fresh_count: pytest.MonkeyPatch) -> None:
    first = _native.usable_processors()
    fresh_count.setenv("LAYERWISE_NUM_THREADS", str(first + 1))
    assert _native.usable_processors() == first
    _native.set_usable_processors(5)
    assert _native.usable_processors() == 5
    _native.set_usable_processors(0)
    assert _native.usable_processors() == first + 1
    for wrong in (-1, 513):
        with pytest.raises(ValueError, match="must be an integer from 1 to 512"):
            _native.set_usable_processors(wrong)


# Threads for a piece of work -------------------------------------------------------------------------


def test_small_work_is_worth_one_thread() -> None:
    for flops in (0, 1, 1e5, -1e9, -math.inf, math.nan):
        assert _native.threads_for(flops, 64) == 1


@pytest.mark.parametrize("available", [1, 2, 3, 8, 64])
def test_more_work_is_never_worth_fewer_threads(available: int) -> None:
    counts = [_native.threads_for(flops, available) for flops in np.geomspace(1, 1e12, 2000)]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == available
    assert _native.threads_for(math.inf, available) == available


@pytest.mark.parametrize("available", [-1, 0])
def test_one_thread_where_none_is_available(available: int) -> None:
    assert _native.threads_for(1e12, available) == 1


def microseconds(flops: float, available: int) -> float:
    """A stage, by 30 operations per nanosecond and thread, and 0.15 µs for each thread besides the caller's."""
    threads = _native.threads_for(flops, available)
    return flops / 30e3 / threads + 0.15 * (threads - 1)


def test_a_larger_stage_is_never_slower_for_a_thread_more() -> None:
    works = np.linspace(1e3, 60e6, 20_001)
    threads = np.array([_native.threads_for(w, 64) for w in works])
    times = np.array([microseconds(w, 64) for w in works])
    # At the same number of threads more work takes longer; where a thread is added the time must fall.
    jumps = np.flatnonzero(np.diff(threads))
    assert threads[-1] == 64
    assert np.all(np.diff(threads)[jumps] == 1)
    assert np.all(times[jumps + 1] <= times[jumps])


@pytest.mark.parametrize("available", [2, 3, 8, 64])
def test_no_width_takes_longer_for_its_threads_than_its_work_is_more(available: int) -> None:
    # The products of a training step [w, w, w] with 128 rows, each a stage, for the widths that bench/widths.py times.
    works = np.array([2.0 * 128 * w * w for w in range(1, 301)])
    times = np.array([microseconds(work, available) for work in works])
    assert _native.threads_for(works[-1], available) == min(available, 39)
    assert np.all(times[1:] / times[:-1] <= works[1:] / works[:-1] * (1 + 1e-12))
