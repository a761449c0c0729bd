"""An exporter: findings as SARIF 2.1.0, which code hosts and editors show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record


def write_sarif(records: Sequence[Record] | Sequence[ClipRecord], folder: Path) -> None:
    """Write ``results.sarif``: one result for each picture or clip that is not normal."""
    results = [_result(record) for record in records if record.label != "normal"]
    tool = {"driver": {"name": "anomalist", "informationUri": "https://example.org/anomalist"}}
    content = {"version": "2.1.0", "runs": [{"tool": tool, "results": results}]}
    (folder / "results.sarif").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _result(record: Record | ClipRecord) -> dict[str, Any]:
    text = record.error or record.why_undecided or f"{record.source} is {record.label}."
    place = {"physicalLocation": {"artifactLocation": {"uri": Path(record.source).as_posix()}}}
    return {
        "ruleId": record.label or "error",
        "level": "error" if record.label == "anomalous" else "warning",
        "message": {"text": text},
        "locations": [place],
    }
