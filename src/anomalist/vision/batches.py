"""Read and score pictures a batch at a time, in order; an error stands in for what can't be judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from anomalist.errors import AnomalistError
from anomalist.types import Media
from anomalist.vision.detectors import Scored
from anomalist.vision.media import load_image

_MOST_PICTURES = 16
_MOST_PIXELS = 8_000_000
"""Bounds the memory of a batch: maps and pictures of large photographs are heavy."""

Scorer = Callable[[list[Media]], list[Scored]]
"""Scores pictures together; AnomalistError when one of them can't be judged."""

_Read = tuple[str | Path, Media | AnomalistError]
_Result = tuple[str | Path, Media | None, Scored | AnomalistError]


def score_all(score: Scorer, paths: Iterable[str | Path]) -> Iterator[_Result]:
    """Yield (path, media, its scores or the error that stands in for them), in the order of ``paths``.

    ``media`` is None when the picture could not be read. A batch is read before any of it is yielded.
    """
    batch: list[_Read] = []
    pixels = 0
    for path in paths:
        media = _read(path)
        batch.append((path, media))
        pixels += media.pixels.shape[0] * media.pixels.shape[1] if isinstance(media, Media) else 0
        if len(batch) >= _MOST_PICTURES or pixels >= _MOST_PIXELS:
            yield from _scored(score, batch)
            batch, pixels = [], 0
    yield from _scored(score, batch)


def _read(path: str | Path) -> Media | AnomalistError:
    try:
        return load_image(path)
    except AnomalistError as error:
        return error


def _scored(score: Scorer, batch: list[_Read]) -> Iterator[_Result]:
    results = iter(_scores(score, [media for _, media in batch if isinstance(media, Media)]))
    for path, media in batch:
        if isinstance(media, Media):
            yield path, media, next(results)
        else:
            yield path, None, media


def _scores(score: Scorer, several: list[Media]) -> list[Scored | AnomalistError]:
    """Score all at once; when one of them can't be judged, one by one to find out which."""
    try:
        return [*score(several)] if several else []
    except AnomalistError as error:
        if len(several) == 1:
            return [error]
        return [result for media in several for result in _scores(score, [media])]
