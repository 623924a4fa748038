# Everything a developer types. `make run` and `make test` are all a newcomer needs; both prepare what is missing first.
# Steps leave stamps, so that a second call is instant, and are done again when what they were made from changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
CLIENT := edge/client
CLIENT_SOURCES := $(shell find $(CLIENT) -name node_modules -prune -o -name dist -prune -o -type f -print 2>/dev/null)
say = @printf '\033[1m%s\033[0m\n' '$(1)'

NPM := .ci/npm
STRANGERS := tests/strangers/node_modules/.package-lock.json
EXTRAS := dev edge espeak loadtests origin

ARGS ?=
export STRICT ?=

.PHONY: help run run-cluster setup test check fix bench sim e2e distill testdistill lock clean check-ruff check-mypy \
	check-basedpyright check-imports check-tidy check-vectors check-client

help: ## What there is to do
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

run: setup ## Start an origin and a POP and print the page's address (ARGS="--port 9000")
	@exec $(BIN)/visavis run $(ARGS)

run-cluster: setup ## A NATS hub, two leaf nodes, an origin with three workers and two POPs, all on loopback
	@exec $(BIN)/visavis run-cluster $(ARGS)

setup: $(STAMPS)/project $(STAMPS)/kernels edge/static/index.html ## Prepare everything without starting anything

test: setup $(STRANGERS) ## All tests; installs Chromium, Janus and a TURN relay for some of them if it can
	@.ci/chromium
	@.ci/janus
	@.ci/coturn
	$(call say,pytest)
	@$(BIN)/python -m pytest $(ARGS)
	$(call say,vitest)
	@$(NPM) test

e2e: setup $(STRANGERS) ## Only the tests in the browser
	@.ci/chromium
	@.ci/janus
	@$(BIN)/python -m pytest tests/e2e $(ARGS)

CHECKS := check-ruff check-mypy check-basedpyright check-imports check-tidy check-vectors check-client
check: setup ## Format, lint, types, imports, house rules, vectors: all that needs no running system (-k: do not stop)
	@$(MAKE) --jobs=2 --output-sync=target $(CHECKS)

check-ruff: setup
	$(call say,ruff)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

check-mypy: setup
	$(call say,mypy)
	@$(BIN)/mypy

check-basedpyright: setup
	$(call say,basedpyright)
	@$(BIN)/basedpyright

check-imports: setup
	$(call say,import-linter)
	@$(BIN)/lint-imports --no-cache --no-logo

check-tidy: setup
	$(call say,house rules)
	@$(BIN)/python -m pytest tests/test_tidy.py

check-vectors: setup
	$(call say,vectors)
	@$(BIN)/python -m tests.vectors --check

check-client: setup
	$(call say,client)
	@$(NPM) run check

fix: setup ## Format and fix what can be fixed by itself
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .
	@$(NPM) run fix

bench: setup ## Measure: make bench ARGS="wire --quick"; without ARGS, what there is to measure
	@$(BIN)/python -m loadtests.bench $(ARGS)

sim: setup ## Sessions over bad links in virtual time: make sim ARGS="--seeds 10000", or --seed N to replay one
	@$(BIN)/python -m tests.sim $(ARGS)

distill: $(STAMPS)/distill ## Make the student animator anew, from corpus to cards (ARGS="--steps 400" for a try)
	@.ci/flite
	@$(BIN)/visavis distill corpus
	@$(BIN)/visavis distill train $(ARGS)
	@$(BIN)/visavis distill quantize
	@$(BIN)/visavis distill evaluate --report out --cards
	@git diff --quiet -- edge/models/student.json && echo "the same bits as before" || echo "other bits than before"

testdistill: $(STAMPS)/distill ## The tests of training, which need PyTorch; none may be skipped
	@STRICT=1 $(BIN)/python -m pytest tests/origin/distill $(ARGS)

lock: $(BIN)/python ## Choose the versions of all dependencies anew
	@$(BIN)/python -c 'import uv' 2>/dev/null || $(BIN)/python -m pip install --quiet uv
	@$(BIN)/python -m uv pip compile pyproject.toml $(EXTRAS:%=--extra %) --generate-hashes --no-emit-index-url --no-header \
		--universal --python-version 3.11 --quiet --upgrade -o requirements.lock

clean: ## Remove everything that was made here
	@rm -rf $(VENV) $(CLIENT)/node_modules $(CLIENT)/dist tests/strangers/node_modules edge/static run out dist .mypy_cache .ruff_cache \
		.pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- steps -------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@.ci/venv $(VENV)

$(STAMPS)/packages: requirements.lock | $(BIN)/python
	@.ci/packages $(BIN)/python requirements.lock
	@mkdir -p $(@D) && touch $@

$(STAMPS)/project: pyproject.toml $(STAMPS)/packages
	$(call say,installing visavis itself)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@mkdir -p $(@D) && touch $@

$(STAMPS)/kernels: edge/kernels.py $(STAMPS)/project
	$(call say,compiling what faces are computed with)
	@$(BIN)/python -c 'import edge.kernels'
	@mkdir -p $(@D) && touch $@

$(STAMPS)/distill: $(STAMPS)/project
	$(call say,installing what training needs)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[distill]'
	@touch $@

$(CLIENT)/node_modules/.package-lock.json: $(CLIENT)/package-lock.json $(STAMPS)/packages
	$(call say,installing the tools of the browser client)
	@$(NPM) ci --no-audit --no-fund --loglevel=error
	@touch $@

$(STRANGERS): tests/strangers/package-lock.json $(STAMPS)/packages
	$(call say,installing what other people wrote for the tests with it)
	@if NPM_FOLDER=tests/strangers $(NPM) ci --no-audit --no-fund --loglevel=error; then touch $@; else \
		echo "they could not be installed: the tests with them are skipped" >&2; [[ -z "$(STRICT)" ]]; fi

edge/static/index.html: $(CLIENT_SOURCES) $(CLIENT)/node_modules/.package-lock.json
	$(call say,building the browser client)
	@$(NPM) run --silent build
	@touch $@
