# tdco: everything a user or a developer runs. `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup demo demo-quick test test-all sim-redmule lint format docs-pictures docs-report clean
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

test: $(STAMP) ## the tests CI runs, a file at a time on each of two cores
	$(BIN)/pytest -n 2 --dist loadfile

test-all: $(STAMP) ## every test, the slow ones included
	$(BIN)/pytest -m "slow or not slow"

SEED ?= 1
SIM_REDMULE := test_engine_cocotb.py::test_engine[small] test_engine_cocotb.py::test_engine[rm_12x4] \
               test_campaign.py::test_long_campaign test_cycles.py
ifeq ($(WAVES),1)
SIM_REDMULE := test_engine_cocotb.py::test_waves
endif
sim-redmule: $(STAMP) ## the engine's RTL under cocotb and 20,000 random jobs, with coverage and cycle tables; SEED=n. WAVES=1: a short run as FST
	$(BIN)/pytest -s -m "slow or not slow" --seed $(SEED) $(SIM_REDMULE:%='tests/rtl/%')

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## ruff, fixing what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs-pictures: $(STAMP) docs-report ## docs/pictures: the report's (needs Chromium), and with docs/benchmarks.md bench's (long)
	$(BIN)/tdco bench training --write docs
	$(BIN)/tdco bench training --others --write docs

docs-report: $(STAMP) ## the report's picture alone: an FT-2 step of CCT-2 on the RTL
	$(BIN)/tdco compile zoo:cct2 -s ft2 -c rm_12x4 -o out/picture
	$(BIN)/tdco run out/picture --platform soc --engine rtl --data digits --rotate 30
	$(BIN)/tdco report out/picture
	$(BIN)/python tests/flow/browser.py out/picture/report.html docs/pictures/report.png

clean: ## removes build products, not the environment or the cache
	rm -rf build out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
