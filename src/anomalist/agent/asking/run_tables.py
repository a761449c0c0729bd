"""The tables of a subject's records, made once for as long as the same records are asked about."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from anomalist.agent.asking.run_vocabulary import RunVocabulary
from anomalist.agent.tools.subject import Subject
from anomalist.querying.runs import all_cases
from anomalist.querying.tables import Tables, tables_of_records
from anomalist.settings import Settings
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record


@dataclass(frozen=True, eq=False)
class RunTables:
    """Tables of records, and the words in them."""

    tables: Tables
    vocabulary: RunVocabulary


_kept = threading.local()
"""The last tables of each thread: a connection is not for several."""


def run_tables(subject: Subject) -> RunTables:
    """Tables of all records that a subject holds, past ones included, and of feedback on them."""
    records: list[Record | ClipRecord] = [*subject.records, *subject.clips]
    known = {record.source for record in records}
    records += [record for record in subject.past if record.source not in known]
    path = subject.cases or Settings().home / "cases.sqlite"
    changed = path.stat().st_mtime_ns if path.exists() else 0
    key: tuple[Any, ...] = (subject.records, subject.clips, subject.past)
    kept: tuple[tuple[Any, ...], int, RunTables] | None = getattr(_kept, "tables", None)
    if kept is not None and kept[1] == changed and all(a is b for a, b in zip(kept[0], key, strict=True)):
        return kept[2]
    if kept is not None:
        kept[2].tables.close()
    tables = tables_of_records(records, all_cases(path))
    made = RunTables(tables, RunVocabulary(tables))
    _kept.tables = (key, changed, made)
    return made
