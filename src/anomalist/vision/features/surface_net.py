"""SurfaceNet: a U-Net with patch descriptors and a segmentation head conditioned on patch novelty.

The *trunk*, a U-Net on 2×2 pixel blocks (space-to-depth, so that hairlines keep their pixels) with strides 2
to 32, gives features and, for every 8×8 block, a unit descriptor. The *head* takes features and the novelty
of the descriptors and gives a defect logit for every pixel. Novelty is measured in two ways: as a clipped
z-score of the distance to the nearest normal patch (PatchCore, Roth et al. 2022), and within the picture
itself (isolation), as INP-Former (Luo et al. 2025) does. Needs torch: import it inside functions only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

CHANNELS = (32, 48, 96, 128, 160)
"""Channels of the levels, from stride 2 to stride 32."""
_DESCRIPTOR_LEVEL = 2  # level of the patch descriptors, stride 8
DESCRIPTOR_SIZE = 64
"""Dimensions of a patch descriptor."""
DESCRIPTOR_STRIDE: int = 2 ** (_DESCRIPTOR_LEVEL + 1)
"""Side of a patch, pixels."""
SIZE_MULTIPLE: int = 2 ** len(CHANNELS)
"""Height and width of the input must be multiples of this."""
NOVELTY_MAPS = 4
"""Channels of `novelty_maps`."""


@dataclass(frozen=True, eq=False)
class TrunkOutput:
    """Output of the trunk for a batch of pictures (B, 3, H, W).

    Parameters
    ----------
    features : float (B, c, H/s, W/s) at strides 2, 4 and 8, for the head.
    descriptors : float (B, 64, H/8, W/8), unit vectors along axis 1.
    """

    features: tuple[Tensor, ...]
    descriptors: Tensor


def _conv_block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class _GlobalContext(nn.Module):
    """Global context: add the mean and standard deviation over the picture to every position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3))
        spread = (x - mean[..., None, None]).square().mean((2, 3)).add(1e-6).sqrt()
        return F.relu(x + self.mix(torch.cat([mean, spread], 1))[..., None, None])


class SegmentationHead(nn.Module):
    """Segmentation head: features and novelty maps to defect logits."""

    def __init__(self) -> None:
        super().__init__()
        described = CHANNELS[_DESCRIPTOR_LEVEL]
        self.mix = _conv_block(described + NOVELTY_MAPS, described)
        self.refine = nn.ModuleList(
            _conv_block(a + b, a) for a, b in pairwise(CHANNELS[: _DESCRIPTOR_LEVEL + 1])
        )
        self.logits = nn.Conv2d(CHANNELS[0], 4, 3, padding=1)
        _to_channels_last(self)

    def forward(self, features: tuple[Tensor, ...], novelty: Tensor) -> Tensor:
        """Defect logit of every pixel.

        Parameters
        ----------
        features : of the trunk, see `TrunkOutput`.
        novelty : float (B, ``NOVELTY_MAPS``, H/8, W/8), as `novelty_maps` gives it.

        Returns
        -------
        logits : float (B, H, W), above 0 means defect.
        """
        x = self.mix(torch.cat([features[-1], novelty], 1))
        for level in reversed(range(_DESCRIPTOR_LEVEL)):
            x = self.refine[level](_upsample_and_concat(features[level], x))
        logits: Tensor = F.pixel_shuffle(self.logits(x), 2)[:, 0]
        return logits


class SurfaceNet(nn.Module):
    """Trunk and head; random weights until a state is loaded."""

    def __init__(self) -> None:
        super().__init__()
        finest, described, coarsest = CHANNELS[0], CHANNELS[_DESCRIPTOR_LEVEL], CHANNELS[-1]
        self.stem = nn.Conv2d(4 * 3, finest, 3, padding=1)
        self.encoder = nn.ModuleList(_conv_block(a, b) for a, b in pairwise((finest, *CHANNELS)))
        self.context = _GlobalContext(coarsest)
        self.decoder = nn.ModuleList(_conv_block(a + b, a) for a, b in pairwise(CHANNELS[_DESCRIPTOR_LEVEL:]))
        self.describe = nn.Sequential(
            nn.Conv2d(2 * described, 128, 1), nn.ReLU(), nn.Conv2d(128, DESCRIPTOR_SIZE, 1)
        )
        self.head = SegmentationHead()
        _to_channels_last(self)

    def forward_features(self, pictures: Tensor) -> TrunkOutput:
        """Run the trunk.

        ``pictures`` is float (B, 3, H, W), standardised by `standardise`; H and W multiples of
        ``SIZE_MULTIPLE``. Raises ValueError when they have another shape.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or any(n % SIZE_MULTIPLE for n in pictures.shape[2:]):
            raise ValueError(
                f"pictures must be (B, 3, H, W) with H and W multiples of {SIZE_MULTIPLE}, "
                f"got {tuple(pictures.shape)}"
            )
        x = self.stem(F.pixel_unshuffle(pictures, 2))
        encoded: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2) if level else x)
            encoded.append(x)
        x = self.context(x)
        for level in reversed(range(_DESCRIPTOR_LEVEL, len(CHANNELS) - 1)):
            x = self.decoder[level - _DESCRIPTOR_LEVEL](_upsample_and_concat(encoded[level], x))
        descriptors = self.describe(torch.cat([encoded[_DESCRIPTOR_LEVEL], x], 1))
        return TrunkOutput((*encoded[:_DESCRIPTOR_LEVEL], x), F.normalize(descriptors.float(), dim=1))


def _to_channels_last(module: nn.Module) -> None:
    """Store weights channels last, as Module.to(memory_format=…) does, which torch's types don't know."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _upsample_and_concat(finer: Tensor, coarser: Tensor) -> Tensor:
    """Upsample the coarser features twofold and concatenate them to the finer ones."""
    return torch.cat([finer, F.interpolate(coarser, scale_factor=2.0)], 1)


