"""The pretext: pairs of views, and losses that reward what they should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from anomalist.types import UInt8Array
from anomalist.vision.network import SurfaceNet
from anomalist.vision.surfaces import surface
from anomalist.vision.synthesis import DEFECT, IGNORE, NORMAL
from anomalist.vision.training import Pairs, Pretext, image_loss, make_pairs, pixel_loss

SIZE = 64
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Losses = pytest.mark.parametrize("loss", [pixel_loss, image_loss])


def labels_with(*, ignored: bool = False) -> torch.Tensor:
    """Two pictures, uint8 (2, 32, 32): the first with a defect, the second clean."""
    labels = torch.full((2, 32, 32), NORMAL, dtype=torch.uint8)
    labels[0, 8:16, 8:16] = DEFECT
    if ignored:
        labels[0, 16:20, 8:16] = IGNORE
    return labels


def logits_for(labels: torch.Tensor, sureness: float) -> torch.Tensor:
    """Right everywhere when ``sureness`` is positive, wrong everywhere when negative."""
    return torch.where(labels == DEFECT, sureness, -sureness).float()


# --- losses -----------------------------------------------------------------------------------------------


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


# --- pretext ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return make_pairs((0, 3), [(surface(s, 96), surface(s, 96)) for s in range(3)], SIZE, turn=True)


def test_every_weight_learns_from_the_pretext(pairs: Pairs) -> None:
    torch.manual_seed(0)
    model = Pretext(SurfaceNet())
    assert (pairs.labels == DEFECT).any()
    loss = model(pairs, half=False)
    loss.backward()
    assert torch.isfinite(loss)
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_half_precision_gives_about_the_same_loss(pairs: Pairs) -> None:
    torch.manual_seed(0)
    model = Pretext(SurfaceNet())
    with torch.no_grad():
        assert model(pairs, half=True).item() == pytest.approx(model(pairs, half=False).item(), rel=0.05)


class FixedNet(torch.nn.Module):
    """Gives each picture's blocks the descriptors it was made with; no logits to speak of."""

    def __init__(self, descriptors: torch.Tensor) -> None:
        super().__init__()
        self.descriptors = descriptors

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(pictures), 1, *pictures.shape[2:]), self.descriptors


def neighbour_loss(descriptors: torch.Tensor, labels: UInt8Array) -> float:
    """Loss of one pair whose logits are all 0, so that only the descriptors make a difference."""
    pairs = Pairs(np.zeros((*labels.shape, 3), np.uint8), labels)
    loss = Pretext(FixedNet(descriptors))(pairs, half=False)  # type: ignore[arg-type]
    return float(loss.item())


def test_blocks_with_a_defect_should_be_far_from_the_reference_and_others_near() -> None:
    labels = np.full((2, 32, 32), NORMAL, np.uint8)
    labels[0, :8, :8] = DEFECT
    near = torch.zeros(2, 64, 4, 4)
    near[:, 0] = 1
    separated = near.clone()
    separated[0, :, 0, 0] = 0
    separated[0, 5, 0, 0] = 1
    reversed_ = near.clone()
    reversed_[0, 0], reversed_[0, 5] = 0, 1
    reversed_[0, :, 0, 0] = near[0, :, 0, 0]
    losses = [neighbour_loss(descriptors, labels) for descriptors in (separated, near, reversed_)]
    assert losses == sorted(losses)
    assert losses[0] < losses[1] - 0.1 < losses[2] - 0.2


def test_blocks_that_are_partly_ignored_do_not_count() -> None:
    labels = np.full((2, 32, 32), NORMAL, np.uint8)
    labels[0, 3, 3] = IGNORE
    near = torch.zeros(2, 64, 4, 4)
    near[:, 0] = 1
    far = near.clone()
    far[0, 0, 0, 0], far[0, 5, 0, 0] = 0, 1  # the first block
    assert neighbour_loss(far, labels) == pytest.approx(neighbour_loss(near, labels))
    labels[0, 3, 3] = NORMAL
    assert neighbour_loss(far, labels) > neighbour_loss(near, labels) + 0.01


# --- pairs ------------------------------------------------------------------------------------------------


def test_a_batch_holds_views_and_their_clean_references_and_follows_its_seed() -> None:
    pictures = [(surface(s, 96), surface(s + 1, 96)) for s in range(3)]
    first, again, other = (make_pairs(seed, pictures, SIZE, turn=True) for seed in ((0, 1), (0, 1), (0, 2)))
    assert first.views.shape == (6, SIZE, SIZE, 3)
    assert first.labels.shape == (6, SIZE, SIZE)
    assert first.views.dtype == first.labels.dtype == np.uint8
    assert (first.labels[3:] == NORMAL).all()
    assert np.array_equal(first.views, again.views)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.views, other.views)


def test_most_views_have_a_defect_and_some_have_none() -> None:
    pictures = [(surface(s, 64), surface(s, 64)) for s in range(60)]
    drawn = make_pairs((0,), pictures, SIZE, turn=False)
    marked = (drawn.labels[:60] != NORMAL).any((1, 2))
    assert 40 <= marked.sum() <= 58


@pytest.mark.parametrize("shape", [(20, 64), (64, 20), (50, 50), (200, 70)])
def test_pictures_of_any_size_give_views(shape: tuple[int, int]) -> None:
    picture = surface(0, 256)[: shape[0], : shape[1]]
    assert make_pairs((0,), [(picture, picture)], SIZE, turn=True).views.shape == (2, SIZE, SIZE, 3)


def test_views_are_turned_only_when_asked() -> None:
    ramp = np.broadcast_to(np.linspace(40, 200, 80, dtype=np.uint8)[None, :, None], (80, 80, 3)).copy()

    def rises(turn: bool) -> list[bool]:
        references = make_pairs((0,), [(ramp, ramp)] * 20, SIZE, turn=turn).views[20:].astype(float)
        return [bool(view[:, 44:].mean() > view[:, :20].mean() + 20) for view in references]

    assert all(rises(turn=False))
    assert not all(rises(turn=True))
