from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

from anomalist.eval.image_datasets import Split, load_folder, split_dataset
from anomalist.eval.scoring import score_detection
from anomalist.types.common import DetectorInfo
from anomalist.types.image import Calibration, Evidence, Inspection, Record


class Scorer(Protocol):
    def inspect_many(self, paths: Iterable[Path]) -> Iterator[Inspection]: ...


class BrightnessScorer:
    """The brightest pixel is the score, the grey levels are the map; p-values from given normal scores."""

    def __init__(self, normals: list[float], rate: float = 0.2, band: tuple[float, float] = (0, 0)) -> None:
        self.normals = np.array(normals)
        self.rate = rate
        self.band = band

    def inspect_many(self, paths: Iterable[Path]) -> Iterator[Inspection]:
        for path in paths:
            try:
                score_map = np.asarray(Image.open(path).convert("L"), dtype=np.float32)
            except OSError as error:
                yield Inspection(Record(source=str(path), status="error", error=str(error)))
                continue
            score = float(score_map.max())
            p_value = float((1 + (self.normals >= score).sum()) / (self.normals.size + 1))
            needed = round(1 / self.rate) - 1
            calibration = Calibration(
                method="split",
                normals=self.normals.size,
                groups=self.normals.size,
                false_alarm_rate=self.rate,
                reachable=self.normals.size >= needed,
                normals_needed=needed,
                instability=0.0,
                approximate=False,
                seed=0,
            )
            decided = "anomalous" if p_value <= self.rate else "normal"
            undecided = self.band[0] <= score < self.band[1]
            yield Inspection(
                Record(source=str(path), status="ok", label="undecided" if undecided else decided),
                evidence=Evidence(
                    detector=DetectorInfo(name="brightness", digest="0"),
                    score=score,
                    score_map=score_map,
                    mask=np.zeros(score_map.shape, dtype=bool),
                    roi_area=score_map.size,
                    p_value=p_value,
                    calibration=calibration,
                ),
            )


def draw(path: Path, peak: int, mask: Path | None = None, size: tuple[int, int] = (12, 10)) -> None:
    """A dark picture with a 3×3 square of brightness ``peak``, and a mask of that square."""
    pixels = np.zeros(size, dtype=np.uint8)
    pixels[4:7, 4:7] = peak
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    if mask:
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels > 0).astype(np.uint8) * 255).save(mask)


GOOD = {"0": 10, "1": 20, "2": 30, "3": 40, "4": 50}
BAD = {"scratch/a": 45, "scratch/b": 60, "dent/c": 70, "dent/d": 80}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name, peak in GOOD.items():
        draw(root / "good" / f"{name}.png", peak)
    for name, peak in BAD.items():
        draw(root / f"{name}.png", peak, root / "ground_truth" / f"{name}.png")
    return root


@pytest.fixture
def parts(data: Path) -> Split:
    return split_dataset(load_folder(data), 0, seed=0)


def inspected(parts: Split, scorer: Scorer) -> list[Inspection]:
    return list(scorer.inspect_many(item.path for item in parts.test))


STEADY = BrightnessScorer([5, 10, 15, 20, 25, 30, 35, 38])


def test_rankings_over_pictures_by_hand(parts: Split) -> None:
    metrics = score_detection(parts, STEADY.inspect_many(item.path for item in parts.test))
    # Of 4 × 5 pairs only (scratch a = 45, good 4 = 50) is in the wrong order.
    assert metrics.image_auroc == pytest.approx(19 / 20)
    assert metrics.image_auroc_by_defect == {"dent": 1.0, "scratch": pytest.approx(9 / 10)}
    assert metrics.image_average_precision == pytest.approx((1 + 1 + 1 + 4 / 5) / 4)
    assert metrics.image_auroc_interval is not None
    assert metrics.image_auroc_interval[0] < 19 / 20 <= metrics.image_auroc_interval[1]
    assert (metrics.n_train, metrics.n_test, metrics.n_test_normals, metrics.n_errors) == (0, 9, 5, 0)
    assert metrics.n_by_defect == {"dent": 2, "scratch": 2}
    assert metrics.detector == "brightness"


def test_pixel_measures_use_masks_and_the_normal_pictures(parts: Split) -> None:
    metrics = score_detection(parts, inspected(parts, STEADY))
    positives, negatives = 4 * 9, 9 * 120 - 4 * 9
    # Only the nine bright pixels of good 4 are above those of scratch a.
    assert metrics.pixel_auroc == pytest.approx(1 - 9 * 9 / (positives * negatives))
    # Overlap 3/4 until those nine are passed, then 1; the limit of 30 % lies far behind.
    false_positives = 9 / negatives
    assert metrics.aupro == pytest.approx((0.75 * false_positives + 0.3 - false_positives) / 0.3)


