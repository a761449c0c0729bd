"""A model beside a stream: alerts don't wait for it, its opinion follows, and no frame is held up."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Event as Flag

import pytest

from anomalist.agent.reasoning.event_reasoner import EventAnnotator, make_annotator
from anomalist.composition import TriageSettings
from anomalist.streaming import MAX_WAITING_EVENTS, LiveAlert, OpinionQueue, StreamTriage
from anomalist.triage import Triage
from anomalist.types.clip import Event
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.scene import Scene
from tests.agent.event_cases import REPLY, RecordingChatModel, Street, make_event
from tests.street import SIZE, make_film, walker

SECONDS = 60.0  # that a test waits for a thread at most


def opinion(text: str) -> str:
    number = text.partition("event E")[2].partition(" ")[0]
    return json.dumps(REPLY | {"evidence": [f"E{number}"]})


def slow(gate: Flag, asked: Flag | None = None) -> RecordingChatModel:
    """A model that says when it is asked and replies when the gate is opened."""

    def reply(text: str) -> str:
        if asked:
            asked.set()
        assert gate.wait(SECONDS)
        return opinion(text)

    return RecordingChatModel(opinion=reply)


def annotator(model: RecordingChatModel) -> EventAnnotator:
    return make_annotator((), model, name="onlooker", calls_per_minute=6000)


@pytest.fixture
def recent() -> RecentFrames:
    """The latest frames of a street, four seconds of them."""
    frames = RecentFrames("camera")
    for _ in frames.record(Street().frames()):
        pass
    return frames


def done_of(queue: OpinionQueue, number: int) -> list[Event]:
    """So many events that are done, as they come."""
    found: list[Event] = []
    deadline = time.monotonic() + SECONDS
    while len(found) < number and time.monotonic() < deadline:
        found += queue.finished()
        time.sleep(0.01)
    return found


def states(alerts: list[LiveAlert]) -> list[str]:
    return [alert.state for alert in alerts]


def test_alerts_go_out_as_measured_while_the_model_still_thinks(street: Scene) -> None:
    gate, frames = Flag(), RecentFrames("camera")
    film = make_film(14, walker(6.0, 70.0, speed=4.0), people=31)
    alerts: list[LiveAlert] = []
    with OpinionQueue(annotator(slow(gate)), frames) as opinions:
        triage = Triage(TriageSettings(street, memory=False))
        follower = StreamTriage(triage, "camera", SIZE, opinions=opinions)
        for alert in follower.follow(frames.record(film.frames())):
            alerts.append(alert)
            if alert.state == "closed":  # frames are read ahead, so that their end would be too soon
                gate.set()
    assert states(alerts)[:2] == ["opened", "closed"]
    assert set(states(alerts)[2:]) == {"updated"}
    opened, closed, *_, last = (alert.event for alert in alerts)
    assert opened is not None and closed is not None and last is not None
    assert (opened.opinion, closed.opinion) == (None, None)
    assert last.opinion is not None
    assert last.model == "onlooker"
    told = closed.model_dump(exclude={"claims", "opinion", "seen", "model", "prompts", "replies"})
    assert told == last.model_dump(exclude={"claims", "opinion", "seen", "model", "prompts", "replies"})
    assert {claim.text for claim in closed.claims} < {claim.text for claim in last.claims}


def test_an_opinion_comes_while_the_stream_goes_on(street: Scene) -> None:
    frames, film = RecentFrames("camera"), make_film(14, walker(6.0, 70.0, speed=4.0), people=31)
    with OpinionQueue(annotator(RecordingChatModel(opinion=opinion)), frames) as opinions:
        triage = Triage(TriageSettings(street, memory=False))
        follower = StreamTriage(triage, "camera", SIZE, opinions=opinions)
        alerts: list[LiveAlert] = []
        for frame in frames.record(film.frames()):
            alerts += follower.alerts_for(frame)
            if states(alerts) == ["opened"]:
                time.sleep(0.1)  # as a stream does
    assert states(alerts)[:2] == ["opened", "updated"]


def test_frames_of_an_event_are_kept_for_the_model(recent: RecentFrames) -> None:
    gate = Flag()
    model = slow(gate)
    with OpinionQueue(annotator(model), recent) as queue:
        queue.submit(make_event(1))
        pixels = next(iter(Street().frames())).pixels
        for _ in recent.record(Frame(n, n / 10, pixels, False) for n in range(1000, 1200)):
            pass
        gate.set()
        (event,) = done_of(queue, 1)
    assert event.opinion is not None, event.notes


def test_an_event_that_waits_is_asked_about_once_as_it_was_measured_last(recent: RecentFrames) -> None:
    gate, asked = Flag(), Flag()
    model = slow(gate, asked)
    with OpinionQueue(annotator(model), recent) as queue:
        queue.submit(make_event(1))
        assert asked.wait(SECONDS)
        queue.submit(make_event(2, end=2.5))
        queue.submit(make_event(2))
        gate.set()
        done = done_of(queue, 2)
    assert [(event.id, event.end) for event in done] == [("E1", 3.0), ("E2", 3.0)]
    assert len(model._shown) == 2


def test_too_many_events_are_not_all_asked_about_and_that_is_said(recent: RecentFrames) -> None:
    gate, begun = Flag(), Flag()
    with OpinionQueue(annotator(slow(gate, begun)), recent) as queue:
        queue.submit(make_event(1))
        assert begun.wait(SECONDS)
        started = time.monotonic()
        for number in range(2, MAX_WAITING_EVENTS + 4):
            queue.submit(make_event(number))
        assert time.monotonic() - started < SECONDS / 2
        left_out = queue.finished()
        gate.set()
        asked = done_of(queue, MAX_WAITING_EVENTS + 1)
    assert [event.id for event in left_out] == ["E2", "E3"]
    assert all("too many" in event.notes[-1] for event in left_out)
    assert all(event.opinion for event in asked)


def test_the_end_waits_no_longer_than_it_says(recent: RecentFrames) -> None:
    gate = Flag()
    with OpinionQueue(annotator(slow(gate)), recent) as queue:
        queue.submit(make_event(1))
        queue.submit(make_event(2))
        started = time.monotonic()
        done = list(queue.drain(0.2))
        assert time.monotonic() - started < SECONDS / 2
        gate.set()
    assert [event.id for event in done] == ["E1", "E2"]
    assert all("no opinion within 0.2 s" in event.notes[-1] for event in done)


def test_the_end_waits_for_what_is_queued(recent: RecentFrames) -> None:
    with OpinionQueue(annotator(RecordingChatModel(opinion=opinion)), recent) as queue:
        for number in (1, 2, 3):
            queue.submit(make_event(number))
        assert [event.opinion is not None for event in queue.drain(SECONDS)] == [True] * 3
        assert list(queue.drain(SECONDS)) == []


def test_a_failure_does_not_end_the_asking_nor_take_back_an_opinion(recent: RecentFrames) -> None:
    replies = iter([opinion, "broken", "broken", opinion])

    def reply(text: str) -> str:
        say = next(replies)
        if isinstance(say, str):
            raise ConnectionError(say)
        return say(text)

    with OpinionQueue(annotator(RecordingChatModel(opinion=reply)), recent) as queue:
        queue.submit(make_event(1))
        (first,) = done_of(queue, 1)
        for number in (1, 2, 3):
            queue.submit(make_event(number))
        second, third = done_of(queue, 2)
    assert first.opinion is not None
    assert (second.id, second.opinion) == ("E2", None)
    assert "broken" in second.notes[-1] or "no opinion" in second.notes[-1]
    assert (third.id, third.opinion is not None) == ("E3", True)


def test_a_script_stands_for_a_model_on_the_command_line(street: Scene, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from anomalist.cli.app import app
    from tests.street_files import write_film

    script, out = tmp_path / "replies.jsonl", tmp_path / "out"
    script.write_text(json.dumps({"prompt": "event.v1", "reply": REPLY | {"evidence": ["E1"]}}) + "\n")
    clip = write_film(tmp_path / "run.mp4", make_film(12, walker(6.0, 60.0, speed=4.0), people=42))
    words = ["triage", str(clip), "--profile", f"{street.path}/", "--follow", "--out", str(out)]
    done = CliRunner().invoke(app, [*words, "--model", f"scripted:{script}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    alerts = [LiveAlert.model_validate_json(line) for line in done.stdout.splitlines()]
    assert states(alerts)[0] == "opened"
    assert set(states(alerts)) == {"opened", "closed", "updated"}
    *_, last = (alert for alert in alerts if alert.state == "updated")
    assert last.event is not None and last.event.opinion is not None
    assert len((out / "alerts.jsonl").read_text(encoding="utf-8").splitlines()) == len(alerts)
