"""Memory written by a language model: rules induced from normal captions (AnomalyRuler), and scenes.

For each batch of captions the model states normal elements, then anomalies that contrast with them; the
aggregation is that of `anomalist.memory.rules.induction`: normal rules of more than half of the batches,
anomalous rules of any. Elements that cite captions that don't exist are dropped. An instruction in a caption
(prompt injection) affects at most its own batch.

The recheck has a model match a caption with the rules again. It may clear an alarm as well as raise one (the
released code of AnomalyRuler, Yang et al. 2024, only raises); either needs a reason, and an alarm an anomaly
rule that exists. An invalid reply leaves the first result as it was, with a note.

Scenes are pairs of a normal and an anomalous description, deduplicated by sentence embedding.
"""

from __future__ import annotations

import re
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
from anomalist.memory.rules.rule import CaptionFile, Rule, first_keywords, shipped_anomalies
from anomalist.memory.rules.statements import content_words, plain_form
from anomalist.memory.scenes.scene import SceneDescription, ScenePair, apply_frame
from anomalist.prompts.schemas import (
    CAPTIONS_SHOWN,
    MAX_PAIRS,
    MAX_RULES,
    AnomalousElement,
    AnomalousElements,
    NormalElements,
    Rechecked,
    WrittenPair,
    WrittenPairs,
)
from anomalist.prompts.templates import Prompt, render
from anomalist.types.common import Frozen, Label, PromptUsed

RULES_SYSTEM_PROMPT, NORMAL_RULES_PROMPT, ANOMALOUS_RULES_PROMPT = (
    "rules_system.v1",
    "rules_normal.v1",
    "rules_anomalous.v1",
)

MAX_FAILURES = 2
"""Failed calls in a row after which the induction is given up."""

Progress = Callable[[str, int, int], None]
_AnomalyProposal = tuple[AnomalousElement, RuleElement]


@dataclass(frozen=True)
class ModelInduction:
    """Rules that a model induced, with the log of the exchange.

    Parameters
    ----------
    induction : as without a model; only batches that gave normal rules vote.
    prompts, replies : the prompts sent and the raw replies.
    dropped : elements that were not taken, with the reason.
    failures : what is missing of which batch, with the reason.
    """

    induction: Induction
    prompts: tuple[Prompt, ...]
    replies: tuple[str, ...]
    dropped: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass(eq=False)
