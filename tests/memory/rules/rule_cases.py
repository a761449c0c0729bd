"""Rules and captions for tests; the words of no data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalist.memory.rules.rule import CaptionFile, Rule, read_captions

HALL = (
    "A worker is standing at a machine. A forklift carries a pallet.",
    "Two workers are standing at a machine. A forklift carries pallets.",
    "A worker stands at the machine. Nobody is running.",
    "A worker is sorting parts. A forklift carries a pallet.",
)
"""Captions of a factory hall as it usually is."""


def rule(text: str, polarity: str = "anomalous", number: int = 1, **more: Any) -> Rule:
    """A rule of a person, unless said otherwise."""
    fields: dict[str, Any] = {
        "id": f"rule:{number}",
        "text": text,
        "polarity": polarity,
        "kind": "activity",
        "origin": "person",
    }
    return Rule(**{**fields, **more})


def hall(folder: Path, times: int = 10) -> CaptionFile:
    """The captions of the hall as a file, many times over."""
    path = folder / "normal.txt"
    path.write_text("\n".join(HALL * times), encoding="utf-8")
    return read_captions(path)
