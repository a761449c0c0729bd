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
    """Retrieves past cases, rules and scenes that match the evidence of one picture."""

    @property
    def digest(self) -> str:
        """Digest of everything stored that can change what is recalled."""
        ...

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Return past cases, rules and scenes with their ids and similarities."""
        ...


class NoMemory:
    """A `Memory` that is always empty."""

    digest = ""

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Return an empty recall."""
        return Recall()


MAX_RULES = 2
"""Rules of each polarity that are recalled for one finding, the best match first."""

MAX_SCENES = 1
"""Scenes that are recalled for one finding."""

SURE_MARGIN = 0.1
"""Margin from which a match is certain, so that the severity of its rule counts; a keyword has the same
effect."""


class CaptionMemory:
    """Matches captions with the rules of a profile and, where given, with remembered scenes.

    Parameters
    ----------
    rules : of both polarities; disabled ones don't count.
    scenes : opens the scene memory; called on first use.
    encoder : the sentence encoder; `load_encoder()` by default.
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
        """Hex SHA-256 of the enabled rules, as it goes into the record."""
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

        Anomalous rules come first, then normal ones, then anomalous scenes, which are recalled only where the
        scene memory scores a caption as anomalous.
        """
        read = self._matcher.read(captions)
        anomalous = self._recalled([match for matches in read.matches for match in matches])
        normal = self._recalled([match for matches in read.normal for match in matches])
        return (*anomalous, *normal, *self._recalled_scenes(captions))

    def _recalled_scenes(self, captions: Sequence[str]) -> list[Recalled]:
        if self._scenes is None:
            return []
        found = self._scenes.score_captions(captions).rationale
        anomalous = [each for each in found if each.side == "anomalous" and each.memories]
        if not anomalous:
            return []
        best = max(anomalous, key=lambda each: each.score)
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
        for match in sorted(matches, key=lambda match: match.rank):
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
