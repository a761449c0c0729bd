"""The words of questions and options: every thing has several names here, one in replies (`saying`)."""

from __future__ import annotations

from collections.abc import Mapping

HERE = (
    "",
    " here",
    " at the marked place",
    " in the left half",
    " in {name}",
    " at {name}",
    " in the region {name}",
)
PLEASE = (
    "",
    "",
    "",
    "Look closely. ",
    "Compare both halves. ",
    "Tell me: ",
    "Please say: ",
    "Quick question: ",
)

KIND = (
    "What is wrong{here}?", "What kind of defect is there{here}?", "Which defect is shown{here}?",
    "What can be seen{here}?", "What does {name} show?", "How would you call what is seen{here}?",
    "What type of anomaly is it{here}?", "What is the defect{here}?", "Which of these is seen{here}?",
    "Name the defect{here}.", "What happened to the surface{here}?", "What do you see{here}?",
)  # fmt: skip
WRONG = (
    "Is anything wrong{here}?", "Is there a defect{here}?", "Is something unusual to be seen{here}?",
    "Does {name} show a defect?", "Is this place defective?", "Is there an anomaly{here}?",
    "Is this place normal?", "Is everything all right{here}?", "Does {name} look as it should?",
    "So this is fine, isn't it?", "Something is broken here, right?", "Would you reject this place?",
)  # fmt: skip
AFFIRMS_NORMAL = frozenset({6, 7, 8, 9})
"""Numbers of the questions above to which yes means that nothing is wrong."""
PRESENT = (
    "Is there {a}{here}?", "Does {name} show {a}?", "Can {a} be seen{here}?",
    "Is it {a}?", "Is this {a}{here}?",
)  # fmt: skip
TONE = (
    "Is the defect darker or lighter than the surface around it?",
    "How bright is it against its surroundings?",
    "What tone does the defect have{here}?",
    "Compared with the normal surface, what is its brightness?",
    "Is it dark or bright{here}?", "Which tone has what is seen{here}?",
)  # fmt: skip
SHAPE = (
    "What shape does the defect have{here}?", "Which form has it{here}?", "How is it shaped?",
    "What does its outline look like{here}?", "Which shape describes it best?",
)  # fmt: skip
DIRECTION = (
    "Which way does it run{here}?", "In which direction does the defect run?", "How is it oriented{here}?",
    "What is its direction?", "Which direction does it have{here}?",
)  # fmt: skip
COUNT = (
    "How many are there{here}?",
    "How many can be counted{here}?",
    "What is their number?",
    "How many do you see?",
)
PLACE = (
    "Where is the marked place?", "Where in the picture is {name}?",
    "In which part of the picture does {name} lie?",
    "Where is it?", "Where does the outline lie?", "Which part of the picture is affected?",
    "Where is the defect?",
)  # fmt: skip
HUE = (
    "Has its colour changed, and how?",
    "Which tint does the defect have{here}?",
    "Towards which colour does it differ?",
)
BEYOND: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What is the product made of?", ("Steel", "Plastic", "Ceramic", "Glass", "Wood", "Aluminium")),
    ("When did this happen?", ("Today", "Last week", "During transport", "Years ago")),
    ("Who made this part?", ("A supplier", "The night shift", "A machine", "The customer")),
    ("What does the part cost?", ("Under 1 euro", "About 10 euros", "Over 100 euros")),
    ("What caused the damage?", ("A fall", "Heat", "A worn tool", "Chemicals")),
    ("How deep is it in millimetres?", ("0.1 mm", "0.5 mm", "1 mm", "2 mm")),
    ("Which machine made it?", ("A lathe", "A press", "A mill", "A printer")),
    ("What temperature did it have?", ("20 °C", "100 °C", "400 °C", "900 °C")),
)
UNTOLD = (
    "It can't be told from the picture",
    "Can't tell",
    "The picture doesn't show that",
    "Not to be seen",
)

TONES: Mapping[str, tuple[str, ...]] = {
    "darker": ("darker", "dark", "darker than around it", "darker than the surface"),
    "lighter": ("lighter", "bright", "brighter than around it", "lighter than the surface"),
    "same": (
        "about the same",
        "as bright as around it",
        "no difference in brightness",
        "the same brightness",
    ),
}
SHAPES: Mapping[str, tuple[str, ...]] = {
    "line": ("a straight line", "line", "thin and long", "like a line"),
    "jagged line": ("a jagged line", "jagged and branching", "a zigzag line", "like a branching line"),
    "round": ("round", "roundish", "a disc", "circular"),
    "elongated": ("elongated", "oval and long", "longish", "stretched"),
    "irregular": ("irregular", "ragged", "without a regular form", "uneven outline"),
}
DIRECTIONS: Mapping[str, tuple[str, ...]] = {
    "horizontal": ("horizontal", "horizontally", "from left to right, level", "level"),
    "vertical": ("vertical", "vertically", "up and down", "upright"),
    "rising": ("rising to the right", "from the lower left to the upper right", "diagonally up to the right"),
    "falling": (
        "falling to the right",
        "from the upper left to the lower right",
        "diagonally down to the right",
    ),
}
PLACES: Mapping[str, tuple[str, ...]] = {
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
HUES: Mapping[str, tuple[str, ...]] = {
    "redder": ("reddish", "redder", "towards red"),
    "yellower": ("yellowish", "yellower", "towards yellow"),
    "greener": ("greenish", "greener", "towards green"),
    "bluer": ("bluish", "bluer", "towards blue"),
}
YES = ("Yes", "Yes, there is", "yes", "Yes.")
NO = ("No", "No, there isn't", "no", "No.")

BRIGHTNESS_QUESTIONS = ("How bright is the picture?", "Is the surface dark or bright?")
BRIGHTNESS: Mapping[str, tuple[str, ...]] = {
    "dark": ("dark", "rather dark"),
    "medium": ("medium", "neither dark nor bright"),
    "bright": ("bright", "light"),
}
COLOUR_QUESTIONS = ("Is the picture grey or coloured?", "Does the surface have a colour?")
COLOURS: Mapping[str, tuple[str, ...]] = {
    "grey": ("grey", "no colour", "black and white"),
    "coloured": ("coloured", "it has a colour"),
}
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
WITHOUT_ARTICLE = ("foreign material", "debris", "something foreign on the surface", "different texture")
