"""Replies about a picture: verdict, reasons, confidence, severity, place, kind, size, count, changes.

No reply changes the recorded verdict, however leading the question is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.question import Entities, Question, strip_file_names
from anomalist.agent.choice.option_parsing import LEADING_AUXILIARY
from anomalist.agent.reasoning.evidence_reasoner import drift_claim
from anomalist.agent.reasoning.wording import join_words, regions_counted, with_article
from anomalist.agent.tools.decision import explain_severity
from anomalist.agent.tools.pictures import (
    FoundRegion,
    PictureFindings,
    RegionMeasures,
    compare_pictures,
    compare_with_normal,
    count_regions,
    measure_distance,
    measure_region,
    show_findings,
)
from anomalist.agent.tools.subject import Result, Subject
from anomalist.types.common import Claim, Label
from anomalist.types.image import Calibration, Record

TAG_QUESTION = re.compile(
    r"[,.;]\s*(?:right|correct|agree|no|isn't it|don't you|do you|am i right|okay|ok)\?\s*$"
)
DEFECT_WORDS = re.compile(
    r"\b(?:wrong|bad|defect\w*|fault(?!less)\w*|flaws?|damage\w*|broken|fail\w*|problems?|unusual|odd|anomal\w*|reject\w*)\b"
)
NORMAL_WORDS = re.compile(
    r"\b(?:fine|ok|okay|good|normal|all right|alright|pass\w*|accept\w*|in order|clean|flawless|faultless)\b"
)
NEGATION = re.compile(
    r"\b(?:nothing|not|no|never|without|free (?:of|from)|(?<=-)free|don't|doesn't|didn't|isn't|none)\b"
)
MAX_REASONS = 6
"""Sentences in a reply about reasons."""

ADVICE: dict[Label, tuple[str, ...]] = {
    "normal": ("Nothing that was measured speaks against passing it on",),
    "undecided": ("Have a person look at it before anything is decided",),
    "anomalous": (
        "It can wait for the usual check",
        "Note it and look at it with the usual check",
        "Set it aside and look at the marked place before it goes on",
        "Take it out, and look whether the parts around it are the same",
        "Take it out, and stop for a look before more of these are made",
    ),
}
"""Recommended action by label and severity; a person decides."""


def reply_verdict(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The recorded verdict, however leading the question is."""
    found = show_findings(subject, entities.picture)
    claims = [verdict_claim(found, _yes_or_no(question.plain, found.label))]
    if found.label == "undecided" and found.why_undecided:
        claims.append(make_claim(found.why_undecided, ["score"]))
    claims += _score_claims(found)
    if found.regions and found.label != "normal":
        claims.append(make_claim(found.regions[0].sentence, found.regions[0].ids))
    claims += [make_claim(text, ["score"]) for text in found.disagreements]
    if TAG_QUESTION.search(question.plain):
        claims.append(make_claim("That stands whichever way the question is put.", ["score"]))
    return Draft(tuple(claims), (found,))


