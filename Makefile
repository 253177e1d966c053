# Every target sets itself up on a fresh machine: Python 3.10 or newer and make are all it takes.
VENV ?= .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
PLUGINS := $(wildcard plugins/*)
PYTEST_ARGS ?= -n 2 --dist worksteal
PIP := $(BIN)/python -m pip install --quiet
unexport PYTHONDONTWRITEBYTECODE  # tests start processes, which would each compile hrkit anew
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: install demo test test-fast hostile lint docs clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/hrkit demo --image hrkit/assets/oath.jpg --output demo-output --json

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow" --hypothesis-profile fast

hostile: $(VENV)/.installed-dev
	$(BIN)/python tests/hostile/campaign.py --count 10000

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/pyvenv.cfg $(PROJECTS)
	$(PIP) 'setuptools>=77'
	$(PIP) --no-build-isolation -e '.[cpu]' -e plugins/hrkit-lite
	touch $@

$(VENV)/.installed-dev: $(VENV)/pyvenv.cfg $(PROJECTS)
	$(PIP) 'setuptools>=77'
	$(PIP) --no-build-isolation --no-compile -e '.[dev]' $(addprefix -e ,$(PLUGINS))
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) demo-output site build *.egg-info plugins/*/*.egg-info plugins/*/build
