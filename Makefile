# gristmill's commands. `make` alone lists them; each one makes the environment that it needs.

SHELL := /bin/sh
.DEFAULT_GOAL := help
DEMO_DIR ?= build/demo

# The newest Python >= 3.11 on the PATH; set PYTHON=... to choose another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help demo test check bench docs lock clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/demo.stamp  ## run the main job on real flights in a fresh folder (build/demo)
	@rm -rf "$(DEMO_DIR)" && mkdir -p "$(DEMO_DIR)"
	@.venv/demo/bin/gristmill demo --into "$(DEMO_DIR)"

test: .venv/test.stamp  ## run all tests
	.venv/test/bin/python -m pytest -n 2 $(PYTEST)

check: .venv/test.stamp  ## lint, format, types, imports between rooms
	.venv/test/bin/ruff check src tests bench scripts
	.venv/test/bin/ruff format --check src tests bench scripts
	.venv/test/bin/mypy
	.venv/test/bin/lint-imports

bench: .venv/bench.stamp  ## measure against the peers and print ratios
	.venv/bench/bin/python bench/run.py $(BENCH)

docs: .venv/test.stamp  ## write the generated pages: command line, Python reference, semantics
	.venv/test/bin/python scripts/write_docs.py

lock:  ## resolve the dependencies again and write locks/*.txt (needs uv)
	scripts/lock

clean:  ## remove everything that these commands made
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/%.stamp: locks/%.txt pyproject.toml
	@scripts/environment "$(PYTHON)" $*
	@touch $@
