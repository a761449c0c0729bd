"""Replies about runs from query results: counts, shares, groups, lists and comparisons, in the asked form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.run_intents import Form
from anomalist.agent.reasoning.wording import join_words
from anomalist.agent.tools.subject import Result
from anomalist.querying.columns import TableName
from anomalist.querying.query import Condition, Query, QueryResult, Value
from anomalist.types.common import Claim

QUERY_ID = "query"
"""Id of what a query gave: the answer holds the query, which gives the same numbers again."""

MAX_LISTED = 20
"""Rows or groups that a reply puts into words; it says how many more there are, and the query lists them."""

_NOUNS = {
    "pictures": ("picture", "pictures"), "regions": ("region", "regions"), "clips": ("clip", "clips"),
    "events": ("event", "events"), "claims": ("sentence", "sentences"),
    "rules": ("recalled item", "recalled items"),
    "feedback": ("piece of feedback", "pieces of feedback"),
}  # fmt: skip


class QueryNumbers(Result):
    """What a query gave, for the check of the numbers in an answer."""

    result: QueryResult
    shares: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunDraft:
    """A draft about a run.

    Parameters
    ----------
    draft : claims and what they rest on.
    query : that gives the numbers again; None where there is no single one.
    reading : what was asked, in one line.
    intent : of the answer.
    choices : questions to choose from, where it is asked back.
    table : headings, then rows, where a table was asked for.
    """

    draft: Draft
    query: Query | None = None
    reading: str | None = None
    intent: str = "search"
    choices: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()


def query_draft(
    result: QueryResult, form: Form = "plain", intent: str = "search", members: Sequence[str] = ()
) -> RunDraft:
    """A result in the form that was asked for; ``members`` are names of what was counted, where it is few."""
    if form == "table":
        claims = [make_claim(f"{_total_sentence(result)}", (QUERY_ID,))]
    elif form == "numbers":
        claims = [make_claim(text, (QUERY_ID,)) for text in _bare_numbers(result)]
    elif result.query.compare is not None:
        claims = [make_claim(text, (QUERY_ID,)) for text in _comparison_sentences(result)]
    elif result.query.measure == "list":
        claims = _listed(result, named=form != "customer")
        claims = claims[:1] if form in ("two sentences", "customer") else claims
    else:
        claims = [make_claim(text, (QUERY_ID,)) for text in _measured_sentences(result, form)]
    claims = claims[:2] if form == "two sentences" else claims
    if form == "plain":
        said = f"{'It is' if len(members) == 1 else 'They are'} {join_words(list(members))}."
        claims += [make_claim(said, (QUERY_ID,))] if members else []
    claims += [
        make_claim(f"{note[:1].upper()}{note[1:]}.", (QUERY_ID,)) for note in result.notes if form == "plain"
    ]
    table: tuple[tuple[str, ...], ...] = ()
    if form == "table":
        table = (result.columns, *(tuple(map(cell_text, row)) for row in result.rows))
    draft = Draft(tuple(claims), (numbers_of(result),))
    return RunDraft(draft, result.query, result.reading, intent, table=table)


def numbers_of(result: QueryResult, *extra: float) -> QueryNumbers:
    """What the numbers of a reply are checked against: the result, and sums that the reply makes of it."""
    name = result.columns.index("name") if "name" in result.columns else None
    names = () if name is None else tuple(str(row[name]) for row in result.rows)
    counts = [len(result.rows), result.matched - MAX_LISTED, len(result.rows) - MAX_LISTED]
    tallies = [int(row[-1]) for row in result.rows if isinstance(row[-1], int)]
    sums = [sum(tallies), sum(tallies[MAX_LISTED:]), result.of - result.matched]
    parts: list[float] = [*extra]
    if result.value is not None and result.query.measure == "share":
        counts.append(round(result.value * result.matched))
    for group in result.groups:
        if group.value is not None and result.query.measure == "share":
            counts.append(round(group.value * group.of))
    parts += [result.matched / result.of] if result.of else []
    rows = [
        row for row in result.rows if isinstance(row[-1], float) and isinstance(row[-2:-1] and row[-2], int)
    ]
    counts += [round(float(row[-1] or 0) * int(row[-2] or 0)) for row in rows]
    severities = _tally(result, "severity")
    ids = tuple(dict.fromkeys((QUERY_ID, *names)))
    return QueryNumbers(
        ids=ids, result=result, shares=tuple(parts), counts=(*counts, *sums, *severities.values())
    )


def phrase_conditions(conditions: Sequence[Condition], table: TableName = "pictures") -> tuple[str, str]:
    """Conditions in words: what goes before the noun, and what goes after it.

    "label = anomalous, product = brick" gives ("anomalous", "of brick").
    """
    before, after = [], []
    for each in conditions:
        empty = "not judged" if each.column == "label" else "nothing"
        values = " or ".join(empty if value == "" else str(value) for value in each.values)
        if each.operator == "=" and each.column in ("label", "severity"):
            before.append(values)
        elif each.operator == "=" and each.column in ("product", "folder", "profile", "camera", "name"):
            after.append(f"of {values}")
        elif each.operator == "=" and each.column in ("kind", "kinds"):
            after.append(f"with {values}" if each.column == "kinds" else f"of kind {values}")
        elif each.operator == "=" and each.column == "status":
            after.append("that could not be judged" if values == "error" else "that were judged")
        elif each.operator == "=" and each.column == "place":
            after.append(f"at {values}")
        elif each.column == "time":
            words = {"=": "of", ">=": "since", ">": "after", "<": "before", "<=": "until"}
            after.append(f"{words.get(each.operator, each.operator)} {values}")
        elif each.column in ("clock", "hour") and each.operator != "!=":
            continue  # put together below
        elif each.operator == ">=" and each.column == "severity":
            after.append(f"of severity {values} or worse")
        elif each.operator == "!=" and each.column == "label":
            whole = table in ("pictures", "clips")
            source = "of clips" if table == "events" else "on pictures"
            after.append(f"not {values}" if whole else f"{source} that are not {values}")
        else:
            after.append(f"with {each.words}")
    after += _times_of_day(conditions)
    return " ".join(before), " ".join(after)


def _part_words(query: Query) -> str:
    """What the part of a share is: "anomalous", "ones that could not be judged"."""
    before, after = phrase_conditions(query.part, query.table)
    return " ".join(filter(None, [before, f"ones {after}" if after else ""]))


_CLOCK_WORDS = {">=": "at {} or later", "<": "before {}", ">": "after {}", "<=": "up to {}", "=": "at {}"}


def _times_of_day(conditions: Sequence[Condition]) -> list[str]:
    """Times of day in words: "judged in the hours 22 to 5 UTC"."""
    bounds = []
    for each in conditions:
        if each.column == "clock" and each.operator in _CLOCK_WORDS:
            bounds.append(_CLOCK_WORDS[each.operator].format(" or ".join(map(str, each.values))))
        elif each.column == "hour" and each.operator != "!=":
            hours = {int(value) for value in each.values}
            starts = [hour for hour in hours if (hour - 1) % 24 not in hours]
            span = each.operator == "=" and len(starts) == 1 and len(hours) > 1
            last = (starts[0] + len(hours) - 1) % 24 if span else None
            bounds.append(f"in the {f'hours {starts[0]} to {last}' if span else each.words}")
    return [f"judged {' and '.join(bounds)} UTC"] if bounds else []


def noun_phrase(query: Query, number: int, conditions: Sequence[Condition] | None = None) -> str:
    """What is counted: "anomalous pictures of brick"."""
    one, many = _NOUNS[query.table]
    before, after = phrase_conditions(query.where if conditions is None else conditions, query.table)
    return " ".join(filter(None, [before, one if number == 1 else many, after]))


def cell_text(cell: Value | None) -> str:
    """A cell in words: three significant digits, large numbers in full; a dash for nothing."""
    if cell is None or cell == "":
        return "–"
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if 999.5 <= abs(cell) < 1e15 else f"{cell:.3g}"


def percent_text(share: float) -> str:
    """A share in per cent, with three significant digits."""
    return f"{100 * share:.3g} %"


def _total_sentence(result: QueryResult) -> str:
    query = result.query
    what = noun_phrase(query, result.matched)
    if not query.where and query.alike is None:
        return f"{result.matched:,} {what}."
    total = _NOUNS[query.table][0 if result.of == 1 else 1]
    if query.alike is not None:
        return f"{result.matched:,} of {result.of:,} {total} are like {query.alike}."
    none = "None" if result.matched == 0 else f"{result.matched:,}"
    before, after = phrase_conditions(query.where)
    if before and not after and query.table in ("pictures", "clips"):
        return f"{none} of {result.of:,} {total} {'is' if result.matched < 2 else 'are'} {before}."
    return f"{none if result.matched else 'No'} {what}, of {result.of:,} {total}."


def _measured_sentences(result: QueryResult, form: Form) -> list[str]:
    query = result.query
    if not query.by and not query.trend:
        return [_single_sentence(result)]
    lead = [_total_sentence(result)] if query.measure != "share" and form == "plain" else []
    after = ":" if query.by[-1:] == ("hour",) else ""  # two numbers side by side
    groups = [f"{_group_name(result, row)}{after} {_group_value(query, row)}" for row in result.rows]
    more = f", and {len(groups) - MAX_LISTED} more groups" if len(groups) > MAX_LISTED else ""
    by = join_words([*([query.trend] if query.trend else []), *query.by])
    so = phrase_conditions(query.part, query.table)
    share = f"Share of {_part_words(query)}" if so[1] else f"Share that is {so[0]}"
    what = {"count": "Counts", "share": share}
    by += f" ({len(result.rows)})" if len(result.rows) > 1 and query.top is None else ""
    by += ", the lowest first" if query.lowest_first else ""
    sentence = f"{what.get(query.measure, f'{query.measure.capitalize()} of {query.of}')} by {by}: "
    sentence += f"{', '.join(groups[:MAX_LISTED]) or 'none'}{more}."
    if result.slope is not None:
        way = "rises" if result.slope > 0 else "falls" if result.slope < 0 else "stays level"
        return [*lead, sentence, f"From first to last it {way} (slope {result.slope:.3g} a {query.trend})."]
    return [*lead, sentence]


def _keys(result: QueryResult) -> int:
    return len(result.query.by) + (result.query.trend is not None)


def _group_name(result: QueryResult, row: Sequence[Value | None]) -> str:
    """The values of a group; no label and no severity are told apart from "none"."""
    empty = {"label": "not judged", "severity": "not known"}
    keys = zip(result.columns[: _keys(result)], row, strict=False)
    return " ".join(empty.get(name, "(none)") if key in (None, "") else str(key) for name, key in keys)


def _group_value(query: Query, row: Sequence[Value | None]) -> str:
    value = row[-1]
    if query.measure == "share" and isinstance(value, float):
        count = row[-2] if isinstance(row[-2], int) else 0
        return f"{percent_text(value)} ({round(value * count)} of {count})"
    return cell_text(value)


def _single_sentence(result: QueryResult) -> str:
    query = result.query
    if query.measure == "count":
        return _total_sentence(result)
    what = noun_phrase(query, result.matched)
    if result.value is None:
        word = result.rows[0][-1] if result.rows else None
        if word is not None:
            return f"The {query.measure} of {query.of} over {result.rows[0][0]:,} {what} is {word}."
        none = f"none of {result.matched:,} {what} has a {query.of}" if result.matched else f"no {what} fit"
        return f"There is none: {none}."
    if query.measure == "share":
        count = round(result.value * result.matched)
        share = f"{percent_text(result.value)} of the {noun_phrase(query, 2)}"
        return f"{share} are {_part_words(query)}: {count:,} of {result.matched:,}."
    measured = result.rows[0][0]
    assert isinstance(measured, int)
    what = noun_phrase(query, measured)
    return f"The {query.measure} of {query.of} over {measured:,} {what} is {cell_text(result.value)}."


def _bare_numbers(result: QueryResult) -> list[str]:
    if result.query.compare is not None:
        return [f"{group.name}: {cell_text(group.value)}" for group in result.groups]
    if result.query.measure == "list":
        return [f"{result.matched} of {result.of}"]
    if _keys(result):
        return [f"{_group_name(result, row)}: {cell_text(row[-1])}" for row in result.rows[:MAX_LISTED]]
    return [cell_text(result.rows[0][-1]) if result.rows else "0"]


def _listed(result: QueryResult, named: bool) -> list[Claim]:
    """How many there are, with their severities, then one by one."""
    query = result.query
    text = _total_sentence(result)
    severities = _tally(result, "severity")
    if query.table == "pictures" and len(severities) > 1 and query.top is None:
        text = f"{text[:-1]} ({join_words([f'{number} {word}' for word, number in severities.items()])})."
    if query.top is not None:
        noun = _NOUNS[query.table][1]
        text = f"The first {len(result.rows)} of {result.matched:,} {noun_phrase(query, 2)}"
        text += f", {_order_words(query)}." if noun else "."
    claims = [make_claim(text, (QUERY_ID,))]
    if not named or "name" not in result.columns:
        return claims
    place = result.columns.index("name")
    for row in result.rows[:MAX_LISTED]:
        name = str(row[place])
        cells = zip(result.columns, row, strict=True)
        parts = [_cell_phrase(column, cell) for column, cell in cells if column not in ("name", "run")]
        known = [part for part in parts if part]
        claims.append(make_claim(f"{name}: {', '.join(known).rstrip('.') or 'listed'}.", (name,)))
    left = len(result.rows) - MAX_LISTED
    if left > 0:
        claims.append(make_claim(f"And {left:,} more, which the query lists.", (QUERY_ID,)))
    return claims


def _order_words(query: Query) -> str:
    if not query.sort:
        return "the most severe first"
    return f"the {'highest' if query.sort.startswith('-') else 'lowest'} {query.sort.lstrip('-')} first"


def _cell_phrase(column: str, cell: Value | None) -> str:
    if column == "label" and not cell:
        return "not judged"
    if cell is None or cell == "" or (column == "severity" and cell == "none"):
        return ""
    words = {"severity": "severity {}", "p_value": "p = {}", "score": "score {}", "size": "{} of the area",
             "similarity": "similarity {}", "duration": "{} s", "start": "from {} s", "end": "to {} s",
             "events": "{} events"}  # fmt: skip
    if column == "size" and isinstance(cell, float):
        return f"{percent_text(cell)} of the area"
    if column in ("start", "end", "duration") and isinstance(cell, float):
        cell = f"{cell:.1f}".removesuffix(".0")
    if column == "events" and cell == 1:
        return "1 event"
    return words.get(column, "{}").format(cell_text(cell))


def _tally(result: QueryResult, column: str) -> dict[str, int]:
    """Counts of a column over all listed rows."""
    if column not in result.columns or result.query.measure != "list":
        return {}
    place = result.columns.index(column)
    counts: dict[str, int] = {}
    for row in result.rows:
        word = str(row[place]) if row[place] is not None else "not judged"
        counts[word] = counts.get(word, 0) + 1
    return counts


def _comparison_sentences(result: QueryResult) -> list[str]:
    query = result.query
    first, second = (_group_words(group.name) for group in result.groups)
    one, other = result.groups
    if query.measure != "share":
        a, b = (group.value if query.measure != "count" else group.of for group in result.groups)
        noun = _NOUNS[query.table][1] if query.measure == "count" else f"{query.measure} of {query.of}"
        return [f"{first}: {cell_text(a)} {noun}; {second}: {cell_text(b)} {noun}."]
    texts, part = [], _part_words(query)
    for words, group in ((first, one), (second, other)):
        share = f"{percent_text(group.value)} are {part}" if group.value is not None else "none was found"
        count = round((group.value or 0) * group.of)
        texts.append(f"{words}: {share} ({count:,} of {group.of:,}).")
    if result.p_value is not None and result.difference is not None:
        more = second if result.difference > 0 else first
        if result.p_value < 0.05:
            texts.append(
                f"{more} has the higher share; chance alone explains it with p = {result.p_value:.2g}."
            )
        else:
            texts.append(f"The difference may be chance (p = {result.p_value:.2g}).")
    return texts


def _group_words(name: str) -> str:
    """ "folder = brick and label = normal" as "brick, normal"."""
    return ", ".join(part.split(" = ", 1)[-1] for part in name.split(" and "))
