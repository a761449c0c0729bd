"""Clips without normal footage: ranked by themselves, undecided and said so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anomalist.cli.app import app
from anomalist.ranking import WHY_UNDECIDED, ClipRanking
from anomalist.report.wording import explain_event_rate
from tests.street import make_film, walker
from tests.street_files import write_film
from tests.vision.media.films import film as encoded


def test_a_clip_is_undecided_with_its_busiest_stretches() -> None:
    record = ClipRanking().clip(make_film(12, walker(5.0, 60.0, speed=4.0), people=42))
    assert record.label == "undecided"
    assert record.why_undecided == WHY_UNDECIDED
    assert record.scene is None
    assert record.calibration is None
    busiest = max(record.events, key=lambda event: event.score)
    assert 5 <= busiest.peak <= 8
    assert busiest.kind == "activity"
    assert "the most in this clip" in busiest.caption.text
    assert all(event.severity == 1 for event in record.events)
    assert "Nothing was learned" in explain_event_rate(busiest)


@pytest.mark.parametrize(
    ("frames", "grey", "why"),
    [(1, 90, "one frame"), (2, 90, "no motion"), (60, 0, "black")],
)
def test_a_clip_without_stretches_is_not_said_to_have_any(
    tmp_path: Path, frames: int, grey: int, why: str
) -> None:
    still = np.full((64, 96, 3), grey, np.uint8)
    record = ClipRanking().clip(encoded(tmp_path / "a.mp4", [still] * frames, rate=10))
    assert record.events == ()
    assert "are ranked" not in str(record.why_undecided)
    assert re.search(why, str(record.why_undecided))


@pytest.mark.parametrize("size", [(64, 1920), (480, 2), (16, 16)])
def test_a_clip_of_a_narrow_strip_or_of_tiny_frames_is_ranked(tmp_path: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    clip = encoded(tmp_path / "a.mp4", [np.roll(noise, 2 * step, axis=1) for step in range(20)], rate=10)
    record = ClipRanking().clip(clip)
    assert (record.status, record.label) == ("ok", "undecided")


def test_what_cant_be_read_is_a_record_with_an_error(tmp_path: Path) -> None:
    record = ClipRanking().clip(tmp_path / "missing.mp4")
    assert record.status == "error"
    assert record.label is None


def test_triage_without_a_profile_ranks_and_reports(tmp_path: Path) -> None:
    clip = write_film(tmp_path / "clips" / "a.mp4", make_film(8, walker(3.0, 60.0, speed=4.0), people=42))
    out = tmp_path / "report"
    result = CliRunner().invoke(app, ["triage", str(clip), "--out", str(out)])
    assert result.exit_code == 0
    assert "Uncalibrated" in (out / "triage.html").read_text(encoding="utf-8")


def test_what_needs_a_scene_is_refused_without_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["triage", str(tmp_path), "--follow"])
    assert result.exit_code != 0