def standardise(pictures: Tensor) -> Tensor:
    """Standardise exposure: subtract each picture's mean and divide by its standard deviation.

    ``pictures`` is float (B, 3, H, W) in [0, 1]. The floor under the spread keeps noise on a plain surface
    from being blown up.
    """
    mean = pictures.mean((1, 2, 3), keepdim=True)
    spread = pictures.std((1, 2, 3), keepdim=True)
    return (pictures - mean) / (spread + 0.08)


_TEMPERATURE = 0.07  # of the log-mean-exp: about the spread of similarity among normal patches
_EXCLUSION_RADIUS = 3  # patches; nearer ones show the same thing
_MIN_Z, _MAX_Z = -4.0, 12.0


def isolation(descriptors: Tensor) -> Tensor:
    """Isolation of each patch: its dissimilarity to the other patches of its picture.

    One minus the log-mean-exp (temperature 0.07) of its cosine similarities to all others: 0 when all are
    alike, up to 2. It is a soft count, not a nearest neighbour, so that two defective patches don't make each
    other normal.

    ``descriptors`` is float (B, d, h, w), unit vectors. Returns float (B, h, w).
    """
    _, _, height, width = descriptors.shape
    # One picture at a time: the n × n similarities of a whole batch would take most of the memory.
    return torch.stack([_patch_isolation(one).reshape(height, width) for one in descriptors.flatten(2)])


def _patch_isolation(patches: Tensor) -> Tensor:
    """Isolation of the patches of one picture, float (d, n) to (n,)."""
    similar = patches.T @ patches / _TEMPERATURE
    similar.diagonal().fill_(-torch.inf)  # a patch is not compared with itself
    others = max(1, patches.shape[1] - 1)
    return 1 - _TEMPERATURE * (similar.logsumexp(1) - math.log(others))


def intra_image_novelty(descriptors: Tensor) -> Tensor:
    """Intra-image novelty: novelty of each patch against the rest of its picture, taken as normal.

    The mean distance to the nearest hundredth of the patches that are more than three patches away, in
    standard deviations of the picture's own such distances. It is 0 all over in pictures too small for
    patches that far away. ``descriptors`` is float (B, d, h, w), unit vectors; returns float (B, h, w), a
    z-score.
    """
    _, _, height, width = descriptors.shape
    near = (
        _within_distance(height, _EXCLUSION_RADIUS)[:, None, :, None]
        & _within_distance(width, _EXCLUSION_RADIUS)[None, :, None, :]
    )
    near = near.reshape(height * width, height * width).to(descriptors.device)
    maps = []
    for patches in descriptors.flatten(2):
        similar = (patches.T @ patches).masked_fill(near, -1.0)
        distance = 2 - 2 * similar.topk(max(1, len(near) // 100), 1).values.mean(1)
        maps.append(clipped_z_score(distance, distance.mean(), distance.std()).reshape(height, width))
    return torch.stack(maps)


def _within_distance(length: int, reach: int) -> Tensor:
    """Bool (length, length), which pairs of positions are at most ``reach`` apart."""
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


def novelty_maps(isolation_map: Tensor, novelty: Tensor | None) -> Tensor:
    """The novelty maps that `SegmentationHead` takes as input.

    Parameters
    ----------
    isolation_map : float (B, h, w), `isolation`.
    novelty : float (B, h, w), z-score of the distance to the nearest normal patch; NaN in pictures
        without normals to compare with, None when that is all of them.

    Returns
    -------
    float (B, 4, h, w): novelty (0 where unknown), whether it is known, isolation, and isolation in
    standard deviations within the picture.
    """
    if novelty is None:
        novelty = torch.full_like(isolation_map, torch.nan)
    known = ~novelty.isnan()
    mean, spread = isolation_map.mean((1, 2), keepdim=True), isolation_map.std((1, 2), keepdim=True)
    within = ((isolation_map - mean) / (spread + 0.02)).clamp(_MIN_Z, _MAX_Z)
    return torch.stack([novelty.nan_to_num(0.0) / 4, known.float(), isolation_map, within / 4], 1)


def clipped_z_score(distances: Tensor, mean: Tensor | float, spread: Tensor | float) -> Tensor:
    """Z-score of distances against those of normal patches, clipped to −4 … 12; any shape."""
    return ((distances - mean) / (spread + 0.02)).clamp(_MIN_Z, _MAX_Z)
