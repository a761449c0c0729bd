"""What memory adds to a picture: what people said of places that look alike, and rules that these fit."""

from __future__ import annotations

from pathlib import Path

from anomalist.agent.tools.cases import ALIKE, SPACE, region_vector
from anomalist.agent.wording import region_sentence
from anomalist.memory.captioned import CaptionMemory
from anomalist.memory.cases import CaseStore, Similar
from anomalist.memory.rules.of_profile import rules_for
from anomalist.records import digest_of
from anomalist.settings import Settings
from anomalist.types import SEVERITIES, Evidence, Media, Recall, Recalled

MOST_CASES = 3


class PictureMemory:
    """Looks up past cases and rules of one profile; a ``Memory``.

    Feedback that is given while it runs counts from the next picture on. Nothing is made where there is none.

    Parameters
    ----------
    profile : its name, as feedback and rules have it.
    path : file of cases and rules; by default the one of this user.

    Raises DataError, from any method, when the file is damaged.
    """

    def __init__(self, profile: str, path: Path | None = None) -> None:
        self.profile = profile
        self.path = path or Settings().home / "cases.sqlite"
        # The shipped rules are about people and vehicles; of parts only what somebody wrote says anything.
        rules = [rule for rule in rules_for(profile, self.path) if rule.origin != "shipped"]
        self._rules = CaptionMemory(rules) if rules else None

    @property
    def digest(self) -> str:
        """Of all rules and cases that count, for the settings of a run."""
        cases: tuple[str, ...] = ()
        if self.path.exists():
            with CaseStore(self.path) as store:
                cases = tuple(case.id for case in store.list(self.profile))
        return digest_of(self._rules.digest if self._rules else "", *cases)

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Cases alike to any region, the most similar first, then the rules that measured captions fit."""
        if not evidence.regions:
            return Recall()
        items = [_recalled(each) for each in self._alike(evidence)]
        if self._rules is not None:
            size = media.pixels.shape[0], media.pixels.shape[1]
            said = [region_sentence(each, size, "the inspected area") for each in evidence.regions]
            items.extend(self._rules.recall([text.partition(": ")[2] for text in said]))
        return Recall(items=tuple(items))

    def _alike(self, evidence: Evidence) -> list[Similar]:
        if not self.path.exists():
            return []
        best: dict[str, Similar] = {}
        vectors = [region_vector(region) for region in evidence.regions]
        with CaseStore(self.path) as store:
            alike = store.similar_to_each(SPACE, vectors, MOST_CASES, profile=self.profile)
        for found in (each for several in alike for each in several):
            known = best.get(found.case.id)
            if found.similarity >= ALIKE and (known is None or found.similarity > known.similarity):
                best[found.case.id] = found
        return sorted(best.values(), key=lambda each: -each.similarity)[:MOST_CASES]


def _recalled(similar: Similar) -> Recalled:
    """A case as a verdict cites it: what a person said, of what, who and when."""
    case = similar.case
    if case.severity == 0:
        said = "it is fine"
    else:
        kind = f' "{case.kind}"' if case.kind else ""
        grade = f", {SEVERITIES[case.severity]}" if case.severity is not None else ""
        said = f"{case.action}{kind}{grade}"
    note = f"; {case.note}" if case.note else ""
    text = f"{case.who} said on {case.created[:10]}: {said}{note}. {case.text}".strip()
    return Recalled(id=case.id, text=text, similarity=round(similar.similarity, 4), source=case.source)
