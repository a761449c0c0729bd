"""Watch items that name a class of objects: "someone on a bicycle", "forklifts", "a cyclist".

An item is about a class where it says the class and nothing else that a name can't tell, or where it is more
similar (sentence embedding) to the class than to any statement of other things. "A parked car" says more
than "car", and is left to measurements and models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anomalist.memory.clauses import negated
from anomalist.memory.embedding import Encoder
from anomalist.memory.rules.statements import KeywordFinder, content_words, stem, words_of
from anomalist.types.clip import Event, WatchMatch

MIN_SIMILARITY = 0.5
"""Cosine similarity from which an item without the word may mean a class."""

_NEUTRAL = frozenset(
    map(stem, ("riding", "rides", "rider", "driving", "drives", "driver", "passing", "moving"))
)
"""Stems of words that say no more of a class than that it is there."""


class NameWatch:
    """Matches the names of an event's objects with watch items.

    Parameters
    ----------
    items : what to watch for.
    classes : names that objects may have.
    encoder : the sentence encoder.
    others : statements of other things, that an item in other words must be less similar to.
    """

    def __init__(
        self, items: Sequence[str], classes: Sequence[str], encoder: Encoder, others: Sequence[str]
    ) -> None:
        self._about: dict[str, dict[str, float]] = {}
        if not classes:
            return
        vectors = encoder.encode(items)
        texts = [_text(name) for name in classes]
        similar = vectors @ encoder.encode(texts).T
        contrast = vectors @ encoder.encode(others).T
        for row, item in enumerate(items):
            if negated(item):
                continue
            for column, name in enumerate(classes):
                said = KeywordFinder([name])
                if said.find(item):
                    fits = _says_no_more(item, name)
                else:
                    unlike = [contrast[row, n] for n, text in enumerate(others) if not said.find(text)] + [
                        similar[row, n] for n in range(len(classes)) if n != column
                    ]
                    nearest = float(similar[row, column])
                    fits = nearest >= MIN_SIMILARITY and nearest > max(unlike, default=-1.0)
                if fits:
                    self._about.setdefault(item, {})[name] = round(float(similar[row, column]), 4)

    @property
    def items(self) -> tuple[str, ...]:
        """The items that a name can match."""
        return tuple(self._about)

    def matches(self, event: Event) -> Mapping[str, WatchMatch]:
        """By item: a match where an object has a name that it means, none where all have other names.

        Items that names can't tell are left out, and so are all where an object has no name.
        """
        found: dict[str, WatchMatch] = {}
        named = [each for each in event.names if each.name is not None]
        for item, about in self._about.items() if named else ():
            fitting = [each for each in named if each.name in about]
            if fitting:
                first = fitting[0]
                assert first.name is not None
                found[item] = WatchMatch(
                    item=item,
                    similarity=about[first.name],
                    matched=True,
                    clause=_text(first.name),
                    by=first.by,
                )
            elif all(event.names_of(track.id) for track in event.tracks):
                found[item] = WatchMatch(item=item, similarity=-1.0, matched=False, by=named[0].by)
        return found


def _text(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _says_no_more(item: str, name: str) -> bool:
    """Whether an item that says a class says nothing else that matters."""
    known = {stem(word) for word in words_of(name)} | _NEUTRAL
    return all(stem(word) in known for word in content_words(item))
