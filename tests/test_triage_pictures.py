"""Pictures of another kind than what was learned: named, no false stories, what is fast still found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalist.composition import TriageSettings
from anomalist.streaming import LiveAlert, StreamTriage
from anomalist.triage import Triage
from anomalist.types.common import UInt8Array
from anomalist.vision.motion.captions import caption_footage
from anomalist.vision.motion.clip_tracks import clip_tracks
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.scene import Scene, load_scene
from tests.cli.running import rows, run
from tests.street import SIZE, Actor, Film, make_film, walker
from tests.vision.media.films import film as encoded

RUNNER = walker(9.0, 60.0, speed=4.0)


def tinted(pixels: UInt8Array, _: float = 0.0) -> UInt8Array:
    """As a camera shows the street by day."""
    return (pixels * np.array([1.0, 0.85, 0.7])).astype(np.uint8)


def colourless(pixels: UInt8Array, _: float = 0.0) -> UInt8Array:
    return (pixels * 0.85).astype(np.uint8)


def infra_red(pixels: UInt8Array, _: float = 0.0) -> UInt8Array:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    spot = np.exp(-(((x - 80) / 90) ** 2) - ((y - 60) / 70) ** 2)[..., None]
    return (pixels * (0.35 + 0.65 * spot)).astype(np.uint8)


def at_night(pixels: UInt8Array, time: float) -> UInt8Array:
    noise = np.random.default_rng(round(100 * time)).standard_normal(pixels.shape)
    return np.clip(0.4 * tinted(pixels) + 12 * noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def by_day(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    films = [make_film(14, people=seed, change=tinted) for seed in range(1, 5)]
    return learn_scene(films, tmp_path_factory.mktemp("scenes") / "day")


def triage_of(scene: Scene) -> Triage:
    return Triage(TriageSettings(scene, memory=False))


@pytest.mark.parametrize(
    ("change", "kind"),
    [(colourless, "black-and-white"), (infra_red, "infra-red"), (at_night, "dark and noisy")],
)
def test_a_calm_clip_of_another_kind_tells_no_story(by_day: Scene, change: object, kind: str) -> None:
    record = triage_of(by_day).clip(make_film(14, people=42, change=change))
    assert record.events == ()
    assert record.troubles == ()
    assert record.label == "undecided"
    assert kind in (record.why_undecided or "")
    assert kind in {each.kind for each in record.other_pictures}


@pytest.mark.parametrize("change", [colourless, infra_red])
def test_somebody_running_is_found_in_it(by_day: Scene, change: object) -> None:
    record = triage_of(by_day).clip(make_film(16, RUNNER, people=42, change=change))
    (event,) = record.events
    assert event.kind == "speed"
    assert event.tracks[0].direction == "from left to right"
    assert 9 <= event.peak <= 12


def test_by_day_nothing_is_said_of_it(by_day: Scene) -> None:
    record = triage_of(by_day).clip(make_film(14, people=42, change=tinted))
    assert record.label == "normal"
    assert record.other_pictures == ()


def scripted() -> Film:
    """Day, a gap of 20 s, infra-red with a runner, and day again."""

    def change(pixels: UInt8Array, time: float) -> UInt8Array:
        return infra_red(pixels) if 30 <= time < 44 else tinted(pixels)

    film = make_film(52, walker(38.0, 60.0, speed=4.0), people=42, change=change)
    return replace(film, times=tuple(time for time in film.times if not 8 <= time < 28))


def test_a_stream_that_gaps_goes_to_infra_red_and_comes_back(by_day: Scene) -> None:
    follower = StreamTriage(triage_of(by_day), "camera", SIZE)
    alerts = list(follower.follow(scripted().frames()))
    told = [(alert.state, alert.picture) for alert in alerts if alert.state in ("jump", "picture")]
    assert told == [("jump", None), ("picture", "infra-red"), ("picture", "")]
    opened = [alert for alert in alerts if alert.state == "opened"]
    assert opened
    for alert in opened:
        assert alert.event is not None
        assert alert.event.kind == "speed"
        assert 38 <= alert.event.peak <= 42
    assert not [alert for alert in alerts if alert.state == "trouble"]


def test_a_stream_in_pictures_of_another_kind_stands_undecided(
    by_day: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.streaming._HEARTBEAT_SECONDS", 1.0)
    follower = StreamTriage(triage_of(by_day), "camera", SIZE)
    alerts = list(follower.follow(make_film(12, people=42, change=infra_red).frames()))
    since = next(alert.stream_time for alert in alerts if alert.picture)
    watching = [each for each in alerts if each.state == "watching" and each.stream_time > since]
    assert "undecided" in {alert.label for alert in watching} <= {"undecided", None}
    assert all("infra-red" in (alert.why or "") for alert in watching)


def test_such_a_stream_goes_through_the_command_line(by_day: Scene, tmp_path: Path) -> None:
    film = scripted()
    pixels = [frame.pixels for frame in film.frames()]
    clip = encoded(tmp_path / "stream.mkv", pixels, rate=10, times=film.times)
    done = run("triage", clip, "--profile", f"{by_day.path}/", "--follow", "--model", "evidence")
    assert done.returncode == 0, done.stderr
    alerts = [LiveAlert.model_validate(row) for row in rows(done.stdout)]
    told = [(alert.state, alert.picture) for alert in alerts if alert.state in ("jump", "picture")]
    assert told == [("jump", None), ("picture", "infra-red"), ("picture", "")]
    opened = [alert.event for alert in alerts if alert.state == "opened" and alert.event]
    assert opened
    assert {event.kind for event in opened} == {"speed"}
    assert "standing" not in done.stdout


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene that was learned from footage by day and, less of it, infra-red."""
    folder = tmp_path_factory.mktemp("scenes") / "both"
    films = [make_film(14, people=seed, change=tinted) for seed in range(1, 4)]
    night = [make_film(14, people=seed, change=infra_red) for seed in range(4, 6)]
    learn_scene([*night, *films], folder)
    return load_scene(folder)


