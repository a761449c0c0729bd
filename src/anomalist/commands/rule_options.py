"""Options that the commands of ``anomalist rules`` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RulesProfile = Annotated[
    str, typer.Option("--profile", help="Whose rules: the name or folder of a profile or scene.")
]
RuleArgument = Annotated[str, typer.Argument(metavar="ID", help="As in rule:7, or shipped-7 of a profile.")]
RunsOption = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of triage or inspect: what would have changed there. Repeat it for more."),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Save without asking.")]


def profile_name(profile: str) -> str:
    """The name under which rules of a profile are kept: that of its folder, as records name it.

    Raises ProfileError for what can't be a name.
    """
    from anomalist.vision.profile import profile_path

    path = profile_path(profile)
    return path.name or path.resolve().name  # "." has none of its own
