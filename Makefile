# Every target sets up its own .venv: Python >= 3.11 and a package index are all that is needed.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
OLDEST ?= python3.11
NEWEST ?= python3.12
RAW := $(abspath ../shared/data)

.PHONY: demo test test-newest test-long torture fuzz test-debug test-slurm test-browser drift types lint format clean

demo: .venv/demo
	$(RUN) -m experiments.autoencoder

test: .venv/test lint
	$(if $(wildcard $(RAW)),SEQJAX_RAW_DIR=$${SEQJAX_RAW_DIR:-$(RAW)}) $(RUN) -m pytest -n 2 --dist worksteal

test-newest: .venv-newest/test
	$(if $(wildcard $(RAW)),SEQJAX_RAW_DIR=$${SEQJAX_RAW_DIR:-$(RAW)}) .venv-newest/bin/python -m pytest -n 2 --dist worksteal

test-long: .venv/test
	$(if $(wildcard $(RAW)),SEQJAX_RAW_DIR=$${SEQJAX_RAW_DIR:-$(RAW)}) $(RUN) -m pytest -m long

torture: .venv/test
	$(RUN) -m pytest -n 2 -m torture -rP

fuzz: .venv/test
	$(RUN) -m pytest -n 2 -m fuzz -rP tests/hostile

# whole small runs under each of JAX's own checks; what they look for is an error there
test-debug: .venv/test
	for check in JAX_DEBUG_KEY_REUSE JAX_DEBUG_NANS JAX_CHECK_TRACER_LEAKS; do \
		echo $$check; env $$check=1 $(RUN) -m pytest -n 2 -m 'debug and not long' || exit 1; \
	done

test-slurm: .venv/test
	$(RUN) -m pytest -m slurm -rs

test-browser: .venv/test
	$(RUN) -m pytest -m browser -rs tests/results

# the smoke run of every experiment under the oldest and the newest supported JAX
drift: .venv-oldest/test .venv-newest/test
	.venv-oldest/bin/python -m results drift .venv-oldest/bin/python .venv-newest/bin/python

# basedpyright brings the Node.js that pyright runs on; basic checks, as pyproject.toml asks of pyright
types: .venv/types/bin/basedpyright
	$< --level error

.venv/types/bin/basedpyright: .venv/test
	$(RUN) -m venv .venv/types
	.venv/types/bin/pip install -q basedpyright

lint: .venv/test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: .venv/test
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found; name one with make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/pip install -q -c constraints.txt -e .
	@touch $@

.venv/test: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/pip install -q -c constraints.txt -e '.[test]'
	@touch $@ .venv/demo

# what Python 3.11 gets is the oldest JAX that is supported
.venv-oldest/test: pyproject.toml constraints.txt
	@$(OLDEST) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo "$(OLDEST): is no Python 3.11 on PATH; install one, or name one with make OLDEST=..."; exit 2; }
	$(OLDEST) -m venv .venv-oldest
	.venv-oldest/bin/pip install -q -c constraints.txt -e '.[test]'
	@touch $@

# the newest JAX within the bounds of pyproject.toml, whatever the tested set pins
.venv-newest/test: pyproject.toml constraints.txt
	@$(NEWEST) -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || \
		{ echo "$(NEWEST): is no Python >= 3.12 on PATH; install one, or name one with make NEWEST=..."; exit 2; }
	$(NEWEST) -m venv .venv-newest
	grep -vE '^jax(lib)?==' constraints.txt > .venv-newest/constraints.txt
	.venv-newest/bin/pip install -q -U -c .venv-newest/constraints.txt -e '.[test]' jax
	@touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest build *.egg-info
