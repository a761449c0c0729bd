from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import kendalltau

from anomalist.errors import DataError
from anomalist.eval.severity import evaluate_severity
from anomalist.types.common import MediaSummary, Verdict
from anomalist.types.image import EvidenceSummary, Record
from tests.cli.running import run

GRADES = [0, 0, 1, 2, 2, 3, 4, 4]
SEVERITIES = [0, 1, 1, 1, 3, 2, 4, 3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of eight pictures and one that could not be judged."""
    rows = [
        Record(
            media=MediaSummary(source=f"parts/{number}.png", sha256="0" * 64, width=9, height=9),
            status="ok",
            evidence=EvidenceSummary(score=float(number)),
            verdict=Verdict(
                label="anomalous" if number else "undecided", severity=severity, reasoner="evidence"
            ),
        )
        for number, severity in enumerate(SEVERITIES)
    ]
    failed = Record(media=MediaSummary(source="parts/8.png", sha256="0" * 64), status="error", error="torn")
    place = tmp_path / "run"
    place.mkdir()
    (place / "records.jsonl").write_text("".join(f"{row.model_dump_json()}\n" for row in [*rows, failed]))
    return place


def table(folder: Path, *rows: str, head: str = "image,grade") -> Path:
    path = folder / "grades.csv"
    path.write_text("\n".join([head, *rows]))
    return path


def test_the_measures_are_those_of_scipy_and_of_counting_pairs(folder: Path) -> None:
    words = ["none", "none", "minor", "moderate", "2", "3", "critical", "4.0"]
    grades = table(
        folder, *(f"{number}.png,{word}" for number, word in enumerate(words)), "8.png,1", "9.png,1"
    )
    result = evaluate_severity(folder, grades)
    severity, score = result.agreement
    assert severity.kendall_tau == pytest.approx(kendalltau(SEVERITIES, GRADES).statistic, abs=1e-12)
    pairs = [(i, j) for i in range(8) for j in range(8) if GRADES[i] > GRADES[j]]
    right = sum((SEVERITIES[i] > SEVERITIES[j]) + 0.5 * (SEVERITIES[i] == SEVERITIES[j]) for i, j in pairs)
    assert severity.concordance_index == pytest.approx(right / len(pairs), abs=1e-12)
    assert severity.kendall_tau_interval is not None
    assert severity.kendall_tau_interval[0] < severity.kendall_tau
    assert score.concordance_index == 1.0
    assert (result.pictures, result.undecided) == (8, 1)
    assert sum(result.by_grade.values()) == 8
    assert result.notes == ("2 graded pictures were not judged: 8.png, 9.png",)


def test_one_grade_for_all_leaves_agreement_undefined(folder: Path) -> None:
    result = evaluate_severity(folder, table(folder, "1.png,2", "2.png,2"))
    assert result.agreement[0].kendall_tau is result.agreement[0].concordance_index is None


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        (["1.png,bad"], "'bad' is no grade of 1.png"),
        (["1.png,nan"], "is no grade"),
        (["1.png,1", "parts\\1.png,2"], "two grades"),
        (["77.png,1"], "No picture that"),
    ],
)
def test_what_is_wrong_in_the_table_is_said(folder: Path, rows: list[str], wrong: str) -> None:
    with pytest.raises(DataError, match=wrong):
        evaluate_severity(folder, table(folder, *rows))


def test_the_command_prints_a_table_or_json(folder: Path) -> None:
    grades = table(folder, *(f"{number}.png,{grade}" for number, grade in enumerate(GRADES)))
    done = run("eval", "severity", folder, "--grades", grades, "--json")
    assert json.loads(done.stdout)["agreement"][1]["concordance_index"] == 1.0, done.stderr
    assert "C-index" in run("eval", "severity", folder, "--grades", grades).stdout
