"""Simulated cameras: motion JPEG over HTTP, again and again the same film, to whoever connects."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import Image

from anomalist.cameras.listing import Camera
from anomalist.vision.motion.scene import Scene
from tests.street import make_film, walker
from tests.vision.media.servers import Camera as Server
from tests.vision.media.servers import running

RUNNERS = [walker(start, 60.0, speed=4.0, seed=start) for start in (2, 8, 14)]


@contextmanager
def live_cameras(scene: Scene, number: int) -> Iterator[list[Camera]]:
    """So many cameras of a street where somebody runs every six seconds; ten frames a second."""
    film = []
    for frame in make_film(20, *RUNNERS, people=42).frames():
        file = io.BytesIO()
        Image.fromarray(frame.pixels).save(file, "JPEG", quality=90)
        film.append(file.getvalue())
    with ExitStack() as stack:
        servers = [Server("jpeg", [film * 90] * 50, 0.1) for _ in range(number)]
        for server in servers:
            stack.enter_context(running(server))
        yield [
            Camera(name=f"cam{i:02d}", source=f"http://{server.host}/video", profile=f"{scene.path}/")
            for i, server in enumerate(servers)
        ]
