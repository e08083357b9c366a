# Each target works as the first command on a fresh machine: it makes .venv and installs into it what the project needs.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: train test lint bench docs sanitize clean
.DEFAULT_GOAL := train

$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*.* native/*/*.*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

train: $(INSTALLED)  ## train a network on Python source code, evaluate it and show its predictions
	$(BIN)/throughtime train --overwrite

test: $(INSTALLED)  ## all tests, on every core
	$(BIN)/python -m pytest -n auto

lint: $(INSTALLED)  ## format, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## time the learning step beside PyTorch's
	$(BIN)/throughtime bench

clean:
	rm -rf .venv build dist site runs
