"""Open a data set of pictures in whatever known layout it is, and look for leaks between its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomalist.eval.datasets.annotations import COCO, LABELME
from anomalist.eval.datasets.layouts import BrokenSet, LabelledSet, Layout, recognise
from anomalist.eval.datasets.mvtec import BTAD, MVTEC_AD, MVTEC_AD_2, MVTEC_LOCO
from anomalist.eval.datasets.surfaces import DEEP_PCB, KOLEKTOR, MTD, NEU_DET
from anomalist.eval.datasets.tables import LABELS_CSV, REAL_IAD, VISA
from anomalist.eval.image_datasets import GOOD, load_folder


def _read_plain(folder: Path) -> list[LabelledSet]:
    found = load_folder(folder)
    return [LabelledSet(folder.resolve().name, found.items, unmatched=found.unmatched_masks)]


PLAIN = Layout(
    "folders by kind",
    ((f"{GOOD}/*", f"{GOOD}/ with pictures, beside one folder for each kind of defect"),),
    _read_plain,
)

AnySet = LabelledSet | BrokenSet

IMAGE_LAYOUTS: tuple[Layout[Sequence[AnySet]], ...] = (
    MVTEC_AD_2,
    MVTEC_LOCO,
    MVTEC_AD,
    BTAD,
    VISA,
    REAL_IAD,
    KOLEKTOR,
    MTD,
    DEEP_PCB,
    NEU_DET,
    COCO,
    LABELS_CSV,
    PLAIN,
    LABELME,
)
"""Known layouts; the first of which a folder has all lines is taken, the more telling ones come first."""


def read_image_sets(folder: Path) -> tuple[Layout[Sequence[AnySet]], Sequence[AnySet]]:
    """The layout of a folder, and its sets: one for each product, also those that can't be used.

    Raises
    ------
    DataError : in no known layout; the nearest one and the line that is missing are named. Or its tables
        can't be read.
    """
    layout = recognise(folder, IMAGE_LAYOUTS)
    return layout, layout.read(folder)


def open_image_sets(folder: Path) -> tuple[Layout[Sequence[AnySet]], Sequence[LabelledSet]]:
    """`read_image_sets` where all must be there: raises DataError for the first that can't be used, too."""
    layout, sets = read_image_sets(folder)
    for each in sets:
        if isinstance(each, BrokenSet):
            raise each.error
    return layout, [each for each in sets if isinstance(each, LabelledSet)]
