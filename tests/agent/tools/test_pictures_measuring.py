"""Sizes, distances and counts are those of the boxes and areas."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.agent.tools.pictures import count_regions, measure_distance, measure_region
from anomalist.agent.tools.subject import Subject
from tests.subjects import scratched


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return scratched(tmp_path / "part.png")


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
