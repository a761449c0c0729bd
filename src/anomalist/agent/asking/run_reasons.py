"""Replies to why questions: why not found, what would make it sure, why so severe, what a run rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.picture_replies import reply_confidence
from anomalist.agent.asking.question import Entities, Question
from anomalist.agent.asking.run_replies import (
    QUERY_ID,
    RunDraft,
    numbers_of,
    percent_text,
    phrase_conditions,
    query_draft,
)
from anomalist.agent.asking.run_tables import RunTables
from anomalist.agent.reasoning.severity import region_severity
from anomalist.agent.reasoning.wording import join_words, reference_kind, regions_counted, with_article
from anomalist.agent.tools.decision import explain_severity
from anomalist.agent.tools.subject import ProbeResult, Result, Subject
from anomalist.querying.execution import run_query
from anomalist.querying.query import Condition, Query, Value
from anomalist.querying.tables import Tables
from anomalist.types.common import SEVERITIES, Claim
from anomalist.types.image import Record

NEAREST = 3
"""Pictures nearest to the threshold that are named."""

_WHAT_IF_RATE = 2.0
"""How many times the asked rate is tried, where defects were not found."""


class _Numbers(Result):
    numbers: tuple[float, ...]


def missed_draft(known: RunTables, where: Sequence[Condition]) -> RunDraft:
    """Why defects were not found: scores, thresholds and p-values of what was called normal there.

    Where blind probes of the profile were made, also how many painted defects it finds.
    """
    tables = known.tables
    normal = (*where, Condition(column="label", values=("normal",)))
    shown = ("name", "score", "threshold", "p_value", "rate", "regions")
    query = Query(where=normal, measure="list", sort="p_value", show=shown)
    result = run_query(tables, query)
    every = run_query(tables, Query(where=tuple(where)))
    _, after = phrase_conditions(where)
    of = f" {after}" if after else ""
    text = f"{result.matched:,} of {every.matched:,} pictures{of} were called normal."
    claims = [make_claim(text, (QUERY_ID,))]
    used: list[Result] = [numbers_of(result), numbers_of(every)]
    text = "Whether a defect is on them the records don't say: they hold no ground truth."
    claims.append(make_claim(text, (QUERY_ID,)))
    claims += [claim for row in result.rows[:NEAREST] for claim in _near_claims(row)]
    rate = run_query(tables, Query(where=normal, measure="max", of="rate")).value
    if rate is not None:
        wider = _WHAT_IF_RATE * rate
        below = Condition(column="p_value", operator="<=", values=(wider,))
        more = run_query(tables, Query(where=(*normal, below)))
        used += [numbers_of(more), _Numbers(ids=(QUERY_ID,), numbers=(wider, rate))]
        at = f"At a false-alarm rate of {percent_text(wider)}"
        text = f"{at}, {more.matched:,} of them would be called anomalous."
        claims.append(make_claim(text, (QUERY_ID,)))
    probed = known.probes()
    for row in run_query(tables, Query(where=tuple(where), by=("profile",))).rows:
        if (profile := str(row[0])) in probed:
            claims += _probe_claims(profile, probed[profile], used)
    text = (
        "What would help: name the missed ones, so that they count as labelled defects (learn --defects), "
        "more normal pictures, or a higher false-alarm rate."
    )
    claims.append(make_claim(text, (QUERY_ID,)))
    return RunDraft(Draft(tuple(claims), tuple(used)), query, query.reading(result.of), "missed")


def _probe_claims(profile: str, probes: ProbeResult, used: list[Result]) -> list[Claim]:
    """What blind probes say a profile misses: of all, and by contrast where that is most."""
    painted, found = (sum(getattr(cell, what) for cell in probes.cells) for what in ("painted", "found"))
    if not painted:
        return []
    day = probes.time[:10]
    weakest = min(cell.contrast for cell in probes.cells)
    faint = [cell for cell in probes.cells if cell.contrast == weakest]
    faint_found, faint_painted = sum(cell.found for cell in faint), sum(cell.painted for cell in faint)
    numbers = (found, painted, 100 * weakest, faint_found, faint_painted, *map(float, day.split("-")))
    used.append(_Numbers(ids=(probes.entry,), numbers=numbers))
    text = (
        f"Blind probes of {profile} on {day} found {found} of {painted} painted defects; "
        f"of those with a contrast of {100 * weakest:g} % {faint_found} of {faint_painted}."
    )
    return [make_claim(text, (probes.entry,))]


def _near_claims(row: Sequence[Value | None]) -> list[Claim]:
    """Score, threshold and p-value of a picture that was called normal, and whether a place was marked."""
    name, score, threshold, p_value, rate, regions = row
    if not isinstance(score, float) or not isinstance(p_value, float) or not isinstance(rate, float):
        return []
    limit = f" under its threshold of {threshold:.3g}" if isinstance(threshold, float) else ""
    text = f"{name}: score {score:.3g}{limit}, p = {p_value:.3g}, above the rate of {percent_text(rate)}"
    seen = (
        f"{regions:.0f} marked all the same"
        if isinstance(regions, float) and regions
        else "no place stands out"
    )
    return [make_claim(f"{text}; {seen}.", (str(name),))]


def sure_draft(tables: Tables, where: Sequence[Condition]) -> RunDraft:
    """What would settle the undecided ones: their reasons, and how far the calibration reaches."""
    undecided = (*where, Condition(column="label", values=("undecided",)))
    reasons = Query(where=undecided, by=("why",))
    result = run_query(tables, reasons)
    made = query_draft(result, intent="sure")
    needs = run_query(tables, Query(where=undecided, measure="min", of="normals"))
    text = "What would help: a person's look at them, and more normal pictures to calibrate on"
    text += f" (there are {needs.value:.3g} now)." if needs.value is not None else "."
    claim = make_claim(text, (QUERY_ID,))
    draft = Draft((*made.draft.claims, claim), (*made.draft.used, numbers_of(needs)))
    return RunDraft(draft, reasons, result.reading, "sure")


def reply_sure(subject: Subject, question: Question, entities: Entities) -> Draft:
    """What would make the verdict on one picture surer: its distance to the threshold, and more normals."""
    made = reply_confidence(subject, question, entities)
    known = subject.picture(entities.picture).calibration
    text = "What would help: a person's look at it, and more normal pictures of the same kind to calibrate on"
    used = list(made.used)
    if known is not None:
        text += f" (there are {known.normals} now)"
        used.append(_Numbers(ids=(), numbers=(known.normals,)))
    return Draft((*made.claims, make_claim(f"{text}.", ("score",))), tuple(used))


def reply_severity_steps(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Why this severity and not another: the line of the policy, and what would have to change."""
    record = subject.picture(entities.picture)
    graded = explain_severity(subject, None, entities.picture)
    level = graded.level
    named = [SEVERITIES.index(word) for word in SEVERITIES[1:] if re.search(rf"\b{word}\b", question.plain)]
    lower = [each for each in named if each < level]
    target = max(lower) if lower else max(level - 1, 1)
    used: list[Result] = [graded, _Numbers(ids=(), numbers=(4.0, float(level)))]
    lead = f"If the finding on {graded.picture} is real, it is" if graded.if_real else f"{graded.picture} is"
    text = f"{lead} {graded.severity} ({level} of 4): {graded.reason}."
    claims = [make_claim(text, graded.ids)]
    if level <= 1 or not record.regions:
        return Draft(tuple(claims), tuple(used))
    claims += _policy_claims(subject, record, used)
    wanted = [each for each in named if each != level] or [target]
    for other in sorted(set(wanted), reverse=True)[:2]:
        claims.append(_step_claim(subject, record, level, other, used))
    return Draft(tuple(claims), tuple(used))


