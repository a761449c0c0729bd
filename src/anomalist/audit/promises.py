"""What a promise is worth: the asked false-alarm rate against what came out where people gave truth.

Truth comes from feedback and reviews. People look at alarms more often than at the rest, so both are counted
apart and put together by how many there are of each. Intervals are Clopper and Pearson's (1934), exact for
any number of answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anomalist.audit.drift import LEVEL, drift_test, online_p_values
from anomalist.audit.log import audit_folder
from anomalist.audit.reading import LogEntry, Period, read_entries
from anomalist.audit.stores import kept_profile_path
from anomalist.errors import AnomalistError
from anomalist.types.image import is_alarm
from anomalist.types.shift import InputShift

if TYPE_CHECKING:
    from anomalist.vision.profile import Profile
    from anomalist.vision.shift.model import InputModel

CONFIDENCE = 0.95
Truth = Literal["normal", "anomalous"]


@dataclass(frozen=True)
class Interval:
    """A share with its interval; ``of`` is the number of cases behind it."""

    share: float | None
    low: float
    high: float
    of: int

    def __str__(self) -> str:
        if self.share is None:
            return "unknown"
        return f"{100 * self.share:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f} %, n = {self.of})"


def clopper_pearson(hits: int, of: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a share of ``hits`` in ``of`` cases; 0 to 1 where there is none."""
    from scipy.stats import beta

    if not 0 <= hits <= of:
        raise ValueError(f"{hits} of {of} is no share")
    if of == 0:
        return Interval(None, 0.0, 1.0, 0)
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(1 - tail, hits + 1, of - hits))
    return Interval(hits / of, low, high, of)


@dataclass(frozen=True)
class Decided:
    """One decision on a picture, with what people say it is."""

    entry: int
    time: str
    source: str
    sha256: str | None
    label: str | None
    score: float | None
    p_value: float | None
    threshold: float | None
    rate: float | None
    rules: tuple[str, ...]
    opinions: Mapping[str, str]
    error: bool
    truth: Truth | None
    input_shift: InputShift | None = None

    @property
    def alarm(self) -> bool:
        """Whether its p-value is at or under the asked rate."""
        return self.p_value is not None and self.rate is not None and is_alarm(self.p_value, self.rate)

    @property
    def moment(self) -> tuple[int, str]:
        """Position of its entry, and its time."""
        return self.entry, self.time


@dataclass(frozen=True)
class DriftFound:
    """Whether pictures are still like the normal ones, by score or as wholes, and from which one on not.

    Parameters
    ----------
    since, noticed : (position of the entry, its time) of the likely beginning, and of the alarm.
    capital : natural logarithm of the highest capital of the test of scores.
    words : what drifted of pictures as wholes (light, colour, sharpness, position), and since which picture
        of this version; empty without drift.
    """

    tested: int
    since: tuple[int, str] | None = None
    noticed: tuple[int, str] | None = None
    capital: float | None = None
    words: str = ""


@dataclass(frozen=True)
class RuleRecord:
    """How often a rule was recalled, and on how many of those people say that nothing is wrong."""

    rule: str
    hits: int
    known: int
    false: int


@dataclass(frozen=True)
class Promise:
    """What one version of a profile promised in a period, and what came out.

    Parameters
    ----------
    promised : the asked false-alarm rate; None where nothing was calibrated.
    false_alarms : share of normal pictures that were alarms.
    false_among_alarms, missed_among_quiet : what the two rest on.
    missed : share of pictures without an alarm that are anomalous.
    kept : None where the interval decides neither way.
    drift, quiet_drift : of all scores, and of those below the threshold.
    input_drift : of the pictures as a whole, over all runs.
    """

    profile: str
    digest: str
    first: str
    last: str
    pictures: int
    alarms: int
    undecided: Interval
    errors: int
    promised: float | None
    false_alarms: Interval
    false_among_alarms: Interval
    missed_among_quiet: Interval
    kept: bool | None
    drift: DriftFound | None
    quiet_drift: DriftFound | None
    input_drift: DriftFound | None = None
    rules: tuple[RuleRecord, ...] = ()
    agreement: Mapping[str, Interval] = field(default_factory=dict)


