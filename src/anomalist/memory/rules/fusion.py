"""Rules and remembered scenes together: what the product takes for a caption by default."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from anomalist.memory.embedding import Encoder
from anomalist.types import FloatArray


def scene_scores(captions: Sequence[str], encoder: Encoder) -> FloatArray | None:
    """What the shipped scene memory says to each caption, float32 (n,); None where it isn't there."""
    if find_spec("anomalist.memory.scenes") is None:
        return None
    memory = import_module("anomalist.memory.scenes").SceneMemory()
    return np.asarray(memory.respond(captions).scores, np.float32)


def fused(rules: FloatArray, scenes: FloatArray | None) -> FloatArray:
    """One score a caption, float32 (n,), before time is considered; the rules' where there are no scenes."""
    return rules if scenes is None else np.mean([rules, scenes], axis=0, dtype=np.float32)
