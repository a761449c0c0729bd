"""Events are put beside each other by what was measured of them."""

from __future__ import annotations

import pytest

from anomalist.agent.asking.answering import answer
from anomalist.agent.tools.subject import Subject
from tests.report.clip_records import clip, dark, event, failed, track

LONG = event("E2", 4, 7.5, severity=1, score=1.2, tracks=(track("T2", speed_ratio=0.3),))
TWO = Subject(clips=(clip("yard.mp4", event(), LONG),))


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Which event is worse?", "E1 is worse: moderate against minor."),
        ("Which event is faster?", "E1 is faster: 2.5 against 0.3 times the usual speed."),
        ("Which one lasts longer?", "E2 lasts longer: 3.5 against 1 s."),
        ("Is E2 worse than E1?", "E1 is worse: moderate against minor."),
        ("Which of the two came first?", "E1 begins first: 1 against 4 s."),
        ("compare E1 and E2", "E2 lasts longer: 3.5 against 1 s."),
        ("Compare E1 with the other events.", "E1 is worse: moderate against minor."),
        ("How do E1 and E2 differ?", "E1 stands out more: 1.5 against 1.2 times the most of normal footage."),
    ],
)
def test_two_events(question: str, told: str) -> None:
    reply = answer(TWO, question)
    assert told in reply.text
    assert (reply.answered, reply.intent, reply.dropped) == (True, "compare", ())
    assert {id for claim in reply.claims for id in claim.evidence} >= {"E1", "E2"}


def test_equal_unknown_single_and_none() -> None:
    equal = Subject(clips=(clip("yard.mp4", event(), event("E2", 4, 5), event("E3", 6, 9)),))
    assert "E1, E2 and E3 are equally severe: moderate." in answer(equal, "Which event is the worst?").text
    assert "E3 lasts longest: 3 s (E1 1 s, E2 1 s)." in answer(equal, "Which event is longest?").text
    still = Subject(clips=(clip("yard.mp4", event(), event("E2", 4, 5, tracks=())),))
    assert "can't be compared: in E2 no single object" in answer(still, "Which event is faster?").text
    alone = Subject(clips=(clip("yard.mp4", event()),))
    assert "nothing to compare it with" in answer(alone, "Which event is worse?").text
    missing = answer(alone, "compare E1 and E2")
    assert not missing.answered and "There is no E2" in missing.text
    assert "is normal" in answer(Subject(clips=(clip("calm.mp4"),)), "Which event is worse?").text


def test_options_about_a_clip() -> None:
    assert answer(TWO, "Which is worse? A) E2 B) E1").letter == "B"
    reply = answer(TWO, "When does the slower one happen? A) in the first half B) after 3 s")
    assert reply.letter == "B" and reply.text.startswith("B: after 3 s.")
    assert "E2, 4.0 s to 7.5 s" in reply.text and reply.verdict == "anomalous"
    with pytest.raises(Exception, match="There is no E9"):
        answer(TWO, "Is E9 worse?", ["yes", "no"])
    none = answer(TWO, "Which is worse? A) E1 B) E9")
    assert not none.answered and none.letter is None and "There is no E9" in none.text
    early = answer(TWO, "Does anything happen in the last 2 s? A) yes B) no")
    assert early.letter == "B" and early.text.endswith("Nothing stands out there.")
    beyond = answer(TWO, "Is it blue? A) yes B) no")
    assert not beyond.answered and "about a clip" in (beyond.helps or "")


FAILED = Subject(clips=(clip("yard.mp4", event()), failed("broken.mp4")))


@pytest.mark.parametrize(
    "asked",
    [
        "What happened in {}?",
        "How many events are in {}?",
        "How many things happened in {}?",
        "When did something happen in {}?",
        "Where is E1 in {}?",
        "Is {} normal?",
        "Is anything wrong with {}?",
        "How severe is {}?",
        "Which event in {} is worse?",
        "What happened at 3 s in {}?",
        "How sure are you about {}?",
        "Who decided about {}?",
        "Is anything wrong with {}? A) yes B) no",
        "How many events are in {}? A) 0 B) 1",
        "How severe is E1 in {}? A) none B) major",
    ],
)
def test_of_a_clip_that_could_not_be_read_nothing_but_why_is_told(asked: str) -> None:
    reply = answer(FAILED, asked.format("broken.mp4"))
    assert reply.text == "broken.mp4 could not be judged: This is <not> a video."
    assert (reply.letter, reply.verdict, reply.dropped) == (None, None, ())


@pytest.mark.parametrize("asked", ["How many?", "Is it normal?", "How many events? A) 0 B) 1"])
def test_an_undecided_clip_without_events_is_not_told_as_normal(asked: str) -> None:
    reply = answer(Subject(clips=(dark(),)), asked)
    assert "Only 10% of the clip could be judged" in reply.text
    assert "stands out" not in reply.text and reply.letter is None


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Were there critical events?", "is anomalous: 2 events stand out. No event is critical."),
        ("When was the critical event?", "is anomalous: 2 events stand out. No event is critical."),
        ("When was the moderate event?", "E1 lasts from 1 s to 2 s"),
    ],
)
def test_only_events_as_severe_as_asked_are_told_and_none_is_said(question: str, told: str) -> None:
    reply = answer(TWO, question)
    assert told in reply.text
    assert "E2" not in reply.text and reply.dropped == ()


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("How many critical events are there?", "No event is critical."),
        ("How many moderate events are there?", "1 of 2 events is moderate or worse."),
    ],
)
def test_only_events_as_severe_as_asked_are_counted(question: str, told: str) -> None:
    assert answer(TWO, question).text == told


@pytest.mark.parametrize("question", ["Where is E7?", "When is E7?", "What happens in E7?", "Is E7 severe?"])
def test_an_event_that_is_not_there_is_said_with_those_that_are(question: str) -> None:
    reply = answer(TWO, question)
    assert (reply.answered, reply.text) == (False, "There is no E7 in yard.mp4.")
    assert reply.helps == "Known: E1, E2."