def read_decisions(
    folder: Path | None = None, *, profile: str = "", since: str = "", until: str = ""
) -> dict[tuple[str, str], list[Decided]]:
    """Decisions on pictures by (profile, digest), in the order of the log, with the truth known by now."""
    place = audit_folder() if folder is None else folder
    entries: list[LogEntry] = []
    said: list[LogEntry] = []
    period = Period(since, until)
    for entry in read_entries(place, kinds=("inspection", "feedback", "review")):
        if entry.kind == "inspection":
            if entry.body is not None and period.holds(entry.time):
                entries.append(entry)
        else:
            said.append(entry)
    truth = said_truth(said)
    found: dict[tuple[str, str], list[Decided]] = {}
    for entry in entries:
        record = entry.content.get("record") or {}
        name, digest = str(record.get("profile")), str(record.get("profile_digest"))
        if not profile or name == profile:
            found.setdefault((name, digest), []).append(_decided(entry, record, truth))
    return found


def said_truth(entries: Iterable[LogEntry]) -> dict[str, Truth]:
    """What files are by feedback and reviews, by their hash: the last word on each that is not taken back."""
    said: dict[str, dict[str, Truth]] = {}
    for entry in entries:
        content = entry.content
        if entry.kind == "review":
            by, sha256, truth = f"review {entry.position}", content.get("sha256"), content.get("answer")
        else:
            case = content.get("case") or {}
            by, sha256, truth = str(case.get("id")), case.get("sha256"), _case_truth(case)
        if sha256 and truth in ("normal", "anomalous"):
            words = said.setdefault(str(sha256), {})
            words.pop(by, None)
            if not content.get("undone"):
                words[by] = truth
    return {sha256: [*words.values()][-1] for sha256, words in said.items() if words}


def _case_truth(case: Mapping[str, Any]) -> Truth | None:
    """What a case says the picture is; None where it says nothing of the whole of one."""
    if case.get("media") != "picture":
        return None
    if case.get("severity") == 0:
        return None if case.get("part") else "normal"  # one region is fine: that says nothing of the others
    return "anomalous" if case.get("action") in ("confirmed", "corrected") else None


def _decided(entry: LogEntry, record: Mapping[str, Any], truth: Mapping[str, Truth]) -> Decided:
    calibration = record.get("calibration") or {}
    recalled = [str(item.get("id")) for item in record.get("recall") or ()]
    shift = record.get("input_shift")
    return Decided(
        entry=entry.position,
        time=entry.time,
        source=str(record.get("source")),
        sha256=record.get("sha256"),
        label=record.get("label"),
        score=record.get("score"),
        p_value=record.get("p_value"),
        threshold=record.get("threshold"),
        rate=calibration.get("false_alarm_rate"),
        rules=tuple(id_ for id_ in recalled if id_.startswith("rule:")),
        opinions={str(each.get("by")): str(each.get("label")) for each in record.get("opinions") or ()},
        error=record.get("status") == "error",
        truth=truth.get(str(record.get("sha256"))),
        input_shift=InputShift.model_validate(shift) if shift else None,
    )


def weigh_promises(
    folder: Path | None = None, *, profile: str = "", since: str = "", until: str = ""
) -> tuple[Promise, ...]:
    """What each version of each profile promised and kept, in the order in which they were used."""
    place = audit_folder() if folder is None else folder
    found = read_decisions(place, profile=profile, since=since, until=until)

    def weighed(name: str, digest: str, decided: Sequence[Decided]) -> Promise:
        stored = stored_profile(place, name, digest)
        inputs = None if stored is None else stored.inputs
        return weigh(name, digest, decided, calibration_scores(stored), inputs)

    return tuple(weighed(*version, decided) for version, decided in found.items())


def stored_profile(folder: Path, name: str, digest: str) -> Profile | None:
    """The version of a profile that decisions rest on; None where it is gone, changed or of several."""
    from anomalist.vision.profile import PROFILE_KIND, load_profile

    path = kept_profile_path(folder, digest, name)
    if not PROFILE_KIND.is_at(path):
        return None
    try:
        loaded = load_profile(path)
    except AnomalistError:
        return None
    return loaded if loaded.digest == digest else None


def calibration_scores(stored: Profile | None) -> tuple[float, ...]:
    """Scores of the calibration normals of a stored profile; none where it is not there."""
    return () if stored is None else tuple(stored.calibration.scores.tolist())


def weigh(
    name: str,
    digest: str,
    decided: Sequence[Decided],
    calibration: Sequence[float],
    inputs: InputModel | None = None,
) -> Promise:
    """Compare what one version of a profile promised with what came out.

    A picture counts once, by the last decision on it; drift is looked for in all decisions. ``calibration``
    are the scores of its normals, ``inputs`` what they are like as a whole.
    """
    every = [each for each in decided if not each.error]
    # One picture that was inspected ten times says what one says.
    once = [*{each.sha256 or f"entry {each.entry}": each for each in decided}.values()]
    judged = [each for each in once if not each.error]
    alarms = [each for each in judged if each.alarm]
    quiet = [each for each in judged if not each.alarm]
    promised = max((each.rate for each in judged if each.rate is not None), default=None)
    false = clopper_pearson(*_count(alarms, "normal"))
    missed = clopper_pearson(*_count(quiet, "anomalous"))
    rate = false_alarm_rate(len(alarms), len(quiet), false, missed)
    return Promise(
        profile=name,
        digest=digest,
        first=decided[0].time,
        last=decided[-1].time,
        pictures=len(once),
        alarms=len(alarms),
        undecided=clopper_pearson(sum(each.label == "undecided" for each in judged), len(judged)),
        errors=len(once) - len(judged),
        promised=promised,
        false_alarms=rate,
        false_among_alarms=false,
        missed_among_quiet=missed,
        kept=_kept(rate, promised),
        drift=find_drift(every, calibration),
        quiet_drift=find_drift(
            [each for each in every if not each.alarm], calibration, below=_threshold(every)
        ),
        input_drift=None if inputs is None else find_input_drift(every, inputs),
        rules=tuple(_rule_records(judged)),
        agreement=_agreement(judged),
    )


def _count(decided: Iterable[Decided], truth: Truth) -> tuple[int, int]:
    known = [each.truth for each in decided if each.truth is not None]
    return sum(each == truth for each in known), len(known)


def false_alarm_rate(
    alarms: int, quiet: int, false: Interval, missed: Interval, *, strict: bool = False
) -> Interval:
    """Share of normal pictures that were alarms, from what is known among alarms and among the rest.

    Parameters
    ----------
    alarms, quiet : number of pictures with and without an alarm.
    false : share of the alarms that are false.
    missed : share of the rest that is anomalous. Where nobody looked it is taken as 0; with ``strict`` as
        unknown, and its whole interval counts.
    """
    if alarms == 0:
        return Interval(0.0 if quiet else None, 0.0, clopper_pearson(0, quiet).high, quiet)
    believed = missed.share or 0.0
    low, high = (missed.low, missed.high) if strict else (believed, believed)

    def rate(share: float, overlooked: float) -> float:
        normal = alarms * share + quiet * (1 - overlooked)
        return alarms * share / normal if normal else 1.0

    share = None if false.share is None else rate(false.share, believed)
    return Interval(share, rate(false.low, low), rate(false.high, high), false.of)


def _kept(rate: Interval, promised: float | None) -> bool | None:
    if promised is None:
        return None
    if rate.high <= promised:
        return True
    return False if rate.low > promised else None


def _threshold(judged: Sequence[Decided]) -> float | None:
    return next((each.threshold for each in reversed(judged) if each.threshold is not None), None)


def find_drift(
    decided: Sequence[Decided], calibration: Sequence[float], below: float | None = None
) -> DriftFound | None:
    """Test scores against those of calibration, picture after picture; None where there is nothing to test.

    With ``below`` only scores under it are compared, of both: alarms then do not count as drift.
    """
    known = [each for each in decided if each.score is not None and (below is None or each.score <= below)]
    normals = [score for score in calibration if below is None or score <= below]
    if len(normals) < 2 or not known:
        return None
    p_values = online_p_values(normals, [each.score for each in known if each.score is not None])
    test = drift_test(p_values, LEVEL / 2)  # two tests of one promise

    def moment(at: int | None) -> tuple[int, str] | None:
        return None if at is None else known[at].moment

    return DriftFound(len(known), moment(test.began), moment(test.alarm), float(test.log_capital.max()))


def find_input_drift(decided: Sequence[Decided], inputs: InputModel) -> DriftFound | None:
    """Test the pictures as a whole against the normal ones, over all runs; None where none was measured.

    A run is tested by itself while it goes on. One picture a run, or a change that is slow against the
    length of a run, shows here only.
    """
    from anomalist.vision.shift.run_test import RunTest

    known = [(each, each.input_shift) for each in decided if each.input_shift is not None]
    if not known:
        return None
    test = RunTest(inputs)
    for _, shift in known:
        drift = test.observe(shift)
        if drift is not None:
            since, noticed = (known[number - 1][0].moment for number in (drift.since, drift.noticed))
            return DriftFound(len(known), since, noticed, words=drift.words)
    return DriftFound(len(known))


def _rule_records(judged: Sequence[Decided]) -> Iterable[RuleRecord]:
    hits = Counter(rule for each in judged for rule in set(each.rules))
    for rule, count in sorted(hits.items()):
        false, known = _count((each for each in judged if rule in each.rules), "normal")
        yield RuleRecord(rule, count, known, false)


def _agreement(judged: Sequence[Decided]) -> dict[str, Interval]:
    """How often detector, model and people say the same, by pair."""
    pairs: dict[str, list[bool]] = {}
    for each in judged:
        voices = dict(each.opinions) or ({"detector": each.label} if each.label else {})
        model = next((label for by, label in voices.items() if by != "detector"), None)
        detector = voices.get("detector")
        for name, one, other in (
            ("detector and model", detector, model),
            ("detector and people", detector, each.truth),
            ("model and people", model, each.truth),
            ("verdict and people", each.label, each.truth),
        ):
            if one in ("normal", "anomalous") and other in ("normal", "anomalous"):
                pairs.setdefault(name, []).append(one == other)
    return {name: clopper_pearson(sum(same), len(same)) for name, same in pairs.items()}


# The planner


@dataclass(frozen=True)
class Plan:
    """What a number of normals supports.

    Parameters
    ----------
    lowest : the lowest false-alarm rate.
    realised : interval of the rate that one calibration gives in truth, at the lowest rate at or above the
        asked one (beta distribution; Vovk 2012).
    """

    normals: int
    lowest: float
    asked: float
    reachable: bool
    realised: tuple[float, float] | None
    needed: int


def plan_normals(normals: int, rate: float) -> Plan:
    """Say what a number of normals, or independent groups, supports at an asked rate."""
    from scipy.stats import beta

    from anomalist.vision.calibration import groups_needed, lowest_rate

    if normals < 1 or not 0 < rate < 1:
        raise ValueError(f"no plan for {normals} normals at a rate of {rate}")
    lowest = lowest_rate(normals)
    rank = (normals + 1) * rate * (1 + 1e-9)
    realised = None
    if rank >= 1:
        tail = (1 - CONFIDENCE) / 2
        low, high = (float(beta.ppf(each, rank, normals + 1 - rank)) for each in (tail, 1 - tail))
        realised = (low, high)
    return Plan(normals, lowest, rate, rank >= 1, realised, groups_needed(rate))


def next_steps(normals: int, rate: float) -> tuple[Plan, ...]:
    """What more normals would buy: at the number needed, and at one and a half, two, four and eight times."""
    needed = plan_normals(normals, rate).needed
    counts = sorted({normals, needed, *(round(normals * factor) for factor in (1.5, 2, 4, 8))})
    return tuple(plan_normals(count, rate) for count in counts if count >= normals)


def footage_hours(false_events_per_hour: float) -> float:
    """Hours of normal footage that an asked number of false events per hour needs."""
    if not false_events_per_hour > 0:
        raise ValueError(f"no plan for {false_events_per_hour} false events per hour")
    return 1 / false_events_per_hour
