"""Asks a model about the events of one video, one after another, within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from anomalist.agent.event_budget import Allowance
from anomalist.agent.event_looks import EventLooks, look_at
from anomalist.agent.event_opinion import noted, with_opinion, with_prompts
from anomalist.agent.structured import RETRIES
from anomalist.agent.vlm import TIMEOUT
from anomalist.agent.watch_questions import ask_for
from anomalist.agent.watching_for import EVEN, quoted
from anomalist.clips import Event
from anomalist.errors import MediaError, ModelError
from anomalist.vision.video.frames import Video

MOST_FAILURES = 2
"""After so many in a row a model isn't asked about a video any more: each may have taken minutes."""

Probabilities = Mapping[str, float]


@dataclass(eq=False)
class EventAsking:
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
    allowance: Allowance
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
            return noted(event, f"The model was not asked about this event: {looks}"), {}
        event = self._opinion(event, looks, waiting)
        if not self.items or self.failures:
            return event, {}
        return self._items(event, looks, waiting)

    def _looks(self, event: Event) -> EventLooks | str:
        """The pictures of an event, or why it is not asked about."""
        if self.failures >= MOST_FAILURES:
            return "it had failed several times in a row."
        if self.allowance.left < 1:
            return f"{self.allowance.words} allows no more."
        try:
            return look_at(self.video, event)
        except MediaError as error:
            return str(error)

    def _opinion(self, event: Event, looks: EventLooks, waiting: int) -> Event:
        """Ask what the event is."""
        self.allowance.take(1)
        retries = max(0, min(RETRIES, int(self.allowance.left) - waiting))
        asked = event.model_copy(update={"model": self.name})
        source = self.video.source
        try:
            said = with_opinion(asked, looks, source, self.model, retries=retries, timeout=TIMEOUT)
        except ModelError as error:
            self.failures += 1
            return noted(asked, f"There is no opinion of the model: {error}")
        self.failures = 0
        self.allowance.take(len(said.replies) - 1)
        return said

    def _items(self, event: Event, looks: EventLooks, waiting: int) -> tuple[Event, Probabilities]:
        """Ask about what is watched for, with what the budget leaves."""
        found = ask_for(self.items, looks, self.model, self.allowance, spare=waiting)
        prompts, replies = with_prompts(event.prompts, found.prompts), (*event.replies, *found.replies)
        event = event.model_copy(update={"prompts": prompts, "replies": replies})
        left_out = [item for item in found.unseen if found.probabilities.get(item, 0.0) <= EVEN]
        if left_out:
            which = "not every picture was asked about" if found.probabilities else "the model was not asked"
            event = noted(event, f"Because of {self.allowance.words} {which} for {quoted(left_out)}.")
        unread = [item for item in found.unread if item not in found.probabilities]
        if unread:
            event = noted(event, f"The model gave no readable reply on {quoted(unread)}.")
        if found.failure is not None:
            self.failures += 1
            event = noted(event, f"The model failed when asked what to watch for: {found.failure}")
        return event, found.probabilities
