"""Grading of answers: by the data set's labels, or, where there are none, by the record.

An answer is not graded (None) where the detector was wrong, so that no answer could be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.agent.asking.draft import parse_numbers
from anomalist.agent.tools.decision import change_false_alarm_rate
from anomalist.agent.tools.subject import Subject
from anomalist.eval.image_datasets import match_boxes, read_pairs
from anomalist.eval.question_answering_set import AskedSubject, AskingQuestion, Check
from anomalist.types.common import SEVERITIES, Answer, Box, Label
from anomalist.vision.attributes import POSITIONS
from anomalist.vision.media.masks import MaskFolder, load_mask

BOX_MARGIN = 5
"""Pixels by which regions of boards are widened before matching, because labelled boxes are generous."""

MIN_OVERLAP = 0.1
"""Share of a region's box that must be labelled defective for its place to be right."""


@dataclass(frozen=True)
class GroundTruth:
    """Labels of one subject, and whether the detector agrees with them.

    Parameters
    ----------
    label : normal or anomalous; None for a batch.
    kinds : of its defects.
    boxes : of its defects, in pixels.
    cells : cells of the 3×3 grid with a defect.
    area : pixels of the mask, where there is one.
    intervals : (start, end) in seconds, labelled anomalous, of a clip.
    found : whether the label is right and, for a defect, the first region lies on it.
    counted : whether regions and labelled boxes match one to one.
    named : whether the first region has the labelled kind.
    sized : whether the marked area is within a factor of three of the labelled one.
    """

    label: Label | None = None
    kinds: frozenset[str] = frozenset()
    boxes: tuple[Box, ...] = ()
    cells: frozenset[str] = frozenset()
    area: int | None = None
    intervals: tuple[tuple[float, float], ...] = ()
    found: bool = True
    counted: bool = False
    named: bool = False
    sized: bool = False


def read_ground_truth(data: Path, asked: AskedSubject, subject: Subject) -> GroundTruth:
    """Read the labels of a subject and compare the detector's result with them."""
    if asked.kind == "tile":
        return _tile_truth(data, asked, subject)
    if asked.kind == "board":
        return _board_truth(data, asked, subject)
    return _clip_truth(data, asked, subject) if asked.kind == "clip" else GroundTruth()


