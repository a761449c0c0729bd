"""Scene profile of one camera, saved as a versioned folder with hashes, and zones drawn by a person.

A zone is ignored, watched, or forbidden. The manifest's field names are those of ``scene.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from anomalist.errors import DataError
from anomalist.storage.artifacts import ArtifactKind, ArtifactManifest, profile_path
from anomalist.types.clip import MeasureName, Mode
from anomalist.types.common import BoolArray, Box, FloatArray, Frozen
from anomalist.vision.motion.extractor import MIN_SPEED, Background
from anomalist.vision.motion.flow import CELL_SIZE, Perspective
from anomalist.vision.motion.measures import SPEED_EDGES, MotionHistograms, MotionLimits, motion_limits
from anomalist.vision.motion.picture_kind import PictureLook
from anomalist.vision.motion.score_scale import BlockMaxima, ScoreScale


class Zone(Frozen):
    """A named polygon that is ignored, watched, or forbidden."""

    name: str = Field(min_length=1, max_length=80)
    kind: Literal["ignore", "watch", "forbidden"]
    polygon: tuple[tuple[float, float], ...] = Field(
        min_length=3, description="corners (x, y) as shares of width and height, 0 to 1"
    )


class _ZonesFile(Frozen):
    zones: tuple[Zone, ...] = Field(min_length=1)


_ZONES_EXAMPLE = (
    '{"zones": [{"name": "tracks", "kind": "forbidden", '
    '"polygon": [[0.1, 0.6], [0.9, 0.6], [0.9, 1], [0.1, 1]]}]}'
)


def read_zones(path: Path) -> tuple[Zone, ...]:
    """Read zones from JSON.

    Raises
    ------
    DataError : not readable, not in that form, corners outside the picture, or two zones of one name.
    """
    try:
        zones = _ZonesFile.model_validate(json.loads(path.read_text(encoding="utf-8"))).zones
    except (OSError, ValueError) as error:
        detail = _first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"The zones in {path} can't be used: {detail}.", f"Example: {_ZONES_EXAMPLE}"
        ) from error
    for zone in zones:
        if not all(0 <= value <= 1 for corner in zone.polygon for value in corner):
            raise DataError(
                f'The zone "{zone.name}" in {path} has corners outside the picture.',
                "Corners are shares of width and height, from 0 to 1.",
            )
    names = [zone.name for zone in zones]
    if len(set(names)) < len(names):
        raise DataError(f"Two zones in {path} have the same name.", "Name each differently.")
    return zones


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def cells_in(zone: Zone, grid: tuple[int, int]) -> BoolArray:
    """Which cells of a grid (rows, columns) have their centre in the zone, bool (gh, gw).

    Of a zone that has none, such as a thin line, those that it touches.
    """
    import cv2

    gh, gw = grid
    fine = 2 * CELL_SIZE
    corners = np.rint(np.array(zone.polygon) * [gw * fine, gh * fine]).astype(np.int32)
    drawn = cv2.fillPoly(np.zeros((gh * fine, gw * fine), np.uint8), [corners], [1])
    inside: BoolArray = drawn[fine // 2 :: fine, fine // 2 :: fine] > 0
    if not inside.any():
        inside = drawn.reshape(gh, fine, gw, fine).max(axis=(1, 3)) > 0
    return inside


def counted_cells(zones: Sequence[Zone], grid: tuple[int, int]) -> BoolArray:
    """Which cells count, bool (gh, gw): those in no ignored zone.

    Raises DataError when nothing is left.
    """
    counts = np.ones(grid, np.bool_)
    for zone in zones:
        if zone.kind == "ignore":
            counts &= ~cells_in(zone, grid)
    if not counts.any():
        raise DataError("The zones to be ignored cover the whole picture.", "Draw them smaller.")
    return counts


SCENE_FORMAT = 1
"""Version of the folder's format."""
_ARRAYS = "scene.safetensors"
MAX_MODES = 4
"""Modes of one scene at most, those with the most footage."""


class TrainingVideo(Frozen):
    """One video that the scene was learned from."""

    source: str
    sha256: str | None
    seconds: float
    notes: tuple[str, ...] = ()


class SceneManifest(ArtifactManifest):
    """``scene.json``: everything about the scene but its arrays."""

    ADDED_LATER = ("look", "overlays", "kind", "others")

    format: int = SCENE_FORMAT
    width: int = Field(description="of the frames, pixels")
    height: int
    perspective: Perspective
    norms: dict[MeasureName, ScoreScale]
    frames: int = Field(description="normal frames that the histograms count")
    block_seconds: float
    footage_seconds: float = Field(description="held-out normal footage that the blocks cover")
    look: PictureLook | None = Field(None, description="of the pictures as a whole; None: not measured")
    overlays: tuple[Box, ...] | None = Field(
        None, description="burned-in text that is left out, working pixels; None: not looked for"
    )
    zones: tuple[Zone, ...] = ()
    backbone: str | None = Field(None, description="embeds objects in place of the shipped network")
    seed: int = Field(description="of the reservoir sample of embeddings")
    footage: tuple[TrainingVideo, ...]
    skipped: tuple[str, ...] = Field((), description="videos that could not be used, with the reason")
    arrays: str = Field(description="hex SHA-256 of the file with the arrays")
    kind: str | None = Field(None, description="of another mode: what its pictures are unlike the main one's")
    others: tuple[SceneManifest, ...] | None = Field(
        None, description="the same camera with pictures of other kinds, each learned by itself"
    )


def _arrays_of_mode(number: int) -> str:
    """Name of the file with the arrays of a mode, 0 being the main one."""
    return f"scene-{number + 1}.safetensors" if number else _ARRAYS


