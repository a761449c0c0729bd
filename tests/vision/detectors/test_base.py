"""Many pictures: each gets its scores or its error, in order, however they are put together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.types.image import Media
from anomalist.vision.detectors.base import DetectorOutput, score_in_batches
from tests.detectors import GreyDetector
from tests.pictures import write


class Counting:
    """Scores by the mean grey and remembers how many pictures came at a time."""

    def __init__(self) -> None:
        self.detector = GreyDetector(np.array([0.0]))
        self.batches: list[int] = []

    def __call__(self, several: list[Media]) -> list[DetectorOutput]:
        self.batches.append(len(several))
        return self.detector.score([media.pixels for media in several])


@pytest.fixture
def score() -> Counting:
    return Counting()


def even(folder: Path, grey: int, side: int = 8) -> Path:
    return write(folder / f"{grey:03d}.png", np.full((side, side, 3), grey, np.uint8))


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 40])
def test_pictures_come_back_in_order_with_their_own_scores(score: Counting, tmp_path: Path, n: int) -> None:
    paths = [even(tmp_path, grey) for grey in range(n)]
    results = list(score_in_batches(score, iter(paths)))
    assert [path for path, _, _ in results] == paths
    assert [scored.scores[0] for _, _, scored in results if isinstance(scored, DetectorOutput)] == list(
        range(n)
    )
    assert all(media is not None and media.source == str(path) for path, media, _ in results)
    assert sum(score.batches) == n
    assert max(score.batches, default=0) <= 16


def test_an_error_takes_the_place_of_each_bad_picture_and_the_others_are_scored(
    score: Counting, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    unreadable = [tmp_path / "text.png", tmp_path / "gone.png"]
    speck = write(tmp_path / "speck.png", np.zeros((2, 2, 3), np.uint8))
    good = [even(tmp_path, grey) for grey in (10, 20, 30)]
    paths = [good[0], unreadable[0], speck, good[1], unreadable[1], good[2]]
    results = list(score_in_batches(score, paths))
    assert [path for path, _, _ in results] == paths
    assert [media is None for _, media, _ in results] == [False, True, False, False, True, False]
    kinds = [type(scored) for _, _, scored in results]
    assert kinds == [DetectorOutput, MediaError, MediaError, DetectorOutput, MediaError, DetectorOutput]
    assert "text.png" in str(results[1][2])
    assert "too small" in str(results[2][2])
    assert [results[i][2].scores[0] for i in (0, 3, 5)] == [10, 20, 30]  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_but_bad_pictures_is_nothing_but_errors(score: Counting, tmp_path: Path, count: int) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(count)]
    assert all(isinstance(scored, MediaError) for _, _, scored in score_in_batches(score, paths))
    assert score.batches == []


def test_a_batch_of_large_pictures_is_shorter(
    score: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.vision.detectors.base.MAX_BATCH_PIXELS", 3 * 40 * 40)
    assert len(list(score_in_batches(score, [even(tmp_path, grey, side=40) for grey in range(7)]))) == 7
    assert score.batches == [3, 3, 1]


def test_scores_do_not_wait_for_pictures_of_later_batches(score: Counting, tmp_path: Path) -> None:
    paths = [even(tmp_path, grey) for grey in range(16)]

    def endless() -> Iterator[Path]:
        yield from paths
        raise AssertionError("a picture of the next batch was read first")

    results = score_in_batches(score, endless())
    assert [next(results)[0] for _ in range(16)] == paths


def test_only_a_batch_with_a_bad_picture_is_scored_one_by_one(score: Counting, tmp_path: Path) -> None:
    paths = [even(tmp_path, grey) for grey in range(20)]
    paths[17] = write(tmp_path / "speck.png", np.zeros((2, 2, 3), np.uint8))
    results = [scored for _, _, scored in score_in_batches(score, paths)]
    assert score.batches == [16, 4, 1, 1, 1, 1]
    assert [k for k, scored in enumerate(results) if not isinstance(scored, DetectorOutput)] == [17]


def test_what_is_no_fault_of_a_picture_is_not_hidden(tmp_path: Path) -> None:
    def broken(several: list[Media]) -> list[DetectorOutput]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(score_in_batches(broken, [even(tmp_path, 1)]))
