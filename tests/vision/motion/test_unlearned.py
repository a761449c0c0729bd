"""Activity without normal footage: what is fast stands out, and a camera that moves is taken out."""

from __future__ import annotations

from anomalist.vision.motion.unlearned import measure_activity
from tests.street import Camera, make_film, walker

RUNNER = walker(6.0, 60.0, speed=4.0)


def test_a_runner_is_the_busiest_stretch() -> None:
    activity = measure_activity(make_film(16, RUNNER, people=42))
    (first, *_) = activity.stretches()
    assert not activity.moving_camera
    assert 6 <= first.peak <= 9
    box = activity.box_at(first.peak)
    assert box is not None
    assert box[1] < 60 < box[3]


def test_a_runner_is_found_by_a_camera_that_pans() -> None:
    film = make_film(14, RUNNER, camera=lambda time: Camera(right=2.5 * time))
    activity = measure_activity(film)
    assert activity.moving_camera
    assert 6 <= activity.stretches()[0].peak <= 9


def test_nothing_that_moves_gives_no_stretch() -> None:
    still = next(iter(make_film(1).frames())).pixels
    assert measure_activity(make_film(8, change=lambda *_: still)).stretches() == []
