"""The recipe of the shipped weights, on a tiny budget: end to end, and interrupted."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from anomalist.training.pretraining import PretrainingRecipe, pretrain, render_product, view_batches
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.detectors.pretext import HALF_SET, ViewBatch
from anomalist.vision.features.extractor import load_network, with_prefix
from anomalist.vision.features.surface_net import SurfaceNet, standardise
from anomalist.vision.synthetic_textures import TEXTURE_FAMILIES, Rng, is_rigid, render_surface

TINY = PretrainingRecipe(steps=5, sets=1, size=32, pool=2, every=2, warmup=2)
Source = Callable[[PretrainingRecipe, int], Iterator[ViewBatch]]
SCRIPT = Path(__file__).parents[2] / "scripts" / "pretrain.py"


@pytest.fixture(scope="module")
def whole() -> list[ViewBatch]:
    return list(view_batches(TINY))


@pytest.fixture
def source(whole: list[ViewBatch]) -> Source:
    """The batches of `TINY`, drawn once for all tests."""
    return lambda recipe, start: iter(whole[start : recipe.steps])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return pretrain(TINY, tmp_path_factory.mktemp("pretraining") / "whole.checkpoint")


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


# --- training -----------------------------------------------------------------------------------------------


def test_the_weights_fit_the_network_and_have_learned(uninterrupted: dict[str, Tensor]) -> None:
    torch.manual_seed(TINY.seed)
    untrained = SurfaceNet().state_dict()
    network = load_network(uninterrupted)
    assert not any(torch.equal(value, untrained[name]) for name, value in network.named_parameters())
    with torch.inference_mode():
        seen = network.forward_features(standardise(torch.rand(1, 3, 64, 64)))
        logits = network.head(seen.features, torch.zeros(1, 4, 8, 8))
    assert torch.isfinite(seen.descriptors).all()
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("stop", [1, 4])
def test_an_interrupted_training_goes_on_to_exactly_the_same_weights(
    stop: int, source: Source, uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    def interrupted(recipe: PretrainingRecipe, start: int) -> Iterator[ViewBatch]:
        return islice(source(recipe, start), stop - start)

    checkpoint = tmp_path / "part.checkpoint"
    pretrain(TINY, checkpoint, interrupted, save_every=stop)
    started = []

    def rest(recipe: PretrainingRecipe, start: int) -> Iterator[ViewBatch]:
        started.append(start)
        return source(recipe, start)

    assert_same(pretrain(TINY, checkpoint, rest), uninterrupted)
    assert started == [stop]


def test_what_was_not_saved_before_an_interruption_is_done_again(
    source: Source, uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    def broken(recipe: PretrainingRecipe, start: int) -> Iterator[ViewBatch]:
        yield from islice(source(recipe, start), 3 - start)
        raise KeyboardInterrupt

    checkpoint = tmp_path / "part.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        pretrain(TINY, checkpoint, broken, save_every=2)
    with safe_open(checkpoint, "pt") as file:
        assert file.metadata()["step"] == "2"
    assert_same(pretrain(TINY, checkpoint, source), uninterrupted)


def test_a_finished_training_is_not_done_again(
    source: Source, uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    def no_batches(recipe: PretrainingRecipe, start: int) -> Iterator[ViewBatch]:
        assert start == recipe.steps
        return iter(())

    checkpoint = tmp_path / "whole.checkpoint"
    pretrain(TINY, checkpoint, source)
    assert_same(pretrain(TINY, checkpoint, no_batches), uninterrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.checkpoint"]


@pytest.mark.parametrize(
    "other", [{"without": ("cells",)}, {"seed": 1}, {"steps": 2}, {"peak_rate": 1e-3}], ids=str
)
def test_a_checkpoint_of_another_recipe_is_refused(
    other: dict[str, object], source: Source, tmp_path: Path
) -> None:
    short = dataclasses.replace(TINY, steps=1)
    pretrain(short, tmp_path / "c", source)
    with pytest.raises(ValueError, match="another recipe"):
        pretrain(dataclasses.replace(short, **other), tmp_path / "c", source)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ema", "same"), [(0.0, True), (0.999, False)])
def test_the_weights_that_ship_are_an_average(ema: float, same: bool, source: Source, tmp_path: Path) -> None:
    average = pretrain(dataclasses.replace(TINY, steps=2, ema=ema), tmp_path / "c", source)
    last = with_prefix(load_file(tmp_path / "c"), "model.network.")
    for name in SurfaceNet().state_dict():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(average[name], last[name], rtol=0, atol=1e-7) == same


def test_the_rate_warms_up_and_falls_to_nothing(source: Source, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, steps=5, warmup=2, ema=0.0)
    torch.manual_seed(recipe.seed)
    states = [SurfaceNet().state_dict()]
    states += [with_prefix(load_file(path), "model.network.") for path in snapshots(recipe, source, tmp_path)]
    # Biases of normalised layers move by about the rate in every step of AdamW, in the first by just that.
    moved = [
        np.median([(b[name] - a[name]).abs().median() for name in a if name.endswith("1.bias")])
        for a, b in pairwise(states)
    ]
    assert moved[0] == pytest.approx(recipe.peak_rate / 2, rel=0.01)
    assert moved[1] > moved[2] > moved[3] > moved[4] > 0
    assert moved[4] < 0.5 * moved[1]


def snapshots(recipe: PretrainingRecipe, source: Source, folder: Path) -> list[Path]:
    """The checkpoint after every step."""
    checkpoint = folder / "checkpoint"

    def kept(recipe: PretrainingRecipe, start: int) -> Iterator[ViewBatch]:
        for step, views in enumerate(source(recipe, start), 1):
            yield views
            shutil.copy(
                checkpoint, folder / str(step)
            )  # this step is saved by the time that the next is drawn

    pretrain(recipe, checkpoint, kept, save_every=1)
    return [folder / str(step) for step in range(1, recipe.steps + 1)]


def test_the_loss_is_reported_now_and_then(whole: list[ViewBatch], tmp_path: Path) -> None:
    reports: list[tuple[int, float]] = []
    pretrain(
        dataclasses.replace(TINY, steps=100),
        tmp_path / "c",
        lambda recipe, start: (whole[0] for _ in range(start, recipe.steps)),
        lambda step, loss: reports.append((step, loss)),
    )
    assert [step for step, _ in reports] == [50, 100]
    assert reports[1][1] < reports[0][1]  # the same batch again and again can be learned by heart


# --- batches ----------------------------------------------------------------------------------------------


def test_a_product_is_pictures_for_one_set() -> None:
    for seed in range(4):
        pictures, rigid = render_product(seed, ("leaves",))
        assert len(pictures) == 2 * HALF_SET
        assert rigid == is_rigid(seed)
        drawn = [render_surface(seed, without=("leaves",), draw=draw) for draw in range(HALF_SET)]
        for view, picture in enumerate(pictures):
            assert np.array_equal(picture, drawn[view % HALF_SET])


@pytest.mark.parametrize("start", [1, 2, 4, 5])
def test_the_batches_from_the_middle_are_those_of_the_whole(start: int, whole: list[ViewBatch]) -> None:
    assert len(whole) == TINY.steps
    for expected, views in zip(whole[start:], view_batches(TINY, start), strict=True):
        assert views.views.shape == (TINY.sets, 2 * HALF_SET, TINY.size, TINY.size, 3)
        for name in ("views", "labels", "without_references"):
            assert np.array_equal(getattr(expected, name), getattr(views, name))


def test_products_are_replaced_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def noted(seed: int, without: tuple[str, ...]) -> tuple[list[UInt8Array], bool]:
        drawn.append(seed)
        return [np.zeros((40, 40, 3), np.uint8)] * (2 * HALF_SET), False

    monkeypatch.setattr("anomalist.training.pretraining.render_product", noted)
    recipe = dataclasses.replace(TINY, steps=9, pool=4, every=3)
    following = view_batches(recipe, 3)
    next(following)
    assert drawn == [1, 2, 3, 4]
    drawn.clear()
    assert len(list(following)) == 5
    assert drawn == [5]


def test_a_family_can_be_left_out_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(what: Rng, where: Rng, n: int) -> FloatArray:
        raise AssertionError("this family was left out")

    recipe = dataclasses.replace(TINY, pool=4)
    for name in ("leaves", "cells", "tiling", "traces"):
        monkeypatch.setitem(TEXTURE_FAMILIES, name, forbidden)
    next(view_batches(dataclasses.replace(recipe, without=("leaves", "cells", "tiling", "traces"))))
    with pytest.raises(AssertionError, match="left out"):
        next(view_batches(recipe))


# --- the script -------------------------------------------------------------------------------------------


def test_the_script_writes_the_weights_of_its_recipe(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    command = [sys.executable, SCRIPT, out, "--steps", "1", "--pool", "2", "--without", "leaves", "cells"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    recipe = PretrainingRecipe(steps=1, pool=2, without=("leaves", "cells"))
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["recipe"]) == json.loads(json.dumps(dataclasses.asdict(recipe)))
    # Drawn by another process or by this one, the batches are the same.
    expected = pretrain(recipe, tmp_path / "here.checkpoint")
    expected = {k: v.half() if v.is_floating_point() else v for k, v in expected.items()}
    assert_same(load_file(out), expected)
    load_network(load_file(out))
