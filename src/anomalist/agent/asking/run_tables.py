"""The tables of a subject's records with the words in them, made once for the same tables."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from anomalist.agent.asking.run_vocabulary import RunVocabulary
from anomalist.agent.tools.records import MAX_KEPT, subject_tables
from anomalist.agent.tools.subject import Subject
from anomalist.querying.tables import Tables


@dataclass(frozen=True, eq=False)
class RunTables:
    """Tables of records, and the words in them."""

    tables: Tables
    vocabulary: RunVocabulary


_kept: list[RunTables] = []
_lock = threading.Lock()


def run_tables(subject: Subject) -> RunTables:
    """Tables and words of all records that a subject holds."""
    tables = subject_tables(subject)
    with _lock:
        for kept in _kept:
            if kept.tables is tables:
                return kept
    made = RunTables(tables, RunVocabulary(tables))
    with _lock:
        _kept.append(made)
        del _kept[:-MAX_KEPT]
    return made
