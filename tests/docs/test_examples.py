"""What README and the site show works: Python blocks run, command lines parse, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from anomalist.cli.app import app
from tests.pictures import holed, tile, write, write_tiles
from tests.street import make_film, walker
from tests.street_files import write_film

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [
    *PAGES,
    *(
        ROOT / name
        for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/plugin/README.md")
    ),
]
GENERATED = ROOT / "docs" / "api"
"""Pages that exist in the built site only."""

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: on which page, from which line on, in which language."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(pages: list[Path]) -> Iterator[Block]:
    for page in pages:
        text = text_of(page)
        for found in _FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            yield Block(page.relative_to(ROOT).as_posix(), line, found[1], found[2])


def inline(page: Path) -> list[str]:
    """Code within sentences."""
    return _INLINE.findall(_FENCE.sub("", text_of(page)))


# ------------------------------------------------------------------------------------------------- Python

PYTHON = [block for block in blocks(PAGES) if block.language == "python"]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the examples speak of: good parts, new ones, normal footage and a night."""
    folder = tmp_path_factory.mktemp("examples")
    write_tiles(folder / "good", 20)  # the default rate needs 19
    write(folder / "new" / "041.png", tile(100))
    write(folder / "new" / "042.png", holed(101))
    for number in range(1, 5):
        write_film(folder / "normal" / f"{number:02d}.mp4", make_film(3, people=number))
    write_film(folder / "night" / "02.mp4", make_film(6, walker(2.0, 60.0, speed=4.0), people=42))
    return folder


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_python_blocks_run(block: Block, made_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made_up)
    monkeypatch.syspath_prepend(ROOT / "examples" / "plugin" / "src")
    exec(compile("\n" * (block.line - 1) + block.text, ROOT / block.page, "exec"), {"__name__": "__main__"})


def test_readme_shows_pictures_and_video() -> None:
    shown = "".join(block.text for block in PYTHON if block.page == "README.md")
    assert "Inspector(" in shown
    assert "Triage(" in shown


# ------------------------------------------------------------------------------------------ command lines


def commands_in(text: str) -> Iterator[str]:
    """The single commands of shell lines: continued lines joined, comments and redirections left out."""
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"\s(?:&&|[&|;])\s|;\s", re.sub(r"\s#\s.*", "", line)):
            yield re.sub(r"\s[<>]+\s.*", "", command).strip().removeprefix("$ ")


def shell_lines(page: Path) -> Iterator[str]:
    for block in blocks([page]):
        if block.language in ("", "bash", "sh", "console"):
            yield from commands_in(block.text)
    for code in inline(page):
        yield from commands_in(code)


def lines_of(program: str) -> list[Any]:
    return [
        pytest.param(line, id=f"{page.name}: {line}")
        for page in ALL_PAGES
        for line in dict.fromkeys(shell_lines(page))
        if line.startswith(f"{program} ")
    ]


ROOT_COMMAND = typer.main.get_command(app)


@pytest.mark.parametrize("line", lines_of("anomalist"))
def test_command_lines_parse(line: str) -> None:
    words = shlex.split(line)[1:]
    command: Any = ROOT_COMMAND
    context = command.context_class(command, info_name="anomalist")
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
        context = command.context_class(command, info_name=command.name, parent=context)
    command.make_parser(context).parse_args(words)  # raises for options that this command doesn't have


def test_command_lines_of_unknown_options_fail() -> None:
    with pytest.raises(Exception, match="nonsense"):
        test_command_lines_parse("anomalist inspect new/ --nonsense 3")
    with pytest.raises(AssertionError, match="inspekt"):
        test_command_lines_parse("anomalist inspekt new/")


def _options(command: Any) -> set[str]:
    own = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return own.union(*(_options(one) for one in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_in_sentences_exist(page: Path) -> None:
    named = {word for code in inline(page) for word in re.findall(r"(?:^|\s)(--[a-z][a-z-]+)", code)}
    assert named - _options(ROOT_COMMAND) == set()


@pytest.mark.parametrize("line", lines_of("python"))
def test_scripts_exist(line: str) -> None:
    assert (ROOT / shlex.split(line)[1]).is_file()


@pytest.mark.parametrize("line", lines_of("make"))
def test_make_targets_exist(line: str) -> None:
    target = shlex.split(line)[1]
    if target.startswith("bench-"):
        listed = tomllib.loads(text_of(ROOT / "scripts" / "benchmarks.toml"))["bench"]
        assert target.removeprefix("bench-") in {bench["name"] for bench in listed}
        target = "bench-%"
    assert re.search(rf"^{target}:", text_of(ROOT / "Makefile"), re.MULTILINE)


# ------------------------------------------------------------------------------------------------- links


def anchor(heading: str) -> str:
    """As the table of contents of the site makes it."""
    plain = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading)).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", text_of(page))):
        if re.match(r"\w+:", link):
            continue
        path, _, wanted = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if GENERATED in target.parents:
            continue
        anchors = {anchor(heading) for heading in _HEADING.findall(text_of(target))} if wanted else {""}
        if not target.exists() or wanted not in anchors:
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = text_of(ROOT / "mkdocs.yml").partition("\nnav:")[2]
    assert [page.name for page in PAGES[1:] if f" {page.name}\n" not in navigation] == []


def test_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150


def test_the_glossary_stays_a_glossary() -> None:
    rows = [line for line in text_of(ROOT / "docs" / "glossary.md").splitlines() if line.startswith("| ")][1:]
    assert len(rows) <= 60
    assert all(row.count("|") == 4 and row.count("| |") == 0 for row in rows)
