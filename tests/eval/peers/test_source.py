from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DetectorError
from anomalist.eval.detection import Contender, run_detection
from anomalist.eval.image_datasets import load_folder, split_dataset
from anomalist.eval.peers.protocol import PeerScores
from anomalist.eval.peers.source import make_peer_evidence, peer_contender
from anomalist.vision.detectors.base import no_progress
from anomalist.vision.media.images import load_image
from tests.cli.running import run
from tests.eval.peers.test_protocol import EXAMPLE


class Darkness:
    """A peer that scores by the darkest pixel, and records what it learned from."""

    def __init__(self, *, maps: bool = True) -> None:
        self.maps = maps
        self.learned: list[list[str]] = []

    def __call__(self, learn: Sequence[Path], score: Sequence[Path], seed: int, folder: Path) -> PeerScores:
        self.learned.append([path.name for path in learn])
        dark = [255 - load_image(path).pixels.mean(2, dtype=np.float32)[::2, ::2] for path in score]
        scores = [float(each.max()) for each in dark]
        return PeerScores(scores, dark if self.maps else [None] * len(dark), 2.0, 0.5, 123.0, "darkness 1")


def contender(peer: Darkness) -> Contender:
    make = partial(make_peer_evidence, run=peer, name="dark", rate=None)
    return Contender("dark", make, learns=True)


def test_a_peer_is_calibrated_on_normals_that_each_fold_keeps_apart(labelled: Path) -> None:
    peer = Darkness()
    (found,) = run_detection(labelled, [contender(peer)], train_normals=8)
    result = found.result
    assert result["image_auroc"] == 1.0
    assert result["pixel_auroc"] > 0.99  # the map is half as fine as the picture
    assert len(peer.learned) == 4 and {len(names) for names in peer.learned} == {6}
    assert (result["n_train"], result["asked_false_alarm_rate"]) == (8, pytest.approx(1 / 9))
    assert result["found_at_asked_rate"] == 1.0
    assert (result["learn_seconds"], result["peak_memory_mb"]) == (8.0, 123.0)
    assert result["peak_on_defect"] == 1.0
    assert result["mask_iou_median"] > 0.3


def test_without_maps_measures_of_places_are_undefined_and_a_note_says_so(labelled: Path) -> None:
    (found,) = run_detection(labelled, [contender(Darkness(maps=False))], train_normals=8)
    assert found.result["image_auroc"] == 1.0
    for name in ("pixel_auroc", "aupro", "aupimo", "mask_iou_median", "peak_on_defect", "seg_f1"):
        assert found.result[name] is None
    assert any("gives no maps" in note for note in found.result["notes"])


def test_whole_objects_are_kept_apart_and_unreadable_pictures_are_left_out(labelled: Path) -> None:
    (labelled / "good" / "03.png").write_bytes(b"torn")
    parts = split_dataset(load_folder(labelled, labelled / "groups.csv"), 8, 0)
    peer = Darkness()
    source = make_peer_evidence(parts, 0, labelled, no_progress, run=peer, name="dark", rate=None)
    assert source.calibration.n_groups <= 4
    measured = {
        Path(path).name: evidence for path, _, evidence in source.measure([i.path for i in parts.test])
    }
    torn = "03.png" in {item.path.name for item in parts.test if item.normal}
    assert sum(isinstance(each, Exception) for each in measured.values()) == torn


def test_a_peer_needs_normals_of_two_objects(labelled: Path) -> None:
    with pytest.raises(DetectorError, match="two objects"):
        list(run_detection(labelled, [contender(Darkness())], train_normals=1))


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(DetectorError, match="Known are KNN"):
        peer_contender("pyod:Nonsense", None, None)


def test_the_command_puts_peers_into_one_table(labelled: Path) -> None:
    words = ["eval", "detection", "--data", labelled, "--train-normals", "8", "--peer-python", sys.executable]
    peers = ["--detector", f"peer:{EXAMPLE}", "--detector", "zero-shot"]
    done = run(*words, *peers, "--json")
    assert done.returncode == 0, done.stderr
    ours, peer = (json.loads(line) for line in done.stdout.splitlines())
    assert (ours["contender"], peer["contender"]) == ("zero-shot", f"peer:{EXAMPLE}")
    assert peer["image_auroc"] == 1.0
    assert peer["learn_seconds"] < 60
    done = run("eval", "detection", "--data", labelled, "--detector", "resnet")
    assert done.returncode != 0 and "There is no detector resnet" in done.stderr
