# `make test` is all there is to know: it sets up what it needs in .venv, and proves everything.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More processes than cores: real servers are waited for while others compute. A file's tests stay
# together, for they share their servers; conftest.py lets those begin that take long.
PYTEST := $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
WITHOUT_SERVERS := $(BIN)/pytest --numprocesses 2 -m "not real"
COVERED := --cov --cov-append --cov-report=
# pyenv's are not on the PATH of who has chosen one of them.
PYENVS := $(wildcard $(HOME)/.pyenv/versions/3.1[1-9].*/bin/python)
TOX = $(BIN)/tox run --quiet $(if $(PYENVS),--discover $(PYENVS))
NEWEST := py313-django61-postgresql
OLDEST := py311-django52-oldest-cache
READY := $(VENV)/.ready
READY_DEMO := $(VENV)/.ready-demo
READY_BENCH := $(VENV)/.ready-bench
READY_DOCS := $(VENV)/.ready-docs
READY_MATRIX := $(VENV)/.ready-matrix
READY_PACKAGE := $(VENV)/.ready-package
READY_PINS := $(VENV)/.ready-pins
PINS := testproject/requirements.txt
PORT ?= 8000

.PHONY: help test ci everything clean
.PHONY: test-here test-postgresql test-mariadb test-cache test-caches test-newest test-oldest coverage
.PHONY: lint unit tutorial matrix docs package attacks reliability demo pins images messages
.PHONY: bench instructions bench-admin bench-purge bench-purge-ways

help:
	@echo "make test   set up everything, then run linters, types and all tests"
	@echo "make ci     the same on the newest and the oldest of everything, and the documentation"
	@echo "make lint   ruff, mypy, import-linter, migrations"
	@echo "make everything  tests, documentation, package, matrix, batteries and benches: some hours"
	@echo "make unit   the tests that start no servers"
	@echo "make reliability  the concurrency bench, for docs/reliability.md: a quarter of an hour"
	@echo "make demo   an app, its OpenID Provider and an API on localhost, PORT=8000 and the next two"
	@echo "make pins   pin what the demo installs, with hashes, at the newest releases"
	@echo "make tutorial  follow docs/tutorial.md word for word, in an empty folder and a browser"
	@echo "make images take the pictures in docs/images anew"
	@echo "make attacks  attack the endpoints from other pages, for docs/security/attacks.md: 3 minutes"
	@echo "make package  build the package into dist, check it, and try it in an empty environment"
	@echo "make matrix  the unit tests on each Python and Django; ENVS='-e py313-django61' for one of them"
	@echo "make messages  bring the catalogues in django_tmibff/locale up to date; needs GNU gettext"
	@echo "make docs   build the documentation into build/docs; fails on any warning"
	@echo "make bench  measure the price of a stored token beside others', for docs/performance.md;"
	@echo "            BENCH=--quick for a look at it, BENCH=renewal for a part of it"
	@echo "make instructions  record how many instructions a stored token takes, for the tests"
	@echo "make bench-admin  measure the admin with a million token sets, for docs/admin.md"
	@echo "make bench-purge  purge a million token sets and write the figures into docs/purge.md"
	@echo "make bench-purge-ways  the same rows deleted in other ways, for the same page"
	@echo "make clean  remove what the above made"

test: lint test-here test-postgresql test-mariadb test-cache test-caches coverage

# The same, but two of the variants on the newest and on the oldest of everything, and the
# documentation. Nothing is left out there for want of an interpreter.
ci: lint test-here test-newest test-mariadb test-oldest test-caches coverage docs

test-here: $(READY)
	$(PYTEST) --cov --cov-report=

test-postgresql: $(READY)
	@echo "The same on PostgreSQL, behind the fast path:"
	TEST_DATABASE=postgresql $(WITHOUT_SERVERS) --ds=tests.settings_fast_path $(COVERED)

