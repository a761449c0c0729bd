"""What was used for a decision, what changed since, and what that changed in it.

Each difference is one sentence that names the thing and what changed in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anomalist import __version__
from anomalist.agent.reasoning.event_reasoner import EventAnnotator
from anomalist.agent.reasoning.policy import Policy, load_policy
from anomalist.agent.reasoning.recall import event_captions
from anomalist.audit.reading import LogEntry
from anomalist.audit.stores import kept_profile_path, stored_text
from anomalist.errors import AnomalistError, DataError
from anomalist.memory.recall import CaptionMemory
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.store import rules_for
from anomalist.prompts.templates import PromptError, template_sha256
from anomalist.report.wording import number
from anomalist.storage.artifacts import profile_path
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import Recalled
from anomalist.types.image import Record
from anomalist.vision.media.frames import Video
from anomalist.vision.profile import MIXED_KIND, PROFILE_KIND, Manifest

SCORE_TOLERANCE = 1e-3
"""Difference of scores, relative to the larger one or to 1, up to which they count as equal: other hardware
adds up in another order."""
Part = Literal["profile", "policy", "rules", "feedback", "prompt", "version"]
_MAX_NAMED = 5
_SECONDS = 0.1  # between the ends of one event, taken again


@dataclass(frozen=True)
class Change:
    """One thing that is another one now; ``text`` says what changed in it."""

    part: Part
    text: str


def stored_policy(folder: Path, session: Mapping[str, Any]) -> Policy:
    """The policy of a session, as it was. Raises DataError where it is gone."""
    text = stored_text(folder, str(session.get("policy_text", "")))
    if text is None:
        raise DataError("The policy of that decision is no longer in the audit log's folder.")
    return Policy.model_validate(json.loads(text))


def stored_rules(folder: Path, session: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules of a session, as they were. Raises DataError where they are gone."""
    if not session.get("rules"):
        return ()
    text = stored_text(folder, str(session["rules"]))
    if text is None:
        raise DataError("The rules of that decision are no longer in the audit log's folder.")
    return tuple(Rule.model_validate(each) for each in json.loads(text))


def changes_since(
    folder: Path, session: LogEntry, record: Record | ClipRecord, policy: Path | None = None
) -> tuple[Change, ...]:
    """What changed since a decision that can make it another one.

    Parameters
    ----------
    folder : of the log.
    session : the entry that says with what was judged.
    policy : today's policy file; None for the one that ships.
    """
    about = session.content
    found = [*_profile_change(folder, about, clips=about.get("of") == "clips")]
    found += _policy_changes(folder, about, policy)
    found += _rule_changes(folder, about)
    if about.get("of") == "pictures" and not any(each.part == "rules" for each in found):
        found += _feedback_change(about)
    found += _prompt_changes(record)
    if about.get("version") != __version__:
        found.append(Change("version", f"anomalist {about.get('version')} then, {__version__} now"))
    return tuple(found)


def _profile_change(folder: Path, about: Mapping[str, Any], *, clips: bool) -> Iterator[Change]:
    if not about.get("learned"):
        return
    name, then = str(about.get("profile")), str(about.get("profile_digest"))
    from anomalist.vision.motion.scene import SCENE_KIND

    kind = SCENE_KIND if clips else PROFILE_KIND
    try:
        path = profile_path(name)
        manifest: Any = MIXED_KIND.read_manifest(path) if MIXED_KIND.is_at(path) else kind.read_manifest(path)
    except AnomalistError as error:
        yield Change("profile", f"{name} of then can't be found under its name now: {error.message}")
        return
    if manifest.digest != then:
        detail = ""
        stored = kept_profile_path(folder, then, name)
        if isinstance(manifest, Manifest) and PROFILE_KIND.is_at(stored):
            detail = _manifest_difference(PROFILE_KIND.read_manifest(stored), manifest)
        yield Change(
            "profile", f"{name} was learned again: {then[:12]} then, {manifest.digest[:12]} now{detail}"
        )


def _manifest_difference(old: Manifest, new: Manifest) -> str:
    before, after = ({normal.sha256 for normal in each.normals} for each in (old, new))
    parts = [f"{len(after - before)} normals more"] if after - before else []
    parts += [f"{len(before - after)} normals fewer"] if before - after else []
    for name in ("detector", "effort", "seed", "backbone"):
        if getattr(old, name) != getattr(new, name):
            parts.append(f"{name} {getattr(old, name)} → {getattr(new, name)}")
    if old.defects != new.defects:
        parts.append(f"{len(old.defects)} → {len(new.defects)} labelled defects")
    return f" ({', '.join(parts)})" if parts else ""


