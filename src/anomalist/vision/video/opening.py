"""One way to open anything that moves: a file, a folder of pictures, an address."""

from __future__ import annotations

import os
from pathlib import Path

from anomalist.vision.video.addresses import is_address
from anomalist.vision.video.file import VideoFile
from anomalist.vision.video.folder import FrameFolder
from anomalist.vision.video.frames import Video


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
    if is_address(source):
        from anomalist.vision.video.stream import StreamedVideo

        return StreamedVideo(str(source), give_up=give_up)
    if os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises on names that are too long
        return FrameFolder(source, rate_of_folder)
    return VideoFile(source)
