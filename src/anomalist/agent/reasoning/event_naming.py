"""Names of objects in events: captions that call them by name, and claims that say who named them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.agent.reasoning.vlm_reasoner import add_note
from anomalist.errors import MediaError
from anomalist.storage.files import digest_of
from anomalist.types.clip import Event, ObjectName
from anomalist.types.common import Claim
from anomalist.vision.media.frames import Video
from anomalist.vision.motion.captions import OBJECT, name_subject
from anomalist.vision.naming.looks import ObjectNamer, name_tracks


@dataclass(frozen=True)
class EventNaming:
    """Names the objects of events by looks at their tracks.

    Parameters
    ----------
    namers : asked one after another; the first that gives a name decides what captions call a thing.
    """

    namers: tuple[ObjectNamer, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Every name that may be given."""
        return tuple(dict.fromkeys(name for namer in self.namers for name in namer.classes))

    @property
    def digest(self) -> str:
        """Hex digest of all that the names depend on."""
        return digest_of(*(namer.digest for namer in self.namers))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know beforehand."""
        return tuple(note for namer in self.namers for note in namer.notes)

    def __call__(self, video: Video, event: Event) -> Event:
        """The event with names in records, caption and claims; with a note where it can't be looked at."""
        if not event.tracks:
            return event
        try:
            names = name_tracks(video, event, self.namers)
        except MediaError as error:
            return add_note(event, f"Its objects were not named: {error}")
        if not names:
            return add_note(event, "Its objects were not named: no frame of them can be read again.")
        named = event.replace(names=names, claims=(*event.claims, *_claims(event, names)))
        noun = object_noun(named)
        return named if noun == OBJECT else named.replace(caption=name_subject(event.caption, noun))


def object_noun(event: Event) -> str:
    """What captions call the leading object of an event: its name, or "object"."""
    for by in ("examples", "detector") if event.tracks else ():
        found = [each.name for each in event.names if each.by == by and each.track == event.tracks[0].id]
        if said := [name for name in found if name is not None]:
            return " with ".join(said)
    return OBJECT


def _claims(event: Event, names: Sequence[ObjectName]) -> list[Claim]:
    return [Claim(text=_sentence(each), evidence=(event.id, each.track)) for each in names]


def _sentence(each: ObjectName) -> str:
    """ "T3 is a bicycle by the examples in street: in 4 of 5 looks, most like bicycle/3.png (0.81, …)." """
    who = f"the examples in {each.source}" if each.by == "examples" else f"the object detector {each.source}"
    votes = f"in {each.agreeing} of {each.looks} looks"
    if each.name is None and not each.agreeing:
        return f"{each.track} has no name by {who}: {each.why}."
    if each.by == "detector":
        return f"{each.track} is called {each.name} by {who}, {votes}, with a score of {each.score:.2f}."
    near = f"most like {each.nearest} (similarity {each.score:.2f}, {each.limit:.2f} is needed)"
    if each.name is None:
        return f"{each.track} is {each.why} in {each.source}, {votes}: {near}."
    return f"{each.track} is called {each.name} by {who}, {votes}: {near}."