class _ModelSession:
    """A model, and the log of the prompts and replies."""

    model: BaseChatModel
    prompts: list[Prompt] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    batches: int = 0

    def ask(self, prompt: Prompt, schema: type[T]) -> T | str:
        """The reply to a prompt as an instance of ``schema``, or the reason why none was valid.

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
    """Induce rules from normal captions of a scene.

    Parameters
    ----------
    file : the captions.
    model, name : any chat model, and its name as it goes into the rules.
    batches : number of batches; at most `CAPTIONS_SHOWN` distinct captions of each go into the prompt.
    seed : of the random assignment to batches.
    encoder : the sentence encoder; `load_encoder()` by default.
    progress : called with the number of batches done.

    Raises
    ------
    ModelError : the model fails twice in a row, or gives no valid reply to any batch.
    """
    encoder = encoder or load_encoder()
    session = _ModelSession(model)
    normal: list[RuleElement] = []
    anomalous: list[_AnomalyProposal] = []
    failed = 0
    drawn = draw_batches(file.captions, seed, batches)
    for number, rows in enumerate(drawn):
        progress("batches", number, len(drawn))
        shown = _sample_rows(rows, file.captions, seed + number)
        try:
            usual, contrast = _induce_batch(session, file, shown, number)
        except ModelError as error:
            failed += 1
            session.failures.append(f"Batch {number + 1} is missing: {error}")
            if failed >= MAX_FAILURES:
                raise
            continue
        failed = 0
        normal += usual
        anomalous += contrast
    if not session.batches:
        why = f" {session.failures[-1]}" if session.failures else ""
        raise ModelError(
            f"The model gave no usable rules.{why}", "Take another model, or induce without one."
        )
    prompts = ", ".join(dict.fromkeys(prompt.id for prompt in session.prompts))
    by = f"{name}; {prompts}"
    anomalies = _anomaly_rules(session, anomalous, file, by, encoder)
    found = rules_from_groups(file, group_elements(normal, encoder), anomalies, session.batches, encoder)
    return ModelInduction(
        Induction(tuple(_with_author(rule, by) for rule in found.rules), found.dropped, found.batches),
        tuple(session.prompts),
        tuple(session.replies),
        tuple(session.dropped),
        tuple(session.failures),
    )


def _induce_batch(
    session: _ModelSession, file: CaptionFile, shown: Sequence[int], number: int
) -> tuple[list[RuleElement], list[_AnomalyProposal]]:
    """Normal elements of one batch and anomalies that contrast with them; none where a reply is invalid.

    Raises ModelError when the model fails.
    """
    usual = _ask_normal_rules(session, file, shown)
    if isinstance(usual, str):
        session.failures.append(f"Batch {number + 1} gave no normal rules: {usual}")
        return [], []
    contrast = _ask_anomalous_rules(session, usual, shown)
    session.batches += 1
    if isinstance(contrast, str):
        session.failures.append(f"Batch {number + 1} gave no anomaly rules: {contrast}")
        return usual, []
    return usual, contrast


def _sample_rows(rows: Sequence[int], captions: Sequence[str], seed: int) -> list[int]:
    """Rows of distinct captions of a batch, at most `CAPTIONS_SHOWN` drawn at random, in order."""
    different = list({captions[row - 1]: row for row in rows}.values())
    drawn = np.random.default_rng(seed).permutation(different)[:CAPTIONS_SHOWN]
    return sorted(drawn.tolist())


_QUOTED = re.compile(r'"([^"]+)"')


def repeats_form(text: str, prompt: Prompt) -> bool:
    """Whether a text is copied from the form of reply that a prompt ends with, as small models do."""
    form = prompt.text.rpartition("</data>")[2]
    return text.strip() in _QUOTED.findall(form)


def _ask_normal_rules(
    session: _ModelSession, file: CaptionFile, shown: Sequence[int]
) -> list[RuleElement] | str:
    prompt = render(NORMAL_RULES_PROMPT, captions=[file.captions[row - 1] for row in shown], most=MAX_RULES)
    reply = session.ask(prompt, NormalElements)
    if isinstance(reply, str):
        return reply
    found = []
    for element in reply.rules:
        rows = tuple(shown[n - 1] for n in dict.fromkeys(element.captions) if 1 <= n <= len(shown))
        if repeats_form(element.text, prompt):
            session.dropped.append(f'"{element.text[:80]}" repeats the form that was asked for.')
        elif rows and element.text:
            found.append(RuleElement(element.text, element.kind, session.batches, rows))
        else:
            session.dropped.append(f'"{element.text[:80]}" rests on no caption.')
    return found or "none of them rests on a caption, or they repeat the form."


def _ask_anomalous_rules(
    session: _ModelSession, normal: Sequence[RuleElement], shown: Sequence[int]
) -> list[_AnomalyProposal] | str:
    pairs = [(element.kind, element.text) for element in normal]
    prompt = render(ANOMALOUS_RULES_PROMPT, normal=pairs, most=MAX_RULES)
    reply = session.ask(prompt, AnomalousElements)
    if isinstance(reply, str):
        return reply
    return [
        (element, RuleElement(element.text, element.kind, session.batches, tuple(shown)))
        for element in reply.rules
        if element.text and not repeats_form(element.text, prompt)
    ]


def _anomaly_rules(
    session: _ModelSession,
    proposals: Sequence[_AnomalyProposal],
    file: CaptionFile,
    by: str,
    encoder: Encoder,
) -> tuple[Rule, ...]:
    """The anomaly rules that the model proposed, deduplicated, and the shipped ones that differ from them."""
    groups = group_elements([element for _, element in proposals], encoder)
    own: list[Rule] = []
    for group in groups:
        alike = [one for one, element in proposals if plain_form(element.text) == group.text]
        try:
            own.append(_induced_rule(len(own) + 1, group, alike, file, session.batches, by))
        except ValidationError as error:
            reason = error.errors(include_input=False)[0]["msg"]
            session.dropped.append(f'"{group.text[:80]}" is no rule: {reason}.')
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
        keywords=first_keywords(keywords, 5),
        severity=max(one.severity for one in alike),
        origin="induced",
        support=support_of(group, file, batches).replace(by=by),
    )


def _with_author(rule: Rule, by: str) -> Rule:
    """The rule with the model and prompts in its support."""
    if rule.support is None or rule.support.by:
        return rule
    return rule.replace(support=rule.support.replace(by=by))


RECHECK_PROMPT = "rules_recheck.v1"

MAX_RULES_SHOWN = 25
"""Rules of each polarity in the prompt, those that matched first."""


class Recheck(Frozen):
    """Result of a recheck: the first label, the final one, and the model's reason."""

    first: Label = Field(description="label by similarity and keywords")
    label: Label = Field(description="final label: the model's, or the first where its reply is invalid")
    rules: tuple[str, ...] = Field((), description="ids of the deciding rules, by the model")
    reason: str = Field("", description="the model's reason")
    note: str = Field("", description="why the first result stands although a model was asked")
    prompts: tuple[PromptUsed, ...] = ()
    replies: tuple[str, ...] = ()

    @property
    def cleared(self) -> bool:
        """Whether the model cleared an alarm."""
        return self.first == "anomalous" and self.label == "normal"

    @property
    def raised(self) -> bool:
        """Whether the model raised an alarm."""
        return self.first != "anomalous" and self.label == "anomalous"


