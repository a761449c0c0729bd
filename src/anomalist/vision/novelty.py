"""How novel each patch of a picture is: against remembered normal patches, and within its own picture.

The second kind is in the spirit of INP-Former (Luo et al. 2025): normal patches have kin in their own
picture, odd ones have none. Import this module inside functions only: it needs torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_WARMTH = 0.07  # of the soft count of kin: about as much similarity as one normal patch differs from the next
_REACH = 3  # patches nearer than that show the same thing
_FLOOR, _CEILING = -4.0, 12.0


def kinlessness(descriptors: Tensor) -> Tensor:
    """How little kin each patch has among the other patches of its picture.

    One minus the log-mean-exp (temperature 0.07) of its cosine similarities to all others: 0 when all are
    alike, up to 2. A soft count instead of a nearest neighbour, so that a second odd patch next to the first
    does not make either normal.

    ``descriptors`` is float (B, d, h, w), unit vectors. Returns float (B, h, w).
    """
    _, _, height, width = descriptors.shape
    # One picture at a time: the n × n similarities of a whole batch would be most of what memory it takes.
    return torch.stack([_kinless(one).reshape(height, width) for one in descriptors.flatten(2)])


def _kinless(patches: Tensor) -> Tensor:
    """The same for the patches of one picture, float (d, n) to (n,)."""
    similar = patches.T @ patches / _WARMTH
    similar.diagonal().fill_(-torch.inf)  # not its own kin
    others = max(1, patches.shape[1] - 1)
    return 1 - _WARMTH * (similar.logsumexp(1) - math.log(others))


def strangeness_within(descriptors: Tensor) -> Tensor:
    """How strange each patch is to the rest of its own picture, as if that were all that is known of normal.

    The mean distance to the nearest hundredth of the patches that are more than three patches away, in
    standard deviations of the picture's own such distances. In pictures too small to have patches elsewhere
    all are 0. ``descriptors`` is float (B, d, h, w), unit vectors; returns float (B, h, w) as `strange` does.
    """
    _, _, height, width = descriptors.shape
    near = _within(height, _REACH)[:, None, :, None] & _within(width, _REACH)[None, :, None, :]
    near = near.reshape(height * width, height * width)
    maps = []
    for patches in descriptors.flatten(2):
        similar = (patches.T @ patches).masked_fill(near, -1.0)
        distance = 2 - 2 * similar.topk(max(1, len(near) // 100), 1).values.mean(1)
        maps.append(strange(distance, distance.mean(), distance.std()).reshape(height, width))
    return torch.stack(maps)


def _within(length: int, reach: int) -> Tensor:
    """Bool (length, length), which positions are at most ``reach`` apart."""
    places = torch.arange(length)
    return (places[:, None] - places[None]).abs() <= reach


def nearest_distance(descriptors: Tensor, others: Tensor) -> Tensor:
    """Squared distance of each patch to its nearest among ``others``.

    ``descriptors`` is float (B, d, h, w) and ``others`` float (B, d, n), unit vectors. Returns float
    (B, h, w), 0 to 4.
    """
    batch, _, height, width = descriptors.shape
    similar = descriptors.flatten(2).transpose(1, 2) @ others
    return (2 - 2 * similar.amax(2)).reshape(batch, height, width)


def novelty_maps(alone: Tensor, strangeness: Tensor | None) -> Tensor:
    """What the head of `SurfaceNet` is told about the novelty of patches.

    Parameters
    ----------
    alone : float (B, h, w), `kinlessness`.
    strangeness : float (B, h, w), distance to the nearest normal patch as `strange` gives it; NaN in pictures
        without normals to compare with, None when that is all of them.

    Returns
    -------
    float (B, 4, h, w): strangeness (0 where unknown), whether it is known, kinlessness, and the same in
    standard deviations within the picture.
    """
    if strangeness is None:
        strangeness = torch.full_like(alone, torch.nan)
    known = ~strangeness.isnan()
    mean, spread = alone.mean((1, 2), keepdim=True), alone.std((1, 2), keepdim=True)
    within = ((alone - mean) / (spread + 0.02)).clamp(_FLOOR, _CEILING)
    return torch.stack([strangeness.nan_to_num(0.0) / 4, known.float(), alone, within / 4], 1)


def strange(distances: Tensor, mean: Tensor | float, spread: Tensor | float) -> Tensor:
    """Distances in standard deviations of what is usual on normals, −4 to 12; any shape."""
    return ((distances - mean) / (spread + 0.02)).clamp(_FLOOR, _CEILING)
