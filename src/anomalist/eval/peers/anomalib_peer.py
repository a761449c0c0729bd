"""A model of anomalib as a peer, for an interpreter that has anomalib 2; nothing of this project is imported.

Run as ``PYTHON anomalib_peer.py FOLDER``: reads ``FOLDER/request.json``, writes ``FOLDER/result.json`` and
``FOLDER/maps/``. `anomalist.eval.peers.protocol` says what is in them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

NOT_INSTALLED = 3
"""Exit status where the interpreter lacks anomalib."""


def main(folder: Path) -> None:
    """Learn from the normal pictures of a request, score the others, and write what came out."""
    try:
        import anomalib
        import torch
        from anomalib import models
        from anomalib.data import Folder, PredictDataset
        from anomalib.engine import Engine
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_INSTALLED)

    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    torch.manual_seed(request["seed"])
    if not hasattr(models, request["model"]):
        sys.exit(f"anomalib {anomalib.__version__} has no model {request['model']}.")
    # Raw scores and maps: min-max scaling and thresholds of the test pictures would be another method.
    model = getattr(models, request["model"])(
        post_processor=False, evaluator=False, visualizer=False, **request["options"]
    )
    data = Folder(
        name="peer",
        normal_dir=folder / "learn",
        train_batch_size=8,
        eval_batch_size=8,
        num_workers=0,
        test_split_mode="none",
        val_split_mode="none",
        seed=request["seed"],
    )
    # Nothing is validated on: a normal picture that is kept for that would not be learned from.
    engine = Engine(
        default_root_dir=folder / "anomalib", logger=False, limit_val_batches=0, enable_progress_bar=False
    )
    start = time.perf_counter()
    engine.fit(model=model, datamodule=data)
    learned = time.perf_counter()
    predictions: list[Any] = engine.predict(model=model, dataset=PredictDataset(path=folder / "score")) or []
    scored = time.perf_counter()

    scores, maps = _written(predictions, request["score"], folder)
    result = {
        "format": request["format"],
        "scores": scores,
        "maps": maps,
        "learn_seconds": learned - start,
        "score_seconds": scored - learned,
        "peak_memory_mb": _peak_memory_mb(),
        "versions": {"anomalib": anomalib.__version__, "torch": torch.__version__},
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _written(predictions: list[Any], names: list[str], folder: Path) -> tuple[list[float], list[str | None]]:
    """The scores of pictures, in the order of their names, and the files that their maps are written to."""
    import numpy as np

    found: dict[str, tuple[float, Any]] = {}
    for batch in predictions:
        for at, path in enumerate(batch.image_path):
            one = None if batch.anomaly_map is None else batch.anomaly_map[at].squeeze().float().numpy()
            found[Path(path).name] = float(batch.pred_score[at]), one
    (folder / "maps").mkdir()
    scores: list[float] = []
    maps: list[str | None] = []
    for name in names:
        score, one = found[name]
        file = None if one is None else f"maps/{Path(name).stem}.npy"
        if file is not None:
            np.save(folder / file, one.astype(np.float32))
        scores.append(score)
        maps.append(file)
    return scores, maps


def _peak_memory_mb() -> float | None:
    """Largest resident size of this process, 10⁶ bytes; None where the system doesn't tell (not Linux).

    What ``getrusage`` says of a child may be the size of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
