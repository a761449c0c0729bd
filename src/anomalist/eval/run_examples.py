"""Made-up runs to ask about: pictures of three products over three days, and a night of clips.

The evidence is drawn from a seeded generator; verdicts, severities and sentences are made of it by the
evidence reasoner and the policy, so that everything in a record fits together as in a real run.
"""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.policy import load_policy
from anomalist.agent.reasoning.severity import add_severity
from anomalist.records import build_record
from anomalist.storage.run_folder import ClipRunFolder, ImageRunFolder
from anomalist.types.clip import (
    Caption,
    ClipEvidenceSummary,
    ClipMediaSummary,
    ClipRecord,
    ClipVerdict,
    Event,
    EventCalibration,
    Measured,
    MeasureName,
    Track,
    Trouble,
)
from anomalist.types.common import Box, DetectorInfo, MediaSummary, Recall
from anomalist.types.image import Attributes, Calibration, Evidence, KnownKind, Media, Record, Region
from anomalist.vision.attributes import POSITIONS

SIDE = 64
"""Width and height of the made-up pictures, pixels."""

LAST_DAY = datetime.date(2026, 11, 30)
"""Day of the last pictures, unless another is given; the run began two days before."""

PRODUCTS = {"brick": 0.35, "gravel": 0.15, "grass": 0.08}
"""Share of anomalous pictures by product."""

CAMERAS = {"gate": 0.5, "yard": 0.25, "dock": 0.1}
"""Share of clips with events by camera."""

KINDS = ("scratch", "dent", "hole")
_RATE = 0.05


class _Profile(NamedTuple):
    name: str
    digest: str


def picture_records(count: int = 500, seed: int = 0, last_day: datetime.date = LAST_DAY) -> Iterator[Record]:
    """Records of pictures ``parts/PRODUCT/SHIFT/0001.png``, made-up evidence as the reasoner judges it."""
    draw = random.Random(seed)
    reasoner, policy = EvidenceReasoner(), load_policy()
    products = list(PRODUCTS)
    for number in range(count):
        product = products[number % len(products)]
        profile = _Profile(product, f"{products.index(product) + 10:02x}" * 32)
        shift = ("early", "late")[number % 2]
        source = f"parts/{product}/{shift}/{number:04d}.png"
        time = _time_of(number, count, last_day)
        if draw.random() < 0.02:
            yield _unreadable(source, profile, time)
            continue
        media = Media(source, f"{number:064x}", np.zeros((SIDE, SIDE, 3), np.uint8))
        evidence = _evidence(draw, PRODUCTS[product])
        verdict = reasoner.judge(media, evidence, Recall(), policy)
        record = build_record(media, evidence, Recall(), verdict, profile, 10.0)  # type: ignore[arg-type]
        yield record.replace(time=time, key=f"{number:064x}")


def write_picture_run(folder: Path, count: int = 500, seed: int = 0) -> Path:
    """Write the records of pictures as a run folder; returns it. Raises DataError if it can't be written."""
    with ImageRunFolder.open(folder) as run:
        for record in picture_records(count, seed):
            run.append(record)
    return folder


def clip_records(count: int = 40, seed: int = 0) -> Iterator[ClipRecord]:
    """Records of clips ``night/CAMERA/22-00.mp4``, a night of three cameras."""
    draw = random.Random(seed)
    policy = load_policy()
    cameras = list(CAMERAS)
    for number in range(count):
        camera = cameras[number % len(cameras)]
        minute = number // len(cameras) * 30
        source = f"night/{camera}/{(22 + minute // 60) % 24:02d}-{minute % 60:02d}.mp4"
        events: tuple[Event, ...] = ()
        troubles: tuple[Trouble, ...] = ()
        if draw.random() < CAMERAS[camera]:
            starts = sorted(draw.uniform(0, 500) for _ in range(draw.randint(1, 3)))
            events = tuple(
                add_severity(_event(draw, place, start), (), policy) for place, start in enumerate(starts, 1)
            )
        elif draw.random() < 0.1:
            troubles = (Trouble(kind="black", start=0.0, end=550.0),)
        yield _clip(source, camera, events, troubles)


def write_clip_run(folder: Path, count: int = 40, seed: int = 0) -> Path:
    """Write the records of clips as a run folder; returns it. Raises DataError if it can't be written."""
    with ClipRunFolder.open(folder) as run:
        for record in clip_records(count, seed):
            run.append(record)
    return folder


