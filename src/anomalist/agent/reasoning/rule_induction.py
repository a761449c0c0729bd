"""Rule induction by a language model from normal captions (AnomalyRuler), and its recheck of captions.

Batch by batch, then what contrasts with it, then the vote of `anomalist.memory.rules.induction`: normal rules
that more than half of the batches give, anomalous rules of any. What a model says of captions that don't
exist is dropped; what a caption tells it to do is at most one batch's opinion.

The recheck matches a caption against rules once more and may clear an alarm as well as raise one (the
released code of AnomalyRuler only ever raises). Both count with a reason and the rules that it rests on. What
can't be used leaves the first result as it was, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from langchain_core.language_models import BaseChatModel
from pydantic import Field, ValidationError

from anomalist.agent.models.structured import T, ask_structured, system_message, user_message
from anomalist.agent.reasoning.vlm_reasoner import REPLY_TIMEOUT
from anomalist.errors import ModelError
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.induction import (
    SAME_ELEMENT_SIMILARITY,
    ElementGroup,
    Induction,
    RuleElement,
    draw_batches,
    group_elements,
    rules_from_groups,
    support_of,
)
from anomalist.memory.rules.matching import RuleMatch
from anomalist.memory.rules.rule import CaptionFile, Rule, shipped_anomalies
from anomalist.memory.rules.statements import content_words, plain_form
from anomalist.prompts.schemas import (
    MAX_RULES,
    AnomalousElement,
    AnomalousElements,
    NormalElements,
    Rechecked,
)
from anomalist.prompts.templates import Prompt, render
from anomalist.types.common import Frozen, Label, PromptUsed

RULES_SYSTEM_PROMPT, NORMAL_RULES_PROMPT, ANOMALOUS_RULES_PROMPT = (
    "rules_system.v1",
    "rules_normal.v1",
    "rules_anomalous.v1",
)

CAPTIONS_SHOWN = 12
"""Captions of a batch that a model reads; each may take a few hundred tokens."""

MAX_FAILURES = 2
"""Calls in a row: after so many a model that can't be reached isn't asked any more."""

Progress = Callable[[str, int, int], None]
_AnomalyProposal = tuple[AnomalousElement, RuleElement]


@dataclass(frozen=True)
class ModelInduction:
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
class _ModelSession:
    """A model, and the log of the conversation with it."""

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
        system = render(RULES_SYSTEM_PROMPT)
        self.prompts += [system, prompt]
        reply = ask_structured(
            self.model, [system_message(system), user_message(prompt)], schema, timeout=REPLY_TIMEOUT
        )
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
) -> ModelInduction:
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
    asking = _ModelSession(model)
    normal: list[RuleElement] = []
    anomalous: list[_AnomalyProposal] = []
    failed = 0
    drawn = draw_batches(file.captions, seed, batches)
    for number, rows in enumerate(drawn):
        progress("batches", number, len(drawn))
        shown = _sample_rows(rows, file.captions, seed + number)
        try:
            usual, contrast = _induce_batch(asking, file, shown, number)
        except ModelError as error:
            failed += 1
            asking.failures.append(f"Batch {number + 1} is missing: {error}")
            if failed >= MAX_FAILURES:
                raise
            continue
        failed = 0
        normal += usual
        anomalous += contrast
    if not asking.batches:
        raise ModelError("The model gave no usable rules.", "Take another model, or induce without one.")
    prompts = ", ".join(dict.fromkeys(prompt.id for prompt in asking.prompts))
    by = f"{name}; {prompts}"
    anomalies = _anomaly_rules(asking, anomalous, file, by, encoder)
    found = rules_from_groups(file, group_elements(normal, encoder), anomalies, asking.batches, encoder)
    return ModelInduction(
        Induction(tuple(_with_author(rule, by) for rule in found.rules), found.dropped, found.batches),
        tuple(asking.prompts),
        tuple(asking.replies),
        tuple(asking.dropped),
        tuple(asking.failures),
    )


def _induce_batch(
    asking: _ModelSession, file: CaptionFile, shown: Sequence[int], number: int
) -> tuple[list[RuleElement], list[_AnomalyProposal]]:
    """What is normal in one batch, and the anomalies that contrast with it; none where a reply is unusable.

    Raises ModelError when the model fails.
    """
    usual = _ask_normal_rules(asking, file, shown)
    if isinstance(usual, str):
        asking.failures.append(f"Batch {number + 1} gave no normal rules: {usual}")
        return [], []
    contrast = _ask_anomalous_rules(asking, usual, shown)
    asking.batches += 1
    if isinstance(contrast, str):
        asking.failures.append(f"Batch {number + 1} gave no anomaly rules: {contrast}")
        return usual, []
    return usual, contrast


def _sample_rows(rows: Sequence[int], captions: Sequence[str], seed: int) -> list[int]:
    """Rows of different captions of a batch, as many as a model reads, in their order."""
    different = list({captions[row - 1]: row for row in rows}.values())
    drawn = np.random.default_rng(seed).permutation(different)[:CAPTIONS_SHOWN]
    return sorted(drawn.tolist())


def _ask_normal_rules(
    asking: _ModelSession, file: CaptionFile, shown: Sequence[int]
) -> list[RuleElement] | str:
    prompt = render(NORMAL_RULES_PROMPT, captions=[file.captions[row - 1] for row in shown], most=MAX_RULES)
    reply = asking.about(prompt, NormalElements)
    if isinstance(reply, str):
        return reply
    found = []
    for said in reply.rules:
        rows = tuple(shown[n - 1] for n in dict.fromkeys(said.captions) if 1 <= n <= len(shown))
        if rows and said.text:
            found.append(RuleElement(said.text, said.kind, asking.batches, rows))
        else:
            asking.dropped.append(f'"{said.text[:80]}" rests on no caption.')
    return found or "none of them rests on a caption."


def _ask_anomalous_rules(
    asking: _ModelSession, normal: Sequence[RuleElement], shown: Sequence[int]
) -> list[_AnomalyProposal] | str:
    pairs = [(element.kind, element.text) for element in normal]
    reply = asking.about(render(ANOMALOUS_RULES_PROMPT, normal=pairs, most=MAX_RULES), AnomalousElements)
    if isinstance(reply, str):
        return reply
    return [
        (said, RuleElement(said.text, said.kind, asking.batches, tuple(shown)))
        for said in reply.rules
        if said.text
    ]


def _anomaly_rules(
    asking: _ModelSession, said: Sequence[_AnomalyProposal], file: CaptionFile, by: str, encoder: Encoder
) -> tuple[Rule, ...]:
    """The anomaly rules that the model proposed, deduplicated, and the shipped ones that differ."""
    groups = group_elements([element for _, element in said], encoder)
    own: list[Rule] = []
    for group in groups:
        alike = [one for one, element in said if plain_form(element.text) == group.text]
        try:
            own.append(_induced_rule(len(own) + 1, group, alike, file, asking.batches, by))
        except ValidationError as error:
            reason = error.errors(include_input=False)[0]["msg"]
            asking.dropped.append(f'"{group.text[:80]}" is no rule: {reason}.')
    shipped = shipped_anomalies()
    if not own:
        return shipped
    ours, theirs = (encoder.encode([plain_form(rule.text) for rule in rules]) for rules in (own, shipped))
    new = (theirs @ ours.T).max(1) < SAME_ELEMENT_SIMILARITY
    return (*own, *(rule for rule, other in zip(shipped, new.tolist(), strict=True) if other))


def _induced_rule(
    number: int,
    group: ElementGroup,
    alike: Sequence[AnomalousElement],
    file: CaptionFile,
    batches: int,
    by: str,
) -> Rule:
    keywords = dict.fromkeys(w for one in alike for k in one.keywords for w in content_words(k))
    return Rule(
        id=f"rule:new-{number}",
        text=group.text,
        polarity="anomalous",
        kind=group.kind,
        keywords=tuple(keywords)[:5],
        severity=max(one.severity for one in alike),
        origin="induced",
        support=support_of(group, file, batches).replace(by=by),
    )


def _with_author(rule: Rule, by: str) -> Rule:
    """The rule with who read its captions."""
    if rule.support is None or rule.support.by:
        return rule
    return rule.replace(support=rule.support.replace(by=by))


RECHECK_PROMPT = "rules_recheck.v1"

MAX_RULES_SHOWN = 25
"""Rules of each polarity that a model reads: those that matched come first."""


class Recheck(Frozen):
    """What a model makes of a caption and of the first result."""

    first: Label = Field(description="by similarity and keywords")
    label: Label = Field(description="that counts: the model's, or the first where that can't be used")
    rules: tuple[str, ...] = Field((), description="ids that decide it, by the model")
    reason: str = Field("", description="the model's")
    note: str = Field("", description="why the first result stands although a model was asked")
    prompts: tuple[PromptUsed, ...] = ()
    replies: tuple[str, ...] = ()

    @property
    def cleared(self) -> bool:
        """Whether an alarm was taken back."""
        return self.first == "anomalous" and self.label == "normal"

    @property
    def raised(self) -> bool:
        """Whether there is an alarm that wasn't there."""
        return self.first != "anomalous" and self.label == "anomalous"


