"""The tables of a subject's records with the words in them, made once for the same tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from anomalist.agent.asking.run_vocabulary import RunVocabulary
from anomalist.agent.tools.records import MAX_KEPT, subject_tables
from anomalist.agent.tools.subject import ProbeResult, Subject
from anomalist.querying.tables import Tables


@dataclass(frozen=True, eq=False)
class RunTables:
    """Tables of records, the words in them, and what gives the newest blind probes by profile."""

    tables: Tables
    vocabulary: RunVocabulary
    probes: Callable[[], Mapping[str, ProbeResult]] = dict


_kept: list[RunTables] = []
_lock = threading.Lock()


def run_tables(subject: Subject) -> RunTables:
    """Tables and words of all records that a subject holds."""
    tables = subject_tables(subject)
    with _lock:
        for kept in _kept:
            if kept.tables is tables:
                return replace(kept, probes=subject.probes)
    made = RunTables(tables, RunVocabulary(tables), subject.probes)
    with _lock:
        _kept.append(made)
        del _kept[:-MAX_KEPT]
    return made
