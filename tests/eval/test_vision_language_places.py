"""Replies about a place: readable at once or not, and naming what is there, and that alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalist.agent.models.selection import open_model
from anomalist.eval.vision_language_places import MarkedPlace, judge_places, synthetic_places
from anomalist.prompts.schemas import Description, Judgement, Statement

DESCRIBED = Description(scene="A surface.", observations=(), text_seen=()).model_dump_json()


@pytest.fixture(scope="module")
def place() -> MarkedPlace:
    return next(place for place in synthetic_places(20, 3) if place.facts.kind == "crack")


def _said(kind: str) -> str:
    claim = Statement(text=f"R1 shows a {kind}, which the normal patch does not show.", evidence=("R1",))
    return Judgement(
        claims=(claim,),
        label="anomalous",
        kind="line",
        severity_step="same",
        severity_reason="",
        severity_evidence=(),
    ).model_dump_json()


@pytest.mark.parametrize(
    ("replies", "readable", "named"),
    [
        ((DESCRIBED, _said("crack")), 1.0, 1.0),
        ((DESCRIBED, _said("hole")), 1.0, 0.0),
        ((DESCRIBED, _said("crack").replace("shows a crack", "shows a crack and a hole")), 1.0, 0.0),
        ((DESCRIBED, "well, a crack", _said("crack")), 0.0, 1.0),
        ((DESCRIBED, "a crack", "a crack", "a crack"), 0.0, 0.0),
    ],
)
def test_what_is_written_of_a_place_is_read_and_held_against_it(
    place: MarkedPlace, tmp_path: Path, replies: tuple[str, ...], readable: float, named: float
) -> None:
    script = tmp_path / "replies.jsonl"
    script.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in replies))
    done: list[int] = []

    written = judge_places(open_model(f"scripted:{script}"), "scripted", [place], done.append)

    assert (written.readable, written.named) == (readable, named)
    assert done == [1]


def test_of_no_place_nothing_is_known(tmp_path: Path) -> None:
    script = tmp_path / "replies.jsonl"
    script.write_text(json.dumps({"reply": "nothing"}) + "\n")

    written = judge_places(open_model(f"scripted:{script}"), "scripted", [], lambda done: None)

    assert (written.readable, written.named) == (None, None)
