"""Whole pictures: small changes are taken out, large ones are named, and neither is taken for the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from anomalist.types.common import UInt8Array
from anomalist.vision.shift.fitting import fit_input_model
from anomalist.vision.shift.model import InputModel, InputSample, warp_back
from scripts.generated_parts import DEFECTS, LARGE, PRODUCTS, SMALL, cropped, make_part, make_scene

Model = Callable[[str], InputModel]

WITHOUT_PLACE = {"moved by 12 px", "moved by 25 px", "turned by 180°"}
"""Changes of which a woven surface shows nothing."""


@pytest.mark.parametrize("product", PRODUCTS)
def test_new_good_parts_and_small_changes_are_not_named(product: str, model_of: Model) -> None:
    model = model_of(product)
    for seed in (1000, 1001):
        assert model.assess(make_part(product, seed)[0]).shift.changes == ()
        for name, change in SMALL.items():
            assert model.assess(change(make_scene(product, seed)[0])).shift.changes == (), (name, seed)


@pytest.mark.parametrize("product", PRODUCTS)
def test_large_changes_are_named_for_what_they_are(product: str, model_of: Model) -> None:
    model = model_of(product)
    for name, (change, expected) in LARGE.items():
        if product == "woven" and name in WITHOUT_PLACE:
            continue
        for seed in (1010, 1011):
            changes = model.assess(change(make_scene(product, seed)[0])).shift.changes
            assert {each.name for each in changes} & set(expected), (name, changes)


@pytest.mark.parametrize("product", PRODUCTS)
def test_defects_are_no_change_of_the_whole_picture(product: str, model_of: Model) -> None:
    for kind in DEFECTS:
        for seed in (2000, 2001):
            assert model_of(product).assess(make_part(product, seed, kind)[0]).shift.changes == (), kind


@pytest.mark.parametrize("product", PRODUCTS)
def test_other_products_and_frames_without_one_are_not_the_product(product: str, model_of: Model) -> None:
    rng = np.random.default_rng(0)
    frames = {other: make_part(other, 5)[0] for other in PRODUCTS if other != product}
    frames |= {
        "black": np.zeros((256, 256, 3), np.uint8),
        "white": np.full((256, 256, 3), 255, np.uint8),
        "random": rng.integers(0, 256, (256, 256, 3)).astype(np.uint8),
    }
    for name, frame in frames.items():
        names = {change.name for change in model_of(product).assess(frame).shift.changes}
        assert names & {"product", "blank"}, (name, names)


def test_what_changed_is_measured(model_of: Model) -> None:
    model, scene = model_of("plate"), make_scene("plate", 1003)[0]

    def value(name: str) -> float:
        (change,) = model.assess(LARGE[name][0](scene)).shift.changes
        return change.value

    assert value("1.5 times as bright") == pytest.approx(1.5, abs=0.06)
    assert value("0.6 times as bright") == pytest.approx(0.6, abs=0.03)
    assert value("turned by 3°") == pytest.approx(-3, abs=0.2)
    assert value("zoom 1.15") == pytest.approx(1.15, abs=0.01)
    assert value("JPEG 20") == 20
    assert value("moved by 25 px") == pytest.approx(np.hypot(25, 10) / 256, abs=0.015)


def test_a_moved_part_is_moved_back_by_whole_pixels(model_of: Model) -> None:
    model = model_of("plate")
    picture = make_part("plate", 1004)[0]
    moved = np.roll(picture, (0, 5), (0, 1))
    assessed = model.assess(moved)
    assert assessed.matrix is not None
    np.testing.assert_array_equal(assessed.matrix, np.rint(assessed.matrix))
    inner = (slice(16, 240), slice(16, 240))
    shift = assessed.matrix[:2, 2].astype(int)
    back = np.roll(moved, (-shift[1], -shift[0]), (0, 1))
    np.testing.assert_array_equal(assessed.pixels[inner], back[inner])


@pytest.mark.parametrize(
    ("angle", "factor", "told"),
    [
        (0.8, 1.0, {"rotation": "turned by 0.8° counter-clockwise"}),
        (-1.2, 1.0, {"rotation": "turned by 1.2° clockwise"}),
        (0.0, 1.03, {"scale": "larger in the picture by 3%"}),
    ],
)
def test_a_small_turn_or_change_of_size_is_told_as_such(
    angle: float, factor: float, told: dict[str, str], model_of: Model
) -> None:
    turn = cv2.getRotationMatrix2D((127.5, 127.5), angle, factor)
    picture = cv2.warpAffine(make_part("plate", 1004)[0], turn, (256, 256), borderMode=cv2.BORDER_REFLECT)
    shift = model_of("plate").assess(np.asarray(picture, np.uint8)).shift
    assert shift.changes == ()
    found = {change.name: change.words for change in shift.corrected}
    assert {name: found.get(name) for name in told} == told
    assert not any("()" in words or "0 px" in words for words in found.values())


def test_a_map_of_the_moved_picture_lies_where_the_given_one_has_it(model_of: Model) -> None:
    assessed = model_of("plate").assess(np.roll(make_part("plate", 1005)[0], (0, 6), (0, 1)))
    assert assessed.matrix is not None
    x, y = (assessed.matrix @ [100, 80, 1])[:2].round().astype(int)
    moved_map = np.zeros((256, 256), np.float32)
    moved_map[80, 100] = 1
    assert warp_back(moved_map, assessed.matrix, (256, 256))[y, x] == pytest.approx(1, abs=0.01)


def test_a_picture_that_fits_is_scored_as_it_is(model_of: Model) -> None:
    picture = make_part("cap", 1006)[0]
    assessed = model_of("cap").assess(picture)
    assert assessed.matrix is None
    assert assessed.shift.corrected == ()
    np.testing.assert_array_equal(assessed.pixels, picture)


def test_another_format_is_named(model_of: Model) -> None:
    model = model_of("label")
    (change,) = model.assess(make_part("label", 1)[0][:, :200]).shift.changes
    assert change.name == "format"
    assert "200×256" in change.words
    assert model.times_as_large((256, 1000)) == 1.0  # not judged, so nothing is said of its rate


def ribbed(seed: int, height: int = 256, pitch: float = 9.0) -> UInt8Array:
    """A sheet with ribs along it that begin anywhere, in uneven metal, uint8 (height, 256, 3)."""
    rng = np.random.default_rng(seed)
    ribs = np.sin(2 * np.pi * (np.arange(256) / pitch + rng.uniform()))
    uneven = cv2.GaussianBlur(rng.normal(0, 60, (height, 256)), (0, 0), sigmaX=1.5, sigmaY=6)
    return np.repeat(np.clip(130 + 25 * ribs + uneven, 0, 255).astype(np.uint8)[..., None], 3, 2)


def model_of_pictures(pictures: Sequence[UInt8Array]) -> InputModel:
    samples = [InputSample.of(picture, None) for picture in pictures]
    return fit_input_model(samples, lambda number: pictures[number], None, 0)


@pytest.mark.parametrize("height", [100, 256, 2000])
def test_a_longer_or_shorter_piece_of_a_texture_is_the_same_texture(height: int) -> None:
    model = model_of_pictures([ribbed(seed) for seed in range(8)])
    assert model.grain is not None
    assert model.assess(ribbed(100, height)).shift.changes == ()
    turned = model.assess(ribbed(102, 256)[:height].transpose(1, 0, 2)).shift.changes
    assert {change.name for change in turned} <= {"product", "rotation"}
    assert turned
    (wider,) = model.assess(ribbed(101, height, pitch=11)).shift.changes
    assert wider.name == "scale"
    assert model.times_as_large((height, 256)) == pytest.approx(height / 256)
    assert model.times_as_large((2 * height, 2 * 256)) == pytest.approx(1 if height == 256 else height / 64)


def cloudy(seed: int) -> UInt8Array:
    """A matt sheet with slow changes of tone, which have no direction, uint8 (256, 256, 3)."""
    rng = np.random.default_rng(seed)
    tone = cv2.resize(rng.normal(0, 20, (8, 8)), (256, 256)) + rng.normal(0, 3, (256, 256))
    return np.repeat(np.clip(130 + tone, 0, 255).astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("draw", [cloudy, lambda seed: make_part("woven", seed)[0]], ids=["cloudy", "woven"])
@pytest.mark.parametrize("normals", [1, 2, 3, 5])
def test_of_a_texture_known_by_few_pictures_a_new_one_is_neither_another_thing_nor_turned(
    normals: int, draw: Callable[[int], UInt8Array]
) -> None:
    model = model_of_pictures([draw(seed) for seed in range(normals)])
    for seed in range(1000, 1008):
        assert model.assess(draw(seed)).shift.changes == (), seed


def test_a_map_that_is_strange_all_over_is_no_defect(model_of: Model) -> None:
    from dataclasses import replace

    model = replace(model_of("plate"), typical=(0.0, 1.0), template=None)
    local = np.zeros((64, 64), np.float32)
    local[:16, :16] = 50
    everywhere = np.full((64, 64), 9.0, np.float32)
    assert model.unlike(local) is None
    found = model.unlike(everywhere)
    assert found is not None
    assert found.name == "product"
    assert model.unlike(everywhere + 5, corrected=5) == found
    assert model.unlike(local + 5, corrected=5) is None
    assert replace(model_of("plate"), typical=(0.0, 1.0)).unlike(everywhere) is None  # its template was found


def test_a_smaller_picture_is_compared_inside_the_region_of_interest() -> None:
    from anomalist.vision.shift.fitting import fit_input_model
    from anomalist.vision.shift.model import InputSample

    roi = np.zeros((256, 256), bool)
    roi[40:220, 30:230] = True
    pictures = [make_part("plate", seed)[0] for seed in range(8)]
    samples = [InputSample.of(picture, roi) for picture in pictures]
    model = fit_input_model(samples, lambda number: pictures[number], roi, 0)
    outside = make_scene("plate", 1000)[0]
    outside[:62] = 255
    assert model.assess(SMALL["half size"](outside), roi).shift.changes == ()


def test_what_a_moved_picture_does_not_show_is_filled_from_a_normal_one(model_of: Model) -> None:
    scene = np.roll(make_scene("label", 1007)[0], 5, 1)
    assessed = model_of("label").assess(cropped(scene))
    (change,) = assessed.shift.corrected
    assert change.name == "shift"
    # Beyond the printed frame there is nothing; mirrored outwards, the frame would be there again.
    assert assessed.pixels[20:236, 252:].min() > 150


def test_a_picture_that_lacks_a_row_keeps_its_score_and_one_of_half_the_size_is_corrected_in_full(
    model_of: Model,
) -> None:
    model = replace(model_of("plate"), corrections={"size": 4.0})
    picture = make_part("plate", 1000)[0]
    half = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
    narrower, shorter, halved = (model.assess(each).shift for each in (picture[:, :-1], picture[:-1], half))
    assert halved.score_correction == pytest.approx(4.0)
    assert 0 < narrower.score_correction == shorter.score_correction < 0.05
    stretched = model.assess(cv2.resize(picture, (257, 255))).shift
    assert stretched.corrected[0].words == "257×255 in place of 256×256 pixels"


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ((0.7, 1.0, 0.7), "greener"),
        ((1.0, 0.7, 1.0), "more magenta"),
        ((0.65, 1.0, 0.93), "more cyan"),
        ((1.0, 1.0, 0.6), "in warmer light"),
    ],
)
def test_light_is_called_by_the_colour_that_changed(
    gains: tuple[float, float, float], words: str, model_of: Model
) -> None:
    tinted = np.clip(make_part("woven", 1000)[0] * np.array(gains), 0, 255).astype(np.uint8)
    assert words in [change.words for change in model_of("woven").assess(tinted).shift.changes]


def grainy(seed: int) -> UInt8Array:
    """A grey texture without a direction, 200 pixels a side."""
    rng = np.random.default_rng(seed)
    coarse = cv2.GaussianBlur(rng.normal(0, 40, (200, 200)), (0, 0), 1.5)
    grey = (3 * coarse + 128 + rng.normal(0, 4, (200, 200))).clip(0, 255)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, 2)


@pytest.fixture(scope="module")
def grainy_model() -> InputModel:
    return model_of_pictures([grainy(seed) for seed in range(12)])


@pytest.mark.parametrize("side", [200, 100, 50])
def test_a_blurred_picture_has_less_fine_detail_than_usual_whatever_its_size(
    side: int, grainy_model: InputModel
) -> None:
    small = cv2.resize(grainy(100), (side, side), interpolation=cv2.INTER_AREA)
    changes = grainy_model.assess(cv2.GaussianBlur(small, (0, 0), 1.0)).shift.changes
    (blurred,) = (change for change in changes if change.name == "sharpness")
    share = float(re.findall(r"(\d+)%", blurred.words)[0])
    assert share < 90 and blurred.value < 0


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_a_picture_that_is_nearly_black_is_not_called_harder_in_contrast(
    share: float, grainy_model: InputModel
) -> None:
    changes = grainy_model.assess((grainy(100) * share).astype(np.uint8)).shift.changes
    assert [change.name for change in changes if change.name != "noise"] == ["brightness"]


def test_a_picture_of_harder_contrast_is_called_so(grainy_model: InputModel) -> None:
    hard = np.clip((grainy(100) - 128.0) * 2.5 + 128, 0, 255).astype(np.uint8)
    assert "contrast" in [change.name for change in grainy_model.assess(hard).shift.changes]
