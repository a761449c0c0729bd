"""Each video set is recognised by its own layout, made in miniature, and its labels are frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from anomalist.errors import DataError
from anomalist.eval.datasets.footage import VIDEO_LAYOUTS, label_spans, open_footage
from tests.pictures import tile, write
from tests.vision.media.films import film

FRAMES = 8
MSAD_HEAD = "name,scenario,total frames,starting frame of anomaly,ending frame of anomaly"
UCF_TABLE = "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"


def clips(folder: Path, *names: str) -> None:
    """Clips of eight frames."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        film(folder / name, [tile(number) for number in range(FRAMES)])


def frames(folder: Path, suffix: str = "jpg") -> None:
    for number in range(FRAMES):
        write(folder / f"{number + 1:03d}.{suffix}", tile(number))


def plain(root: Path) -> None:
    clips(root / "training", "01.mp4")
    clips(root / "testing", "01.mp4")
    rows = [f"01,{number},{int(3 <= number <= 5)}" for number in range(FRAMES)]
    (root / "labels.csv").write_text("\n".join(["clip,frame,label", *rows]))


def ucsd(root: Path) -> None:
    frames(root / "Train/Train001", "tif")
    frames(root / "Test/Test001", "tif")
    frames(root / "Test/Test001_gt", "bmp")
    text = "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [4:6];\n"
    (root / "Test/UCSDped2.m").write_text(text)


def avenue(root: Path) -> None:
    clips(root / "training_videos", "01.avi")
    clips(root / "testing_videos", "01.avi")
    masks = np.empty((1, FRAMES), object)
    for number in range(FRAMES):
        masks[0, number] = np.full((4, 5), 3 <= number <= 5, np.uint8)
    (root / "ground_truth_demo/testing_label_mask").mkdir(parents=True)
    savemat(root / "ground_truth_demo/testing_label_mask/1_label.mat", {"volLabel": masks})


def shanghai(root: Path) -> None:
    clips(root / "training/videos", "01_001.avi")
    frames(root / "testing/frames/01_0014")
    (root / "testing/test_frame_mask").mkdir(parents=True)
    np.save(root / "testing/test_frame_mask/01_0014.npy", label_spans(FRAMES, [(3, 5)]).astype(np.int8))


def ubnormal(root: Path) -> None:
    clips(root / "Scene1", "normal_scene_1_scenario_1.mp4", "abnormal_scene_1_scenario_1.mp4")
    name = "abnormal_scene_1_scenario_1"
    (root / "Scene1" / f"{name}_annotations").mkdir()
    tracks = "1.0,3.0,4.0\n2.0,4.0,5.0\n"
    (root / "Scene1" / f"{name}_annotations" / f"{name}_tracks.txt").write_text(tracks)
    (root / "scripts").mkdir()
    lists = {
        "normal_training": "normal_scene_1_scenario_1\n",
        "abnormal_training": "",
        "normal_test": "",
        "abnormal_test": f"{name}\nabnormal_scene_9_scenario_9\n",
    }
    for part, names in lists.items():
        (root / "scripts" / f"{part}_video_names.txt").write_text(names)


def ucf(root: Path) -> None:
    clips(root / "Anomaly-Videos-Part-1/Abuse", "Abuse028_x264.mp4")
    clips(root / "Testing_Normal_Videos_Anomaly", "Normal_Videos_003_x264.mp4")
    clips(root / "Training-Normal-Videos", "Normal_Videos001_x264.mp4")
    text = "Abuse028_x264.mp4  Abuse  3  5  -1  -1\nNormal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1\n"
    (root / UCF_TABLE).write_text(text)


def xd(root: Path) -> None:
    clips(root / "test_videos", "A__#1_label_B1-0-0.mp4", "B__#1_label_A.mp4")
    clips(root / "train_videos", "C__#1_label_A.mp4", "D__#1_label_B2-0-0.mp4")
    (root / "annotations.txt").write_text("A__#1_label_B1-0-0 3 5\n")


def msad(root: Path) -> None:
    clips(root / "anomaly_videos", "Assault_1.mp4")
    clips(root / "normal_training", "MSAD_normal_1.mp4")
    clips(root / "normal_testing", "MSAD_normal_testing_1.mp4")
    (root / "anomaly_annotation.csv").write_text(f"{MSAD_HEAD}\nAssault_1,shop,8,3,5\n")


