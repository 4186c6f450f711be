# make demo    set everything up and watch the queue work
# make test    set everything up and run the tests
# make check   format, lint, types, then the tests
# make torture faults at full size, with a table of what came of them (an hour; best as root)
# make docs    write again what documents and manual pages repeat from the program, and a site of them in build/site
# make dist    build the sdist and the wheel in dist/, and make zipapp one file that runs anywhere, dist/queuectl.pyz
# make bench   measure everything (an hour; make bench BENCH=--quick: minutes), write benchmarks/results/
# make bench-plot   draw the newest results into docs/img/
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check torture format docs dist zipapp bench bench-plot clean

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

$(VENV)/.installed-docs: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

demo: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: $(VENV)/.installed-dev
	@sh scripts/system-packages check || test -z "$$CI"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist worksteal

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

docs: $(VENV)/.installed-docs
	$(BIN)/python -m docs.generate
	$(BIN)/python -m sphinx --quiet --fail-on-warning -c docs -b html . build/site
	@echo open build/site/docs/README.html

dist: $(VENV)/.installed-dev
	$(BIN)/python -m build

zipapp: $(VENV)/.installed-docs
	mkdir -p dist
	$(BIN)/shiv --quiet --compile-pyc -p '/usr/bin/env python3' -c queuectl -o dist/queuectl.pyz .

bench: $(VENV)/.installed
	$(BIN)/python -m compileall -q queuectl
	$(BIN)/python -m benchmarks $(BENCH)

bench-plot: $(VENV)/.installed
	$(BIN)/python -m benchmarks.plot $(RESULTS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find queuectl tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
