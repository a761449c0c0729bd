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
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.scene import Scene
from tests.cli.running import rows, run
from tests.street import SIZE, Film, make_film, walker
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
