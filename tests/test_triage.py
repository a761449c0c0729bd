"""Triage of clips: each kind of event is found, named and put into words; what can't be judged is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalist.agent.reasoning.policy import Policy
from anomalist.composition import TriageSettings
from anomalist.errors import CalibrationError, MediaError
from anomalist.records import clip_media_summary
from anomalist.triage import Triage
from anomalist.types.clip import ClipRecord, Mode
from anomalist.types.common import UInt8Array
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.scene import Scene, Zone
from tests.street import Actor, Camera, Film, make_film, walker
from tests.street_files import write_film

# The promise of so little footage is one false event in a minute and a half: these passers-by cause none.
LOWER_LEFT = ((0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0))


def triaged(scene: Scene, film: Film, **options: object) -> ClipRecord:
    return triage_of(scene, **options).clip(film)


def triage_of(scene: Scene, **options: object) -> Triage:
    """By motion alone: what memory recalls has tests of its own."""
    return Triage(TriageSettings(scene, memory=False, **options))  # type: ignore[arg-type]


def kinds(record: ClipRecord) -> set[str]:
    return {event.kind for event in record.events}


@pytest.mark.parametrize("mode", ["offline", "causal"])
def test_normal_footage_is_normal(street: Scene, mode: Mode) -> None:
    record = triaged(street, make_film(20, people=42), mode=mode)
    assert record.label == "normal"
    assert record.events == ()
    assert record.troubles == ()
    assert record.frames == 200


@pytest.mark.parametrize("mode", ["offline", "causal"])
def test_somebody_running_is_an_event_with_its_speed_in_words(street: Scene, mode: Mode) -> None:
    record = triaged(street, make_film(11, walker(6.0, 60.0, speed=4.0), people=42), mode=mode)
    assert record.label == "anomalous"
    (event,) = record.events
    assert event.kind == "speed"
    assert event.start == pytest.approx(6.5, abs=1.0)
    assert event.end == pytest.approx(8.7, abs=1.2)
    assert event.tracks[0].direction == "from left to right"
    assert event.tracks[0].speed_ratio == pytest.approx(4.0, rel=0.35)
    assert "times the usual speed" in event.caption.text
    assert event.false_events_per_hour is None
    assert event.severity >= 2
    assert all(set(claim.evidence) <= {event.id, *(t.id for t in event.tracks)} for claim in event.claims)
    assert not event.throughout


def test_speed_is_measured_in_time_not_in_frames(street: Scene) -> None:
    film = make_film(12, walker(6.0, 60.0, speed=2.5), people=42)
    rng = np.random.default_rng(3)
    kept = [0.0, *(t for t in film.times[1:] if rng.random() > 0.25)]

    def speed(watched: Film) -> float:
        (event,) = triaged(street, watched).events
        return next(measured.value for measured in event.measures if measured.name == "speed")

    assert speed(replace(film, times=tuple(kept))) == pytest.approx(speed(film), rel=0.2)


def test_something_large_is_said_to_be_large(street: Scene) -> None:
    record = triaged(street, make_film(12, walker(5.0, 60.0, size=3.0), people=42))
    assert record.label == "anomalous"
    assert any("large" in event.caption.text for event in record.events)


def test_something_left_standing_is_found(street: Scene) -> None:
    left = Actor(((4.0, 80.0, 60.0), (40.0, 80.0, 60.0)), seed=1)
    record = triaged(street, make_film(28, left, people=42))
    assert "dwell" in kinds(record)
    assert any("standing still" in event.caption.text for event in record.events)


def test_a_forbidden_zone_alarms_and_an_ignored_one_never_does(street: Scene) -> None:
    film = make_film(16, walker(3.0, 95.0), people=None)
    forbidden = Zone(name="track", kind="forbidden", polygon=LOWER_LEFT)
    assert "forbidden zone" in kinds(triaged(street, film, zones=[forbidden]))
    everything = Zone(name="all", kind="ignore", polygon=((0, 0), (1, 0), (1, 0.98), (0, 0.98)))
    fast = make_film(11, walker(6.0, 60.0, speed=4.0), people=42)
    assert "speed" not in kinds(triaged(street, fast, zones=[everything]))


def test_abnormal_from_the_first_frame_to_the_last_is_said(street: Scene) -> None:
    parked = Actor(((-1.0, 80.0, 25.0), (20.0, 80.0, 25.0)), size=2.0, seed=1)
    # A minute and a half of footage holds rarer places than this one: more false events are allowed.
    record = triaged(street, make_film(8, parked, people=42), false_events_per_hour=180.0)
    assert any(event.throughout for event in record.events)


def test_a_standing_thing_and_a_runner_elsewhere_are_two_events(street: Scene) -> None:
    parked = Actor(((-1.0, 40.0, 25.0), (20.0, 40.0, 25.0)), size=2.0, seed=1)
    record = triaged(street, make_film(11, parked, walker(6.0, 90.0, speed=4.0, left=True), people=42))
    standing, running = sorted(record.events, key=lambda event: event.start)
    assert standing.kind in ("dwell", "place")
    assert running.kind == "speed"
    assert "right to left" in running.caption.text
    assert not {track.id for track in standing.tracks} & {track.id for track in running.tracks}
    for event, row in ((standing, 25), (running, 90)):
        assert event.box is not None
        assert event.box[1] <= row <= event.box[3]
        assert all(set(claim.evidence) <= {event.id, *(t.id for t in event.tracks)} for claim in event.claims)
    assert running.end - running.start < 5


def test_things_that_run_apart_from_each_other_are_events_of_their_own(street: Scene) -> None:
    record = triaged(
        street,
        make_film(12, walker(4.0, 50.0, speed=4.0), walker(4.0, 98.0, speed=4.0, left=True, seed=1)),
    )
    ways = {track.direction for event in record.events if event.kind == "speed" for track in event.tracks[:1]}
    assert ways == {"from left to right", "from right to left"}


def test_a_pause_of_the_recorder_makes_no_duration(street: Scene) -> None:
    film = make_film(16, walker(2.0, 60.0), walker(11.0, 60.0, speed=4.0), people=42)
    paused = replace(film, times=tuple(time if time < 8 else time + 6 for time in film.times))
    record = triaged(street, paused)
    (jump,) = record.jumps
    assert jump.kind == "gap"
    assert jump.time == pytest.approx(14.0)
    assert jump.seconds == pytest.approx(6.0, abs=0.1)
    assert "dwell" not in kinds(record)
    assert all(not event.start < 14 < event.end for event in record.events)


def test_frames_that_come_too_seldom_are_undecided_and_no_way_is_told(street: Scene) -> None:
    film = make_film(30, walker(11.0, 60.0, speed=4.0), people=42)
    record = triaged(street, replace(film, times=film.times[::10]))
    assert record.label == "undecided"
    assert "frame rate" in (record.why_undecided or "")
    assert record.events == ()


def test_a_clip_of_another_shape_is_refused_by_name(street: Scene) -> None:
    film = make_film(3, change=lambda pixels, _: np.ascontiguousarray(np.rot90(pixels)))
    record = triaged(street, replace(film, size=(160, 120)))
    assert record.status == "error"
    assert "turned by 90°" in (record.error or "")


def test_brighter_light_is_no_event(street: Scene) -> None:
    slowly = make_film(14, people=42, camera=lambda time: Camera(light=1 + 0.014 * time))
    at_once = make_film(14, people=42, camera=lambda time: Camera(light=1.2 if time > 7 else 1.0))
    assert triaged(street, slowly).label == "normal"
    assert triaged(street, at_once).label == "normal"


def grey(pixels: UInt8Array, time: float) -> UInt8Array:
    noise = np.random.default_rng(int(time * 10)).integers(-2, 3, pixels.shape)
    return (128 + noise).astype(np.uint8)


@pytest.mark.parametrize(
    ("film", "kind"),
    [
        (make_film(10, people=42, camera=lambda t: Camera(right=2.5 * t)), "moving"),
        (make_film(10, people=42, camera=lambda t: Camera(turned=3 * t)), "moving"),
        (make_film(10, people=42, camera=lambda t: Camera(nearer=1 + 0.05 * t)), "moving"),
        (make_film(10, people=42, camera=lambda _: Camera(right=16)), "moved"),
        (make_film(10, people=42, change=grey), "covered"),
        (make_film(10, people=42, change=lambda pixels, _: pixels * 0), "black"),
        (make_film(10, people=42, change=lambda pixels, _: np.full_like(pixels, 90) // 2 * 2), "covered"),
    ],
)
def test_a_camera_in_trouble_is_noticed_and_never_misread(street: Scene, film: Film, kind: str) -> None:
    record = triaged(street, film)
    assert {trouble.kind for trouble in record.troubles} & {kind}
    assert record.label == "undecided"
    assert record.why_undecided is not None
    assert kind in record.why_undecided


def test_a_frozen_picture_is_noticed(street: Scene) -> None:
    still = next(iter(make_film(1, people=42).frames())).pixels
    record = triaged(street, make_film(20, change=lambda *_: still))
    assert {trouble.kind for trouble in record.troubles} == {"frozen"}
    assert record.label == "undecided"


def test_one_frame_is_undecided(street: Scene) -> None:
    record = triaged(street, replace(make_film(1, people=42), times=(0.0,)))
    assert record.label == "undecided"
    assert "motion" in (record.why_undecided or "")


@pytest.mark.parametrize("seconds", [0.2, 0.3])
def test_a_clip_too_short_for_any_event_is_undecided(street: Scene, seconds: float) -> None:
    record = triaged(street, make_film(seconds, walker(-1.0, 60.0, speed=4.0), people=42))
    assert record.label == "undecided"
    assert "too short" in str(record.why_undecided)


@pytest.mark.parametrize(("share", "label"), [(0.3, "undecided"), (0.8, "normal")])
def test_a_clip_of_which_most_can_t_be_read_is_not_normal(
    street: Scene, tmp_path: Path, share: float, label: str
) -> None:
    path = write_film(tmp_path / "clip.mp4", make_film(5, people=42))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])  # as a copy that broke off leaves it
    record = triage_of(street).clip(path)
    assert record.label == label
    assert (label == "normal") or "can't be read" in str(record.why_undecided)


def test_a_clip_that_breaks_is_a_record_and_the_others_go_on(street: Scene) -> None:
    class Broken(Film):
        def frames(
            self, start: float = 0.0, stop: float | None = None, rate: float | None = None
        ) -> Iterator[Frame]:
            raise MediaError('"x.mp4" is damaged.', "Copy it again.")

    good = make_film(5, people=42)
    records = list(triage_of(street).clips([Broken((0.0,), source="x.mp4"), good]))
    assert [record.status for record in records] == ["error", "ok"]
    assert records[0].label is None
    assert "damaged" in (records[0].error or "")


def test_frames_of_another_size_in_mid_stream_are_a_cut_and_go_on(street: Scene) -> None:
    import cv2

    def larger(pixels: UInt8Array, time: float) -> UInt8Array:
        return pixels if time < 8 else np.asarray(cv2.resize(pixels, None, fx=2, fy=2), np.uint8)

    record = triaged(street, make_film(12, people=42, change=larger, cuts=(80,)))
    assert record.status == "ok"
    assert record.label == "normal"


def test_a_promise_out_of_reach_is_an_error_of_its_own(street: Scene) -> None:
    with pytest.raises(CalibrationError, match="hours"):
        triaged(street, make_film(5, people=42), false_events_per_hour=0.01)


def test_a_clip_lasts_to_its_last_frame_whatever_it_announces() -> None:
    class Announced(Film):
        duration = 1.0  # type: ignore[assignment]  # as of a file that another one was joined to

    assert clip_media_summary(Announced((0.0, 3.0)), [0.0, 3.0]).duration == 3.0
    assert clip_media_summary(Announced((0.0, 0.9)), [0.0, 0.9]).duration == 1.0


def test_the_key_changes_with_everything_that_counts(street: Scene) -> None:
    film = make_film(1)
    keys = {
        Triage(street).key(film),
        Triage(street, mode="causal").key(film),
        Triage(street, false_events_per_hour=50.0).key(film),
        Triage(street, watch=["a dog"]).key(film),
        Triage(street, policy=Policy(max_instability=0.2)).key(film),
        Triage(street, zones=[Zone(name="a", kind="watch", polygon=LOWER_LEFT)]).key(film),
        Triage(TriageSettings(street, memory=False)).key(film),
        Triage(street).key(replace(film, sha256="ab")),
    }
    assert len(keys) == 8
    assert Triage(street).key(film) in keys


def test_the_curve_is_thinned_and_keeps_its_peak(street: Scene) -> None:
    record = triaged(street, make_film(11, walker(6.0, 60.0, speed=4.0), people=42))
    scores = [score for _, score in record.curve if score is not None]
    assert max(scores) == pytest.approx(record.events[0].score, abs=1e-3)
    assert len(record.curve) <= 2000
    assert record.curve[0][1] is None  # the first frame shows no motion


def test_a_clip_is_named_by_its_path(street: Scene, tmp_path: Path) -> None:
    path = write_film(tmp_path / "calm.mp4", make_film(5, people=42))
    record = triage_of(street).clip(path)
    assert (record.source, record.status) == (str(path), "ok")
    assert record.label == triage_of(street).clip(open_video(path)).label


def test_an_address_that_fails_is_recorded_without_its_password(street: Scene) -> None:
    record = triage_of(street).clip("ftp://me:secret@camera/1")
    assert record.status == "error"
    assert "secret" not in record.model_dump_json()
