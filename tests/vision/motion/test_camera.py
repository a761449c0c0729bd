"""Trouble with the camera: noticed, named, and told from what happens in front of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalist.types.clip import TroubleKind
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.camera import FROZEN_SECONDS, RECOVERY_SECONDS, CameraMonitor
from anomalist.vision.motion.extractor import median_background, working_grey, working_size
from anomalist.vision.motion.flow import ChainedFlow
from tests.scenes import Camera, Film, Filming, filmed, grey_of, walker

SCENE = grey_of(filmed(0.1)).astype(np.float32)
PEOPLE = 22
_JITTER = np.random.default_rng(3).uniform(-1, 1, (200, 2))

Seen = list[tuple[float, TroubleKind | None]]


def watched(greys: list[tuple[float, UInt8Array]], scene: FloatArray = SCENE, *, moves: bool = True) -> Seen:
    watch, following = CameraMonitor(scene, moves=moves), ChainedFlow(*scene.shape)
    return [(time, watch.check(grey, following.velocity(grey, time), time)) for time, grey in greys]


def of(film: Film, **options: bool) -> Seen:
    return watched([(frame.time, frame.pixels[..., 0]) for frame in film.frames()], **options)


def kinds(seen: Seen, start: float = 0.0, stop: float = 1e9) -> set[TroubleKind | None]:
    return {kind for time, kind in seen if start <= time < stop}


def shaking(pixels: float) -> Filming:
    def camera(time: float) -> Camera:
        right, down = pixels * _JITTER[round(time * 10)]
        return Camera(right=right, down=down)

    return camera


def after(start: float, then: Callable[[float], Camera]) -> Filming:
    return lambda time: then(time - start) if time > start else Camera()


# --- a camera that moves ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("camera", "within"),
    [
        (lambda t: Camera(right=30 * t), 0.2),
        (lambda t: Camera(right=6 * t), 0.3),
        (lambda t: Camera(right=-3 * t), 0.5),
        (lambda t: Camera(right=1 * t), 1.1),
        (lambda t: Camera(down=3 * t), 0.5),
        (lambda t: Camera(turned=4 * t), 0.7),
        (lambda t: Camera(turned=-1 * t), 1.6),
        (lambda t: Camera(nearer=1 + 0.06 * t), 0.7),
        (lambda t: Camera(nearer=1 / (1 + 0.06 * t)), 0.7),
    ],
)
def test_a_camera_that_begins_to_move_is_noticed(camera: Callable[[float], Camera], within: float) -> None:
    seen = of(filmed(4.5, people=PEOPLE, camera=after(2, camera)))
    assert kinds(seen, stop=2.05) == {None}
    assert kinds(seen, 2.05 + within) == {"moving"}


def test_a_hand_held_camera_is_noticed_all_the_time() -> None:
    assert kinds(of(filmed(6, people=PEOPLE, camera=shaking(3))), 0.5) == {"moving"}


@pytest.mark.parametrize("period", [0.7, 1.0, 4.0])
def test_a_swaying_camera_is_moving_where_it_turns_round_too(period: float) -> None:
    film = filmed(6, people=PEOPLE, camera=lambda t: Camera(right=4 * np.sin(2 * np.pi * t / period)))
    assert kinds(of(film), 1.0) <= {"moving", "moved"}


@pytest.mark.parametrize("vibration", [0.0, 0.25, 0.5])
def test_small_vibration_is_not_moving(vibration: float) -> None:
    assert kinds(of(filmed(6, people=PEOPLE, camera=shaking(vibration)))) == {None}


def test_when_it_stands_still_again_at_its_place_it_is_over() -> None:
    film = filmed(6, people=PEOPLE, camera=lambda t: Camera(right=4 * np.sin(np.pi * np.clip(t - 2, 0, 1))))
    seen = of(film)
    assert kinds(seen, 2.4, 3.0) == {"moving"}
    assert kinds(seen, 3.0 + RECOVERY_SECONDS + 1.2) == {None}


# --- a camera that looks elsewhere --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "camera",
    [
        Camera(right=16),
        Camera(right=-16),
        Camera(down=12),
        Camera(right=5),
        Camera(right=1.5),
        Camera(down=-2),
        Camera(turned=5),
        Camera(nearer=1.1),
        Camera(nearer=0.9),
        Camera(right=16, light=0.7),
    ],
)
def test_a_camera_that_was_turned_away_is_moved(camera: Camera) -> None:
    assert kinds(of(filmed(3, people=PEOPLE, camera=lambda _: camera)), 0.1) == {"moved"}


def test_a_jerk_is_a_move_and_then_the_camera_is_moved() -> None:
    seen = of(filmed(6, people=PEOPLE, camera=after(2, lambda _: Camera(right=10))))
    assert kinds(seen, 2.05, 2.5) == {"moving"}
    assert kinds(seen, 4.0) == {"moved"}


def test_a_camera_of_unknown_scene_can_only_move() -> None:
    watch = CameraMonitor(None)
    pictures = [grey_of(filmed(0.1)), grey_of(filmed(0.1, camera=lambda _: Camera(right=30)))]
    still = np.zeros((*SCENE.shape, 2), np.float32)
    assert [watch.check(picture, still, i / 10) for i, picture in enumerate(pictures)] == [None, None]
    assert [watch.check(pictures[1], still + 9, 1 + i / 10) for i in range(9)][-1] == "moving"


# --- hidden pictures ----------------------------------------------------------------------------------------


def noise(level: float, strength: float) -> Callable[[UInt8Array, float], UInt8Array]:
    def change(pixels: UInt8Array, time: float) -> UInt8Array:
        drawn = np.random.default_rng(round(time * 10)).normal(level, strength, pixels.shape[:2])
        return np.repeat(np.clip(drawn, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    return change


def hand(pixels: UInt8Array, time: float) -> UInt8Array:
    shade = np.linspace(60, 120, pixels.shape[1]) + 4 * np.sin(3 * time)
    grain = np.random.default_rng(round(time * 10)).normal(0, 1.5, pixels.shape[:2])
    return np.repeat(np.clip(shade + grain, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (noise(120, 0), "covered"),
        (noise(120, 2), "covered"),
        (noise(120, 8), "covered"),
        (noise(120, 20), "covered"),
        (noise(250, 2), "covered"),
        (hand, "covered"),
        (noise(0, 0), "black"),
        (noise(3, 1), "black"),
        (lambda pixels, _: pixels // 40, "black"),
    ],
)
def test_what_hides_the_scene_is_named_at_once(
    change: Callable[[UInt8Array, float], UInt8Array], kind: TroubleKind
) -> None:
    film = filmed(4, people=PEOPLE, change=lambda p, t: change(p, t) if t >= 2 else p)
    seen = of(film)
    assert kinds(seen, stop=1.95) == {None}
    assert kinds(seen, 1.95) == {kind}


def test_a_single_spoilt_picture_is_soon_over() -> None:
    seen = of(filmed(4, people=PEOPLE, change=lambda p, t: p * 0 + 128 if 1.95 < t < 2.05 else p))
    assert kinds(seen, 1.95, 2.5) == {"covered"}
    assert kinds(seen, 2.0 + RECOVERY_SECONDS + 0.05) == {None}


def test_the_same_picture_for_seconds_is_frozen() -> None:
    still = next(iter(filmed(0.1, people=PEOPLE).frames())).pixels
    film = filmed(9, people=PEOPLE, change=lambda p, t: still if 1.95 < t < 7.05 else p)
    seen = of(film)
    assert kinds(seen, stop=1.95 + FROZEN_SECONDS) == {None}
    assert kinds(seen, 2.05 + FROZEN_SECONDS, 7.05) == {"frozen"}
    assert kinds(seen, 7.1 + RECOVERY_SECONDS + 0.8) == {None}
    assert kinds(of(film, moves=False), 1.0, 7.0) == {None}  # where nothing moves anyway, that is no wonder


# --- what is no trouble -------------------------------------------------------------------------------------


def bus(pixels: UInt8Array, time: float) -> UInt8Array:
    """Something large and textured passes by."""
    left = round(160 - 60 * (time - 1))
    out = pixels.copy()
    body = np.random.default_rng(5).integers(0, 255, (10, 10, 3)).astype(np.uint8)
    side = cv2.resize(body, (44, 60), interpolation=cv2.INTER_CUBIC)
    low, high = max(left, 0), min(left + 44, 160)
    if low < high:
        out[34:94, low:high] = side[:, low - left : high - left]
    return out


@pytest.mark.parametrize(
    "film",
    [
        filmed(6, people=PEOPLE),
        filmed(6, people=23),
        filmed(3, *(walker(-3 + k / 3, 30 + 8 * k, speed=1.5, seed=k) for k in range(10))),
        filmed(5, walker(0, 60, size=3, speed=2, seed=1)),
        filmed(5, people=PEOPLE, change=bus),
        filmed(5, people=PEOPLE, camera=lambda t: Camera(light=1.2 if t > 2 else 1)),
        filmed(5, people=PEOPLE, camera=lambda t: Camera(light=0.8 if t > 2 else 1)),
        filmed(5, people=PEOPLE, camera=lambda t: Camera(light=1 - 0.1 * t)),
        filmed(5, people=PEOPLE, camera=lambda t: Camera(light=1.5 if 2 < t < 2.2 else 1)),
        filmed(5, people=PEOPLE, change=lambda p, _: (p * 0.3 + 110).astype(np.uint8)),
        filmed(5, people=PEOPLE, change=lambda p, _: np.asarray(cv2.GaussianBlur(p, (0, 0), 1.5), np.uint8)),
    ],
    ids=["people", "others", "crowd", "large", "bus", "lighter", "darker", "dusk", "flash", "fog", "unsharp"],
)
def test_people_light_and_weather_are_no_trouble(film: Film) -> None:
    assert kinds(of(film)) == {None}


def test_noise_in_the_dark_is_no_trouble() -> None:
    def noisy(pixels: UInt8Array, time: float) -> UInt8Array:
        grain = np.random.default_rng(round(time * 10)).normal(0, 8, pixels.shape[:2])[..., None]
        return np.clip(pixels + grain, 0, 255).astype(np.uint8)

    assert kinds(of(filmed(5, people=PEOPLE, change=noisy))) == {None}


def test_times_between_frames_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    times = tuple(np.cumsum(rng.uniform(0.04, 0.3, 40)).tolist())
    film = filmed(1, people=PEOPLE)
    assert kinds(of(replace(film, times=times))) == {None}
    assert kinds(of(replace(film, times=times, camera=lambda t: Camera(right=3 * t))), 1.0) == {"moving"}


@pytest.mark.parametrize("size", [(8, 8), (17, 40), (31, 33), (65, 63)])
def test_pictures_of_any_size_can_be_watched(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, size).astype(np.uint8)
    greys = [(i / 10, np.clip(scene + rng.normal(0, 1, size), 0, 255).astype(np.uint8)) for i in range(12)]
    watch, still = CameraMonitor(scene.astype(np.float32)), np.zeros((*size, 2), np.float32)
    assert {watch.check(grey, still, time) for time, grey in greys} == {None}


# --- real footage -------------------------------------------------------------------------------------------


def moved(grey: UInt8Array, right: float = 0, turned: float = 0, nearer: float = 1) -> UInt8Array:
    height, width = grey.shape
    change = cv2.getRotationMatrix2D((width / 2, height / 2), turned, nearer)
    change[:, 2] += [right, 0]
    out = cv2.warpAffine(grey, change, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.uint8)


@pytest.fixture(scope="module")
def walkway(data_dir: Path) -> list[tuple[float, UInt8Array]]:
    video = open_video(data_dir / "ped2" / "training" / "01.mp4")
    size = working_size(*video.size)
    return [(frame.time, working_grey(frame.pixels, size)) for frame in video.frames(rate=10)]


def test_real_footage_by_itself_and_with_a_camera_that_moves(walkway: list[tuple[float, UInt8Array]]) -> None:
    scene = median_background(grey for _, grey in walkway[::3]).grey
    width = scene.shape[1]
    first = walkway[:50]

    def counted(change: Callable[[UInt8Array, float], UInt8Array]) -> Counter[TroubleKind | None]:
        seen = watched([(time, change(grey, time)) for time, grey in first], scene)
        return Counter(kind for time, kind in seen if time >= 1.0)

    assert set(kinds(watched(walkway, scene))) == {None}
    rng = np.random.default_rng(0)
    for change in (
        lambda grey, time: moved(grey, right=0.02 * width * time),
        lambda grey, time: moved(grey, turned=2 * time),
        lambda grey, time: moved(grey, nearer=1 + 0.04 * time),
        lambda grey, _: np.roll(grey, tuple(rng.integers(-3, 4, 2)), (0, 1)),
    ):
        assert set(counted(change)) == {"moving"}
    assert set(counted(lambda grey, _: moved(grey, right=0.1 * width))) == {"moved"}
    assert set(counted(lambda grey, _: moved(grey, right=2))) == {"moved"}


def test_troubles_do_not_flicker(walkway: list[tuple[float, UInt8Array]]) -> None:
    scene = median_background(grey for _, grey in walkway[::3]).grey
    rng = np.random.default_rng(1)
    shaken = [(time, np.roll(grey, tuple(rng.integers(-3, 4, 2)), (0, 1))) for time, grey in walkway[:60]]
    seen = watched(shaken, scene)
    assert sum(a[1] != b[1] for a, b in pairwise(seen)) <= 2
