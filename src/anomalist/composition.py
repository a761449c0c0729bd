"""The composition root: from settings to the parts that an `Inspector` or a `Triage` works with.

Which evidence source, memory, reasoner and policy belong together is decided here alone, so that the command
line and Python give the same verdict for the same settings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anomalist.agent.models.selection import (
    AUTO,
    EVIDENCE,
    MODEL_NAME_HELP,
    is_plugin,
    open_for_pictures,
    record_name,
    select_model,
)
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner, Reasoner
from anomalist.agent.reasoning.policy import Policy, load_policy
from anomalist.agent.reasoning.verdict import PluginReasoner
from anomalist.agent.reasoning.vlm_prompts import NO_GUIDANCE, Guidance
from anomalist.errors import DataError, ModelError
from anomalist.memory.recall import Memory, NoMemory
from anomalist.plugins import load_plugin
from anomalist.types.clip import Mode
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.evidence import (
    EvidenceSource,
    MeasuredPicture,
    MixedEvidence,
    NormalCrop,
    ProfileEvidence,
    validated_rate,
)
from anomalist.vision.profile import MixedProfile, Profile, load_any_profile

if TYPE_CHECKING:
    from anomalist.agent.reasoning.event_reasoner import EventAnnotator
    from anomalist.memory.recall import CaptionMemory
    from anomalist.vision.motion.scene import Scene, Zone
    from anomalist.vision.naming.looks import ObjectNamer

_log = logging.getLogger(__name__)

_BASIS_REMEDY = (
    "Give one of --profile (what `anomalist learn` wrote), --reference (one good picture) "
    "and --unlabelled (the pictures themselves)."
)


Measuring = Callable[[Iterable[str | Path]], Iterator[MeasuredPicture]]
"""Measures pictures as `EvidenceSource.measure` does."""

Measure = Callable[[EvidenceSource, Iterable[str | Path]], Iterator[MeasuredPicture]]
"""Measures pictures with a source, wherever that is done."""


@dataclass(frozen=True, eq=False)
class InspectionSettings:
    """What decides how pictures are inspected.

    Parameters
    ----------
    by : what they are compared with: name or folder of a profile, a loaded one, or another evidence source.
        None takes ``reference`` or ``unlabelled``, or else each picture by itself (zero-shot).
    reference : one good picture of the same thing.
    unlabelled : pictures that are scored against each other.
    false_alarm_rate : of a profile, between 0 and 1; None takes the default.
    policy : a policy or its TOML file; None takes the shipped one.
    model : as after ``--model``; "auto" takes that of ``ANOMALIST_MODEL`` where it is there.
    guidance : what the user says in words; only a language model understands it.
    reasoner : in place of the one by ``model``.
    memory : True recalls past cases and rules of the profile, False nothing; or another memory.
    listener : called with each chunk of a language model's replies as they are streamed.
    progress : called while ``unlabelled`` pictures are compared.
    workers : processes that measure where there are many pictures; no part of what a record is known by.
    measure : measures pictures with a source in place of all that, on a cluster, say.
    """

    by: str | Path | Profile | MixedProfile | EvidenceSource | None = None
    reference: str | Path | None = None
    unlabelled: Sequence[str | Path] = ()
    false_alarm_rate: float | None = None
    policy: Policy | str | Path | None = None
    model: str = AUTO
    guidance: Guidance = NO_GUIDANCE
    reasoner: Reasoner | None = None
    memory: Memory | bool = True
    listener: Callable[[str], None] | None = None
    progress: Progress = no_progress
    workers: int = 1
    measure: Measure | None = None


@dataclass(frozen=True, eq=False)
class InspectionParts:
    """What an `Inspector` works with; ``measure`` is of its evidence source, in processes where asked for."""

    evidence_source: EvidenceSource
    measure: Measuring
    memory: Memory
    reasoner: Reasoner
    policy: Policy


Settings = TypeVar("Settings", InspectionSettings, "TriageSettings")


def override(settings: Settings, **given: Any) -> Settings:  # noqa: ANN401
    """The settings with those that are given in place of their own; None means not given."""
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def compose_inspection(settings: InspectionSettings) -> InspectionParts:
    """Put the parts of an `Inspector` together.

    Raises
    ------
    DataError : more than one thing to compare with, a rate without a profile, too few unlabelled pictures.
    ProfileError, MediaError : the profile or the reference can't be read.
    CalibrationError : the false-alarm rate is none, or out of reach.
    PolicyError, ModelError : the policy can't be read, the model is not there.
    """
    policy = open_policy(settings.policy)
    source = _evidence_source(settings)
    return InspectionParts(
        evidence_source=source,
        measure=_measuring(source, settings),
        memory=_picture_memory(settings.memory, source),
        reasoner=settings.reasoner
        or reasoner_for(
            resolve_model(settings.model),
            guidance=settings.guidance,
            normal_crop=source.normal_crop,
            listener=settings.listener,
        ),
        policy=policy,
    )


def _evidence_source(settings: InspectionSettings) -> EvidenceSource:
    given = [settings.by is not None, settings.reference is not None, bool(settings.unlabelled)]
    if sum(given) > 1:
        raise DataError("What should the pictures be compared with?", _BASIS_REMEDY)
    by, rate = settings.by, settings.false_alarm_rate
    if isinstance(by, str | Path):
        by = load_any_profile(by)
    if isinstance(by, Profile):
        return ProfileEvidence(by, validated_rate(by, rate))
    if isinstance(by, MixedProfile):
        return MixedEvidence.at(by, rate)
    if rate is not None:
        raise DataError(
            "--false-alarm-rate has no meaning without --profile.", "Nothing is calibrated: leave it out."
        )
    if by is not None:
        return by
    if settings.reference is not None:
        from anomalist.vision.detectors.reference import load_reference

        return load_reference(settings.reference)
    from anomalist.vision.detectors.unsupervised import MutualEvidence, ZeroShotEvidence

    if settings.unlabelled:
        return MutualEvidence(settings.unlabelled, progress=settings.progress)
    return ZeroShotEvidence()


def _measuring(source: EvidenceSource, settings: InspectionSettings) -> Measuring:
    check_workers(settings.workers)
    if settings.measure is not None:
        return partial(settings.measure, source)
    if settings.workers == 1:
        return source.measure
    from anomalist.vision.parallel import measure_in_processes

    return partial(measure_in_processes, source, workers=settings.workers)


def check_workers(workers: int) -> None:
    """Raise DataError for a number of processes that is none."""
    if workers < 1:
        raise DataError(f"There can't be {workers} workers.", "One at least; as many as there are cores.")


def _picture_memory(asked: Memory | bool, source: EvidenceSource) -> Memory:
    if not isinstance(asked, bool):
        return asked
    if not asked or not source.calibrations:
        return NoMemory()
    from anomalist.agent.reasoning.recall import PictureMemory

    return PictureMemory(source.name)


def resolve_model(asked: str) -> str:
    """The spec of the model that reasons; says in the log why that of ``ANOMALIST_MODEL`` can't be used."""
    selected = select_model(asked)
    if selected.missing is not None:
        _log.warning(selected.why)
    return selected.spec


