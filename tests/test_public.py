"""The public face: its names, what importing it costs and touches, and that its examples are true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import types
import warnings
import zlib
from pathlib import Path

import pytest

import layerwise as lw

HEAVY = ["sklearn", "pandas", "polars", "pyarrow", "duckdb", "narwhals", "rich", "typer", "scipy", "torch"]


def run(code, *flags):
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_is_the_public_names_in_order():
    # Constants, then classes, then functions, each sorted: the order that the linter keeps too.
    assert list(lw.__all__) == sorted(lw.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert len(set(lw.__all__)) == len(lw.__all__)
    public = {
        name
        for name, value in vars(lw).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }
    assert public == set(lw.__all__)


def test_a_version():
    assert lw.__version__.count(".") >= 2


@pytest.mark.parametrize("name", sorted(lw.__all__))
def test_every_public_name_is_explained(name):
    value = getattr(lw, name)
    doc = value.doc if isinstance(value, lw.Op) else inspect.getdoc(value)
    assert doc
    assert doc.strip()
    if isinstance(value, type):
        # Not the docstring of a base class, nor the signature that a dataclass writes for itself.
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}(")


@pytest.mark.parametrize("name", sorted(n for n in lw.__all__ if isinstance(getattr(lw, n), type)))
def test_public_methods_are_explained(name):
    for method, value in vars(getattr(lw, name)).items():
        if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(getattr(getattr(lw, name), method)), f"{name}.{method}"


def test_every_public_class_is_at_home_in_this_library():
    for name in lw.__all__:
        value = getattr(lw, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__.startswith("layerwise.")


def test_errors_are_the_built_in_ones_too():
    errors = [e for e in vars(lw).values() if isinstance(e, type) and issubclass(e, lw.LayerwiseError)]
    assert len(errors) > 5
    assert all(issubclass(e, ValueError) for e in errors if e is not lw.LayerwiseError)
    assert issubclass(lw.TrainingInterrupted, KeyboardInterrupt)


def test_importing_brings_numpy_and_no_other_library():
    code = f"""
import json, sys, numpy
before = set(sys.modules)
import layerwise
came = {{m.split(".")[0] for m in set(sys.modules) - before}}
others = came - set(sys.stdlib_module_names) - {{"layerwise", "numpy"}}
print(json.dumps([sorted(came & set({HEAVY!r})), sorted(others)]))
"""
    heavy, others = run(code)
    assert heavy == []
    assert others == []


def test_importing_is_quick(tmp_path, monkeypatch):
    # The one test of time: a slow import is felt at every start of the command line, and creeps in unseen with one
    # careless import at the top of a file. 0.15 s are promised, of which NumPy takes 0.06 on a quiet machine; beside
    # other work everything takes longer, so NumPy is the measure. Processor time, and the best of several runs.
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))  # as where it is installed: compiled by the first run
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    code = """
import json, time
began = time.process_time()
import numpy
between = time.process_time()
import layerwise
print(json.dumps((time.process_time() - between) / (between - began)))
"""
    assert min(run(code) for _ in range(6)) < 1.5  # 0.6 when this was written


def test_the_first_fit_loads_no_masked_arrays():
    # numpy.ma is 10 ms, as much as all else that comes before the first step of a small network.
    code = """
import json, sys
import numpy as np
import layerwise as lw
lw.train(lw.Network([2, 3, 1]), np.ones((4, 2)), np.ones(4), epochs=1)
print(json.dumps("numpy.ma" in sys.modules))
"""
    assert not run(code)


def test_a_wheel_stays_small():
    # 5 MB at most, compressed as a wheel is; it holds the package and the compiled module.
    package = Path(str(lw.__file__)).parent
    native = Path(str(importlib.import_module("layerwise._native").__file__))
    files = {native, *(p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts)}
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 5e6


def test_importing_touches_nothing():
    code = """
import json, locale, os, random, signal, sys, threading, warnings
import numpy as np
random.seed(1); np.random.seed(1)
def state():
    return [
        repr(warnings.filters),
        np.geterr(), repr(np.geterrcall()), np.get_printoptions(),
        [repr(signal.getsignal(s)) for s in sorted(signal.valid_signals())],
        locale.setlocale(locale.LC_ALL), os.getcwd(), dict(os.environ), sys.path, sys.getrecursionlimit(),
        repr(random.getstate()), repr(np.random.get_state()), threading.active_count(), repr(sys.excepthook),
        repr(float(np.float64(5e-324) * 1.0)),  # subnormal numbers are not flushed to 0
    ]
before = state()
import layerwise
X = [[0.0, 1.0]] * 4
layerwise.train(layerwise.Network([2, 3, 1]), X, [1.0] * 4, epochs=1)
after = state()
print(json.dumps([[a, b] for a, b in zip(map(repr, before), map(repr, after)) if a != b]))
"""
    assert run(code, "-W", "error") == []


def modules():
    yield lw
    for found in pkgutil.walk_packages(lw.__path__, "layerwise."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    seen = set()
    for module in modules():
        for test in finder.find(module, module.__name__):
            if test.examples and test.name not in seen:
                seen.add(test.name)
                yield test


@pytest.mark.parametrize("example", list(examples()), ids=lambda test: test.name)
def test_examples_in_docstrings(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
        failed = runner.run(example, out=report.append).failed
    assert not failed, "".join(report)


def test_the_reference_pages_name_everything_public():
    """The page of operations prints every `Op`; all other names stand on the page of public names, once."""
    page = (Path(__file__).parents[1] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto\w+:: (\w+)$", page, flags=re.MULTILINE)
    ops = {name for name in lw.__all__ if isinstance(getattr(lw, name), lw.Op)}
    assert sorted(listed) == sorted(set(lw.__all__) - ops)
