"""Signatures: what is alike is near, what differs in kind, way or place is not."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.clip import Caption, Event, Track
from anomalist.vision.motion.events import SIGNATURE_MIN_SIMILARITY, EventBuilder, event_signature
from anomalist.vision.motion.scene import Scene, Zone
from anomalist.vision.motion.temporal import TemporalSegment

SIZE = (120, 160)
CAPTION = Caption(text="Something.", subject="", action="", when="", where="")


def event(
    kind: str = "speed", x: int = 40, y: int = 60, way: int = 60, speed: float = 2.5, size: float = 1.0
) -> Event:
    start, end = (x - way // 2, y, x - way // 2 + 10, y + 20), (x + way // 2, y, x + way // 2 + 10, y + 20)
    track = Track(
        id="T1",
        start=1.0,
        end=3.0,
        path=((1.0, start), (3.0, end)),
        speed=30.0,
        speed_ratio=speed,
        height=20.0,
        size_ratio=size,
        direction="from left to right" if way > 0 else "from right to left",
    )
    return Event(
        id="E1",
        start=1.0,
        end=3.0,
        peak=2.0,
        score=2.0,
        false_events_per_hour=None,
        kind=kind,
        measures=(),
        tracks=(track,),
        box=(x, y, x + 10, y + 20),
        caption=CAPTION,
    )


def likeness(a: Event, b: Event) -> float:
    return float(event_signature(a, SIZE) @ event_signature(b, SIZE))


def test_it_has_length_one_and_is_most_like_itself() -> None:
    assert np.linalg.norm(event_signature(event(), SIZE)) == pytest.approx(1, abs=1e-6)
    assert likeness(event(), event()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("other", [event(x=48), event(speed=2.9), event(size=1.2), event(y=66)])
def test_almost_the_same_is_alike(other: Event) -> None:
    assert likeness(event(), other) > SIGNATURE_MIN_SIMILARITY


@pytest.mark.parametrize("other", [event(kind="dwell"), event(way=-60), event(x=150, y=110)])
def test_another_kind_way_or_place_is_not_alike(other: Event) -> None:
    assert likeness(event(), other) < SIGNATURE_MIN_SIMILARITY


def test_the_size_of_the_frames_does_not_matter() -> None:
    double = event().model_copy(update={"box": (80, 120, 100, 160)})
    assert float(event_signature(event(), SIZE) @ event_signature(double, (240, 320))) > 0.999


def test_an_event_of_the_whole_picture_has_a_signature_too() -> None:
    whole = event(kind="stillness").model_copy(update={"box": None, "tracks": ()})
    assert np.isfinite(event_signature(whole, SIZE)).all()


@pytest.mark.parametrize(("low", "high"), [(0.501, 0.504), (1.0, 1.0), (0.25, 0.75)])
def test_what_is_in_the_thinnest_zone_has_a_box_that_can_be_shown(
    street: Scene, low: float, high: float
) -> None:
    zone = Zone(name="line", kind="forbidden", polygon=((0, low), (1, low), (1, high), (0, high)))
    builder = EventBuilder(street, "causal", (120, 160), (zone,))
    box = builder.intrusion(1, "line", TemporalSegment(1.0, 2.0, 1.5, 1.0), ()).box
    assert box is not None
    left, top, right, bottom = box
    assert 0 <= left < right <= 160 and 0 <= top < bottom <= 120
    assert high != 0.75 or box == (0, 30, 160, 90)
