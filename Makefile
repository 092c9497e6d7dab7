# Every target does its own set-up; `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3.11
BIN := .venv/bin

export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.PHONY: demo test lint docs setup lock clean

demo: setup
	$(BIN)/tubelet run demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile docker/Dockerfile.cuda

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

# The lock holds what an environment made from pyproject.toml resolved to.
lock: setup
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf .venv .tubelet site
