# Everything a newcomer needs: `make demo`, `make test`. Both set up `.venv` first.
PYTHON ?= python3
VENV := .venv
# Options of the demo: make demo DEMO="--limit 500"
DEMO ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: help setup demo test lint docs check kernels-gpu clean

help:
	@echo "make setup   a virtual environment in .venv with fastneurons and its engine (CPU or GPU, whichever fits)"
	@echo "make demo    a real model over real facts in ten languages: store, table, picture and report in ./demo"
	@echo "make test    the tests"
	@echo "make lint    ruff, mypy, and whether docs/cli.md matches the commands' help"
	@echo "make docs    write docs/cli.md from the commands' help"
	@echo "make kernels-gpu   compile and check the kernels with the Triton that a machine with a GPU gets"
	@echo "make check   lint and test, as CI runs them"
	@echo "make clean   remove .venv and ./demo"

setup: $(STAMP)

$(STAMP): pyproject.toml .ci/setup
	PYTHON=$(PYTHON) bash .ci/setup $(VENV)
	@touch $@

demo: $(STAMP)
	$(BIN)/fastneurons demo --output demo --overwrite $(DEMO)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=40

lint: $(STAMP)
	@mkdir -p $(VENV)/mypy && ln -sfn ../../kernels $(VENV)/mypy/fastneurons_kernels
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/make_cli.py --check

docs: $(STAMP)
	$(BIN)/python docs/make_cli.py

check: lint test

# The tests' own Triton is the CPU engine's. docs/gpu.md has the other's version, and .ci/resolve sees that it stays right.
kernels-gpu: $(STAMP)
	@test -d $(VENV)/triton-gpu || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $(VENV)/triton-gpu triton==$$(sed -n 's/^| triton | *\([0-9.]*\).*/\1/p' docs/gpu.md)
	PYTHONPATH=$(VENV)/triton-gpu TRITON_INTERPRET=1 $(BIN)/python benchmarks/kernel_rate.py --check \
		--device cpu --dtype fp16 --neurons 96 --rows 64
	PYTHONPATH=$(VENV)/triton-gpu $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/kernels/test_compiled.py tests/kernels/test_top.py \
		tests/kernels/test_categories.py tests/kernels/test_attribution.py

clean:
	rm -rf $(VENV) demo
