# Every target sets up its own .venv: Python >= 3.11 and a package index are all that is needed.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
RAW := $(abspath ../shared/data)

.PHONY: demo test test-long torture fuzz test-debug test-slurm test-browser types lint format clean

demo: .venv/demo
	$(RUN) -m experiments.autoencoder

test: .venv/test lint
	$(if $(wildcard $(RAW)),SEQJAX_RAW_DIR=$${SEQJAX_RAW_DIR:-$(RAW)}) $(RUN) -m pytest -n 2 --dist worksteal

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

# basedpyright brings the Node.js that pyright runs on; basic checks, as pyproject.toml asks of pyright
types: .venv/types
	.venv/types/bin/basedpyright --level error

.venv/types: .venv/test
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

clean:
	rm -rf .venv build *.egg-info
