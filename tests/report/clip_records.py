"""Made-up records of clips, and small films to go with them."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from anomalist.types.clip import Caption, ClipRecord, Event, EventCalibration, Measured, Track, Trouble
from anomalist.types.common import Box, Claim, DetectorInfo

HEIGHT, WIDTH = 96, 128
NASTY = "<img src=x onerror=alert(1)> & 'quoted' | `code` 検査.mp4"


def track(name: str = "T1", box: Box = (10, 40, 22, 60), **fields: Any) -> Track:
    """An object that moves to the right by 4 pixels a step."""
    x0, y0, x1, y1 = box
    start = fields.get("start", 1.0)
    path = tuple((start + i / 5, (x0 + 4 * i, y0, x1 + 4 * i, y1)) for i in range(6))
    known: dict[str, Any] = {
        "start": start,
        "end": start + 1,
        "path": path,
        "speed": 20.0,
        "speed_ratio": 2.5,
        "height": 20.0,
        "size_ratio": 1.2,
        "direction": "from left to right",
    }
    return Track(id=name, **(known | fields))


def event(name: str = "E1", start: float = 1.0, end: float = 2.0, **fields: Any) -> Event:
    known: dict[str, Any] = {
        "peak": (start + end) / 2,
        "score": 1.5,
        "false_events_per_hour": None,
        "kind": "speed",
        "measures": (Measured(name="speed", surprise=1.5, value=2.5, unit="of the limit there"),),
        "tracks": (track(start=start),),
        "box": (18, 40, 30, 60),
        "caption": Caption(
            text="A fast object moves from left to right on the left.",
            subject="a fast object",
            action="moves from left to right",
            when=f"{start} s to {end} s",
            where="on the left",
        ),
        "severity": 2,
        "claims": (Claim(text="A fast object, see T1.", evidence=(name, "T1")),),
    }
    return Event(id=name, start=start, end=end, **(known | fields))


def clip(source: str = "yard.mp4", *events: Event, **fields: Any) -> ClipRecord:
    known: dict[str, Any] = {
        "status": "ok",
        "label": "anomalous" if events else "normal",
        "events": events,
        "width": WIDTH,
        "height": HEIGHT,
        "duration": 10.0,
        "frames": 100,
        "threshold": 0.5,
        "latency": 0.0,
        "calibration": EventCalibration(
            blocks=53,
            block_seconds=5,
            footage_seconds=265,
            asked_per_hour=1,
            promised_per_hour=40 / 3,
            supported=False,
        ),
        "curve": tuple((t / 10, None if t == 0 else 0.1 + (t % 30) / 20) for t in range(100)),
        "detector": DetectorInfo(name="motion", digest="cd" * 32),
        "scene": "yard",
        "scene_digest": "ab" * 32,
        "time": "2026-03-02T09:00:00+00:00",
    }
    return ClipRecord(source=source, **(known | fields))


def failed(source: str = "broken.mp4") -> ClipRecord:
    return ClipRecord(source=source, status="error", error="This is <not> a video.", scene="yard")


def dark(source: str = "dark.mp4") -> ClipRecord:
    return clip(
        source,
        label="undecided",
        why_undecided="Only 10% of the clip could be judged (camera: black).",
        troubles=(Trouble(kind="black", start=1.0, end=9.9),),
        curve=tuple((t / 10, 0.1 if 0 < t < 10 else None) for t in range(100)),
    )


def film(path: Path, seconds: float = 3.0, rate: int = 10) -> str:
    """Write a small film of a bright thing that moves to the right; return the SHA-256 of the file."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(round(seconds * rate)):
            pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            pixels[40:60, 2 * number : 2 * number + 12] = 230
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return hashlib.sha256(path.read_bytes()).hexdigest()
