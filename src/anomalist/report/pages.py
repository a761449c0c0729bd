"""What the HTML pages share: how templates are loaded, and claims whose ids are links."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomalist.report import wording
from anomalist.types import Claim

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class LinkedClaim:
    """A sentence cut at the ids in it: (text, anchor or None); then the ids that it cites without naming."""

    pieces: tuple[tuple[str, str | None], ...]
    cited: tuple[tuple[str, str | None], ...]
    by_model: bool


def page_environment() -> Environment:
    """Make what loads templates: an undefined name in one is an error, and everything is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("anomalist.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["w"] = wording
    environment.filters["number"] = wording.number
    environment.filters["percent"] = wording.percent
    environment.filters["printable"] = wording.printable
    return environment


def linked(claim: Claim, links: Mapping[str, str]) -> LinkedClaim:
    """Make links of the ids in a sentence; "score" is also a plain word and stays one.

    ``links`` says to which anchor each id leads.
    """
    ids = [id_ for id_ in claim.evidence if id_ != "score"]
    pattern = "|".join(rf"(?<!\w){re.escape(id_)}(?!\w)" for id_ in sorted(ids, key=len, reverse=True))
    pieces = re.split(f"({pattern})", claim.text) if ids else [claim.text]
    named = set(pieces[1::2])
    return LinkedClaim(
        pieces=tuple((piece, links.get(piece) if i % 2 else None) for i, piece in enumerate(pieces)),
        cited=tuple((id_, links.get(id_)) for id_ in claim.evidence if id_ not in named),
        by_model=claim.source == "model",
    )
