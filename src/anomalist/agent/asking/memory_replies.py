"""Replies from memory and settings: past cases, feedback, rules, record search, rates, provenance.

Feedback is stored only when a person plainly states it.
"""

from __future__ import annotations

import re
from collections import Counter

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.question import Entities, Question, feedback_kind
from anomalist.agent.reasoning.wording import join_words, with_article
from anomalist.agent.tools.decision import RateWhatIf, change_false_alarm_rate, show_provenance
from anomalist.agent.tools.memory import (
    Judgement,
    PastCase,
    PastCases,
    apply_rules,
    list_rules,
    recall_similar_cases,
    record_feedback,
    search_records,
    undo_feedback,
)
from anomalist.agent.tools.pictures import show_findings
from anomalist.agent.tools.subject import Result, Subject
from anomalist.types.common import Claim

MAX_LISTED = 10
"""Pictures or rules that are listed by name."""

RULE_LIST = re.compile(r"\b(?:list|show|what rules|which rules are)\b")
"""Of a question about rules in lower case: it asks for all of them, not for those that fit."""

_FINE = r"(?:fine|ok|okay|good|normal|acceptable|all right|alright|false alarm)"
_CALLED_NORMAL = re.compile(rf"\b(?:{_FINE}|(?:not an?|no) (?:real )?(?:defect|fault|problem))\b")
_CALLED_WRONG = re.compile(
    rf"\bnot (?:\w+ ){{0,2}}{_FINE}\b|(?<!not a )(?<!no )\breal (?:defect|fault|problem)\b"
)
_STATEMENT = re.compile(
    r"(?:(?:no|yes|well|ok|okay|correct|correction|confirmed|wrong|right|please|good catch|you are right|"
    r"i had a look|i checked it|i checked|i looked at it)\b[,:;. ]*)*"
    r"(?:note|remember|keep in mind|put|store|mark|save|undo|revoke|withdraw|take|for the record|my finding|"
    r"i confirm|confirmed|"
    r"(?:that|this|it|r\d+|the \w+)(?: one| finding| part)?(?:'s| is| was| really is)\b|$)"
)
_WHERE_TO_BEGIN = re.compile(
    r"\b(?:look|inspect|check|see)\b.*\bfirst\b|\b(?:begin|start) with\b"
    r"|\bneed\w* a (?:second |closer )?look\b"
)
_UNDO = re.compile(r"\b(?:undo|revoke|withdraw|take (?:\S+ ){0,3}back|taken back)\b")
_CONFIRMED = re.compile(r"^(?:confirm|right|yes)|\b(?:is (?:right|correct)|well spotted|i confirm)\b")


def is_statement(question: Question) -> bool:
    """Whether a person explicitly states feedback; nothing is stored otherwise."""
    return "?" not in question.plain and _STATEMENT.match(question.plain) is not None


