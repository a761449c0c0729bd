"""Entries and replays of the audit log as rows that JSON can hold, and what an entry says in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anomalist.audit.reading import LogEntry

if TYPE_CHECKING:
    from anomalist.audit.replay import Replay


def entry_row(entry: LogEntry) -> dict[str, Any]:
    """An entry with its whole body."""
    return {
        "id": entry.id,
        "position": entry.position,
        "hash": entry.hash,
        "kind": entry.kind,
        "time": entry.time,
        "body": entry.body,
    }


def said(entry: LogEntry) -> str:
    """One line on what an entry says."""
    content = entry.content
    if entry.body is None:
        return "removed"
    record = content.get("record")
    if isinstance(record, dict):
        return str(record.get("label") or record.get("error") or "")
    match entry.kind:
        case "answer":
            return str(entry.part("answer").get("question", ""))
        case "feedback":
            case = entry.part("case")
            return (
                f"{case.get('action')} by {case.get('who')}{' (taken back)' if content.get('undone') else ''}"
            )
        case "rule":
            return f"{content.get('what')}: {entry.part('rule').get('text', '')}"
        case "session":
            return f"{content.get('command')} with {content.get('profile')}"
        case "tombstone":
            positions = content.get("positions")
            count = len(positions) if isinstance(positions, list) else 0
            return f"{count} contents removed: {content.get('why')}"
        case "review":
            return str(content.get("answer", ""))
    return str(content.get("profile") or content.get("model") or content.get("what") or "")


def replay_row(result: Replay) -> dict[str, Any]:
    """What a replay found, and the record as it came out again."""
    return {
        "id": result.entry.id,
        "source": result.entry.source,
        "equal": result.equal,
        "failed": result.failed or None,
        "differences": result.differences,
        "causes": result.causes,
        "changed": [f"{change.part}: {change.text}" for change in result.changes],
        "untried": [f"{change.part}: {change.text}" for change in result.untried],
        "score_difference": result.score_difference,
        "record": None if result.again is None else result.again.model_dump(mode="json"),
    }
