# `make demo` and `make test` do all set-up on a fresh machine.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test check docs format slow bench clean

help:
	@echo "make demo    set up, export the BioGPT demo checkpoint and generate from it"
	@echo "make test    set up and run the tests (minutes)"
	@echo "make check   lint, formatting, types, imports, dependencies"
	@echo "make docs    build the site, begin at site/index.html"
	@echo "make slow    more parity seeds, and a checkpoint over 2 GB (about an hour, 10 GB)"
	@echo "make bench   time both backends against transformers, and the other runtimes installed"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("beamgen needs Python 3.11 or newer: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	@echo "setting up $(VENV): some minutes, and a gigabyte or more for torch"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[biogpt,export,finetune,genai,text,triton,docs,dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/beamgen export --model-class BioGptModel --num-beams 5 --output demo-package --force
	$(BIN)/beamgen generate --model demo-package --prompt "aspirin is" --num-return-sequences 3

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry beamgen model_adapters

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

bench: $(VENV)/.installed
	$(BIN)/beamgen bench --workload 64+64 --workload 64+512

clean:
	rm -rf $(VENV) demo-package site build dist *.egg-info
