"""The list of the audit log in memory, while content is removed from the log."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from anomalist.audit import retention
from anomalist.audit.log import AuditLog
from anomalist.audit.reading import Search, find_entry
from anomalist.errors import DataError
from anomalist.server.audit_index import AuditIndex


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path))


def append(*sources: str) -> None:
    with AuditLog() as log:
        for source in sources:
            log.append("inspection", {"record": {"source": source}})


def sources(index: AuditIndex) -> list[str]:
    return [row.source for row in index.search(Search(kinds=("inspection",))).rows]


def test_what_is_removed_is_neither_found_nor_shown(tmp_path: Path) -> None:
    append("anna.png", "part.png")
    index = AuditIndex()
    assert sources(index) == ["part.png", "anna.png"]
    retention.remove_entries([find_entry("0")], "a request")
    assert sources(index) == ["part.png", ""]
    assert index.search(Search("anna")).total == 0


def test_what_is_removed_is_gone_also_where_it_was_read_between_tombstone_and_removal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append("anna.png", "part.png")
    index = AuditIndex()
    real = retention._empty

    def empty(lines: Path, positions: Collection[int]) -> None:
        assert sources(index) == ["part.png", "anna.png"], "it is there yet"
        real(lines, positions)

    monkeypatch.setattr(retention, "_empty", empty)
    retention.remove_entries([find_entry("0")], "a request")
    append("a-longer-one.png", "another-one.png")  # the segment is larger than it was then
    assert sources(index) == ["another-one.png", "a-longer-one.png", "part.png", ""]
    assert index.search(Search("anna")).total == 0


def test_a_log_of_a_newer_version_is_not_told_as_one_without_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    index = AuditIndex()
    assert sources(index) == []
    append("part.png")
    with monkeypatch.context() as patch:
        patch.setattr("anomalist.audit.entries.FORMAT", 0)
        with pytest.raises(DataError, match="newer version"):
            index.search(Search())
    assert sources(index) == ["part.png"]
