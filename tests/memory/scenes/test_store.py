"""The memory file: rows and an index that follows them, through deletions, crashes and other processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.memory import vector_index as indexes
from anomalist.memory.cases import CaseStore
from anomalist.memory.scenes.scene_index import load_index
from anomalist.memory.scenes.store import SceneStore, SceneThreshold
from tests.memory.scenes.scene_cases import LetterPairEncoder, scene, unit


@pytest.fixture
def path(home_of_rows: Path) -> Path:
    return home_of_rows / "memory" / "yard.sqlite"


def index_beside(path: Path) -> Path:
    (found,) = path.parent.glob("yard*.index")
    return found


@pytest.fixture
def store(path: Path) -> Iterator[SceneStore]:
    with SceneStore(path, LetterPairEncoder()) as store:
        yield store


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes from which on there is a graph, made small."""
    monkeypatch.setattr(indexes, "FLAT_UP_TO", 20)
    monkeypatch.setattr(indexes, "HNSW_UP_TO", 100)


def filled(store: SceneStore, count: int, seed: int = 0) -> None:
    vectors = unit(np.random.default_rng(seed), count, 64)
    store.add_vectors([scene(f"scene {seed} {n}", category=f"kind{n % 3}") for n in range(count)], vectors)


# --- what is kept -----------------------------------------------------------------------------------------


def test_scenes_come_back_as_they_were(store: SceneStore, path: Path) -> None:
    (stored,) = store.add([scene("A man “steals”; DROP TABLE scenes", number=99)])
    assert stored.id == "scene:1"
    store.close()
    with SceneStore(path, LetterPairEncoder()) as again:
        assert again.list() == (stored,)
        assert again.scenes_and_vectors()[1][0] == pytest.approx(
            LetterPairEncoder().encode([stored.text.lower()])[0], abs=1e-6
        )


def test_what_is_there_already_is_left_out(store: SceneStore) -> None:
    store.add([scene("a fire")])
    assert store.add([scene("a fire"), scene("a fire", "normal")])[0].side == "normal"
    assert [each.side for each in store.list()] == ["anomalous", "normal"]


def test_ids_are_never_used_twice(store: SceneStore) -> None:
    store.add([scene("one"), scene("two")])
    store.delete(["scene:2"])
    assert store.add([scene("three")])[0].id == "scene:3"


def test_all_are_deleted_or_none(store: SceneStore) -> None:
    store.add([scene("one"), scene("two")])
    with pytest.raises(DataError, match="There is no scene:7"):
        store.delete([1, 7])
    assert len(store.list()) == 2
    with pytest.raises(DataError, match="not the id of a stored scene"):
        store.delete(["scene:1n"])
    assert store.delete([1, "scene:2", "scene:1"]) == 2


def test_the_threshold_is_kept(store: SceneStore) -> None:
    assert store.threshold() is None
    for value in (0.1, 0.2):
        store.calibrate(SceneThreshold(value=value, rate=0.05, captions=100))
    assert store.threshold() == SceneThreshold(value=0.2, rate=0.05, captions=100)


# --- what is found ----------------------------------------------------------------------------------------


def test_search_by_text_side_and_category(store: SceneStore) -> None:
    store.add(
        [
            scene("a dog runs", category="animal"),
            scene("a dog barks", category="noise"),
            scene("a dog sleeps", "normal", "home"),
        ]
    )
    assert store.search("a dog runs", 1)[0].scene.category == "animal"
    assert store.search("a dog runs", 1)[0].similarity == pytest.approx(1, abs=1e-5)
    assert [near.scene.category for near in store.search("a dog runs", 5, category="noise")] == ["noise"]
    assert [near.scene.side for near in store.search("a dog runs", 5, side="normal")] == ["normal"]
    assert store.search("a dog", 5, category="no such") == ()


def test_an_empty_memory_finds_nothing(store: SceneStore) -> None:
    assert store.search("a dog", 3) == ()
    assert store.scenes_and_vectors()[1].shape == (0, 64)


