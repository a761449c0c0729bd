"""What a model sees is scored by what is there, with the pictures swapped and with the defect taken away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalist.agent.choice.model_choice import ModelChoice
from anomalist.agent.models.local import LocalChatModel, open_local
from anomalist.eval import vision_language
from anomalist.eval.vision_language import (
    SeeingAnswer,
    balanced_accuracy,
    evaluate_seeing,
    expected_calibration_error,
    render,
)
from anomalist.eval.vision_language_places import (
    ACCEPTED_KINDS,
    board_places,
    steel_places,
    synthetic_places,
    tile_places,
)
from anomalist.training.defect_renderers import DEFECT_KINDS
from scripts.random_models import save_llava


def _picture(path: Path, seed: int, size: tuple[int, int] = (90, 120)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(90, 160, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    for number in range(4):
        _picture(tmp_path / "mtd" / "good" / f"g{number}.png", number)
    for kind in ("crack", "uneven"):
        _picture(tmp_path / "mtd" / kind / "a.png", 9)
        mask = np.zeros((90, 120), np.uint8)
        mask[20:40, 30:70] = 255
        (tmp_path / "mtd" / "ground_truth" / kind).mkdir(parents=True)
        Image.fromarray(mask).save(tmp_path / "mtd" / "ground_truth" / kind / "a.png")
    return tmp_path / "mtd"


def test_drawn_places_are_the_same_for_the_same_seed() -> None:
    first, second = (list(synthetic_places(4, 3)) for _ in range(2))

    assert [place.facts for place in first] == [place.facts for place in second]
    assert all(place.accepted == {place.name} for place in first)


def test_tiles_come_in_pairs_of_a_defect_and_a_good_place_of_its_size(tiles: Path) -> None:
    places = list(tile_places(tiles, 2, 0))

    assert [place.wrong for place in places] == [True, False] * 2
    assert {place.name for place in places} == {"crack", "uneven", "nothing"}
    for place in places:
        assert place.shown.evidence.regions[0].box == (30, 20, 70, 40)
        assert place.shown.normal is not None


def test_steel_has_a_box_for_each_picture_and_nothing_normal(tmp_path: Path) -> None:
    _picture(tmp_path / "images" / "patches_1.jpg", 0)
    rows = ["image,class,x1,y1,x2,y2", "patches_1.jpg,patches,10,20,50,60", "patches_1.jpg,patches,1,2,5,6"]
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")

    (place,) = steel_places(tmp_path, 5, 0)

    assert place.shown.evidence.regions[0].box == (10, 20, 50, 60)
    assert place.shown.normal is None
    assert place.accepted == ACCEPTED_KINDS["patches"]


def test_a_free_place_on_a_board_shows_no_labelled_box(tmp_path: Path) -> None:
    for name in ("p_temp.jpg", "p_test.jpg"):
        _picture(tmp_path / name, 1, (300, 300))
    (tmp_path / "boxes.csv").write_text("pair,x1,y1,x2,y2,type\np,10,10,30,30,open\n")

    defect, free = board_places(tmp_path, 1, 0)

    assert (defect.wrong, free.wrong) == (True, False)
    assert defect.accepted is None
    x0, y0, _, _ = free.shown.evidence.regions[0].box
    assert x0 >= 30 or y0 >= 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalChatModel:
    """A model with random weights: it sees nothing, whatever it is asked."""
    return open_local(str(save_llava(tmp_path_factory.mktemp("random") / "model")))


def test_every_source_that_is_there_is_measured(
    model: LocalChatModel, tiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        vision_language, "MAX_JUDGED_PLACES", 0
    )  # random weights write until they are stopped
    monkeypatch.setattr("anomalist.eval.vision_language_places._N_PRODUCTS", 4)
    heard: list[tuple[str, int, int]] = []
    drawn, real = evaluate_seeing(model, "random", tiles.parent, 4, 0, lambda *done: heard.append(done))

    assert (drawn.source, real.source) == ("drawn", "mtd")
    assert (drawn.places, real.places) == (4, 4)
    assert set(real.kind_by_name) == {"crack", "uneven"}
    assert real.kind_chance == pytest.approx((1 + 2) / 2 / (len(DEFECT_KINDS) - 1))
    assert real.ece is None
    assert drawn.ece is not None
    for result in (drawn, real):
        assert result.kind_accuracy is not None
        assert 0 <= result.kind_accuracy <= 1
        assert result.seconds_per_region > 0
    assert heard[-1] == ("looking at mtd", 4, 4)
    assert render([drawn, real])


def test_balanced_accuracy_counts_good_and_bad_places_alike(tiles: Path) -> None:
    places = [*tile_places(tiles, 1, 0), *tile_places(tiles, 1, 0)][:3]  # two defects, one good place
    yes = ModelChoice(("Yes", "No"), (0.8, 0.2), "logprobs", 2)
    answers = [SeeingAnswer(yes, frozenset({0 if place.wrong else 1})) for place in places]

    assert balanced_accuracy(places, answers) == 0.5
    assert balanced_accuracy(places[:1], answers[:1]) is None


@pytest.mark.parametrize(("hits", "error"), [([True] * 9 + [False], 0.0), ([False] * 10, 0.9)])
def test_calibration_error_is_the_distance_of_probability_and_accuracy(
    hits: list[bool], error: float
) -> None:
    choice = ModelChoice(("a", "b"), (0.9, 0.1), "logprobs", 2)
    answers = [SeeingAnswer(choice, frozenset({0 if hit else 1})) for hit in hits]

    assert expected_calibration_error(answers) == pytest.approx(error)
