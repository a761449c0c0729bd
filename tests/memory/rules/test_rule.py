from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from anomalist.errors import DataError
from anomalist.memory.rules.rule import read_captions
from tests.memory.rules.rule_cases import rule


def test_text_and_keywords_are_put_on_one_line_and_in_lower_case() -> None:
    made = rule("  a man \n runs ", keywords=("Running", " running", "Kick  scooter"))
    assert made.text == "a man runs"
    assert made.keywords == ("running", "kick scooter")


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "…"},
        {"text": "x" * 301},
        {"keywords": tuple(map(str, range(21)))},
        {"keywords": ("?!",)},
        {"keywords": ("x" * 61,)},
        {"severity": 5},
        {"polarity": "odd"},
        {"id": "7"},
    ],
)
def test_what_is_no_rule_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        rule(**{"text": "a man runs", **wrong})  # type: ignore[arg-type]


def test_lines_of_text_and_a_column_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\n\n  Two. \n", encoding="utf-8-sig")
    (tmp_path / "b.csv").write_text('frame,caption,label\n0,"One, two.\nthree",1\n1,,0\n2\n')
    assert read_captions(tmp_path / "a.txt").captions == ("One.", "Two.")
    read = read_captions(tmp_path / "b.csv")
    assert read.captions == ("One, two.\nthree", "", "")
    assert len(read.sha256) == 64


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b" \n\n", "no captions"),
        ("a.txt", b"", "no captions"),
        ("a.txt", b"\xff\xfe\x00", "UTF-8"),
        ("a.csv", b"text\nOne.\n", "no column caption"),
        ("a.csv", b'caption\n"open', "not a CSV"),
        ("a.csv", b"caption\n\n", "no captions"),
    ],
)
def test_what_cannot_be_used_is_one_error(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_captions(tmp_path / name)


def test_a_file_that_is_not_there_or_is_a_folder_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(DataError, match="can't be read"):
            read_captions(path)