def _policy_changes(folder: Path, about: Mapping[str, Any], policy: Path | None) -> Iterator[Change]:
    now = load_policy(policy)
    if now.digest == about.get("policy") or "policy" not in about:
        return
    try:
        then = stored_policy(folder, about).model_dump(mode="json", by_alias=True)
    except DataError:
        yield Change("policy", f"{str(about.get('policy'))[:12]} then, {now.digest[:12]} now")
        return
    today = now.model_dump(mode="json", by_alias=True)
    fields = list(_different(then, today))
    more = f" and {len(fields) - _MAX_NAMED} more" if len(fields) > _MAX_NAMED else ""
    yield Change("policy", "; ".join(fields[:_MAX_NAMED]) + more)


def _different(then: Any, now: Any, place: str = "") -> Iterator[str]:  # noqa: ANN401
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted(then.keys() | now.keys()):
            yield from _different(then.get(name), now.get(name), f"{place}.{name}" if place else name)
    elif then != now:
        yield f"{place} {then} → {now}"


def _rule_changes(folder: Path, about: Mapping[str, Any]) -> Iterator[Change]:
    if not about.get("rules"):
        return
    text = stored_text(folder, str(about["rules"]))
    if text is None:
        yield Change("rules", "those of then are no longer in the audit log's folder")
        return
    # The shipped rules are about people and vehicles, not about parts.
    clips = about.get("of") == "clips"
    then = _by_name(stored_rules(folder, about), shipped=clips)
    now = _by_name(rules_for(str(about.get("profile"))), shipped=clips)
    said = [f'{id_} is new: "{now[id_].text}"' for id_ in sorted(now.keys() - then.keys())]
    said += [f'{id_} no longer counts: "{then[id_].text}"' for id_ in sorted(then.keys() - now.keys())]
    for id_ in sorted(then.keys() & now.keys()):
        old, new = (rules[id_].model_dump(mode="json", exclude={"id"}) for rules in (then, now))
        if old != new:
            fields = _different(old, new)
            said.append(f"{id_} was changed: {'; '.join(fields)}")
    if said:
        more = f" and {len(said) - _MAX_NAMED} more" if len(said) > _MAX_NAMED else ""
        yield Change("rules", "; ".join(said[:_MAX_NAMED]) + more)


def _by_name(rules: Iterable[Rule], *, shipped: bool) -> dict[str, Rule]:
    """Rules by id; those that ship by their text, as a profile that adopts them gives them new ids."""
    return {
        f"shipped: {rule.text}" if rule.origin == "shipped" else rule.id: rule
        for rule in rules
        if shipped or rule.origin != "shipped"
    }


def _feedback_change(about: Mapping[str, Any]) -> Iterator[Change]:
    from anomalist.agent.reasoning.recall import PictureMemory

    if about.get("memory") and about.get("learned"):
        name = str(about.get("profile"))
        if PictureMemory(name).digest != about["memory"]:
            yield Change("feedback", f"people said more of findings of {name} since")


def _prompt_changes(record: Record | ClipRecord) -> Iterator[Change]:
    used = (
        record.prompts
        if isinstance(record, Record)
        else tuple(prompt for event in record.events for prompt in event.prompts)
    )
    for prompt in dict.fromkeys(used):
        try:
            now = template_sha256(prompt.id)
        except PromptError:
            yield Change("prompt", f"{prompt.id} is no longer there")
            continue
        if now != prompt.sha256:
            yield Change("prompt", f"{prompt.id} was changed: {prompt.sha256[:12]} then, {now[:12]} now")


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)


def score_difference(then: Record | ClipRecord, now: Record | ClipRecord) -> float | None:
    """Of the score of now to that of then, the largest of a clip's curve; None where there is none."""
    if isinstance(then, Record) and isinstance(now, Record):
        return None if then.score is None or now.score is None else now.score - then.score
    if isinstance(then, ClipRecord) and isinstance(now, ClipRecord):
        pairs = [
            b - a
            for (_, a), (_, b) in zip(then.curve, now.curve, strict=False)
            if a is not None and b is not None
        ]
        return max(pairs, key=abs, default=None)
    return None


