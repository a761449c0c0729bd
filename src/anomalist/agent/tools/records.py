"""The query tool: a typed query over the records that a conversation is about, and its tables."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from anomalist.agent.tools.subject import Result, Subject
from anomalist.memory.cases import CaseStore, list_cases
from anomalist.querying.execution import run_query
from anomalist.querying.parsing import parse_query
from anomalist.querying.query import Group, Value
from anomalist.querying.runs import default_table
from anomalist.querying.tables import Tables, tables_of_records
from anomalist.storage.row_store import is_stored, shared_rows
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record

MAX_ROWS = 50
"""Most rows that a model sees; the counts are those of all, and a note says that there are more."""


class QueriedRecords(Result):
    """What a query gave."""

    query: str = Field(description="in its full text form")
    reading: str
    of: int = Field(description="rows of the table")
    matched: int = Field(description="rows that fulfil the conditions")
    columns: tuple[str, ...]
    rows: tuple[tuple[Value | None, ...], ...]
    groups: tuple[Group, ...] = Field(description="of a comparison")
    difference: float | None
    p_value: float | None = Field(description="of equal shares")


def query_records(subject: Subject, query: str) -> QueriedRecords:
    """Query the records of this run: filter, group, count, share, mean, trend, compare, find alike.

    Text forms: "count label=anomalous", "label=anomalous by kind", "severity>=major product=brick top 5",
    "share label=anomalous by product", "mean score trend day", "share label=anomalous compare folder=a with
    folder=b", "alike part.png", "regions by place", "events by camera", "feedback by person". Counts are over
    all records.
    """
    tables = subject_tables(subject)
    result = run_query(tables, parse_query(query, default_table(tables)))
    place = result.columns.index("name") if "name" in result.columns else None
    rows = result.rows[:MAX_ROWS]
    names = () if place is None else tuple(str(row[place]) for row in rows)
    left = len(result.rows) - len(rows)
    notes = (f"only the first {MAX_ROWS} rows are listed; {left} more",) if left else ()
    return QueriedRecords(
        ids=tuple(dict.fromkeys(("query", *names))),
        notes=(*result.notes, *notes),
        query=result.text,
        reading=result.reading,
        of=result.of,
        matched=result.matched,
        columns=result.columns,
        rows=rows,
        groups=result.groups,
        difference=result.difference,
        p_value=result.p_value,
    )


MAX_KEPT = 4
"""Subjects whose tables are kept: those of the last conversations, whatever thread answers in them."""


class _KeptTables(NamedTuple):
    """Tables, what they were made of, and the cases as they were then."""

    made_of: tuple[tuple[Any, ...], ...]
    cases: tuple[Path, tuple[int, int]]
    tables: Tables


_kept: list[_KeptTables] = []
_lock = threading.Lock()


def subject_tables(subject: Subject) -> Tables:
    """Tables of all records that a subject holds, past ones included, and of feedback on them.

    They are made once for as long as the same records are asked about and no feedback is added.
    """
    path = subject.case_file
    cases = path, _feedback_version(path)
    made_of = (subject.records, subject.clips, subject.past)
    with _lock:
        kept = _find_kept(made_of, cases)
    if kept is not None:
        return kept
    records: list[Record | ClipRecord] = [*subject.records, *subject.clips]
    known = {record.source for record in records}
    records += [record for record in subject.past if record.source not in known]
    tables = tables_of_records(records, list_cases(path, undone=True))
    with _lock:
        kept = _find_kept(made_of, cases)  # another thread may have been faster
        if kept is None:
            # Some thread may still read those that are dropped: they close themselves when none does.
            _kept.append(_KeptTables(made_of, cases, tables))
            del _kept[:-MAX_KEPT]
    return tables if kept is None else kept


def _feedback_version(path: Path) -> tuple[int, int]:
    if shared_rows(path) is None:  # opening a file checks all of it
        # What is added while others hold the file open is in its log, not in the file.
        return _modified(path), _modified(path.with_name(f"{path.name}-wal"))
    if not is_stored(path):
        return 0, 0
    with CaseStore(path) as store:
        return store.version()


def _modified(path: Path) -> int:
    """When a file was last written, ns; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _find_kept(made_of: tuple[tuple[Any, ...], ...], cases: tuple[Path, tuple[int, int]]) -> Tables | None:
    for place, kept in enumerate(_kept):
        if kept.cases == cases and all(a is b for a, b in zip(kept.made_of, made_of, strict=True)):
            _kept.append(_kept.pop(place))
            return kept.tables
    return None
