"""Which watch items name a class of objects, in its own or in other words, and say no more than that."""

from __future__ import annotations

import pytest

from anomalist.agent.reasoning.event_watch import EventWatch

CLASSES = ("bicycle", "forklift", "dog", "golf cart", "person", "truck")


@pytest.mark.parametrize(
    "item",
    ["a bicycle", "bicycles", "someone riding a bicycle", "someone on a bicycle", "forklifts", "a dog",
     "somebody in a golf cart", "a cyclist", "a person on a bike", "a lorry"],
)  # fmt: skip
def test_an_item_that_names_a_class_can_be_told(item: str) -> None:
    assert item not in EventWatch([item], classes=CLASSES).beyond


@pytest.mark.parametrize(
    "item",
    ["a parked bicycle", "a red truck", "no bicycle", "a truck is being unloaded", "a dog without a leash",
     "a person falls to the ground", "a forklift carries two pallets", "a fire", "a woman with a pram",
     "someone lies on the floor", "a suitcase"],
)  # fmt: skip
def test_an_item_that_says_more_or_something_else_can_not(item: str) -> None:
    watch = EventWatch([item], classes=CLASSES)
    assert item not in watch._names.items


def test_without_classes_nothing_is_told_by_name() -> None:
    assert EventWatch(["a bicycle"]).beyond == ("a bicycle",)
