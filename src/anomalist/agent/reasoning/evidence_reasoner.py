"""The `Reasoner` protocol, and the reasoner without a model: measurements as sentences that cite them.

A reasoner turns evidence into a verdict; it is the evidence reasoner or a language model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from anomalist.agent.models.selection import EVIDENCE_REASONER
from anomalist.agent.reasoning.claims import INPUT_ID, SCORE_ID, citable_ids, filter_claims
from anomalist.agent.reasoning.policy import Policy, decide_label
from anomalist.agent.reasoning.severity import Severity, picture_severity
from anomalist.agent.reasoning.wording import (
    join_words,
    known_sentence,
    percent,
    region_kind,
    region_sentence,
    regions_counted,
    shorten_quote,
)
from anomalist.types.common import Claim, Label, Recall, Recalled, Verdict
from anomalist.types.image import Calibration, Evidence, Media
from anomalist.types.shift import RunDrift


class Reasoner(Protocol):
    """Judges one picture. The label follows the policy; the reasoner gives the words.

    A plug-in of the group ``anomalist.reasoners`` is a class, or a function, that gives one of these when
    it is called without arguments.
    """

    @property
    def name(self) -> str:
        """Who reasons, as a person should read it in ``Verdict.reasoner``."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of everything about the reasoner that a verdict depends on; "" for the code alone."""
        ...

    def judge(self, media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Verdict:
        """Return the verdict; every claim cites ids of the evidence or of what was recalled."""
        ...


MAX_REGION_SENTENCES = 5
"""Regions that get a sentence of their own; the others share one."""

MAX_RECALLED_SENTENCES = 3
"""Recalled items that are mentioned, in the order in which memory gives them."""

APPROXIMATE_BECAUSE = {
    "cv+": ", approximate because cross-fitted",
    "jackknife": ", approximate because each normal was left out in turn",
}
"""Why a p-value is approximate, by the method of calibration."""

RECALL_PHRASES = {
    "normal": "A normal picture that looks alike",
    "case": "A past case that looks alike",
    "rule": "A rule that fits",
    "scene": "A remembered scene that fits",
}


@dataclass(frozen=True)
class EvidenceReasoner:
    """Judges by measurement alone; the same evidence always gives the same verdict.

    Severity and kind of an *undecided* picture are what they would be if the finding were real, so that a
    person can look at the worst first. A normal picture has severity 0 and no kind.
    """

    name: str = EVIDENCE_REASONER
    digest: str = ""

    def judge(self, media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Verdict:
        """Return label (`decide_label`), severity (`picture_severity`), kind, claims and disagreements."""
        found = assess(media, evidence, recall, policy)
        return Verdict(
            label=found.label,
            severity=found.grade,
            kind=found.kind,
            claims=found.claims,
            reasoner=self.name,
            disagreements=found.disagreements,
            why_undecided=found.why_undecided,
            dropped_claims=len(found.dropped),
            dropped=found.dropped,
            policy=policy.digest,
        )


@dataclass(frozen=True)
class Assessment:
    """What follows from the measurements and the policy alone; every verdict on a picture begins with it.

    Parameters
    ----------
    label, why_undecided : as from `decide_label`.
    severity : if what was found is real; a normal picture has one too.
    kind : of the anomaly; None where there is nothing to name.
    claims, dropped : the sentences that are grounded, and those that are not.
    disagreements : between the score and the regions.
    changed_input : whether the picture as a whole is not like what was learned.
    """

    label: Label
    why_undecided: str | None
    severity: Severity
    kind: str | None
    claims: tuple[Claim, ...]
    dropped: tuple[str, ...]
    disagreements: tuple[str, ...]
    changed_input: bool = False

    @property
    def level(self) -> int:
        """Index into SEVERITIES if what was found is real; none where no place could be judged."""
        return 0 if self.changed_input else self.severity.level

    @property
    def grade(self) -> int:
        """Index into SEVERITIES of the verdict: none where it is normal, or no place could be judged."""
        return 0 if self.label == "normal" else self.level


def assess(media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Assessment:
    """Put measurements, and what memory recalls, into an assessment; no model is asked."""
    label, why = decide_label(evidence, policy)
    severity = picture_severity(evidence.regions, media.size, policy)
    claims = [*input_claims(evidence), score_claim(evidence), *region_claims(media, evidence)]
    if label != "normal" and not evidence.changed_input:
        claims.append(severity_claim(label, severity))
    tension = _contradictions(label, evidence)
    if not tension and not evidence.changed_input:
        claims.append(_agreement_claim(label, evidence))
    claims.extend(_weak_claims(label, evidence))
    claims.extend(_recalled_claim(item) for item in recall.items[:MAX_RECALLED_SENTENCES])
    kept, dropped = filter_claims(claims, citable_ids(evidence, recall))
    return Assessment(
        label=label,
        why_undecided=why,
        severity=severity,
        kind=_verdict_kind(label, evidence, media.size),
        claims=kept,
        dropped=tuple(claim.text for claim in dropped),
        disagreements=tension,
        changed_input=evidence.changed_input,
    )


def _verdict_kind(label: Label, evidence: Evidence, size: tuple[int, int]) -> str | None:
    """Return the kind of the region with the highest peak; without any, an alarm is a diffuse change."""
    if label == "normal":
        return None
    if evidence.regions:
        return region_kind(evidence.regions[0], size)
    return "diffuse change" if label == "anomalous" else None


def input_claims(evidence: Evidence) -> Iterator[Claim]:
    """Say what of the picture as a whole changed, and that the run drifts."""
    shift = evidence.input_shift
    if shift is None:
        return
    if shift.changes:
        text = f"As a whole the picture is not like those that were learned: {shift.words}."
        yield Claim(text=text, evidence=(INPUT_ID,))
    elif shift.corrected:
        small = ", ".join(change.words for change in shift.corrected)
        yield Claim(text=f"Small differences were taken out before scoring: {small}.", evidence=(INPUT_ID,))
    if shift.drift is not None:
        yield drift_claim(shift.drift)


def drift_claim(drift: RunDrift) -> Claim:
    """Say that the run drifts."""
    text = f"The run has drifted, {drift.words}: the promised rate of false alarms no longer holds."
    return Claim(text=text, evidence=(INPUT_ID,))


def score_claim(evidence: Evidence) -> Claim:
    """Say what the score means against the normal pictures."""
    calibration, p = evidence.calibration, evidence.p_value
    if not math.isfinite(evidence.score):
        text = f"The detector gave no usable score ({evidence.score})."
    elif evidence.basis == "reference":
        text = (
            f"Against the reference, the greatest difference is {evidence.score:.3g} times the one "
            "from which a difference counts."
        )
    elif calibration is None or calibration.groups == 0 or p is None or not math.isfinite(p):
        text = f"The score is {evidence.score:.3g}; there are no calibration pictures to compare it with."
    else:
        about = "p ≈" if calibration.approximate else "p ="
        shown = f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"
        cross = APPROXIMATE_BECAUSE.get(calibration.method, "")
        weighed = calibration.reached and calibration.groups < calibration.normals
        shown += ", each group weighing the same" if weighed else ""
        text = (
            f"The score of {evidence.score:.3g} is {_rank_phrase(p, calibration)} "
            f"({about} {shown}, {_rate_phrase(calibration)}{cross})."
        )
    return Claim(text=text, evidence=(SCORE_ID,))


def _rate_phrase(calibration: Calibration) -> str:
    """The rate that is decided at, and what would make it the default one, where that is out of reach."""
    if calibration.default_rate is None:
        return f"asked rate {calibration.false_alarm_rate:g}"
    unit = "group" if calibration.groups < calibration.normals else "normal picture"
    have, more = calibration.groups, calibration.normals_needed - calibration.groups
    support = f"{have} {unit} supports" if have == 1 else f"{have} {unit}s support"
    return (
        f"decided at {percent(calibration.false_alarm_rate)}, the least that {support}; "
        f"{more} more make {percent(calibration.default_rate)}"
    )


def _rank_phrase(p: float, calibration: Calibration) -> str:
    """How many of the normals score as high.

    Where that was not recorded it is turned back from the p-value, (1 + as high) / (groups + 1), in which the
    normals that score as high are weighted so that each group counts once.
    """
    as_high = p * (calibration.groups + 1) - 1
    normals, grouped = calibration.normals, calibration.groups < calibration.normals
    pool = f"{normals} normal picture{'s' if normals != 1 else ''}"
    if grouped:
        pool += f" (in {calibration.groups} group{'s' if calibration.groups != 1 else ''})"
    reached = calibration.reached
    if reached == 0 or (reached is None and as_high < 1e-6):
        if normals == 1:
            return "higher than that of the only normal picture it was calibrated on"
        return f"higher than that of all {pool} it was calibrated on"
    if reached is None and grouped:
        share = percent(min(1.0, as_high / calibration.groups))
        return f"reached by {share} of the {pool} it was calibrated on, each group weighing the same"
    count = round(as_high) if reached is None else reached
    return f"reached by {count} of the {pool} it was calibrated on"


def region_claims(media: Media, evidence: Evidence) -> Iterator[Claim]:
    """Describe the regions with the highest peaks, and count the others."""
    height, width = media.size
    whole = "the picture" if evidence.roi_area >= height * width else "the inspected area"
    for region in evidence.regions[:MAX_REGION_SENTENCES]:
        yield Claim(text=region_sentence(region, media.size, whole, evidence.basis), evidence=(region.id,))
        if region.known is not None and region.change is None:
            text = known_sentence(region, region.known)
            yield Claim(text=text, evidence=(region.id, *region.known.cases))
    others = tuple(region.id for region in evidence.regions[MAX_REGION_SENTENCES:])
    if len(others) == 1:
        yield Claim(text=f"One more region is marked, with a lower peak: {others[0]}.", evidence=others)
    elif others:
        count = regions_counted(evidence.regions, MAX_REGION_SENTENCES)
        text = f"{count.capitalize()} more regions are marked, with lower peaks: {others[0]} to {others[-1]}."
        yield Claim(text=text, evidence=others)


def _weak_claims(label: Label, evidence: Evidence) -> Iterator[Claim]:
    """Say where an alarm would find enough beside its regions."""
    places = evidence.weak_places
    if label != "anomalous" or not places:
        return
    where = join_words([f"{place.id} ({place.position})" for place in places])
    text = f"The map also reaches the threshold at {where}, where it is too low to be outlined."
    yield Claim(text=text, evidence=tuple(place.id for place in places))


def severity_claim(label: Label, severity: Severity) -> Claim:
    """Say how bad it is, or would be, and why."""
    verb = "Severity is" if label == "anomalous" else "If this is real, its severity is"
    return Claim(text=f"{verb} {severity.name}: {severity.reason}.", evidence=severity.evidence)


def _contradictions(label: Label, evidence: Evidence) -> tuple[str, ...]:
    """List contradictions between the image score and the marked regions."""
    if evidence.basis == "reference":
        return ()  # the regions are the verdict
    if label == "anomalous" and not evidence.regions:
        return ("The score is beyond the threshold, but no single place in the picture stands out.",)
    if label == "normal" and evidence.regions:
        return (f"The picture scores as normal as a whole, but {_salient_regions(evidence)}.",)
    return ()


def _agreement_claim(label: Label, evidence: Evidence) -> Claim:
    """Say that score and regions agree, or what the regions alone say while the score decides nothing."""
    if evidence.basis == "reference":
        return _difference_claim(evidence)
    places = _salient_regions(evidence) if evidence.regions else "no single place stands out"
    lead = {
        "anomalous": "Score and map agree: the score is beyond the threshold and",
        "normal": "Score and map agree: the score is that of a normal picture and",
        "undecided": "The score decides nothing here; in the map,",
    }[label]
    regions = (region.id for region in evidence.regions[:MAX_REGION_SENTENCES])
    return Claim(text=f"{lead} {places}.", evidence=(SCORE_ID, *regions))


def _difference_claim(evidence: Evidence) -> Claim:
    """Say how many places differ from the reference."""
    ids = tuple(region.id for region in evidence.regions)
    if not ids:
        return Claim(text="No place differs from the reference.", evidence=(SCORE_ID,))
    places = "One place differs" if len(ids) == 1 else f"{regions_counted(ids).capitalize()} places differ"
    return Claim(text=f"{places} from the reference.", evidence=(SCORE_ID, *ids[:MAX_REGION_SENTENCES]))


def _salient_regions(evidence: Evidence) -> str:
    """Return "R1 and R2 stand out"."""
    ids = [region.id for region in evidence.regions]
    if len(ids) > MAX_REGION_SENTENCES:
        return f"{regions_counted(ids)} places stand out"
    return f"{join_words(ids)} {'stand' if len(ids) > 1 else 'stands'} out"


def _recalled_claim(item: Recalled) -> Claim:
    """Quote what memory recalled; its text is data from elsewhere, shortened to a line."""
    kind = item.id.partition(":")[0]
    quoted = shorten_quote(item.text)
    text = f"{RECALL_PHRASES[kind]} is {item.id} (similarity {item.similarity:.2f}): {quoted}"
    return Claim(text=text, evidence=(item.id,))