def open_policy(policy: Policy | str | Path | None) -> Policy:
    """A policy, from its file where it is not one already; raises PolicyError."""
    return policy if isinstance(policy, Policy) else load_policy(Path(policy) if policy is not None else None)


def reasoner_for(
    spec: str,
    *,
    guidance: Guidance = NO_GUIDANCE,
    normal_crop: NormalCrop | None = None,
    listener: Callable[[str], None] | None = None,
) -> Reasoner:
    """Return who reasons about pictures by this name.

    Parameters
    ----------
    spec : ``evidence``, a model as for `open_model`, or a plug-in of the group ``anomalist.reasoners``.
    guidance : what the user says in words; only a language model understands it.
    normal_crop : finds what is normal at the place of a region, for a language model to compare with.
    listener : called with each chunk of a language model's replies as they are streamed.

    Raises
    ------
    ModelError : see `open_model` and `load_plugin`; or words were given to what is no language model.
    """
    if spec == EVIDENCE or is_plugin(spec):
        if guidance != NO_GUIDANCE:
            raise ModelError(
                "Only a language model understands words to watch for or to ignore.", MODEL_NAME_HELP
            )
        return (
            EvidenceReasoner()
            if spec == EVIDENCE
            else PluginReasoner(load_plugin("anomalist.reasoners", spec))
        )
    from anomalist.agent.reasoning.vlm_reasoner import VLMReasoner
    from anomalist.agent.reasoning.vlm_views import no_normal

    model = open_for_pictures(spec)
    return VLMReasoner(
        model,
        record_name(spec, model),
        guidance=guidance,
        normal_crop=normal_crop or no_normal,
        listener=listener,
    )


