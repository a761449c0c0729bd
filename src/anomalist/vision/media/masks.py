"""Masks of labelled pictures: found beside them in ``ground_truth/``, read whatever their format, counted.

A mask marks what is above 0 in any channel: 0 and 1, 0 and 255, classes, a palette, colour, or paint on a
transparent ground.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import Field

from anomalist.errors import DataError, MediaError
from anomalist.types.common import BoolArray, Frozen
from anomalist.vision.media.images import (
    IMAGE_FORMATS,
    IMAGE_SUFFIXES,
    one_line,
    read_file_bytes,
    source_of,
)
from anomalist.vision.media.pages import count_pages, page_frames, page_path, split_page

GROUND_TRUTH = "ground_truth"
"""Folder of the masks, as in MVTec AD."""
MASK_ENDINGS = ("", "_mask")
"""What may follow the name of the picture in that of its mask."""
MAX_MARKED_SHARE = 0.5
"""A mask that marks more of its picture than this is taken for an inverted one."""
LOSSY_SHARE = 1 / 3
"""In lossy formats a pixel is marked above this share of the brightest: compression leaves noise around."""
NAMES_SHOWN = 5
"""Names that a message lists at most."""

Values = npt.NDArray[Any]


class MaskUse(Frozen):
    """Which masks of labelled pictures were used, and which were not."""

    used: int = Field(description="masks that were read and fit their pictures")
    left_out: tuple[str, ...] = Field((), description="masks that can't be used, with the reason")
    without: tuple[str, ...] = Field((), description="labelled pictures that have no mask")
    unmatched: tuple[str, ...] = Field((), description="masks that belong to no picture")

    def sentences(self) -> Iterator[str]:
        """What was used, and what a person should mend, in a line each."""
        total = self.used + len(self.left_out) + len(self.without)
        yield f"{self.used} of {total} labelled pictures have a mask that was used"
        if self.without:
            yield f"{len(self.without)} have no mask: {listed(self.without)}"
        yield from self.problems()

    def problems(self) -> Iterator[str]:
        """What a person should mend, in a line each."""
        for reason in self.left_out[:NAMES_SHOWN]:
            yield f"mask left out: {reason}"
        if len(self.left_out) > NAMES_SHOWN:
            yield f"{len(self.left_out) - NAMES_SHOWN} more masks were left out for such reasons"
        if self.unmatched:
            yield (
                f"{len(self.unmatched)} masks match no picture by name: {listed(self.unmatched)}; "
                f"a mask is called like its picture, or <name>_mask"
            )


class MaskFolder:
    """The masks of a folder of labelled pictures; what lies there is listed once.

    ``ground_truth/<kind>/<name>`` or ``<name>_mask``, with any picture suffix in any case; or a folder
    ``<name>`` of masks, as MVTec LOCO has, which count together.

    Parameters
    ----------
    folder : with the folders of the kinds and ``ground_truth/``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_kind: dict[str, dict[str, Path]] = {}

    def find(self, kind: str, picture: str | Path) -> Path | None:
        """Where the mask of a picture of a kind lies; None where there is none.

        Pages of a TIFF have the pages of its mask.
        """
        if kind not in self._by_kind:
            self._by_kind[kind] = _masks_by_name(self._folder / GROUND_TRUTH / kind)
        file, page = split_page(picture)
        names = [stem + ending for stem in (file.stem, file.stem.lower()) for ending in MASK_ENDINGS]
        found = next((self._by_kind[kind][name] for name in names if name in self._by_kind[kind]), None)
        if found is None or page == 1:
            return found
        return page_path(found, page) if found.is_file() and page <= count_pages(found) else None

    def use(
        self, pictures: Sequence[tuple[str, str | Path]], *, used: int, left_out: Sequence[str]
    ) -> MaskUse:
        """Count the masks of pictures (kind, path), of which some were used and some left out."""
        masks = [self.find(kind, path) for kind, path in pictures]
        matched = {split_page(mask)[0] for mask in masks if mask is not None}
        return MaskUse(
            used=used,
            left_out=tuple(left_out),
            without=tuple(
                f"{kind}/{Path(path).name}"
                for (kind, path), mask in zip(pictures, masks, strict=True)
                if mask is None
            ),
            unmatched=tuple(self._beside(matched)),
        )

    def _beside(self, matched: set[Path]) -> Iterator[str]:
        """Masks that aren't matched, relative to the folder."""
        top = self._folder / GROUND_TRUTH
        kinds = sorted(top.iterdir()) if top.is_dir() else []
        for kind in (path for path in kinds if path.is_dir() and not path.name.startswith(".")):
            for mask in _mask_entries(kind):
                if mask not in matched:
                    yield source_of(mask.relative_to(self._folder))


