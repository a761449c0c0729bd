"""Replies on whether a batch can be shipped: counts, false alarms to expect, the undecided, a sampling plan.

Nothing here decides: counts and probabilities are said, and what a plan that a person names would say.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.run_replies import (
    QUERY_ID,
    RunDraft,
    numbers_of,
    percent_text,
    phrase_conditions,
)
from anomalist.agent.reasoning.wording import join_words
from anomalist.agent.tools.subject import Result
from anomalist.querying.execution import run_query
from anomalist.querying.probabilities import binomial_tail, hypergeometric_cdf
from anomalist.querying.query import Condition, Query, QueryResult
from anomalist.querying.sampling_plans import SamplingPlan, own_plan, sampling_plan
from anomalist.querying.tables import Tables
from anomalist.types.common import Claim

LIKELY_CHANCE = 0.05
"""Probability below which so many alarms hardly come from good parts alone."""

SAMPLING_SEED = 0
"""Seed of the sample that a plan is applied to, so that it is drawn the same way again."""


@dataclass(frozen=True)
class AcceptancePlan:
    """A plan that a person set: AQL in per cent and inspection level of ISO 2859-1."""

    aql: float
    level: str = "II"

    def of_lot(self, lot: int) -> SamplingPlan:
        """The plan for a lot of so many pieces."""
        return sampling_plan(lot, self.aql, self.level)


@dataclass(frozen=True)
class OwnPlan:
    """A plan of one's own: so many pieces are looked at, of which so many may be nonconforming."""

    sample: int
    accept: int

    def of_lot(self, lot: int) -> SamplingPlan:
        """The plan for a lot of so many pieces."""
        return own_plan(lot, self.sample, self.accept)


Plan = AcceptancePlan | OwnPlan


class _Batch(Result):
    """What is known of a batch, for the check of numbers."""

    pictures: int
    judged: int
    anomalous: int
    undecided: int
    unreadable: int
    expected: float
    chance: float
    rate: float
    more: tuple[float, ...] = ()


def ship_draft(tables: Tables, where: Sequence[Condition], plan: Plan | None = None) -> RunDraft:
    """Whether a batch can go out, as far as its records tell.

    Raises DataError where the plan's AQL or level is none of the standard's, or its numbers make no plan.
    """
    query = Query(where=tuple(where), by=("label",))
    result = run_query(tables, query)
    counts = {str(row[0] or "not judged"): int(row[-1] or 0) for row in result.rows}
    anomalous, undecided = counts.get("anomalous", 0), counts.get("undecided", 0)
    judged = anomalous + counts.get("normal", 0)
    rate = run_query(tables, Query(where=tuple(where), measure="max", of="rate")).value
    claims = [_counts_claim(result, counts)]
    used: list[Result] = [numbers_of(result)]
    if anomalous:
        severities = run_query(tables, Query(where=(*where, _label("anomalous")), by=("severity",)))
        used.append(numbers_of(severities))
        graded = join_words([f"{row[-1]} {row[0]}" for row in severities.rows])
        claims.append(make_claim(f"Their severities: {graded}.", (QUERY_ID,)))
    expected, chance = 0.0, 1.0
    if rate is not None and judged:
        expected, chance = rate * judged, binomial_tail(anomalous, judged, rate)
        claims += _chance_claims(anomalous, judged, rate, expected, chance)
    claims += _undecided_claims(tables, where, undecided, counts.get("not judged", 0), used)
    batch = _Batch(
        ids=(QUERY_ID,),
        pictures=result.matched,
        judged=judged,
        anomalous=anomalous,
        undecided=undecided,
        unreadable=counts.get("not judged", 0),
        expected=expected,
        chance=chance,
        rate=rate or 0.0,
    )
    used.append(batch)
    if plan is not None:
        claims += _plan_claims(tables, where, plan, used)
    text = "Whether it goes out is your decision; nothing here makes it."
    claims.append(make_claim(text, (QUERY_ID,)))
    return RunDraft(Draft(tuple(claims), tuple(used)), query, query.reading(result.of), "ship")


def _label(label: str) -> Condition:
    return Condition(column="label", values=(label,))


