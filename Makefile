# Needs Python 3.10 or newer, git and make. Whatever else is wanted goes into .venv; a second run reuses it.
PYTHON ?= python3
TORCH := 2.13.0
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
BIN := .venv/bin
PROGRAMS ?= 50000
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

# One thread a process: the processes are as many as the cores. Who is done first takes over tests of another. Tests start
# hundreds of processes, which would compile every module anew where Python is told to write no bytecode.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist worksteal

# One that fails does not keep the others from running.
BENCHMARKS := $(filter-out benchmarks/interleaved.py,$(sort $(wildcard benchmarks/*.py)))

# A stamp is a promise that its packages are installed; a newer pyproject.toml breaks the promise.
HAS_TORCH := .venv/.has-torch-$(TORCH)
HAS_DEMO := .venv/.has-demo
HAS_ALL := .venv/.has-all

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-oldest test-newest test-runtime test-aarch64 fuzz check bench dist docs findings data browser peers embedded

help:
	@echo "make setup   .venv with everything that the targets below need"
	@echo "make demo    the quickstart study on Fashion-MNIST: its table, its verdicts, and a report to look at"
	@echo "make test    every test, doctest and example; of forwards with rules a cross-section of their pairs"
	@echo "make test-all  the same of every pair, which takes hours"
	@echo "make test-oldest, make test-newest  the suite with the oldest PyTorch that is allowed, and with the newest"
	@echo "make test-runtime  a packed network in an environment that has the runtime alone"
	@echo "make test-aarch64  packed networks on an Arm processor that QEMU emulates"
	@echo "make fuzz    50,000 random programs against the judge, or PROGRAMS=1000, with SEED=7 those of a seed"
	@echo "make check   format, lint, types, who may import whom, and that all that is imported is declared"
	@echo "make bench   every benchmark, one table each"
	@echo "make embedded  networks as C in emulators of four machines, or NETWORKS='a.safetensors b.safetensors'"
	@echo "make docs    the site, into site/"
	@echo "make dist    wheels and sources of tieless and its runtime, into dist/, their metadata checked"
	@echo "make findings  the tables and figures of docs/findings, from committed data"

setup: $(HAS_ALL)

demo: $(HAS_DEMO)
	@$(BIN)/tieless data get fashion-mnist || echo "The quickstart study will say what it runs on instead."
	@$(BIN)/tieless study run quickstart --out runs/quickstart --workers $(CORES)
	@$(BIN)/tieless study report runs/quickstart

test: $(HAS_ALL) browser data peers
	@$(PYTEST) --durations=10

test-all: $(HAS_ALL) browser data peers
	@$(PYTEST) --all
	@$(BIN)/python -m findings check

test-oldest: browser data peers
	@tools/test-with-torch oldest

test-newest: browser data peers
	@tools/test-with-torch torch

test-runtime: $(HAS_ALL)
	@tools/test-runtime

test-aarch64: $(HAS_ALL)
	@tools/get-emulators
	@tools/test-runtime-on-aarch64

fuzz: $(HAS_ALL)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.judge --programs $(PROGRAMS) --workers $(CORES) $(if $(SEED),--seed $(SEED))

check: $(HAS_ALL)
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry src

bench: $(HAS_ALL)
	@failed=; for script in $(BENCHMARKS); do \
	    echo "== $$script"; $(BIN)/python $$script || failed="$$failed $$script"; \
	done; \
	test -z "$$failed" || { echo "No table from:$$failed" >&2; exit 1; }

# In an environment of its own, so that only what is built says what it needs.
dist:
	@$(PYTHON) -m venv build/dist
	@build/dist/bin/python -m pip --disable-pip-version-check --quiet install 'build>=1.2' 'twine>=6.1' 'readme-renderer[md]>=44'
	@rm -rf dist
	@build/dist/bin/python -m build --outdir dist .
	@build/dist/bin/python -m build --outdir dist runtime
	@build/dist/bin/twine check --strict dist/*

docs: $(HAS_ALL)
	@$(BIN)/python tools/build_docs.py

findings: $(HAS_ALL)
	@$(BIN)/python -m findings

embedded: $(HAS_ALL) data
	@tools/get-emulators
	@$(BIN)/python tools/embedded/run.py $(NETWORKS)

data: $(HAS_ALL)
	@$(BIN)/tieless data get fashion-mnist || echo "Tests will use small generated images instead."
	@$(BIN)/tieless data get brown || echo "Tests will use a small generated corpus instead."

browser:
	@tools/get-chromium

peers: $(HAS_TORCH)
	@tools/get-peers

$(HAS_TORCH):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("tieless needs Python 3.10 or newer; name one: make PYTHON=python3.12")'
	@echo "Setting up .venv: torch $(TORCH)"
	@$(PYTHON) -m venv .venv
	@$(PIP) torch==$(TORCH)
	@touch $@

$(HAS_DEMO): $(HAS_TORCH) pyproject.toml
	@echo "Setting up .venv: tieless with study and report"
	@$(PIP) --editable '.[study,report]'
	@touch $@

# Both at once: so pip takes the runtime that tieless[deploy] needs from here, not from an index.
$(HAS_ALL): $(HAS_TORCH) pyproject.toml runtime/pyproject.toml
	@echo "Setting up .venv: tieless with all extras, and its runtime"
	@$(PIP) --editable ./runtime --editable '.[all]'
	@touch $@ $(HAS_DEMO)
