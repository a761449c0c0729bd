"""The pretext: sets of views of a product, and losses that reward what they should."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.detectors import pretext
from anomalist.vision.detectors.pretext import (
    HALF_SET,
    PretextModel,
    ViewBatch,
    image_loss,
    make_view_batch,
    make_view_set,
    pixel_loss,
    reference_distances,
    segmentation_loss,
)
from anomalist.vision.features.surface_net import SurfaceNet
from anomalist.vision.synthetic_defects import DEFECT, IGNORE, NORMAL
from anomalist.vision.synthetic_textures import Rng, render_surface

SIZE = 64
Loss = Callable[[Tensor, Tensor], Tensor]
Losses = pytest.mark.parametrize("loss", [pixel_loss, image_loss, segmentation_loss])


@cache
def product(seed: int, n: int = 96) -> list[UInt8Array]:
    return [render_surface(seed, n, draw=draw) for draw in range(2)] * HALF_SET


# --- losses -----------------------------------------------------------------------------------------------


def labels_with(*, ignored: bool = False) -> Tensor:
    """Two pictures, uint8 (2, 32, 32): the first with a defect, the second clean."""
    labels = torch.full((2, 32, 32), NORMAL, dtype=torch.uint8)
    labels[0, 8:16, 8:16] = DEFECT
    if ignored:
        labels[0, 16:20, 8:16] = IGNORE
    return labels


def logits_for(labels: Tensor, sureness: float) -> Tensor:
    """Right everywhere when ``sureness`` is positive, wrong everywhere when negative."""
    return torch.where(labels == DEFECT, sureness, -sureness).float()


@Losses
def test_the_loss_falls_from_wrong_over_undecided_to_right(loss: Loss) -> None:
    labels = labels_with()
    values = [loss(logits_for(labels, sureness), labels).item() for sureness in (-6, -1, 0, 1, 6, 20)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 10 * values[-1]
    assert values[-1] < 0.05


@Losses
def test_ignored_pixels_have_no_influence(loss: Loss) -> None:
    labels = labels_with(ignored=True)
    logits = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    other = torch.where(labels == IGNORE, 9.0, logits.detach())
    assert loss(logits, labels).item() == pytest.approx(loss(other, labels).item())
    loss(logits, labels).backward()
    assert logits.grad is not None
    assert not logits.grad[labels == IGNORE].any()
    assert logits.grad[labels != IGNORE].any()


def test_a_missed_defect_costs_more_than_a_false_alarm_of_the_same_size() -> None:
    labels = labels_with()
    right = logits_for(labels, 4)
    missed, false_alarm = right.clone(), right.clone()
    missed[0, 8:16, 8:16] = -4
    false_alarm[1, 8:16, 8:16] = 4
    assert pixel_loss(missed, labels) > pixel_loss(false_alarm, labels)


def test_a_picture_whose_only_defect_is_ignored_has_no_image_loss() -> None:
    labels = labels_with()
    alone = image_loss(logits_for(labels, 1), labels)
    unclear = torch.full((1, 32, 32), NORMAL, dtype=torch.uint8)
    unclear[0, 4:6, 4:6] = IGNORE
    joined = torch.cat([labels, unclear])
    logits = torch.cat([logits_for(labels, 1), torch.full((1, 32, 32), 7.0)])
    assert image_loss(logits, joined).item() == pytest.approx(alone.item())


@Losses
def test_nothing_but_ignored_pixels_costs_nothing(loss: Loss) -> None:
    assert loss(torch.zeros(2, 32, 32), torch.full((2, 32, 32), IGNORE, dtype=torch.uint8)).item() == 0


def neighbour_loss(distances: Tensor, labels: UInt8Array) -> float:
    model = PretextModel(SurfaceNet())
    return float(model.neighbour_loss(distances, torch.from_numpy(labels)).item())


def test_blocks_with_a_defect_should_be_far_from_the_references_and_others_near() -> None:
    labels = np.full((2, 32, 32), NORMAL, np.uint8)
    labels[0, :8, :8] = DEFECT
    near, separated = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    separated[0, 0, 0] = 2
    losses = [neighbour_loss(distances, labels) for distances in (separated, near, 2 - separated)]
    assert losses == sorted(losses)
    assert losses[0] < losses[1] - 0.1 < losses[2] - 0.2


def test_blocks_that_are_partly_ignored_do_not_count() -> None:
    labels = np.full((2, 32, 32), NORMAL, np.uint8)
    labels[0, 3, 3] = IGNORE
    near, far = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    far[0, 0, 0] = 2
    assert neighbour_loss(far, labels) == pytest.approx(neighbour_loss(near, labels))
    labels[0, 3, 3] = NORMAL
    assert neighbour_loss(far, labels) > neighbour_loss(near, labels) + 0.01


@pytest.mark.parametrize(("pixels", "defective"), [(6, False), (7, True), (64, True)])
def test_a_block_is_defective_when_a_tenth_of_its_pixels_are(pixels: int, defective: bool) -> None:
    labels = np.full((1, 32, 32), NORMAL, np.uint8)
    labels[0, :8, :8] = np.where(np.arange(64) < pixels, DEFECT, NORMAL).reshape(8, 8)
    near, far = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    far[0, 0, 0] = 2
    difference = neighbour_loss(near, labels) - neighbour_loss(far, labels)
    assert difference > 0.1 if defective else difference == 0


def test_defective_blocks_weigh_as_much_as_normal_ones_however_rare() -> None:
    distances = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = np.full((3, 32, 32), NORMAL, np.uint8)
    labels[0, :8, :8] = DEFECT
    again = np.concatenate([labels, labels[1:]])  # more normal blocks, the same ones
    labels[0] = np.where(labels[0] == DEFECT, DEFECT, IGNORE)
    again[0] = labels[0]
    repeated = torch.cat([distances, distances[1:]])
    assert neighbour_loss(repeated, again) == pytest.approx(neighbour_loss(distances, labels))


# --- looking up -------------------------------------------------------------------------------------------


def unit_vectors(sets: int, d: int = 8, height: int = 3, width: int = 2) -> Tensor:
    drawn = torch.randn(sets * 2 * HALF_SET, d, height, width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(drawn, dim=1)


def test_patches_are_looked_up_as_in_a_slow_search() -> None:
    descriptors = unit_vectors(sets=2)
    found = reference_distances(descriptors)
    assert found.shape == (4 * HALF_SET, 3, 2)
    patches = descriptors.permute(0, 2, 3, 1).numpy()
    for index, view in enumerate(patches):
        first = index - index % (2 * HALF_SET) + HALF_SET  # of the references of its set
        others = [patches[first + k] for k in range(HALF_SET) if k != index % HALF_SET]
        pool = np.concatenate([other.reshape(-1, 8) for other in others])
        expected = ((view[:, :, None] - pool) ** 2).sum(3).min(2)
        assert found[index].numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("view", range(2 * HALF_SET))
def test_a_view_is_not_looked_up_in_its_own_or_its_counterparts_reference(view: int) -> None:
    descriptors = unit_vectors(sets=1)
    own = HALF_SET + view % HALF_SET
    changed = descriptors.clone()
    changed[own] = -changed[own]
    before, after = reference_distances(descriptors), reference_distances(changed)
    if view == own:
        assert before[view].min() > 0.01  # it has not found itself
    else:
        assert torch.equal(before[view], after[view])
    for other in range(HALF_SET):
        if other != view % HALF_SET:
            assert not torch.equal(before[other], after[other])
    twin = descriptors.clone()
    twin[view] = twin[HALF_SET + (view + 1) % HALF_SET]
    assert reference_distances(twin)[view].numpy() == pytest.approx(0, abs=1e-5)


# --- pretext ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch() -> ViewBatch:
    views = make_view_batch((0, 3), [(product(s), False) for s in range(2)], SIZE, turn=True)
    return ViewBatch(views.views, views.labels, np.array([False, True]))


@pytest.fixture
def model() -> PretextModel:
    torch.manual_seed(0)
    return PretextModel(SurfaceNet())


def test_every_weight_learns_from_the_pretext(batch: ViewBatch, model: PretextModel) -> None:
    assert (batch.labels == DEFECT).any()
    loss = model(batch, half=False)
    loss.backward()
    assert loss.shape == ()
    assert torch.isfinite(loss)
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_half_precision_gives_about_the_same_loss(batch: ViewBatch, model: PretextModel) -> None:
    with torch.no_grad():
        assert model(batch, half=True).item() == pytest.approx(model(batch, half=False).item(), rel=0.05)


def test_sets_that_are_judged_alone_do_not_show_the_head_any_strangeness(
    batch: ViewBatch, model: PretextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    def head(features: tuple[Tensor, ...], novelty: Tensor) -> Tensor:
        shown.append(novelty)
        return torch.zeros(len(novelty), SIZE, SIZE)

    monkeypatch.setattr(model.network.head, "forward", head)
    model(batch, half=False)
    (novelty,) = shown
    compared, alone = novelty[: 2 * HALF_SET], novelty[2 * HALF_SET :]
    assert (compared[:, 1] == 1).all()
    assert not alone[:, :2].any()
    references = 4 * compared[HALF_SET:, 0]  # their own distances are the scale that others are measured on
    assert abs(references.mean().item()) < 0.1
    assert 0.2 < references.std().item() <= 1.01


# --- sets -------------------------------------------------------------------------------------------------


def test_a_batch_holds_views_and_their_clean_references_and_follows_its_seed() -> None:
    products = [(product(0), False), (product(1), True)]
    first, again, other = (
        make_view_batch(seed, products, SIZE, turn=True) for seed in ((0, 1), (0, 1), (0, 2))
    )
    assert first.views.shape == (2, 2 * HALF_SET, SIZE, SIZE, 3)
    assert first.labels.shape == (2, 2 * HALF_SET, SIZE, SIZE)
    assert first.views.dtype == first.labels.dtype == np.uint8
    assert first.without_references.shape == (2,)
    assert first.without_references.dtype == np.bool_
    assert (first.labels[:, HALF_SET:] == NORMAL).all()
    for name in ("views", "labels", "without_references"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.views, other.views)


def test_a_batch_is_its_sets() -> None:
    products = [(product(0), False), (product(1), True)]
    views = make_view_batch((5,), products, SIZE, turn=True)
    rng = np.random.default_rng((5,))
    for index, (pictures, rigid) in enumerate(products):
        first, references = make_view_set(rng, pictures, SIZE, rigid=rigid, turn=True)
        assert len(first) == len(references) == HALF_SET
        for view, label, (expected, expected_label) in zip(
            views.views[index], views.labels[index], first + references, strict=True
        ):
            assert view / 255 == pytest.approx(expected, abs=0.51 / 255)
            assert np.array_equal(label, expected_label)


def test_most_views_have_a_defect_and_some_sets_are_judged_alone() -> None:
    products = [product(seed, 48) for seed in range(2)]
    views = make_view_batch((0,), [(products[k % 2], False) for k in range(24)], 32, turn=False)
    marked = (views.labels[:, :HALF_SET] != NORMAL).any((2, 3))
    assert 0.6 < marked.mean() < 0.97
    assert 1 <= views.without_references.sum() <= 14


def test_references_are_normal_surface_with_nothing_added(monkeypatch: pytest.MonkeyPatch) -> None:
    def glaring(rng: Rng, image: FloatArray, donor: FloatArray) -> tuple[FloatArray, UInt8Array]:
        return np.ones_like(image), np.full(image.shape[:2], DEFECT, np.uint8)

    monkeypatch.setattr(pretext, "add_defect", glaring)
    monkeypatch.setattr(pretext, "augment", lambda rng, view: view)
    dark = [np.full((80, 80, 3), 40, np.uint8)] * (2 * HALF_SET)
    views = make_view_batch((0,), [(dark, False)] * 8, 32, turn=True)
    assert (views.views[:, HALF_SET:] == 40).all()
    assert np.array_equal(views.views[:, :HALF_SET, ..., 0] == 255, views.labels[:, :HALF_SET] == DEFECT)
    assert set(np.unique(views.views[:, :HALF_SET])) == {40, 255}


def test_a_second_defect_does_not_take_back_the_label_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = np.full((32, 32), NORMAL, np.uint8)
    first, second = fresh.copy(), fresh.copy()
    first[:8], first[8:16] = DEFECT, IGNORE
    second[4:12], second[12:20] = IGNORE, DEFECT
    given = []

    def in_turn(rng: Rng, image: FloatArray, donor: FloatArray) -> tuple[FloatArray, UInt8Array]:
        if image.max() < 0.5:
            return image + 1, first
        given.append(second)
        return image, second

    monkeypatch.setattr(pretext, "add_defect", in_turn)
    monkeypatch.setattr(pretext, "augment", lambda rng, view: view)
    dark = [np.full((64, 64, 3), 40, np.uint8)] * (2 * HALF_SET)
    rng = np.random.default_rng(0)
    found = [label for _ in range(8) for _, label in make_view_set(rng, dark, 32, rigid=False, turn=True)[0]]
    both = fresh.copy()
    both[:8], both[8:12], both[12:20] = DEFECT, IGNORE, DEFECT
    assert given
    assert sum(np.array_equal(label, both) for label in found) == len(given)
    assert all(any(np.array_equal(label, one) for one in (fresh, first, both)) for label in found)


# --- windows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rigid", [True, False])
@pytest.mark.parametrize("shape", [(20, 64), (64, 20), (50, 50), (200, 70)])
def test_pictures_of_any_size_give_views(shape: tuple[int, int], rigid: bool) -> None:
    pictures = [render_surface(0, 200)[: shape[0], : shape[1]]] * (2 * HALF_SET)
    assert make_view_batch((0,), [(pictures, rigid)], SIZE, turn=True).views.shape[1:3] == (
        2 * HALF_SET,
        SIZE,
    )


def places(*, rigid: bool, turn: bool, sets: int = 12) -> FloatArray:
    """Where the references of some sets were cut, x and y in pixels: float (sets, HALF, 2).

    Found by letting red tell x and green y, with nothing disturbed.
    """
    y, x = np.mgrid[0:200, 0:200].astype(np.uint8)
    picture = np.stack([x, y, np.zeros_like(x)], 2)
    views = make_view_batch((1,), [([picture] * (2 * HALF_SET), rigid)] * sets, 32, turn=turn).views
    return np.asarray(views[:, HALF_SET:, ..., :2].mean((2, 3)), np.float32)


@pytest.mark.parametrize("turn", [True, False])
def test_windows_on_rigid_products_are_at_nearly_the_same_place_and_others_anywhere(
    turn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretext, "augment", lambda rng, view: view)
    rigid, loose = places(rigid=True, turn=turn), places(rigid=False, turn=turn)
    assert 1 < rigid.std(1).mean() < 5
    assert abs(rigid - rigid.mean(1, keepdims=True)).max() < 12
    assert loose.std(1).mean() > 10
    assert rigid.mean(1).std(0).min() > 10  # from set to set they are anywhere, too


def test_views_are_never_larger_than_the_picture_nor_finer_than_its_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretext, "augment", lambda rng, view: view)
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (200, 200, 3)).copy()
    views = make_view_batch((0,), [([ramp] * (2 * HALF_SET), False)] * 12, 32, turn=False).views
    steps = np.diff(views[:, HALF_SET:, 16, :, 0].astype(float)).mean(2)  # pixels of the picture per pixel
    assert steps.min() > 0.95
    assert steps.max() < 200 / 32 * 1.05
    assert (abs(steps - 1) < 0.05).any()
    assert (steps > 2).any()
    assert np.ptp(steps, axis=1).max() < 0.3  # alike within a set


def rises(*, turn: bool) -> UInt8Array:
    """Towards which side the references of some sets get lighter: 0 to 3, (sets, HALF)."""
    ramp = np.broadcast_to(np.linspace(40, 200, 80, dtype=np.uint8)[None, :, None], (80, 80, 3)).copy()
    views = make_view_batch((0,), [([ramp] * (2 * HALF_SET), False)] * 10, 32, turn=turn).views[
        :, HALF_SET:, ..., 0
    ]
    grey = views.astype(float)
    halves = (
        grey[..., 20:].mean((2, 3)) - grey[..., :12].mean((2, 3)),
        (grey[..., 20:, :].mean((2, 3)) - grey[..., :12, :].mean((2, 3))),
    )
    sides = np.stack([halves[0], halves[1], -halves[0], -halves[1]])
    return np.asarray(sides.argmax(0), np.uint8)


def test_views_are_turned_only_when_asked_and_those_of_a_set_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretext, "augment", lambda rng, view: view)
    assert not rises(turn=False).any()
    turned = rises(turn=True)
    assert set(turned[:, 0]) == {0, 1, 2, 3}
    assert all(np.array_equal(a, b) for a, b in pairwise(turned.T))