def _counts_claim(result: QueryResult, counts: dict[str, int]) -> Claim:
    _, after = phrase_conditions(result.query.where)
    tallied = join_words([f"{number:,} {label}" for label, number in counts.items()])
    noun = "picture" if result.matched == 1 else "pictures"
    return make_claim(
        f"Of {result.matched:,} {noun}{f' {after}' if after else ''}, {tallied or 'none'}.", (QUERY_ID,)
    )


def _chance_claims(alarms: int, judged: int, rate: float, expected: float, chance: float) -> list[Claim]:
    """False alarms that the rate alone gives, and whether so many alarms come from good parts."""
    text = (
        f"The false-alarm rate of {percent_text(rate)} alone would give about {expected:.3g} alarms "
        f"among {judged:,} good parts."
    )
    claims = [make_claim(text, (QUERY_ID,))]
    if not alarms:
        return claims
    said = f"{chance:.2g}"
    text = f"{alarms:,} or more would come from good parts alone with a probability of {said}"
    if chance < LIKELY_CHANCE:
        text += ": chance hardly explains them, if the calibration still holds."
    else:
        text += ": they may all be false alarms; look at each before you judge the batch by them."
    return [*claims, make_claim(text, (QUERY_ID,))]


def _undecided_claims(
    tables: Tables, where: Sequence[Condition], undecided: int, unreadable: int, used: list[Result]
) -> list[Claim]:
    claims = []
    if undecided:
        reasons = run_query(tables, Query(where=(*where, _label("undecided")), by=("why",)))
        merged: dict[str, int] = {}
        for row in reasons.rows:  # the same reason has other numbers for each picture
            reason = str(row[0] or "no reason is recorded").partition(":")[0].rstrip(".")
            merged[reason] = merged.get(reason, 0) + int(row[-1] or 0)
        used.append(numbers_of(reasons, *merged.values()))
        noun = "picture is" if undecided == 1 else "pictures are"
        why = "; ".join(f"{number:,}: {reason}" for reason, number in merged.items())
        claims.append(make_claim(f"{undecided:,} {noun} undecided ({why}).", (QUERY_ID,)))
    if unreadable:
        noun = "picture" if unreadable == 1 else "pictures"
        text = f"{unreadable:,} {noun} could not be judged at all, which is not the same as good."
        claims.append(make_claim(text, (QUERY_ID,)))
    return claims


def _plan_claims(tables: Tables, where: Sequence[Condition], asked: Plan, used: list[Result]) -> list[Claim]:
    """What the plan says of a sample of the batch, drawn with a fixed seed."""
    listed = run_query(tables, Query(where=tuple(where), measure="list"))
    name, label = listed.columns.index("name"), listed.columns.index("label")
    rows = sorted((str(row[name]), str(row[label] or "not judged")) for row in listed.rows)
    plan = asked.of_lot(len(rows))
    sample = random.Random(SAMPLING_SEED).sample(rows, plan.sample)
    bad = sum(each[1] == "anomalous" for each in sample)
    open_ones = sum(each[1] in ("undecided", "not judged") for each in sample)
    every_bad = sum(each[1] == "anomalous" for each in rows)
    share = hypergeometric_cdf(plan.accept, len(rows), every_bad, plan.sample)
    used.append(
        _PlanNumbers(ids=(QUERY_ID,), plan=plan, bad=bad, open=open_ones, accepting=share, seed=SAMPLING_SEED)
    )
    claims = [make_claim(f"{plan.cited}.", (QUERY_ID,))]
    text = (
        f"In a random sample of {plan.sample} (seed {SAMPLING_SEED}) {bad} are anomalous"
        f"{f' and {open_ones} not decided' if open_ones else ''}: by this plan "
    )
    if plan.accepts(bad + open_ones):
        text += "the lot is accepted."
    elif plan.accepts(bad):
        text += "the lot is accepted only if those not decided turn out to be good."
    else:
        text += "the lot is not accepted."
    claims.append(make_claim(text, (QUERY_ID,)))
    text = (
        f"Of all samples of this size, {percent_text(share)} would accept it; all {len(rows):,} pictures "
        "were inspected, so the counts above say more than a sample."
    )
    return [*claims, make_claim(text, (QUERY_ID,))]


class _PlanNumbers(Result):
    plan: SamplingPlan
    bad: int
    open: int
    accepting: float
    seed: int
