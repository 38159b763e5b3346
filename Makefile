# The one door to every task. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8080
BIN := .venv/bin
READY := .venv/.ready
# containers set it, and then each of the many processes here would compile all modules again
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Explain every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(READY) ## Make .venv with everything in it (nothing else is touched)

$(READY): requirements-dev.lock pyproject.toml plugins/logstream/entry_points.txt deploy/setup.sh deploy/node/package-lock.json
	@PYTHON="$(PYTHON)" bash deploy/setup.sh

.PHONY: demo
demo: $(READY) ## Export two windows of demo events through a real Airflow, print what went where, and end
	@$(BIN)/python include/demo/demo.py run

.PHONY: up
up: $(READY) ## The same, staying up: the console in Airflow on http://localhost:8080 (or PORT=), schedule on, new events arriving
	@$(BIN)/python include/demo/demo.py up --port $(PORT)

.PHONY: test
test: $(READY) ## The tests, real servers included, but for the thorough ones (ten minutes on two cores)
	@$(BIN)/python -m pytest -m "not thorough" -n 4 --dist loadscope --no-loadscope-reorder

.PHONY: test-all
test-all: $(READY) ## All tests, as CI runs them (a quarter of an hour)
	@$(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder

.PHONY: unit
unit: $(READY) ## The quick part of the tests: no server is started, no package installed
	@$(BIN)/python -m pytest -m "not e2e and not servers and not thorough" -n 3 --dist loadscope --no-loadscope-reorder

.PHONY: soak
soak: $(READY) ## The long fault tests: the compose file's processes killed, a scheduler that is away, an Airflow that cannot say, hundreds of kills of workers and of the database, 1,000 worlds (an hour or so)
	@LOGSTREAM_SOAK=1 $(BIN)/python -m pytest tests/test_scale_out.py tests/test_away.py tests/test_airflow_fails.py tests/test_faults.py tests/test_verification.py tests/test_simulation.py -v

.PHONY: simulate
simulate: $(READY) ## Let simulated worlds happen and judge them: SEED=1 WORLDS=100 WIRE=1 (docs/testing.md)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(WORLDS),--worlds $(WORLDS)) \
		$(if $(filter 0,$(WIRE)),--no-wire) $(ARGS)

.PHONY: mutants
mutants: $(READY) ## Make known mistakes, one after another, in a copy of the code: simulated worlds must find each
	@$(BIN)/python -m tests.simulation.mutants $(ARGS)

.PHONY: bench
bench: $(READY) ## Measure beside what people would use instead; ARGS="--quick" for a tenth of it, --check to fail for a missed target (the whole takes half an hour)
	@test -x .venv-bench/bin/python || $(BIN)/python -m venv .venv-bench
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-bench/bin/python --requirement benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-airflow
bench-airflow: $(READY) ## One window through Airflow on Celery, and where its seconds go; ARGS="--events 20000 --destinations 50 --workers 2"
	@$(BIN)/python -m benchmarks.scale $(ARGS)

.PHONY: lint
lint: $(READY) ## Format and lint checks, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=plugins $(BIN)/lint-imports --no-cache

.PHONY: format
format: $(READY) ## Format the code and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(READY) ## Draw the tables of docs/destinations, docs/connections.md and docs/events.md anew
	@$(BIN)/python -m logstream.destinations.documentation docs/destinations
	@$(BIN)/python -m logstream.airflow.connections.documentation docs/connections.md
	@$(BIN)/python -m tests.events_document

.PHONY: lock
lock: $(READY) ## Renew the lock files from requirements*.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --upgrade --no-annotate --no-header requirements.txt -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --upgrade --no-annotate --no-header requirements-dev.txt -c requirements.lock -o requirements-dev.lock

.PHONY: clean
clean: ## Remove .venv and the demo's state
	rm -rf .venv .logstream build dist
