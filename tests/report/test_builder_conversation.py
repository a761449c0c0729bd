from __future__ import annotations

from pathlib import Path

from anomalist.report.builder import answer_lines, conversation_lines, write_conversation
from anomalist.types.common import Answer, Claim
from anomalist.types.image import Record


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
