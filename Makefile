# Everything a contributor runs. `make test` and `make demo` work from a fresh clone.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
KAFKA_VERSIONS := 2.8.2 3.9.1 4.1.1 4.3.1
PIP_TOOLS := pip-tools==7.6.2
TEST_ROOMS = $(wildcard tests/unit tests/property tests/broker tests/content tests/fault tests/scenario)
SHORT_CASES := throughput single-records one-partition relay
QUICK_ROOMS = $(wildcard tests/unit tests/property)

.PHONY: help setup kafka demo gates check test test-long bench bench-short docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: .venv/.installed ## create .venv with the locked packages and kmigrate itself

.venv/.created:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kmigrate needs Python 3.11 or newer as python3")'
	python3 -m venv .venv
	@touch $@

.venv/.locked: requirements.lock .venv/.created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.venv/.installed: pyproject.toml hatch_build.py README.md src/kmigrate/__init__.py src/kmigrate/records/compiled.c .venv/.locked
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

kafka: setup ## fetch Kafka's jars into .kafka (needs Java 17 and Maven)
	@$(BIN)/python -m kmigrate.demo.kafka_jars $(KAFKA_VERSIONS)

demo: setup ## move a whole service between two embedded clusters
	@$(BIN)/kmigrate demo --scheme consumers-first

gates: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: gates ## format, lint, types, import contracts, unit and property tests
	$(BIN)/pytest $(QUICK_ROOMS)

test: gates kafka ## everything that check does, and real brokers
	$(BIN)/pytest -n 2 --dist loadfile --durations=30 --durations-min=5 $(TEST_ROOMS)

test-long: setup kafka ## the long runs: more seeds, more faults
	$(BIN)/python -m tests.long

bench: setup kafka ## measure speed against real brokers
	$(BIN)/python -m bench

bench-short: setup kafka ## the same as a trial of a few minutes, of some cases
	$(BIN)/python -m bench --short $(SHORT_CASES)

docs: setup ## write the tables of docs that come from the code
	$(BIN)/python -m kmigrate.report.reference docs
	$(BIN)/python -m kmigrate.api.openapi docs/openapi.json

lock: ## resolve requirements.lock anew, with the hashes of every file of each release
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	python3 -m venv "$$work/venv"; \
	unset PIP_FIND_LINKS; \
	"$$work/venv/bin/pip" install --quiet --disable-pip-version-check '$(PIP_TOOLS)'; \
	"$$work/venv/bin/pip-compile" --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
	    --extra demo --extra dev --no-header --no-annotate --no-emit-options \
	    --output-file "$$work/lock" pyproject.toml; \
	{ echo '# Written by `make lock`; install with --require-hashes.'; cat "$$work/lock"; } > requirements.lock

clean: ## remove everything that make created
	rm -rf .venv .kafka .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .long bench/work
	rm -f src/kmigrate/records/_*.so
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
