"""The model in the box: a standard model in a folder, small, unchanged, and opened as any other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalist.agent.choice.model_choice import choose_by_model
from anomalist.agent.models.local import LocalChatModel
from anomalist.agent.models.selection import BUILTIN_WEIGHTS, describe_model, open_model
from anomalist.agent.models.structured import user_message
from anomalist.agent.reasoning.policy import load_policy
from anomalist.agent.reasoning.vlm_reasoner import VLMReasoner
from anomalist.prompts.templates import Prompt
from anomalist.training.small_model.curriculum import SmallModelRecipe
from anomalist.training.small_model.descriptions import CaseEvidence, make_case_evidence
from anomalist.training.synthetic_cases import draw_case, draw_product
from anomalist.types.common import Recall

CARD = Path(__file__).parents[3] / "docs" / "builtin.md"


@pytest.fixture(scope="module")
def model() -> LocalChatModel:
    opened = open_model("builtin")
    assert isinstance(opened, LocalChatModel)
    return opened


@pytest.fixture(scope="module")
def shown() -> CaseEvidence:
    products = [draw_product(seed) for seed in range(3)]
    found = (
        make_case_evidence(np.random.default_rng(seed), draw_case(np.random.default_rng(seed), products))
        for seed in range(50)
    )
    return next(each for each in found if each.facts and each.facts[0].kind == "hole")


def test_the_weights_are_those_of_the_card() -> None:
    weights = BUILTIN_WEIGHTS / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in CARD.read_text(encoding="utf-8")


def test_the_folder_is_a_small_standard_model_with_its_recipe() -> None:
    config = json.loads((BUILTIN_WEIGHTS / "config.json").read_text())
    assert config["architectures"] == ["FastVlmForConditionalGeneration"]
    assert sum(path.stat().st_size for path in BUILTIN_WEIGHTS.iterdir()) < 40_000_000
    recipe = json.loads((BUILTIN_WEIGHTS / "recipe.json").read_text())
    assert set(recipe) == {field.name for field in fields(SmallModelRecipe)}


def test_its_name_and_its_folder_are_the_same_model(model: LocalChatModel) -> None:
    assert model.digest == open_model(f"hf:{BUILTIN_WEIGHTS}").digest  # type: ignore[attr-defined]
    assert "comes with anomalist" in describe_model("builtin")


def test_it_judges_a_place_in_two_readable_replies_that_cite_it(
    model: LocalChatModel, shown: CaseEvidence
) -> None:
    reasoner = VLMReasoner(model, "builtin", normal_crop=lambda media, region: shown.counterpart(region))

    verdict = reasoner.judge(shown.media, shown.evidence, Recall(), load_policy())

    assert len(verdict.replies) == 2
    assert [opinion.by for opinion in verdict.opinions] == ["detector", "builtin"]
    assert any("R1" in claim.evidence for claim in verdict.claims)


def test_one_thread_and_two_see_the_same(model: LocalChatModel, shown: CaseEvidence) -> None:
    """Within 0.001 of probability: sums come out in another order."""
    question = user_message(Prompt("test", "0" * 64, "What is wrong at R1?"), [shown.whole()])
    options = ("scratch", "hole", "nothing")
    threads, seen = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            seen.append(choose_by_model(model, [question], options, seed=0).probabilities)
    finally:
        torch.set_num_threads(threads)
    assert seen[0] == pytest.approx(seen[1], abs=1e-3)
