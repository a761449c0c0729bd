from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalist.report.builder import write_report
from anomalist.report.picture_view import PictureReportView, summarise
from anomalist.report.wording import main_reason, outcome, sort_by_urgency
from anomalist.types.image import Record
from tests.report.conftest import calibration

if TYPE_CHECKING:
    from conftest import Run


def test_every_picture_is_counted_once(run: Run) -> None:
    summary = summarise(run.records)
    assert summary.model_dump() == {
        "pictures": 6,
        "anomalous": 2,
        "undecided": 1,
        "normal": 2,
        "errors": 1,
        "by_severity": {"major": 1, "minor": 1},
        "by_kind": {"line": 1, "spot": 1},
    }


def test_severities_fall_and_kinds_come_by_frequency_then_name() -> None:
    rows = [(1, "spot"), (4, "line"), (2, "line"), (1, "patch"), (3, None)]
    records = [
        Record(source="a", status="ok", label="anomalous", severity=severity, kind=kind)
        for severity, kind in rows
    ]
    summary = summarise(records)
    assert list(summary.by_severity.items()) == [("critical", 1), ("major", 1), ("moderate", 1), ("minor", 2)]
    assert list(summary.by_kind.items()) == [("line", 2), ("patch", 1), ("spot", 1), ("unnamed", 1)]


def test_a_failure_is_never_normal() -> None:
    assert outcome(Record(source="a", status="error", label="normal")) == "error"
    assert outcome(Record(source="a", status="ok")) == "error"
    assert "could not be judged" in main_reason(Record(source="a", status="ok", score=1.0))
    failed = Record(source="a", status="error", label="normal", error="It is cut off.")
    assert main_reason(failed) == "It is cut off."


def judged(severity: int | None) -> dict[str, Any]:
    return {} if severity is None else {"label": "anomalous", "severity": severity}


def test_urgency_is_severity_then_p_then_score_and_unknown_comes_last() -> None:
    rows = [(None, 0.1, 1.0), (2, 0.2, 1.0), (2, 0.1, 1.0), (2, 0.1, 5.0), (2, None, 9.0), (4, 0.9, None)]
    records = [
        Record(source=str(i), status="ok", p_value=p, score=score, **judged(severity))
        for i, (severity, p, score) in enumerate(rows)
    ]
    assert [record.source for record in sort_by_urgency(records)] == ["5", "3", "2", "1", "4", "0"]


def test_json_holds_the_summary_and_every_record_unchanged(run: Run) -> None:
    text = write_report(run.records, run.folder, PictureReportView()).with_suffix(".json").read_text("utf-8")
    content = json.loads(text)
    assert content["format"] == 1
    assert content["summary"] == summarise(run.records).model_dump()
    assert [Record.model_validate(row) for row in content["records"]] == run.records
    assert "検査" in text


def test_a_number_that_json_has_no_word_for_becomes_null(tmp_path: Path) -> None:
    record = Record(source="a", status="ok", score=math.nan, threshold=math.inf)
    write_report([record], tmp_path, PictureReportView())
    row = json.loads((tmp_path / "report.json").read_text("utf-8"))["records"][0]
    assert row["score"] is None
    assert row["threshold"] is None


def test_pictures_that_are_only_ranked_come_by_score_whatever_their_severity_would_be() -> None:
    rows = [("a", 1.0, 4), ("b", 3.0, 1), ("c", 2.0, 2)]
    records = [
        Record(source=name, status="ok", label="undecided", score=score, severity=severity, basis="folder")
        for name, score, severity in rows
    ]
    assert [record.source for record in sort_by_urgency(records)] == ["b", "c", "a"]
    calibrated = [record.replace(basis="normals") for record in records]
    assert [record.source for record in sort_by_urgency(calibrated)] == ["a", "c", "b"]


def test_pictures_that_were_decided_alike_share_one_line_on_how() -> None:
    records = [
        Record(
            source=f"{reached}.png",
            status="ok",
            label="normal",
            p_value=0.5,
            calibration=calibration(reached=reached, instability=reached / 10),
        )
        for reached in range(3)
    ]
    assert [basis.amount for basis in PictureReportView().document(records).bases] == [3]
    lowered = records[0].replace(source="b.png", calibration=calibration(default_rate=0.01))
    asked, lowest = PictureReportView().document([*records, lowered]).bases
    assert "asked false-alarm rate" in asked.sentence and "asked" not in lowest.sentence
