"""The runner: reads an export, checks its hashes, and gives pictures their label as the full package does."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomalist.edge.runner.detectors import MIN_SIDE, EnsembleScorer, FusedMapScorer, PictureScorer
from anomalist.edge.runner.inputs import Corrected, InputComparison
from anomalist.edge.runner.kernels import replicate, resize_nearest, warp_linear
from anomalist.edge.runner.reading import PictureError, read_picture
from anomalist.vision.conformal import (
    falling_counts,
    interpolated_count,
    interpolated_thresholds,
    own_share,
)
from anomalist.vision.shift.arithmetic import Array

FORMAT = 1
MANIFEST = "edge.json"
_RESAMPLES = 1000
_TIE = 2e-5  # of a score, that another processor's arithmetic may change
_SCORERS: Mapping[str, type[EnsembleScorer] | type[FusedMapScorer]] = {
    "ensemble": EnsembleScorer,
    "surface": FusedMapScorer,
}


class ExportError(Exception):
    """An export that can't be used, with the reason."""


class Calibrated:
    """Conformal p-values by the scores of normal pictures, and how stable a decision is."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._scores = np.array(settings["scores"], np.float64)
        self._folds, self._groups = (np.array(settings[name], np.int64) for name in ("folds", "groups"))
        self.rate: float = settings["false_alarm_rate"]
        self.reachable: bool = settings["reachable"]
        self._tolerance: float = settings["tie_tolerance"]
        self.count = int(self._groups.max()) + 1
        self._weights = 1 / np.bincount(self._groups)[self._groups]
        rng = np.random.default_rng(settings["seed"])
        drawn = rng.multinomial(self.count, np.full(self.count, 1 / self.count), _RESAMPLES)
        low, high = np.quantile(self._scores, [0.25, 0.75])
        width = 0.9 * min(float(self._scores.std()), float(high - low) / 1.34) * self.count**-0.2
        jitter = width * rng.standard_normal((_RESAMPLES, self.count))
        self._drawn = drawn[:, self._groups] * self._weights
        self._resampled = self._scores + jitter[:, self._groups]
        self._interpolated = settings["method"] == "jackknife"
        own = own_share(self._scores, self._groups, self._weights)
        self._falling = falling_counts(self._scores, self._weights, own)
        allowed = self.rate * (1 + self._tolerance) * (self.count + 1)
        self._limits = interpolated_thresholds(*falling_counts(self._resampled, self._drawn, own), allowed)

    def p_value(self, scores: Array) -> float:
        """Share of normal pictures that would score as high, by groups; in (0, 1]."""
        new = scores[self._folds]
        if self._interpolated:
            return interpolated_count(float(new[0]), *self._falling, self.count) / (self.count + 1)
        # A picture that calibrated comes out equal there, and equal up to the last digits here.
        reached = self._scores >= new - _TIE * np.maximum(1, np.abs(new))
        return float((1 + self._weights[reached].sum()) / (self.count + 1))

    def is_alarm(self, p_value: float) -> bool:
        """Whether a p-value is at most the false-alarm rate."""
        return p_value <= self.rate * (1 + self._tolerance)

    def instability(self, scores: Array) -> float:
        """Share of resamples of the normal pictures in which the decision flips."""
        if self._interpolated:
            alarms = self.reachable & (scores[0] > self._limits)
        else:
            exceeding = (self._drawn * (self._resampled >= scores[self._folds])).sum(1)
            alarms = exceeding <= self.rate * (1 + self._tolerance) * (self.count + 1) - 1
        return float(np.mean(alarms != self.is_alarm(self.p_value(scores))))


class Runner:
    """Gives pictures the label and score that the full package gives them.

    Parameters
    ----------
    folder : of the export; by default that of this file.

    Raises
    ------
    ExportError : a file is missing or changed, or the format is another one.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        place = Path(__file__).parent if folder is None else Path(folder)
        try:
            self.manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
            if self.manifest["format"] != FORMAT:
                raise ExportError(f"{place} has format {self.manifest['format']}; this reads {FORMAT}.")
            _check_files(place, self.manifest["files"])
            with np.load(place / "arrays.npz", allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExportError(f"{place} is no export, or is damaged: {error}.") from error
        detector = self.manifest["detector"]
        self._scorer: PictureScorer = _SCORERS[detector["name"]](place, _of(arrays, "detector."), detector)
        inputs = self.manifest["inputs"]
        self._inputs = InputComparison(_of(arrays, "inputs."), inputs) if inputs is not None else None
        self._calibrated = Calibrated(self.manifest["calibration"])
        self._roi = arrays.get("roi")

    def inspect(self, path: str | Path) -> dict[str, Any]:
        """Label, score and p-value of one picture, with the reason where it is undecided.

        Raises PictureError when the picture can't be read or judged.
        """
        found = self.judge(read_picture(path, self.manifest["scale"]))
        return {"source": str(path), **found}

    def judge(self, picture: Array) -> dict[str, Any]:
        """As `inspect`, for a picture that is read already: uint8 (H, W, 3), RGB."""
        size = picture.shape[0], picture.shape[1]
        if min(size) < MIN_SIDE:
            raise PictureError(f"The picture is {size[1]}×{size[0]} pixels; {MIN_SIDE} are needed.")
        roi = self._roi
        seen = self._inputs.assess(picture, roi) if self._inputs is not None else Corrected(picture)
        scores, score_map = self._scorer.score(seen.pixels, roi)
        scores, score_map = scores - seen.less, score_map - np.float32(seen.less)
        if not np.isfinite(scores).all() or not np.isfinite(score_map).all():
            raise PictureError("The detector gave no finite score for this picture.")
        changes = seen.changes
        if not changes and self._inputs is not None and self._inputs.unlike(score_map, roi):
            changes = ("product",)
        if seen.matrix is not None:
            score_map = warp_linear(score_map, np.linalg.inv(seen.matrix), size, replicate)
        if roi is not None:
            inside = resize_nearest(roi, size)
            if not inside.any():
                raise PictureError(f"Nothing of the region of interest is left at {size[1]}×{size[0]}.")
            score_map = np.where(inside, score_map, -np.inf)
        return self._verdict(scores, score_map, changes)

    def _verdict(self, scores: Array, score_map: Array, changes: tuple[str, ...]) -> dict[str, Any]:
        calibrated = self._calibrated
        p_value, unstable = calibrated.p_value(scores), calibrated.instability(scores)
        label, why = "anomalous" if calibrated.is_alarm(p_value) else "normal", None
        if changes:
            why = f"The picture as a whole is not like those that were learned: {', '.join(changes)}."
        elif not calibrated.reachable:
            why = f"Too few normal pictures for a false-alarm rate of {calibrated.rate:g}."
        elif unstable > self.manifest["policy"]["max_instability"]:
            why = f"Too close to the threshold: {100 * unstable:.3g} % of the decisions flip."
        row, column = np.unravel_index(int(score_map.argmax()), score_map.shape)
        return {
            "label": label if why is None else "undecided",
            "why_undecided": why,
            "score": float(scores.mean()),
            "p_value": p_value,
            "false_alarm_rate": calibrated.rate,
            "input_changes": list(changes),
            # Of a picture that is another as a whole no place is judged.
            "highest": None if changes else [int(column), int(row)],
        }


def _of(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _check_files(place: Path, hashes: Mapping[str, str]) -> None:
    for name, expected in hashes.items():
        with (place / name).open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != expected:
                raise ExportError(f"{place / name} is not the file that was exported. Export it again.")


def main(words: Sequence[str] | None = None) -> int:
    """Judge pictures on the command line; 0 when all could be judged, else 3, or 2 without an export."""
    parser = argparse.ArgumentParser(prog="run.py", description="Give pictures their label.")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE")
    parser.add_argument("--json", action="store_true", help="one JSON object a picture")
    parser.add_argument(
        "--folder", type=Path, default=None, help="of the export; that of this file by default"
    )
    asked = parser.parse_args(words)
    try:
        runner = Runner(asked.folder)
    except ExportError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may be no text, or none of its encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    failed = False
    for path in asked.pictures:
        try:
            found = runner.inspect(path)
        except PictureError as error:
            failed = True
            found = {"source": path, "label": None, "error": str(error)}
        print(json.dumps(found) if asked.json else _line(found), flush=True)
    return 3 if failed else 0


def _line(found: Mapping[str, Any]) -> str:
    if found["label"] is None:
        return f"{found['source']}: not judged. {found['error']}"
    p_value, score = found["p_value"], found["score"]
    shown = f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.1g}"
    text = f"{found['source']}: {found['label']} (score {score:.4g}, p {shown})"
    return text if found["why_undecided"] is None else f"{text}. {found['why_undecided']}"


if __name__ == "__main__":
    sys.exit(main())
