"""Appearance: what moves is looked at every half second, and strangers are told from those remembered."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.vision.motion.appearance import (
    MAX_BANK_SIZE,
    DescriptorReservoir,
    ObjectEmbedder,
    appearance_novelty,
    concatenate_banks,
    embed_objects,
    feature_extractor_for,
)
from anomalist.vision.motion.extractor import MotionExtractor
from anomalist.vision.motion.scene import Scene
from tests.scenes import SIZE, filmed, grey_of, walker


def test_a_scene_remembers_what_usually_moves(street: Scene) -> None:
    bank = street.learned.bank
    assert len(bank) > 30
    assert np.linalg.norm(bank, axis=1) == pytest.approx(1, abs=1e-2)
    assert street.manifest.backbone is None


def test_looks_are_half_a_second_apart_and_describe_every_object(street: Scene) -> None:
    extractor = MotionExtractor(street.learned.background, street.manifest.perspective)
    embedder = ObjectEmbedder(feature_extractor_for(None), street.manifest.perspective)
    times = []
    for frame in filmed(6, walker(0.0, 60.0), walker(1.0, 90.0, left=True)).frames():
        seen = embedder.embed_due(extractor.extract(frame))
        if seen is not None:
            times.append(frame.time)
            assert len(seen[0]) == len(seen[1])
    assert len(times) >= 10
    assert np.diff(times).min() >= 0.45


def test_the_same_place_is_described_alike_and_another_differently() -> None:
    pixels = np.repeat(grey_of(filmed(1, walker(-1.0, 60.0)))[..., None], 3, axis=2)
    bright = np.clip(pixels.astype(int) + 6, 0, 255).astype(np.uint8)
    box, other = (10, 40, 26, 72), (90, 20, 106, 52)
    a, b = embed_objects(feature_extractor_for(None), pixels, [box, other], SIZE)
    again = embed_objects(feature_extractor_for(None), bright, [box], SIZE)[0]
    assert a @ again > a @ b
    assert embed_objects(feature_extractor_for(None), pixels, [], SIZE).shape[0] == 0


def test_a_box_at_the_border_is_described_too() -> None:
    pixels = np.repeat(grey_of(filmed(1))[..., None], 3, axis=2)
    assert np.isfinite(
        embed_objects(feature_extractor_for(None), pixels, [(0, 0, 8, 16), (152, 100, 160, 120)], SIZE)
    ).all()


def test_strangeness_is_the_way_to_the_most_similar() -> None:
    bank = np.eye(3, dtype=np.float32)
    seen = np.array([[1, 0, 0], [0.6, 0.8, 0], [-1, 0, 0]], np.float32)
    assert appearance_novelty(seen, bank) == pytest.approx([0, 0.2, 1])
    assert appearance_novelty(seen, concatenate_banks([])).tolist() == [0, 0, 0]


def test_a_gallery_is_bounded_seeded_and_fair() -> None:
    every = np.arange(4 * MAX_BANK_SIZE, dtype=np.float32)[:, None]

    def kept(seed: int) -> np.ndarray:
        reservoir = DescriptorReservoir(seed)
        reservoir.add(every)
        return reservoir.bank()[:, 0]

    assert len(kept(0)) == MAX_BANK_SIZE
    assert np.array_equal(kept(0), kept(0))
    assert not np.array_equal(kept(0), kept(1))
    assert kept(0).mean() == pytest.approx(every.mean(), rel=0.06)


def test_banks_of_the_other_folds_go_together() -> None:
    a, b, empty = np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32), np.zeros((0, 1), np.float32)
    assert concatenate_banks([a, empty, b]).shape == (5, 4)
