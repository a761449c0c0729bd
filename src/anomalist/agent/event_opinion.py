"""What a model says of an event, beside what was measured: it may question the event, never remove it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel

from anomalist.agent.claims import checked
from anomalist.agent.event_looks import EventLooks
from anomalist.agent.judgement import cited
from anomalist.agent.messages import system_message, user_message
from anomalist.agent.structured import ask
from anomalist.clips import Event, Seen
from anomalist.prompts.rendering import Prompt, render
from anomalist.prompts.replies import EventReply
from anomalist.types import Claim, PromptUsed

SYSTEM, ASKED = "event_system.v1", "event.v1"

FINDS = {
    "usual": "finds nothing unusual in it",
    "unusual": "finds it unusual here",
    "undecided": "can't tell whether it is unusual",
}


def with_opinion(
    event: Event,
    looks: EventLooks,
    source: str,
    model: BaseChatModel,
    *,
    retries: int,
    timeout: float | None,
) -> Event:
    """Ask a model what an event is, and put its reply beside what was measured.

    Parameters
    ----------
    event, looks : what is asked about, and its pictures.
    source : name of the video; data for the model.
    model : a LangChain chat model that takes pictures.
    retries : how often an unusable reply is sent back.
    timeout : seconds that one reply may take; None for no limit.

    Returns
    -------
    The event with opinion, claims and disagreements of the model; or with a note on why there is none. The
    raw replies are kept either way.

    Raises
    ------
    ModelError : the model can't be reached, broke off, ran out of memory or took too long.
    """
    system, prompt = render(SYSTEM), _prompt(event, looks, source)
    messages = [system_message(system), user_message(prompt, [view.pixels for view in looks.all])]
    reply = ask(model, messages, EventReply, retries=retries, timeout=timeout)
    asked = event.model_copy(
        update={
            "prompts": with_prompts(event.prompts, (system, prompt, *reply.retries)),
            "replies": (*event.replies, *reply.raw),
        }
    )
    if reply.value is None:
        times = "once" if len(reply.raw) == 1 else f"{len(reply.raw)} times"
        why = reply.problems[-1].rstrip(".")
        return noted(asked, f"The model was asked {times} and gave no usable reply (of the last one: {why}).")
    return heard(asked, reply.value)


def heard(event: Event, reply: EventReply) -> Event:
    """Put a readable reply beside what was measured. A sentence whose ids don't exist is dropped.

    The event itself, its times, kind and score stay as they were measured.
    """
    ids = tuple(dict.fromkeys(reply.evidence))
    said = [text for text in (reply.happening, reply.reason) if text]
    known = {event.id, *(track.id for track in event.tracks)}
    if not reply.happening or not ids or not known.issuperset(ids):
        dropped = tuple(cited(text, ids) for text in said)
        why = "The model's reply says nothing that rests on this event, and is left out."
        return noted(event.model_copy(update={"dropped": (*event.dropped, *dropped)}), why)
    claims, _ = checked((Claim(text=text, evidence=ids, source="model") for text in said), known)
    reason = f": {reply.reason}" if reply.reason else "."
    finds = FINDS[reply.unusual]
    fields = {"subject", "action", "object", "scene", "unusual", "confidence"}
    return event.model_copy(
        update={
            "opinion": f"{reply.happening} The model {finds} ({reply.confidence} confidence){reason}",
            "seen": Seen.model_validate(reply.model_dump(include=fields)),
            "claims": (*event.claims, *claims),
            "disagreements": (*event.disagreements, *_conflict(event, reply, finds)),
        }
    )


def noted(event: Event, note: str) -> Event:
    """The event with one note more."""
    return event.model_copy(update={"notes": (*event.notes, note)})


def with_prompts(known: Sequence[PromptUsed], sent: Sequence[Prompt]) -> tuple[PromptUsed, ...]:
    """Add prompts to those that are known, each once."""
    used = (PromptUsed(id=prompt.id, sha256=prompt.sha256) for prompt in sent)
    return tuple(dict.fromkeys((*known, *used)))


def _conflict(event: Event, reply: EventReply, finds: str) -> tuple[str, ...]:
    """Say who disagrees with whom; nothing where the model finds it unusual too."""
    if reply.unusual == "unusual":
        return ()
    measured = f"By what was measured ({event.kind}) {event.id} stands out, the model {finds}."
    return (f"{measured} The event stands: a person has to look.",)


def _prompt(event: Event, looks: EventLooks, source: str) -> Prompt:
    measures = [
        f"{measure.name}: {measure.surprise:.1f} times the most surprising of normal footage"
        for measure in event.measures
    ]
    return render(
        ASKED,
        event=event.id,
        start=event.start,
        end=event.end,
        views=[view.caption for view in looks.all],
        source=source,
        caption=event.caption.text,
        measures=measures,
        ids=[event.id, *(track.id for track in event.tracks)],
    )
