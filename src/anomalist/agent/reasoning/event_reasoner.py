"""Annotate video events with what is watched for and a model's opinion, within a budget of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from anomalist.agent.models.structured import RETRIES
from anomalist.agent.models.text_only import takes_pictures
from anomalist.agent.reasoning.event_naming import EventNaming
from anomalist.agent.reasoning.event_watch import YES_THRESHOLD, EventWatch, ask_watch_items, quote_items
from anomalist.agent.reasoning.policy import Policy, load_policy
from anomalist.agent.reasoning.severity import event_severity
from anomalist.agent.reasoning.vlm_reasoner import (
    CALLS_PER_MINUTE,
    REPLY_TIMEOUT,
    CallAllowance,
    CallBudget,
    add_model_opinion,
    add_note,
    merge_prompts,
)
from anomalist.agent.reasoning.vlm_views import EventViews, make_event_views
from anomalist.errors import MediaError, ModelError
from anomalist.prompts.templates import prompt_ids, template_sha256
from anomalist.storage.files import digest_of
from anomalist.types.clip import Event
from anomalist.vision.media.frames import Video
from anomalist.vision.naming.looks import ObjectNamer

MAX_FAILURES = 2
"""After so many in a row a model isn't asked about a video any more: each may have taken minutes."""

Probabilities = Mapping[str, float]


@dataclass(eq=False)
class VLMEventReasoner:
    """A model, a video, and what may still be asked about it.

    Parameters
    ----------
    model, name : a chat model that takes pictures, and what the record calls it.
    items : what the user watches for, each asked about by itself.
    video : whose events these are.
    allowance : calls; taken from it.
    failures : of the model, in a row.
    """

    model: BaseChatModel
    name: str
    items: Sequence[str]
    video: Video
    allowance: CallAllowance
    failures: int = 0

    def about(self, event: Event, waiting: int) -> tuple[Event, Probabilities]:
        """Ask about one event; ``waiting`` others are to have a call left.

        Returns
        -------
        The event with what the model said, and the probability of a yes by item, where it was asked and
        replied. Whatever fails, the event stays as it was measured, with a note.
        """
        looks = self._looks(event)
        if isinstance(looks, str):
            return add_note(event, f"The model was not asked about this event: {looks}"), {}
        event = self._opinion(event, looks, waiting)
        if not self.items or self.failures:
            return event, {}
        return self._items(event, looks, waiting)

    def _looks(self, event: Event) -> EventViews | str:
        """The pictures of an event, or why it is not asked about."""
        if not takes_pictures(self.model):
            return "it reads text only."
        if self.failures >= MAX_FAILURES:
            return "it had failed several times in a row."
        if self.allowance.left < 1:
            return f"{self.allowance.words} allows no more."
        try:
            return make_event_views(self.video, event)
        except MediaError as error:
            return str(error)

    def _opinion(self, event: Event, looks: EventViews, waiting: int) -> Event:
        """Ask what the event is."""
        self.allowance.take(1)
        retries = max(0, min(RETRIES, int(self.allowance.left) - waiting))
        asked = event.replace(model=self.name)
        source = self.video.source
        try:
            said = add_model_opinion(asked, looks, source, self.model, retries=retries, timeout=REPLY_TIMEOUT)
        except ModelError as error:
            self.failures += 1
            return add_note(asked, f"There is no opinion of the model: {error}")
        self.failures = 0
        self.allowance.take(len(said.replies) - 1)
        return said

    def _items(self, event: Event, looks: EventViews, waiting: int) -> tuple[Event, Probabilities]:
        """Ask about what is watched for, with what the budget leaves."""
        found = ask_watch_items(self.items, looks, self.model, self.allowance, spare=waiting)
        prompts, replies = merge_prompts(event.prompts, found.prompts), (*event.replies, *found.replies)
        event = event.replace(prompts=prompts, replies=replies)
        left_out = [item for item in found.unseen if found.probabilities.get(item, 0.0) <= YES_THRESHOLD]
        if left_out:
            which = "not every picture was asked about" if found.probabilities else "the model was not asked"
            event = add_note(event, f"Because of {self.allowance.words} {which} for {quote_items(left_out)}.")
        unread = [item for item in found.unread if item not in found.probabilities]
        if unread:
            event = add_note(event, f"The model gave no readable reply on {quote_items(unread)}.")
        if found.failure is not None:
            self.failures += 1
            event = add_note(event, f"The model failed when asked what to watch for: {found.failure}")
        return event, found.probabilities


