# `make demo` builds a shop's clickstream from nothing; `make test` runs every test. Both need
# Python 3.11 or newer, and the network the first time. `make help` lists the rest.

SHELL := /bin/bash
.NOTPARALLEL:
.DEFAULT_GOAL := help

BIN := .venv/bin
EVENTS ?= 200000
DAYS ?= 30
SEED ?= 1
SERVE ?= 1
DATA ?= $(or $(CLICKSTREAM_DATA),data)
export CLICKSTREAM_DATA := $(DATA)
# Without compiled files every process would compile all packages: seconds, each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Say what can be made.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

# -- The environment: a stamp per set of packages, so that the second time costs nothing. -----------

LOCKED := pyproject.toml uv.lock scripts/sync.sh

.venv/.ready: $(LOCKED)
	scripts/sync.sh --no-default-groups
	@touch $@

.venv/.ready-dev: $(LOCKED)
	scripts/sync.sh --extra spark --extra probabilistic
	@touch $@ .venv/.ready

.venv/.ready-bench: $(LOCKED)
	scripts/sync.sh --extra spark --extra probabilistic --group bench
	@touch $@ .venv/.ready-dev .venv/.ready

# -- Using it. --------------------------------------------------------------------------------------

.PHONY: demo
demo: .venv/.ready ## Simulate 200,000 events of a shop, build everything, serve it. SERVE=0 EVENTS= DATA=
	$(BIN)/clickstream simulate --events $(EVENTS) --days $(DAYS) --seed $(SEED) --once
	$(BIN)/clickstream materialize
	$(BIN)/clickstream report
	$(BIN)/clickstream status
ifneq ($(SERVE),0)
	$(BIN)/clickstream serve
endif

# -- Checking it. -----------------------------------------------------------------------------------

.PHONY: check lint types layers test tracker bench
check: lint types layers test ## All checks below, in this order.

lint: .venv/.ready-dev ## Format and rules, by ruff.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/.ready-dev ## Types, by mypy.
	$(BIN)/mypy

layers: .venv/.ready-dev ## Who may import whom, by import-linter.
	$(BIN)/lint-imports

test: .venv/.ready-dev ## Every test. T= chooses, such as T="-k sessions -x".
	@scripts/system_packages.sh
	@scripts/npm_packages.sh
	@scripts/node_clients.sh
	$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder --durations=25 --durations-min=5 $(T)

tracker: ## Check and build the browser tracker. Needs Node and npm; the built scripts are committed.
	@scripts/npm_packages.sh
	cd clickstream_platform/collection/tracker && npm run --silent types && npm run --silent build

bench: .venv/.ready-bench ## Speed against the named peers, into docs/performance.md. B=sessions ARGS="--events …"
	$(BIN)/python -m clickstream_platform_tests.benchmarks $(B) $(ARGS)

# -- Keeping it. ------------------------------------------------------------------------------------

.PHONY: docs clean
docs: .venv/.ready ## Print docs/tables and docs/commands.md from the code.
	$(BIN)/python -m clickstream_platform.tables.pages docs/tables
	$(BIN)/python -m clickstream_platform.cli.pages docs/commands.md

clean: ## Remove caches and the environment; never data.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist \
	  spark-warehouse artifacts clickstream_platform/collection/tracker/node_modules \
	  clickstream_platform_tests/collection/clients/node_modules
	find clickstream_platform clickstream_platform_tests -name __pycache__ -prune -exec rm -rf {} +
