"""What was learned under ``ANOMALIST_HOME``: profiles of pictures, of several products, and scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalist.storage.artifacts import composed
from anomalist.vision.motion.scene import SCENE_KIND
from anomalist.vision.profile import MIXED_KIND, PROFILE_KIND, product_path


@dataclass(frozen=True)
class Learned:
    """One learned artefact, without what makes its manifest large.

    Parameters
    ----------
    kind : "profile", "products" or "scene".
    learned_from, detector, effort, created, digest : as people read them; a line a product.
    lowest_rate : lowest false-alarm rate that can be asked for, 0 to 1; None for a scene.
    content : its manifest as a JSON object, without the list of normal pictures.
    """

    name: str
    kind: str
    learned_from: str
    detector: str
    effort: str
    created: str
    digest: str
    lowest_rate: float | None
    content: dict[str, Any]


def learned_folders(place: Path) -> list[Path]:
    """The folders of a home that may hold something learned, by name."""
    entries = sorted(place.iterdir()) if place.is_dir() else []
    return [composed(path) for path in entries if path.is_dir() and not path.name.startswith(".")]


def describe_learned(path: Path) -> Learned:
    """What a folder of the home holds; raises ProfileError if it is damaged."""
    if SCENE_KIND.is_at(path):
        return _scene(path)
    return _products(path) if MIXED_KIND.is_at(path) else _profile(path)


def _scene(path: Path) -> Learned:
    scene = SCENE_KIND.read_manifest(path)
    minutes = sum(video.seconds for video in scene.footage) / 60
    return Learned(
        name=path.name,
        kind="scene",
        learned_from=f"{len(scene.footage)} videos, {minutes:.1f} min",
        detector="motion",
        effort="",
        created=scene.created,
        digest=scene.digest,
        lowest_rate=None,
        content=scene.model_dump(mode="json") | {"kind": "scene", "name": path.name},
    )


def _products(path: Path) -> Learned:
    mixed = MIXED_KIND.read_manifest(path)
    several = [PROFILE_KIND.read_manifest(product_path(path, each.name)) for each in mixed.products]
    products = [each.model_dump(mode="json") | {"normals": []} for each in several]
    return Learned(
        name=path.name,
        kind="products",
        learned_from="\n".join(
            f"{each.name}: {len(each.normals)} pictures, rates from {each.lowest_rate:.3g}"
            for each in several
        ),
        detector=", ".join(dict.fromkeys(each.detector for each in several)),
        effort=", ".join(dict.fromkeys(each.effort for each in several)),
        created=mixed.created,
        digest=mixed.digest,
        lowest_rate=max(each.lowest_rate for each in several),
        content=mixed.model_dump(mode="json") | {"kind": "products", "products": products, "name": path.name},
    )


def _profile(path: Path) -> Learned:
    profile = PROFILE_KIND.read_manifest(path)
    return Learned(
        name=path.name,
        kind="profile",
        learned_from=f"{len(profile.normals)} pictures",
        detector=profile.detector,
        effort=profile.effort,
        created=profile.created,
        digest=profile.digest,
        lowest_rate=profile.lowest_rate,
        content=profile.model_dump(mode="json") | {"kind": "profile", "normals": [], "name": path.name},
    )
