"""What ships, as plain files in ``data/``: general anomalies, and what is usual nearly everywhere."""

from __future__ import annotations

import csv
import io
from functools import cache
from importlib.resources import files

from anomalist.memory.rules.rule import Rule


@cache
def shipped_anomalies() -> tuple[Rule, ...]:
    """The general anomaly rules, with ids ``rule:shipped-1`` and so on, in the order of ``anomalies.csv``."""
    rows = csv.DictReader(io.StringIO(_text("anomalies.csv")))
    return tuple(
        Rule.model_validate(
            {
                "id": f"rule:shipped-{number}",
                "text": row["text"],
                "polarity": "anomalous",
                "kind": row["kind"],
                "keywords": tuple(filter(None, row["keywords"].split(";"))),
                "severity": int(row["severity"]),
                "origin": "shipped",
            }
        )
        for number, row in enumerate(rows, start=1)
    )


@cache
def usual_clauses() -> tuple[str, ...]:
    """Clauses that are ordinary nearly everywhere, from ``usual.txt``."""
    lines = (line.strip() for line in _text("usual.txt").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _text(name: str) -> str:
    return files("anomalist.memory").joinpath("data", name).read_text(encoding="utf-8")
