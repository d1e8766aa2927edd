# The two commands that matter: `make demo` and `make test`. As root on Debian or Ubuntu both install what is missing.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := etcd-server etcd-client iproute2 nftables keepalived haproxy procps python3-venv
# The Debian packages start services of their own; tests start what they need, in namespaces.
export DEBIAN_FRONTEND := noninteractive
export PYTHONUNBUFFERED := 1

.PHONY: help setup packages demo test check dist test-dist test-reproducible test-fresh test-files test-ansible site image test-image test-skew check-simulation check-modules check-contracts lab-test lab-test-ops lab-test-faults test-page vm truth bench clients matrix promise histories mutants soak proto test-dependencies diagram lock format clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## install what is missing: system packages (as root) and .venv

# Before .venv: a minimal Debian has no python3 to make it with.
packages:
	@bash scripts/packages.sh $(PACKAGES)

$(VENV)/.ready: pyproject.toml lab/pyproject.toml requirements-dev.txt scripts/venv.sh | packages
	@bash scripts/venv.sh $(PYTHON) $(VENV)

demo: setup ## three nodes, a real etcd, a client that watches: the owner is stopped, crashed, frozen, cut off
	@$(BIN)/sharedip lab demo --report out/demo.html

MODULES := tests/unit tests/laws tests/regressions tests/mutants
# What `check` leaves to `test`, which runs the same lines without this: many seeds and examples, the lab's own tests.
export QUICK ?= -m "not slow" --hypothesis-profile=quick --ignore=tests/unit/lab --ignore=tests/unit/bench
export HISTORIES ?= 1000
export BESIDE ?= check-modules
export SHAREDIP_HISTORIES ?= $(HISTORIES)

check: setup ## the quick part, a minute: format, lint, types, unit, laws, regressions, simulation (1000 histories)
	@$(BIN)/ruff format --check src lab tests bench scripts
	@$(BIN)/ruff check src lab tests bench scripts
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory -j2 --output-sync=target check-simulation $(BESIDE)

# Two processes: the histories are half of the work, and have two workers of their own.
check-simulation:
	@$(BIN)/pytest -q $(QUICK) tests/simulation

check-modules:
	@$(BIN)/pytest -q $(QUICK) $(MODULES)

# The contracts wait for etcd and the kernel most of the time: beside the histories they cost none.
check-contracts: check-modules
	@$(BIN)/pytest tests $(patsubst %,--ignore=%,$(MODULES) tests/simulation tests/lab tests/browser)

test: export QUICK :=
test: export HISTORIES := 1500
test: export BESIDE := check-contracts
test: check ## everything: check in full, the contracts with real etcd 3.4, 3.5 and the kernel, then the lab
	@$(MAKE) --no-print-directory lab-test

# A lab waits most of the time: two of them side by side take half as long. What each says comes when it is done. The
# second one has some of the operators' tests as well, so that both take as long.
LATE_OPS := test_[s-z]*
lab-test: setup ## the lab's tests alone, two labs side by side
	@$(MAKE) --no-print-directory -j2 --output-sync=target lab-test-ops lab-test-faults

lab-test-ops:
	@$(BIN)/pytest tests/lab/ops --ignore-glob='*/$(LATE_OPS)'

lab-test-faults:
	@$(BIN)/pytest tests/lab --ignore=tests/lab/ops
	@$(BIN)/pytest tests/lab/ops/$(LATE_OPS)

# What builds the artifacts is installed apart, by these two lines: neither `setup` nor CI has to carry it.
DIST_TOOLS := out/dist-tools
$(DIST_TOOLS)/.ready: packaging/requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || bash scripts/packages.sh python3-venv
	@$(PYTHON) -m venv $(DIST_TOOLS)
	@$(DIST_TOOLS)/bin/python -m pip install -qq --disable-pip-version-check -c requirements-dev.txt \
	  -r packaging/requirements.txt -e .
	@touch $@