def recheck(
    caption: str, matches: Sequence[RuleMatch], rules: Sequence[Rule], model: BaseChatModel
) -> Recheck:
    """Ask a model about a caption and what rules made of it.

    Parameters
    ----------
    caption : what was said.
    matches : anomalous rules that it fits, the best first, as `RuleMatcher.read` gives them.
    rules : that hold, of both polarities, the most important first; disabled ones don't count.
    model : any chat model.
    """
    first: Label = "anomalous" if matches else "normal"
    enabled = [rule for rule in rules if rule.enabled]
    matched = {match.rule for match in matches}
    anomalous, normal = (
        sorted((r for r in enabled if r.polarity == side), key=lambda r: r.id not in matched)[
            :MAX_RULES_SHOWN
        ]
        for side in ("anomalous", "normal")
    )
    system = render(RULES_SYSTEM_PROMPT)
    prompt = render(
        RECHECK_PROMPT,
        caption=caption,
        anomalous=[(rule.id, rule.text) for rule in anomalous],
        normal=[(rule.id, rule.text) for rule in normal],
        first=first,
        matched=[(match.rule, match.clause) for match in matches],
    )
    asked = Recheck(
        first=first, label=first, prompts=_prompts_used(system.id, system.sha256, prompt.id, prompt.sha256)
    )
    try:
        reply = ask_structured(
            model, [system_message(system), user_message(prompt)], Rechecked, timeout=REPLY_TIMEOUT
        )
    except ModelError as error:
        return _keep_first_label(asked, f"the model failed: {error}")
    asked = asked.replace(replies=reply.raw)
    if reply.value is None:
        return _keep_first_label(asked, f"the model gave no usable reply: {reply.problems[-1]}")
    return _apply_recheck(asked, reply.value, {r.id for r in anomalous}, {r.id for r in normal})


def _apply_recheck(asked: Recheck, reply: Rechecked, anomalous: set[str], normal: set[str]) -> Recheck:
    """A readable reply; an alarm rests on an anomaly rule that exists, or is none."""
    cited = tuple(dict.fromkeys(id for id in reply.rules if id in anomalous | normal))
    if reply.label == "anomalous" and not anomalous.intersection(cited):
        return _keep_first_label(asked, "the model called it anomalous by no anomaly rule that exists.")
    if not reply.reason:
        return _keep_first_label(asked, "the model gave no reason.")
    return asked.replace(label=reply.label, rules=cited, reason=reply.reason)


def _keep_first_label(asked: Recheck, why: str) -> Recheck:
    return asked.replace(note=f"The first result stands: {why}")


def _prompts_used(*parts: str) -> tuple[PromptUsed, ...]:
    return tuple(PromptUsed(id=parts[n], sha256=parts[n + 1]) for n in range(0, len(parts), 2))
