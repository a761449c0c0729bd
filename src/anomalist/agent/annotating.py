"""Adds to events what needs more than motion: what a user watches for, and what a model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomalist.agent.event_budget import CALLS_PER_MINUTE, Budget
from anomalist.agent.event_severity import severity_of
from anomalist.agent.models import EVIDENCE, open_model
from anomalist.agent.policy import Policy, load_policy
from anomalist.agent.recalling import with_memory
from anomalist.agent.watching_for import EVEN, WatchFor, quoted
from anomalist.clips import Event
from anomalist.memory.captioned import CaptionMemory
from anomalist.vision.video.frames import Video

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def annotator_for(
    spec: str,
    watch: Sequence[str] = (),
    *,
    memory: CaptionMemory | None = None,
    calls_per_minute: float = CALLS_PER_MINUTE,
) -> Annotator:
    """The same as `annotator`, from the name of a model.

    Parameters
    ----------
    spec : ``evidence`` for none, or as for `open_model`.
    watch, memory, calls_per_minute : see `annotator`.

    Raises
    ------
    ModelError, DataError : see `open_model` and `annotator`.
    """
    if spec == EVIDENCE:
        return annotator(watch, memory=memory, calls_per_minute=calls_per_minute)
    model = open_model(spec)
    digest = getattr(model, "digest", None)  # of a local model's files
    name = f"{spec} (sha256 {digest[:12]})" if digest else spec
    return annotator(watch, model, name=name, memory=memory, calls_per_minute=calls_per_minute)


def annotator(
    watch: Sequence[str] = (),
    model: BaseChatModel | None = None,
    *,
    name: str = "model",
    memory: CaptionMemory | None = None,
    calls_per_minute: float = CALLS_PER_MINUTE,
    policy: Policy | None = None,
) -> Annotator:
    """Make the hook of a triage. With nothing to watch for, no model and no memory it changes nothing.

    Parameters
    ----------
    watch : events that the user names.
    model : a LangChain chat model that takes pictures; None asks none.
    name : of the model, with its quantisation, as it goes into the record.
    memory : rules that captions are held against.
    calls_per_minute : of footage, see `Budget`.
    policy : what is severe is asked about first; the one that ships by default.

    Raises
    ------
    DataError : an item is empty, too long, has no words or is there twice.
    ModelError : ``calls_per_minute`` is no number from 0 on, or the sentence encoder is missing.
    """
    return Annotator(
        watch=WatchFor(watch) if watch else None,
        model=model,
        name=name,
        memory=memory,
        budget=Budget(calls_per_minute),
        policy=policy or load_policy(),
    )


@dataclass(frozen=True, eq=False)
class Annotator:
    """Annotates the events of one video after another; made by `annotator`.

    Every event has its opinion before the items are asked about: a model's sentence is held against the
    items too, at no cost. What is most severe comes first, then what is most surprising.
    """

    watch: WatchFor | None
    model: BaseChatModel | None
    name: str
    memory: CaptionMemory | None
    budget: Budget
    policy: Policy

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know beforehand: which items can't be told without a model."""
        if self.watch is None or self.model is not None or not self.watch.beyond:
            return ()
        told = f"What is measured has nothing to do with {quoted(self.watch.beyond)}."
        return (f"{told} Only a model that looks at the pictures could tell.",)

    def __call__(self, video: Video, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """The same events in the same order; none is left out, and nothing measured is changed."""
        if not events or (self.watch is None and self.model is None and self.memory is None):
            return events
        if self.model is None:
            return tuple(self._remembered(self._watched(event, {})) for event in events)
        from anomalist.agent.event_asking import EventAsking

        items = self.watch.items if self.watch else ()
        allowance = self.budget.allowance(video, events)
        asking = EventAsking(self.model, self.name, items, video, allowance)
        done: dict[str, Event] = {}
        ranked = sorted(events, key=self._rank, reverse=True)
        for place, event in enumerate(ranked, start=1):
            heard, probabilities = asking.about(event, waiting=len(ranked) - place)
            done[event.id] = self._remembered(self._watched(heard, probabilities))
        return tuple(done[event.id] for event in events)

    def _rank(self, event: Event) -> tuple[int, float]:
        level, _ = severity_of(event, (), self.policy.events)
        return max(level, event.severity), event.score

    def _remembered(self, event: Event) -> Event:
        return event if self.memory is None else with_memory(event, self.memory)

    def _watched(self, event: Event, probabilities: Mapping[str, float]) -> Event:
        """Hold an event against what is watched for, and say what can't be told or is contested."""
        if self.watch is None:
            return event
        matches = self.watch.matches(event, probabilities)
        untold = [match.item for match in matches if match.matched is None]
        contested = [
            f'By what was measured {event.id} fits "{match.item}", the model sees no such thing.'
            for match in matches
            if match.by == "measured" and match.matched and probabilities.get(match.item, 1.0) <= EVEN
        ]
        notes = [*event.notes, _untold(untold)] if untold else event.notes
        return event.model_copy(
            update={
                "watched": matches,
                "disagreements": (*event.disagreements, *contested),
                "notes": tuple(notes),
            }
        )


def _untold(items: Sequence[str]) -> str:
    return f"Neither what was measured nor a model tells whether this is {quoted(items)}."
