"""The page of benchmarks is what its script writes from what commands printed."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(tmp_path: Path) -> Iterator[ModuleType]:
    """The script, its root in a folder of its own."""
    spec = importlib.util.spec_from_file_location("benchmarks", ROOT / "scripts" / "benchmarks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    module.ROOT = tmp_path  # type: ignore[attr-defined]
    yield module
    del sys.modules["benchmarks"]


def put(script: Any, name: str, command: str, results: list[Any]) -> Any:
    """A benchmark with figures."""
    kept = {
        "command": command,
        "measured": "2026-01-02",
        "version": "9.9",
        "code": "0",
        "processor": "abacus",
        "cores": 2,
        "seconds": 1234,
        "results": results,
    }
    (script.ROOT / script.FIGURES / f"{name}.json").write_text(json.dumps(kept))
    return script.Bench(name, f"About {name}", "What it is.", command, column="detector")


def test_the_page_is_what_the_script_writes_from_the_figures(script: Any) -> None:
    written = (ROOT / script.PAGE).read_text(encoding="utf-8")
    assert written == script.page(ROOT / script.FIGURES)


def test_figures_belong_to_the_commands_that_the_script_runs(script: Any) -> None:
    commands = {bench.name: bench.command for bench in script.BENCHES}
    for path in sorted((ROOT / script.FIGURES).glob("*.json")):
        assert json.loads(path.read_text(encoding="utf-8"))["command"] == commands[path.stem]


def test_commands_name_scripts_that_exist(script: Any) -> None:
    scripts = [bench.command.split()[1] for bench in script.BENCHES if bench.command.startswith("python ")]
    assert scripts
    assert all((ROOT / name).is_file() for name in scripts)


def test_several_results_are_columns_and_intervals_stand_behind_figures(script: Any) -> None:
    bench = put(
        script,
        "race",
        "python race.py",
        [
            {"detector": "one|two", "auroc": 0.75, "auroc_interval": [0.5, 1.0], "by": {"a": 1, "b": None}},
            {"detector": "three", "auroc": 12345.6, "times": list(range(20))},
        ],
    )
    text = script.page(script.ROOT / script.FIGURES, [bench])
    assert "| figure | one\\|two | three |" in text
    assert "| AUROC | 0.750 (0.500 to 1.000) | 1.235e+04 |" in text
    assert "| by: b | – | – |" in text
    assert "| times | – | 20 values, 0 to 19 |" in text
    assert "Measured on 2026-01-02 in 1,234 s, version 9.9, abacus, 2 cores." in text


def test_many_results_without_a_name_are_rows(script: Any) -> None:
    results = [{"side": 40 + number, "auroc": 0.5} for number in range(5)]
    bench = put(script, "sides", "python sides.py", results)
    text = script.page(script.ROOT / script.FIGURES, [bench])
    assert "| side | AUROC |\n|---|---|\n| 40 | 0.500 |\n" in text
    assert "| 44 | 0.500 |" in text


def test_figures_over_seeds_are_a_column_beside_those_of_each(script: Any) -> None:
    seeds = [{"detector": str(seed), "auroc": 0.7 + 0.1 * seed, "by": {"a": 0.5}} for seed in range(2)]
    over = {"seeds": [0, 1], "measures": {"auroc": {"mean": 0.75, "std": 0.05, "n": 2}, "gone": None}}
    over["by_defect"] = {"by": {"a": {"mean": 0.5, "std": 0.0, "n": 2}}}
    text = script.page(
        script.ROOT / script.FIGURES, [put(script, "seeds", "python seeds.py", [*seeds, over])]
    )
    assert "| figure | 0 | 1 | mean |" in text
    assert "| AUROC | 0.700 | 0.800 | 0.750 ± 0.050 |" in text
    assert "| by: a | 0.500 | 0.500 | 0.500 ± 0 |" in text


def test_shares_are_rows_by_name(script: Any) -> None:
    share = {"name": "numbers", "right": 9, "of": 10, "share": 0.9, "interval": [0.6, 1.0]}
    bench = put(script, "why", "python why.py", [{"shares": [share]}])
    assert "| numbers | 0.900 (0.600 to 1.000) of 10 |" in script.page(script.ROOT / script.FIGURES, [bench])


def test_what_was_not_measured_is_said(script: Any) -> None:
    bench = script.Bench("later", "Later", "What it is.", "python later.py")
    assert "Not measured with this version." in script.page(script.ROOT / script.FIGURES, [bench])


def test_a_command_that_fails_leaves_the_figures_of_before(script: Any) -> None:
    bench = put(script, "race", "python -c raise", [{"auroc": 0.75}])
    assert not script.measure(bench, "")
    assert "0.750" in script.page(script.ROOT / script.FIGURES, [bench])


def test_what_a_command_prints_is_kept_with_the_code_it_was_measured_with(script: Any) -> None:
    code = "print('about'); print(chr(123) + chr(34) + 'a' + chr(34) + ': 2' + chr(125))"
    bench = script.Bench("sum", "Sum", "What it is.", f'python -c "{code}"')
    assert not script.is_current("sum")
    assert script.measure(bench, "")
    assert script.is_current("sum")
    (script.ROOT / "scripts").mkdir()
    (script.ROOT / "scripts" / "changed.py").write_text("x = 1")
    assert not script.is_current("sum")
    assert "| a | 2 |" in script.page(script.ROOT / script.FIGURES, [bench])


def test_text_is_shown_as_it_is_and_tables_as_tables(script: Any) -> None:
    plain = put(script, "plain", "python plain.py", ["10 of 10 the same"])
    table = put(script, "table", "python table.py", ["on the way\n\n| a |\n|---|\n| 1 |"])
    text = script.page(script.ROOT / script.FIGURES, [plain, table])
    assert "```\n10 of 10 the same\n```" in text
    assert "on the way" not in text
    assert "\n| a |\n|---|\n| 1 |\n" in text