def test_a_scene_holds_several_modes_each_learned_by_itself(both: Scene) -> None:
    (lamp,) = both.others
    assert (both.manifest.kind, lamp.manifest.kind) == (None, "infra-red")
    assert both.manifest.look is not None
    assert lamp.manifest.look is not None
    assert both.manifest.look.colour > 5 > lamp.manifest.look.colour
    assert len(both.manifest.footage) == 3
    assert len(lamp.manifest.footage) == 2
    assert lamp.digest != both.digest


def test_a_clip_is_judged_by_the_mode_that_it_belongs_to(both: Scene) -> None:
    night = triage_of(both).clip(make_film(14, people=42, change=infra_red))
    assert night.label == "normal"
    assert night.other_pictures == ()
    assert "Judged by what was learned of infra-red pictures of this camera." in night.notes
    day = triage_of(both).clip(make_film(14, people=42, change=tinted))
    assert (day.label, day.notes) == ("normal", ())
    left = Actor(((4.0, 80.0, 60.0), (40.0, 80.0, 60.0)), seed=1)
    record = triage_of(both).clip(make_film(24, left, people=42, change=infra_red))
    assert "dwell" in {event.kind for event in record.events}  # which no other kind of picture is asked for


def test_a_mode_with_less_footage_promises_what_it_can_and_says_so(both: Scene) -> None:
    (lamp,) = both.others
    least, most = (mode.blocks("causal").supported for mode in (both, lamp))
    asked = (least + most) / 2
    assert least < asked < most, "the main mode supports it, the other one does not"
    triage = Triage(TriageSettings(both, memory=False, mode="causal", false_events_per_hour=asked))
    night = make_film(8, people=42, change=infra_red)
    record = triage.clip(night)
    assert record.status == "ok"
    assert f"supports {most:.3g} false events per hour, not {asked:g}." in record.notes[-1]
    assert list(StreamTriage(triage, "camera", SIZE).follow(night.frames())) is not None


def test_captions_and_tracks_of_a_clip_look_through_its_mode_too(both: Scene) -> None:
    clip = make_film(6, people=42, change=infra_red)
    (lamp,) = both.others
    told = list(caption_footage(clip, both))
    assert told == list(caption_footage(clip, lamp))
    assert told != list(caption_footage(clip, replace(both, others=())))
    followed = clip_tracks(clip, both)
    assert followed
    assert followed == clip_tracks(clip, lamp)


def test_a_kind_that_no_mode_knows_is_still_said_to_be_another(both: Scene) -> None:
    record = triage_of(both).clip(make_film(14, people=42, change=at_night))
    assert record.label == "undecided"
    assert record.events == ()


@pytest.fixture(scope="module")
def followed(both: Scene) -> list[LiveAlert]:
    return list(StreamTriage(triage_of(both), "camera", SIZE).follow(scripted().frames()))


def test_a_stream_changes_its_mode_with_its_pictures(followed: list[LiveAlert]) -> None:
    told = [
        (alert.state, alert.picture) for alert in followed if alert.state in ("jump", "picture", "trouble")
    ]
    assert told == [("jump", None)]
    lit = [alert.event for alert in followed if alert.state == "opened" and alert.stream_time > 28]
    assert lit
    assert all(event is not None and 38 <= event.peak <= 42 for event in lit)


def test_frames_taken_one_by_one_change_the_mode_as_a_stream_does(
    both: Scene, followed: list[LiveAlert]
) -> None:
    single = StreamTriage(triage_of(both), "camera", SIZE)
    told = [alert for frame in scripted().frames() for alert in single.alerts_for(frame)]
    kinds = [(alert.state, alert.stream_time) for alert in told if alert.state != "closed"]
    assert kinds == [(alert.state, alert.stream_time) for alert in followed if alert.state != "closed"]
