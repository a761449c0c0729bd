from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import anomalist
from anomalist.errors import CalibrationError, DataError, MediaError, ProfileError
from anomalist.pipeline import Inspector, learn
from anomalist.vision.profile import Profile
from tests.pictures import holed, tile, write, write_tiles


@pytest.mark.usefixtures("in_full")
def test_a_hole_is_found_where_it_is_and_good_tiles_pass(
    tiles_profile_in_full: Profile, tmp_path: Path
) -> None:
    inspector = Inspector(tiles_profile_in_full)
    bad = inspector.inspect(write(tmp_path / "bad.png", holed(900)))
    assert bad.record.label == "anomalous"
    assert bad.record.severity and bad.record.severity >= 1
    assert bad.record.regions[0].attributes.position == "upper left"
    assert bad.record.regions[0].attributes.tone == "darker"
    assert bad.evidence is not None and bad.evidence.score_map.shape == (64, 64)
    good = [inspector.inspect(path).record.label for path in write_tiles(tmp_path / "good", 8, first=500)]
    assert good.count("anomalous") <= 1


def test_every_claim_cites_something_that_exists(tiles_profile: Profile, tmp_path: Path) -> None:
    record = Inspector(tiles_profile).inspect(write(tmp_path / "bad.png", holed(901))).record
    known = {"score", *(region.id for region in record.regions)}
    assert record.claims
    assert all(set(claim.evidence) <= known for claim in record.claims)


def test_the_package_offers_learn_and_inspector_at_its_top() -> None:
    assert anomalist.learn is learn
    assert anomalist.Inspector is Inspector
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = anomalist.nothing_like_it  # type: ignore[attr-defined]


def test_learning_twice_with_one_seed_gives_the_same_profile(tmp_path: Path) -> None:
    write_tiles(tmp_path / "good", 8)
    first, second = (
        learn(tmp_path / "good", profile=tmp_path / name, effort="fast", seed=3) for name in ("one", "two")
    )
    assert first.digest == second.digest
    assert np.array_equal(first.calibration.scores, second.calibration.scores)


