"""What memory holds against an event, in sentences that cite it: beside what was measured, never instead."""

from __future__ import annotations

import textwrap

from anomalist.clips import Event
from anomalist.memory.captioned import CaptionMemory
from anomalist.types import Claim, Recalled
from anomalist.vision.motion.captions import size_word
from anomalist.vision.motion.describing import pace_words

_AS = {
    ("rule", "anomalous"): "This fits {id}",
    ("rule", "normal"): "{id} calls this usual",
    ("scene", "anomalous"): "The remembered scene that is most alike is {id}, an anomaly",
    ("scene", "normal"): "The remembered scene that is most alike is {id}, a usual one",
}


def with_memory(event: Event, memory: CaptionMemory) -> Event:
    """The event with what memory recalls to its captions, the measured one and a model's.

    What calls it usual is an objection that people see: the event stays.
    """
    recalled = memory.recall(_captions(event))
    objections = [_sentence(item) for item in recalled if item.side == "normal" and item.id[:5] == "rule:"]
    claims = [Claim(text=_sentence(item), evidence=(event.id, item.id)) for item in recalled]
    return event.model_copy(
        update={
            "recalled": recalled,
            "claims": (*event.claims, *claims),
            "disagreements": (*event.disagreements, *objections),
        }
    )


def _captions(event: Event) -> list[str]:
    """What is said of an event: as measured, in the words of captions of footage, and by a model."""
    captions = [event.caption.text]
    for track in event.tracks[:1]:
        if track.direction:
            how = f"{track.direction} {pace_words(track.speed_ratio)} {event.caption.where}"
            captions.append(f"A {size_word(track)}object moves {how}.")
    if event.seen is not None:
        captions.append(event.seen.text)
    return captions


def _sentence(item: Recalled) -> str:
    """ "This fits rule:7 (similarity 0.66): a person is riding a bicycle." """
    lead = _AS[item.id.partition(":")[0], item.side or "anomalous"].format(id=item.id)
    version = f"version {item.version}, " if item.version else ""
    quoted = textwrap.shorten(item.text, width=200, placeholder=" …").rstrip(".")
    return f"{lead} ({version}similarity {item.similarity:.2f}): {quoted}."
