"""Naming by example pictures: how often it is right, and how often it names what is unlike any; JSON lines.

``python scripts/bench_examples.py`` draws six kinds of things (``generated_objects``). One, two or four
of them in a row are known by five pictures each, in all six turns; new things of all six kinds, on other
ground, are shown at three sizes, five looks each. ``right`` is the share of those of a known class that get
its name, ``wrong`` that get another, ``forced`` the share of the others that get any.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from generated_objects import KINDS, show
from PIL import Image

from anomalist.vision.naming.examples import open_examples
from anomalist.vision.naming.looks import LOOKS, Look

EXAMPLES, NEW = 5, 3
SIDES = (40, 56, 80)
EXAMPLE_SIDE = 112


def looks_at(kind: str, seed: int, side: int) -> list[Look]:
    """A thing as a camera sees it a few times, nearer or further and with noise of its own."""
    found = []
    for number in range(LOOKS):
        seen = side + 2 * (number - LOOKS // 2)
        margin = round(0.07 * seen)
        box = (margin, margin, seen - margin, seen - margin)
        found.append(Look(float(number), show(kind, seed, seen), box))
    return found


def main() -> None:
    """Print a line for each number of classes and each size."""
    new = {
        (kind, seed, side): looks_at(kind, 7000 + seed, side)
        for kind in KINDS
        for seed in range(NEW)
        for side in SIDES
    }
    for classes in (1, 2, 4):
        counts = {side: dict.fromkeys(("known", "right", "wrong", "others", "forced"), 0) for side in SIDES}
        for turn in range(len(KINDS)):
            known = (*KINDS, *KINDS)[turn : turn + classes]
            with TemporaryDirectory() as folder:
                for kind in known:
                    (Path(folder) / kind).mkdir()
                    for seed in range(EXAMPLES):
                        picture = Image.fromarray(show(kind, 5000 + seed, EXAMPLE_SIDE, noise=2))
                        picture.save(Path(folder) / kind / f"{seed}.png")
                namer = open_examples(folder)
                for (kind, _, side), looks in new.items():
                    (found,) = namer.name("T1", looks)
                    count = counts[side]
                    if kind in known:
                        count["known"] += 1
                        count["right"] += found.name == kind
                        count["wrong"] += found.name not in (kind, None)
                    else:
                        count["others"] += 1
                        count["forced"] += found.name is not None
        for side, count in counts.items():
            shares = {name: round(count[name] / count["known"], 3) for name in ("right", "wrong")}
            shares["forced"] = round(count["forced"] / count["others"], 3)
            print(json.dumps({"classes": classes, "side": side, **count, "shares": shares}), flush=True)


if __name__ == "__main__":
    main()
