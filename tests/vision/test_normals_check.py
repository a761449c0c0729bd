"""The check of normal pictures: what it is made of, who decides, and what is left to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.vision.detectors.base import Detector, no_progress
from anomalist.vision.detectors.ensemble import EnsembleDetector, open_backbone_by
from anomalist.vision.detectors.experts import input_side
from anomalist.vision.detectors.token_memory import token_grids
from anomalist.vision.learning import NormalSet, read_normals
from anomalist.vision.media.images import learn_scale
from anomalist.vision.normals_check import check_normals, decide, summary, without_outliers
from anomalist.vision.outliers import CHECK_SIDE, NormalsCheck, Outlier
from tests.detectors import GreyDetector
from tests.pictures import holed, tile, write, write_tiles


def outlier(name: str, why: str = "unlike the rest") -> Outlier:
    return Outlier(source=name, sha256="ab", why=why, measure=9.0)  # type: ignore[arg-type]


FEW = NormalsCheck(pictures=60, outliers=(outlier("a.png"),))
MANY = NormalsCheck(
    pictures=30,
    outliers=(*(outlier(f"{i}.png") for i in range(9)), *[outlier("b.png", "second product")] * 5),
)
NOTHING = NormalsCheck(pictures=60)


def normals_with_holes(folder: Path, kind: type[Detector] = EnsembleDetector) -> NormalSet:
    """Twelve good tiles and, as the sixth and the last one, two with a hole."""
    paths = write_tiles(folder, 12)
    paths.insert(5, write(folder / "holed-1.png", holed(90)))
    paths.append(write(folder / "holed-2.png", holed(91)))
    return read_normals(paths, None, kind, no_progress)


@pytest.mark.parametrize("kind", [EnsembleDetector, GreyDetector])
def test_defects_are_named_whatever_detector_learns(tmp_path: Path, kind: type[Detector]) -> None:
    found, _ = check_normals(normals_with_holes(tmp_path, kind), None, 0, no_progress)
    assert [Path(each.source).name for each in found.outliers] == ["holed-1.png", "holed-2.png"]
    assert found.pictures == 14 and found.decision is None and found.not_checked is None


def test_only_what_was_named_is_dropped_and_the_rest_stays_in_order(tmp_path: Path) -> None:
    normals = normals_with_holes(tmp_path)
    found, described = check_normals(normals, None, 0, no_progress)
    found = decide(found, "drop")
    left = without_outliers(described, found)
    assert found.decision == "dropped"
    assert [path.name for path in left.paths] == [f"{i:02d}.png" for i in range(12)]
    assert left.groups.tolist() == list(range(12))
    assert len(left.pictures) == len(left.hashes) == 12
    backbone = open_backbone_by(None)()
    assert left.tokens is not None
    own = left.tokens.take(backbone.digest, CHECK_SIDE)
    last = token_grids(backbone, [left.pictures[11].whole], input_side(left.pictures[11].whole, CHECK_SIDE))
    assert sorted(own) == list(range(12))
    assert np.array_equal(own[11], last[0].astype(np.float16))
    kept = without_outliers(normals, found.replace(decision="kept"))
    assert kept is normals


def test_too_few_pictures_are_not_checked_and_it_says_so(tmp_path: Path) -> None:
    normals = read_normals(write_tiles(tmp_path, 7), None, EnsembleDetector, no_progress)
    found, _ = check_normals(normals, None, 0, no_progress)
    assert found.not_checked is not None and "there are 7" in found.not_checked
    assert "not looked for" in summary(found)
    assert decide(found, None) == decide(found, "keep") == found
    with pytest.raises(DataError, match="can't be dropped"):
        decide(found, "drop")


def test_without_dinov2_nothing_is_checked_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    normals = normals_with_holes(tmp_path)
    monkeypatch.setenv("ANOMALIST_BACKBONE", str(tmp_path / "nothing-here"))
    found, _ = check_normals(normals, None, 0, no_progress)
    assert found.outliers == () and found.not_checked


def test_many_outliers_are_an_error_that_names_them_where_nobody_decides() -> None:
    with pytest.raises(DataError, match="9 unlike the rest and 5 of a second product") as raised:
        decide(MANY, None)
    assert "0.png (unlike the rest)" in raised.value.message and "and 4 more" in raised.value.message
    assert "--drop-outliers" in raised.value.remedy


def test_a_few_outliers_are_kept_where_nobody_decides() -> None:
    assert decide(FEW, None).decision == "kept"


def test_a_function_decides_once_it_knows_what_was_found() -> None:
    asked: list[NormalsCheck] = []
    assert decide(MANY, lambda check: asked.append(check) or "drop").decision == "dropped"  # type: ignore[func-returns-value]
    assert decide(NOTHING, lambda check: asked.append(check) or "drop") == NOTHING  # type: ignore[func-returns-value]
    assert asked == [MANY]


@pytest.mark.parametrize(
    ("check", "said"),
    [(NOTHING, "Nothing stands out among 60"), (FEW, "Of 60 pictures, 1 unlike the rest.")],
)
def test_the_summary_counts_what_was_found(check: NormalsCheck, said: str) -> None:
    assert said in summary(check)


def test_groups_stay_together_and_their_names_stay_theirs(tmp_path: Path) -> None:
    paths = [*write_tiles(tmp_path, 10), write(tmp_path / "holed.png", holed(90))]
    groups = {str(path): f"g{i // 2 if i < 4 else i}" for i, path in enumerate(paths)}
    normals = read_normals(paths, groups, EnsembleDetector, no_progress)
    check = NormalsCheck(
        pictures=11,
        outliers=(
            Outlier(source=str(paths[2]), sha256=normals.hashes[2], why="unlike the rest", measure=9.0),
        ),
        decision="dropped",
    )
    left = without_outliers(normals, check)
    assert left.names == tuple(groups[str(path)] for path in paths if path != paths[2])
    assert np.array_equal(np.unique(left.groups), np.arange(9))


def test_deep_pictures_are_checked_as_they_are_learned_from_whatever_detector_learns(tmp_path: Path) -> None:
    pictures = [*(tile(number) for number in range(9)), holed(90)]
    deep = [30_000 + 8 * picture[..., 0].astype(np.uint16) for picture in pictures]
    paths = [write(tmp_path / f"{number}.png", each) for number, each in enumerate(deep)]
    scale = learn_scale(paths)
    by_tokens, by_grey = (
        check_normals(read_normals(paths, None, kind, no_progress, scale), None, 0, no_progress)[0]
        for kind in (EnsembleDetector, GreyDetector)
    )
    assert [Path(each.source).name for each in by_grey.outliers] == ["9.png"]
    assert by_grey == by_tokens
