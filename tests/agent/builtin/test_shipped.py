"""The model in the box: a standard model in a folder, small, unchanged, and opened as any other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalist.agent.builtin.lessons import Recipe
from anomalist.agent.builtin.showing import Shown, show
from anomalist.agent.local import LocalChatModel
from anomalist.agent.messages import user_message
from anomalist.agent.models import SHIPPED, describe, open_model
from anomalist.agent.options import choose
from anomalist.agent.policy import load_policy
from anomalist.agent.vlm import ModelReasoner
from anomalist.prompts.rendering import Prompt
from anomalist.types import Recall
from anomalist.vision.drawn.cases import draw_case, draw_product

CARD = Path(__file__).parents[3] / "docs" / "builtin.md"


@pytest.fixture(scope="module")
def model() -> LocalChatModel:
    opened = open_model("builtin")
    assert isinstance(opened, LocalChatModel)
    return opened


@pytest.fixture(scope="module")
def shown() -> Shown:
    products = [draw_product(seed) for seed in range(3)]
    found = (
        show(np.random.default_rng(seed), draw_case(np.random.default_rng(seed), products))
        for seed in range(50)
    )
    return next(each for each in found if each.facts and each.facts[0].kind == "hole")


def test_the_weights_are_those_of_the_card() -> None:
    weights = SHIPPED / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in CARD.read_text(encoding="utf-8")


def test_the_folder_is_a_small_standard_model_with_its_recipe() -> None:
    config = json.loads((SHIPPED / "config.json").read_text())
    assert config["architectures"] == ["FastVlmForConditionalGeneration"]
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 40_000_000
    recipe = json.loads((SHIPPED / "recipe.json").read_text())
    assert set(recipe) == {field.name for field in fields(Recipe)}


def test_its_name_and_its_folder_are_the_same_model(model: LocalChatModel) -> None:
    assert model.digest == open_model(f"hf:{SHIPPED}").digest  # type: ignore[attr-defined]
    assert "comes with anomalist" in describe("builtin")


def test_it_judges_a_place_in_two_readable_replies_that_cite_it(model: LocalChatModel, shown: Shown) -> None:
    reasoner = ModelReasoner(model, "builtin", normal_crop=lambda media, region: shown.counterpart(region))

    verdict = reasoner.judge(shown.media, shown.evidence, Recall(), load_policy())

    assert len(verdict.replies) == 2
    assert [opinion.by for opinion in verdict.opinions] == ["detector", "builtin"]
    assert any("R1" in claim.evidence for claim in verdict.claims)


def test_one_thread_and_two_see_the_same(model: LocalChatModel, shown: Shown) -> None:
    """Within 0.001 of probability: sums come out in another order."""
    question = user_message(Prompt("test", "0" * 64, "What is wrong at R1?"), [shown.whole()])
    options = ("scratch", "hole", "nothing")
    threads, seen = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            seen.append(choose(model, [question], options, seed=0).probabilities)
    finally:
        torch.set_num_threads(threads)
    assert seen[0] == pytest.approx(seen[1], abs=1e-3)
