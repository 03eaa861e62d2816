# tdco: everything a user or a developer runs. `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo demo-quick test test-all sim-redmule lint format clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## virtual environment in .venv with everything installed
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP) ## CCT-2 fine-tunes on tilted digits; one step entirely on the engine's RTL
	$(BIN)/tdco demo

demo-quick: $(STAMP) ## the same with linear probing: one RTL step, fewer steps after it
	$(BIN)/tdco demo --quick

test: $(STAMP) ## the tests CI runs
	$(BIN)/pytest

test-all: $(STAMP) ## every test, the slow ones included
	$(BIN)/pytest -m "slow or not slow"

sim-redmule: $(STAMP) ## cocotb testbench of the engine on Verilator, with its summary
	$(BIN)/pytest -s tests/rtl/test_engine_cocotb.py

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## ruff, fixing what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## removes build products, not the environment or the cache
	rm -rf build out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