def test_each_kind_of_defect_is_measured_against_all_normals(parts: Split) -> None:
    metrics = score_detection(parts, inspected(parts, STEADY))
    negatives = 7 * 120 - 2 * 9  # five good pictures and two of the kind
    assert metrics.pixel_auroc_by_defect["dent"] == 1.0
    assert metrics.pixel_auroc_by_defect["scratch"] == pytest.approx(1 - 9 * 9 / (2 * 9 * negatives))
    false_positives = 9 / negatives
    assert metrics.aupro_by_defect["dent"] == pytest.approx(1.0)
    assert metrics.aupro_by_defect["scratch"] == pytest.approx(1 - 0.5 * false_positives / 0.3)
    intervals = metrics.image_auroc_by_defect_interval
    assert intervals["dent"] == (1.0, 1.0)
    assert intervals["scratch"] is not None
    assert intervals["scratch"][0] < 9 / 10 <= intervals["scratch"][1]


def test_the_interval_of_pixel_auroc_holds_the_measure(parts: Split) -> None:
    metrics = score_detection(parts, inspected(parts, STEADY))
    assert metrics.pixel_auroc is not None
    assert metrics.pixel_auroc_interval is not None
    low, high = metrics.pixel_auroc_interval
    assert low < metrics.pixel_auroc <= high


def test_too_few_normal_pixels_leave_aupimo_undefined_and_a_note_says_so(parts: Split) -> None:
    metrics = score_detection(parts, inspected(parts, STEADY))
    assert (metrics.aupimo, metrics.aupimo_median, metrics.aupimo_zero_rate) == (None, None, None)
    assert any("a rate of 0.002: AUPIMO needs 1e-05" in note for note in metrics.notes)


def test_aupimo_is_over_the_defective_pictures(tmp_path: Path) -> None:
    for number, peak in enumerate((50, 51)):
        draw(tmp_path / "good" / f"{number}.png", peak, size=(250, 250))
    for name, peak in (("a", 50), ("b", 60), ("c", 70)):
        draw(tmp_path / "dent" / f"{name}.png", peak, tmp_path / "ground_truth" / "dent" / f"{name}.png")
    parts = split_dataset(load_folder(tmp_path), 0, seed=0)
    metrics = score_detection(parts, inspected(parts, STEADY))
    # The brightest nine normal pixels of 125,000 are a rate of 7.2e-5, those of 50 reach 1.4e-4: along the
    # line from one to the other, recall of dent a has risen to 2.8/7.2 at the upper bound.
    rise = (1e-4 - 7.2e-5 - 7.2e-5 * np.log(1e-4 / 7.2e-5)) / 7.2e-5 / np.log(10)
    assert metrics.aupimo == pytest.approx((rise + 2) / 3)
    assert metrics.aupimo_median == pytest.approx(1.0)
    assert metrics.aupimo_zero_rate == 0.0
    assert not any("AUPIMO" in note for note in metrics.notes)


@pytest.mark.parametrize("train_normals", [0, 1])
def test_a_split_by_pictures_flatters_only_who_learned(data: Path, train_normals: int) -> None:
    parts = split_dataset(load_folder(data), train_normals, seed=0)
    notes = score_detection(parts, inspected(parts, STEADY)).notes
    assert any("flatter" in note for note in notes) == bool(train_normals)


def test_a_false_alarm_is_a_normal_at_or_below_the_rate_even_if_undecided(parts: Split) -> None:
    scorer = BrightnessScorer([5, 10, 15, 20, 25, 30, 35, 38], rate=0.2, band=(40, 50))
    metrics = score_detection(parts, inspected(parts, scorer))
    # p of the good ones: 8/9, 6/9, 4/9 … the last two (40 and 50) have p = 1/9; 40 is undecided.
    assert metrics.asked_false_alarm_rate == 0.2
    assert metrics.false_alarm_rate == pytest.approx(2 / 5)
    assert metrics.false_alarm_rate_interval is not None
    assert metrics.undecided_rate == pytest.approx(2 / 9)  # good 3 (40) and scratch a (45)
    assert metrics.undecided_rate_normals == pytest.approx(1 / 5)
    assert metrics.undecided_rate_defects == pytest.approx(1 / 4)


def test_an_alarm_exactly_at_the_asked_rate_counts(parts: Split) -> None:
    scorer = BrightnessScorer([1, 2, 3, 45], rate=0.4)
    metrics = score_detection(parts, inspected(parts, scorer))
    assert metrics.false_alarm_rate == 1.0  # 10 to 40 have p = 2/5, 50 has p = 1/5


def test_an_alarm_that_misses_the_rate_by_rounding_counts(parts: Split) -> None:
    sums = [
        replace(seen, evidence=replace(seen.evidence, p_value=0.1 + 0.1 + 0.1 - 0.1))  # 0.2 + 6e-17
        for seen in inspected(parts, STEADY)
        if seen.evidence
    ]
    assert score_detection(parts, sums).false_alarm_rate == 1.0


def test_a_rate_out_of_reach_is_undefined_and_says_how_many_normals_it_needs(parts: Split) -> None:
    metrics = score_detection(parts, inspected(parts, BrightnessScorer([1, 2, 3], rate=0.05)))
    assert metrics.asked_false_alarm_rate == 0.05
    assert metrics.false_alarm_rate is None
    assert metrics.false_alarm_rate_interval is None
    assert any("0.05 needs 19" in note and "there are 3" in note for note in metrics.notes)


