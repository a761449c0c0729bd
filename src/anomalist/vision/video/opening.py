"""One way to open anything that moves: a file, a folder of pictures, an address."""

from __future__ import annotations

import os
from pathlib import Path

from anomalist.vision.video.file import VideoFile
from anomalist.vision.video.folder import FrameFolder
from anomalist.vision.video.frames import Video


def open_video(source: str | Path, *, rate_of_folder: float = 10.0) -> Video:
    """Open a source of frames.

    Parameters
    ----------
    source : a file (recognised by content), a folder of pictures in the order of the numbers in their names,
        or an address that starts with rtsp://, http:// and the like (a string, not a ``Path``).
    rate_of_folder : pictures a second of a folder.

    Raises
    ------
    MediaError
        If it can't be opened, or no frame of it can be read.
    """
    if os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises on names that are too long
        return FrameFolder(source, rate_of_folder)
    return VideoFile(source)
