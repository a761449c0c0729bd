"""Combine the sentences in scripts/scenes/ into the pairs of scenes that ship, and embed them.

    python scripts/build_scenes.py            # scenes.jsonl
    python scripts/build_scenes.py --vectors  # and scenes.safetensors, in a minute

The same files give the same bytes: nothing is drawn but with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

SOURCES = Path(__file__).parent / "scenes"
PAIRS = 3500
ROUNDS = 3
"""How often an anomaly that several places share is told of one place, each time of another corner of it."""

_SLOT = re.compile(r"\{(\w+)\}")
_TRIES = 60


@dataclass
class Place:
    """A kind of place: its tags, phrases for "where", what is usual there, and (kind, anomaly) of its own."""

    name: str
    tags: frozenset[str]
    where: tuple[str, ...]
    usual: list[str] = field(default_factory=list)
    anomalies: list[tuple[str, str]] = field(default_factory=list)


def read_places() -> list[Place]:
    """Read the places, with the usual sentences that several of them share."""
    places: list[Place] = []
    for name in ("outdoors.txt", "indoors.txt"):
        for line in _lines(name):
            mark, rest = line.split(" ", 1)
            if mark == "==":
                title, tags, where = (part.strip() for part in rest.split("|"))
                places.append(Place(title, frozenset(tags.split()), tuple(where.split("; "))))
            elif mark == ".":
                places[-1].usual.append(rest)
            else:
                kind, text = rest.split("|")
                places[-1].anomalies.append((kind.strip(), text.strip()))
    for line in _lines("common.txt"):
        if line.startswith(". "):
            tags, text = _tagged(line[2:])
            for place in places:
                if not tags or tags & place.tags:
                    place.usual.append(text)
    return places


def common_anomalies() -> list[tuple[str, frozenset[str], str]]:
    """Anomalies that several places share: kind, tags, text."""
    found = []
    for line in _lines("common.txt"):
        if line.startswith("! "):
            head, text = line[2:].split("|")
            kind, _, tags = head.partition("@")
            found.append((kind.strip(), frozenset(tags.split()), text.strip()))
    return found


def build(seed: int = 0) -> list[dict[str, dict[str, str]]]:
    """The pairs; nothing is told twice, not even of somebody else."""
    return list(_Builder(seed).pairs())


def as_text(pairs: Sequence[dict[str, dict[str, str]]]) -> str:
    """One pair a line, as it is written."""
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)


class _Builder:
    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.places = read_places()
        words = (line.split(": ", 1) for line in _lines("words.txt"))
        self.words = {slot: values.split("; ") for slot, values in words}
        self.seen: set[str] = set()

    def pairs(self) -> Iterator[dict[str, dict[str, str]]]:
        made = 0
        for place, kind, text in self._wanted():
            pair = self._pair(place, kind, text)
            if pair is not None:
                yield pair
                made += 1
            if made == PAIRS:
                return

    def _wanted(self) -> Iterator[tuple[Place, str, str]]:
        """What belongs to one place first; then what is common, one for each place in turn."""
        for place in self.places:
            for kind, text in place.anomalies:
                yield place, kind, text
        shared = common_anomalies()
        for _ in range(ROUNDS):
            by_place = [
                self._shuffled([(place, kind, text) for kind, tags, text in shared if _fits(tags, place)])
                for place in self.places
            ]
            for row in zip_longest(*by_place):
                yield from (item for item in row if item is not None)

    def _pair(self, place: Place, kind: str, text: str) -> dict[str, dict[str, str]] | None:
        """An anomaly beside something usual at the same place, both told for the first time, or None."""
        for _ in range(_TRIES):
            chosen = {"where": self._one_of(place.where)}
            anomalous = self._filled(text, chosen)
            if _content(text, chosen) in self.seen:
                continue
            for _ in range(_TRIES):
                usual = self._one_of(place.usual)
                spot = {**chosen, "where": self._one_of(place.where)}
                normal = self._filled(usual, spot)
                if _content(usual, spot) not in self.seen:
                    self.seen |= {_content(usual, spot), _content(text, chosen)}
                    return {
                        "normal": {"category": place.name, "description": normal},
                        "anomalous": {"category": kind, "description": anomalous},
                    }
        return None

    def _filled(self, text: str, chosen: dict[str, str]) -> str:
        """Fill the slots and remember in ``chosen`` with what."""
        for slot in _SLOT.findall(text):
            if slot not in chosen:
                chosen[slot] = self._one_of(self.words[slot])
        filled = _SLOT.sub(lambda match: chosen[match[1]], text)
        return filled[0].upper() + filled[1:]

    def _one_of(self, values: Sequence[str]) -> str:
        return values[int(self.draw.random() * len(values))]

    def _shuffled(self, items: list[tuple[Place, str, str]]) -> list[tuple[Place, str, str]]:
        keyed = [(self.draw.random(), number) for number in range(len(items))]
        return [items[number] for _, number in sorted(keyed)]


def _content(text: str, chosen: Mapping[str, str]) -> str:
    """What a sentence tells, of whomever: the same for "a man is running" and "a girl is running"."""
    return text.replace("{where}", chosen["where"])


def _fits(tags: frozenset[str], place: Place) -> bool:
    return not tags or bool(tags & place.tags)


def _tagged(text: str) -> tuple[frozenset[str], str]:
    if not text.startswith("@"):
        return frozenset(), text
    tags, _, rest = text[1:].partition("|")
    return frozenset(tags.split()), rest.strip()


def _lines(name: str) -> list[str]:
    lines = (SOURCES / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def main() -> None:
    """Write the files where the package reads them."""
    from anomalist.memory.scenes.scene import SCENES, write_scene_vectors

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vectors", action="store_true", help="also embed them")
    asked = parser.parse_args()
    SCENES.write_text(as_text(build()), encoding="utf-8", newline="\n")
    if asked.vectors:
        write_scene_vectors()


if __name__ == "__main__":
    main()
