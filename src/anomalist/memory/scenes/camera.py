"""The memory of one camera: the scenes that ship, and those of its memory file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.memory.scenes.calibrating import DEFAULT_RATE, Threshold, halves, threshold_for
from anomalist.memory.scenes.memory import SceneMemory, own_scenes
from anomalist.memory.scenes.scene import Scene
from anomalist.memory.scenes.store import SceneStore
from anomalist.settings import Settings


def memory_path(name: str | Path) -> Path:
    """The memory file of a plain name, in the home of the settings; what looks like a path is one."""
    text = str(name)
    if re.fullmatch(r"[\w-][\w.-]*", text) and not text.endswith(".sqlite"):
        return Settings().home / "memory" / f"{text}.sqlite"
    return Path(text)


def existing_memory(name: str | Path) -> Path:
    """The same for one that is there; raises DataError where there is none."""
    path = memory_path(name)
    if not path.is_file():
        raise DataError(
            f'There is no memory "{name}".', f"Make one: anomalist memory build --from FILE --name {name}"
        )
    return path


def camera_memory(store: SceneStore) -> SceneMemory:
    """What ships, with the scenes of a store as the camera's own, and its threshold if it has one."""
    threshold = store.threshold()
    return SceneMemory(
        own=(store.list(), store.vectors()),
        threshold=0.0 if threshold is None else threshold.value,
        encoder=store.encoder,
    )


def memory_of(name: str) -> SceneMemory:
    """The memory of a camera by its name; what ships alone where it has no file of its own."""
    path = memory_path(name)
    if not path.is_file():
        return SceneMemory()
    with SceneStore(path) as store:
        return camera_memory(store)


def memory_digest(name: str) -> str:
    """Of what a camera's own memory holds, hex; "" where it has none."""
    path = memory_path(name)
    if not path.is_file():
        return ""
    with SceneStore(path) as store:
        lines = [f"{scene.id} {scene.side} {scene.text}" for scene in store.list()]
        lines.append(repr(store.threshold()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def build_memory(
    store: SceneStore, captions: Sequence[str], source: str, *, rate: float | None = None
) -> tuple[tuple[Scene, ...], Threshold | None]:
    """Remember a camera's normal captions and measure its threshold on them.

    Parameters
    ----------
    store : takes the scenes and the threshold.
    captions : of the camera as it usually is, in the order of time.
    source : where they come from, for people.
    rate : share of normal captions that may be called anomalous. With None 0.05, and no threshold where
        there are too few captions for it.

    Returns
    -------
    The new scenes, and the threshold.

    Raises
    ------
    CalibrationError : so few captions can't support the asked rate; nothing is stored then.
    """
    threshold = None
    if rate is not None or len(captions) >= _FEWEST:
        scores = [
            SceneMemory(normal=known, encoder=store.encoder).respond(unseen).scores
            for known, unseen in halves(captions)
        ]
        threshold = threshold_for(np.concatenate(scores), rate or DEFAULT_RATE)
    added = store.add(own_scenes(captions, source=source))
    if threshold is not None:
        store.calibrate(threshold)
    return added, threshold


_FEWEST = 40  # captions for the default rate: each half must show what is usual
