"""``anomalist chat`` with questions piped in, as scripts use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anomalist.audit.reading import read_entries
from anomalist.cli.app import app
from anomalist.errors import DataError
from anomalist.settings import Settings
from anomalist.vision.motion.scene import Scene
from tests.pictures import holed, tile, write
from tests.street import make_film, walker
from tests.street_files import write_film


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("part.png"), holed(1, 256))
    write(Path("other.png"), tile(2, 256))


def chat(*arguments: str, lines: str = "") -> str:
    result = CliRunner().invoke(app, ["chat", *arguments], input=lines, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_conversation_with_commands_goes_on_by_name() -> None:
    said = chat(
        "part.png", "--name", "day 1", lines="Where is it?\n\n/evidence R1\nThis is fine.\n/undo\n/save out\n"
    )
    assert "> Where is it?" in said and "[R1]" in said
    assert "Stored as case:1" in said and "case:1 is taken back" in said
    assert list(Path("day-1").glob("part-*.png"))
    assert "> Where is it?" in Path("out/conversation.md").read_text(encoding="utf-8")
    assert Path("out/report.md").exists()
    again = chat(
        "--name", "day 1", "--json", lines="How large is it?\n/look other.png\nIs it fine?\n/quit\nNo\n"
    )
    answers = [json.loads(line) for line in again.splitlines()]
    assert [answer["subjects"] for answer in answers] == [["part.png"], ["other.png"], ["other.png"]]
    listed = json.loads(chat("--list", "--json"))
    assert (listed["name"], listed["turns"]) == ("day 1", 5)


@pytest.mark.parametrize("undo", ["Undo that.", "/undo"])
def test_what_is_taken_back_is_so_in_the_audit_log(undo: str) -> None:
    chat("part.png", lines=f"This is a scratch.\nThis is fine.\n{undo}\nWhere is it?\n")
    said = [entry.content for entry in read_entries(kinds=["feedback"])]
    assert [(each["case"]["id"], bool(each.get("undone"))) for each in said] == [
        ("case:1", False),
        ("case:2", False),
        ("case:2", True),
    ]


def test_what_can_not_be_used_does_not_end_the_chat(capfd: pytest.CaptureFixture[str]) -> None:
    lines = (
        f"{'x' * 50_000}\n/nonsense\n/evidence R9\n/evidence\n/look\n/look gone.png\n/undo\nWhere is it?\n"
    )
    assert "[R1]" in chat("part.png", lines=lines)


def test_a_model_of_a_script_takes_part() -> None:
    steps = [
        {"tool": "zoom", "arguments": {"region": "R1"}},
        {"tool": "", "sentences": [{"text": "R1 is a hole.", "evidence": ["R1"]}], "verdict": "normal"},
    ]
    rows = [json.dumps({"prompt": "chat.v1", "reply": step}) for step in steps]
    Path("script.jsonl").write_text("\n".join(rows), encoding="utf-8")
    said = chat("part.png", "--model", "scripted:script.jsonl", lines="What is it?\n")
    assert "R1 is a hole. [R1]" in said
    assert "Disagreement: scripted:script.jsonl says normal, the record says undecided" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to talk about"),
        (["--name", "unknown"], "no conversation 'unknown'"),
        (["gone.png"], "no gone.png"),
        (["part.png", "--name", "x" * 100], "can't be called"),
        (["part.png", "--model", "magic:x"], "no kind of model"),
    ],
)
def test_what_can_not_be_talked_about_is_an_error(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["chat", *arguments])
    assert result.exit_code != 0 and message in str(result.exception)


def test_a_name_that_is_taken_and_a_broken_file_are_errors() -> None:
    chat("part.png", "--name", "a")
    result = CliRunner().invoke(app, ["chat", "part.png", "--name", "a"])
    assert "already" in str(result.exception)
    (Settings().home / "conversations.sqlite").write_bytes(b"broken" * 1000)
    result = CliRunner().invoke(app, ["chat", "--list"])
    assert "conversations.sqlite" in str(result.exception)


def test_a_clip_that_is_named_is_triaged_by_its_scene(street: Scene) -> None:
    write_film(Path("run.mp4"), make_film(12, walker(6.0, 60.0, speed=4.0), people=42))
    said = chat("run.mp4", "--profile", f"{street.path}/", "--name", "night", lines="What happened?\n")
    assert "[E1" in said
    assert "[E1" in chat("--name", "night", lines="How bad is it?\n")  # and what was said of it is kept
    with pytest.raises(DataError, match="pictures or about clips"):
        chat("run.mp4", "part.png", "--profile", f"{street.path}/")
