"""What motion evidence says, in the words of people, and what it can't say."""

from __future__ import annotations

from collections.abc import Mapping

from anomalist.clips import MeasureName

STATEMENTS: Mapping[MeasureName, tuple[str, ...]] = {
    "speed": ("something moves unusually fast", "someone is much faster than everybody else"),
    "size": ("something is unusually large", "something is much bigger than a person"),
    "direction": ("something moves in an unusual direction", "someone goes the wrong way"),
    "place": (
        "something is in a place where hardly anything ever is",
        "someone is where people usually don't go",
    ),
    "dwell": (
        "something stands still for a long time",
        "someone stays in one place for minutes",
        "something is stationary",
        "an object has been left behind",
    ),
    "appearance": ("something looks unlike anything that usually moves here",),
    "crowding": ("a crowd gathers", "it is unusually crowded"),
    "stillness": ("everything stands still", "nothing moves any more"),
    "dispersal": ("everybody moves away from one place at once", "a crowd scatters"),
    "forbidden zone": ("someone enters a forbidden zone",),
}
"""What each measure says, as people would."""

BEYOND = (
    "someone rides a bicycle", "a person on a skateboard", "a motorcycle drives past", "a car is parked",
    "a delivery van stops", "a bus with passengers", "a truck is being unloaded",
    "people are running for exercise", "a child is playing", "a woman pushes a pram",
    "an old man with a stick", "a man in a wheelchair", "two people are fighting",
    "a person falls to the ground", "someone is lying on the floor", "someone waves their arms",
    "people are dancing", "a man throws something", "someone climbs over a fence",
    "someone carries a heavy box", "a person with a backpack", "a man in a red jacket",
    "someone wears no helmet", "a worker without a safety vest", "a police officer", "a man with a knife",
    "someone holds a gun", "a thief steals a bag", "someone breaks a window", "graffiti on a wall",
    "a fire breaks out", "smoke rises", "water floods the floor", "it is raining",
    "snow lies on the ground", "a dog on a leash", "a bird flies by", "a cat sits there", "a suitcase",
    "a ball rolls by", "a door is open", "the light is on", "litter lies around", "a person uses a phone",
    "people shake hands", "a man smokes a cigarette", "someone is eating", "a machine is leaking oil",
    "a forklift carries a pallet", "a number plate",
)  # fmt: skip
"""What can be seen in footage and can't be told from motion alone."""

OPPOSITES = (
    "something moves very slowly",
    "something is unusually small",
    "everybody goes the usual way",
    "the place is empty",
    "someone leaves",
)
"""What no measure says either, but an encoder takes for the same: slow is like fast to it."""
