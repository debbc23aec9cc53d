# Each target needs only Python >= 3.11, git and make: .venv is made from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements.lock
CODE := schemas transport producers processors sinks console tests benchmarks compose
LOCK_COMMAND := uv pip compile --universal --generate-hashes --python-version 3.11 \
	--extra all --group dev --no-header --no-annotate --quiet --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help demo test torture soak fuzz check bench up clean lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "flowgauge needs Python >= 3.11: set PYTHON=/path/to/python3.11" >&2; exit 3; }
	@test -x $(BIN)/python || { echo "making $(VENV): 1.5 GB, half a minute on a fast line"; $(PYTHON) -m venv $(VENV); }
	@awk '/^uv==/ {keep = 1} keep {print} keep && !/\\$$/ {exit}' $(LOCK) > $(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes $(LOCK)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## Watch real events through the whole pipeline (ONCE=1 ends by itself)
	@$(BIN)/flowgauge demo $(if $(ONCE),--once)

up: $(STAMP) ## Run flowgauge on this machine, data in ./.flowgauge
	@$(BIN)/flowgauge up

test: check ## Check and test everything this machine can
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 40

KILLS ?= 300
SEED ?= 1
torture: $(STAMP) ## Kill, freeze and restart everything on Kafka KILLS times, then count what is lost or doubled
	@FLOWGAUGE_FAULTS=1 $(BIN)/python -m pytest -q tests/integration/test_kafka_cluster.py tests/integration/test_kafka_disk.py
	@FLOWGAUGE_KILLS=30 $(BIN)/python -m pytest -q tests/integration/test_up_kill.py
	@FLOWGAUGE_BOMBS=24 $(BIN)/python -m pytest -q tests/integration/test_memory_bounds.py
	@FLOWGAUGE_KILLS=130 $(BIN)/python -m pytest -q -s tests/integration/test_notifier_kill.py
	@FLOWGAUGE_KILLS=10 FLOWGAUGE_SEEDS=30 $(BIN)/python -m pytest -q tests/clickhouse/test_clickhouse_kill.py \
		tests/clickhouse/test_clickhouse_server.py
	@FLOWGAUGE_KILLS=3 $(BIN)/python -m pytest -q tests/integration/test_prefect_clients.py tests/integration/test_cloudevents_kafka.py
	@FLOWGAUGE_BURST_EVENTS=3000 $(BIN)/python -m pytest -q tests/integration/test_prefect_b*.py tests/integration/test_airflow.py tests/integration/test_dagster.py
	@FLOWGAUGE_PLANTED=all $(BIN)/python -m pytest -q tests/torture/test_planted.py tests/torture/test_torture.py
	@FLOWGAUGE_SCENARIOS=50 $(BIN)/python -m pytest -q tests/differential
	@FLOWGAUGE_STORIES=100 $(BIN)/python -m pytest -q tests/contract/test_log_steps.py
	@$(BIN)/python -m tests.torture.faust_control || test $$? = 3
	@$(BIN)/python -m tests.torture --kills $(KILLS) --seed $(SEED)

SECONDS ?= 600
EXAMPLES ?= 500
soak: $(STAMP) ## Draw EXAMPLES for each law, then simulate worlds from seed SEED on for SECONDS, against an oracle
	@FLOWGAUGE_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q --timeout 900 --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		$$(grep -rl --include='test_*.py' '^from hypothesis import' tests/property tests/clickhouse tests/unit)
	@FLOWGAUGE_SIMULATION_SEEDS=5 $(BIN)/python -m pytest -q tests/simulation/test_simulated_worlds.py
	@$(BIN)/python -m tests.simulation --seconds $(SECONDS) --first $(SEED)

fuzz: $(STAMP) ## Send noise to every decoder and to the HTTP API for SECONDS, and see that each refuses as it says
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

check: $(STAMP) ## Lock, format, lint and types
	@$(BIN)/$(LOCK_COMMAND) --output-file $(VENV)/requirements.fresh --constraints $(LOCK) pyproject.toml
	@diff -u $(LOCK) $(VENV)/requirements.fresh > $(VENV)/lock.diff || \
		{ cat $(VENV)/lock.diff; echo "requirements.lock is stale: run make lock" >&2; exit 1; }
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/basedpyright
	@$(BIN)/mypy

bench: $(STAMP) ## Measure every path: one JSON object a line
	@$(BIN)/python -m benchmarks

lock: $(STAMP) ## Resolve requirements.lock again
	@$(BIN)/$(LOCK_COMMAND) --upgrade --output-file $(LOCK) pyproject.toml

clean: ## Remove what was built; data stays
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
