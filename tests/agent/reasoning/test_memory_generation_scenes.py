"""Scenes written by a model, scripted: what is new is taken, what isn't is dropped with a reason."""

from __future__ import annotations

from typing import Any

from anomalist.agent.models.scripted import ScriptedModel, ScriptedReply
from anomalist.agent.reasoning.memory_generation import WRITE_SCENES_PROMPT, GeneratedScenes, generate_scenes
from tests.memory.scenes.scene_cases import LetterPairEncoder


def pair(normal: str, anomalous: str, kind: str = "theft") -> dict[str, str]:
    return {"normal": normal, "anomalous": anomalous, "kind": kind}


def written(*replies: Any, count: int = 2, **more: Any) -> GeneratedScenes:
    lines = tuple(ScriptedReply(prompt=WRITE_SCENES_PROMPT, reply=reply) for reply in replies)
    return generate_scenes(ScriptedModel(lines=lines), "cinema", count, encoder=LetterPairEncoder(), **more)


FIRST = pair("Guests queue for popcorn.", "A boy empties the cash drawer.")
SECOND = pair("The film is running.", "A seat in row five is burning.", "Fire")


def test_pairs_are_taken_with_their_categories() -> None:
    found = written({"pairs": [FIRST, SECOND]})
    assert [each.normal.category for each in found.pairs] == ["cinema", "cinema"]
    assert [each.anomalous.category for each in found.pairs] == ["theft", "fire"]
    assert found.dropped == ()


def test_what_was_told_before_is_dropped() -> None:
    found = written(
        {"pairs": [FIRST, FIRST, SECOND]}, {"pairs": [SECOND]}, count=3, known=["The film is running."]
    )
    assert len(found.pairs) == 1
    assert all("is a duplicate" in reason for reason in found.dropped)
    assert len(found.dropped) >= 2


def test_a_copy_of_the_form_is_no_scene() -> None:
    found = written({"pairs": [pair("one sentence", "A man falls."), SECOND]}, count=2)
    assert [each.anomalous.category for each in found.pairs] == ["fire"]
    assert "repeats the form" in found.dropped[0]


def test_what_can_not_be_a_scene_is_dropped() -> None:
    found = written({"pairs": [pair("1 2 3", "A man falls."), SECOND]}, count=2)
    assert [each.anomalous.category for each in found.pairs] == ["fire"]
    assert "a scene has words" in found.dropped[0]


def test_replies_of_another_form_end_in_reasons_not_in_scenes() -> None:
    found = written("I'd rather not.", count=1)
    assert found.pairs == ()
    assert found.dropped
    assert found.replies


def test_more_than_was_asked_for_is_left() -> None:
    assert len(written({"pairs": [FIRST, SECOND]}, count=1).pairs) == 1
