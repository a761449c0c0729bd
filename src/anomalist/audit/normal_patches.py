"""A normal patch in place of a part of a picture: what would be seen there if nothing were wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.vision.media.images import load_image
from anomalist.vision.weak_places import MARGIN, grown

if TYPE_CHECKING:
    from anomalist.vision.profile import NormalPicture, Profile

FIXTURED_REACH = 0.05
"""How far a place may lie from where it lies in another picture of a product that always lies alike.

As a share of the longer side. Pictures that lie further away are not judged.
"""
_MORE_NORMALS = 7
"""Normal pictures, beside that of the nearest normal patch, in which a place that fits is looked for."""


def as_pixels(values: FloatArray) -> UInt8Array:
    """Values on the scale of 0 to 255 as uint8, rounded and clipped."""
    pixels: UInt8Array = np.clip(values.round(), 0, 255).astype(np.uint8)
    return pixels


def patched(pixels: UInt8Array, box: Box, patch: FloatArray) -> UInt8Array:
    """The picture with a patch in place of a box, blended in at the edge.

    ``patch`` is float32 of the box with its margin; its tone is fitted to the ring around the box.
    """
    top, bottom, left, right, ring = _window(pixels, box)
    around = pixels[top:bottom, left:right].astype(np.float32)
    fitted = patch + tone_between(patch, around, ring) if ring.any() else patch
    result = pixels.copy()
    result[top:bottom, left:right] = blended(around, fitted, ring)
    return result


def _window(pixels: UInt8Array, box: Box) -> tuple[int, int, int, int, BoolArray]:
    """A box with its margin (top, bottom, left, right), and which of its pixels are margin, bool (h, w)."""
    left, top, right, bottom = grown(box, (pixels.shape[0], pixels.shape[1]))
    ring = np.ones((bottom - top, right - left), np.bool_)
    ring[box[1] - top : box[3] - top, box[0] - left : box[2] - left] = False
    return top, bottom, left, right, ring


def tone_between(patch: FloatArray, around: FloatArray, ring: BoolArray) -> FloatArray:
    """What has to be added to a patch to go on in tone from its ring, a plane a channel: float32 (h, w, 3).

    Light falls off across a picture: a mean alone would leave a step at two of the four sides. At the edge of
    the picture, where a side has no ring, it is the mean: nothing says how the tone goes on there.
    """
    height, width = ring.shape
    if not all(side.all() for side in (ring[0], ring[-1], ring[:, 0], ring[:, -1])):
        return np.broadcast_to((around - patch)[ring].mean(0), patch.shape)
    y, x = np.mgrid[:height, :width]
    terms = np.stack([np.ones(ring.shape), x / width - 0.5, y / height - 0.5], axis=-1)
    found, *_ = np.linalg.lstsq(terms[ring], (around - patch)[ring].astype(np.float64), rcond=None)
    return np.asarray(terms @ found, np.float32)


def blended(around: FloatArray, inside: FloatArray, ring: BoolArray) -> UInt8Array:
    """Blend what belongs into a window, float32 (h, w, 3), into what is around it.

    ``ring`` is bool (h, w): the margin, in which the one passes over into the other.
    """
    import cv2

    alpha = (~ring).astype(np.float32)
    spread = max(1, round(MARGIN * max(ring.shape) / 3))
    alpha = cv2.GaussianBlur(cv2.dilate(alpha, np.ones((2 * spread + 1,) * 2, np.uint8)), (0, 0), spread / 2)
    return as_pixels(around + alpha[..., None] * (inside - around))


def normal_patches(profile: Profile, pixels: UInt8Array, box: Box) -> list[FloatArray]:
    """What is normal at a box with its margin, float32 (h, w, 3) each, by how well it fits; maybe none.

    Of the picture of the nearest normal patch and of a few others the place whose surroundings fit those of
    the box best, so that stripes and edges go on. What lies at a border of the picture is taken from there.
    Of a product that always lies alike it is the same place: what a missing hole looks like is normal
    elsewhere.
    """
    nearest = profile.detector.nearest_normal_patch(pixels, box)
    if nearest is None:
        return []
    size = (pixels.shape[0], pixels.shape[1])
    top, bottom, left, right, ring = _window(pixels, box)
    around = pixels[top:bottom, left:right].astype(np.float32)
    fixtured = profile.inputs is not None and profile.inputs.template is not None
    near = round(FIXTURED_REACH * max(size)) if fixtured else max(size)
    normals = profile.manifest.normals
    others = np.linspace(0, len(normals) - 1, min(_MORE_NORMALS, len(normals))).round().astype(int).tolist()
    found: list[tuple[float, FloatArray]] = []
    for number in dict.fromkeys((nearest.picture, *others)):
        picture = _normal_picture(normals[number], size, ring.shape)
        if picture is not None:
            down, across = picture.shape[0] - ring.shape[0], picture.shape[1] - ring.shape[1]
            rows = _starts(top, bottom, size[0], down, near)
            columns = _starts(left, right, size[1], across, near)
            found.append(_best_place(picture, around, ring, rows, columns))
    return [patch for _, patch in sorted(found, key=lambda each: each[0])]


def _normal_picture(
    learned: NormalPicture, size: tuple[int, int], least: tuple[int, ...]
) -> UInt8Array | None:
    """A normal picture at the scale of one of ``size``, at least of a size; None where it is gone."""
    import cv2

    try:
        normal = load_image(learned.source)
    except MediaError:
        return None
    if normal.sha256 != learned.sha256:
        return None
    picture = normal.pixels
    scale = max(size) / max(picture.shape[:2])
    if scale != 1:
        scaled = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = np.asarray(cv2.resize(picture, scaled, interpolation=cv2.INTER_AREA), np.uint8)
    down, across = max(0, least[0] - picture.shape[0]), max(0, least[1] - picture.shape[1])
    if down or across:
        picture = np.asarray(cv2.copyMakeBorder(picture, 0, down, 0, across, cv2.BORDER_REFLECT), np.uint8)
    return picture


def _starts(begin: int, end: int, length: int, room: int, near: int) -> slice:
    """Where windows along one axis may begin in a picture that has ``room`` more pixels than a window.

    The window that is replaced goes from ``begin`` to ``end`` of ``length``; ``near`` is how far away one may
    be found.
    """
    if begin == 0:
        return slice(0, 1)
    if end == length:
        return slice(room, room + 1)
    low = min(max(0, begin - near), room)
    return slice(low, max(low, min(begin + near, room)) + 1)


def _best_place(
    picture: UInt8Array, around: FloatArray, ring: BoolArray, rows: slice, columns: slice
) -> tuple[float, FloatArray]:
    """The window that begins in rows and columns whose ring fits best, and its squared misfit."""
    import cv2

    height, width = ring.shape
    if not ring.any():
        y, x = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
        return 0.0, np.asarray(picture[y : y + height, x : x + width], np.float32)
    weights = np.repeat(ring[..., None], 3, 2).astype(np.float32)
    searched = picture[rows.start : rows.stop + height - 1, columns.start : columns.stop + width - 1]
    misfit = cv2.matchTemplate(searched.astype(np.float32), around, cv2.TM_SQDIFF, mask=weights)
    y, x = (int(each) for each in np.unravel_index(int(np.argmin(misfit)), misfit.shape))
    patch = searched[y : y + height, x : x + width]
    return float(misfit[y, x]), np.asarray(patch, np.float32)
