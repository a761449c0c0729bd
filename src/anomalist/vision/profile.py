"""Profiles: the learned detector and its calibration, a versioned folder with hashes.

A profile of several products has an ordinary one for each, and the class tokens of their normals, which say
what product a picture shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.storage.artifacts import ArtifactKind, ArtifactManifest, profile_path
from anomalist.types.common import BoolArray, FloatArray, Frozen, UInt8Array
from anomalist.types.image import ProductMatch
from anomalist.vision.calibration import CalibrationSet, lowest_rate
from anomalist.vision.detectors.base import Detector, detector_class, leaves_out
from anomalist.vision.media.masks import MaskUse
from anomalist.vision.media.values import ValueScale
from anomalist.vision.outliers import NormalsCheck
from anomalist.vision.shift.model import InputModel
from anomalist.vision.shift.storage import load_input_model, save_input_model

if TYPE_CHECKING:
    from anomalist.vision.features.dinov2 import VisionTransformer

PROFILE_FORMAT = 2
"""Version of the folder's format."""
_DETECTOR, _CALIBRATION, _ROI = "detector.safetensors", "calibration.safetensors", "roi.png"
_INPUTS = "inputs.safetensors"


class NormalPicture(Frozen):
    """One normal picture that the profile was made from."""

    source: str
    sha256: str
    group: str | None = None
    use: Literal["learn", "calibrate", "both"] = Field(description='"both" when cross-fitted')


class Manifest(ArtifactManifest):
    """``profile.json``: everything about the profile but its arrays."""

    ADDED_LATER = ("place", "masks", "scale", "check")

    format: int = PROFILE_FORMAT
    detector: str
    effort: str
    seed: int
    backbone: str | None
    grouped: bool = Field(description="whether groups were named")
    low: float = Field(
        allow_inf_nan=False, description="map level that few normal pixels reach; regions start above it"
    )
    place: float | None = Field(
        None, description="map level from which a place is shown; None in profiles of older versions"
    )
    normals: tuple[NormalPicture, ...]
    defects: tuple[str, ...] = Field((), description="ids of the labelled defects that were learned from")
    skipped: tuple[str, ...] = Field((), description="pictures that could not be read, with the reason")
    masks: MaskUse | None = Field(None, description="of the labelled defects, where there are any")
    scale: ValueScale | None = Field(
        None, description="of values of more than 8 bit; None where no normal picture has such values"
    )
    check: NormalsCheck | None = Field(
        None, description="outliers among the normals, kept or left out; None in profiles of older versions"
    )
    files: dict[str, str] = Field(description="file name to hex SHA-256")

    @property
    def lowest_rate(self) -> float:
        """The lowest false-alarm rate that its normals support."""
        groups = {normal.group or normal.sha256 for normal in self.normals if normal.use != "learn"}
        return lowest_rate(len(groups))


PROFILE_KIND = ArtifactKind(
    noun="profile",
    manifest_file="profile.json",
    manifest=Manifest,
    format=PROFILE_FORMAT,
    required=(_DETECTOR, _CALIBRATION),
    optional=(_ROI, _INPUTS),
    hashes_of=lambda manifest: manifest.files,
    how_to_learn="See: anomalist profiles",
    others={"scene.json": "a scene of a camera", "products.json": "a profile of several products"},
)


@dataclass(frozen=True, eq=False)
class Profile:
    """Profile of a product, ready to inspect with.

    Parameters
    ----------
    path : its folder.
    roi : bool (H, W), region of interest at the size of its mask file; None for the whole picture.
    inputs : what its pictures are like as a whole; None in profiles of older versions.
    """

    manifest: Manifest
    path: Path
    detector: Detector
    calibration: CalibrationSet
    roi: BoolArray | None
    inputs: InputModel | None = None

    @property
    def name(self) -> str:
        """As given to ``learn``."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned."""
        return self.manifest.digest


@dataclass(frozen=True, eq=False)
class ProfileParts:
    """What a profile is made of beside its manifest; see `Profile`."""

    detector: Detector
    calibration: CalibrationSet
    roi: BoolArray | None = None
    inputs: InputModel | None = None


