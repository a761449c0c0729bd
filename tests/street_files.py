"""The made-up street as files: videos written by PyAV, and a labelled set in folders."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from tests.street import RATE, SIZE, Film
from tests.vision.media.films import film as encoded


def write_film(path: Path, film: Film) -> Path:
    """Encode a film (sizes are even)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return encoded(path, [frame.pixels for frame in film.frames()], rate=round(RATE))


def write_labelled_films(
    folder: Path, training: list[Film], testing: list[tuple[Film, tuple[int, int]]]
) -> Path:
    """A set with training/, testing/, labels.csv and masks/; each test film with its anomalous frames."""
    for number, film in enumerate(training, 1):
        write_film(folder / "training" / f"{number:02d}.mp4", film)
    rows = []
    for number, (film, (first, last)) in enumerate(testing, 1):
        name = f"{number:02d}"
        write_film(folder / "testing" / f"{name}.mp4", film)
        for frame in range(len(film.times)):
            anomalous = first <= frame <= last
            rows.append((name, frame, int(anomalous)))
            if anomalous:
                mask = np.zeros(SIZE, np.uint8)
                mask[50:75] = 255
                file = folder / "masks" / name / f"{frame:03d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(file)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("clip", "frame", "label"))
        writer.writerows(rows)
    return folder
