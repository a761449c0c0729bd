"""`anomalist ask` as a user runs it, and `Inspection.ask`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from anomalist.cli.app import app
from anomalist.errors import AnomalistError, DataError
from anomalist.eval.run_examples import write_picture_run
from anomalist.pipeline import Inspector
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.types.common import Answer
from anomalist.types.image import Inspection
from anomalist.vision.profile import Profile
from tests.pictures import holed, tile, write
from tests.report.clip_records import clip, event


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def hole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("asked") / "hole.png", holed(77))


@pytest.fixture(scope="module")
def folder(tiles_profile: Profile, hole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    good = write(hole.parent / "good.png", tile(78))
    done = run(
        "inspect", hole, good, "--profile", tiles_profile.path, "--false-alarm-rate", "0.1", "--out", out
    )
    assert done.exit_code == 0, done.output
    return out


def test_ask_about_a_picture(tiles_profile: Profile, hole: Path) -> None:
    done = run(
        "ask",
        hole,
        "Where is the defect?",
        "--profile",
        f"{tiles_profile.path}/",
        "--false-alarm-rate",
        "0.1",
    )
    assert done.exit_code == 0, done.output
    assert "R1 is at the upper left" in done.output
    assert "[R1]" in done.output


def test_ask_about_a_run(folder: Path) -> None:
    assert "hole.png" in run("ask", folder, "Which ones are defective?").output
    one = run("ask", folder, "Is it fine?", "--picture", "hole.png", "--json")
    reply = Answer.model_validate_json(one.stdout)
    assert reply.verdict == "anomalous"
    assert json.loads(one.stdout)["claims"][0]["evidence"][0] == "score"


def test_a_plan_of_ones_own_is_set_by_both_numbers_and_by_them_alone(tmp_path: Path) -> None:
    batch = write_picture_run(tmp_path / "run", 60)
    result = run("ask", batch, "Can I ship this batch?", "--sample", "20", "--accept", "1")
    assert result.exit_code == 0
    assert "A plan of your own: n = 20, Ac = 1, Re = 2." in result.stdout
    for wrong in (["--sample", "20"], ["--sample", "20", "--accept", "1", "--aql", "1.0"]):
        assert isinstance(run("ask", batch, "Can I ship this batch?", *wrong).exception, DataError)


def test_options_have_letters_and_probabilities(folder: Path) -> None:
    done = run(
        "ask", folder, "Is there a defect?", "--picture", "hole.png", "--options", "Yes", "--options", "No"
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith("A: Yes.")
    assert "B. No (" in done.output


def test_options_in_the_question_are_read_the_same_way(folder: Path) -> None:
    named = ("--picture", "hole.png", "--json")
    read = run("ask", folder, "Is there a defect? A) Yes B) No", *named)
    given = run("ask", folder, "Is there a defect?", *named, "--options", "Yes", "--options", "No")
    one, other = (Answer.model_validate_json(done.stdout) for done in (read, given))
    assert one.letter == other.letter == "A"
    assert (one.options, one.claims) == (other.options, other.claims)


def test_what_cannot_be_answered_exits_with_3(folder: Path) -> None:
    done = run("ask", folder, "What does it cost?", "--picture", "hole.png")
    assert done.exit_code == 3
    assert "can't be told" in done.output
    done = run("ask", folder, "Who made it?", "--picture", "hole.png")
    assert done.exit_code == 3
    assert "is not in the records" in done.output


def test_a_clip_of_a_run(tmp_path: Path) -> None:
    with ClipRunFolder.open(tmp_path / "clips") as clips:
        clips.append(clip("yard.mp4", event()))
    done = run("ask", tmp_path / "clips", "When did it happen?")
    assert "E1 lasts from 1 s to 2 s" in done.output


@pytest.mark.parametrize("question", ["", "   ", "x" * 50_000])
def test_no_question(folder: Path, question: str) -> None:
    done = run("ask", folder, question)
    assert isinstance(done.exception, AnomalistError)


def test_nothing_to_ask_about(tmp_path: Path) -> None:
    assert isinstance(run("ask", tmp_path, "Is it fine?").exception, DataError)
    assert isinstance(run("ask", tmp_path / "no.png", "Is it fine?").exception, AnomalistError)
    (tmp_path / "clip.mp4").write_bytes(b"")
    assert isinstance(run("ask", tmp_path / "clip.mp4", "Is it fine?").exception, AnomalistError)


def test_ask_in_python(tiles_profile: Profile, hole: Path) -> None:
    inspection = Inspector(tiles_profile, false_alarm_rate=0.1).inspect(hole)
    reply = inspection.ask("Compare it with a normal one.")
    assert reply.answered
    assert "the nearest normal picture has" in reply.text
    assert inspection.ask("Where is it?", ["Upper left", "Centre"]).letter == "A"
    with pytest.raises(DataError, match="Nothing is at hand that answers"):
        Inspection(inspection.record).ask("Where is it?")
