from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from anomalist.report.markdown import answer_lines, conversation_lines, write_conversation, write_markdown
from anomalist.types.common import Answer, Claim
from anomalist.types.image import Record

if TYPE_CHECKING:
    from conftest import Run


def cells(row: str) -> list[str]:
    """Split a row as GitHub does: at every bar without a backslash, code or not."""
    return re.split(r"(?<!\\)\|", row)[1:-1]


def test_it_says_what_was_found_why_and_what_failed(run: Run, tmp_path: Path) -> None:
    text = write_markdown(run.records, tmp_path / "report.md").read_text("utf-8")
    assert "**2 of 5 pictures look anomalous.**" in text
    assert "- Undecided: The score is too close to the threshold." in text
    assert "- Disagreement: Two opinions differ." in text
    assert "- Both places are alike. (R1, R2, case:12)" in text
    assert "`<script>alert(1)</script>.png`: This is \\<not\\> a picture." in text
    assert "39 normal pictures, kept for calibration only" in text
    assert "calm.png" not in text


def test_every_row_of_the_table_has_as_many_cells_as_its_head(run: Run, tmp_path: Path) -> None:
    lines = write_markdown(run.records, tmp_path / "report.md").read_text("utf-8").splitlines()
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
def test_texts_are_taken_literally_on_one_line(error: str, shown: str, tmp_path: Path) -> None:
    record = Record(source="a.png", status="error", error=error)
    assert f"- `a.png`: {shown}\n" in write_markdown([record], tmp_path / "r.md").read_text("utf-8")


def test_a_name_with_backticks_stays_one_piece_of_code(tmp_path: Path) -> None:
    record = Record(source="a``b.png", status="error", error="No.")
    assert "- ``` a``b.png ```: No." in write_markdown([record], tmp_path / "r.md").read_text("utf-8")


def test_an_empty_run_is_said(tmp_path: Path) -> None:
    text = write_markdown([], tmp_path / "r.md", title="Shift 2").read_text("utf-8")
    assert text.startswith("# Shift 2\n\n**No pictures were inspected.**")


def an_answer(**fields: object) -> Answer:
    about = {
        "question": "Where is *it*?",
        "answered": True,
        "text": "R1 is there.",
        "intent": "where",
    } | fields
    return Answer.model_validate(about)


CLAIM = Claim(text="R1 is <there>.", evidence=("R1", "score"))


def test_sentences_stand_with_their_ids_taken_literally() -> None:
    assert answer_lines(an_answer(claims=[CLAIM])) == [r"R1 is \<there\>. \[score\]"]


def test_what_is_not_answered_says_what_would_help() -> None:
    assert answer_lines(an_answer(answered=False, text="Unknown.", helps="Ask.")) == ["Unknown. Ask."]
    assert answer_lines(an_answer(claims=[CLAIM], helps="Ask.")) == [r"R1 is \<there\>. \[score\] Ask."]


def test_options_stand_below_the_choice_with_their_probabilities() -> None:
    options = [
        {"letter": "A", "text": "there", "probability": 0.9},
        {"letter": "B", "text": "here", "probability": 0.1},
    ]
    lines = answer_lines(an_answer(text="A: there.", letter="A", options=options, claims=[CLAIM]))
    assert lines == ["A: there.", "", "- A: there (90%)", "- B: here (10%)"]


def test_many_sentences_are_a_list_and_many_ids_are_cut() -> None:
    claim = Claim(text="All.", evidence=("a", "b", "c", "d", "e"))
    lines = answer_lines(an_answer(claims=[claim] * 5, helps="Ask."))
    assert lines[0] == r"All. \[a, b, c and 2 more\]" and lines[1] == "" and lines[-1] == "Ask."
    assert [line[:2] for line in lines[2:6]] == ["- "] * 4


def test_questions_notes_and_what_was_left_out_are_written() -> None:
    text = "\n".join(
        conversation_lines([an_answer(claims=[CLAIM], notes=["It is gone."], dropped=["x", "y"])])
    )
    assert r"> Where is \*it\*?" in text and "*It is gone.*" in text and "evidence: 2" in text


def test_a_conversation_and_its_report_are_saved(tmp_path: Path) -> None:
    record = Record(source="part.png", status="error", error="damaged")
    written = write_conversation([an_answer()], [record], tmp_path / "out", "day 1")
    assert [path.name for path in written] == ["conversation.md", "report.md"]
    assert written[0].read_text(encoding="utf-8").startswith("# day 1\n\n> Where")
    assert [path.name for path in write_conversation([], [], tmp_path / "clips", "x")] == ["conversation.md"]
