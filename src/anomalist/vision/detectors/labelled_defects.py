"""Labelled defects of a folder: pictures by kind, with their masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from anomalist.errors import AnomalistError, DataError
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.features.backbones import check_min_size
from anomalist.vision.media.images import list_images, load_image, lookup_groups, source_of
from anomalist.vision.media.masks import GROUND_TRUTH, MaskFolder, MaskUse, load_mask
from anomalist.vision.media.values import ValueScale

_NON_KIND_FOLDERS = (GROUND_TRUTH, "good")  # beside those of the kinds, as in MVTec AD
_REMEDY = f"Expected are <kind>/*.png and, if there are masks, {GROUND_TRUTH}/<kind>/<name>.png."


@dataclass(frozen=True, eq=False)
class KnownDefect:
    """A labelled defective picture.

    Parameters
    ----------
    id : "kind/name", for citing.
    kind : its label.
    picture : uint8 (H, W, 3).
    mask : bool (H, W), where the defect is; None when that is not known.
    group : the object that it shows; None when that is not known.
    sha256 : of its file, hex; "" when it has none.
    """

    id: str
    kind: str
    picture: UInt8Array
    mask: BoolArray | None
    group: str | None = None
    sha256: str = ""


@dataclass(frozen=True, eq=False)
class LabelledDefects:
    """The labelled defects of a folder.

    Parameters
    ----------
    defects : those that can be read, sorted by kind and name; at least one.
    skipped : pictures that can't be read or judged, with the reason.
    masks : which masks were used.
    """

    defects: tuple[KnownDefect, ...]
    skipped: tuple[str, ...]
    masks: MaskUse


def read_defects(
    folder: Path,
    groups: Mapping[str, str] = MappingProxyType({}),
    scale: ValueScale | None = None,
) -> LabelledDefects:
    """Read labelled defects from ``<kind>/*``, masks from ``ground_truth/<kind>/``.

    A folder ``good/`` is left out. A picture whose mask can't be used is used without it.

    Parameters
    ----------
    folder : of the defects.
    groups : the object of each picture as far as it is known, see `match_groups`.
    scale : of values of more than 8 bit.

    Raises
    ------
    DataError : there is no defect that can be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", _REMEDY)
    masks = MaskFolder(folder)
    found: list[KnownDefect] = []
    read: list[tuple[str, Path]] = []
    skipped: list[str] = []
    left_out: list[str] = []
    folders = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    kinds = sorted(path for path in folders if path.name not in _NON_KIND_FOLDERS)
    for place in kinds:
        for path in list_images([place]).images:
            try:
                media = load_image(path, scale=scale)
                check_min_size(media.pixels)
            except AnomalistError as error:
                skipped.append(f"{source_of(path)}: {error.message}")
                continue
            mask = _usable_mask(masks.find(place.name, path), media.size, left_out)
            (group,) = lookup_groups(groups, [path])
            read.append((place.name, path))
            name = f"{place.name}/{path.stem}"
            found.append(KnownDefect(name, place.name, media.pixels, mask, group, media.sha256))
    if not found:
        reasons = f" Skipped: {'; '.join(skipped[:3])}" if skipped else ""
        raise DataError(f"No labelled defects that can be read in {folder}.{reasons}", _REMEDY)
    used = sum(defect.mask is not None for defect in found)
    return LabelledDefects(tuple(found), tuple(skipped), masks.use(read, used=used, left_out=left_out))


def _usable_mask(file: Path | None, size: tuple[int, int], left_out: list[str]) -> BoolArray | None:
    """The mask of a picture; None where it has none, or one that can't be used, which is ``left_out``."""
    if file is None:
        return None
    try:
        mask = load_mask(file, size)
    except DataError as error:
        left_out.append(str(error))
        return None
    if not mask.any():
        left_out.append(f"The mask {source_of(file)} is empty: nothing in it is above 0.")
        return None
    return mask
