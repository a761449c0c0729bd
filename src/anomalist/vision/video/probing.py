"""What a video file says about itself, or one clear error."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.errors import MediaError
from anomalist.vision.media import shown
from anomalist.vision.video.decoding import STRICT, decoded, picture_stream, to_pixels

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Playlists are left out: they would open other files and addresses.
CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,m4v,mjpeg,ivf,obu,gif,mxf,nut,"
    "rm,dv,yuv4mpegpipe,wtv"
)


@dataclass(frozen=True)
class Facts:
    """What a file says about itself.

    Parameters
    ----------
    path : the file.
    name : how messages call it.
    bytes : its size.
    container, codec, layout : libav's names ("matroska,webm", "h264", "yuv420p").
    size : (height, width) of the first frame in pixels, as displayed.
    coded_size : the same before the rotation.
    rate : frames a second at the nominal rate.
    zero : timestamp of the first frame in seconds.
    duration : seconds from the first frame to the end, as announced; None where it isn't.
    exact : whether that is the duration of the pictures alone.
    strict : whether the decoder may refuse what is damaged (see ``decoding``); False where it would refuse
        everything.
    """

    path: Path
    name: str
    bytes: int
    container: str
    codec: str
    layout: str
    size: tuple[int, int]
    coded_size: tuple[int, int]
    rate: float
    zero: float
    duration: float | None
    exact: bool
    strict: bool


def probe(path: Path) -> Facts:
    """Look at a file and decode its first frame.

    Raises
    ------
    MediaError
        If it can't be read, isn't a video, has no pictures or none that can be decoded, or is too large.
    """
    from av import FFmpegError

    name = shown(path)
    size = _size_of(path, name)
    try:
        facts = _probe(path, name, size, strict=True) or _probe(path, name, size, strict=False)
    except (FFmpegError, ValueError, OSError) as error:
        detail = shown(getattr(error, "strerror", None) or str(error))
        raise MediaError(
            f'"{name}" is not a video, or is damaged or cut short before its first frame ({detail}).',
            "Copy or record it again, or convert it to MP4.",
        ) from error
    if facts is None:
        raise MediaError(f'No frame of "{name}" can be decoded.', "Copy or record it again.")
    return facts


@contextmanager
def opened(path: Path, name: str, *, strict: bool) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file by PyAV and close it again; gives the container and its stream of pictures."""
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    with av.open(f"file:{path}", container_options=options, metadata_errors="replace") as container:
        stream = picture_stream(container, name)
        if strict:
            stream.codec_context.options = STRICT
        yield container, stream


def _probe(path: Path, name: str, size: int, *, strict: bool) -> Facts | None:
    """Return the facts, or None where no frame can be decoded."""
    with opened(path, name, strict=strict) as (container, stream):
        stamps = []
        for frame in decoded(container, stream):
            stamps.append(frame.stamp)
            if frame.picture is not None:
                break
        else:
            return None
        height, width, _ = to_pixels(frame.picture, name).shape
        zero = min((stamp for stamp in stamps if stamp is not None), default=0.0)
        duration, exact = announced(container, stream, zero)
        return Facts(
            path=path,
            name=name,
            bytes=size,
            container=container.format.name,
            codec=stream.codec_context.name,
            layout=frame.picture.format.name,
            size=(height, width),
            coded_size=(frame.picture.height, frame.picture.width),
            rate=float(stream.average_rate or stream.guessed_rate or 25),
            zero=zero,
            duration=duration,
            exact=exact,
            strict=strict,
        )


def announced(container: InputContainer, stream: VideoStream, zero: float) -> tuple[float | None, bool]:
    """Return the announced duration of the pictures, and whether sound can't have made it longer.

    ``zero`` is the timestamp of the first frame; both in seconds. None where nothing is announced.
    """
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base), True
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)\d*", stream.metadata.get("DURATION", ""))
    if tag:  # Matroska; counts from 0, not from the first frame
        return max(3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]) - zero, 0.0), True
    if container.duration:
        offset = zero if container.format.name.startswith("matroska") else 0.0
        return max(container.duration / 1e6 - offset, 0.0), len(container.streams) == 1
    return None, False


def _size_of(path: Path, name: str) -> int:
    """Return the bytes of a regular file; refuse anything else unopened, because a FIFO would wait."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f'"{name}" is not a regular file.', "Name a video file.")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        if path.is_symlink():
            target = shown(path.readlink())
            raise MediaError(
                f'"{name}" is a link to "{target}", which does not exist.', "Mend or remove it."
            ) from error
        raise MediaError(f'There is no file "{name}".', "Check the path.") from error
    except PermissionError as error:
        raise MediaError(f'"{name}" may not be read.', "Change its permissions (chmod +r).") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        detail = getattr(error, "strerror", None) or str(error)
        raise MediaError(f'"{name}" can\'t be read: {shown(detail)}.', "Check the path.") from error
    if not status.st_size:
        raise MediaError(f'"{name}" is empty (0 bytes).', "Copy or save it again.")
    return status.st_size
