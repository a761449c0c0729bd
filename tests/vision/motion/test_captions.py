"""Footage in words, normal or not."""

from __future__ import annotations

import pytest

from anomalist.types.clip import Track
from anomalist.vision.motion.captions import caption_footage, caption_tracks, pace_words
from anomalist.vision.motion.scene import Scene
from tests.street import SIZE, make_film


def track(**more: object) -> Track:
    fields: dict[str, object] = {
        "id": "T1",
        "start": 0.0,
        "end": 2.0,
        "path": ((0.0, (0, 0, 10, 20)), (2.0, (150, 50, 160, 70))),
        "speed": 10.0,
        "speed_ratio": 1.0,
        "height": 20.0,
        "size_ratio": 1.0,
        "direction": "from left to right",
    }
    return Track.model_validate({**fields, **more})


@pytest.mark.parametrize(
    ("tracks", "text"),
    [
        ([], "Nothing is moving."),
        ([track()], "An object moves from left to right at the usual speed on the right."),
        (
            [track(size_ratio=3.0, speed_ratio=4.0)],
            "A large object moves from left to right very fast on the right.",
        ),
        ([track(direction="")], "An object moves a little on the right."),
        ([track(direction="", speed_ratio=0.1)], "An object hardly moves on the right."),
    ],
)
def test_objects_are_put_into_words(tracks: list[Track], text: str) -> None:
    assert caption_tracks(tracks, SIZE) == text


def test_paces() -> None:
    assert [pace_words(ratio) for ratio in (0.2, 1, 2, 3)] == [
        "slowly",
        "at the usual speed",
        "fast",
        "very fast",
    ]


def test_each_second_of_footage_is_described(street: Scene) -> None:
    film = make_film(6, people=42)
    found = list(caption_footage(film, street))
    assert [round(each.end - each.start, 1) for each in found] == [1.0] * len(found)
    assert 4 <= len(found) <= 6
    assert "at the usual speed" in " ".join(each.text for each in found)
