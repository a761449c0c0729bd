"""Image data sets on disk: the MVTec AD folder layout, group-wise splits, and DeepPCB pairs with boxes.

The layout is that of MVTec AD test sets: ``good/``, one folder for each kind of defect, and
``ground_truth/<defect>/<stem>.png`` (see `vision.media.masks`). A table ``image,group`` says which pictures
show one object; a group-wise split never puts one object on both sides. Boxes are half-open (x0, y0, x1, y1),
pixels.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.types.common import BoolArray, Box
from anomalist.vision.media.images import IMAGE_SUFFIXES
from anomalist.vision.media.masks import GROUND_TRUTH, MaskFolder, decode_marks, load_mask
from anomalist.vision.media.pages import expand_pages, split_page

GOOD = "good"
_FOLDER_LAYOUT = (
    f"Expected are {GOOD}/, one folder for each kind of defect and {GROUND_TRUTH}/<defect>/<name>.png."
)


Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y) of an outline, pixels."""


@dataclass(frozen=True)
class PastedMask:
    """A mask of a part of a picture: the bytes of a picture file, its upper left pixel at (left, top)."""

    left: int
    top: int
    data: bytes

    def mark(self, mask: BoolArray) -> None:
        """Mark in the mask of the whole picture what this one marks; what lies outside is cut off."""
        rows, columns = np.nonzero(decode_marks(self.data))
        rows, columns = rows + self.top, columns + self.left
        inside = (rows >= 0) & (columns >= 0) & (rows < mask.shape[0]) & (columns < mask.shape[1])
        mask[rows[inside], columns[inside]] = True


Outline = Polygon | PastedMask
"""What marks a defect where there is no mask of the whole picture."""


def box_polygon(left: float, top: float, right: float, bottom: float) -> Polygon:
    """The outline of a half-open box, pixels."""
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def outline_mask(outlines: Sequence[Outline], size: tuple[int, int]) -> BoolArray:
    """The pixels whose middle lies in any of the outlines, bool of shape ``size`` (height, width)."""
    from skimage.draw import polygon2mask

    mask = np.zeros(size, np.bool_)
    for outline in outlines:
        if isinstance(outline, PastedMask):
            outline.mark(mask)
            continue
        # Corners are at the edges of pixels, the coordinates of an array at their middles.
        mask |= polygon2mask(size, np.array(outline, np.float64)[:, ::-1] - 0.5)
    return mask


@dataclass(frozen=True)
class LabelledImage:
    """One labelled picture.

    Parameters
    ----------
    path : of the file.
    name : path relative to the data folder, with slashes.
    defect : kind of defect, or "good".
    mask : ground-truth mask of a defective picture, or None.
    group : the object that it shows; its own name without a table of groups.
    outlines : of the defect, where they are marked instead of a mask.
    """

    path: Path
    name: str
    defect: str
    mask: Path | None
    group: str
    outlines: tuple[Outline, ...] = ()

    @property
    def normal(self) -> bool:
        """Whether the picture is a good one."""
        return self.defect == GOOD

    @property
    def marked(self) -> bool:
        """Whether it is marked where the defect is."""
        return self.mask is not None or bool(self.outlines)

    def truth(self, size: tuple[int, int]) -> BoolArray:
        """Where the defect is, bool of shape ``size`` (height, width), that of the picture.

        Raises
        ------
        DataError : the mask can't be used for this picture, with the reason.
        """
        return outline_mask(self.outlines, size) if self.mask is None else load_mask(self.mask, size)


