"""Open a data set of pictures in whatever known layout it is, and look for leaks between its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomalist.eval.datasets.annotations import COCO, LABELME
from anomalist.eval.datasets.layouts import LabelledSet, Layout, recognise
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

IMAGE_LAYOUTS: tuple[Layout[list[LabelledSet]], ...] = (
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


def open_image_sets(folder: Path) -> tuple[Layout[list[LabelledSet]], Sequence[LabelledSet]]:
    """The layout of a folder, and its sets: one for each product.

    Raises
    ------
    DataError : in no known layout; the nearest one and the line that is missing are named. Or its tables
        can't be read.
    """
    layout = recognise(folder, IMAGE_LAYOUTS)
    return layout, layout.read(folder)
