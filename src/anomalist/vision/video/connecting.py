"""Connecting to an address, with limits on how long that may take and on what it may lead to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from anomalist.errors import MediaError
from anomalist.vision.media import shown
from anomalist.vision.video.addresses import without_secrets
from anomalist.vision.video.decoding import STRICT, Decoded, decoded, picture_stream
from anomalist.vision.video.probing import CONTAINERS, announced

TIMEOUT = 10.0
"""Seconds to wait for a connection, and for each packet."""

# Not "file": a playlist from elsewhere must not lead to files here.
_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,srtp,rtmp,rtmps,rtmpt,ffrtmphttp,crypto"
_OPTIONS = {
    "protocol_whitelist": _PROTOCOLS,
    "format_whitelist": f"{CONTAINERS},rtsp,rtp,sdp,hls,aac,webvtt,live_flv,mpjpeg",
    "rtsp_transport": "tcp",  # over UDP single packets get lost
}


class Connection:
    """One connection to an address.

    Parameters
    ----------
    address : where to.

    Attributes
    ----------
    frames : what comes, in order; raises ``av.FFmpegError`` where the connection dies.
    step : seconds between frames at the nominal rate.
    motion_jpeg : whether it is a camera that sends one JPEG after the other.
    bytes : size of the file there; None where the server doesn't say.

    Raises
    ------
    MediaError
        If it can't be reached, or has no pictures. The address in it has no password.
    """

    def __init__(self, address: str) -> None:
        import av

        name = shown(without_secrets(address))
        try:
            self._container = av.open(
                address, container_options=_OPTIONS, metadata_errors="replace", timeout=(TIMEOUT, TIMEOUT)
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            detail = shown(getattr(error, "strerror", None) or type(error).__name__)
            remedy = "Check the address, its user and password, and that the camera or server is there."
            # Not chained: the cause holds the address with its password.
            raise MediaError(f'"{name}" can\'t be opened ({detail}).', remedy) from None
        try:
            self._stream = picture_stream(self._container, name)
        except MediaError:
            self.close()
            raise
        self._stream.codec_context.options = STRICT
        self.frames: Iterator[Decoded] = decoded(self._container, self._stream)
        self.step = 1 / float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.motion_jpeg = self._container.format.name == "mpjpeg"
        self.bytes = self._container.size if self._container.size > 0 else None

    def duration(self, zero: float) -> float | None:
        """Return the announced seconds of the pictures; None where unknown, or where sound may be longer."""
        duration, exact = announced(self._container, self._stream, zero)
        return duration if exact else None

    def go_to(self, stamp: float) -> bool:
        """Go to a timestamp in seconds, or before; False where that failed and the connection is spoilt."""
        from av import FFmpegError

        try:
            self._container.seek(math.floor(stamp / float(self._stream.time_base or 1)), stream=self._stream)
            first = next(self.frames, None)
        except FFmpegError:
            return False
        if first is None or first.stamp is None or first.stamp > stamp:
            return False
        self.frames = itertools.chain([first], self.frames)
        return True

    def close(self) -> None:
        """Close it."""
        self._container.close()
