from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalist.report.figures import (
    CLOSE_UP_SIDE,
    KEY_FRAME_SIDE,
    close_up,
    draw_event,
    jpeg_thumbnail,
    render_event_images,
)
from anomalist.types.common import Box, UInt8Array
from anomalist.vision.drawing import LINE_COLOUR
from anomalist.vision.media.video import open_video
from tests.report.clip_records import HEIGHT, WIDTH, event, film, track

GREY = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)


def opened(picture: bytes) -> UInt8Array:
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG"
        return np.asarray(image)


def lines(picture: UInt8Array) -> np.ndarray:
    """Where a picture has the colour of lines, bool (h, w)."""
    away = np.abs(picture.astype(int) - np.array(LINE_COLOUR)).sum(-1)
    found: np.ndarray = away < 90
    return found


def test_a_still_shows_the_frame_of_the_peak(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 3)
    made = render_event_images(open_video(tmp_path / "a.mp4"), event(start=1, end=2, tracks=()))
    frame = opened(made.frame)
    assert frame.shape == (480, KEY_FRAME_SIDE, 3)
    # At 1.5 s the bright thing is at x 30 to 42; the box of the event, 18 to 30, is left as it was.
    bright = frame[250, :, :].min(-1) > 200
    assert abs(np.flatnonzero(bright).mean() - 36 * KEY_FRAME_SIDE / WIDTH) < 8
    assert made.close_up is not None
    assert opened(made.close_up).shape == (CLOSE_UP_SIDE, CLOSE_UP_SIDE, 3)


def test_a_peak_past_the_end_gives_the_last_frame(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    assert render_event_images(open_video(tmp_path / "a.mp4"), event(peak=99)).frame


def test_the_box_is_drawn_around_the_object_and_the_way_through_it() -> None:
    scale = KEY_FRAME_SIDE / WIDTH
    drawn = lines(draw_event(GREY, event(tracks=())))
    x0, y0, x1, y1 = (round(v * scale) for v in (18, 40, 30, 60))
    assert not drawn[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].any()
    assert drawn[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4].any()
    far = lines(draw_event(GREY, event(tracks=(track(box=(10, 40, 22, 60)),))))
    tip = round(36 * scale), round(50 * scale)
    assert far[tip[1] - 6 : tip[1] + 6, tip[0] - 12 : tip[0] + 2].any()


def test_other_tracks_at_the_peak_are_drawn_and_absent_ones_not() -> None:
    base = lines(draw_event(GREY, event(tracks=(track(),)))).sum()
    there = track("T2", box=(80, 20, 90, 40), start=1)
    gone = track("T3", box=(80, 20, 90, 40), start=5)
    assert lines(draw_event(GREY, event(tracks=(track(), there)))).sum() > base + 200
    assert lines(draw_event(GREY, event(tracks=(track(), gone)))).sum() == base


@pytest.mark.parametrize("box", [None, (-20, -20, 5, 5), (120, 90, 400, 400), (0, 0, WIDTH, HEIGHT)])
def test_any_box_can_be_drawn(box: Box | None) -> None:
    drawn = draw_event(GREY, event(box=box))
    assert drawn.shape[1] >= KEY_FRAME_SIDE


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (None, None),
        ((0, 0, WIDTH, 20), None),
        ((50, 50, 50, 60), None),
        ((200, 200, 210, 210), None),
        ((50, 40, 60, 60), (CLOSE_UP_SIDE, CLOSE_UP_SIDE)),
        ((120, 90, 128, 96), (CLOSE_UP_SIDE, CLOSE_UP_SIDE)),
    ],
)
def test_a_close_up_is_made_of_what_is_small(box: Box | None, size: tuple[int, int] | None) -> None:
    near = close_up(GREY, box)
    assert (None if near is None else near.shape[:2]) == size


def test_a_thumbnail_of_nothing_or_of_a_damaged_file_is_none() -> None:
    assert jpeg_thumbnail(None) is None
    assert jpeg_thumbnail(b"\xff\xd8 not a picture") is None
