# One place for the commands that people and CI use.  `make` alone lists them.
# Needs: python3 (3.11 or newer), python3-venv, make, git.  No root.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
ROOMS := contracts rules drivers edge_agent collector simulators

# Modules whose output is committed; each takes --check and fails when the file is behind its source.
GENERATED_CHECKS := rules.diagram collector.diagram edge_agent.config

.DEFAULT_GOAL := help
.PHONY: help demo test test-ci check format bench soak torture assets lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# DEMO_SECONDS, DEMO_PORT and BROKER (amqtt or mosquitto) reach the demo through the environment.
demo: $(STAMP) ## a simulated city block on a web page; Ctrl-C ends it
	@$(MAKE) --no-print-directory assets || echo "The page's scripts could not be fetched: the demo runs without the trend chart." >&2
	@exec $(BIN)/simulator demo

# Side by side: the fast ones compute, the slow ones mostly wait; what the slow ones say comes after.  Then those that
# measure time, alone.  A shell lets what it runs in the background ignore Ctrl-C; env gives it back, so that pytest can
# tidy up.  ABREAST=no takes one group after the other.
test: $(STAMP) ## the tests, the slow ones beside the fast ones
	@if [ "$(ABREAST)" = no ]; then \
	  $(BIN)/python -m pytest -m "not ci and not slow and not alone" && \
	  $(BIN)/python -m pytest -m "slow and not ci and not alone"; exit $$?; \
	fi; \
	said=$$(mktemp); trap 'wait; rm -f "$$said"' EXIT; \
	env --default-signal=INT $(BIN)/python -m pytest -m "slow and not ci and not alone" >"$$said" 2>&1 & slow=$$!; \
	$(BIN)/python -m pytest -m "not ci and not slow and not alone"; fast=$$?; \
	wait $$slow; slow=$$?; cat "$$said"; \
	[ $$fast -eq 0 ] && [ $$slow -eq 0 ]
	$(BIN)/python -m pytest -m "alone and not ci"

# A test that stands still ends the run, with the places where its threads stand.
test-ci: $(STAMP) assets ## the longer groups that CI adds
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -m ci -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true

check: $(STAMP) ## format, lint, types, import directions, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@set -e; for module in $(GENERATED_CHECKS); do \
	  echo "$(BIN)/python -m $$module --check"; $(BIN)/python -m $$module --check; done

format: $(STAMP) ## let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## figures beside a floor or a peer, on this machine
	$(BIN)/python benchmarks/run.py

soak: $(STAMP) ## hours of ordinary life with things that go wrong (HOURS=1): memory slope, growth, lateness
	$(BIN)/python -m benchmarks.soak --hours $(or $(HOURS),1)

# Counts that come from tests/reliability/scale.py are the long ones: a million power cuts, a thousand kills.
torture: $(STAMP) ## the reliability tests in their long form (hours; some need root)
	QIANSHAO_TORTURE=$${QIANSHAO_TORTURE:-1} HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest tests/reliability

# Where there is no npm, it comes from a wheel (requirements-assets.lock).
assets: $(STAMP) ## fetch the page's JavaScript once (versions and sums in assets.toml)
	@$(BIN)/python scripts/fetch_assets.py --check || { \
	  if command -v npm >/dev/null 2>&1; then $(BIN)/python scripts/fetch_assets.py; \
	  else echo "No npm here: taking it from a wheel." \
	    && $(BIN)/python -m pip install --quiet --require-hashes -r requirements-assets.lock \
	    && $(BIN)/python scripts/fetch_assets.py --npm-from-wheel; fi; }

COMPILE = PIP_CONFIG_FILE=/dev/null $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
  --no-header --no-annotate --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock: ## make the lock files again after a change of dependencies
	env -u PIP_FIND_LINKS $(COMPILE) --extra edge --extra collector --extra sim --extra dev \
	  --output-file requirements.lock pyproject.toml
	env -u PIP_FIND_LINKS $(COMPILE) --extra edge --output-file requirements-edge.lock pyproject.toml
	env -u PIP_FIND_LINKS $(COMPILE) --extra assets --output-file requirements-assets.lock pyproject.toml

clean: ## remove what tools made, except the virtual environment
	rm -rf build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache .demo

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here; install Python 3.11 or newer (Debian: apt-get install python3)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