test-mariadb: $(READY)
	@echo "The same on MariaDB, with a cache in front of it, a user model of the project's own, and"
	@echo "without time zones:"
	TEST_DATABASE=mariadb TEST_STORE=cached_db $(WITHOUT_SERVERS) --ds=tests.settings_uuid_user $(COVERED)

test-cache: $(READY)
	@echo "The same with all tokens in a cache:"
	TEST_STORE=cache $(WITHOUT_SERVERS) $(COVERED)

test-caches: $(READY)
	@echo "The real caches beside the other databases:"
	TEST_DATABASE=postgresql $(BIN)/pytest tests/test_real_caches.py -k "TestKeeping or TestLease"
	TEST_DATABASE=mariadb $(BIN)/pytest tests/test_real_caches.py -k "TestKeeping or TestLease"

test-newest: $(READY_MATRIX)
	@echo "The same on the newest of all, on PostgreSQL, behind the fast path:"
	$(TOX) --skip-missing-interpreters=false -e $(NEWEST)

test-oldest: $(READY_MATRIX)
	@echo "The same on the oldest of all, with all tokens in a cache:"
	$(TOX) --skip-missing-interpreters=false -e $(OLDEST)

coverage: $(READY)
	$(BIN)/coverage report

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

unit: $(READY)
	$(WITHOUT_SERVERS)

# The figures in the documentation come out anew.
everything: test docs package matrix attacks reliability bench bench-admin bench-purge bench-purge-ways

reliability: $(READY)
	$(BIN)/python -m tests.concurrency

demo: $(READY_DEMO)
	@$(BIN)/python -m testproject.demo --port $(PORT)

pins: $(READY_PINS)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make pins" --group demo pyproject.toml --output-file $(PINS)

tutorial: $(READY)
	$(BIN)/python -m tests.tutorial

images: $(READY)
	UPDATE_IMAGES=1 $(BIN)/pytest tests/test_browser.py -k "whole_visit or test_the_admin"
	UPDATE_IMAGES=1 $(BIN)/python -m tests.tutorial

attacks: $(READY)
	$(BIN)/python -m tests.browser.attacks

matrix: $(READY_MATRIX)
	$(TOX) $(ENVS)

package: $(READY_PACKAGE)
	$(BIN)/python -m tests.package

# Not by python -m, which would take the package's http.py for Python's.
messages: $(READY)
	cd django_tmibff && ../$(BIN)/django-admin makemessages --all --no-obsolete --add-location file
	cd django_tmibff && ../$(BIN)/django-admin compilemessages

docs: $(READY_DOCS)
	$(BIN)/python -m sphinx --fail-on-warning --nitpicky --quiet --keep-going docs build/docs

bench: $(READY_BENCH)
	$(BIN)/python -m benchmarks $(BENCH)

instructions: $(READY)
	$(BIN)/python -m benchmarks.instructions

bench-admin: $(READY)
	$(BIN)/python -m tests.bench.admin

bench-purge: $(READY)
	$(BIN)/python -m tests.bench.purge

bench-purge-ways: $(READY)
	$(BIN)/python -m tests.bench.ways

define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make $(1) PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
endef

# pip learned --group in 25.1.
define install
	$(call venv,$(1))
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".$(2)" --group $(1)
	@touch $@
endef

$(READY): pyproject.toml
	$(call install,test,[redis])

$(READY_DEMO): $(PINS)
	$(call venv,demo)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $(PINS)
	@touch $@

$(READY_DOCS): pyproject.toml
	$(call install,docs)

$(READY_PACKAGE): pyproject.toml
	$(call install,package)

$(READY_PINS): pyproject.toml
	$(call install,pins)

$(READY_MATRIX): pyproject.toml
	$(call install,matrix)

$(READY_BENCH): pyproject.toml
	$(call install,bench,[redis])

clean:
	rm -rf $(VENV) .demo .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf tests/real/*/node_modules benchmarks/*/node_modules benchmarks/nextjs/.next
