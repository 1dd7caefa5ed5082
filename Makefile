# Two commands do everything: `make run` and `make test`. The others are what these are made of.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run down env test coverage prove lint bench

BIN := .venv/bin

help: ## Show what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 14

run: .venv/installed ## Build the demo lineage and serve the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/pipelines up --ui
	@$(BIN)/pipelines build

down: .venv/installed ## Stop everything that `make run` started; the data are kept
	@$(BIN)/pipelines down

test: .venv/installed .venv/browser ## Run all tests against real servers
	@$(BIN)/pytest -n 2

coverage: .venv/installed .venv/browser ## Run all tests and show the lines that none of them runs
	@$(BIN)/pytest --cov -n 2

prove: .venv/installed ## Run the race and crash harnesses at full size
	@PROVE=1 $(BIN)/pytest -m prove -s

lint: .venv/installed ## Check style, types, the order of imports and the style of SQL
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright && $(BIN)/lint-imports
	@$(BIN)/sqlfluff lint dbt_project/models dbt_project/tests --processes 2 --disable-progress-bar

bench: .venv/installed ## Measure, each figure against its baseline in the same run
	@$(BIN)/python -m benchmarks

# The locked environment. uv is taken from the PATH, else installed into a folder of its own.
.venv/installed: uv.lock pyproject.toml .ci/install
	@.ci/install
	@touch $@

.venv/browser: .venv/installed
	@.ci/browser
	@touch $@
