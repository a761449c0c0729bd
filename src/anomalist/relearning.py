"""Learn a profile again from what it was learned from, and from pictures that people said are fine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from anomalist.errors import DataError, ProfileError
from anomalist.memory.cases import CaseStore
from anomalist.memory.feedback import Case
from anomalist.pipeline import learn
from anomalist.settings import Settings
from anomalist.unchanged import changed_since
from anomalist.vision.detectors import Progress, silent
from anomalist.vision.profile import Manifest, Profile, load_profile, profile_path

_MOST_NAMED = 3


def fine_pictures(profile: str, path: Path | None = None) -> tuple[Case, ...]:
    """The pictures of a profile that people called fine as a whole, by what was said last of each.

    Parameters
    ----------
    profile : its name.
    path : file of the cases; by default the one of this user.
    """
    place = path or Settings().home / "cases.sqlite"
    if not place.exists():
        return ()
    latest: dict[str, Case] = {}
    with CaseStore(place) as store:
        for case in store.list(profile):  # the newest first
            if case.media == "picture" and case.part is None and case.sha256:
                latest.setdefault(case.sha256, case)
    return tuple(case for case in latest.values() if case.action == "corrected" and case.severity == 0)


def relearn(
    profile: str | Path,
    *,
    cases: Path | None = None,
    defects: Path | None = None,
    progress: Progress = silent,
) -> tuple[Profile, tuple[Case, ...]]:
    """Learn a profile again with the settings it has, and put it in the place of the old one.

    Its threshold then rests on the pictures that were called fine, too. Each counts as an object of its own.

    Parameters
    ----------
    profile : its name or folder.
    cases : file of the cases; by default the one of this user.
    defects : folder of labelled defects; needed again where the profile was learned with some.

    Returns
    -------
    The new profile, and the cases that it now learns from.

    Raises
    ------
    DataError : nothing was called fine, or a picture is gone or has changed since.
    ProfileError : there is no such profile.
    """
    old = load_profile(profile)
    known = {normal.sha256 for normal in old.manifest.normals}
    fine = tuple(case for case in fine_pictures(old.name, cases) if case.sha256 not in known)
    if not fine:
        raise DataError(
            f"There is no new feedback to learn from: no picture of {old.name} was called fine.",
            'Say so first: anomalist ask PICTURE "this is fine" --profile NAME',
        )
    if old.manifest.defects and defects is None:
        raise ProfileError(
            f"{old.name} was learned with {len(old.manifest.defects)} labelled defects.",
            "Name their folder again: --defects DIR",
        )
    given = {normal.source: normal.sha256 for normal in old.manifest.normals}
    said = {case.source: case.sha256 or "" for case in fine}
    _refuse_changed({**given, **said}.items())
    place = profile_path(profile)
    return (
        learn(
            [*given, *said],
            profile=profile,
            groups=_groups(old.manifest, fine),
            effort=old.manifest.effort,
            seed=old.manifest.seed,
            roi=place / "roi.png" if old.roi is not None else None,
            detector=old.manifest.detector,
            backbone=old.manifest.backbone,
            defects=defects,
            force=True,
            progress=progress,
        ),
        fine,
    )


def _groups(manifest: Manifest, fine: Iterable[Case]) -> dict[str, str] | None:
    if not manifest.grouped:
        return None
    known = {normal.source: normal.group or normal.sha256 for normal in manifest.normals}
    return known | {case.source: f"called fine: {case.sha256}" for case in fine}


def _refuse_changed(files: Iterable[tuple[str, str]]) -> None:
    """Raise DataError that names pictures which are gone, or no longer what they were."""
    wrong = []
    for source, sha256 in files:
        happened = changed_since(Path(source), sha256)
        if happened is not None:
            wrong.append(f"{source} {happened}")
    if wrong:
        more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise DataError(
            f"Not all pictures are as they were: {', '.join(wrong[:_MOST_NAMED])}{more}.",
            "Put them back, or learn anew: anomalist learn NORMAL_DIR --profile NAME --force",
        )
