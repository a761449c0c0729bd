"""Footage is grouped by the kind of its pictures, and every picture goes to the mode that it belongs to."""

from __future__ import annotations

import pytest

from anomalist.errors import DataError
from anomalist.vision.media.video import sample_pictures
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.modes import FootagePart, group_by_look, is_mixed, looks_differ, split_by_colour
from anomalist.vision.motion.picture_kind import PictureLook
from tests.street import make_film
from tests.test_triage_pictures import infra_red, tinted

DAY = PictureLook(colour=20.0, level=110.0, noise=2.0)
DUSK = DAY.replace(level=80.0)
DARK = DAY.replace(level=40.0)
LAMP = PictureLook(colour=0.5, level=70.0, noise=3.0)
PALE = DAY.replace(colour=4.0)


def test_looks_differ_by_colour_or_by_half_the_brightness() -> None:
    assert not looks_differ(DAY, DUSK)
    assert looks_differ(DAY, LAMP)
    assert looks_differ(LAMP, DAY)
    assert looks_differ(DAY, DARK)
    assert not looks_differ(DAY, PALE)
    assert not looks_differ(PALE, LAMP.replace(level=110.0))


def test_the_mode_with_the_most_footage_comes_first() -> None:
    looks = [LAMP, DAY, DAY, LAMP, DARK]
    assert group_by_look(looks, [40, 30, 20, 5, 10]) == [[1, 2], [0, 3], [4]]
    assert group_by_look([DAY], [1]) == [[0]]


def test_a_video_is_taken_apart_where_its_pictures_lose_their_colour() -> None:
    film = make_film(
        20, people=1, change=lambda pixels, time: (tinted if time < 8 else infra_red)(pixels, time)
    )
    assert is_mixed([20.0, 0.5])
    assert not is_mixed([20.0, 4.0])
    day, lamp = split_by_colour(film)
    assert isinstance(day, FootagePart)
    assert isinstance(lamp, FootagePart)
    assert (day.start, lamp.stop) == (0.0, None)
    assert day.stop is not None
    assert 6 <= day.stop <= 8 <= lamp.start <= 10
    times = [frame.time for frame in lamp.frames()]
    assert times[0] == pytest.approx(0, abs=0.11)
    assert times[-1] == pytest.approx(19.9 - lamp.start)
    assert lamp.duration == pytest.approx(20 - lamp.start)
    assert [frame.time for frame in lamp.frames(2.0, 2.5)] == pytest.approx(
        [2.0, 2.1, 2.2, 2.3, 2.4], abs=0.11
    )
    assert "from 9.0 s to its end" in lamp.notes[-1]


@pytest.mark.parametrize("change", [0.2, 19.2, 19.7])
def test_colour_that_goes_in_the_last_moment_leaves_no_empty_part(change: float) -> None:
    film = make_film(
        20, people=1, change=lambda pixels, time: (tinted if time < change else infra_red)(pixels, time)
    )
    parts = split_by_colour(film)
    assert parts
    for part in parts:
        assert part.duration is not None and part.duration > 0
        assert list(sample_pictures(part, 3))


def test_too_little_of_another_kind_is_skipped_by_name_and_not_mixed_in(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("scenes")
    day = [make_film(8, people=seed, change=tinted, source=f"day {seed}") for seed in (1, 2)]
    short = make_film(4, people=3, change=infra_red, source="short")
    scene = learn_scene([*day, short], folder / "s")
    assert scene.others == ()
    assert [video.source for video in scene.manifest.footage] == ["day 1", "day 2"]
    (reason,) = scene.manifest.skipped
    assert reason.startswith("short: pictures of another kind, no mode of their own: ")
    assert "too little" in reason
    with pytest.raises(DataError, match="too little"):
        learn_scene([short], folder / "t")
