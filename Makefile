# One door. `make help` lists the targets; `make check` before every commit; the CI runs `make test`.

PYTHON ?= python3
UV_VERSION := 0.13.9
# How many processes share the whole suite. Each has servers of its own, some 400 MB.
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.complete
OURS := contracts amqp migrations participants orchestrator .
PROJECTS := pyproject.toml $(wildcard */pyproject.toml)
# Unit tests: those that need no server, browser or network.
UNIT := -m "not servers and not slow and not browser"

export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1

.PHONY: help env lock check style types boundaries unit test servers demo bench sim model clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

env: $(STAMP)  ## the environment in .venv, exactly as locked
$(STAMP): requirements.lock $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make env PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(OURS:%=-e %)
	@touch $@

lock:  ## resolve the dependencies again (UPGRADE=1: to the newest)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv==$(UV_VERSION); }
	$(BIN)/uv pip compile $(PROJECTS) --quiet --universal --python-version 3.11 --all-extras \
		--group dev $(if $(UPGRADE),--upgrade) --generate-hashes --no-annotate \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		$(foreach d,amends amends-amqp amends-contracts amends-migrations amends-orchestrator amends-participants,--no-emit-package $(d)) \
		--output-file requirements.lock

check: style types boundaries unit  ## ruff, pyright, import-linter, tidy test, unit tests

style: env
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: env
	$(BIN)/pyright --warnings

boundaries: env
	$(BIN)/lint-imports --no-cache

unit: env
	$(BIN)/pytest -q $(UNIT)

test: servers style types boundaries  ## everything, as the CI does
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

servers: env  ## what the tests need beside the environment: RabbitMQ, Chromium, Java
	@./.ci/servers

demo: env  ## book-trip three times: success, undone, killed and resumed
	$(BIN)/amends demo

sim: env  ## N=20000 random schedules through the simulator, FROM=0
	$(BIN)/amends sim --count $(or $(N),20000) --from $(or $(FROM),0)

bench: env  ## benchmarks, with JSON output
	$(BIN)/python -m benchmarks

model: env  ## TLC looks through every state of the protocol's model (model/, docs/model.md)
	$(BIN)/python -m model

clean:  ## remove the environment and everything generated
	rm -rf .venv .amends build dist .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
