"""Replies about what was found: where, what kind, how it looks, how large, how many, what changed."""

from __future__ import annotations

import re

from anomalist.agent.asking.draft import Draft, say
from anomalist.agent.asking.named import Named
from anomalist.agent.asking.question import Question
from anomalist.agent.asking.verdicts import verdict_claim
from anomalist.agent.tools.looking import (
    Findings,
    FoundRegion,
    compare_pictures,
    compare_with_normal,
    show_findings,
)
from anomalist.agent.tools.measuring import Measures, count_regions, measure_distance, measure_region
from anomalist.agent.tools.subject import Result, Subject
from anomalist.agent.wording import listing, with_article
from anomalist.types import Claim

TOLD = 5
"""Regions that are told one by one."""


def reply_where(subject: Subject, question: Question, named: Named) -> Draft:
    """Position word, box and borders of the regions."""
    found = show_findings(subject, named.picture)
    regions = _asked(found, named)
    if not regions:
        return _nothing(found)
    claims = _lead_in(found)
    for region in regions[:TOLD]:
        x0, y0, x1, y1 = region.box
        claims.append(
            say(
                f"{region.region} is {_at(region.position)}: x {x0} to {x1}, y {y0} to {y1} pixels.",
                region.ids,
            )
        )
    return Draft((*claims, *_rest(regions)), (found, _left(regions)))


def reply_kind(subject: Subject, question: Question, named: Named) -> Draft:
    """The labelled kind that a region is like, or else what its shape and contrast look like."""
    found = show_findings(subject, named.picture)
    regions = _asked(found, named)
    if not regions:
        return _nothing(found)
    claims = _lead_in(found)
    claims += [_kind_claim(region) for region in regions[:TOLD]]
    return Draft((*claims, *_rest(regions)), (found, _left(regions)))


def reply_describe(subject: Subject, question: Question, named: Named) -> Draft:
    """Each region as it was measured."""
    found = show_findings(subject, named.picture)
    regions = _asked(found, named)
    if not regions:
        return _nothing(found)
    claims = _lead_in(found)
    claims += [say(region.sentence, region.ids) for region in regions[:3]]
    used: list[Result] = [found]
    if "colo" in question.plain and not any(" by " in region.sentence for region in regions[:1]):
        measured = measure_region(subject, regions[0].region, named.picture)
        used.append(measured)
        text = (
            f"The colour of {measured.region} shifts by {measured.colour_shift:g} CIELAB units: not notably."
        )
        claims.append(say(text, measured.ids))
    return Draft(tuple(claims), tuple(used))


def reply_count(subject: Subject, question: Question, named: Named) -> Draft:
    """How many regions there are, by kind."""
    counted = count_regions(subject, named.picture, named.position)
    found = show_findings(subject, named.picture)
    place = f" at the {named.position}" if named.position else ""
    if counted.count == 0:
        return Draft(
            (say(f"None: no place is marked{place}.", ["score"]), verdict_claim(found)), (counted, found)
        )
    what = "place is marked" if counted.count == 1 else "places are marked"
    kinds = listing([f"{number} × {kind}" for kind, number in counted.by_kind.items()])
    claims = [
        say(f"{counted.count} {what}{place}: {kinds}.", counted.ids),
        say(f"Together they cover {counted.total_percent:g} % of the inspected area.", counted.ids),
    ]
    return Draft((*_lead_in(found), *claims), (counted, found))


def reply_measure(subject: Subject, question: Question, named: Named) -> Draft:
    """Size, length, contrast; or the distance to a border or between two regions."""
    found = show_findings(subject, named.picture)
    regions = _asked(found, named)
    if not regions:
        return _nothing(found)
    picture = named.pictures[0] if named.pictures else None
    used: list[Result] = [found]
    if len(named.regions) > 1 or (len(regions) > 1 and re.search(r"\b(?:apart|between)\b", question.plain)):
        distance = measure_distance(subject, regions[0].region, regions[1].region, picture)
        text = (
            f"{distance.first} and {distance.second} are {distance.gap} px apart, "
            f"{distance.centres} px from centre to centre."
        )
        return Draft((say(text, distance.ids),), (found, distance))
    region = regions[0]
    claims = _lead_in(found)
    if named.side or re.search(r"\b(?:edge|border|rim)\b", question.plain):
        sides = [named.side] if named.side else ["left", "top", "right", "bottom"]
        distances = [measure_distance(subject, region.region, side, picture) for side in sides]
        nearest = min(distances, key=lambda each: each.gap)
        text = f"{region.region} is {nearest.gap} px from the {nearest.second} edge of the picture."
        return Draft((*claims, say(text, nearest.ids)), (found, *distances))
    measured = measure_region(subject, region.region, picture)
    used.append(measured)
    claims.append(_size_claim(measured))
    if "contrast" in question.plain or "darker" in question.plain or "lighter" in question.plain:
        claims.insert(0, _contrast_claim(measured))
    return Draft(tuple(claims), tuple(used))


