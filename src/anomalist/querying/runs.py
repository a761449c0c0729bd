"""Queries on run folders: what ``anomalist query`` and ``anomalist.query`` do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomalist.memory.cases import list_cases
from anomalist.querying.columns import TableName
from anomalist.querying.execution import run_query
from anomalist.querying.parsing import parse_query
from anomalist.querying.query import Query, QueryResult
from anomalist.querying.run_tables import tables_of_runs
from anomalist.querying.tables import Tables


def query(
    runs: str | Path | Sequence[str | Path], asked: str | Query, cases: str | Path | None = None
) -> QueryResult:
    """Ask the records of one or several run folders.

    Parameters
    ----------
    runs : folders that ``inspect`` or ``triage`` wrote.
    asked : the text form, "label=anomalous by kind", or a `Query`.
    cases : file of feedback; by default that of this user.

    Returns
    -------
    The result with all its rows; ``print(result.rows)``, or ``result.model_dump_json()``.

    Raises
    ------
    DataError : no run folder, a damaged row, or an unknown column or value, with the nearest known one.
    """
    folders = [Path(runs)] if isinstance(runs, str | Path) else [Path(run) for run in runs]
    with tables_of_runs(folders, list_cases(cases, undone=True)) as tables:
        parsed = asked if isinstance(asked, Query) else parse_query(asked, default_table(tables))
        return run_query(tables, parsed)


def default_table(tables: Tables) -> TableName:
    """What a query is about that names no table: pictures, or events where there are only clips."""
    return "events" if tables.count("clips") and not tables.count("pictures") else "pictures"
