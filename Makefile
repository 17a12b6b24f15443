# The front door. Every target makes the environment it needs; nothing outside this folder is written
# but the caches of the tools.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-parity sanitize lint types bench docs wheel clean distclean

# The first Python that is at least 3.11; "make PYTHON=..." chooses another.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

BIN := .venv/bin
PARITY := .venv-parity/bin
BENCH := .venv-bench/bin
BUILD_INPUTS := pyproject.toml CMakeLists.txt $(wildcard native/*)

# Two test processes with one arithmetic thread each: two cores are used and not contended for.
WORKERS ?= 2
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# $(call environment,FOLDER): a virtual environment, kept if it is there.
define environment
	@test -n "$(PYTHON)" || { echo "layerwise needs Python 3.11 or newer, and found none (tried python3.11, python3). \
	Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else \
	"layerwise needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name a newer one: make PYTHON=..." % v)'
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

comma := ,
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.venv/.stamp: $(BUILD_INPUTS)
	@echo "Making the environment .venv; the first time takes a few minutes."
	$(call environment,.venv)
	$(BIN)/python $(PIP_INSTALL) -e ".[dev]"
	@touch $@

# torch first: it brings its own choice of versions, and the rest is then fitted to them.
.venv-parity/.stamp: $(BUILD_INPUTS)
	@echo "Making the environment .venv-parity with torch; the first time takes a few minutes."
	$(call environment,.venv-parity)
	$(PARITY)/python $(PIP_INSTALL) torch==2.13.0
	$(PARITY)/python $(PIP_INSTALL) -e ".[test]"
	@touch $@

.venv-bench/.stamp: $(BUILD_INPUTS)
	@echo "Making the environment .venv-bench with torch and JAX; the first time takes a few minutes."
	$(call environment,.venv-bench)
	$(BENCH)/python $(PIP_INSTALL) torch==2.13.0
	$(BENCH)/python $(PIP_INSTALL) jax onnx onnxruntime scikit-learn threadpoolctl
	$(BENCH)/python $(PIP_INSTALL) -e .
	@touch $@

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/.stamp  ## from a table to a trained model and its predictions, in the terminal
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: .venv/.stamp  ## all tests but those against torch
	$(ONE_THREAD) $(BIN)/python -m pytest tests --ignore=tests/parity -n $(WORKERS)

test-parity: .venv-parity/.stamp  ## the tests against torch, in an environment of their own
	$(ONE_THREAD) $(PARITY)/python -m pytest tests/parity -n $(WORKERS)

# $(call build_with,FOLDER,SANITIZERS,TARGETS): what CMake makes of the native code under these sanitizers.
SANITIZE := build/sanitize
define build_with
	$(BIN)/cmake -S . -B $(SANITIZE)/$(1) -DSANITIZE=$(2) -DCMAKE_BUILD_TYPE=Release -DSKBUILD_PROJECT_NAME=layerwise \
	-DSKBUILD_PROJECT_VERSION=0 -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	-Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir) >$(SANITIZE)/$(1).log
	$(BIN)/cmake --build $(SANITIZE)/$(1) --parallel $(WORKERS) --target $(3)
endef
# Programs that the search changes at random, and the tests that run with the compiled module under a sanitizer. Those
# of the pool limit the memory of a process, of which a sanitizer takes more; pool_test is theirs.
MUTATIONS ?= 200000
SANITIZE_TESTS ?= tests/native --ignore=tests/native/test_pool.py

sanitize: .venv/.stamp  ## the native code under sanitizers of memory, undefined behaviour and threads; takes long
	$(BIN)/python $(PIP_INSTALL) cmake nanobind
	mkdir -p $(SANITIZE)/programs
	$(call build_with,address,address$(comma)undefined,forward_test pool_test program_fuzz _native)
	$(call build_with,thread,thread,forward_test pool_test program_fuzz)
	$(BIN)/python tests/native/program_seeds.py $(SANITIZE)/programs
	$(SANITIZE)/address/forward_test
	$(SANITIZE)/thread/forward_test
	$(SANITIZE)/address/pool_test
	$(SANITIZE)/thread/pool_test
	$(SANITIZE)/address/program_fuzz $(SANITIZE)/programs $(MUTATIONS) 1
	$(SANITIZE)/thread/program_fuzz $(SANITIZE)/programs $$(($(MUTATIONS) / 10)) 2 3
	sh tests/native/sanitized_python.sh $(BIN)/python $(SANITIZE) -m pytest -p no:cacheprovider -n $(WORKERS) $(SANITIZE_TESTS)

lint: .venv/.stamp  ## style, format, and the floors of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.stamp  ## types
	$(BIN)/pyright --pythonpath $(BIN)/python

# make bench WORKLOADS=W4, make bench ARGS=--quick; python -m bench.run --help names the rest.
bench: .venv-bench/.stamp  ## speed and memory against the peers, into docs/benchmarks; ten minutes on a quiet machine
	$(BENCH)/python -m bench.run $(if $(WORKLOADS),--only "$(WORKLOADS)") $(ARGS)

docs: .venv/.stamp  ## the documentation, with every example run; warnings are errors
	$(ONE_THREAD) $(BIN)/python -m sphinx -W --keep-going -E -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

wheel: .venv/.stamp  ## a wheel in dist/
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:  ## remove what was built, keep the environments
	rm -rf build dist docs/_build docs/examples
	rm -rf .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests examples bench docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean  ## remove the environments too
	rm -rf .venv .venv-parity .venv-bench
