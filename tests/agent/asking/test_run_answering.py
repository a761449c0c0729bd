"""Questions about a whole run get true answers, or are said not to be answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.asking.answering import answer
from anomalist.agent.asking.run_answering import nearest_questions
from anomalist.agent.asking.run_tables import run_tables
from anomalist.agent.tools.memory import record_feedback, search_records
from anomalist.agent.tools.subject import ProbeCell, ProbeResult, Subject
from anomalist.eval.run_examples import clip_records, picture_records
from anomalist.memory.cases import CaseStore
from anomalist.querying.execution import run_query
from anomalist.querying.parsing import parse_query
from anomalist.querying.tables import tables_of_records
from anomalist.types.common import SEVERITIES, Answer
from tests.report.clip_records import clip, dark, event, failed

RECORDS = tuple(picture_records(240))


@pytest.fixture
def run(tmp_path: Path) -> Subject:
    return Subject(records=RECORDS, cases=tmp_path / "cases.sqlite")


@pytest.fixture
def night(tmp_path: Path) -> Subject:
    return Subject(clips=tuple(clip_records(40)), cases=tmp_path / "cases.sqlite")


@pytest.fixture
def mixed(tmp_path: Path) -> Subject:
    """A clip of each label, and one that could not be read."""
    clips = (clip("yard.mp4", event()), clip("calm.mp4"), dark("dark.mp4"), failed("broken.mp4"))
    return Subject(clips=clips, cases=tmp_path / "cases.sqlite")


def talk(subject: Subject, *questions: str) -> list[Answer]:
    answers: list[Answer] = []
    for question in questions:
        answers.append(answer(subject, question, earlier=answers))
    return answers


def count(*conditions: str) -> int:
    with tables_of_records(RECORDS) as tables:
        return run_query(tables, parse_query(f"count {' '.join(conditions)}")).matched


def test_how_many_are_anomalous(run: Subject) -> None:
    reply = answer(run, "How many are anomalous?")
    number = sum(record.label == "anomalous" for record in RECORDS)
    assert reply.answered
    assert reply.text == f"{number} of 240 pictures are anomalous."
    assert reply.query == "count pictures where label=anomalous"
    assert reply.reading == "of 240 pictures: label = anomalous"


def test_all_critical_pictures_are_counted_beyond_fifty(tmp_path: Path) -> None:
    worst = next(record for record in RECORDS if record.severity == 4)
    many = tuple(worst.replace(source=f"a/{number}.png") for number in range(60))
    reply = answer(Subject(records=many, cases=tmp_path / "c.sqlite"), "Which pictures are critical?")
    assert reply.text.startswith("60 of 60 pictures are critical.")
    assert "And 40 more, which the query lists." in reply.text


def test_two_products_are_compared_with_their_shares(run: Subject) -> None:
    reply = answer(run, "Compare brick with gravel.")
    for product in ("brick", "gravel"):
        of = [record for record in RECORDS if record.profile == product]
        bad = sum(record.label == "anomalous" for record in of)
        assert f"({bad} of {len(of)})" in reply.text
    assert reply.intent == "compare"


def test_missed_defects_are_answered_by_scores_and_thresholds(run: Subject) -> None:
    reply = answer(run, "Why did you miss the defects on grass?")
    normal = count("product=grass", "label=normal")
    assert reply.text.startswith(f"{normal} of 80 pictures of grass were called normal.")
    assert "they hold no ground truth" in reply.text
    assert "under its threshold of 3, p = " in reply.text
    assert reply.dropped == ()


def test_blind_probes_say_what_a_profile_misses(run: Subject) -> None:
    cells = tuple(
        ProbeCell(size=size, contrast=contrast, painted=20, found=found)
        for size, contrast, found in ((0.01, 0.04, 1), (0.08, 0.04, 9), (0.01, 0.32, 18), (0.08, 0.32, 20))
    )
    made = ProbeResult(entry="log:12", time="2026-11-30T10:00:00Z", cells=cells)
    probed = replace(run, probes=lambda: {"grass": made})
    reply = answer(probed, "Why did you miss the defects on grass?")
    said = "Blind probes of grass on 2026-11-30 found 48 of 80 painted defects; "
    said += "of those with a contrast of 4 % 10 of 40."
    assert (said, ("log:12",)) in [(claim.text, claim.evidence) for claim in reply.claims]
    assert reply.dropped == ()
    assert "Blind probes" not in answer(probed, "Why did you miss the defects on brick?").text


def test_follow_ups_keep_what_was_talked_about(run: Subject) -> None:
    first, gravel, severe, which = talk(
        run, "How many are anomalous?", "and on gravel?", "only the severe ones", "Which ones?"
    )
    assert first.query == "count pictures where label=anomalous"
    assert gravel.query == "count pictures where label=anomalous product=gravel"
    assert severe.query == "count pictures where label=anomalous product=gravel severity>=major"
    assert which.query == "list pictures where label=anomalous product=gravel severity>=major"
    assert len(which.claims) == 1 + count("label=anomalous", "product=gravel", "severity>=major")


def test_a_follow_up_of_a_decision_stays_one(run: Subject) -> None:
    _, grass = talk(run, "Can I ship brick?", "What about grass?")
    assert grass.intent == "ship"
    assert grass.text.startswith("Of 80 pictures of grass")


def test_the_form_that_is_asked_for(run: Subject) -> None:
    _, table, numbers, customer = talk(
        run, "How many failures by product?", "as a table", "only the numbers", "for a customer"
    )
    by = Counter(record.profile for record in RECORDS if record.label == "anomalous")
    assert table.table[0] == ("product", "count")
    assert dict(table.table[1:]) == {str(name): str(number) for name, number in by.items()}
    assert numbers.text.split(" ")[0] == f"{by.most_common(1)[0][0]}:"
    assert ".png" not in customer.text
    listed = answer(run, "Which bricks are critical, in two sentences?")
    assert len(listed.claims) <= 2


def test_names_that_no_record_holds_are_said(run: Subject) -> None:
    reply = answer(run, "How many marble parts are bad?")
    assert not reply.answered
    assert '"marble"' in reply.text
    assert "brick" in reply.text
    assert len(reply.choices) == 2
    assert all(answer(run, choice).answered for choice in reply.choices)


def test_a_misspelt_word_is_read_and_said(run: Subject) -> None:
    reply = answer(run, "How many anomolous bricks?")
    assert reply.query == "count pictures where label=anomalous product=brick"
    assert 'Read "anomolous" as "anomalous".' in reply.text


@pytest.mark.parametrize(
    "question", ["What about quality?", "Which one?", "Compare them.", "What's the rate?"]
)
def test_what_is_not_clear_is_asked_back_with_choices(run: Subject, question: str) -> None:
    reply = answer(run, question)
    assert (reply.answered, reply.intent) == (False, "unclear")
    assert reply.choices
    assert all(answer(run, choice).answered for choice in reply.choices)


@pytest.mark.parametrize(
    "question",
    [
        "What caused all these defects?",
        "Count the bolts on each part.",
        "What is your recall?",
        "What material is it?",
    ],
)
def test_what_nothing_measures_is_said_with_what_would_help(run: Subject, question: str) -> None:
    reply = answer(run, question)
    assert (reply.answered, reply.intent) == (False, "beyond")
    assert reply.helps


def test_a_picture_of_a_run_is_compared_with_the_others(run: Subject) -> None:
    marked = next(record for record in RECORDS if record.severity == 4)
    one = replace(run, records=(marked,), past=RECORDS)
    reply = answer(one, "Did the same thing happen on other pictures?")
    assert reply.intent == "alike"
    assert "pictures are like" in reply.text
    assert answer(one, "How many holes does it have?").intent == "beyond"


def test_why_critical_and_not_moderate_names_the_policy_and_what_would_change_it(run: Subject) -> None:
    marked = next(record for record in RECORDS if record.severity == 4)
    reply = answer(replace(run, records=(marked,), past=RECORDS), "Why critical and not moderate?")
    assert "is critical (4 of 4)" in reply.text
    assert "area.critical = 10 %" in reply.text
    assert "It would be moderate or less if R" in reply.text
    assert reply.dropped == ()


def test_names_as_printed_are_accepted_and_told_apart(run: Subject) -> None:
    twins = (RECORDS[0].replace(source="parts/a/1.png"), RECORDS[1].replace(source="parts/b/1.png"))
    two = replace(run, records=twins)
    assert answer(two, "Is b/1.png fine?").subjects == ("parts/b/1.png",)
    reply = answer(two, "Is 1.png fine?")
    assert not reply.answered
    assert reply.helps == "Known: a/1.png, b/1.png."
    name = RECORDS[5].source.removeprefix("parts/")
    assert answer(run, f"Is {name} fine?").subjects == (RECORDS[5].source,)


def test_all_of_a_selection_are_fine_as_one_entry_that_can_be_undone(run: Subject) -> None:
    said: Sequence[Answer] = talk(run, "Which bricks are critical?", "All of these are fine.", "undo that")
    number = count("severity=critical", "product=brick")
    assert "Stored as case:1, said by" in said[1].text
    assert f"{number} pictures are fine." in said[1].text
    assert said[2].text.startswith("case:1 is undone")
    assert not answer(run, "All of these are fine.").answered


def test_of_a_selection_it_is_said_what_is_not_stored_or_not_learned(run: Subject) -> None:
    fine = talk(run, "Which bricks are critical?", "All of these are fine.")[1].text
    assert "learn --from-feedback learns them" in fine and "no hash" not in fine
    unhashed = replace(run, records=tuple(record.replace(sha256=None) for record in RECORDS))
    fine = talk(unhashed, "Which bricks are critical?", "All of these are fine.")[1].text
    assert "learns them" not in fine and "no hash" in fine
    number = sum(record.label is None and record.profile == "brick" for record in RECORDS)
    assert number > 0
    fine = talk(run, "List the bricks.", "All of these are fine.")[1].text
    assert f"{number} more w" in fine and "not judged" in fine


def test_a_night_of_clips(night: Subject) -> None:
    events = Counter(clip.scene for clip in night.clips for _ in clip.events)
    assert answer(night, "How many events were there last night?").text == f"{sum(events.values())} events."
    most = answer(night, "Which camera had the most alerts?")
    for camera, number in events.items():
        assert (f"{camera} {number}" in most.text) == (number == max(events.values()))
    worst = answer(night, "What was the worst event?")
    level = max(event.severity for clip in night.clips for event in clip.events)
    assert f"severity {SEVERITIES[level]}" in worst.text
    assert answer(night, "Who was the person at the gate?").intent == "beyond"


def test_every_number_of_an_answer_is_one_of_its_query(run: Subject) -> None:
    for question in (
        "Can I ship this batch?",
        "How sure are you?",
        "Why are so many bricks rejected?",
        "Reject rate by product",
    ):
        reply = answer(run, question)
        assert reply.answered
        assert reply.dropped == ()
        assert reply.query is not None
        parse_query(reply.query)


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("How many were bad after 9:30?", "count pictures where clock>=09:30 label=anomalous"),
        (
            "How many rejects between 8 and 10 am?",
            "count pictures where clock>=08:00 clock<10:00 label=anomalous",
        ),
        (
            "How many anomalous pictures between 10 pm and 2 am?",
            "count pictures where hour=0|1|22|23 label=anomalous",
        ),
        (
            "Which bricks were critical in the afternoon?",
            "list pictures where hour=12|13|14|15|16|17 severity=critical product=brick",
        ),
        (
            "At what time of day do most defects occur?",
            "count pictures where label=anomalous by hour top 1",
        ),
    ],
)
def test_times_of_day_are_read(run: Subject, question: str, query: str) -> None:
    reply = answer(run, question)
    assert reply.answered
    assert reply.query == query
    assert reply.dropped == ()


def test_a_whole_question_is_no_follow_up_whatever_it_begins_with(run: Subject) -> None:
    _, reply = talk(
        run, "Why did you miss the defects on grass?", "At what time of day do most defects occur?"
    )
    assert reply.query == "count pictures where label=anomalous by hour top 1"


def test_groups_asked_for_after_a_decision_are_counted(run: Subject) -> None:
    _, reply = talk(run, "Can I ship this batch?", "and by product?")
    assert reply.query == "count pictures by product"


def test_a_number_that_nothing_says_to_be_an_hour_is_none(run: Subject) -> None:
    assert not answer(run, "How many rejects after 6?").answered


@pytest.mark.parametrize("question", ["How many events after 2 am?", "At what time did most events happen?"])
def test_the_time_of_day_of_events_is_not_made_up(night: Subject, question: str) -> None:
    reply = answer(night, question)
    assert (reply.answered, reply.intent) == (False, "beyond")
    assert "count from the start of a clip" in reply.text


@pytest.mark.parametrize("about", ["run", "night"])
def test_every_question_that_is_proposed_can_be_answered(about: str, request: pytest.FixtureRequest) -> None:
    subject: Subject = request.getfixturevalue(about)
    proposed = nearest_questions(run_tables(subject), "", 99)
    assert len(proposed) > 10
    assert [each for each in proposed if not answer(subject, each).answered] == []


def test_the_questions_proposed_are_the_nearest_in_meaning(run: Subject) -> None:
    reply = answer(run, "Which hour of the shift has the most marble rejects?")
    assert not reply.answered
    assert "At what time of day do most defects occur?" in reply.choices


def test_events_that_were_listed_are_dismissed_as_one_and_taken_back(night: Subject) -> None:
    listed, said, undone = talk(night, "Did anybody loiter?", "All of these are fine.", "undo that")
    number = sum(event.kind == "dwell" for clip in night.clips for event in clip.events)
    assert listed.answered
    assert f"{number} events are not worth watching" in said.text
    assert undone.text.endswith("with all its events; it stays in the file as such.")
    assert night.cases is not None
    with CaseStore(night.cases) as store:
        cases = store.list(undone=True)
    assert {case.action for case in cases} == {"dismissed"}
    assert len(cases) == number + 1
    assert all(case.undone for case in cases)


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("Which rule fired most often?", "count rules by rule top 1"),
        ("Which rules matched?", "count rules by rule"),
        ("Did anybody correct anything?", "list feedback"),
    ],
)
def test_rules_and_feedback_are_asked_of_their_own_tables(run: Subject, question: str, query: str) -> None:
    reply = answer(run, question)
    assert reply.answered
    assert reply.query == query


def test_pointing_at_one_picture_tells_its_verdict_and_no_tally_of_others(run: Subject) -> None:
    bad = next(record for record in RECORDS if record.label == "anomalous")
    one = replace(run, records=(bad,), past=RECORDS)
    reply = answer(one, "Show me the second one")
    assert reply.intent == "verdict"
    assert reply.verdict == "anomalous"
    assert reply.claims[0].text.startswith(f"{Path(bad.source).name} is anomalous")


BAD = "where label=anomalous by"
SHARE = "share label=anomalous of"


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("Which product has the most rejects?", f"count pictures {BAD} product top 1"),
        ("Which product has the least rejects?", f"count pictures {BAD} product sort count top 1"),
        ("Which product has the fewest defects?", f"count pictures {BAD} product sort count top 1"),
        ("Which product failed least often?", f"count pictures {BAD} product sort count top 1"),
        ("Which day had the fewest rejects?",
         "count pictures where label=anomalous trend day sort count top 1"),
        ("At what time of day do the fewest defects occur?", f"count pictures {BAD} hour sort count top 1"),
        ("Which product has the highest reject rate?", f"{SHARE} pictures by product top 1"),
        ("Which product has the lowest reject rate?", f"{SHARE} pictures by product sort share top 1"),
        ("Which product is the worst?", f"{SHARE} pictures by product top 1"),
        ("Which product is the best?", f"{SHARE} pictures by product sort share top 1"),
        ("Which product is the least defective?", f"{SHARE} pictures by product sort share top 1"),
        ("Which shift has the best yield?", "share label=normal of pictures by folder top 1"),
        ("Which shift has the worst yield?", "share label=normal of pictures by folder sort share top 1"),
        ("Which product has the lowest average score?", "mean score pictures by product sort mean top 1"),
        ("Which product has the highest score?", "max score pictures by product top 1"),
        ("Which product has the highest severity?", "max severity pictures by product top 1"),
        ("Which kind is the most frequent?", f"count pictures {BAD} kind top 1"),
        ("Which kind is the least common?", f"count pictures {BAD} kind sort count top 1"),
        ("Which severity is the most frequent?", f"count pictures {BAD} severity top 1"),
        ("Which kind is the worst?", f"max severity pictures {BAD} kind top 1"),
        ("Which place has the most defects?", "count regions where label!=normal by place top 1"),
        ("Which products failed?", f"count pictures {BAD} product"),
        ("Which shifts had critical parts?", "count pictures where severity=critical by folder"),
        ("Which product got worse?", f"{SHARE} pictures by product trend day"),
        ("Which is the smallest defect?", "list regions where label!=normal sort size top 1"),
        ("Which pictures almost failed?", "list pictures where label=normal sort p_value top 10"),
        ("Which rejects are closest to the threshold?",
         "list pictures where label=anomalous sort -p_value top 10"),
    ],
)  # fmt: skip
def test_the_group_or_picture_at_the_end_that_is_asked_for(run: Subject, question: str, query: str) -> None:
    reply = answer(run, question)
    assert (reply.query, reply.dropped) == (query, ())


@pytest.mark.parametrize(
    "question",
    [
        "In which places are the fewest defects?",
        "Which product is the least critical?",
        "Which product has the smallest defect?",
        "How many pictures have the highest severity?",
    ],
)
def test_an_extreme_that_no_query_tells_is_not_answered_with_another(run: Subject, question: str) -> None:
    assert answer(run, question).intent == "unread"


def test_no_event_of_a_camera_whose_clips_failed_is_no_all_clear(mixed: Subject) -> None:
    gone = replace(mixed, clips=(*mixed.clips, failed("gone.mp4").replace(scene="gate")))
    reply = answer(gone, "Did anything happen at the gate?")
    assert reply.text.startswith("No events of gate")
    assert "1 of the 1 clips there could not be judged" in reply.text and reply.dropped == ()


def test_the_least_of_clips_and_cameras(mixed: Subject) -> None:
    clips = (*mixed.clips, clip("pier.mp4", scene="pier"), failed("gone.mp4").replace(scene="gate"))
    cameras = replace(mixed, clips=clips)
    fewest = answer(cameras, "Which camera had the fewest events?")
    assert "pier 0" in fewest.text and "gate" not in fewest.text and fewest.dropped == ()
    best, rows = talk(cameras, "Which camera is the best?", "Which ones?")
    assert "pier 0 % (0 of 1)" in best.text and "gate" not in best.text
    assert rows.answered and rows.query == "list clips where label=anomalous"


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("Did the rejects get worse over time?", "share label=anomalous of pictures trend day"),
        ("Did it get worse over time?", "share label=anomalous of pictures trend day"),
        ("Did the critical ones get worse?", "share severity=critical of pictures trend day"),
        ("Are the scratches getting worse?", "share kinds=scratch of pictures trend day"),
        ("Are the good parts getting better?", "share label=normal of pictures trend day"),
        ("Is the reject rate of bricks getting worse?",
         "share label=anomalous of pictures where product=brick trend day"),
        ("What percentage of the rejects is critical?",
         "share severity=critical of pictures where label=anomalous"),
        ("What percentage of bricks is critical?", "share severity=critical of pictures where product=brick"),
        ("What percentage of the defects is on the left?",
         'share place=left|"upper left"|"lower left" of regions where label!=normal'),
    ],
)  # fmt: skip
def test_a_share_is_of_what_the_question_names(run: Subject, question: str, query: str) -> None:
    assert answer(run, question).query == query


def test_a_share_that_follows_a_count_is_of_what_was_counted(run: Subject) -> None:
    _, share = talk(run, "How many bricks are critical?", "and what percentage is that?")
    assert share.query == "share severity=critical of pictures where product=brick"
    _, rate = talk(run, "How many bricks are critical?", "and the reject rate?")
    assert rate.query == "share label=anomalous of pictures where product=brick"


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("Did it get worse over time?", "share label=anomalous of clips trend day"),
        ("What percentage of events is speeding?", "share kind=speed of events"),
    ],
)
def test_a_share_of_clips_or_of_events(night: Subject, question: str, query: str) -> None:
    assert answer(night, question).query == query


def test_a_share_of_what_no_adjective_names_is_told_in_a_sentence(run: Subject) -> None:
    failed, scratched = count("status=error"), count("kinds=scratch")
    reply = answer(run, "What percentage of the pictures could not be judged?")
    assert f" of the pictures are ones that could not be judged: {failed} of 240." in reply.text
    reply = answer(run, "What percentage are scratches?")
    assert f" of the pictures are ones with scratch: {scratched} of 240." in reply.text
    reply = answer(run, "What percentage could not be judged by product?")
    assert reply.text.startswith("Share of ones that could not be judged by product (3): ")
    compared = answer(run, "Compare brick with gravel.")
    assert "% are anomalous (" in compared.text


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Which clips could not be judged?", {"dark.mp4", "broken.mp4"}),
        ("Which clips couldn't you judge?", {"dark.mp4", "broken.mp4"}),
        ("How many clips were not judged?", {"dark.mp4", "broken.mp4"}),
        ("Which clips could not be read?", {"broken.mp4"}),
        ("Which clips are undecided?", {"dark.mp4"}),
        ("Was any camera black?", {"dark.mp4"}),
        ("Which clips are not undecided?", {"yard.mp4", "calm.mp4", "broken.mp4"}),
    ],
)
def test_clips_that_were_not_judged_are_those_that_failed_too(
    mixed: Subject, question: str, names: set[str]
) -> None:
    reply = answer(mixed, question)
    assert {clip.source for clip in mixed.clips if clip.source in reply.text} == names
    assert f"{len(names)} " in reply.text and reply.dropped == ()
    parse_query(reply.query or "")


def test_what_was_not_judged_is_no_group_without_a_name(mixed: Subject) -> None:
    reply = answer(mixed, "What happened last night?")
    assert "anomalous 1, normal 1, undecided 1, not judged 1." in reply.text
    reply = answer(mixed, "How many clips by severity?")
    assert "not known 2" in reply.text and "none 1" in reply.text


def test_a_search_tallies_what_it_does_not_list(run: Subject) -> None:
    found = search_records(replace(run, past=RECORDS))
    assert len(found.rows) < found.count == len(RECORDS)
    assert found.labels == Counter(record.label or "not judged" for record in RECORDS)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("Can I ship this batch?", "anomalous 1, normal 1, undecided 1, not judged 1"),
        ("Why were they rejected?", "speed 1"),
        ("What would make you sure?", "1 of 4 clips is undecided."),
    ],
)
def test_what_is_asked_of_pictures_is_told_of_the_clips_of_a_run_of_clips(
    mixed: Subject, question: str, told: str
) -> None:
    reply = answer(mixed, question)
    assert told in reply.text and "picture" not in reply.text and reply.dropped == ()


def test_the_rules_that_fit_one_clip_of_several_are_told(mixed: Subject) -> None:
    reply = answer(mixed, "Which rules match in yard.mp4?")
    assert reply.answered and "rules fits what was measured" in reply.text


def test_a_mean_is_of_those_that_were_measured(tmp_path: Path) -> None:
    scored = [record.replace(score=2.0) for record in RECORDS if record.score is not None][:3]
    failed = scored[0].replace(source="a/bad.png", status="error", error="cut off", score=None)
    reply = answer(Subject(records=(*scored, failed), cases=tmp_path / "c.sqlite"), "What is the mean score?")
    assert reply.text == "The mean of score over 3 pictures is 2. 1 of 4 have no score."
    assert reply.dropped == ()
    none = answer(Subject(records=(failed, failed.replace(source="a/b.png"))), "What is the mean score?")
    assert none.text == "There is none: none of 2 pictures has a score."


def test_feedback_is_seen_while_the_case_file_is_held_open_elsewhere(run: Subject) -> None:
    assert run.cases is not None
    with CaseStore(run.cases) as held:
        held.list()
        assert "0 pieces of feedback" in answer(run, "How many corrections?").text
        good = next(record for record in RECORDS if record.label == "normal")
        record_feedback(run, "normal", picture=good.source)
        assert answer(run, "How many corrections?").text.startswith("1 piece of feedback")


def test_none_at_all_is_asked_back(run: Subject) -> None:
    assert not answer(run, "Show the worst 0 pictures.").answered


@pytest.mark.parametrize("question", ["Which pictures are not normal?", "How many are not normal?"])
def test_what_is_not_normal_is_undecided_or_failed_too(tmp_path: Path, question: str) -> None:
    normal = next(record for record in RECORDS if record.label == "normal")
    undecided = next(record for record in RECORDS if record.label == "undecided")
    failed = normal.replace(source="a/bad.png", status="error", error="cut off", verdict=None)
    bad = next(record for record in RECORDS if record.label == "anomalous")
    subject = Subject(records=(normal, undecided, failed, bad), cases=tmp_path / "c.sqlite")
    reply = answer(subject, question)
    assert reply.text.startswith("3 pictures not normal, of 4 pictures")
    share = answer(subject, "What share of the pictures is not normal?")
    assert share.text.startswith("75 %") and "3 of 4" in share.text


def test_a_side_of_the_pictures_holds_its_corners(run: Subject) -> None:
    sides = ("left", "upper left", "lower left")
    there = [
        region
        for record in RECORDS
        if record.label != "normal"
        for region in record.regions
        if region.attributes.position in sides
    ]
    assert any(region.attributes.position != "left" for region in there)
    reply = answer(run, "How many defects are on the left?")
    assert reply.text.startswith(f"{len(there)} regions at left or upper left or lower left")


def test_times_and_large_numbers_are_told_to_the_second(tmp_path: Path) -> None:
    late = clip("yard.mp4", event("E1", 1234.0, 1278.5), duration=4000.0)
    subject = Subject(clips=(late, clip("calm.mp4", duration=3001.0)), cases=tmp_path / "c.sqlite")
    told = answer(subject, "List all events.").text
    assert "from 1234 s" in told and "to 1278.5 s" in told
    listed = answer(subject, "Which clips are anomalous?")
    assert "1 event," in listed.text and "4000 s" in listed.text and listed.dropped == ()
    long = tuple(record.replace(milliseconds=12345.6) for record in RECORDS[:3])
    mean = answer(replace(subject, clips=(), records=long), "What is the average inspection time?")
    assert mean.text.endswith("is 12,346.") and mean.dropped == ()


@pytest.mark.parametrize("question", ["Which are bad except {}?", "How many are anomalous apart from {}?"])
def test_a_picture_that_is_left_out_is_not_what_is_told(run: Subject, question: str) -> None:
    bad = next(record.source for record in RECORDS if record.label == "anomalous")
    reply = answer(run, question.format(bad))
    assert not reply.answered and "left out" in reply.text
