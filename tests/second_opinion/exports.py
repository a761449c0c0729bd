"""A small export after the form that Frigate documents, with clips of the made-up street."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.street import make_film, walker
from tests.street_files import write_film

START = 1_767_225_600.5
RUNNER, WALKER, STILL, GONE = (
    f"{START + 100 * n}-{name}" for n, name in enumerate(("abc", "def", "ghi", "jkl"))
)


def event(id: str, **more: Any) -> dict[str, Any]:
    """An event as ``/api/events`` gives it."""
    start = float(id.partition("-")[0])
    data = {
        "box": [0.3, 0.3, 0.4, 0.6],
        "region": [0.2, 0.2, 0.6, 0.8],
        "score": 0.81,
        "top_score": 0.9,
        "attributes": [],
        "type": "object",
        "max_severity": "alert",
        "path_data": [],
    }
    data |= {"description": more.pop("description")} if "description" in more else {}
    return {
        "id": id,
        "label": "person",
        "sub_label": None,
        "camera": "front",
        "start_time": start,
        "end_time": start + 5,
        "false_positive": False,
        "zones": [],
        "thumbnail": "",
        "has_clip": True,
        "has_snapshot": True,
        "retain_indefinitely": False,
        "plus_id": None,
        "model_hash": None,
        "detector_type": None,
        "model_type": None,
        "data": data,
    } | more


EVENTS = [
    event(
        RUNNER,
        description="A person enters the frame from the left. A man moves from right to left! "
        "He wears a red jacket and plans to deliver a parcel. Nothing unusual happens.",
        zones=["lawn", "porch"],
        sub_label="Joe",
    ),
    event(WALKER, description="The person walks to the right at an unusually fast pace."),
    event(STILL),
    event(GONE, description="A person walks from left to right."),
]
REVIEW = {
    "id": f"{START}-zzz",
    "camera": "front",
    "start_time": "2026-01-01T00:00:00.500000+00:00",
    "end_time": "2026-01-01T00:00:06+00:00",
    "has_been_reviewed": False,
    "severity": "alert",
    "thumb_path": "",
    "data": {
        "detections": [RUNNER],
        "objects": ["person-verified"],
        "sub_labels": [],
        "zones": [],
        "audio": [],
        "metadata": {
            "title": "Person running",
            "scene": "A person moves from left to right.",
            "shortSummary": "Someone passes. It is calm.",
            "confidence": 0.8,
            "other_concerns": [],
            "potential_threat_level": 0,
        },
    },
}


def write_export(folder: Path) -> Path:
    """Events, a review, and clips: one of a runner, one of a walker to the left, one that is no video."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.json").write_text(json.dumps(EVENTS))
    (folder / "review.json").write_text(json.dumps([REVIEW]))
    write_film(folder / f"front-{RUNNER}.mp4", make_film(8, walker(3.0, 60.0, speed=4.0), people=42))
    write_film(folder / f"front-{WALKER}.mp4", make_film(9, walker(1.0, 92.0, left=True)))
    (folder / f"front-{STILL}.mp4").write_text("no video")
    return folder
