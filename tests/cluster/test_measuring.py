"""Evaluation and memories on a cluster: the results of the plain command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")

from anomalist.cluster.captions import ClusterEncoder, EncodingActor, index_on_cluster
from anomalist.cluster.connection import RayOptions
from anomalist.cluster.measuring import MeasuringActor
from anomalist.memory.embedding import load_encoder
from anomalist.memory.scenes.memory import build_memory
from anomalist.memory.scenes.store import SceneStore
from anomalist.memory.vector_index import VectorIndex
from anomalist.vision.detectors.unsupervised import ZeroShotEvidence
from anomalist.vision.parallel import evidence_opener
from tests.cli.running import run
from tests.cluster.clusters import WHAT_RAY_LEAVES, one_node

pytestmark = WHAT_RAY_LEAVES


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayOptions]:
    with one_node(2):
        yield RayOptions(actors=2)


def test_an_evaluation_on_a_cluster_gives_the_figures_of_a_plain_one(
    cluster: RayOptions, labelled: Path
) -> None:
    words = ["eval", "detection", "--data", labelled, "--groups", "groups.csv", "--train-normals", "8"]
    words += ["--detector", "surface", "--effort", "fast", "--json"]
    plain, spread = run(*words), run(*words, "--ray", "local", "--workers", "2")
    assert (plain.returncode, spread.returncode) == (0, 0), spread.stderr
    costs = ("learn_seconds", "ms_per_image", "peak_memory_mb", "workers")
    one, other = (
        {name: value for name, value in json.loads(done.stdout).items() if name not in costs}
        for done in (plain, spread)
    )
    assert one == other
    assert one["image_auroc"] is not None and one["pixel_auroc"] is not None


def test_a_memory_is_built_on_a_cluster_by_its_command(cluster: RayOptions, tmp_path: Path) -> None:
    captions = tmp_path / "yard.txt"
    captions.write_text("A forklift drives past the gate.\nTwo men carry a plank.\n" * 25)
    said = [run("memory", "build", "--from", captions, "--name", name, *more).stdout
            for name, more in (("plain", ()), ("spread", ("--ray", "local")))]  # fmt: skip
    assert said[1].replace("spread", "plain") == said[0]
    assert "Remembered 2 new scenes of 50 captions" in said[1]


def test_captions_embedded_on_a_cluster_make_the_memory_of_the_plain_command(
    cluster: RayOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.cluster.captions.FEW_TEXTS", 40)
    who, does, where = ("A man", "Two women", "A child"), ("walks", "rides a bicycle"), ("the road", "a park")
    captions = [f"{a} {b} along {c} on day {n}." for a in who for b in does for c in where for n in range(5)]
    plain, spread = load_encoder(), ClusterEncoder(None, cluster)
    np.testing.assert_allclose(spread.encode(captions), plain.encode(captions), atol=1e-5)
    made = []
    for name, encoder in (("plain", plain), ("spread", spread)):
        with SceneStore(tmp_path / f"{name}.sqlite", encoder) as store:
            _, threshold = build_memory(store, captions, "captions.txt")
            made.append((*store.scenes_and_vectors(), threshold))
    (scenes, vectors, threshold), (other_scenes, other_vectors, other) = made
    assert other_scenes == scenes and len(scenes) == 60
    np.testing.assert_allclose(other_vectors, vectors, atol=1e-5)
    assert threshold is not None and other is not None
    assert other.value == pytest.approx(threshold.value, abs=1e-5)


def test_shards_of_an_index_are_merged_into_the_index_of_one_machine(cluster: RayOptions) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 32)).astype(np.float32)
    numbers = np.arange(3000) * 7
    plain = VectorIndex.build(vectors, numbers, "ivf")
    merged = index_on_cluster(vectors, numbers, cluster, shard=700)
    products, found = plain.search(vectors[:50], 5)
    other_products, other_found = merged.search(vectors[:50], 5)
    np.testing.assert_array_equal(other_found, found)
    np.testing.assert_allclose(other_products, products, rtol=1e-6)
    assert len(merged) == 3000 and (found[:, 0] == numbers[:50]).mean() > 0.9


def test_a_large_memory_is_indexed_when_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalist.memory.scenes.store.index_kind", lambda count: "ivf")
    asked = []

    def build(vectors: np.ndarray, numbers: np.ndarray) -> VectorIndex:
        asked.append(len(numbers))
        return VectorIndex.build(vectors, numbers, "ivf")

    with SceneStore(tmp_path / "m.sqlite") as store:
        build_memory(store, [f"A man walks along road {n}." for n in range(50)], "captions.txt")
        store.build_index(build)
        assert asked == [50] and (tmp_path / "m.sqlite.index").is_file()
        assert store.search("A man walks along road 7.", 1)[0].scene.text.endswith("7")


def test_what_is_wrong_on_a_node_is_a_row_that_says_it(tmp_path: Path) -> None:
    source = ZeroShotEvidence()
    told = MeasuringActor(evidence_opener(source), "0" * 64, {})({"number": [3], "source": [str(tmp_path)]})
    assert "another version of" in told["error"][0] and told["number"] == [3]
    other = EncodingActor(None, "another", {})({"number": [0], "text": ["a"]})
    assert "another version of the encoder another" in other["error"][0]
    gone = EncodingActor(str(tmp_path / "gone"), "another", {})({"number": [0], "text": ["a"]})
    assert "can't be loaded" in gone["error"][0]
