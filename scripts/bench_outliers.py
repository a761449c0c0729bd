"""Outliers among normals: how many are found, and what they cost; prints one JSON line a case.

``python scripts/bench_outliers.py`` draws five products. "contaminated": 54 good pictures, 3 with a scratch
and 3 with a stain; what is named among them, and the image AUROC on 16 new good and 16 new defective ones of
profiles (effort "fast") of the good ones alone, of all (kept) and of those that the check leaves (dropped),
and the share of the defective ones that each calls anomalous at the default rate.
"second": two products in one folder, 51 and 9 pictures or 30 and 30. ``--data D`` names good pictures of real
products: of MTD, all of whole tiles until there are 110, and of castings 60; how many are named.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.metrics import roc_auc_score

from anomalist.pipeline import Inspector, check_normals, learn

GOOD, OF_EACH, NEW = 54, 3, 40
STRENGTHS = {"plain": 1.0, "faint": 0.25}
"""Contrast of the new defects; those among the normals are plain."""
TILES, CASTINGS = 110, 60
SECOND = (("plate", "cap"), ("plate", "label"), ("weave", "grain"))
SIDE = 256
Grey = npt.NDArray[np.float32]
Rng = np.random.Generator


def field(rng: Rng, deviation: float, across: float, down: float | None = None) -> Grey:
    """Smooth random field of a given standard deviation, float32 (SIDE, SIDE)."""
    noise = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), sigmaX=across, sigmaY=down or across)
    return np.asarray(deviation * noise / noise.std(), np.float32)


def plate(rng: Rng) -> Grey:
    """A milled plate with two slots, bolts in the corners and engraved strokes, on a dark belt."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 - rng.uniform(-2, 2, (2, 1, 1))
    swirl = 8 * np.sin(np.hypot(x + 60, y - 90) / 2.2 + field(rng, 0.6, 12))
    picture = np.where((abs(x) < 104) & (abs(y) < 84), 150 + swirl + field(rng, 5, 5), 45 + field(rng, 6, 2))
    for side in (-1, 1):
        slot = np.hypot(np.maximum(abs(x) - 40, 0), y - 48 * side)
        picture = np.where(slot < 9, 30, np.where(slot < 12, 190, picture))
        for other in (-1, 1):
            bolt = np.hypot(x - 84 * side, y - 64 * other)
            picture = np.where(bolt < 10, 110 + 60 * (bolt < 5), picture)
    for stroke in range(5):
        picture = np.where((abs(x - 14 * (stroke - 2)) < 2) & (abs(y) < 11), 70, picture)
    return np.asarray(picture, np.float32)


