"""Events that a user names in words, held against what was measured and what a model says of it.

What is measured is motion, so most items can't be told from it: a bicycle is a fast object, and so is a
runner. An item counts as told only where a statement about the event's motion is more like it than like
anything that motion can't tell (`BEYOND`), and it is more like the statement than like any of these, the
opposites and what measures say that don't stand out here. Nothing of this was fitted to labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from anomalist.agent.motion_words import BEYOND, OPPOSITES, STATEMENTS
from anomalist.clips import Event, MeasureName, WatchMatch
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.watch import NOTHING_SAID, ORDINARY, Watch
from anomalist.types import FloatArray

EVEN = 0.5
"""More probable than this is a yes. The probability is the model's own and is not calibrated."""

_STANDS_OUT = 1.0  # surprise


class WatchFor:
    """Looks for named events.

    Parameters
    ----------
    items : what to watch for, in words.
    encoder : what makes vectors of texts; `load_encoder()` by default.

    Raises
    ------
    DataError : an item is empty, too long, has no words or is there twice.
    """

    def __init__(self, items: Sequence[str], encoder: Encoder | None = None) -> None:
        self._encoder = encoder or load_encoder()
        self._described = Watch(items, usual=ORDINARY, encoder=self._encoder)
        self.items = self._described.items
        self._beyond = (*ORDINARY, *BEYOND)
        self._measured = Watch(items, usual=self._beyond, encoder=self._encoder)
        self._contrasts: dict[frozenset[MeasureName], FloatArray] = {}

    @cached_property
    def tellable(self) -> tuple[str, ...]:
        """The items that some measure has something to do with."""
        every = [text for texts in STATEMENTS.values() for text in texts]
        matches = self._by_measures(frozenset(STATEMENTS), every)
        return tuple(match.item for match in matches if match.matched)

    @property
    def beyond(self) -> tuple[str, ...]:
        """The items that nothing measured tells: only a model that looks could."""
        return tuple(item for item in self.items if item not in self.tellable)

    def matches(self, event: Event, probabilities: Mapping[str, float]) -> tuple[WatchMatch, ...]:
        """How well an event fits each item.

        Parameters
        ----------
        event : with its caption, its measures, and a model's opinion where there is one.
        probabilities : of a yes, by item, where a model was asked about it.

        Returns
        -------
        One for each item. What is measured counts first, then what a model replied to the item itself, then
        what it said about the event as a whole. ``matched`` is None where none of these tells.
        """
        names = frozenset(m.name for m in event.measures if m.surprise >= _STANDS_OUT) | {event.kind}
        texts = [text for name in STATEMENTS if name in names for text in STATEMENTS[name]]
        measured = self._by_measures(names, [event.caption.text, *texts])
        described = self._by_description(event)
        return tuple(
            self._settled(match, said, probabilities.get(match.item))
            for match, said in zip(measured, described, strict=True)
        )

    def _settled(self, measured: WatchMatch, described: WatchMatch, probability: float | None) -> WatchMatch:
        """Put the three together for one item."""
        if measured.matched:
            return measured.model_copy(update={"probability": probability})
        if probability is not None:
            said = described if described.matched else measured
            update = {"matched": probability > EVEN, "by": "model", "probability": probability}
            return said.model_copy(update=update)
        if described.matched:
            return described
        if measured.item in self.tellable:
            return measured.model_copy(update={"by": "measured"})
        return measured.model_copy(update={"matched": None})

    def _by_measures(self, names: frozenset[MeasureName], texts: Sequence[str]) -> list[WatchMatch]:
        """The best of some texts for each item, against all that could be said if it were something else."""
        if names not in self._contrasts:
            others = [text for name in STATEMENTS if name not in names for text in STATEMENTS[name]]
            else_said = self._encoder.encode([*self._beyond, *OPPOSITES, *others])
            self._contrasts[names] = (self._encoder.encode(self.items) @ else_said.T).max(1)
        return _best(self._measured, texts, self._contrasts[names].tolist(), "measured")

    def _by_description(self, event: Event) -> list[WatchMatch]:
        """How well what a model said of an event fits each item."""
        texts: list[str] = []
        if event.seen is not None:
            claims = [claim.text for claim in event.claims if claim.source == "model"]
            texts = [*claims[:1], event.seen.text]
        return _best(self._described, texts, [-1.0] * len(self.items), "model")


def _best(watch: Watch, texts: Sequence[str], contrasts: Iterable[float], by: str) -> list[WatchMatch]:
    """For each item the clause that fits best; both its own contrast and that of the item are taken off."""
    rows = watch.matches(texts)
    found = []
    for number, (item, contrast) in enumerate(zip(watch.items, contrasts, strict=True)):
        fits = [(min(m.score, m.similarity - contrast), m.clause) for row in rows if (m := row[number])]
        score, clause = max(fits, default=(NOTHING_SAID, ""))
        found.append(
            WatchMatch.model_validate(
                {
                    "item": item,
                    "similarity": round(max(score, -1.0), 4),
                    "matched": score > 0,
                    "clause": clause if score > 0 else "",
                    "by": by if score > 0 else None,
                }
            )
        )
    return found


def quoted(items: Sequence[str]) -> str:
    """Items as they are named in notes: "someone on a bicycle", "people running"."""
    return ", ".join(f'"{item}"' for item in items)
