from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pictures import SIDE, holed, write, write_tiles


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve good tiles and three with a hole, with masks and, two pictures each, a table of groups."""
    root = tmp_path / "tiles"
    good = write_tiles(root / "good", 12)
    y, x = np.mgrid[:SIDE, :SIDE]
    hole = (y - SIDE // 4) ** 2 + (x - SIDE // 4) ** 2 < (SIDE // 10) ** 2
    rows = [f"good/{path.name},tile{number // 2}" for number, path in enumerate(good)]
    for number in range(3):
        write(root / "hole" / f"{number}.png", holed(100 + number))
        write(root / "ground_truth" / "hole" / f"{number}.png", hole.astype(np.uint8) * 255)
        rows.append(f"hole/{number}.png,holed{number}")
    (root / "groups.csv").write_text("\n".join(["image,group", *rows]))
    return root
