"""Make docs/img/report.png and docs/img/triage.png: real reports on pictures that may be shown.

    python scripts/screenshots.py docs/img

The pictures are crops of a photograph of scikit-image, some with a drawn defect; the footage is drawn, too.
Both are inspected by the command line as anybody would do it, in a temporary folder, and the HTML reports are
photographed by a headless Chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image

Picture = npt.NDArray[np.uint8]
Spoil = Callable[[Picture], None]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH = 1200
"""Pixels of a screenshot."""
MOST_BYTES = 400_000

CROP, SCALE = 128, 2
"""Side of a crop in pixels, and how much it is enlarged."""

HEIGHT_OF_FILM, WIDTH_OF_FILM = 270, 480
RATE = 10
PAVEMENT, ROAD, SECONDS = (150, 205), (215, 270), 24
"""Rows in which people walk, and in which nobody does."""


def main() -> None:
    """Make both pictures."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/img")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("No Chromium found. Install one: apt-get install chromium, or brew install chromium.")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="anomalist-") as folder:
        work = Path(folder)
        take(browser, bricks(work), target / "report.png", height=1500)
        take(browser, street(work), target / "triage.png", height=1160)


def anomalist(work: Path, *arguments: str) -> None:
    """Run a command of the package in ``work``."""
    command = Path(sys.executable).with_name("anomalist")
    here = {**os.environ, "ANOMALIST_HOME": str(work / "home")}
    subprocess.run([command, *arguments], cwd=work, env=here, check=True)


def take(browser: str, page: Path, picture: Path, *, height: int, top: int = 0) -> None:
    """Photograph ``height`` rows of a page from row ``top`` on."""
    shot = page.with_suffix(".png")
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={WIDTH},{top + height}",
            f"--screenshot={shot}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    with Image.open(shot) as whole:
        part = whole.convert("RGB").crop((0, top, WIDTH, top + height))
    part.quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
    size = picture.stat().st_size
    if size > MOST_BYTES:
        sys.exit(f"{picture} has {size} bytes: more than {MOST_BYTES}. Show fewer rows.")
    print(picture, size)


# ------------------------------------------------------------------------------------------------- pictures


def bricks(work: Path) -> Path:
    """Learn a brick wall from both sides of a photograph, inspect its middle; returns the report."""
    photograph = np.repeat(np.asarray(skimage.data.brick(), np.uint8)[..., None], 3, axis=2)
    left = (photograph.shape[1] - CROP) // 2
    sides = (photograph[:, :left], photograph[:, left + CROP :])
    for number, crop in enumerate(crop for side in sides for crop in crops(side, 32)):
        save(crop, work / "good" / f"{number:03d}.png")
    for number, crop in enumerate(crops(photograph[:, left : left + CROP], 64)):
        shown = crop.copy()
        if number in SPOILT:
            SPOILT[number](shown)
        save(shown, work / "new" / f"wall-{number + 1:02d}.png")
    anomalist(work, "learn", "good", "--profile", str(work / "brick"), "--effort", "fast")
    anomalist(work, "inspect", "new", "--profile", str(work / "brick"), "--out", "results")
    return work / "results" / "report.html"


def crops(photograph: Picture, stride: int) -> Iterator[Picture]:
    """Squares of a photograph, enlarged."""
    height, width = photograph.shape[:2]
    for top in range(0, height - CROP + 1, stride):
        for left in range(0, width - CROP + 1, stride):
            square = photograph[top : top + CROP, left : left + CROP]
            yield np.asarray(cv2.resize(square, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC))


