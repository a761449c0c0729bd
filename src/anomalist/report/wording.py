"""Wording of picture reports: counts, sort order, and numbers and decisions in plain sentences.

The same in every report: the HTML templates call these functions as ``w``.
"""

from __future__ import annotations

import math
import os.path
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import Field

from anomalist.storage.files import write_atomically
from anomalist.types.clip import ClipRecord
from anomalist.types.common import SEVERITIES, Frozen, PromptUsed
from anomalist.types.image import Attributes, Calibration, Record, is_alarm

SUMMARY_FORMAT = 1


class Summary(Frozen):
    """Counts of one run. Each picture is counted once among the four outcomes."""

    pictures: int
    anomalous: int
    undecided: int
    normal: int
    errors: int = Field(description="pictures without a verdict")
    by_severity: dict[str, int] = Field(description="of the anomalous, the most severe first")
    by_kind: dict[str, int] = Field(description='of the anomalous, the most frequent first; "unnamed" is one')


def outcome(record: Record) -> str:
    """Give the label, or "error" where there is none: a failure is never normal."""
    return record.label if record.status == "ok" and record.label is not None else "error"


def summarise(records: Sequence[Record]) -> Summary:
    """Count the records by outcome, and the anomalous ones by severity and kind."""
    outcomes = Counter(outcome(record) for record in records)
    anomalous = [record for record in records if outcome(record) == "anomalous"]
    severities = Counter(record.severity or 0 for record in anomalous)
    kinds = Counter(record.kind or "unnamed" for record in anomalous)
    return Summary(
        pictures=len(records),
        anomalous=outcomes["anomalous"],
        undecided=outcomes["undecided"],
        normal=outcomes["normal"],
        errors=outcomes["error"],
        by_severity={SEVERITIES[level]: severities[level] for level in sorted(severities, reverse=True)},
        by_kind=dict(sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


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


def write_report_json(records: Sequence[Record], target: Path) -> Path:
    """Write ``{"format", "summary", "records"}``; the records are in the order given, whole."""
    report = _Report(format=SUMMARY_FORMAT, summary=summarise(records), records=tuple(records))
    return write_atomically(target, report.model_dump_json(indent=1) + "\n")


class _Report(Frozen):
    format: int
    summary: Summary
    records: tuple[Record, ...]


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


def severity_word(record: Record) -> str:
    """Give the word for the severity; a dash where there is none to speak of."""
    return SEVERITIES[record.severity] if record.severity else "–"


def short_names(records: Sequence[Record | ClipRecord]) -> tuple[str, list[str]]:
    """Split sources into the folder that they share ("" if none) and what tells them apart."""
    parents = [str(Path(record.source).parent) for record in records]
    try:
        folder = os.path.commonpath(parents)
        folder = "" if folder == "." else folder
    except ValueError:  # absolute and relative paths, or no records
        folder = ""
    names = [os.path.relpath(record.source, folder) if folder else record.source for record in records]
    return printable(folder), [printable(name) for name in names]


def main_reason(record: Record) -> str:
    """Give the one sentence for a table: why undecided, else what was seen, else what the score says.

    Pictures that are only ranked are all undecided for the same reason: there, what was seen.
    """
    if is_ranked_only(record) and not record.regions:
        return "No single place stands out."
    if outcome(record) == "undecided" and record.why_undecided and not is_ranked_only(record):
        return record.why_undecided
    regions = {region.id for region in record.regions}
    about_regions = (claim.text for claim in record.claims if regions.intersection(claim.evidence))
    return next(about_regions, record.claims[0].text if record.claims else record.error or "")


def headline(summary: Summary) -> str:
    """Say the outcome of the run in one sentence."""
    if not summary.pictures:
        return "No pictures were inspected"
    judged = summary.pictures - summary.errors
    if summary.anomalous:
        verb = "looks" if summary.anomalous == 1 else "look"
        return f"{summary.anomalous:,} of {count(judged, 'picture')} {verb} anomalous"
    if not judged:
        return "No picture could be inspected"
    if judged == 1:
        return "The picture looks normal" if summary.normal else "The picture could not be decided"
    if summary.normal == judged:
        return f"All {judged:,} pictures look normal"
    if summary.undecided == judged:
        return f"None of {judged:,} pictures could be decided"
    return f"None of {judged:,} pictures is called anomalous"


def lead(records: Sequence[Record], summary: Summary) -> str:
    """Say what to look at first and what stays open."""
    sentences = []
    flagged = sort_by_urgency([record for record in records if outcome(record) == "anomalous"])
    if flagged and flagged[0].severity:
        worst = flagged[0]
        where = f" ({worst.regions[0].attributes.position})" if worst.regions else ""
        name = printable(Path(worst.source).name)
        sentences.append(
            f"The most severe is {name}: {severity_word(worst)} {worst.kind or 'anomaly'}{where}."
        )
    if summary.undecided:
        verb = "needs" if summary.undecided == 1 else "need"
        sentences.append(f"{count(summary.undecided, 'picture')} could not be decided and {verb} a person.")
        reasons = {record.why_undecided for record in records if outcome(record) == "undecided"}
        if len(reasons) == 1 and summary.undecided > 1:
            sentences.append(printable(reasons.pop() or ""))
    if summary.errors:
        sentences.append(f"{count(summary.errors, 'file')} could not be inspected.")
    return " ".join(filter(None, sentences))


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
    stands = f"That is {'within' if alarm else 'more than'} the asked false-alarm rate of {rate}"
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


def explain_calibration(basis: Calibration) -> str:
    """Say what the calibration rests on and how far it can be trusted."""
    normals = count(basis.normals, "normal picture")
    if basis.groups != basis.normals:
        normals += f" in {count(basis.groups, 'group')}"
    if basis.method == "split":
        text = f"{normals}, kept for calibration only: nothing else has seen them."
    else:
        text = (
            f"{normals}, each scored by a model that had not seen it (cross-fitting, CV+). "
            "Approximate: the true rate of false alarms is at most about twice the asked one."
        )
    if basis.approximate and basis.method == "split":
        text += " Approximate."
    if not basis.reachable:
        text += " " + explain_unreachable_rate(basis)
    return text


def explain_no_calibration(record: Record) -> str:
    """Say what it means that nothing was calibrated."""
    if record.basis == "reference":
        return "none: the differences from the reference decide."
    return "none: scores can't be compared with those of normal pictures."


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
