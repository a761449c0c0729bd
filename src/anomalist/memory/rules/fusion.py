"""Rules and remembered scenes together: what the product takes for a caption by default.

Both say by how much a caption is more like anomalies than like what is ordinary, as a difference of cosine
similarities, so that their mean needs no scaling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalist.memory.embedding import Encoder
from anomalist.memory.scenes.memory import SceneMemory
from anomalist.types import FloatArray


def scene_scores(captions: Sequence[str], encoder: Encoder) -> FloatArray:
    """What the shipped scene memory says to each caption, float32 (n,)."""
    return SceneMemory(encoder=encoder).respond(captions).scores


def fused(rules: FloatArray, scenes: FloatArray) -> FloatArray:
    """One score a caption, float32 (n,), before time is considered; NaN where a caption says nothing."""
    mean: FloatArray = np.mean([rules, scenes], axis=0, dtype=np.float32)
    return mean
