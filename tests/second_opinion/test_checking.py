"""Verdicts on sentences: never contradicted where what is told was only not found to be unusual."""

from __future__ import annotations

import pytest

from anomalist.second_opinion.checking import SeenClip, SentenceOpinion, opinions_on
from anomalist.second_opinion.frigate import NvrItem, Said
from anomalist.types.clip import (
    ClipEvidenceSummary,
    ClipMediaSummary,
    ClipRecord,
    ClipVerdict,
    Event,
    Track,
    Trouble,
)
from anomalist.vision.motion.scene import Zone
from tests.agent.event_cases import make_event

SIZE = (240, 360)


def track(number: int, direction: str, ratio: float = 0.6, x: int = 100) -> Track:
    path = tuple((float(second), (x + 20 * second, 100, x + 30 + 20 * second, 160)) for second in range(5))
    return Track(
        id=f"T{number}", start=0.0, end=4.0, path=path, speed=20.0, speed_ratio=ratio, height=60.0,
        size_ratio=1.0, direction=direction,
    )  # fmt: skip


def clip(*tracks: Track, events: tuple[Event, ...] = (), **more: object) -> SeenClip:
    troubles = more.pop("troubles", ())
    record = ClipRecord(
        media=ClipMediaSummary(
            source="front.mp4", sha256="0" * 64, width=SIZE[1], height=SIZE[0], duration=9.0
        ),
        evidence=ClipEvidenceSummary(events=events, troubles=troubles),  # type: ignore[arg-type]
        verdict=ClipVerdict(label="anomalous" if events else "normal"),
        status="ok",
    )
    return SeenClip(record, tracks, **more)  # type: ignore[arg-type]


def opinion(seen: SeenClip | str, text: str, where: str = "description", **more: object) -> SentenceOpinion:
    said = Said(where=where, text=text)  # type: ignore[arg-type]
    item = NvrItem(id="1-a", kind="event", camera="front", labels=("person",), said=(said,), **more)  # type: ignore[arg-type]
    (found,) = opinions_on(item, seen)
    return found


RIGHT, LEFT = track(1, "from left to right"), track(2, "from right to left")
NEAR = (0.3, 0.4, 0.3, 0.3)
FAR = (0.0, 0.0, 0.1, 0.1)


@pytest.mark.parametrize(
    ("sentence", "tracks", "status"),
    [
        ("A person walks from left to right.", (RIGHT,), "borne out"),
        ("A person entered from the left.", (RIGHT, LEFT), "borne out"),
        ("A person entered from the left.", (LEFT,), "contradicted"),
        ("A person walks from left to right.", (LEFT, track(3, "")), "not testable"),
        ("A person walks from left to right.", (track(3, "towards the camera"),), "not testable"),
        ("A person walks from left to right.", (), "not testable"),
        ("A person moves unusually fast.", (RIGHT,), "contradicted"),
        ("A person moves unusually fast.", (track(1, "", 1.2),), "not testable"),
        ("A person is running.", (RIGHT,), "not testable"),
        ("A person is loitering.", (RIGHT,), "not testable"),
        ("Something suspicious happens.", (RIGHT,), "not testable"),
        ("A person carries a parcel from left to right.", (RIGHT,), "not testable"),
        ("A person carries a parcel from left to right.", (LEFT,), "contradicted"),
        ("He wants to steal a bicycle.", (RIGHT,), "not testable"),
    ],
)
def test_a_sentence_has_a_verdict(sentence: str, tracks: tuple[Track, ...], status: str) -> None:
    found = opinion(clip(*tracks), sentence)
    assert found.status == status, found.why


def test_evidence_is_cited_and_what_was_not_measured_is_said() -> None:
    found = opinion(clip(RIGHT), "A man walks from left to right.")
    assert found.ids == ("T1",)
    assert '"man" is not measured' in found.why
    assert "E1" not in found.why
    read = opinion(clip(RIGHT), "A person in a red jacket walks from left to right.")
    assert "jacket" in read.unread


def test_only_what_passes_where_the_recorder_saw_the_thing_speaks_for_or_against_it() -> None:
    assert opinion(clip(LEFT), "A person walks from left to right.", box=NEAR).status == "contradicted"
    assert opinion(clip(LEFT), "A person walks from left to right.", box=FAR).status == "not testable"
    assert opinion(clip(RIGHT), "A person walks from left to right.", box=FAR).status == "not testable"


@pytest.mark.parametrize(
    "seen",
    [
        clip(LEFT, part=True),
        clip(LEFT, troubles=(Trouble(kind="covered", start=1.0, end=2.0),)),
    ],
)
def test_a_clip_that_shows_or_tells_only_a_part_rules_nothing_out(seen: SeenClip) -> None:
    assert opinion(seen, "A person walks from left to right.").status == "not testable"


def test_that_nothing_unusual_happens_is_held_against_the_events() -> None:
    assert opinion(clip(RIGHT), "Nothing unusual happens.").status != "contradicted"
    odd = clip(RIGHT, events=(make_event(1),))
    found = opinion(odd, "Nothing unusual happens.")
    assert (found.status, found.ids) == ("contradicted", ("E1",))
    assert opinion(odd, "There is no suspicious activity.").status == "not testable"


def test_names_are_not_measured_and_zones_are_where_the_scene_has_them() -> None:
    zone = Zone(name="lawn", kind="watch", polygon=((0.2, 0.5), (0.8, 0.5), (0.8, 0.9), (0.2, 0.9)))
    seen = clip(RIGHT, zones=(zone,))
    for where in ("label", "sub-label"):
        found = opinion(seen, "fire_alarm", where)
        assert (found.status, found.ids) == ("not testable", ("T1",))
    assert opinion(seen, "Lawn", "zone").status == "borne out"
    assert opinion(seen, "porch", "zone").status == "not testable"
    away = clip(RIGHT, zones=(zone.replace(polygon=((0.0, 0.0), (0.1, 0.0), (0.1, 0.1))),))
    assert opinion(away, "lawn", "zone").status == "contradicted"


def test_without_a_clip_everything_is_untested_with_the_reason() -> None:
    found = opinion("No clip of it is there.", "A person walks from left to right.")
    assert (found.status, found.why) == ("not testable", "No clip of it is there.")
