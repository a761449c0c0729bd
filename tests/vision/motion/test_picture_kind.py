"""Kinds of pictures: another one is named once it lasts, and a flash or a passing cloud is none."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.motion.picture_kind import (
    PictureKindMonitor,
    PictureState,
    colour_of,
    is_overlay,
    look_of,
    noise_between,
    overlay_places,
)

SHAPE = (120, 160)
Change = Callable[[FloatArray, float], FloatArray]


def scene() -> FloatArray:
    rng = np.random.default_rng(5)
    rough = cv2.GaussianBlur(rng.standard_normal(SHAPE).astype(np.float32), (0, 0), 4)
    return (120 + 120 * rough)[..., None] * np.float32([1.0, 0.85, 0.7])


def picture(number: int, change: Change = lambda pixels, _: pixels) -> UInt8Array:
    noise = np.random.default_rng(number).standard_normal((*SHAPE, 3))
    return np.clip(change(scene() + noise, number / 10), 0, 255).astype(np.uint8)


def grey_of(pixels: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def watched(change: Change, seconds: float = 6.0) -> list[PictureState]:
    normal = [picture(n) for n in range(1000, 1010)]
    look = look_of([colour_of(each) for each in normal], [grey_of(each) for each in normal])
    background = np.median([grey_of(each) for each in normal], axis=0).astype(np.float32)
    monitor = PictureKindMonitor(look, background)
    still = np.zeros((*SHAPE, 2), np.float32)
    found = []
    for n in range(round(10 * seconds)):
        pixels = picture(n, change)
        found.append(monitor.update(pixels, grey_of(pixels), still, n / 10))
    return found


def colourless(pixels: FloatArray, _: float) -> FloatArray:
    return np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)


def lamp(pixels: FloatArray, time: float) -> FloatArray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    spot = np.exp(-(((x - 80) / 70) ** 2) - ((y - 60) / 50) ** 2)[..., None]
    return colourless(pixels, time) * (0.3 + 0.8 * spot)


def grainy(pixels: FloatArray, time: float) -> FloatArray:
    rng = np.random.default_rng(round(1000 * time))
    return 0.4 * pixels + 14 * rng.standard_normal(pixels.shape)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda pixels, _: pixels, ""),
        (lambda pixels, time: pixels * (1 + 0.3 * np.sin(time)), ""),
        (colourless, "black-and-white"),
        (lamp, "infra-red"),
        (grainy, "dark and noisy"),
        (lambda pixels, _: 0.3 * pixels, "dark"),
    ],
)
def test_what_lasts_is_named(change: Change, kind: str) -> None:
    last = watched(change)[-1]
    assert last.kind == kind
    assert last.settled


def test_nothing_is_measured_until_a_new_kind_was_learned() -> None:
    states = watched(lambda pixels, time: colourless(pixels, time) if time >= 2 else pixels)
    assert all(state.settled and not state.kind for state in states[:20])
    assert not any(state.settled for state in states[20:44])
    assert sum(len(state.stills) >= 8 for state in states) == 1
    assert states[-1].settled


@pytest.mark.parametrize("gain", [2.5, 0.2])
def test_a_flash_or_a_shadow_is_no_other_kind(gain: float) -> None:
    states = watched(lambda pixels, time: pixels * (gain if 3.0 <= time < 3.5 else 1))
    assert {state.kind for state in states} == {""}
    assert all(state.settled for state in states)


def test_a_picture_that_shows_nothing_is_left_to_the_camera() -> None:
    states = watched(lambda pixels, _: 0 * pixels)
    assert {state.kind for state in states} == {""}


def test_coming_back_needs_no_learning() -> None:
    states = watched(lambda pixels, time: colourless(pixels, time) if 1 <= time < 5 else pixels, 8.0)
    assert states[45].kind == "black-and-white"
    back = next(index for index, state in enumerate(states) if state.changed and not state.kind)
    assert 50 <= back <= 60
    assert states[back].settled


def test_noise_is_measured_beside_a_change_of_light() -> None:
    rng = np.random.default_rng(2)
    first, second = (120 + 5 * rng.standard_normal(SHAPE) for _ in range(2))
    found = noise_between(first.astype(np.uint8), (second + 20).astype(np.uint8))
    assert found == pytest.approx(5, rel=0.15)


def test_burned_in_text_is_told_from_people_and_bright_things() -> None:
    background = grey_of(picture(9)).astype(np.float32)
    limit = np.full(SHAPE, 12, np.float32)
    text = grey_of(picture(1))
    cv2.putText(text, "12:34:56", (10, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    assert is_overlay(text, background, limit, (6, 4, 90, 26))
    body = grey_of(picture(2))
    body[40:70, 60:72] = 250
    assert not is_overlay(body, background, limit, (56, 36, 76, 74))
    assert not is_overlay(grey_of(picture(3)), background, limit, (6, 6, 80, 26))


def test_text_that_changes_in_many_pictures_is_one_place() -> None:
    boxes = [(10 + 8 * (n % 5), 8, 17 + 8 * (n % 5), 18) for n in range(40)] + [(90, 60, 100, 80)]
    assert overlay_places(boxes, 40, SHAPE) == ((2, 4, 57, 22),)
