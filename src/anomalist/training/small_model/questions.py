"""Multiple-choice questions about synthetic cases, in several thousand wordings by combination.

Every thing has several names in questions and options, and one in replies (`descriptions`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from anomalist.training.defect_renderers import DEFECT_KINDS, DefectFacts
from anomalist.training.small_model.descriptions import KIND_NAMES, brightness_name, colour_name, draw_one
from anomalist.types.common import UInt8Array
from anomalist.vision.synthetic_textures import Rng

LOCATION_PHRASES = (
    "",
    " here",
    " at the marked place",
    " in the left half",
    " in {name}",
    " at {name}",
    " in the region {name}",
)
REQUEST_PREFIXES = (
    "",
    "",
    "",
    "Look closely. ",
    "Compare both halves. ",
    "Tell me: ",
    "Please say: ",
    "Quick question: ",
)

KIND_QUESTIONS = (
    "What is wrong{here}?", "What kind of defect is there{here}?", "Which defect is shown{here}?",
    "What can be seen{here}?", "What does {name} show?", "How would you call what is seen{here}?",
    "What type of anomaly is it{here}?", "What is the defect{here}?", "Which of these is seen{here}?",
    "Name the defect{here}.", "What happened to the surface{here}?", "What do you see{here}?",
)  # fmt: skip
DEFECT_QUESTIONS = (
    "Is anything wrong{here}?", "Is there a defect{here}?", "Is something unusual to be seen{here}?",
    "Does {name} show a defect?", "Is this place defective?", "Is there an anomaly{here}?",
    "Is this place normal?", "Is everything all right{here}?", "Does {name} look as it should?",
    "So this is fine, isn't it?", "Something is broken here, right?", "Would you reject this place?",
)  # fmt: skip
YES_MEANS_NORMAL = frozenset({6, 7, 8, 9})
"""Indices of `DEFECT_QUESTIONS` to which yes means normal."""
PRESENCE_QUESTIONS = (
    "Is there {a}{here}?", "Does {name} show {a}?", "Can {a} be seen{here}?",
    "Is it {a}?", "Is this {a}{here}?",
)  # fmt: skip
TONE_QUESTIONS = (
    "Is the defect darker or lighter than the surface around it?",
    "How bright is it against its surroundings?",
    "What tone does the defect have{here}?",
    "Compared with the normal surface, what is its brightness?",
    "Is it dark or bright{here}?", "Which tone has what is seen{here}?",
)  # fmt: skip
SHAPE_QUESTIONS = (
    "What shape does the defect have{here}?", "Which form has it{here}?", "How is it shaped?",
    "What does its outline look like{here}?", "Which shape describes it best?",
)  # fmt: skip
DIRECTION_QUESTIONS = (
    "Which way does it run{here}?", "In which direction does the defect run?", "How is it oriented{here}?",
    "What is its direction?", "Which direction does it have{here}?",
)  # fmt: skip
COUNT_QUESTIONS = (
    "How many are there{here}?",
    "How many can be counted{here}?",
    "What is their number?",
    "How many do you see?",
)
PLACE_QUESTIONS = (
    "Where is the marked place?", "Where in the picture is {name}?",
    "In which part of the picture does {name} lie?",
    "Where is it?", "Where does the outline lie?", "Which part of the picture is affected?",
    "Where is the defect?",
)  # fmt: skip
HUE_QUESTIONS = (
    "Has its colour changed, and how?",
    "Which tint does the defect have{here}?",
    "Towards which colour does it differ?",
)
UNANSWERABLE_QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What is the product made of?", ("Steel", "Plastic", "Ceramic", "Glass", "Wood", "Aluminium")),
    ("When did this happen?", ("Today", "Last week", "During transport", "Years ago")),
    ("Who made this part?", ("A supplier", "The night shift", "A machine", "The customer")),
    ("What does the part cost?", ("Under 1 euro", "About 10 euros", "Over 100 euros")),
    ("What caused the damage?", ("A fall", "Heat", "A worn tool", "Chemicals")),
    ("How deep is it in millimetres?", ("0.1 mm", "0.5 mm", "1 mm", "2 mm")),
    ("Which machine made it?", ("A lathe", "A press", "A mill", "A printer")),
    ("What temperature did it have?", ("20 °C", "100 °C", "400 °C", "900 °C")),
)
"""Questions that no picture answers, with plausible wrong options."""
CANNOT_TELL_OPTIONS = (
    "It can't be told from the picture",
    "Can't tell",
    "The picture doesn't show that",
    "Not to be seen",
)
"""Wordings of the option that the picture does not tell; the first is that of replies."""

TONE_NAMES: Mapping[str, tuple[str, ...]] = {
    "darker": ("darker", "dark", "darker than around it", "darker than the surface"),
    "lighter": ("lighter", "bright", "brighter than around it", "lighter than the surface"),
    "same": (
        "about the same",
        "as bright as around it",
        "no difference in brightness",
        "the same brightness",
    ),
}
SHAPE_NAMES: Mapping[str, tuple[str, ...]] = {
    "line": ("a straight line", "line", "thin and long", "like a line"),
    "jagged line": ("a jagged line", "jagged and branching", "a zigzag line", "like a branching line"),
    "round": ("round", "roundish", "a disc", "circular"),
    "elongated": ("elongated", "oval and long", "longish", "stretched"),
    "irregular": ("irregular", "ragged", "without a regular form", "uneven outline"),
}
DIRECTION_NAMES: Mapping[str, tuple[str, ...]] = {
    "horizontal": ("horizontal", "horizontally", "from left to right, level", "level"),
    "vertical": ("vertical", "vertically", "up and down", "upright"),
    "rising": ("rising to the right", "from the lower left to the upper right", "diagonally up to the right"),
    "falling": (
        "falling to the right",
        "from the upper left to the lower right",
        "diagonally down to the right",
    ),
}
PLACE_NAMES: Mapping[str, tuple[str, ...]] = {
    "upper left": ("upper left", "top left", "in the upper left corner", "at the upper left"),
    "top": ("top", "at the top", "upper middle", "at the top in the middle"),
    "upper right": ("upper right", "top right", "in the upper right corner", "at the upper right"),
    "left": ("left", "on the left", "middle left", "at the left in the middle"),
    "centre": ("centre", "in the centre", "in the middle", "middle"),
    "right": ("right", "on the right", "middle right", "at the right in the middle"),
    "lower left": ("lower left", "bottom left", "in the lower left corner", "at the lower left"),
    "bottom": ("bottom", "at the bottom", "lower middle", "at the bottom in the middle"),
    "lower right": ("lower right", "bottom right", "in the lower right corner", "at the lower right"),
}
HUE_NAMES: Mapping[str, tuple[str, ...]] = {
    "redder": ("reddish", "redder", "towards red"),
    "yellower": ("yellowish", "yellower", "towards yellow"),
    "greener": ("greenish", "greener", "towards green"),
    "bluer": ("bluish", "bluer", "towards blue"),
}
YES_OPTIONS = ("Yes", "Yes, there is", "yes", "Yes.")
NO_OPTIONS = ("No", "No, there isn't", "no", "No.")

BRIGHTNESS_QUESTIONS = ("How bright is the picture?", "Is the surface dark or bright?")
BRIGHTNESS_NAMES: Mapping[str, tuple[str, ...]] = {
    "dark": ("dark", "rather dark"),
    "medium": ("medium", "neither dark nor bright"),
    "bright": ("bright", "light"),
}
COLOUR_QUESTIONS = ("Is the picture grey or coloured?", "Does the surface have a colour?")
COLOUR_NAMES: Mapping[str, tuple[str, ...]] = {
    "grey": ("grey", "no colour", "black and white"),
    "coloured": ("coloured", "it has a colour"),
}
NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
"""Numbers in words."""
WITHOUT_ARTICLE = ("foreign material", "debris", "something foreign on the surface", "different texture")
"""Names that take no article."""


@dataclass(frozen=True)
class TrainingQuestion:
    """A question with options.

    Parameters
    ----------
    about : what it asks for: "kind", "tone", "place", …
    text : the question, without the options.
    options : in the order in which they are shown.
    right : index of the right one.
    means : text of the right one in the words of replies.
    """

    about: str
    text: str
    options: tuple[str, ...]
    right: int
    means: str


def region_questions(
    rng: Rng, name: str, facts: DefectFacts, plain_share: float = 0.6
) -> list[TrainingQuestion]:
    """Draw all questions that a closer view of a region answers, in a random order.

    Facts of None are not asked for; with a kind of None the right option is always that it can't be told.
    With probability ``plain_share`` options are named and written as in replies.
    """
    sampler = _QuestionSampler(rng, name, plain=rng.random() < plain_share)
    if facts.kind is None:
        return [sampler.unreadable("kind", KIND_QUESTIONS), sampler.unreadable("wrong", DEFECT_QUESTIONS)]
    asked = [sampler.kind(facts), sampler.wrong(facts), sampler.present(facts), sampler.unanswerable()]
    for about, questions, names, fact in (
        ("tone", TONE_QUESTIONS, TONE_NAMES, facts.tone),
        ("shape", SHAPE_QUESTIONS, SHAPE_NAMES, facts.shape),
        ("direction", DIRECTION_QUESTIONS, DIRECTION_NAMES, facts.direction),
        ("hue", HUE_QUESTIONS, HUE_NAMES, facts.hue),
    ):
        if fact is not None:
            asked.append(sampler.choice(about, questions, names, fact))
    if facts.count is not None:
        asked.append(sampler.count(facts.count))
    order = [asked[i] for i in rng.permutation(len(asked))]
    return sorted(
        order, key=lambda each: each.about != "kind"
    )  # the kind comes first, as the list may be cut off


def whole_picture_questions(
    rng: Rng, name: str, facts: DefectFacts, pixels: UInt8Array
) -> list[TrainingQuestion]:
    """Draw the questions that the whole picture with one region outlined answers."""
    sampler = _QuestionSampler(rng, name)
    asked = []
    if facts.place is not None:
        asked += [sampler.choice("place", PLACE_QUESTIONS, PLACE_NAMES, facts.place) for _ in range(2)]
    if (tone := brightness_name(pixels)) is not None:
        names = BRIGHTNESS_NAMES
        asked.append(sampler.choice("brightness", BRIGHTNESS_QUESTIONS, names, tone))
    if (colour := colour_name(pixels)) is not None:
        asked.append(sampler.choice("colour", COLOUR_QUESTIONS, COLOUR_NAMES, colour))
    return asked


class _QuestionSampler:
    """Draws the wording of questions about one region."""

    def __init__(self, rng: Rng, name: str, *, plain: bool = False) -> None:
        self.rng, self.name = rng, name
        self.plain = plain

    def named(self, names: Sequence[str]) -> str:
        return names[0] if self.plain else draw_one(self.rng, names)

    def text(self, questions: Sequence[str], number: int | None = None, **words: str) -> str:
        here = draw_one(self.rng, LOCATION_PHRASES).format(name=self.name)
        chosen = questions[number] if number is not None else draw_one(self.rng, questions)
        return draw_one(self.rng, REQUEST_PREFIXES) + chosen.format(name=self.name, here=here, **words)

    def shuffled(
        self, about: str, text: str, right: str, others: Sequence[str], means: str = ""
    ) -> TrainingQuestion:
        options = [right, *others]
        order = [int(i) for i in self.rng.permutation(len(options))]
        restyle = _draw_option_style(self.rng) if not self.plain else str
        return TrainingQuestion(
            about, text, tuple(restyle(options[i]) for i in order), order.index(0), means or right
        )

    def choice(
        self, about: str, questions: Sequence[str], names: Mapping[str, tuple[str, ...]], fact: str
    ) -> TrainingQuestion:
        wrong = [key for key in names if key != fact]
        most = len(wrong) if self.rng.random() < 0.5 else int(self.rng.integers(1, len(wrong) + 1))
        chosen = [wrong[i] for i in self.rng.permutation(len(wrong))[:most]]
        text = self.text(questions)
        others = [self.named(names[key]) for key in chosen]
        return self.shuffled(about, text, self.named(names[fact]), others, names[fact][0])

    def kind(self, facts: DefectFacts) -> TrainingQuestion:
        names = {str(kind): KIND_NAMES[kind] for kind in DEFECT_KINDS}
        return self.choice("kind", KIND_QUESTIONS, names, str(facts.kind))

    def wrong(self, facts: DefectFacts) -> TrainingQuestion:
        number = int(self.rng.integers(len(DEFECT_QUESTIONS)))
        yes = (facts.kind == "nothing") == (number in YES_MEANS_NORMAL)
        text = self.text(DEFECT_QUESTIONS, number)
        at = int(self.rng.integers(len(YES_OPTIONS)))
        right, other = (YES_OPTIONS[at], NO_OPTIONS[at]) if yes else (NO_OPTIONS[at], YES_OPTIONS[at])
        others = [other, draw_one(self.rng, CANNOT_TELL_OPTIONS)] if self.rng.random() < 0.15 else [other]
        return self.shuffled("wrong", text, right, others)

    def present(self, facts: DefectFacts) -> TrainingQuestion:
        there = self.rng.random() < 0.5 and facts.kind != "nothing"
        others = [kind for kind in DEFECT_KINDS[:-1] if kind != facts.kind]
        kind = facts.kind if there else others[int(self.rng.integers(len(others)))]
        assert kind is not None
        noun = self.named(KIND_NAMES[kind])
        article = "" if noun in WITHOUT_ARTICLE else "an " if noun[0] in "aeiou" else "a "
        at = int(self.rng.integers(len(YES_OPTIONS)))
        right, other = (YES_OPTIONS[at], NO_OPTIONS[at]) if there else (NO_OPTIONS[at], YES_OPTIONS[at])
        return self.shuffled("present", self.text(PRESENCE_QUESTIONS, a=article + noun), right, [other])

    def count(self, count: int) -> TrainingQuestion:
        others = [n for n in (1, 2, 3, 4, 5, 6) if n != count]
        chosen = [others[i] for i in self.rng.permutation(len(others))[: int(self.rng.integers(1, 4))]]
        in_words = self.rng.random() < 0.5
        names = {
            number: NUMBER_WORDS.get(number, str(number)) if in_words else str(number)
            for number in (count, *chosen)
        }
        return self.shuffled("count", self.text(COUNT_QUESTIONS), names[count], [names[n] for n in chosen])

    def unanswerable(self) -> TrainingQuestion:
        text, guesses = UNANSWERABLE_QUESTIONS[int(self.rng.integers(len(UNANSWERABLE_QUESTIONS)))]
        order = self.rng.permutation(len(guesses))[: int(self.rng.integers(1, len(guesses) + 1))]
        return self.shuffled(
            "unanswerable",
            text,
            draw_one(self.rng, CANNOT_TELL_OPTIONS),
            [guesses[i] for i in order],
            CANNOT_TELL_OPTIONS[0],
        )

    def unreadable(self, about: str, questions: Sequence[str]) -> TrainingQuestion:
        if about == "wrong":
            others = ["Yes", "No"]
        else:
            kinds = self.rng.permutation(len(DEFECT_KINDS))[: int(self.rng.integers(1, 5))]
            others = [self.named(KIND_NAMES[DEFECT_KINDS[i]]) for i in kinds]
        return self.shuffled(
            "unreadable",
            self.text(questions),
            draw_one(self.rng, CANNOT_TELL_OPTIONS),
            others,
            CANNOT_TELL_OPTIONS[0],
        )


def _draw_option_style(rng: Rng) -> Callable[[str], str]:
    """Draw a style of options: as they are or capitalised, with a full stop or not."""
    capital, stop = rng.random() < 0.5, rng.random() < 0.2

    def restyle(option: str) -> str:
        option = option[0].upper() + option[1:] if capital else option
        return f"{option.rstrip('.')}." if stop else option.rstrip(".")

    return restyle
