"""The vision-language-model reasoner for pictures, and a model's opinion on video events with its budget.

The model first describes the whole picture; then it gets the suspicious regions enlarged, with the
measurements and what memory recalls, and judges. Every reply is checked against the evidence;
`anomalist.agent.reasoning.verdict` builds the verdict. On an event, a model's opinion is added to what was
measured: it may question the event, never remove it. Calls are limited per minute of footage.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from anomalist.agent.models.structured import (
    Listener,
    StructuredReply,
    ask_structured,
    model_message,
    system_message,
    user_message,
)
from anomalist.agent.models.text_only import takes_pictures
from anomalist.agent.reasoning.claims import citable_event_ids, model_claims, quote_with_ids
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.policy import Policy
from anomalist.agent.reasoning.verdict import ModelExchange, build_verdict, no_usable_reply
from anomalist.agent.reasoning.vlm_prompts import NO_GUIDANCE, Guidance, describe_prompt, judge_prompt
from anomalist.agent.reasoning.vlm_views import (
    EventViews,
    close_up_view,
    no_normal,
    overview_picture,
)
from anomalist.errors import ModelError
from anomalist.prompts.schemas import Description, EventReply, Judgement, reply_json
from anomalist.prompts.templates import Prompt, prompt_ids, render, template_sha256
from anomalist.types.clip import Event, VisualDescription
from anomalist.types.common import PromptUsed, Recall, Verdict
from anomalist.types.image import Evidence, Media
from anomalist.vision.evidence import NormalCrop
from anomalist.vision.media.frames import Video

SYSTEM_PROMPT = "system.v1"

MAX_REGIONS_SHOWN = 3
"""Regions that get a close-up; each costs a few hundred tokens."""

REPLY_TIMEOUT = 600.0
"""Seconds that one reply may take."""


@dataclass(frozen=True, eq=False)
class VLMReasoner:
    """Reasoner that asks a vision-language model. The label follows the policy, never the model alone.

    Parameters
    ----------
    model : a LangChain chat model; one that reads text only is not asked about pictures.
    name : model and quantisation, as recorded.
    guidance : the user's notes in words.
    normal_crop : returns the normal patch for a region; none is known by default.
    timeout : seconds that one reply may take; None for no limit.
    listener : called with each chunk of a streamed reply.
    """

    model: BaseChatModel
    name: str
    guidance: Guidance = NO_GUIDANCE
    normal_crop: NormalCrop = no_normal
    timeout: float | None = REPLY_TIMEOUT
    listener: Listener | None = None

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what its verdicts depend on: the model's name, the prompts, the user's words."""
        prompts = [template_sha256(name) for name in prompt_ids()]
        content = [self.name, prompts, asdict(self.guidance)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def judge(self, media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Verdict:
        """Have the model describe and judge, and build the verdict from its replies and the evidence.

        A picture that as a whole is not like what was learned is not shown to it: no place was measured that
        its reply could be held against. A model that reads text only is not asked at all.

        Raises
        ------
        ModelError : the model can't be reached, failed, ran out of memory or timed out.
        """
        blind = not takes_pictures(self.model)
        if evidence.changed_input or blind:
            verdict = EvidenceReasoner().judge(media, evidence, recall, policy)
            why = ": it reads text only" if blind else ""
            return verdict.replace(reasoner=f"{verdict.reasoner}; {self.name} was not asked{why}")
        exchange = self._run_exchange(media, evidence, recall)
        return build_verdict(exchange, self.name, media, evidence, recall, policy)

    def _run_exchange(self, media: Media, evidence: Evidence, recall: Recall) -> ModelExchange:
        """Send both prompts, describe then judge; without a valid description the second is not sent."""
        system = render(SYSTEM_PROMPT)
        first = describe_prompt(media, evidence, self.guidance)
        messages: list[BaseMessage] = [
            system_message(system),
            user_message(first, [overview_picture(media, evidence)]),
        ]
        described = ask_structured(
            self.model, messages, Description, timeout=self.timeout, listener=self.listener
        )
        exchange = _add_exchange(ModelExchange(), described, [system, first])
        if described.value is None:
            return exchange
        description, exchange = _drop_ungrounded(described.value, evidence, exchange)
        views = [
            close_up_view(media, evidence, region, self.normal_crop(media, region))
            for region in evidence.regions[:MAX_REGIONS_SHOWN]
        ]
        captions = [view.caption for view in views]
        second = judge_prompt(media, evidence, recall, self.guidance, captions, description.text_seen)
        messages += [
            model_message(reply_json(description)),
            user_message(second, [view.pixels for view in views]),
        ]
        judged = ask_structured(self.model, messages, Judgement, timeout=self.timeout, listener=self.listener)
        return replace(_add_exchange(exchange, judged, [second]), judgement=judged.value)


def _add_exchange(
    exchange: ModelExchange,
    reply: StructuredReply[Description] | StructuredReply[Judgement],
    sent: Sequence[Prompt],
) -> ModelExchange:
    """Add one prompt and its replies to the exchange."""
    used = (PromptUsed(id=prompt.id, sha256=prompt.sha256) for prompt in (*sent, *reply.retries))
    return replace(
        exchange,
        prompts=(*exchange.prompts, *used),
        replies=(*exchange.replies, *reply.raw),
        tries=len(reply.raw),
        problem=reply.problems[-1] if reply.value is None else None,
    )


def _drop_ungrounded(
    description: Description, evidence: Evidence, exchange: ModelExchange
) -> tuple[Description, ModelExchange]:
    """Drop observations that cite regions that don't exist, before the judgement is asked for."""
    known = {region.id for region in evidence.regions}
    kept = tuple(seen for seen in description.observations if known.issuperset(seen.evidence))
    invented = tuple(
        quote_with_ids(seen.text, seen.evidence) for seen in description.observations if seen not in kept
    )
    return description.replace(observations=kept), replace(exchange, dropped=invented)


CALLS_PER_MINUTE = 10.0
"""Default budget, calls per minute of footage."""


@dataclass
class CallAllowance:
    """The calls left for some events.

    Parameters
    ----------
    left : number of calls; fractional for a stream, where it grows with time.
    words : the budget in words, for notes.
    """

    left: float
    words: str

    def take(self, calls: int) -> bool:
        """Take a number of calls; returns False, and takes none, where there are fewer."""
        if calls > self.left:
            return False
        self.left -= calls
        return True


class CallBudget:
    """Rate limit for calls to a model. A call is one request; retries and option orders count each.

    A video of known duration gets ``calls_per_minute`` times its minutes, at least one. A stream gets a token
    bucket that fills with time and holds at most one minute's worth, so that a quiet night is not followed by
    a burst.

    Parameters
    ----------
    calls_per_minute : per minute of footage, however fast it is processed; 0 allows none.
    clock : seconds, for one bucket that all streams share; None gives each stream its own, by its footage.

    Raises
    ------
    ModelError : ``calls_per_minute`` is negative or not finite.
    """

    def __init__(self, calls_per_minute: float, *, clock: Callable[[], float] | None = None) -> None:
        if not (math.isfinite(calls_per_minute) and calls_per_minute >= 0):
            raise ModelError(
                f"A model can't be asked {calls_per_minute:g} times a minute.", "Name 0 or more."
            )
        self._rate = calls_per_minute
        self._clock = clock
        self._streams: dict[str, tuple[float, CallAllowance]] = {}

    def allowance(self, video: Video, events: Sequence[Event]) -> CallAllowance:
        """The calls for the events of a video; for a stream, what earlier events left over."""
        words = f"the budget of {self._rate:g} calls a minute"
        if not self._rate:
            return CallAllowance(0, words)
        if video.duration is not None:
            calls = max(1, math.floor(self._rate * video.duration / 60))
            return CallAllowance(calls, f"{words}, {calls} for this video,")
        most = max(1.0, self._rate)
        now = max(event.end for event in events) if self._clock is None else self._clock()
        bucket = video.source if self._clock is None else ""
        before, allowance = self._streams.get(bucket, (now, CallAllowance(most, words)))
        allowance.left = min(most, allowance.left + max(0.0, now - before) * self._rate / 60)
        self._streams[bucket] = (max(now, before), allowance)
        return allowance


EVENT_SYSTEM_PROMPT, EVENT_PROMPT = "event_system.v1", "event.v1"

MODEL_FINDING_PHRASES = {
    "usual": "finds nothing unusual in it",
    "unusual": "finds it unusual here",
    "undecided": "can't tell whether it is unusual",
}


def add_model_opinion(
    event: Event,
    views: EventViews,
    source: str,
    model: BaseChatModel,
    *,
    retries: int,
    timeout: float | None,
) -> Event:
    """Ask a model what an event is, and add its reply to what was measured.

    Parameters
    ----------
    event, views : the event and its pictures.
    source : name of the video, fenced as data in the prompt.
    model : a LangChain chat model that takes pictures.
    retries : how often an invalid reply is sent back for correction.
    timeout : seconds that one reply may take; None for no limit.

    Returns
    -------
    The event with opinion, claims and disagreements of the model, or with a note on why there are none. The
    raw replies are stored either way.

    Raises
    ------
    ModelError : the model can't be reached, failed, ran out of memory or timed out.
    """
    system, prompt = render(EVENT_SYSTEM_PROMPT), _event_prompt(event, views, source)
    messages = [system_message(system), user_message(prompt, [view.pixels for view in views.all])]
    reply = ask_structured(model, messages, EventReply, retries=retries, timeout=timeout)
    asked = event.replace(
        prompts=merge_prompts(event.prompts, (system, prompt, *reply.retries)),
        replies=(*event.replies, *reply.raw),
    )
    if reply.value is None:
        return add_note(asked, no_usable_reply(len(reply.raw), reply.problems[-1]))
    return apply_event_reply(asked, reply.value)


def apply_event_reply(event: Event, reply: EventReply) -> Event:
    """Add a valid reply to an event. Sentences whose ids don't exist are dropped.

    Times, kind and score of the event stay as measured.
    """
    texts = [(text, reply.evidence) for text in (reply.happening, reply.reason) if text]
    claims, dropped = model_claims(texts, citable_event_ids(event))
    if not reply.happening or dropped:
        left_out = (*(quote_with_ids(claim.text, claim.evidence) for claim in claims), *dropped)
        why = "The model's reply says nothing that rests on this event, and is left out."
        return add_note(event.replace(dropped=(*event.dropped, *left_out)), why)
    reason = f": {reply.reason}" if reply.reason else "."
    finds = MODEL_FINDING_PHRASES[reply.unusual]
    fields = {"subject", "action", "object", "scene", "unusual", "confidence"}
    return event.replace(
        opinion=f"{reply.happening} The model {finds} ({reply.confidence} confidence){reason}",
        seen=VisualDescription.model_validate(reply.model_dump(include=fields)),
        claims=(*event.claims, *claims),
        disagreements=(*event.disagreements, *_event_disagreement(event, reply, finds)),
    )


def add_note(event: Event, note: str) -> Event:
    """The event with a note added."""
    return event.replace(notes=(*event.notes, note))


def merge_prompts(known: Sequence[PromptUsed], sent: Sequence[Prompt]) -> tuple[PromptUsed, ...]:
    """Append prompts to those used before, each once."""
    used = (PromptUsed(id=prompt.id, sha256=prompt.sha256) for prompt in sent)
    return tuple(dict.fromkeys((*known, *used)))


def _event_disagreement(event: Event, reply: EventReply, finds: str) -> tuple[str, ...]:
    """The disagreement of model and measurement in a sentence; none where the model finds it unusual, too."""
    if reply.unusual == "unusual":
        return ()
    measured = f"By what was measured ({event.kind}) {event.id} stands out, the model {finds}."
    return (f"{measured} The event stands: a person has to look.",)


def _event_prompt(event: Event, views: EventViews, source: str) -> Prompt:
    measures = [
        f"{measure.name}: {measure.surprise:.1f} times the most surprising of normal footage"
        for measure in event.measures
    ]
    return render(
        EVENT_PROMPT,
        event=event.id,
        start=event.start,
        end=event.end,
        views=[view.caption for view in views.all],
        source=source,
        caption=event.caption.text,
        measures=measures,
        ids=[event.id, *(track.id for track in event.tracks)],
    )
