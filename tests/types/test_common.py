"""A record is nested by stage and is stored as one flat row; nothing is lost on the way."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from anomalist.types.clip import ClipEvidenceSummary, ClipMediaSummary, ClipRecord, ClipVerdict, Trouble
from anomalist.types.common import (
    Claim,
    DetectorInfo,
    MediaSummary,
    Opinion,
    PromptUsed,
    Recall,
    Recalled,
    StagedRecord,
    Verdict,
)
from anomalist.types.image import Calibration, EvidenceSummary, Record

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "tests" / "compat" / "runs-0.1.0.zip"

texts = st.text(max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
several = st.lists(texts, max_size=2).map(tuple)
labels = st.sampled_from(["normal", "anomalous", "undecided"])


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def few(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=2).map(tuple)


sizes = {"sha256": maybe(texts), "width": maybe(st.integers(1)), "height": maybe(st.integers(1))}
claims = st.builds(Claim, text=texts, evidence=st.lists(texts, min_size=1, max_size=2).map(tuple))
detectors = st.builds(DetectorInfo, name=texts, version=texts, digest=texts)
verdicts = st.builds(
    Verdict,
    label=labels,
    severity=st.integers(0, 4),
    kind=maybe(texts),
    claims=few(claims),
    reasoner=texts,
    disagreements=several,
    why_undecided=maybe(texts),
    dropped_claims=st.integers(0, 9),
    policy=maybe(texts),
    model=maybe(texts),
    opinions=few(st.builds(Opinion, by=texts, label=labels)),
    prompts=few(st.builds(PromptUsed, id=texts, sha256=texts)),
    replies=several,
    dropped=several,
)
calibrations = st.builds(
    Calibration, false_alarm_rate=st.just(0.05), instability=st.floats(0, 1), seed=st.integers()
)
records = st.builds(
    Record,
    media=st.builds(MediaSummary, source=texts, **sizes),
    status=st.sampled_from(["ok", "error"]),
    evidence=st.builds(
        EvidenceSummary,
        score=maybe(numbers),
        p_value=maybe(numbers),
        threshold=maybe(numbers),
        regions=st.just(()),
        detector=maybe(detectors),
        calibration=maybe(calibrations),
        basis=maybe(st.sampled_from(["normals", "itself", "folder", "reference"])),
        roi_area=maybe(st.integers(0)),
    ),
    recall=st.builds(
        Recall,
        items=few(st.builds(Recalled, id=st.just("case:1"), text=texts, similarity=numbers, source=texts)),
    ),
    verdict=maybe(verdicts),
    error=maybe(texts),
    notes=several,
    key=maybe(texts),
    map=maybe(texts),
    milliseconds=maybe(numbers),
)
clips = st.builds(
    ClipRecord,
    media=st.builds(ClipMediaSummary, source=texts, duration=maybe(numbers), **sizes),
    status=st.sampled_from(["ok", "error"]),
    evidence=st.builds(
        ClipEvidenceSummary,
        events=st.just(()),
        troubles=few(st.builds(Trouble, kind=st.just("black"), start=numbers, end=numbers)),
        frames=maybe(st.integers(0)),
        mode=st.sampled_from(["causal", "offline"]),
        threshold=maybe(numbers),
        calibration=st.none(),
        curve=few(st.tuples(numbers, maybe(numbers))),
        detector=maybe(detectors),
    ),
    verdict=maybe(st.builds(ClipVerdict, label=labels, why_undecided=maybe(texts))),
    scene=maybe(texts),
)


@given(records | clips)
def test_a_row_read_and_written_again_is_the_same_row(record: StagedRecord) -> None:
    row = json.loads(record.model_dump_json())
    again = type(record).model_validate(row)
    assert again == record
    assert json.loads(again.model_dump_json()) == row
    kind = type(record)
    assert list(row) == [key for key in kind.ROW if key in row]
    assert set(kind.ROW) - set(row) <= set(kind.ADDED_LATER)
    assert not any(isinstance(row.get(stage), dict) for stage in type(record).STAGES)


def without_news(row: Any, old: Any) -> Any:
    """A row without the keys that 0.1.0 did not have, which must be empty."""
    if isinstance(row, dict) and isinstance(old, dict):
        assert not any(row[key] for key in row.keys() - old.keys())
        return {key: without_news(value, old[key]) for key, value in row.items() if key in old}
    return row


def test_rows_of_0_1_0_are_written_as_they_were_but_for_what_is_new() -> None:
    rows = 0
    with zipfile.ZipFile(RUNS) as archive:
        for name, kind in (("run/records.jsonl", Record), ("watch/clips.jsonl", ClipRecord)):
            for line in archive.read(name).splitlines():
                old = json.loads(line)
                for record in (kind.model_validate(old), kind.model_validate_json(line)):
                    kept = without_news(json.loads(record.model_dump_json()), old)
                    assert list(kept.items()) == list(old.items())
                rows += 1
    assert rows >= 6


@pytest.mark.parametrize("kind", [Record, ClipRecord])
@pytest.mark.parametrize("key", ["evidence", "verdict", "colour"])
def test_a_key_that_no_row_has_is_refused(kind: type[StagedRecord], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        kind.model_validate({"source": "a.png", "status": "ok", key: None})


def test_what_was_not_reached_is_none_or_empty() -> None:
    failed = Record(source="a.png", status="error", error="gone")
    assert failed.verdict is None
    assert (failed.label, failed.severity, failed.claims, failed.score, failed.regions) == (
        None, None, (), None, (),
    )  # fmt: skip
    assert ClipRecord(source="a.mp4", status="error").events == ()


def test_keys_of_a_row_are_replaced_wherever_they_stand() -> None:
    record = Record(source="a.png", status="ok", label="normal", severity=0, reasoner="evidence")
    changed = record.replace(source="b.png", label="anomalous", severity=3, key="k", score=1.5)
    assert (changed.source, changed.label, changed.severity, changed.key, changed.score) == (
        "b.png", "anomalous", 3, "k", 1.5,
    )  # fmt: skip
    assert changed.reasoner == "evidence" and record.label == "normal"
    item = Recalled(id="case:1", text="a dent", similarity=0.9)
    assert record.replace(recall=Recall(items=(item,))).recall.items == (item,)
    assert record.replace(recall=[item]).recall.items == (item,)


@pytest.mark.parametrize("changes", [{"severity": 9}, {"label": "fine"}, {"colour": "red"}, {"regions": 1}])
def test_what_is_replaced_is_validated(changes: dict[str, Any]) -> None:
    record = Record(source="a.png", status="ok", label="normal", severity=0, reasoner="evidence")
    with pytest.raises(ValidationError):
        record.replace(**changes)


def test_a_frozen_model_is_validated_when_a_field_is_replaced() -> None:
    claim = Claim(text="A dent.", evidence=("R1",))
    assert claim.replace(text="A scratch.") == Claim(text="A scratch.", evidence=("R1",))
    with pytest.raises(ValidationError):
        claim.replace(evidence=())


def test_nothing_is_copied_past_its_validation() -> None:
    sources = (ROOT / "src").rglob("*.py")
    assert [path.name for path in sources if "model_copy(" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("status", "label", "judged"),
    [
        ("ok", "normal", True),
        ("ok", "undecided", True),
        ("ok", None, False),
        ("error", None, False),
        ("error", "normal", False),
    ],
)
def test_what_failed_or_has_no_label_was_not_judged(status: str, label: str | None, judged: bool) -> None:
    row = {"source": "a", "status": status, "label": label}
    assert [kind.model_validate(row).judged for kind in (Record, ClipRecord)] == [judged, judged]
