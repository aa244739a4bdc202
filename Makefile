# `make demo` and `make test` do all set-up on a fresh machine.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VENV_5 ?= .venv-5
VENV_RAY ?= .venv-ray

# What transformers has a part in: all of it runs with both.
TESTS_5 := tests/settings tests/checkpoint tests/decoder tests/search tests/parity tests/lora \
	tests/export tests/package/test_package.py tests/package/test_schema.py \
	tests/runtime/test_constrained_search.py tests/runtime/test_stop_strings.py tests/runtime/test_contrib.py \
	tests/runtime/test_encoder_decoders.py tests/runtime/test_generator.py tests/runtime/test_loras.py tests/runtime/test_per_row.py \
	tests/runtime/test_languages.py tests/runtime/test_rows_of_translators.py tests/runtime/test_translations.py \
	tests/runtime/test_speech.py tests/runtime/test_speech_demo.py tests/audio tests/training/test_encoder_decoders.py \
	tests/cli/test_commands.py tests/cli/test_lora_command.py tests/tokenizer

.PHONY: help demo test test-5 test-ray check docs format slow bench clean

help:
	@echo "make demo    set up, export the BioGPT demo checkpoint and generate from it"
	@echo "make test    set up and run the tests (minutes)"
	@echo "make test-5  the part of them that transformers has a part in, with transformers 5"
	@echo "make test-ray  those of beamgen batch on Ray, a hundred kills among them (half an hour)"
	@echo "make check   lint, formatting, types, imports, dependencies"
	@echo "make docs    build the site, begin at site/index.html"
	@echo "make slow    more parity seeds, and a checkpoint over 2 GB (about an hour, 10 GB)"
	@echo "make bench   time both backends against transformers, and the other runtimes installed"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("beamgen needs Python 3.11 or newer: make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	@echo "setting up $(VENV): some minutes, and a gigabyte or more for torch"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[batch,biogpt,constrain,export,optimum,finetune,genai,text,triton,docs,dev]'
	@touch $@

$(VENV_5)/.installed: pyproject.toml constraints-5.txt
	@echo "setting up $(VENV_5): some minutes, and a gigabyte or more for torch"
	$(PYTHON) -m venv $(VENV_5)
	$(VENV_5)/bin/python -m pip install --quiet --constraint constraints-5.txt --editable '.[biogpt,constrain,export,finetune,text,dev]'
	@touch $@

$(VENV_RAY)/.installed: pyproject.toml constraints.txt
	@echo "setting up $(VENV_RAY): some minutes, and a gigabyte or more for torch"
	$(PYTHON) -m venv $(VENV_RAY)
	$(VENV_RAY)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[biogpt,export,ray,dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/beamgen export --model-class BioGptModel --num-beams 5 --output demo-package --force
	$(BIN)/beamgen generate --model demo-package --prompt "aspirin is" --num-return-sequences 3

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

test-5: $(VENV_5)/.installed
	OMP_NUM_THREADS=1 $(VENV_5)/bin/python -m pytest --numprocesses auto $(TESTS_5)

test-ray: $(VENV_RAY)/.installed
	OMP_NUM_THREADS=1 $(VENV_RAY)/bin/python -m pytest -m 'slow or not slow' tests/batch/test_ray.py

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
	rm -rf $(VENV) $(VENV_5) $(VENV_RAY) demo-package site build dist *.egg-info
