"""Intents of questions about runs that are more than one query, by patterns; and the form that is asked for.

``run_intents.toml`` holds the patterns. What nothing measures (counts of parts, materials, causes, text) is
an intent of its own, so that it is said with what would help.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.types.common import Frozen

Form = Literal["plain", "two sentences", "table", "customer", "numbers"]
RunIntent = Literal[
    "ship", "compare", "missed", "why", "about", "sure", "alike", "severity", "feedback", "beyond"
]  # fmt: skip

INTENTS_FILE = Path(__file__).with_name("run_intents.toml")


class UnmeasuredTopic(Frozen):
    """Something that questions are about and that nothing measures."""

    patterns: tuple[str, ...]
    text: str
    helps: str


class RunIntents(Frozen):
    """The content of ``run_intents.toml``."""

    follow_up: tuple[str, ...] = Field(description="questions that go on from the last one")
    vague: tuple[str, ...] = Field(description="questions that leave open what is asked")
    suggested: dict[str, tuple[str, ...]] = Field(description="questions that can be answered, by subject")
    on_runs: dict[str, tuple[str, ...]]
    on_pictures: dict[str, tuple[str, ...]]
    forms: dict[str, tuple[str, ...]]
    unmeasured: dict[str, UnmeasuredTopic]


@dataclass(frozen=True)
class AskedForm:
    """A question without the words for its form, and that form."""

    plain: str
    form: Form


@cache
def run_intents() -> RunIntents:
    """The patterns, read once."""
    return RunIntents.model_validate(tomllib.loads(INTENTS_FILE.read_text(encoding="utf-8")))


def split_form(plain: str) -> AskedForm:
    """Take the words for a form ("as a table", "in two sentences") out of a question in lower case."""
    for form, patterns in run_intents().forms.items():
        for pattern in patterns:
            found = re.search(pattern, plain)
            if found:
                rest = f"{plain[: found.start()]} {plain[found.end() :]}"
                return AskedForm(" ".join(rest.split()), form)  # type: ignore[arg-type]
    return AskedForm(plain, "plain")


def match_run_intent(plain: str) -> RunIntent | None:
    """The intent of a question about a run that a pattern decides; None where it is a query, or none."""
    return _first_match(run_intents().on_runs, plain)


def match_picture_intent(plain: str) -> RunIntent | None:
    """The same for a question about one picture of a run."""
    return _first_match(run_intents().on_pictures, plain)


def unmeasured_topic(plain: str, known: frozenset[str] = frozenset()) -> UnmeasuredTopic | None:
    """What a question is about that nothing measures.

    Parameters
    ----------
    plain : the question in lower case.
    known : kinds of anomalies in the records, which are counted as such.
    """
    for topic in run_intents().unmeasured.values():
        for pattern in topic.patterns:
            found = re.search(pattern, plain)
            if found is None:
                continue
            noun = found.groupdict().get("noun")
            if noun is None or not {noun, noun.removesuffix("s"), noun.removesuffix("es")} & known:
                return topic
    return None


def is_follow_up(plain: str) -> bool:
    """Whether a question goes on from the last one, where there is one."""
    return any(re.search(pattern, plain) for pattern in run_intents().follow_up)


def is_vague(plain: str) -> bool:
    """Whether a question about a run leaves open what is asked."""
    return any(re.search(pattern, plain) for pattern in run_intents().vague)


def _first_match(patterns: dict[str, tuple[str, ...]], plain: str) -> RunIntent | None:
    for intent, each in patterns.items():
        if any(re.search(pattern, plain) for pattern in each):
            return intent  # type: ignore[return-value]
    return None
