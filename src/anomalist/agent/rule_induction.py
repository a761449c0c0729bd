"""Rules from normal captions by a language model: batch by batch, then what contrasts with it, then a vote.

The vote is the one of `anomalist.memory.rules.voting`: normal rules that more than half of the batches give,
anomalous rules of any. What a model says of captions that don't exist is dropped; what a caption tells it to
do is at most one batch's opinion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from langchain_core.language_models import BaseChatModel
from pydantic import ValidationError

from anomalist.agent.messages import system_message, user_message
from anomalist.agent.structured import T, ask
from anomalist.agent.vlm import TIMEOUT
from anomalist.errors import ModelError
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.captions import CaptionFile
from anomalist.memory.rules.induction import Induction, concluded, draw_batches, support_of
from anomalist.memory.rules.keywords import telling_words
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.shipped import shipped_anomalies
from anomalist.memory.rules.statements import plainly
from anomalist.memory.rules.voting import ALIKE, Element, Group, grouped
from anomalist.prompts.rendering import Prompt, render
from anomalist.prompts.rule_replies import MOST_RULES, AnomalousElement, AnomalousElements, NormalElements

SYSTEM, NORMAL, ANOMALOUS = "rules_system.v1", "rules_normal.v1", "rules_anomalous.v1"

SHOWN = 12
"""Captions of a batch that a model reads; each may take a few hundred tokens."""

MOST_FAILURES = 2
"""Calls in a row: after so many a model that can't be reached isn't asked any more."""

Progress = Callable[[str, int, int], None]
_Thought = tuple[AnomalousElement, Element]


@dataclass(frozen=True)
class ByModel:
    """Rules of a model, and what came of asking it.

    Parameters
    ----------
    induction : as without a model; its batches are those that gave normal rules, and vote.
    prompts, replies : that were sent, and came, raw.
    dropped : what the model said and was not taken, with the reason.
    failures : what is missing of which batch, with the reason.
    """

    induction: Induction
    prompts: tuple[Prompt, ...]
    replies: tuple[str, ...]
    dropped: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(eq=False)
class _Asking:
    """A model, and all that is to be kept of the conversation."""

    model: BaseChatModel
    prompts: list[Prompt] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    batches: int = 0

    def about(self, prompt: Prompt, schema: type[T]) -> T | str:
        """The reply to a prompt in the form of ``schema``, or why there is none that can be used.

        Raises ModelError when the model fails.
        """
        system = render(SYSTEM)
        self.prompts += [system, prompt]
        reply = ask(self.model, [system_message(system), user_message(prompt)], schema, timeout=TIMEOUT)
        self.replies += reply.raw
        return reply.problems[-1] if reply.value is None else reply.value


def induce_by_model(
    file: CaptionFile,
    model: BaseChatModel,
    name: str,
    *,
    batches: int = 10,
    seed: int = 0,
    encoder: Encoder | None = None,
    progress: Progress = lambda *_: None,
) -> ByModel:
    """Induce rules from the captions of a scene as it usually is.

    Parameters
    ----------
    file : the captions.
    model, name : any chat model, and what the rules say made them.
    batches : into how many the captions are drawn; of each, 12 different ones are read at most.
    seed : of the drawing.
    encoder : what makes vectors of texts; `load_encoder()` by default.
    progress : told how many batches are done.

    Raises
    ------
    ModelError : the model fails twice in a row, or gives no usable reply to any batch.
    """
    encoder = encoder or load_encoder()
    asking = _Asking(model)
    normal: list[Element] = []
    anomalous: list[_Thought] = []
    failed = 0
    drawn = draw_batches(file.captions, seed, batches)
    for number, rows in enumerate(drawn):
        progress("batches", number, len(drawn))
        shown = _some(rows, file.captions, seed + number)
        try:
            usual, contrast = _batch(asking, file, shown, number)
        except ModelError as error:
            failed += 1
            asking.failures.append(f"Batch {number + 1} is missing: {error}")
            if failed >= MOST_FAILURES:
                raise
            continue
        failed = 0
        normal += usual
        anomalous += contrast
    if not asking.batches:
        raise ModelError("The model gave no usable rules.", "Take another model, or induce without one.")
    prompts = ", ".join(dict.fromkeys(prompt.id for prompt in asking.prompts))
    by = f"{name}; {prompts}"
    anomalies = _anomalies(asking, anomalous, file, by, encoder)
    found = concluded(file, grouped(normal, encoder), anomalies, asking.batches, encoder)
    return ByModel(
        Induction(tuple(_said_by(rule, by) for rule in found.rules), found.dropped, found.batches),
        tuple(asking.prompts),
        tuple(asking.replies),
        tuple(asking.dropped),
        tuple(asking.failures),
    )


def _batch(
    asking: _Asking, file: CaptionFile, shown: Sequence[int], number: int
) -> tuple[list[Element], list[_Thought]]:
    """What is normal in one batch, and the anomalies that contrast with it; none where a reply is unusable.

    Raises ModelError when the model fails.
    """
    usual = _normal(asking, file, shown)
    if isinstance(usual, str):
        asking.failures.append(f"Batch {number + 1} gave no normal rules: {usual}")
        return [], []
    contrast = _anomalous(asking, usual, shown)
    asking.batches += 1
    if isinstance(contrast, str):
        asking.failures.append(f"Batch {number + 1} gave no anomaly rules: {contrast}")
        return usual, []
    return usual, contrast


def _some(rows: Sequence[int], captions: Sequence[str], seed: int) -> list[int]:
    """Rows of different captions of a batch, as many as a model reads, in their order."""
    different = list({captions[row - 1]: row for row in rows}.values())
    drawn = np.random.default_rng(seed).permutation(different)[:SHOWN]
    return sorted(drawn.tolist())


def _normal(asking: _Asking, file: CaptionFile, shown: Sequence[int]) -> list[Element] | str:
    prompt = render(NORMAL, captions=[file.captions[row - 1] for row in shown], most=MOST_RULES)
    reply = asking.about(prompt, NormalElements)
    if isinstance(reply, str):
        return reply
    found = []
    for said in reply.rules:
        rows = tuple(shown[n - 1] for n in dict.fromkeys(said.captions) if 1 <= n <= len(shown))
        if rows and said.text:
            found.append(Element(said.text, said.kind, asking.batches, rows))
        else:
            asking.dropped.append(f'"{said.text[:80]}" rests on no caption.')
    return found or "none of them rests on a caption."


def _anomalous(asking: _Asking, normal: Sequence[Element], shown: Sequence[int]) -> list[_Thought] | str:
    pairs = [(element.kind, element.text) for element in normal]
    reply = asking.about(render(ANOMALOUS, normal=pairs, most=MOST_RULES), AnomalousElements)
    if isinstance(reply, str):
        return reply
    return [
        (said, Element(said.text, said.kind, asking.batches, tuple(shown)))
        for said in reply.rules
        if said.text
    ]


def _anomalies(
    asking: _Asking, said: Sequence[_Thought], file: CaptionFile, by: str, encoder: Encoder
) -> tuple[Rule, ...]:
    """All that the model thought of, each once, and the shipped ones that say something else."""
    groups = grouped([element for _, element in said], encoder)
    own: list[Rule] = []
    for group in groups:
        alike = [one for one, element in said if plainly(element.text) == group.text]
        try:
            own.append(_rule(len(own) + 1, group, alike, file, asking.batches, by))
        except ValidationError as error:
            reason = error.errors(include_input=False)[0]["msg"]
            asking.dropped.append(f'"{group.text[:80]}" is no rule: {reason}.')
    shipped = shipped_anomalies()
    if not own:
        return shipped
    ours, theirs = (encoder.encode([plainly(rule.text) for rule in rules]) for rules in (own, shipped))
    new = (theirs @ ours.T).max(1) < ALIKE
    return (*own, *(rule for rule, other in zip(shipped, new.tolist(), strict=True) if other))


def _rule(
    number: int, group: Group, alike: Sequence[AnomalousElement], file: CaptionFile, batches: int, by: str
) -> Rule:
    keywords = dict.fromkeys(w for one in alike for k in one.keywords for w in telling_words(k))
    return Rule(
        id=f"rule:new-{number}",
        text=group.text,
        polarity="anomalous",
        kind=group.kind,
        keywords=tuple(keywords)[:5],
        severity=max(one.severity for one in alike),
        origin="induced",
        support=support_of(group, file, batches).model_copy(update={"by": by}),
    )


def _said_by(rule: Rule, by: str) -> Rule:
    """The rule with who read its captions."""
    if rule.support is None or rule.support.by:
        return rule
    return rule.model_copy(update={"support": rule.support.model_copy(update={"by": by})})
