# make demo    install into .venv and run the demonstration
# make test    install with the developers' tools, then lint, type check and test
# make lint    ruff and mypy alone
# make docs    the documentation as a site, in site/
# make wheel   sdist and wheel in dist/, checked, installed into an empty environment and tried there
# make clean   remove .venv and what tools leave behind
#
# PYTHON        the interpreter that .venv is made from, 3.10 or later.
# TORCH_INDEX   address of an additional package index with CPU wheels of PyTorch; empty by default. Linux without CUDA
#               needs it, unless pip is set up to find a CPU wheel: PyTorch's usual wheel for Linux brings CUDA. The
#               CPU index is on PyTorch's page "Get Started". Use: make demo TORCH_INDEX=https://...
PYTHON ?= python3
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints-cpu.txt
INSTALL += $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# A stamp is newer than the files that say what is installed; while it is, nothing is installed again.
PACKAGE := $(VENV)/.package
DEVELOP := $(VENV)/.develop
MODELS := $(VENV)/.models
REQUIREMENTS := pyproject.toml constraints-cpu.txt

.PHONY: demo test lint docs wheel clean

demo: $(PACKAGE)
	@echo "The demonstration fetches SmolLM2-135M once, about 100 MB, if this machine does not have it yet."
	$(BIN)/llmcodec demo

test: lint $(MODELS)
	$(BIN)/python -m pytest

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(DEVELOP)
	$(BIN)/python -m mkdocs build --strict --site-dir site

wheel:
	PYTHON=$(PYTHON) TORCH_INDEX=$(TORCH_INDEX) tools/check_wheel.sh dist

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PACKAGE): $(REQUIREMENTS)
	@echo "Installing into $(VENV): PyTorch (CPU build, about 190 MB), transformers, SciPy and others (about 120 MB)."
	@echo "If pip finds no CPU build on Linux it takes the CUDA build, about 3 GB: see TORCH_INDEX in the Makefile."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(DEVELOP): $(PACKAGE)
	@echo "Installing the developers' tools (pytest, hypothesis, ruff, mypy, mkdocs and others, about 115 MB)."
	$(INSTALL) --editable '.[dev,docs]'
	@touch $@

$(MODELS): $(PACKAGE)
	@echo "Fetching SmolLM2-135M, about 100 MB, for the end-to-end tests; they need no network afterwards."
	$(BIN)/llmcodec models fetch
	@touch $@
