"""A caption held against rules once more, by a language model that may clear an alarm as well as raise one.

The released code of AnomalyRuler only ever raises. Here both count, each with a reason and the rules that it
rests on. What can't be used leaves the first result as it was, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from pydantic import Field

from anomalist.agent.messages import system_message, user_message
from anomalist.agent.rule_induction import SYSTEM
from anomalist.agent.structured import ask
from anomalist.agent.vlm import TIMEOUT
from anomalist.errors import ModelError
from anomalist.memory.rules.matching import RuleMatch
from anomalist.memory.rules.rule import Rule
from anomalist.prompts.rendering import render
from anomalist.prompts.rule_replies import Rechecked
from anomalist.types import Frozen, Label, PromptUsed

RECHECK = "rules_recheck.v1"

MOST_SHOWN = 25
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
        sorted((r for r in enabled if r.polarity == side), key=lambda r: r.id not in matched)[:MOST_SHOWN]
        for side in ("anomalous", "normal")
    )
    system = render(SYSTEM)
    prompt = render(
        RECHECK,
        caption=caption,
        anomalous=[(rule.id, rule.text) for rule in anomalous],
        normal=[(rule.id, rule.text) for rule in normal],
        first=first,
        matched=[(match.rule, match.clause) for match in matches],
    )
    asked = Recheck(
        first=first, label=first, prompts=_used(system.id, system.sha256, prompt.id, prompt.sha256)
    )
    try:
        reply = ask(model, [system_message(system), user_message(prompt)], Rechecked, timeout=TIMEOUT)
    except ModelError as error:
        return _stands(asked, f"the model failed: {error}")
    asked = asked.model_copy(update={"replies": reply.raw})
    if reply.value is None:
        return _stands(asked, f"the model gave no usable reply: {reply.problems[-1]}")
    return _heard(asked, reply.value, {r.id for r in anomalous}, {r.id for r in normal})


def _heard(asked: Recheck, reply: Rechecked, anomalous: set[str], normal: set[str]) -> Recheck:
    """A readable reply; an alarm rests on an anomaly rule that exists, or is none."""
    cited = tuple(dict.fromkeys(id for id in reply.rules if id in anomalous | normal))
    if reply.label == "anomalous" and not anomalous.intersection(cited):
        return _stands(asked, "the model called it anomalous by no anomaly rule that exists.")
    if not reply.reason:
        return _stands(asked, "the model gave no reason.")
    return asked.model_copy(update={"label": reply.label, "rules": cited, "reason": reply.reason})


def _stands(asked: Recheck, why: str) -> Recheck:
    return asked.model_copy(update={"note": f"The first result stands: {why}"})


def _used(*parts: str) -> tuple[PromptUsed, ...]:
    return tuple(PromptUsed(id=parts[n], sha256=parts[n + 1]) for n in range(0, len(parts), 2))
