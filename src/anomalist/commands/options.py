"""Options that several commands have in common, and the exit codes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

FAIL_ON, NOT_JUDGED, INTERRUPTED = 1, 3, 130


class Effort(StrEnum):
    """How long learning may take."""

    fast = "fast"
    normal = "normal"
    thorough = "thorough"


ProfileOption = Annotated[str, typer.Option("--profile", help="A name, or a folder (with a slash).")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout instead of a table.")]
RateOption = Annotated[
    float | None,
    typer.Option(help="Share of normal pictures that may be called anomalous; 0.05 when not asked."),
]
EffortOption = Annotated[Effort, typer.Option(help="fast: no training; thorough: several times normal.")]
