"""Test the reasons of true alarms: are the cited regions needed, and are other places of their size not?

``python scripts/bench_reasons.py tiles --data DATA`` learns from good magnetic tiles (whole tiles) and
judges defective pictures of the other tiles; ``python scripts/bench_reasons.py parts`` draws a plate, a cap,
a label and a weave with 30 normals each, and defects on others. ``--half`` takes every second defective
picture: ``0`` is the half that changes are made with, ``1`` the one that figures come from. Profiles are kept
in ``--keep`` where it is given.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from anomalist.audit.necessity import ReasonsAudit, places_of_verdict, try_reasons
from anomalist.pipeline import Inspector, learn

sys.path.insert(0, str(Path(__file__).parent))

from generated_parts import DEFECTS, PRODUCTS, make_part

PARTS, PER_DEFECT = 30, 4
KINDS = ("blowhole", "break", "crack", "fray", "uneven")


def tiles(data: Path, wanted: int, each: int) -> tuple[list[Path], dict[str, list[Path]]]:
    """Normals of whole tiles in random order, and defective pictures of the other tiles by kind."""
    with (data / "groups.csv").open(encoding="utf-8") as opened:
        group = {row["image"]: row["group"] for row in csv.DictReader(opened)}
    rng = np.random.default_rng(0)
    normals: list[Path] = []
    used = set()
    for name in rng.permutation(sorted(set(group.values()))):
        if len(normals) >= wanted:
            break
        used.add(name)
        normals += [data / image for image in group if group[image] == name and image.startswith("good/")]
    defects = {}
    for kind in KINDS:
        free = sorted(image for image in group if image.startswith(f"{kind}/") and group[image] not in used)
        chosen = rng.permutation(free)[: 2 * each]
        defects[kind] = [data / image for image in chosen]
    return normals, defects


def parts(folder: Path, product: str) -> tuple[list[Path], dict[str, list[Path]]]:
    """Drawn normals of a product and its defective pictures by kind."""
    folder.mkdir(parents=True, exist_ok=True)

    def drawn(name: str, seed: int, defect: str | None) -> Path:
        path = folder / f"{name}-{seed}.png"
        Image.fromarray(make_part(product, seed, defect)[0]).save(path)
        return path

    normals = [drawn("good", seed, None) for seed in range(PARTS)]
    return normals, {
        defect: [drawn(defect, 1000 * at + seed, defect) for seed in range(2 * PER_DEFECT)]
        for at, defect in enumerate(DEFECTS, 1)
    }


def audits(
    profile: Path, normals: list[Path], defects: dict[str, list[Path]], half: int, effort: str
) -> Iterator[tuple[str, ReasonsAudit]]:
    """The audits of the alarms among the defective pictures of one half, each with its kind and name."""
    if not profile.is_dir():
        learn(normals, profile=profile, effort=effort)
    inspector = Inspector(profile, model="evidence", memory=False)
    for kind, paths in defects.items():
        for path in paths[half::2]:
            done = inspector.inspect(path)
            if done.record.label != "anomalous" or done.media is None or done.evidence is None:
                continue
            cited = places_of_verdict(done.record, done.evidence)
            yield f"{kind} {path.name}", try_reasons(inspector, done.media, done.evidence, cited)


def failing(name: str, audit: ReasonsAudit) -> Iterator[str]:
    """One line for an alarm whose reasons don't hold: every trial, and where the map is highest then."""
    if audit.needed_together and audit.control_keeps:
        return
    said = (f"{each.what} {each.score:.2f} {each.label}, highest at {each.highest}" for each in audit.trials)
    yield f"{name}: score {audit.before.score:.2f}; {'; '.join(said)}"


def summed(found: list[ReasonsAudit]) -> str:
    """What came out, in one line."""
    needed = sum(audit.needed_together for audit in found)
    kept = sum(audit.control_keeps for audit in found)
    both = sum(audit.needed_together and audit.control_keeps for audit in found)
    verdicts = sum(audit.verdict_needs for audit in found)
    return (
        f"{len(found)} true alarms: cited regions needed {needed}, controls not needed {kept}, both {both} "
        f"({100 * both / max(1, len(found)):.0f} %); the verdict is another one without them in {verdicts}"
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("tiles", "parts"))
    parser.add_argument("--data", type=Path, help="folder with mtd/")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--normals", type=int, default=110, help="magnetic tiles to learn from")
    parser.add_argument("--each", type=int, default=12, help="magnetic tiles of each kind of defect")
    parser.add_argument("--effort", default="normal")
    parser.add_argument("--keep", type=Path, help="folder for profiles and drawn pictures")
    asked = parser.parse_args()
    with TemporaryDirectory() as made:
        place = asked.keep or Path(made)
        if asked.what == "tiles":
            if asked.data is None:
                parser.error("--data names the folder with mtd/")
            sets = {"tiles": tiles(asked.data / "mtd", asked.normals, asked.each)}
        else:
            sets = {product: parts(place / product / "pictures", product) for product in PRODUCTS}
        everything: list[ReasonsAudit] = []
        for product, (normals, defects) in sets.items():
            found = []
            place_of_it = place / product / "profile"
            for name, audit in audits(place_of_it, normals, defects, asked.half, asked.effort):
                found.append(audit)
                for line in failing(name, audit):
                    print(f"  {line}", flush=True)
            print(f"{product}: {summed(found)}", flush=True)
            everything += found
        if len(sets) > 1:
            print(f"all: {summed(everything)}")


if __name__ == "__main__":
    main()
