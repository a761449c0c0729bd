"""Named objects: captions call them by name, claims say who named them, and watch items and rules match."""

from __future__ import annotations

from collections.abc import Sequence

from anomalist.agent.reasoning.event_naming import EventNaming, object_noun
from anomalist.agent.reasoning.event_reasoner import make_annotator
from anomalist.agent.reasoning.recall import add_recalled
from anomalist.memory.recall import CaptionMemory
from anomalist.memory.rules.rule import shipped_anomalies
from anomalist.types.clip import Event, ObjectName
from anomalist.vision.naming.looks import Look
from tests.agent.event_cases import RecordingChatModel, Street, make_event, make_track


class Namer:
    """Gives every track the same names, or says why there is none."""

    digest = "00"
    notes = ("Left out: a.png",)

    def __init__(self, *names: str, by: str = "examples", why: str = "unlike any example") -> None:
        self.names, self.by, self.why = names, by, why
        self.classes = ("bicycle", "forklift", "person")

    def name(self, track: str, looks: Sequence[Look]) -> tuple[ObjectName, ...]:
        said = ObjectName(
            track=track,
            name=None,
            by=self.by,  # type: ignore[arg-type]
            source="street",
            looks=len(looks),
            agreeing=4,
            score=0.8125,
            limit=0.75,
            nearest="bicycle/3.png",
        )
        if not self.names:
            return (said.replace(why=self.why),)
        return tuple(said.replace(name=name) for name in self.names)


def named(*names: str, event: Event | None = None, **options: str) -> Event:
    return EventNaming((Namer(*names, **options),))(Street(), event or tracked())


def tracked() -> Event:
    event = make_event(1)
    caption = event.caption.replace(
        text="A fast, large object moves from left to right in the centre, for 2.0 s.",
        subject="a fast, large object",
    )
    return event.replace(caption=caption, tracks=(make_track(1),))


def test_a_named_object_is_called_so_in_the_caption_and_a_claim_says_who_named_it() -> None:
    event = named("bicycle")
    assert event.caption.subject == "a fast, large bicycle"
    assert event.caption.text == "A fast, large bicycle moves from left to right in the centre, for 2.0 s."
    (claim,) = event.claims
    assert claim.evidence == ("E1", "T1")
    assert claim.text == (
        "T1 is called bicycle by the examples in street, in 4 of 5 looks: "
        "most like bicycle/3.png (similarity 0.81, 0.75 is needed)."
    )
    assert [(each.track, each.name) for each in event.names] == [("T1", "bicycle")]


def test_the_article_fits_the_name() -> None:
    event = tracked()
    plain = event.replace(caption=event.caption.replace(text="An object hardly moves.", subject="an object"))
    assert named("car", event=plain).caption.text == "A car hardly moves."
    assert named("excavator", event=plain).caption.text == "An excavator hardly moves."


def test_what_has_no_name_stays_an_object_and_the_reason_is_a_claim() -> None:
    event = named()
    assert event.caption == tracked().caption
    assert event.claims[0].text.startswith("T1 is unlike any example in street, in 4 of 5 looks:")
    assert object_noun(event) == "object"


def test_captions_of_the_scene_as_a_whole_are_left_as_they_are() -> None:
    event = tracked()
    crowd = event.replace(
        caption=event.caption.replace(text="A crowd fills 40 % of the picture.", subject="a crowd")
    )
    assert named("bicycle", event=crowd).caption == crowd.caption


def test_examples_come_before_a_detector_which_may_name_two_things_at_one_place() -> None:
    assert named("person", "bicycle", by="detector").caption.subject == "a fast, large person with bicycle"
    both = EventNaming((Namer(), Namer("person", by="detector")))(Street(), tracked())
    assert both.caption.subject == "a fast, large person"
    assert both.claims[1].text == (
        "T1 is called person by the object detector street, in 4 of 5 looks, with a score of 0.81."
    )
    both = EventNaming((Namer("forklift"), Namer("person", by="detector")))(Street(), tracked())
    assert both.caption.subject == "a fast, large forklift"


def test_frames_that_are_gone_are_a_note_and_events_without_tracks_are_left_alone() -> None:
    event = EventNaming((Namer("bicycle"),))(Street(first=3.95), tracked().replace(start=0, end=3))
    assert event.caption == tracked().caption
    assert event.notes == ("Its objects were not named: no frame of them can be read again.",)
    assert named("bicycle", event=make_event(1).replace(tracks=())).names == ()


def test_a_name_makes_rules_match() -> None:
    memory = CaptionMemory(shipped_anomalies())
    recalled = add_recalled(named("bicycle"), memory).recalled
    assert any("bicycle" in item.text for item in recalled)
    assert not any("bicycle" in item.text for item in add_recalled(tracked(), memory).recalled)


def test_watch_items_match_by_name_and_only_what_a_name_can_tell() -> None:
    items = ["someone on a bicycle", "a forklift", "a parked bicycle", "a dog"]
    hook = make_annotator(items, namers=[Namer("bicycle")])
    assert hook.notes[0] == "Left out: a.png"
    assert '"a dog"' in hook.notes[1]
    assert "someone on a bicycle" not in hook.notes[1]
    (event,) = hook(Street(), (tracked(),))
    told = {match.item: (match.matched, match.by) for match in event.watched}
    assert told["someone on a bicycle"] == (True, "examples")
    assert told["a forklift"] == (False, "examples")
    assert told["a parked bicycle"][0] is not True
    assert told["a dog"] == (None, None)


def test_without_a_name_nothing_is_said_about_items_that_names_can_tell() -> None:
    (event,) = make_annotator(["a forklift"], namers=[Namer()])(Street(), (tracked(),))
    assert event.watched[0].matched is None
    assert event.notes == ('Neither what was measured nor a model tells whether this is "a forklift".',)


def test_a_model_that_sees_no_such_thing_is_a_disagreement() -> None:
    model = RecordingChatModel(opinion=lambda _: "no reply")
    hook = make_annotator(["a bicycle"], model, calls_per_minute=600, namers=[Namer("bicycle")])
    event = hook._watched(named("bicycle"), {"a bicycle": 0.1})
    (match,) = event.watched
    assert (match.matched, match.by, match.probability) == (True, "examples", 0.1)
    assert event.disagreements == ('By its name E1 fits "a bicycle", the model sees no such thing.',)
