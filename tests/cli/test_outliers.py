"""``anomalist check``, and ``learn`` from a folder with defects in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from anomalist.cli.app import app
from anomalist.cli.outliers import describe_outliers, handling, outlier_table
from anomalist.vision.outliers import NormalsCheck, Outlier
from anomalist.vision.profile import load_profile
from tests.pictures import holed, write, write_tiles
from tests.profiles import save_small_profile

HOLED = Outlier(source="a/holed.png", sha256="ab", why="unlike the rest", measure=9.26)
OTHER = Outlier(source="a/other.png", sha256="cd", why="second product", measure=0.754)
CHECK = NormalsCheck(pictures=20, outliers=(HOLED, OTHER))


@pytest.fixture
def contaminated(tmp_path: Path) -> Path:
    """Twenty good tiles, three with a hole."""
    write_tiles(tmp_path / "normals", 20)
    for number in range(3):
        write(tmp_path / "normals" / f"holed-{number}.png", holed(90 + number))
    return tmp_path / "normals"


def shown(check: NormalsCheck) -> str:
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as capture:
        console.print(outlier_table(check))
    return capture.get()


def test_the_table_says_what_was_found_why_and_how_clearly() -> None:
    said = shown(CHECK)
    assert "Of 20 pictures, 1 unlike the rest and 1 of a second product." in said
    assert "a/holed.png" in said and "z = 9.3" in said
    assert "a/other.png" in said and "75 % of it is new" in said
    assert "Nothing stands out among 20 pictures" in shown(NormalsCheck(pictures=20))


def test_check_names_the_defects_and_learns_nothing(contaminated: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(contaminated), "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [Path(each["source"]).name for each in found["outliers"]] == [f"holed-{i}.png" for i in range(3)]
    assert found["pictures"] == 23 and found["not_checked"] is None


def test_what_can_not_be_checked_is_an_error(tmp_path: Path) -> None:
    write_tiles(tmp_path / "few", 3)
    done = CliRunner().invoke(app, ["check", str(tmp_path / "few")])
    assert done.exit_code == 1 and "there are 3" in str(done.exception)


def test_learn_stops_where_nobody_can_be_asked_and_does_as_told(contaminated: Path, tmp_path: Path) -> None:
    words = ["learn", str(contaminated), "--profile", str(tmp_path / "p"), "--effort", "fast"]
    stopped = CliRunner().invoke(app, words)
    assert "holed-0.png (unlike the rest)" in str(stopped.exception)
    assert "--drop-outliers" in str(stopped.exception)
    assert not (tmp_path / "p").exists()
    done = CliRunner().invoke(app, [*words, "--drop-outliers"])
    assert done.exit_code == 0
    said = done.stderr.replace("\n", " ")
    assert "3 unlike the rest. They were left out." in said
    assert "holed-2.png: unlike the rest" in said
    assert len(load_profile(tmp_path / "p").manifest.normals) == 20


@pytest.mark.parametrize(("option", "decision"), [(True, "drop"), (False, "keep"), (None, None)])
def test_the_option_decides_and_without_a_terminal_nobody_is_asked(
    option: bool | None, decision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert handling(option, lambda: None) == decision


@pytest.mark.parametrize("typed", ["drop", "keep", "stop"])
def test_in_a_terminal_a_person_is_asked_until_the_answer_is_one(
    typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    replies = iter(["what?", typed])
    monkeypatch.setattr(typer, "prompt", lambda *words, **options: next(replies))
    paused: list[bool] = []
    ask = handling(None, lambda: paused.append(True))
    assert callable(ask)
    if typed == "stop":
        with pytest.raises(typer.Exit):
            ask(CHECK)
    else:
        assert ask(CHECK) == typed
    assert paused == [True]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (None, ""),
        (NormalsCheck(pictures=20), ""),
        (CHECK.replace(decision="dropped"), "They were left out."),
        (CHECK.replace(decision="kept"), "defects like them can pass"),
        (NormalsCheck(pictures=3, not_checked="too few"), "were not looked for: too few"),
    ],
)
def test_learning_ends_with_what_was_done_about_outliers(
    tmp_path: Path, check: NormalsCheck | None, said: str
) -> None:
    lines = describe_outliers(save_small_profile(tmp_path / "p", check=check).manifest)
    assert said in " ".join(lines)
    assert bool(lines) == bool(said)