def _tile_truth(data: Path, asked: AskedSubject, subject: Subject) -> GroundTruth:
    record = subject.picture()
    path = Path(asked.path)
    kind = path.parent.name
    if kind == "good":
        return GroundTruth(label="normal", found=record.label == "normal")
    file = MaskFolder(data / "mtd").find(kind, path)
    size = record.height or 1, record.width or 1
    mask = np.zeros(size, np.bool_) if file is None else load_mask(file, size)
    first = record.regions[0] if record.regions else None
    x0, y0, x1, y1 = first.box if first else (0, 0, 0, 0)
    hit = first is not None and float(mask[y0:y1, x0:x1].mean()) >= MIN_OVERLAP
    marked = sum(region.area for region in record.regions)
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    cells = {
        POSITIONS[3 * y // height][3 * x // width] for y, x in zip(ys.tolist(), xs.tolist(), strict=True)
    }
    return GroundTruth(
        label="anomalous",
        kinds=frozenset({kind}),
        cells=frozenset(cells),
        area=int(mask.sum()),
        found=record.label == "anomalous" and hit,
        named=hit and first is not None and first.known is not None and first.known.name == kind,
        sized=hit and bool(mask.any()) and 1 / 3 <= marked / int(mask.sum()) <= 3,
    )


def _board_truth(data: Path, asked: AskedSubject, subject: Subject) -> GroundTruth:
    name = Path(asked.path).name.removesuffix("_test.jpg")
    (pair,) = [pair for pair in read_pairs(data / "deeppcb") if pair.name == name]
    record = subject.picture()
    hits = dict(match_boxes([region.box for region in record.regions], pair.boxes, BOX_MARGIN))
    height, width = record.height or 1, record.width or 1
    kinds = {pair.kinds[j] for i, j in hits.items() if i == 0}
    known = record.regions[0].known if record.regions else None
    return GroundTruth(
        label="anomalous",
        kinds=frozenset(pair.kinds),
        boxes=pair.boxes,
        cells=frozenset(_grid_cells(pair.boxes, (height, width))),
        found=record.label == "anomalous" and 0 in hits,
        counted=len(hits) == len(pair.boxes) == len(record.regions),
        named=known is not None and known.name in kinds,
    )


def _clip_truth(data: Path, asked: AskedSubject, subject: Subject) -> GroundTruth:
    from anomalist.eval.clip_datasets import read_video_dataset

    name = Path(asked.path).stem
    (clip,) = [clip for clip in read_video_dataset(data / "ped2").testing if clip.name == name]
    record = subject.clip()
    rate = len(clip.labels) / record.duration if record.duration else 10.0
    intervals = tuple((first / rate, (last + 1) / rate) for first, last in clip.events)
    label: Label = "anomalous" if clip.labels.any() else "normal"
    overlap = all(
        any(event.start < stop and event.end > start for start, stop in intervals) for event in record.events
    )
    return GroundTruth(label=label, intervals=intervals, found=record.label == label and overlap)


def _grid_cells(boxes: tuple[Box, ...], size: tuple[int, int]) -> set[str]:
    """Cells of the 3×3 grid that boxes overlap."""
    height, width = size
    return {
        POSITIONS[min(2, 3 * y // height)][min(2, 3 * x // width)]
        for x0, y0, x1, y1 in boxes
        for y in (y0, (y0 + y1) // 2, y1 - 1)
        for x in (x0, (x0 + x1) // 2, x1 - 1)
    }


BY_LABELS: frozenset[Check] = frozenset(
    {"label", "place", "kind", "count", "size", "change", "events", "when"}
)
"""Checks by labels of the data set; the others are by the record."""

_POSITION_WORDS = sorted((word for row in POSITIONS for word in row), key=len, reverse=True)


def grade_answer(
    question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject
) -> bool | None:
    """Whether the answer is right; None where the detector is wrong, so that no answer could be."""
    if question.check == "unanswered":
        return not reply.answered and reply.helps is not None
    if not reply.answered:
        return None if question.check in BY_LABELS and not truth.found else False
    return _GRADERS[question.check](question, reply, truth, subject)


def labels_stated(reply: Answer) -> set[str]:
    """The labels that an answer states."""
    return set(re.findall(r"\bis (normal|anomalous|undecided)\b", reply.text))


def _grade_label(
    question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject
) -> bool | None:
    if subject.records and subject.picture().label != truth.label:
        return None
    return reply.verdict == truth.label and labels_stated(reply) == {truth.label}


def _grade_place(
    question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject
) -> bool | None:
    if not truth.found:
        return None
    first = next((claim.text for claim in reply.claims if "R1" in claim.evidence), "")
    return next((word for word in _POSITION_WORDS if word in first), None) in truth.cells


def _grade_kind(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool | None:
    if not (truth.found and truth.named):
        return None
    return any(kind in reply.text for kind in truth.kinds)


def _grade_count(
    question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject
) -> bool | None:
    if not truth.counted:
        return None
    return bool(reply.claims) and parse_numbers(reply.claims[0].text)[:1] == [float(len(truth.boxes))]


def _grade_size(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool | None:
    if not truth.found:
        return None
    region = subject.picture().regions[0]
    record = subject.picture()
    x0, y0, x1, y1 = region.box
    if "edge" in question.text or "border" in question.text:
        gaps = (x0, y0, (record.width or 0) - x1, (record.height or 0) - y1)
        return any(float(gap) in parse_numbers(reply.text) for gap in gaps)
    return {float(x1 - x0), float(y1 - y0), float(region.area)} <= set(parse_numbers(reply.text))


def _grade_change(
    question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject
) -> bool | None:
    if not truth.found:
        return None
    cited = {id for claim in reply.claims for id in claim.evidence}
    return {region.id for region in subject.picture().regions} <= cited


def _grade_events(
    question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject
) -> bool | None:
    if not truth.found:
        return None
    cited = {id for claim in reply.claims for id in claim.evidence}
    return reply.verdict == truth.label and all(event.id in cited for event in subject.clip().events)


def _grade_when(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool | None:
    if not truth.found or not truth.intervals:
        return None
    start, end = parse_numbers(reply.claims[0].text)[:2]
    return any(start < stop and end > begin for begin, stop in truth.intervals)


def _grade_record(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    return bool(reply.claims)


def _grade_severity(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    level = subject.picture().severity
    return level is not None and SEVERITIES[level] in reply.text


def _grade_confidence(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    record = subject.picture()
    stated = parse_numbers(reply.text)
    value = record.p_value if record.p_value is not None else record.score
    return value is not None and any(abs(value - each) <= 0.01 * max(abs(value), 0.05) for each in stated)


def _grade_history(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    cited = {id for claim in reply.claims for id in claim.evidence}
    return any(id.startswith("case:") for id in cited) or "No past case" in reply.text


def _grade_action(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    passes = "speaks against passing" in reply.text
    return passes == (subject.picture().label == "normal")


def _grade_rate(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    (one,) = change_false_alarm_rate(subject, float(question.expects)).pictures
    return one.after in reply.claims[0].text


def _grade_search(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    """Whether an answer names exactly the matching pictures."""
    worst = max(subject.records, key=lambda record: ((record.severity or 0), -(record.p_value or 1)))
    fits: Mapping[str, set[str]] = {
        "all": {record.source for record in subject.records},
        "worst": {worst.source},
        "critical": {record.source for record in subject.records if record.severity == 4},
    }
    wanted = fits.get(
        question.expects, {record.source for record in subject.records if record.label == question.expects}
    )
    names = {Path(source).name for source in wanted}
    listed = {
        Path(record.source).name for record in subject.records if Path(record.source).name in reply.text
    }
    return listed == names


def _grade_feedback(question: AskingQuestion, reply: Answer, truth: GroundTruth, subject: Subject) -> bool:
    return reply.claims[0].evidence[0].startswith("case:")


_GRADERS: Mapping[str, Callable[[AskingQuestion, Answer, GroundTruth, Subject], bool | None]] = {
    "label": _grade_label,
    "place": _grade_place,
    "kind": _grade_kind,
    "count": _grade_count,
    "size": _grade_size,
    "change": _grade_change,
    "events": _grade_events,
    "when": _grade_when,
    "record": _grade_record,
    "severity": _grade_severity,
    "confidence": _grade_confidence,
    "history": _grade_history,
    "action": _grade_action,
    "rate": _grade_rate,
    "search": _grade_search,
    "feedback": _grade_feedback,
}
