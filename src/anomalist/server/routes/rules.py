"""Rules of profiles and scenes, remembered scenes, and past feedback."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from anomalist.audit.recording import record_rules
from anomalist.memory.cases import Case, acting_as, list_cases
from anomalist.memory.rules.editing import (
    RuleProposal,
    propose_new_rule,
    propose_rule_change,
    validate_rule,
)
from anomalist.memory.rules.impact import Contradiction, RuleImpact
from anomalist.memory.rules.rule import Rule, RuleVersion
from anomalist.memory.rules.store import RuleStore, current_rules
from anomalist.memory.scenes.memory import existing_memory_path, memory_path
from anomalist.memory.scenes.scene import RememberedScene, new_scene, shipped_scenes
from anomalist.memory.scenes.store import SceneStore, filter_scenes, search_shipped
from anomalist.server.access import MayView, MayWork, ServicesOf
from anomalist.server.problems import RequestError
from anomalist.server.routes.pictures import RunName
from anomalist.server.routes.scenes import LearnedName
from anomalist.server.talks import run_folder
from anomalist.types.common import Frozen

router = APIRouter(tags=["rules and memory"])

RuleId = Annotated[str, Field(pattern=r"^(rule:)?(shipped-)?\d{1,9}$")]
MemoryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
Keyword = Annotated[str, Field(min_length=1, max_length=60)]


class RuleFields(Frozen):
    """What a rule says; of a change those fields that differ."""

    text: str | None = Field(None, min_length=1, max_length=400)
    polarity: Literal["normal", "anomalous"] | None = None
    kind: Literal["activity", "object", "place"] | None = None
    keywords: tuple[Keyword, ...] | None = Field(None, max_length=20)
    severity: int | None = Field(None, ge=0, le=4)
    enabled: bool | None = None
    note: str = Field("", max_length=2000)

    def changes(self, old: Rule) -> dict[str, Any]:
        """The fields of a rule that differ."""
        given = {name: value for name, value in dict(self).items() if value is not None}
        if "text" in given and given["text"] != old.text:
            # A rewritten text is no longer supported by captions; the version before keeps its support.
            given |= {"origin": "person", "support": None}
        return given


class RuleBody(RuleFields):
    """A new rule of a profile, or a change of the rule ``id``."""

    profile: LearnedName
    id: RuleId | None = None


class PreviewBody(RuleBody):
    """The same, and the runs on which it would have changed something."""

    runs: tuple[RunName, ...] = Field((), max_length=50)


class RulePreview(Frozen):
    """What a rule would mean, before it is saved."""

    rule: Rule
    contradictions: tuple[Contradiction, ...]
    sentences: tuple[str, ...]
    impact: RuleImpact | None = Field(description="None where no run is named")


class SimilarSceneRow(Frozen):
    """A remembered scene, and how well it fits a search."""

    scene: RememberedScene
    similarity: float | None


class SceneBody(Frozen):
    """A scene to be remembered."""

    side: Literal["normal", "anomalous"] = "anomalous"
    category: str = Field(min_length=1, max_length=80)
    text: str = Field(min_length=1, max_length=1000)


@router.get("/rules", summary="List rules")
def list_rules(
    _: MayView, profile: LearnedName, disabled: bool = True, text: Annotated[str, Query(max_length=200)] = ""
) -> list[Rule]:
    """Those of a profile or scene, the shipped ones included."""
    wanted = text.casefold()
    return [
        rule
        for rule in current_rules(profile)
        if (disabled or rule.enabled) and wanted in rule.text.casefold()
    ]


@router.get("/rules/{id}/versions", summary="The history of a rule")
def get_versions(_: MayView, id: RuleId) -> list[RuleVersion]:
    """Every version that it had, with who made it."""
    with RuleStore() as store:
        return list(store.history(id))


@router.post("/rules/preview", summary="What a rule would change")
def preview_rule(services: ServicesOf, _: MayWork, body: PreviewBody) -> RulePreview:
    """What it contradicts, and what would have changed on stored runs; nothing is saved."""
    proposal = _proposal(body)
    found = proposal.contradictions()
    folders = [run_folder(services.runs, run) for run in body.runs]
    return RulePreview(
        rule=proposal.rule,
        contradictions=found,
        sentences=tuple(each.sentence for each in found),
        impact=proposal.impact(folders) if folders else None,
    )


@router.post("/rules", summary="Save a rule")
def save_rule(caller: MayWork, body: RuleBody) -> Rule:
    """A new one, or a new version of one; nothing of what was is lost."""
    with acting_as(caller.name):
        proposal = _proposal(body)
        stored = proposal.save()
        record_rules(proposal.profile, [stored], proposal.what)
    return stored


def _proposal(body: RuleBody) -> RuleProposal:
    if body.id is not None:
        fields = RuleFields(**{name: getattr(body, name) for name in RuleFields.model_fields})
        return propose_rule_change(body.id, body.profile, fields.changes)
    if body.text is None:
        raise RequestError("What does the rule say?", "Give its text.")
    return propose_new_rule(
        body.profile,
        validate_rule(
            id="rule:new-1",
            text=body.text,
            polarity=body.polarity or "anomalous",
            kind=body.kind or "activity",
            keywords=body.keywords or (),
            severity=body.severity or 0,
            origin="person",
            note=body.note,
        ),
    )


@router.get("/memory/scenes", summary="List or search remembered scenes")
def list_memory(
    _: MayView,
    name: MemoryName | None = None,
    side: Literal["normal", "anomalous"] | None = None,
    category: Annotated[str | None, Query(max_length=80)] = None,
    text: Annotated[str, Query(max_length=1000)] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[SimilarSceneRow]:
    """Of a camera, or those that ship; with ``text`` the most similar first."""
    if name is None:
        if text.strip():
            near = search_shipped(text, limit, side=side, category=category)
            return [SimilarSceneRow(scene=each.scene, similarity=each.similarity) for each in near]
        found = filter_scenes(shipped_scenes(), side, category)[:limit]
        return [SimilarSceneRow(scene=scene, similarity=None) for scene in found]
    with SceneStore(existing_memory_path(name)) as store:
        if text.strip():
            near = store.search(text, limit, side=side, category=category)
            return [SimilarSceneRow(scene=each.scene, similarity=each.similarity) for each in near]
        stored = store.list(side=side, category=category, most=limit)
        return [SimilarSceneRow(scene=scene, similarity=None) for scene in stored]


@router.post("/memory/{name}/scenes", summary="Remember a scene")
def remember(caller: MayWork, name: MemoryName, body: SceneBody) -> list[RememberedScene]:
    """Of a camera; none where it was remembered already."""
    scene = new_scene(body.side, body.category, body.text, caller.name)
    with SceneStore(memory_path(name)) as store:
        return list(store.add([scene]))


@router.delete("/memory/{name}/scenes/{id}", summary="Forget a scene")
def forget(
    _: MayWork, name: MemoryName, id: Annotated[str, Field(pattern=r"^(scene:)?\d{1,9}$")]
) -> dict[str, int]:
    """Of a camera."""
    with SceneStore(existing_memory_path(name)) as store:
        return {"forgotten": store.delete([id])}


@router.get("/feedback", summary="List feedback")
def list_feedback(
    _: MayView,
    profile: LearnedName | None = None,
    undone: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Case]:
    """What people said about findings, the newest first."""
    return list(list_cases(profile=profile, undone=undone))[:limit]