def save_profile(
    path: Path,
    parts: ProfileParts,
    /,
    *,
    force: bool,
    **fields: Any,  # noqa: ANN401
) -> Profile:
    """Write a profile whole or not at all; ``fields`` are those of Manifest but ``files``.

    With ``force`` it replaces the profile that is there; when that fails, the old one stays. Raises
    ProfileError when something is in the way, or it can't be written.
    """
    from PIL import Image
    from safetensors.numpy import save_file

    def write_files(folder: Path) -> None:
        parts.detector.save(folder / _DETECTOR)
        calibration = parts.calibration
        arrays = {"scores": calibration.scores, "folds": calibration.folds, "groups": calibration.groups}
        save_file(arrays, folder / _CALIBRATION, {"seed": str(calibration.seed)})
        if parts.roi is not None:
            Image.fromarray(parts.roi.astype(np.uint8) * 255).save(folder / _ROI)
        if parts.inputs is not None:
            save_input_model(parts.inputs, folder / _INPUTS)

    manifest = PROFILE_KIND.save(
        path, write_files, lambda hashes: Manifest(**fields, files=hashes), force=force
    )
    return Profile(manifest, path, parts.detector, parts.calibration, parts.roi, parts.inputs)


def load_profile(name: str | Path) -> Profile:
    """Read a profile by name or folder, checking format and hashes.

    Raises
    ------
    ProfileError : it is not there, of a newer format, or damaged.
    DetectorError : its detector or feature extractor is a plug-in that is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = profile_path(name)
    manifest = PROFILE_KIND.read_manifest(path)
    PROFILE_KIND.check_files(path, manifest)
    kind = detector_class(manifest.detector, stored_in=f"the profile {path.name}")
    try:
        detector = kind.load(path / _DETECTOR)
        arrays = load_file(path / _CALIBRATION)
        calibration = CalibrationSet(
            arrays["scores"], arrays["folds"], arrays["groups"], manifest.seed, leaves_out(kind)
        )
        if detector.folds != calibration.n_folds:
            raise ValueError(f"{detector.folds} models, but calibration for {calibration.n_folds}")
        roi = _load_roi(path / _ROI) if _ROI in manifest.files else None
        inputs = load_input_model(path / _INPUTS) if _INPUTS in manifest.files else None
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        PROFILE_KIND.refuse_damaged(path, str(error), error)
    return Profile(manifest, path, detector, calibration, roi, inputs)


def _load_roi(file: Path) -> BoolArray:
    from PIL import Image

    with Image.open(file) as opened:
        return np.asarray(opened.convert("L")) > 127


ROUTING_SIDE = 224
"""Nominal side of the pictures that say which product it is, pixels."""
_SHRINKAGE = 0.3  # of the covariance within products, towards a multiple of the identity
_NEIGHBOURS = 3
_LIMIT_QUANTILE, _LIMIT_MARGIN = 0.99, 2.0
_ROUTER, _PRODUCTS = "router.safetensors", "products"


def class_tokens(
    backbone: VisionTransformer,
    pictures: Sequence[UInt8Array],
) -> FloatArray:
    """Class tokens of pictures, uint8 (H, W, 3) of any size: unit vectors, float32 (n, d)."""
    parts = [backbone.tokens([one], [backbone.depth], ROUTING_SIDE).class_token for one in pictures]
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ProductRouter:
    """Says which product a picture shows, by the class tokens of all normals.

    The product whose normals are nearest, in a space in which normals of one product vary alike in all
    directions (linear discriminant analysis, shrunk). How near is near enough comes from the normals, each
    left out with its object: the distance to the neighbours, by that of the neighbours to theirs, so that a
    product may have loose parts.

    Parameters
    ----------
    names : of the products, two at least.
    tokens : float32 (n, d), unit vectors.
    products : int64 (n,), numbers of their products.
    groups : int64 (n,), pictures of a product that show the same object share a number.

    Raises
    ------
    ValueError : the arrays don't fit each other, or a product has fewer than two objects.
    """

    names: tuple[str, ...]
    tokens: FloatArray
    products: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.tokens)
        if self.tokens.ndim != 2 or self.products.shape != (n,) or self.groups.shape != (n,):
            raise ValueError("tokens must be (n, d), products and groups (n,)")
        objects = [len(np.unique(self.groups[self.products == i])) for i in range(len(self.names))]
        if len(objects) < 2 or min(objects) < 2 or not np.isfinite(self.tokens).all():
            raise ValueError("there must be two products of two objects each at least")

    @property
    def _freedom(self) -> int:
        """Degrees of freedom of the covariance."""
        return max(1, len(self.tokens) - len(self.names))

    @cached_property
    def _whitening(self) -> npt.NDArray[np.float64]:
        tokens = self.tokens.astype(np.float64)
        means = np.stack([tokens[self.products == i].mean(0) for i in range(len(self.names))])
        within = tokens - means[self.products]
        covariance = within.T @ within / self._freedom
        variance = max(float(np.trace(covariance)) / len(covariance), 1e-9)
        shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * variance * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(shrunk)
        return np.asarray(vectors / np.sqrt(values))

    @cached_property
    def _normals(self) -> tuple[_ProductNormals, ...]:
        white = self.tokens @ self._whitening
        rows = [self.products == i for i in range(len(self.names))]
        weight = (1 - _SHRINKAGE) / self._freedom
        return tuple(_ProductNormals.fit(white[row], self.groups[row], weight) for row in rows)

    def match(self, tokens: FloatArray, digests: Sequence[str]) -> list[ProductMatch]:
        """Which product each of m pictures shows, by class tokens float32 (m, d).

        ``digests`` are those of the products' profiles.
        """
        white = tokens @ self._whitening
        found = [normals.distances(white) for normals in self._normals]
        matches = []
        for i in range(len(tokens)):
            order = sorted(range(len(self.names)), key=lambda product: float(found[product][0][i]))
            best, second = order[:2]
            near, far = float(found[best][0][i]), float(found[second][0][i])
            matches.append(
                ProductMatch(
                    name=self.names[best],
                    digest=digests[best],
                    distance=round(float(found[best][1][i]), 4),
                    next=self.names[second],
                    next_ratio=round(max(1.0, far / max(near, 1e-9)), 4),
                )
            )
        return matches


@dataclass(frozen=True, eq=False)
class _ProductNormals:
    """Whitened normals of a product, float64 (n, d); mean distance of each to its neighbours; the limit."""

    white: npt.NDArray[np.float64]
    spacing: npt.NDArray[np.float64]
    limit: float

    @classmethod
    def fit(
        cls, white: npt.NDArray[np.float64], groups: npt.NDArray[np.int64], weight: float
    ) -> _ProductNormals:
        """Measure each normal without its object, whose part of the covariance is taken out of the whitening.

        ``weight`` is that of one picture in the covariance. What was learned from lies closer than what is
        new: a limit from distances with everything learned would refuse good pictures.
        """
        apart = _distances(white, white)
        for group in np.unique(groups):
            mine = groups == group
            residuals = (white[mine] - white.mean(0)) * np.sqrt(weight * len(white) / (~mine).sum())
            shares, vectors = np.linalg.eigh(residuals @ residuals.T)
            along = white @ residuals.T @ vectors / np.sqrt(1 - np.minimum(shares, 0.999))
            apart[mine] = np.sqrt(apart[mine] ** 2 + _distances(along[mine], along) ** 2)
        apart[groups[:, None] == groups[None]] = np.inf
        near, nearest = _nearest(apart)
        spacing = np.maximum(_mean_finite(near), 1e-6)
        ratios = spacing / spacing[nearest].mean(1)
        return cls(white, spacing, _LIMIT_MARGIN * float(np.quantile(ratios, _LIMIT_QUANTILE)))

    def distances(self, white: npt.NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
        """Distance to the nearest normals, and the same relative to what is accepted; (m,) each."""
        near, nearest = _nearest(_distances(white, self.white))
        mean = near.mean(1)
        return mean, mean / self.spacing[nearest].mean(1) / self.limit


def _distances(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    squared = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squared, 0)))


def _nearest(distances: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Distances to the nearest few, and which they are, (m, k) each."""
    order = np.argsort(distances, 1, kind="stable")[:, :_NEIGHBOURS]
    return np.take_along_axis(distances, order, 1), order


