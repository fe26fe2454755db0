# Gateline. `make demo` shows the loop; `make test` runs every test. Everything is installed inside this folder (.tools/, .venv/).
# Each recipe is one line of a tool in .venv, so that nothing depends on make.
.DEFAULT_GOAL := help
.PHONY: help demo environment test test-fast check format reference lock bench bench-features bench-fuzz bench-pipelines bench-tracking clean
.NOTPARALLEL:
export PYTHON

ARGS ?=
WORKERS ?= 2
PYTEST = .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo:  ## the whole loop on real flights, then a running server; ARGS=--exit ends after the story
	@scripts/environment demo
	@.venv/bin/python -m gateline demo $(ARGS)

environment:  ## .venv with everything that development needs
	@scripts/environment dev

test: environment  ## every test
	@scripts/setup
	$(PYTEST) $(ARGS)

test-fast: environment  ## unit, property and tidy tests without the slow ones
	@scripts/setup
	$(PYTEST) -m "not slow" $(wildcard tests/unit tests/property tests/tidy) $(ARGS)

check: environment  ## ruff, ty, import-linter, tidy, mypy: the quickest first
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ty check src
	.venv/bin/lint-imports --no-cache
	.venv/bin/python -m pytest -q -p no:cacheprovider tests/tidy
	.venv/bin/mypy src/gateline

format: environment  ## what ruff can mend
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

reference: environment  ## write docs/reference from the code
	.venv/bin/python scripts/generate_reference.py

lock:  ## resolve requirements/*.txt again
	@scripts/lock

bench-pipelines: environment  ## what a step costs, beside Airflow, Prefect and Dagster; QUICK=1 takes at most 4 minutes
	.venv/bin/python -m bench.pipelines.run $(if $(QUICK),--quick)

bench-features: environment  ## features beside Feast and hand-written Polars; QUICK=1 takes at most 4 minutes
	.venv/bin/python -m bench.features.run $(if $(QUICK),--quick)

bench-tracking: environment  ## metric logging and search beside the stock MLflow server; QUICK=1 takes at most 4 minutes
	.venv/bin/python -m bench.tracking.run $(if $(QUICK),--quick)

bench-fuzz: environment  ## 200 random kills over pipeline runs; ARGS="--kills 20 --seed 2" for another number
	.venv/bin/python -m bench.pipelines.fuzz $(ARGS)

bench: bench-features bench-tracking bench-pipelines bench-fuzz  ## every benchmark; about an hour and a half on two idle cores

clean:  ## remove what can be made again; the records in .gateline/ stay
	rm -rf .venv .tools build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