def _policy_claims(subject: Subject, record: Record, used: list[Result]) -> list[Claim]:
    """The lines of the policy that set the level: steps of the area, floor of the kind, several regions."""
    policy, size = subject.policy, (record.height or 1, record.width or 1)
    worst = max(record.regions, key=lambda region: region_severity(region, size, policy).level)
    kind, share = reference_kind(worst, size), worst.attributes.relative_size
    area = policy.area
    text = (
        f"The policy: area.moderate = {percent_text(area.moderate)}, "
        f"area.major = {percent_text(area.major)}, area.critical = {percent_text(area.critical)} of the "
        f"inspected area; {worst.id} covers {percent_text(share)}. Its floor for {with_article(kind)} is "
        f"{policy.floors[kind]}."
    )
    used.append(_Numbers(ids=(worst.id,), numbers=(area.moderate, area.major, area.critical, share)))
    claims = [make_claim(text, (worst.id,))]
    if len(record.regions) >= policy.several_regions:
        counted = f"with {regions_counted(record.regions)} regions it counts one step more"
        text = f"several_regions = {policy.several_regions}: {counted}."
        used.append(_Numbers(ids=(worst.id,), numbers=(policy.several_regions, len(record.regions))))
        claims.append(make_claim(text, (worst.id,)))
    return claims