def _time_of(number: int, count: int, last_day: datetime.date) -> str:
    day = last_day - datetime.timedelta(days=2 - 3 * number // count)
    time = datetime.time(6 + number % 12, number % 60)
    return datetime.datetime.combine(day, time, datetime.UTC).isoformat()


def _unreadable(source: str, profile: _Profile, time: str) -> Record:
    return Record(
        media=MediaSummary(source=source),
        status="error",
        error=f"{source} is damaged: the file ends too early.",
        profile=profile.name,
        profile_digest=profile.digest,
        time=time,
    )


def _evidence(draw: random.Random, anomalous_share: float) -> Evidence:
    anomalous = draw.random() < anomalous_share
    unstable = not anomalous and draw.random() < 0.06
    p = draw.uniform(0.005, 0.04) if anomalous else draw.uniform(0.06, 1.0)
    score = 3.0 + (draw.expovariate(0.5) if anomalous else -draw.uniform(0.2, 2.0))
    regions = tuple(_region(draw, place) for place in range(1, draw.randint(2, 4))) if anomalous else ()
    calibration = Calibration(
        method="split",
        normals=200,
        groups=200,
        false_alarm_rate=_RATE,
        reachable=True,
        normals_needed=19,
        instability=0.41 if unstable else 0.01,
        approximate=False,
        seed=0,
    )
    return Evidence(
        detector=DetectorInfo(name="surface", digest="cd" * 32),
        score=round(score, 3),
        score_map=np.zeros((SIDE, SIDE), np.float32),
        mask=np.zeros((SIDE, SIDE), np.bool_),
        roi_area=SIDE**2,
        p_value=round(p, 3),
        threshold=3.0,
        calibration=calibration,
        regions=regions,
    )


def _region(draw: random.Random, number: int) -> Region:
    side = draw.choice((3, 5, 8, 16, 24))
    x0, y0 = draw.randint(0, SIDE - side), draw.randint(0, SIDE - side)
    box: Box = (x0, y0, x0 + side, y0 + side)
    known = draw.choice((None, *KINDS))
    row, column = (min(2, 3 * (2 * start + side) // (2 * SIDE)) for start in (y0, x0))
    tone = draw.choice((-1.0, 1.0))
    return Region(
        id=f"R{number}",
        box=box,
        area=side * side,
        peak=round(5.0 / number + draw.random(), 3),
        mean=1.0,
        attributes=Attributes(
            position=POSITIONS[row][column],
            relative_size=side * side / SIDE**2,
            elongation=round(draw.uniform(1.0, 9.0), 2),
            orientation=round(draw.uniform(0, 179), 1),
            contrast=round(tone * draw.uniform(8, 60), 1),
            contrast_sigma=round(tone * draw.uniform(1, 4), 2),
            tone="darker" if tone < 0 else "lighter",
            colour_shift=1.0,
            texture_ratio=round(math.exp(draw.uniform(-0.5, 0.5)), 3),
            texture="same",
        ),
        known=None if known is None else KnownKind(name=known, similarity=0.9, cases=(f"case:{known}/1",)),
    )


def _event(draw: random.Random, number: int, start: float) -> Event:
    kind: MeasureName = draw.choice(("speed", "dwell", "size", "forbidden zone", "direction"))
    start, end = round(start, 1), round(start + draw.uniform(2, 90), 1)
    ratio = round(draw.uniform(1.2, 6.0), 1)
    where = draw.choice(("on the left", "in the centre", "on the right"))
    words = {
        "speed": ("a fast object", "crosses the picture"),
        "dwell": ("an object", "stays for long"),
        "size": ("a large object", "moves along"),
        "forbidden zone": ("a person", "enters the forbidden zone"),
        "direction": ("an object", "moves against the usual direction"),
    }
    subject, action = words[kind]
    track = Track(
        id="T1",
        start=start,
        end=end,
        path=((start, (10, 40, 22, 60)), (end, (60, 40, 72, 60))),
        speed=20.0,
        speed_ratio=ratio,
        height=20.0,
        size_ratio=1.2,
        direction="from left to right",
    )
    return Event(
        id=f"E{number}",
        start=start,
        end=end,
        peak=round((start + end) / 2, 1),
        score=round(draw.uniform(1.05, 4.0), 2),
        false_events_per_hour=None,
        kind=kind,
        measures=(Measured(name=kind, surprise=1.5, value=ratio),),
        tracks=(track,),
        box=(30, 40, 42, 60),
        caption=Caption(
            text=f"{subject.capitalize()} {action} {where}.",
            subject=subject,
            action=action,
            when=f"{start:g} s to {end:g} s",
            where=where,
        ),
    )


def _clip(source: str, camera: str, events: tuple[Event, ...], troubles: tuple[Trouble, ...]) -> ClipRecord:
    why = "Only 8% of the clip could be judged (camera: black)." if troubles else None
    calibration = EventCalibration(
        blocks=240,
        block_seconds=15,
        footage_seconds=3600,
        asked_per_hour=1,
        promised_per_hour=1.0,
        supported=True,
    )
    return ClipRecord(
        media=ClipMediaSummary(source=source, width=128, height=96, duration=600.0),
        status="ok",
        evidence=ClipEvidenceSummary(
            events=events,
            troubles=troubles,
            frames=6000,
            threshold=1.0,
            latency=0.0,
            calibration=calibration,
            detector=DetectorInfo(name="motion", digest="ef" * 32),
        ),
        verdict=ClipVerdict(
            label="anomalous" if events else "undecided" if troubles else "normal", why_undecided=why
        ),
        scene=camera,
        scene_digest="ab" * 32,
        time="2026-11-30T06:30:00+00:00",
    )
