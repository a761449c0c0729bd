"""Things that race through a street are named by pictures, in records, captions, rules and watch items."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.composition import TriageSettings
from anomalist.streaming import OpinionQueue, StreamTriage
from anomalist.triage import Triage
from anomalist.types.clip import ClipRecord
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.scene import Scene
from scripts.random_models import save_yolos
from tests.street import SIZE, make_film
from tests.things import racing, write_examples

pytestmark = pytest.mark.usefixtures("module_in_full")

WATCH = ("someone on a bicycle", "a forklift")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_examples(tmp_path_factory.mktemp("examples") / "street")


def triage_of(scene: Scene, **options: object) -> Triage:
    return Triage(TriageSettings(scene, watch=WATCH, **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def record(street: Scene, examples: Path) -> ClipRecord:
    film = make_film(9, people=42, change=racing("forklift"))
    return triage_of(street, examples=examples).clip(film)


def test_what_is_like_the_examples_is_called_by_its_name(record: ClipRecord, examples: Path) -> None:
    assert record.label == "anomalous"
    event = max(record.events, key=lambda event: event.score)
    named = [each for each in event.names if each.name == "forklift"]
    assert named
    assert named[0].source == str(examples)
    assert "forklift" in event.caption.text
    claims = [claim for claim in event.claims if "is called forklift by the examples" in claim.text]
    assert claims[0].evidence == (event.id, named[0].track)
    told = {match.item: (match.matched, match.by) for match in event.watched}
    assert told["a forklift"] == (True, "examples")
    assert told["someone on a bicycle"][0] is not True
    assert ClipRecord.model_validate_json(record.model_dump_json()) == record


def test_what_is_unlike_any_example_is_not_forced_into_a_class(street: Scene, examples: Path) -> None:
    record = triage_of(street, examples=examples).clip(make_film(9, people=42, change=racing("dog")))
    assert record.events
    for event in record.events:
        assert {each.name for each in event.names} <= {None}
        assert "object" in event.caption.text
        assert not any(match.matched for match in event.watched)


def test_examples_and_detector_are_part_of_what_identifies_a_result(
    street: Scene, examples: Path, tmp_path: Path
) -> None:
    film = make_film(1)
    keys = {
        Triage(TriageSettings(street)).key(film),
        Triage(TriageSettings(street, examples=examples)).key(film),
        Triage(TriageSettings(street, object_detector=str(save_yolos(tmp_path / "yolos")))).key(film),
    }
    assert len(keys) == 3


def test_names_follow_the_alerts_of_a_stream_beside_it(street: Scene, examples: Path) -> None:
    triage = triage_of(street, examples=examples)
    recent = RecentFrames("camera")
    film = make_film(9, people=42, change=racing("forklift"))
    with OpinionQueue(triage.annotator, recent, asks_model=False) as opinions:
        follower = StreamTriage(triage, "camera", SIZE, opinions=opinions)
        alerts = list(follower.follow(recent.record(film.frames())))
    states = [alert.state for alert in alerts]
    assert states[0] == "opened"
    updated = [alert.event for alert in alerts if alert.state == "updated" and alert.event]
    assert updated
    assert any("forklift" in event.caption.text for event in updated)
    opened = next(alert.event for alert in alerts if alert.state == "opened")
    assert opened is not None
    assert opened.names == ()
