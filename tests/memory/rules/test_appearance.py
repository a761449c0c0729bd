"""What people wear and carry is set aside: it scores no higher than walking, and denies nothing else."""

from __future__ import annotations

import time

import numpy as np
import pytest

from anomalist.memory.embedding import Encoder
from anomalist.memory.rules.anomaly_ruler import fuse_scores
from anomalist.memory.rules.appearance import appearance_nouns, set_appearance_aside
from anomalist.memory.rules.matching import RuleMatcher
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.statements import statements
from anomalist.memory.scenes.memory import SceneMemory

LOOKS = [
    "A man walks along the path, wearing a red shirt and no backpack.",
    "A person in a red shirt and no backpack is walking.",
    "She is wearing a red shirt and no backpack.",
    "A red shirt and no backpack.",
    "The woman has long brown hair and wears a blue dress.",
    "A man in a white T-shirt and black trousers carries a shoulder bag.",
    "He has a backpack and a cap.",
    "The person is dressed in dark clothing with a hood.",
    "The person is not wearing a backpack.",
    "A person does not have a bag.",
    "The woman is wearing a striped sweater, a scarf and boots.",
    "A person wears shorts and sandals and no hat.",
    "His jacket is blue.",
    "A woman in black with a handbag.",
    "People wearing red hats and carrying bags are walking.",
]
WALKING = ["A person is walking.", "A man walks along the path.", "People are walking."]
ODD = [
    "A man in a red shirt rides a bicycle.",
    "A man with a red shirt and no backpack is running.",
    "A person in a white shirt with a backpack rides a skateboard.",
    "A man in a mask holds a gun.",
    "A worker is not wearing a helmet.",
    "A worker without protective clothing stands at the machine.",
    "A woman throws her bag into the air.",
    "A thief snatches a handbag.",
    "A bag has been left unattended.",
    "A person is undressing in public.",
]


@pytest.fixture(scope="module")
def scored(encoder: Encoder) -> dict[str, float]:
    texts = [*LOOKS, *WALKING, *ODD]
    rules = RuleMatcher(encoder=encoder).read(texts).scores
    scenes = SceneMemory(encoder=encoder).score_captions(texts).scores
    return dict(zip(texts, fuse_scores(rules, scenes).tolist(), strict=True))


def test_looks_score_no_higher_than_walking(scored: dict[str, float]) -> None:
    highest = max(scored[text] for text in WALKING)
    assert {text: scored[text] for text in LOOKS if not scored[text] <= highest} == {}


def test_what_people_in_such_clothes_do_still_counts(scored: dict[str, float]) -> None:
    highest = max(scored[text] for text in WALKING)
    assert {text: scored[text] for text in ODD if not scored[text] > highest + 0.1} == {}


@pytest.mark.parametrize(
    ("clause", "rest"),
    [
        ("A person in a red shirt and no backpack is walking", "A person is walking"),
        ("A person with a backpack runs past", "A person runs past"),
        ("A man in a red jacket with a gun", "A man with a gun"),
        ("two men in dark coats are fighting", "two men are fighting"),
        ("a man in red is running", "a man is running"),
    ],
)
def test_the_rest_of_a_clause_is_kept(clause: str, rest: str) -> None:
    assert set_appearance_aside(clause) == (rest, False)


@pytest.mark.parametrize(
    "clause",
    [
        "A worker is not wearing a helmet or protective clothing",
        "a person is wearing a bloody shirt",
        "a man wears glasses, a hat and a mask",
        "a woman carries a bag and a knife",
        "a man carries a bag into the bank",
        "a man with a bag of stolen goods",
        "A man leaves a bag behind",
        "a bag",
        "a car in white smoke",
        "A man is putting on a jacket",
        "Ein Mann in einem roten Hemd",
    ],
)
def test_what_is_more_than_looks_stays_whole(clause: str) -> None:
    assert set_appearance_aside(clause) == (clause, False)


def test_a_description_alone_is_marked_and_a_denial_in_it_denies_nothing_else() -> None:
    described, running = statements("A man wears a hat, and a boy with no bag is running.")
    assert described.appearance
    assert (running.plain, running.has_negation, running.appearance) == ("a person is running", False, False)


def test_looks_that_a_rule_or_a_remembered_scene_speaks_of_are_compared(encoder: Encoder) -> None:
    rule = Rule(
        id="rule:1", text="a person is wearing a red jacket", polarity="anomalous", kind="activity",
        keywords=("jacket",), origin="person",
    )  # fmt: skip
    caption = "A man walks by, and he is wearing a red jacket."
    (match,) = RuleMatcher([rule], encoder=encoder).read([caption]).matches[0]
    assert match.rule == "rule:1"
    assert RuleMatcher(encoder=encoder).read([caption]).matches == ((),)
    assert appearance_nouns(["two red jackets", "a helmet"]) == {"jacket"}


def test_a_caption_of_looks_alone_scores_at_the_low_end_and_matches_nothing(encoder: Encoder) -> None:
    found = RuleMatcher(encoder=encoder).read(["He wears a hat and no bag."])
    assert found.scores == pytest.approx([-0.3])
    assert found.matches == ((),)
    said = SceneMemory(encoder=encoder).score_captions(["He wears a hat and no bag."])
    assert said.scores == pytest.approx([-0.3])
    assert np.isfinite(said.scores).all()


def test_long_lists_take_no_long_time() -> None:
    begun = time.process_time()
    for text in ("a man wearing " + "a red shirt, " * 300 + "a mask", "in a with a has a wearing " * 150):
        set_appearance_aside(text)
    assert time.process_time() - begun < 10
