"""One composition root: the same settings give the same records from Python and from the command line."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from anomalist.agent.models.selection import describe_model, open_model, select_model
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.policy import EventSteps, Policy
from anomalist.agent.reasoning.vlm_prompts import Guidance
from anomalist.agent.reasoning.vlm_reasoner import VLMReasoner
from anomalist.cli.app import app
from anomalist.composition import InspectionSettings, TriageSettings, reasoner_for
from anomalist.errors import DataError, ModelError
from anomalist.pipeline import Inspector
from anomalist.settings import Settings
from anomalist.storage.run_folder import inspection_key
from anomalist.subjects import load_subject
from anomalist.triage import Triage
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.scene import Scene
from anomalist.vision.profile import Profile
from tests.agent.event_cases import REPLY
from tests.boards import board
from tests.pictures import holed, tile, write
from tests.street import make_film, walker
from tests.street_files import write_film

VARYING = {"time", "milliseconds", "seconds", "key", "map", "mask"}
"""When and how fast something was done, and what only a run folder has."""


@pytest.fixture
def home(tiles_profile: Profile, street: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a user has: a profile and a scene by name, no model."""
    assert street.path is not None
    place = Settings().profiles
    shutil.copytree(tiles_profile.path, place / "tiles")
    shutil.copytree(street.path, place / "street")
    monkeypatch.delenv("ANOMALIST_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)
    write(Path("hole.png"), holed(77))
    return place


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A model that says of pictures that they are fine, and of events that somebody rides a bicycle."""
    described = {"scene": "A tile.", "observations": [], "text_seen": []}
    judged = {
        "claims": [{"text": "R1 is a stain.", "evidence": ["R1"]}],
        "label": "normal",
        "kind": "spot",
        "severity_step": "same",
        "severity_reason": "",
        "severity_evidence": [],
    }
    rows: list[dict[str, object]] = [
        {"prompt": "describe.v1", "reply": described},
        {"prompt": "judge.v1", "reply": judged},
        {"prompt": "event.v1", "reply": REPLY | {"evidence": ["E1"]}},
    ]
    path = tmp_path / "replies.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return f"scripted:{path}"


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def settled(record: Record | ClipRecord | dict[str, Any]) -> dict[str, Any]:
    row = record if isinstance(record, dict) else record.model_dump(mode="json")
    return {name: value for name, value in row.items() if name not in VARYING}


def printed(*words: str) -> dict[str, Any]:
    (line,) = run(*words, "--json").splitlines()
    row: dict[str, Any] = json.loads(line)
    return row


@pytest.mark.parametrize("with_model", [False, True])
def test_python_and_the_command_line_inspect_alike(
    home: Path, script: str, with_model: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ask", "hole.png", "This is fine.", "--profile", "tiles")
    if with_model:
        monkeypatch.setenv("ANOMALIST_MODEL", script)
    by_command = printed("inspect", "hole.png", "--profile", "tiles", "--out", "run")
    inspector = Inspector("tiles")
    by_python = inspector.inspect("hole.png").record
    assert settled(by_python) == settled(by_command)
    assert [each.id for each in by_python.recall.items] == ["case:1"]
    assert by_python.model == (script if with_model else None)
    source = inspector.evidence_source
    assert by_command["key"] == inspection_key(
        by_python.source, by_python.sha256, source.digest, inspector.settings_digest
    )
    asked = load_subject(Path("hole.png"), "tiles").picture()
    assert settled(asked) == settled(by_python)


@pytest.mark.parametrize("with_model", [False, True])
def test_python_and_the_command_line_triage_alike(
    home: Path, script: str, with_model: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(Path("run.mp4"), make_film(9.5, walker(6.0, 60.0, speed=4.0), people=42))
    run("rules", "add", "a fast object moves", "--profile", "street", "--severity", "4", "--yes")
    if with_model:
        monkeypatch.setenv("ANOMALIST_MODEL", script)
    by_command = printed("triage", "run.mp4", "--profile", "street")
    triage = Triage("street")
    by_python = triage.clip("run.mp4")
    assert settled(by_python) == settled(by_command)
    assert by_command["key"] == by_python.key == triage.key(open_video("run.mp4"))
    (event,) = by_python.events
    assert event.recalled
    assert (event.model, event.opinion is not None) == ((script, True) if with_model else (None, False))
    (asked,) = load_subject(Path("run.mp4"), "street").clips
    assert settled(asked) == settled(by_python)


def test_a_clip_is_done_again_when_auto_becomes_another_model(
    home: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(Path("calm.mp4"), make_film(5, people=42))
    words = ("triage", "calm.mp4", "--profile", "street", "--out", "out")

    def row() -> str:
        return Path("out/clips.jsonl").read_text(encoding="utf-8")

    run(*words)
    measured = row()
    run(*words)
    assert row() == measured
    monkeypatch.setenv("ANOMALIST_MODEL", script)
    run(*words)
    looked_at = row()
    assert json.loads(looked_at)["key"] != json.loads(measured)["key"]
    run(*words, "--model", script)  # the same model by its name
    assert row() == looked_at


def test_the_policy_of_a_user_ranks_events_for_the_model(street: Scene, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[events.floors]\nsize = "critical"\n', encoding="utf-8")
    triage = Triage(street, policy=file)
    assert triage.annotator.policy == triage.policy == Policy(events=EventSteps(floors={"size": "critical"}))


def test_a_model_that_is_not_there_is_said_once_in_the_log(
    tiles_profile: Profile, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_MODEL", "scripted:gone.jsonl")
    with caplog.at_level(logging.WARNING):
        inspector = Inspector(tiles_profile)
    assert isinstance(inspector.reasoner, EvidenceReasoner)
    (said,) = caplog.messages
    assert "no file gone.jsonl" in said


def test_arguments_come_before_settings(tiles_profile: Profile, tmp_path: Path) -> None:
    settings = InspectionSettings(tiles_profile, false_alarm_rate=0.1, model="hf:", memory=False)
    inspector = Inspector(settings, false_alarm_rate=0.2, model="evidence")
    assert inspector.evidence_source.rate == 0.2
    assert inspector.memory.digest == ""
    with pytest.raises(ModelError, match="Nothing follows hf:"):
        Inspector(settings)


def test_pictures_are_compared_with_one_thing(tiles_profile: Profile, tmp_path: Path) -> None:
    good = write(tmp_path / "good.png", board())
    with pytest.raises(DataError, match="compared with"):
        Inspector(InspectionSettings(tiles_profile, reference=good))
    with pytest.raises(DataError, match="--false-alarm-rate has no meaning"):
        Inspector(InspectionSettings(reference=good, false_alarm_rate=0.1))
    against = Inspector(InspectionSettings(reference=good))
    assert against.inspect(good).record.label == "normal"
    assert against.subject([]).normal == "the reference"
    by_itself = Inspector(InspectionSettings()).inspect(write(tmp_path / "tile.png", tile(1))).record
    assert (by_itself.label, by_itself.profile) == ("undecided", "zero-shot")


def test_reasoners_carry_the_name_of_their_model_and_what_the_user_said(script: str) -> None:
    guidance = Guidance(ignore=("dust",))
    reasoner = reasoner_for(script, guidance=guidance)
    assert isinstance(reasoner, VLMReasoner)
    assert (reasoner.name, reasoner.guidance) == (script, guidance)
    assert isinstance(reasoner_for("evidence", guidance=Guidance()), EvidenceReasoner)
    with pytest.raises(ModelError, match="not on this machine"):
        reasoner_for("hf:owner/unheard-of")


def test_words_for_a_model_are_not_dropped_where_there_is_none() -> None:
    with pytest.raises(ModelError, match="Only a language model understands words"):
        reasoner_for("evidence", guidance=Guidance(watch=("cracks",)))


@pytest.mark.parametrize("model", ["gpt", "scripted:/nowhere.jsonl"])
def test_a_model_that_can_not_be_opened_is_said_before_any_video_is(street: Scene, model: str) -> None:
    with pytest.raises(ModelError):
        Triage(TriageSettings(street, model=model))


REASONER = """
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
class Brief(EvidenceReasoner):
    def __init__(self):
        super().__init__(name="brief", digest="b1")
"""


def test_a_reasoner_of_another_package_is_selected_by_name_path_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "brief_reasoner-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brief-reasoner\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[anomalist.reasoners]\nbrief = brief_reasoner:Brief\n")
    (tmp_path / "brief_reasoner.py").write_text(REASONER)
    monkeypatch.syspath_prepend(tmp_path)
    assert describe_model("brief") == "brief (brief-reasoner 2.5)"
    for name in ("brief", "brief_reasoner:Brief"):
        reasoner = reasoner_for(name)
        assert (reasoner.name, reasoner.digest) == ("brief", "b1")
    monkeypatch.setenv("ANOMALIST_MODEL", "brief")
    assert select_model().spec == "brief"
    with pytest.raises(ModelError, match="Only a language model understands words"):
        reasoner_for("brief", guidance=Guidance(watch=("rust",)))
    with pytest.raises(ModelError, match=r"no kind of model called 'brief'.*judges pictures only"):
        open_model("brief")
    monkeypatch.setenv("ANOMALIST_MODEL", "gone_reasoner:Brief")
    assert "there is no module gone_reasoner" in select_model().why
