"""Labelled sentences: what is counted, what is left out, and that other videos' sentences help."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.eval.sentences import evaluate_sentences
from tests.memory.scenes.scene_cases import LetterPairEncoder

ROWS = """video,start_s,end_s,sentence,label,class
a,0,1,A gardener waters roses,normal,X
a,1,2,A burglar breaks windows,anomalous,X
a,2,3,A burglar smashes windows,ambiguous,X
b,0,1,A gardener cuts roses,normal,Normal
b,1,2,A gardener plants roses,normal,Normal
c,0,1,A burglar breaks doors,anomalous,Y
"""
MEMORY = """video,class,sentence
d,Burglary,A burglar breaks open windows
d,Burglary,A burglar breaks open doors
e,Normal,A gardener waters tulips
e,Normal,A gardener plants tulips
e,Normal,A gardener cuts roses
"""


def test_only_what_is_clear_is_counted(tmp_path: Path) -> None:
    (tmp_path / "sentences.csv").write_text(ROWS)
    result = evaluate_sentences(tmp_path, encoder=LetterPairEncoder())
    assert (result.sentences, result.anomalous, result.within, result.built) == (5, 2, 3, None)
    assert result.shipped.scenes == 7000


def test_sentences_of_other_videos_help_but_never_those_that_are_scored(tmp_path: Path) -> None:
    (tmp_path / "sentences.csv").write_text(ROWS)
    (tmp_path / "memory_sentences.csv").write_text(MEMORY)
    told = []
    result = evaluate_sentences(
        tmp_path, encoder=LetterPairEncoder(), progress=lambda *step: told.append(step)
    )
    assert result.built is not None
    assert result.built.scenes == 7004  # "A gardener cuts roses" is scored
    assert result.built.auroc is not None
    assert result.shipped.auroc is not None
    assert result.built.auroc >= result.shipped.auroc
    assert told == [("sentences", 4, 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [("video,sentence\na,b\n", "no column label"), ("video,sentence,label\n", "holds no sentences")],
)
def test_files_of_another_form_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sentences.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        evaluate_sentences(tmp_path, encoder=LetterPairEncoder())


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        evaluate_sentences(tmp_path, encoder=LetterPairEncoder())
