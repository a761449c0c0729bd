"""The steps that read a question about a run: each takes the words that it understands, and notes their part.

A step blanks what it has read, so that what is left over at the end is what nobody understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import cast

from anomalist.agent.asking.run_vocabulary import RunVocabulary
from anomalist.agent.asking.run_words import (
    CLOCK_BOUND,
    CLOCK_SPAN,
    DAY_PARTS,
    FREQUENCY,
    NUMBERS,
    PART_OF_DAY,
    SUPERLATIVE,
    TIME_OF_DAY,
    TIME_OPERATORS,
    TIME_WORDS,
    Phrase,
    ReadingState,
    clock_of,
    run_words,
)
from anomalist.querying.columns import TableName
from anomalist.querying.query import Condition, Measure, Operator
from anomalist.vision.attributes import places_of

ANOMALOUS = Condition(column="label", values=("anomalous",))
FINDING_COLUMNS = ("label", "severity", "status", "kind", "kinds", "place")
"""Columns of what was found, not of what was inspected."""

DEFECT_NOUN = re.compile(
    r"\b(?:defects?|faults?|flaws?|anomal(?:y|ies)|spots?|regions?|marks?|damages?|findings?)\b"
)
"""Nouns of what is found on a picture, not of the picture itself."""

FEW, SEVERAL = 1, 10
"""How many a superlative lists that names no number: one, and several ("the worst ones")."""

_COUNT = rf"(\d+|{'|'.join(word for word in NUMBERS if word not in ('a', 'an'))})"
_NUMBER = r"(\d+(?:[.,]\d+)?)\s*(%|percent|per cent)?"
_COMPARISONS: tuple[tuple[Operator, str], ...] = (
    (">=", r"(?:at least|no less than|from|>=|≥)"),
    ("<=", r"(?:at most|no more than|up to|<=|≤)"),
    (">", r"(?:above|over|(?:more|larger|bigger|greater|higher|longer) than|exceed(?:s|ing)?|beyond|>)"),
    ("<", r"(?:below|under|(?:less|smaller|lower|shorter|fewer) than|<)"),
)
_QUANTITIES = (
    ("score", r"(?:anomaly )?scores?(?: is| are| of| was)?"),
    ("p_value", r"p[- ]?values?(?: is| are| of)?|p(?: is)?"),
)
_DEFECT = r"(?: (?:defect|fault|flaw|damage|region|spot|mark)s?)?"
_SUPERLATIVES = (
    ("-score", r"(?:highest|largest|top|strongest|most) (?:anomaly )?scores?", ""),
    ("score", r"lowest (?:anomaly )?scores?", ""),
    ("-size", rf"(?:largest|biggest){_DEFECT}", ""),
    ("size", rf"smallest{_DEFECT}", ""),
    ("-duration", "longest", "events"),
    ("duration", "shortest", "events"),
    ("-speed", "fastest", "events"),
    ("p_value", r"(?:closest|nearest|close) to (?:the )?threshold", ""),
    ("p_value", r"(?:almost|nearly|just) (?:failed|rejected|flagged)", ""),
    ("-time", r"(?:latest|newest|most recent)", ""),
    ("-time", rf"last(?= (?!one\b){_COUNT})", ""),
    ("time", rf"(?:first|earliest|oldest)(?= (?!one\b){_COUNT})", ""),
    ("", rf"(?:worst|most (?:critical|severe|serious|suspicious|damaged|urgent|unusual)){_DEFECT}", ""),
)  # fmt: skip
_GROUP_NOUN = (
    r"(?:(?:defect |fault |event )?(?:kinds?|types?)(?: of (?:defects?|faults?|events?))?|products?|folders?"
    r"|shifts?|cameras?|days?|hours?|weeks?|months?|places?|lines?|part types?|batch(?:es)?|profiles?"
    r"|severit(?:y|ies))"
)
_VERB = r"(?:has|had|have|is|was|are|were|makes?|made|gives|gave|got|causes?|caused)"
_DIMENSION = re.compile(
    rf"^\s*(?:(?:which|what|list|name|show(?: me)?|give me|how many)\s+(?:all |the |of the |different )*)"
    rf"({_GROUP_NOUN})(?: (?:are|were|is|do we|did you|exist|have|has)\b[^?]*|\s*)$"
)
_TREND = re.compile(
    r"\b(?:trends?|over time|over the (?:days|weeks)|(?:get|gets|got|getting) (?:worse|better)|development"
    r"|(?:during|over|in the course of) the (?:day|shift|week|run))\b"
)
_WRONG_WITH = re.compile(r"\bwhat (?:is|was) wrong with\b")
_STRONG_LIST = re.compile(
    r"\b(?:list|show|all|every|everything|names?|print|display|find|sort(?:ed)?|rank(?:ed)?"
    r"|which (?:pictures|parts|clips|events))\b"
)
_RATES = re.compile(
    r"\b(?:reject(?:ion)?|defect|failure|fail|scrap|fault|anomaly|ng|nok) (?:rate|quota|share|ratio)s?\b"
    r"|\byield\b|\bpass rates?\b|\bfirst[- ]pass yield\b"
)
_REASONS = re.compile(
    r"\bwhy (?:are|were|is|was) (?:(?:some|so many|any|they|these|there|\d+|the) )?"
    r"(?:of them |pictures |parts )?"
    r"(?=undecided|unclear|open)|\breasons?\b(?=.*\bundecided\b)|\bwhy (?=.*\bundecided\b)"
    r"|\bwhy (?=.*\bnot (?:be )?(?:judged|read|opened|inspected|decided?)\b)"
)
_FEEDBACK = re.compile(
    r"\b(?:feedback|corrections?|corrected|confirmed|confirmations?"
    r"|what (?:did|do|have) (?:people|they|persons?|users|inspectors|operators) sa(?:y|id)"
    r"|(?:did|has) (?:any|some)(?:body|one) (?:correct|overrul|comment)(?:ed|e)?(?: (?:some|any)thing)?)\b"
)
_RULES = re.compile(
    r"\b(?:which|what) rules? (?:were |was )?(?:fired?|match(?:ed)?|appl(?:y|ied)|recalled|hit)\b( most)?"
)
_SORT = re.compile(
    r"\b(?:sort(?:ed)?|rank(?:ed)?|order(?:ed)?)\b(?: them| these| all| the \w+| \w+)? by (?:the )?"
    r"(severity|score|size|p[- ]?value|name|time)\b|^\s*(?:sort|rank) (?:them|these|all|the \w+)\b"
)
_LOOK_FIRST = re.compile(
    r"\b(?:look at|watch|inspect|check|begin with|start with|see)\b[^?]*\bfirst\b|\b(?:begin|start) with\b"
    r"|\bprioriti\w+\b"
)
_HIGHEST = {
    "severity": r"(?:highest|worst) severit(?:y|ies)",
    "size": r"(?:largest|biggest) (?:defect|fault|flaw|damage|region|spot|mark)s?",
    "duration": r"longest(?: events?)?",
}
"""What the highest of is asked for by words of its own, by column."""

_MEASURED = {
    "mean": r"(?:mean|average|avg)",
    "median": "median",
    "max": r"(?:highest|maximum|max|largest)",
    "min": r"(?:lowest|minimum|min|smallest)",
}
_MEASURED_COLUMNS = {
    "score": r"(?:anomaly )?scores?",
    "p_value": r"p[- ]?values?",
    "size": r"(?:defect )?sizes?",
    "duration": r"(?:durations?|lengths?)",
    "milliseconds": r"(?:inspection )?times?",
}


def _feedback(state: ReadingState, vocabulary: RunVocabulary) -> None:
    found = state.take(_FEEDBACK)
    if found is None:
        return
    state.table = "feedback"
    if found[0].startswith("correct"):
        state.add("action", "=", "corrected")
    elif found[0].startswith("confirm"):
        state.add("action", "=", "confirmed")
    if re.search(r"\bwho\b", state.text):
        state.group("person")
    elif not re.search(r"\bhow (?:many|often|much)\b|\bby\b|\bper\b|\bnumber of\b", state.text):
        state.measure = "list"


def _rules(state: ReadingState, vocabulary: RunVocabulary) -> None:
    if found := state.take(_RULES):
        state.table, state.measure, state.top = "rules", "count", 1 if found[1] else None
        state.group("rule")


def _reasons(state: ReadingState, vocabulary: RunVocabulary) -> None:
    if state.take(_REASONS):
        state.group("why")


def _sorting(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """ "Sort them by score", and what to look at first: all that is not normal, the most urgent first."""
    found = state.take(_SORT)
    if found:
        column = (found[1] or "severity").replace("p-value", "p_value").replace("p value", "p_value")
        state.measure = "list"
        rising = column in ("p_value", "name", "time")
        state.listing = True
        state.sort = None if column == "severity" else column if rising else f"-{column}"
        state.stated |= {"measure", "top"}
    elif state.take(_LOOK_FIRST):
        state.measure, state.listing = "list", True
        if state.about == "pictures":
            state.add("label", "!=", "normal")
        state.stated.add("measure")


def _quantities(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """Thresholds: a score, p-value, size, duration or number of regions above or below a value."""
    for operator, comparison in _COMPARISONS:
        for column, words in _QUANTITIES:
            if found := state.take(rf"\b(?:{words}) {comparison} {_NUMBER}"):
                state.add(column, operator, _value(found[1], found[2]))
        area = r"(?:of (?:the )?(?:inspected |whole )?(?:area|picture|surface|part))"
        if found := state.take(rf"\b{comparison} {_NUMBER} ?{area}"):
            state.add("size", operator, _value(found[1], found[2] or "%"))
            state.table = "regions" if DEFECT_NOUN.search(state.text) else state.table
        places = r"(?:regions?|marked places?|places?|spots?|marks?|defects?)"
        if found := state.take(rf"\b{comparison} (?:than )?{_COUNT} {places}\b"):
            state.add("regions", operator, float(NUMBERS.get(found[1]) or found[1]))
            state.table = "pictures"
        amount = rf"(?:{_NUMBER}|(a|an|half a|one|two|three|five|ten))"
        if found := state.take(rf"\b{comparison} (?:than )?{amount} ?(seconds?|secs?|s|minutes?|min)\b"):
            number = _value(found[1], None) if found[1] else float(NUMBERS.get(found[3], 0.5))
            state.add("duration", operator, number * (60 if found[4].startswith("m") else 1))


def _value(number: str, percent: str | None) -> float:
    return float(number.replace(",", ".")) / (100 if percent else 1)


def _dimension(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """ "Which products are there?": the groups themselves."""
    found = _DIMENSION.search(state.text)
    if found and not SUPERLATIVE.search(found[0]):
        column = run_words().column_of(found[1])
        state.text = state.text.replace(found[1], "\x00", 1)
        state.take(r"\bhow many\b")
        state.group(column)
        state.measure = "count"
        state.stated.add("measure")
        if column in ("kind", "severity"):
            state.where.append(ANOMALOUS)


def _superlatives(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """The worst, largest, longest …, with a number of them; and the group with the most or the least."""
    group = (
        r"\b(?:most|least) (?:common|frequent|often)\b|\b(?:rarest|commonest)\b"
        rf"|\bwhich {_GROUP_NOUN} (?:{_VERB}|fails?|failed|occurs?|occurred|shows?|showed)\b"
        rf"|\btop {_COUNT} {_GROUP_NOUN}"
    )
    if re.search(group, state.text):
        _top_group(state)
        return
    if re.search(
        r"\b(?:what is|what was|what's) the (?:highest|lowest|largest)\b(?=.*scores?\b)", state.text
    ):
        return
    for sort, words, table in _SUPERLATIVES:
        found = re.search(rf"\b(?:{_COUNT} (?:of the )?)?(?:the )?{words}(?: {_COUNT})?\b", state.text)
        if found is None:
            continue
        number = found[1] or found[2]
        state.blank(found)
        before = state.text[: found.start()]
        if number is None and (apart := re.search(rf"\b{_COUNT}\b(?=.{{0,25}}$)", before)):
            number = apart[1]  # "which three bricks are the worst": what stands between is read by others
            state.blank(apart)
        nouns = re.search(r"\b(?:ones|pictures|parts|images|events|clips|those)\b", state.text)
        several = nouns is not None and not re.search(r"\b(?:looks|is|has|was)\b", state.text)
        plural = "threshold" in words or "scores" in found[0] or several
        state.top = int(NUMBERS.get(number, 0) or number) if number else SEVERAL if plural else FEW
        state.sort, state.measure = sort or None, "list"
        state.table = "regions" if sort == "size" and state.about == "pictures" else state.table
        state.stated |= {"measure", "top"}
        if table and state.about == "clips":
            state.table = "events"
        return


def _top_group(state: ReadingState) -> None:
    """ "Which product has the most …", "the least common kind", "top three kinds", "which shift is best"."""
    changes = _TREND.search(state.text) is not None  # "which product got worse" is no superlative
    number = state.take(rf"\btop {_COUNT}\b")
    verb = "" if changes else rf"(?: {_VERB}\b)?"
    which = state.take(rf"\bwhich ({_GROUP_NOUN})\b{verb}") or state.take(rf"\b({_GROUP_NOUN})\b")
    is_so = which is not None and re.search(r"\b(?:is|was|are|were)$", which[0]) is not None
    column = run_words().column_of(which[1]) if which else "kind"
    state.group(column)
    if changes:
        return
    if column == "place" and state.about == "pictures":
        state.table = "regions"
    state.stated |= {"measure", "top"}
    often = FREQUENCY.search(state.text) is not None
    extreme = "most" if _take_extreme_number(state) else state.take_extreme()
    if state.of is None:
        _measure_groups(state, column, extreme, is_so and not often)
        if column == "place" and extreme in ("least", "best"):
            state.text += f" {extreme}"  # not read: where nothing was found is no row
    state.top = int(NUMBERS.get(number[1], 0) or number[1]) if number else 1 if extreme else None


def _measure_groups(state: ReadingState, column: str, extreme: str, is_so: bool) -> None:
    """What groups are chosen by: a rate, the severity of a kind, a share, or else their count."""
    found = column in FINDING_COLUMNS  # each of them is of what is anomalous
    state.lowest = extreme == "least"
    if (rate := state.take(_RATES)) is not None:
        good = _set_rate(state, rate)
        state.lowest |= extreme == ("worst" if good else "best")
    elif extreme in ("worst", "best") and found:
        state.measure, state.of, state.lowest = "max", "severity", extreme == "best"
    elif extreme in ("worst", "best") or (is_so and not found):
        state.measure, state.part, state.part_guessed = "share", (ANOMALOUS,), True
        state.lowest |= extreme == "best"


def _take_extreme_number(state: ReadingState) -> bool:
    """Read the highest or lowest score, size, … of groups, or its mean: "the lowest average score"."""
    for column, words in _HIGHEST.items():
        if (column != "duration" or state.about == "clips") and state.take(rf"\b(?:the )?{words}\b"):
            state.measure, state.of = "max", column
            state.table = "events" if column == "duration" else state.table
            return True
    for column, nouns in _MEASURED_COLUMNS.items():
        kinds = r"(highest|largest|lowest|smallest)(?: (mean|average|avg|median))?"
        if found := state.take(rf"\b(?:the )?{kinds} {nouns}\b"):
            state.lowest, state.of = found[1] in ("lowest", "smallest"), column
            state.measure = "median" if found[2] == "median" else "mean" if found[2] else "max"
            state.measure = "min" if state.lowest and not found[2] else state.measure
            return True
    return False


def _measured_columns(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """A mean, median, highest or lowest of a number: "average score", "how long on average"."""
    for measure, words in _MEASURED.items():
        for column, nouns in _MEASURED_COLUMNS.items():
            if state.take(rf"\b(?:the )?{words} {nouns}\b"):
                state.measure, state.of = cast("Measure", measure), column
                state.stated.add("measure")
                return
    if re.search(r"\bhow long\b", state.text) and state.take(r"\bon average\b"):
        state.take(r"\bhow long (?:did|do|does|was|were) .{0,20}?last\b")
        state.measure, state.of, state.table = "mean", "duration", "events"
        state.stated.add("measure")


def _rates(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """A rate, whose own word says the rate of what: "reject rate", "yield"."""
    if found := state.take(_RATES):
        _set_rate(state, found)
        state.stated.add("measure")


def _set_rate(state: ReadingState, found: re.Match[str]) -> bool:
    """Set the share that a rate is; returns whether it is of the good ones."""
    good = re.search(r"yield|pass", found[0]) is not None
    part = Condition(column="label", values=("normal" if good else "anomalous",))
    state.measure, state.part = "share", (part,)
    return good


def _groups(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """ "By product and label", "per day", "for each camera", "which kinds … how often", "the trend"."""
    one = run_words().group_pattern
    lead = r"\b(?:by|per|(?:(?:for|on|at|in|of) )?each|(?:(?:for|on|of) )?every|grouped by|over the"
    lead += r"|(?:for|of) the different|(?:split|broken down|break down|itemi[sz]ed) (?:in)?to)"
    if found := state.take(_WRONG_WITH):
        state.group("kind")
        state.where.append(ANOMALOUS)
    if found := state.take(rf"{lead} ((?:{one})(?:(?: and |,? ?(?:and )?by | per )(?:{one}))*)\b"):
        for part in re.split(r"\s*(?:,| and | by | per )\s*", found[1]):
            state.group(run_words().column_of(part.removeprefix("by ").strip()))
    if found := state.take(r"(?<!\w)(daily|hourly|weekly|monthly)\b"):
        state.group(run_words().column_of(found[1]))
    while found := state.take(_TREND):
        hourly = re.search(r"(?:day|shift)\b", found[0]) and "days" not in found[0]
        state.trend = "hour" if hourly else state.trend or "day"
        if state.measure is None and re.search(r"worse|better", found[0]):
            state.measure, state.part, state.part_guessed = "share", (ANOMALOUS,), True
        state.stated.add("by")
    if state.take(r"\b(?:what|which) (?:kinds?|types?|sorts?)(?: of)?\b") and not state.by:
        state.group("kind")
    if (
        state.take(r"\bseverit(?:y|ies)\b(?=.*\bdistribut)|\bhow (?:are|were) the severities\b")
        and not state.by
    ):
        state.group("severity")
    where = r"^\s*where\b(?=.*\b(?:defects|faults|flaws|anomalies|most)\b)"
    if state.take(
        rf"\b(?:(?:at |in )?(?:which|what) places?|where on the (?:part|picture|image)s?)\b|{where}"
    ):
        state.group("place")
        state.table = "regions" if state.about == "pictures" else "events"
        if state.take(r"\bmost(?: of)?\b"):
            state.top = 1


def _phrases(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """Labels, severities and what could not be judged; of clips, what happened in them."""
    words = run_words()
    state.ungrouped = state.text
    if state.about == "clips":
        _take_phrases(state, words.events, "events")
        if not state.where:
            _take_phrases(state, words.camera_trouble, "clips")
    labels = [each for each in words.conditions if each.condition.column == "label"]
    named = {str(each.condition.values[0]) for each in labels if each.pattern.search(state.text)}
    if len(named) > 1 and re.search(r"\bhow many\b|\band\b|\bversus\b|\bvs\b", state.text) and not state.by:
        for phrase in labels:
            while state.take(phrase.pattern):
                pass
        state.group("label")
        return
    _take_phrases(state, words.conditions, None)


def _take_phrases(state: ReadingState, phrases: Iterable[Phrase], table: TableName | None) -> None:
    for phrase in phrases:
        negated = state.take(rf"\b(?:not|n't|never|neither)(?: \w+)? (?={phrase.pattern.pattern})")
        if state.take(phrase.pattern) is None:
            continue
        condition = phrase.condition
        if condition.column not in state.columns:
            operator: Operator = "!=" if negated and condition.operator == "=" else condition.operator
            state.where.append(condition.replace(operator=operator))
        state.table = table or state.table


def _times_of_day(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """ "Between 2 and 4 pm", "after 18:30", "in the morning": of pictures, when they were judged."""
    if state.about == "clips":
        return
    if state.take(TIME_OF_DAY):
        state.group("hour of day")
        if found := state.take(r"\b(?:the )?(most|fewest|least)(?: of(?: the)?)?\b"):
            state.top, state.lowest = 1, found[1] != "most"
    for found in CLOCK_SPAN.finditer(state.text):
        first, last = clock_of(found[1], found[2]), clock_of(found[2], found[1])
        if first and last and _clock_span(state, first, last):
            state.blank(found)
            return
    for found in CLOCK_BOUND.finditer(state.text):
        if (bound := clock_of(found[2])) and bound != "00:00":
            state.add("clock", ">=" if TIME_OPERATORS[found[1]].startswith(">") else "<", bound)
            state.blank(found)
            return
    if part := state.take(PART_OF_DAY):
        state.where.append(Condition(column="hour", values=DAY_PARTS[part[2]]))
        if part[1]:
            state.add("time", "=", "today" if part[1] == "this" else part[1])


def _clock_span(state: ReadingState, first: str, last: str) -> bool:
    """Add the conditions of a span of the day; False for one past midnight that is not of whole hours."""
    if first < last or last == "00:00":
        state.add("clock", ">=", first)
        if last != "00:00":
            state.add("clock", "<", last)
        return True
    if not (first.endswith(":00") and last.endswith(":00")):
        return False
    hours = (*range(int(last[:2])), *range(int(first[:2]), 24))
    state.where.append(Condition(column="hour", values=hours))
    return True


def _times(state: ReadingState, vocabulary: RunVocabulary) -> None:
    while found := state.take(TIME_WORDS):
        state.add("time", TIME_OPERATORS.get(found[1] or "", "="), found[2])


def _places(state: ReadingState, vocabulary: RunVocabulary) -> None:
    for place, pattern in run_words().places.items():
        if state.take(rf"(?:\b(?:at|in|near|on) the )?{pattern.pattern}"):
            sides = places_of(place) if state.about == "pictures" else (place,)
            state.where.append(Condition(column="place", values=sides))
            return


def _names(state: ReadingState, vocabulary: RunVocabulary) -> None:
    """Names of the records; several of one column are alternatives, but of folders with "or" alone."""
    found: dict[str, list[str]] = {}
    for match, name in list(vocabulary.find(state.text)):
        if name.column in ("kind", "kinds") and "kind" in state.columns:
            continue
        found.setdefault(name.column, []).append(name.text)
        state.text = state.text.replace(match[0], "\x00", 1)
        if name.column == "place":
            state.table = state.table or "regions"
        if name.table == "events" and state.about == "clips":
            state.table = "events"
    for column, values in found.items():
        apart = column == "folder" and not re.search(r"\bor\b", state.text)
        groups = [(value,) for value in values] if apart and len(values) > 1 else [tuple(values)]
        state.where += [Condition(column=column, values=group) for group in groups]


def _measures(state: ReadingState, vocabulary: RunVocabulary) -> None:
    state.listing = state.listing or _STRONG_LIST.search(state.text) is not None
    for measure, pattern in run_words().measures.items():
        found = pattern.search(state.text)
        if found is None:
            continue
        if state.measure is None or (measure == "share" and state.measure != "share"):
            state.measure = measure
            state.stated.add("measure")
            if measure == "share":
                state.part, state.part_guessed = (ANOMALOUS,), True
        state.blank(found)
        if measure != "list":
            break
    while state.take(run_words().measures["list"]):
        pass


STEPS: tuple[Callable[[ReadingState, RunVocabulary], None], ...] = (
    _feedback, _rules, _reasons, _times_of_day, _dimension, _sorting, _quantities, _superlatives,
    _measured_columns, _rates, _groups, _phrases, _times, _places, _names, _measures,
)  # fmt: skip
"""The steps in their order: what is more specific takes its words first."""
