"""A node of a cluster is killed at random moments: no picture is lost, none doubled, verdicts are equal."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray")

from anomalist.audit.reading import read_entries, verify_log
from anomalist.audit.recording import AuditTrail
from anomalist.cluster.batch import ClusterRun
from anomalist.cluster.connection import RayOptions
from anomalist.cluster.sources import list_sources
from anomalist.composition import InspectionSettings
from anomalist.pipeline import Inspector
from anomalist.runs import ImageRun
from anomalist.types.common import UInt8Array
from anomalist.types.image import Record
from tests.boards import board, noisy, spot
from tests.cluster.clusters import WHAT_RAY_LEAVES, cluster_of, kill_node
from tests.cluster.test_batch import decided
from tests.pictures import write

pytestmark = [pytest.mark.scale, *WHAT_RAY_LEAVES]

PICTURES = int(os.environ.get("SCALE_PICTURES", "120"))
RUNS = int(os.environ.get("SCALE_RUNS", "3"))


@pytest.fixture
def nodes() -> Iterator[Any]:
    with cluster_of(3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def inspected_here(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[InspectionSettings, list[str], list[Record]]:
    """Settings, small pictures of which every fifth has a spot, and what a plain run says of them."""
    folder = tmp_path_factory.mktemp("pictures")
    sound, spotted = small(board()), small(spot(board(), (250, 165), 8, 220))
    good = write(folder / "good.png", sound)
    for i in range(PICTURES):
        write(folder / "new" / f"{i:05d}.png", noisy(sound if i % 5 else spotted, 2, i))
    settings = InspectionSettings(reference=good, model="evidence")
    sources = list_sources([str(folder / "new")])
    return settings, sources, [decided(each.record) for each in Inspector(settings).inspect_many(sources)]


def small(picture: UInt8Array) -> UInt8Array:
    """A picture of 40×30, so that there can be many."""
    import cv2

    return np.asarray(cv2.resize(picture, (40, 30), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_node_that_dies_loses_and_doubles_nothing(
    nodes: Any,
    inspected_here: tuple[InspectionSettings, list[str], list[Record]],
    tmp_path: Path,
    seed: int,
) -> None:
    settings, sources, plain = inspected_here
    inspector = Inspector(settings)
    killed = threading.Event()
    parts = tmp_path / "run" / "parts"
    after = random.Random(seed).uniform(0, 0.7) * PICTURES

    def kill_a_node() -> None:
        """Once some of the pictures are done."""
        masks = tmp_path / "run" / "masks"
        while not masks.is_dir() or sum(1 for _ in masks.iterdir()) < after:
            time.sleep(0.2)
        print(f"A node is killed after {after:.0f} of {PICTURES} pictures.")
        kill_node(nodes, sorted(each.node_id for each in nodes.worker_nodes)[seed % 3])
        killed.set()

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    trail = AuditTrail(tmp_path / "audit")
    trail.begin_inspection(inspector, "inspect")
    with ImageRun(tmp_path / "run", trail) as run:
        records = list(ClusterRun(settings, inspector, sources, RayOptions(actors=3)).records(run))
    killer.join(60)
    assert killed.is_set() and parts.is_dir()
    assert [decided(record) for record in records] == plain
    assert verify_log(tmp_path / "audit").sound
    logged = Counter(
        entry.content["record"]["source"] for entry in read_entries(tmp_path / "audit", kinds=["inspection"])
    )
    assert logged == Counter(sources)
