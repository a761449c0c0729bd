"""Films made for tests: each frame carries its number as 8 black or white blocks in its top row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from anomalist.types.common import UInt8Array
from anomalist.vision.media.frames import Frame

HEIGHT, WIDTH = 64, 80
BLOCK = 8
OPTIONS = {
    "libx264": {"crf": "18", "preset": "veryfast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "13", "svtav1-params": "lp=1"},
}


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> UInt8Array:
    """Return uint8 (height, width, 3): moving waves and noise below, the number above."""
    y, x = np.mgrid[:height, :width]
    waves = 90 + 60 * np.sin((x + 2 * number) / 5) * np.cos(y / 7)
    waves += np.random.default_rng(number).integers(0, 40, (height, width))
    pixels = np.stack([waves, waves * 0.8, 200 - waves], axis=2).astype(np.uint8)
    for bit in range(8):
        pixels[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
    return pixels


def number_of(pixels: UInt8Array) -> int:
    """Read the number in a picture again."""
    middle = BLOCK // 2
    return sum(int(pixels[middle, bit * BLOCK + middle].mean() > 127) << bit for bit in range(8))


def film(
    path: Path,
    pictures: Iterable[UInt8Array] | int = 30,
    *,
    codec: str = "libx264",
    layout: str = "yuv420p",
    rate: int = 25,
    times: Sequence[float] | None = None,
    keys: int = 10,
    b_frames: int = 0,
    rotation: int = 0,
    movflags: str = "faststart",
) -> Path:
    """Encode pictures (a number stands for so many of ``picture``), with times in seconds or a rate."""
    frames = [picture(number) for number in range(pictures)] if isinstance(pictures, int) else list(pictures)
    options = OPTIONS.get(codec, {})
    if codec == "libx264":
        options = options | {"bf": str(b_frames), "x264-params": "scenecut=0"}
    container_options = {"movflags": movflags} if path.suffix in (".mp4", ".mov") and movflags else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = layout
        stream.codec_context.gop_size = keys
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        unit = Fraction(1, rate if times is None else 1000)
        if times is not None:
            stream.codec_context.time_base = unit
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number if times is None else round(times[number] * 1000)
            frame.time_base = unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def joined(path: Path, parts: Sequence[Path], rate: int = 25) -> Path:
    """Put raw H.264 files one after the other into a container, at a constant rate."""
    raw = path.with_suffix(".joined.h264")
    raw.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(raw)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = (packet for packet in source.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            copy = av.Packet(bytes(packet))
            copy.stream, copy.time_base, copy.is_keyframe = stream, Fraction(1, rate), packet.is_keyframe
            copy.pts = copy.dts = number
            container.mux(copy)
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Return where each coded frame of an MP4 lies in the file: (offset, size)."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def spoilt(path: Path, number: int, source: Path) -> Path:
    """Copy a film with the second half of one coded frame zeroed."""
    data = bytearray(source.read_bytes())
    offset, size = packets(source)[number]
    data[offset + size // 2 : offset + size] = bytes(size - size // 2)
    path.write_bytes(data)
    return path


def numbers(frames: Iterable[Frame]) -> list[int]:
    return [number_of(frame.pixels) for frame in frames]


def times_of(frames: Iterable[Frame]) -> list[float]:
    return [round(frame.time, 6) for frame in frames]
