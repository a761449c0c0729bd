"""SurfaceNet: one small network that describes patches, and segments defects by how novel its patches are.

It looks in two steps. The *trunk*, a U-Net on 2×2 pixel blocks (so that hairlines keep their pixels) with
strides 2 to 32, gives features and, for every 8×8 block, a unit vector. How far those vectors are from what
is normal (`novelty`) goes, with the features, into the *head*, which gives a defect logit for every pixel. So
the head learns, over many products, what novelty is worth. Import this module inside functions only: it
needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

CHANNELS = (32, 48, 96, 128, 160)
"""Of the levels, from stride 2 to stride 32."""
_DESCRIBED = 2  # the level that patches are described on
DESCRIPTOR_SIZE = 64
DESCRIPTOR_STRIDE: int = 2 ** (_DESCRIBED + 1)
MULTIPLE: int = 2 ** len(CHANNELS)
"""Height and width of the input must be multiples of this."""
NOVELTY_MAPS = 4


@dataclass(frozen=True, eq=False)
class Seen:
    """What the trunk makes of a batch of pictures (B, 3, H, W).

    Parameters
    ----------
    features : float (B, c, H/s, W/s) at strides 2, 4 and 8, for the head.
    descriptors : float (B, 64, H/8, W/8), unit vectors along axis 1.
    """

    features: tuple[Tensor, ...]
    descriptors: Tensor


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class _Context(nn.Module):
    """Tell every place what the whole picture looks like, so that it can be odd *for this picture*."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3))
        spread = (x - mean[..., None, None]).square().mean((2, 3)).add(1e-6).sqrt()
        return F.relu(x + self.mix(torch.cat([mean, spread], 1))[..., None, None])


class Head(nn.Module):
    """Features and novelty to defect logits."""

    def __init__(self) -> None:
        super().__init__()
        described = CHANNELS[_DESCRIBED]
        self.mix = _block(described + NOVELTY_MAPS, described)
        self.refine = nn.ModuleList(_block(a + b, a) for a, b in pairwise(CHANNELS[: _DESCRIBED + 1]))
        self.logits = nn.Conv2d(CHANNELS[0], 4, 3, padding=1)
        _lay_out(self)

    def forward(self, features: tuple[Tensor, ...], novelty: Tensor) -> Tensor:
        """Judge every pixel.

        Parameters
        ----------
        features : of the trunk, see `Seen`.
        novelty : float (B, ``NOVELTY_MAPS``, H/8, W/8), as `novelty.novelty_maps` gives it.

        Returns
        -------
        logits : float (B, H, W), above 0 means defect.
        """
        x = self.mix(torch.cat([features[-1], novelty], 1))
        for level in reversed(range(_DESCRIBED)):
            x = self.refine[level](_joined(features[level], x))
        logits: Tensor = F.pixel_shuffle(self.logits(x), 2)[:, 0]
        return logits


class SurfaceNet(nn.Module):
    """Pictures to features and patch descriptors, with a head; random weights until a state is loaded."""

    def __init__(self) -> None:
        super().__init__()
        finest, described, coarsest = CHANNELS[0], CHANNELS[_DESCRIBED], CHANNELS[-1]
        self.stem = nn.Conv2d(4 * 3, finest, 3, padding=1)
        self.encoder = nn.ModuleList(_block(a, b) for a, b in pairwise((finest, *CHANNELS)))
        self.context = _Context(coarsest)
        self.decoder = nn.ModuleList(_block(a + b, a) for a, b in pairwise(CHANNELS[_DESCRIBED:]))
        self.describe = nn.Sequential(
            nn.Conv2d(2 * described, 128, 1), nn.ReLU(), nn.Conv2d(128, DESCRIPTOR_SIZE, 1)
        )
        self.head = Head()
        _lay_out(self)

    def look(self, pictures: Tensor) -> Seen:
        """Run the trunk.

        ``pictures`` is float (B, 3, H, W), standardised by `standardise`; H and W multiples of ``MULTIPLE``.
        Raises ValueError when they have another shape.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or any(n % MULTIPLE for n in pictures.shape[2:]):
            raise ValueError(
                f"pictures must be (B, 3, H, W) with H and W multiples of {MULTIPLE}, "
                f"got {tuple(pictures.shape)}"
            )
        x = self.stem(F.pixel_unshuffle(pictures, 2))
        encoded: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2) if level else x)
            encoded.append(x)
        x = self.context(x)
        for level in reversed(range(_DESCRIBED, len(CHANNELS) - 1)):
            x = self.decoder[level - _DESCRIBED](_joined(encoded[level], x))
        descriptors = self.describe(torch.cat([encoded[_DESCRIBED], x], 1))
        return Seen((*encoded[:_DESCRIBED], x), F.normalize(descriptors.float(), dim=1))


def _lay_out(module: nn.Module) -> None:
    """Lay weights out channels last, as Module.to(memory_format=…), which torch's types don't know."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _joined(finer: Tensor, coarser: Tensor) -> Tensor:
    """Enlarge the coarser features twofold and put them beside the finer ones."""
    return torch.cat([finer, F.interpolate(coarser, scale_factor=2.0)], 1)


def standardise(pictures: Tensor) -> Tensor:
    """Take out exposure: subtract each picture's mean grey and divide by its spread.

    ``pictures`` is float (B, 3, H, W) in [0, 1]. The floor under the spread keeps noise on a plain surface
    from being blown up.
    """
    mean = pictures.mean((1, 2, 3), keepdim=True)
    spread = pictures.std((1, 2, 3), keepdim=True)
    return (pictures - mean) / (spread + 0.08)
