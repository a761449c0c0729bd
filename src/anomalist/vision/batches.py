"""Read pictures and score them a batch at a time, in order, with an error in place of what can't be judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from anomalist.errors import AnomalistError
from anomalist.types import Media
from anomalist.vision.detectors import Scored
from anomalist.vision.media import load_image
from anomalist.vision.profile import Profile

_MOST_PICTURES = 16
_MOST_PIXELS = 8_000_000
"""Bounds the memory of a batch: maps and pictures of large photographs are heavy."""

Read = tuple[str | Path, Media | AnomalistError]


def score_all(
    profile: Profile, paths: Iterable[str | Path]
) -> Iterator[tuple[str | Path, Media | None, Scored | AnomalistError]]:
    """Yield (path, media, its scores or the error that stands in for them), in the order of ``paths``."""
    batch: list[Read] = []
    pixels = 0
    for path in paths:
        media = _read(path)
        batch.append((path, media))
        pixels += media.pixels.shape[0] * media.pixels.shape[1] if isinstance(media, Media) else 0
        if len(batch) >= _MOST_PICTURES or pixels >= _MOST_PIXELS:
            yield from _score(profile, batch)
            batch, pixels = [], 0
    yield from _score(profile, batch)


def _read(path: str | Path) -> Media | AnomalistError:
    try:
        return load_image(path)
    except AnomalistError as error:
        return error


def _score(
    profile: Profile, batch: list[Read]
) -> Iterator[tuple[str | Path, Media | None, Scored | AnomalistError]]:
    able = [media for _, media in batch if isinstance(media, Media)]
    results: list[Scored | AnomalistError] = []
    try:
        results += profile.detector.score([media.pixels for media in able], profile.roi) if able else []
    except AnomalistError:  # one of them can't be judged: find out which
        for media in able:
            try:
                results += profile.detector.score([media.pixels], profile.roi)
            except AnomalistError as error:
                results.append(error)
    scored = iter(results)
    for path, media in batch:
        if isinstance(media, Media):
            yield path, media, next(scored)
        else:
            yield path, None, media
