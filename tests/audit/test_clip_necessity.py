"""Reasons of clips: without the track that it cites an event is gone, without another one it stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomalist.audit.clip_necessity import (
    ClipReasons,
    box_at,
    track_paths,
    try_clip_reasons,
    uncited_track,
)
from anomalist.composition import TriageSettings
from anomalist.triage import Triage
from anomalist.types.clip import ClipRecord
from anomalist.vision.motion.scene import Scene
from tests.street import Film, make_film, walker


@pytest.fixture(scope="module")
def runner() -> Film:
    """Somebody runs through a street in which others walk."""
    return make_film(7, walker(3.0, 60.0, speed=4.0), people=42)


@pytest.fixture(scope="module")
def triaged(street: Scene, runner: Film) -> tuple[Triage, ClipRecord]:
    """The runner alone: what else stands out in this film is left out."""
    triage = Triage(TriageSettings(street, model="evidence", memory=False))
    record = triage.clip(runner)
    return triage, record.replace(events=record.events[:1])


@pytest.fixture(scope="module")
def reasons(triaged: tuple[Triage, ClipRecord], runner: Film) -> ClipReasons:
    return try_clip_reasons(triaged[0], runner, triaged[1])


def test_without_its_track_an_event_is_gone_and_without_another_one_it_stays(
    reasons: ClipReasons, triaged: tuple[Triage, ClipRecord]
) -> None:
    (event,) = triaged[1].events
    assert reasons.needed == (event.id,) and reasons.control_keeps
    together = [trial for trial in reasons.trials if set(trial.cited) == {t.id for t in event.tracks}]
    assert together and not together[-1].remains and (together[-1].score or 0) < event.score / 2
    (control,) = [trial for trial in reasons.trials if trial.control]
    assert control.remains and control.label == "anomalous" and not control.cited


def test_sentences_say_what_was_taken_out_and_how(reasons: ClipReasons) -> None:
    said = list(reasons.sentences())
    assert any(each.startswith("Without T") and "; E1 is gone; " in each for each in said)
    assert any(
        each.startswith("Control: without T") and "E1 is still there; there are E1 (speed)" in each
        for each in said
    )
    assert said[-1] == reasons.how


def test_what_is_left_without_a_place_is_another_event_unless_it_is_of_the_same_kind(
    triaged: tuple[Triage, ClipRecord],
) -> None:
    from anomalist.audit.clip_necessity import still_there

    (event,) = triaged[1].events
    assert still_there(event, event)
    assert not still_there(event.replace(box=None, kind="stillness"), event)
    assert still_there(event.replace(box=None), event)
    assert not still_there(event.replace(start=event.end + 1, end=event.end + 2), event)
    assert not still_there(event.replace(box=(0, 0, 4, 4)), event)


def test_an_event_that_cites_no_track_is_not_called_tested(
    triaged: tuple[Triage, ClipRecord], runner: Film
) -> None:
    triage, record = triaged
    bare = record.replace(events=tuple(event.replace(tracks=()) for event in record.events))
    found = try_clip_reasons(triage, runner, bare)
    assert found.trials == () and found.needed == ()
    assert found.notes == ("E1 cites no track that could be taken out.",)


def test_the_box_of_a_track_goes_on_a_little_where_it_was_not_seen() -> None:
    path = ((1.0, (0, 10, 10, 20)), (2.0, (20, 10, 30, 20)))
    assert box_at(path, 1.5) == (10, 10, 20, 20)
    assert box_at(path, 2.25) == (25, 10, 35, 20) and box_at(path, 0.75) == (-5, 10, 5, 20)
    assert box_at(path, 2.6) is None and box_at(path, 0.4) is None
    assert box_at(path[:1], 1.2) == (0, 10, 10, 20)


def test_a_track_that_touches_the_cited_one_is_no_control(
    street: Scene, triaged: tuple[Triage, ClipRecord], runner: Film
) -> None:
    (event,) = triaged[1].events
    paths = track_paths(runner, street)
    cited = {track.id for track in event.tracks}
    free = uncited_track(paths, cited, event)
    assert free is not None and free not in cited
    beside = {"T99": paths[event.tracks[0].id]}
    assert uncited_track(beside, cited, event) is None


def test_the_film_that_is_judged_again_has_the_ground_where_the_runner_was(
    street: Scene, triaged: tuple[Triage, ClipRecord], runner: Film
) -> None:
    from anomalist.audit.clip_necessity import without_tracks

    (event,) = triaged[1].events
    path = track_paths(runner, street)[event.tracks[0].id]
    time, (x0, y0, x1, y1) = path[len(path) // 2]
    changed = without_tracks(runner, [path], street)
    empty = replace(runner, actors=runner.actors[:-1])
    before, after, ground = (
        next(iter(video.frames(start=time - 0.01))).pixels[y0:y1, max(0, x0) : x1].astype(int)
        for video in (runner, changed, empty)
    )
    assert np.abs(after - ground).mean() < 4 < np.abs(before - ground).mean()
    assert changed.size == runner.size and changed.duration == runner.duration
