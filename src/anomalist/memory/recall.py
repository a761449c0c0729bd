"""What memory adds to a picture's evidence."""

from __future__ import annotations

from typing import Protocol

from anomalist.types import Evidence, Media, Recall


class Memory(Protocol):
    """Looks up what is known about evidence like this."""

    @property
    def digest(self) -> str:
        """Of everything remembered that can change what is recalled."""
        ...

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Return past cases, rules and scenes with their ids and similarities."""
        ...


class Blank:
    """Remembers nothing."""

    digest = ""

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Return an empty recall."""
        return Recall()