def reply_change(subject: Subject, question: Question, named: Named) -> Draft:
    """What is missing, extra or changed against the reference."""
    found = show_findings(subject, named.picture)
    record = subject.picture(named.picture)
    if record.basis != "reference":
        text = "It was compared with normal pictures, not with one reference, so what changed can't be told."
        helps = "Inspect it with --reference and one good picture of the same thing."
        return Draft((say(text, ["score"]),), (found,), helps)
    if not found.regions:
        return Draft((say("Nothing differs from the reference.", ["score"]),), (found,))
    counted = count_regions(subject, named.picture)
    changes = [region.change or "changed" for region in found.regions]
    counts = {name: changes.count(name) for name in ("missing", "extra", "changed") if name in changes}
    tally = _Tally(ids=_ids(found.regions), changes=counts)
    said = listing([f"{number} {name}" for name, number in counts.items()])
    verb = "place differs" if counted.count == 1 else "places differ"
    claims = [say(f"{counted.count} {verb} from the reference: {said}.", counted.ids)]
    claims += [
        say(
            f"{region.region}: {region.change or 'changed'} {_at(region.position)}{_like(region)}.",
            region.ids,
        )
        for region in found.regions[: 2 * TOLD]
    ]
    return Draft(tuple(claims), (found, counted, tally))


def reply_compare(subject: Subject, question: Question, named: Named) -> Draft:
    """A region beside what is normal there, or two pictures of a batch."""
    if len(named.pictures) == 2:
        both = compare_pictures(subject, *named.pictures)
        text = f"{both.higher} scores higher, by {both.score_difference:.3g}."
        verdicts = [verdict_claim(both.first), verdict_claim(both.second)]
        return Draft((*verdicts, say(text, both.ids)), (both,))
    found = show_findings(subject, named.picture)
    regions = _asked(found, named)
    if not regions:
        return _nothing(found)
    beside = compare_with_normal(subject, regions[0].region, named.picture)
    way = "darker" if beside.difference < 0 else "lighter"
    claims = [
        say(
            f"There {beside.against} has a mean grey level of {beside.normal_mean_grey:g}; "
            f"{beside.region} has {beside.mean_grey:g}, which is {abs(beside.difference):g} {way}.",
            beside.ids,
        ),
        say(
            f"The normal grey levels vary by {beside.normal_deviation:g}, those of {beside.region} by "
            f"{beside.deviation:g}.",
            beside.ids,
        ),
        say(regions[0].sentence, regions[0].ids),
    ]
    if beside.file is not None:
        claims.append(say(f"Both side by side: {beside.file}", beside.ids))
    return Draft(tuple(claims), (found, beside))


class _Left(Result):
    left: int


class _Tally(Result):
    changes: dict[str, int]


def _asked(found: Findings, named: Named) -> tuple[FoundRegion, ...]:
    """The regions that a question is about: named ones, those at a place, the largest, or all."""
    regions = found.regions
    if named.regions:
        return tuple(region for region in regions if region.region in named.regions)
    if named.order in ("largest", "biggest"):
        return tuple(sorted(regions, key=lambda region: -region.area)[:1])
    if named.order == "smallest":
        return tuple(sorted(regions, key=lambda region: region.area)[:1])
    return regions


def _nothing(found: Findings) -> Draft:
    text = "No single place is marked in this picture."
    return Draft((verdict_claim(found), say(text, ["score"])), (found,))


def _lead_in(found: Findings) -> list[Claim]:
    """What comes first where something is marked and the picture isn't called anomalous."""
    if found.label == "anomalous":
        return []
    if found.label == "normal":
        return [say("The picture as a whole is normal; what stands out most in it is this.", ["score"])]
    return [say("Whether this is a defect is undecided; what stands out most is this.", ["score"])]


def _at(position: str) -> str:
    places = {"centre": "in the centre", "left": "on the left", "right": "on the right"}
    return places.get(position, f"at the {position}")


def _like(region: FoundRegion) -> str:
    known = region.known
    if known is None:
        return ""
    like = f'like known cases of "{known.name}"' if known.name else "unlike any known kind"
    return f", {like} (similarity {known.similarity:.2f})"


def _kind_claim(region: FoundRegion) -> Claim:
    known = region.known
    if known is not None and known.name is not None:
        text = f'{region.region} is like known cases of "{known.name}" (similarity {known.similarity:.2f}).'
        return say(text, (*region.ids, *known.cases))
    unlike = "unlike any known kind; it " if known is not None else ""
    text = f"{region.region} {'is ' if unlike else ''}{unlike}looks like {with_article(region.kind)}"
    return say(f"{text}, going by shape and contrast alone.", region.ids)


def _rest(regions: tuple[FoundRegion, ...]) -> list[Claim]:
    left = regions[TOLD:]
    if not left:
        return []
    text = f"{len(left)} more with lower peaks: {listing(_ids(left))}."
    return [say(text, _ids(left))]


def _left(regions: tuple[FoundRegion, ...]) -> _Left:
    return _Left(ids=_ids(regions), left=max(0, len(regions) - TOLD))


def _ids(regions: tuple[FoundRegion, ...]) -> tuple[str, ...]:
    return tuple(region.region for region in regions)


def _size_claim(measured: Measures) -> Claim:
    text = (
        f"{measured.region} is {measured.width} × {measured.height} px, {measured.area} px in area "
        f"({measured.percent:g} % of the inspected area), about {measured.length} px long and "
        f"{measured.thickness} px wide."
    )
    return say(text, measured.ids)


def _contrast_claim(measured: Measures) -> Claim:
    tone = "as bright as" if measured.tone == "same" else f"{measured.tone} than"
    text = (
        f"{measured.region} is {tone} its surroundings: {measured.contrast:g} grey levels, "
        f"{measured.contrast_sigma:g} of their deviations."
    )
    return say(text, measured.ids)
