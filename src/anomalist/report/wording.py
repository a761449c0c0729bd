"""Wording of the reports: numbers, times, scores and decisions of pictures and clips in plain sentences.

The same in every report: the HTML templates call these functions as ``w``.
"""

from __future__ import annotations

import math
import os.path
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anomalist.types.clip import ClipRecord, Event, EventCalibration, TimeJump, TroubleKind
from anomalist.types.common import SEVERITIES, Label, PromptUsed
from anomalist.types.image import Attributes, Calibration, Record, is_alarm
from anomalist.types.names import common_folder

if TYPE_CHECKING:
    from anomalist.memory.ranking import RankAdjustment

UNGRADED = "ungraded"
"""Word for severity 0 of an event: no policy has graded it."""


def outcome(record: Record | ClipRecord) -> Label | Literal["error"]:
    """Give the label, or "error" where there is none: a failure is never normal."""
    return record.label if record.judged and record.label is not None else "error"


def severity_word(level: int | None, none: str = "–") -> str:
    """Give the word for a severity, 1 to 4; ``none`` where there is none to speak of."""
    return SEVERITIES[level] if level else none


def count_severities(levels: Iterable[int], none: str) -> dict[str, int]:
    """Count severities by word, the most severe first."""
    found = Counter(levels)
    return {severity_word(level, none): found[level] for level in sorted(found, reverse=True)}


def count_kinds(kinds: Iterable[str]) -> dict[str, int]:
    """Count kinds, the most frequent first, then by name."""
    return dict(sorted(Counter(kinds).items(), key=lambda pair: (-pair[1], pair[0])))


def source_name(source: str) -> str:
    """Give the last part of a path or address."""
    return Path(source.rstrip("/")).name or source


def short_names(records: Sequence[Record | ClipRecord]) -> tuple[str, list[str]]:
    """Split sources into the folder that they share ("" if none) and what tells them apart."""
    if any("://" in record.source for record in records):  # addresses are not taken apart
        return "", [printable(record.source) for record in records]
    folder = common_folder(record.source for record in records)
    names = [os.path.relpath(record.source, folder) if folder else record.source for record in records]
    return printable(folder), [printable(name) for name in names]


_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (text direction), surrogate, separators


MAX_SHOWN_CHARACTERS = 4000


def printable(text: str) -> str:
    """Show characters that would be invisible, or would turn the text around, as their code."""
    return "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char) in _INVISIBLE else char for char in text
    )


def printable_lines(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """Show text as `printable` does but in its lines; what is beyond ``limit`` characters is only counted."""
    shown = "\n".join(printable(line) for line in text[:limit].splitlines())
    cut = len(text) - limit
    return f"{shown}\n… {count(cut, 'more character')} in the record" if cut > 0 else shown


def number(value: float | None, digits: int = 3) -> str:
    """Write with so many significant digits and a real minus sign; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", "−")


def percent(share: float, digits: int = 2) -> str:
    """Write 0.05 as "5 %", with a space that doesn't break."""
    return f"{number(100 * share, digits)}\N{NO-BREAK SPACE}%"


def count(amount: int, singular: str, plural: str | None = None) -> str:
    """Write "1 picture", "1,200 pictures"."""
    return f"{amount:,} {singular if amount == 1 else plural or singular + 's'}"


def format_datetime(time: str) -> str:
    """Write an ISO 8601 time to the minute, "2026-01-31 14:05 UTC"; leave anything else as it is."""
    try:
        when = datetime.fromisoformat(time)
    except ValueError:
        return printable(time)
    zone = " UTC" if when.tzinfo and not when.utcoffset() else when.strftime(" %z").rstrip()
    return when.strftime("%Y-%m-%d %H:%M") + zone


def format_period(times: Sequence[str]) -> str:
    """Write from when to when, for times in rising order; "" for none."""
    if not times:
        return ""
    first, last = format_datetime(times[0]), format_datetime(times[-1])
    if first == last:
        return first
    same_day = first[:10] == last[:10] and first[16:] == last[16:]
    return f"{first[:16]}–{last[11:]}" if same_day else f"{first} – {last}"


def format_time(seconds: float) -> str:
    """Write a time in a clip: "0:07", "12:30", "1:02:05"; parts of a second are cut off."""
    whole = int(max(seconds, 0) + 1e-6)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def format_time_span(start: float, end: float) -> str:
    """Write from when to when: "0:07–0:12"; one time where both are the same."""
    first, last = format_time(start), format_time(end)
    return first if first == last else f"{first}–{last}"


def format_duration(seconds: float) -> str:
    """Write how long something lasts: "8.9 s", "12 min 30 s", "1 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def is_ranked_only(record: Record) -> bool:
    """Whether a picture was compared with itself or its folder alone: its score ranks it, no more."""
    return record.status == "ok" and record.basis in ("itself", "folder")


def sort_by_urgency(records: Sequence[Record]) -> list[Record]:
    """Sort by falling severity, then rising p-value, then falling score, then name.

    The severity of pictures that are only ranked says nothing yet: there the score comes first.
    """

    def key(record: Record) -> tuple[float, float, float, str]:
        p = math.inf if record.p_value is None else record.p_value
        score = -math.inf if record.score is None else record.score
        severity = 0 if is_ranked_only(record) else record.severity or 0
        return -severity, p, -score, record.source

    return sorted(records, key=key)


def main_reason(record: Record) -> str:
    """Give the one sentence for a table: why undecided, else what was seen, else what the score says.

    Pictures that are only ranked are all undecided for the same reason: there, what was seen. Of one that
    could not be judged it is why.
    """
    if not record.judged:
        return record.error or "Why it could not be judged was not recorded."
    if is_ranked_only(record) and not record.regions:
        return "No single place stands out."
    if outcome(record) == "undecided" and record.why_undecided and not is_ranked_only(record):
        return record.why_undecided
    regions = {region.id for region in record.regions}
    about_regions = (claim.text for claim in record.claims if regions.intersection(claim.evidence))
    return next(about_regions, record.claims[0].text if record.claims else "")


def prompt_reply_pairs(record: Record) -> list[tuple[PromptUsed, str]]:
    """Pair each prompt with the reply to it; the first prompt sets the rules and has none."""
    return list(zip(record.prompts[1:], record.replies, strict=False))


def format_frequency(p_value: float) -> str:
    """Write a small probability as "once in 51", a larger one as "30 times in 100"."""
    return f"once in {round(1 / p_value):,}" if p_value <= 0.1 else f"{round(100 * p_value)} times in 100"


def explain_score(record: Record) -> list[str]:
    """Say in plain sentences what the score and its p-value mean for this picture."""
    p, basis = record.p_value, record.calibration
    if record.basis == "reference":
        return [
            f"The greatest difference from the reference is {number(record.score)} times the one from which "
            "a difference counts. No p-value: one picture can't say how often normal ones differ as much."
        ]
    if p is None or basis is None:
        return ["No p-value: nothing was calibrated, so this score can't be compared with normal pictures."]
    sign, most = ("≈", "about") if basis.approximate else ("=", "at most about")
    sentences = [
        f"p {sign} {number(p)}: if this picture were normal, a score this high would come up {most} "
        f"{format_frequency(p)} pictures."
    ]
    if basis.method == "split" and basis.groups == basis.normals:
        above = round(p * (basis.normals + 1)) - 1
        kept = count(basis.normals, "normal picture")
        sentences.append(
            f"{f'{above:,}' if above else 'None'} of the {kept} kept for calibration "
            f"{'score' if above > 1 else 'scores'} this high."
        )
    rate = percent(basis.false_alarm_rate)
    alarm = is_alarm(p, basis.false_alarm_rate)
    which = "asked" if basis.default_rate is None else "lowest supported"
    stands = f"That is {'within' if alarm else 'more than'} the {which} false-alarm rate of {rate}"
    if not basis.reachable:
        sentences.append(explain_unreachable_rate(basis))
    elif record.label == "undecided":
        sentences.append(f"{stands}, but the picture is undecided for another reason.")
    else:
        sentences.append(f"{stands}, so the score raises {'an' if alarm else 'no'} alarm.")
    if basis.reachable and basis.instability > 0:
        sentences.append(
            f"With other normal pictures the decision would have been the opposite in "
            f"{percent(basis.instability)} of resamples."
        )
    return sentences


def explain_unreachable_rate(basis: Calibration) -> str:
    """Say how many normals the asked rate needs."""
    unit = "normal picture" if basis.groups == basis.normals else "group"
    return (
        f"A false-alarm rate of {percent(basis.false_alarm_rate)} needs {count(basis.normals_needed, unit)}; "
        f"there are {basis.groups:,}."
    )


def explain_calibration(basis: Calibration | EventCalibration) -> str:
    """Say what the threshold rests on and how far it can be trusted."""
    if isinstance(basis, EventCalibration):
        return _explain_event_calibration(basis)
    normals = count(basis.normals, "normal picture")
    if basis.groups != basis.normals:
        normals += f" in {count(basis.groups, 'group')}"
    if basis.method == "split":
        text = f"{normals}, kept for calibration only: nothing else has seen them."
    elif basis.method == "jackknife":
        text = (
            f"{normals}, each scored as a new one, without the pictures of the same object (jackknife). "
            "Approximate: exact only where leaving one out hardly changes the memory."
        )
    else:
        text = (
            f"{normals}, each scored by a model that had not seen it (cross-fitting, CV+). "
            "Approximate: the true rate of false alarms is at most about twice the asked one."
        )
    if basis.approximate and basis.method == "split":
        text += " Approximate."
    if not basis.reachable:
        text += " " + explain_unreachable_rate(basis)
    elif basis.default_rate is not None:
        more = count(
            basis.normals_needed - basis.groups,
            "normal picture" if basis.groups == basis.normals else "group",
        )
        text += (
            f" Decided at {percent(basis.false_alarm_rate)}, the least that they support; "
            f"{more} more make {percent(basis.default_rate)}."
        )
    return text


def _explain_event_calibration(basis: EventCalibration) -> str:
    """Say what the threshold rests on and how far it can be trusted."""
    footage = (
        f"{count(basis.blocks, 'block')} of {number(basis.block_seconds)} s of normal footage "
        f"({format_duration(basis.footage_seconds)})"
    )
    rate = number(basis.promised_per_hour, 2)
    events = f"{rate} false {'event' if rate == '1' else 'events'} an hour"
    if basis.supported:
        return f"{footage}; promises at most {events}."
    return (
        f"{footage}; promises no fewer than {events}: learn from more footage for a stricter promise "
        f"(asked for: {number(basis.asked_per_hour, 2)})."
    )


def explain_no_calibration(record: Record) -> str:
    """Say what it means that nothing was calibrated."""
    if record.basis == "reference":
        return "none: the differences from the reference decide."
    return "none: scores can't be compared with those of normal pictures."


def describe_shape(attributes: Attributes) -> str:
    """Describe the form of a region: "elongated 6.2 : 1, 45°"."""
    if attributes.elongation < 1.5 or attributes.orientation is None:
        return f"compact {number(attributes.elongation, 2)} : 1"
    return f"elongated {number(attributes.elongation, 2)} : 1, {attributes.orientation:.0f}°"


def describe_tone(attributes: Attributes) -> str:
    """Describe the brightness against the surroundings: "darker by 23 (2.1 σ)"."""
    if attributes.tone == "same":
        return f"as around ({attributes.contrast:+.0f})".replace("-", "−")
    return (
        f"{attributes.tone} by {abs(attributes.contrast):.0f} ({number(abs(attributes.contrast_sigma), 2)} σ)"
    )


def describe_colour(attributes: Attributes) -> str:
    """Describe the colour against the surroundings: "redder (ΔE 6.1)"."""
    return f"{attributes.colour or 'as around'} (ΔE {number(attributes.colour_shift, 2)})"


def describe_texture(attributes: Attributes) -> str:
    """Describe the texture against the surroundings: "rougher (× 2.1)"."""
    word = "as around" if attributes.texture == "same" else attributes.texture
    return f"{word} (× {number(attributes.texture_ratio, 2)})"


TROUBLES: dict[TroubleKind, str] = {
    "black": "the picture was black",
    "covered": "the camera was covered",
    "frame rate": "the frames came too seldom to follow what moves",
    "frozen": "the picture was frozen",
    "moved": "the camera had been moved",
    "moving": "the camera was moving",
}


def describe_jump(jump: TimeJump) -> str:
    """Say in a few words where the time can't be trusted: "nothing filmed for 1:00:00"."""
    if jump.kind == "restart":
        return "the clock began again"
    if jump.kind == "break" or jump.seconds is None:
        return "the footage breaks off"
    return f"nothing filmed for {format_duration(jump.seconds)}"


def explain_feedback(adjustment: RankAdjustment) -> str:
    """Say how feedback moves the rank, and because of what."""
    if abs(adjustment.value) < 0.005:
        return f"not moved by feedback ({adjustment.reason})"
    way = "up" if adjustment.value > 0 else "down"
    steps = number(abs(adjustment.value), 2)
    return f"{steps} {'step' if steps == '1' else 'of a step'} {way} by feedback ({adjustment.reason})"


def explain_event_rate(event: Event) -> str:
    """Say how often normal footage gets as high as an event."""
    if event.kind == "forbidden zone":
        return "Nothing may be in that zone, so this needs no comparison."
    if event.kind == "activity":
        return "Nothing was learned of this camera: it is compared with the rest of its clip alone."
    if event.false_events_per_hour is None:
        return "No block of the normal footage kept for calibration got this high."
    return f"Normal footage gets this high about {number(event.false_events_per_hour, 2)} times an hour."


def explain_timing(record: ClipRecord) -> str:
    """Say whether scores use the future, and how late they come."""
    if record.mode == "offline":
        return "Offline: each score also uses what comes after it in the clip, so it can't come live."
    late = f", {number(record.latency, 2)} s late" if record.latency else ""
    return f"Causal: each score uses only what came before{late}, as it would live."