def reply_each(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The recorded verdict of each picture that the question names."""
    found = [show_findings(subject, name) for name in entities.pictures]
    return Draft(tuple(map(verdict_claim, found)), tuple(found))


def reply_why(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The claims that the verdict rests on."""
    found = show_findings(subject, entities.picture)
    reasons = list(found.claims[:MAX_REASONS])
    if found.label == "undecided" and found.why_undecided:
        reasons.insert(0, make_claim(found.why_undecided, ["score"]))
    lead = _premise_denied(question.plain, entities.label, found.label)
    return Draft((verdict_claim(found, lead), *reasons), (found,))


def _premise_denied(plain: str, supposed: Label | None, label: Label | None) -> str:
    """ "It is not undecided: " for a "why" that supposes another label than the recorded one."""
    if label is None or supposed in (None, label) or not plain.startswith("why") or NEGATION.search(plain):
        return ""
    return f"It is not {supposed}: "


def reply_confidence(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Score and threshold, calibration set, and instability of the decision."""
    found = show_findings(subject, entities.picture)
    claims = [verdict_claim(found), *_score_claims(found)]
    known = found.calibration
    if known is None:
        text = "There is no calibration behind it, so no probability can be given."
        claims.append(make_claim(text, ["score"]))
        return Draft(tuple(claims), (found,))
    if found.threshold is not None and found.score is not None:
        side = "above" if found.score > found.threshold else "not above"
        claims.append(
            make_claim(
                f"The score of {found.score:.3g} is {side} the threshold of {found.threshold:.3g}.", ["score"]
            )
        )
    claims.append(
        make_claim(
            f"With the {known.normals} calibration pictures drawn again, "
            f"{100 * known.instability:.3g} % of the decisions would flip.",
            ["score"],
        )
    )
    if found.label == "anomalous":
        claims.append(_rate_claim(subject.picture(entities.picture), known))
    if found.label == "normal":
        claims.append(
            make_claim("How often a defect is missed is not known from normal pictures.", ["score"])
        )
    return Draft(tuple(claims), (found,))


def _rate_claim(record: Record, known: Calibration) -> Claim:
    """How often a normal picture is called anomalous, or that this can't be promised any more."""
    shift = record.input_shift
    if shift is not None and shift.drift is not None:
        return make_claim(drift_claim(shift.drift).text, ["score"])
    why = "that was asked for" if known.default_rate is None else "which the normal pictures support at best"
    rate = f"{100 * known.false_alarm_rate:.3g} % of the cases"
    often = f"about {rate}" if known.approximate else f"{rate} at most"
    text = f"A normal picture is called anomalous in {often}: that is the false-alarm rate {why}."
    return make_claim(text, ["score"])


def reply_severity(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Severity by the policy, with its reason."""
    region = entities.regions[0] if entities.regions else None
    graded = explain_severity(subject, region, entities.picture)
    what = region or "It"
    if graded.if_real:
        text = f"Undecided; if the finding is real, its severity is {graded.severity}: {graded.reason}."
    elif graded.level == 0:
        text = f"{what} has severity none: {graded.reason}."
    else:
        text = f"{what} is {graded.severity} ({graded.level} of 4): {graded.reason}."
    steps = (
        f"The policy says moderate from {100 * graded.moderate_from:g} % of the area, major from "
        f"{100 * graded.major_from:g} %, critical from {100 * graded.critical_from:g} %."
    )
    scale = SeverityScale(ids=(), highest=4)
    return Draft((make_claim(text, graded.ids), make_claim(steps, graded.ids)), (graded, scale))


class SeverityScale(Result):
    """The scale of severities."""

    highest: int


def reply_action(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Recommended action by verdict and severity; a person decides."""
    found = show_findings(subject, entities.picture)
    used: list[Result] = [found]
    label = found.label or "undecided"
    claims = [verdict_claim(found)]
    level = 0
    ids: tuple[str, ...] = ("score",)
    if label == "anomalous":
        graded = explain_severity(subject, None, entities.picture)
        used.append(graded)
        level, ids = graded.level, graded.ids or ids
        claims.append(make_claim(f"Severity {graded.severity}: {graded.reason}.", ids))
    advice = ADVICE[label]
    claims.append(make_claim(f"{advice[min(level, len(advice) - 1)]}; the decision is yours.", ids))
    if label == "undecided" and found.why_undecided:
        claims.append(make_claim(found.why_undecided, ["score"]))
    return Draft(tuple(claims), tuple(used))


def verdict_claim(found: PictureFindings, lead: str = "") -> Claim:
    """The recorded label in one sentence."""
    ids = ("score", *(region.region for region in found.regions[:1]))
    if found.error is not None and found.label is None:
        return make_claim(f"{found.picture} could not be judged: {found.error}", ["score"])
    if found.label == "anomalous":
        what = ", ".join(filter(None, [found.kind, f"severity {found.severity}"]))
        return make_claim(f"{lead}{found.picture} is anomalous ({what}).", ids)
    if found.label == "normal":
        return make_claim(f"{lead}{found.picture} is normal.", ["score"])
    return make_claim(f"{lead}{found.picture} is undecided.", ["score"])


def _score_claims(found: PictureFindings) -> list[Claim]:
    return [claim for claim in found.claims if claim.evidence == ("score",)][:1]


def _yes_or_no(plain: str, label: Label | None) -> str:
    """ "Yes: " or "No: " for a question about only one of defective and normal, where there is a verdict."""
    asked = LEADING_AUXILIARY.sub("", strip_file_names(TAG_QUESTION.sub("", plain)))
    bad, good = DEFECT_WORDS.search(asked) is not None, NORMAL_WORDS.search(asked) is not None
    if bad == good or label not in ("normal", "anomalous") or re.search(r"\bor\b", asked):
        return ""
    asks_bad = bad != (NEGATION.search(asked) is not None)
    return "Yes: " if asks_bad == (label == "anomalous") else "No: "


MAX_REGIONS = 5
"""Regions that are described one by one."""


def reply_where(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Position word, box and borders of the regions."""
    found = show_findings(subject, entities.picture)
    regions = _select_regions(found, entities)
    if not regions:
        return _no_region_draft(found)
    claims = _lead_in(found)
    for region in regions[:MAX_REGIONS]:
        x0, y0, x1, y1 = region.box
        claims.append(
            make_claim(
                f"{region.region} is {_position_phrase(region.position)}: "
                f"x {x0} to {x1}, y {y0} to {y1} pixels.",
                region.ids,
            )
        )
    return Draft((*claims, *_remaining_claims(regions)), (found, _remaining_count(regions)))


def reply_kind(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The kind of each region: of similar labelled cases, or else by shape and contrast."""
    found = show_findings(subject, entities.picture)
    regions = _select_regions(found, entities)
    if not regions:
        return _no_region_draft(found)
    claims = _lead_in(found)
    claims += [_kind_claim(region) for region in regions[:MAX_REGIONS]]
    return Draft((*claims, *_remaining_claims(regions)), (found, _remaining_count(regions)))


def reply_describe(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The measured description of each region."""
    found = show_findings(subject, entities.picture)
    regions = _select_regions(found, entities)
    if not regions:
        return _no_region_draft(found)
    claims = _lead_in(found)
    claims += [make_claim(region.sentence, region.ids) for region in regions[:3]]
    used: list[Result] = [found]
    if "colo" in question.plain and not any(" by " in region.sentence for region in regions[:1]):
        measured = measure_region(subject, regions[0].region, entities.picture)
        used.append(measured)
        text = (
            f"The colour of {measured.region} shifts by {measured.colour_shift:g} CIELAB units: not notably."
        )
        claims.append(make_claim(text, measured.ids))
    return Draft(tuple(claims), tuple(used))


def reply_count(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The number of regions, by kind."""
    counted = count_regions(subject, entities.picture, entities.position)
    found = show_findings(subject, entities.picture)
    place = f" at the {entities.position}" if entities.position else ""
    if counted.count == 0:
        return Draft(
            (make_claim(f"None: no place is marked{place}.", ["score"]), verdict_claim(found)),
            (counted, found),
        )
    number = regions_counted(found.regions, len(found.regions) - counted.count)
    what = "place is marked" if number == "1" else "places are marked"
    they = "It covers" if number == "1" else "Together they cover"
    more = "" if number.isdigit() else "at least "
    kinds = join_words([f"{number} × {kind}" for kind, number in counted.by_kind.items()])
    claims = [
        make_claim(f"{number.capitalize()} {what}{place}: {kinds}.", counted.ids),
        make_claim(f"{they} {more}{counted.total_percent:g} % of the inspected area.", counted.ids),
    ]
    return Draft((*_lead_in(found), *claims), (counted, found))


def reply_measure(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Size, length and contrast of a region; or its distance to a border or to another region."""
    found = show_findings(subject, entities.picture)
    regions = _select_regions(found, entities)
    if not regions:
        return _no_region_draft(found)
    picture = entities.pictures[0] if entities.pictures else None
    used: list[Result] = [found]
    if len(regions) > 1 and len(entities.regions) > 1 and not _DISTANCE.search(question.plain):
        return _size_comparison(
            found, [measure_region(subject, each.region, picture) for each in regions[:2]]
        )
    if len(entities.regions) > 1 or (
        len(regions) > 1 and re.search(r"\b(?:apart|between)\b", question.plain)
    ):
        distance = measure_distance(subject, regions[0].region, regions[1].region, picture)
        text = (
            f"{distance.first} and {distance.second} are {distance.gap} px apart, "
            f"{distance.centres} px from centre to centre."
        )
        return Draft((make_claim(text, distance.ids),), (found, distance))
    region = regions[0]
    claims = _lead_in(found)
    if entities.side or re.search(r"\b(?:edge|border|rim)\b", question.plain):
        sides = [entities.side] if entities.side else ["left", "top", "right", "bottom"]
        distances = [measure_distance(subject, region.region, side, picture) for side in sides]
        nearest = min(distances, key=lambda each: each.gap)
        text = f"{region.region} is {nearest.gap} px from the {nearest.second} edge of the picture."
        return Draft((*claims, make_claim(text, nearest.ids)), (found, *distances))
    measured = measure_region(subject, region.region, picture)
    used.append(measured)
    claims.append(_size_claim(measured))
    if "contrast" in question.plain or "darker" in question.plain or "lighter" in question.plain:
        claims.insert(0, _contrast_claim(measured))
    return Draft(tuple(claims), tuple(used))


_DISTANCE = re.compile(r"\b(?:apart|between|far|distan\w+|close\w*|near\w*|gap|space)\b")


def _size_comparison(found: PictureFindings, measured: Sequence[RegionMeasures]) -> Draft:
    """Which of two regions is larger by area, and the sizes of both."""
    one, other = sorted(measured, key=lambda each: -each.area)
    how = "is larger than" if one.area > other.area else "is as large as"
    lead = make_claim(f"{one.region} {how} {other.region} by its area.", (one.region, other.region))
    return Draft((lead, *map(_size_claim, measured)), (found, *measured))


def reply_change(subject: Subject, question: Question, entities: Entities) -> Draft:
    """What is missing, extra or changed in comparison with the reference."""
    found = show_findings(subject, entities.picture)
    record = subject.picture(entities.picture)
    if record.basis != "reference":
        text = "It was compared with normal pictures, not with one reference, so what changed can't be told."
        helps = "Inspect it with --reference and one good picture of the same thing."
        return Draft((make_claim(text, ["score"]),), (found,), helps)
    if not found.regions:
        return Draft((make_claim("Nothing differs from the reference.", ["score"]),), (found,))
    counted = count_regions(subject, entities.picture)
    changes = [region.change or "changed" for region in found.regions]
    counts = {name: changes.count(name) for name in ("missing", "extra", "changed") if name in changes}
    tally = _ChangeCounts(ids=_region_ids(found.regions), changes=counts)
    said = join_words([f"{number} {name}" for name, number in counts.items()])
    verb = "place differs" if counted.count == 1 else "places differ"
    number = regions_counted(found.regions).capitalize()
    claims = [make_claim(f"{number} {verb} from the reference: {said}.", counted.ids)]
    claims += [
        make_claim(
            f"{region.region}: {region.change or 'changed'} {_position_phrase(region.position)}"
            f"{_known_kind_phrase(region)}.",
            region.ids,
        )
        for region in found.regions[: 2 * MAX_REGIONS]
    ]
    return Draft(tuple(claims), (found, counted, tally))


def reply_compare(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Compare a region with its normal counterpart, or two pictures of a batch."""
    if len(entities.pictures) == 2:
        both = compare_pictures(subject, *entities.pictures)
        text = f"{both.higher} scores higher, by {both.score_difference:.3g}."
        if not both.score_difference:
            text = f"Both score alike: {both.first.score:.3g}."
        if len({subject.picture(name).profile_digest for name in entities.pictures}) > 1:
            text = "Their scores can't be compared: they were judged by different profiles."
        verdicts = [verdict_claim(both.first), verdict_claim(both.second)]
        return Draft((*verdicts, make_claim(text, both.ids)), (both,))
    found = show_findings(subject, entities.picture)
    regions = _select_regions(found, entities)
    if not regions:
        return _no_region_draft(found)
    beside = compare_with_normal(subject, regions[0].region, entities.picture)
    way = f"{abs(beside.difference):g} {'darker' if beside.difference < 0 else 'lighter'}"
    way = way if beside.difference else "as bright"
    claims = [
        make_claim(
            f"There {beside.against} has a mean grey level of {beside.normal_mean_grey:g}; "
            f"{beside.region} has {beside.mean_grey:g}, which is {way}.",
            beside.ids,
        ),
        make_claim(
            f"The normal grey levels vary by {beside.normal_deviation:g}, those of {beside.region} by "
            f"{beside.deviation:g}.",
            beside.ids,
        ),
        make_claim(regions[0].sentence, regions[0].ids),
    ]
    if beside.file is not None:
        claims.append(make_claim(f"Both side by side: {beside.file}", beside.ids))
    return Draft(tuple(claims), (found, beside))


class _RemainingCount(Result):
    left: int


class _ChangeCounts(Result):
    changes: dict[str, int]


def _select_regions(found: PictureFindings, entities: Entities) -> tuple[FoundRegion, ...]:
    """The regions that the question names, the largest or smallest one, or all."""
    regions = found.regions
    if entities.regions:
        return tuple(region for region in regions if region.region in entities.regions)
    if entities.order in ("largest", "biggest"):
        return tuple(sorted(regions, key=lambda region: -region.area)[:1])
    if entities.order == "smallest":
        return tuple(sorted(regions, key=lambda region: region.area)[:1])
    return regions


def _no_region_draft(found: PictureFindings) -> Draft:
    text = "No single place is marked in this picture."
    return Draft((verdict_claim(found), make_claim(text, ["score"])), (found,))


def _lead_in(found: PictureFindings) -> list[Claim]:
    """The lead sentence where regions are marked in a picture that isn't anomalous."""
    if found.label == "anomalous":
        return []
    if found.label == "normal":
        return [
            make_claim("The picture as a whole is normal; what stands out most in it is this.", ["score"])
        ]
    return [make_claim("Whether this is a defect is undecided; what stands out most is this.", ["score"])]


def _position_phrase(position: str) -> str:
    places = {"centre": "in the centre", "left": "on the left", "right": "on the right"}
    return places.get(position, f"at the {position}")


def _known_kind_phrase(region: FoundRegion) -> str:
    known = region.known
    if known is None:
        return ""
    like = f'like known cases of "{known.name}"' if known.name else "unlike any known kind"
    return f", {like} (similarity {known.similarity:.2f})"


def _kind_claim(region: FoundRegion) -> Claim:
    known = region.known
    if known is not None and known.name is not None:
        text = f'{region.region} is like known cases of "{known.name}" (similarity {known.similarity:.2f}).'
        return make_claim(text, (*region.ids, *known.cases))
    unlike = "unlike any known kind; it " if known is not None else ""
    text = f"{region.region} {'is ' if unlike else ''}{unlike}looks like {with_article(region.kind)}"
    return make_claim(f"{text}, going by shape and contrast alone.", region.ids)


def _remaining_claims(regions: tuple[FoundRegion, ...]) -> list[Claim]:
    left = regions[MAX_REGIONS:]
    if not left:
        return []
    text = f"{len(left)} more with lower peaks: {join_words(_region_ids(left))}."
    return [make_claim(text, _region_ids(left))]


def _remaining_count(regions: tuple[FoundRegion, ...]) -> _RemainingCount:
    return _RemainingCount(ids=_region_ids(regions), left=max(0, len(regions) - MAX_REGIONS))


def _region_ids(regions: tuple[FoundRegion, ...]) -> tuple[str, ...]:
    return tuple(region.region for region in regions)


def _size_claim(measured: RegionMeasures) -> Claim:
    text = (
        f"{measured.region} is {measured.width} × {measured.height} px, {measured.area} px in area "
        f"({measured.percent:g} % of the inspected area), about {measured.length} px long and "
        f"{measured.thickness} px wide."
    )
    return make_claim(text, measured.ids)


def _contrast_claim(measured: RegionMeasures) -> Claim:
    tone = "as bright as" if measured.tone == "same" else f"{measured.tone} than"
    text = (
        f"{measured.region} is {tone} its surroundings: {measured.contrast:g} grey levels, "
        f"{measured.contrast_sigma:g} of their deviations."
    )
    return make_claim(text, measured.ids)
