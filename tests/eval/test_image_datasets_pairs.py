from __future__ import annotations

import pytest

from anomalist.eval.image_datasets import MIN_IOU, match_boxes
from anomalist.types.common import Box


def test_matching_is_one_to_one_and_finds_as_many_as_there_can_be() -> None:
    labelled: list[Box] = [(0, 0, 10, 10), (0, 6, 10, 16)]
    # The first overlaps both labels, the second only the first one: greedy by overlap would lose a hit.
    predicted: list[Box] = [(0, 1, 10, 11), (0, 0, 10, 6)]
    assert sorted(match_boxes(predicted, labelled, 0)) == [(0, 1), (1, 0)]
    assert match_boxes([(0, 0, 10, 10)] * 3, [(0, 0, 10, 10)], 0) == [(0, 0)]
    assert match_boxes([], labelled, 0) == match_boxes(predicted, [], 0) == []


@pytest.mark.parametrize(("overlap", "hits"), [(5, 1), (4, 0)])
def test_a_hit_needs_an_overlap_above_a_third(overlap: int, hits: int) -> None:
    """Two boxes of 10 × 10: 5 columns in common are an IoU of 1/3, 4 are one of 1/4."""
    assert MIN_IOU < 1 / 3
    assert len(match_boxes([(0, 0, 10, 10)], [(10 - overlap, 0, 20 - overlap, 10)], 0)) == hits


def test_the_margin_widens_what_is_predicted() -> None:
    assert match_boxes([(10, 10, 14, 14)], [(4, 4, 20, 20)], 0) == []
    assert match_boxes([(10, 10, 14, 14)], [(4, 4, 20, 20)], 6) == [(0, 0)]
