"""Plain baselines on DINOv2: nearest neighbours of patch tokens (AnomalyDINO), PyOD on class tokens.

Damm et al., "AnomalyDINO", WACV 2025, without rotated copies and masks; Zhao et al., "PyOD", JMLR 20, 2019.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.errors import DetectorError
from anomalist.eval.context_checks import distance_score, nearest_distances, token_describer
from anomalist.eval.peers.protocol import PeerScores

MAX_BANK = 100_000
"""Patch tokens that neighbours are looked for among; more are drawn from by the seed."""
MODULES = {
    "KNN": "knn", "LOF": "lof", "IForest": "iforest", "OCSVM": "ocsvm", "ECOD": "ecod", "COPOD": "copod",
    "HBOS": "hbos", "PCA": "pca", "MCD": "mcd", "GMM": "gmm", "ABOD": "abod", "CBLOF": "cblof",
    "INNE": "inne",
}  # fmt: skip
"""Detectors of PyOD by name, with their modules; they need nothing beyond scikit-learn."""


def neighbours(learn: Sequence[Path], score: Sequence[Path], seed: int, folder: Path) -> PeerScores:
    """Score pictures by the distances of their patches to the nearest of normal pictures."""
    describe, start = token_describer(), time.perf_counter()
    bank = np.concatenate([tokens.reshape(-1, tokens.shape[-1]) for tokens in map(describe, learn)])
    if len(bank) > MAX_BANK:
        bank = bank[np.random.default_rng(seed).permutation(len(bank))[:MAX_BANK]]
    learned = time.perf_counter()
    maps = [nearest_distances(describe(path), bank) for path in score]
    scores = [distance_score(each) for each in maps]
    return PeerScores(scores, maps, learned - start, time.perf_counter() - learned)


@dataclass(frozen=True)
class PyodPeer:
    """A detector of PyOD, with its defaults, on the class tokens of pictures."""

    model: str

    def __post_init__(self) -> None:
        if self.model not in MODULES:
            raise DetectorError(f"PyOD's {self.model} is not known here.", f"Known are {', '.join(MODULES)}.")

    def __call__(self, learn: Sequence[Path], score: Sequence[Path], seed: int, folder: Path) -> PeerScores:
        """Score pictures; there are no maps.

        Raises
        ------
        DetectorError : PyOD is not installed, or can't learn from so few pictures.
        """
        from importlib import import_module

        from anomalist.vision.detectors.ensemble import open_backbone_by
        from anomalist.vision.media.images import load_image
        from anomalist.vision.profile import class_tokens

        try:
            kind = getattr(import_module(f"pyod.models.{MODULES[self.model]}"), self.model)
        except ImportError as error:
            raise DetectorError(
                f"{self.model} needs PyOD: {error}.", "Install the extra: pip install 'anomalist[peers]'."
            ) from error
        backbone, start = open_backbone_by(None)(), time.perf_counter()
        known = class_tokens(backbone, [load_image(path).pixels for path in learn])
        state = np.random.get_state()
        np.random.seed(seed)  # what PyOD and scikit-learn draw from where they are given no seed
        try:
            fitted = kind().fit(known)
            learned = time.perf_counter()
            given = class_tokens(backbone, [load_image(path).pixels for path in score])
            scores = np.asarray(fitted.decision_function(given), np.float64)
        except ValueError as error:
            raise DetectorError(f"PyOD's {self.model} failed: {error}") from error
        finally:
            np.random.set_state(state)
        return PeerScores(
            scores.tolist(), [None] * len(score), learned - start, time.perf_counter() - learned
        )