def _step_claim(subject: Subject, record: Record, level: int, target: int, used: list[Result]) -> Claim:
    """What would have to change for another level."""
    policy, size = subject.policy, (record.height or 1, record.width or 1)
    steps = {2: policy.area.moderate, 3: policy.area.major, 4: policy.area.critical}
    ids = tuple(region.id for region in record.regions)
    word = SEVERITIES[target]
    if target > level:
        share = steps[target]
        used.append(_Numbers(ids=ids, numbers=(share,)))
        return make_claim(
            f"It would be {word} with a region of {percent_text(share)} of the area or more.", ids[:1]
        )
    changes: list[str] = []
    numbers: list[float] = []
    several = len(record.regions) >= policy.several_regions
    for region in record.regions:
        grade = region_severity(region, size, policy)
        if grade.level <= target:
            continue
        numbers.append(steps[target + 1])
        kind = reference_kind(region, size)
        if SEVERITIES.index(policy.floors[kind]) > target:
            changes.append(f"{region.id} were no {kind} (its floor is {policy.floors[kind]})")
        if region.attributes.relative_size >= steps[target + 1]:
            changes.append(f"{region.id} covered less than {percent_text(steps[target + 1])}")
    if several:  # they raise what is left by one step
        changes.append(f"there were fewer than {policy.several_regions} regions")
        numbers.append(policy.several_regions)
    used.append(_Numbers(ids=ids, numbers=tuple(numbers)))
    what = join_words(changes) if changes else "its zone raised it less"
    return make_claim(f"It would be {word} or less if {what}.", ids[:1] or ("score",))


def about_draft(tables: Tables, where: Sequence[Condition]) -> RunDraft:
    """What a run was judged by: profiles, rate, calibration, time, and how far the labels can be trusted."""
    query = Query(where=tuple(where), by=("profile",))
    profiles = run_query(tables, query)
    used: list[Result] = [numbers_of(profiles)]
    names = join_words([str(row[0] or "no profile") for row in profiles.rows])
    claims = [make_claim(f"{profiles.matched:,} pictures were judged by {names}.", (QUERY_ID,))]
    for column, sentence in (
        ("reasoner", "The verdicts were reasoned by {}."),
        ("model", "The language model that was asked: {}."),
        ("rate", "The false-alarm rate that was decided at: {}."),
        ("normals", "Normal pictures that calibrate the scores: {}."),
    ):
        values = run_query(tables, Query(where=tuple(where), by=(column,)))
        used.append(numbers_of(values))
        known = [row[0] for row in values.rows if row[0] not in (None, "")]
        words = [
            percent_text(float(v)) if column == "rate" else f"{v:g}" if isinstance(v, float) else str(v)
            for v in known
        ]
        if words:
            used.append(_Numbers(ids=(QUERY_ID,), numbers=tuple(v for v in known if isinstance(v, float))))
            claims.append(make_claim(sentence.format(join_words(words)), (QUERY_ID,)))
    days = run_query(tables, Query(where=tuple(where), by=("day",), sort=None))
    known_days = sorted(str(row[0]) for row in days.rows if row[0])
    if known_days:
        text = (
            f"Inspected from {known_days[0]} to {known_days[-1]}."
            if len(known_days) > 1
            else f"Inspected on {known_days[0]}."
        )
        claims.append(make_claim(text, (QUERY_ID,)))
        used.append(numbers_of(days))
    took = run_query(tables, Query(where=tuple(where), measure="sum", of="milliseconds")).value
    if took is not None and profiles.matched:
        mean = took / profiles.matched
        used.append(_Numbers(ids=(QUERY_ID,), numbers=(took / 1000, mean)))
        claims.append(make_claim(f"It took {took / 1000:.3g} s, {mean:.3g} ms a picture.", (QUERY_ID,)))
    text = "How many defects are missed normal pictures don't tell; false alarms are held to the rate above."
    claims.append(make_claim(text, (QUERY_ID,)))
    return RunDraft(Draft(tuple(claims), tuple(used)), query, query.reading(profiles.of), "provenance")


def why_draft(tables: Tables, where: Sequence[Condition]) -> RunDraft:
    """What was found on what was rejected, by kind; causes in production are not in the records."""
    query = Query(where=(*where, Condition(column="label", values=("anomalous",))), by=("kind",))
    result = run_query(tables, query)
    made = query_draft(result, intent="why")
    text = "What caused them in production the records don't say; ask about one picture for its reasons."
    return RunDraft(
        Draft((*made.draft.claims, make_claim(text, (QUERY_ID,))), made.draft.used),
        query,
        made.reading,
        "why",
    )
