"""eval video: figures of a made-up street are what they must be; data that doesn't fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.eval.clip_datasets import leave_out_folds, read_video_dataset
from anomalist.eval.video import evaluate_unlearned, evaluate_video, interpolate_to_frames, temporal_iou
from tests.street import make_film, walker
from tests.street_files import write_labelled_films
from tests.vision.media.films import spoilt

RUN = (32, 57)


@pytest.fixture(scope="module")
def street_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    normal = [make_film(5, people=seed) for seed in range(1, 9)]
    tests = [
        (make_film(9, walker(3.0, 60.0, speed=4.0), people=42), RUN),
        (make_film(9, people=43), (200, 200)),
    ]
    return write_labelled_films(tmp_path_factory.mktemp("data") / "street", normal, tests)


def test_a_runner_is_ranked_found_and_located(street_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalist.eval.video.FOLDS", 2)  # that many scenes are learned besides
    seen: list[str] = []
    result = evaluate_video(street_set, lambda what, *_: seen.append(what))
    assert result.frames == 180
    assert result.anomalous_frames == 26
    assert result.frame_auroc is not None
    assert result.frame_auroc > 0.98
    assert result.frame_auroc_causal is not None
    assert result.frame_auroc_causal > 0.9
    assert result.pixel_auroc is not None
    assert result.pixel_auroc > 0.55  # the masks hold the whole width, the runner is at one place
    assert result.clips_with_both_labels == 1
    assert result.clip_mean_auroc is not None
    assert (result.events, result.event_recall, result.event_recall_always_on) == (1, 1.0, 0.0)
    assert result.false_events_per_minute is not None
    assert result.held_out_minutes == pytest.approx(8 * 5 / 60, abs=0.1)
    assert result.fps > 0
    assert {"learning", "calibrating", "scoring"} <= set(seen)


def linked(source: Path, folder: Path) -> Path:
    """A set of its own with the clips of another one."""
    for file in [*source.glob("*/*.mp4"), source / "labels.csv"]:
        place = folder / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file)
    return folder


@pytest.mark.parametrize("number", [2, 40, 75], ids=["before the runner", "in the run", "after it"])
def test_a_lost_frame_leaves_the_labels_of_the_others_where_they_are(
    street_set: Path, tmp_path: Path, number: int
) -> None:
    whole = evaluate_unlearned(street_set)
    folder = linked(street_set, tmp_path / "damaged")
    (folder / "testing" / "01.mp4").unlink()
    spoilt(folder / "testing" / "01.mp4", number, street_set / "testing" / "01.mp4")
    clip = read_video_dataset(folder).testing[0]
    assert 0 < sum(1 for _ in clip.video().frames()) < len(clip.labels)
    result = evaluate_unlearned(folder)
    assert (result.frames, result.anomalous_frames) == (180, 26)
    assert whole.frame_auroc is not None and result.frame_auroc is not None
    assert whole.frame_auroc > 0.9
    assert result.frame_auroc == pytest.approx(whole.frame_auroc, abs=0.05)


@pytest.mark.parametrize("evaluate", [evaluate_video, evaluate_unlearned])
@pytest.mark.parametrize("labels", [85, 150])
def test_labels_for_fewer_or_many_more_frames_than_a_clip_has_are_refused(
    street_set: Path, tmp_path: Path, evaluate: Callable[[Path], object], labels: int
) -> None:
    folder = linked(street_set, tmp_path)
    (folder / "labels.csv").unlink()
    rows = [f"{clip},{frame},0" for clip in ("01", "02") for frame in range(labels)]
    (folder / "labels.csv").write_text("\n".join(["clip,frame,label", *rows]))
    with pytest.raises(DataError, match=f"01 has {labels} labels"):
        evaluate(folder)


def test_labels_and_masks_are_read(street_set: Path) -> None:
    footage = read_video_dataset(street_set)
    assert len(footage.training) == 8
    clip, normal = footage.testing
    assert clip.events == (RUN,)
    assert clip.mask(40, (120, 160)).sum() == 25 * 160
    assert not clip.mask(0, (120, 160)).any()
    assert normal.events == ()
    with pytest.raises(DataError, match="size"):
        clip.mask(40, (60, 80))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("clip,frame\n01,0\n", "columns"),
        ("clip,frame,label\n01,x,0\n", 'labels.csv", line 2: no frame has the number "x"'),
        *(
            (f"clip,frame,label\n01,0,0\n01,1{cell}\n", 'labels.csv", line 3: the label is')
            for cell in (",1.0", ",true", ",anomalous", ",", "", ",-1")
        ),
        ("clip,frame,label\n01,0,0\n01,1,0,1\n", 'labels.csv", line 3: more cells'),
        ("clip,frame,label\n01,0,0\n01,2,0\n", "not 0, 1, 2"),
        ("clip,frame,label\n01,0,0\n01,00,1\n", 'labels.csv", line 3: frame 0 of 01 has both labels'),
        ("clip,frame,label\n07,0,0\n", "nothing about clip 01"),
    ],
)
def test_labels_that_do_not_fit_are_refused(street_set: Path, tmp_path: Path, labels: str, said: str) -> None:
    for part in ("training", "testing"):
        (tmp_path / part).symlink_to(street_set / part)
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(DataError, match=said):
        read_video_dataset(tmp_path)


def test_blanks_around_a_label_and_the_mark_of_a_spreadsheet_are_no_part_of_it(
    street_set: Path, tmp_path: Path
) -> None:
    for part in ("training", "testing"):
        (tmp_path / part).symlink_to(street_set / part)
    rows = [f"{clip},{frame}, {int(frame > 0)} " for clip in ("01", "02") for frame in range(3)]
    (tmp_path / "labels.csv").write_text("\n".join(["\ufeffclip,frame,label", *rows]), "utf-8")
    assert read_video_dataset(tmp_path).testing[0].labels.tolist() == [False, True, True]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        read_video_dataset(tmp_path)
    (tmp_path / "training").mkdir()
    with pytest.raises(DataError, match="no videos"):
        read_video_dataset(tmp_path)


def test_frames_between_those_looked_at_get_their_scores() -> None:
    curve, index = np.array([np.nan, 1.0, 3.0], np.float32), np.array([0, 2, 4])
    assert interpolate_to_frames(curve, index, 6, "offline").tolist() == [1, 1, 1, 2, 3, 3]
    assert interpolate_to_frames(curve, index, 6, "causal").tolist() == [0, 0, 1, 1, 3, 3]
    assert not interpolate_to_frames(curve * np.nan, index, 6, "offline").any()


@pytest.mark.parametrize(
    ("a", "b", "want"), [((0, 2), (0, 2), 1), ((0, 2), (1, 3), 1 / 3), ((0, 1), (2, 3), 0)]
)
def test_overlap_in_time(a: tuple[float, float], b: tuple[float, float], want: float) -> None:
    assert temporal_iou(a, b) == pytest.approx(want)


def test_every_video_is_left_out_once() -> None:
    paths = tuple(Path(str(i)) for i in range(10))
    left = [path for _, out in leave_out_folds(paths, 4) for path in out]
    assert sorted(left) == sorted(paths)
    assert all(not set(rest) & set(out) for rest, out in leave_out_folds(paths, 4))
