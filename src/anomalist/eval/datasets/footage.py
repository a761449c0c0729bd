"""Video sets in the layouts in which they are distributed: normal clips to learn from, labelled ones to test.

Labels are by frame; frames are counted from 0 here. MATLAB files, NumPy files and text tables are read as
their authors wrote them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from anomalist.errors import DataError, MediaError
from anomalist.eval.clip_datasets import LabelledClip, VideoDataset, read_video_dataset
from anomalist.eval.datasets.layouts import Layout, folders_in, pictures_in, recognise
from anomalist.types.common import BoolArray
from anomalist.vision.media.sources import VIDEO_SUFFIXES

Spans = Sequence[tuple[int, int]]
"""First and last anomalous frame of each event, from 0, both included."""

_UCSD_SPAN = re.compile(r"gt_frame\s*=\s*\[([^\]]*)\]")


def open_footage(folder: Path) -> tuple[Layout[VideoDataset], VideoDataset]:
    """The layout of a folder, and its clips.

    Raises
    ------
    DataError : in no known layout; the nearest one and the line that is missing are named. Or its labels
        can't be read or don't fit the clips.
    """
    layout = recognise(folder, VIDEO_LAYOUTS)
    return layout, layout.read(folder)


def frames_of(path: Path) -> int:
    """Frames of a clip: pictures of a folder, or packets of a video file, which are not decoded.

    Raises
    ------
    DataError : it holds no frame, or can't be read.
    """
    import av

    if path.is_dir():
        count = len(pictures_in(path))
    else:
        try:
            with av.open(f"file:{path}") as container:
                stream = container.streams.video[0]
                count = sum(packet.size > 0 for packet in container.demux(stream))
        except (av.FFmpegError, IndexError, OSError, MediaError) as error:
            raise DataError(f"The clip {path} can't be read: {error}.") from error
    if not count:
        raise DataError(f"The clip {path} holds no frame.")
    return count


def label_spans(frames: int, spans: Iterable[tuple[int, int]]) -> BoolArray:
    """Frame labels, bool (frames,), from spans of anomalous frames; what lies beyond the end is cut off."""
    labels = np.zeros(frames, np.bool_)
    for first, last in spans:
        labels[max(first, 0) : max(last + 1, 0)] = True
    return labels


def _spanned(path: Path, spans: Spans) -> LabelledClip:
    return LabelledClip(path.stem, path, label_spans(frames_of(path), spans), None)


def _clips(folder: Path) -> list[Path]:
    """Video files directly in a folder, by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    """Video files anywhere below a folder, by name without its ending; what is hidden is left out."""
    return {
        path.stem: path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not _hidden(path, folder)
    }


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _read_ucsd(folder: Path) -> VideoDataset:
    """UCSD Ped1 and Ped2: folders of frames, and a MATLAB script with ranges of frames counted from 1."""
    tests = sorted(
        path for path in folder.glob("Test/Test[0-9]*") if path.is_dir() and "_gt" not in path.name
    )
    (script,) = sorted(folder.glob("Test/*.m"))[:1]
    ranges = _UCSD_SPAN.findall(_text(script))
    if len(ranges) != len(tests):
        raise DataError(f"{script} has ranges for {len(ranges)} clips, there are {len(tests)}.")
    try:
        spans = [list(_ucsd_spans(said)) for said in ranges]
    except ValueError as error:
        raise DataError(f"{script} has a range that is none: {error}.") from error
    clips = [_spanned(path, own) for path, own in zip(tests, spans, strict=True)]
    training = sorted(path for path in folder.glob("Train/Train[0-9]*") if path.is_dir())
    return VideoDataset(tuple(training), tuple(clips))


def _ucsd_spans(said: str) -> Iterator[tuple[int, int]]:
    for part in re.split(r"[,;\s]+", said.strip()):
        if part:
            first, _, last = part.partition(":")
            yield int(first) - 1, int(last or first) - 1


