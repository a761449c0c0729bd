"""Data sets of surfaces and boards: KolektorSDD2, magnetic tiles (MTD), DeepPCB, NEU-DET."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from anomalist.errors import DataError, MediaError
from anomalist.eval.datasets.layouts import LabelledSet, Layout, labelled, pictures_in, with_group
from anomalist.eval.image_datasets import GOOD, LabelledImage, Polygon, box_polygon
from anomalist.vision.media.masks import marked_pixels

_TRUTH_ENDING = "_GT"
_TILE_PREFIX = "MT_"
_TILE_GOOD = "MT_Free"


def _read_kolektor(folder: Path) -> list[LabelledSet]:
    train = tuple(item for item in _kolektor(folder, folder / "train") if item.normal)
    return [LabelledSet("KolektorSDD2", tuple(_kolektor(folder, folder / "test")), train)]


def _kolektor(root: Path, folder: Path) -> Iterator[LabelledImage]:
    """Pictures ``NAME.png`` with a mask ``NAME_GT.png`` each, empty where nothing is wrong."""
    paths = pictures_in(folder)
    masks = {
        path.stem.removesuffix(_TRUTH_ENDING): path for path in paths if path.stem.endswith(_TRUTH_ENDING)
    }
    for item in labelled(root, (path for path in paths if not path.stem.endswith(_TRUTH_ENDING))):
        mask = masks.get(item.path.stem)
        if mask is None:
            raise DataError(f"{item.path} has no mask {item.path.stem}{_TRUTH_ENDING}.png.")
        try:
            defective = bool(marked_pixels(mask).any())
        except MediaError as error:
            raise DataError(f"The mask of {item.path} can't be read: {error}") from error
        yield replace(item, defect="defect", mask=mask) if defective else item


def _read_tiles(folder: Path) -> list[LabelledSet]:
    items: list[LabelledImage] = []
    for place in sorted(folder.glob(f"{_TILE_PREFIX}*")):
        kind = GOOD if place.name == _TILE_GOOD else place.name.removeprefix(_TILE_PREFIX).lower()
        photos = [path for path in pictures_in(place / "Imgs") if path.suffix.lower() in (".jpg", ".jpeg")]
        items += labelled(folder, photos, kind, _tile_mask)
    note = "a tile was photographed about six times: without a table of groups, figures come out too good"
    return [LabelledSet("MTD", tuple(items), notes=(note,))]


def _tile_mask(photo: Path) -> Path | None:
    mask = photo.with_suffix(".png")
    return mask if mask.is_file() else None


def _read_boards(folder: Path) -> list[LabelledSet]:
    """Templates are the good pictures; each pair is one object, of the official training or test part."""
    places = {path.name.removesuffix("_temp.jpg"): path.parent for path in folder.glob("**/*_temp.jpg")}
    train = tuple(
        item for name in _listed_pairs(folder / "trainval.txt") for item in _pair(folder, places, name)[:1]
    )
    test = tuple(item for name in _listed_pairs(folder / "test.txt") for item in _pair(folder, places, name))
    if not test:
        raise DataError(f"None of the pairs of {folder / 'test.txt'} is there.")
    return [LabelledSet("DeepPCB", test, train, grouped=True)]


def _listed_pairs(table: Path) -> list[str]:
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table} can't be read: {error}.") from error
    return [Path(line.split()[0]).stem for line in lines if line.strip()]


def _pair(root: Path, places: dict[str, Path], name: str) -> list[LabelledImage]:
    """Template and picture of a pair; nothing where they are not there."""
    place = places.get(name)
    if place is None or not (place / f"{name}_test.jpg").is_file():
        return []
    (template,) = labelled(root, [place / f"{name}_temp.jpg"])
    (picture,) = labelled(root, [place / f"{name}_test.jpg"], "defect")
    boxes = _board_boxes(place.with_name(f"{place.name}_not") / f"{name}.txt")
    return [with_group(template, name), replace(with_group(picture, name), outlines=boxes)]


def _board_boxes(table: Path) -> tuple[Polygon, ...]:
    """Boxes x1 y1 x2 y2 and a type, a line each, separated by blanks or commas."""
    try:
        rows = [line.replace(",", " ").split() for line in table.read_text(encoding="utf-8").splitlines()]
        return tuple(box_polygon(*(float(value) for value in row[:4])) for row in rows if row)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{table} has no boxes x1 y1 x2 y2: {error}.") from error


def _read_steel(folder: Path) -> list[LabelledSet]:
    pictures = {path.stem: path for path in pictures_in(folder / "IMAGES")}
    items = []
    for table in sorted((folder / "ANNOTATIONS").glob("*.xml")):
        if table.stem in pictures:
            kind, boxes = _voc(table)
            for item in labelled(folder, [pictures[table.stem]], kind):
                items.append(replace(item, outlines=boxes))
    if not items:
        raise DataError(f"No picture in {folder / 'IMAGES'} has annotations in ANNOTATIONS/.")
    note = "there are no normal pictures: nothing is ranked, only places are measured"
    return [LabelledSet("NEU-DET", tuple(items), (), notes=(note,))]


def _voc(table: Path) -> tuple[str, tuple[Polygon, ...]]:
    """The class of the first object, and the boxes, of a Pascal VOC annotation."""
    try:
        objects = ElementTree.parse(table).getroot().findall("object")
        names = [str(each.findtext("name")) for each in objects]
        boxes = [
            box_polygon(
                *(float(str(each.findtext(f"bndbox/{side}"))) for side in ("xmin", "ymin", "xmax", "ymax"))
            )
            for each in objects
        ]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{table} is no Pascal VOC annotation: {error}.") from error
    if not names:
        raise DataError(f"{table} holds no object.")
    return names[0], tuple(boxes)


KOLEKTOR = Layout(
    "KolektorSDD2",
    (("train/*_GT.png", "train/<name>_GT.png"), ("test/*_GT.png", "test/<name>_GT.png")),
    _read_kolektor,
)
MTD = Layout(
    "magnetic tiles (MTD)",
    (("MT_Free/Imgs", "MT_Free/Imgs/"), ("MT_[!F]*/Imgs", "MT_<defect>/Imgs/")),
    _read_tiles,
)
DEEP_PCB = Layout(
    "DeepPCB",
    (
        ("trainval.txt", "trainval.txt"),
        ("test.txt", "test.txt"),
        ("group*/*/*_temp.jpg", "group<n>/<n>/<pair>_temp.jpg"),
        ("group*/*_not", "group<n>/<n>_not/<pair>.txt"),
    ),
    _read_boards,
)
NEU_DET = Layout(
    "NEU-DET", (("IMAGES", "IMAGES/"), ("ANNOTATIONS/*.xml", "ANNOTATIONS/<name>.xml")), _read_steel
)
