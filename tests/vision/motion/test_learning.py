"""Thresholds of a scene keep their promise: no measure hides its own extremes in its own scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from anomalist.vision.motion.learning import FOLDS, HeldOutClip, calibrate_scales
from anomalist.vision.motion.measures import MEASURES
from anomalist.vision.motion.score_scale import leading_measure
from anomalist.vision.motion.temporal import smooth_scores

SECONDS = 15.0


def clips(seed: int, count: int) -> Iterator[HeldOutClip]:
    """Normal footage whose measures have long tails, each rarely and at its own time."""
    rng = np.random.default_rng(seed)
    times = np.arange(0.0, SECONDS, 0.5)
    for number in range(count):
        values = rng.lognormal(0.0, 0.1, (len(times), len(MEASURES)))
        at = int(rng.integers(3, len(times) - 3))
        values[at - 2 : at + 3, rng.integers(len(MEASURES))] += rng.pareto(1.5)
        nothing = np.zeros(len(times), np.bool_)
        fold = np.full(len(times), number % FOLDS, np.intp)
        yield HeldOutClip(times, values.astype(np.float32), nothing, fold)


def test_new_footage_is_above_the_highest_score_as_rarely_as_one_more_block_would_be() -> None:
    learned, more, above = 12, 6, 0
    for seed in range(25):
        scales, blocks = calibrate_scales(list(clips(seed, learned)))
        threshold = blocks.maxima["offline"].max()
        for clip in clips(1000 + seed, more):
            curve = smooth_scores(clip.times, leading_measure(clip.values, scales)[0], "offline", clip.cuts)
            above += bool(np.nanmax(curve) > threshold)
    share = above / (25 * more)
    assert share == pytest.approx(1 / (learned + 1), abs=0.07)


def test_one_high_value_counts_as_much_as_it_would_in_new_footage() -> None:
    calm = list(clips(0, 8))
    odd = calm[3].values.copy()
    odd[8:20, MEASURES.index("direction")] = 9.0
    outlier = HeldOutClip(calm[3].times, odd, calm[3].cuts, calm[3].folds)
    _, blocks = calibrate_scales([*calm[:3], outlier, *calm[4:]])
    rest = [clip for clip in calm if clip.folds[0] != outlier.folds[0]]
    scales, _ = calibrate_scales(rest)
    curve = smooth_scores(outlier.times, leading_measure(odd, scales)[0], "offline", outlier.cuts)
    assert blocks.maxima["offline"].max() == pytest.approx(np.nanmax(curve), rel=0.1)


def test_what_a_recorder_did_not_film_is_no_footage() -> None:
    (clip,) = clips(0, 1)
    paused = np.where(clip.times < SECONDS / 2, clip.times, clip.times + 3600)
    cut = np.diff(paused, prepend=0.0) > 1
    _, whole = calibrate_scales([clip])
    _, blocks = calibrate_scales([HeldOutClip(paused, clip.values, cut, clip.folds)])
    assert whole.footage == clip.times[-1]
    assert blocks.footage == pytest.approx(clip.times[-1] - 0.5)
    assert blocks.seconds == whole.seconds