def _read_avenue(folder: Path) -> VideoDataset:
    """CUHK Avenue: one MATLAB file of masks a test clip."""
    from scipy.io import loadmat

    masks = next(
        folder / place
        for place in ("testing_label_mask", "ground_truth_demo/testing_label_mask")
        if (folder / place).is_dir()
    )
    clips = []
    for path in _clips(folder / "testing_videos"):
        table = masks / f"{path.stem.lstrip('0')}_label.mat"
        try:
            frames = loadmat(table)["volLabel"].ravel()
        except Exception as error:  # scipy raises anything for damaged files
            raise DataError(f"{table} is no table of Avenue: {error!r}.") from error
        clips.append(LabelledClip(path.stem, path, np.array([bool(np.any(mask)) for mask in frames]), None))
    return VideoDataset(tuple(_clips(folder / "training_videos")), tuple(clips))


def _read_shanghai(folder: Path) -> VideoDataset:
    """ShanghaiTech Campus: one NumPy file of labels a test clip."""
    clips = []
    for path in folders_in(folder / "testing" / "frames"):
        table = folder / "testing" / "test_frame_mask" / f"{path.name}.npy"
        try:
            labels = np.load(table, allow_pickle=False).astype(np.bool_).ravel()
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{table} is no file of labels: {error}.") from error
        clips.append(LabelledClip(path.name, path, labels, None))
    return VideoDataset(tuple(_clips(folder / "training" / "videos")), tuple(clips))


def _read_ubnormal(folder: Path) -> VideoDataset:
    """UBnormal: lists of names, and tracks (number, first, last frame) beside the abnormal clips."""
    known = _by_stem(folder)

    def listed(kind: str, part: str) -> list[str]:
        name = f"{kind}_{part}_video_names.txt"
        table = next(path for path in (folder / name, folder / "scripts" / name) if path.is_file())
        return [name for name in _text(table).split() if name in known]

    clips = [_spanned(known[name], []) for name in listed("normal", "test")]
    for name in listed("abnormal", "test"):
        path = known[name]
        table = path.with_name(f"{name}_annotations") / f"{name}_tracks.txt"
        rows = [line.split(",") for line in _text(table).splitlines() if line.strip()]
        clips.append(_spanned(path, [_span(table, row[1:3]) for row in rows]))
    return VideoDataset(tuple(known[name] for name in listed("normal", "training")), tuple(clips))


_UCF_TABLES = ("Temporal_Anomaly_Annotation_for_Testing_Videos.txt", "Temporal_Anomaly_Annotation.txt")


def _read_ucf(folder: Path) -> VideoDataset:
    """UCF-Crime: a line a test clip, "name class first last first last", −1 where there is no event."""
    known = _by_stem(folder)
    table = next(folder / name for name in _UCF_TABLES if (folder / name).is_file())
    rows = [line.split() for line in _text(table).splitlines() if line.strip()]
    clips = _named_clips(known, table, {Path(row[0]).stem: row[2:] for row in rows})
    tested = {clip.name for clip in clips}
    normal = (path for name, path in known.items() if name.startswith("Normal") and name not in tested)
    return VideoDataset(tuple(normal), clips)


def _read_xd(folder: Path) -> VideoDataset:
    """XD-Violence: a line a violent test clip, "name first last …"; "label_A" in a name is normal."""
    known = _by_stem(folder)
    table = folder / "annotations.txt"
    rows = [line.split() for line in _text(table).splitlines() if line.strip()]
    spans = {row[0].removesuffix(".mp4"): row[1:] for row in rows}
    tests = {path.stem for path in known.values() if "test" in _parents(path, folder)}
    normal: dict[str, list[str]] = {name: [] for name in tests if name.endswith("label_A")}
    clips = _named_clips(known, table, {**normal, **spans})
    training = (path for name, path in known.items() if name.endswith("label_A") and name not in tests)
    return VideoDataset(tuple(training), clips)


def _read_msad(folder: Path) -> VideoDataset:
    """MSAD: a table with the first and the last anomalous frame of each abnormal clip."""
    known = _by_stem(folder)
    table = folder / "anomaly_annotation.csv"
    first, last = "starting frame of anomaly", "ending frame of anomaly"
    rows = list(csv.DictReader(_text(table).splitlines()))
    if not rows or not {"name", first, last} <= rows[0].keys():
        raise DataError(f"{table} needs the columns name, {first} and {last}.")
    spans: dict[str, list[str]] = {Path(row["name"]).stem: [row[first], row[last]] for row in rows}
    others = [name for name in known if name not in spans]
    tests: dict[str, list[str]] = {name: [] for name in others if "test" in _parents(known[name], folder)}
    clips = _named_clips(known, table, {**tests, **spans})
    return VideoDataset(tuple(known[name] for name in others if name not in tests), clips)