@pytest.mark.usefixtures("many")
def test_the_index_follows_what_is_added_and_deleted(store: SceneStore, path: Path) -> None:
    filled(store, 60)
    store.add([scene("a dog runs")])
    assert store.search("a dog runs", 1)[0].scene.id == "scene:61"
    store.add([scene("a dog barks")])
    assert store.search("a dog barks", 1)[0].scene.id == "scene:62"
    store.delete([62])
    assert store.search("a dog barks", 1)[0].scene.id == "scene:61"
    saved = load_index(index_beside(path), "letter pairs")
    assert saved is not None
    assert saved.kind == "hnsw"
    with SceneStore(path, LetterPairEncoder()) as again:
        assert again.search("a dog runs", 1)[0].scene.id == "scene:61"


def test_a_scene_that_is_deleted_meanwhile_is_not_found(
    store: SceneStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = indexes.VectorIndex.search

    def then_deleted(self: indexes.VectorIndex, *given: Any) -> Any:
        found = search(self, *given)
        with SceneStore(path, LetterPairEncoder()) as other:
            if len(other.list()) == 3:
                other.delete([1])
        return found

    store.add([scene("a dog runs"), scene("a dog barks"), scene("a fire burns")])
    monkeypatch.setattr(indexes.VectorIndex, "search", then_deleted)
    assert [near.scene.id for near in store.search("a dog runs", 1)] == ["scene:2"]


# --- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("damage", ["missing", "half", "other", "empty"])
def test_an_index_that_is_no_good_is_built_again(store: SceneStore, path: Path, damage: str) -> None:
    filled(store, 60)
    store.add([scene("a dog runs")])
    store.search("a dog", 1)
    store.close()
    index = index_beside(path)
    data = index.read_bytes()
    if damage == "missing":
        index.unlink()
    else:
        other = data.replace(b"letter pairs", b"letter tears")
        index.write_bytes({"half": data[: len(data) // 2], "other": other, "empty": b""}[damage])
    with SceneStore(path, LetterPairEncoder()) as again:
        assert again.search("a dog runs", 1)[0].scene.id == "scene:61"
    assert load_index(index, "letter pairs") is not None


def test_a_file_cut_in_half_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "yard.sqlite"
    with SceneStore(path, LetterPairEncoder()) as store:
        filled(store, 300)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r'The memory file ".*yard.sqlite" is damaged'):
        SceneStore(path, LetterPairEncoder())
    assert path.read_bytes() == data[: len(data) // 2]


def test_another_encoder_is_refused_by_name(store: SceneStore, path: Path) -> None:
    store.add([scene("a fire")])
    with pytest.raises(DataError, match=r"was made with letter pairs \(64 numbers\), not with clip \(64\)"):
        SceneStore(path, LetterPairEncoder("clip"))
    with pytest.raises(DataError, match=r"not with letter pairs \(32\)"):
        SceneStore(path, LetterPairEncoder(dimensions=32))


def test_vectors_of_another_dimension_are_refused(store: SceneStore) -> None:
    with pytest.raises(DataError, match=r"takes vectors \(1, 64\), got \(1, 8\)"):
        store.add_vectors([scene("a fire")], np.ones((1, 8), np.float32))


def test_a_file_of_cases_is_no_memory(tmp_path: Path) -> None:
    CaseStore(tmp_path / "cases.sqlite").close()
    with pytest.raises(DataError, match="or no memory file"):
        SceneStore(tmp_path / "cases.sqlite", LetterPairEncoder())


WRITER = """
import sys
from anomalist.memory.scenes.store import SceneStore
from tests.memory.scenes.scene_cases import LetterPairEncoder, scene
with SceneStore(sys.argv[1], LetterPairEncoder()) as store:
    for n in range(30):
        store.add([scene(f"{sys.argv[2]} {n}")])
        store.search("a dog", 1)
"""


def test_two_processes_writing_at_once_lose_nothing(path: Path) -> None:
    root = Path(__file__).parents[3]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=root) for name in ("one", "two")
    ]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    with SceneStore(path, LetterPairEncoder()) as store:
        assert len(store.list()) == 60
        assert store.search("two 29", 1)[0].scene.text == "two 29"
