"""Reading pictures: any file that Pillow reads of the known formats, to uint8 RGB (H, W, 3)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from anomalist.edge.runner.kernels import highest_around
from anomalist.vision.shift.arithmetic import Array

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TRANSPARENCY_GREY = (127, 127, 127, 255)
_MAX_PIXELS, _MAX_BYTES = 178_000_000, 1 << 29
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_IMPULSE_SHARE = 0.2

Scale = Sequence[float]
"""The values that become 0 and 255."""


class PictureError(Exception):
    """A picture that can't be judged, with the reason."""


def read_picture(path: str | Path, scale: Scale | None) -> Array:
    """Read one picture as displayed; ``scale`` is that of values of more than 8 bit. Raises PictureError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PictureError(f'"{path}" can\'t be read: {error.strerror or error}.') from error
    if not 0 < len(data) <= _MAX_BYTES:
        raise PictureError(f'"{path}" has {len(data)} bytes.')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters in Pillow's warnings is checked here
        try:
            return _decode(data, scale)
        except PictureError:
            raise
        except Exception as error:  # Pillow's plugins raise errors of all kinds
            raise PictureError(f'"{path}" is no picture, or is damaged ({error}).') from error


def _decode(data: bytes, scale: Scale | None) -> Array:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > _MAX_PIXELS:
            raise PictureError(f"More than {_MAX_PIXELS / 1e6:g} million pixels ({image.size}).")
        image.seek(_first_page(image))
        deep_colour = image.mode in ("RGB", "RGBA", "LA") and any(
            ";16" in str(tile.args) for tile in getattr(image, "tile", ())
        )
        if deep_colour and scale is not None:
            raise PictureError(
                "Colour of 16 bit is not read by Pillow, and the profile was learned with its values. "
                "Save it with one channel, or inspect it with the full package."
            )
        upright = ImageOps.exif_transpose(image)
    return _to_rgb(upright, scale)


_SUBFILE_TYPE, _NO_PAGE = 254, 0b101  # a reduced version of another page, or its transparency mask


def _first_page(image: Image.Image) -> int:
    count = getattr(image, "n_frames", 1)
    if image.format == "TIFF" and count > 1:
        for frame in range(count):
            image.seek(frame)
            if not int(getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)) & _NO_PAGE:
                return frame
    return 0


def _to_rgb(image: Image.Image, scale: Scale | None) -> Array:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise PictureError("It has values that are not finite numbers.")
        grey = scale_values(values, scale)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, _TRANSPARENCY_GREY), image)
    elif image.mode == "L":
        return np.repeat(np.asarray(image)[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def scale_values(values: Array, scale: Scale | None) -> Array:
    """Scale values of more than 8 bit to uint8; single hot and dead pixels are replaced by a neighbour."""
    start, stop = scale or _own_scale(values)
    if scale is not None:
        values = _without_impulses(values, _IMPULSE_SHARE * (stop - start))
    scaled = values.astype(np.float32)
    scaled -= np.float32(start)
    scaled *= np.float32(255 / (stop - start))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _own_scale(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low < 0 or high >= 1 << _BIT_DEPTHS[-1]:
        return low, high if high > low else low + 1
    if values.dtype.kind == "f" and high <= 1:
        return 0.0, 1.0
    return 0.0, next((1 << bits) - 1.0 for bits in _BIT_DEPTHS if high < 1 << bits)


def _without_impulses(values: Array, least: float) -> Array:
    if min(values.shape[:2]) < 2:
        return values
    work = values.astype(np.float32)
    replaced = work
    for nearest, sign in (
        (highest_around(work, centre=False), 1.0),
        (-highest_around(-work, centre=False), -1.0),
    ):
        replaced = np.where(sign * (work - nearest) > least, nearest, replaced)
    return replaced