def make_annotator(
    watch: Sequence[str] = (),
    model: BaseChatModel | None = None,
    *,
    name: str = "model",
    calls_per_minute: float = CALLS_PER_MINUTE,
    policy: Policy | None = None,
    namers: Sequence[ObjectNamer] = (),
) -> EventAnnotator:
    """Make the annotator of a triage. With nothing to watch for, no namer and no model it changes nothing.

    Parameters
    ----------
    watch : events that the user names.
    model : a LangChain chat model that takes pictures; None asks none.
    name : of the model, with its quantisation, as it goes into the record.
    calls_per_minute : of footage, see `CallBudget`.
    policy : what is severe is asked about first; the one that ships by default.
    namers : say what the tracked objects are.

    Raises
    ------
    DataError : an item is empty, too long, has no words or is there twice.
    ModelError : ``calls_per_minute`` is no number from 0 on, or the sentence encoder is missing.
    """
    naming = EventNaming(tuple(namers)) if namers else None
    return EventAnnotator(
        watch=EventWatch(watch, classes=naming.classes if naming else ()) if watch else None,
        model=model,
        name=name,
        budget=CallBudget(calls_per_minute),
        policy=policy or load_policy(),
        naming=naming,
    )


@dataclass(frozen=True, eq=False)
class EventAnnotator:
    """Annotates the events of one video after another; made by `make_annotator`.

    Objects are named first. Every event has its opinion before the items are asked about: a model's sentence
    is held against the items too, at no cost. What is most severe comes first, then what is most surprising.
    """

    watch: EventWatch | None
    model: BaseChatModel | None
    name: str
    budget: CallBudget
    policy: Policy
    naming: EventNaming | None = None

    @property
    def digest(self) -> str:
        """Of what a model's words depend on, hex: its name and the prompts; "" without a model."""
        if self.model is None:
            return ""
        prompts = [template_sha256(name) for name in prompt_ids()]
        return digest_of(self.name, *prompts)

    @property
    def asks_model(self) -> bool:
        """Whether a language model is asked about events."""
        return self.model is not None

    @property
    def looks_at_pictures(self) -> bool:
        """Whether events are looked at again in their frames, which takes time."""
        return self.model is not None or self.naming is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know beforehand: on the examples, and which items can't be told."""
        told = self.naming.notes if self.naming else ()
        if self.watch is None or self.model is not None or not self.watch.beyond:
            return told
        beyond = f"What is measured has nothing to do with {quote_items(self.watch.beyond)}."
        return (*told, f"{beyond} Only a model that looks at the pictures could tell.")

    def __call__(self, video: Video, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """The same events in the same order; none is left out, and nothing measured is changed."""
        if not events:
            return events
        if self.naming is not None:
            events = tuple(self.naming(video, event) for event in events)
        if self.watch is None and self.model is None:
            return events
        if self.model is None:
            return tuple(self._watched(event, {}) for event in events)

        items = self.watch.items if self.watch else ()
        allowance = self.budget.allowance(video, events)
        asking = VLMEventReasoner(self.model, self.name, items, video, allowance)
        done: dict[str, Event] = {}
        ranked = sorted(events, key=self._rank, reverse=True)
        for place, event in enumerate(ranked, start=1):
            heard, probabilities = asking.about(event, waiting=len(ranked) - place)
            done[event.id] = self._watched(heard, probabilities)
        return tuple(done[event.id] for event in events)

    def measured(self, event: Event) -> Event:
        """The event matched with the watched items by what was measured, before any model was asked."""
        if self.watch is None:
            return event
        if not self.looks_at_pictures:
            return self._watched(event, {})
        return event.replace(watched=self.watch.matches(event, {}))

    def _rank(self, event: Event) -> tuple[int, float]:
        return max(event_severity(event, (), self.policy).level, event.severity), event.score

    def _watched(self, event: Event, probabilities: Mapping[str, float]) -> Event:
        """Match an event against the watched items; note what is undecidable or contested."""
        if self.watch is None:
            return event
        matches = self.watch.matches(event, probabilities)
        untold = [match.item for match in matches if match.matched is None]
        contested = [
            f'By {_BASES[match.by]} {event.id} fits "{match.item}", the model sees no such thing.'
            for match in matches
            if match.by in _BASES and match.matched and probabilities.get(match.item, 1.0) <= YES_THRESHOLD
        ]
        notes = [*event.notes, _undecided_note(untold)] if untold else event.notes
        return event.replace(
            watched=matches, disagreements=(*event.disagreements, *contested), notes=tuple(notes)
        )


_BASES = {"measured": "what was measured", "examples": "its name", "detector": "its name"}


def _undecided_note(items: Sequence[str]) -> str:
    return f"Neither what was measured nor a model tells whether this is {quote_items(items)}."