def differences_between(then: Record | ClipRecord, now: Record | ClipRecord) -> Iterator[str]:
    """What differs between two records of one picture or clip, one sentence each."""
    if now.status == "error" and then.status != "error":
        yield f"it could not be judged: {now.error}"
        return
    if then.label != now.label:
        yield f"verdict: {then.label} then, {now.label} now"
    if isinstance(then, Record) and isinstance(now, Record):
        yield from _picture_differences(then, now)
    elif isinstance(then, ClipRecord) and isinstance(now, ClipRecord):
        yield from _clip_differences(then, now)


def _picture_differences(then: Record, now: Record) -> Iterator[str]:
    fields: dict[str, Callable[[Record], Any]] = {
        "severity": lambda record: record.severity,
        "kind": lambda record: record.kind,
        "regions": lambda record: tuple(region.box for region in record.regions),
        "recalled": lambda record: tuple((item.id, item.version) for item in record.recall.items),
        "why undecided": lambda record: record.why_undecided,
    }
    if not _close(then.score, now.score):
        yield f"score: {number(then.score, 6)} then, {number(now.score, 6)} now"
    if not _close(then.p_value, now.p_value):
        yield f"p-value: {number(then.p_value, 6)} then, {number(now.p_value, 6)} now"
    for name, value in fields.items():
        if value(then) != value(now):
            yield f"{name}: {_shown(value(then))} then, {_shown(value(now))} now"


def _clip_differences(then: ClipRecord, now: ClipRecord) -> Iterator[str]:
    if then.why_undecided != now.why_undecided:
        yield f"why undecided: {_shown(then.why_undecided)} then, {_shown(now.why_undecided)} now"
    if not _close(then.threshold, now.threshold):
        yield f"threshold: {then.threshold} then, {now.threshold} now"
    if len(then.events) != len(now.events):
        yield f"events: {len(then.events)} then, {len(now.events)} now"
        return
    for old, new in zip(then.events, now.events, strict=True):
        if not _same_event(old, new):
            yield f"{old.id}: {_event_words(old)} then, {_event_words(new)} now"


def _same_event(old: Event, new: Event) -> bool:
    return (
        abs(old.start - new.start) <= _SECONDS
        and abs(old.end - new.end) <= _SECONDS
        and (old.kind, old.severity) == (new.kind, new.severity)
        and _close(old.score, new.score)
        and [item.id for item in old.recalled] == [item.id for item in new.recalled]
    )


def _event_words(event: Event) -> str:
    recalled = ", ".join(item.id for item in event.recalled)
    return (
        f"{event.kind} from {event.start:.1f} to {event.end:.1f} s, score {event.score:.3g}, "
        f"severity {event.severity}{f', {recalled}' if recalled else ''}"
    )


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, tuple):
        return f"{len(value)} ({', '.join(map(str, value[:3]))})" if value else "none"
    return "none" if value is None else str(value)


class MemoryOfThen(CaptionMemory):
    """Rules of then, and the scenes that were recalled then, less some of both by their ids."""

    def __init__(self, rules: Sequence[Rule], events: Sequence[Event], left_out: frozenset[str]) -> None:
        super().__init__([rule for rule in rules if rule.id not in left_out])
        self._then = {
            event_captions(event): [
                item for item in event.recalled if item.id[:6] == "scene:" and item.id not in left_out
            ]
            for event in events
        }

    def recall(self, captions: Sequence[str]) -> tuple[Recalled, ...]:
        """What is recalled without them."""
        return (*super().recall(captions), *self._then.get(tuple(captions), ()))


@dataclass(frozen=True, eq=False)
class AnnotatorOfThen(EventAnnotator):
    """Says of events what was said of them then, by whatever looked at them."""

    then: tuple[Event, ...] = ()

    def __call__(self, video: Video, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """The events, where they are the same, with what the record has beside what was measured."""
        known = {event.id: event for event in self.then}
        return tuple(_as_seen(event, known.get(event.id, event)) for event in events)


_SEEN = ("names", "watched", "opinion", "seen", "model", "prompts", "replies")  # of an event, beside measures


def _as_seen(event: Event, then: Event) -> Event:
    if then.kind != event.kind or abs(then.start - event.start) > _SECONDS:
        return event
    caption = then.caption if then.names else event.caption
    return event.replace(caption=caption, **{name: getattr(then, name) for name in _SEEN})
