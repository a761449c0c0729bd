"""Lists on the pages are those of the code: variables, extras, commands, members of protocols, kinds."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from anomalist.audit.retention import NEVER_REMOVED
from anomalist.cli.app import app
from anomalist.plugins import GROUPS
from anomalist.server.config import ServerConfig
from anomalist.settings import Settings
from tests.test_layout import LAYERS

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"ANOMALIST(?:_[A-Z]+)+\b")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(text: str) -> Iterator[str]:
    """The first cells of the rows of tables."""
    return (line.split("|")[1] for line in text.splitlines() if line.startswith("| "))


def described_variables() -> set[str]:
    """Variables in the tables of index.md and server.md; "`ANOMALIST_SERVER_HOST`, `_PORT`" are two."""
    cells = [*rows(page("docs/index.md")), *rows(page("docs/server.md"))]
    names = [name for cell in cells if "ANOMALIST_" in cell for name in re.findall(r"`([A-Z_]+)`", cell)]
    return {f"ANOMALIST_SERVER{name}" if name.startswith("_") else name for name in names}


def read_variables() -> set[str]:
    """Variables that the package reads: as settings, or by their whole name."""
    named = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(rf'"({_VARIABLE.pattern})"', path.read_text(encoding="utf-8"))
    }
    settings = {f"ANOMALIST_{field.upper()}" for field in Settings.model_fields}
    return named | settings | {f"ANOMALIST_SERVER_{field.upper()}" for field in ServerConfig.model_fields}


def test_every_variable_that_is_read_is_described_and_no_other() -> None:
    assert described_variables() - {"ANOMALIST_DATA"} == read_variables() - {"ANOMALIST_DATA"}


def test_every_extra_is_on_the_page_about_installing() -> None:
    extras = tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"]
    text = page("docs/index.md")
    named = {name for name in extras if f"`{name}`" in text or f"'.[{name}]'" in text}
    assert set(extras) - named == {"dev", "docs"}


COMMANDS: Any = typer.main.get_command(app)


def test_every_benchmark_command_is_on_its_page() -> None:
    text = page("docs/evaluate.md")
    assert [
        name for name in COMMANDS.commands["eval"].commands if f"anomalist eval {name} " not in text
    ] == []


def commands_with(option: str, command: Any = COMMANDS, name: str = "") -> Iterator[str]:
    if any(option in one.opts for one in command.params):
        yield name
    for each, own in getattr(command, "commands", {}).items():
        yield from commands_with(option, own, f"{name} {each}".strip())


def test_the_commands_that_take_a_device_are_named() -> None:
    (sentence,) = re.findall(r"^(.*) take `--device ", page("docs/inspect.md"), re.MULTILINE)
    assert set(re.findall("`([^`]+)`", sentence)) == set(commands_with("--device"))


@pytest.mark.parametrize("name", ["docs/plug-ins.md", "CONTRIBUTING.md"])
def test_every_member_of_a_detector_is_named(name: str) -> None:
    text = page(name)
    members = GROUPS["anomalist.detectors"].members
    assert [member for member in members if not re.search(rf"`{member}[`(]", text)] == []


def test_the_kinds_of_entries_that_always_stay_are_named() -> None:
    (sentence,) = re.findall(r"entries of the kinds\n? *(.*?)\.$", page("docs/audit.md"), re.MULTILINE | re.S)
    assert set(re.findall("`([^`]+)`", sentence)) == set(NEVER_REMOVED)


def test_the_table_of_packages_is_in_the_order_of_the_layers() -> None:
    order = [set(re.findall("`(\\w+)`", cell)) for cell in rows(page("docs/architecture.md"))]
    level = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    levels = [{level[part] for part in parts} for parts in order if parts]
    assert all(len(found) == 1 for found in levels), "a row is of one layer"
    assert levels == sorted(levels, key=min)
    assert set().union(*order) == set(level) - {""}
