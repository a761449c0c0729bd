"""Feedback is stored and recalled, undone, and changes no verdict; records are searched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.reasoning.recall import finding_sentence
from anomalist.agent.tools.memory import (
    Judgement,
    apply_rules,
    list_rules,
    recall_similar_cases,
    record_feedback,
    search_records,
    undo_feedback,
)
from anomalist.agent.tools.selection import call_selection_fine, undo_selection
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from anomalist.memory.cases import list_cases
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.store import RuleStore
from anomalist.types.image import Record
from tests.subjects import judged, scratched


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return scratched(tmp_path / "part.png")


def test_what_was_said_is_recalled(subject: Subject) -> None:
    assert recall_similar_cases(subject).notes == ("nothing was said about any finding yet",)
    stored = record_feedback(subject, "corrected", "dent", 3)
    assert (stored.said, stored.kind, stored.severity) == ("corrected", "dent", "major")
    (recalled,) = recall_similar_cases(subject).cases
    assert recalled.case == stored.case
    assert recalled.similarity == pytest.approx(1)
    undo_feedback(subject, stored.case)
    assert recall_similar_cases(subject).cases == ()


def test_a_picture_without_a_profile_recalls_only_what_was_said_without_one(subject: Subject) -> None:
    without = replace(subject, records=tuple(each.replace(profile=None) for each in subject.records))
    record_feedback(subject, "corrected", "dent", 3)
    assert (recall_similar_cases(without).cases, recall_similar_cases(without).of) == ((), 0)
    own = record_feedback(without, "corrected", "chip", 2)
    assert [case.case for case in recall_similar_cases(without).cases] == [own.case]
    assert [case.kind for case in recall_similar_cases(subject).cases] == ["dent"]
    with pytest.raises(DataError, match="at least 1"):
        recall_similar_cases(subject, most=0)


@pytest.mark.usefixtures("home_of_rows")
def test_what_was_said_is_recalled_wherever_cases_are(subject: Subject) -> None:
    here = replace(subject, cases=None)
    stored = record_feedback(here, "corrected", "dent", 3)
    assert [each.case for each in recall_similar_cases(here).cases] == [stored.case]


def test_normal_is_severity_none_without_a_kind(subject: Subject) -> None:
    stored = record_feedback(subject, "normal")
    assert (stored.said, stored.kind, stored.severity) == ("corrected", None, "none")
    with pytest.raises(DataError, match="no severity 7"):
        record_feedback(subject, "corrected", "dent", 7)


@pytest.mark.parametrize(
    ("label", "recorded", "judgement", "kind", "severity", "stored"),
    [
        ("anomalous", 2, "confirmed", None, None, ("confirmed", 2)),
        ("anomalous", 2, "confirmed", None, 3, ("confirmed", 3)),
        ("anomalous", 0, "confirmed", None, None, ("confirmed", None)),
        ("anomalous", 2, "confirmed", None, 0, None),  # right, and of no severity
        ("anomalous", 2, "normal", None, None, ("corrected", 0)),
        ("anomalous", 2, "normal", None, 3, None),  # fine, and major
        ("anomalous", 2, "corrected", "dent", None, ("corrected", 2)),
        ("anomalous", 2, "corrected", None, 3, ("corrected", 3)),
        ("anomalous", 2, "corrected", "dent", 0, None),
        ("anomalous", 2, "corrected", None, None, None),  # to what?
        ("normal", 0, "confirmed", None, None, None),  # there is no finding
        ("normal", 0, "confirmed", "scratch", None, None),
        ("normal", 0, "confirmed", None, 3, None),
        ("normal", 0, "normal", None, None, ("corrected", 0)),
        ("normal", 0, "corrected", None, None, ("corrected", None)),
        ("normal", 0, "corrected", "scratch", 3, ("corrected", 3)),
        ("undecided", 0, "confirmed", None, None, None),
        ("undecided", 2, "confirmed", None, None, None),
        ("undecided", 2, "normal", None, None, ("corrected", 0)),
        ("undecided", 2, "corrected", None, None, ("corrected", 2)),
        ("undecided", 0, "corrected", "scratch", None, ("corrected", None)),
    ],
)
def test_only_a_finding_is_confirmed_and_nothing_contradicts_itself(
    subject: Subject,
    label: str,
    recorded: int,
    judgement: Judgement,
    kind: str | None,
    severity: int | None,
    stored: tuple[str, int | None] | None,
) -> None:
    record = subject.records[0].replace(label=label, severity=recorded)
    about = replace(subject, records=(record,))
    if stored is None:
        with pytest.raises(DataError):
            record_feedback(about, judgement, kind, severity)
        assert list_cases(subject.case_file) == ()
    else:
        record_feedback(about, judgement, kind, severity)
        (case,) = list_cases(subject.case_file)
        assert (case.action, case.severity) == stored


@pytest.mark.parametrize("judgement", ["confirmed", "normal", "corrected"])
def test_nothing_is_said_of_a_picture_that_was_not_judged(subject: Subject, judgement: Judgement) -> None:
    failed = Record(source="cut.png", status="error", error="it is cut off", profile="tiles")
    with pytest.raises(DataError, match="could not be judged: it is cut off"):
        record_feedback(replace(subject, records=(failed,)), judgement, "scratch")
    assert list_cases(subject.case_file) == ()


def test_a_region_is_meant_however_its_id_is_written(subject: Subject) -> None:
    record_feedback(subject, "corrected", "dent", region="r2")
    (case,) = list_cases(subject.case_file)
    assert case.part == "R2" and case.text == finding_sentence(subject.records[0], "R2")


def test_a_defect_that_was_missed_has_no_severity_unless_somebody_says_it(tmp_path: Path) -> None:
    missed = replace(scratched(tmp_path / "part.png"), records=(judged(tmp_path / "missed.png"),))
    assert missed.records[0].severity == 0
    assert record_feedback(missed, "corrected", "scratch").severity is None
    assert record_feedback(missed, "corrected", "scratch", 2).severity == "moderate"
    assert record_feedback(missed, "normal").severity == "none"


def test_what_was_said_of_another_file_of_that_name_is_not_taken_back(subject: Subject) -> None:
    other = replace(subject, records=tuple(each.replace(sha256="0" * 64) for each in subject.records))
    mine, theirs = record_feedback(subject, "normal"), record_feedback(other, "normal")
    assert undo_feedback(subject).case == mine.case
    with pytest.raises(DataError, match="Nothing was said"):
        undo_feedback(subject)
    assert undo_feedback(other).case == theirs.case


def test_where_feedback_is_not_taken_nothing_is_stored(subject: Subject) -> None:
    stored = record_feedback(subject, "normal")
    closed = replace(subject, takes_feedback=False)
    for refused in (
        lambda: record_feedback(closed, "normal"),
        lambda: undo_feedback(closed, stored.case),
        lambda: call_selection_fine(closed, "label=anomalous"),
        lambda: undo_selection(closed, str(stored.case)),
    ):
        with pytest.raises(DataError, match="not taken here"):
            refused()
    assert [case.undone for case in list_cases(subject.case_file, undone=True)] == [None]


def test_a_broken_case_file_is_one_clear_error(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "cases.sqlite").write_bytes(b"SQLite format 3\0 but not really" * 40)
    with pytest.raises(DataError, match=r"cases\.sqlite"):
        recall_similar_cases(subject)
    with pytest.raises(DataError, match=r"cases\.sqlite"):
        record_feedback(subject, "normal")


def test_records_are_searched_by_all_that_is_known(subject: Subject, tmp_path: Path) -> None:
    batch = replace(subject, records=(*subject.records, judged(tmp_path / "good.png")))
    assert [row.picture for row in search_records(batch, "anomalous").rows] == ["part.png"]
    assert [row.picture for row in search_records(batch, kind="scratch").rows] == ["part.png"]
    assert search_records(batch, since="this week").count == 2
    assert search_records(batch, until="2020-01-01").count == 0
    assert [row.picture for row in search_records(batch).rows] == ["part.png", "good.png"]
    with pytest.raises(DataError, match="is no date"):
        search_records(batch, since="once upon a time")


def test_rules_of_the_profile(subject: Subject) -> None:
    listed = list_rules(subject)
    assert listed.profile == "tiles"
    assert len(listed.rules) == listed.of > 0
    fitting = apply_rules(subject, "someone rides a bicycle here")
    assert all(rule.rule in {each.rule for each in listed.rules} for rule in fitting.rules)


def rule_of_a_person(text: str, *keywords: str) -> Rule:
    return Rule(
        id="rule:1", text=text, polarity="anomalous", kind="object", keywords=keywords, origin="person"
    )


def test_the_rules_of_the_picture_that_is_asked_about_apply(subject: Subject, tmp_path: Path) -> None:
    other = judged(tmp_path / "board.png").replace(profile="boards")
    batch = replace(subject, records=(*subject.records, other))
    with RuleStore(subject.case_file) as store:
        store.add("boards", [rule_of_a_person("a part is missing")])
        store.add("tiles", [rule_of_a_person("a tile is broken")])
    applied = apply_rules(batch, "a part is missing", "board.png")
    assert applied.profile == "boards"
    assert [each.text for each in applied.rules] == ["a part is missing"]


def test_a_rule_is_told_with_what_fits_it_best(subject: Subject) -> None:
    (record,) = subject.records
    sentences = [finding_sentence(record, region.id) for region in record.regions]
    with RuleStore(subject.case_file) as store:
        store.add("tiles", [rule_of_a_person(sentences[0], "line", "spot", "material")])
    alone = [rule.similarity or 0 for text in sentences for rule in apply_rules(subject, text).rules]
    assert len(alone) == 2 and alone[0] > alone[1]
    assert [rule.similarity for rule in apply_rules(subject).rules] == [alone[0]]