def test_without_calibration_the_rate_is_undefined(parts: Split) -> None:
    bare = [
        replace(seen, evidence=replace(seen.evidence, p_value=None, calibration=None))
        for seen in inspected(parts, STEADY)
        if seen.evidence
    ]
    metrics = score_detection(parts, bare)
    assert metrics.asked_false_alarm_rate is None
    assert metrics.false_alarm_rate is None
    assert metrics.image_auroc is not None
    assert any("no calibration" in note for note in metrics.notes)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_pictures_that_could_not_be_judged_are_counted_and_enter_nothing_else(
    data: Path, parts: Split, score: float
) -> None:
    (data / "good" / "4.png").write_bytes(b"no picture")
    seen = inspected(parts, STEADY)
    seen = [one for one in seen if not one.record.source.endswith("a.png")]  # never came back
    last = seen[-1]
    assert last.evidence is not None
    seen[-1] = replace(last, evidence=replace(last.evidence, score=score))
    metrics = score_detection(parts, seen)
    assert metrics.n_errors == 3
    assert metrics.n_test == 9
    assert metrics.image_auroc == 1.0  # the two pictures that were in the wrong order are out
    assert metrics.false_alarm_rate == pytest.approx(1 / 4)
    assert any("3 pictures could not be judged: good/4.png" in note for note in metrics.notes)


def test_a_map_that_holds_nan_could_not_be_judged(parts: Split) -> None:
    seen = inspected(parts, STEADY)
    evidence = seen[0].evidence
    assert evidence is not None
    broken = evidence.score_map.copy()
    broken[0, 0] = np.nan
    seen[0] = replace(seen[0], evidence=replace(evidence, score_map=broken))
    assert score_detection(parts, seen).n_errors == 1


def test_when_nothing_could_be_judged_everything_is_undefined(parts: Split) -> None:
    metrics = score_detection(parts, [])
    assert metrics.n_errors == 9
    for value in (metrics.image_auroc, metrics.pixel_auroc, metrics.aupro, metrics.undecided_rate):
        assert value is None
    assert metrics.image_auroc_by_defect == {"dent": None, "scratch": None}


def test_empty_and_missing_masks_stay_out_of_the_pixel_measures(data: Path, parts: Split) -> None:
    truth = data / "ground_truth"
    Image.new("L", (10, 12)).save(truth / "scratch" / "a.png")
    (truth / "dent" / "c.png").unlink()
    changed = split_dataset(load_folder(data), 0, seed=0)
    metrics = score_detection(changed, inspected(changed, STEADY))
    assert metrics.n_empty_masks == 1
    assert any("1 defective pictures have no mask" in note for note in metrics.notes)
    # Without scratch a no normal pixel outranks a defect; counted as normal it would.
    assert metrics.pixel_auroc == 1.0
    assert metrics.image_auroc == pytest.approx(19 / 20)


def test_masks_that_can_not_be_used_are_counted_named_and_left_out(data: Path) -> None:
    truth = data / "ground_truth" / "scratch"
    Image.new("L", (9, 9), 255).save(truth / "a.png")
    Image.new("L", (10, 12), 255).save(truth / "b.png")
    Image.new("L", (10, 12), 255).save(truth / "other.png")
    parts = split_dataset(load_folder(data), 0, seed=0)
    before = sum(not item.normal and item.mask is not None for item in parts.test)
    metrics = score_detection(parts, inspected(parts, STEADY))
    assert metrics.masks.used == before - 2
    assert metrics.masks.unmatched == ("ground_truth/scratch/other.png",)
    notes = "; ".join(metrics.notes)
    for said in ("a.png has 9×9 pixels", "b.png marks 100 %", "inverted", "match no picture", "other.png"):
        assert said in notes


@pytest.mark.parametrize("twice", [True, False])
def test_an_inspection_that_was_not_asked_for_is_a_mistake(parts: Split, twice: bool) -> None:
    seen = inspected(parts, STEADY)
    strange = seen[0] if twice else Inspection(Record(source="elsewhere.png", status="error"))
    with pytest.raises(ValueError, match="not asked for, or came twice"):
        score_detection(parts, [*seen, strange])


def test_only_good_pictures_leave_auroc_undefined(tmp_path: Path) -> None:
    for name, peak in GOOD.items():
        draw(tmp_path / "good" / f"{name}.png", peak)
    parts = split_dataset(load_folder(tmp_path), 0, seed=0)
    metrics = score_detection(parts, inspected(parts, STEADY))
    assert metrics.image_auroc is None
    assert metrics.image_auroc_interval is None
    assert metrics.false_alarm_rate is not None
    assert any("no defective pictures" in note for note in metrics.notes)


def test_the_order_of_the_inspections_does_not_matter(parts: Split) -> None:
    seen = inspected(parts, STEADY)
    forwards, backwards = score_detection(parts, seen), score_detection(parts, seen[::-1])
    assert forwards.image_auroc == backwards.image_auroc
    assert forwards.pixel_auroc == backwards.pixel_auroc
    assert forwards.false_alarm_rate == backwards.false_alarm_rate