def load_mask(path: Path, size: tuple[int, int]) -> BoolArray:
    """Read the mask of a labelled picture.

    Parameters
    ----------
    path : picture file, as `MaskFolder.find` gives it; any value above 0 marks the defect, in lossy formats a
        value above a third of the brightest. A folder of such files marks what one of them does.
    size : (height, width) that it must have, in pixels.

    Returns
    -------
    bool (H, W), True on the defect; all False where nothing is marked.

    Raises
    ------
    DataError : the mask can't be read, has another size, or marks most of the picture.
    """
    files = _mask_entries(path) if path.is_dir() else [path]
    mask = np.zeros(size, np.bool_)
    for file in files:
        mask |= _load_one(file, size)
    if mask.mean() > MAX_MARKED_SHARE:
        share = f"{100 * mask.mean():.3g} %"
        raise DataError(
            f"The mask {source_of(path)} marks {share} of its picture: is it inverted?",
            "What is above 0 is the defect, the rest must be 0.",
        )
    return mask


def _load_one(path: Path, size: tuple[int, int]) -> BoolArray:
    try:
        mask = marked_pixels(path)
    except MediaError as error:
        raise DataError(f"The mask {source_of(path)} can't be read: {error.message}", error.remedy) from error
    if mask.shape != size:
        raise DataError(
            f"The mask {source_of(path)} has {mask.shape[1]}×{mask.shape[0]} pixels, "
            f"its picture {size[1]}×{size[0]}.",
            "Save the mask again at the size of its picture"
            + (", turned like it." if mask.shape == size[::-1] else "."),
        )
    return mask


def marked_pixels(path: Path) -> BoolArray:
    """Which pixels a mask marks, bool (H, W); see `load_mask`. Raises MediaError when it can't be read."""
    file, page = split_page(path)
    return decode_marks(read_file_bytes(file, one_line(path)), page)


def decode_marks(data: bytes, page: int = 1) -> BoolArray:
    """Which pixels the bytes of a mask mark; see `marked_pixels`."""
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            image.seek(page_frames(image)[page - 1])
            lossy = image.format in ("JPEG", "MPO") or (image.format == "WEBP" and b"VP8 " in data[:64])
            deep = image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(t.args) for t in image.tile)
            indices = np.asarray(image) if image.mode == "P" else None
            upright = ImageOps.exif_transpose(image)
        painted = _deep_colour(data) if deep and page == 1 else _channels(upright)
    except Exception as error:  # the plugins raise errors of all kinds
        detail = one_line(str(error) or type(error).__name__)
        raise MediaError(f"{detail}.", "Save it again, as PNG for instance.") from error
    marked = _marked(painted, lossy=lossy)
    if indices is not None and (marked.all() or not marked.any()) and indices.shape == marked.shape:
        marked = np.asarray(indices > 0)  # a palette may colour the ground, too, or nothing
    return marked


def _channels(image: Image.Image) -> Values:
    """Values (H, W, C) of any mode; the last of two or four channels is opacity."""
    if image.mode in ("I", "F", "1", "L") or image.mode.startswith("I;16"):
        return np.asarray(image)[:, :, None]
    if image.mode == "LA":
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _deep_colour(data: bytes) -> Values:
    """Values of 16-bit colour, of which Pillow keeps the high bytes only."""
    import cv2

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("16-bit colour that can't be decoded")
    return np.asarray(values if values.ndim == 3 else values[:, :, None])


def _marked(values: Values, *, lossy: bool) -> BoolArray:
    channels = values.shape[2]
    colour = values[..., :-1] if channels in (2, 4) else values
    brightest = colour.max(axis=2)
    level = LOSSY_SHARE * float(brightest.max()) if lossy else 0.0
    bright: BoolArray = brightest > level
    if channels not in (2, 4):
        return bright
    opaque: BoolArray = values[..., -1] > 0
    if opaque.all() or not opaque.any():
        return bright
    both = bright & opaque
    return both if both.any() else opaque  # painted black on a transparent ground


def listed(names: Sequence[str]) -> str:
    """Some names in a line, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _mask_entries(folder: Path) -> list[Path]:
    """Masks directly in a folder, by name; a folder among them is one mask of several files."""
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and (entry.is_dir() or entry.suffix.lower() in IMAGE_SUFFIXES)
    )


def _masks_by_name(folder: Path) -> dict[str, Path]:
    """Masks of a folder by name without suffix, as it is and in lower case; of two with one name a PNG."""
    if not folder.is_dir():
        return {}
    entries = sorted(_mask_entries(folder), key=lambda path: path.suffix.lower() != ".png")
    stems = [(entry.name if entry.is_dir() else entry.stem, entry) for entry in entries]
    return {stem.lower(): entry for stem, entry in reversed(stems)} | dict(reversed(stems))