dist: $(DIST_TOOLS)/.ready ## wheel, sdist, deb and rpm in out/dist: the same bytes for the same commit (ARCH=amd64)
	@$(DIST_TOOLS)/bin/python -m scripts.artifacts $(if $(ARCH),--arch $(ARCH))

test-reproducible: $(DIST_TOOLS)/.ready ## build the last commit twice, as two machines would, and compare the bytes
	@$(DIST_TOOLS)/bin/python -m scripts.artifacts.twice

# mmdebstrap, lintian and rpmlint are Debian's; the roots are made once and kept in out/roots (3 minutes each).
test-dist: dist ## try them in clean Debian 12, 13 and Ubuntu 24.04, booted in namespaces: install, upgrade while it owns, purge (as root)
	@bash scripts/packages.sh mmdebstrap lintian rpmlint rpm iproute2 etcd-server
	@DIST=out/dist-second $(DIST_TOOLS)/bin/python -m scripts.artifacts --arch $$(dpkg --print-architecture) --release 2 >/dev/null
	@$(DIST_TOOLS)/bin/python -m scripts.trial $(if $(SUITE),--suite $(SUITE)) $(if $(ONLY),--only $(ONLY))

test-fresh: setup ## the README's first lines in Debians and an Ubuntu that have nothing: no python3, git, make (as root; needs the network)
	@bash scripts/packages.sh mmdebstrap
	@$(BIN)/python -m scripts.trial.fresh $(if $(SUITE),--suite $(SUITE))

# Kubernetes' schemas, mkdocs and Ansible are installed apart.
FILE_TOOLS := out/file-tools
$(FILE_TOOLS)/.ready: packaging/requirements-files.txt requirements-dev.txt
	@$(PYTHON) -m venv $(FILE_TOOLS)
	@$(FILE_TOOLS)/bin/python -m pip install -qq --disable-pip-version-check -c requirements-dev.txt \
	  -r packaging/requirements-files.txt -e .
	@touch $@

test-ansible: dist $(FILE_TOOLS)/.ready ## the quick start by hand, and the Ansible role, on three booted Debians with etcd and TLS (as root; SUITE=trixie)
	@bash scripts/packages.sh mmdebstrap iproute2 iputils-ping
	@DIST=out/dist-second $(DIST_TOOLS)/bin/python -m scripts.artifacts --arch $$(dpkg --print-architecture) --release 2 >/dev/null
	@$(FILE_TOOLS)/bin/python -m scripts.trial.playbook $(if $(SUITE),--suite $(SUITE))

test-files: setup $(FILE_TOOLS)/.ready ## what ships as a file: alert rules by promtool, manifests by Kubernetes' schemas
	@bash scripts/packages.sh prometheus
	@$(BIN)/pytest -q tests/unit/test_monitoring.py
	@$(FILE_TOOLS)/bin/python -m scripts.manifests

# Not --quiet: with it mkdocs does not count the warnings that --strict is for.
site: setup $(FILE_TOOLS)/.ready ## the documentation as a site in out/site; a link that leads nowhere is an error
	@$(FILE_TOOLS)/bin/mkdocs build --strict --config-file packaging/mkdocs.yaml

image: dist ## an image without any registry: Debian 13 and the deb, as a tar; with podman here imported at once (as root)
	@bash scripts/packages.sh mmdebstrap
	@$(DIST_TOOLS)/bin/python -m scripts.artifacts.image

test-image: setup ## the image as the agents of three nodes: stopped, moved, killed, frozen, cut off (as root, after `make image`)
	@bash scripts/packages.sh podman runc
	@SHAREDIP_IMAGE=localhost/sharedip:$$($(BIN)/python -c 'import sharedip; print(sharedip.__version__)') \
	  $(BIN)/pytest -q -s tests/lab/test_image.py

test-skew: setup ## the released version beside this one: ten minutes of faults, never two owners (MINUTES=10)
	@$(BIN)/python -m scripts.skew $(MINUTES)

test-page: setup ## the status page in headless chromium, ten states; pictures of each in out/page (two minutes)
	@command -v chromium >/dev/null || bash scripts/packages.sh chromium fonts-dejavu-core
	@$(BIN)/pytest tests/browser

