"""Looking again: findings, closer looks, comparisons, and pictures that are no longer what they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalist.agent.tools.pictures import (
    compare_pictures,
    compare_with_normal,
    count_regions,
    inspect_picture,
    measure_distance,
    measure_region,
    show_findings,
    zoom,
)
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from anomalist.vision.media.images import load_image
from tests.pictures import tile, write
from tests.subjects import judged, scratched


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return scratched(tmp_path / "part.png")


def test_findings_are_those_of_the_record(subject: Subject) -> None:
    found = show_findings(subject)
    record = subject.records[0]
    assert (found.label, found.score, found.p_value) == ("anomalous", record.score, record.p_value)
    assert [region.region for region in found.regions] == ["R1", "R2"]
    assert {"score", "R1", "R2", "case:scratch/7"} <= set(found.ids)


def test_a_closer_look_is_measured_and_written(subject: Subject, tmp_path: Path) -> None:
    looked = zoom(replace(subject, crops=tmp_path / "crops"), "R1")
    pixels = load_image(tmp_path / "part.png").pixels[30:40, 20:80]
    assert looked.mean_grey == pytest.approx(float((pixels @ [0.299, 0.587, 0.114]).mean()), abs=0.06)
    assert looked.file is not None
    left, top, right, bottom = looked.window
    with Image.open(looked.file) as crop:
        assert crop.size == (right - left, bottom - top)


def test_a_box_is_cut_to_the_picture_or_refused(subject: Subject) -> None:
    assert zoom(subject, box=(250, 250, 300, 300)).box == (250, 250, 256, 256)
    with pytest.raises(DataError, match="outside the picture"):
        zoom(subject, box=(300, 300, 310, 310))


def test_a_region_stands_beside_what_is_normal(subject: Subject) -> None:
    beside = compare_with_normal(
        replace(subject, counterpart=lambda media, region: np.full((120, 120, 3), 100, np.uint8)), "R1"
    )
    assert beside.normal_mean_grey == 100
    assert beside.difference == pytest.approx(beside.mean_grey - 100, abs=0.06)


def test_without_normals_there_is_nothing_to_compare_with(subject: Subject) -> None:
    with pytest.raises(DataError, match="nothing normal at hand"):
        compare_with_normal(subject)
    with pytest.raises(DataError, match="Nothing is at hand to inspect with"):
        inspect_picture(subject, "other.png")


def test_a_picture_that_has_changed_is_not_looked_at(subject: Subject, tmp_path: Path) -> None:
    write(tmp_path / "part.png", tile(3))
    with pytest.raises(DataError, match="has changed since it was inspected: its hash differs"):
        zoom(subject, "R1")
    (tmp_path / "part.png").unlink()
    with pytest.raises(DataError, match="is gone since"):
        zoom(subject, "R1")


def test_two_pictures_of_a_batch(subject: Subject, tmp_path: Path) -> None:
    batch = replace(subject, records=(*subject.records, judged(tmp_path / "good.png")))
    both = compare_pictures(batch, "part.png", "good.png")
    assert both.higher == "part.png"
    assert both.score_difference == pytest.approx(2.1)
    with pytest.raises(DataError, match="Which picture"):
        show_findings(batch)
    with pytest.raises(DataError, match=r"no picture x\.png"):
        show_findings(batch, "x.png")
    with pytest.raises(DataError, match=r"There is no R9 in part\.png"):
        zoom(batch, "R9", picture="part.png")


def test_a_line_is_as_long_as_a_rectangle_of_its_area_and_elongation(subject: Subject) -> None:
    measured = measure_region(subject, "R1")
    assert (measured.width, measured.height, measured.area) == (60, 10, 400)
    assert (measured.length, measured.thickness) == (60, 7)
    assert measured.percent == pytest.approx(100 * 400 / 256**2, abs=0.01)


@pytest.mark.parametrize(
    ("second", "gap", "centres"),
    [("left", 20, None), ("top", 30, None), ("right", 176, None), ("bottom", 216, None), ("R2", 208, 239)],
)
def test_distances(subject: Subject, second: str, gap: int, centres: int | None) -> None:
    distance = measure_distance(subject, "R1", second)
    assert (distance.gap, distance.centres) == (gap, centres)


def test_counts_by_kind_and_place(subject: Subject) -> None:
    assert count_regions(subject).count == 2
    assert count_regions(subject, position="lower right").ids == ("R2",)
    assert count_regions(subject, kind="scratch").ids == ("R1",)
    assert count_regions(subject, kind="hole").ids == ("score",)
