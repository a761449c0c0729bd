"""What memory holds against a caption: which rules are recalled, and when their severity counts."""

from __future__ import annotations

import pytest

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.recall import MAX_RULES, CaptionMemory
from anomalist.memory.rules.rule import Polarity, Rule
from anomalist.memory.scenes.memory import SceneMemory


def rule(number: int, text: str, polarity: Polarity = "anomalous", **more: object) -> Rule:
    values = {"id": f"rule:{number}", "text": text, "polarity": polarity, "kind": "activity"}
    return Rule.model_validate(values | {"origin": "person"} | more)


RULES = (
    rule(1, "a person is riding a bicycle", keywords=("bicycle", "cyclist"), severity=3, version=2),
    rule(2, "a person is running", severity=1),
    rule(3, "a person is walking", "normal"),
    rule(4, "a cat sleeps", severity=4, enabled=False),
)


@pytest.fixture
def memory(encoder: SentenceEncoder) -> CaptionMemory:
    return CaptionMemory(RULES, encoder=encoder)


def test_a_rule_that_surely_holds_is_recalled_with_its_version_and_floor(memory: CaptionMemory) -> None:
    (first, *_) = memory.recall(["Two people are walking. A cyclist passes them."])
    assert (first.id, first.side, first.version, first.severity) == ("rule:1", "anomalous", 2, 3)
    assert first.source is not None
    assert "cyclist" in first.source.lower()


@pytest.mark.parametrize(
    "said",
    [
        "A cyclist waits. A man on a bike rides over the pavement.",
        "A man on a bike rides over the pavement. A cyclist waits.",
    ],
)
def test_a_keyword_keeps_the_severity_of_its_rule(encoder: SentenceEncoder, said: str) -> None:
    memory = CaptionMemory(
        [rule(1, "a person is riding a bicycle", keywords=("cyclist",), severity=3)],
        encoder=encoder,
    )
    (recalled,) = memory.recall([said])
    assert recalled.severity == 3


def test_what_is_called_normal_comes_after_and_asks_for_nothing(memory: CaptionMemory) -> None:
    recalled = memory.recall(["A person is walking. A person is running."])
    assert [item.id for item in recalled] == ["rule:2", "rule:3"]
    assert [item.severity for item in recalled] == [1, 0]


@pytest.mark.parametrize("said", ["Nobody is riding a bicycle.", "A cat sleeps on the wall.", "", "42"])
def test_denials_and_disabled_rules_recall_nothing(memory: CaptionMemory, said: str) -> None:
    assert not [item for item in memory.recall([said]) if item.side == "anomalous" and item.severity]


def test_several_captions_of_one_thing_recall_each_rule_once(memory: CaptionMemory) -> None:
    recalled = memory.recall(["A man is riding a bicycle.", "A cyclist on a bicycle.", "Someone runs."])
    ids = [item.id for item in recalled if item.side == "anomalous"]
    assert len(ids) == len(set(ids)) <= MAX_RULES


def test_the_digest_changes_with_what_counts() -> None:
    changed = RULES[0].model_copy(update={"version": 3})
    assert CaptionMemory(RULES).digest == CaptionMemory(RULES[:3]).digest
    assert CaptionMemory(RULES).digest != CaptionMemory((changed, *RULES[1:])).digest


def test_scenes_are_recalled_only_where_they_speak_for_an_anomaly(encoder: SentenceEncoder) -> None:
    memory = CaptionMemory((), lambda: SceneMemory(encoder=encoder), encoder=encoder)
    (scene,) = memory.recall(["A man rides a motorbike through the people on the footpath."])
    assert scene.id.startswith("scene:")
    assert (scene.side, scene.severity) == ("anomalous", 0)
    assert memory.recall(["Two people walk next to each other."]) == ()


def test_scenes_are_not_opened_before_they_are_needed() -> None:
    def fail() -> SceneMemory:
        raise AssertionError

    assert CaptionMemory(RULES, fail).digest