# QEMU under software emulation: no KVM is needed, and three machines take two cores. The Debian is made once and kept.
vm: ARCH := amd64
vm: setup dist ## three virtual machines with bonds and VLANs, paused, cut, reset (as root; ONLY=pause RUNS=3 KERNEL=forky ETCD=trixie)
	@bash scripts/packages.sh mmdebstrap e2fsprogs qemu-system-x86 qemu-utils
	@$(BIN)/sharedip lab vm --filter "$(ONLY)" --runs $(or $(RUNS),1) --kernel $(or $(KERNEL),trixie) \
	  $(if $(ETCD),--etcd $(ETCD)) --json out/vm.json --report out/vm.html

truth: setup ## nineteen situations, five places each that must not be content; what explain says against kills
	@$(BIN)/sharedip lab run truth --filter "$(ONLY)" --json out/truth.json

bench: setup ## the figures of the README, medians of ten (about 100 minutes; ONLY=window,handover or ONLY=beside runs some)
	@[ -x /usr/sbin/ucarp ] || bash scripts/packages.sh ucarp
	@$(BIN)/sharedip lab run bench --filter "$(ONLY)" --json out/bench.json --report out/bench.html

clients: setup ## when kubectl, curl and idle clients notice a lost owner (10 minutes; ONLY=crash RUNS=3)
	@command -v kubectl >/dev/null || bash scripts/packages.sh kubernetes-client
	@command -v curl >/dev/null || bash scripts/packages.sh curl
	@$(BIN)/sharedip lab run clients --filter "$(ONLY)" --runs $(or $(RUNS),1) --json out/clients.json

matrix: setup ## every fault, on and off etcd's leader, IPv4 and IPv6, both etcd versions (PART=1/4 RESUME=1 ONLY=words)
	@$(BIN)/sharedip lab run matrix --etcd all --jobs 2 --filter "$(ONLY)" --part $(or $(PART),1/1) \
	  $(if $(RESUME),--resume) --json out/matrix.json --report out/matrix.html

promise: setup ## never two owners, in 300 drawn runs (about 12 minutes; RUNS=60 SEED=7 RESUME=1)
	@$(BIN)/sharedip lab run promise --runs $(or $(RUNS),300) $(if $(SEED),--seed $(SEED)) --etcd all --jobs 2 \
	  $(if $(RESUME),--resume) --json out/promise.json --report out/promise.html

histories: setup ## 5,000 drawn histories of many nodes, with the judges of safety and of liveness (15 minutes)
	@SHAREDIP_HISTORIES=5000 $(BIN)/pytest -q tests/simulation/test_histories.py

mutants: setup ## break each law in a copy and see which test notices
	@$(BIN)/python -m tests.mutants

soak: setup ## an hour of seeded faults
	@$(BIN)/sharedip lab run chaos --minutes $(or $(MINUTES),60) --json out/soak.json --report out/soak.html

proto: setup ## generate the etcd stubs anew from our own rpc.proto
	@cd src && ../$(BIN)/python -m sharedip.adapters.etcd.generate

test-dependencies: setup ## 2200 tests with the oldest of every library and with the newest (6 minutes; needs the network)
	@$(BIN)/python -m scripts.dependency_range

diagram: setup ## draw ARCHITECTURE.md's state diagram anew from the code
	@$(BIN)/python -m scripts.diagram --write

lock: setup ## write requirements-dev.txt anew, and packaging/requirements-agent.txt: what runs, with hashes
	@$(BIN)/python -m scripts.lock > requirements-dev.txt.new && mv requirements-dev.txt.new requirements-dev.txt
	@$(BIN)/python -m scripts.lock --agent > out/requirements-agent.txt
	@mv out/requirements-agent.txt packaging/requirements-agent.txt

format: setup ## format the code
	@$(BIN)/ruff check --fix src lab tests bench scripts
	@$(BIN)/ruff format src lab tests bench scripts

clean: ## remove what was built here
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis
