# Every target sets itself up on a fresh machine: Python 3.10 or newer and make are all it takes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PLUGINS := $(wildcard plugins/*)
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: install demo test lint clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/hrkit demo --image hrkit/assets/basketball.jpg --output demo-output --json

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python $(PROJECTS)
	$(BIN)/python -m pip install --quiet -e . -e plugins/hrkit-lite
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev]' $(addprefix -e ,$(PLUGINS))
	touch $@

clean:
	rm -rf $(VENV) demo-output build *.egg-info plugins/*/*.egg-info plugins/*/build
