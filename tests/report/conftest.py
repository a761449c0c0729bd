"""A run folder with one picture of each outcome, made of arrays, with names that try to break out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalist.types.common import Box, Claim, DetectorInfo, Recalled
from anomalist.types.image import Attributes, Calibration, Record, Region

HEIGHT, WIDTH = 80, 120
PROFILE = "ab" * 32
NASTY = "<img src=x onerror=alert(1)> & 'quoted' | `code` 検査.png"


@dataclass(frozen=True)
class Run:
    folder: Path
    records: list[Record]
    calibrations: dict[str, dict[str, Any]]

    def named(self, part: str) -> Record:
        return next(record for record in self.records if part in record.source)


def region(name: str, box: Box, area: int, peak: float) -> Region:
    attributes = Attributes(
        position="upper left",
        edges=("left",) if box[0] == 0 else (),
        relative_size=area / (HEIGHT * WIDTH),
        elongation=3.2,
        orientation=45.0,
        contrast=-31.0,
        contrast_sigma=-2.4,
        tone="darker",
        colour_shift=1.2,
        texture_ratio=1.9,
        texture="rougher",
    )
    return Region(id=name, box=box, area=area, peak=peak, mean=peak / 2, attributes=attributes)


def calibration(**changes: Any) -> Calibration:
    fields: dict[str, Any] = {
        "method": "split",
        "normals": 39,
        "groups": 39,
        "false_alarm_rate": 0.05,
        "reachable": True,
        "normals_needed": 19,
        "instability": 0.02,
        "approximate": False,
        "seed": 0,
    }
    return Calibration(**(fields | changes))


class Maker:
    """Writes the files of one inspection and gives its record."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "run"
        self.pictures = root / "pictures"
        for folder in (self.folder / "maps", self.folder / "masks", self.pictures):
            folder.mkdir(parents=True)
        self.rng = np.random.default_rng(0)

    def inspect(self, name: str, boxes: tuple[Box, ...] = (), **fields: Any) -> Record:
        path = self.pictures / name
        Image.fromarray(self.rng.integers(90, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
        for x0, y0, x1, y1 in boxes:
            mask[y0:y1, x0:x1] = True
        number = len(list((self.folder / "maps").iterdir()))
        stored = {"map": f"maps/{number}.npy", "mask": f"masks/{number}.png"}
        noise = self.rng.random((HEIGHT, WIDTH))
        np.save(self.folder / stored["map"], (noise + 4 * mask).astype(np.float32))
        Image.fromarray(mask.astype(np.uint8) * 255).save(self.folder / stored["mask"])
        regions = tuple(
            region(f"R{i}", box, (box[2] - box[0]) * (box[3] - box[1]), 5.0 - i)
            for i, box in enumerate(boxes, start=1)
        )
        known: dict[str, Any] = {
            "source": str(path),
            "status": "ok",
            "threshold": 2.0,
            "regions": regions,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "width": WIDTH,
            "height": HEIGHT,
            "reasoner": "evidence (measurement only, no language model)",
            "detector": DetectorInfo(name="surface", version="0.1.0", digest="cd" * 32),
            "calibration": calibration(),
            "roi_area": HEIGHT * WIDTH,
            "profile": "tiles",
            "profile_digest": PROFILE,
            "policy": "ef" * 32,
            "time": f"2026-03-02T09:0{number}:00+00:00",
        }
        return Record(**(known | stored | fields))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    maker = Maker(tmp_path)
    records = [
        maker.inspect("calm.png", label="normal", severity=0, score=0.9, p_value=0.6),
        maker.inspect(
            "doubtful.png",
            ((30, 20, 50, 40),),
            label="normal",
            severity=0,
            score=1.6,
            p_value=0.2,
            disagreements=("The picture scores as normal as a whole, but R1 stands out.",),
        ),
        maker.inspect(
            NASTY,
            ((0, 10, 20, 30), (60, 40, 64, 44)),
            label="anomalous",
            severity=3,
            kind="line",
            score=3.5,
            p_value=0.025,
            claims=(
                Claim(text="The score of 3.5 is higher than all.", evidence=("score",)),
                Claim(text="R1: a thin dark line <b>here</b>.", evidence=("R1",)),
                Claim(text="Both places are alike.", evidence=("R1", "R2", "case:12")),
            ),
            recall=(Recalled(id="case:12", text="a scratch <i>like</i> this", similarity=0.8),),
        ),
        maker.inspect(
            "mild.png",
            ((5, 5, 9, 9),),
            label="anomalous",
            severity=1,
            kind="spot",
            score=2.4,
            p_value=0.05,
            disagreements=("Two opinions differ.",),
            dropped_claims=2,
        ),
        maker.inspect(
            "unsure.png",
            label="undecided",
            severity=1,
            score=2.01,
            p_value=0.05,
            why_undecided="The score is too close to the threshold.",
        ),
        Record(source="<script>alert(1)</script>.png", status="error", error="This is <not> a picture."),
    ]
    scores = np.linspace(0.5, 2.2, 39).tolist()
    calibrations = {PROFILE: {"name": "tiles", "digest": PROFILE, "scores": scores, "groups": None}}
    return Run(maker.folder, records, calibrations)
