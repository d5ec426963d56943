# `make demo` and `make test` do all; each target sets up what it needs and does nothing twice.

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench fuzz guests native packages image-check clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

demo: $(READY) ## build a C program with zig and musl, run it traced, then show a fault report and a heap report
	@$(PY) -m emu.native >/dev/null
	@$(PY) scripts/demo.py

test: $(READY) packages native ## lint and every test, the second even where the first fails
	@failed=0; $(MAKE) --no-print-directory lint || failed=1; \
	$(PY) -m pytest -n $(JOBS) $(PYTEST_ARGS) || failed=1; exit $$failed

lint: $(READY) ## ruff, mypy --strict, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

bench: $(READY) packages native ## the speed table: native, qemu-x86_64, strace, stock Unicorn, heapscope
	@$(PY) -m tests.bench $(BENCH_ARGS)

fuzz: $(READY) packages native ## N=10000 random scripts of memory calls from SEED=0 on, on the host's Linux and on ours
	@$(PY) tests/oracle/oracle_fuzz.py -n $(or $(N),10000) --seed $(or $(SEED),0)

guests: $(READY) packages native ## build every program under guest/
	@$(MAKE) --no-print-directory -C guest PYTHON=$(abspath $(PY))

native: $(READY) ## build the C hooks (cc, else zig; without either the Python twin serves)
	@$(PY) -m emu.native

packages: ## Debian packages that tests and benches use (as root, where apt is; else says what is skipped)
	@scripts/setup.sh packages

image-check: $(READY) ## the Dockerfile's steps by hand in a debootstrap folder (as root; minutes; needs the network)
	@$(PY) scripts/image_check.py

clean: ## all that make made
	rm -rf $(VENV) build dist *.egg-info guest/build emu/native/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml scripts/setup.sh
	@scripts/setup.sh venv
	@touch $@
