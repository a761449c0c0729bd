"""Which frames of a track are looked at, and what several looks agree on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalist.types.clip import ObjectName
from anomalist.vision.naming.looks import LOOKS, Look, agreed_name, name_tracks, quote_votes
from tests.agent.event_cases import HEIGHT, WIDTH, Street, make_event, make_track, place


class Recorder:
    """A namer that keeps what it is shown."""

    classes = ("square",)
    digest = ""
    notes = ()

    def __init__(self) -> None:
        self.shown: dict[str, list[Look]] = {}

    def name(self, track: str, looks: Sequence[Look]) -> tuple[ObjectName, ...]:
        self.shown[track] = list(looks)
        return (
            ObjectName(track=track, name="square", by="examples", source="", looks=len(looks), agreeing=1),
        )


def test_a_track_is_looked_at_a_few_times_all_over_the_event_with_its_box() -> None:
    recorder = Recorder()
    event = make_event(1).replace(start=0.5, end=3.5, tracks=(make_track(1), make_track(7)))
    names = name_tracks(Street(), event, [recorder])
    assert [name.track for name in names] == ["T1", "T7"]
    looks = recorder.shown["T1"]
    assert len(looks) == LOOKS
    assert looks[0].time < 1
    assert looks[-1].time > 3
    for look in looks:
        assert look.box == place(look.time)
        assert look.pixels.shape == (HEIGHT, WIDTH, 3)
        x0, y0, x1, y1 = look.box
        assert look.pixels[y0:y1, x0:x1].min() >= 180
        assert look.crop().shape == (20, 20, 3)
    assert recorder.shown["T7"][0].pixels is looks[0].pixels  # read once


def test_objects_that_are_cut_off_by_the_border_are_passed_over_while_there_are_whole_ones() -> None:
    recorder = Recorder()
    path = ((0.0, (-8, 40, 8, 56)), (0.2, (0, 40, 16, 56)), (0.4, (30, 40, 46, 56)))
    name_tracks(
        Street(),
        make_event(1).replace(start=0, end=1, tracks=(make_track(1).replace(path=path),)),
        [recorder],
    )
    assert [look.box for look in recorder.shown["T1"]] == [(30, 40, 46, 56)]


def test_frames_that_are_gone_are_no_look_and_nobody_is_asked() -> None:
    recorder = Recorder()
    event = make_event(1).replace(start=0.0, end=1.0, tracks=(make_track(1, end=1.0),))
    assert name_tracks(Street(first=3.0), event, [recorder]) == ()
    assert recorder.shown == {}


def test_more_than_half_of_the_looks_must_agree() -> None:
    assert agreed_name(["car", "car", None]) == ("car", 2)
    assert agreed_name([None, None, "car"]) == (None, 2)
    assert agreed_name(["car", None]) is None
    assert quote_votes(["car", None, "car"], "unlike") == "car 2, unlike 1"


def test_a_crop_stays_inside_the_picture() -> None:
    look = Look(0.0, np.zeros((40, 40, 3), np.uint8), (0, 0, 40, 38))
    assert look.crop().shape == (40, 40, 3)