SCENE_KIND = ArtifactKind(
    noun="scene",
    manifest_file="scene.json",
    manifest=SceneManifest,
    format=SCENE_FORMAT,
    required=(_ARRAYS,),
    optional=tuple(_arrays_of_mode(number) for number in range(1, MAX_MODES)),
    hashes_of=lambda manifest: {
        _arrays_of_mode(number): mode.arrays
        for number, mode in enumerate((manifest, *(manifest.others or ())))
    },
    how_to_learn="Learn it from normal footage: anomalist learn-scene VIDEO… --profile NAME",
    others={"profile.json": "a profile of pictures", "products.json": "a profile of several products"},
)


@dataclass(frozen=True, eq=False)
class SceneArrays:
    """The arrays of a scene.

    Parameters
    ----------
    background : of the scene, in working pixels.
    histograms : of all normal footage.
    maxima : of the blocks of held-out footage, by mode; float32 (n,).
    bank : float32 (m, d), embeddings of normal objects, unit vectors.
    """

    background: Background
    histograms: MotionHistograms
    maxima: dict[Mode, FloatArray]
    bank: FloatArray


@dataclass(frozen=True, eq=False)
class Scene:
    """A learned scene, ready to triage with.

    Parameters
    ----------
    others : the same camera with pictures of other kinds: modes with all that was learned of each.
    """

    manifest: SceneManifest
    learned: SceneArrays = field(repr=False)
    path: Path | None = None
    others: tuple[Scene, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """As given to ``learn-scene``."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned."""
        return self.manifest.digest

    @cached_property
    def limits(self) -> MotionLimits:
        """Limits of normal motion by cell."""
        return motion_limits(self.learned.histograms)

    @cached_property
    def usual_pace(self) -> float | None:
        """Widths of a body a second that things usually move; None where nothing ever moved."""
        counts = self.learned.histograms.speeds.sum(axis=2)
        heights = self.manifest.perspective.row_heights(counts.shape[1])
        speeds = np.sqrt(SPEED_EDGES[:-1] * SPEED_EDGES[1:])[:, None] / heights[:, 0]
        moving = (speeds >= MIN_SPEED) & (counts > 0)
        if not moving.any():
            return None
        order = np.argsort(speeds[moving])
        weight = counts[moving][order].cumsum()
        middle = np.searchsorted(weight, weight[-1] / 2)
        return float(speeds[moving][order][middle] / self.manifest.perspective.aspect)

    def blocks(self, mode: Mode) -> BlockMaxima:
        """Block maxima that the thresholds of a mode come from."""
        return BlockMaxima(
            self.learned.maxima[mode], self.manifest.block_seconds, self.manifest.footage_seconds
        )


LearnedMode = tuple[SceneArrays, dict[str, object]]
"""What was learned of one mode: arrays, and the fields of its manifest but ``arrays``."""


def save_scene(
    path: Path,
    learned: SceneArrays,
    *,
    modes: Sequence[LearnedMode] = (),
    force: bool = False,
    **fields: object,
) -> Scene:
    """Write a scene whole or not at all; ``fields`` are those of SceneManifest but ``arrays`` and ``others``.

    ``modes`` are what was learned of pictures of other kinds. With ``force`` it replaces the scene that is
    there; when that fails, the old one stays. Raises ProfileError when something is in the way, or it can't
    be written.
    """
    from safetensors.numpy import save_file

    arrays = [learned, *(each for each, _ in modes)]

    def write(folder: Path) -> None:
        for number, each in enumerate(arrays):
            save_file(_to_arrays(each), folder / _arrays_of_mode(number))

    def manifest_of(hashes: dict[str, str]) -> SceneManifest:
        others = tuple(
            SceneManifest.model_validate({**about, "arrays": hashes[_arrays_of_mode(number)]})
            for number, (_, about) in enumerate(modes, 1)
        )
        return SceneManifest.model_validate({**fields, "arrays": hashes[_ARRAYS], "others": others or None})

    manifest = SCENE_KIND.save(path, write, manifest_of, force=force)
    return _scene(manifest, arrays, path)


def _scene(manifest: SceneManifest, arrays: Sequence[SceneArrays], path: Path) -> Scene:
    modes = zip(manifest.others or (), arrays[1:], strict=True)
    return Scene(manifest, arrays[0], path, tuple(Scene(about, learned, path) for about, learned in modes))


def load_scene(name: str | Path) -> Scene:
    """Read a scene by name or folder, checking format and hash.

    Raises
    ------
    ProfileError : it is not there, is a profile for pictures, of another format, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = profile_path(name)
    manifest = SCENE_KIND.read_manifest(path)
    SCENE_KIND.check_files(path, manifest)
    try:
        learned = [
            _from_arrays(load_file(path / _arrays_of_mode(number)), mode.frames)
            for number, mode in enumerate((manifest, *(manifest.others or ())))
        ]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        SCENE_KIND.refuse_damaged(path, str(error), error)
    return _scene(manifest, learned, path)


def _to_arrays(learned: SceneArrays) -> dict[str, np.ndarray]:
    histograms = learned.histograms
    return {
        "background": learned.background.grey,
        "noise": learned.background.noise,
        "speeds": histograms.speeds,
        "sizes": histograms.sizes,
        "directions": histograms.directions,
        "bank": learned.bank.astype(np.float16),
        **{f"maxima_{mode}": values for mode, values in learned.maxima.items()},
    }


def _from_arrays(arrays: dict[str, np.ndarray], frames: int) -> SceneArrays:
    return SceneArrays(
        Background(arrays["background"], arrays["noise"]),
        MotionHistograms(arrays["speeds"], arrays["sizes"], arrays["directions"], frames),
        {"causal": arrays["maxima_causal"], "offline": arrays["maxima_offline"]},
        arrays["bank"].astype(np.float32),
    )
