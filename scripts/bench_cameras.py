"""Several live cameras at once: do all keep up, is memory flat, and how late are alerts?

Streams of 360×240 at 10 frames a second are served as motion JPEG by processes of their own, as by cameras:
normal clips, labelled ones in between, without end. Says frames taken and passed over, alerts and how long
after the beginning of a labelled event and after the frame that gave them they came, processor time a frame,
and memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from threading import Thread
from typing import Any

from anomalist.cameras.camera_set import CameraSet
from anomalist.cameras.listing import Camera
from anomalist.composition import TriageSettings
from anomalist.eval.clip_datasets import read_video_dataset
from anomalist.triage import Triage
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.pacing import ANALYSIS_RATE

SIZE = 360, 240  # width and height that are sent


Clip = tuple[Path, tuple[tuple[int, int], ...]]
"""A clip, and the first and last frame of each labelled event that begins inside it."""


def pictures(clips: list[Clip]) -> Iterator[tuple[bytes, float | None]]:
    """The frames of clips as JPEG, with the seconds of the event that begins there."""
    import cv2

    for path, events in clips:
        for frame in open_video(path).frames(rate=ANALYSIS_RATE):
            pixels = cv2.resize(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR), SIZE)
            number = round(frame.time * ANALYSIS_RATE)
            begins = [(last - first + 1) / ANALYSIS_RATE for first, last in events if first == number]
            yield (
                bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]),
                max(begins, default=None),
            )


def serve(name: str, clips: list[Clip], told: multiprocessing.SimpleQueue[Any]) -> None:
    """A camera: one motion JPEG stream, each picture at its time. Tells its port, then (name, start, end).

    Pictures are encoded before the first is sent: no camera encodes on the machine that watches it.
    """
    encoded = list(pictures(clips))
    server = socket.create_server(("127.0.0.1", 0))
    told.put(server.getsockname()[1])
    while True:
        connection, _ = server.accept()
        with suppress(OSError), connection:
            connection.recv(65536)
            head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"
            connection.sendall(head)
            due = time.monotonic()
            for data, lasting in cycle(encoded):
                time.sleep(max(0.0, due - time.monotonic()))
                due += 1 / ANALYSIS_RATE
                part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                connection.sendall(part.encode() + data + b"\r\n")
                if lasting is not None:
                    told.put((name, time.time(), time.time() + lasting))


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Follow the cameras for so many minutes and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cameras", type=int, default=4)
    given = parser.parse_args()
    footage = read_video_dataset(given.data)
    clips: list[Clip] = [(path, ()) for path in footage.training]
    for clip in footage.testing:
        clips.append((clip.path, tuple(event for event in clip.events if event[0] > 0)))
    told: multiprocessing.SimpleQueue[Any] = multiprocessing.SimpleQueue()
    served = []
    for number in range(given.cameras):
        name, own = f"cam{number + 1}", clips[number :: given.cameras]
        process = multiprocessing.Process(target=serve, args=(name, own, told), daemon=True)
        process.start()
        served.append((name, process, told.get()))
    with tempfile.TemporaryDirectory() as place:
        scene = learn_scene([open_video(path) for path in footage.training], Path(place) / "scene")
    triage = Triage(TriageSettings(scene, model="evidence", memory=False, mode="causal"))
    cameras = [
        Camera(name=name, source=f"http://127.0.0.1:{port}/video", profile="scene")
        for name, _, port in served
    ]
    result, alerts = followed(cameras, triage, 60 * given.minutes)
    events = []
    while not told.empty():
        events.append(told.get())
    delays = [
        max(0.0, min(begun) - start)
        for name, start, end in events
        if (
            begun := [
                first for camera, first, last in alerts if camera == name and first <= end and last >= start
            ]
        )
    ]
    result["events_beginning"] = len(events)
    result["events_alerted"] = len(delays)
    result["already_alerting"] = delays.count(0.0)
    later = sorted(delay for delay in delays if delay)
    result["delay_s_of_the_others"] = [round(delay, 1) for delay in later]
    print(json.dumps(result))
    for _, process, _ in served:
        process.terminate()


class Lag(Thread):
    """Samples how far the scoring of each camera is behind what arrived, and memory."""

    def __init__(self, watched: CameraSet) -> None:
        super().__init__(daemon=True)
        self._watched = watched
        self.samples: dict[str, list[float]] = {}
        self.memory: list[float] = []

    def run(self) -> None:
        """Sample until the process ends."""
        while True:
            for status in self._watched.statuses():
                if status.frames:
                    behind = time.monotonic() - status.stream_time
                    self.samples.setdefault(status.name, []).append(behind)
            self.memory.append(memory_mb())
            time.sleep(0.1)

    def most(self) -> dict[str, float]:
        """The 99th percentile of each camera, seconds: over its smallest, at which nothing waited."""
        cut = {name: sorted(values)[int(0.99 * len(values))] for name, values in self.samples.items()}
        return {name: round(high - min(self.samples[name]), 2) for name, high in cut.items()}


def followed(
    cameras: list[Camera], triage: Triage, seconds: float
) -> tuple[dict[str, Any], list[tuple[str, float, float]]]:
    """Follow cameras for so many seconds; returns the figures, and each alert: whose, from when, to when."""
    alerts: list[tuple[str, float, float]] = []
    opened: dict[tuple[str, str], float] = {}
    states: Counter[str] = Counter()
    with CameraSet(cameras, {camera.name: triage for camera in cameras}) as watched:
        lag = Lag(watched)
        lag.start()
        began, busy = time.monotonic(), processor_seconds()
        for alert in watched.alerts():
            states[alert.state] += 1
            key = str(alert.camera), str(alert.event.id if alert.event else "")
            if alert.state == "opened":
                opened[key] = time.time()
            elif alert.state == "closed" and key in opened:
                alerts.append((key[0], opened.pop(key), time.time()))
            if time.monotonic() - began > seconds:
                break
        taken = time.monotonic() - began
        busy = processor_seconds() - busy
        statuses = watched.statuses()
    frames = sum(status.frames for status in statuses)
    at = [len(lag.memory) // 10, len(lag.memory) // 2, -1]
    result: dict[str, Any] = {
        "clock_seconds": round(taken),
        "fps_by_camera": [round(status.frames / taken, 2) for status in statuses],
        "passed_over": [status.passed_over for status in statuses],
        "processor_ms_a_frame": round(1000 * busy / max(frames, 1), 1),
        "scoring_ms_a_frame": round(1000 * sum(status.seconds for status in statuses) / max(frames, 1), 1),
        "load": round(os.getloadavg()[0], 1),
        "alerts": dict(states),
        "lag_s_99th_percentile": lag.most(),
        "memory_mb_at_a_tenth_half_and_end": [round(lag.memory[place]) for place in at],
    }
    alerts += [(camera, since, time.time()) for (camera, _), since in opened.items()]
    return result, alerts


def processor_seconds() -> float:
    """Processor time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
