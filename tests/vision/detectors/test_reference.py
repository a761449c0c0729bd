from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import AnomalistError, MediaError
from anomalist.pipeline import Inspector
from anomalist.types.common import UInt8Array
from anomalist.types.image import Evidence, Media
from anomalist.vision.detectors.reference import (
    AlignedCrop,
    LabelledChanges,
    ReferenceEvidence,
    component_mask,
    describe_change,
    load_reference,
)
from anomalist.vision.difference import find_difference
from anomalist.vision.regions import find_regions
from tests.boards import board, noisy, spot, warped
from tests.pictures import write

HOLE, ISLAND = (250, 165), (130, 210)


def media(picture: UInt8Array, name: str = "new.png") -> Media:
    return Media(name, f"{hash(picture.tobytes()):x}", picture)


def defective() -> UInt8Array:
    """A board with a hole in its plate and an island on the ground, noisy."""
    return noisy(spot(spot(board(), HOLE, 8, 220), ISLAND, 7, 40), 3)


@pytest.fixture
def against(tmp_path: Path) -> ReferenceEvidence:
    return load_reference(write(tmp_path / "good.png", board()))


def test_regions_say_what_has_changed_and_the_notes_how_it_was_aligned(against: ReferenceEvidence) -> None:
    moved = warped(defective(), [[1, 0, 6], [0, 1, -4], [0, 0, 1]])
    found = against.evidence(media(moved))
    assert found.basis == "reference"
    assert found.calibration is None and found.p_value is None and found.threshold is None
    assert {region.change for region in found.regions} == {"missing", "extra"}
    for region in found.regions:
        x, y = HOLE if region.change == "missing" else ISLAND
        x, y = x + 6, y - 4
        assert region.box[0] <= x < region.box[2] and region.box[1] <= y < region.box[3]
        assert region.known is None
    assert found.score == found.score_map.max() == found.regions[0].peak > 1
    assert found.score_map.shape == found.mask.shape == moved.shape[:2]
    assert found.notes[0] == "aligned to the reference by a translation of 7.2 px"
    assert "of the picture lies outside the reference" in found.notes[1]
    assert 0.9 < found.roi_area / found.mask.size < 1


def test_the_reference_itself_has_no_region_and_no_score(against: ReferenceEvidence) -> None:
    found = against.evidence(media(board()))
    assert found.regions == ()
    assert found.score == 0
    assert found.notes == ("compared with the reference as it lies",)


def test_one_that_can_not_be_judged_does_not_stop_the_others(
    against: ReferenceEvidence, tmp_path: Path
) -> None:
    from skimage import data

    paths = [
        write(tmp_path / "new" / "1.png", defective()),
        write(tmp_path / "new" / "2.png", data.coffee()),
        tmp_path / "new" / "3.png",
        write(tmp_path / "new" / "4.png", noisy(board(), 3)),
    ]
    measured = list(against.measure(paths))
    assert [path for path, _, _ in measured] == paths
    assert [type(found) for _, _, found in measured] == [Evidence, MediaError, MediaError, Evidence]
    assert measured[1][1] is not None and measured[2][1] is None
    records = [inspection.record for inspection in Inspector(against).inspect_many(paths)]
    assert [record.label for record in records] == ["anomalous", None, None, "normal"]
    assert records[1].error is not None and "could not be aligned" in records[1].error
    assert records[0].profile == "reference:good.png"
    with pytest.raises(AnomalistError, match="could not be aligned"):
        Inspector(against).inspect(paths[1])


def test_the_digest_follows_the_picture_and_the_labelled_changes(
    against: ReferenceEvidence, tmp_path: Path
) -> None:
    same = load_reference(write(tmp_path / "elsewhere.png", board()))
    other = load_reference(write(tmp_path / "other.png", board(dark=False)))
    taught = ReferenceEvidence(against.reference, cases())
    assert against.digest == same.digest
    assert len({against.digest, other.digest, taught.digest}) == 3
    assert same.name == "reference:elsewhere.png"


def cases() -> LabelledChanges:
    """Two holes and two islands, as an inspector would have labelled them."""
    drawn = [
        ("hole", (230, 150), 6, 220),
        ("hole", (270, 180), 9, 220),
        ("dirt", (70, 40), 5, 40),
        ("dirt", (70, 215), 8, 40),
    ]
    vectors = []
    for _, place, radius, grey in drawn:
        picture = spot(board(), place, radius, grey)
        found = find_difference(board(), picture)
        (region,) = find_regions(picture, found.strength, found.mask, found.compared)
        vectors.append(
            describe_change(found.pair, component_mask(found.mask, region.box, region.area), region.box)
        )
    return LabelledChanges(
        np.stack(vectors), tuple(kind for kind, *_ in drawn), tuple(f"case-{i}" for i in range(4))
    )


def test_labelled_changes_name_a_region_and_the_verdict(tmp_path: Path) -> None:
    against = load_reference(write(tmp_path / "good.png", board()), cases())
    inspection = Inspector(against).inspect(write(tmp_path / "new.png", defective()))
    named = {region.change: region.known for region in inspection.record.regions}
    assert named["missing"] is not None and named["missing"].name == "hole"
    assert named["extra"] is not None and named["extra"].name == "dirt"
    assert named["extra"].cases[0] in ("case-2", "case-3")
    assert inspection.record.kind in ("hole", "dirt")
    assert any('like known cases of "hole"' in claim.text for claim in inspection.record.claims)


def test_beside_a_region_stands_what_the_reference_shows_there(against: ReferenceEvidence) -> None:
    moved = media(warped(defective(), [[1, 0, 6], [0, 1, -4], [0, 0, 1]]))
    hole = next(region for region in against.evidence(moved).regions if region.change == "missing")
    crop = AlignedCrop(against.reference)
    shown = crop(moved, hole)
    assert shown is not None and shown.dtype == np.uint8
    middle = shown[shown.shape[0] // 2 - 3 : shown.shape[0] // 2 + 3, shown.shape[1] // 2 - 3 :][:, :6]
    assert abs(float(middle.mean()) - 40) < 10  # the plate, without a hole
    again = crop(moved, hole)
    assert again is not None and np.array_equal(again, shown)


def test_no_crop_is_shown_of_what_can_not_be_aligned(against: ReferenceEvidence) -> None:
    from skimage import data

    hole = against.evidence(media(defective())).regions[0]
    assert AlignedCrop(against.reference)(media(data.coffee()), hole) is None


def test_a_part_of_a_mask_is_told_from_others_in_its_box() -> None:
    mask = np.zeros((12, 12), dtype=np.bool_)
    mask[0, :] = mask[:, 0] = True  # an angle around another part
    mask[5:8, 5:8] = True
    angle = component_mask(mask, (0, 0, 12, 12), 23)
    assert angle.sum() == 23 and not angle[5:8, 5:8].any()
    assert component_mask(mask, (5, 5, 8, 8), 9).all()
