# The two commands that matter: `make demo` and `make test`. Both do all the set-up on a fresh Debian or Ubuntu (root).
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := etcd-server etcd-client iproute2 nftables keepalived procps python3-venv
# The Debian packages start services of their own; tests start what they need, in namespaces.
export DEBIAN_FRONTEND := noninteractive
export PYTHONUNBUFFERED := 1

.PHONY: help setup demo test check check-simulation check-modules lab-test lab-test-ops lab-test-faults bench matrix promise mutants soak proto diagram lock format clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## install what is missing: system packages (as root) and .venv
	@bash scripts/packages.sh $(PACKAGES)

$(VENV)/.ready: pyproject.toml lab/pyproject.toml requirements-dev.txt scripts/venv.sh
	@bash scripts/venv.sh $(PYTHON) $(VENV)

demo: setup ## three nodes, a real etcd, a client that watches: the owner is stopped, crashed, frozen, cut off
	@$(BIN)/sharedip lab demo --report out/demo.html

MODULES := tests/unit tests/laws tests/regressions tests/mutants
# What `check` leaves to `test`, which runs the same lines without this: many seeds and examples, the lab's own tests.
export QUICK ?= -m "not slow" --hypothesis-profile=quick --ignore=tests/unit/lab --ignore=tests/unit/bench
export HISTORIES ?= 1000
export SHAREDIP_HISTORIES ?= $(HISTORIES)

check: setup ## the quick part, a minute: format, lint, types, unit, laws, regressions, simulation (1000 histories)
	@$(BIN)/ruff format --check src lab tests bench scripts
	@$(BIN)/ruff check src lab tests bench scripts
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory -j2 --output-sync=target check-simulation check-modules

# Two processes: the histories are half of the work, and have two workers of their own.
check-simulation:
	@$(BIN)/pytest -q $(QUICK) tests/simulation

check-modules:
	@$(BIN)/pytest -q $(QUICK) $(MODULES)

test: export QUICK :=
test: export HISTORIES := 5000
test: check ## everything: check in full, then the contracts with real etcd 3.4, 3.5 and the kernel, then the lab
	@$(BIN)/pytest tests $(patsubst %,--ignore=%,$(MODULES) tests/simulation tests/lab)
	@$(MAKE) --no-print-directory lab-test

# A lab waits most of the time: two of them side by side take half as long. What each says comes when it is done.
lab-test: setup ## the lab's tests alone, two labs side by side
	@$(MAKE) --no-print-directory -j2 --output-sync=target lab-test-ops lab-test-faults

lab-test-ops:
	@$(BIN)/pytest tests/lab/ops

lab-test-faults:
	@$(BIN)/pytest tests/lab --ignore=tests/lab/ops

bench: setup ## the figures of the README, medians of ten (about 70 minutes; ONLY=window,handover runs some)
	@$(BIN)/sharedip lab run bench --filter "$(ONLY)" --json out/bench.json --report out/bench.html

matrix: setup ## every fault, on and off etcd's leader, IPv4 and IPv6, both etcd versions (PART=1/4 RESUME=1 ONLY=words)
	@$(BIN)/sharedip lab run matrix --etcd all --jobs 2 --filter "$(ONLY)" --part $(or $(PART),1/1) \
	  $(if $(RESUME),--resume) --json out/matrix.json --report out/matrix.html

promise: setup ## never two owners, in 300 drawn runs (about 12 minutes; RUNS=60 SEED=7 RESUME=1)
	@$(BIN)/sharedip lab run promise --runs $(or $(RUNS),300) $(if $(SEED),--seed $(SEED)) --etcd all --jobs 2 \
	  $(if $(RESUME),--resume) --json out/promise.json --report out/promise.html

mutants: setup ## break each law in a copy and see which test notices
	@$(BIN)/python -m tests.mutants

soak: setup ## an hour of seeded faults
	@$(BIN)/sharedip lab run chaos --minutes $(or $(MINUTES),60) --json out/soak.json --report out/soak.html

proto: setup ## generate the etcd stubs anew from our own rpc.proto
	@cd src && ../$(BIN)/python -m sharedip.adapters.etcd.generate

diagram: setup ## draw ARCHITECTURE.md's state diagram anew from the code
	@$(BIN)/python -m scripts.diagram --write

lock: setup ## write requirements-dev.txt anew
	@$(BIN)/python scripts/lock.py > requirements-dev.txt.new && mv requirements-dev.txt.new requirements-dev.txt

format: setup ## format the code
	@$(BIN)/ruff check --fix src lab tests bench scripts
	@$(BIN)/ruff format src lab tests bench scripts

clean: ## remove what was built here
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis
