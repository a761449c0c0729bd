"""What would be the contrary of what is normal, where captions say how something is done.

AnomalyRuler has a language model think of contrasts. Without one, those are found that the language itself
has: where things go at the usual speed and never very fast, very fast is an anomaly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from anomalist.memory.opposites import every_side, sides_of, without_sides
from anomalist.memory.rules.captions import CaptionFile
from anomalist.memory.rules.rule import Example, Rule, Support
from anomalist.memory.rules.voting import MAJORITY, Element

_ADVERBS = ("pace", "way", "depth")
_LEAST = 50  # captions that say it one way: fewer don't show that it is never otherwise
_HARDLY = 0.01  # of these captions: what is said in more isn't unheard of
_EXAMPLES = 5


def contrasts(elements: Sequence[Element], file: CaptionFile, batches: int) -> tuple[Rule, ...]:
    """Anomalous rules on the sides of a dimension that captions which speak of it never are on.

    Parameters
    ----------
    elements : what the batches say, put plainly.
    file : the captions.
    batches : number of batches.
    """
    found: list[Rule] = []
    for dimension in _ADVERBS:
        said = [(sides_of(e.text)[dimension], e) for e in elements if dimension in sides_of(e.text)]
        rows = {row for _, element in said for row in element.captions}
        voted = {element.batch for _, element in said}
        if len(rows) < _LEAST or len(voted) <= MAJORITY * batches:
            continue
        for side in every_side(dimension):
            of_side = {row for other, element in said if other == side for row in element.captions}
            if len(of_side) < max(_HARDLY * len(rows), 1):
                found.append(_rule(side, said, rows, voted, file, batches))
    return tuple(found)


def _rule(
    side: str,
    said: Sequence[tuple[str, Element]],
    rows: set[int],
    voted: set[int],
    file: CaptionFile,
    batches: int,
) -> Rule:
    bare: Counter[str] = Counter()
    for _, element in said:
        bare[without_sides(element.text, *_ADVERBS, "place")] += len(element.captions)
    usual = Counter(other for other, element in said for _ in element.captions).most_common(1)[0][0]
    shown = tuple(sorted(rows))
    return Rule(
        id="rule:new-1",
        text=f"{bare.most_common(1)[0][0]} {side}",
        polarity="anomalous",
        kind="activity",
        keywords=(side,),
        severity=1,
        origin="induced",
        support=Support(
            source=file.source,
            sha256=file.sha256,
            captions=shown,
            of=len(file.captions),
            batches=len(voted),
            of_batches=batches,
            examples=tuple(Example(number=n, text=file.captions[n - 1][:600]) for n in shown[:_EXAMPLES]),
        ),
        note=f'By contrast: {len(rows)} captions say how, mostly "{usual}", and hardly any "{side}".',
    )
