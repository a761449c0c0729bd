"""Clips of people, calm and fighting, by fixed, shaken and panning cameras: which does ``triage`` put first?

Figures of limbs on springs are drawn on a textured ground. Calm: walk, run, skate by, stand and gesture,
greet with an embrace. Fights: two or three people strike at random times and shove each other, beside
bystanders. Camera, size, noise and coding are drawn alike for both. Says the AUROC of the highest score of
each clip, of all and by camera, and that of the highest speed alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomalist.eval.metrics import image_auroc
from anomalist.types.common import UInt8Array
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.unlearned import measure_activity

RATE, WIDTH, HEIGHT = 25, 320, 240
GROUND = 480, 800  # height and width of what the camera may see
CAMERAS = "fixed", "shake", "pan"
CALM = "greet", "sport", "walk", "run", "talk"
JOINTS = (
    "left arm",
    "left elbow",
    "right arm",
    "right elbow",
    "left leg",
    "left knee",
    "right leg",
    "right knee",
)
PACE = {"walk": (1.0, 0.45, 0.75), "run": (1.5, 0.8, 2.2), "skate": (0.6, 0.35, 3.0)}
"""Steps a second, swing in radians, and body heights a second."""

Floats = npt.NDArray[np.float64]


@dataclass(eq=False)
class Figure:
    """A person whose joints are driven to angles by damped springs."""

    rng: np.random.Generator
    x: float
    y: float
    height: float
    kind: str
    facing: int = 1
    other: Figure | None = None
    angle: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*JOINTS, "trunk"), 0.0))

    def __post_init__(self) -> None:
        self.colours = [self.rng.uniform(20, 235, 3).tolist() for _ in range(3)]
        self.phase, self.time, self.speed = float(self.rng.uniform(0, 6.28)), 0.0, 0.0
        self.rate = dict.fromkeys(self.angle, 0.0)
        self.wanted = dict(self.angle)
        self.due = {name: float(self.rng.uniform(0, 0.3)) for name in self.angle}
        self.shove = float(self.rng.uniform(0, 0.4))

    def step(self, seconds: float) -> None:
        """Move on."""
        self.time += seconds
        if self.kind in PACE:
            self._go(*PACE[self.kind], seconds)
        elif self.kind == "greet" and self.other is not None and abs(self._apart) > 0.35 * self.height:
            self.facing = 1 if self._apart > 0 else -1
            self._go(1.0, 0.4, 0.6, seconds)
        elif self.kind == "greet":
            for name in ("left arm", "right arm"):
                self.wanted[name] = 1.3
            self._spring(4.0, 4.0, seconds)
        elif self.kind == "fight":
            self._fight(seconds)
        else:
            self._gesture(seconds)

    @property
    def _apart(self) -> float:
        return 0.0 if self.other is None else self.other.x - self.x

    def _go(self, steps: float, swing: float, pace: float, seconds: float) -> None:
        turn = np.sin(self.phase + 2 * np.pi * steps * self.time)
        for side, sign in (("left", 1), ("right", -1)):
            self.angle[f"{side} leg"] = swing * sign * turn
            self.angle[f"{side} arm"] = -0.8 * swing * sign * turn
        self.x += self.facing * pace * self.height * seconds

    def _gesture(self, seconds: float) -> None:
        size = 1.0 if self.kind == "talk" else 0.15
        for name in self.angle:
            if self.time > self.due[name]:
                self.wanted[name] = (
                    size * (0.6 if "arm" in name or "elbow" in name else 0.08) * self.rng.normal()
                )
                self.due[name] = self.time + self.rng.uniform(0.6, 2.0)
        self._spring(5.0, 5.0, seconds)

    def _fight(self, seconds: float) -> None:
        self.facing = 1 if self._apart > 0 else -1
        for name in self.angle:
            if self.time > self.due[name]:
                strikes = "arm" in name or "elbow" in name
                self.wanted[name] = self.rng.uniform(0, 1.8) if strikes else 0.45 * self.rng.normal()
                self.due[name] = self.time + self.rng.exponential(0.25 if strikes else 0.35) + 0.08
        self._spring(22.0, 13.0, seconds)
        if self.time > self.shove:
            self.speed += 1.2 * self.height * self.rng.normal()
            self.shove = self.time + self.rng.exponential(0.5)
        pull = 6 * (self._apart - self.facing * 0.35 * self.height) - 3 * self.speed
        self.speed += pull * seconds
        self.x += self.speed * seconds

    def _spring(self, arms: float, others: float, seconds: float) -> None:
        for name, angle in self.angle.items():
            stiff = arms if "arm" in name or "elbow" in name else others
            self.rate[name] += (
                stiff**2 * (self.wanted[name] - angle) - 1.6 * stiff * self.rate[name]
            ) * seconds
            self.angle[name] = angle + self.rate[name] * seconds

    def draw(self, picture: npt.NDArray[np.float32]) -> None:
        """Draw it into a picture."""
        import cv2

        tall, lean = self.height, self.angle["trunk"]
        hip = np.array([self.x, self.y - 0.48 * tall])
        neck = hip + 0.32 * tall * np.array([self.facing * np.sin(lean), -np.cos(lean)])
        head = neck - (0.0, 0.1 * tall)

        def line(start: Floats, end: Floats, colour: list[float], width: float) -> None:
            points = [(round(16 * x), round(16 * y)) for x, y in (start, end)]
            cv2.line(picture, *points, colour, max(1, int(width * tall)), cv2.LINE_AA, 4)

        def limb(start: Floats, first: float, second: float, length: float, colour: list[float]) -> None:
            for turn in (first, first + second):
                end = start + length * tall * np.array([self.facing * np.sin(turn), np.cos(turn)])
                line(start, end, colour, 0.075)
                start = end

        angle = self.angle
        limb(hip, angle["right leg"], -angle["right knee"], 0.24, self.colours[1])
        limb(neck, angle["right arm"], angle["right elbow"], 0.17, self.colours[0])
        line(hip, neck, self.colours[0], 0.16)
        middle = round(16 * head[0]), round(16 * head[1])
        cv2.circle(picture, middle, int(0.96 * tall), self.colours[2], -1, cv2.LINE_AA, 4)
        limb(hip, angle["left leg"], -angle["left knee"], 0.24, self.colours[1])
        limb(neck, angle["left arm"], angle["left elbow"], 0.17, self.colours[0])


def ground(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A textured ground with things on it, float32 (h, w, 3)."""
    import cv2

    high, wide = GROUND
    out = np.zeros((high, wide, 3), np.float32)
    for size in (4, 8, 16, 32, 64, 128):
        small = rng.normal(0, 1, (high // size + 2, wide // size + 2, 3)).astype(np.float32)
        out += size**0.6 * cv2.resize(small, (wide, high), interpolation=cv2.INTER_CUBIC)
    out = out / out.std() * 28 + rng.uniform(90, 150)
    for _ in range(rng.integers(8, 25)):
        x, y, right, down = (
            int(rng.integers(*span)) for span in ((0, wide), (0, high), (20, 160), (20, 160))
        )
        colour = rng.uniform(20, 230, 3).tolist()
        cv2.rectangle(out, (x, y), (x + right, y + down), colour, -1 if rng.random() < 0.5 else 2)
    return np.clip(out, 0, 255).astype(np.float32)


def people(rng: np.random.Generator, what: str) -> list[Figure]:
    """Who is in a clip."""
    tall = float(np.exp(rng.uniform(np.log(45), np.log(150))))
    x, y = GROUND[1] / 2, GROUND[0] / 2 + 0.45 * tall

    def some(count: int, kinds: list[str], spread: float = 25.0) -> list[Figure]:
        return [
            Figure(
                rng,
                x + rng.uniform(-150, 150),
                y + rng.uniform(-spread, spread),
                tall * rng.uniform(0.8, 1.1),
                str(rng.choice(kinds)),
                int(rng.choice([-1, 1])),
            )
            for _ in range(count)
        ]

    beside = ["stand", "walk", "talk"]
    if what in ("fight", "greet"):
        apart = 0.2 if what == "fight" else 0.9
        one, two = (Figure(rng, x + side * apart * tall, y, tall, what, -side) for side in (-1, 1))
        one.other, two.other = two, one
        found = [one, two]
        if what == "fight" and rng.random() < 0.3:
            found.append(Figure(rng, x + 0.4 * tall, y + 3, tall, what, -1, one))
        return found + some(int(rng.integers(0, 4)), beside)
    if what == "sport":
        return some(int(rng.integers(2, 6)), ["skate", "run"], 50.0)
    if what == "run":
        return [Figure(rng, x - 140, y, tall, "run"), *some(int(rng.integers(0, 4)), ["walk", "stand"])]
    return some(int(rng.integers(2, 6)), ["walk", "walk", "stand"] if what == "walk" else ["talk", "stand"])


def path_of(camera: str, rng: np.random.Generator, frames: int) -> Floats:
    """Where the camera looks in each frame: right, down, turn in degrees, zoom; float64 (n, 4)."""
    from scipy.ndimage import gaussian_filter1d

    def wander(seconds: float, size: float) -> Floats:
        sigma = seconds * RATE
        return gaussian_filter1d(rng.normal(0, 1, frames), sigma) * size * np.sqrt(2 * sigma * np.sqrt(np.pi))

    path = np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1))
    times = np.arange(frames) / RATE
    if camera == "shake":
        path[:, 0] = wander(0.12, rng.uniform(2, 6)) + wander(1.0, 8)
        path[:, 1], path[:, 2] = wander(0.12, rng.uniform(2, 6)), wander(0.2, 0.8)
    elif camera == "pan":
        speed = rng.uniform(20, 70) * rng.choice([-1, 1])
        path[:, 0] = speed * (times - times[-1] / 2) + wander(0.3, 1.5)
        path[:, 1], path[:, 3] = wander(0.4, 1.5), 1 + 0.08 * np.sin(times * rng.uniform(0.5, 2))
    return path


