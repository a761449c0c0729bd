"""The tables of a subject's records with the words in them, made once for the same tables."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from anomalist.agent.asking.run_vocabulary import RunVocabulary
from anomalist.agent.tools.records import subject_tables
from anomalist.agent.tools.subject import Subject
from anomalist.querying.tables import Tables


@dataclass(frozen=True, eq=False)
class RunTables:
    """Tables of records, and the words in them."""

    tables: Tables
    vocabulary: RunVocabulary


_kept = threading.local()


def run_tables(subject: Subject) -> RunTables:
    """Tables and words of all records that a subject holds."""
    tables = subject_tables(subject)
    kept: RunTables | None = getattr(_kept, "known", None)
    if kept is None or kept.tables is not tables:
        kept = _kept.known = RunTables(tables, RunVocabulary(tables))
    return kept
