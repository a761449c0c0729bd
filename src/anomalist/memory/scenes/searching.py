"""The scenes that ship, searched by meaning, of one side or category where named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.index import VectorIndex
from anomalist.memory.scenes.framing import framed
from anomalist.memory.scenes.scene import Scene, Side
from anomalist.memory.scenes.shipped import shipped_scenes, shipped_vectors
from anomalist.memory.scenes.store import Near


def of(scenes: Sequence[Scene], side: Side | None, category: str | None) -> tuple[Scene, ...]:
    """Those of one side or category, all where neither is named."""
    return tuple(
        scene
        for scene in scenes
        if side in (None, scene.side) and (category is None or scene.category == category)
    )


def search_shipped(
    text: str,
    k: int,
    *,
    side: Side | None = None,
    category: str | None = None,
    encoder: Encoder | None = None,
) -> tuple[Near, ...]:
    """The k shipped scenes most like a text, the most similar first."""
    encoder = encoder or load_encoder()
    scenes = shipped_scenes()
    wanted = {scene.id for scene in of(scenes, side, category)}
    index = VectorIndex.build(shipped_vectors(encoder), np.arange(len(scenes)))
    allowed = np.array([scene.id in wanted for scene in scenes], np.bool_)
    products, numbers = index.search(encoder.encode([framed(text, "normal", "", "none")]), k, allowed)
    found = zip(numbers[0], products[0], strict=True)
    return tuple(Near(scenes[number], float(alike)) for number, alike in found if number >= 0)
