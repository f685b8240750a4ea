# `make test` is all there is to know: it sets up what it needs in .venv, and proves everything.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help test lint unit clean

help:
	@echo "make test   set up everything, then run linters, types and all tests"
	@echo "make lint   ruff, mypy, import-linter, migrations"
	@echo "make unit   the tests that start no servers"
	@echo "make clean  remove what the above made"

test: lint
	$(BIN)/pytest --cov --cov-report=
	@echo "The same on PostgreSQL:"
	TEST_DATABASE=postgresql $(BIN)/pytest -m "not real" --cov --cov-append --cov-report=
	@echo "The same with a user model of the project's own, and without time zones:"
	$(BIN)/pytest -m "not real" --ds=tests.settings_uuid_user --cov --cov-append --cov-report=
	$(BIN)/coverage report

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

unit: $(READY)
	$(BIN)/pytest -m "not real"

# pip learned --group in 25.1.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make test PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group test
	@touch $@

clean:
	rm -rf $(VENV) .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf tests/real/oidc_provider/node_modules
