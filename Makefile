# `make help` lists what there is. Each target stands alone: it makes the environment that it needs.
.DEFAULT_GOAL := help

PYTHON ?= python3
VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PIP := -m pip --disable-pip-version-check --quiet
# Finished environments carry a stamp, by version of Python; a newer pyproject.toml brings them up to date.
DEV := .venv/.ready-$(VERSION)
LOWEST := .venv-lowest/.ready-$(VERSION)
DEMO := .venv-demo/.ready-$(VERSION)
SOURCES := $(shell find edgebrain train export -type f ! -name '*.pyc' 2>/dev/null)

# $(call venv,FOLDER,STAMP): an environment, made anew unless it was finished before with this version of Python.
define venv
if [ ! -e $(2) ]; then echo "Making $(1) with Python $(VERSION)" && "$(PYTHON)" -m venv --clear $(1); fi
endef

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: $(DEMO) ## Draw sample pictures and classify them, with the runtime alone
	@echo "The pictures are drawings made by this program, not scans: the answers show the format, not the accuracy."
	@.venv-demo/bin/edgebrain phantom .demo/samples
	@.venv-demo/bin/edgebrain classify .demo/samples

.PHONY: check
check: lint types test ## Everything that must pass before a change is committed

.PHONY: test
test: $(DEV) ## Run the tests with coverage (PYTEST_ARGS="-k name" narrows them)
	@.venv/bin/python -m pytest --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

.PHONY: lint
lint: $(DEV) ## Check style and formatting
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

.PHONY: types
types: $(DEV) ## Check types
	@.venv/bin/mypy

.PHONY: docs
docs: $(DEV) ## Write the parts of the documentation that are made from the code
	@.venv/bin/python docs/generate_cli.py
	@.venv/bin/python docs/generate_recipes.py
	@.venv/bin/python -m edgebrain.results.records > .schema.tmp && mv .schema.tmp edgebrain/schemas/prediction.schema.json

.PHONY: bench
bench: $(DEV) ## Measure, and print the tables of the README (BENCH_ARGS is passed on)
	@.venv/bin/python benchmarks/run.py $(BENCH_ARGS)

.PHONY: test-lowest
test-lowest: $(LOWEST) ## Run the runtime's tests on the oldest dependencies that are allowed
	@.venv-lowest/bin/python -m pytest tests/runtime tests/contract $(PYTEST_ARGS)

.PHONY: test-jetson
test-jetson: ## On a Jetson or a PC with TensorRT: build its engines and compare with the golden outputs (MODEL=bundle)
	@"$(PYTHON)" -c 'import tensorrt' || { echo "There is no TensorRT here: docs/guides/jetson.md says what it needs." >&2; exit 3; }
	@EDGEBRAIN_MODEL="$(or $(MODEL),edge)" "$(PYTHON)" -m pytest -m jetson -o addopts="--import-mode=importlib -ra" \
		tests/contract/test_jetson.py $(PYTEST_ARGS)

.PHONY: clean
clean: ## Remove everything that was made here
	rm -rf .venv .venv-demo .venv-lowest .demo build dist edgebrain.egg-info
	rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find edgebrain train export tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: python
python:
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON). Install Python 3.10 or newer, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is Python $(VERSION); edgebrain needs 3.10 or newer. Name another one: make PYTHON=python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }

$(DEMO): pyproject.toml $(SOURCES) | python
	@$(call venv,.venv-demo,$@)
	@echo "Installing the runtime: numpy, OpenCV, ONNX Runtime and the command line (about 115 MB to download)"
	@rm -rf build # what an earlier build left there would be installed with it
	@.venv-demo/bin/python $(PIP) install .
	@touch $@

$(DEV): pyproject.toml | python
	@$(call venv,.venv,$@)
	@echo "Installing edgebrain with all extras and tools; the first time this takes minutes and several GB (torch)"
	@.venv/bin/python $(PIP) install --upgrade 'pip>=25.1' # the first that knows dependency groups
	@.venv/bin/python $(PIP) install --editable '.[all]' --group dev
	@touch $@

$(LOWEST): pyproject.toml tests/lowest-versions.txt | python
	@$(call venv,.venv-lowest,$@)
	@echo "Installing the oldest dependencies that are allowed"
	@.venv-lowest/bin/python $(PIP) install --upgrade 'pip>=25.1'
	@.venv-lowest/bin/python $(PIP) install --constraint tests/lowest-versions.txt --editable . --group test
	@touch $@
