"""Single frames and short clips out of a video, for reports."""

from __future__ import annotations

import contextlib
import itertools
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from anomalist.errors import MediaError
from anomalist.vision.media import shown
from anomalist.vision.video.frames import Frame, Video

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

LONGEST_SIDE = 960
TICKS = 60_000  # a second; MPEG-4 allows no more than 65,535
ENCODERS = ("libx264", "libopenh264", "mpeg4")


def frame_at(video: Video, time: float) -> Frame:
    """Return the first frame at or after a time in seconds; past the end the last one.

    Raises
    ------
    MediaError
        If no frame can be read there or before.
    """
    for frame in video.frames(start=time):
        return frame
    for lead in (2.0, 20.0, time):  # not all from the beginning when the end is near
        last = None
        for frame in video.frames(start=time - lead):
            last = frame
        if last is not None:
            return last
    raise MediaError(f'No frame of "{shown(video.source)}" can be read at {time:.1f} s.', "Ask for another.")


def cut_clip(source_video: Video, start: float, stop: float, path: str | Path) -> None:
    """Write the frames with start ≤ time < stop (seconds) as a small MP4 that browsers play.

    H.264, or MPEG-4 (which browsers don't play) where there is no encoder for it; yuv420p, the longer side at
    most ``LONGEST_SIDE`` pixels, both sides even, the index in front, times kept. A file that is there is
    replaced once the new one is complete.

    Raises
    ------
    MediaError
        If there is no frame in that range, or the file can't be written.
    """
    import av

    target = Path(path)
    part = target.with_name(f"{target.name}.part")
    frames = source_video.frames(start, stop)
    first = next(frames, None)
    if first is None:
        raise MediaError(
            f'"{shown(source_video.source)}" has no frames from {start:.1f} to {stop:.1f} s.',
            "Choose another range.",
        )
    try:
        with av.open(f"file:{part}", "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream = _stream(container, first)
            for frame in itertools.chain([first], frames):
                container.mux(stream.encode(_picture(frame, stream, first.time)))
            container.mux(stream.encode())
        part.replace(target)
    except (av.FFmpegError, OSError) as error:
        detail = shown(getattr(error, "strerror", None) or str(error))
        raise MediaError(
            f'The clip "{shown(target)}" can\'t be written: {detail}.', "Check its folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _stream(container: OutputContainer, first: Frame) -> VideoStream:
    """Add a stream for frames of this size, made smaller and even."""
    stream = cast("VideoStream", container.add_stream(_encoder(), rate=30))
    height, width, _ = first.pixels.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    stream.height, stream.width = (max(2, round(side * scale / 2) * 2) for side in (height, width))
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, TICKS)
    if stream.codec_context.name == "libx264":
        stream.codec_context.options = {"crf": "26", "preset": "veryfast"}
    return stream


def _encoder() -> str:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    for name in ENCODERS[:-1]:
        with contextlib.suppress(UnknownCodecError):
            return Codec(name, "w").name
    return ENCODERS[-1]


def _picture(frame: Frame, stream: VideoStream, zero: float) -> VideoFrame:
    from av import VideoFrame

    picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24")
    picture = picture.reformat(width=stream.width, height=stream.height, format="yuv420p")
    picture.pts = round((frame.time - zero) * TICKS)
    picture.time_base = Fraction(1, TICKS)
    return picture
