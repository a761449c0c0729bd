"""A miniature of MMAD's layout: two data sets, one product each, tiles with and without a hole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.pictures import holed, tile, write

HOLE = {"A": "Lower right", "B": "Upper left", "C": "Lower left", "D": "Upper right"}


def question(kind: str, text: str, options: dict[str, str], answer: str) -> dict[str, Any]:
    """A question as ``mmad.json`` has it."""
    return {"Question": text, "Answer": answer, "Options": options, "type": kind, "annotation": True}


def conversation(*, defective: bool) -> list[dict[str, Any]]:
    """Whether and where, and what the object is."""
    yes_no = {"A": "Yes", "B": "No"}
    asked = [
        question(
            "Anomaly Detection", "Is there any defect in the object?", yes_no, "A" if defective else "B"
        ),
        question("Object Structure", "What is the object?", {"A": "A tile", "B": "A bottle"}, "A"),
    ]
    if defective:
        asked.insert(1, question("Defect Localization", "Where is the defect?", HOLE, "B"))
    return asked


def entry(template: str, *, defective: bool, mask: str | None = None) -> dict[str, Any]:
    """One picture of ``mmad.json``."""
    return {
        "image_path": "image/x.png",
        "mask_path": mask,
        "similar_templates": [template],
        "random_templates": [template],
        "conversation": conversation(defective=defective),
    }


def write_mmad(root: Path) -> dict[str, Any]:
    """Write the miniature and return the content of its ``mmad.json``."""
    content: dict[str, Any] = {}
    for dataset, train in (("DS-MVTec/tile", "MVTec-AD/tile/train"), ("VisA/pcb1", "VisA/pcb1/train")):
        template = f"{train}/good/000.png"
        write(root / template, tile(1))
        folder = f"{dataset}/image" if dataset.startswith("DS") else f"{dataset}/test"
        for number in range(2):
            write(root / folder / "good" / f"{number:03d}.png", tile(1))
            content[f"{folder}/good/{number:03d}.png"] = entry(template, defective=False)
            picture = tile(1)
            hole = holed(1) != tile(1)
            picture[hole] = 5
            write(root / folder / "hole" / f"{number:03d}.png", picture)
            mask = f"masks/{number:03d}.png"
            write(root / dataset / mask, hole[..., 0].astype(np.uint8) * 255)
            content[f"{folder}/hole/{number:03d}.png"] = entry(template, defective=True, mask=mask)
    save(root, content)
    knowledge = {"MVTec": {"tile": {"good": "Brushed grey."}}, "VisA": {"pcb1": {"good": "Flat."}}}
    (root / "domain_knowledge.json").write_text(json.dumps(knowledge))
    return content


def save(root: Path, content: dict[str, Any]) -> None:
    """Write ``mmad.json``."""
    (root / "mmad.json").write_text(json.dumps(content))
