# SPDX-License-Identifier: BSD-3-Clause
# Every verb of this project. `make` alone lists them.

# One shell a recipe, which stops at the first command that fails.
.ONESHELL:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# An activated virtual environment is one that comes first in PATH: that is where nbdkit's own
# Python looks for it.
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport PYTHONHOME

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
ARGS ?=
DESTDIR ?=
SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help setup native demo check bench bench-rdma soak sanitize fuzz lint format test-unit test-guest install clean

help: ## list these verbs
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS=$$'\t' read -r verb text; do
	    printf '  make %-11s %s\n' "$$verb" "$$text"
	done
	echo "  (ARGS='...' is passed on to what the verb runs)"

setup: ## install Debian packages and build .venv, everything `check` needs
	@tools/setup.sh check

native: ## compile the native parts again, after a change to them
	@tools/setup.sh demo

demo: ## see a remote disk attached on this machine
	@tools/setup.sh demo
	$(PYTHON) tools/demo.py $(ARGS)

check: setup ## all linters, types and tests; a skipped test is a failure
	@start=$$(date +%s)
	$(MAKE) --no-print-directory lint
	echo "== tests (those inside a real kernel meanwhile: build/guest/tests.log)"
	tools/check.sh $(PYTEST) $(ARGS)
	echo "check: everything passed in $$(( $$(date +%s) - start )) s"

lint: ## ruff and mypy only
	@tools/setup.sh demo
	echo "== ruff"
	ruff check --quiet .
	ruff format --quiet --diff .
	echo "== mypy"
	$(PYTHON) -m mypy --no-error-summary

format: ## rewrite the sources in the house's layout
	@tools/setup.sh demo
	ruff check --quiet --fix-only .
	ruff format .

test-unit: ## the tests that need neither nbdkit, FUSE nor a guest
	@tools/setup.sh demo
	$(PYTEST) -q -m "not nbdkit and not fuse and not guest and not soak" $(ARGS)

test-guest: setup ## the tests inside a real kernel
	@VOF_NO_SKIP=1 $(PYTEST) -v -m "guest and not soak" $(ARGS)

bench: ## measure, beside what one would use instead (20 minutes)
	@tools/setup.sh bench
	$(PYTHON) -m tests.bench.bench $(ARGS)

bench-rdma: setup ## measure over RDMA, in an emulated guest (10 minutes)
	@$(PYTHON) -m tests.bench.rdma $(ARGS)

soak: setup ## the long tests
	@VOF_NO_SKIP=1 $(PYTEST) -v -m soak $(ARGS)

sanitize: ## the native parts under AddressSanitizer, UndefinedBehaviorSanitizer, ThreadSanitizer
	@tools/setup.sh native-check
	$(PYTHON) -m tests.sanitize.run $(ARGS)

fuzz: ## look for input that harms the native parsers; SECONDS=600 is how long
	@tools/setup.sh native-check
	$(PYTHON) -m tests.fuzz.run --seconds $(SECONDS) $(ARGS)

install: ## install programs, rules, units and manuals; DESTDIR= is a folder to do it in
	@[[ -n "$(DESTDIR)" ]] || tools/setup.sh install
	tools/install.sh "$(DESTDIR)"

clean: ## remove what was built, .venv included
	@rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis gateway/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