def test_a_profile_read_back_scores_as_the_one_that_was_learned(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    path = write(tmp_path / "bad.png", holed(902))
    before, after = (Inspector(p).inspect(path).record for p in (tiles_profile, tiles_profile.path))
    assert (before.score, before.p_value, before.regions) == (after.score, after.p_value, after.regions)


def test_scores_do_not_depend_on_the_batch(tiles_profile: Profile, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{side}.png", tile(side, side)) for side in (64, 96, 64 + 1, 200)]
    inspector = Inspector(tiles_profile)
    together = [inspection.record.score for inspection in inspector.inspect_many(paths)]
    alone = [inspector.inspect(path).record.score for path in paths]
    assert together == pytest.approx(alone, abs=1e-3)


def test_one_bad_picture_becomes_a_row_and_the_others_are_inspected(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    bad = tmp_path / "b.png"
    bad.write_bytes(b"not a picture")
    speck = write(tmp_path / "c.png", tile(1)[:1, :1])
    paths = [write(tmp_path / "a.png", tile(700)), bad, speck, write(tmp_path / "d.png", tile(701))]
    records = [inspection.record for inspection in Inspector(tiles_profile).inspect_many(paths)]
    assert [record.source for record in records] == [str(path) for path in paths]
    assert [record.status for record in records] == ["ok", "error", "error", "ok"]
    assert all(record.label is None and record.error for record in records[1:3])
    with pytest.raises(MediaError, match=r"b\.png"):
        Inspector(tiles_profile).inspect(bad)


def test_a_rate_that_the_normals_support_changes_the_threshold_without_learning(
    tiles_profile: Profile,
) -> None:
    strict, lax = (Inspector(tiles_profile, false_alarm_rate=rate) for rate in (0.05, 0.3))
    calibration = strict.evidence_source.calibrations[tiles_profile.digest]
    assert calibration.threshold(0.05) > calibration.threshold(0.3)  # type: ignore[operator]
    assert strict.settings_digest != lax.settings_digest


@pytest.mark.parametrize("rate", [0.01, 0.0, 1.0, -1.0])
def test_an_asked_rate_out_of_reach_is_an_error(tiles_profile: Profile, rate: float) -> None:
    with pytest.raises(CalibrationError, match="99 normal pictures" if rate == 0.01 else "between 0 and 1"):
        Inspector(tiles_profile, false_alarm_rate=rate)


@pytest.mark.parametrize("count", [2, 3])
def test_a_few_pictures_are_learned_from_but_leave_verdicts_undecided(tmp_path: Path, count: int) -> None:
    write_tiles(tmp_path / "good", count)
    profile = learn(tmp_path / "good", profile=tmp_path / "few", effort="fast")
    record = Inspector(profile).inspect(write(tmp_path / "bad.png", holed(1))).record
    assert record.label == "undecided"
    assert "19" in (record.why_undecided or "")
    assert record.score is not None and record.map is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "No pictures"),
        ({"notes.txt": b"hello"}, "No pictures"),
        ({"a.png": None}, "found 1"),
        ({"a.png": None, "b.png": None}, "found 1"),  # the same picture twice is one picture
        ({"a.jpg": b"", "b.jpg": b"text"}, "found 0"),
    ],
)
def test_too_little_to_learn_from_is_an_error(
    tmp_path: Path, files: dict[str, bytes | None], message: str
) -> None:
    (tmp_path / "good").mkdir()
    for name, content in files.items():
        if content is None:
            write(tmp_path / "good" / name, tile(0))
        else:
            (tmp_path / "good" / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        learn(tmp_path / "good", profile=tmp_path / "p", effort="fast")
    assert not (tmp_path / "p").exists()


def test_learning_the_same_name_twice_needs_force(tmp_path: Path) -> None:
    write_tiles(tmp_path / "good", 4)
    learn(tmp_path / "good", profile="mine", effort="fast")
    with pytest.raises(ProfileError, match="--force"):
        learn(tmp_path / "good", profile="mine", effort="fast")
    assert learn(tmp_path / "good", profile="mine", effort="fast", force=True).name == "mine"


def test_what_lies_outside_the_region_of_interest_does_not_count(tmp_path: Path) -> None:
    write_tiles(tmp_path / "good", 24)
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[32:] = 255
    roi = write(tmp_path / "roi.png", mask)
    profile = learn(tmp_path / "good", profile=tmp_path / "p", roi=roi, effort="fast")
    hole = write(tmp_path / "bad.png", holed(5))  # in the upper half
    record = Inspector(profile.path).inspect(hole).record
    assert record.label != "anomalous"
    assert record.roi_area == 32 * 64
    turned = write(tmp_path / "turned.png", holed(5)[::-1].copy())
    assert Inspector(profile.path).inspect(turned).record.label == "anomalous"


def test_named_groups_stay_together_and_are_counted(tmp_path: Path) -> None:
    paths = write_tiles(tmp_path / "good", 12)
    table = tmp_path / "groups.csv"
    rows = [f"good/{path.name},part{i // 3}" for i, path in enumerate(paths)]
    table.write_text("image,group\n" + "\n".join(rows), encoding="utf-8")
    profile = learn(tmp_path / "good", profile=tmp_path / "p", groups=table, effort="fast")
    assert profile.calibration.n_groups == 4
    assert {normal.group for normal in profile.manifest.normals} == {"part0", "part1", "part2", "part3"}


def test_a_short_training_runs_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anomalist.vision.detectors import surface

    monkeypatch.setitem(surface.EFFORTS, "normal", 8)
    write_tiles(tmp_path / "good", 6)
    seen: list[str] = []
    profile = learn(
        tmp_path / "good",
        profile=tmp_path / "p",
        detector="surface",
        progress=lambda what, done, total: seen.append(what),
    )
    stages = ["looking", "reading", "remembering", "adapting", "correcting", "calibrating"]
    assert [stage for stage in dict.fromkeys(seen) if stage in stages] == stages
    assert profile.detector.folds == 4
    reloaded = Inspector(tmp_path / "p").inspect(write(tmp_path / "x.png", tile(50))).record
    assert reloaded.score == Inspector(profile).inspect(tmp_path / "x.png").record.score


def test_a_normal_picture_that_is_a_labelled_defect_too_is_an_error_that_names_it(tmp_path: Path) -> None:
    goods = write_tiles(tmp_path / "good", 3)
    write(tmp_path / "defects" / "hole" / "other.png", holed(9))
    shutil.copy(goods[1], tmp_path / "defects" / "hole" / "a.png")
    said = r"good/01\.png is a normal picture and the labelled defect hole/a\."
    with pytest.raises(DataError, match=said):
        learn(goods, profile=tmp_path / "profile", detector="surface", defects=tmp_path / "defects")
    assert not (tmp_path / "profile").exists()
