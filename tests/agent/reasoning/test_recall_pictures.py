"""Pictures and memory: what people said of alike places is cited, and so are the rules they wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.agent.reasoning.recall import (
    REGION_VECTOR_SPACE,
    PictureMemory,
    finding_sentence,
    region_vector,
)
from anomalist.errors import DataError
from anomalist.memory.cases import Case, CaseStore, Feedback
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.store import RuleStore
from anomalist.pipeline import Inspector
from anomalist.types.image import Record
from anomalist.vision.profile import Profile
from tests.pictures import holed, write


def said(path: Path, record: Record, severity: int, kind: str | None = None, note: str = "") -> Case:
    feedback = Feedback(
        action="corrected",
        media="picture",
        source=record.source,
        who="Ada",
        part="R1",
        text=finding_sentence(record, "R1"),
        kind=kind,
        severity=severity,
        profile=record.profile,
        note=note,
    )
    with CaseStore(path) as store:
        return store.add(feedback, {REGION_VECTOR_SPACE: region_vector(record.regions[0])})


def inspect(profile: Profile, cases: Path, picture: Path) -> Record:
    inspector = Inspector(profile, false_alarm_rate=0.1, memory=PictureMemory(profile.name, cases))
    return inspector.inspect(picture).record


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return write(tmp_path / "bad.png", holed(901))


def test_the_next_picture_that_is_alike_cites_the_case(
    tiles_profile: Profile, tmp_path: Path, bad: Path
) -> None:
    cases = tmp_path / "cases.sqlite"
    first = inspect(tiles_profile, cases, bad)
    assert first.recall.items == ()
    case = said(cases, first, 3, "blowhole", "from the casting")
    again = inspect(tiles_profile, cases, write(tmp_path / "next.png", holed(902)))
    (recalled,) = again.recall.items
    assert recalled.id == case.id
    assert recalled.similarity >= 0.8
    assert "Ada" in recalled.text
    assert 'corrected "blowhole", major; from the casting' in recalled.text
    assert any(case.id in claim.evidence for claim in again.claims)
    assert (again.label, again.score is None) == (first.label, False)


def test_what_was_taken_back_is_not_cited(tiles_profile: Profile, tmp_path: Path, bad: Path) -> None:
    cases = tmp_path / "cases.sqlite"
    case = said(cases, inspect(tiles_profile, cases, bad), 0)
    (recalled,) = inspect(tiles_profile, cases, bad).recall.items
    assert "it is fine" in recalled.text
    with CaseStore(cases) as store:
        store.undo(case.id)
    assert inspect(tiles_profile, cases, bad).recall.items == ()


def test_cases_of_another_product_are_not_cited(tiles_profile: Profile, tmp_path: Path, bad: Path) -> None:
    cases = tmp_path / "cases.sqlite"
    record = inspect(tiles_profile, cases, bad)
    said(cases, record.replace(profile="other"), 2)
    assert inspect(tiles_profile, cases, bad).recall.items == ()


def test_a_rule_that_a_person_wrote_is_cited_and_the_shipped_ones_are_not(
    tiles_profile: Profile, tmp_path: Path, bad: Path
) -> None:
    cases = tmp_path / "cases.sqlite"
    with RuleStore(cases) as store:
        rule = Rule.model_validate(
            {
                "id": "rule:1",
                "text": "a dark patch or spot is a hole",
                "polarity": "anomalous",
                "kind": "object",
                "keywords": ("dark",),
                "origin": "person",
            }
        )
        (stored,) = store.add(tiles_profile.name, [rule])
    record = inspect(tiles_profile, cases, bad)
    assert [item.id for item in record.recall.items] == [stored.id]


def test_what_counts_is_part_of_what_a_run_is_resumed_by(
    tiles_profile: Profile, tmp_path: Path, bad: Path
) -> None:
    cases = tmp_path / "cases.sqlite"
    record = inspect(tiles_profile, cases, bad)
    before = PictureMemory(tiles_profile.name, cases).digest
    said(cases, record, 0)
    assert PictureMemory(tiles_profile.name, cases).digest != before


def test_a_broken_file_of_cases_is_one_clear_error(tiles_profile: Profile, tmp_path: Path, bad: Path) -> None:
    cases = tmp_path / "cases.sqlite"
    cases.write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match=r"cases\.sqlite"):
        inspect(tiles_profile, cases, bad)
