"""MVTec AD and the sets that are laid out like it: MPDD, MVTec LOCO AD, MVTec AD 2, BTAD.

Each product has a folder with pictures to learn from and to test on; ``DATA`` is one product or all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from anomalist.errors import DataError
from anomalist.eval.datasets.layouts import (
    BrokenSet,
    LabelledSet,
    Layout,
    attempt,
    folders_in,
    labelled,
    pictures_in,
    products,
)
from anomalist.eval.image_datasets import GOOD, LabelledImage
from anomalist.vision.media.masks import GROUND_TRUTH, MaskFolder


def _lines(*parts: str) -> tuple[tuple[str, str], ...]:
    """Lines that hold for the folder of one product and for a folder of products."""
    return tuple((f"{part}|*/{part}", f"{part}/") for part in parts)


def _read_each(
    read: Callable[[Path, Path], LabelledSet], *markers: str
) -> Callable[[Path], list[LabelledSet | BrokenSet]]:
    """What reads each product of a folder by itself."""

    def read_all(folder: Path) -> list[LabelledSet | BrokenSet]:
        return [attempt(place.name, partial(read, folder, place)) for place in products(folder, *markers)]

    return read_all


def _product(folder: Path, place: Path) -> LabelledSet:
    return _whole(place, _normals(folder, place), _tested(folder, place / "test", MaskFolder(place)))


def _normals(folder: Path, place: Path) -> Iterator[LabelledImage]:
    normals = chain(pictures_in(place / "train" / GOOD), pictures_in(place / "validation" / GOOD))
    return labelled(folder, normals)


def _tested(folder: Path, tests: Path, masks: MaskFolder) -> Iterator[LabelledImage]:
    for kind in folders_in(tests):
        if kind.name != GROUND_TRUTH:
            find = partial(masks.find, kind.name)
            yield from labelled(folder, pictures_in(kind), kind.name, find)


def _whole(
    place: Path, normals: Iterable[LabelledImage], tests: Iterable[LabelledImage], *notes: str
) -> LabelledSet:
    """A product with its official split; raises DataError where a part of it is not there."""
    train, test = tuple(normals), tuple(tests)
    for part, there in (("learn from", bool(train)), ("test on", any(item.normal for item in test))):
        if not there:
            raise DataError(
                f"The product {place} is not whole: there are no good pictures to {part}.",
                "Fetch it again, or move its folder away to measure the others.",
            )
    return LabelledSet(place.name, test, train, notes=notes)


def _ad2_product(folder: Path, place: Path) -> LabelledSet:
    note = "only the public test pictures have labels; the private ones are scored by the benchmark's server"
    public = place / "test_public"
    return _whole(place, _normals(folder, place), _tested(folder, public, MaskFolder(public)), note)


def _btad_product(folder: Path, place: Path) -> LabelledSet:
    find = partial(MaskFolder(place).find, "ko")
    good = labelled(folder, pictures_in(place / "test" / "ok"))
    bad = labelled(folder, pictures_in(place / "test" / "ko"), "ko", find)
    return _whole(place, labelled(folder, pictures_in(place / "train" / "ok")), chain(good, bad))


_READ_AD = _read_each(_product, "train/good", "test/good")


MVTEC_AD_2 = Layout(
    "MVTec AD 2",
    _lines("test_public/good", "test_public/bad", "test_public/ground_truth", "train/good"),
    _read_each(_ad2_product, "test_public", "train/good"),
)
MVTEC_LOCO = Layout(
    "MVTec LOCO AD",
    _lines("test/logical_anomalies", "test/structural_anomalies", "test/good", "train/good", GROUND_TRUTH),
    _READ_AD,
)
MVTEC_AD = Layout("MVTec AD or MPDD", _lines("train/good", "test/good", GROUND_TRUTH), _READ_AD)
BTAD = Layout(
    "BTAD",
    _lines("train/ok", "test/ok", "test/ko", "ground_truth/ko"),
    _read_each(_btad_product, "train/ok", "test/ok"),
)