def reply_history(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Feedback on similar findings, and the nearest labelled cases."""
    found = show_findings(subject, entities.picture)
    past = recall_similar_cases(subject, entities.picture)
    claims = [_case_claim(case) for case in past.cases]
    for region in found.regions[:3]:
        if region.known is not None and region.known.cases:
            text = (
                f"Among the labelled cases, {region.region} is nearest to "
                f"{join_words(region.known.cases[:3])} "
                f"(similarity {region.known.similarity:.2f})."
            )
            claims.append(make_claim(text, (*region.ids, *region.known.cases)))
    if not past.cases:
        claims.insert(0, _no_case_claim(past))
    return Draft(tuple(claims), (found, past))


def reply_feedback(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Store feedback, or undo it; the reply states what was stored."""
    if _UNDO.search(question.plain):
        return _undo_draft(subject, question, entities)
    region = entities.regions[0] if entities.regions else None
    kind, severity = feedback_kind(question), _graded(question, entities)
    said = "corrected" if kind else _what_is_said(subject, question, entities.picture, severity)
    if said is None:
        text = "It is not clear what is to be remembered, so nothing was stored."
        helps = 'Say for instance: "This is fine." or "This is a scratch, severity 3."'
        return Draft((make_claim(text, ["score"]),), (show_findings(subject, entities.picture),), helps)
    case = record_feedback(
        subject,
        said,
        kind,
        None if said == "normal" else severity,  # "this is fine, only minor dirt"
        region,
        f"in words: {question.text}",
        entities.picture,
    )
    found = show_findings(subject, entities.picture)
    meaning = {"normal": "this is fine", "confirmed": "the finding is right"}
    what = meaning.get(said, f"this is {with_article(kind or 'defect')}")
    graded = f", severity {case.severity}" if said != "normal" and case.severity else ""
    later = (
        f"findings like it will cite {case.case}"
        if found.regions
        else "there is no finding that later ones could be like"
    )
    claims = (
        make_claim(f"Stored as {case.case}, said by {case.who}: {what}{graded}.", case.ids),
        make_claim(f"The recorded verdict stays {found.label}; {later}.", case.ids),
    )
    return Draft(claims, (case, found))


def _graded(question: Question, entities: Entities) -> int | None:
    """The severity that feedback says; "none of the others" says none."""
    said_so = entities.severity or re.search(r"\bseverity\b", question.plain)
    return entities.severity if said_so else None


def _what_is_said(
    subject: Subject, question: Question, picture: str | None, severity: int | None
) -> Judgement | None:
    """What feedback that names no kind says; None where that isn't clear."""
    wrong = _CALLED_WRONG.search(question.plain) is not None
    normal = _CALLED_NORMAL.search(_CALLED_WRONG.sub(" ", question.plain)) is not None
    label = subject.picture(picture).label
    if normal or severity == 0:
        return None if wrong else "normal"
    if wrong or severity:  # only where the record says so, too, that is a confirmation
        return "confirmed" if label == "anomalous" else "corrected"
    if not _CONFIRMED.search(question.plain) or label not in ("anomalous", "normal"):
        return None
    return "confirmed" if label == "anomalous" else "normal"


def reply_rules(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The rules that match what was measured; or the list of rules."""
    if RULE_LIST.search(question.plain):
        rules = list_rules(subject)
        claims = [
            make_claim(f"{rule.rule} ({rule.polarity}): {rule.text}.", rule.ids)
            for rule in rules.rules[:MAX_LISTED]
        ]
        lead = make_claim(f"The profile {rules.profile} has {len(rules.rules)} rules that hold.", rules.ids)
        return Draft((lead, *claims), (rules, _Number(ids=(), number=len(rules.rules))))
    rules = apply_rules(subject, None, entities.picture)
    if not rules.rules:
        text = (
            f"None of the {rules.of} rules fits what was measured."
            if rules.of
            else f"The profile {rules.profile} has no rules of its own that hold; "
            "those that ship are not about parts."
        )
        return Draft((make_claim(text, ["score"]),), (rules, _Number(ids=("score",), number=rules.of)))
    claims = [
        make_claim(f'{rule.rule} fits (similarity {rule.similarity:.2f}): "{rule.text}"', rule.ids)
        for rule in rules.rules[:MAX_LISTED]
    ]
    return Draft(tuple(claims), (rules,))


def reply_search(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The pictures that match label, kind, date and severity, the most severe first."""
    plain = question.plain
    worst = (
        entities.order is not None or re.search(r"\b(?:sort|rank|order|overview|first)\b", plain) is not None
    )
    label = None if worst else entities.label
    kinds = {record.kind for record in (*subject.records, *subject.past) if record.kind}
    kind = next((kind for kind in sorted(kinds) if re.search(rf"\b{re.escape(kind)}s?\b", plain)), None)
    least = entities.severity or 0 if label != "normal" else 0
    onward = re.search(r"\b(?:since|after|from) yesterday\b", plain) is not None
    until = "yesterday" if entities.since == "yesterday" and not onward else None  # the others last till now
    found = search_records(subject, label, kind, entities.since, until, least, None, entities.position)
    when = f"since {entities.since}" if onward else entities.since
    what = " ".join(filter(None, [label, kind, when]))
    if not found.rows:
        text = f"None of the {found.searched} pictures fits{': ' + what if what else ''}."
        return Draft((make_claim(text, ["score"]),), (found,))
    rows = found.rows[: 1 if entities.order else MAX_LISTED]
    claims = []
    counts = found.labels
    odd_ones = found.count - counts.get("normal", 0)
    if entities.order is None and what:
        fit = "is" if found.count == 1 else "are"
        order = "" if label == "normal" else ", the most severe first"
        text = f"{found.count} of {found.searched} {fit} {what}{order}."
        claims.append(make_claim(text, found.ids[:MAX_LISTED] or ["score"]))
    elif entities.order is None:
        tallied = join_words([f"{number} {label}" for label, number in counts.items()])
        text = f"Of {found.searched} pictures, {tallied}; here the most severe come first."
        claims.append(make_claim(text, ["score"]))
        if _WHERE_TO_BEGIN.search(plain) and 0 < odd_ones < found.count:
            rows = tuple(row for row in found.rows if row.label != "normal")[:MAX_LISTED]
            text = f"{_needs_look(odd_ones)}; of the other {found.count - odd_ones} none stands out."
            claims = [make_claim(text, ["score"])]
    for row in rows:
        parts = [str(row.label or "not judged")]
        parts += [f"severity {row.severity}"] if row.severity and row.label != "normal" else []
        parts += [row.kind] if row.kind else []
        parts += [f"p = {row.p_value:.3g}"] if row.p_value is not None else []
        claims.append(make_claim(f"{row.picture}: {', '.join(parts)}.", row.ids))
    tally = _Numbers(ids=(), numbers=(*counts.values(), odd_ones, found.count - odd_ones))
    return Draft(tuple(claims), (found, tally))


def _needs_look(number: int) -> str:
    return "1 picture needs a look" if number == 1 else f"{number} pictures need a look, in this order"


def reply_rate(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The verdicts at another false-alarm rate."""
    rate = entities.rate
    if rate is None:
        found = show_findings(subject, entities.picture or subject.records[0].source)
        text = "Which false-alarm rate? None was named."
        return Draft(
            (make_claim(text, ["score"]),), (found,), 'Ask for instance: "What if the rate were 1 %?"'
        )
    what_if = change_false_alarm_rate(subject, rate, entities.picture)
    claims: list[Claim] = []
    if len(what_if.pictures) == 1:
        (one,) = what_if.pictures
        same = "would stay" if one.before == one.after else f"would change from {one.before} to"
        text = f"At a false-alarm rate of {100 * rate:g} % the verdict {same} {one.after}"
        text += f" (p = {one.p_value:.3g})." if one.p_value is not None else "."
        claims.append(make_claim(text, ["score"]))
        if one.why_undecided:
            claims.append(make_claim(one.why_undecided, ["score"]))
    else:
        claims += _verdict_change_claims(what_if)
    lowest = f"{100 * what_if.lowest_possible:.3g} %"
    claims.append(make_claim(f"The normal pictures support rates from {lowest} up.", ["score"]))
    counts = tuple(Counter((one.before, one.after) for one in what_if.pictures).values())
    return Draft(tuple(claims), (what_if, _Numbers(ids=(), numbers=(len(what_if.changed), *counts))))


def _verdict_change_claims(what_if: RateWhatIf) -> list[Claim]:
    """How many verdicts would change, from what to what, and of which pictures."""
    moved: dict[tuple[str, str], list[str]] = {}
    for one in what_if.pictures:
        if one.before != one.after:
            moved.setdefault((str(one.before), one.after), []).append(one.picture)
    lead = f"At a false-alarm rate of {100 * what_if.rate:g} %"
    if not moved:
        return [make_claim(f"{lead} every verdict would stay as it is.", ["score"])]
    number = len(what_if.changed)
    every = "all" if number == len(what_if.pictures) else str(number)
    verdicts = "verdict" if number == 1 else "verdicts"
    claims = [make_claim(f"{lead} {every} {verdicts} would change.", ["score"])]
    for (before, after), names in moved.items():
        more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
        listed = names[:MAX_LISTED]
        text = f"From {before} to {after}: {', '.join(listed) if more else join_words(listed)}"
        claims.append(make_claim(f"{text}{more}.", ["score"]))
    whys = {one.why_undecided for one in what_if.pictures if one.before != one.after and one.why_undecided}
    return [*claims, *(make_claim(why, ["score"]) for why in whys)] if len(whys) == 1 else claims


def reply_provenance(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Provenance: detector, calibration, threshold, reasoner and time."""
    known = show_provenance(subject, entities.picture)
    claims = [
        make_claim(
            f"{known.name} was judged by the detector {known.detector} {known.detector_version}, "
            f"compared with {known.compared_with} (profile {known.profile}).",
            known.ids,
        )
    ]
    if known.normals is not None:
        groups = f" in {known.groups} groups" if known.groups != known.normals else ""
        text = f"Its scores are calibrated on {known.normals} normal pictures{groups}."
        claims.append(make_claim(text, known.ids))
    if known.threshold is not None and known.score is not None:
        rate = "" if known.false_alarm_rate is None else f" (false-alarm rate {known.false_alarm_rate:g})"
        text = f"The threshold is {known.threshold:.3g}{rate}, the score {known.score:.3g}."
        claims.append(make_claim(text, known.ids))
    if known.reasoner:
        claims.append(make_claim(f"The verdict was reasoned by {known.reasoner}.", known.ids))
    claims.append(
        make_claim("This reply is put together from measurements; no language model wrote it.", known.ids)
    )
    if known.time:
        claims.append(make_claim(f"It was judged at {known.time}.", known.ids))
    return Draft(tuple(claims), (known,))


class _Number(Result):
    number: int


class _Numbers(Result):
    numbers: tuple[int, ...]


def _undo_draft(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Undo the case that is named, or the newest one on this picture."""
    found = show_findings(subject, entities.picture)
    wanted = re.search(r"\bcase:[1-9]\d*\b", question.plain)
    case = undo_feedback(subject, wanted[0] if wanted else None, entities.picture)
    return Draft(
        (make_claim(f"{case.case} is undone; it stays in the file as such.", case.ids),), (case, found)
    )


def _no_case_claim(past: PastCases) -> Claim:
    if past.nearest is not None:
        near = past.nearest
        text = f"No past case is alike: the nearest, {near.case}, has a similarity of {near.similarity:.2f}."
        return make_claim(text, near.ids)
    why = f": {past.notes[0]}" if past.notes else ""
    return make_claim(f"No past case is known for this{why}.", ["score"])


def _case_claim(case: PastCase) -> Claim:
    """Feedback on a similar finding, with who gave it and when."""
    grade = f", severity {case.severity}" if case.severity else ""
    if case.severity == "none":
        said = "said that it is fine"
    elif case.said == "confirmed":
        said = f"confirmed it{f' as {with_article(case.kind)}' if case.kind else ''}{grade}"
    else:
        said = f"called it {with_article(case.kind or 'defect')}{grade}"
    text = f"{case.case} is alike (similarity {case.similarity:.2f}): {case.who} {said}, on {case.created}."
    return make_claim(text, case.ids)
