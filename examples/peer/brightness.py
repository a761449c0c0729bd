"""An example of a peer: how far the grey of a picture is from that of normal ones, with numpy and Pillow.

Run by ``anomalist eval detection --detector peer:examples/peer/brightness.py --peer-python PYTHON``. It needs
nothing of anomalist, so that it can run in an environment of its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

try:
    import numpy as np
    from PIL import Image
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(3)  # this interpreter lacks what the peer needs


def grey(path: Path) -> np.ndarray:
    """A picture as grey levels, float32 (h, w)."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), np.float32)


def main(folder: Path) -> None:
    """Learn from the pictures in ``learn/`` and score those of ``score/``."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    start = time.perf_counter()
    usual = float(np.mean([grey(path).mean() for path in sorted((folder / "learn").iterdir())]))
    learned = time.perf_counter()
    (folder / "maps").mkdir()
    scores, maps = [], []
    for name in request["score"]:
        away = np.abs(grey(folder / "score" / name) - usual)
        maps.append(f"maps/{Path(name).stem}.npy")
        np.save(folder / maps[-1], away)
        scores.append(float(away.max()))
    result = {
        "format": request["format"],
        "scores": scores,
        "maps": maps,
        "learn_seconds": learned - start,
        "score_seconds": time.perf_counter() - learned,
        "peak_memory_mb": None,
        "versions": {"brightness": "1"},
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
