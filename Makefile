# `make run` and `make test` do all the set-up; everything lives in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)
export DO_NOT_TRACK = 1
export KEDRO_DISABLE_TELEMETRY = 1
# Waiting threads release their core: twice as fast if other programs run too.
export OMP_WAIT_POLICY = PASSIVE
# Tests by two processes, file by file as they are listed: the long files of tests/pipeline come before the many short ones.
TWO    := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup run test test-slow lint docs docs-numbers lock viz viz-static clean
.DEFAULT_GOAL := help

help:  ## Show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## Make the virtual environment

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else \
	  f"fakemedia needs Python 3.11 or 3.12 and found {v[0]}.{v[1]}; name one with: make PYTHON=python3.12 ...")'
ifdef UV
	uv venv -q --allow-existing --python $(PYTHON) $(VENV)
	uv pip install -q --python $(BIN)/python -r requirements.lock
	uv pip install -q --python $(BIN)/python --no-deps -e .
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
endif
	@touch $@

run: setup  ## Run the default sequence, from photographs to report
	$(BIN)/kedro run

test: setup  ## Run the tests, on two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TWO)

test-slow: setup  ## Run the slow tests: complete pipelines, killed runs, notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TWO) -m slow

lint: setup  ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: setup  ## Build the documentation into site/, warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-numbers: setup  ## Write the numbers and figures of the finished demo into the documentation
	$(BIN)/python docs/demo_numbers.py take data/08_reporting/demo
	$(BIN)/python docs/demo_numbers.py write

viz: setup  ## Open the pipeline in the browser
	@echo 'Boxes only, without data sets: http://127.0.0.1:4141/?types=nodes'
	$(BIN)/kedro viz run

viz-static: setup  ## Write the pipeline with its figures and tables into viz/, for sharing
	@test ! -e build || { echo 'kedro viz writes to build/, which exists already: move it away'; exit 1; }
	$(BIN)/kedro viz build --include-previews
	rm -rf viz && mv build viz
	@echo 'To view it: $(PYTHON) -m http.server -d viz'

lock:  ## Update requirements.lock (needs uv)
	uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	  --extra cluster --extra dev --extra docs --extra faces --extra onnx --extra production --extra storage --extra video pyproject.toml -o requirements.lock

clean:  ## Remove the results of runs, but not the raw data and the registry
	find data -mindepth 2 -not -path 'data/01_raw/*' -not -path 'data/09_registry/*' -not -name .gitkeep -delete