def _parents(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parent.as_posix().casefold()


def _named_clips(
    known: Mapping[str, Path], table: Path, spans: Mapping[str, Sequence[str]]
) -> tuple[LabelledClip, ...]:
    """The test clips of a table that are there, each with its spans; pairs of −1 are none."""
    clips = []
    for name, numbers in sorted(spans.items()):
        if name in known:
            pairs = [_span(table, numbers[at : at + 2]) for at in range(0, len(numbers), 2)]
            clips.append(_spanned(known[name], [pair for pair in pairs if pair[0] >= 0]))
    if not clips:
        raise DataError(f"None of the {len(spans)} test clips of {table} is there.")
    return tuple(clips)


def _span(table: Path, numbers: Sequence[str]) -> tuple[int, int]:
    try:
        first, last = (int(float(number)) for number in numbers)
    except (ValueError, TypeError, OverflowError) as error:  # a cell may be missing, or no finite number
        raise DataError(
            f"{table} has {' '.join(map(str, numbers))!r} in place of a first and a last frame."
        ) from error
    return first, last


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read: {error}.") from error


def _lists(part: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            f"{kind}_{part}_video_names.txt|scripts/{kind}_{part}_video_names.txt",
            f"{kind}_{part}_video_names.txt",
        )
        for kind in ("normal", "abnormal")
    )


PLAIN_FOOTAGE = Layout(
    "training/, testing/ and labels.csv",
    (("training", "training/"), ("testing", "testing/"), ("labels.csv", "labels.csv (clip,frame,label)")),
    read_video_dataset,
)
UCSD = Layout(
    "UCSD Ped1 or Ped2",
    (
        ("Train/Train[0-9]*", "Train/Train<n>/"),
        ("Test/Test[0-9]*", "Test/Test<n>/"),
        ("Test/*.m", "Test/<set>.m"),
    ),
    _read_ucsd,
)
AVENUE = Layout(
    "CUHK Avenue",
    (
        ("training_videos", "training_videos/"),
        ("testing_videos", "testing_videos/"),
        (
            "testing_label_mask|ground_truth_demo/testing_label_mask",
            "ground_truth_demo/testing_label_mask/",
        ),
    ),
    _read_avenue,
)
SHANGHAI = Layout(
    "ShanghaiTech Campus",
    (
        ("training/videos", "training/videos/"),
        ("testing/frames", "testing/frames/"),
        ("testing/test_frame_mask", "testing/test_frame_mask/"),
    ),
    _read_shanghai,
)
UBNORMAL = Layout(
    "UBnormal",
    (("Scene*/*.mp4", "Scene<n>/<clip>.mp4"), *_lists("test"), *_lists("training")),
    _read_ubnormal,
)
UCF_CRIME = Layout(
    "UCF-Crime",
    (("|".join(_UCF_TABLES), _UCF_TABLES[0]), ("*/*.mp4|*/*/*.mp4", "<part>/<class>/<clip>.mp4")),
    _read_ucf,
)
XD_VIOLENCE = Layout(
    "XD-Violence",
    (("annotations.txt", "annotations.txt"), ("*/*label_*", "<part>/<clip>_label_<class>.mp4")),
    _read_xd,
)
MSAD = Layout(
    "MSAD",
    (("anomaly_annotation.csv", "anomaly_annotation.csv"), ("*/*.mp4|*/*/*.mp4", "<part>/<clip>.mp4")),
    _read_msad,
)

VIDEO_LAYOUTS: tuple[Layout[VideoDataset], ...] = (
    UCSD,
    AVENUE,
    SHANGHAI,
    UBNORMAL,
    UCF_CRIME,
    XD_VIOLENCE,
    MSAD,
    PLAIN_FOOTAGE,
)
"""Known layouts; the first of which a folder has all lines is taken."""
