"""The hook of a triage: who is asked about which event, what is said where nobody is."""

from __future__ import annotations

import json

import pytest

from anomalist.agent.reasoning.event_reasoner import make_annotator
from anomalist.agent.reasoning.policy import EventSteps, Policy
from anomalist.errors import DataError, ModelError
from anomalist.types.clip import Event
from tests.agent.event_cases import REPLY, RecordingChatModel, Street, make_event

BICYCLE = "someone on a bicycle"


def seen(text: str) -> str:
    """An opinion that cites the event that was asked about."""
    number = text.partition("event E")[2].partition(" ")[0]
    return json.dumps(REPLY | {"evidence": [f"E{number}"]})


def events(*scores: float) -> tuple[Event, ...]:
    return tuple(make_event(number, score=score) for number, score in enumerate(scores, start=1))


def asked_in_order(model: RecordingChatModel) -> list[str]:
    texts = [messages[1].text for messages in model.asked("event.v1")]
    return [text.partition("show event ")[2].partition(" ")[0] for text in texts]


def test_without_items_and_model_nothing_is_changed() -> None:
    street, found = Street(), events(1.0, 2.0)
    assert make_annotator()(street, found) is found
    assert (make_annotator().notes, street.read) == ((), [])


def test_items_alone_need_no_frames_and_say_what_they_can_not_tell() -> None:
    street, hook = Street(), make_annotator([BICYCLE, "a fast object"])
    (event,) = hook(street, events(1.0))
    assert street.read == []
    assert [(match.item, match.matched) for match in event.watched] == [
        (BICYCLE, None),
        ("a fast object", True),
    ]
    assert event.notes == (f'Neither what was measured nor a model tells whether this is "{BICYCLE}".',)
    assert len(hook.notes) == 1
    assert f'nothing to do with "{BICYCLE}"' in hook.notes[0]
    assert make_annotator(["a fast object"]).notes == ()


def test_a_model_is_asked_about_events_only() -> None:
    street, model = Street(), RecordingChatModel(opinion=seen)
    assert make_annotator([BICYCLE], model)(street, ()) == ()
    assert (street.read, model._shown) == ([], [])


def test_the_most_severe_is_asked_about_first_then_the_most_surprising_and_all_keep_their_order() -> None:
    model = RecordingChatModel(opinion=seen)
    found = (*events(1.2, 3.0), make_event(3, score=1.0, kind="forbidden zone", measures=()))
    done = make_annotator((), model, name="looker", calls_per_minute=60)(Street(), found)
    assert asked_in_order(model) == ["E3", "E2", "E1"]
    assert [event.id for event in done] == ["E1", "E2", "E3"]
    assert all(event.opinion and event.model == "looker" for event in done)


def test_the_budget_goes_to_the_first_and_what_was_not_asked_is_said() -> None:
    model = RecordingChatModel(opinion=seen)
    done = make_annotator((), model, calls_per_minute=31)(Street(seconds=4.0), events(1.0, 3.0, 2.0))
    assert asked_in_order(model) == ["E2", "E3"]
    assert [bool(event.opinion) for event in done] == [False, True, True]
    (note,) = done[0].notes
    assert "not asked" in note
    assert "budget of 31 calls a minute, 2 for this video" in note
    assert done[0].model is None


def test_every_event_has_its_opinion_before_retries_and_items_take_calls() -> None:
    model = RecordingChatModel(opinion=lambda _: "no idea", letter=lambda _: "no")
    done = make_annotator([BICYCLE], model, calls_per_minute=60)(Street(seconds=4.0), events(1.0, 3.0, 2.0))
    assert len(model._shown) == 4
    assert [len(event.replies) for event in done] == [1, 2, 1]
    assert all("the model was not asked for" in event.notes[1] for event in done)
    assert all(match.matched is None for event in done for match in event.watched)


def test_items_are_asked_about_with_what_the_opinions_leave() -> None:
    model = RecordingChatModel(opinion=seen, letter=lambda text: "yes" if "closer" in text else "no")
    first, second = make_annotator([BICYCLE, "a dog"], model, calls_per_minute=75)(Street(), events(2.0, 1.0))
    assert len(model._shown) == 4  # of the 5: two opinions, one question in both orders
    assert (first.watched[0].matched, first.watched[0].probability) == (True, 1.0)
    assert (first.watched[1].matched, second.watched[1].matched) == (None, None)
    assert (second.watched[0].matched, second.watched[0].by) == (True, "model")  # by its opinion
    assert "the model was not asked" not in first.notes[0]
    assert 'not every picture was asked about for "a dog"' in first.notes[0]
    assert [prompt.id for prompt in first.prompts] == ["event_system.v1", "event.v1", "watch.v1"]


