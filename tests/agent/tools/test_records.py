"""The query tool counts all records, and lists as many as a model can read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.tools.records import MAX_ROWS, query_records, subject_tables
from anomalist.agent.tools.selection import call_selection_fine, undo_selection
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from anomalist.eval.run_examples import picture_records
from anomalist.feedback import corrected_to_normal
from anomalist.memory.cases import CaseStore

RECORDS = tuple(record.replace(sha256=record.key) for record in picture_records(200))


@pytest.fixture
def run(tmp_path: Path) -> Subject:
    return Subject(records=RECORDS, cases=tmp_path / "cases.sqlite")


def test_counts_are_of_all_records_and_lists_say_what_they_leave_out(run: Subject) -> None:
    found = query_records(run, "label=normal")
    normal = sum(record.label == "normal" for record in RECORDS)
    assert found.matched == normal > MAX_ROWS == len(found.rows)
    assert found.notes == (f"only the first {MAX_ROWS} rows are listed; {normal - MAX_ROWS} more",)
    assert found.ids[0] == "query"
    with pytest.raises(DataError, match="no column"):
        query_records(run, "lable=normal")


def test_tables_are_made_once_for_the_same_records_and_anew_with_feedback(run: Subject) -> None:
    tables = subject_tables(run)
    assert subject_tables(run) is tables
    call_selection_fine(run, "label=anomalous product=brick")
    assert query_records(run, "count feedback").matched > 0


def test_a_selection_is_one_entry_that_holds_for_each_picture(run: Subject) -> None:
    stored = call_selection_fine(run, "label=anomalous product=brick", "looked at")
    bricks = {r.source for r in RECORDS if r.label == "anomalous" and r.profile == "brick"}
    assert (stored.selected, stored.by_label) == (len(bricks), {"anomalous": len(bricks)})
    assert run.cases is not None
    with CaseStore(run.cases) as store:
        head = store.get(stored.case)
        assert (head.text, head.note, head.severity) == (stored.query, "looked at", 0)
    assert {case.source for case in corrected_to_normal("brick", run.cases)} == bricks
    undo_selection(run, stored.case)
    assert corrected_to_normal("brick", run.cases) == ()
    with pytest.raises(DataError, match="undone already"):
        undo_selection(run, stored.case)


def test_what_was_not_judged_is_not_called_fine(run: Subject) -> None:
    failed = [record.source for record in RECORDS if record.label is None]
    stored = call_selection_fine(run, "pictures")
    assert len(failed) > 0 and stored.left_out == len(failed)
    assert stored.selected == len(RECORDS) - len(failed)
    assert run.cases is not None
    with CaseStore(run.cases) as store:
        assert not {case.source for case in store.list()} & set(failed)
    broken = replace(run, records=tuple(record for record in RECORDS if record.label is None))
    with pytest.raises(DataError, match="no picture that was judged"):
        call_selection_fine(broken, "pictures")


def test_pictures_without_a_hash_are_counted_as_such(run: Subject) -> None:
    unhashed = replace(run, records=tuple(record.replace(sha256=None) for record in RECORDS))
    stored = call_selection_fine(unhashed, "label=anomalous product=brick")
    assert stored.unhashed == stored.selected > 0
    assert call_selection_fine(run, "label=anomalous product=brick").unhashed == 0


def test_a_picture_that_is_held_twice_is_selected_once(run: Subject) -> None:
    once = call_selection_fine(run, "label=anomalous product=brick").selected
    assert call_selection_fine(replace(run, past=RECORDS), "label=anomalous product=brick").selected == once


def test_only_a_list_of_pictures_is_a_selection(run: Subject) -> None:
    for query in ("count by label", "regions", "label=anomalous product=nothing"):
        with pytest.raises(DataError):
            call_selection_fine(run, query)
    assert len(call_selection_fine(run, "severity=critical top 3").ids) == 1


def test_tables_are_made_once_whatever_thread_asks(run: Subject) -> None:
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda _: query_records(run, "count").matched, range(8)))
        elsewhere = pool.submit(subject_tables, run).result()
    assert counts == [len(RECORDS)] * 8
    assert elsewhere is subject_tables(run)