def recheck(
    caption: str, matches: Sequence[RuleMatch], rules: Sequence[Rule], model: BaseChatModel
) -> Recheck:
    """Have a model check a caption and the rules that matched it.

    Parameters
    ----------
    caption : the caption.
    matches : anomalous rules that match it, the best first, as `RuleMatcher.read` gives them.
    rules : of both polarities, the most important first; disabled ones don't count.
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
    result = Recheck(
        first=first, label=first, prompts=_prompts_used(system.id, system.sha256, prompt.id, prompt.sha256)
    )
    try:
        reply = ask_structured(
            model, [system_message(system), user_message(prompt)], Rechecked, timeout=REPLY_TIMEOUT
        )
    except ModelError as error:
        return _keep_first_label(result, f"the model failed: {error}")
    result = result.replace(replies=reply.raw)
    if reply.value is None:
        return _keep_first_label(result, f"the model gave no usable reply: {reply.problems[-1]}")
    return _apply_recheck(result, reply.value, {r.id for r in anomalous}, {r.id for r in normal})


def _apply_recheck(result: Recheck, reply: Rechecked, anomalous: set[str], normal: set[str]) -> Recheck:
    """Apply a valid reply; an alarm that cites no existing anomaly rule is not accepted."""
    cited = tuple(dict.fromkeys(id for id in reply.rules if id in anomalous | normal))
    if reply.label == "anomalous" and not anomalous.intersection(cited):
        return _keep_first_label(result, "the model called it anomalous by no anomaly rule that exists.")
    if not reply.reason:
        return _keep_first_label(result, "the model gave no reason.")
    return result.replace(label=reply.label, rules=cited, reason=reply.reason)


def _keep_first_label(result: Recheck, why: str) -> Recheck:
    return result.replace(note=f"The first result stands: {why}")


def _prompts_used(*parts: str) -> tuple[PromptUsed, ...]:
    return tuple(PromptUsed(id=parts[n], sha256=parts[n + 1]) for n in range(0, len(parts), 2))


SCENES_SYSTEM_PROMPT, WRITE_SCENES_PROMPT = "scenes_system.v1", "scenes_write.v1"

DUPLICATE_SIMILARITY = 0.92
"""Cosine similarity from which two scenes are duplicates."""

SCENES_SHOWN = 12
"""Known scenes in the prompt, so that the model writes different ones."""


@dataclass(frozen=True)
class GeneratedScenes:
    """Scene pairs that a model generated.

    Parameters
    ----------
    pairs : valid pairs without duplicates.
    dropped : invalid or duplicate pairs and replies, with the reason.
    replies : raw replies, in order.
    """

    pairs: tuple[ScenePair, ...]
    dropped: tuple[str, ...]
    replies: tuple[str, ...]


def generate_scenes(
    model: BaseChatModel,
    place: str,
    count: int,
    *,
    known: Sequence[str] = (),
    encoder: Encoder | None = None,
    progress: Progress = lambda *_: None,
) -> GeneratedScenes:
    """Have a model write pairs of scenes for a kind of place, at most `MAX_PAIRS` a call.

    Ends with ``count`` pairs, or after twice the calls that these would need.

    Parameters
    ----------
    model : any chat model.
    place : kind of place, in a few words; the category of the normal scenes.
    count : number of pairs.
    known : scenes of such places that the memory already holds.
    encoder : sentence encoder that detects duplicates; `load_encoder()` by default.
    progress : called with the place, the pairs so far and ``count``.

    Raises ModelError when the model fails.
    """
    encoder = encoder or load_encoder()
    pairs: list[ScenePair] = []
    dropped: list[str] = []
    replies: list[str] = []
    duplicates = _DuplicateFilter(known, encoder)
    for _ in range(2 * -(-count // MAX_PAIRS)):
        wanted = min(count - len(pairs), MAX_PAIRS)
        if not wanted:
            break
        recent = [*known, *(pair.anomalous.description for pair in pairs)][-SCENES_SHOWN:]
        prompt = render(WRITE_SCENES_PROMPT, place=place, count=wanted, known=recent)
        messages = [system_message(render(SCENES_SYSTEM_PROMPT)), user_message(prompt)]
        reply = ask_structured(model, messages, WrittenPairs.at_most(wanted), timeout=REPLY_TIMEOUT)
        replies += reply.raw
        if reply.value is None:
            dropped += reply.problems[-1:]
            continue
        for written in reply.value.pairs[:wanted]:
            if any(repeats_form(text, prompt) for text in (written.normal, written.anomalous)):
                dropped.append(f"{written.normal[:60]!r}: it repeats the form that was asked for.")
                continue
            pair, reason = _validate_pair(written, place, duplicates)
            pairs += [pair] if pair else []
            dropped += [reason] if reason else []
        progress(place, len(pairs), count)
    return GeneratedScenes(tuple(pairs), tuple(dropped), tuple(replies))


class _DuplicateFilter:
    """Embeddings of the scenes so far, to detect near-duplicates."""

    def __init__(self, texts: Sequence[str], encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors = encoder.encode([apply_frame(text, "normal", "", "none") for text in texts])

    def first_duplicate(self, texts: Sequence[str]) -> str | None:
        """The first text that duplicates a known one or another of these; if all are new, add them."""
        new = self._encoder.encode([apply_frame(text, "normal", "", "none") for text in texts])
        for row, text in enumerate(texts):
            before = np.concatenate([self._vectors, new[:row]])
            if len(before) and float((before @ new[row]).max()) >= DUPLICATE_SIMILARITY:
                return text
        self._vectors = np.concatenate([self._vectors, new])
        return None


def _validate_pair(
    written: WrittenPair, place: str, duplicates: _DuplicateFilter
) -> tuple[ScenePair | None, str]:
    """The pair and "", or None and the reason why it is dropped."""
    try:
        pair = ScenePair(
            normal=SceneDescription(category=place, description=written.normal),
            anomalous=SceneDescription(category=written.kind, description=written.anomalous),
        )
    except ValidationError as error:
        return None, f"{written.normal[:60]!r}: {error.errors(include_input=False)[0]['msg']}."
    duplicate = duplicates.first_duplicate([pair.normal.description, pair.anomalous.description])
    return (None, f"{duplicate[:60]!r} is a duplicate.") if duplicate else (pair, "")