def cap(rng: Rng) -> Grey:
    """A round cap with a ribbed rim, turned at random, on a light table."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 - rng.uniform(-3, 3, (2, 1, 1))
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    ribs = 22 * np.sin(60 * (angle + rng.uniform(0, 6.3)))
    picture = np.where(radius < 104, 90 + ribs, 205 + field(rng, 4, 20))
    picture = np.where(radius < 84, 125 - 0.25 * radius + field(rng, 3, 1.5), picture)
    return np.asarray(np.where(abs(radius - 50) < 4, 60, picture), np.float32)


def label(rng: Rng) -> Grey:
    """A printed label: a name, three lines, bars, and a number that is another one on each."""
    picture = np.full((SIDE, SIDE), 228, np.uint8)
    x, y = (int(each) for each in rng.integers(-2, 3, 2))
    font, ink = cv2.FONT_HERSHEY_SIMPLEX, 40.0
    cv2.rectangle(picture, (12 + x, 12 + y), (243 + x, 243 + y), ink, 2)
    cv2.putText(picture, "OMNIA 7", (40 + x, 64 + y), font, 1.3, ink, 3, cv2.LINE_AA)
    for row, text in enumerate(("Store dry and cool", "Keep upright", "Net 250 ml")):
        cv2.putText(picture, text, (40 + x, 96 + 22 * row + y), font, 0.5, ink, 1, cv2.LINE_AA)
    widths = np.random.default_rng(5).integers(1, 5, 40).cumsum()
    for left, right in zip(widths[::2], widths[1::2], strict=True):
        cv2.rectangle(picture, (40 + 2 * int(left) + x, 160 + y), (39 + 2 * int(right) + x, 200 + y), ink, -1)
    number = f"LOT {rng.integers(10**5, 10**6)}"
    cv2.putText(picture, number, (70 + x, 226 + y), font, 0.6, ink, 1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.7) + field(rng, 2, 1)


def weave(rng: Rng) -> Grey:
    """Plain weave of uneven yarn, anywhere in the cloth."""
    y, x = np.mgrid[:SIDE, :SIDE] + rng.uniform(0, 40, (2, 1, 1))
    warp = np.sin(2 * np.pi * (x / 8 + field(rng, 0.06, 10)))
    weft = np.sin(2 * np.pi * (y / 8 + field(rng, 0.06, 10)))
    over = np.sin(np.pi * x / 8) * np.sin(np.pi * y / 8) > 0
    thread = np.where(over, warp, weft) * (1 + field(rng, 0.15, 2, 12) + field(rng, 0.15, 12, 2))
    return np.asarray(120 + 28 * thread + field(rng, 5, 1), np.float32)


def grain(rng: Rng) -> Grey:
    """Wood: wavy rings of a period that varies, with pores."""
    x = np.arange(SIDE)[None]
    across = x + rng.uniform(0, 400) + field(rng, 7, 10, 60)
    rings = np.sin(2 * np.pi * across / rng.uniform(24, 34)) + 0.4 * np.sin(2 * np.pi * across / 9.0)
    pores = -30 * (field(rng, 1, 0.8, 5) > 2.4)
    return np.asarray(150 + 14 * rings + pores + field(rng, 5, 1, 8), np.float32)


PRODUCTS: dict[str, Callable[[Rng], Grey]] = {
    "plate": plate,
    "cap": cap,
    "label": label,
    "weave": weave,
    "grain": grain,
}


def scratch(rng: Rng, picture: Grey, strength: float) -> Grey:
    """A thin bent line, lighter or darker than its ground."""
    start, angle = rng.uniform(80, 176, 2), rng.uniform(0, np.pi)
    length, bend = rng.uniform(40, 80), rng.uniform(-0.3, 0.3)
    steps = np.linspace(-0.5, 0.5, 30)
    course = angle + bend * steps
    points = start + length * steps[:, None] * np.stack([np.cos(course), np.sin(course)], 1)
    mask = np.zeros((SIDE, SIDE), np.float32)
    cv2.polylines(mask, [np.round(points * 16).astype(np.int32)], False, 1.0, 2, cv2.LINE_8, 4)
    tone = strength * rng.choice([-70.0, 70.0])
    return picture + tone * cv2.GaussianBlur(mask, (0, 0), 0.7)


def stain(rng: Rng, picture: Grey, strength: float) -> Grey:
    """A soft dark patch of an irregular outline."""
    y, x = np.mgrid[:SIDE, :SIDE]
    cx, cy = rng.uniform(70, 186, 2)
    size = rng.uniform(10, 18)
    distance = np.hypot(x - cx, (y - cy) * rng.uniform(0.8, 1.4)) / size + field(rng, 0.25, 6)
    return np.asarray(picture * (1 - strength * rng.uniform(0.3, 0.5) * (distance < 1)), np.float32)


DEFECTS: dict[str, Callable[[Rng, Grey, float], Grey]] = {"scratch": scratch, "stain": stain}


def draw(
    product: str, number: int, defect: str | None = None, strength: float = 1.0
) -> npt.NDArray[np.uint8]:
    """One picture of a product, uint8 (SIDE, SIDE, 3); ``number`` is the seed."""
    rng = np.random.default_rng((sorted(PRODUCTS).index(product), number))
    picture = PRODUCTS[product](rng)
    if defect is not None:
        picture = DEFECTS[defect](rng, picture, strength)
    picture = picture * rng.uniform(0.97, 1.03) + rng.normal(0, 2, picture.shape)
    tinted = picture[..., None] * np.array([1.0, 0.98, 0.94])
    return cv2.GaussianBlur(tinted, (0, 0), 0.6).clip(0, 255).astype(np.uint8)


def write(
    folder: Path, product: str, numbers: range, defect: str | None = None, strength: float = 1.0
) -> list[Path]:
    """Draw pictures into a folder as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{product}-{defect or 'good'}-{number:04d}.png" for number in numbers]
    for path, number in zip(paths, numbers, strict=True):
        Image.fromarray(draw(product, number, defect, strength)).save(path)
    return paths