@dataclass(frozen=True)
class ImageDataset:
    """The pictures of a folder, sorted by name; ``grouped`` if there was a table of groups.

    ``unmatched_masks`` belong to none of the pictures.
    """

    items: tuple[LabelledImage, ...]
    grouped: bool
    unmatched_masks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Training set of good pictures, and test set.

    ``grouped``: split by whole groups. If False, one object may be on both sides, which makes results too
    good. ``unmatched_masks`` belong to no picture of the folder.
    """

    train: tuple[LabelledImage, ...]
    test: tuple[LabelledImage, ...]
    grouped: bool
    unmatched_masks: tuple[str, ...] = ()


def load_folder(data: Path, groups: Path | None = None) -> ImageDataset:
    """List the pictures of a folder with their labels, masks and groups.

    Parameters
    ----------
    data : folder with ``good/``, one folder for each kind of defect and ``ground_truth/`` for pixel measures.
    groups : CSV file with a header line and the columns ``image`` (relative to ``data``) and ``group``.

    Returns
    -------
    The pictures, sorted by name. Hidden files and files with other suffixes are left out.

    Raises
    ------
    DataError : a part of the layout is missing, or pictures are not in the table of groups.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder.", _FOLDER_LAYOUT)
    if not (data / GOOD).is_dir():
        raise DataError(f"{data} has no folder {GOOD}/.", _FOLDER_LAYOUT)
    paths = [
        path
        for folder in data.iterdir()
        if folder.is_dir() and folder.name != GROUND_TRUTH and not folder.name.startswith(".")
        for path in expand_pages(folder.iterdir())
        if split_page(path)[0].suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    names = {path.relative_to(data).as_posix(): path for path in paths}
    if not any(path.parent.name == GOOD for path in paths):
        raise DataError(
            f"{data / GOOD} holds no pictures.", f"Pictures end in {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    group_of = _read_groups(groups, names) if groups else {name: name for name in names}
    masks = MaskFolder(data)
    items = tuple(
        LabelledImage(path, name, path.parent.name, masks.find(path.parent.name, path), group_of[name])
        for name, path in sorted(names.items())
    )
    counted = masks.use([(item.defect, item.path) for item in items], used=0, left_out=())
    return ImageDataset(items, grouped=groups is not None, unmatched_masks=counted.unmatched)


def split_dataset(data: ImageDataset, train_normals: int, seed: int) -> Split:
    """Split into good pictures to learn from and pictures to test on.

    With groups, the sorted names of all groups are shuffled with ``numpy.random.default_rng(seed)``, and
    whole groups are taken until they hold at least ``train_normals`` good pictures, which are the training
    set. The test set is every picture of the other groups; defective pictures of the taken groups are left
    out. Without groups, the sorted good pictures are shuffled likewise and ``train_normals`` of them are
    taken; the others and all defective pictures are the test set.

    Parameters
    ----------
    data : the labelled pictures.
    train_normals : good pictures to learn from, at least; 0 or more.
    seed : of the shuffling.

    Raises
    ------
    DataError : no good picture is left to test on.
    """
    if train_normals < 0:
        raise DataError(f"{train_normals} good pictures can't be learned from.", "Ask for 0 or more.")
    members: dict[str, list[LabelledImage]] = defaultdict(list)
    for item in data.items:
        if data.grouped or item.normal:
            members[item.group].append(item)
    taken: set[str] = set()
    collected = 0
    names = sorted(members)
    np.random.default_rng(seed).shuffle(names)
    for name in names:
        if collected >= train_normals:
            break
        taken.add(name)
        collected += sum(item.normal for item in members[name])
    train = tuple(item for item in data.items if item.normal and item.group in taken)
    test = tuple(item for item in data.items if item.group not in taken)
    if not any(item.normal for item in test):
        available = sum(item.normal for item in data.items)
        raise DataError(
            f"Learning from {train_normals} of {available} good pictures leaves none to test on.",
            "Ask for fewer.",
        )
    return Split(train, test, data.grouped, data.unmatched_masks)


def _read_groups(table: Path, names: dict[str, Path]) -> dict[str, str]:
    """Group of every picture in ``names``; rows about other pictures are ignored."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"image", "group"} <= set(reader.fieldnames or ()):
                raise DataError(f"{table} needs the columns image,group, got {reader.fieldnames}.")
            rows = [(row["image"], row["group"]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The table of groups {table} can't be read: {error}.") from error
    groups: dict[str, str] = {}
    for image, group in rows:
        if group and groups.setdefault(image, group) != group:
            raise DataError(f"{table} puts {image} into two groups: {groups[image]} and {group}.")
    missing = sorted(names.keys() - groups.keys())
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} pictures have no group in {table}, the first is {missing[0]}.",
            "Paths in the column image are relative to the data folder.",
        )
    return groups


MIN_IOU = 0.33
"""IoU above which a predicted box matches a labelled one, as in DeepPCB."""


@dataclass(frozen=True)
class LabelledPair:
    """One pair: its name, reference and picture, and the labelled boxes in the picture with their kinds."""

    name: str
    reference: Path
    picture: Path
    boxes: tuple[Box, ...]
    kinds: tuple[str, ...]


def read_pairs(data: Path) -> list[LabelledPair]:
    """Read the pairs of a folder, sorted by name; raises DataError when the folder is invalid."""
    table = data / "boxes.csv"
    boxes: dict[str, list[Box]] = defaultdict(list)
    kinds: dict[str, list[str]] = defaultdict(list)
    try:
        with table.open(newline="", encoding="utf-8-sig") as opened:
            for row in csv.DictReader(opened):
                x1, y1, x2, y2 = (int(row[name]) for name in ("x1", "y1", "x2", "y2"))
                boxes[row["pair"]].append((x1, y1, x2, y2))
                kinds[row["pair"]].append(row["type"])
    except OSError as error:
        raise DataError(f"{table} can't be read: {error.strerror or error}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{table} must have the columns pair,x1,y1,x2,y2,type, boxes in pixels.") from error
    pairs = []
    for reference in sorted(data.glob("*_temp.jpg")):
        name = reference.name.removesuffix("_temp.jpg")
        picture = data / f"{name}_test.jpg"
        if not picture.exists():
            raise DataError(f"{picture} is missing: {reference.name} has no picture to compare with.")
        pairs.append(LabelledPair(name, reference, picture, tuple(boxes[name]), tuple(kinds[name])))
    if not pairs:
        raise DataError(f"There are no pairs <name>_temp.jpg and <name>_test.jpg in {data}.")
    return pairs


def match_boxes(predicted: Sequence[Box], labelled: Sequence[Box], margin: int) -> list[tuple[int, int]]:
    """Optimal one-to-one matching of predicted and labelled boxes: most pairs with an IoU above `MIN_IOU`.

    Parameters
    ----------
    predicted, labelled : half-open (x0, y0, x1, y1), pixels.
    margin : pixels by which predicted boxes are widened on every side.

    Returns
    -------
    Pairs of indices (predicted, labelled).
    """
    from scipy.optimize import linear_sum_assignment

    if not predicted or not labelled:
        return []
    wide = np.array(predicted, dtype=np.float64) + margin * np.array([-1, -1, 1, 1])
    true = np.array(labelled, dtype=np.float64)
    low = np.maximum(wide[:, None, :2], true[None, :, :2])
    high = np.minimum(wide[:, None, 2:], true[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (wide, true)]
    iou = shared / (areas[0][:, None] + areas[1][None] - shared)
    # A hit outweighs any gain in overlap, so that the number of hits is maximal.
    weight = np.where(iou > MIN_IOU, min(iou.shape) + 1 + iou, 0)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if iou[i, j] > MIN_IOU]
