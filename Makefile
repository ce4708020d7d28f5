# What can be done here. `make` alone prints it. PYTHON=… names the interpreter, ARGS=… passes options on.

BIN := .venv/bin
SERVICES := .venv/installed-services
DEVELOPMENT := .venv/installed-development
LOCKS := deploy/development
COMPOSE := docker compose --file deploy/compose/compose.yaml
export PYTHON ?= python3

.DEFAULT_GOAL := help
.PHONY: help run up down test test-newest fuzz lint format protos docs lock bench bench-quick bench-quality clean

help: ## print this
	@echo "make TARGET [ARGS=…]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(SERVICES) ## start the three services with a demonstration; Ctrl-C stops (ARGS=--no-demo: without it)
	@exec $(BIN)/vecsec up $(ARGS)

up: $(SERVICES) ## build the images and start everything in containers (deploy/compose); returns once it serves
	$(BIN)/python deploy/compose/prepare.py
	$(BIN)/python deploy/compose/build.py
	$(COMPOSE) up --detach --remove-orphans --wait --wait-timeout 300 $(ARGS)

down: ## stop the containers of `make up`; data stays (ARGS=--volumes: also removes it)
	$(COMPOSE) --profile '*' down $(ARGS)
	$(if $(filter --volumes -v,$(ARGS)),rm -f deploy/compose/state/new-store.env)

test: $(DEVELOPMENT) ## run the tests (ARGS=tests/unit: some of them)
	$(BIN)/pytest $(ARGS)

test-newest: $(DEVELOPMENT) ## run them with the newest versions that pyproject.toml allows, and say which differ (ARGS as above)
	$(BIN)/python deploy/development/newest.py $(ARGS)

fuzz: $(DEVELOPMENT) ## let random policies, callers and labels look for walls that disagree (ARGS="--minutes 30")
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

lint: $(DEVELOPMENT) ## check style, types, layers and contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	protos/lint

format: $(DEVELOPMENT) ## format code and contracts
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	cd protos && ../$(BIN)/buf format --write . --path vecsec

protos: $(DEVELOPMENT) ## compile the contracts into protos/gen
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python protos/generate.py

docs: $(DEVELOPMENT) ## write docs/reference from settings, commands and metrics
	$(BIN)/python docs/generate.py

lock: $(DEVELOPMENT) ## renew all lock files after a change of pyproject.toml (ARGS=--upgrade: with newer versions)
	$(BIN)/python deploy/development/lock.py $(ARGS)

bench: $(DEVELOPMENT) ## measure beside bare ChromaDB, into docs/performance/results.md
	PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

bench-quick: $(DEVELOPMENT) ## the same with little data, in two minutes
	PYTHONPATH=tests $(BIN)/python -m bench --quick $(ARGS)

bench-quality: $(DEVELOPMENT) ## ask 410 questions with known answers, in all modes, beside BM25 and bare ChromaDB
	PYTHONPATH=tests $(BIN)/python -m bench --only quality $(ARGS)

clean: ## remove the environment and caches; .vecsec, with your data, stays
	rm -rf .venv .venv-newest .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed-%: pyproject.toml $(LOCKS)/environment $(LOCKS)/requirements-build.txt $(LOCKS)/requirements-%.txt
	@$(LOCKS)/environment $*
