"""The pictures of an event: few frames are read, each shows what its caption says."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.agent.reasoning.vlm_views import (
    CLOSE_UP_SIDE,
    CONTACT_SHEET_TILE_SIDE,
    GAP,
    OVERVIEW_SIDE,
    make_event_views,
)
from anomalist.errors import MediaError
from tests.agent.event_cases import HEIGHT, WIDTH, Street, make_event, make_track


def test_an_event_is_shown_whole_closer_at_four_moments_and_as_motion() -> None:
    street = Street()
    looks = make_event_views(street, make_event())
    frame, closer, moments, motion = (view.caption for view in looks.all)
    assert "2.0 s" in frame and "T1" in frame
    assert "T1" in closer
    assert "1.0 s, 1.7 s, 2.4 s, 3.0 s" in moments
    assert "2.0 s" in motion and "T1" in motion
    assert [view.caption for view in looks.contexts] == [looks.all[i].caption for i in (1, 0, 2)]
    assert len(street.read) <= 6
    assert all(max(view.pixels.shape[:2]) <= OVERVIEW_SIDE for view in looks.all)
    assert max(looks.key.pixels.shape) == OVERVIEW_SIDE
    assert looks.close is not None
    assert max(looks.close.pixels.shape) == CLOSE_UP_SIDE
    assert looks.moments is not None
    assert looks.moments.pixels.shape[1] <= 2 * CONTACT_SHEET_TILE_SIDE + GAP


def test_the_motion_is_bright_where_something_moves_and_dark_elsewhere() -> None:
    looks = make_event_views(Street(), make_event(tracks=()))
    assert looks.motion is not None
    pixels = looks.motion.pixels.astype(float)
    scale = pixels.shape[1] / WIDTH
    x0, y0, x1, y1 = (round(scale * value) for value in (70, 40, 86, 56))
    assert pixels[y0:y1, x0:x1].mean() > 1.5 * pixels[: pixels.shape[0] // 4].mean()
    assert looks.motion.caption == "What moves at 2.0 s, the faster the brighter."


def test_the_moments_of_an_object_are_taken_while_it_is_there() -> None:
    looks = make_event_views(
        Street(), make_event(start=0.0, end=3.9, tracks=(make_track(start=1.5, end=2.5),))
    )
    assert looks.moments is not None
    assert looks.moments.caption == "One place at 1.5 s, 1.9 s, 2.2 s, 2.5 s, in reading order."


def test_an_event_of_the_whole_scene_has_no_closer_look() -> None:
    looks = make_event_views(Street(), make_event(kind="stillness", tracks=(), box=None))
    assert looks.close is None
    assert looks.key.caption == "The frame at 2.0 s."
    assert looks.moments is not None
    filling = make_event_views(Street(), make_event(tracks=(), box=(0, 0, WIDTH, HEIGHT)))
    assert filling.close is None
    assert filling.key.caption == "The frame at 2.0 s, with E1 outlined."


def test_a_place_without_an_object_is_marked_by_the_event_itself() -> None:
    looks = make_event_views(Street(), make_event(tracks=()))
    assert looks.close is not None
    assert looks.close.caption == "E1 at that moment, closer."


def test_frames_that_changed_their_size_on_the_way_fit_the_boxes_again() -> None:
    looks, larger = make_event_views(Street(), make_event()), make_event_views(Street(scale=2), make_event())
    for one, two in zip(looks.all, larger.all, strict=True):
        assert one.pixels.shape == two.pixels.shape
    assert np.abs(looks.key.pixels.astype(float) - larger.key.pixels).mean() < 3


def test_the_first_frame_shows_no_motion_and_one_moment_is_no_sheet() -> None:
    first = make_event_views(Street(seconds=0.1), make_event(start=0.0, end=0.0, peak=0.0, tracks=()))
    assert (first.motion, first.moments) == (None, None)
    assert len(first.all) == 2


def test_the_last_frame_is_found_although_times_are_rounded() -> None:
    looks = make_event_views(Street(), make_event(end=3.901, peak=3.901))
    assert looks.key.caption.startswith("The frame at 3.9 s")


def test_frames_that_are_gone_can_not_be_shown() -> None:
    with pytest.raises(MediaError, match=r"frame of E1 at 2.0 s can't be read again"):
        make_event_views(Street(first=3.0), make_event())
    assert make_event_views(Street(first=2.2), make_event()).motion is None  # a little later will do