def contaminated(product: str, folder: Path, effort: str) -> dict[str, object]:
    """What is named among contaminated normals, and what they cost."""
    good = write(folder / "good", product, range(GOOD))
    bad = [
        path for kind in DEFECTS for path in write(folder / "bad", product, range(7000, 7000 + OF_EACH), kind)
    ]
    half = NEW // 2
    new = {"good": write(folder / "new", product, range(1000, 1000 + NEW))}
    for name, strength in STRENGTHS.items():
        new[name] = [
            path
            for number, kind in enumerate(DEFECTS)
            for path in write(
                folder / name,
                product,
                range(2000 + half * number, 2000 + half * (number + 1)),
                kind,
                strength,
            )
        ]
    named = {outlier.source for outlier in check_normals([*good, *bad]).outliers}
    row: dict[str, object] = {
        "case": "contaminated",
        "product": product,
        "effort": effort,
        "defects_named": sum(str(path) in named for path in bad) / len(bad),
        "good_named": sum(str(path) in named for path in good) / len(good),
    }
    cases: tuple[tuple[str, list[Path], Literal["drop", "keep"]], ...] = (
        ("clean", good, "keep"),
        ("kept", [*good, *bad], "keep"),
        ("dropped", [*good, *bad], "drop"),
    )
    for name, normals, outliers in cases:
        profile = learn(normals, profile=folder / f"profile-{name}", effort=effort, outliers=outliers)
        inspector = Inspector(profile, model="evidence", memory=False)
        records = {kind: [one.record for one in inspector.inspect_many(paths)] for kind, paths in new.items()}
        usual = [record.score for record in records.pop("good")]
        for kind, seen in records.items():
            labels = [0] * len(usual) + [1] * len(seen)
            auroc = roc_auc_score(labels, [*usual, *(record.score for record in seen)])
            row[f"auroc_{kind}_{name}"] = round(float(auroc), 4)
            row[f"found_{kind}_{name}"] = sum(record.label == "anomalous" for record in seen) / len(seen)
    return row


def second(one: str, other: str, counts: tuple[int, int], folder: Path) -> dict[str, object]:
    """What is named as a second product where there is one."""
    first = {str(path) for path in write(folder / "both", one, range(counts[0]))}
    added = {str(path) for path in write(folder / "both", other, range(counts[1]))}
    found = {each.source for each in check_normals(folder / "both").of("second product")}
    if counts[0] == counts[1] and found == first:  # which half is the second one goes by names
        first, added = added, first
    return {
        "case": "second",
        "products": f"{one} {counts[0]} + {other} {counts[1]}",
        "named": len(found & added) / len(added),
        "others_named": len(found & first) / len(first),
    }


def real(name: str, paths: Sequence[Path]) -> dict[str, object]:
    """How many good pictures of a real product are named."""
    outliers = check_normals(paths).outliers
    return {"case": "real", "data": name, "pictures": len(paths), "good_named": len(outliers) / len(paths)}


def tiles(data: Path) -> list[Path]:
    """Good pictures of MTD, tile by tile in random order."""
    by_tile = defaultdict(list)
    with (data / "groups.csv").open(encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            if row["image"].startswith("good/"):
                by_tile[row["group"]].append(data / row["image"])
    chosen: list[Path] = []
    for tile in np.random.default_rng(0).permutation(sorted(by_tile)):
        chosen += by_tile[tile] if len(chosen) < TILES else []
    return chosen


def main() -> None:
    """Run the cases that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with mtd/ and casting/, instead of drawn products")
    parser.add_argument("--case", choices=("contaminated", "second"), help="this one alone")
    parser.add_argument("--product", choices=tuple(PRODUCTS), action="append", help="contaminated ones alone")
    parser.add_argument("--effort", default="fast", help="of the profiles")
    asked = parser.parse_args()
    if asked.data is not None:
        print(json.dumps(real("mtd", tiles(asked.data / "mtd"))), flush=True)
        castings = sorted((asked.data / "casting" / "good").iterdir())[:CASTINGS]
        print(json.dumps(real("casting", castings)), flush=True)
        return
    if asked.case != "second":
        for product in asked.product or PRODUCTS:
            with TemporaryDirectory() as folder:
                print(json.dumps(contaminated(product, Path(folder), asked.effort)), flush=True)
    if asked.case != "contaminated":
        for (one, other), counts in itertools.product(SECOND, ((51, 9), (30, 30))):
            with TemporaryDirectory() as folder:
                print(json.dumps(second(one, other, counts, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
