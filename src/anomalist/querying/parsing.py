"""The text form of a query, read by a small grammar.

::

    [list | count | share CONDITION… of | mean COLUMN | median … | sum … | min … | max …]
    [pictures | regions | clips | events | claims | rules | feedback]
    [where] CONDITION… [by COLUMN, COLUMN…] [trend hour | day | week | month]
    [compare CONDITION… with CONDITION…] [alike NAME]
    [show COLUMN, COLUMN…] [sort [-]COLUMN | sort [-]MEASURE] [top N]

A condition is ``label=anomalous``, ``kind!=spot``, ``severity>=major``, ``size>2%``, ``folder=brick|gravel``,
``name~scratch``, ``time>=2026-01-31`` or ``time=yesterday``. Values with spaces stand in quotes. Conditions
alone give a list; with groups they give counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast, get_args

from anomalist.errors import DataError
from anomalist.querying.columns import TABLE_NAMES, TableName, find_column, nearest_words
from anomalist.querying.query import Condition, Measure, Operator, Query, Trend

MAX_CHARS = 2000
"""Longest text of a query, characters."""

_TOKEN = re.compile(r"\"([^\"]*)\"|'([^']*)'|(<=|>=|!=|=|<|>|~)|([,|])|([^\s=<>!~,|\"']+)")
_KEYWORDS = ("where", "by", "trend", "compare", "with", "alike", "show", "sort", "top", "of", "and")
_EXAMPLE = "Write for instance: label=anomalous by kind"
_MEASURES: tuple[Measure, ...] = get_args(Measure)
_TRENDS: tuple[Trend, ...] = get_args(Trend)


def parse_query(text: str, table: TableName = "pictures") -> Query:
    """Read the text form of a query.

    Parameters
    ----------
    text : up to 2,000 characters.
    table : the one that is asked where the text names none.

    Raises
    ------
    DataError : the text is too long, or not of the grammar, or names an unknown column or value; the message
        names the word and the nearest known one.
    """
    if len(text) > MAX_CHARS:
        raise DataError(f"The query has {len(text):,} characters; at most {MAX_CHARS:,} are read.")
    return _Parser(_tokens(text), table).query()


class _Token(str):
    """A word, an operator or a sign; ``quoted`` words are values, whatever they say."""

    quoted: bool = False
    operator: bool = False


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = _TOKEN.match(text, place)
        if match is None:
            raise DataError(f"The query can't be read from here on: {text[place : place + 30]}", _EXAMPLE)
        double, single, operator, sign, word = match.groups()
        token = _Token(next(each for each in (double, single, operator, sign, word) if each is not None))
        token.quoted = double is not None or single is not None
        token.operator = operator is not None
        found.append(token)
        place = match.end()
    return found


class _Parser:
    def __init__(self, tokens: Sequence[_Token], table: TableName) -> None:
        self._tokens = tokens
        self._place = 0
        self._table = next(
            (cast("TableName", t) for t in tokens if t in TABLE_NAMES and not self._is_value(t)), table
        )

    def _is_value(self, token: _Token) -> bool:
        """Whether a token that names a table is a column or a value: next to an operator, or quoted."""
        place = next(i for i, each in enumerate(self._tokens) if each is token)
        around = self._tokens[max(0, place - 1) : place + 2]
        before = self._tokens[place - 1] if place else ""
        return token.quoted or any(each.operator for each in around) or before in (
            "by", "show", ",", "|", "sort", "mean", "median", "sum", "min", "max",
        )  # fmt: skip

    def query(self) -> Query:
        fields: dict[str, Any] = {"table": self._table}
        measure = self._word()
        grouped = False
        if measure in _MEASURES and not self._operator_follows():
            self._place += 1
            fields["measure"] = measure
            if measure == "share":
                fields["part"] = self._conditions()
                self._accept("of")
            elif measure not in ("list", "count"):
                fields["of"] = self._column("of which column?")
                self._accept("of")
        if self._word() in TABLE_NAMES and not self._operator_follows():
            self._place += 1
        self._accept("where")
        if self._condition_follows():
            fields["where"] = self._conditions()
        while (word := self._word()) is not None:
            grouped |= word in ("by", "trend", "compare")
            fields |= self._clause(word)
        if "measure" not in fields:
            fields["measure"] = "count" if grouped else "list"
        return Query(**fields)

    def _clause(self, word: str) -> dict[str, Any]:
        self._place += 1
        if word in ("by", "show"):
            columns = [self._column(f"{word} which column?")]
            while self._accept(",") or self._column_follows():
                columns.append(self._column(f"{word} which column?"))
            return {str(word): tuple(columns)}
        if word == "trend":
            return {"trend": self._choice(_TRENDS)}
        if word == "compare":
            first = self._conditions()
            if not self._accept("with"):
                raise DataError('A comparison needs "with".', "compare folder=brick with folder=gravel")
            return {"compare": (first, self._conditions())}
        if word == "alike":
            return {"alike": str(self._next("alike what?"))}
        if word == "sort":
            return {"sort": str(self._next("sort by which column?"))}
        if word == "top":
            number = self._next("top how many?")
            if not number.isdecimal() or int(number) < 1:
                raise DataError(f'"top {number}" needs a number from 1 up.', "For instance: top 5")
            return {"top": int(number)}
        self._place -= 1
        if self._condition_follows():
            raise DataError(f'"{word}" stands too late.', "Conditions come before by, trend, sort and top.")
        near = nearest_words(word, [*_KEYWORDS, *TABLE_NAMES, *_MEASURES], 1)
        hint = f' The nearest word is "{near[0]}".' if near else ""
        raise DataError(f'"{word}" can\'t be read here.{hint}', _EXAMPLE)

    def _conditions(self) -> tuple[Condition, ...]:
        found: list[Condition] = []
        while self._condition_follows() or (found and self._accept("and")):
            column = self._next("which column?")
            if self._place >= len(self._tokens) or not self._tokens[self._place].operator:
                raise DataError(f'"{column}" needs an operator and a value.', _EXAMPLE)
            operator = cast("Operator", str(self._next("which operator?")))
            values = [str(self._next(f"{column} {operator} what?"))]
            while self._accept("|"):
                values.append(str(self._next(f"{column} {operator} what?")))
            given = Condition(column=str(column), operator=operator, values=tuple(values))
            found.append(given.on(self._table))
        if not found:
            word = self._word()
            find_column(self._table, word or "nothing")
            raise DataError(f'"{word}" needs an operator and a value.', _EXAMPLE)
        return tuple(found)

    def _word(self) -> _Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _next(self, missing: str) -> _Token:
        word = self._word()
        if word is None:
            raise DataError(f"The query ends too early: {missing}", _EXAMPLE)
        self._place += 1
        return word

    def _accept(self, word: str) -> bool:
        found = self._word() == word
        self._place += found
        return found

    def _operator_follows(self) -> bool:
        after = self._tokens[self._place + 1 : self._place + 2]
        return bool(after) and after[0].operator

    def _condition_follows(self) -> bool:
        return self._word() is not None and self._operator_follows()

    def _column_follows(self) -> bool:
        word = self._word()
        return word is not None and word not in _KEYWORDS and not self._operator_follows()

    def _column(self, missing: str) -> str:
        return find_column(self._table, self._next(missing)).name

    def _choice(self, choices: Sequence[str]) -> str:
        word = self._next(f"one of {', '.join(choices)}")
        if word not in choices:
            raise DataError(f'"{word}" is none of {", ".join(choices)}.')
        return str(word)
