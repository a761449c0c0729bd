"""SurfaceNet: one small network that segments defects and describes patches for a memory bank.

A U-Net on 2×2 pixel blocks (so that hairlines keep their pixels) with strides 2 to 32. Two outputs: a
defect logit for every pixel, and for every 8×8 block a unit vector whose nearest neighbours on normal surface
tell how unusual it is. Import this module inside functions only: it needs torch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

CHANNELS = (32, 48, 64, 96, 128)
"""Of the levels, from stride 2 to stride 32."""
_DESCRIBED = 2  # the level that patches are described on
DESCRIPTOR_SIZE = 64
DESCRIPTOR_STRIDE: int = 2 ** (_DESCRIBED + 1)
MULTIPLE: int = 2 ** len(CHANNELS)
"""Height and width of the input must be multiples of this."""


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


class SurfaceNet(nn.Module):
    """Picture to defect logits and patch descriptors; random weights until a state is loaded."""

    def __init__(self) -> None:
        super().__init__()
        finest, described, coarsest = CHANNELS[0], CHANNELS[_DESCRIBED], CHANNELS[-1]
        self.stem = nn.Conv2d(4 * 3, finest, 3, padding=1)
        self.encoder = nn.ModuleList(_block(a, b) for a, b in pairwise((finest, *CHANNELS)))
        self.context = _Context(coarsest)
        self.decoder = nn.ModuleList(_block(a + b, a) for a, b in pairwise(CHANNELS))
        self.describe = nn.Sequential(
            nn.Conv2d(2 * described, 128, 1), nn.ReLU(), nn.Conv2d(128, DESCRIPTOR_SIZE, 1)
        )
        self.head = nn.Conv2d(finest, 4, 3, padding=1)
        for parameter in self.parameters():  # as Module.to(memory_format=…), which torch's types don't know
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Parameters
        ----------
        pictures : float (B, 3, H, W), standardised by `standardise`; H and W multiples of ``MULTIPLE``.

        Returns
        -------
        logits : float (B, 1, H, W), above 0 means defect.
        descriptors : float (B, 64, H/8, W/8), unit vectors along axis 1.

        Raises
        ------
        ValueError : the pictures have another shape.
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
        for level in reversed(range(_DESCRIBED, len(self.decoder))):
            x = self._decode(level, x, encoded)
        descriptors = self.describe(torch.cat([encoded[_DESCRIBED], x], 1))
        for level in reversed(range(_DESCRIBED)):
            x = self._decode(level, x, encoded)
        return F.pixel_shuffle(self.head(x), 2), F.normalize(descriptors.float(), dim=1)

    def _decode(self, level: int, x: Tensor, encoded: list[Tensor]) -> Tensor:
        """One level finer: enlarge twofold and join with what the encoder saw there."""
        enlarged = F.interpolate(x, scale_factor=2.0)
        decoded: Tensor = self.decoder[level](torch.cat([encoded[level], enlarged], 1))
        return decoded


def standardise(pictures: Tensor) -> Tensor:
    """Take out exposure: subtract each picture's mean grey and divide by its spread.

    ``pictures`` is float (B, 3, H, W) in [0, 1]. The floor under the spread keeps noise on a plain surface
    from being blown up.
    """
    mean = pictures.mean((1, 2, 3), keepdim=True)
    spread = pictures.std((1, 2, 3), keepdim=True)
    return (pictures - mean) / (spread + 0.08)
