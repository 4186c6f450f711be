# make demo    set everything up and watch the queue work
# make test    set everything up and run the tests
# make check   format, lint, types, then the tests
# make torture faults at full size, with a table of what came of them (an hour; best as root)
# make bench   measure everything (an hour; make bench BENCH=--quick: minutes), write benchmarks/results/
# make bench-plot   draw the newest results into docs/img/
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check torture format bench bench-plot clean

help:
	@grep '^# make' Makefile | sed 's/^# //'

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "queuectl needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	$(BIN)/python -m compileall -q queuectl  # pip does it for all but editable packages: half the time of a command
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: $(VENV)/.installed-dev
	@sh scripts/system-packages check || test -z "$$CI"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory test

torture: $(VENV)/.installed-dev
	@sh scripts/system-packages check || test -z "$$CI"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.torture

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed
	$(BIN)/python -m compileall -q queuectl
	$(BIN)/python -m benchmarks $(BENCH)

bench-plot: $(VENV)/.installed
	$(BIN)/python -m benchmarks.plot $(RESULTS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find queuectl tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