CASES = [
    (plain, "training/, testing/ and labels.csv", 1, 1),
    (ucsd, "UCSD Ped1 or Ped2", 1, 1),
    (avenue, "CUHK Avenue", 1, 1),
    (shanghai, "ShanghaiTech Campus", 1, 1),
    (ubnormal, "UBnormal", 1, 1),
    (ucf, "UCF-Crime", 1, 2),
    (xd, "XD-Violence", 1, 2),
    (msad, "MSAD", 1, 2),
]


@pytest.mark.parametrize(
    ("make", "name", "training", "testing"), CASES, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_layout_is_recognised_and_its_labels_are_by_frame(
    tmp_path: Path, make: Callable[[Path], None], name: str, training: int, testing: int
) -> None:
    make(tmp_path)
    layout, footage = open_footage(tmp_path)
    assert layout.name == name
    assert (len(footage.training), len(footage.testing)) == (training, testing)
    (clip,) = (clip for clip in footage.testing if clip.labels.any())
    assert clip.labels.tolist() == [False, False, False, True, True, True, False, False]
    assert clip.events == ((3, 5),)
    assert len(list(clip.video().frames())) == FRAMES


@pytest.mark.parametrize("make", [avenue, shanghai, ucf], ids=lambda each: each.__name__)
def test_hidden_files_and_folders_are_no_clips(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path)

    def found() -> list[str]:
        footage = open_footage(tmp_path)[1]
        return [*(path.name for path in footage.training), *(clip.name for clip in footage.testing)]

    before = found()
    for path in [path for path in tmp_path.rglob("*") if path.suffix in (".avi", ".mp4", ".jpg")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        hidden = path.parent.parent / ".ipynb_checkpoints"
        hidden.mkdir(exist_ok=True)
        (hidden / path.name).write_bytes(path.read_bytes())
    assert found() == before


def test_every_layout_has_its_case() -> None:
    assert {name for _, name, _, _ in CASES} == {layout.name for layout in VIDEO_LAYOUTS}


@pytest.mark.parametrize(
    ("make", "gone", "said"),
    [
        (ucsd, "Test/UCSDped2.m", r"UCSD Ped1 or Ped2, but it has no Test/<set>\.m"),
        (avenue, "ground_truth_demo", "CUHK Avenue, but it has no ground_truth_demo/testing_label_mask/"),
        (shanghai, "testing/test_frame_mask", "ShanghaiTech Campus, but it has no testing/test_frame_mask/"),
        (ubnormal, "scripts/normal_test_video_names.txt", "UBnormal, but it has no normal_test_video_names"),
    ],
)
def test_a_wrong_layout_is_told_the_line_that_is_missing(
    tmp_path: Path, make: Callable[[Path], None], gone: str, said: str
) -> None:
    make(tmp_path / "data")
    (tmp_path / "data" / gone).rename(tmp_path / "away")
    with pytest.raises(DataError, match=said):
        open_footage(tmp_path / "data")


@pytest.mark.parametrize(
    ("make", "table", "text", "said"),
    [
        (ucsd, "Test/UCSDped2.m", "nothing", "ranges for 0 clips, there are 1"),
        (ucsd, "Test/UCSDped2.m", "TestVideoFile{end+1}.gt_frame = [4:x];", "has a range that is none"),
        (msad, "anomaly_annotation.csv", MSAD_HEAD + "\nAssault_1,shop,8,3\n", "in place of a first"),
        (xd, "annotations.txt", "A__#1_label_B1-0-0 x 5\n", "in place of a first and a last frame"),
        (msad, "anomaly_annotation.csv", "name\nx\n", "needs the columns"),
        (
            ucf,
            "Temporal_Anomaly_Annotation_for_Testing_Videos.txt",
            "Z.mp4 Z 1 2 -1 -1\n",
            "None of the 1 test",
        ),
        (shanghai, "testing/test_frame_mask/01_0014.npy", "half", "is no file of labels"),
        (avenue, "ground_truth_demo/testing_label_mask/1_label.mat", "half", "is no table of Avenue"),
    ],
)
def test_labels_that_cannot_be_read_are_one_clear_error(
    tmp_path: Path, make: Callable[[Path], None], table: str, text: str, said: str
) -> None:
    make(tmp_path)
    (tmp_path / table).write_text(text)
    with pytest.raises(DataError, match=said):
        open_footage(tmp_path)


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    msad(tmp_path)
    (tmp_path / "anomaly_videos/Assault_1.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"Assault_1\.mp4 can't be read"):
        open_footage(tmp_path)


def test_spans_beyond_the_end_are_cut_off() -> None:
    assert label_spans(4, [(2, 9), (-3, 0)]).tolist() == [True, False, True, True]