def test_no_calls_a_minute_ask_nothing() -> None:
    model = RecordingChatModel(opinion=seen)
    (event,) = make_annotator((), model, calls_per_minute=0)(Street(), events(1.0))
    assert model._shown == []
    assert "the budget of 0 calls a minute allows no more" in event.notes[0]


def test_a_model_that_fails_leaves_the_events_as_measured_and_is_soon_left_alone() -> None:
    def down(_: str) -> str:
        raise ConnectionRefusedError("nobody there")

    model = RecordingChatModel(opinion=down)
    found = events(3.0, 2.0, 1.0)
    done = make_annotator([BICYCLE], model, calls_per_minute=600)(Street(), found)
    assert len(model._shown) == 2
    for before, after in zip(found, done, strict=True):
        assert (after.score, after.caption, after.claims) == (before.score, before.caption, ())
        assert (after.opinion, after.watched[0].matched) == (None, None)
    assert "There is no opinion of the model: The model broke off" in done[0].notes[0]
    assert "nobody there" in done[1].notes[0]
    assert "failed several times in a row" in done[2].notes[0]
    assert make_annotator((), model, calls_per_minute=600)(Street(), found)[
        0
    ].notes  # the next video is tried


def test_one_failure_does_not_stop_the_rest() -> None:
    def shaky(text: str) -> str:
        if "event E2" in text:
            raise TimeoutError
        return seen(text)

    done = make_annotator((), RecordingChatModel(opinion=shaky), calls_per_minute=600)(
        Street(), events(1.0, 2.0, 0.5)
    )
    assert [bool(event.opinion) for event in done] == [True, False, True]


def test_frames_that_can_not_be_read_again_are_said() -> None:
    model = RecordingChatModel(opinion=seen)
    (event,) = make_annotator((), model)(Street(first=3.5), events(1.0))
    assert model._shown == []
    (note,) = event.notes
    assert "not asked" in note
    assert "E1 at 2.0 s can't be read" in note


def test_a_model_that_does_not_see_what_was_measured_is_contradicted_in_words() -> None:
    model = RecordingChatModel(opinion=seen, letter=lambda _: "no")
    (event,) = make_annotator(["a fast object"], model, calls_per_minute=600)(Street(), events(1.0))
    assert event.watched[0].matched
    assert event.watched[0].probability == 0.0
    (disagreement,) = event.disagreements
    assert 'E1 fits "a fast object"' in disagreement
    assert "model" in disagreement


def test_unreadable_answers_about_items_are_said() -> None:
    model = RecordingChatModel(opinion=seen, letter=lambda _: "Hard to say.")
    (event,) = make_annotator(["a dog"], model, calls_per_minute=600)(Street(), events(1.0))
    assert event.watched[0].matched is None
    assert event.notes[0] == 'The model gave no readable reply on "a dog".'
    assert "Hard to say." in event.replies


def test_a_stream_has_one_budget_for_all_its_events() -> None:
    model, stream = RecordingChatModel(opinion=seen), Street(live=True, sha256=None)
    hook = make_annotator((), model, calls_per_minute=1)
    assert hook(stream, events(1.0))[0].opinion
    assert not hook(stream, events(1.0))[0].opinion
    assert len(model._shown) == 1


def test_what_can_not_be_used_is_said_before_any_video_is_opened() -> None:
    with pytest.raises(DataError):
        make_annotator(["..."])
    with pytest.raises(ModelError):
        make_annotator(calls_per_minute=-1)


def test_the_policy_that_is_given_says_what_is_asked_about_first() -> None:
    model, policy = RecordingChatModel(opinion=seen), Policy(events=EventSteps(floors={"size": "critical"}))
    found = (make_event(1, score=3.0), make_event(2, score=1.0, kind="size", measures=()))
    make_annotator((), model, calls_per_minute=60, policy=policy)(Street(), found)
    assert asked_in_order(model) == ["E2", "E1"]


def test_what_was_measured_is_matched_while_a_model_is_still_to_be_asked() -> None:
    model = RecordingChatModel(opinion=seen)
    event = make_annotator([BICYCLE, "a fast object"], model).measured(make_event(1))
    assert [match.matched for match in event.watched] == [None, True]
    assert (event.notes, model._shown) == ((), [])
