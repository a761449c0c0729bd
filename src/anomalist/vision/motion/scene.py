"""A scene: what one camera usually sees, as a versioned folder with hashes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from anomalist import __version__
from anomalist.clips import MeasureName, Mode
from anomalist.errors import ProfileError
from anomalist.types import FloatArray, Frozen
from anomalist.vision.motion.background import Background
from anomalist.vision.motion.blocks import BlockMaxima
from anomalist.vision.motion.measures import Limits, limits_of
from anomalist.vision.motion.perspective import Perspective
from anomalist.vision.motion.surprise import Norm
from anomalist.vision.motion.usual import Usual
from anomalist.vision.motion.zones import Zone
from anomalist.vision.profile import profile_path

SCENE_FORMAT = 1
_MANIFEST, _ARRAYS = _FILES = ("scene.json", "scene.safetensors")


class Footage(Frozen):
    """One video that the scene was learned from."""

    source: str
    sha256: str | None
    seconds: float
    notes: tuple[str, ...] = ()


class SceneManifest(Frozen):
    """``scene.json``: everything about the scene but its arrays."""

    format: int = SCENE_FORMAT
    version: str = __version__
    name: str
    created: str = Field(description="UTC, ISO 8601")
    width: int = Field(description="of the frames, pixels")
    height: int
    perspective: Perspective
    norms: dict[MeasureName, Norm]
    frames: int = Field(description="normal frames that the counts are over")
    block_seconds: float
    footage_seconds: float = Field(description="held-out normal footage that the blocks cover")
    zones: tuple[Zone, ...] = ()
    backbone: str | None = Field(None, description="what describes objects in place of the shipped network")
    seed: int = Field(description="of the choice of what is remembered")
    footage: tuple[Footage, ...]
    skipped: tuple[str, ...] = Field((), description="videos that could not be used, with the reason")
    arrays: str = Field(description="hex SHA-256 of the file with the arrays")

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned and from what; not over the name or the date."""
        content = self.model_dump(mode="json", exclude={"name", "created"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Learned:
    """The arrays of a scene.

    Parameters
    ----------
    background : of the scene, in working pixels.
    usual : counts over all normal footage.
    maxima : of the blocks of held-out footage, by mode; float32 (n,).
    bank : float32 (m, d), unit descriptors of what usually moves here.
    """

    background: Background
    usual: Usual
    maxima: dict[Mode, FloatArray]
    bank: FloatArray


@dataclass(frozen=True, eq=False)
class Scene:
    """A learned scene, ready to triage with."""

    manifest: SceneManifest
    learned: Learned = field(repr=False)
    path: Path | None = None

    @property
    def name(self) -> str:
        """As given to ``learn-scene``."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned."""
        return self.manifest.digest

    @cached_property
    def limits(self) -> Limits:
        """What is hardly ever exceeded at each place."""
        return limits_of(self.learned.usual)

    def blocks(self, mode: Mode) -> BlockMaxima:
        """What the threshold of this mode rests on."""
        return BlockMaxima(
            self.learned.maxima[mode], self.manifest.block_seconds, self.manifest.footage_seconds
        )


def save_scene(path: Path, learned: Learned, *, force: bool = False, **fields: object) -> Scene:
    """Write a scene whole or not at all; ``fields`` are those of SceneManifest but ``arrays``.

    Raises ProfileError when something is in the way, or it can't be written.
    """
    from safetensors.numpy import save_file

    refuse_overwriting(path, force=force)
    place = path.resolve()
    staged = place.with_name(f".{place.name[:40]}-{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        staged.mkdir()
        save_file(_arrays(learned), staged / _ARRAYS)
        digest = hashlib.sha256((staged / _ARRAYS).read_bytes()).hexdigest()
        manifest = SceneManifest.model_validate({**fields, "arrays": digest})
        (staged / _MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        if place.exists():
            shutil.rmtree(place)
        staged.rename(place)
    except OSError as error:
        raise ProfileError(
            f"The scene can't be written to {path}: {error.strerror or error}.",
            "Free some space or choose another place.",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Scene(manifest, learned, path)


def load_scene(name: str | Path) -> Scene:
    """Read a scene by name or folder, checking format and hash.

    Raises
    ------
    ProfileError : it is not there, is a profile for pictures, of another format, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = profile_path(name)
    manifest = _manifest(path)
    try:
        data = (path / _ARRAYS).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest.arrays:
            raise ValueError(f"{_ARRAYS} has changed")
        learned = _learned(load(data), manifest.frames)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    return Scene(manifest, learned, path)


def refuse_overwriting(path: Path, *, force: bool) -> None:
    """Raise ProfileError when something is in the way of a new scene; with ``force`` only a scene may go."""
    if not path.exists():
        return
    entries = {entry.name for entry in path.iterdir()} if path.is_dir() else {os.fspath(path)}
    if entries - set(_FILES):
        raise ProfileError(f"{path} is there, and is not a scene.", "Choose another place.")
    if entries and not force:
        raise ProfileError(f"The scene {path.name} is already there.", "Replace it with --force.")


def _manifest(path: Path) -> SceneManifest:
    file = path / _MANIFEST
    if not file.exists():
        if (path / "profile.json").exists():
            raise ProfileError(
                f"{path.name} is a profile of pictures, not of a scene.",
                "Learn one from normal footage: anomalist learn-scene VIDEO… --profile NAME",
            )
        raise ProfileError(
            f"There is no scene {path.name} ({path}).",
            "Learn it from normal footage: anomalist learn-scene VIDEO… --profile NAME",
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        written = int(content["format"])
        if written == SCENE_FORMAT:
            return SceneManifest.model_validate(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = f"{error.errors()[0]['loc']}" if isinstance(error, ValidationError) else "it can't be read"
        raise _damaged(path, f"{_MANIFEST}, {detail}") from error
    raise ProfileError(
        f"The scene {path} has format {written}; this version reads {SCENE_FORMAT}.",
        "Learn it again, or upgrade anomalist.",
    )


def _damaged(path: Path, what: str) -> ProfileError:
    return ProfileError(f"The scene {path} is damaged: {what}.", "Learn it again.")


def _arrays(learned: Learned) -> dict[str, np.ndarray]:
    usual = learned.usual
    return {
        "background": learned.background.grey,
        "noise": learned.background.noise,
        "speeds": usual.speeds,
        "sizes": usual.sizes,
        "directions": usual.directions,
        "bank": learned.bank.astype(np.float16),
        **{f"maxima_{mode}": values for mode, values in learned.maxima.items()},
    }


def _learned(arrays: dict[str, np.ndarray], frames: int) -> Learned:
    return Learned(
        Background(arrays["background"], arrays["noise"]),
        Usual(arrays["speeds"], arrays["sizes"], arrays["directions"], frames),
        {"causal": arrays["maxima_causal"], "offline": arrays["maxima_offline"]},
        arrays["bank"].astype(np.float32),
    )