def _mean_finite(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over the columns that are finite: one at least."""
    return np.asarray(np.nanmean(np.where(np.isfinite(distances), distances, np.nan), 1))


class ProductEntry(Frozen):
    """One product of a profile of several."""

    name: str
    digest: str = Field(description="of its profile, hex SHA-256")


class MixedManifest(ArtifactManifest):
    """``products.json``: the products of a profile of several, and what says which is which."""

    products: tuple[ProductEntry, ...]
    backbone: str = Field(description="hex SHA-256 of the weights that gave the class tokens")
    router: str = Field(description="hex SHA-256 of router.safetensors")


MIXED_KIND = ArtifactKind(
    noun="profile of several products",
    manifest_file="products.json",
    manifest=MixedManifest,
    format=1,
    required=(_ROUTER,),
    optional=(_PRODUCTS,),
    hashes_of=lambda manifest: {_ROUTER: manifest.router},
    how_to_learn="See: anomalist profiles",
    others={"scene.json": "a scene of a camera", "profile.json": "a profile of one product"},
)


@dataclass(frozen=True, eq=False)
class MixedProfile:
    """Profile of several products, ready to inspect with.

    Parameters
    ----------
    path : its folder.
    products : their profiles, in the order of the manifest.
    router : says which of them a picture shows.
    opener : opens the backbone whose class tokens the router compares.
    """

    manifest: MixedManifest
    path: Path
    products: tuple[Profile, ...]
    router: ProductRouter
    opener: Callable[[], VisionTransformer] = field(repr=False)

    @property
    def name(self) -> str:
        """As given to ``learn``."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned."""
        return self.manifest.digest

    @cached_property
    def _backbone(self) -> VisionTransformer:
        return self.opener()

    def recognise(self, pictures: Sequence[UInt8Array]) -> list[tuple[ProductMatch, Profile]]:
        """Which product each picture shows, uint8 (H, W, 3) of any size, and its profile."""
        if not pictures:
            return []
        profiles = {profile.name: profile for profile in self.products}
        digests = [profile.digest for profile in self.products]
        found = self.router.match(class_tokens(self._backbone, pictures), digests)
        return [(match, profiles[match.name]) for match in found]


def product_path(path: Path, product: str) -> Path:
    """Folder of one product's profile within a profile of several."""
    return path / _PRODUCTS / product


def save_mixed(
    path: Path,
    learn_into: Callable[[Path], tuple[Sequence[Profile], ProductRouter]],
    backbone: VisionTransformer,
    *,
    force: bool,
    created: str,
) -> None:
    """Write a profile of several products whole or not at all.

    ``learn_into`` writes the products' profiles into a folder, by `product_path`. Raises ProfileError as
    `ArtifactKind.save` does, and what ``learn_into`` raises.
    """
    from safetensors.numpy import save_file

    products: list[Profile] = []

    def write_files(folder: Path) -> None:
        learned, router = learn_into(folder)
        products.extend(learned)
        arrays = {"products": router.products, "groups": router.groups}
        save_file({"tokens": router.tokens.astype(np.float16), **arrays}, folder / _ROUTER)

    def manifest_for(hashes: Mapping[str, str]) -> MixedManifest:
        return MixedManifest(
            format=MIXED_KIND.format,
            name=path.name,
            created=created,
            products=tuple(ProductEntry(name=each.name, digest=each.digest) for each in products),
            backbone=backbone.digest,
            router=hashes[_ROUTER],
        )

    MIXED_KIND.save(path, write_files, manifest_for, force=force)


def load_any_profile(name: str | Path) -> Profile | MixedProfile:
    """Read a profile of one product or of several, by name or folder; raises what `load_profile` does."""
    return load_mixed(name) if MIXED_KIND.is_at(profile_path(name)) else load_profile(name)


def load_mixed(name: str | Path) -> MixedProfile:
    """Read a profile of several products by name or folder, checking formats and hashes.

    Raises
    ------
    ProfileError : it, or the profile of a product, is not there, of a newer format, or damaged.
    DetectorError : DINOv2 is not here, or a detector is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from anomalist.vision.detectors.ensemble import open_backbone_by

    path = profile_path(name)
    manifest = MIXED_KIND.read_manifest(path)
    MIXED_KIND.check_files(path, manifest)
    products = tuple(load_profile(product_path(path, entry.name)) for entry in manifest.products)
    for profile, entry in zip(products, manifest.products, strict=True):
        if profile.digest != entry.digest:
            MIXED_KIND.refuse_damaged(path, f"the profile of {entry.name} is another one")
    names = tuple(entry.name for entry in manifest.products)
    try:
        arrays = load_file(path / _ROUTER)
        tokens = arrays["tokens"].astype(np.float32)
        router = ProductRouter(names, tokens, arrays["products"], arrays["groups"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        MIXED_KIND.refuse_damaged(path, str(error), error)
    return MixedProfile(manifest, path, products, router, open_backbone_by(None, manifest.backbone))
