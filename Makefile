# Needs make and a Python of 3.11 or later; everything else goes into .venv. `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
# One more than two cores: many tests wait for servers rather than compute.
WORKERS ?= 3
DEPENDENCIES := $(VENV)/.dependencies
PROJECT := $(VENV)/.project

# 3.11 first: it is what the lock file is made for.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

# A commit's runs are its own, and the same wherever they are made.
CHAOS_MINUTES ?= 10
REPORT_MINUTES ?= 5
CHAOS_SEED ?= $(shell printf '%d' 0x$$(git rev-parse --short=7 HEAD 2>/dev/null || echo 0))

.DEFAULT_GOAL := help
.PHONY: help setup test report chaos check lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(PROJECT) ## make .venv with the locked dependencies and this project

$(DEPENDENCIES): requirements.lock
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later on PATH; install one, or call make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) can't make a virtual environment; install its venv module." >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes --requirement requirements.lock
	@touch $@

# An editable install knows the top-level modules that it found: made again when there may be new ones.
$(PROJECT): $(DEPENDENCIES) pyproject.toml $(wildcard *.py */__init__.py)
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test: setup ## run every test (WORKERS=3 at a time)
	$(BIN)/python -m pytest -n $(WORKERS)

report: setup ## gather the evidence for REPORT_MINUTES=5 and write the report
	$(BIN)/meshrelay report --minutes $(REPORT_MINUTES)

chaos: setup ## play swarm plans on the real stack for CHAOS_MINUTES=10, seeded by the commit
	rm -rf out/chaos
	$(BIN)/meshrelay chaos campaign --seeds $(CHAOS_SEED).. --minutes $(CHAOS_MINUTES) --out out/chaos

check: setup ## format, lint, types, import rules and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_tidy.py

lock: ## pin the dependencies anew; needs uv, on PATH or in .venv
	@PATH="$(BIN):$$PATH" command -v uv >/dev/null || { echo "No uv; get it with: $(BIN)/pip install uv" >&2; exit 1; }
	PATH="$(BIN):$$PATH" uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --extra dev \
		--no-emit-index-url --no-emit-find-links --no-header pyproject.toml --output-file requirements.lock
	PATH="$(BIN):$$PATH" uv pip compile --quiet --generate-hashes --python-version 3.11 --python-platform linux \
		--constraints requirements.lock --no-emit-index-url --no-emit-find-links --no-header \
		deploy/relay/requirements.in --output-file deploy/relay/requirements.lock

clean: ## remove .venv, caches and output
	rm -rf $(VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