def film(rng: np.random.Generator, what: str, camera: str) -> list[UInt8Array]:
    """The frames of one clip, uint8 (h, w, 3)."""
    import cv2

    scenery, figures = ground(rng), people(rng, what)
    path = path_of(camera, rng, int(rng.choice([2, 3, 5]) * RATE))
    noise, frames = rng.uniform(1, 6), []
    for right, down, turn, zoom in path:
        for figure in figures:
            figure.step(1 / RATE)
        picture = scenery.copy()
        for figure in sorted(figures, key=lambda each: each.y):
            figure.draw(picture)
        middle = GROUND[1] / 2 + right, GROUND[0] / 2 + down
        view = cv2.getRotationMatrix2D(middle, turn, zoom)
        view[:, 2] += WIDTH / 2 - middle[0], HEIGHT / 2 - middle[1]
        seen = cv2.warpAffine(picture, view, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        seen = cv2.GaussianBlur(seen, (0, 0), 0.7) + rng.normal(0, noise, seen.shape)
        frames.append(np.clip(seen, 0, 255).astype(np.uint8))
    return frames


def write(path: Path, frames: list[UInt8Array], crf: int) -> None:
    """Write frames as H.264."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    """Make the clips, rank them, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    scores, speeds, fights, cameras = [], [], [], []
    with tempfile.TemporaryDirectory() as place:
        for number in range(given.clips):
            rng = np.random.default_rng([given.seed, number])
            fight, turn = number % 2 == 0, number // 2
            camera = CAMERAS[turn % 3]
            path = Path(place) / f"{number}.mp4"
            frames = film(rng, "fight" if fight else CALM[turn // 3 % len(CALM)], camera)
            write(path, frames, int(rng.integers(20, 33)))
            activity = measure_activity(open_video(path))
            scores.append(max((each.score for each in activity.stretches()), default=0.0))
            speeds.append(float(np.nanmax(activity.speed_curve())))
            fights.append(fight)
            cameras.append(camera)
    labels, by = np.array(fights), np.array(cameras)

    def auroc(values: list[float], camera: str | None = None) -> float | None:
        chosen = np.ones(len(labels), np.bool_) if camera is None else by == camera
        found = image_auroc(np.array(values)[chosen], labels[chosen])
        return None if found is None else round(found, 3)

    result = {"clips": len(labels), "auroc": auroc(scores), "auroc_of_speed_alone": auroc(speeds)}
    print(json.dumps({**result, **{camera: auroc(scores, camera) for camera in CAMERAS}}))


if __name__ == "__main__":
    main()
