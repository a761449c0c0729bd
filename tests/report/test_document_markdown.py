from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from anomalist.report.document import render_markdown
from anomalist.report.picture_view import PictureReportView
from anomalist.types.image import Record

if TYPE_CHECKING:
    from conftest import Run


def markdown(records: Sequence[Record], title: str | None = None) -> str:
    view = PictureReportView()
    return render_markdown(view.document(records, title), view.layout)


def cells(row: str) -> list[str]:
    """Split a row as GitHub does: at every bar without a backslash, code or not."""
    return re.split(r"(?<!\\)\|", row)[1:-1]


def test_it_says_what_was_found_why_and_what_failed(run: Run) -> None:
    text = markdown(run.records)
    assert "**2 of 5 pictures look anomalous.**" in text
    assert "- Undecided: The score is too close to the threshold." in text
    assert "- Disagreement: Two opinions differ." in text
    assert "- Both places are alike. (R1, R2, case:12)" in text
    assert "`<script>alert(1)</script>.png`: This is \\<not\\> a picture." in text
    assert "39 normal pictures, kept for calibration only" in text
    assert "calm.png" not in text


def test_every_row_of_the_table_has_as_many_cells_as_its_head(run: Run) -> None:
    lines = markdown(run.records).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert {len(cells(row)) for row in rows} == {7}


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("a <b> | c", "a \\<b\\> \\| c"),
        ("[click](http://x)", "\\[click\\](http://x)"),
        ("# no *head*\n- line", "\\# no \\*head\\*\\\\u000a- line"),
    ],
)
def test_texts_are_taken_literally_on_one_line(error: str, shown: str) -> None:
    record = Record(source="a.png", status="error", error=error)
    assert f"- `a.png`: {shown}\n" in markdown([record])


def test_a_name_with_backticks_stays_one_piece_of_code() -> None:
    record = Record(source="a``b.png", status="error", error="No.")
    assert "- ``` a``b.png ```: No." in markdown([record])


def test_an_empty_run_is_said() -> None:
    text = markdown([], title="Shift 2")
    assert text.startswith("# Shift 2\n\n**No pictures were inspected.**")
