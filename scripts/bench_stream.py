"""Soak test: an hour of stream time made of labelled clips, fed as fast as it is taken.

Says frames a second, memory at the beginning and at the end, how many labelled events were alerted to, and
how late. ``--minutes`` is time of the clock: the clips go round until then, and for an hour of stream time at
least.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from anomalist.composition import TriageSettings
from anomalist.eval.clip_datasets import LabelledClip, VideoDataset, read_video_dataset
from anomalist.streaming import LiveAlert, StreamTriage
from anomalist.triage import Triage
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.pacing import ANALYSIS_RATE

STREAM_SECONDS = 3600.0


@dataclass
class Truth:
    """Labelled events in stream time: start, end, and whether it starts inside its clip."""

    events: list[tuple[float, float, bool]] = field(default_factory=list)
    normal_seconds: float = 0.0


def stream(footage: VideoDataset, truth: Truth, minutes: float) -> Iterator[Frame]:
    """The clips one after another, with a cut at each join and times that go on."""
    started, offset, index = time.monotonic(), 0.0, 0
    while offset < STREAM_SECONDS or time.monotonic() - started < 60 * minutes:
        for path, labelled in order(footage):
            video = open_video(path)
            end = offset
            for frame in video.frames(rate=ANALYSIS_RATE):
                end = offset + frame.time
                yield replace(frame, index=index, time=end, cut=frame.index == 0 and index > 0)
                index += 1
            note(truth, labelled, offset, end)
            offset = end + 1 / ANALYSIS_RATE


def order(footage: VideoDataset) -> list[tuple[Path, LabelledClip | None]]:
    """Normal and labelled clips in turn."""
    normal = [(path, None) for path in footage.training]
    tests = [(clip.path, clip) for clip in footage.testing]
    mixed = [each for pair in zip(normal, tests, strict=False) for each in pair]
    return [*mixed, *normal[len(tests) :], *tests[len(normal) :]]


def note(truth: Truth, clip: LabelledClip | None, start: float, end: float) -> None:
    """Record the labels of the clip that was just fed."""
    if clip is None:
        truth.normal_seconds += end - start
        return
    for first, last in clip.events:
        truth.events.append((start + first / ANALYSIS_RATE, start + (last + 1) / ANALYSIS_RATE, first > 0))


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def figures(truth: Truth, alerts: list[LiveAlert]) -> dict[str, float | int | None]:
    """Recall, delay of the alerts, and false ones per hour of normal clips."""
    opened = [alert.stream_time for alert in alerts if alert.state == "opened"]
    first = [next((t for t in opened if start <= t <= end), None) for start, end, _ in truth.events]
    inside = [
        t - event[0] for t, event in zip(first, truth.events, strict=True) if event[2] and t is not None
    ]
    hit = [t for t in first if t is not None]
    covered = [any(s <= t <= e + 2 for s, e, _ in truth.events) for t in opened]
    return {
        "events": len(truth.events),
        "alerted": len(hit),
        "recall": round(len(hit) / max(len(truth.events), 1), 3),
        "starting_inside": sum(event[2] for event in truth.events),
        "starting_inside_alerted": len(inside),
        "median_delay_s": round(statistics.median(inside), 2) if inside else None,
        "alerts": len(opened),
        "false_alerts_per_hour": round(3600 * covered.count(False) / max(truth.normal_seconds, 1), 1),
    }


def main() -> None:
    """Run the soak test on DATA (training/, testing/, labels.csv) and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    footage = read_video_dataset(given.data)
    with tempfile.TemporaryDirectory() as place:
        scene = learn_scene([open_video(path) for path in footage.training], Path(place) / "scene")
    size = open_video(footage.training[0]).size
    truth, alerts, memory = Truth(), [], []
    settings = TriageSettings(scene, model="evidence", memory=False)
    follower = StreamTriage(Triage(settings), "stream", size)
    started, frames = time.monotonic(), 0

    def counted() -> Iterator[Frame]:
        nonlocal frames
        for frame in stream(footage, truth, given.minutes):
            frames += 1
            if frames % 1000 == 0:
                memory.append(memory_mb())
            yield frame

    alerts.extend(follower.follow(counted()))
    seconds = time.monotonic() - started
    result = {
        "stream_seconds": round(frames / ANALYSIS_RATE),
        "clock_seconds": round(seconds),
        "fps": round(frames / seconds, 1),
        "memory_mb_at_first": round(memory[0]),
        "memory_mb_at_last": round(memory[-1]),
        "memory_mb_highest": round(max(memory)),
        **figures(truth, alerts),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
