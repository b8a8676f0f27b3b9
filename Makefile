PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
HOST ?= $(or $(PULLBACK_HOST),127.0.0.1)
PORT ?= $(or $(PULLBACK_PORT),8000)
FUZZ_SECONDS ?= 600
SEED ?= 0

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PACKAGES := -e ./schemas -e ./client -e ./service[telemetry]
MANIFESTS := pyproject.toml constraints.txt schemas/pyproject.toml client/pyproject.toml service/pyproject.toml

.PHONY: serve test docker-test check format docs operators conformance fuzz bench bench-derivatives bench-load clean

serve: $(VENV)/.runtime  ## set up what is missing, then serve on HOST:PORT
	PULLBACK_HOST=$(HOST) PULLBACK_PORT=$(PORT) exec $(BIN)/python -m pullback_service

test: $(VENV)/.development  ## the whole test suite
	$(BIN)/python -m pytest

docker-test: $(VENV)/.development  ## the image and the compose file, in a real engine
	$(BIN)/python -m pytest tests/docker

check: $(VENV)/.development  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy docs/generate.py

format: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.development  ## write docs/api.md from the OpenAPI document
	$(BIN)/python docs/generate.py

operators: $(VENV)/.runtime  ## regenerate the operator table from the installed torch
	$(BIN)/python -m pullback_service.program.classification

conformance: $(VENV)/.development  ## PyTorch's own samples of its operators through the service, against torch.autograd
	PYTHONPATH=conformance $(BIN)/python -m pullback_conformance

fuzz: $(VENV)/.development  ## random calls of every operator, each in a process that may die of it
	PYTHONPATH=conformance:fuzz $(BIN)/python -m pullback_fuzz --seconds $(FUZZ_SECONDS) --seed $(SEED)

bench: $(VENV)/.development  ## everything beside its peers, in one run; writes docs/benchmarks.md
	-$(MAKE) $(PEERS)/.installed
	PYTHONPATH=benchmarks $(BIN)/python -m pullback_bench --peers $(PEERS) --page docs/benchmarks.md

bench-derivatives: $(VENV)/.development  ## Jacobians, Hessians and H v against torch.func, in time and memory
	$(BIN)/python benchmarks/derivatives.py

bench-load: $(VENV)/.development  ## small and mixed load, with and without faults, beside a bare FastAPI echo
	$(BIN)/python benchmarks/load.py

clean:
	rm -rf $(VENV) $(PEERS)

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/.runtime: $(VENV)/.pip $(MANIFESTS)
	$(PIP) install --quiet --constraint constraints.txt $(PACKAGES)
	touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(PIP) install --quiet --constraint constraints.txt --group dev $(PACKAGES)
	touch $@

$(PEERS)/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	touch $@
