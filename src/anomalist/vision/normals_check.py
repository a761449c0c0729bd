"""The check of normal pictures before they are learned from: what does not belong there, and what to do.

What is found goes by the tokens of DINOv2 whatever detector learns; without it nothing is checked, and the
check says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from anomalist.errors import DataError, DetectorError
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.detectors.base import Progress
from anomalist.vision.detectors.ensemble import open_backbone_by
from anomalist.vision.detectors.multiscale import MultiscaleImage
from anomalist.vision.detectors.token_memory import NormalTokens
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.learning import NormalSet
from anomalist.vision.media.images import load_image, source_of
from anomalist.vision.outliers import (
    CHECK_SIDE,
    MIN_PICTURES,
    NormalsCheck,
    Outlier,
    describe_pictures,
    find_outliers,
)

Decision = Literal["drop", "keep"]
OutlierHandling = Decision | Callable[[NormalsCheck], Decision] | None
"""What becomes of outliers: a decision, who makes it, or None: a few stay, many are an error."""

_MAX_NAMED = 10


def check_normals(
    normals: NormalSet, roi: BoolArray | None, seed: int, progress: Progress, backbone: str | None = None
) -> tuple[NormalsCheck, NormalSet]:
    """Look for defects and pictures of a second product among normal pictures.

    Parameters
    ----------
    roi : bool (H, W), what counts; None for everything.
    seed : of the sample of patches in memory.
    backbone : name of a vision transformer in place of DINOv2.

    Returns
    -------
    The check, without a decision, and the pictures with their tokens, for who learns from them. Where it
    could not be made it has no outliers and says why.
    """
    count, objects = len(normals.paths), int(normals.groups.max()) + 1
    if objects < MIN_PICTURES:
        what = "groups" if normals.names else "different pictures"
        why = f"outliers are looked for among {MIN_PICTURES} {what} or more, and there are {objects}"
        return NormalsCheck(pictures=count, not_checked=why), normals
    try:
        opened = open_backbone_by(backbone)()
    except DetectorError as error:
        return NormalsCheck(pictures=count, not_checked=str(error)), normals
    working = [_working(normals, number) for number in range(count)]
    described = describe_pictures(opened, working, normals.groups, roi, progress)
    outliers = tuple(
        Outlier(
            source=source_of(normals.paths[found.picture]),
            sha256=normals.hashes[found.picture],
            why=found.why,
            measure=found.measure,
        )
        for found in find_outliers(described, seed)
    )
    tokens = NormalTokens(opened.digest, CHECK_SIDE, described.grids)
    return NormalsCheck(pictures=count, outliers=outliers), replace(normals, tokens=tokens)


def _working(normals: NormalSet, number: int) -> UInt8Array:
    """A picture at working size: as the detector keeps it, or read again."""
    prepared = normals.pictures[number]
    if isinstance(prepared, MultiscaleImage):
        return prepared.whole
    return to_working_size(load_image(normals.paths[number], scale=normals.scale).pixels)


def decide(check: NormalsCheck, handling: OutlierHandling) -> NormalsCheck:
    """The check with the decision about its outliers.

    Raises
    ------
    DataError : nobody decides, and the outliers are many; or they are to be dropped and could not be looked
        for.
    """
    if check.not_checked is not None and handling == "drop":
        raise DataError(
            f"Outliers can't be dropped: {check.not_checked}", "Learn without --drop-outliers (outliers)."
        )
    if not check.outliers:
        return check
    if handling is None and check.is_large:
        raise DataError(
            f"{summary(check)} {_named(check)}",
            "Look at them (anomalist check FOLDER), then learn with --drop-outliers, which leaves them out, "
            'or with --keep-outliers; in Python outliers="drop" or "keep".',
        )
    decision = handling(check) if callable(handling) else handling or "keep"
    return check.replace(decision="dropped" if decision == "drop" else "kept")


def summary(check: NormalsCheck) -> str:
    """One sentence: how many pictures don't belong to the rest, and why."""
    if check.not_checked is not None:
        return f"Outliers among the {check.pictures} pictures were not looked for: {check.not_checked}."
    if not check.outliers:
        return f"Nothing stands out among {check.pictures} pictures."
    unlike, second = len(check.of("unlike the rest")), len(check.of("second product"))
    parts = [f"{unlike} unlike the rest"] * bool(unlike) + [f"{second} of a second product"] * bool(second)
    return f"Of {check.pictures} pictures, {' and '.join(parts)}."


def _named(check: NormalsCheck) -> str:
    names = [f"{outlier.source} ({outlier.why})" for outlier in check.outliers[:_MAX_NAMED]]
    more = len(check.outliers) - len(names)
    return f"{', '.join(names)}{f' and {more} more' if more else ''}."


def without_outliers(normals: NormalSet, check: NormalsCheck) -> NormalSet:
    """The normal pictures without those that the check found, if they are to be dropped."""
    if check.decision != "dropped":
        return normals
    dropped = {(outlier.source, outlier.sha256) for outlier in check.outliers}
    rows = [
        i
        for i, (path, sha256) in enumerate(zip(normals.paths, normals.hashes, strict=True))
        if (source_of(path), sha256) not in dropped
    ]
    _, groups = np.unique(normals.groups[rows], return_inverse=True)
    return replace(
        normals,
        paths=tuple(normals.paths[i] for i in rows),
        pictures=tuple(normals.pictures[i] for i in rows),
        hashes=tuple(normals.hashes[i] for i in rows),
        groups=groups.astype(np.int64),
        names=tuple(normals.names[i] for i in rows) if normals.names else (),
        samples=tuple(normals.samples[i] for i in rows) if normals.samples else (),
        tokens=normals.tokens.only(rows) if normals.tokens else None,
    )


class FolderCheck(NormalsCheck):
    """`NormalsCheck` of pictures that nothing is learned from."""

    skipped: tuple[str, ...] = Field((), description="pictures that could not be read, with the reason")
