"""Questions about runs in English, read into queries by a grammar over words and the names in the records.

A question is read only if every word of it has a part; what is left over is said. Nothing is guessed: a name
that no record holds, and a question that leaves open what is asked, are told apart from what can be answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from anomalist.agent.asking.run_steps import ANOMALOUS, DEFECT_NOUN, FINDING_COLUMNS, STEPS
from anomalist.agent.asking.run_vocabulary import RunVocabulary
from anomalist.agent.asking.run_words import About, ReadingState, run_words
from anomalist.querying.query import Condition, Query
from anomalist.types.names import names_source

SPELLING_CUTOFF = 0.82
"""Similarity of letters from which a word is read as another one."""

_SPELT = (
    "anomalous", "undecided", "critical", "moderate", "pictures", "normal", "defective", "rejected",
    "compare",     "percentage", "severity", "average", "yesterday", "anomalies",
)  # fmt: skip
_ROW_NOUN = re.compile(
    r"\b(?:pictures?|images?|photos?|parts?|pieces?|ones?|tiles?|boards?|products?|rejects?|samples?|items?|units?)\b"
)
_SHARE_OF = re.compile(
    r"\b(?:percentage|percent|per cent|share|fraction|proportion|%) of (?:(?:all|the|our|these|those) )*"
)
_ADJECTIVES = (
    r"(?:the )?(?:critical|major|moderate|minor|severe|undecided|anomalous|normal|bad|good|failed|rejected)\b"
)
_OVERVIEW = re.compile(
    r"^(?:(?:please |can you |could you )?(?:give me |show me )?(?:a |an |the )?(?:short |quick |brief )?"
    r"(?:overview|summar(?:y|ise|ize)|overall results?|big picture|status)\b.*"
    r"|(?:is|are|was|were) (?:everything|all|all of (?:them|it|these)|they all|the whole (?:run|batch|lot))"
    r" (?:fine|ok|okay|good|normal|in order|all right|alright|clean|acceptable)"
    r"|how did (?:the |this |it )?(?:run|batch|inspection|lot|it)? ?(?:go|turn out|do)"
    r"|what (?:did you find|was found|came out|(?:is|are|were) the (?:overall )?results?|happened)"
    r"(?: last night| in the night| overnight| tonight| today| in (?:this|the) (?:run|batch))?)[ .?!]*$"
)


@dataclass(frozen=True)
class RunReading:
    """What a question was read as.

    Parameters
    ----------
    query : None where nothing to ask for was found.
    unread : words that no part of the query stands for.
    where : conditions alone, for questions that are no query, and for follow-ups.
    stated : the parts that the question itself names: "measure", "part", "by", "top", "where".
    corrected : words that were read as others, by spelling: (as typed, as read).
    asked : the question, in lower case.
    """

    query: Query | None
    unread: tuple[str, ...] = ()
    where: tuple[Condition, ...] = ()
    stated: frozenset[str] = frozenset()
    corrected: tuple[tuple[str, str], ...] = ()
    asked: str = ""


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
    asked = plain
    for typed, meant in corrected:
        plain = re.sub(rf"\b{re.escape(typed)}\b", meant, plain)
    state = ReadingState(_prepared(plain, names), about)
    for name in names:
        state.add("name", "=", name)
    if _OVERVIEW.match(state.text.strip()):
        overview = Query(table="pictures" if about == "pictures" else "clips", by=("label",))
        return RunReading(overview, stated=frozenset({"measure", "by"}), asked=asked)
    for step in STEPS:
        step(state, vocabulary)
    _name_part(state, plain)
    if about == "clips":
        _choose_clip_table(state, plain)
    else:
        _choose_table(state, plain)
        _only_anomalous(state, plain)
        _choose_side(state)
    _judge_groups(state, plain)
    words = re.findall(r"[\w'%-]+", state.text)
    unread = tuple(word for word in words if not run_words().is_filler(word))
    where = tuple(dict.fromkeys(state.where))
    stated = frozenset(state.stated | ({"where"} if where else set()))
    return RunReading(_query(state, where), unread, where, stated, corrected, asked)


def merge_follow_up(before: Query, reading: RunReading) -> Query:
    """The query before with what a follow-up names in place of, or in addition to, its own."""
    kept = [each for each in before.where if not any(_same_topic(each, new) for new in reading.where)]
    where = (*kept, *reading.where)
    changes: dict[str, object] = {"where": where}
    asked = reading.query
    if asked is not None and "measure" in reading.stated:
        changes |= {"measure": asked.measure, "of": asked.of, "part": asked.part, "by": asked.by}
        changes |= {"trend": asked.trend, "sort": asked.sort, "top": asked.top, "show": ()}
        if asked.measure == "share":
            changes |= _share_of_follow_up(asked, where, named="part" in reading.stated)
    if asked is not None and "by" in reading.stated:
        changes |= {"by": asked.by, "trend": asked.trend}
        if before.measure == "list" and "measure" not in reading.stated:
            changes |= {"measure": "count", "sort": None, "top": None, "show": ()}
    if asked is not None and "top" in reading.stated:
        changes |= {"top": asked.top, "sort": asked.sort}
    return before.replace(**changes)


def _share_of_follow_up(asked: Query, where: Sequence[Condition], *, named: bool) -> dict[str, object]:
    """What a share that follows a query is of: "How many are critical?", "and what percentage is that?"."""
    found = tuple(each for each in where if each.column in FINDING_COLUMNS)
    if not named and found:
        return {"part": found, "where": tuple(each for each in where if each not in found)}
    dropped = found if all(each.column == "label" for each in asked.part) else asked.part
    return {"where": tuple(each for each in where if each not in dropped)}


def names_in(text: str, sources: Iterable[str]) -> list[str]:
    """Names of pictures and clips in a text, as typed: paths, their last parts, or file names."""
    typed = dict.fromkeys(re.findall(r"[\w./\\-]+\.[A-Za-z]\w{2,3}\b", text))
    known = list(sources) if typed else []
    return [name for name in typed if any(names_source(name, source) for source in known)]


def _same_topic(old: Condition, new: Condition) -> bool:
    """Whether a new condition takes the place of an old one: about the same column, or the same names."""
    places, kinds = ("product", "folder", "profile", "name", "camera"), ("kind", "kinds")
    if old.column in places and new.column in places:
        return old.column == new.column or "name" in (old.column, new.column)
    hours = ("clock", "hour")
    return old.column == new.column or any(
        old.column in alike and new.column in alike for alike in (kinds, hours)
    )


def _prepared(plain: str, names: Sequence[str]) -> str:
    text = re.sub(r"\b(what|who|where|how|it|there|that|here)'s\b", r"\1 is", plain.replace("’", "'"))
    text = re.sub(rf"\b(?:only|just) (?={_ADJECTIVES})", "", text)
    for name in names:
        text = text.replace(name.casefold(), " \x00 ")
    return re.sub(r"[?!;()]|:(?!\d)|\.(?=\s|$)|,(?!\d)", " ", text)


def _corrections(plain: str, vocabulary: RunVocabulary) -> tuple[tuple[str, str], ...]:
    """Misspelt words that are near to exactly one word of the trade or name of the records."""
    known = [*_SPELT, *(name.text.casefold() for name in vocabulary.names if name.text.isalpha())]
    found = []
    for word in dict.fromkeys(re.findall(r"[a-z]{5,}", plain)):
        if word in known or _is_known_word(word, vocabulary):
            continue
        near = get_close_matches(word, dict.fromkeys(known), 2, SPELLING_CUTOFF)
        if len(near) == 1 and near[0].rstrip("s") != word.rstrip("s"):
            found.append((word, near[0]))
    return tuple(found)


def _is_known_word(word: str, vocabulary: RunVocabulary) -> bool:
    words = run_words()
    if words.is_filler(word) or any(True for _ in vocabulary.find(word)):
        return True
    return any(phrase.pattern.fullmatch(word) for phrase in (*words.conditions, *words.events))


def _name_part(state: ReadingState, plain: str) -> None:
    """Take what a share is of from the conditions: "are the rejects getting worse", "percentage of bad ones".

    In "what percentage of the rejects is critical" the rejects are the whole.
    """
    if state.measure != "share":
        return
    named = [each for each in state.where if each.column in FINDING_COLUMNS]
    whole = _SHARE_OF.search(plain)
    wholes = [p.condition for p in run_words().conditions if whole and p.pattern.match(plain, whole.end())]
    named = [each for each in named if each not in wholes] or named
    if state.part_guessed and named:
        state.part, state.part_guessed = tuple(named), False
    state.where = [each for each in state.where if each not in state.part]
    state.stated |= set() if state.part_guessed else {"part"}


def _choose_clip_table(state: ReadingState, plain: str) -> None:
    """Clips where they are counted or judged, else their events."""
    if "kind" in state.by:
        state.table = "events"
    if state.measure == "share" and all(each.column in ("label", "status") for each in state.part):
        state.table = "clips"  # each event is of an anomalous clip
    if state.table is None:
        asks_clips = (
            re.search(r"\b(?:clips?|videos?|recordings?|films?)\b", plain) or "label" in state.columns
        )
        state.table = "clips" if asks_clips and not state.columns & {"duration", "kind", "zone"} else "events"
    if state.table == "events":
        state.where = [each for each in state.where if each != ANOMALOUS]
    elif re.search(r"\b(?:watch|interesting)\b", plain) and "label" not in state.columns:
        state.where.append(ANOMALOUS)


def _choose_table(state: ReadingState, plain: str) -> None:
    """Pictures, or their regions where places and defects themselves are counted."""
    columns = state.columns
    rows_named = _ROW_NOUN.search(state.ungrouped) is not None
    objects = not rows_named and DEFECT_NOUN.search(plain) is not None
    kinds = columns & {"kind", "kinds"}
    if state.table is None and not rows_named:
        counted = state.measure == "count" and (
            kinds or (objects and not state.by and "label" not in columns)
        )
        placed = "place" in columns or any(each.column == "place" for each in state.part)
        if counted or placed or (kinds and state.by):
            state.table = "regions"
    state.table = state.table or "pictures"
    if state.table == "regions":
        labels = [each for each in state.where if each.column == "label"]
        state.where = [
            each.replace(column="kind") if each.column == "kinds" else each
            for each in state.where
            if each.column != "label"
        ]
        state.where += labels or [Condition(column="label", operator="!=", values=("normal",))]


def _judge_groups(state: ReadingState, plain: str) -> None:
    """ "Is gravel good?" is asked about all of its labels."""
    yes_or_no = re.match(r"(?:is|are|was|were|do|does|did|has|have)\b", plain.strip()) is not None
    places = state.columns & {"product", "folder", "profile", "camera"}
    if yes_or_no and state.measure is None and places and "label" in state.columns and not state.by:
        state.where = [each for each in state.where if each.column != "label"]
        state.group("label")
        state.table = "pictures" if state.about == "pictures" else "clips"


def _only_anomalous(state: ReadingState, plain: str) -> None:
    """What is asked about defects of pictures is asked about the anomalous ones."""
    if state.table != "pictures" or state.measure == "share" or state.columns & {"label", "status"}:
        return
    by_kind = state.by[:1] == ["kind"] and "severity" not in state.columns
    named = (
        DEFECT_NOUN.search(plain) and not state.columns & {"kinds", "severity", "regions"} and not state.sort
    )
    if named or by_kind or state.by == ["severity"]:
        state.where.append(ANOMALOUS)


def _choose_side(state: ReadingState) -> None:
    """Nearest to the threshold are the normal ones of the lowest p-value, or others of the highest."""
    if state.sort != "p_value" or state.top is None:
        return
    labels = [each for each in state.where if each.column == "label"]
    if not labels:
        state.add("label", "=", "normal")
    elif labels[0] in (ANOMALOUS, Condition(column="label", operator="!=", values=("normal",))):
        state.sort = "-p_value"


def _query(state: ReadingState, where: tuple[Condition, ...]) -> Query | None:
    """The query of what was read; None where nothing says what is asked for."""
    grouped = bool(state.by or state.trend)
    measure = state.measure
    if measure == "list" and not (
        where or grouped or state.top or state.listing or state.table == "feedback"
    ):
        return None
    if state.top == 0 or (measure is None and not grouped and not state.top):
        return None
    if grouped and measure in (None, "list"):
        measure = "count"
    if measure in ("mean", "median") and state.of is None:
        return None
    return Query(
        table=state.table or "pictures",
        where=where,
        measure=measure or "list",
        of=state.of,
        part=state.part if measure == "share" else (),
        by=tuple(state.by),
        trend=state.trend,
        sort=state.sort if measure == "list" else (measure or "list") if grouped and state.lowest else None,
        top=state.top,
    )
