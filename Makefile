# Valetkey. `make help` prints every target; each sets up what it needs on a machine with only python3 and make.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEBIAN := faketime
CEPH := radosgw ceph-mon ceph-osd ceph-common

.DEFAULT_GOAL := help
.PHONY: help install demo up down status system-deps test test-fast sim fuzz faults soak matrix lint bench bench-doors bench-growth house lock clean test-aws

help:  ## Print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## Make the virtual environment with every pinned dependency

$(READY): requirements/dev.txt pyproject.toml
	@echo "install: making $(VENV) with every pinned dependency, in a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

system-deps:  ## Install what some tests need besides, from Debian's packages (as root)
	@for group in "$(DEBIAN)" "$(CEPH)"; do \
	  dpkg -s $$group > /dev/null 2>&1 && continue; \
	  echo "system-deps: installing $$group"; \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$group > /dev/null || exit 1; \
	done

demo: $(READY)  ## Tell the whole story on real servers, in under a minute
	$(BIN)/valetkey demo

up: $(READY)  ## Start the embedded stack in the foreground (Ctrl-C stops it)
	$(BIN)/valetkey dev up

down: $(READY)  ## Stop the embedded stack
	$(BIN)/valetkey dev down

status: $(READY)  ## Show the embedded stack
	$(BIN)/valetkey dev status

test: lint  ## Everything: linters, types, rooms, and every test on real servers
	$(BIN)/python -m tests.thirds

test-fast: $(READY)  ## What needs no server, in under a minute
	$(BIN)/python -m pytest tests/unit tests/flows tests/identity tests/house

sim: $(READY)  ## A hundred thousand schedules of the simulator
	VALETKEY_SIM_SCHEDULES=100000 $(BIN)/python -m pytest tests/simulation/test_schedules.py --timeout=1200

fuzz: $(READY)  ## A hundred calls of each kind to every operation of the API's document
	VALETKEY_FUZZ_EXAMPLES=100 $(BIN)/python -m pytest tests/api/test_schemathesis.py --timeout=1200

faults: $(READY)  ## Kill loops, fifty times each
	VALETKEY_FAULT_ROUNDS=50 $(BIN)/python -m pytest tests/faults tests/fleet --timeout=3600

soak: $(READY)  ## Ten minutes of use and trouble on three replicas (VALETKEY_SOAK_SECONDS, _SEED)
	$(BIN)/python -m tests.soak

matrix: $(READY)  ## Make docs/reference/fault-matrix.md anew from the tests
	$(BIN)/python -m tests.house.fault_matrix

lint: $(READY)  ## ruff, mypy, import-linter, deptry
	$(BIN)/ruff check src tests bench migrations
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

test-aws: $(READY)  ## The claims about AWS, on a real account too (docs/aws.md)
	@: "$${VALETKEY_TEST_AWS_REGION:?}" "$${VALETKEY_TEST_AWS_ROLE_ARN:?}" \
	   "$${VALETKEY_TEST_AWS_BUCKET:?}" "$${VALETKEY_TEST_AWS_EXTERNAL_ID:?see docs/aws.md}"
	VALETKEY_TEST_AWS=yes $(BIN)/python -m pytest tests/aws/test_claims.py --timeout=1200

bench: $(READY)  ## Speed as ratios against direct OpenBao, in one run
	$(BIN)/python -m bench

bench-doors: $(READY)  ## What it costs to be let in, to ask, and to ask about a token
	$(BIN)/python -m bench.doors

bench-growth: $(READY)  ## How speed holds as numbers grow and things break, in about 15 minutes
	$(BIN)/python -m bench.growth

house: $(READY)  ## Measure the house: files, functions, docstrings
	$(BIN)/python -m tests.house.measure

lock:  ## Re-resolve requirements/*.txt (needs uv on the PATH)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -q pyproject.toml -o requirements/runtime.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links -q pyproject.toml --extra dev --group test -o requirements/dev.txt

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
