"""A camera's memory: what is usual there, and from when on a score is an alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.errors import CalibrationError, DataError
from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.scenes.memory import build_memory, camera_memory, existing_memory_path, memory_path
from anomalist.memory.scenes.store import SceneStore, captions_needed, conformal_threshold, cross_fit_halves
from anomalist.settings import Settings
from tests.memory.scenes.scene_cases import scene

YARD = ["Two men carry a plank.", "A forklift drives past the gate.", "A man rides a bicycle to the gate."]


def test_what_is_usual_becomes_normal_and_the_rest_alarms(encoder: SentenceEncoder, tmp_path: Path) -> None:
    with SceneStore(tmp_path / "yard.sqlite", encoder) as store:
        added, threshold = build_memory(store, YARD * 20, "yard.txt")
        assert len(added) == 3
        assert added[2].source == "caption 3 of yard.txt"
        assert threshold is not None
        memory = camera_memory(store)
        assert memory.threshold == threshold.value
        response = memory.score_captions([YARD[2], "A man climbs over the gate and breaks the window."])
    assert [each.side for each in response.rationale] == ["normal", "anomalous"]
    assert response.rationale[0].memories[0].id == "scene:3"


def test_few_captions_give_no_threshold_unless_one_is_asked(encoder: SentenceEncoder, tmp_path: Path) -> None:
    with SceneStore(tmp_path / "yard.sqlite", encoder) as store:
        assert build_memory(store, YARD, "yard.txt")[1] is None
        with pytest.raises(CalibrationError, match=r"3 normal captions .* rate of 0\.01"):
            build_memory(store, [*YARD[:2], "A dog barks."], "more.txt", rate=0.01)
        assert len(store.list()) == 3


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1, width=32), min_size=19, max_size=60), st.floats(0.05, 0.5))
def test_at_most_the_asked_share_of_the_normals_is_above(values: list[float], rate: float) -> None:
    scores = np.array(values, np.float32)
    threshold = conformal_threshold(scores, rate)
    above = int((scores >= threshold.value).sum())
    assert (above + 1) / (len(scores) + 1) <= rate + 1e-9


def test_what_says_nothing_does_not_calibrate() -> None:
    scores = np.array([np.nan] * 100 + [0.1] * 18, np.float32)
    with pytest.raises(CalibrationError, match="Give at least 19"):
        conformal_threshold(scores, 0.05)
    assert captions_needed(0.05) == 19
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        conformal_threshold(scores, 1.5)


def test_each_half_is_unseen_by_the_memory_that_scores_it() -> None:
    captions = [str(n) for n in range(7)]
    for known, scored in cross_fit_halves(captions):
        assert not {*known} & {*scored}
    assert sorted(caption for _, scored in cross_fit_halves(captions) for caption in scored) == captions


@pytest.mark.parametrize(("count", "calibrated"), [(39, False), (40, True)])
def test_only_captions_that_say_something_count(
    encoder: SentenceEncoder, tmp_path: Path, count: int, calibrated: bool
) -> None:
    captions = [*([""] * 60), *(YARD[n % 3] for n in range(count)), *(["  ", "…"] * 30)]
    with SceneStore(tmp_path / "yard.sqlite", encoder) as store:
        added, threshold = build_memory(store, captions, "yard.txt")
    assert added[0].source == "caption 61 of yard.txt"
    assert (threshold.captions if threshold else None) == (count if calibrated else None)


def test_a_rate_of_nothing_is_refused(encoder: SentenceEncoder, tmp_path: Path) -> None:
    with SceneStore(tmp_path / "yard.sqlite", encoder) as store:
        with pytest.raises(CalibrationError, match="between 0 and 1"):
            build_memory(store, YARD * 20, "yard.txt", rate=0.0)
        assert store.list() == ()


class Fetched(list[Any]):
    """Rows that were read, as a cursor gives them."""

    def fetchall(self) -> Fetched:
        return self

    def fetchone(self) -> Any:
        return self[0] if self else None


def test_a_memory_that_is_being_written_is_read_as_at_one_moment(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SceneStore(tmp_path / "yard.sqlite", encoder) as store, SceneStore(store.path, encoder) as other:
        store.add([scene("A man carries a plank.")])
        execute = store._rows.execute

        def then_added(*given: Any) -> Fetched:
            rows = Fetched(execute(*given).fetchall())
            other.add([scene(f"A man carries {len(other.list())} planks.")])
            return rows

        monkeypatch.setattr(store._rows, "execute", then_added)
        assert len(camera_memory(store).own) == 2


def test_where_a_memory_lies() -> None:
    assert memory_path("cam3") == Settings().home / "memory" / "cam3.sqlite"
    assert memory_path("sub/cam3") == Path("sub/cam3")
    assert memory_path("cam3.sqlite") == Path("cam3.sqlite")
    with pytest.raises(DataError, match='There is no memory "cam3"'):
        existing_memory_path("cam3")
