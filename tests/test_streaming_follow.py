"""Follower: alerts while something happens, closed when it is over, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from anomalist.composition import TriageSettings
from anomalist.errors import CalibrationError, MediaError
from anomalist.streaming import LiveAlert, StreamTriage, following
from anomalist.triage import Triage
from anomalist.types.clip import Event
from anomalist.types.common import UInt8Array
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.scene import Scene, Zone
from tests.street import SIZE, Film, make_film, walker

RUNNER = walker(6.0, 70.0, speed=4.0)


def covered(pixels: UInt8Array, time: float) -> UInt8Array:
    """Black from 4 to 8 s."""
    return pixels * (not 4 <= time < 8)


def followed(scene: Scene, film: Film, **options: object) -> list[LiveAlert]:
    return list(follower_of(scene, **options).follow(film.frames()))


def follower_of(scene: Scene, **options: object) -> StreamTriage:
    settings = TriageSettings(scene, memory=False, **options)  # type: ignore[arg-type]
    return StreamTriage(Triage(settings), "camera", SIZE)


def test_an_event_opens_while_it_happens_and_closes_when_it_is_over(street: Scene) -> None:
    alerts = followed(street, make_film(14, RUNNER, people=31))
    assert [alert.state for alert in alerts] == ["opened", "closed"]
    opened, closed = alerts
    assert opened.event is not None
    assert closed.event is not None
    assert opened.event.id == closed.event.id == "E1"
    assert opened.event.kind == closed.event.kind == "speed"
    assert 6 <= opened.stream_time <= 8
    assert closed.event.end <= closed.stream_time
    assert closed.event.severity >= 1
    assert closed.event.claims


def test_nothing_unusual_gives_no_alert_but_signs_of_life(
    street: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.streaming._HEARTBEAT_SECONDS", 20.0)
    alerts = followed(street, make_film(25, people=32))
    assert [alert.state for alert in alerts] == ["watching"]
    assert alerts[0].stream_time == pytest.approx(20, abs=0.2)


def test_an_event_that_is_open_at_the_end_is_closed(street: Scene) -> None:
    alerts = followed(street, make_film(8, RUNNER, people=31))
    assert [alert.state for alert in alerts] == ["opened", "closed"]


def test_a_cut_ends_an_event(street: Scene) -> None:
    film = make_film(14, RUNNER, walker(8.0, 80.0, speed=4.0), people=31, cuts=(80,))
    alerts = followed(street, film)
    states = [alert.state for alert in alerts]
    at = states.index("jump")
    assert states[:at] == ["opened", "closed"]
    assert set(states[at + 1 :]) == {"opened", "closed"}
    assert states.count("opened") == states.count("closed")
    assert alerts[at].jump is not None
    assert alerts[at].jump.kind == "break"


def test_trouble_with_the_camera_is_said_and_its_end_too(street: Scene) -> None:
    film = make_film(14, people=33, change=covered)
    alerts = followed(street, film)
    assert [(alert.state, alert.trouble) for alert in alerts] == [("trouble", "black"), ("recovered", None)]
    assert 4 <= alerts[0].stream_time <= 5
    assert 8 <= alerts[1].stream_time <= 10


@pytest.mark.parametrize(
    ("film", "begins", "ends", "label", "why"),
    [
        (make_film(12, people=33), None, None, "normal", None),
        (make_film(14, people=33, change=covered), "trouble", "recovered", None, "black"),
        (make_film(14, RUNNER, people=31), "opened", "closed", "anomalous", None),
    ],
    ids=["all as usual", "while the camera is covered", "while an event is open"],
)
def test_a_sign_of_life_says_how_the_stream_stands(
    film: Film,
    begins: str | None,
    ends: str | None,
    label: str | None,
    why: str | None,
    street: Scene,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anomalist.streaming._HEARTBEAT_SECONDS", 0.5)
    alerts = followed(street, film)
    during = begins is None
    standing: dict[bool, set[tuple[str | None, str | None]]] = {True: set(), False: set()}
    for alert in alerts:
        during = alert.state == begins or (during and alert.state != ends)
        if alert.state in ("watching", "recovered"):
            standing[during].add((alert.label, alert.why))
            assert alert.trouble is None
    assert standing[True] == {(label, why)}
    assert standing[False] == (set() if begins is None else {("normal", None)})


def test_a_sign_of_life_during_an_event_holds_what_is_known_of_it_by_then(
    street: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.streaming._HEARTBEAT_SECONDS", 0.5)
    alerts = followed(street, make_film(14, RUNNER, people=31))
    (opened,) = [alert.event for alert in alerts if alert.state == "opened"]
    (closed,) = [alert.event for alert in alerts if alert.state == "closed"]
    signs = [alert for alert in alerts if alert.state == "watching"]
    during = [alert.worst for alert in signs if alert.label == "anomalous"]
    assert opened is not None and closed is not None and during
    for worst in during:
        assert worst is not None and worst.id == opened.id
        assert opened.score <= worst.score <= closed.score and worst.severity >= 1
    assert all("worst" not in alert.model_dump() for alert in signs if alert.label == "normal")


class AtOnce:
    """An opinion on each event as soon as it is asked for."""

    def __init__(self) -> None:
        self.done: list[Event] = []

    def submit(self, event: Event) -> None:
        self.done.append(event.replace(opinion="Somebody runs."))

    def finished(self) -> list[Event]:
        done, self.done = self.done, []
        return done


def test_a_sign_of_life_keeps_the_opinion_of_a_model_on_what_is_open(
    street: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.streaming._HEARTBEAT_SECONDS", 0.5)
    follower = follower_of(street)
    follower.opinions = AtOnce()  # type: ignore[assignment]
    alerts = [
        alert for frame in make_film(14, RUNNER, people=31).frames() for alert in follower.alerts_for(frame)
    ]
    told = [alert for alert in alerts if alert.worst is not None]
    assert told and all(alert.worst is not None and alert.worst.opinion for alert in told[1:])


def test_a_stream_that_begins_late_is_not_normal_before_a_frame_was_judged(
    street: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.streaming._HEARTBEAT_SECONDS", 2.0)
    first, *others = (replace(frame, time=frame.time + 100) for frame in make_film(1, people=33).frames())
    follower = follower_of(street)
    assert list(follower.alerts_for(first)) == []
    told = [alert for frame in others for alert in follower.alerts_for(frame)]
    assert [(alert.state, alert.label) for alert in told] == [("watching", "normal")]
    assert told[0].stream_time > 100


def test_somebody_in_a_forbidden_zone_is_an_event_of_its_own(street: Scene) -> None:
    zone = Zone(name="lawn", kind="forbidden", polygon=((0.3, 0.3), (0.7, 0.3), (0.7, 1.0), (0.3, 1.0)))
    alerts = followed(street, make_film(12, walker(2.0, 80.0), people=None), zones=[zone])
    kinds = {alert.event.kind for alert in alerts if alert.event}
    assert "forbidden zone" in kinds
    intrusion = next(a.event for a in alerts if a.event and a.event.kind == "forbidden zone")
    assert intrusion.zone == "lawn"
    assert intrusion.severity >= 3


def test_memory_stays_bounded_while_an_event_goes_on_and_on(
    street: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.streaming._MAX_EVENT_MEMORY", 30.0)
    follower = follower_of(street)
    runners = [walker(float(t), 70.0, speed=4.0, seed=t) for t in range(2, 45)]
    film = make_film(45, *runners)
    most = 0
    for frame in film.frames(rate=5.0):
        for _ in follower.alerts_for(frame):
            pass
        most = max(most, sum(len(thing.moments) for thing in follower._things.values()))
    assert 5 * 28 <= most <= 5 * 32


def test_a_promise_that_the_footage_does_not_support_is_refused(street: Scene) -> None:
    with pytest.raises(CalibrationError, match="support"):
        follower_of(street, false_events_per_hour=0.001)


def test_the_future_is_not_used(street: Scene) -> None:
    film = make_film(12, RUNNER, people=31)

    def alike(frames: Iterator[Frame], until: float) -> list[str]:
        follower = follower_of(street)
        return [
            replace_time(alert)
            for frame in frames
            if frame.time <= until
            for alert in follower.alerts_for(frame)
        ]

    def replace_time(alert: LiveAlert) -> str:
        return alert.model_copy(update={"time": ""}).model_dump_json()

    black = replace(film, change=lambda pixels, time: pixels * (time <= 8))
    assert alike(film.frames(), 8.0) == alike(black.frames(), 8.0)


def test_a_stream_of_another_shape_than_its_scene_is_refused(street: Scene) -> None:
    turned = replace(make_film(1), size=SIZE[::-1])
    triage = Triage(TriageSettings(street, memory=False))
    with pytest.raises(MediaError, match="turned"), following(triage, turned, RecentFrames("street")):
        pass
