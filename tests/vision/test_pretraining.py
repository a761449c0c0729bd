"""The recipe of the shipped weights, on a tiny budget: end to end, and interrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalist.vision.network import SurfaceNet, standardise
from anomalist.vision.pretraining import Recipe, batches, pretrain
from anomalist.vision.training import Pairs

TINY = Recipe(steps=6, pairs=1, size=64, pool=3, warmup=2)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return pretrain(TINY, tmp_path_factory.mktemp("pretraining") / "whole.checkpoint")


def interrupted(recipe: Recipe, start: int) -> Iterator[Pairs]:
    """The batches of the recipe, but the fifth never comes."""
    return islice(batches(recipe, start), 4 - start)


def test_the_weights_fit_the_network_and_have_learned(uninterrupted: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(TINY.seed)
    network = SurfaceNet()
    untrained = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(uninterrupted)
    assert not any(torch.equal(value, untrained[name]) for name, value in network.named_parameters())
    with torch.inference_mode():
        logits, descriptors = network.eval()(standardise(torch.rand(1, 3, 64, 64)))
    assert torch.isfinite(logits).all()
    assert torch.isfinite(descriptors).all()


def test_an_interrupted_training_goes_on_to_exactly_the_same_weights(
    uninterrupted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "part.checkpoint"
    pretrain(TINY, checkpoint, interrupted, save_every=4)
    resumed = pretrain(TINY, checkpoint)
    assert resumed.keys() == uninterrupted.keys()
    assert all(torch.equal(resumed[name], value) for name, value in uninterrupted.items())


def test_a_finished_training_is_not_done_again(
    uninterrupted: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    def no_batches(recipe: Recipe, start: int) -> Iterator[Pairs]:
        assert start == recipe.steps
        return iter(())

    checkpoint = tmp_path / "whole.checkpoint"
    pretrain(TINY, checkpoint)
    again = pretrain(TINY, checkpoint, no_batches)
    assert all(torch.equal(again[name], value) for name, value in uninterrupted.items())
    assert [path.name for path in tmp_path.iterdir()] == ["whole.checkpoint"]


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    short = dataclasses.replace(TINY, steps=1)
    pretrain(short, tmp_path / "c")
    with pytest.raises(ValueError, match="another recipe"):
        pretrain(dataclasses.replace(short, without=("cells",)), tmp_path / "c")


def test_the_loss_is_reported_now_and_then(tmp_path: Path) -> None:
    reports: list[tuple[int, float]] = []
    recipe = dataclasses.replace(TINY, steps=100, size=32)
    (pairs,) = islice(batches(recipe), 1)
    pretrain(
        recipe,
        tmp_path / "c",
        lambda recipe, start: (pairs for _ in range(start, recipe.steps)),
        lambda step, loss: reports.append((step, loss)),
    )
    assert [step for step, _ in reports] == [50, 100]
    assert reports[1][1] < reports[0][1]  # the same batch again and again can be learned by heart


def test_the_batches_from_the_middle_are_those_of_the_whole() -> None:
    recipe = dataclasses.replace(TINY, fresh=2)
    whole = list(batches(recipe))
    assert len(whole) == recipe.steps
    for expected, pairs in zip(whole[4:], batches(recipe, 4), strict=True):
        assert np.array_equal(expected.views, pairs.views)
        assert np.array_equal(expected.labels, pairs.labels)


def test_a_family_can_be_left_out_of_the_recipe() -> None:
    (plain,), (all_families,) = (
        list(islice(batches(recipe), 1))
        for recipe in (dataclasses.replace(TINY, without=("rough", "brushed", "cells", "leaves")), TINY)
    )
    assert not np.array_equal(plain.views, all_families.views)
