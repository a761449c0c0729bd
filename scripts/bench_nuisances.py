"""Measure how changes of the whole picture are told: print the tables of docs/benchmarks.md.

Four generated products are learned from 60 pictures each. New good parts, and parts with a defect, are
inspected as they are, after small changes that every line has, and after large ones of which a person has
to hear.

    python scripts/bench_nuisances.py [--products plate,cap] [--pictures 20] [--normals 60] [--json FILE]
    python scripts/bench_nuisances.py --drift 1000    # the test of a run, on simulated statistics
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from generated_parts import DEFECTS, LARGE, PRODUCTS, SMALL, Picture, cropped, make_part, make_scene

from anomalist import Inspector, learn
from anomalist.types.image import Inspection
from anomalist.vision.shift.run_test import RunTest
from tests.vision.shift.watched_runs import model, shift

NORMALS, DEFECTIVE = 60, 10
NEW, BAD = 1000, 2000
"""First seeds of new good parts, and of those with a defect."""
UNSEEN: dict[str, set[str]] = {"woven": {"moved by 12 px", "moved by 25 px", "turned by 180°"}}
"""Large changes that leave a product as it was: its texture has no place, and looks the same upside down."""


def save(folder: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Write pictures as PNG files and list them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def measure_product(product: str, folder: Path, count: int, normals: int, effort: str) -> dict[str, Any]:
    """Learn a product, and inspect it under all changes."""
    good = save(folder / "good", [make_part(product, seed)[0] for seed in range(normals)])
    profile = learn(good, profile=folder / "profile", effort=effort)
    inspector = Inspector(profile, model="evidence", memory=False)

    def inspect(name: str, pictures: Sequence[Picture]) -> list[Inspection]:
        return list(inspector.inspect_many(save(folder / name.replace(" ", "_"), pictures)))

    new = [make_scene(product, NEW + seed)[0] for seed in range(count)]
    bad = {kind: [make_scene(product, BAD + seed, kind) for seed in range(DEFECTIVE)] for kind in DEFECTS}
    found = {"as learned": _found(inspect, "as learned", cropped, new, bad)}
    for name, change in SMALL.items():
        found[name] = _found(inspect, name, change, new, bad)
        print(product, name, found[name], flush=True)
    large = {}
    for name, (change, expected) in LARGE.items():
        if name not in UNSEEN.get(product, set()):
            large[name] = _named(inspect(name, [change(picture) for picture in new]), expected)
            print(product, name, large[name], flush=True)
    others = [make_part(other, seed)[0] for other in PRODUCTS if other != product for seed in range(5)]
    large["another product"] = _named(inspect("others", others), ("product", "format"))
    return {"small": found, "large": large}


def _found(
    inspect: Callable[[str, Sequence[Picture]], list[Inspection]],
    name: str,
    change: Callable[[Picture], Picture],
    new: Sequence[Picture],
    bad: dict[str, list[tuple[Picture, Any]]],
) -> dict[str, float]:
    """Share of good parts that are called anomalous, and numbers of defects that are found of ten a kind."""
    seen = inspect(name, [change(picture) for picture in new])
    result: dict[str, float] = {"false alarms": np.mean([each.record.label == "anomalous" for each in seen])}
    for kind, cases in bad.items():
        changed = [change(picture) for picture, _ in cases]
        records = [each.record for each in inspect(f"{name} {kind}", changed)]
        result[kind] = sum(record.label == "anomalous" for record in records)
        if kind == "missing":
            result["called missing"] = sum(
                any(region.change == "missing" for region in record.regions) for record in records
            )
    return result


def _named(seen: Sequence[Inspection], expected: Sequence[str]) -> dict[str, float]:
    """Shares of pictures whose change is named rightly, and of which a place is said to be defective."""
    names = [
        {change.name for change in each.record.input_shift.changes} if each.record.input_shift else set()
        for each in seen
    ]
    return {
        "named": float(np.mean([bool(each & set(expected)) for each in names])),
        "local": float(np.mean([bool(each.record.regions) for each in seen])),
    }


def measure_drift(runs: int) -> None:
    """False alarms of quiet runs of 1,000 pictures, and how soon a rise of the light by 20 % is noticed."""
    quiet = sum(_noticed(seed, 0.0, 1, 1000) is not None for seed in range(runs))
    print(f"drift found in {quiet} of {runs} quiet runs of 1,000 pictures")
    for length in (1, 50, 100, 200):
        found = [_noticed(seed, 0.2, length, 500) for seed in range(50)]
        late = [500 if number is None else number for number in found]
        print(
            f"20 % over {length} pictures: noticed after {np.median(late):.0f} (median), {max(late)} at most"
        )


def _noticed(seed: int, rise: float, length: int, pictures: int) -> int | None:
    """Number of the picture at which drift is found; brightness is within 3 %, all else Gaussian."""
    rng = np.random.default_rng(seed)
    test = RunTest(model(rng, NORMALS), seed)
    for number in range(1, pictures + 1):
        if test.observe(shift(rng, rise * min(1, number / length))) is not None:
            return number
    return None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", default=",".join(PRODUCTS))
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--normals", type=int, default=NORMALS)
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--drift", type=int, help="quiet runs of the test of a run")
    given = parser.parse_args()
    if given.drift:
        measure_drift(given.drift)
        return
    results = {}
    with tempfile.TemporaryDirectory() as place:
        for product in given.products.split(","):
            results[product] = measure_product(
                product, Path(place) / product, given.pictures, given.normals, given.effort
            )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1, default=float), encoding="utf-8")
    print_table(results)


def print_table(results: dict[str, Any]) -> None:
    """Print rows of Markdown: one a change, one column a product."""
    print("\n| change | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    first = next(iter(results.values()))
    for name in first["small"]:
        cells = []
        for each in results.values():
            row = each["small"][name]
            kinds = ", ".join(f"{row[kind]:.0f}" for kind in DEFECTS)
            cells.append(f"{100 * row['false alarms']:.0f} %; {kinds} ({row['called missing']:.0f})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| change | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    for name in [*LARGE, "another product"]:
        cells = [
            f"{100 * row['named']:.0f} % / {100 * row['local']:.0f} %" if row else "–"
            for row in (each["large"].get(name) for each in results.values())
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
