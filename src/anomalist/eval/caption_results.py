"""The figures of captioned clips, and how people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from anomalist.eval.metrics import Interval
from anomalist.types import Frozen

if TYPE_CHECKING:
    from rich.console import RenderableType


class Aurocs(Frozen):
    """Frame AUROCs over the frames of several clips joined; None where undefined or not measured."""

    base: float | None = Field(description="AnomalyRuler-base with the keywords of the rules file")
    rules_causal: float | None
    rules_offline: float | None
    scenes_causal: float | None = Field(description="of the scene memory; None where there is none")
    scenes_offline: float | None
    fused_causal: float | None = Field(description="what the product takes by default")
    fused_offline: float | None
    supervised_words: float | None = Field(
        description="ceiling: bag of words that learned from the labels of all other clips, smoothed offline"
    )
    word_count: float | None = Field(description="shortcut: the number of words, or its opposite if better")
    position: float | None = Field(description="shortcut: the relative position in the clip alone")


class EventAuroc(Frozen):
    """An event that is given only by its name, in words, over the clips that are labelled for it."""

    item: str
    clips: int
    frames: int
    offline: float | None
    causal: float | None


class CaptionsResult(Aurocs):
    """The figures of one set of captioned clips; raw scores, no rescaling by clip."""

    data: str
    clips: int
    frames: int
    anomalous_frames: int
    captions: int = Field(description="different ones")
    even: Aurocs = Field(description="on the clips with even numbers: nothing was chosen on these")
    fused_offline_interval: Interval | None = Field(description="95 %, bootstrap over clips")
    fused_causal_interval: Interval | None = Field(description="95 %, bootstrap over clips")
    events: dict[str, EventAuroc]
    rules: int = Field(description="anomalous rules that were used")
    normal_rules: int
    keywords: int = Field(description="of the base")


def render(result: CaptionsResult) -> RenderableType:
    """The figures as tables."""
    from rich.console import Group
    from rich.table import Table

    main = Table("frame AUROC", "all clips", "even clips", title=f"{result.data}: {result.clips} clips")
    for name in Aurocs.model_fields:
        main.add_row(
            name.replace("_", " "), _shown(getattr(result, name)), _shown(getattr(result.even, name))
        )
    events = Table("event, by its name", "clips", "frames", "offline", "causal")
    for event in result.events.values():
        numbers = str(event.clips), str(event.frames), _shown(event.offline), _shown(event.causal)
        events.add_row(event.item, *numbers)
    return Group(main, events) if result.events else main


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
