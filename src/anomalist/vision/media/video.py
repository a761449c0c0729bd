"""Open any video source (`open_video`), take a single frame, and write short MP4 clips for reports."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from anomalist.errors import MediaError
from anomalist.storage.files import staged_file
from anomalist.types.common import UInt8Array
from anomalist.vision.media.files import FrameFolder, VideoFile
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.media.images import one_line
from anomalist.vision.media.sources import is_url

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream


def open_video(source: str | Path, *, rate_of_folder: float = 10.0, give_up: float = 60.0) -> Video:
    """Open a source of frames.

    Parameters
    ----------
    source : a file (recognised by content), a folder of pictures in the order of the numbers in their names,
        or an address that starts with rtsp://, http:// and the like (a string, not a ``Path``).
    rate_of_folder : pictures a second of a folder.
    give_up : seconds for which a stream that broke off is tried again.

    Raises
    ------
    MediaError
        If it can't be opened, or no frame of it can be read.
    """
    if is_url(source):
        from anomalist.vision.media.streams import StreamedVideo

        return StreamedVideo(str(source), give_up=give_up)
    if os.path.isdir(source):  # noqa: PTH112
        return FrameFolder(source, rate_of_folder)
    return VideoFile(source)


def distinct_videos(videos: Sequence[Video]) -> tuple[list[Video], list[str]]:
    """Videos without copies of one file under other names; and what is left out, one sentence each."""
    kept: list[Video] = []
    told: list[str] = []
    first: dict[str, Video] = {}  # by content
    for video in videos:
        try:
            content = video.sha256
        except MediaError as error:
            told.append(str(error))
            continue
        same = first.setdefault(content, video) if content else video
        if same is video:
            kept.append(video)
        else:
            told.append(f"{video.source} is the same as {same.source}, and counts once.")
    return kept, told


def sample_pictures(video: Video, most: int) -> Iterator[UInt8Array]:
    """Yield at most so many pictures, uint8 (H, W, 3), from all over a video; raises AnomalistError."""
    rate = most / video.duration if video.duration else 1.0
    return (frame.pixels for frame in itertools.islice(video.frames(rate=rate), most))


CLIP_LONGEST_SIDE = 960
"""Longer side of a clip at most, pixels."""
CLIP_TICKS = 60_000  # per second; MPEG-4 allows at most 65,535
ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""Encoders of clips, the preferred one first."""


def frame_at(video: Video, time: float) -> Frame:
    """Return the first frame at or after a time in seconds; past the end the last one.

    Raises
    ------
    MediaError
        If no frame can be read there or before.
    """
    for frame in video.frames(start=time):
        return frame
    for lead in (2.0, 20.0, time):  # seconds to start reading before it, so that not all is decoded
        last = None
        for frame in video.frames(start=time - lead):
            last = frame
        if last is not None:
            return last
    raise MediaError(
        f'No frame of "{one_line(video.source)}" can be read at {time:.1f} s.', "Ask for another."
    )


def cut_clip(source_video: Video, start: float, stop: float, path: str | Path) -> None:
    """Write the frames with start ≤ time < stop (seconds) as a small MP4 that browsers play.

    H.264, or MPEG-4 (which browsers don't play) where there is no encoder for it; yuv420p, the longer side at
    most ``CLIP_LONGEST_SIDE`` pixels, both sides even, index first, times kept. A file that is there is
    replaced once the new one is complete.

    Raises
    ------
    MediaError
        If there is no frame in that range, or the file can't be written.
    """
    import av

    target = Path(path)
    frames = source_video.frames(start, stop)
    first = next(frames, None)
    if first is None:
        raise MediaError(
            f'"{one_line(source_video.source)}" has no frames from {start:.1f} to {stop:.1f} s.',
            "Choose another range.",
        )
    try:
        with (
            staged_file(target) as staged,
            av.open(f"file:{staged}", "w", format="mp4", options={"movflags": "faststart"}) as container,
        ):
            stream = _add_video_stream(container, first)
            for frame in itertools.chain([first], frames):
                container.mux(stream.encode(_to_video_frame(frame, stream, first.time)))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        detail = one_line(getattr(error, "strerror", None) or str(error))
        raise MediaError(
            f'The clip "{one_line(target)}" can\'t be written: {detail}.', "Check its folder."
        ) from error


def _add_video_stream(container: OutputContainer, first: Frame) -> VideoStream:
    """Add a stream for frames of this size, made smaller and even."""
    stream = cast("VideoStream", container.add_stream(_available_encoder(), rate=30))
    height, width, _ = first.pixels.shape
    scale = min(1.0, CLIP_LONGEST_SIDE / max(height, width))
    stream.height, stream.width = (max(2, round(side * scale / 2) * 2) for side in (height, width))
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, CLIP_TICKS)
    if stream.codec_context.name == "libx264":
        stream.codec_context.options = {"crf": "26", "preset": "veryfast"}
    return stream


def _available_encoder() -> str:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    for name in ENCODERS[:-1]:
        with contextlib.suppress(UnknownCodecError):
            return Codec(name, "w").name
    return ENCODERS[-1]


def _to_video_frame(frame: Frame, stream: VideoStream, zero: float) -> VideoFrame:
    from av import VideoFrame

    picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame.pixels), format="rgb24")
    picture = picture.reformat(width=stream.width, height=stream.height, format="yuv420p")
    picture.pts = round((frame.time - zero) * CLIP_TICKS)
    picture.time_base = Fraction(1, CLIP_TICKS)
    return picture
