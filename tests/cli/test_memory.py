"""``anomalist memory`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from anomalist.agent.reasoning.recall import REGION_VECTOR_SPACE
from anomalist.cli.app import app
from anomalist.errors import AnomalistError, DataError, ModelError
from anomalist.memory.cases import CaseStore, Feedback
from anomalist.vision.motion.events import SIGNATURE_SPACE


def run(*words: str | Path) -> Result:
    result = CliRunner().invoke(app, ["memory", *map(str, words)], catch_exceptions=True)
    if isinstance(result.exception, AnomalistError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """Normal captions of a yard, 40 of which say something."""
    file = tmp_path / "yard.csv"
    said = ["A forklift drives past the gate.", "Two men carry a plank.", "Nobody is there."]
    file.write_text("frame,caption\n" + "".join(f"{n},{text}\n" for n, text in enumerate(said * 20)))
    return file


def test_a_camera_learns_what_is_usual_and_is_asked(yard: Path) -> None:
    built = run("build", "--from", yard, "--name", "cam3")
    assert "Remembered 2 new scenes of 60 captions" in built.stdout
    assert "at most 0.05 of normal captions" in built.stdout
    usual, fire = rows(
        run("ask", "Two men carry a plank.", "The shed is burning.", "--name", "cam3", "--json")
    )
    assert (usual["side"], fire["side"]) == ("normal", "anomalous")
    assert usual["memories"][0]["id"] == "scene:2"  # type: ignore[index]
    (about,) = rows(run("stats", "--name", "cam3", "--json"))
    assert about["normal"] == {"own normality": 2}
    assert about["threshold"]["captions"] == 40  # type: ignore[index]


def test_too_few_captions_are_remembered_and_said_to_fit_no_threshold(yard: Path) -> None:
    yard.write_text("".join(yard.read_text().splitlines(keepends=True)[:43]))  # of 42, 28 say something
    assert "No threshold" in run("build", "--from", yard, "--name", "cam3").stdout
    (about,) = rows(run("stats", "--name", "cam3", "--json"))
    assert about["threshold"] is None


def test_scenes_are_added_found_and_deleted() -> None:
    added = run("add", "A drone hovers over the tank", "--name", "cam3", "--category", "Drone")
    assert added.stdout == "Stored as scene:1.\n"
    assert (
        "already"
        in run("add", "A drone hovers over the tank", "--name", "cam3", "--category", "drone").stdout
    )
    (found,) = rows(run("search", "drones", "--name", "cam3", "--category", "drone", "--json"))
    assert (found["id"], found["side"]) == ("scene:1", "anomalous")
    assert rows(run("list", "--name", "cam3", "--json"))[0]["text"] == "A drone hovers over the tank"
    assert run("delete", "scene:1", "--name", "cam3").stdout == "Forgot 1 of cam3.\n"
    assert rows(run("list", "--name", "cam3", "--json")) == []


def test_what_ships_is_searched_by_category() -> None:
    found = rows(run("search", "somebody steals", "--category", "theft", "-k", "3", "--json"))
    assert [each["category"] for each in found] == ["theft"] * 3
    assert found[0]["similarity"] >= found[2]["similarity"]  # type: ignore[operator]
    assert len(rows(run("list", "--side", "anomalous", "--category", "fire", "--most", "4", "--json"))) == 4


def test_a_model_extends_a_memory(tmp_path: Path) -> None:
    pair = {"normal": "Guests queue for popcorn.", "anomalous": "A seat is burning.", "kind": "fire"}
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"reply": {"pairs": [pair]}}) + "\n")
    words = ("extend", "--model", f"scripted:{script}", "--place", "Cinema", "--name", "cam3", "--count", "1")
    first, second = rows(run(*words, "--json"))
    assert (first["category"], second["category"]) == ("cinema", "fire")
    with pytest.raises(ModelError, match="no scene that can be used"):
        run(*words)


def test_unnamed_findings_of_pictures_and_of_events_are_grouped(tmp_path: Path) -> None:
    spaces = {"rusty stain": REGION_VECTOR_SPACE, "broken fence": SIGNATURE_SPACE}
    with CaseStore(tmp_path / "cases.sqlite") as store:
        for text, space in spaces.items():
            for shift in (0.0, 0.1):
                values = {"action": "escalate", "media": "picture", "source": "a.png", "text": text}
                store.add(Feedback.model_validate(values), {space: [1.0, shift, 0.0]})
    found = rows(run("groups", "--cases", tmp_path / "cases.sqlite", "--json"))
    assert [(group["name"], group["cases"]) for group in found] == [
        ("rusty stain", ["case:2", "case:1"]),
        ("broken fence", ["case:4", "case:3"]),
    ]
    (one,) = rows(run("groups", "--cases", tmp_path / "cases.sqlite", "--space", SIGNATURE_SPACE, "--json"))
    assert one["name"] == "broken fence"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search", "fire", "--name", "nowhere"), 'There is no memory "nowhere"'),
        (("add", "?!", "--name", "cam3", "--category", "fire"), "a scene has words"),
        (("build", "--from", "{yard}", "--side", "anomalous"), "need a category"),
        (("build", "--from", "{yard}.missing"), "can't be read"),
    ],
)
def test_what_can_not_be_done_is_one_error(yard: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(*(word.replace("{yard}", str(yard)) for word in words))
