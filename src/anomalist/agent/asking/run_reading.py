"""Questions about runs in English, read into queries by a grammar over the words of `run_words` and the names
in the records.

A question is read only if every word of it has a part; what is left over is said. Nothing is guessed: a name
that no record holds, and a question that leaves open what is asked, are told apart from what can be answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anomalist.agent.asking.run_vocabulary import RunVocabulary
from anomalist.agent.asking.run_words import (
    CAMERA_TROUBLE,
    CONDITION_PHRASES,
    EVENT_PHRASES,
    FILLERS,
    GROUP_WORDS,
    MEASURE_WORDS,
    NUMBERS,
    PLACES,
    TIME_OPERATORS,
    TIME_WORDS,
    Phrase,
)
from anomalist.querying.columns import TableName
from anomalist.querying.query import Condition, Measure, Query, Trend

About = Literal["pictures", "clips"]

_NUMBER = r"(\d+(?:[.,]\d+)?)\s*(%|percent|per cent)?"
_MORE = r"(?:above|over|more than|larger than|bigger than|greater than|higher than|longer than|exceed(?:s|ing)?|beyond|>)"
_LESS = r"(?:below|under|less than|smaller than|lower than|shorter than|fewer than|<)"
_QUANTITIES: tuple[tuple[str, str], ...] = (
    ("score", r"(?:anomaly )?scores?(?: is| are| of)?"),
    ("p_value", r"(?:with )?(?:a )?p[- ]?values?(?: is| of)?|p(?: is)?"),
)
_SUPERLATIVES: tuple[tuple[str, str, str], ...] = (
    ("-score", r"(?:highest|largest|top|strongest|most) (?:anomaly )?scores?", "pictures"),
    ("score", r"lowest (?:anomaly )?scores?", "pictures"),
    ("-size", r"(?:largest|biggest)(?: (?:defect|fault|flaw|damage|region|spot|mark))?", "pictures"),
    ("size", r"smallest(?: (?:defect|fault|flaw|damage|region|spot|mark))?", "pictures"),
    ("-duration", r"longest", "events"),
    ("duration", r"shortest", "events"),
    ("-speed", r"fastest", "events"),
    ("p_value", r"(?:closest|nearest|close) to (?:the )?threshold|(?:almost|nearly|just) (?:failed|rejected|flagged)", "pictures"),
    ("", r"(?:worst|most (?:critical|severe|serious|suspicious|damaged|urgent|unusual))", ""),
)  # fmt: skip
_COUNT_WORD = rf"(\d+|{'|'.join(word for word in NUMBERS if word not in ('a', 'an'))})"
_DEFECT_NOUN = re.compile(
    r"\b(?:defects?|faults?|flaws?|anomal(?:y|ies)|spots?|regions?|marks?|damages?|findings?)\b"
)
_ROW_NOUN = re.compile(
    r"\b(?:pictures?|images?|photos?|parts?|pieces?|ones?|tiles?|boards?|products?|rejects?)\b"
)
_RATES = re.compile(
    r"\b(?:reject(?:ion)?|defect|failure|fail|scrap|fault|anomaly|ng) (?:rates?|quotas?|shares?|ratios?)\b"
    r"|\byield\b|\bpass rates?\b"
)
_OVERVIEW = re.compile(
    r"^(?:(?:please |can you |could you )?(?:give me |show me )?(?:a |an |the )?(?:short |quick |brief )?"
    r"(?:overview|summar(?:y|ise|ize)|overall result|big picture)\b.*"
    r"|how did (?:the |this |it )?(?:run|batch|inspection|lot|it)? ?(?:go|turn out|do)"
    r"|what (?:did you find|was found|came out|is the (?:overall )?result|are the (?:overall )?results)"
    r"|what happened(?: last night| in the night| overnight| tonight)?)[ .?!]*$"
)
_REASONS = re.compile(
    r"\bwhy (?:are|were|is|was) (?:some|so many|any|they|these|there|\d+|the)? ?(?:of them |pictures |parts )?"
    r"(?=undecided|unclear|open)|\breasons?\b(?=.*\bundecided\b)"
)
_FEEDBACK = re.compile(
    r"\b(?:feedback|corrections?|corrected|confirmed|what (?:did|do) (?:people|they|persons?|users|inspectors) say)\b"
)


@dataclass(frozen=True)
class RunReading:
    """What a question was read as.

    Parameters
    ----------
    query : None where nothing to ask for was found.
    unread : words that no part of the query stands for.
    where : conditions alone, for questions that are no query, and for follow-ups.
    stated : the parts that the question itself names: "measure", "by", "table", "top", "where".
    corrected : words that were read as others, by spelling: (as typed, as read).
    """

    query: Query | None
    unread: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    stated: frozenset[str] = frozenset()
    corrected: tuple[tuple[str, str], ...] = ()


@dataclass
class _State:
    """What was read so far; ``text`` has blanks where it was read."""

    text: str
    about: About
    where: list[Condition] = field(default_factory=list)
    by: list[str] = field(default_factory=list)
    trend: Trend | None = None
    measure: Measure | None = None
    of: str | None = None
    part: tuple[Condition, ...] = ()
    sort: str | None = None
    top: int | None = None
    table: TableName | None = None
    stated: set[str] = field(default_factory=set)
    ungrouped: str = ""

    def take(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """The first match of a pattern, which is blanked."""
        found = re.search(pattern, self.text)
        if found:
            self.blank(found)
        return found

    def blank(self, found: re.Match[str]) -> None:
        self.text = f"{self.text[: found.start()]} \x00 {self.text[found.end() :]}"


def read_run_question(
    plain: str, vocabulary: RunVocabulary, about: About, names: Sequence[str] = ()
) -> RunReading:
    """Read a question about a run.

    Parameters
    ----------
    plain : the question in lower case.
    vocabulary : names in its records.
    about : what the run holds.
    names : of pictures and clips that the question names.
    """
    corrected = _corrections(plain, vocabulary)
    for typed, meant in corrected:
        plain = re.sub(rf"\b{re.escape(typed)}\b", meant, plain)
    state = _State(_prepared(plain), about)
    for name in names:
        state.where.append(Condition(column="name", values=(name,)))
        state.text = state.text.replace(name.casefold(), " \x00 ")
    if _OVERVIEW.match(state.text.strip()):
        table: TableName = "pictures" if about == "pictures" else "clips"
        return RunReading(Query(table=table, by=("label",)), stated=frozenset({"measure", "by"}))
    for step in (
        _read_feedback, _read_reasons, _read_quantities, _read_superlatives, _read_measure_of, _read_rates, _read_groups,
        _read_phrases, _read_times, _read_places, _read_names, _read_measure,
    ):  # fmt: skip
        step(state, vocabulary)
    _choose_table(state, plain)
    unread = tuple(word for word in re.findall(r"[\w'%-]+", state.text) if not _is_filler(word))
    where = tuple(dict.fromkeys(state.where))
    return RunReading(
        _query(state), unread, where, frozenset(state.stated | ({"where"} if where else set())), corrected
    )


def merge_follow_up(before: Query, reading: RunReading) -> Query:
    """The query before with what a follow-up names in place of, or in addition to, its own."""
    kept = [each for each in before.where if not any(_same_topic(each, new) for new in reading.where)]
    where = (*kept, *reading.where)
    changes: dict[str, object] = {"where": where}
    asked = reading.query
    if asked is not None and "measure" in reading.stated:
        changes |= {"measure": asked.measure, "of": asked.of, "part": asked.part, "by": asked.by}
        changes |= {"trend": asked.trend, "sort": asked.sort, "top": asked.top}
        if asked.measure == "share" and not before.part and before.measure != "share":
            changes["where"] = tuple(each for each in where if each not in asked.part)
    if asked is not None and "by" in reading.stated:
        changes |= {"by": asked.by, "trend": asked.trend}
        if before.measure == "list":
            changes |= {"measure": "count", "sort": None, "top": None}
    if asked is not None and "top" in reading.stated:
        changes |= {"top": asked.top, "sort": asked.sort}
    return before.replace(**changes)


def _same_topic(old: Condition, new: Condition) -> bool:
    """Whether a new condition takes the place of an old one: about the same column, or the same names."""
    places = ("product", "folder", "profile", "name", "camera")
    kinds = ("kind", "kinds")
    if old.column in places and new.column in places:
        return old.column == new.column or "name" in (old.column, new.column)
    return old.column == new.column or (old.column in kinds and new.column in kinds)


def _prepared(plain: str) -> str:
    text = plain.replace("’", "'")
    return re.sub(r"[?!;:()]|\.(?=\s|$)|,(?!\d)", " ", text)


def _corrections(plain: str, vocabulary: RunVocabulary) -> tuple[tuple[str, str], ...]:
    """Misspelt words that are near to exactly one word of the trade or name of the records."""
    words = ("anomalous", "undecided", "critical", "moderate", "pictures", "normal", "defective", "rejected",
             "compare", "percentage", "severity", "average")  # fmt: skip
    from difflib import get_close_matches

    known = [*words, *(name.text.casefold() for name in vocabulary.names if name.text.isalpha())]
    found = []
    for word in dict.fromkeys(re.findall(r"[a-z]{5,}", plain)):
        if word in known or _is_known_word(word, vocabulary):
            continue
        near = get_close_matches(word, known, 2, 0.82)
        if len(near) == 1 and near[0].rstrip("s") != word.rstrip("s"):
            found.append((word, near[0]))
    return tuple(found)


def _is_known_word(word: str, vocabulary: RunVocabulary) -> bool:
    if _is_filler(word) or any(True for _ in vocabulary.find(word)):
        return True
    return any(phrase.pattern.fullmatch(word) for phrase in (*CONDITION_PHRASES, *EVENT_PHRASES))


def _is_filler(word: str) -> bool:
    return word in FILLERS or word.removesuffix("'s") in FILLERS or not any(map(str.isalnum, word))


def _read_feedback(state: _State, vocabulary: RunVocabulary) -> None:
    found = state.take(_FEEDBACK)
    if found is None:
        return
    state.table = "feedback"
    if found[0].startswith("correct"):
        state.where.append(Condition(column="action", values=("corrected",)))
    elif found[0] == "confirmed":
        state.where.append(Condition(column="action", values=("confirmed",)))
    if re.search(r"\bwho\b", state.text):
        state.by.append("person")
        state.stated.add("by")
    elif not re.search(r"\bhow (?:many|often)\b|\bby\b|\bper\b", state.text):
        state.measure = "list"


def _read_reasons(state: _State, vocabulary: RunVocabulary) -> None:
    if state.take(_REASONS):
        state.by.append("why")
        state.stated.add("by")


def _read_quantities(state: _State, vocabulary: RunVocabulary) -> None:
    """Thresholds: a score, p-value, size, duration or number of regions above or below a value."""
    for column, words in _QUANTITIES:
        for operator, comparison in ((">", _MORE), ("<", _LESS)):
            found = state.take(rf"\b(?:{words}) {comparison} {_NUMBER}")
            if found:
                state.where.append(_threshold(column, operator, found[1], found[2]))
    for operator, comparison in ((">", _MORE), ("<", _LESS)):
        found = state.take(
            rf"\b{comparison} {_NUMBER} ?(?:of (?:the )?(?:inspected )?(?:area|picture|surface))"
        )
        if found:
            state.where.append(_threshold("size", operator, found[1], found[2] or "%"))
            state.table = "regions" if _DEFECT_NOUN.search(state.text) else state.table
        found = state.take(
            rf"\b{comparison} (?:than )?{_COUNT_WORD} (?:regions?|marked places?|places?|spots?)\b"
        )
        if found:
            number = float(NUMBERS.get(found[1]) or found[1])
            state.where.append(Condition(column="regions", operator=_operator(operator), values=(number,)))
            state.table = "pictures"
        found = state.take(
            rf"\b{comparison} (?:than )?(?:{_NUMBER}|a|an|one|two|three|five|ten) ?(seconds?|secs?|s|minutes?|min)\b"
        )
        if found:
            word = re.search(r"\b(a|an|one|two|three|five|ten)\b(?= ?(?:s|m))", found[0])
            number = float((found[1] or "").replace(",", ".") or NUMBERS[word[1] if word else "a"])
            number *= 60 if found[3].startswith("m") else 1
            state.where.append(Condition(column="duration", operator=_operator(operator), values=(number,)))


def _operator(sign: str) -> Literal["<", ">"]:
    return ">" if sign == ">" else "<"


def _threshold(column: str, sign: str, number: str, percent: str | None) -> Condition:
    value = float(number.replace(",", ".")) / (100 if percent else 1)
    return Condition(column=column, operator=_operator(sign), values=(value,))


def _read_superlatives(state: _State, vocabulary: RunVocabulary) -> None:
    """The worst, largest, longest …, with a number of them; and the most frequent group."""
    if re.search(rf"\bmost (?:common|frequent|often)|\bwhich {_GROUP} (?:has|had|have|is|was|makes|made|gives|got)\b|"
                 rf"\btop {_COUNT_WORD} (?:kinds?|products?|folders?|cameras?|places?)", state.text):  # fmt: skip
        _read_top_group(state)
        return
    for sort, words, table in _SUPERLATIVES:
        for pattern in (
            rf"\b(?:the )?{_COUNT_WORD} (?:of the )?{words}\b",
            rf"\b{words} {_COUNT_WORD}\b",
            rf"\b(?:{_COUNT_WORD} .{{0,20}}(?:have|has|with) the )?{words}\b",
        ):
            found = re.search(pattern, state.text)
            if found is None or re.search(
                r"\b(?:what is|what was|what's) the (?:highest|lowest|largest)\b(?=.*scores?)", state.text
            ):
                continue
            state.blank(found)
            number = next((each for each in found.groups() if each), None)
            plural = re.search(r"\b(?:ones|pictures|parts|images|events|clips|those)\b", state.text)
            default = 10 if "threshold" in words or (sort and "scores" in found[0]) or plural else 1
            state.top = int(NUMBERS.get(number, 0) or number) if number else default
            state.sort, state.measure = sort or None, "list"
            state.stated |= {"measure", "top"}
            if table and state.about == "clips":
                state.table = "events"
            return


_GROUP = r"(?:products?|folders?|shifts?|cameras?|kinds?|days?|places?|lines?|types?|part types?)"


def _read_top_group(state: _State) -> None:
    """ "Which product has the most …", "the most common kind", "top three kinds"."""
    number = state.take(rf"\btop {_COUNT_WORD}\b")
    which = state.take(rf"\bwhich ({_GROUP})\b (?:has|had|have|is|was|makes|made|gives|got)?") or state.take(
        rf"\b({_GROUP})\b"
    )
    column = _group_column(which[1]) if which else "kind"
    state.take(r"\b(?:the )?(?:most (?:common|frequent|often|of)|most|highest|worst)\b")
    if re.search(r"\bworst\b", state.text):
        state.take(r"\bworst\b")
    worst = which is not None and re.search(r"\b(?:is|was)\b", which[0])
    rate = state.take(r"\b(?:reject(?:ion)?|defect|failure|scrap|anomaly) (?:rates?|quotas?|shares?)\b")
    if worst or rate:
        state.measure, state.part = "share", (Condition(column="label", values=("anomalous",)),)
    _add_group(state, column)
    state.top = int(NUMBERS.get(number[1], 0) or number[1]) if number else 1
    state.stated |= {"measure", "by", "top"}


def _group_column(word: str) -> str:
    for column, patterns in GROUP_WORDS.items():
        if any(re.fullmatch(pattern, word) for pattern in patterns):
            return column
    return "kind"


def _add_group(state: _State, column: str) -> None:
    if column in ("day", "hour", "week", "month"):
        state.trend = column  # type: ignore[assignment]
    elif column not in state.by:
        state.by.append("folder" if column == "camera" and state.about == "pictures" else column)
    state.stated.add("by")


def _read_measure_of(state: _State, vocabulary: RunVocabulary) -> None:
    """A mean, median, highest or lowest of a number: "average score", "how long on average"."""
    measures = {"mean": r"(?:mean|average|avg)", "median": "median", "max": r"(?:highest|maximum|max|largest)",
                "min": r"(?:lowest|minimum|min|smallest)"}  # fmt: skip
    columns = {"score": r"(?:anomaly )?scores?", "p_value": r"p[- ]?values?", "size": r"(?:defect )?sizes?",
               "duration": r"(?:durations?|lengths?)", "milliseconds": r"(?:inspection )?times?"}  # fmt: skip
    for measure, words in measures.items():
        for column, nouns in columns.items():
            if state.take(rf"\b(?:the )?{words} {nouns}\b"):
                state.measure, state.of = measure, column  # type: ignore[assignment]
                state.stated.add("measure")
                return
    if re.search(r"\bhow long\b", state.text) and state.take(r"\bon average\b"):
        state.take(r"\bhow long (?:did|do) .{0,20}?last\b")
        state.measure, state.of, state.table = "mean", "duration", "events"
        state.stated.add("measure")


def _read_rates(state: _State, vocabulary: RunVocabulary) -> None:
    """A rate, whose own word says the rate of what: "reject rate", "yield"."""
    found = state.take(_RATES)
    if found:
        label = "normal" if re.search(r"yield|pass", found[0]) else "anomalous"
        state.measure, state.part = "share", (Condition(column="label", values=(label,)),)
        state.stated.add("measure")


def _read_groups(state: _State, vocabulary: RunVocabulary) -> None:
    """ "By product and label", "per day", "for each camera", "which kinds … how often", "the trend"."""
    words = [(column, pattern) for column, patterns in GROUP_WORDS.items() for pattern in patterns]
    one = "|".join(f"(?:{pattern})" for _, pattern in sorted(words, key=lambda pair: -len(pair[1])))
    pattern = r"\b(?:by|per|(?:for|on|at|in|of)? ?each|(?:for|on|of) every|grouped by|over the|(?:for|of) the different)"
    found = state.take(rf"{pattern} ((?:{one})(?:(?: and |,? ?(?:and )?by | per )(?:{one}))*)\b")
    if found:
        for part in re.split(r"\s*(?:,| and | by | per )\s*", found[1]):
            _add_group(state, _group_column(part.removeprefix("by ").strip()))
    if state.take(r"\b(?:trends?|over time|over the (?:days|weeks)|getting (?:worse|better)|development)\b"):
        state.trend = state.trend or "day"
        state.stated.add("by")
    if state.take(r"\bwhat (?:kinds?|types?) of\b|\bwhich (?:kinds?|types?)(?: of)?\b") and not state.by:
        _add_group(state, "kind")
    if (
        state.take(r"\bseverit(?:y|ies)\b(?=.*\bdistribut)|\bhow (?:are|were) the severities\b")
        and not state.by
    ):
        _add_group(state, "severity")
    if state.take(
        r"\b(?:at (?:which|what) places?|where on the (?:part|picture|image)s?)\b|^\s*where\b(?=.*\b(?:defects?|faults?|flaws?)\b)"
    ):
        _add_group(state, "place")
        state.table = "regions"
        if state.take(r"\bmost(?: of)?\b"):
            state.top = 1


def _read_phrases(state: _State, vocabulary: RunVocabulary) -> None:
    state.ungrouped = state.text
    if state.about == "clips":
        _take_phrases(state, EVENT_PHRASES, "events")
        if not state.where and state.take(CAMERA_TROUBLE.pattern):
            state.where += CAMERA_TROUBLE.conditions
            state.table = "clips"
    if len(_labels_in(state.text)) > 1 and re.search(r"\bhow many\b|\band\b", state.text) and not state.by:
        for phrase in CONDITION_PHRASES:
            while phrase.conditions[0].column == "label" and state.take(phrase.pattern):
                pass
        _add_group(state, "label")
        return
    _take_phrases(state, CONDITION_PHRASES, None)


def _labels_in(text: str) -> set[str]:
    return {
        str(phrase.conditions[0].values[0])
        for phrase in CONDITION_PHRASES
        if phrase.conditions[0].column == "label" and phrase.pattern.search(text)
    }


def _take_phrases(state: _State, phrases: Iterable[Phrase], table: TableName | None) -> None:
    for phrase in phrases:
        negated = state.take(rf"\b(?:not|n't|never|neither)(?: \w+)? (?={phrase.pattern.pattern})")
        if state.take(phrase.pattern) is None:
            continue
        for condition in phrase.conditions:
            if any(each.column == condition.column for each in state.where):
                continue
            operator = "!=" if negated and condition.operator == "=" else condition.operator
            state.where.append(condition.replace(operator=operator))
        state.table = table or state.table


def _read_times(state: _State, vocabulary: RunVocabulary) -> None:
    while found := state.take(TIME_WORDS):
        operator = TIME_OPERATORS.get(found[1] or "", "=")
        state.where.append(
            Condition.model_validate({"column": "time", "operator": operator, "values": (found[2],)})
        )


def _read_places(state: _State, vocabulary: RunVocabulary) -> None:
    for place, pattern in PLACES.items():
        if state.take(rf"\b(?:at the |in the |on the )?{pattern}\b"):
            state.where.append(Condition(column="place", values=(place,)))
            return


def _read_names(state: _State, vocabulary: RunVocabulary) -> None:
    """Names of the records; several of one column are alternatives."""
    found: dict[str, list[str]] = {}
    for match, name in list(vocabulary.find(state.text)):
        column = name.column
        if column in ("kind", "kinds") and any(each.column == "kind" for each in state.where):
            continue
        found.setdefault(column, []).append(name.text)
        if column == "place":
            state.table = state.table or "regions"
        state.text = state.text.replace(match[0], "\x00", 1) if match[0] in state.text else state.text
        if column in ("zone",) or (name.table == "events" and state.about == "clips"):
            state.table = "events"
    for column, values in found.items():
        apart = column == "folder" and not re.search(r"\bor\b", state.text)
        groups = [(value,) for value in values] if apart and len(values) > 1 else [tuple(values)]
        state.where += [Condition(column=column, values=values) for values in groups]


def _read_measure(state: _State, vocabulary: RunVocabulary) -> None:
    for measure, pattern in MEASURE_WORDS:
        found = pattern.search(state.text)
        if found is None:
            continue
        if state.measure is None or (measure == "share" and state.measure != "share"):
            state.measure = measure
            state.stated.add("measure")
            if measure == "share":
                _share_of(state)
        state.blank(found)
        if measure != "list":
            break
    while state.take(MEASURE_WORDS[-1][1]):
        pass


def _share_of(state: _State) -> None:
    """What the numerator of a share is: the label, severity or kind that is named, or else anomalous."""
    labels = [each for each in state.where if each.column in ("label", "severity", "status", "kinds")]
    state.part = tuple(labels or [Condition(column="label", values=("anomalous",))])
    state.where = [each for each in state.where if each not in state.part]


def _choose_table(state: _State, plain: str) -> None:
    """Pictures, or regions where places and defects themselves are counted; clips or their events."""
    columns = {each.column for each in state.where}
    if state.about == "clips":
        if state.table is None:
            asks_clips = re.search(r"\b(?:clips?|videos?|recordings?|films?)\b", plain) or "label" in columns
            state.table = "clips" if asks_clips and not columns & {"duration", "kind", "zone"} else "events"
        if (
            state.table == "clips"
            and re.search(r"\b(?:watch|interesting)\b", plain)
            and "label" not in columns
        ):
            state.where.append(Condition(column="label", values=("anomalous",)))
        if state.table == "events":
            state.where = [
                each for each in state.where if each != Condition(column="label", values=("anomalous",))
            ]
        return
    rows_named = _ROW_NOUN.search(state.ungrouped) is not None
    objects = not rows_named and not state.by and _DEFECT_NOUN.search(plain) is not None
    kinds = [each for each in state.where if each.column in ("kind", "kinds")]
    if state.table is None and state.measure == "count" and kinds and not rows_named:
        state.table = "regions"
    if state.table is None and "place" in columns and (objects or not rows_named):
        state.table = "regions"
    if state.table is None and objects and state.measure == "count" and "label" not in columns:
        state.table = "regions"
    if state.table is None and kinds and state.by and not rows_named:
        state.table = "regions"
    state.table = state.table or "pictures"
    if state.table == "pictures" and _DEFECT_NOUN.search(plain) and state.measure != "share":
        anomalous = Condition(column="label", values=("anomalous",))
        if not columns & {"label", "status", "kinds", "severity"} and not state.sort:
            state.where.append(anomalous)
    if state.table == "regions":
        labels = [each for each in state.where if each.column == "label"]
        state.where = [
            each.replace(column="kind") if each.column == "kinds" else each
            for each in state.where
            if each.column != "label"
        ] + (labels or [Condition(column="label", operator="!=", values=("normal",))])
    elif (state.table == "pictures" and state.by[:1] == ["kind"] and not columns & {"label", "severity"}) or (
        state.table == "pictures" and state.by == ["severity"] and not columns & {"label"}
    ):
        state.where.append(Condition(column="label", values=("anomalous",)))


def _query(state: _State) -> Query | None:
    """The query of what was read; None where nothing says what is asked for."""
    grouped = bool(state.by or state.trend)
    measure = state.measure
    if measure is None and not grouped and not state.top:
        return None
    if grouped and measure in (None, "list"):
        measure = "count"
    if measure == "mean" and state.of is None:
        return None
    if measure == "median" and state.of is None:
        return None
    fields: dict[str, object] = {
        "table": state.table or "pictures",
        "where": tuple(dict.fromkeys(state.where)),
        "measure": measure or "list",
        "of": state.of,
        "part": state.part if measure == "share" else (),
        "by": tuple(state.by),
        "trend": state.trend,
        "sort": state.sort if measure == "list" else None,
        "top": state.top,
    }
    return Query.model_validate(fields)


def names_in(text: str, sources: Iterable[str]) -> list[str]:
    """Names of pictures and clips in a text, as typed: paths, their last parts, or file names."""
    typed = re.findall(r"[\w./\\-]+\.[a-z]\w{2,3}\b", text, re.I)
    known = list(sources)
    return [
        name
        for name in dict.fromkeys(typed)
        if any(source == name or source.endswith(f"/{name}") or Path(source).name == name for source in known)
    ]
