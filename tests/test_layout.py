"""Imports go one way: towards types. A detour would let a detector depend on what judges it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "anomalist"
ABOVE = {
    "types.py": {
        "vision",
        "memory",
        "prompts",
        "agent",
        "audit",
        "report",
        "eval",
        "pipeline",
        "cli",
        "commands",
    },
    "vision": {
        "memory",
        "prompts",
        "agent",
        "audit",
        "report",
        "eval",
        "pipeline",
        "cli",
        "commands",
        "records",
    },
    "memory": {"prompts", "agent", "audit", "report", "eval", "pipeline", "cli", "commands", "records"},
    "prompts": {"agent", "audit", "report", "eval", "pipeline", "cli", "commands", "records"},
    "agent": {"audit", "report", "eval", "pipeline", "cli", "commands", "records"},
    "audit": {"agent", "report", "eval", "pipeline", "cli", "commands"},
    "report": {"audit", "eval", "pipeline", "cli", "commands"},
    "pipeline.py": {"audit", "report", "eval", "cli", "commands"},
}


def imported(module: Path) -> set[str]:
    """The parts of anomalist that a module imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found |= {name.split(".")[1] for name in names if name.startswith("anomalist.")}
    return found


@pytest.mark.parametrize("part", sorted(ABOVE))
def test_nothing_imports_what_stands_above_it(part: str) -> None:
    modules = [ROOT / part] if part.endswith(".py") else sorted((ROOT / part).glob("*.py"))
    assert modules
    wrong = {module.name: imported(module) & ABOVE[part] for module in modules}
    assert {name: parts for name, parts in wrong.items() if parts} == {}


def test_no_module_is_too_long_to_read() -> None:
    long = {
        p.name: n for p in ROOT.rglob("*.py") if (n := len(p.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


@pytest.mark.parametrize("word", ["pickle", "torch.load("])
def test_nothing_loads_code(word: str) -> None:
    for module in ROOT.rglob("*.py"):
        calls = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call | ast.Import | ast.ImportFrom)
        ]
        assert not [call for call in calls if call.startswith((word, f"import {word}", f"from {word}"))], (
            module
        )