@dataclass(frozen=True, eq=False)
class TriageSettings:
    """What decides how clips and streams of one camera are triaged.

    Parameters
    ----------
    scene : name or folder of a scene, or a loaded one.
    false_events_per_hour : that may be expected at most; None takes one, or what the footage supports.
    mode : "offline" uses the whole clip, "causal" the past alone.
    zones : drawn by a person, or their JSON file; None takes those of the scene.
    policy : a policy or its TOML file; None takes the shipped one.
    model : who is asked about events, as after ``--model``; "auto" takes that of ``ANOMALIST_MODEL``.
    watch : what to look out for, in words.
    calls_per_minute : of footage, to the model.
    memory : whether rules and remembered scenes are recalled.
    examples : folder of example pictures that name tracked objects, a folder for each class.
    object_detector : model of transformers that names them, ``hf:NAME`` or a folder.
    """

    scene: str | Path | Scene
    false_events_per_hour: float | None = None
    mode: Mode = "offline"
    zones: Sequence[Zone] | str | Path | None = None
    policy: Policy | str | Path | None = None
    model: str = AUTO
    watch: Sequence[str] = ()
    calls_per_minute: float = 2.0
    memory: bool = True
    examples: str | Path | None = None
    object_detector: str | None = None


@dataclass(frozen=True, eq=False)
class TriageParts:
    """What a `Triage` works with.

    Parameters
    ----------
    annotator : adds what the user watches for and a model's opinion.
    memory : rules and remembered scenes; None recalls nothing.
    digest : of annotator and memory: what else a record depends on than scene, mode, zones and policy.
    """

    scene: Scene
    zones: tuple[Zone, ...]
    annotator: EventAnnotator
    memory: CaptionMemory | None
    policy: Policy
    digest: str


def compose_triage(settings: TriageSettings) -> TriageParts:
    """Put the parts of a `Triage` together.

    Raises
    ------
    ProfileError, PolicyError, ModelError : the scene or the policy can't be read, the model is not there.
    DataError : the zones or examples can't be read, or an item to watch for can't be used.
    DetectorError : the object detector, or DINOv2 for the examples, is not there.
    """
    from anomalist.vision.motion.scene import Scene, load_scene, read_zones

    scene = settings.scene if isinstance(settings.scene, Scene) else load_scene(settings.scene)
    zones = settings.zones
    if isinstance(zones, str | Path):
        zones = read_zones(Path(zones))
    policy = open_policy(settings.policy)
    memory = _scene_memory(scene.name) if settings.memory else None
    spec = resolve_model(settings.model)
    annotator = _event_annotator(spec, settings, policy)
    return TriageParts(
        scene=scene,
        zones=scene.manifest.zones if zones is None else tuple(zones),
        annotator=annotator,
        memory=memory,
        policy=policy,
        digest=_annotation_digest(spec, settings, annotator, memory, scene.name),
    )


def _scene_memory(name: str) -> CaptionMemory:
    from anomalist.memory.recall import CaptionMemory
    from anomalist.memory.rules.store import rules_for
    from anomalist.memory.scenes.memory import load_memory

    return CaptionMemory(rules_for(name), lambda: load_memory(name))


def _event_annotator(spec: str, settings: TriageSettings, policy: Policy) -> EventAnnotator:
    from anomalist.agent.reasoning.event_reasoner import make_annotator

    model = None if spec == EVIDENCE else open_for_pictures(spec)
    return make_annotator(
        settings.watch,
        model,
        name="" if model is None else record_name(spec, model),
        calls_per_minute=settings.calls_per_minute,
        policy=policy,
        namers=_object_namers(settings),
    )


def _object_namers(settings: TriageSettings) -> tuple[ObjectNamer, ...]:
    """Who says what tracked objects are, examples first."""
    namers: list[ObjectNamer] = []
    if settings.examples is not None:
        from anomalist.vision.naming.examples import open_examples

        namers.append(open_examples(settings.examples))
    if settings.object_detector is not None:
        from anomalist.vision.naming.object_detector import open_object_detector

        namers.append(open_object_detector(settings.object_detector))
    return tuple(namers)


def _annotation_digest(
    spec: str, settings: TriageSettings, annotator: EventAnnotator, memory: CaptionMemory | None, scene: str
) -> str:
    """By the model that is asked, whatever name or environment selected it.

    Without one the text is that of 0.1.0, so that what it triaged still counts as done.
    """
    from anomalist.memory.scenes.memory import memory_digest

    model = AUTO if spec == EVIDENCE else annotator.digest
    recalled = ("", "") if memory is None else (memory.digest, memory_digest(scene))
    named = () if annotator.naming is None else (annotator.naming.digest,)
    return repr((list(settings.watch) or None, model, settings.calls_per_minute, *recalled, *named))
