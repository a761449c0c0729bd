"""Retrieval for one finding: the `Memory` protocol, and rules and scenes recalled for captions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

from anomalist.memory.embedding import Encoder
from anomalist.memory.rules.matching import RuleMatch, RuleMatcher
from anomalist.memory.rules.rule import Rule
from anomalist.memory.scenes.memory import SceneMemory
from anomalist.types.common import Recall, Recalled
from anomalist.types.image import Evidence, Media


class Memory(Protocol):
    """Looks up what is known about evidence like this."""

    @property
    def digest(self) -> str:
        """Of everything remembered that can change what is recalled."""
        ...

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Return past cases, rules and scenes with their ids and similarities."""
        ...


class NoMemory:
    """A memory without content."""

    digest = ""

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Return an empty recall."""
        return Recall()


MAX_RULES = 2
"""Rules of either side that are recalled for one thing; the first says most."""

MAX_SCENES = 1

SURE_MARGIN = 0.1
"""Margin from which a rule surely holds, so that its severity counts; or one of its keywords falls."""


class CaptionMemory:
    """Matches captions with the rules of a profile and, where there are any, with remembered scenes.

    Parameters
    ----------
    rules : of both polarities; disabled ones don't count.
    scenes : opens the scene memory; nothing is loaded before it is needed.
    encoder : what makes vectors of texts; `load_encoder()` by default.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        scenes: Callable[[], SceneMemory] | None = None,
        *,
        encoder: Encoder | None = None,
    ) -> None:
        self._rules = {rule.id: rule for rule in rules if rule.enabled}
        self._open_scenes = scenes
        self._encoder = encoder

    @property
    def digest(self) -> str:
        """Of all that counts, hex: it goes into the record."""
        lines = sorted(f"{rule.id} {rule.version} {rule.text}" for rule in self._rules.values())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @cached_property
    def _matcher(self) -> RuleMatcher:
        return RuleMatcher(tuple(self._rules.values()), encoder=self._encoder)

    @cached_property
    def _scenes(self) -> SceneMemory | None:
        return None if self._open_scenes is None else self._open_scenes()

    def recall(self, captions: Sequence[str]) -> tuple[Recalled, ...]:
        """Rules and scenes that match the captions of one finding.

        Anomalous rules come first, then normal ones, then scenes: only where the memory as a whole speaks
        for an anomaly, and only anomalous ones.
        """
        read = self._matcher.read(captions)
        broken = self._recalled([match for matches in read.matches for match in matches])
        kept = self._recalled([match for matches in read.normal for match in matches])
        return (*broken, *kept, *self._remembered(captions))

    def _remembered(self, captions: Sequence[str]) -> list[Recalled]:
        if self._scenes is None:
            return []
        found = self._scenes.score_captions(captions).rationale
        spoken = [each for each in found if each.side == "anomalous" and each.memories]
        if not spoken:
            return []
        best = max(spoken, key=lambda each: each.score)
        return [
            Recalled(
                id=memory.id,
                text=f"{memory.category}: {memory.text}",
                similarity=memory.similarity,
                source=best.clause,
                side=memory.side,
            )
            for memory in best.memories[:MAX_SCENES]
        ]

    def _recalled(self, matches: Sequence[RuleMatch]) -> list[Recalled]:
        best: dict[str, RuleMatch] = {}
        for match in sorted(matches, key=lambda match: (-bool(match.keywords), -match.margin)):
            best.setdefault(match.rule, match)
        return [self._item(match) for match in list(best.values())[:MAX_RULES]]

    def _item(self, match: RuleMatch) -> Recalled:
        rule = self._rules[match.rule]
        sure = bool(match.keywords) or match.margin >= SURE_MARGIN
        return Recalled(
            id=rule.id,
            text=rule.text,
            similarity=match.similarity,
            source=match.clause,
            side=rule.polarity,
            version=rule.version,
            severity=rule.severity if sure and rule.polarity == "anomalous" else 0,
        )
