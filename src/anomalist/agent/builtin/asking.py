"""Questions with options about a drawn case, in many wordings: several thousand by combination."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from anomalist.agent.builtin import phrasings
from anomalist.agent.builtin.saying import NAMES, any_of, brightness, colouring
from anomalist.types import UInt8Array
from anomalist.vision.drawn.facts import DEFECT_KINDS, Facts
from anomalist.vision.strokes import Rng


@dataclass(frozen=True)
class Asked:
    """A question with options.

    Parameters
    ----------
    about : what is asked for: "kind", "tone", "place", …
    text : the question, without the options.
    options : in the order in which they are shown.
    right : index of the right one.
    means : what the right one says, in the words of replies.
    """

    about: str
    text: str
    options: tuple[str, ...]
    right: int
    means: str


def about_region(rng: Rng, name: str, facts: Facts, plain_share: float = 0.6) -> list[Asked]:
    """Ask everything that can be answered from a closer look at a region, in a random order.

    A fact of None is not asked for; with a kind of None nothing can be told. With a chance of ``plain_share``
    options are called and written as in replies.
    """
    says = _Wording(rng, name, plain=rng.random() < plain_share)
    if facts.kind is None:
        return [says.untold("kind", phrasings.KIND), says.untold("wrong", phrasings.WRONG)]
    asked = [says.kind(facts), says.wrong(facts), says.present(facts), says.beyond()]
    for about, questions, names, fact in (
        ("tone", phrasings.TONE, phrasings.TONES, facts.tone),
        ("shape", phrasings.SHAPE, phrasings.SHAPES, facts.shape),
        ("direction", phrasings.DIRECTION, phrasings.DIRECTIONS, facts.direction),
        ("hue", phrasings.HUE, phrasings.HUES, facts.hue),
    ):
        if fact is not None:
            asked.append(says.choice(about, questions, names, fact))
    if facts.count is not None:
        asked.append(says.count(facts.count))
    order = [asked[i] for i in rng.permutation(len(asked))]
    return sorted(order, key=lambda each: each.about != "kind")  # what it is comes first: it may be cut off


def about_whole(rng: Rng, name: str, facts: Facts, pixels: UInt8Array) -> list[Asked]:
    """Ask what can be answered from the whole picture with one region outlined."""
    says = _Wording(rng, name)
    asked = []
    if facts.place is not None:
        asked += [says.choice("place", phrasings.PLACE, phrasings.PLACES, facts.place) for _ in range(2)]
    if (tone := brightness(pixels)) is not None:
        names = phrasings.BRIGHTNESS
        asked.append(says.choice("brightness", phrasings.BRIGHTNESS_QUESTIONS, names, tone))
    if (colour := colouring(pixels)) is not None:
        asked.append(says.choice("colour", phrasings.COLOUR_QUESTIONS, phrasings.COLOURS, colour))
    return asked


class _Wording:
    """Draws the words of questions about one region."""

    def __init__(self, rng: Rng, name: str, *, plain: bool = False) -> None:
        self.rng, self.name = rng, name
        self.plain = plain

    def named(self, names: Sequence[str]) -> str:
        return names[0] if self.plain else any_of(self.rng, names)

    def text(self, questions: Sequence[str], number: int | None = None, **words: str) -> str:
        here = any_of(self.rng, phrasings.HERE).format(name=self.name)
        chosen = questions[number] if number is not None else any_of(self.rng, questions)
        return any_of(self.rng, phrasings.PLEASE) + chosen.format(name=self.name, here=here, **words)

    def shuffled(self, about: str, text: str, right: str, others: Sequence[str], means: str = "") -> Asked:
        options = [right, *others]
        order = [int(i) for i in self.rng.permutation(len(options))]
        dress = _dress(self.rng) if not self.plain else str
        return Asked(about, text, tuple(dress(options[i]) for i in order), order.index(0), means or right)

    def choice(
        self, about: str, questions: Sequence[str], names: Mapping[str, tuple[str, ...]], fact: str
    ) -> Asked:
        wrong = [key for key in names if key != fact]
        most = len(wrong) if self.rng.random() < 0.5 else int(self.rng.integers(1, len(wrong) + 1))
        chosen = [wrong[i] for i in self.rng.permutation(len(wrong))[:most]]
        text = self.text(questions)
        others = [self.named(names[key]) for key in chosen]
        return self.shuffled(about, text, self.named(names[fact]), others, names[fact][0])

    def kind(self, facts: Facts) -> Asked:
        names = {str(kind): NAMES[kind] for kind in DEFECT_KINDS}
        return self.choice("kind", phrasings.KIND, names, str(facts.kind))

    def wrong(self, facts: Facts) -> Asked:
        number = int(self.rng.integers(len(phrasings.WRONG)))
        yes = (facts.kind == "nothing") == (number in phrasings.AFFIRMS_NORMAL)
        text = self.text(phrasings.WRONG, number)
        at = int(self.rng.integers(len(phrasings.YES)))
        right, other = (phrasings.YES[at], phrasings.NO[at]) if yes else (phrasings.NO[at], phrasings.YES[at])
        others = [other, any_of(self.rng, phrasings.UNTOLD)] if self.rng.random() < 0.15 else [other]
        return self.shuffled("wrong", text, right, others)

    def present(self, facts: Facts) -> Asked:
        there = self.rng.random() < 0.5 and facts.kind != "nothing"
        others = [kind for kind in DEFECT_KINDS[:-1] if kind != facts.kind]
        kind = facts.kind if there else others[int(self.rng.integers(len(others)))]
        assert kind is not None
        noun = self.named(NAMES[kind])
        article = "" if noun in phrasings.WITHOUT_ARTICLE else "an " if noun[0] in "aeiou" else "a "
        at = int(self.rng.integers(len(phrasings.YES)))
        right, other = (
            (phrasings.YES[at], phrasings.NO[at]) if there else (phrasings.NO[at], phrasings.YES[at])
        )
        return self.shuffled("present", self.text(phrasings.PRESENT, a=article + noun), right, [other])

    def count(self, count: int) -> Asked:
        shown = [n for n in (1, 2, 3, 4, 5, 6) if n != count]
        chosen = [shown[i] for i in self.rng.permutation(len(shown))[: int(self.rng.integers(1, 4))]]
        in_words = self.rng.random() < 0.5
        said = {
            number: phrasings.NUMBERS.get(number, str(number)) if in_words else str(number)
            for number in (count, *chosen)
        }
        return self.shuffled("count", self.text(phrasings.COUNT), said[count], [said[n] for n in chosen])

    def beyond(self) -> Asked:
        text, guesses = phrasings.BEYOND[int(self.rng.integers(len(phrasings.BEYOND)))]
        order = self.rng.permutation(len(guesses))[: int(self.rng.integers(1, len(guesses) + 1))]
        return self.shuffled(
            "beyond",
            text,
            any_of(self.rng, phrasings.UNTOLD),
            [guesses[i] for i in order],
            phrasings.UNTOLD[0],
        )

    def untold(self, about: str, questions: Sequence[str]) -> Asked:
        if about == "wrong":
            others = ["Yes", "No"]
        else:
            kinds = self.rng.permutation(len(DEFECT_KINDS))[: int(self.rng.integers(1, 5))]
            others = [self.named(NAMES[DEFECT_KINDS[i]]) for i in kinds]
        return self.shuffled(
            "untold", self.text(questions), any_of(self.rng, phrasings.UNTOLD), others, phrasings.UNTOLD[0]
        )


def _dress(rng: Rng) -> Callable[[str], str]:
    """Draw how options are written: as they are, or with a capital, with a full stop or not."""
    capital, stop = rng.random() < 0.5, rng.random() < 0.2

    def dress(option: str) -> str:
        option = option[0].upper() + option[1:] if capital else option
        return f"{option.rstrip('.')}." if stop else option.rstrip(".")

    return dress
