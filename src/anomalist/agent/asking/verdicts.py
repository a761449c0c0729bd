"""Replies about the verdict: what it is, why, how sure, how bad, what to do. None of them changes it."""

from __future__ import annotations

import re

from anomalist.agent.asking.draft import Draft, say
from anomalist.agent.asking.named import Named
from anomalist.agent.asking.question import Question
from anomalist.agent.tools.deciding import explain_severity
from anomalist.agent.tools.looking import Findings, show_findings
from anomalist.agent.tools.subject import Result, Subject
from anomalist.types import Claim, Label

TAG = re.compile(r"[,.;]\s*(?:right|correct|agree|no|isn't it|don't you|do you|am i right|okay|ok)\?\s*$")
BAD = re.compile(
    r"\b(?:wrong|bad|defect\w*|fault\w*|flaws?|damage\w*|broken|fail\w*|problems?|unusual|odd|anomal\w*|reject\w*)\b"
)
GOOD = re.compile(
    r"\b(?:fine|ok|okay|good|normal|all right|alright|pass\w*|acceptable|in order|clean|accept\w*)\b"
)
NOT = re.compile(r"\b(?:nothing|not|no|never|without|free of|don't|doesn't|didn't|isn't|none)\b")
REASONS = 6
"""Sentences that a question after reasons gets."""

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
"""What follows from label and severity; a person decides."""


def reply_verdict(subject: Subject, question: Question, named: Named) -> Draft:
    """Whether something is wrong, in the words of the record, however the question leans."""
    found = show_findings(subject, named.picture)
    claims = [verdict_claim(found, _yes_or_no(question.plain, found.label))]
    if found.label == "undecided" and found.why_undecided:
        claims.append(say(found.why_undecided, ["score"]))
    claims += _score_claims(found)
    if found.regions and found.label != "normal":
        claims.append(say(found.regions[0].sentence, found.regions[0].ids))
    claims += [say(text, ["score"]) for text in found.disagreements]
    if TAG.search(question.plain):
        claims.append(say("That stands whichever way the question is put.", ["score"]))
    return Draft(tuple(claims), (found,))


def reply_why(subject: Subject, question: Question, named: Named) -> Draft:
    """The sentences that the verdict rests on."""
    found = show_findings(subject, named.picture)
    reasons = list(found.claims[:REASONS])
    if found.label == "undecided" and found.why_undecided:
        reasons.insert(0, say(found.why_undecided, ["score"]))
    return Draft((verdict_claim(found), *reasons), (found,))


def reply_confidence(subject: Subject, question: Question, named: Named) -> Draft:
    """How far the score is from the threshold, what it is calibrated on, and how stable the decision is."""
    found = show_findings(subject, named.picture)
    claims = [verdict_claim(found), *_score_claims(found)]
    known = found.calibration
    if known is None:
        text = "There is no calibration behind it, so no probability can be given."
        claims.append(say(text, ["score"]))
        return Draft(tuple(claims), (found,))
    if found.threshold is not None and found.score is not None:
        side = "above" if found.score > found.threshold else "not above"
        claims.append(
            say(
                f"The score of {found.score:.3g} is {side} the threshold of {found.threshold:.3g}.", ["score"]
            )
        )
    claims.append(
        say(
            f"With the {known.normals} calibration pictures drawn again, "
            f"{100 * known.instability:.3g} % of the decisions would flip.",
            ["score"],
        )
    )
    if found.label == "anomalous":
        text = (
            f"A normal picture is called anomalous in {100 * known.false_alarm_rate:.3g} % of the cases at "
            "most: that is the false-alarm rate that was asked for."
        )
        claims.append(say(text, ["score"]))
    if found.label == "normal":
        claims.append(say("How often a defect is missed is not known from normal pictures.", ["score"]))
    return Draft(tuple(claims), (found,))


def reply_severity(subject: Subject, question: Question, named: Named) -> Draft:
    """The level by the policy, with its reason."""
    region = named.regions[0] if named.regions else None
    graded = explain_severity(subject, region, named.picture)
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
    scale = Scale(ids=(), highest=4)
    return Draft((say(text, graded.ids), say(steps, graded.ids)), (graded, scale))


class Scale(Result):
    """The scale of severities."""

    highest: int


def reply_action(subject: Subject, question: Question, named: Named) -> Draft:
    """What follows from verdict and severity; the person decides."""
    found = show_findings(subject, named.picture)
    used: list[Result] = [found]
    label = found.label or "undecided"
    claims = [verdict_claim(found)]
    level = 0
    ids: tuple[str, ...] = ("score",)
    if label == "anomalous":
        graded = explain_severity(subject, None, named.picture)
        used.append(graded)
        level, ids = graded.level, graded.ids or ids
        claims.append(say(f"Severity {graded.severity}: {graded.reason}.", ids))
    advice = ADVICE[label]
    claims.append(say(f"{advice[min(level, len(advice) - 1)]}; the decision is yours.", ids))
    if label == "undecided" and found.why_undecided:
        claims.append(say(found.why_undecided, ["score"]))
    return Draft(tuple(claims), tuple(used))


def verdict_claim(found: Findings, lead: str = "") -> Claim:
    """One sentence with the label as it is recorded."""
    ids = ("score", *(region.region for region in found.regions[:1]))
    if found.error is not None and found.label is None:
        return say(f"{found.picture} could not be judged: {found.error}", ["score"])
    if found.label == "anomalous":
        what = ", ".join(filter(None, [found.kind, f"severity {found.severity}"]))
        return say(f"{lead}{found.picture} is anomalous ({what}).", ids)
    if found.label == "normal":
        return say(f"{lead}{found.picture} is normal.", ["score"])
    return say(f"{lead}{found.picture} is undecided.", ["score"])


def _score_claims(found: Findings) -> list[Claim]:
    return [claim for claim in found.claims if claim.evidence == ("score",)][:1]


def _yes_or_no(plain: str, label: Label | None) -> str:
    """ "Yes: " or "No: " where the question leans one way only and there is a verdict."""
    asked = TAG.sub("", plain)
    bad, good = BAD.search(asked) is not None, GOOD.search(asked) is not None
    if bad == good or label not in ("normal", "anomalous") or re.search(r"\bor\b", asked):
        return ""
    asks_bad = bad != (
        bad and NOT.search(re.sub(r"^(?:isn't|don't|doesn't|aren't)\b", "", asked)) is not None
    )
    if good and NOT.search(re.sub(r"^(?:isn't|aren't)\b", "", asked)):
        asks_bad = True
    return "Yes: " if asks_bad == (label == "anomalous") else "No: "
