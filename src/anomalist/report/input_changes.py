"""What a report says first of a run whose pictures as a whole are not like what was learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from anomalist.report.wording import count, printable
from anomalist.types.image import Record
from anomalist.types.shift import Characteristic, InputChange

HEADLINES: Mapping[Characteristic, str] = {
    "shift": "The camera or the parts moved",
    "rotation": "The camera or the parts turned",
    "scale": "The camera is nearer or further away",
    "brightness": "The light changed",
    "colour": "The light changed its colour",
    "contrast": "The light changed",
    "sharpness": "The pictures are blurred",
    "noise": "The pictures are noisier",
    "compression": "The pictures are compressed more",
    "format": "The pictures have another format",
    "blank": "Blank pictures",
    "product": "Another product, or none",
}
"""What happened, by the characteristic that changed."""
HEADLINE_SHARE = 0.2
"""Share of the pictures from which their change is the headline."""


def input_headline(records: Sequence[Record]) -> str | None:
    """The change of most pictures as a headline; None where few changed."""
    changed = _changed(records)
    judged = sum(record.judged for record in records)
    if not judged or len(changed) < HEADLINE_SHARE * judged:
        return None
    name = Counter(changes[0].name for changes in changed).most_common(1)[0][0]
    verb = "was" if len(changed) == 1 else "were"
    return f"{HEADLINES[name]}: {len(changed):,} of {count(judged, 'picture')} {verb} not judged"


def input_sentences(records: Sequence[Record]) -> list[str]:
    """How many pictures changed in what way, and that the run drifts."""
    sentences = []
    counts: Counter[Characteristic] = Counter()
    typical: dict[Characteristic, list[InputChange]] = {}
    for changes in _changed(records):
        for change in changes:
            counts[change.name] += 1
            typical.setdefault(change.name, []).append(change)
    for name, number in counts.most_common():
        middle = sorted(typical[name], key=lambda change: change.value)[len(typical[name]) // 2]
        lead = "1 picture is" if number == 1 else f"{count(number, 'picture')}, typically"
        sentences.append(f"{lead} {printable(middle.words)}.")
    if counts:
        sentences.append("As a whole they are not like what was learned, so no place on them was judged.")
    several = len({_compared_with(record) for record in records}) > 1
    drifts = [
        (_compared_with(record) if several else "", record.input_shift.drift.words)
        for record in records
        if record.input_shift and record.input_shift.drift
    ]
    for owner, words in dict.fromkeys(drifts):
        run = f"The run of {printable(owner)}" if owner else "The run"
        sentences.append(
            f"{run} has drifted: {printable(words)}. "
            "From there on the promised rate of false alarms does not hold."
        )
    return sentences


def _compared_with(record: Record) -> str:
    """The product, or the profile, among whose pictures a drift is looked for."""
    return record.product_name or record.profile or ""


def _changed(records: Sequence[Record]) -> list[tuple[InputChange, ...]]:
    """The changes of each picture that as a whole is not like what was learned."""
    return [
        record.input_shift.changes
        for record in records
        if record.judged and record.input_shift and record.input_shift.changes
    ]
