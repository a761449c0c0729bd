PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(ANOMALIST_DATA)

.PHONY: install demo test lint bench bench-mtd clean

install: .venv/installed

# A torch of the pinned version that is already in .venv (a CPU build, say) satisfies the pin and stays.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/anomalist demo

test: install lint
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/mypy

# Every figure of docs/benchmarks.md; needs ANOMALIST_DATA.
bench: install bench-mtd
	$(BIN)/python scripts/bench_inspect.py --effort fast
	$(BIN)/python scripts/bench_inspect.py --effort normal
	$(BIN)/python scripts/bench_options.py

bench-mtd:
	$(BIN)/anomalist eval detection --data $(DATA)/mtd --groups groups.csv --train-normals 300 --seed 0 --json
	for seed in 0 1 2 3 4; do $(BIN)/anomalist eval detection --data $(DATA)/mtd --groups groups.csv \
	  --train-normals 300 --seed $$seed --effort fast --json; done

clean:
	rm -rf .venv anomalist-demo .pytest_cache .mypy_cache .ruff_cache