def save(picture: Picture, path: Path) -> None:
    """Write a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _scratch(picture: Picture) -> None:
    way = np.array([[60, 190], [96, 168], [120, 150], [168, 128], [190, 98]], np.int32)
    cv2.polylines(picture, [way], False, (236, 232, 226), 3, cv2.LINE_AA)


def _hole(picture: Picture) -> None:
    cv2.ellipse(picture, (150, 110), (20, 14), 25, 0, 360, (28, 26, 25), -1, cv2.LINE_AA)


def _paint(picture: Picture) -> None:
    for centre, radius in (((88, 142), 13), ((112, 156), 6), ((74, 164), 4)):
        cv2.circle(picture, centre, radius, (222, 216, 204), -1, cv2.LINE_AA)


SPOILT: dict[int, Spoil] = {1: _scratch, 4: _hole, 6: _paint}
"""By the number of the crop: what is drawn on it."""


# ---------------------------------------------------------------------------------------------------- video


@dataclass(frozen=True)
class Body:
    """Something that goes from one place to another at a constant speed.

    Parameters
    ----------
    start : seconds.
    speed : pixels a second; negative is to the left.
    row : of its feet.
    kind : a person on foot or on a bicycle; a parcel stays where it is.
    """

    start: float
    speed: float
    row: float
    seed: int
    kind: Literal["person", "bicycle", "parcel"] = "person"

    def x(self, time: float) -> float:
        """Where it is, pixels from the left."""
        if self.kind == "parcel":
            return 0.62 * WIDTH_OF_FILM
        way = self.speed * (time - self.start)
        return way - 20 if self.speed > 0 else WIDTH_OF_FILM + 20 + way


def walkers(seed: int) -> list[Body]:
    """People who pass by on the pavement."""
    rng = np.random.default_rng(seed)
    return [
        Body(
            start=float(start + rng.uniform(0, 2)),
            speed=float(rng.choice([-1, 1]) * rng.uniform(36, 46)),
            row=float(rng.uniform(*PAVEMENT)),
            seed=int(rng.integers(1 << 20)),
        )
        for start in np.arange(-12, SECONDS, 2.4)
    ]


def ground() -> Picture:
    """A street without anybody: a wall with windows, a pavement, a road."""
    rng = np.random.default_rng(3)
    picture = np.zeros((HEIGHT_OF_FILM, WIDTH_OF_FILM, 3), np.float32)
    picture[:110] = (176, 158, 138)
    picture[110:212] = (164, 164, 160)
    picture[212:] = (92, 94, 98)
    for left in range(24, WIDTH_OF_FILM, 76):
        cv2.rectangle(picture, (left, 22), (left + 40, 72), (74, 92, 112), -1)
        cv2.rectangle(picture, (left, 22), (left + 40, 72), (226, 220, 210), 2)
        cv2.line(picture, (left + 20, 22), (left + 20, 72), (226, 220, 210), 2)
    for x in range(-60, WIDTH_OF_FILM + 60, 34):
        cv2.line(picture, (x, 110), (x - 24, 212), (148, 148, 144), 1, cv2.LINE_AA)
    for y in (132, 158, 186):
        cv2.line(picture, (0, y), (WIDTH_OF_FILM, y), (148, 148, 144), 1)
    cv2.rectangle(picture, (0, 208), (WIDTH_OF_FILM, 214), (190, 190, 186), -1)
    for x in range(10, WIDTH_OF_FILM, 70):
        cv2.rectangle(picture, (x, 246), (x + 34, 249), (220, 220, 216), -1)
    grain = cv2.GaussianBlur(rng.standard_normal(picture.shape[:2]).astype(np.float32), (0, 0), 1.2)
    return np.clip(picture + 22 * grain[..., None], 0, 255).astype(np.uint8)


def draw(picture: Picture, body: Body, time: float) -> None:
    """Draw somebody."""
    if time < body.start:
        return
    rng = np.random.default_rng(body.seed)
    coat, legs = (tuple(int(v) for v in rng.integers(low, high, 3)) for low, high in ((30, 210), (25, 80)))
    height = 22 + 0.14 * body.row
    x, feet = body.x(time), body.row
    swing = float(0.16 * height * np.sin(7 * (time + body.seed)))
    fine = 8  # cv2 draws between pixels when told in eighths

    def at(dx: float, dy: float) -> tuple[int, int]:
        return round((x + dx) * fine), round((feet + dy) * fine)

    def line(a: tuple[float, float], b: tuple[float, float], colour: tuple[int, ...], width: float) -> None:
        cv2.line(picture, at(*a), at(*b), colour, max(round(width), 1), cv2.LINE_AA, 3)

    if body.kind == "parcel":
        cv2.rectangle(picture, at(-11, -24), at(11, 0), (150, 96, 44), -1, cv2.LINE_AA, 3)
        line((-11, -14), (11, -14), (214, 190, 140), 2)
        return
    if body.kind == "bicycle":
        for dx in (-0.42 * height, 0.42 * height):
            wheel = at(dx, -0.2 * height), round(0.24 * height * fine)
            cv2.circle(picture, *wheel, (24, 24, 26), 2, cv2.LINE_AA, 3)
        line((-0.42 * height, -0.2 * height), (0.3 * height, -0.45 * height), (170, 30, 30), 2)
        feet -= 0.18 * height
        swing *= 0.6
    line((0, -0.48 * height), (swing, 0), legs, 0.11 * height)
    line((0, -0.48 * height), (-swing, 0), legs, 0.11 * height)
    line((0, -0.5 * height), (0.04 * height, -0.8 * height), coat, 0.24 * height)
    head = at(0.04 * height, -0.93 * height), round(0.09 * height * fine)
    cv2.circle(picture, *head, (198, 158, 132), -1, cv2.LINE_AA, 3)


def film(path: Path, bodies: list[Body], seed: int) -> None:
    """Write a clip of the street as H.264."""
    path.parent.mkdir(parents=True, exist_ok=True)
    empty = ground()
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH_OF_FILM, HEIGHT_OF_FILM, "yuv420p"
        for index in range(SECONDS * RATE):
            picture = empty.copy()
            for body in sorted(bodies, key=lambda body: body.row):
                draw(picture, body, index / RATE)
            grain = noise.normal(0, 1.5, picture.shape[:2])[..., None]
            picture = np.clip(picture + grain, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def street(work: Path) -> Path:
    """Learn a street from normal clips, triage a night; returns the report."""
    for number in range(6):
        film(work / "normal" / f"{number:02d}.mp4", walkers(number), number)
    odd: list[list[Body]] = [
        [],
        [Body(9.0, 190.0, 190.0, 5, "bicycle")],
        [Body(6.0, -44.0, 256.0, 11)],
        [Body(5.0, 0.0, 196.0, 0, "parcel")],
    ]
    for number, extra in enumerate(odd, 20):
        film(work / "night" / f"{number:02d}-00.mp4", walkers(number) + extra, number)
    scene = str(work / "street")
    anomalist(work, "learn-scene", "normal", "--profile", scene)
    anomalist(work, "triage", "night", "--profile", scene, "--out", "night-report")
    return work / "night-report" / "triage.html"


if __name__ == "__main__":
    main()
