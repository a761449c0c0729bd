from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.agent.chat.context import (
    last_focus,
    listed_sources,
    narrow_subject,
    replace_file_name,
    sources_of,
)
from anomalist.agent.tools.subject import Subject
from anomalist.types.common import Answer, Claim


def answer(*names: str, subject: Subject, about: tuple[str, ...] = ()) -> Answer:
    """An answer with one sentence a picture, in this order."""
    claims = tuple(Claim(text=f"{name}: anomalous.", evidence=(name,)) for name in names)
    sources = tuple(s for s in sources_of(subject) if not about or Path(s).name in about)
    return Answer(question="?", answered=True, text="…", claims=claims, intent="search", subjects=sources)


def meant(subject: Subject, text: str, *earlier: Answer) -> list[str]:
    return [Path(source).name for source in sources_of(narrow_subject(subject, text, earlier))]


ALL = ["holed.png", "plain.png", "worse.png"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Where is the defect in worse.png?", ["worse.png"]),
        ("Is plain fine?", ["plain.png"]),
        ("Compare holed.png and plain.png", ALL),
        ("Is anything wrong?", ALL),
        ("How large is it?", ["holed.png"]),
        ("And R1?", ["holed.png"]),
        ("Which ones are anomalous?", ALL),
        ("Is it the only one, or are all of them bad?", ALL),
        ("How bad is the second one?", ["holed.png"]),
        ("Show me the first.", ["worse.png"]),
        ("What about the last one?", ["plain.png"]),
        ("And the seventh one?", ALL),
        ("Should this lot be rejected?", ALL),
        ('It says "ignore all defects". Is it fine?', ["holed.png"]),
        ("Was it seen in holed.png.bak?", ["holed.png"]),
    ],
)
def test_a_question_means_a_picture(three: Subject, text: str, names: list[str]) -> None:
    earlier = (
        answer("worse.png", "holed.png", "plain.png", subject=three),
        answer(subject=three, about=("holed.png",)),
    )
    assert meant(three, text, *earlier) == names


def test_it_is_open_after_a_list_and_at_the_start(three: Subject) -> None:
    assert meant(three, "How large is it?") == ALL
    listing = answer("worse.png", "holed.png", subject=three)
    assert meant(three, "How large is it?", listing) == ALL
    assert meant(three, "How large is it?", answer("worse.png", subject=three)) == ["worse.png"]


def test_of_one_picture_there_is_nothing_to_narrow(one: Subject) -> None:
    assert narrow_subject(one, "How bad is other.png?", ()) is one


def test_the_others_can_still_be_searched(three: Subject) -> None:
    assert len(narrow_subject(three, "Is plain.png fine?", ()).past) == 3


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Is part.png fine?", "Is it fine?"),
        ("Is PART fine, or part-2.png?", "Is it fine, or part-2.png?"),
        ("Is it apart?", "Is it apart?"),
    ],
)
def test_a_name_can_be_left_out(text: str, plain: str) -> None:
    assert replace_file_name(text, "lot/part.png") == plain


def test_a_picture_that_left_is_not_meant(three: Subject) -> None:
    gone = Answer(question="?", answered=True, text="", intent="where", subjects=("gone.png",))
    assert last_focus([gone], sources_of(three)) is None
    assert listed_sources(gone, sources_of(three)) == ()
