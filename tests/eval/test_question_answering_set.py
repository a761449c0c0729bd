"""The question set: enough of everything, divided by seed, without pictures or captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.agent.asking.intents import intents
from anomalist.errors import DataError
from anomalist.eval.question_answering_set import AskedSubject, check_files, read_questions


def test_there_are_enough_questions_intents_and_records() -> None:
    asked = read_questions()
    assert len(asked.open) >= 150
    assert len({question.text for question in (*asked.open, *asked.apart)}) == len(
        (*asked.open, *asked.apart)
    )
    assert len({question.intent for question in asked.open}) >= 10
    assert len([record for record in asked.records if record.path]) >= 12
    assert sum(question.leading for question in asked.open) >= 10
    assert sum(question.check == "unanswered" for question in asked.open) >= 15


def test_intents_and_subjects_exist() -> None:
    asked = read_questions()
    ids = {record.id for record in asked.records}
    for question in (*asked.open, *asked.apart):
        assert question.intent in intents()
        assert set(question.on) <= ids
        assert question.on


def test_paths_are_relative_with_hashes() -> None:
    records = read_questions().records
    assert any(record.path for record in records)
    for record in records:
        for path, sha256 in ((record.path, record.sha256), (record.reference, record.reference_sha256)):
            assert not Path(path).is_absolute()
            assert len(sha256) == (64 if path else 0)


def test_what_is_kept_apart_holds_every_intent() -> None:
    asked = read_questions()
    assert {question.intent for question in asked.open} == {question.intent for question in asked.apart}


def test_another_picture_is_refused(tmp_path: Path) -> None:
    record = AskedSubject(id="a", kind="tile", path="a.jpg", sha256="0" * 64)
    with pytest.raises(DataError, match="can't be read"):
        check_files(tmp_path, [record])
    (tmp_path / "a.jpg").write_bytes(b"another one")
    with pytest.raises(DataError, match="is not the picture"):
        check_files(tmp_path, [record])
