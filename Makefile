# Everything starts here; each target makes .venv by itself. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OTHERS := .venv-thirdparty

.DEFAULT_GOAL := help
.PHONY: help demo demo-all test torture thirdparty lint bench fix data constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt install python3-venv"; exit 1; }
	@echo "setting up $(VENV) (once, about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group test --group lint --editable ".[all]"
	@touch $@

demo: $(READY) ## embed real text on the local emulator, and look at what comes out
	@$(BIN)/python jobs/demo.py

demo-all: $(READY) ## run every job of jobs/ on the local emulator, one line each
	@$(BIN)/python jobs/demo_all.py

test: $(READY) ## run all tests (a few minutes)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

torture: $(READY) ## the long fault tests: hundreds of kills, power cuts, each mechanism removed (about 20 minutes)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m torture -o faulthandler_timeout=0

thirdparty: $(OTHERS)/.ready ## clients and servers of others: SDKs against the emulator, the OpenAI dialect against aimock
	$(OTHERS)/bin/python -m pytest -q -m thirdparty tests/thirdparty -W ignore

$(OTHERS)/.ready: pyproject.toml
	@test -x $(OTHERS)/bin/python || $(PYTHON) -m venv $(OTHERS)
	@echo "setting up $(OTHERS) (once, several minutes, about 1 GB) …"
	@$(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check --group test --group thirdparty --editable .
	@if command -v npm >/dev/null; then npm install --silent --no-save --prefix .thirdparty @copilotkit/aimock@1.43.0; \
	else echo "npm is not there: tests against aimock are left out"; fi
	@touch $@

lint: $(READY) ## format, style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: $(READY) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

data: $(READY) ## write the sample texts, pictures, recordings and documents that the jobs use
	@for script in jobs/corpus.py jobs/samples_*.py; do $(BIN)/python $$script || exit 1; done

bench: $(READY) ## measure against a bare aiohttp loop (about 12 minutes; one row: python -m benchmarks b1)
	$(BIN)/python -m benchmarks

constraints: $(READY) ## write down the versions that are installed
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean: ## remove what make made
	rm -rf $(VENV) $(OTHERS) .thirdparty out data .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
